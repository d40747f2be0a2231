"""Potentials that come as tables."""

from collections.abc import Callable
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.numerics.bspline import interpolation_matrix, pieces
from oortax.params import param
from oortax.potential.base import AbstractClosedForm
from oortax.potential.expansion.field import read
from oortax.potential.expansion.grid import Grid, angular_coordinate, angular_range
from oortax.potential.expansion.modes import modes
from oortax.potential.expansion.poisson import Expansion
from oortax.types import Scalar

DEGREE = 5


@final
class Tabulated(AbstractClosedForm):
    """A potential read from a table that some other code made: its shape is fixed, its amplitude free.

    Phi = amplitude times one tensor-product quintic spline in (ln r, tau(latitude)), three times
    continuously differentiable, as that of an expanded density and at the same cost; beyond r_max the
    monopole goes on as (a + b ln r)/r, within r_min as a power of r. The density follows from Poisson's
    equation. Made by `tabulate`; `oortax.io.from_agama` reads files.

    `error` is the largest difference of r dPhi/dr from what was tabulated, relative to that of the monopole,
    between the nodes: what resampling costs.
    """

    table: Float[Array, "m n"]
    inner_slope: Float[Array, ""]
    inner_power: Float[Array, ""]
    outer_slope: Float[Array, ""]
    r_min: float = eqx.field(static=True)
    r_max: float = eqx.field(static=True)
    error: float = eqx.field(static=True)
    amplitude: Scalar = param(
        constraints.positive, "", "potential in units of the tabulated one", default=1.0
    )

    @property
    def grid(self) -> Grid:
        """Where it is tabulated."""
        rows, columns = self.table.shape
        return Grid(rows - DEGREE + 1, columns - DEGREE, self.r_min, self.r_max, DEGREE)

    def Phi_of_squares(self, R2, z2):
        expansion = Expansion(self.table, self.inner_slope, self.inner_power, self.outer_slope)
        return self.amplitude * read(expansion, self.grid, R2, z2)


def tabulate(
    Phi: Callable[[np.ndarray, np.ndarray], np.ndarray],
    grid: Grid | None = None,
    trusted: tuple[float, float] = (0.0, np.inf),
) -> Tabulated:
    """Tabulate an axisymmetric potential, even in z, that NumPy can evaluate.

    Parameters
    ----------
    Phi : callable
        (km/s)^2, of arrays of radii r (kpc) and of sin(latitude) = z/r in [0, 1], of one shape.
    grid : Grid, optional
        Of degree 5. Beyond r_max the potential should be that of a monopole, within r_min too.
    trusted : (float, float)
        Radii (kpc) between which the `error` is looked for; Phi beyond may be an extrapolation.

    >>> from oortax import potential
    >>> pot = tabulate(lambda r, mu: -4.3e4 / np.sqrt(1.0 + r**2))
    >>> exact = potential.Plummer(M=4.3e4 / 4.300917270069976e-06, b=1.0)
    >>> bool(abs(pot.Phi_Rz(3.0, 2.0) / exact.Phi_Rz(3.0, 2.0) - 1.0) < 1e-5), pot.error < 1e-5
    (True, True)
    """
    grid = Grid() if grid is None else grid
    if grid.degree != DEGREE:
        raise ValueError(f"tabulate(grid={grid}): the degree of the grid must be {DEGREE}")
    angular = modes(grid)
    log_r = np.linspace(np.log(grid.r_min), np.log(grid.r_max), grid.n_r)
    values = Phi(*np.broadcast_arrays(np.exp(log_r)[:, None], angular.mu))
    if not np.all(np.isfinite(values)):
        at = tuple(np.argwhere(~np.isfinite(values))[0])
        raise ValueError(
            f"tabulate: Phi is {values[at]} at r = {np.exp(log_r[at[0]]):.3g} kpc, "
            f"z/r = {angular.mu[at[1]]:.3g}"
        )
    splines = interpolation_matrix(grid.n_r, DEGREE) @ (values @ angular.project)
    table = splines @ angular.coefficients
    # Mode 0 is the constant 1: its amplitude is the monopole.
    monopole = splines[:, 0]
    slope = _design(np.arange(5.0), len(monopole), 1) @ monopole / grid.step
    power = np.log(slope[4] / slope[0]) / (4.0 * grid.step) if slope[0] > 0.0 and slope[4] > 0.0 else 2.0
    ends = np.array([0.0, grid.n_r - 1.0])
    outer = (_design(ends, len(monopole)) + _design(ends, len(monopole), 1) / grid.step)[1] @ monopole
    return Tabulated(
        table=jnp.asarray(table, dtype=float),
        inner_slope=jnp.asarray(slope[0], dtype=float),
        inner_power=jnp.asarray(power, dtype=float),
        outer_slope=jnp.asarray(outer, dtype=float),
        r_min=float(grid.r_min),
        r_max=float(grid.r_max),
        error=_error(Phi, table, grid, trusted),
    )


def _design(u: np.ndarray, size: int, order: int = 0) -> np.ndarray:
    """Values at u of all B-splines of a table's axis, or of their derivatives, shape (n, size)."""
    cell = np.clip(np.floor(u).astype(int), 0, size - DEGREE - 1)
    local = np.polynomial.polynomial.polyval(u - cell, pieces(DEGREE, order).T)
    full = np.zeros((len(u), size))
    for k in range(DEGREE + 1):
        full[np.arange(len(u)), cell + k] = local[k]
    return full


def _error(Phi: Callable, table: np.ndarray, grid: Grid, trusted: tuple[float, float]) -> float:
    """How far r dPhi/dr of the splines is from that of Phi in the middle of the cells (see `Tabulated`)."""
    u = np.arange(3.5, grid.n_r - 4.0)
    r = np.exp(np.log(grid.r_min) + u * grid.step)
    u, r = (a[(r >= trusted[0]) & (r <= trusted[1])] for a in (u, r))
    if not u.size:
        raise ValueError(f"tabulate(trusted={trusted}): no node of the grid lies between these radii")
    mu = np.sin(np.concatenate([[0.0], np.geomspace(2e-3, 1.5, 40)]))
    low, high = angular_range()
    tau = angular_coordinate(mu**2, 1.0 - mu**2, np, 0.0)
    v = np.clip((tau - low) / (high - low) * grid.n_theta, 0.0, grid.n_theta)
    rows, columns = table.shape
    found = _design(u, rows, 1) @ table @ _design(v, columns).T / grid.step
    h = 1e-4
    above, below = (Phi(*np.broadcast_arrays((r * np.exp(s))[:, None], mu)) for s in (h, -h))
    expected = (above - below) / (2.0 * h)
    mean = np.abs(np.mean(expected, axis=1, keepdims=True))
    return float(np.max(np.abs(found - expected) / np.where(mean > 0.0, mean, 1.0)))
