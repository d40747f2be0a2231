"""Draws from a posterior near its Gaussian approximation, by importance sampling with its own check."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from oortax.inference.laplace import Laplace
from oortax.inference.posterior import Posterior

INFLATION = 1.15
"""The proposal is so much wider than the Gaussian, lest the posterior's tails be longer than it."""

K_HAT = 0.7
"""Largest Pareto shape of importance weights that can be trusted (Vehtari et al. 2024)."""


class WeightedDraws(NamedTuple):
    """Draws u (n, P) of a posterior with normalised `weights` (n,), ln p there, and how good they are.

    `k_hat` is the shape of the generalised Pareto distribution fitted to the largest weights, `ess` the
    effective number of draws, 1 / sum w^2. `centre` and `width`, (P,), are those of the Gaussian proposal.
    """

    u: np.ndarray
    weights: np.ndarray
    log_density: np.ndarray
    k_hat: float
    ess: float
    centre: np.ndarray
    width: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Posterior mean of u, (P,)."""
        return self.weights @ self.u

    @property
    def covariance(self) -> np.ndarray:
        """Posterior covariance of u, (P, P)."""
        rest = self.u - self.mean
        return (rest * self.weights[:, None]).T @ rest

    def below(self, u: Float[np.ndarray, "P"]) -> np.ndarray:
        """Posterior probability of each parameter to lie below u, (P,).

        The sum of the weights of the draws below, less what the draws' own number below differs from that
        of the Gaussian they are from: exact, whatever n, where the posterior is that Gaussian.
        """
        under = self.u < u
        known = ndtr((np.asarray(u) - self.centre) / self.width)
        return np.clip(self.weights @ under - under.mean(axis=0) + known, 0.0, 1.0)


def correct(
    posterior: Posterior, gaussian: Laplace, n: int = 256, *, seed: int | list[int] = 0, rounds: int = 3
) -> WeightedDraws:
    """Draws of the posterior from its Laplace approximation, by Pareto-smoothed importance sampling.

    n points of a scrambled Sobol sequence under a Gaussian, 1.15 times as wide, are weighted by ln p(u); the
    largest weights are replaced by those of the Pareto distribution fitted to them (Vehtari et al. 2024,
    JMLR 25, 72). Where that distribution's tail is too long (k_hat > 0.7) the Gaussian is fitted to
    the weighted draws and drawn from again, at most `rounds` times in all; `k_hat` says how the last went.

    Costs n values of ln p a round. Raises ValueError if ln p is finite at none of the draws.

    >>> import numpyro.distributions as dist
    >>> from oortax import inference, potential
    >>> def log_likelihood(pot, data):
    ...     return -0.5 * (jnp.log(pot.b / data) / 0.1) ** 2
    >>> pot, priors = potential.Plummer(M=1e10, b=2.0), {"b": dist.LogNormal(0.0, 1.0)}
    >>> posterior = Posterior(pot, priors, log_likelihood, jnp.asarray(1.0))
    >>> fit = inference.laplace(posterior, inference.maximise(posterior, progress=False))
    >>> draws = correct(posterior, fit)
    >>> draws.k_hat < K_HAT, round(float(draws.covariance[0, 0]) ** 0.5, 3)
    (True, 0.1)
    """
    from oortax.inference.diagnose import smoothed_weights

    centre, covariance = np.asarray(gaussian.mean), np.asarray(gaussian.covariance)
    uniform = qmc.Sobol(len(centre), scramble=True, rng=np.random.default_rng(seed))
    last = None
    for attempt in range(rounds):
        L = INFLATION * np.linalg.cholesky(covariance)
        z = ndtri(uniform.random(1 << max(n - 1, 1).bit_length())[:n])
        u = centre + z @ L.T
        log_density = np.asarray(_log_densities(posterior, jnp.asarray(u)))
        log_ratio = log_density + 0.5 * np.sum(z * z, axis=1)
        if not np.isfinite(log_ratio).any():
            raise ValueError("importance sampling: ln p is finite at none of the draws")
        weights, k_hat = smoothed_weights(log_ratio)
        last = WeightedDraws(
            u, weights, log_density, k_hat, 1.0 / float(weights @ weights), centre, _widths(L)
        )
        if k_hat < K_HAT or attempt == rounds - 1:
            break
        centre, found = last.mean, last.covariance
        # Few draws may carry the weights: their covariance alone may be singular.
        share = min(1.0, last.ess / (10.0 * len(centre)))
        covariance = share * found + (1.0 - share) * covariance
    assert last is not None
    return last


def _widths(L: np.ndarray) -> np.ndarray:
    return np.array([math.hypot(*row) for row in L])


@eqx.filter_jit
def _log_densities(posterior: Posterior, u: Float[Array, "n P"]) -> Float[Array, " n"]:
    return jax.lax.map(posterior.log_density, u)
