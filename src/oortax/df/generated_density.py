"""The density of a component on a grid, as a potential: tables of ln rho and their interpolation."""

import dataclasses
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.numerics.spline import slope_matrix
from oortax.potential import AbstractDensity
from oortax.potential.expansion.grid import angular_coordinate, angular_range
from oortax.types import Scalar

# rad: how far from the axis, on which each orbit's J_phi is 0, the last latitude is.
_OFF_AXIS = 1e-3
# Powers of r that continue the density within: a point mass has -3.
_INNER, _OUTER = (-2.5, 3.0), -3.1
# kpc: stars that come so far count as unbound.
FARTHEST = 1e4
# Gauss nodes per cell and axis for the mass.
_NODES = 4


@dataclasses.dataclass(frozen=True)
class DensityGrid:
    """Where the density of a component is found: n_r radii, even in ln r, times n_theta latitudes.

    kpc; beyond r_min and r_max the density goes on as power laws of r. The latitudes crowd towards the plane
    (`oortax.potential.expansion.grid.angular_coordinate`): 12 and more serve a disc, 4 to 6 a spheroid.
    Raises ValueError for less than 4 of either, and for other radii than 0 < r_min < r_max < 10 Mpc.

    >>> DensityGrid(n_r=16, n_theta=4).size
    64
    """

    n_r: int = 24
    n_theta: int = 12
    r_min: float = 0.05
    r_max: float = 200.0

    def __post_init__(self):
        if self.n_r < 4 or self.n_theta < 4:
            raise ValueError(f"{self}: n_r and n_theta must be at least 4")
        if not 0.0 < self.r_min < self.r_max < FARTHEST:
            raise ValueError(f"{self}: 0 < r_min < r_max < {FARTHEST:g} is needed, in kpc")

    @property
    def size(self) -> int:
        """Number of places."""
        return self.n_r * self.n_theta

    @property
    def log_r(self) -> np.ndarray:
        """ln of the radii, (n_r,)."""
        return np.linspace(np.log(self.r_min), np.log(self.r_max), self.n_r)

    @property
    def latitudes(self) -> np.ndarray:
        """(n_theta,), rad, from the plane to next to the axis."""
        tau = np.linspace(*angular_range(), self.n_theta)
        return np.minimum(_latitude(tau), 0.5 * np.pi - _OFF_AXIS)

    @property
    def log_volumes(self) -> np.ndarray:
        """ln of r^3 times the solid angle that each place stands for, (n_r, n_theta), up to a constant."""
        return 3.0 * self.log_r[:, None] + np.log(np.gradient(np.sin(self.latitudes)))

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """R and z, each (n_r, n_theta)."""
        r, at = np.exp(self.log_r)[:, None], self.latitudes
        return r * np.cos(at), r * np.sin(at)


def _latitude(tau: np.ndarray) -> np.ndarray:
    """Where the coordinate has these values."""
    latitude = np.concatenate([[0.0], np.geomspace(1e-7, 0.5 * np.pi, 20000)])
    return np.interp(tau, angular_coordinate(np.sin(latitude) ** 2, np.cos(latitude) ** 2, np, 0.0), latitude)


