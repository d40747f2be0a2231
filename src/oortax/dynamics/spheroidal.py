"""The Staeckel fudge's effective one-dimensional motions in prolate spheroidal coordinates.

Binney (2012, MNRAS 426, 1324). R = rho sin v, z = sqrt(rho^2 + Delta^2) cos v, so that rho is the radius at
which the ellipsoid crosses the plane and Delta -> 0 gives spherical coordinates. With u = asinh(rho/Delta),

    p_u^2/2 = E rho^2 - L_z^2 Delta^2 / (2 rho^2) - U(rho) - I_3
    p_v^2/2 = E Delta^2 sin^2 v - L_z^2 / (2 sin^2 v) - V(v) + I_3

hold exactly if (rho^2 + Delta^2 sin^2 v) Phi = U(rho) + V(v). The fudge takes U along the star's own v and V
along its own rho.
"""

from typing import NamedTuple

import jax.numpy as jnp

from oortax.dynamics.delta import FixedFocalDistance, FocalDistance
from oortax.potential.base import AbstractPotential
from oortax.types import Scalar, Vec3

# sin^2 v, or rho^2/Delta^2 between the foci, below which a point is next to the axis.
_NEAR_AXIS = 1e-6


class Spheroidal(NamedTuple):
    """One star in prolate spheroidal coordinates, with the integrals that the fudge assigns to it."""

    E: Scalar
    L_z: Scalar
    Delta2: Scalar
    rho2: Scalar
    sin2_v: Scalar
    cos2_v: Scalar
    p_u: Scalar
    p_v: Scalar
    I_u: Scalar
    I_v: Scalar


def confocal(R2: Scalar, z2: Scalar, Delta2: Scalar) -> tuple[Scalar, Scalar]:
    """rho^2 and sin^2(v) at R^2 and z^2; kept from the axis and the focus by 1e-12."""
    A = R2 + z2 - Delta2
    root = jnp.sqrt(A * A + 4.0 * Delta2 * R2)
    # Two forms of one expression, so that neither rho nor sin v suffers from cancellation.
    outside = A > 0.0
    rho2 = jnp.where(outside, 0.5 * (A + root), 2.0 * Delta2 * R2 / jnp.where(outside, 1.0, root - A))
    rho2 = jnp.maximum(rho2, 1e-12 * (R2 + z2 + Delta2))
    sin2_v = jnp.where(outside, R2 / jnp.where(outside, rho2, 1.0), 0.5 * (root - A) / Delta2)
    return rho2, jnp.clip(sin2_v, 1e-12, 1.0)


def spheroidal(
    potential: AbstractPotential, focal: FocalDistance | FixedFocalDistance, x: Vec3, v: Vec3
) -> Spheroidal:
    """Integrals and spheroidal coordinates of one phase-space point."""
    R2 = x[0] * x[0] + x[1] * x[1]
    z2 = x[2] * x[2]
    L_z = x[0] * v[1] - x[1] * v[0]
    E = 0.5 * (v @ v) + potential.Phi_of_squares(R2, z2)
    Delta2 = focal(E, L_z)
    rho2, sin2_v = confocal(R2, z2, Delta2)
    cos2_v = jnp.minimum(z2 / (rho2 + Delta2), 1.0 - 1e-12)
    # p_u = rho' . v with R v_R = x . v in the plane, which stays finite on the axis.
    R_vR = x[0] * v[0] + x[1] * v[1]
    cosh = jnp.sqrt(rho2 + Delta2)
    rho = jnp.sqrt(rho2)
    z_vz = x[2] * v[2]
    p_u = cosh / rho * R_vR + rho / cosh * z_vz
    sin_v, cos_v = jnp.sqrt(sin2_v), x[2] / cosh
    p_v = cos_v / sin_v * R_vR - cosh * sin_v * v[2]
    centrifugal = 0.5 * L_z * L_z
    Phi_0 = (rho2 + Delta2 * sin2_v) * potential.Phi_of_squares(R2, z2)
    # On the axis L_z and R v_R vanish however fast a star crosses it: there the same sums of squares are
    # written with (v_x, v_y), as R = rho sin v.
    across2, crossed = v[0] * v[0] + v[1] * v[1], R_vR * R_vR + 2.0 * R_vR * z_vz
    near_u = Delta2 * sin2_v * across2 + crossed + rho2 * cos2_v * v[2] * v[2]
    near_v = rho2 * across2 - crossed + (rho2 + Delta2) * sin2_v * v[2] * v[2]
    in_u = jnp.where(rho2 < _NEAR_AXIS * Delta2, 0.5 * near_u, 0.5 * p_u * p_u + centrifugal * Delta2 / rho2)
    in_v = jnp.where(sin2_v < _NEAR_AXIS, 0.5 * near_v, 0.5 * p_v * p_v + centrifugal / sin2_v)
    I_u = E * rho2 - Phi_0 - in_u
    I_v = in_v - E * Delta2 * sin2_v + Phi_0
    return Spheroidal(E, L_z, Delta2, rho2, sin2_v, cos2_v, p_u, p_v, I_u, I_v)


def radial_kinetic(potential: AbstractPotential, star: Spheroidal, w) -> Scalar:
    """p_u^2 / (2 rho^2) at rho = 1/w: concave in w for galaxy-like potentials, so that Newton converges."""
    q = 1.0 / (w * w)
    Phi = potential.Phi_of_squares(q * star.sin2_v, (q + star.Delta2) * star.cos2_v)
    w2 = w * w
    return (
        star.E
        - 0.5 * star.L_z**2 * star.Delta2 * w2 * w2
        - (1.0 + star.Delta2 * star.sin2_v * w2) * Phi
        - star.I_u * w2
    )


def vertical_kinetic(potential: AbstractPotential, star: Spheroidal, y) -> Scalar:
    """p_v^2 sin^2(v) / 2 at cos^2 v = y."""
    sin2 = 1.0 - y
    Phi = potential.Phi_of_squares(star.rho2 * sin2, (star.rho2 + star.Delta2) * y)
    V = (star.rho2 + star.Delta2 * sin2) * Phi
    return (star.E * star.Delta2 * sin2 - V + star.I_v) * sin2 - 0.5 * star.L_z**2
