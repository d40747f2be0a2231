"""The Staeckel fudge's effective one-dimensional motions in spheroidal coordinates.

Binney (2012, MNRAS 426, 1324). R = rho sin v, z = sqrt(rho^2 + Delta^2) cos v, so that rho is the radius at
which the ellipsoid crosses the plane and Delta -> 0 gives spherical coordinates. With du = drho/sqrt(rho^2 +
Delta^2),

    p_u^2/2 = E rho^2 - L_z^2 Delta^2 / (2 rho^2) - U(rho) - I_3
    p_v^2/2 = E Delta^2 sin^2 v - L_z^2 / (2 sin^2 v) - V(v) + I_3

hold exactly if (rho^2 + Delta^2 sin^2 v) Phi = U(rho) + V(v). The fudge takes U along the star's own v and V
along its own rho.

Delta^2 > 0, prolate spheroidal coordinates, serves oblate potentials. Prolate ones separate in oblate
spheroidal coordinates, to which Delta^2 < 0 leads in the same equations (de Zeeuw 1985, MNRAS 216, 273): the
foci lie on a ring in the plane, R^2 = -Delta^2, and rho^2 >= -Delta^2. The radial motion is written in the
smaller of the spheroid's semi-axes, s = min(rho, sqrt(rho^2 + Delta^2)), which goes to 0 on the line between
the foci, or in the disc within the focal ring.
"""

from typing import NamedTuple

import jax.numpy as jnp

from oortax.dynamics.delta import FixedFocalDistance, FocalDistance
from oortax.numerics.once import once
from oortax.potential.base import AbstractPotential
from oortax.types import Scalar, Vec3

# sin^2 v, or rho^2/Delta^2 between the foci, below which a point is next to the axis.
_NEAR_AXIS = 1e-6
_NARROW = 1e-5
# Of terms that cancel; cos^2 v is kept from 0 by 1e-12.
_ROUNDING = 1e-10


class Spheroidal(NamedTuple):
    """One star in spheroidal coordinates, with the integrals that the fudge assigns to it.

    `rho2` and `polar2` = rho2 + Delta2 are the squares of the semi-axes in the plane and on the axis; I_u is
    I_3 for Delta^2 > 0 and I_3 + E Delta^2 for Delta^2 < 0.
    """

    E: Scalar
    L_z: Scalar
    Delta2: Scalar
    rho2: Scalar
    polar2: Scalar
    sin2_v: Scalar
    cos2_v: Scalar
    p_u: Scalar
    p_v: Scalar
    I_u: Scalar
    I_v: Scalar


def confocal(R2: Scalar, z2: Scalar, Delta2: Scalar) -> tuple[Scalar, Scalar]:
    """rho^2 and sin^2(v) at R^2 and z^2, for Delta^2 > 0; kept from the axis and the focus by 1e-12.

    With R and z exchanged, and -Delta^2, rho^2 + Delta^2 and cos^2(v) for Delta^2 < 0.
    """
    A = R2 + z2 - Delta2
    root = jnp.sqrt(A * A + 4.0 * Delta2 * R2)
    # Two forms of one expression, so that neither rho nor sin v suffers from cancellation.
    outside = A > 0.0
    rho2 = jnp.where(outside, 0.5 * (A + root), 2.0 * Delta2 * R2 / jnp.where(outside, 1.0, root - A))
    rho2 = jnp.maximum(rho2, 1e-12 * (R2 + z2 + Delta2))
    sin2_v = jnp.where(
        outside, R2 / jnp.where(outside, rho2, 1.0), 0.5 * (root - A) / jnp.where(outside, 1.0, Delta2)
    )
    return rho2, jnp.clip(sin2_v, 1e-12, 1.0)


def of_either_sign(Delta2: Scalar) -> tuple[Scalar, Scalar]:
    """Delta^2 where it is positive, -Delta^2 where it is negative; else 0."""
    # By a difference, which never is -0: square roots of it are divided by.
    plus = jnp.maximum(Delta2, 0.0)
    return plus, plus - Delta2


def radial_label(Delta2: Scalar, w) -> Scalar:
    """Label of the radial motion at s = 1/w: ln s or, for Delta^2 < 0, u^2, in which p_u is even at s = 0."""
    prolate, Delta = _focal_ring(Delta2)
    return jnp.where(prolate, jnp.arcsinh(1.0 / (Delta * w)) ** 2, -jnp.log(w))


def narrowest(Delta2: Scalar, middle) -> Scalar:
    """Half-width about a label below which the motion is a harmonic oscillator's; labels stay positive."""
    return _NARROW * jnp.where(Delta2 < 0.0, jnp.minimum(2.0 * middle, 1.0), 1.0)


def at_label(Delta2: Scalar, label) -> tuple[Scalar, Scalar]:
    """w = 1/s at a label, and the label's derivative by u."""
    prolate, Delta = _focal_ring(Delta2)
    u = jnp.sqrt(jnp.where(prolate, label, 1.0))
    w = jnp.where(prolate, 1.0 / (Delta * jnp.sinh(u)), jnp.exp(jnp.where(prolate, 0.0, -label)))
    return w, jnp.where(prolate, 2.0 * u, jnp.sqrt(1.0 + of_either_sign(Delta2)[0] * w * w))


def _focal_ring(Delta2: Scalar) -> tuple[Scalar, Scalar]:
    """Whether Delta^2 < 0, and then sqrt(-Delta^2), else 1."""
    prolate = Delta2 < 0.0
    return prolate, jnp.sqrt(jnp.where(prolate, -Delta2, 1.0))


