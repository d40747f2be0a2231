"""Proposals that go by where a star is in the Galaxy: its share of the stars there, and its velocity.

Zones of R and |z| that follow the stars of a pilot; in every one of them a density and Gaussians fitted to
the velocities, with broad wings.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

_CORE, _WING, _FAR = 0.72, 0.22, 0.06
_CORE_STRETCH, _WING_STRETCH = 1.15, 2.2
# Zones in R and in |z|, stars of a pilot that each has at least, and for how many of them the whole counts.
_R, _Z, _LEAST, _PRIOR = 12, 8, 40, 10.0


class Zones(NamedTuple):
    """Zones of R, and of |z| within each: inner edges, kpc.

    Attributes
    ----------
    R : (m - 1,)
    z : (m, k - 1)
    """

    R: np.ndarray
    z: np.ndarray

    @classmethod
    def of(cls, R: np.ndarray, z: np.ndarray) -> "Zones":
        """From a sample of stars: narrow in R where there are few on either side, and far above the plane."""
        m, k = (max(1, int(min(n, (len(R) / _LEAST) ** 0.5))) for n in (_R, _Z))
        edges = np.quantile(R, 0.5 - 0.5 * np.cos(np.pi * np.arange(1, m) / m))
        zone = np.searchsorted(edges, R)
        parts = [np.abs(z[zone == i]) for i in range(m)]
        levels = 1.0 - (1.0 - np.arange(1, k) / k) ** 2
        return cls(edges, np.stack([np.quantile(part if len(part) else [0.0], levels) for part in parts]))

    def at(self, R: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The zone of each star."""
        i = np.searchsorted(self.R, R)
        j = np.zeros(len(R), int)
        for edges in self.z.T:
            j += np.abs(z) > edges[i]
        return i * (self.z.shape[1] + 1) + j

    @property
    def size(self) -> int:
        return self.z.shape[0] * (self.z.shape[1] + 1)


class LocalProposal(NamedTuple):
    """Densities, to a factor, and mixtures of Gaussians in (v_R, v_phi, v_z), axis-aligned, of all zones.

    Attributes
    ----------
    zones : Zones
    density : (zones,)
    shares : (k,), of the Gaussians
    means, sigmas : (zones, k, 3), km/s
    """

    zones: Zones
    density: np.ndarray
    shares: np.ndarray
    means: np.ndarray
    sigmas: np.ndarray

    def velocities(
        self, zone: np.ndarray, uniform: np.ndarray, which: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Velocities (n, 3) from numbers (n, 4) between 0 and 1, and ln of their density, per (km/s)^3.

        `which` are the Gaussians that they shall be drawn from (by default drawn, too).
        """
        if which is None:
            which = np.searchsorted(np.cumsum(self.shares)[:-1], uniform[:, 0], side="right")
        normal = ndtri(np.clip(uniform[:, 1:], 1e-16, 1.0 - 1e-16))
        u = self.means[zone, which] + self.sigmas[zone, which] * normal
        return u, self._log_density(zone, u)

    def _log_density(self, zone: np.ndarray, u: np.ndarray) -> np.ndarray:
        norms = np.log(self.shares) - np.sum(np.log(self.sigmas), axis=-1) - 1.5 * np.log(2.0 * np.pi)
        terms = norms[zone]
        for axis in range(3):
            z = (u[:, axis, None] - self.means[zone, :, axis]) / self.sigmas[zone, :, axis]
            terms -= 0.5 * z * z
        top = np.max(terms, axis=1)
        return top + np.log(np.sum(np.exp(terms - top[:, None]), axis=1))


def _far(v_c0: float) -> np.ndarray:
    """Dispersion of the widest Gaussian: it reaches the escape speed within three of them."""
    return np.full(3, 0.85 * v_c0)


def first_guess(v_c0: float) -> LocalProposal:
    """For any population: of even density; a disc, a warm disc and a halo."""
    means = np.array([[0.0, 0.97 * v_c0, 0.0], [0.0, 0.8 * v_c0, 0.0], [0.0, 0.0, 0.0]])
    sigmas = np.stack([np.full(3, 0.14 * v_c0), np.full(3, 0.3 * v_c0), _far(v_c0)])
    everywhere = Zones(np.zeros(0), np.zeros((1, 0)))
    return LocalProposal(everywhere, np.ones(1), np.array([0.4, 0.3, 0.3]), means[None], sigmas[None])


def adapted(R, z, u: np.ndarray, weights: np.ndarray, volumes: np.ndarray, v_c0: float) -> LocalProposal:
    """The proposal with the weighted density, mean and dispersions of a sample (n, ...), zone by zone.

    `volumes` are what the weights would be of stars of even density. The core is a little wider than the
    sample; the wing has the lag of the asymmetric drift; the widest part keeps every ratio f/q bounded up to
    the escape speed.
    """
    zones = Zones.of(R, z)
    zone, size = zones.at(R, z), zones.size

    def total(values):
        return np.bincount(zone, values, size)

    mass, square = total(weights), total(weights**2)
    mean, sigma = _moments(weights, u)
    counts = np.where(square > 0, mass**2 / np.where(square > 0, square, 1.0), 0.0)
    own = (counts / (counts + _PRIOR))[:, None]
    safe = np.where(mass > 0, mass, 1.0)
    means = np.stack([total(weights * u[:, i]) / safe for i in range(3)], axis=1)
    squares = np.stack([total(weights * (u[:, i] - means[zone, i]) ** 2) / safe for i in range(3)], axis=1)
    centre = own * means + (1.0 - own) * mean
    # Of a mixture of the zone and of the whole.
    variance = own * (squares + (means - centre) ** 2) + (1.0 - own) * (sigma**2 + (mean - centre) ** 2)
    spread = np.sqrt(variance) + 1e-3 * v_c0
    lagging = centre - spread * np.array([0.0, 0.7, 0.0])
    even = weights.sum() / volumes.sum()
    density = (mass + _PRIOR * np.mean(weights)) / (total(volumes) + _PRIOR * np.mean(weights) / even)
    return LocalProposal(
        zones,
        density,
        np.array([_CORE, _WING, _FAR]),
        np.stack([centre, lagging, 0.5 * centre], axis=1),
        np.stack(
            [_CORE_STRETCH * spread, _WING_STRETCH * spread, np.maximum(_far(v_c0), 1.5 * spread)], axis=1
        ),
    )


def _moments(weights: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    share = weights / weights.sum()
    mean = share @ u
    return mean, np.sqrt(share @ (u - mean) ** 2)
