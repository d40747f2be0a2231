"""Deterministic quadratures over velocity space at one point, scaled to what a DF fills.

J(x, v) does not change under (v_R, v_z) -> (-v_R, -v_z): the rules use half of the meridional plane and
count it twice.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# The ball that holds the nodes of a disc, in dispersions, and how far it is stretched to low v_phi.
_RADIUS, _STRETCH = 4.6, 1.6


class VelocityRule(NamedTuple):
    """Nodes (v_R, v_phi, v_z), shape (n, 3) in km/s, and weights, shape (n,) in (km/s)^3."""

    velocities: Float[Array, "n 3"]
    weights: Float[Array, " n"]


def disc_rule(sigma_R, sigma_z, sigma_phi, v_phi, *, spacing: float = 1.2) -> VelocityRule:
    """Rule for nearly Gaussian velocities about a rotation speed v_phi: a body-centred cubic lattice.

    In velocities scaled by the dispersions, the trapezoidal rule on a lattice converges geometrically for
    smooth functions that vanish at the ends, and of all lattices the body-centred cubic one needs the
    fewest nodes for a Gaussian. `spacing` is that of the cubic lattice of equal density, in dispersions.
    The ball that holds the nodes is stretched towards v_phi = 0, where asymmetric drift puts a tail.
    """
    u = _lattice(spacing)
    scale = jnp.stack([sigma_R, sigma_phi, sigma_z])
    shift = jnp.stack([jnp.zeros_like(v_phi), v_phi, jnp.zeros_like(v_phi)])
    return VelocityRule(shift + scale * u.nodes, u.weights * sigma_R * sigma_phi * sigma_z)


class _Lattice(NamedTuple):
    nodes: np.ndarray
    weights: np.ndarray


@functools.cache
def _lattice(spacing: float) -> _Lattice:
    """Half of a body-centred cubic lattice in a stretched ball, with weights for the whole."""
    edge = spacing * 2.0 ** (1.0 / 3.0)
    n = int(np.ceil((_RADIUS + _STRETCH) / edge)) + 1
    corner = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    points = edge * np.concatenate([corner, corner + 0.5])
    x, y, z = points.T
    stretched = np.where(y < 0.0, y * _RADIUS / (_RADIUS + _STRETCH), y)
    inside = x * x + stretched * stretched + z * z < _RADIUS**2
    points = points[inside]
    x, _, z = points.T
    half = (z > 1e-9) | ((np.abs(z) < 1e-9) & (x > -1e-9))
    single = (np.abs(z) < 1e-9) & (np.abs(x) < 1e-9)
    weights = np.where(single, 1.0, 2.0)[half] * spacing**3
    return _Lattice(points[half], weights)


def spheroid_rule(v_max, *, n_speed: int = 10, n_phi: int = 8, n_angle: int = 4) -> VelocityRule:
    """Rule for velocities spread over a sphere of radius v_max about rest, split at v_phi = 0.

    Gauss-Legendre in speed and, on either side of v_phi = 0 (where f may have a cusp), in v_phi/|v|;
    midpoints in the meridional angle.
    """
    x, w_x = np.polynomial.legendre.leggauss(n_speed)
    speed, w_speed = 0.5 * (x + 1.0), 0.5 * w_x
    x, w_x = np.polynomial.legendre.leggauss(n_phi // 2)
    cosine = np.concatenate([-0.5 * (x + 1.0), 0.5 * (x + 1.0)])
    w_cosine = np.concatenate([0.5 * w_x, 0.5 * w_x])
    angle = (np.arange(n_angle) + 0.5) * np.pi / n_angle
    v, c, a = np.meshgrid(speed, cosine, angle, indexing="ij")
    sine = np.sqrt(1.0 - c * c)
    weights = w_speed[:, None, None] * w_cosine[None, :, None] * v * v * (2.0 * np.pi / n_angle)
    nodes = np.stack([v * sine * np.cos(a), v * c, v * sine * np.sin(a)], axis=-1).reshape(-1, 3)
    return VelocityRule(v_max * jnp.asarray(nodes), v_max**3 * jnp.asarray(weights.ravel()))
