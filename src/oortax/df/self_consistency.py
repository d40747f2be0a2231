"""Potentials that distribution functions generate themselves: f(J) -> density -> Phi -> f(J(x, v)) -> ...

Unfinished, and not exported: spheres converge, with right derivatives; a disc with a bulge in a fixed halo
does not yet: NaN after some rounds.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from interpax import interp2d
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from oortax.df.base import AbstractDF
from oortax.df.moments import log_density
from oortax.dynamics import StaeckelFudge, circular_orbits
from oortax.potential import AbstractDensity, AbstractPotential, Sum, expand
from oortax.potential.expansion.grid import angular_coordinate, angular_range
from oortax.types import Scalar

# ln(rho) of what is nowhere, in Msun/kpc^3: no kink that splines would notice before.
_NOTHING = -300.0
# rad: how far from the axis the last latitude is.
_OFF_AXIS = 1e-3
# Places at a time whose velocities are integrated together.
_BATCH = 8
# Steps that Anderson's method remembers, and the ridge of its least squares.
_MEMORY, _RIDGE = 3, 1e-10
# Of the linear systems of implicit derivatives.
_LINEAR = 1e-6


class DensityGrid(eqx.Module):
    """Where the density of a component is found: n_r radii, even in ln r, times n_theta latitudes.

    kpc; beyond r_min and r_max the density goes on as power laws of r. The latitudes crowd towards the plane
    (`oortax.potential.expansion.grid.angular_coordinate`): 12 and more serve a disc, 4 a sphere.
    """

    n_r: int = eqx.field(static=True, default=24)
    n_theta: int = eqx.field(static=True, default=12)
    r_min: float = eqx.field(static=True, default=0.05)
    r_max: float = eqx.field(static=True, default=200.0)

    def __check_init__(self):
        given = f"DensityGrid({self.n_r}, {self.n_theta}, {self.r_min}, {self.r_max})"
        if self.n_r < 4 or self.n_theta < 4:
            raise ValueError(f"{given}: n_r and n_theta must be at least 4")
        if not 0.0 < self.r_min < self.r_max:
            raise ValueError(f"{given}: 0 < r_min < r_max is needed, in kpc")

    @property
    def log_r(self) -> np.ndarray:
        """ln of the radii."""
        return np.linspace(np.log(self.r_min), np.log(self.r_max), self.n_r)

    @property
    def tau(self) -> np.ndarray:
        """The latitudes' coordinate."""
        return np.linspace(*angular_range(), self.n_theta)

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """R and z, (n_r, n_theta)."""
        latitude = np.concatenate([[0.0], np.geomspace(1e-7, 0.5 * np.pi, 20000)])
        tau = angular_coordinate(np.sin(latitude) ** 2, np.cos(latitude) ** 2, np, 0.0)
        # Next to the axis, on which each orbit's J_phi is 0.
        at = np.minimum(np.interp(self.tau, tau, latitude), 0.5 * np.pi - _OFF_AXIS)
        r = np.exp(self.log_r)[:, None]
        return r * np.cos(at), r * np.sin(at)


@final
class GeneratedDensity(AbstractDensity):
    """The density of a component on a `DensityGrid`: ln rho by bicubic splines, power laws of r beyond."""

    log_rho: Float[Array, "r theta"]
    grid: DensityGrid

    def rho(self, R, z) -> Scalar:
        """Density at (R, z) in kpc, in Msun/kpc^3."""
        r2 = jnp.maximum(R * R + z * z, 1e-30)
        tau = jnp.clip(angular_coordinate(z * z / r2, R * R / r2), *angular_range())
        log_r = 0.5 * jnp.log(r2)
        first, last = self.grid.log_r[0], self.grid.log_r[-1]
        inside = jnp.clip(log_r, first, last)
        nodes = jnp.asarray(self.grid.log_r), jnp.asarray(self.grid.tau)
        value = interp2d(inside[None], tau[None], *nodes, self.log_rho, method="cubic2")[0]
        # The monopole's power, by that in the middle latitude, where no disc is thin.
        middle, step = self.grid.n_theta // 2, self.grid.log_r[1] - first
        inner = (self.log_rho[1, middle] - self.log_rho[0, middle]) / step
        outer = (self.log_rho[-1, middle] - self.log_rho[-2, middle]) / step
        beyond = log_r - inside
        return jnp.exp(value + jnp.where(beyond > 0.0, jnp.minimum(outer, -3.1), inner) * beyond)


