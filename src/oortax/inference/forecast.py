"""What a planned survey would tell: the Fisher information of its stars, from the model alone.

N independent stars, each with the density p = L_k / A of the likelihood, inform by F = N <s s^T> with the
score s = d ln p/du of a star drawn from the model itself (Cramer 1946, Mathematical Methods of Statistics,
ch. 32). No fit is made, and no second derivative of the likelihood is taken.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import chi2

from oortax.inference.posterior import Posterior, require_float64
from oortax.model.constraints import AbstractConstraint, views

_GROUPS = 20
"""Parts of the sample that the jackknife leaves out in turn."""


class Forecast(NamedTuple):
    """The information that N stars bring, on the real line (u), and what it means for the parameters.

    names (P,) and `values`, where it was computed; `N` stars are planned, and `n` were drawn for the
    expectation, `lost` of them left out because their score is not finite. `scores` (n, P) are those of one
    star each, `of_constraints` (P, P) is the information of direct constraints and `of_prior` (P, P) the
    prior's; `prior_width` (P,) its width on the real line and `slope` (P,) = dx/du.
    """

    names: tuple[str, ...]
    values: dict[str, float]
    N: float
    n: int
    lost: int
    scores: np.ndarray
    of_constraints: np.ndarray
    of_prior: np.ndarray
    prior_width: np.ndarray
    slope: np.ndarray

    @property
    def of_stars(self) -> np.ndarray:
        """The information of the N stars, (P, P), on the real line."""
        return self._information(self.scores)

    def covariance(self, *, prior: bool = True) -> np.ndarray:
        """Covariance of u, (P, P), with or without the prior; inf on the diagonal if nothing bounds it."""
        return _inverse(self.of_stars + self.of_constraints + (self.of_prior if prior else 0.0))

    def sigma(self, *, prior: bool = True) -> dict[str, float]:
        """Standard deviation of every parameter, |dx/du| times that of u (delta method)."""
        return self._sigma(np.sqrt(np.diag(self.covariance(prior=prior))))

    def sigma_error(self, *, prior: bool = True) -> dict[str, float]:
        """Monte Carlo error of `sigma`, by the jackknife over 20 parts of the stars drawn."""
        rest = self.of_constraints + (self.of_prior if prior else 0.0)
        parts = np.array_split(np.arange(len(self.scores)), _GROUPS)
        without = [self._information(np.delete(self.scores, part, axis=0)) + rest for part in parts]
        sigma = np.array([np.sqrt(np.diag(_inverse(F))) for F in without])
        with np.errstate(invalid="ignore"):
            spread = np.sqrt((_GROUPS - 1) * np.mean((sigma - sigma.mean(axis=0)) ** 2, axis=0))
        return self._sigma(spread)

    def correlation(self, *, prior: bool = True) -> np.ndarray:
        """Correlation matrix, (P, P), of the parameters as of u."""
        covariance = self.covariance(prior=prior)
        sigma = np.sqrt(np.diag(covariance)) * np.sign(self.slope)
        return covariance / np.outer(sigma, sigma)

    def stars_for(self, path: str, sigma: float) -> float:
        """How many stars give a parameter this standard deviation, with neither prior nor constraints.

        sigma falls as 1/sqrt(N).
        """
        F = self.of_stars
        alone = self._sigma(np.sqrt(np.diag(_inverse(F))))
        return self.N * (alone[path] / sigma) ** 2

    def mean_score(self) -> tuple[dict[str, float], float]:
        """Mean score of every parameter in its standard error, and the probability of a larger chi^2 of all.

        The expectation of a score vanishes if and only if the density is normalised for all parameters
        near by: a large value here means that ln A or its derivative is wrong, or the stars were drawn from
        another model than the likelihood's.
        """
        n = len(self.scores)
        mean, covariance = (
            self.scores.mean(axis=0),
            np.cov(self.scores.T, ddof=1).reshape(2 * self.slope.shape),
        )
        z = mean / np.sqrt(np.diag(covariance) / n)
        joint = float(n * mean @ np.linalg.pinv(covariance, hermitian=True) @ mean)
        return dict(zip(self.names, z.tolist(), strict=True)), float(chi2.sf(joint, len(self.names)))

    def _information(self, scores: np.ndarray) -> np.ndarray:
        return self.N * scores.T @ scores / len(scores)

    def _sigma(self, of_u: np.ndarray) -> dict[str, float]:
        return dict(zip(self.names, (np.abs(self.slope) * of_u).tolist(), strict=True))


PerStar = Callable[[Any, Any], Float[Array, " n"]]
"""per_star(model, data) -> ln p of every star, (n,): a pure, traceable function, the same each time."""


def forecast(
    posterior: Posterior,
    per_star: PerStar,
    data: Any,
    N: float,
    *,
    tables: Mapping[str, Any] | None = None,
    u: Any = None,
) -> Forecast:
    """The Fisher information of N stars at one point, from the scores of stars drawn there.

    F = N <s s^T> on the real line, s_k = d ln p_k/du by one forward derivative a parameter, of all stars
    at once. The relative error of a sigma from n stars is about 1/sqrt(2 n), and some times that where
    parameters are degenerate: `Forecast.sigma_error` measures it.

    Parameters
    ----------
    posterior : Posterior
        Its model and priors; its likelihood and data are not used.
    per_star : callable (model, data) -> (n,)
        ln p of every star, normalised over what the survey lists, as `model.per_star` gives.
    data : tree of arrays
        n stars drawn from the model at u, and their nodes; n at least ten times the number of parameters.
    N : float
        Stars planned.
    tables : mapping, optional
        Tables of the model's direct constraints, whose information J^T C^-1 J is added: see
        `constraint_information` for those that have none.
    u : shape (P,), optional
        Where on the real line; default the model's values.

    Raises
    ------
    ValueError
        If N is not positive, there are too few stars, or the model is not float64.

    Examples
    --------
    >>> import numpyro.distributions as dist
    >>> from oortax import potential
    >>> def per_star(pot, b):
    ...     return -0.5 * ((b - pot.b) / 0.1) ** 2
    >>> pot, priors = potential.Plummer(M=1e10, b=1.0), {"b": dist.LogNormal(0.0, 0.5)}
    >>> posterior = Posterior(pot, priors, lambda pot, data: jnp.zeros(()))
    >>> b = 1.0 + 0.1 * np.random.default_rng(1).standard_normal(10_000)
    >>> planned = forecast(posterior, per_star, jnp.asarray(b), N=100)
    >>> round(planned.sigma(prior=False)["b"], 4)  # 0.1 / sqrt(100)
    0.01
    """
    require_float64(posterior, "forecast")
    if not N > 0:
        raise ValueError(f"forecast(N={N}): the number of stars planned must be positive")
    u = posterior.start if u is None else jnp.asarray(u)
    columns = [_derivative(posterior, per_star, data, u, direction) for direction in jnp.eye(posterior.dim)]
    scores = np.stack([np.asarray(column) for column in columns], axis=1)
    finite = np.isfinite(scores).all(axis=1)
    if finite.sum() < max(10 * posterior.dim, _GROUPS):
        raise ValueError(
            f"forecast: {int(finite.sum())} stars with finite scores are too few for {posterior.dim} "
            f"parameters: draw at least {max(10 * posterior.dim, _GROUPS)}"
        )
    width = posterior.prior_scale()[1]
    slope = jax.jacfwd(posterior.constrain)(u)
    return Forecast(
        names=posterior.names,
        values={path: float(x) for path, x in posterior.constrain(u).items()},
        N=float(N),
        n=int(finite.sum()),
        lost=int((~finite).sum()),
        scores=scores[finite],
        of_constraints=constraint_information(posterior, tables or {}, u)[0],
        of_prior=_prior_information(posterior, u, width),
        prior_width=width,
        slope=np.array([float(slope[path][i]) for i, path in enumerate(posterior.names)]),
    )


def constraint_information(
    posterior: Posterior, tables: Mapping[str, Any], u: Any = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """J^T C^-1 J of the direct constraints, (P, P) on the real line, and the names of those left out.

    J are the derivatives of their residuals and C their covariance with common modes, at the mean of
    unequal errors; what the size of the residuals says about free error parameters is not counted.
    Constraints with a likelihood of their own (masers, terminal velocities), which is not that of residuals
    with given errors, are left out.
    """
    u = posterior.start if u is None else jnp.asarray(u)
    information, left_out = np.zeros((posterior.dim, posterior.dim)), []
    of_model: Any = posterior.model
    for name, table in tables.items():
        if type(of_model.constraints[name]).log_likelihood is not AbstractConstraint.log_likelihood:
            left_out.append(name)
            continue
        one = {name: {key: jnp.asarray(values) for key, values in table.items()}}

        def residual(u, one=one, name=name):
            tree = posterior.model_at(u)
            view = views(tree, one)[name]
            d, minus, plus = tree.constraints[name].residual(view, one[name])
            modes = tree.constraints[name].modes(view, one[name])
            covariance = jnp.diag((0.5 * (minus + plus)) ** 2)
            return d, covariance if modes is None else covariance + modes @ modes.T

        _, covariance = residual(u)
        J = np.asarray(jax.jacfwd(lambda u, residual=residual: residual(u)[0])(u))
        information += J.T @ np.linalg.solve(np.asarray(covariance), J)
    return information, tuple(left_out)


@eqx.filter_jit
def _derivative(posterior: Posterior, per_star: PerStar, data, u, direction):
    return jax.jvp(lambda u: per_star(posterior.model_at(u), data), (u,), (direction,))[1]


def _prior_information(posterior: Posterior, u, width: np.ndarray) -> np.ndarray:
    """-d^2 ln pi/du^2, or 1/width^2 where a prior is not concave at u."""
    curvature = -np.diag(np.asarray(jax.hessian(posterior.log_prior)(u)))
    return np.diag(np.where(curvature > 0.0, curvature, width**-2.0))


def _inverse(F: np.ndarray) -> np.ndarray:
    """The inverse of a matrix of information; infinite variances where it says nothing of a direction."""
    scale = np.sqrt(np.maximum(np.diag(F), np.finfo(float).tiny))
    try:
        L = np.linalg.cholesky(F / np.outer(scale, scale))
    except np.linalg.LinAlgError:
        return np.diag(np.full(len(F), np.inf))
    half = np.linalg.solve(L, np.eye(len(F)))
    return half.T @ half / np.outer(scale, scale)
