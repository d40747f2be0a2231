"""The interface of a potential: Phi at one point."""

from abc import abstractmethod

import jax.numpy as jnp

from oortax.params import AbstractParametric
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
