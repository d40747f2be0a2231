"""The toy tori: two uncoupled motions in closed form, which point transformations bend into a galaxy's.

A radial oscillator behind a barrier times a particle on a sphere. Unlike the isochrone's, its angles do not
mix: the plane is crossed at theta_z = 0 whatever theta_r, so that few terms describe what a thin disc does.
"""

from typing import NamedTuple

import jax.numpy as jnp

from oortax.types import Scalar


class Radial(NamedTuple):
    """Logarithm of the toy radius and its momentum (kpc km/s)."""

    log_r: Scalar
    p: Scalar


class Latitude(NamedTuple):
    """Toy latitude: its sine, its cosine, its momentum (kpc km/s), and the azimuth since the node."""

    sine: Scalar
    cosine: Scalar
    p: Scalar
    azimuth: Scalar


def amplitudes(barrier: Scalar, J_r: Scalar) -> tuple[Scalar, Scalar]:
    """A and B of r^2 = A - B cos(theta_r)."""
    return 2.0 * J_r + barrier, 2.0 * jnp.sqrt(J_r * (J_r + barrier))


def oscillator(barrier: Scalar, theta_r: Scalar, J_r: Scalar) -> Radial:
    """Radial motion of a plane oscillator of unit frequency with angular momentum `barrier`.

    r^2 = A - B cos(theta_r), r p_r = B sin(theta_r), with A = 2 J_r + barrier and A^2 - B^2 = barrier^2.
    """
    A, B = amplitudes(barrier, J_r)
    return Radial(0.5 * jnp.log(A - B * jnp.cos(theta_r)), B * jnp.sin(theta_r))


def sphere(theta_z: Scalar, J_z: Scalar, J_phi: Scalar) -> Latitude:
    """Motion on a great circle of inclination i: sin(lat) = sin(i) sin(theta_z), cos(i) = |J_phi|/L.

    L = J_z + |J_phi| is the whole angular momentum.
    The azimuth is that of the point less that of the node, counted along the motion; phi = theta_phi
    + sign(J_phi) (azimuth - theta_z).
    """
    L, L_z = J_z + jnp.abs(J_phi), jnp.abs(J_phi)
    # sin^2(i) without cancellation.
    sine_i = jnp.sqrt(J_z * (J_z + 2.0 * L_z)) / L
    sin, cos = jnp.sin(theta_z), jnp.cos(theta_z)
    cosine = jnp.hypot(cos, L_z / L * sin)
    return Latitude(sine_i * sin, cosine, L * sine_i * cos / cosine, jnp.arctan2(L_z / L * sin, cos))
