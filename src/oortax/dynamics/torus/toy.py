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
    """Toy latitude: its sine, its cosine, its momentum (kpc km/s), and the azimuth since the node
    less theta_z."""

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
    The azimuth grows by pi in a radial period.
    """
    A, B = amplitudes(barrier, J_r)
    return Radial(0.5 * jnp.log(_r2(barrier, A, B, theta_r)), B * jnp.sin(theta_r))


def _r2(barrier, A, B, theta_r):
    """A - B cos(theta_r) without cancellation at pericentre."""
    return barrier * barrier / (A + B) + 2.0 * B * jnp.sin(0.5 * theta_r) ** 2


def oscillator_azimuth(barrier: Scalar, theta_r: Scalar, J_r: Scalar) -> Scalar:
    """Azimuth of the plane oscillator since pericentre, less theta_r/2: periodic."""
    A, B = amplitudes(barrier, J_r)
    # The azimuth is the argument of barrier cos(theta_r/2) + i (A + B) sin(theta_r/2).
    sin, cos = jnp.sin(0.5 * theta_r), jnp.cos(0.5 * theta_r)
    along, across = barrier * cos, (A + B) * sin
    return jnp.arctan2(across * cos - along * sin, along * cos + across * sin)


def sphere(theta_z: Scalar, J_z: Scalar, barrier: Scalar) -> Latitude:
    """Motion on a great circle of inclination i: sin(lat) = sin(i) sin(theta_z), cos(i) = barrier/L.

    L = J_z + barrier is the whole angular momentum, `barrier` its component along the axis. The azimuth is
    that of the point less that of the node, less theta_z: periodic.
    """
    L = J_z + barrier
    # sin^2(i) without cancellation.
    sine_i = jnp.sqrt(J_z * (J_z + 2.0 * barrier)) / L
    sin, cos = jnp.sin(theta_z), jnp.cos(theta_z)
    cosine = jnp.hypot(cos, barrier / L * sin)
    azimuth = jnp.arctan2((barrier / L - 1.0) * sin * cos, cos * cos + barrier / L * sin * sin)
    return Latitude(sine_i * sin, cosine, L * sine_i * cos / cosine, azimuth)
