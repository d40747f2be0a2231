"""The likelihood of a catalogue: one jitted function of galaxy, survey and outliers.

One star: L_k = sum_i w_i int ds d^3v ... f_i(J(x, v)) F_i(M) p(obs_k | x, v, M), on the star's fixed nodes.
Catalogue: ln L = sum_k ln L_k - N ln A with A = sum_i w_i int d^3x S_i rho_i (conditional on N), or with the
expected number of stars (Poisson). Several catalogues of one galaxy: the sum, with all that follows from the
galaxy computed once.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.df import AbstractDF
from oortax.dynamics import FINDERS, STAR_FINDERS, AbstractActionFinder, circular_orbits
from oortax.model.catalogue import Catalogue
from oortax.model.density import DensityGrid, VelocityNodes, density_grid, velocity_nodes
from oortax.model.galaxy import Galaxy, Outliers, Sight
from oortax.model.nodes import Nodes, StarNodes
from oortax.model.volume import VolumeNodes
from oortax.model.zero_points import moved_zero_points
from oortax.numerics.batching import chunked_map
from oortax.potential import AbstractPotential, Grid, circular_velocity, expand
from oortax.survey import Survey, phase_space, position
from oortax.types import Scalar

FORMS = "conditional", "poisson", "kinematic"
"""What ln L of a catalogue is conditional on; see `Settings`."""

# Stands for ln 0: smaller than any ln f of a star that any component could hold, and harmless in exp.
_NEVER = -1e5


@dataclasses.dataclass(frozen=True)
class Settings:
    """Choices that are compiled in; equal settings compile once.

    Attributes
    ----------
    form : "conditional" on the number of stars; "poisson", their numbers too (see `log_likelihood_jointly`);
        or "kinematic", on where each star is, and how bright, too: the density of its velocity alone, which
        no selection by place or magnitude changes
    n_R, n_z : points of the density grid of a small volume; of a larger one more (`Nodes.more`)
    refine : multiplies the velocity nodes along each axis
    batch_size : star nodes handled at a time; bounds the memory whatever the number of stars
    fold : fold the selection anew in every evaluation; needed where a parameter of the survey's errors or
        dust or of a component's magnitudes is free, but for a zero point alone (`with_moving_selection`)
    grid : of the potential's expansion, where it has densities
    """

    form: str = "conditional"
    n_R: int = 3
    n_z: int = 5
    refine: float = 1.0
    batch_size: int = 2048
    fold: bool = False
    grid: Grid = Grid()

    @classmethod
    def for_stars(cls, N: int, **changes: Any) -> "Settings":
        """Settings whose numerical errors stay small beside statistical ones, which shrink as 1/sqrt(N).

        The defaults shift the demo's maximum (N = 2000) by 0.32 of its error in disc.b, 0.28 in thin.df.H_d
        and at most 0.16 in any other parameter (benchmarks/likelihood.py measures the largest); beyond 5000
        stars a finer rule costs little beside the stars themselves.
        """
        finer: dict[str, Any] = {"n_R": 4, "n_z": 7, "refine": 1.3} if N > 5000 else {}
        return cls(**(finer | changes))

    def __post_init__(self):
        if self.form not in FORMS:
            raise ValueError(f"form = {self.form!r} must be one of {', '.join(map(repr, FORMS))}")
        for name, least in (("n_R", 2), ("n_z", 2), ("refine", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least {least}")

    def shapes(self, nodes: Nodes) -> tuple[tuple[int, int], ...]:
        """Points of the density grid of each component."""
        return tuple((self.n_R + R, self.n_z + z) for R, z in nodes.more)


class Derived(NamedTuple):
    """What follows from the parameters, computed once per evaluation.

    Bound DFs, ln of each component's weight over its mass, the density grid, and the phase-space points of
    the star nodes with their actions.
    """

    dfs: tuple[AbstractDF, ...]
    log_amplitudes: Float[Array, " k"]
    grid: DensityGrid
    x: Float[Array, "n 3"]
    v: Float[Array, "n 3"]
    J: Float[Array, "n 3"]


FinderLike = str | Callable[[Any], AbstractActionFinder]


def finder_of(finder: FinderLike) -> Callable[[Any], AbstractActionFinder]:
    """What makes a finder of a potential, by name or as it is."""
    if not isinstance(finder, str):
        return finder
    if finder in STAR_FINDERS:
        raise ValueError(f"{finder} is prepared for stars: give finder=dynamics.pilot_tori(potential, x, v)")
    if finder not in FINDERS:
        raise ValueError(f"finder = {finder!r} is not one of {', '.join(FINDERS)}")
    factory: Any = FINDERS[finder]
    return factory


def derive(galaxy: Galaxy, survey: Survey, nodes: Nodes, finder: FinderLike, settings: Settings) -> Derived:
    """Everything that follows from one set of parameters and the nodes.

    The velocity nodes of all components and the star nodes go through the action finder in one list: it is
    traced and compiled once.
    """
    points = points_of(galaxy, survey, nodes, finder, settings)
    (J,) = _actions([points], settings.batch_size)
    return points.with_actions(galaxy, nodes, J, settings)


def _actions(points: "Sequence[Points]", batch_size: int) -> list[Float[Array, "m 3"]]:
    """Actions at the places of some points, found in one list."""
    finder = points[0].finder
    places = points[0].places
    if len(points) > 1:
        places = jax.tree.map(lambda *parts: jnp.concatenate(parts), *(each.places for each in points))
    J = jax.lax.optimization_barrier(chunked_map(lambda at: finder.actions(*at), places, batch_size))
    ends = np.cumsum([each.places[0].shape[0] for each in points])[:-1]
    return jnp.split(J, ends) if len(points) > 1 else [J]


class Tables(NamedTuple):
    """What follows from the galaxy alone: the potential in tables, what finds actions in it, bound DFs."""

    potential: AbstractPotential
    finder: AbstractActionFinder
    dfs: dict[str, AbstractDF]
    log_masses: dict[str, Scalar]


def tables_of(galaxy: Galaxy, finder: FinderLike, grid: Grid) -> Tables:
    """The tables of one set of parameters, for all catalogues."""
    # Barriers keep XLA from copying a table's computation into every loop that reads the table.
    potential = jax.lax.optimization_barrier(expand(galaxy.potential, grid))
    orbits, built = jax.lax.optimization_barrier((circular_orbits(potential), finder_of(finder)(potential)))
    dfs = {name: galaxy.components[name].df.bind(orbits) for name in galaxy.names}
    return Tables(potential, built, dfs, {name: jnp.log(f.mass()) for name, f in dfs.items()})


class Points(NamedTuple):
    """Where actions are needed: velocity nodes of all components, then star nodes, and what finds them."""

    finder: AbstractActionFinder
    dfs: tuple[AbstractDF, ...]
    log_masses: Float[Array, " k"]
    fields: tuple[VelocityNodes, ...]
    x: Float[Array, "n 3"]
    v: Float[Array, "n 3"]
    places: tuple[Float[Array, "m 3"], Float[Array, "m 3"]]

    def parts(self, of_places: Array) -> list[Array]:
        """What was found at `places`, for each field in its shape and for the star nodes."""
        parts = jnp.split(of_places, np.cumsum([field.w.size for field in self.fields]))
        shapes = [(*field.w.shape, *of_places.shape[1:]) for field in self.fields]
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=False)] + parts[-1:]

    def with_actions(self, galaxy: Galaxy, nodes: Nodes, J: Float[Array, "m 3"], settings: Settings):
        """What follows from the actions."""
        *actions, of_stars = self.parts(J)
        grid = density_grid(self.dfs, self.fields, tuple(actions), nodes.boxes, settings.shapes(nodes))
        return Derived(self.dfs, galaxy.log_weights() - self.log_masses, grid, self.x, self.v, of_stars)


def points_of(
    galaxy: Galaxy,
    survey: Survey,
    nodes: Nodes,
    finder: FinderLike,
    settings: Settings,
    tables: Tables | None = None,
) -> Points:
    """The points of one set of parameters, and the finder in its potential (in `tables`, if there are)."""
    potential, built, dfs, log_masses = tables or tables_of(galaxy, finder, settings.grid)
    seen = tuple(dfs[name] for name in galaxy.names)
    masses = jnp.stack([log_masses[name] for name in galaxy.names])
    fields = tuple(
        velocity_nodes(f, potential, box, n_R=n_R, n_z=n_z, refine=settings.refine)
        for f, box, (n_R, n_z) in zip(seen, nodes.boxes, settings.shapes(nodes), strict=True)
    )
    x, v = star_points(potential, survey, nodes.stars)
    places = jnp.concatenate([field.x.reshape(-1, 3) for field in fields] + [x])
    speeds = jnp.concatenate([field.v.reshape(-1, 3) for field in fields] + [v])
    return Points(built, seen, masses, fields, x, v, jax.lax.optimization_barrier((places, speeds)))


def star_points(potential, survey: Survey, stars: StarNodes):
    """Galactocentric positions (kpc) and velocities (km/s) of star nodes, (n, 3) each."""
    v_c0 = circular_velocity(potential, survey.sun.R0)
    return jax.vmap(partial(phase_space, survey.sun, v_c0))(
        stars.l, stars.b, stars.s, stars.mu_l, stars.mu_b, stars.v_los
    )


def log_normalisation(
    galaxy: Galaxy, survey: Survey, volume: VolumeNodes, derived: Derived, *, fold: bool = False
) -> Scalar:
    """ln A, A = sum_i w_i int d^3x S_i(x) rho_i(x): the share of all stars that the survey would list."""
    names = galaxy.names
    place = jax.vmap(lambda l, b, s: position(survey.sun, l, b, s))(volume.l, volume.b, volume.s)
    log_rho = jax.vmap(lambda x: derived.grid.log_rho(jnp.hypot(x[0], x[1]), x[2]))(place)
    if fold:
        selection = [
            jax.vmap(lambda l, b, s, n=name: survey.folded(galaxy.components[n].stars, l, b, s))(
                volume.l, volume.b, volume.s
            )
            for name in names
        ]
    else:
        at_nodes = volume.selection if volume.moving is None else volume.moving.at(survey)
        selection = [at_nodes[name] for name in names]
    counts = jnp.stack(selection, axis=1) * jnp.exp(log_rho + derived.log_amplitudes) * volume.w[:, None]
    return jnp.log(jnp.sum(counts))


def _log_magnitudes(galaxy: Galaxy, survey: Survey, node: StarNodes):
    """ln of the density of the observed V for every component at a node's distance; 0 without a V."""
    known = jnp.isfinite(node.V)
    at = node.l, node.b, node.s, jnp.where(known, node.V, 0.0)
    log_F = [survey.log_magnitude(galaxy.components[name].stars, *at) for name in galaxy.names]
    return jnp.where(known, jnp.stack(log_F), 0.0)


