"""Discs in closed form."""

from typing import final

import jax.numpy as jnp
from numpyro.distributions import constraints

from oortax.constants import G
from oortax.params import param
from oortax.potential.base import AbstractClosedForm
from oortax.types import Scalar


@final
class MiyamotoNagai(AbstractClosedForm):
    """The disc of Miyamoto & Nagai (1975), Phi = -G M / sqrt(R^2 + (a + sqrt(z^2 + b^2))^2).

    >>> float(MiyamotoNagai(M=1e10, a=3.0, b=1.0).Phi_Rz(0.0, 0.0))
    -10752.29...
    """

    M: Scalar = param(constraints.positive, "Msun", "mass")
    a: Scalar = param(constraints.nonnegative, "kpc", "scale length")
    b: Scalar = param(constraints.positive, "kpc", "scale height")

    def Phi_of_squares(self, R2, z2):
        height = self.a + jnp.sqrt(z2 + self.b * self.b)
        return -G * self.M / jnp.sqrt(R2 + height * height)


@final
class KuzminKutuzov(AbstractClosedForm):
    """The Staeckel potential of Kuzmin & Kutuzov (1962), Phi = -G M / (sqrt(lambda) + sqrt(nu)).

    lambda + nu = R^2 + z^2 + a^2 + c^2 and lambda nu = a^2 c^2 + c^2 R^2 + a^2 z^2 (Dejonghe & de Zeeuw 1988,
    ApJ 333, 90). It separates in spheroidal coordinates of focal distance sqrt(a^2 - c^2), so that the
    Staeckel fudge is exact in it; for a = c it is the isochrone. Flattened where c < a.

    >>> float(KuzminKutuzov(M=1e10, a=3.0, c=1.0).Phi_Rz(0.0, 0.0))
    -10752.29...
    """

    M: Scalar = param(constraints.positive, "Msun", "mass")
    a: Scalar = param(constraints.positive, "kpc", "long axis of its spheroid at the centre")
    c: Scalar = param(constraints.positive, "kpc", "short axis")

    def Phi_of_squares(self, R2, z2):
        a2, c2 = self.a * self.a, self.c * self.c
        product = a2 * c2 + c2 * R2 + a2 * z2
        return -G * self.M / jnp.sqrt(R2 + z2 + a2 + c2 + 2.0 * jnp.sqrt(product))
