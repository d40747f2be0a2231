"""Exponential discs of finite thickness."""

from abc import abstractmethod
from typing import final

import jax.numpy as jnp
from numpyro.distributions import constraints

from oortax.params import param
from oortax.potential.from_density import AbstractDensity
from oortax.types import Scalar


class AbstractExponentialDisc(AbstractDensity):
    """rho = Sigma_0 exp(-R/R_d - R_hole/R) zeta(z), the layer zeta of unit column to be given.

    With R_hole the surface density vanishes at the centre and peaks at sqrt(R_d R_hole), as that of gas does
    (Dehnen & Binney 1998, eq. 1).
    """

    Sigma_0: Scalar = param(constraints.positive, "Msun/kpc^2", "central surface density, without the hole")
    R_d: Scalar = param(constraints.positive, "kpc", "scale length")
    z_d: Scalar = param(constraints.positive, "kpc", "scale height")
    R_hole: Scalar | None = param(
        constraints.nonnegative, "kpc", "scale of the central hole", optional=True, default=None
    )

    @abstractmethod
    def layer(self, z) -> Scalar:
        """zeta(z) in 1/kpc, with int zeta dz = 1."""

    def rho(self, R, z):
        hole = 0.0 if self.R_hole is None else self.R_hole / jnp.maximum(R, 1e-30)
        return self.Sigma_0 * jnp.exp(-R / self.R_d - hole) * self.layer(z)


@final
class ExponentialDisc(AbstractExponentialDisc):
    """rho = Sigma_0 exp(-R/R_d - R_hole/R) exp(-|z|/z_d)/(2 z_d): exponential in radius and height.

    Accuracy of the force on the default grid within 100 kpc: 4e-6 at worst for z_d = 0.3 kpc, 1e-5 for 40 pc,
    5e-5 for 20 pc, and 4e-7 in the median. R_hole is None (no hole) or positive.

    >>> disc = ExponentialDisc(Sigma_0=8e8, R_d=2.6, z_d=0.3)
    >>> from oortax import potential
    >>> round(float(potential.circular_velocity(disc, 8.0)), 1)
    137.9
    """

    def layer(self, z):
        return jnp.exp(-jnp.abs(z) / self.z_d) / (2.0 * self.z_d)


@final
class Sech2Disc(AbstractExponentialDisc):
    """rho = Sigma_0 exp(-R/R_d - R_hole/R) sech^2(z/(2 z_d))/(4 z_d): isothermal in height.

    Far from the plane it falls as exp(-|z|/z_d); written with sech^2(z/z_0), z_0 = 2 z_d. Accuracy as of
    `ExponentialDisc`.

    >>> gas = Sech2Disc(Sigma_0=5.3e7, R_d=7.0, z_d=0.085, R_hole=4.0)
    >>> bool(gas.rho(8.0, 0.0) > gas.rho(8.0, 0.1))
    True
    """

    def layer(self, z):
        fall = jnp.exp(-jnp.abs(z) / self.z_d)
        return fall / ((1.0 + fall) ** 2 * self.z_d)
