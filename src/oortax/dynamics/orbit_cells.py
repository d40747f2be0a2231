"""Cells of R and |z|: mass and velocity moments of stars, of a model, or of the time that orbits spend."""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from oortax.types import Vec3


class Passage(NamedTuple):
    """How an orbit passes a point: what it does in the point's cell of R and |z|.

    Attributes
    ----------
    fraction : of the time spent there; 0: it never passes
    v_R, v_z : rms speeds along R and z, km/s; NaN where it never passes
    v_phi : mean azimuthal velocity, km/s
    tilt : mean of v_R v_z above the plane, (km/s)^2
    """

    fraction: Float[Array, "*n"]
    v_R: Float[Array, "*n"]
    v_z: Float[Array, "*n"]
    v_phi: Float[Array, "*n"]
    tilt: Float[Array, "*n"]


@final
class CellMoments(eqx.Module):
    """Mass and velocities in cells of R and |z|: of one model, or of n orbits in a leading axis.

    Attributes
    ----------
    R_edges, z_edges : kpc, rising; z_edges from 0 unless the plane is left out
    sums : (..., n_R, n_z, 8), mass in a cell, and its products with the means of v_R, v_z, v_phi, v_R^2,
        v_z^2, v_phi^2 and v_R v_z (km/s); below the plane v_z is counted towards it, as above
    """

    R_edges: Float[Array, " r"]
    z_edges: Float[Array, " z"]
    sums: Float[Array, "*n R Z 8"]

    def with_sums(self, sums) -> "CellMoments":
        """Other sums in the same cells."""
        return CellMoments(self.R_edges, self.z_edges, sums)

    @property
    def mass(self) -> Float[Array, "*n R Z"]:
        """Mass, or the fraction of an orbit's time."""
        return self.sums[..., 0]

    @property
    def means(self) -> Float[Array, "*n R Z 7"]:
        """Means of v_R, v_z, v_phi, v_R^2, v_z^2, v_phi^2, v_R v_z; NaN in empty cells."""
        mass = self.mass[..., None]
        return jnp.where(mass > 0.0, self.sums[..., 1:] / jnp.where(mass > 0.0, mass, 1.0), jnp.nan)

    @property
    def dispersions(self) -> Float[Array, "*n R Z 3"]:
        """Dispersions of v_R and v_z about 0 and of v_phi about its mean, km/s."""
        means = self.means
        return jnp.sqrt(jnp.maximum(means[..., 3:6].at[..., 2].add(-(means[..., 2] ** 2)), 0.0))

    def at(self, R, z) -> Passage:
        """What happens in the cell of (R, z); NaN beyond the cells."""
        n_z = len(self.z_edges) - 1
        cell = _cell(self.R_edges, self.z_edges, jnp.asarray(R), jnp.asarray(z))
        known = cell < (len(self.R_edges) - 1) * n_z
        i, j = jnp.divmod(jnp.where(known, cell, 0), n_z)
        fraction = jnp.where(known, self.mass[..., i, j], jnp.nan)
        means = jnp.where(known, self.means[..., i, j, :], jnp.nan)
        return Passage(
            fraction, jnp.sqrt(means[..., 3]), jnp.sqrt(means[..., 4]), means[..., 2], means[..., 6]
        )


def points_in_cells(
    x: Float[Array, "n 3"], v: Float[Array, "n 3"], weight: Float[Array, " n"], R_edges, z_edges
) -> CellMoments:
    """Weighted points in cells of R and |z|: stars, or points drawn from tori.

    >>> x, v = jnp.array([[8.0, 0.0, -0.3]]), jnp.array([[10.0, 220.0, -5.0]])
    >>> cells = points_in_cells(x, v, jnp.ones(1), jnp.array([7.0, 9.0]), jnp.array([0.0, 1.0]))
    >>> cells.at(8.5, 0.5).tilt
    Array(50., dtype=float64)
    """
    R_edges, z_edges = jnp.asarray(R_edges, float), jnp.asarray(z_edges, float)
    n_R, n_z = len(R_edges) - 1, len(z_edges) - 1
    cell, values = jax.vmap(lambda x, v: counted(R_edges, z_edges, x, v))(x, v)
    sums = jnp.zeros((n_R * n_z, 8)).at[cell].add(weight[:, None] * values, mode="drop")
    return CellMoments(R_edges, z_edges, sums.reshape(n_R, n_z, 8))


def _cell(R_edges, z_edges, R, z) -> Int[Array, ""]:
    """The cell's number; that of none is the number of cells."""
    n_R, n_z = len(R_edges) - 1, len(z_edges) - 1
    i = jnp.searchsorted(R_edges, R, side="right", method="compare_all") - 1
    j = jnp.searchsorted(z_edges, jnp.abs(z), side="right", method="compare_all") - 1
    inside = (i >= 0) & (i < n_R) & (j >= 0) & (j < n_z)
    return jnp.where(inside, i * n_z + j, n_R * n_z)


def counted(R_edges, z_edges, x: Vec3, v: Vec3) -> tuple[Int[Array, ""], Float[Array, "8"]]:
    """A point's cell, and what is summed there."""
    R = jnp.maximum(jnp.hypot(x[0], x[1]), 1e-150)
    v_R, v_phi = (x[0] * v[0] + x[1] * v[1]) / R, (x[0] * v[1] - x[1] * v[0]) / R
    v_z = jnp.where(x[2] < 0.0, -v[2], v[2])
    one = jnp.ones_like(R)
    values = jnp.stack([one, v_R, v_z, v_phi, v_R * v_R, v_z * v_z, v_phi * v_phi, v_R * v_z])
    return _cell(R_edges, z_edges, R, x[2]), values
