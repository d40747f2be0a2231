"""Phi and its first and second derivatives at one point."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from oortax.potential.base import AbstractPotential
from oortax.types import Scalar

# Height over radius of a point that stands for the plane: derivatives in z^2 exist there whatever way a
# potential is written, and differ from those at z = 0 by 1e-16 of themselves times (R/scale height)^2.
IN_PLANE = 1e-8


class Jet(NamedTuple):
    """Phi((km/s)^2) and its derivatives with respect to a = R^2 and b = z^2 (kpc^2).

    Phi_R = 2 R Phi_a, Phi_RR = 2 Phi_a + 4 R^2 Phi_aa, Phi_Rz = 4 R z Phi_ab, and so on with b for z: nothing
    is divided by R or z, and the plane is an ordinary place.
    """

    Phi: Scalar
    a: Scalar
    b: Scalar
    aa: Scalar
    ab: Scalar
    bb: Scalar


@jax.jit
def jet(potential: AbstractPotential, R2, z2) -> Jet:
    """The jet at (R^2, z^2), exact; z^2 > 0 is wanted (see `IN_PLANE`)."""
    both = jax.value_and_grad(lambda p: potential.Phi_of_squares(p[0], p[1]))
    at = jnp.stack([R2, z2])

    def along(direction):
        return jax.jvp(both, (at,), (direction,))

    (Phi, first), (_, second) = jax.vmap(along, out_axes=((None, None), 0))(jnp.eye(2, dtype=at.dtype))
    return Jet(Phi, first[0], first[1], second[0, 0], second[0, 1], second[1, 1])
