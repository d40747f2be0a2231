"""The Gaussian approximation of a posterior at its maximum (Laplace's method).

The Hessian comes from central differences of the exact gradient: second derivatives by automatic
differentiation are wrong where a computation stops gradients on purpose, as turning points do.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.inference.optimise import Maximum, expected_gain
from oortax.inference.posterior import Posterior, require_float64

PASSES = 3
"""At most this many Hessians: each takes its step sizes from the one before."""


class Laplace(NamedTuple):
    """N(mean, covariance) on the real line, and what it says of the parameters.

    mean (P,) and covariance (P, P) are those of u, `precision` the inverse of the covariance.
    `values` and `sigma` are the parameters and their standard deviations by the delta method,
    sigma_x = |dx/du| sigma_u: half the story for a bounded parameter near its edge. `asymmetry` is
    the largest asymmetry of the Hessian in posterior sigma, an estimate of its error.
    `newton_step` (P,) leads from `mean` to the top of the fitted parabola and `expected_gain` is
    what it adds to ln p. `log_evidence` is ln p + P ln(2 pi)/2 + ln det(covariance)/2.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    covariance: np.ndarray
    precision: np.ndarray
    values: dict[str, float]
    sigma: dict[str, float]
    newton_step: np.ndarray
    expected_gain: float
    asymmetry: float
    log_evidence: float
    positive_definite: bool
    n_gradients: int

    def sample(self, key: jax.Array, n: int) -> Float[Array, "n P"]:
        """n draws of u, shape (n, P)."""
        return jnp.asarray(self.mean) + jax.random.normal(key, (n, self.mean.size)) @ self.factor.T

    @property
    def factor(self) -> Float[Array, "P P"]:
        """Lower triangular L with covariance = L L^T."""
        return jnp.linalg.cholesky(jnp.asarray(self.covariance))

    @property
    def correlation(self) -> np.ndarray:
        """Correlation matrix of u, (P, P)."""
        sigma = np.sqrt(np.diag(self.covariance))
        return self.covariance / np.outer(sigma, sigma)


def laplace(
    posterior: Posterior,
    maximum: Maximum,
    *,
    step: float = 0.2,
    strict: bool = True,
    roundness: float = 2.0,
) -> Laplace:
    r"""Fit a Gaussian to the posterior at its maximum.

    H_kl = -[d ln p/dv_k (+h e_l) - d ln p/dv_k (-h e_l)] / 2h along axes v in which the posterior is
    round, u = mean + L v: the first pass takes L from the optimiser's curvature and the prior, each
    later one from the pass before, until H is the unit matrix to a factor of `roundness`. So every direction,
    the narrow and the degenerate, is differenced over the same fraction of its own sigma, and the
    error of every eigenvalue is relative to itself: of order h^2/6 times the fourth derivative of
    ln p in units of sigma (exact for a Gaussian). Costs 2P gradients a pass, often one pass.

    Parameters
    ----------
    step : float
        h, in posterior sigma.
    strict : bool
        If False, a Hessian that is not positive definite is not an error: curvatures that are
        negative or below the prior's are replaced by the prior's, and `positive_definite` is False.
    roundness : float
        With a larger one a rough start costs one pass: steps of h sqrt(roundness) sigma at most.

    Raises
    ------
    ValueError
        If the Hessian is not positive definite (naming the direction by its parameters) or not
        finite, or if the model is not float64.

    Examples
    --------
    >>> import numpyro.distributions as dist
    >>> from oortax import potential
    >>> from oortax.inference.optimise import maximise
    >>> def log_likelihood(pot, data):
    ...     return -0.5 * (jnp.log(pot.b / data) / 0.1) ** 2
    >>> pot, priors = potential.Plummer(M=1e10, b=2.0), {"b": dist.LogNormal(0.0, 1.0)}
    >>> posterior = Posterior(pot, priors, log_likelihood, jnp.asarray(1.0))
    >>> fit = laplace(posterior, maximise(posterior, progress=False))
    >>> round(fit.sigma["b"], 2)
    0.1
    """
    require_float64(posterior, "laplace")
    mean, width = np.asarray(maximum.u), posterior.prior_scale()[1]
    precision, n_gradients, asymmetry = maximum.precision, 0, 0.0
    positive = True
    for _ in range(PASSES):
        axes = _round_axes(precision, width)
        rounded = _hessian(posterior, mean, axes, step)
        n_gradients += 2 * mean.size
        asymmetry = float(np.max(np.abs(rounded - rounded.T)))
        rounded = 0.5 * (rounded + rounded.T)
        inverse = np.linalg.inv(axes)
        precision = inverse.T @ rounded @ inverse
        curvature = np.linalg.eigvalsh(rounded)
        positive = bool(curvature[0] > 0.0)
        if curvature[0] > 1.0 / roundness and curvature[-1] < roundness:
            break
    if not positive:
        if strict:
            raise ValueError(_indefinite(posterior.names, precision, width))
        axes = _round_axes(precision, width)
        inverse = np.linalg.inv(axes)
        precision = inverse.T @ inverse
    return _laplace(posterior, maximum, precision, asymmetry, positive, n_gradients)


