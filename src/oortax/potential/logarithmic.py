"""The logarithmic halo."""

from typing import final

import jax.numpy as jnp
from numpyro.distributions import constraints

from oortax.params import param
from oortax.potential.base import AbstractClosedForm
from oortax.types import Scalar


@final
class LogarithmicHalo(AbstractClosedForm):
    """A halo of flat circular speed, Phi = v_0^2/2 ln[(r_c^2 + R^2 + z^2/q^2) / kpc^2] (BT08 eq. 2.71a).

    q flattens the potential; the density flattens about three times as much and is negative on the
    axis for q < 1/sqrt(2). The mass is infinite: there is no escape speed and no unbound orbit.

    >>> round(float(LogarithmicHalo(v_0=220.0, r_c=1.0, q=0.9).Phi_Rz(8.0, 0.0)), 1)
    101020.2
    """

    v_0: Scalar = param(constraints.positive, "km/s", "circular speed at large R")
    r_c: Scalar = param(constraints.positive, "kpc", "core radius")
    q: Scalar = param(constraints.positive, "", "axis ratio of the equipotentials")

    def Phi_of_squares(self, R2, z2):
        m2 = self.r_c * self.r_c + R2 + z2 / (self.q * self.q)
        return 0.5 * self.v_0 * self.v_0 * jnp.log(m2)
