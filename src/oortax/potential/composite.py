"""Sums of potentials under the user's own names."""

import functools
import operator
from typing import final

import jax
from jaxtyping import Array, Float

from oortax.params import children
from oortax.potential.base import AbstractPotential
from oortax.potential.expansion import Field
from oortax.potential.from_density import AbstractDensity
from oortax.types import Scalar


@final
class Sum(AbstractPotential):
    """The sum of named potentials: Phi(x) = sum_i Phi_i(x).

    The names become the first part of the parameters' paths.

    >>> from oortax import params, potential
    >>> pot = potential.Sum(disc=potential.MiyamotoNagai(M=6.8e10, a=3.0, b=0.28))
    >>> sorted(params.parameters(pot))
    ['disc.M', 'disc.a', 'disc.b']
    """

    parts: dict[str, AbstractPotential] = children()

    def __init__(self, **parts: AbstractPotential):
        if not parts:
            raise ValueError("Sum() needs at least one potential: Sum(disc=..., halo=...)")
        for name, part in parts.items():
            if not isinstance(part, AbstractPotential):
                raise ValueError(f"Sum({name}={part!r}): expected a potential, got {type(part).__name__}")
        self.parts = dict(parts)

    def Phi(self, x: Float[Array, "3"]) -> Scalar:
        """Potential at one point x (kpc), in (km/s)^2."""
        return _total([part.Phi(x) for part in self.parts.values()])

    def Phi_Rz(self, R, z) -> Scalar:
        """Potential at cylindrical radius R and height z (kpc), in (km/s)^2."""
        return _total([part.Phi_Rz(R, z) for part in self.parts.values()])

    def Phi_of_squares(self, R2: Scalar, z2: Scalar) -> Scalar:
        """Potential as a function of R^2 and z^2 (kpc^2), in (km/s)^2."""
        return _total([_Phi_of_squares(part, R2, z2) for part in self.parts.values()])

    def rho(self, R, z) -> Scalar:
        """Density at (R, z) in kpc, in Msun/kpc^3."""
        return _total([part.rho(R, z) for part in self.parts.values()])

    def expanded(self, grid) -> AbstractPotential:
        """The sum of one table for all parts that are densities, and the other parts as they are."""
        densities = {name: part for name, part in self.parts.items() if isinstance(part, AbstractDensity)}
        others = {name: part.expanded(grid) for name, part in self.parts.items() if name not in densities}
        if not densities:
            return Sum(**others)
        field = Field.of(Sum(**densities), grid)
        return Sum(**others, **{"+".join(densities): field}) if others else field

    def __getitem__(self, name: str) -> AbstractPotential:
        return self.parts[name]


def named_parts(pot: AbstractPotential) -> dict[str, AbstractPotential]:
    """The parts of a sum by name, as they were declared even where one table holds several; else none.

    >>> from oortax import potential
    >>> list(named_parts(potential.expand(potential.mcmillan_2017())))
    ['thin', 'thick', 'HI', 'H2', 'bulge', 'halo']
    """
    if isinstance(pot, Field):
        return named_parts(pot.source)
    if not isinstance(pot, Sum):
        return {}
    found = {}
    for name, part in pot.parts.items():
        found |= (named_parts(part) if isinstance(part, Field) else {}) or {name: part}
    return found


# Traced once for a program that asks for it in many places.
@jax.jit
def _Phi_of_squares(part: AbstractPotential, R2: Scalar, z2: Scalar) -> Scalar:
    return part.Phi_of_squares(R2, z2)


def _total(values: list) -> Scalar:
    """Sum without a leading 0, which would be one more operation per point."""
    return functools.reduce(operator.add, values)
