"""A potential with its sign turned."""

from typing import final

from oortax.params import children
from oortax.potential.base import AbstractPotential
from oortax.types import Scalar


@final
class Negative(AbstractPotential):
    """Minus another potential, Phi(x) = -Phi_part(x): a component of negative mass in a Sum.

    Fits by Miyamoto-Nagai discs need one (Smith et al. 2015, MNRAS 448, 2934). Alone it has no circular
    orbits, and whether a Sum that holds it has a positive density is for the one who builds it to check.

    >>> from oortax import params, potential
    >>> disc = potential.MiyamotoNagai(M=3e10, a=5.0, b=0.2)
    >>> pot = potential.Sum(all=disc, inner=Negative(disc))
    >>> float(pot.Phi_Rz(8.0, 0.0))
    0.0
    >>> sorted(params.parameters(pot))
    ['all.M', 'all.a', 'all.b', 'inner.M', 'inner.a', 'inner.b']
    """

    part: AbstractPotential = children()

    def Phi(self, x) -> Scalar:
        return -self.part.Phi(x)

    def Phi_Rz(self, R, z) -> Scalar:
        return -self.part.Phi_Rz(R, z)

    def Phi_of_squares(self, R2, z2) -> Scalar:
        return -self.part.Phi_of_squares(R2, z2)

    def rho(self, R, z) -> Scalar:
        return -self.part.rho(R, z)

    def expanded(self, grid) -> "Negative":
        return Negative(self.part.expanded(grid))
