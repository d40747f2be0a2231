"""Potentials that distribution functions generate themselves: f(J) -> density -> Phi -> f(J(x, v)) -> ..."""

from collections.abc import Callable, Mapping
from typing import Any, final

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from rich.progress import Progress

from oortax.df.base import AbstractDF
from oortax.df.density_round import Densities, Scales, Setting, Tables, densities, field, first_scales
from oortax.df.generated_density import DensityGrid, GeneratedDensity
from oortax.df.rejection import bar_of_draws
from oortax.dynamics import StaeckelFudge, circular_orbits
from oortax.numerics.anderson import Memory
from oortax.potential import AbstractPotential, Sum, Tabulated, expand
from oortax.potential.tabulated import tabulate
from oortax.types import Scalar

# Evaluations that Anderson's method remembers, and how far it may go beyond a round's own ln rho.
_MEMORY, _BEYOND = 5, 2.0
# Passes in the first potential in which nodes find the velocities of discs; they follow the rounds until
# densities change by no more than this, when they stay so that rounds are one function.
_PASSES, _SETTLED = 3, 0.05
# Of implicit derivatives: relative change, and steps at most.
_LINEAR, _LINEAR_STEPS = 1e-5, 30
# Less than this part of its mass on the grid, and a component is not there.
_LEAST_MASS = 0.5


@final
class SelfConsistent(eqx.Module):
    """What `self_consistent` found; a later one may start from it, and `self_consistent_near` uses it.

    Attributes
    ----------
    potential : Sum
        The components' densities (`GeneratedDensity`) by name, and "external" if there is one. Not expanded.
    masses : dict of name to Scalar, Msun
        Of the components' densities: beside `f.mass()` they say how well grids and velocities serve.
    iterations : int
        Evaluations of all densities, those in the first potential included.
    change : float
        rms change of ln(density) over the mass in the last round, of the component that moved most; without
        convergence in the round where that was least, whose densities these are.
    converged : bool
        Whether that is below `tol`.
    """

    potential: Sum
    masses: dict[str, Scalar]
    iterations: int = eqx.field(static=True)
    change: float = eqx.field(static=True)
    converged: bool = eqx.field(static=True)
    setting: Setting = eqx.field(static=True)
    scales: Scales

    @property
    def tables(self) -> Tables:
        """ln rho of each component, in the order of the names."""
        return tuple(_density(self.potential, name).log_rho for name in self.setting.names)


def _density(potential: Sum, name: str) -> GeneratedDensity:
    part = potential[name]
    assert isinstance(part, GeneratedDensity)
    return part


