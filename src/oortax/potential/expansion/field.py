"""A potential read from splines."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.numerics.bspline import surface
from oortax.params import children
from oortax.potential.base import AbstractClosedForm, AbstractPotential, soften
from oortax.potential.expansion.grid import Grid, angular_coordinate, angular_range
from oortax.potential.expansion.poisson import Expansion, solve
from oortax.types import Scalar


@final
class Field(AbstractClosedForm):
    """The potential of a density, tabulated: what `potential.expand` returns.

    Phi is one tensor-product spline in (ln r, tau(latitude)) whatever the number of the density's components,
    four times continuously differentiable (twice if the grid's splines are cubic). It belongs to the
    parameters it was built from: build it inside jit, where they may move, and differentiate through it.

    The density `rho` is that of the source and exact; the Laplacian of Phi differs from it by the
    expansion's error (`potential.expansion_error`). Beyond r_max the monopole goes on as (a + b ln r)/r,
    and within r_min as the power law of the central density.
    """

    table: Float[Array, "m n"]
    inner_slope: Float[Array, ""]
    inner_power: Float[Array, ""]
    outer_slope: Float[Array, ""]
    grid: Grid = eqx.field(static=True)
    source: AbstractPotential = children()

    @classmethod
    def of(cls, source: AbstractPotential, grid: Grid) -> "Field":
        """The field of a source with a density `rho(R, z)`."""
        return cls(**_solve(source, grid)._asdict(), grid=grid, source=source)

    def rho(self, R, z) -> Scalar:
        """The source's density (Msun/kpc^3)."""
        return self.source.rho(R, z)

    def Phi_of_squares(self, R2, z2):
        expansion = Expansion(self.table, self.inner_slope, self.inner_power, self.outer_slope)
        return read(expansion, self.grid, R2, z2)


def read(expansion: Expansion, grid: Grid, R2, z2) -> Scalar:
    """Phi as a function of R^2 and z^2 from its splines on a grid and what continues them."""
    R2, z2 = jnp.asarray(R2), jnp.asarray(z2)
    r2 = soften(R2 + z2)
    low, high = angular_range()
    tau = angular_coordinate(z2 / r2, R2 / r2)
    v = (tau - low) * (grid.n_theta / (high - low))
    first, last = float(np.log(grid.r_min)), float(np.log(grid.r_max))
    log_r = 0.5 * jnp.log(r2)
    # Not `clip`, whose derivative at the ends themselves is a half.
    inside = jnp.where(log_r < first, first, jnp.where(log_r > last, last, log_r))
    u = (inside - first) * ((grid.n_r - 1) / (last - first))
    Phi = surface(grid.degree, (0, 0), expansion.table, u, v)
    # Both continuations vanish, with an exponential of 0, on the grid itself.
    beyond = log_r - inside
    power = jnp.where(jnp.abs(expansion.inner_power) < 1e-4, 1e-4, expansion.inner_power)
    factor = jnp.exp(jnp.where(beyond < 0.0, power, -1.0) * beyond)
    return jnp.where(
        beyond > 0.0,
        factor * (Phi + expansion.outer_slope * beyond),
        Phi + expansion.inner_slope / power * (factor - 1.0),
    )


# Compiled by itself, so that calls outside jit do not run the build step by step.
@eqx.filter_jit
def _solve(source: AbstractPotential, grid: Grid):
    # Single precision would lose the digits of the sums over panels; only their result is cast.
    dtype = jnp.result_type(*(jax.tree.leaves(source) or [float]))
    return jax.tree.map(lambda a: a.astype(dtype), solve(source.rho, grid))
