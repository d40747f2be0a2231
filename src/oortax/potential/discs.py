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