def _hessian(posterior: Posterior, mean: np.ndarray, axes: np.ndarray, step: float) -> np.ndarray:
    """-d^2 ln p/dv^2 for u = mean + axes v, by central differences of the gradient; row l is along v_l."""
    rows = []
    for axis in axes.T:
        gradients = []
        for sign in (1.0, -1.0):
            value, gradient = posterior.value_and_grad(jnp.asarray(mean + sign * step * axis))
            if not (math.isfinite(float(value)) and bool(jnp.all(jnp.isfinite(gradient)))):
                raise ValueError(
                    f"laplace: ln p is not finite {step:g} sigma from the maximum along "
                    f"{_direction(posterior.names, axis)}: the maximum lies at the edge of what the model "
                    "allows; narrow that prior, or sample from the start without a Laplace fit"
                )
            gradients.append(np.asarray(gradient))
        rows.append(-(gradients[0] - gradients[1]) @ axes / (2.0 * step))
    return np.array(rows)


def _round_axes(precision: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Axes (columns, in u) one sigma long by this precision, none longer than the prior's width."""
    curvature, vectors = np.linalg.eigh(precision * np.outer(width, width))
    sigma = 1.0 / np.sqrt(np.maximum(curvature, 1.0))
    return width[:, None] * vectors * sigma


def _laplace(posterior, maximum, precision, asymmetry, positive, n_gradients) -> Laplace:
    covariance = np.linalg.inv(precision)
    covariance = 0.5 * (covariance + covariance.T)
    mean = np.asarray(maximum.u)
    slope = jax.jacfwd(posterior.constrain)(jnp.asarray(mean))
    sigma_u = np.sqrt(np.diag(covariance))
    sign, log_det = np.linalg.slogdet(covariance)
    assert sign > 0
    return Laplace(
        names=posterior.names,
        mean=mean,
        covariance=covariance,
        precision=precision,
        values=dict(maximum.values),
        sigma={p: abs(float(slope[p][i])) * float(sigma_u[i]) for i, p in enumerate(posterior.names)},
        newton_step=covariance @ maximum.gradient,
        expected_gain=expected_gain(precision, maximum.gradient),
        asymmetry=asymmetry,
        log_evidence=maximum.log_density + 0.5 * mean.size * math.log(2.0 * math.pi) + 0.5 * float(log_det),
        positive_definite=positive,
        n_gradients=n_gradients,
    )


def _indefinite(names: tuple[str, ...], precision: np.ndarray, width: np.ndarray) -> str:
    curvature, vectors = np.linalg.eigh(precision * np.outer(width, width))
    return (
        f"laplace: the Hessian is not positive definite: ln p does not fall along "
        f"{_direction(names, vectors[:, 0])} (in prior widths; curvature {curvature[0]:.3g}). The point is "
        "a saddle, or the data do not constrain that combination: start elsewhere, fix one of these "
        "parameters, or narrow its prior"
    )


def _direction(names: tuple[str, ...], vector: np.ndarray) -> str:
    """The main parts of a direction in words: '+0.8 halo.q -0.6 disc.M'."""
    vector = vector / np.linalg.norm(vector)
    order = [i for i in np.argsort(-np.abs(vector))[:4] if abs(vector[i]) > 0.1]
    return " ".join(f"{vector[i]:+.2g} {names[i]}" for i in order)