def _log_sum(terms):
    """ln sum exp, with vanishing terms kept finite so that no derivative is NaN."""
    return jax.nn.logsumexp(jnp.maximum(terms, _NEVER))


def _node_term(
    galaxy: Galaxy, survey: Survey, outliers: Outliers | None, derived: Derived, node: StarNodes, x, v, J
) -> Scalar:
    """ln of one node's contribution to its star's likelihood."""
    log_F = _log_magnitudes(galaxy, survey, node)
    log_f = jnp.stack([f.log_f(J) for f in derived.dfs])
    regular = _log_sum(derived.log_amplitudes + log_f + log_F)
    if outliers is None:
        return node.log_w + regular
    log_rho = derived.grid.log_rho(jnp.hypot(x[0], x[1]), x[2])
    log_gauss = -0.5 * (v @ v) / outliers.sigma**2 - 1.5 * jnp.log(2.0 * jnp.pi * outliers.sigma**2)
    other = _log_sum(derived.log_amplitudes + log_rho + log_F) + log_gauss
    return node.log_w + jnp.logaddexp(
        jnp.log1p(-outliers.fraction) + regular, jnp.log(outliers.fraction) + other
    )


def node_terms(
    galaxy: Galaxy, survey: Survey, outliers: Outliers | None, derived: Derived, stars: StarNodes
) -> Float[Array, " n"]:
    """ln of every node's contribution to its star's likelihood."""
    term = partial(_node_term, galaxy, survey, outliers, derived)
    return jax.vmap(term)(stars, derived.x, derived.v, derived.J)


