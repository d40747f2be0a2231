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


def _interval(low, high, x):
    """[low, high] mapped to [-1, 1]."""
    return (2.0 * x - low - high) / (high - low)


def _coordinates(box: Box, flat: bool, R, z):
    """Two variables in [-1, 1] in which ln rho is nearly a polynomial: of the first n_R, of the second n_z.

    Along and across the plane for discs, which are flat; else R/r and ln r. R/r and not the latitude,
    because f with |J_phi| makes ln rho turn sharply at the axis, where it is linear in R.
    """
    if flat:
        return (
            _interval(box.R_min, box.R_max, R),
            _interval(_TURN, np.hypot(box.z_max, _TURN), _height(z)),
        )
    r = jnp.hypot(R, z)
    return _interval(box.sine_min, box.sine_max, R / r), _interval(
        np.log(box.r_min), np.log(box.r_max), jnp.log(r)
    )


def _places(box: Box, flat: bool, n_R: int, n_z: int) -> tuple[np.ndarray, np.ndarray]:
    """R and z of the n_R x n_z Chebyshev points of `_coordinates`."""

    def at(low, high, n):
        return 0.5 * (low + high) + 0.5 * (high - low) * _chebyshev(n)[0]

    if flat:
        R, height = at(box.R_min, box.R_max, n_R), at(_TURN, np.hypot(box.z_max, _TURN), n_z)
        R, z = np.meshgrid(R, np.sqrt(height**2 - _TURN**2), indexing="ij")
        return R.ravel(), z.ravel()
    sine, log_r = at(box.sine_min, box.sine_max, n_R), at(np.log(box.r_min), np.log(box.r_max), n_z)
    sine, r = np.meshgrid(sine, np.exp(log_r), indexing="ij")
    return (r * sine).ravel(), (r * np.sqrt(1.0 - sine**2)).ravel()


@final
class DensityGrid(eqx.Module):
    """Chebyshev polynomials for ln rho of each component; constant beyond the box.

    Discs have them in R and sqrt(z^2 + (0.2 kpc)^2), other components (`flat` is False) in R/r and ln r.

    A polynomial has no knots, so that a grid of some 20 points represents the smooth ln rho of a solar
    neighbourhood (`model.diagnose` measures the error), and its derivatives are those of its values.
    """

    coefficients: Float[Array, "k n_R n_z"]
    box: Box = eqx.field(static=True)
    flat: tuple[bool, ...] = eqx.field(static=True)

    def log_rho(self, R, z) -> Float[Array, " k"]:
        """ln rho of every component at one point (kpc)."""
        _, n_R, n_z = self.coefficients.shape
        values = []
        for coefficients, flat in zip(self.coefficients, self.flat, strict=True):
            x, y = _coordinates(self.box, flat, R, z)
            T_x = _polynomials(jnp.clip(x, -1.0, 1.0), n_R)
            T_y = _polynomials(jnp.clip(y, -1.0, 1.0), n_z)
            values.append(T_x @ coefficients @ T_y)
        return jnp.stack(values)


class VelocityNodes(NamedTuple):
    """Phase-space nodes of one component's grid: shapes (p, n, 3), (p, n, 3) and weights (p, n)."""

    x: Float[Array, "p n 3"]
    v: Float[Array, "p n 3"]
    w: Float[Array, "p n"]


def velocity_nodes(
    f: AbstractDF, potential: AbstractPotential, box: Box, *, n_R: int = 3, n_z: int = 5, refine: float = 1.0
) -> VelocityNodes:
    """Where a (bound) DF must be known to fill an n_R x n_z grid of Chebyshev points."""
    R, z = (jnp.asarray(a) for a in _places(box, f.flat, n_R, n_z))
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
    flat = tuple(f.flat for f in dfs)
    return DensityGrid(jnp.einsum("kij,ai,bj->kab", log_rho, to_R, to_z), box, flat)
