"""Spheroids: densities constant on similar ellipsoids of revolution."""

from typing import final

import jax.numpy as jnp
from numpyro.distributions import constraints

from oortax.params import param
from oortax.potential.base import soften
from oortax.potential.from_density import AbstractDensity
from oortax.types import Scalar


@final
class Spheroid(AbstractDensity):
    """rho = rho_s x^-gamma (1 + x^alpha)^((gamma - beta)/alpha) exp[-(m/r_cut)^xi], x = m/r_s.

    m^2 = R^2 + z^2/q^2, so that q is the axis ratio of the density: q < 1 oblate, q > 1 prolate. Two power
    laws, -gamma within r_s and -beta outside (Zhao 1996), with an optional cut-off. gamma = 1, beta = 3 is
    NFW's halo, gamma = 1, beta = 4 Hernquist's; gamma = 2 (a logarithmic potential) is an ordinary value.
    The mass is infinite for beta <= 3 without a cut-off, the potential for beta <= 2.

    Accuracy of the force on the default grid, for 1 <= gamma <= 2: 1e-6 for 0.2 <= q <= 2, 2e-5 at q = 3. In
    a core (gamma = 0), where the force vanishes, 2e-5 of it within r_s/1000.

    >>> halo = Spheroid(rho_s=1e7, r_s=16.0, q=0.7)
    >>> from oortax import potential
    >>> closed = potential.FlattenedNFW(rho_s=1e7, r_s=16.0, q=0.7)
    >>> bool(abs(halo.Phi_Rz(8.0, 1.0) / closed.Phi_Rz(8.0, 1.0) - 1.0) < 1e-4)
    True
    """

    rho_s: Scalar = param(constraints.positive, "Msun/kpc^3", "density scale")
    r_s: Scalar = param(constraints.positive, "kpc", "scale radius in the plane")
    q: Scalar = param(constraints.positive, "", "axis ratio of the density, z to R", default=1.0)
    gamma: Scalar = param(constraints.less_than(3.0), "", "inner slope", default=1.0)
    beta: Scalar = param(constraints.nonnegative, "", "outer slope", default=3.0)
    alpha: Scalar = param(constraints.positive, "", "sharpness of the turn", default=1.0)
    r_cut: Scalar | None = param(constraints.positive, "kpc", "cut-off radius", optional=True, default=None)
    xi: Scalar | None = param(
        constraints.positive, "", "sharpness of the cut-off, 2 if not given", optional=True, default=None
    )

    def rho(self, R, z):
        log_m = 0.5 * jnp.log(soften(R * R + (z / self.q) ** 2))
        log_x = log_m - jnp.log(self.r_s)
        turn = (self.gamma - self.beta) / self.alpha * jnp.logaddexp(0.0, self.alpha * log_x)
        log_rho = turn - self.gamma * log_x
        if self.r_cut is not None:
            xi = 2.0 if self.xi is None else self.xi
            log_rho = log_rho - jnp.exp(xi * (log_m - jnp.log(self.r_cut)))
        return self.rho_s * jnp.exp(log_rho)


@final
class Einasto(AbstractDensity):
    """rho = rho_s exp{-(2/alpha) [(m/r_s)^alpha - 1]}, m^2 = R^2 + z^2/q^2 (Einasto 1965).

    r_s is where the logarithmic slope is -2, and rho_s the density there.

    >>> halo = Einasto(rho_s=2e6, r_s=20.0, alpha=0.17, q=0.8)
    >>> float(halo.rho(20.0, 0.0))
    2000000.0...
    """

    rho_s: Scalar = param(constraints.positive, "Msun/kpc^3", "density at r_s")
    r_s: Scalar = param(constraints.positive, "kpc", "radius of slope -2, in the plane")
    alpha: Scalar = param(constraints.positive, "", "how fast the slope changes")
    q: Scalar = param(constraints.positive, "", "axis ratio of the density, z to R", default=1.0)

    def rho(self, R, z):
        log_x = 0.5 * jnp.log(soften(R * R + (z / self.q) ** 2)) - jnp.log(self.r_s)
        return self.rho_s * jnp.exp(-2.0 / self.alpha * jnp.expm1(self.alpha * log_x))