def self_consistent(
    components: Mapping[str, AbstractDF],
    start: AbstractPotential | SelfConsistent,
    external: AbstractPotential | None = None,
    *,
    grid: DensityGrid | Mapping[str, DensityGrid] | None = None,
    finder: Callable[[AbstractPotential], Any] = StaeckelFudge,
    refine: float = 1.0,
    tol: float = 5e-3,
    max_iterations: int = 30,
    progress: bool = True,
) -> SelfConsistent:
    """The potential that components of given f(J) generate together, in one that is fixed.

    Each round finds the density of each component in the potential of the moment, on its grid, and from
    these the next potential, until all densities stay. Rounds are combined by Anderson's method (Walker & Ni
    2011, SIAM J. Numer. Anal. 49, 1715), as circular orbits, fudge and densities answer nearly linearly.

    Parameters
    ----------
    components : mapping of name to AbstractDF
        f in Msun per phase-space volume, unbound: each is bound to the potential of the moment. Mixtures too.
    start : AbstractPotential, or SelfConsistent
        The whole potential to begin with, `external` included: of about the right mass; the closer, the
        fewer rounds (`external` itself begins with components without mass). Or what was found for other
        parameters: its densities, grids and settings are taken.
    external : AbstractPotential, optional
        What stays as it is: a dark halo, gas; in closed form or given by a density.
    grid : DensityGrid, or one for each component
        By default 24 radii from 0.05 to 200 kpc times 12 latitudes.
    finder : makes the action finder of the potential of the moment
    refine : factor of the nodes over velocities at a place, per axis
    tol : of ln(density), rms over the mass
    max_iterations : evaluations of all densities
    progress : show a bar

    Notes
    -----
    A loop over one compiled round, whatever the potential. It is for known values, and is not traced:
    derivatives, and models of other parameters inside jit, are `self_consistent_near`'s. `masses` are within
    0.3 % of f's for spheres and discs. Those of flattened bulges by the fudge are 1 % too large, whatever the
    grid: its actions are not canonical. Cold discs near Toomre's limit, whose density answers strongly, take
    most rounds; discs with a ring, where v_c rises steeply and actions jump, may stay at changes of 1e-2. Not
    all f(J) have one solution, or one that rounds find.

    Raises ValueError for no components, names, grids or values that do not fit, components whose mass is not
    finite and positive, or of whose mass not half is on the grid, and for densities that are not finite (with
    the component, round and place).

    >>> from oortax import df, potential
    >>> sphere, grid = df.IsochroneSphere(M=1e11, b=3.0), DensityGrid(8, 4, 0.3, 100.0)
    >>> start = potential.Isochrone(M=1e11, b=2.5)
    >>> found = self_consistent({"stars": sphere}, start, grid=grid, progress=False)
    >>> Phi = potential.expand(found.potential).Phi_Rz(3.0, 0.0)
    >>> bool(abs(Phi / potential.Isochrone(M=1e11, b=3.0).Phi_Rz(3.0, 0.0) - 1.0) < 0.02)
    True
    """
    setting = _setting(components, start, grid, finder, refine)
    if not tol > 0.0 or max_iterations < 1:
        raise ValueError(f"tol = {tol}, max_iterations = {max_iterations}: both must be positive")
    components, external = dict(components), None if external is None else _expand(external)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((components, start, external))):
        raise ValueError(
            "self_consistent runs from the host, not inside jit or grad: find a model at known parameters "
            "first, and use self_consistent_near there"
        )
    with bar_of_draws(progress) as bar:
        loop = _Loop(setting, components, external, tol, max_iterations, bar)
        tables, scales = loop.begin(start)
        tables, scales = loop.run(tables, scales)
    potential = setting.potential(tables, external)
    masses = {name: _mass(_density(potential, name)) for name in setting.names}
    for name, mass in masses.items():
        expected = loop.expected[name]
        if not mass > _LEAST_MASS * expected:
            raise ValueError(
                f"self_consistent: of {expected:.3g} Msun of {name!r} only {mass:.3g} Msun are on its grid: "
                "its actions belong to orbits beyond the grid, or to none that is bound"
            )
    return SelfConsistent(potential, masses, loop.count, loop.change, loop.change < tol, setting, scales)


def self_consistent_near(
    found: SelfConsistent,
    components: Mapping[str, AbstractDF],
    external: AbstractPotential | None = None,
    *,
    rounds: int = 6,
) -> Sum:
    """The self-consistent potential at parameters near those of `found`, with its derivatives; traceable.

    So many rounds from what was found, combined as in `self_consistent`, for jit and likelihoods: for spheres
    2 leave 15 per cent of the change, 4 a thousandth. At the parameters of `found` itself none is needed.
    Derivatives in the parameters of the components and of `external` are those of the self-consistent
    solution, dx/dp = (1 - dF/dx)^-1 dF/dp for densities x = F(x, p), by some 10 rounds of reverse mode; there
    is no forward mode. They are exact for the model on its grids and velocities: compare those of `refine` 1
    and 1.5 where they matter. None go through the rounds, nor into `found`.

    Returns a Sum like `found.potential`, not expanded. Raises ValueError for other names of components, and
    where `external` is missing or was not there.

    >>> def v_c(M):
    ...     near = df.self_consistent_near(found, {"stars": df.IsochroneSphere(M=M, b=3.0)}, rounds=0)
    ...     return potential.circular_velocity(near, 8.0)
    >>> jax.jit(jax.value_and_grad(v_c))(1e11)  # doctest: +SKIP
    """
    if set(components) != set(found.setting.names):
        raise ValueError(
            f"self_consistent_near: components are {sorted(components)}, those of `found` are "
            f"{sorted(found.setting.names)}"
        )
    if (external is None) != ("external" not in found.potential.parts):
        raise ValueError("self_consistent_near: `external` must be given if and only if `found` has one")
    given = dict(components), None if external is None else expand(external)
    moving, fixed = eqx.partition(given, eqx.is_inexact_array)
    start, restore = jax.flatten_util.ravel_pytree(lax.stop_gradient(found.tables))
    weight = _weight(found.setting, found.tables)
    scales = found.scales

    def image(x, moving):
        components, external = eqx.combine(moving, fixed)
        # The rounds' own programs: what they have traced is known.
        own = _field(restore(x), found.setting.grids)
        tables = _densities(found.setting, own, external, components, scales).tables
        return jax.flatten_util.ravel_pytree(tables)[0]

    x = start
    if rounds > 0:
        still = lax.stop_gradient(moving)

        def step(_, state):
            x, memory = state
            new = image(x, still)
            memory = memory.after(x, new)
            return _limited(memory.next(weight), new), memory

        memory = Memory.empty(start.size, min(_MEMORY, rounds), start.dtype)
        x, _ = lax.fori_loop(0, rounds, step, (start, memory))
    x = _implicit(image, lax.stop_gradient(x), moving)
    return found.setting.potential(restore(x), external)


