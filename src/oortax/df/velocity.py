"""Deterministic quadratures over velocity space at one point, scaled to what a DF fills.

J(x, v) does not change under (v_R, v_z) -> (-v_R, -v_z): the rules use half of the meridional plane and
count it twice.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class VelocityRule(NamedTuple):
    """Nodes (v_R, v_phi, v_z), shape (n, 3) in km/s, and weights, shape (n,) in (km/s)^3."""

    velocities: Float[Array, "n 3"]
    weights: Float[Array, " n"]


def disc_rule(
    sigma_R, sigma_z, sigma_phi, v_phi, *, n_speed: int = 6, n_angle: int = 4, n_phi: int = 12
) -> VelocityRule:
    """Rule for nearly Gaussian velocities about a rotation speed v_phi.

    Meridional plane: polar coordinates in (v_R/sigma_R, v_z/sigma_z), Gauss-Laguerre in half the squared
    radius and midpoints in angle. Azimuth: the trapezoidal rule, which converges geometrically for functions
    that vanish at both ends, from 6 sigma_phi below v_phi (asymmetric drift) to 4.5 above.
    """
    t, w_t = np.polynomial.laguerre.laggauss(n_speed)
    w_t = w_t * np.exp(t)
    angle = (np.arange(n_angle) + 0.5) * np.pi / n_angle
    p = np.sqrt(2.0 * t)
    step = 10.5 / (n_phi - 1)
    u = -6.0 + step * np.arange(n_phi)
    v_R = np.broadcast_to((p[:, None] * np.cos(angle))[:, :, None], (n_speed, n_angle, n_phi)).ravel()
    v_z = np.broadcast_to((p[:, None] * np.sin(angle))[:, :, None], (n_speed, n_angle, n_phi)).ravel()
    u = np.broadcast_to(u, (n_speed, n_angle, n_phi)).ravel()
    weights = np.broadcast_to(w_t[:, None, None], (n_speed, n_angle, n_phi)).ravel()
    weights = 2.0 * np.pi / n_angle * step * weights
    velocities = jnp.stack([sigma_R * v_R, v_phi + sigma_phi * u, sigma_z * v_z], axis=-1)
    return VelocityRule(velocities, weights * sigma_R * sigma_z * sigma_phi)


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
