"""The toy tori: two uncoupled motions in closed form, which point transformations bend into a galaxy's.

A radial oscillator behind a barrier times a particle on a sphere. Unlike the isochrone's, its angles do not
mix: the plane is crossed at theta_z = 0 whatever theta_r, so that few terms describe what a thin disc does.
"""

from typing import NamedTuple

import jax.numpy as jnp

from oortax.numerics.trigonometry import sin_cos
from oortax.types import Scalar

# Added to squares that vanish at J_phi = 0.
_TINY = 1e-300


class Turn(NamedTuple):
    """An angle by its cosine and sine: none is computed where points are turned by it."""

    cosine: Scalar
    sine: Scalar

    @property
    def angle(self) -> Scalar:
        """From -pi to pi."""
        return jnp.arctan2(self.sine, self.cosine)


class Radial(NamedTuple):
    """Square of the toy radius, and the momentum of its logarithm (kpc km/s)."""

    r2: Scalar
    p: Scalar


class Latitude(NamedTuple):
    """Toy latitude: its sine, its cosine, its momentum (kpc km/s), and the azimuth since the node less
    theta_z."""

    sine: Scalar
    cosine: Scalar
    p: Scalar
    azimuth: Turn


def amplitudes(barrier: Scalar, J_r: Scalar) -> tuple[Scalar, Scalar]:
    """A and B of r^2 = A - B cos(theta_r)."""
    return 2.0 * J_r + barrier, 2.0 * jnp.sqrt(J_r * (J_r + barrier))


def oscillator(barrier: Scalar, theta_r: Scalar, J_r: Scalar) -> Radial:
    """Radial motion of a plane oscillator of unit frequency with angular momentum `barrier`.

    r^2 = A - B cos(theta_r), r p_r = B sin(theta_r), with A = 2 J_r + barrier and A^2 - B^2 = barrier^2.
    The azimuth grows by pi in a radial period.
    """
    return oscillator_at(barrier, sin_cos(0.5 * theta_r), J_r)


def oscillator_at(barrier: Scalar, half: tuple[Scalar, Scalar], J_r: Scalar) -> Radial:
    """The same by sine and cosine of theta_r/2."""
    A, B = amplitudes(barrier, J_r)
    sin, cos = half
    # A - B cos(theta_r) without cancellation at pericentre.
    r2 = barrier * barrier / (A + B) + 2.0 * B * sin * sin
    return Radial(r2, 2.0 * B * sin * cos)


def oscillator_azimuth(barrier: Scalar, theta_r: Scalar, J_r: Scalar) -> Turn:
    """Azimuth of the plane oscillator since pericentre, less theta_r/2: periodic."""
    A, B = amplitudes(barrier, J_r)
    # The azimuth is the argument of barrier cos(theta_r/2) + i (A + B) sin(theta_r/2).
    sin, cos = sin_cos(0.5 * theta_r)
    along, across = barrier * cos, (A + B) * sin
    norm = jnp.sqrt(along * along + across * across + _TINY)
    return Turn((along * cos + across * sin) / norm, (across * cos - along * sin) / norm)


def oscillator_inverse(barrier: Scalar, at: Radial) -> tuple[Scalar, Scalar]:
    """(theta_r, J_r) of a point: J_r = (p^2 + (r^2 - barrier)^2)/(4 r^2), tan(theta_r) = p/(A - r^2)."""
    r2 = at.r2
    J_r = 0.25 * (at.p * at.p + (r2 - barrier) ** 2) / r2
    return jnp.arctan2(at.p, 2.0 * J_r + barrier - r2), J_r


def sphere(theta_z: Scalar, J_z: Scalar, barrier: Scalar) -> Latitude:
    """Motion on a great circle of inclination i: sin(lat) = sin(i) sin(theta_z), cos(i) = barrier/L.

    L = J_z + barrier is the whole angular momentum, `barrier` its component along the axis. The azimuth is
    that of the point less that of the node, less theta_z: periodic.
    """
    return sphere_at(barrier, sin_cos(theta_z), J_z)


def sphere_at(barrier: Scalar, angle: tuple[Scalar, Scalar], J_z: Scalar) -> Latitude:
    """The same by sine and cosine of theta_z."""
    L = J_z + barrier
    # sin^2(i) without cancellation.
    sine_i = jnp.sqrt(J_z * (J_z + 2.0 * barrier)) / L
    sin, cos = angle
    cosine = jnp.sqrt(cos * cos + (barrier / L * sin) ** 2 + _TINY)
    azimuth = Turn((cos * cos + barrier / L * sin * sin) / cosine, (barrier / L - 1.0) * sin * cos / cosine)
    return Latitude(sine_i * sin, cosine, L * sine_i * cos / cosine, azimuth)


def sphere_inverse(barrier: Scalar, tangent: Scalar, p: Scalar) -> tuple[Scalar, Scalar]:
    """(theta_z, J_z) of a latitude, given by its tangent, and its momentum."""
    L2 = p * p + barrier * barrier * (1.0 + tangent * tangent)
    L = jnp.sqrt(L2)
    # L - barrier without cancellation in the plane.
    J_z = (p * p + (barrier * tangent) ** 2) / (L + barrier)
    return jnp.arctan2(L * tangent, p), J_z
