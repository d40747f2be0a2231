"""Deterministic quadratures over velocity space at one point, scaled to what a DF fills.

J(x, v) does not change under (v_R, v_z) -> (-v_R, -v_z): the rules use half of the meridional plane and
count it twice.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import optimize

# The ball that holds the nodes of a disc, in dispersions, and how far it is stretched to low v_phi.
_REACH = (4.6, 1.6)


class VelocityRule(NamedTuple):
    """Nodes (v_R, v_phi, v_z), shape (n, 3) in km/s, and weights, shape (n,) in (km/s)^3."""

    velocities: Float[Array, "n 3"]
    weights: Float[Array, " n"]


class VelocityScale(NamedTuple):
    """Rough mean and dispersions of (v_R, v_phi, v_z), shape (3,), in km/s."""

    mean: Float[Array, "3"]
    sigma: Float[Array, "3"]


def disc_rule(
    sigma_R,
    sigma_z,
    sigma_phi,
    v_phi,
    *,
    spacing: float = 1.2,
    centre: float = 1.0,
    reach: tuple[float, float] = _REACH,
) -> VelocityRule:
    """Rule for nearly Gaussian velocities about a rotation speed v_phi: a body-centred cubic lattice.

    In velocities scaled by the dispersions, the trapezoidal rule on a lattice converges geometrically for
    smooth functions that vanish at the ends, and of all lattices the body-centred cubic one needs the
    fewest nodes for a Gaussian. `spacing` is that of the cubic lattice of equal density, in dispersions.
    The ball that holds the nodes, of radius reach[0], is stretched by reach[1] towards v_phi = 0, where
    asymmetric drift puts a tail.
    Sums of hot and cold populations need centre < 1, the spacing there over `spacing`: the distance q from
    the centre becomes centre b sinh(q/b), with b such that the ball keeps its radius.
    """
    u = _lattice(spacing, centre, *reach)
    scale = jnp.stack([sigma_R, sigma_phi, sigma_z])
    shift = jnp.stack([jnp.zeros_like(v_phi), v_phi, jnp.zeros_like(v_phi)])
    return VelocityRule(shift + scale * u.nodes, u.weights * sigma_R * sigma_phi * sigma_z)


class _Lattice(NamedTuple):
    nodes: np.ndarray
    weights: np.ndarray


@functools.cache
def _lattice(spacing: float, centre: float, radius: float, stretch: float) -> _Lattice:
    """Half of a body-centred cubic lattice in a stretched ball, with weights for the whole."""
    edge = spacing * 2.0 ** (1.0 / 3.0)
    n = int(np.ceil((radius + stretch) / edge)) + 1
    corner = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    points = edge * np.concatenate([corner, corner + 0.5])
    x, y, z = points.T
    stretched = np.where(y < 0.0, y * radius / (radius + stretch), y)
    inside = x * x + stretched * stretched + z * z < radius**2
    points = points[inside]
    x, _, z = points.T
    half = (z > 1e-9) | ((np.abs(z) < 1e-9) & (x > -1e-9))
    single = (np.abs(z) < 1e-9) & (np.abs(x) < 1e-9)
    points, weights = points[half], np.where(single, 1.0, 2.0)[half] * spacing**3
    if centre == 1.0:
        return _Lattice(points, weights)
    b = radius / optimize.root_scalar(lambda x: centre * np.sinh(x) - x, bracket=(1e-3, 30.0)).root
    q = np.maximum(np.linalg.norm(points, axis=1), 1e-12)
    wider = centre * b * np.sinh(q / b) / q
    return _Lattice(points * wider[:, None], weights * wider**2 * centre * np.cosh(q / b))


def spheroid_rule(
    v_max, R, z, *, n_speed: int = 10, n_eta: int = 4, n_psi: int = 5, v_slow=None
) -> VelocityRule:
    """Rule for velocities spread over a sphere of radius v_max about rest, at the point (R, z).

    Gauss-Legendre in speed, in the angle eta from the direction to the centre, and in the angle psi about
    that direction, which is split where v_phi = 0 (n_psi nodes on either side). An f of a J_r + b J_z +
    |J_phi| has a cone-like cusp on radial orbits and a kink at v_phi = 0; in these angles it is smooth
    between the ends of the panels.

    An f that changes over speeds far below v_max, as near the centre of a cusp, needs `v_slow`, about that
    speed: the nodes are then those of asinh(v/v_slow).
    """
    v, w_v = legendre(n_speed, 1.0)
    if v_slow is not None:
        slow = v_slow / v_max
        reach = jnp.arcsinh(1.0 / slow)
        v, w_v = slow * jnp.sinh(reach * v), slow * reach * jnp.cosh(reach * v) * w_v
    eta, w_eta = legendre(n_eta, 0.5 * np.pi)
    psi, w_psi = legendre(n_psi, np.pi)
    psi = np.concatenate([psi - 0.5 * np.pi, psi + 0.5 * np.pi])
    eta, psi = np.meshgrid(eta, psi, indexing="ij")
    angular = w_eta[:, None] * np.tile(w_psi, 2) * 2.0 * np.sin(eta)
    weights = (w_v * v**2)[:, None, None] * angular
    outwards, across, around = (
        (v[:, None, None] * part).ravel()
        for part in (np.cos(eta), np.sin(eta) * np.sin(psi), np.sin(eta) * np.cos(psi))
    )
    r = jnp.hypot(R, z)
    sine, cosine = R / r, z / r
    nodes = jnp.stack(
        [sine * outwards + cosine * across, jnp.asarray(around), cosine * outwards - sine * across]
    )
    return VelocityRule(v_max * nodes.T, v_max**3 * jnp.asarray(weights.ravel()))


def legendre(n: int, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [0, length]."""
    x, w = np.polynomial.legendre.leggauss(n)
    return 0.5 * length * (x + 1.0), 0.5 * length * w
