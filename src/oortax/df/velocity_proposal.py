"""Proposals of velocities at many points: Gaussians about what a DF fills there, with wings up to escape."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from oortax.df.base import AbstractDF
from oortax.df.mixture import populations
from oortax.dynamics import AbstractActionFinder
from oortax.potential import AbstractPotential

# A core a little wider than the DF's own scale; a wing that lags behind by so many of its dispersions; and a
# part at half the mean that reaches the escape speed (to 1000 kpc) within three dispersions.
_SHARES = np.array([0.72, 0.22, 0.06])
_CORE, _WING, _LAG, _FAR = 1.15, 2.2, 0.7, 1000.0
_LEAST_RADIUS = 1e-6
# Where a DF is probed, in dispersions.
_SIDES, _FURTHER = 1.5, 0.7
# Effective number of pilot stars from which Gaussians are adapted.
_LEAST_PILOTS = 30.0


class Gaussians(NamedTuple):
    """At each of n positions, a mixture of k Gaussians in (v_R, v_phi, v_z), along these axes; km/s."""

    shares: Float[np.ndarray, " k"]
    means: Float[np.ndarray, "n k 3"]
    sigmas: Float[np.ndarray, "n k 3"]

    def take(self, rows) -> "Gaussians":
        """Those of some positions."""
        return Gaussians(self.shares, self.means[rows], self.sigmas[rows])

    def draw(self, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
        """One velocity for each position."""
        n = len(self.means)
        return self.of(rng.random(n), rng.standard_normal((n, 3)))

    def of(self, share, normal) -> Float[np.ndarray, "n 3"]:
        """The velocities of numbers (n,) uniform in [0, 1), and (n, 3) normal."""
        which = np.searchsorted(np.cumsum(self.shares)[:-1], share, side="right")
        rows = np.arange(len(which))
        return self.means[rows, which] + self.sigmas[rows, which] * normal

    def places(self) -> Float[np.ndarray, "n m 3"]:
        """Velocities that tell how large a density is: centres, and to either side of them."""
        steps = np.concatenate([_SIDES * sign * np.eye(3) for sign in (-1.0, 1.0)])
        steps = np.concatenate(
            [np.zeros((1, 3)), steps, _FURTHER * np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])]
        )
        found = self.means[:, :, None] + self.sigmas[:, :, None] * steps
        return found.reshape(len(self.means), -1, 3)

    def log_density(self, w: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """ln of the density at one velocity for each position, per (km/s)^3."""
        z = (w[:, None] - self.means) / self.sigmas
        terms = -0.5 * np.sum(z * z, axis=-1) - np.sum(np.log(self.sigmas), axis=-1) + np.log(self.shares)
        return np.logaddexp.reduce(terms, axis=1) - 1.5 * np.log(2.0 * np.pi)

    def adapted_to(self, group, w, log_weight) -> "Gaussians":
        """Those of one population with the means and dispersions of weighted stars of the same group.

        Of those, the first n are at the n positions.
        """
        n = len(self.means)

        def mean(values):
            return np.bincount(group, weight * values) / total

        top = np.full(group.max() + 1, -np.inf)
        np.maximum.at(top, group, log_weight)
        weight = np.exp(log_weight - np.where(np.isfinite(top), top, 0.0)[group])
        total = np.maximum(np.bincount(group, weight), 1e-300)
        enough = total**2 / np.maximum(np.bincount(group, weight**2), 1e-300) > _LEAST_PILOTS
        centre = np.stack([mean(w[:, i]) for i in range(3)], axis=1)
        sigma = np.sqrt(np.stack([mean((w[:, i] - centre[group, i]) ** 2) for i in range(3)], axis=1))
        own = group[:n]
        means, sigmas = _three(
            centre[own], np.maximum(sigma[own], 0.05 * self.sigmas[:, 0]), self.sigmas[:, 2]
        )
        enough = enough[own][:, None, None]
        return Gaussians(
            self.shares, np.where(enough, means, self.means), np.where(enough, sigmas, self.sigmas)
        )


def _three(mean, sigma, far):
    """Core, wing and far part, (n, 3, 3)."""
    lagging = mean.copy()
    lagging[:, 1] -= np.sign(mean[:, 1]) * _LAG * sigma[:, 1]
    means = np.stack([mean, lagging, 0.5 * mean], axis=1)
    return means, np.stack([_CORE * sigma, _WING * sigma, np.maximum(far, 1.5 * sigma)], axis=1)


class PhaseSpace:
    """A DF in phase space: f(J(x, v)) for many stars, in batches of one size: nothing is compiled twice."""

    def __init__(
        self, f: AbstractDF, potential: AbstractPotential, finder: AbstractActionFinder, batch_size: int
    ):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size = {batch_size!r}: a whole number >= 1 is needed")
        self.f, self.potential, self.finder, self.batch_size = f, potential, finder, batch_size
        self.populations = tuple(part for _, part in populations(f))

    def gaussians(self, x: np.ndarray) -> Gaussians:
        """Proposals at positions (n, 3); of a mixture, each component is proposed as often."""
        R, z = np.maximum(np.hypot(x[:, 0], x[:, 1]), _LEAST_RADIUS), x[:, 2]
        means, sigmas = [], []
        for population in self.populations:
            mean, sigma, escape = self._batches(_scales, (population, self.potential), R, z)
            # Where there is no scale, as within the first circular orbit, the far part serves: any proposal
            # is right, if not quick.
            mean, sigma = np.nan_to_num(mean), np.maximum(np.nan_to_num(sigma), 1e-3 * escape[:, None])
            parts = _three(mean, sigma, escape[:, None] / 3.0)
            means.append(parts[0])
            sigmas.append(parts[1])
        shares = np.tile(_SHARES, len(means)) / len(means)
        return Gaussians(shares, np.concatenate(means, axis=1), np.concatenate(sigmas, axis=1))

    def log_density_scale(self, x: np.ndarray) -> np.ndarray:
        """Roughly, ln of the density at positions, up to a constant."""
        R, z = np.hypot(x[:, 0], x[:, 1]), x[:, 2]
        scales = self._batches(_density_scale, (self.f, self.potential), R, z)[0]
        return np.where(np.isfinite(scales), scales, 0.0)

    def log_f(self, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """ln f, velocities and actions of stars at x with (v_R, v_phi, v_z) = w; all (n, ...)."""
        R = np.hypot(x[:, 0], x[:, 1])
        # On the axis any direction serves as that of R.
        c, s = np.where(R > 0.0, x[:, :2].T / np.where(R > 0.0, R, 1.0), [[1.0], [0.0]])
        v = np.stack([w[:, 0] * c - w[:, 1] * s, w[:, 0] * s + w[:, 1] * c, w[:, 2]], axis=1)
        log_f, J = self._batches(_log_f, (self.f, self.finder), x, v)
        if np.any(np.isnan(log_f)):
            at = x[np.flatnonzero(np.isnan(log_f))[0]]
            raise ValueError(f"f is NaN at x = {at} kpc: check that DF, potential and finder hold there")
        return log_f, v, J

    def _batches(self, program, constants, *arrays):
        n, size = len(arrays[0]), self.batch_size
        parts = []
        for start in range(0, n, size):
            rows = np.minimum(np.arange(start, start + size), n - 1)
            found = program(*constants, *(jnp.asarray(a[rows]) for a in arrays))
            parts.append([np.asarray(a)[: n - start] for a in found])
        return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


@eqx.filter_jit
def _log_f(f: AbstractDF, finder: AbstractActionFinder, x, v):
    def one(at):
        J = finder.actions(*at)
        return f.log_f(J), J

    return jax.lax.map(one, (x, v), batch_size=1024)


@eqx.filter_jit
def _density_scale(f: AbstractDF, potential: AbstractPotential, R, z):
    return (jax.vmap(lambda R, z: f.log_density_scale(potential, R, z))(R, z),)


@eqx.filter_jit
def _scales(f: AbstractDF, potential: AbstractPotential, R, z):
    """Mean, dispersions and escape speed."""

    def one(R, z):
        far = jnp.array([_FAR, 0.0, 0.0])
        here = jnp.stack([R, jnp.zeros_like(R), z])
        escape2 = 2.0 * jnp.maximum(potential.Phi(far) - potential.Phi(here), 0.0)
        return *f.velocity_scale(potential, R, z), jnp.sqrt(escape2)

    return jax.vmap(one)(R, z)