def log_places(galaxy: Galaxy, survey: Survey, derived: Derived, stars: StarNodes) -> Float[Array, "n k"]:
    """ln of every node's contribution to the density of its star's place and magnitude, by component."""

    def term(node: StarNodes, x) -> Float[Array, " k"]:
        log_rho = derived.grid.log_rho(jnp.hypot(x[0], x[1]), x[2])
        seen = derived.log_amplitudes + log_rho + _log_magnitudes(galaxy, survey, node)
        return node.log_place + jnp.maximum(seen, _NEVER)

    return jax.vmap(term)(stars, derived.x)


class PerStar(NamedTuple):
    """ln L_k - ln A and the effective number of nodes of every star, shape (N,), and ln A.

    In the "kinematic" form ln A is a star's own, and its mean over the stars is given.
    """

    log_L: Float[Array, " N"]
    ess: Float[Array, " N"]
    log_A: Scalar


def per_star(
    galaxy: Galaxy,
    survey: Survey,
    catalogue: Catalogue,
    nodes: Nodes,
    *,
    outliers: Outliers | None = None,
    finder: FinderLike = "StaeckelFudge",
    settings: Settings | None = None,
) -> PerStar:
    """ln L_k - ln A of every star, its effective number of nodes, and ln A; arguments as of `log_likelihood`.

    The second is (sum t)^2 / sum t^2 over the terms of a star's quadrature: near 1 if one node carries it.
    """
    settings = Settings() if settings is None else settings
    observed = Observed(Sight(galaxy, survey, outliers), catalogue, nodes, settings)
    return per_star_jointly(galaxy, {"": observed}, finder=finder)[""]