class SelfConsistent(NamedTuple):
    """What `self_consistent` found.

    Attributes
    ----------
    potential : AbstractPotential
        A `Sum` of the components' densities, by name, and "external" if there is one, not expanded.
    iterations : int
        Evaluations of all densities.
    change : float
        rms change of ln(density) over the mass in the last round but one, of the component that moved most.
    converged : bool
    """

    potential: AbstractPotential
    iterations: Int[Array, ""]
    change: Scalar
    converged: Bool[Array, ""]


def self_consistent(
    components: Mapping[str, AbstractDF],
    start: AbstractPotential,
    external: AbstractPotential | None = None,
    *,
    grid: DensityGrid | Mapping[str, DensityGrid] | None = None,
    finder: Callable[[AbstractPotential], Any] = StaeckelFudge,
    refine: float = 1.0,
    tol: float = 1e-3,
    max_iterations: int = 20,
) -> SelfConsistent:
    """The potential that components of given f(J) generate together, in one that is fixed.

    Each round finds the density of each component in the potential of the moment, on its grid, and from
    these the next potential, until all densities stay. Rounds are combined by Anderson's method (Walker & Ni
    2011, SIAM J. Numer. Anal. 49, 1715), as circular orbits, fudge and densities answer nearly linearly.

    Parameters
    ----------
    components : mapping of name to AbstractDF
        f in Msun per phase-space volume, unbound: each is bound to the potential of the moment.
    start : AbstractPotential
        Where to begin: of about the right mass; the closer, the fewer rounds.
    external : AbstractPotential, optional
        What stays as it is: gas, a dark halo given as a density.
    grid : DensityGrid, or one for each component
    finder : made of the potential of the moment
    refine : of the velocities at a place (`oortax.df.moments`)
    tol : of ln(density), rms over the mass

    Traceable. Derivatives in the components' parameters and in `external` are implicit, of the last
    round, by GMRES; none go through the rounds, and `start` has none. Raises ValueError for no
    components, and for names that do not fit.

    >>> from oortax import df, potential
    >>> sphere = df.IsochroneSphere(M=1e11, b=3.0)
    >>> found = self_consistent({"stars": sphere}, potential.Isochrone(M=1e11, b=2.5))  # doctest: +SKIP
    >>> found.potential.Phi_Rz(3.0, 0.0)  # doctest: +SKIP
    """
    names = tuple(components)
    if not names:
        raise ValueError("self_consistent needs at least one component: {'disc': ...}")
    if "external" in names:
        raise ValueError("self_consistent: 'external' is what stays; call the component otherwise")
    if grid is None or isinstance(grid, DensityGrid):
        one = DensityGrid() if grid is None else grid
        grids = {name: one for name in names}
    elif set(grid) != set(names):
        raise ValueError(f"self_consistent: grids are for {sorted(grid)}, components are {sorted(names)}")
    else:
        grids = dict(grid)
    round_ = _Round(names, tuple(grids[name] for name in names), finder, refine)
    args = dict(components), external
    first = round_.densities(expand(lax.stop_gradient(start)), lax.stop_gradient(args[0]))
    tables, iterations, change = _anderson(round_, first, lax.stop_gradient(args), tol, max_iterations)
    solution = optx.fixed_point(
        round_,
        optx.FixedPointIteration(rtol=1e-12, atol=1e-12),
        lax.stop_gradient(tables),
        args,
        max_steps=1,
        throw=False,
        adjoint=optx.ImplicitAdjoint(linear_solver=lx.GMRES(rtol=_LINEAR, atol=_LINEAR)),
    )
    potential = round_.potential(solution.value, external)
    return SelfConsistent(potential, iterations + 2, change, change < tol)