def _implicit(image, x, moving):
    """x = image(x, moving), with the derivatives in `moving` of that equation."""

    @jax.custom_vjp
    def solution(x, moving):
        del moving
        return x

    def backward(kept, cotangent):
        _, pull = jax.vjp(image, *kept)

        def step(state):
            dual, _, memory, _ = state
            through, moved = pull(dual)
            new = cotangent + through
            memory = memory.after(dual, new)
            return memory.next(), moved, memory, jnp.linalg.norm(new - dual)

        def goes_on(state):
            return (state[3] > _LINEAR * scale) & (state[2].count < _LINEAR_STEPS)

        scale = jnp.linalg.norm(cotangent)
        memory = Memory.empty(cotangent.size, _MEMORY, cotangent.dtype)
        start = cotangent, jax.tree.map(jnp.zeros_like, kept[1]), memory, jnp.asarray(jnp.inf)
        _, moved, *_ = lax.while_loop(goes_on, step, start)
        return jnp.zeros_like(cotangent), moved

    solution.defvjp(lambda x, moving: (x, (x, moving)), backward)
    return solution(x, moving)


class _Loop:
    """Rounds from the host, watched."""

    def __init__(self, setting: Setting, components, external, tol: float, most: int, bar: Progress):
        self.setting, self.components, self.external = setting, components, external
        self.tol, self.most = tol, most
        self.count, self.change = 0, np.inf
        self.expected: dict[str, float] = {}
        self.bar, self.task = bar, bar.add_task("rounds", total=most)

    def begin(self, start: AbstractPotential | SelfConsistent) -> tuple[Tables, Scales]:
        """The first densities, and where velocities are."""
        own = (
            _field(start.tables, self.setting.grids)
            if isinstance(start, SelfConsistent)
            else self._own(start)
        )
        self.expected = self._expected(own)
        if isinstance(start, SelfConsistent):
            return start.tables, start.scales
        scales = _first_scales(self.setting, own, self.external, self.components)
        passes = 1 if all(scale is None for scale in scales) else _PASSES
        for _ in range(passes):
            tables, scales = self.evaluate(own, scales)
        return tables, scales

    def run(self, tables: Tables, scales: Scales) -> tuple[Tables, Scales]:
        """Rounds until the densities stay: the densities that changed least."""
        x, restore = jax.flatten_util.ravel_pytree(tables)
        weight = _weight(self.setting, tables)
        memory, settled = Memory.empty(x.size, _MEMORY, x.dtype), False
        best = tables, scales
        while self.change >= self.tol and self.count < self.most:
            new, moved = self.evaluate(_field(restore(x), self.setting.grids), scales)
            image = jax.flatten_util.ravel_pytree(new)[0]
            change = float(_change(self.setting, restore(x), new))
            self.bar.update(self.task, description=f"rounds, last change {change:.1e}")
            if change < self.change:
                self.change, best = change, Densities(new, scales)
            if not settled:
                settled = change < _SETTLED
                if settled:
                    # From now on nodes stay; what is remembered was another function.
                    memory = Memory.empty(x.size, _MEMORY, x.dtype)
                else:
                    scales = moved
            memory, x = _next(memory, x, image, weight)
        return best

    def evaluate(self, own: Tabulated, scales: Scales) -> Densities:
        """All densities, which must be finite."""
        found = _densities(self.setting, own, self.external, self.components, scales)
        self.count += 1
        self.bar.advance(self.task)
        for name, grid, table in zip(self.setting.names, self.setting.grids, found.tables, strict=True):
            bad = np.argwhere(~np.isfinite(np.asarray(table)))
            if len(bad):
                R, z = (float(a[tuple(bad[0])]) for a in grid.places)
                raise ValueError(
                    f"self_consistent: the density of {name!r} is not finite in round {self.count} at "
                    f"{len(bad)} of {table.size} places, the first at R = {R:.3g}, z = {z:.3g} kpc: begin "
                    "closer to the solution, or look at f and at circular orbits there"
                )
        return found

    def _own(self, start: AbstractPotential) -> Tabulated:
        """The start less what is external, in the form of the rounds' potentials."""
        start = _expand(start)

        def Phi(r, mu):
            R, z = (jnp.asarray((r * a).ravel()) for a in (np.sqrt(1.0 - mu**2), mu))
            return np.asarray(_difference(start, self.external, R, z)).reshape(r.shape)

        found = tabulate(Phi)
        # One program serves all potentials: those of the rounds know no such error.
        ends = found.inner_slope, found.inner_power, found.outer_slope
        return Tabulated(found.table, *ends, found.r_min, found.r_max, error=0.0)

    def _expected(self, own: Tabulated) -> dict[str, float]:
        """Each component's mass by its f."""
        masses = {name: float(m) for name, m in _masses_of_f(own, self.external, self.components).items()}
        for name, mass in masses.items():
            if not 0.0 < mass < np.inf:
                raise ValueError(
                    f"self_consistent: the mass of {name!r} is {mass} Msun: it must be finite and positive; "
                    "change its parameters or leave it out"
                )
        return masses