class Observed(NamedTuple):
    """One catalogue of several: how it sees the Galaxy, its stars, their nodes, and its settings."""

    sight: Sight
    catalogue: Catalogue
    nodes: Nodes
    settings: Settings


def per_star_jointly(
    galaxy: Galaxy, catalogues: Mapping[str, Observed], *, finder: FinderLike = "StaeckelFudge"
) -> dict[str, PerStar]:
    """`per_star` of catalogues of one galaxy, by name.

    The potential's tables, circular orbits, finder and bound DFs are made once, and the places of all go
    through the finder in one list: it is traced and compiled once, however many catalogues there are.
    """
    found = _jointly(galaxy, dict(catalogues), finder)
    return {name: found[name] for name in catalogues}


# Compiled: calls outside jit would go through a finder step by step.
@eqx.filter_jit
def _jointly(galaxy: Galaxy, catalogues: dict[str, Observed], finder: FinderLike) -> dict[str, PerStar]:
    names, several = list(catalogues), list(catalogues.values())
    tables = tables_of(galaxy, finder, several[0].settings.grid)
    points, galaxies = [], []
    for each in several:
        galaxies.append(each.sight.galaxy.bound())
        seen = galaxies[-1], each.sight.survey, each.nodes
        points.append(points_of(*seen, finder, each.settings, tables))
    found = _actions(points, min(each.settings.batch_size for each in several))
    parts = zip(several, galaxies, points, found, strict=True)
    stars = [_per_star(g, each, at.with_actions(g, each.nodes, J, each.settings)) for each, g, at, J in parts]
    return dict(zip(names, stars, strict=True))


def _per_star(galaxy: Galaxy, observed: Observed, derived: Derived) -> PerStar:
    """`per_star` from what follows from the parameters."""
    (_, survey, outliers), catalogue, nodes, settings = observed
    stars, N = nodes.stars, len(catalogue)
    moved = moved_zero_points(survey, catalogue, nodes)
    log_L, ess = _of_stars(moved + node_terms(galaxy, survey, outliers, derived, stars), stars, N)
    log_L = jnp.where(log_L < 0.5 * _NEVER, -jnp.inf, log_L)
    if settings.form == "kinematic":
        places = jax.nn.logsumexp(log_places(galaxy, survey, derived, stars), axis=1)
        log_A, _ = _of_stars(moved + places, stars, N)
    else:
        log_A = log_normalisation(galaxy, survey, nodes.volume, derived, fold=settings.fold)
    return PerStar(log_L - log_A, ess, jnp.mean(log_A))


