"""The normal equations of a fit of S_n, and what changes with S_n as H does."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.dynamics.torus.generating import Warp
from oortax.dynamics.torus.grid import Field, Grid
from oortax.numerics.positive import solve


class Energy(NamedTuple):
    """H on the grid, and its derivatives with respect to the toy actions J^T_r and J^T_z."""

    H: Field
    by_r: Field
    by_z: Field


class Normal(NamedTuple):
    """The normal equations of dH = 2 sum_n cos(n.chi) (n_r a + n_z b) dS_n, up to a constant."""

    a: Field
    b: Field
    matrix: Float[Array, "m m"]
    scale: Float[Array, " m"]

    @classmethod
    def of(cls, grid: Grid, warp: Warp, energy: Energy) -> "Normal":
        """From the slopes of H."""
        a = energy.by_r / warp.radial(grid.chi_r)[1][:, None]
        b = energy.by_z / warp.vertical(grid.chi_z)[1]
        n_r, n_z = grid.n[:, 0].astype(float), grid.n[:, 1].astype(float)
        aa, ab, bb = (grid.gram(w) for w in (a * a, a * b, b * b))
        cross = jnp.asarray(np.outer(n_r, n_z) + np.outer(n_z, n_r))
        matrix = jnp.asarray(np.outer(n_r, n_r)) * aa + cross * ab + jnp.asarray(np.outer(n_z, n_z)) * bb
        mean = n_r * grid.coefficients(a) + n_z * grid.coefficients(b)
        # The square of a column with all its n.Omega taken positive: what is large there, but at a resonance.
        scale = jnp.asarray(
            n_r**2 * jnp.mean(a * a)
            + 2 * abs(n_r * n_z) * jnp.mean(jnp.abs(a * b))
            + n_z**2 * jnp.mean(b * b)
        )
        return cls(a, b, 4.0 * (matrix - mean[:, None] * mean), 2.0 * scale)

    def project(self, grid: Grid, field: Field) -> Float[Array, " m"]:
        """The right-hand side of a field, whose mean must be 0."""
        n_r, n_z = grid.n[:, 0], grid.n[:, 1]
        return 2.0 * (n_r * grid.coefficients(self.a * field) + n_z * grid.coefficients(self.b * field))

    def damped(self, damping) -> Float[Array, "m m"]:
        """The matrix of damped least squares."""
        return self.matrix + jnp.diag(damping * self.scale)

    def moved(
        self, grid: Grid, fields: Float[Array, "i r z"], S: Float[Array, "m i"]
    ) -> Float[Array, "i r z"]:
        """Fields that change with S_n as H does, with changes of S_n for each of them."""
        n_r, n_z = grid.n[:, 0, None], grid.n[:, 1, None]
        total = jax.vmap(grid.sum, 1)
        return fields + 2.0 * (self.a * total(n_r * S) + self.b * total(n_z * S))

    def slopes(self, grid: Grid, rates: Float[Array, "i r z"], matrix, factor) -> Float[Array, "m i"]:
        """dS_n/dJ_i, by which the rates get constant."""
        centred = rates - jnp.mean(rates, axis=(1, 2), keepdims=True)
        misses = jax.vmap(lambda f: self.project(grid, f), out_axes=1)(centred)
        return -solve(matrix, misses, factor)
