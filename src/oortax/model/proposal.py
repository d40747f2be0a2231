"""Velocity proposals for rejection sampling: Gaussians fitted to a component, with broad wings."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

_CORE, _WING, _FAR = 0.72, 0.22, 0.06
_CORE_STRETCH, _WING_STRETCH = 1.15, 2.2


class VelocityProposal(NamedTuple):
    """A mixture of Gaussians in (v_R, v_phi, v_z), axis-aligned.

    Attributes
    ----------
    shares : (k,)
    means, sigmas : (k, 3), km/s
    """

    shares: np.ndarray
    means: np.ndarray
    sigmas: np.ndarray

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """n velocities (n, 3) and the natural log of their density, per (km/s)^3."""
        which = rng.choice(len(self.shares), size=n, p=self.shares)
        u = self.means[which] + self.sigmas[which] * rng.standard_normal((n, 3))
        return u, self.log_density(u)

    def at(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Velocities (n, 3) from numbers (n, 4) between 0 and 1, and ln of their density."""
        which = np.searchsorted(np.cumsum(self.shares)[:-1], uniform[:, 0], side="right")
        normal = ndtri(np.clip(uniform[:, 1:], 1e-16, 1.0 - 1e-16))
        u = self.means[which] + self.sigmas[which] * normal
        return u, self.log_density(u)

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """ln of the density at velocities (n, 3), per (km/s)^3."""
        z = (u[:, None, :] - self.means) / self.sigmas
        terms = -0.5 * np.sum(z**2, axis=-1) - np.sum(np.log(self.sigmas), axis=-1)
        terms = terms + np.log(self.shares) - 1.5 * np.log(2.0 * np.pi)
        top = np.max(terms, axis=1)
        return top + np.log(np.sum(np.exp(terms - top[:, None]), axis=1))


def _far(v_c0: float) -> np.ndarray:
    """Dispersion of the widest Gaussian: it reaches the escape speed within three of them."""
    return np.full(3, 0.85 * v_c0)


def first_guess(v_c0: float) -> VelocityProposal:
    """A proposal for any population: a disc, a warm disc and a halo."""
    means = np.array([[0.0, 0.97 * v_c0, 0.0], [0.0, 0.8 * v_c0, 0.0], [0.0, 0.0, 0.0]])
    sigmas = np.stack([np.full(3, 0.14 * v_c0), np.full(3, 0.3 * v_c0), _far(v_c0)])
    return VelocityProposal(np.array([0.4, 0.3, 0.3]), means, sigmas)


def adapted(u: np.ndarray, weights: np.ndarray, v_c0: float) -> VelocityProposal:
    """The proposal with the weighted mean and dispersions of a sample (n, 3).

    The core is a little wider than the sample; the wing has the lag of the asymmetric drift; the widest
    part keeps every ratio f/q bounded up to the escape speed.
    """
    share = weights / weights.sum()
    mean = share @ u
    sigma = np.sqrt(share @ (u - mean) ** 2) + 1e-3 * v_c0
    lagging = mean - np.array([0.0, 0.7 * sigma[1], 0.0])
    return VelocityProposal(
        np.array([_CORE, _WING, _FAR]),
        np.stack([mean, lagging, 0.5 * mean]),
        np.stack([_CORE_STRETCH * sigma, _WING_STRETCH * sigma, np.maximum(_far(v_c0), 1.5 * sigma)]),
    )