def _of_stars(terms: Float[Array, " n"], stars: StarNodes, N: int) -> tuple[Array, Array]:
    """ln of the sum of exp(terms) over each star's nodes, and their effective number, (N,)."""
    peak = jax.lax.stop_gradient(jax.ops.segment_max(terms, stars.star, N, indices_are_sorted=True))
    values = jnp.exp(terms - peak[stars.star])
    total = jax.ops.segment_sum(values, stars.star, N, indices_are_sorted=True)
    squares = jax.ops.segment_sum(values**2, stars.star, N, indices_are_sorted=True)
    return peak + jnp.log(total), total**2 / squares


def log_likelihood(
    galaxy: Galaxy,
    survey: Survey,
    catalogue: Catalogue,
    nodes: Nodes,
    *,
    outliers: Outliers | None = None,
    finder: FinderLike = "StaeckelFudge",
    settings: Settings | None = None,
    log_number: Any = None,
) -> Scalar:
    """ln L of a catalogue; traceable, differentiable in every parameter of galaxy, survey and outliers.

    Parameters
    ----------
    nodes : Nodes
        From `make_nodes` with the same catalogue and survey; constants of the fit.
    finder : str or callable
        Name in `dynamics.FINDERS`, or a function potential -> action finder, such as `dynamics.pilot_tori`
        makes; the same for the stars and for the normalisation.
    log_number : scalar
        For the Poisson form: ln of the number of stars of all components in the whole Galaxy. Without it
        any number is as likely, and one catalogue alone has the conditional form's ln L.

    Accuracy: that of the nodes; `diagnose` measures it. Cost: one action evaluation per star node and per
    velocity node, linear in the number of stars; memory is bounded by `settings.batch_size`.
    """
    settings = Settings() if settings is None else settings
    observed = Observed(Sight(galaxy, survey, outliers), catalogue, nodes, settings)
    return log_likelihood_jointly(galaxy, {"": observed}, finder=finder, log_number=log_number)


def log_likelihood_jointly(
    galaxy: Galaxy,
    catalogues: Mapping[str, Observed],
    *,
    finder: FinderLike = "StaeckelFudge",
    log_number: Any = None,
) -> Scalar:
    """ln L of several catalogues of one galaxy: the sum of `log_likelihood`; traceable and differentiable.

    Catalogues are taken for independent: a star that is in two of them counts twice. Each has its own
    selection, components, magnitudes, outliers and nodes (`Model.sight`).

    In the Poisson form catalogue c has N_c of an expected N_all A_c stars, A_c the share of all components'
    stars that it lists, outliers included: sum_c [N_c ln(N_all A_c) - N_all A_c] is added to the conditional
    form's ln L. `log_number` is ln N_all, one number for all catalogues. Without it N_all is integrated over
    with a flat prior in ln N_all, which leaves how the stars are shared out among the catalogues:

        sum_c N_c ln(A_c / sum A),

    nothing where there is but one, and up to a constant. A_c are of the same kind of stars only where the
    catalogues' magnitudes are the components' own: F(M) of whatever kind counts as 1.
    """
    stars = per_star_jointly(galaxy, catalogues, finder=finder)
    total = sum((jnp.sum(each.log_L) for each in stars.values()), jnp.zeros(()))
    counted = {name: each for name, each in catalogues.items() if each.settings.form == "poisson"}
    if not counted:
        return total
    log_A = jnp.stack([_log_share(galaxy, stars[name], each.sight) for name, each in counted.items()])
    N = jnp.asarray([len(each.catalogue) for each in counted.values()], log_A.dtype)
    if log_number is None:
        return total + N @ (log_A - jax.nn.logsumexp(log_A))
    return total + N @ (log_number + log_A) - jnp.sum(jnp.exp(log_number + log_A))


def _log_share(galaxy: Galaxy, stars: PerStar, sight: Sight) -> Scalar:
    """ln of the share of the Galaxy's stars that a catalogue lists, its outliers with them."""
    weights = galaxy.log_weights()
    seen = [weights[i] for i, name in enumerate(galaxy.names) if name in sight.galaxy.names]
    log_A = stars.log_A + jax.nn.logsumexp(jnp.stack(seen))
    return log_A if sight.outliers is None else log_A - jnp.log1p(-sight.outliers.fraction)


log_likelihood.per_star = per_star  # type: ignore[attr-defined]