@final
class GeneratedDensity(AbstractDensity):
    """The density of a component on a `DensityGrid`, and beyond it.

    ln rho goes by cubics: splines in ln r, and over the latitudes splines whose slopes are limited so that no
    cubic leaves the values at its ends (Fritsch & Carlson 1980, SIAM J. Numer. Anal. 17, 238): discs end
    within a cell. Beyond the grid the power laws of the monopole go on. Made by `self_consistent`.
    """

    log_rho: Float[Array, "r theta"]
    grid: DensityGrid = eqx.field(static=True)

    def rho(self, R, z) -> Scalar:
        """Density at (R, z) in kpc, in Msun/kpc^3."""
        r2 = jnp.maximum(R * R + z * z, 1e-30)
        low, high = angular_range()
        tau = jnp.clip(angular_coordinate(z * z / r2, R * R / r2), low, high)
        log_r, nodes = 0.5 * jnp.log(r2), self.grid.log_r
        inside = jnp.clip(log_r, nodes[0], nodes[-1])
        u = (inside - nodes[0]) * ((self.grid.n_r - 1) / (nodes[-1] - nodes[0]))
        v = (tau - low) * ((self.grid.n_theta - 1) / (high - low))
        by_u, by_v = _hermite(u, self.grid.n_r), _hermite(v, self.grid.n_theta)
        value = jnp.zeros_like(u)
        for slopes_u, tables in zip((False, True), self._tables, strict=True):
            for slopes_v, table in zip((False, True), tables, strict=True):
                for i, a in by_u[slopes_u]:
                    value += a * sum(b * table[i, j] for j, b in by_v[slopes_v])
        inner, outer = self._slopes
        beyond = log_r - inside
        return jnp.exp(value + jnp.where(beyond > 0.0, outer, inner) * beyond)

    @property
    def _tables(self):
        """ln rho and its slopes in v; the same with slopes in u; per cell."""
        values = self.log_rho
        by_v = _limited(values.T).T
        splines = jnp.asarray(slope_matrix(self.grid.n_r), values.dtype)
        return (values, by_v), (splines @ values, splines @ by_v)

    @property
    def _slopes(self) -> tuple[Scalar, Scalar]:
        """Powers of r within r_min and beyond r_max."""
        step = self.grid.log_r[1] - self.grid.log_r[0]
        shells = jax.nn.logsumexp(self.log_rho + self.grid.log_volumes, axis=1)
        inner, outer = ((shells[i + 1] - shells[i]) / step - 3.0 for i in (0, -2))
        return jnp.clip(inner, *_INNER), jnp.minimum(outer, _OUTER)

    def mass(self) -> Scalar:
        """Msun, of both sides of the plane, all radii included."""
        grid, (x, w) = self.grid, np.polynomial.legendre.leggauss(_NODES)
        fraction = 0.5 * (x + 1.0)
        step = grid.log_r[1] - grid.log_r[0]
        log_r = (grid.log_r[:-1, None] + step * fraction).ravel()
        ends = _latitude(np.linspace(*angular_range(), grid.n_theta))
        width = np.diff(ends)[:, None]
        latitude = (ends[:-1, None] + width * fraction).ravel()
        solid = 4.0 * np.pi * np.cos(latitude) * (0.5 * width * w).ravel()
        radial = np.tile(0.5 * step * w, grid.n_r - 1)
        inner, outer = self._slopes
        # What lies beyond is that of the shells at the ends over 3 + the power.
        r = jnp.exp(jnp.asarray(np.concatenate([log_r, [grid.log_r[0], grid.log_r[-1]]])))
        weights = jnp.concatenate(
            [jnp.asarray(radial), jnp.stack([1.0 / (3.0 + inner), -1.0 / (3.0 + outer)])]
        )
        at = jax.vmap(jax.vmap(self.rho))
        rho = at(r[:, None] * np.cos(latitude), r[:, None] * np.sin(latitude))
        return jnp.sum(weights * r**3 * (rho @ jnp.asarray(solid)))


def _limited(values: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """Slopes per cell, of splines, limited to 3 times those of the chords next to them."""
    slopes = jnp.asarray(slope_matrix(len(values)), values.dtype) @ values
    chords = jnp.diff(values, axis=0)
    below, above = jnp.concatenate([chords[:1], chords]), jnp.concatenate([chords, chords[-1:]])
    most = 3.0 * jnp.minimum(jnp.abs(below), jnp.abs(above))
    sign = jnp.sign(above)
    return jnp.where(below * above > 0.0, sign * jnp.clip(sign * slopes, 0.0, most), 0.0)


def _hermite(u, n: int):
    """(row, weight) of the values and of the slopes that a cubic between two nodes takes."""
    i = jnp.clip(jnp.floor(u), 0, n - 2).astype(jnp.int32)
    t = u - i
    s = 1.0 - t
    values = (i, s * s * (1.0 + 2.0 * t)), (i + 1, t * t * (3.0 - 2.0 * t))
    slopes = (i, t * s * s), (i + 1, -t * t * s)
    return values, slopes