def small2(star: Spheroidal) -> Scalar:
    """The square of the smaller semi-axis s of the star's spheroid."""
    return jnp.where(star.Delta2 < 0.0, star.polar2, star.rho2)


def spheroidal(
    potential: AbstractPotential, focal: FocalDistance | FixedFocalDistance, x: Vec3, v: Vec3
) -> Spheroidal:
    """Integrals and spheroidal coordinates of one phase-space point."""
    # Each for itself: what flows back to an element of a vector is otherwise summed anew for all three.
    x, v = (tuple(once(w[i]) for i in range(3)) for w in (x, v))  # type: ignore[assignment]
    R2 = once(x[0] * x[0] + x[1] * x[1])
    z2 = once(x[2] * x[2])
    L_z = once(x[0] * v[1] - x[1] * v[0])
    Phi = once(potential.Phi_of_squares(R2, z2))
    E = once(0.5 * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]) + Phi)
    Delta2 = once(focal.signed(E, L_z))
    prolate, apart = Delta2 < 0.0, jnp.abs(Delta2)
    s2, across = confocal(jnp.where(prolate, z2, R2), jnp.where(prolate, R2, z2), apart)
    s2, across = once(s2), once(across)
    rho2, polar2 = once(jnp.where(prolate, s2 + apart, s2)), once(jnp.where(prolate, s2, s2 + apart))
    sin2_v = once(jnp.where(prolate, jnp.clip(R2 / rho2, 1e-12, 1.0), across))
    cos2_v = once(jnp.minimum(jnp.where(prolate, across, z2 / polar2), 1.0 - 1e-12))
    # p_u = rho' . v with R v_R = x . v in the plane, which stays finite on the axis.
    R_vR = once(x[0] * v[0] + x[1] * v[1])
    rho, polar = jnp.sqrt(rho2), jnp.sqrt(polar2)
    z_vz = x[2] * v[2]
    sin_v = jnp.sqrt(sin2_v)
    # In the disc within the focal ring z and the semi-axis vanish together.
    in_disc = prolate & (polar2 < _NEAR_AXIS * apart)
    cos_v = jnp.where(in_disc, jnp.sqrt(jnp.where(in_disc, cos2_v, 1.0)), x[2] / polar)
    p_u = once(polar / rho * R_vR + rho * cos_v * v[2])
    p_v = once(cos_v / sin_v * R_vR - polar * sin_v * v[2])
    centrifugal = 0.5 * L_z * L_z
    plus, minus = of_either_sign(Delta2)
    Phi_0 = (s2 + plus * sin2_v + minus * cos2_v) * Phi
    # On the axis L_z and R v_R vanish however fast a star crosses it: there the same sums of squares are
    # written with (v_x, v_y), as R = rho sin v.
    across2, crossed = v[0] * v[0] + v[1] * v[1], R_vR * R_vR + 2.0 * R_vR * z_vz
    near_u = Delta2 * sin2_v * across2 + crossed + rho2 * cos2_v * v[2] * v[2]
    near_v = rho2 * across2 - crossed + polar2 * sin2_v * v[2] * v[2]
    in_u = jnp.where(rho2 < _NEAR_AXIS * Delta2, 0.5 * near_u, 0.5 * p_u * p_u + centrifugal * Delta2 / rho2)
    in_v = jnp.where(sin2_v < _NEAR_AXIS, 0.5 * near_v, 0.5 * p_v * p_v + centrifugal / sin2_v)
    I_u = E * s2 - Phi_0 - in_u
    I_v = in_v - E * Delta2 * sin2_v + Phi_0
    return Spheroidal(E, L_z, Delta2, rho2, polar2, sin2_v, cos2_v, p_u, p_v, I_u, I_v)


def radial_kinetic(potential: AbstractPotential, star: Spheroidal, w) -> Scalar:
    """p_u^2 / (2 s^2) at s = 1/w: concave in w for galaxy-like potentials, so that Newton converges."""
    plus, minus = of_either_sign(star.Delta2)
    w2 = w * w
    s2 = once(1.0 / w2)
    Phi = once(potential.Phi_of_squares((s2 + minus) * star.sin2_v, (s2 + plus) * star.cos2_v))
    return (
        star.E
        - 0.5 * star.L_z**2 * star.Delta2 * w2 * w2 / (1.0 + minus * w2)
        - (1.0 + (plus * star.sin2_v + minus * star.cos2_v) * w2) * Phi
        - star.I_u * w2
    )


def crossing_kinetic(potential: AbstractPotential, star: Spheroidal) -> Scalar:
    """p_u^2/2 in the disc within the focal ring, s = 0, for Delta^2 < 0: positive if it is crossed.

    It vanishes for planar orbits about the ring, whose rounding errors must not cross the disc.
    """
    minus = of_either_sign(star.Delta2)[1]
    Phi = potential.Phi_of_squares(minus * star.sin2_v, jnp.zeros_like(minus))
    centrifugal = 0.5 * star.L_z**2
    rounding = _ROUNDING * (centrifugal + minus * jnp.abs(Phi))
    return centrifugal - minus * star.cos2_v * Phi - star.I_u - rounding


def vertical_kinetic(potential: AbstractPotential, star: Spheroidal, y) -> Scalar:
    """p_v^2 sin^2(v) / 2 at cos^2 v = y."""
    sin2 = 1.0 - y
    Phi = once(potential.Phi_of_squares(star.rho2 * sin2, star.polar2 * y))
    V = (star.rho2 + star.Delta2 * sin2) * Phi
    return (star.E * star.Delta2 * sin2 - V + star.I_v) * sin2 - 0.5 * star.L_z**2
