"""ln rho(R, z) of every component over the surveyed volume, from a small grid of velocity integrals."""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.df import AbstractDF
from oortax.model.nodes import Box
from oortax.potential import AbstractPotential


def _chebyshev(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Chebyshev points on [-1, 1] and the matrix from values there to coefficients."""
    angle = (np.arange(n) + 0.5) * np.pi / n
    matrix = np.cos(np.arange(n)[:, None] * angle) * 2.0 / n
    matrix[0] *= 0.5
    return np.cos(angle), matrix


def _polynomials(x, n: int):
    """T_0 .. T_{n-1} at x, shape (n,)."""
    values = [jnp.ones_like(x), x]
    for _ in range(n - 2):
        values.append(2.0 * x * values[-1] - values[-2])
    return jnp.stack(values[:n])


# Where ln rho of a thin disc turns from a parabola in z to a straight line, in kpc.
_TURN = 0.2


def _height(z):
    """The variable in which ln rho(z) of a disc is nearly a polynomial: even, and |z| far from the plane."""
    return jnp.sqrt(z * z + _TURN**2)


@final
class DensityGrid(eqx.Module):
    """Chebyshev polynomials in R and sqrt(z^2 + (0.2 kpc)^2) for ln rho of each component; constant beyond.

    A polynomial has no knots, so that a grid of some 20 points represents the smooth ln rho of a solar
    neighbourhood (`model.diagnose` measures the error), and its derivatives are those of its values.
    """

    coefficients: Float[Array, "k n_R n_z"]
    box: Box = eqx.field(static=True)

    def log_rho(self, R, z) -> Float[Array, " k"]:
        """ln rho of every component at one point (kpc)."""
        _, n_R, n_z = self.coefficients.shape
        box = self.box
        x = (2.0 * R - box.R_min - box.R_max) / (box.R_max - box.R_min)
        top = np.hypot(box.z_max, _TURN)
        y = (2.0 * _height(z) - top - _TURN) / (top - _TURN)
        T_R = _polynomials(jnp.clip(x, -1.0, 1.0), n_R)
        T_z = _polynomials(jnp.clip(y, -1.0, 1.0), n_z)
        return jnp.einsum("kij,i,j->k", self.coefficients, T_R, T_z)


class VelocityNodes(NamedTuple):
    """Phase-space nodes of one component's grid: shapes (p, n, 3), (p, n, 3) and weights (p, n)."""

    x: Float[Array, "p n 3"]
    v: Float[Array, "p n 3"]
    w: Float[Array, "p n"]


def velocity_nodes(
    f: AbstractDF, potential: AbstractPotential, box: Box, *, n_R: int = 3, n_z: int = 5, refine: float = 1.0
) -> VelocityNodes:
    """Where a (bound) DF must be known to fill an n_R x n_z grid of Chebyshev points."""
    x, _ = _chebyshev(n_R)
    y, _ = _chebyshev(n_z)
    R = 0.5 * (box.R_min + box.R_max) + 0.5 * (box.R_max - box.R_min) * x
    top = np.hypot(box.z_max, _TURN)
    height = 0.5 * (top + _TURN) + 0.5 * (top - _TURN) * y
    z = np.sqrt(height**2 - _TURN**2)
    R, z = (jnp.asarray(a.ravel()) for a in np.meshgrid(R, z, indexing="ij"))
    velocities, weights = jax.vmap(lambda R, z: f.velocity_rule(potential, R, z, refine))(R, z)
    places = jnp.stack([R, jnp.zeros_like(R), z], axis=-1)
    return VelocityNodes(jnp.broadcast_to(places[:, None], velocities.shape), velocities, weights)


def density_grid(
    dfs: tuple[AbstractDF, ...],
    nodes: tuple[VelocityNodes, ...],
    actions: tuple[Float[Array, "p n 3"], ...],
    box: Box,
    *,
    n_R: int = 3,
    n_z: int = 5,
) -> DensityGrid:
    """Integrate every (bound) DF over velocity, given the actions at its nodes."""
    _, to_R = _chebyshev(n_R)
    _, to_z = _chebyshev(n_z)
    log_rho = jnp.stack(
        [
            jax.nn.logsumexp(jax.vmap(jax.vmap(f.log_f))(J), b=node.w, axis=1).reshape(n_R, n_z)
            for f, node, J in zip(dfs, nodes, actions, strict=True)
        ]
    )
    return DensityGrid(jnp.einsum("kij,ai,bj->kab", log_rho, to_R, to_z), box)