class _Round(eqx.Module):
    """From the densities' tables, in potentials of them, to tables again."""

    names: tuple[str, ...] = eqx.field(static=True)
    grids: tuple[DensityGrid, ...]
    finder: Callable = eqx.field(static=True)
    refine: float = eqx.field(static=True)

    def __call__(self, tables, args):
        components, external = args
        return self.densities(expand(self.potential(tables, external)), components)

    def potential(self, tables, external) -> AbstractPotential:
        """Of the tables and of what is fixed."""
        parts: dict[str, AbstractPotential] = {
            name: GeneratedDensity(table, grid)
            for name, table, grid in zip(self.names, tables, self.grids, strict=True)
        }
        return Sum(**parts) if external is None else Sum(**parts, external=external)

    def densities(self, potential: AbstractPotential, components) -> tuple[Float[Array, "r theta"], ...]:
        """ln rho of each component on its grid."""
        orbits, finder = circular_orbits(potential), self.finder(potential)
        found = []
        for name, grid in zip(self.names, self.grids, strict=True):
            f = components[name].bind(orbits)

            def at(place, f=f):
                R, z = place
                return jnp.maximum(log_density(f, potential, finder, R, z, self.refine), _NOTHING)

            R, z = (jnp.asarray(part.ravel()) for part in grid.places)
            found.append(lax.map(at, (R, z), batch_size=_BATCH).reshape(grid.n_r, grid.n_theta))
        return tuple(found)

    def weights(self, tables) -> tuple[Float[Array, "r theta"], ...]:
        """Shares of each component's mass: r^3 rho per ln r and latitude."""
        found = []
        for table, grid in zip(tables, self.grids, strict=True):
            log_mass = table + 3.0 * jnp.asarray(grid.log_r)[:, None]
            found.append(jax.nn.softmax(log_mass.ravel()).reshape(table.shape))
        return tuple(found)


def _anderson(round_: _Round, first, args, tol, max_iterations: int):
    """Tables that stay, rounds, and their last change: rms of ln(rho), by mass, the largest component's."""
    flat, restore = jax.flatten_util.ravel_pytree(first)
    weight = jnp.sqrt(jax.flatten_util.ravel_pytree(round_.weights(first))[0])

    def one(state):
        x, xs, fs, k, _ = state
        image = jax.flatten_util.ravel_pytree(round_(restore(x), args))[0]
        miss = image - x
        change = jnp.max(
            jnp.stack([
                jnp.sqrt(jnp.sum(w * part * part))
                for w, part in zip(round_.weights(restore(x)), restore(miss), strict=True)
            ])
        )  # fmt: skip
        xs, fs = jnp.roll(xs, 1, 0).at[0].set(x), jnp.roll(fs, 1, 0).at[0].set(miss)
        # Differences to what is remembered; those of rounds that were not yet are 0.
        past = (jnp.arange(1, _MEMORY + 1) <= k)[:, None]
        dx, df = (jnp.where(past, old[0] - old[1:], 0.0) for old in (xs, fs))
        weighted = df * weight
        gram = weighted @ weighted.T
        ridge = _RIDGE * (jnp.trace(gram) + 1e-30)
        gamma = jnp.linalg.solve(gram + ridge * jnp.eye(_MEMORY), weighted @ (weight * miss))
        # The rounds' own result when converged, and at first.
        mixed = x + miss - gamma @ (dx + df)
        return jnp.where(change < tol, image, mixed), xs, fs, k + 1, change

    def goes_on(state):
        return (state[4] >= tol) & (state[3] < max_iterations)

    none = jnp.zeros((_MEMORY + 1, flat.size))
    start = flat, none, none, jnp.asarray(0), jnp.asarray(jnp.inf)
    x, _, _, k, change = lax.while_loop(goes_on, one, start)
    return restore(x), k, change
