"""ln rho(R, z) of every component over the surveyed volume, from a small grid of velocity integrals."""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from oortax.df import AbstractDF
from oortax.model.volume import Box
from oortax.potential import AbstractPotential
from oortax.types import Scalar


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


# A place whose density is exp(-_DEEP) of the largest holds no star; there the integral may vanish.
_DEEP = 80.0


def _coordinates(box: Box, flat: bool, R, z):
    """Two variables in [-1, 1] in which ln rho is nearly a polynomial: of the first n_R, of the second n_z.

    Along and across the plane for discs, which are flat; else R/r and ln r. R/r and not the latitude,
    because f with |J_phi| makes ln rho turn sharply at the axis, where it is linear in R.
    """
    if flat:
        return (
            _interval(box.R_min, box.R_max, R),
            _interval(_TURN, _height(box.z_max), _height(z)),
        )
    r = jnp.hypot(R, z)
    return _interval(box.sine_min, box.sine_max, R / r), _interval(
        jnp.log(box.r_min), jnp.log(box.r_max), jnp.log(r)
    )


def _places(box: Box, flat: bool, n_R: int, n_z: int) -> tuple[Array, Array]:
    """R and z of the n_R x n_z Chebyshev points of `_coordinates`."""

    def at(low, high, n):
        return 0.5 * (low + high) + 0.5 * (high - low) * _chebyshev(n)[0]

    if flat:
        R, height = at(box.R_min, box.R_max, n_R), at(_TURN, _height(box.z_max), n_z)
        R, z = jnp.meshgrid(R, jnp.sqrt(height**2 - _TURN**2), indexing="ij")
        return R.ravel(), z.ravel()
    sine, log_r = at(box.sine_min, box.sine_max, n_R), at(jnp.log(box.r_min), jnp.log(box.r_max), n_z)
    sine, r = jnp.meshgrid(sine, jnp.exp(log_r), indexing="ij")
    return (r * sine).ravel(), (r * jnp.sqrt(1.0 - sine**2)).ravel()


@final
class DensityGrid(eqx.Module):
    """Chebyshev polynomials for ln rho of each component in its own box.

    Discs have them in R and sqrt(z^2 + (0.2 kpc)^2), other components (`flat` is False) in R/r and ln r.
    Beyond its box, where it has next to no stars, a component goes on as it falls at the edge, or stays.

    A polynomial has no knots, so that a grid of some 20 points represents the smooth ln rho of a solar
    neighbourhood, and one of 100 that of a whole disc (`model.diagnose` measures the error), and its
    derivatives are those of its values.
    """

    coefficients: tuple[Float[Array, "n_R n_z"], ...]
    boxes: tuple[Box, ...]
    flat: tuple[bool, ...] = eqx.field(static=True)

    def log_rho(self, R, z) -> Float[Array, " k"]:
        """ln rho of every component at one point (kpc)."""
        parts = zip(self.coefficients, self.boxes, self.flat, strict=True)
        return jnp.stack([_continued(table, *_coordinates(box, flat, R, z)) for table, box, flat in parts])


def _continued(table: Float[Array, "n_R n_z"], x: Scalar, y: Scalar) -> Scalar:
    """The polynomials at x and y, and beyond [-1, 1] along the tangent at the edge unless that rises."""

    def value(x, y):
        return _polynomials(x, table.shape[0]) @ table @ _polynomials(y, table.shape[1])

    edge = jnp.clip(x, -1.0, 1.0), jnp.clip(y, -1.0, 1.0)
    inside, beyond = jax.jvp(value, edge, (x - edge[0], y - edge[1]))
    return inside + jnp.minimum(beyond, 0.0)


class VelocityNodes(NamedTuple):
    """Phase-space nodes of one component's grid: shapes (p, n, 3), (p, n, 3) and weights (p, n)."""

    x: Float[Array, "p n 3"]
    v: Float[Array, "p n 3"]
    w: Float[Array, "p n"]


def velocity_nodes(
    f: AbstractDF, potential: AbstractPotential, box: Box, *, n_R: int = 3, n_z: int = 5, refine: float = 1.0
) -> VelocityNodes:
    """Where a (bound) DF must be known to fill an n_R x n_z grid of Chebyshev points."""
    R, z = _places(box, f.flat, n_R, n_z)
    velocities, weights = jax.vmap(lambda R, z: f.velocity_rule(potential, R, z, refine))(R, z)
    places = jnp.stack([R, jnp.zeros_like(R), z], axis=-1)
    return VelocityNodes(jnp.broadcast_to(places[:, None], velocities.shape), velocities, weights)


def density_grid(
    dfs: tuple[AbstractDF, ...],
    nodes: tuple[VelocityNodes, ...],
    actions: tuple[Float[Array, "p n 3"], ...],
    boxes: tuple[Box, ...],
    shapes: tuple[tuple[int, int], ...],
) -> DensityGrid:
    """Integrate every (bound) DF over velocity, given the actions at its nodes; (n_R, n_z) of each."""
    tables = []
    for f, node, J, shape in zip(dfs, nodes, actions, shapes, strict=True):
        log_rho = jax.nn.logsumexp(jax.vmap(jax.vmap(f.log_f))(J), b=node.w, axis=1)
        log_rho = jnp.maximum(log_rho, lax.stop_gradient(jnp.max(log_rho)) - _DEEP).reshape(shape)
        (_, to_R), (_, to_z) = map(_chebyshev, shape)
        tables.append(to_R @ log_rho @ to_z.T)
    return DensityGrid(tuple(tables), boxes, tuple(f.flat for f in dfs))
