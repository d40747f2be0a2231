"""The interface of a potential: Phi at one point."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from oortax.constants import G
from oortax.params import AbstractParametric, as_array
from oortax.types import Scalar, Vec3


class AbstractPotential(AbstractParametric):
    """An axisymmetric gravitational potential, even in z.

    A new potential is one final subclass with parameters declared by `oortax.params.param`, one
    `Phi`, and one line in `oortax.potential.POTENTIALS`; forces, densities, frequencies, actions,
    bijections, saving and the contract tests follow from it.
    """

    @abstractmethod
    def Phi(self, x: Vec3) -> Scalar:
        """Potential at one point x = (x, y, z) in kpc, in (km/s)^2."""

    def Phi_Rz(self, R, z) -> Scalar:
        """Potential at cylindrical radius R and height z (kpc), in (km/s)^2."""
        return self.Phi(jnp.stack([R, jnp.zeros_like(R), z]))

    def Phi_of_squares(self, R2: Scalar, z2: Scalar) -> Scalar:
        """Potential as a function of R^2 and z^2 (kpc^2), in (km/s)^2."""
        return self.Phi_Rz(jnp.sqrt(soften(R2)), jnp.sqrt(soften(z2)))

    def rho(self, R, z) -> Scalar:
        """Density at cylindrical radius R and height z (kpc), in Msun/kpc^3: by Poisson's equation."""
        at: list[Any] = [as_array(R), as_array(z)]
        return _poisson(self, *at)

    def expanded(self, grid) -> "AbstractPotential":
        """The same potential in the form that is evaluated: what depends on parameters alone is computed.

        Potentials in closed form are that already; `grid` is the `expansion.Grid` for the others.
        """
        return self


# Compiled: outside jit some forty operations would be, one by one.
@eqx.filter_jit
def _poisson(pot: AbstractPotential, R: Scalar, z: Scalar) -> Scalar:
    x = jnp.stack([R, jnp.zeros_like(R), z])
    return jnp.trace(jax.hessian(pot.Phi)(x)) / (4.0 * jnp.pi * G)


class AbstractClosedForm(AbstractPotential):
    """A potential written as a function of R^2 and z^2, which saves a root that is squared again.

    Subclasses define `Phi_of_squares`; both `Phi` and `Phi_Rz` are thin covers of it.
    """

    @abstractmethod
    def Phi_of_squares(self, R2: Scalar, z2: Scalar) -> Scalar:
        """Potential as a function of R^2 and z^2 (kpc^2), in (km/s)^2."""

    def Phi(self, x: Vec3) -> Scalar:
        """Potential at one point x = (x, y, z) in kpc, in (km/s)^2."""
        return self.Phi_of_squares(x[0] * x[0] + x[1] * x[1], x[2] * x[2])

    def Phi_Rz(self, R, z) -> Scalar:
        """Potential at cylindrical radius R and height z (kpc), in (km/s)^2."""
        return self.Phi_of_squares(R * R, z * z)


def soften(r2: Scalar) -> Scalar:
    """r^2 plus a vanishing constant, so that roots and powers of it have derivatives at the origin.

    The cube of its inverse still fits the dtype, so that gradients of cusped potentials are 0 (not
    NaN) at r = 0 and second derivatives huge but finite. The constant is (1e-51 kpc)^2 in float64 and
    (5e-7 kpc)^2 in float32: below the resolution of any orbit.
    """
    r2 = jnp.asarray(r2)
    return r2 + jnp.finfo(r2.dtype).tiny ** (1.0 / 3.0)
