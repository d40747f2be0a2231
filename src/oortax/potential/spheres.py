"""Spherical potentials in closed form."""

from typing import final

import jax.numpy as jnp
from numpyro.distributions import constraints

from oortax.constants import G
from oortax.params import param
from oortax.potential.base import AbstractClosedForm, soften
from oortax.types import Scalar


@final
class Plummer(AbstractClosedForm):
    """Plummer's sphere, Phi = -G M / sqrt(r^2 + b^2) (Plummer 1911; Binney & Tremaine 2008, eq. 2.44a).

    >>> float(Plummer(M=1e10, b=1.0).Phi_Rz(0.0, 0.0))
    -43009.17...
    """

    M: Scalar = param(constraints.positive, "Msun", "mass")
    b: Scalar = param(constraints.positive, "kpc", "core radius")

    def Phi_of_squares(self, R2, z2):
        return -G * self.M / jnp.sqrt(R2 + z2 + self.b * self.b)


@final
class Isochrone(AbstractClosedForm):
    """Henon's isochrone, Phi = -G M / (b + sqrt(r^2 + b^2)) (Henon 1959; BT08 eq. 2.47).

    Its actions are known in closed form, which makes it the yardstick of action finders.

    >>> float(Isochrone(M=1e10, b=1.0).Phi_Rz(0.0, 0.0))
    -21504.58...
    """

    M: Scalar = param(constraints.positive, "Msun", "mass")
    b: Scalar = param(constraints.positive, "kpc", "scale length")

    def Phi_of_squares(self, R2, z2):
        return -G * self.M / (self.b + jnp.sqrt(R2 + z2 + self.b * self.b))


@final
class Hernquist(AbstractClosedForm):
    """Hernquist's bulge, Phi = -G M / (r + a), with density M a / (2 pi r (r + a)^3) (Hernquist 1990).

    The force has a finite jump at the centre, G M / a^2 in every direction; its value there is 0.

    >>> float(Hernquist(M=1e10, a=1.0).Phi_Rz(3.0, 0.0))
    -10752.29...
    """

    M: Scalar = param(constraints.positive, "Msun", "mass")
    a: Scalar = param(constraints.positive, "kpc", "scale length")

    def Phi_of_squares(self, R2, z2):
        return -G * self.M / (jnp.sqrt(soften(R2 + z2)) + self.a)


@final
class NFW(AbstractClosedForm):
    """A halo with density rho_s / [(r/r_s) (1 + r/r_s)^2] (Navarro, Frenk & White 1997).

    Phi = -4 pi G rho_s r_s^2 ln(1 + x)/x with x = r/r_s (BT08 eq. 2.67). Below x = 1/8 a series
    replaces ln(1 + x)/x, whose derivatives would cancel.

    >>> float(NFW(rho_s=1e7, r_s=16.0).Phi_Rz(0.0, 0.0))
    -138360.1...
    """

    rho_s: Scalar = param(constraints.positive, "Msun/kpc^3", "density scale")
    r_s: Scalar = param(constraints.positive, "kpc", "scale radius")

    def Phi_of_squares(self, R2, z2):
        x = jnp.sqrt(soften(R2 + z2)) / self.r_s
        return -4.0 * jnp.pi * G * self.rho_s * self.r_s**2 * _log1p_over(x)


def _log1p_over(x):
    """ln(1 + x)/x for x > 0, with accurate derivatives at small x."""
    small = x < 0.125
    far = jnp.where(small, 1.0, x)
    near = jnp.where(small, x, 0.0)
    # ln(1 + x) = 2 artanh u with u = x/(2 + x) <= 1/17: seven terms of the series reach 1e-17.
    inverse = 1.0 / (2.0 + near)
    u2 = (near * inverse) ** 2
    series = 1.0 / 13.0
    for k in (11.0, 9.0, 7.0, 5.0, 3.0, 1.0):
        series = series * u2 + 1.0 / k
    return jnp.where(small, 2.0 * inverse * series, jnp.log1p(far) / far)
