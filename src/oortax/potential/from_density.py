"""Potentials given by their density."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, final

import equinox as eqx
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.params import as_array, children
from oortax.potential.base import AbstractClosedForm, AbstractPotential
from oortax.potential.expansion import Field, Grid
from oortax.types import Scalar


class AbstractDensity(AbstractClosedForm):
    """A potential given by an axisymmetric density rho(R, z), even in z.

    A new mass model is one final subclass with parameters declared by `oortax.params.param`, one `rho`, and
    one line in `oortax.potential.POTENTIALS`. Its potential is found by `expansion.solve`, once and not per
    point under vmap and inside finders and likelihoods. Code of your own that evaluates it again and again
    should do so on `potential.expand(pot)`.
    """

    @abstractmethod
    def rho(self, R, z) -> Scalar:
        """Density at cylindrical radius R and height z (kpc), in Msun/kpc^3."""

    def Phi_of_squares(self, R2, z2):
        return self.expanded(Grid()).Phi_of_squares(R2, z2)

    def expanded(self, grid: Grid) -> Field:
        return Field.of(self, grid)


@final
class FromDensity(AbstractDensity):
    """The potential of a density of your own, rho(R, z, **parameters) in Msun/kpc^3.

    Parameters
    ----------
    function : callable
        Of the arrays R and z >= 0 (kpc) and of the parameters by name; written with jax.numpy. It is part
        of the compiled program: pass the same function, not a new lambda, to avoid recompiling.
    **parameters : float
        Free or fixed like any other potential's.

    >>> import jax.numpy as jnp
    >>> def ball(R, z, M, b):
    ...     return 3.0 * M / (4.0 * jnp.pi * b**3) * (1.0 + (R * R + z * z) / b**2) ** -2.5
    >>> pot = FromDensity(ball, M=1e10, b=1.0)
    >>> from oortax import potential
    >>> exact = potential.Plummer(M=1e10, b=1.0)
    >>> bool(abs(pot.Phi_Rz(1.0, 0.5) / exact.Phi_Rz(1.0, 0.5) - 1.0) < 1e-5)
    True
    """

    function: Callable = eqx.field(static=True)
    parameters: dict[str, Float[Array, ""]] = children(support=constraints.real, unit="", doc="")

    def __init__(self, function: Callable, **parameters):
        self.function = function
        arrays: dict[str, Any] = {name: as_array(value) for name, value in parameters.items()}
        self.parameters = arrays

    def rho(self, R, z):
        return self.function(R, z, **self.parameters)


def expand(pot: AbstractPotential, grid: Grid | None = None) -> AbstractPotential:
    """The potential in the form to evaluate many times: densities become one table of splines.

    Parameters
    ----------
    pot : AbstractPotential
        All parts of a Sum that are densities share one table, so that a galaxy costs as much as a disc.
        Potentials in closed form stay as they are.
    grid : Grid, optional

    Traceable and differentiable in every parameter. The finders, circular orbits and the likelihood do it
    themselves.

    >>> from oortax import potential
    >>> galaxy = potential.mcmillan_2017()
    >>> type(expand(galaxy)).__name__
    'Field'
    """
    return pot.expanded(Grid() if grid is None else grid)