def _setting(components, start, grid, finder, refine) -> Setting:
    names = tuple(components)
    if not names:
        raise ValueError("self_consistent needs at least one component: {'disc': ...}")
    if "external" in names:
        raise ValueError("self_consistent: 'external' is what stays; call the component otherwise")
    for name, component in components.items():
        if not isinstance(component, AbstractDF):
            raise ValueError(f"self_consistent: {name!r} is a {type(component).__name__}, not a DF")
    if isinstance(start, SelfConsistent):
        if set(names) != set(start.setting.names):
            raise ValueError(
                f"self_consistent: components are {sorted(names)}, those of `start` are "
                f"{sorted(start.setting.names)}"
            )
        return start.setting
    if grid is None or isinstance(grid, DensityGrid):
        one = DensityGrid() if grid is None else grid
        grids = {name: one for name in names}
    elif set(grid) != set(names):
        raise ValueError(f"self_consistent: grids are for {sorted(grid)}, components are {sorted(names)}")
    else:
        grids = dict(grid)
    return Setting(names, tuple(grids[name] for name in names), finder, refine)


def _weight(setting: Setting, tables: Tables):
    """Of the least squares: roots of the shares of mass."""
    return jnp.sqrt(jax.flatten_util.ravel_pytree(setting.shares(tables))[0])


def _limited(x, image):
    return image + jnp.clip(x - image, -_BEYOND, _BEYOND)


# One program each, for all rounds and all calls with like components.
_densities = eqx.filter_jit(densities)
_first_scales = eqx.filter_jit(first_scales)
_field = eqx.filter_jit(field)
_expand = eqx.filter_jit(expand)
_mass = eqx.filter_jit(GeneratedDensity.mass)


@eqx.filter_jit
def _next(memory: Memory, x, image, weight):
    memory = memory.after(x, image)
    return memory, _limited(memory.next(weight), image)


@eqx.filter_jit
def _change(setting: Setting, old: Tables, new: Tables) -> Scalar:
    """rms of ln rho over the mass, of the component that moved most."""
    squares = [
        jnp.sum(share * (b - a) ** 2) for share, a, b in zip(setting.shares(old), old, new, strict=True)
    ]
    return jnp.sqrt(jnp.max(jnp.stack(squares)))


@eqx.filter_jit
def _difference(start, external, R, z):
    whole = jax.vmap(start.Phi_Rz)(R, z)
    return whole if external is None else whole - jax.vmap(external.Phi_Rz)(R, z)


@eqx.filter_jit
def _masses_of_f(own, external, components):
    orbits = circular_orbits(own if external is None else Sum(own=own, external=external))
    return {name: f.bind(orbits).mass() for name, f in components.items()}
