"""From a density to its potential: Poisson's equation on a grid in ln r and latitude."""

from oortax.potential.expansion.field import Field
from oortax.potential.expansion.grid import Grid
from oortax.potential.expansion.poisson import solve

__all__ = ["Field", "Grid", "solve"]
