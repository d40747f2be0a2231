"""Nodes of a survey: places in the space of observables at which the model is asked how many stars it has.

The nodes, their measurement errors, and which of them the survey lists are made once and stay where they are
while the model moves; what moves is their weight, f(J) of their phase-space point times the magnitudes of the
population. Sums over them are the model's predictions: smooth and differentiable in the potential, in
every f(J), in the populations and in the Sun, with common random numbers.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import qmc

from oortax import survey as surveys
from oortax.constants import KAPPA
from oortax.dynamics import circular_orbits
from oortax.model.galaxy import Component, Galaxy
from oortax.model.likelihood import FinderLike, finder_of
from oortax.model.survey_proposal import (
    DIMENSIONS,
    Proposed,
    SurveyProposal,
    gaussian,
    sky_of,
    survey_proposal,
)
from oortax.numerics.batching import chunked_map
from oortax.potential import circular_velocity, expand
from oortax.survey import Survey

_ROUNDS, _PILOT, _CHUNK = 3, 16_384, 2048
# Measurement errors that are drawn: V, parallax, distance modulus, mu_l, mu_b, v_los, colour.
_NOISE = ("V", "parallax", "distance_modulus", "mu_l", "mu_b", "v_los", "colour")
# Uniform numbers that a star takes: for the proposal, its errors, and one to spare.
NUMBERS = DIMENSIONS + len(_NOISE) + 1


@final
class SurveyNodes(eqx.Module):
    """Fixed stars of a survey, (n,) each, in the order of the components (build with `survey_nodes`).

    Attributes
    ----------
    l, b, s, mu_l, mu_b, v_los, M, colour : true observables: rad, kpc, mas/yr, km/s, mag
    log_q : ln of the density they were drawn from, times the number of nodes of their component, per dl d(sin
        b) ds dmu_l dmu_b dv_los dM (dcolour)
    accepted : probability that the survey lists the star, by what is observed of it
    observed : by name, what is observed of it
    names : components, static
    sizes : numbers of their nodes, static
    """

    l: Float[Array, " n"]
    b: Float[Array, " n"]
    s: Float[Array, " n"]
    mu_l: Float[Array, " n"]
    mu_b: Float[Array, " n"]
    v_los: Float[Array, " n"]
    M: Float[Array, " n"]
    colour: Float[Array, " n"]
    log_q: Float[Array, " n"]
    accepted: Float[Array, " n"]
    observed: Mapping[str, Any]
    names: tuple[str, ...] = eqx.field(static=True)
    sizes: tuple[int, ...] = eqx.field(static=True)

    def component(self) -> np.ndarray:
        """Index into `names` of every node."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


class Weighted(NamedTuple):
    """ln of the share of the Galaxy's stars that a node stands for (before selection), and its x, v and J."""

    log_w: Float[Array, " n"]
    x: Float[Array, "n 3"]
    v: Float[Array, "n 3"]
    J: Float[Array, "n 3"]


class DerivedGalaxy(NamedTuple):
    """What follows from a galaxy's parameters: action finder, bound f and ln masses by component, v_c(R0)."""

    finder: Any
    dfs: Mapping[str, Any]
    log_masses: Mapping[str, Array]
    v_c0: Array


def derive_galaxy(galaxy: Galaxy, survey: Survey, finder: FinderLike = "StaeckelFudge") -> DerivedGalaxy:
    """Everything that the weights of nodes need beside the parameters; traceable."""
    potential = jax.lax.optimization_barrier(expand(galaxy.potential))
    orbits, built = jax.lax.optimization_barrier((circular_orbits(potential), finder_of(finder)(potential)))
    dfs = {name: galaxy.components[name].df.bind(orbits) for name in galaxy.names}
    log_masses = {name: jnp.log(f.mass()) for name, f in dfs.items()}
    return DerivedGalaxy(built, dfs, log_masses, circular_velocity(potential, survey.sun.R0))


def node_weights(
    galaxy: Galaxy,
    survey: Survey,
    nodes: SurveyNodes,
    finder: FinderLike = "StaeckelFudge",
    *,
    derived: DerivedGalaxy | None = None,
    batch_size: int = _CHUNK,
) -> Weighted:
    """How many stars the nodes stand for; traceable, differentiable in every parameter of galaxy and Sun.

    ln w = ln share_i f_i(J) / M_i + ln [s^2 (kappa s)^2] + ln p_i(M, colour) - ln q, kappa = 4.74 km/s per
    (kpc mas/yr); the sum of w x `accepted` over the nodes of component i is the share of the Galaxy's stars
    that belong to i and are in the survey. Cost: one evaluation of the actions a node. The survey's dust and
    errors, which the nodes were made with, stay as they were. `derived` saves `derive_galaxy`.
    """
    known = derive_galaxy(galaxy, survey, finder) if derived is None else derived
    place = partial(surveys.phase_space, survey.sun, known.v_c0)

    def one(node):
        x, v = place(*node)
        return x, v, known.finder.actions(x, v)

    at = nodes.l, nodes.b, nodes.s, nodes.mu_l, nodes.mu_b, nodes.v_los
    x, v, J = chunked_map(one, at, batch_size)
    log_shares = galaxy.log_weights()
    parts = []
    ends = np.cumsum((0, *nodes.sizes))
    for name, start, stop in zip(nodes.names, ends[:-1], ends[1:], strict=True):
        f = known.dfs[name]
        log_f = chunked_map(lambda J, f=f: f.log_f(J), J[start:stop], batch_size)
        stars = galaxy.components[name].stars
        log_p = log_population(stars, nodes.M[start:stop], nodes.colour[start:stop])
        parts.append(log_shares[galaxy.names.index(name)] + log_f - known.log_masses[name] + log_p)
    measure = 4.0 * jnp.log(nodes.s) + 2.0 * np.log(KAPPA)
    return Weighted(jnp.concatenate(parts) + measure - nodes.log_q, x, v, J)


def log_population(stars: Any, M, colour) -> Array:
    """ln p(M, colour) of stars (n,), or ln F(M) where colours are not known of the population."""
    colours = stars.colour_magnitude()
    if colours is None:
        return jax.vmap(stars.bind().log_F)(M)
    return jax.vmap(colours.log_density)(M, colour)


_derive_galaxy, _node_weights = eqx.filter_jit(derive_galaxy), eqx.filter_jit(node_weights)


def survey_nodes(
    galaxy: Galaxy,
    survey: Survey,
    key: Array,
    n: int = 65_536,
    *,
    finder: FinderLike = "StaeckelFudge",
    colour_error: float = 0.02,
    components: tuple[str, ...] | None = None,
    derived: DerivedGalaxy | None = None,
) -> SurveyNodes:
    """Nodes for a survey of a galaxy, by scrambled Sobol numbers under an adaptive proposal.

    Parameters
    ----------
    galaxy : of the parameters about which the model will be asked; the weights are right for any others, the
        further the less evenly they are spread
    survey : needs a faint limit
    key : JAX random key; everything follows from it
    n : nodes of each component (a power of two keeps the Sobol numbers even)
    finder : name in `dynamics.FINDERS`, or a function potential -> action finder, for the pilots
    colour_error : mag, of the observed colours
    components : those wanted; by default all
    derived : of `derive_galaxy`, to save it

    Raises ValueError for n < 256, a survey without faint limit, and one that lists no star of a component.

    >>> cone = Survey(selection=(surveys.Latitude(min=80.0), surveys.Magnitude(max=12.0)))
    >>> nodes = survey_nodes(galaxy, cone, jax.random.key(0), n=1024)  # doctest: +SKIP
    >>> weights = jnp.exp(node_weights(galaxy, cone, nodes).log_w)  # doctest: +SKIP
    >>> print(f"{float(weights @ nodes.accepted):.0e} of all stars")  # doctest: +SKIP
    1e-05 of all stars
    """
    if not isinstance(n, int) or n < 256:
        raise ValueError(f"survey_nodes(n={n!r}): at least 256 nodes a component are needed")
    names = galaxy.names if components is None else components
    seeds = host_seeds(key)
    known = _derive_galaxy(galaxy, survey, finder) if derived is None else derived
    proposals = pilot(galaxy, survey, seeds[0], known, colour_error, names)
    parts = []
    for i, proposal in enumerate(proposals):
        uniform = _sobol(np.random.default_rng([*seeds[1], i]), n)
        parts.append(make_nodes_of(survey, known.v_c0, proposal, uniform, colour_error, names[i]))
    return _joined(parts)


def with_tables(galaxy: Galaxy) -> Galaxy:
    """The galaxy with every population's p(M, colour), or F(M), computed."""
    parts = {}
    for name, part in galaxy.components.items():
        colours = part.stars.colour_magnitude()
        parts[name] = Component(part.df, part.stars.bind() if colours is None else colours, part.weight)
    return Galaxy(galaxy.potential, parts)


def host_seeds(key: Array) -> list[list[int]]:
    """Two independent seeds for numpy from a JAX key."""
    return [np.asarray(jax.random.key_data(k)).ravel().tolist() for k in jax.random.split(key)]


def _sobol(rng: np.random.Generator, n: int) -> np.ndarray:
    """n scrambled Sobol points of all the dimensions of a star."""
    points = qmc.Sobol(NUMBERS, scramble=True, rng=rng)
    return points.random(1 << (n - 1).bit_length())[:n]


def pilot(galaxy, survey, seed, derived, colour_error, names) -> list[SurveyProposal]:
    """Proposals that have adapted to every component's stars in the survey."""
    rng, sky = np.random.default_rng(seed), sky_of(survey)
    galaxy, proposals, v_c0 = with_tables(galaxy), [], float(derived.v_c0)
    for name in names:
        proposal = survey_proposal(sky, survey, galaxy.components[name].stars, v_c0, name)
        for _ in range(_ROUNDS):
            uniform = _sobol(rng, _PILOT)
            stars = proposal.draw(uniform[:, :DIMENSIONS], _dust(survey), _place(survey))
            nodes = _of(survey, derived.v_c0, stars, uniform[:, DIMENSIONS:], colour_error, name)
            log_w = np.asarray(_node_weights(galaxy, survey, nodes, derived=derived).log_w)
            w = np.exp(log_w - np.max(log_w, initial=-np.inf)) * np.asarray(nodes.accepted)
            if not np.any(w > 0):
                raise ValueError(
                    f"no star of component {name!r} passes the survey's cuts: the selection keeps none"
                )
            proposal = proposal.adapted(stars, w, _place(survey), v_c0)
        proposals.append(proposal)
    return proposals


def make_nodes_of(survey, v_c0, proposal, uniform, colour_error, name, at=None) -> SurveyNodes:
    """Nodes of one component from uniform numbers (n, ...), in given cells if there are any."""
    stars = proposal.draw(uniform[:, :DIMENSIONS], _dust(survey), _place(survey), at)
    return _of(survey, v_c0, stars, uniform[:, DIMENSIONS:], colour_error, name)


def _dust(survey: Survey):
    def dust(l, b, s):
        if survey.extinction is None:
            return np.zeros(len(s))
        return np.asarray(_many_dust(survey, l, b, s))

    return dust


def _place(survey: Survey):
    def place(l, b, s):
        x, y, z = np.asarray(_many_places(survey, l, b, s)).T
        return np.hypot(x, y), z

    return place


@eqx.filter_jit
def _many_places(survey: Survey, l, b, s):
    return jax.vmap(lambda l, b, s: surveys.position(survey.sun, l, b, s))(l, b, s)


@eqx.filter_jit
def _many_dust(survey: Survey, l, b, s):
    return jax.vmap(survey.dust)(l, b, s)


@eqx.filter_jit
def moving(survey: Survey, v_c0, l, b, s, u):
    """Velocities (n, 3) of stars at (l, b, s) whose cylindrical ones are u, and their (mu_l, mu_b, v_los)."""

    def one(l, b, s, u):
        x = surveys.position(survey.sun, l, b, s)
        R = jnp.hypot(x[0], x[1])
        c, d = x[0] / R, x[1] / R
        v = jnp.stack([u[0] * c - u[1] * d, u[0] * d + u[1] * c, u[2]])
        seen = surveys.observe(survey.sun, v_c0, x, v)
        return v, jnp.stack([seen.mu_l, seen.mu_b, seen.v_los])

    return jax.vmap(one)(l, b, s, u)


def _of(survey, v_c0, stars: Proposed, uniform, colour_error: float, name: str) -> SurveyNodes:
    """Proposed stars as nodes: observed, and accepted or not."""
    n = len(uniform)
    motions = np.asarray(moving(survey, v_c0, stars.l, stars.b, stars.s, stars.u)[1])
    true = {"mu_l": motions[:, 0], "mu_b": motions[:, 1], "v_los": motions[:, 2]}
    true |= {"l": stars.l, "b": stars.b, "s": stars.s, "M": stars.M, "colour": stars.colour}
    V = stars.M + 5.0 * np.log10(100.0 * stars.s) + _dust(survey)(stars.l, stars.b, stars.s)
    observed = observe_stars(survey, true | {"V": V}, uniform, colour_error)
    # d^3 u of the proposal to dmu_l dmu_b dv_los.
    log_q = stars.log_q + 2.0 * np.log(KAPPA * stars.s) + np.log(n)
    places: Any = {k: jnp.asarray(values) for k, values in true.items()}
    return SurveyNodes(
        **places,
        log_q=jnp.asarray(log_q),
        accepted=jnp.asarray(np.where(np.isfinite(log_q), listed(survey, observed), 0.0)),
        observed={k: jnp.asarray(v) for k, v in observed.items()},
        names=(name,),
        sizes=(n,),
    )


def observe_stars(survey: Survey, true: Mapping[str, Any], uniform, colour_error: float) -> dict[str, Any]:
    """What the survey publishes of stars: true values plus noise, from uniform numbers (n, 7), and errors.

    Errors are those of a star of its true apparent magnitude; v_los_error is that of the measurement alone.
    """
    noise = {name: gaussian(uniform[:, i]) for i, name in enumerate(_NOISE)}
    sigma = {name: np.asarray(values) for name, values in survey.errors.at(jnp.asarray(true["V"])).items()}
    s = true["s"]
    exact = {**true, "parallax": 1.0 / s + float(survey.errors.parallax_zero_point)}
    exact["distance_modulus"] = 5.0 * np.log10(100.0 * s) + float(survey.errors.distance_modulus_zero_point)
    scatter = sigma | {"v_los": sigma["v_los_total"], "colour": np.full(len(s), colour_error)}
    columns = {"l": true["l"], "b": true["b"]}
    for name in _NOISE:
        if name in ("parallax", "distance_modulus") and not np.any(sigma[name] > 0):
            continue
        columns[name] = exact[name] + scatter[name] * noise[name]
        if name != "colour":
            columns[f"{name}_error"] = sigma[name]
    cuts = [cut for cut in survey.selection if isinstance(cut, surveys.Colour)]
    if cuts and np.all(np.isnan(columns["colour"])):
        # F(M) of a population of unknown colours is by definition that of its stars within the window.
        low, high = (np.clip(end, -10.0, 10.0) for end in (cuts[0].min, cuts[0].max))
        columns["colour"] = low + (high - low) * uniform[:, _NOISE.index("colour")]
    motion = surveys.pole_motions(*(columns[name] for name in ("l", "b", "mu_l", "mu_b")))
    columns["mu_0"], columns["mu_90"] = (np.asarray(a) for a in motion)
    return columns


def listed(survey: Survey, observed: Mapping[str, Any]) -> np.ndarray:
    """Probability, 0 to 1, that stars with these observed quantities are in the survey."""
    columns = {name: jnp.asarray(values) for name, values in observed.items()}
    columns = {getattr(cut, "name", "colour"): columns["colour"] for cut in survey.selection} | columns
    value = np.asarray(_survey_weight(survey, columns))
    return np.broadcast_to(np.where(np.isfinite(value), value, 0.0), columns["l"].shape)


@eqx.filter_jit
def _survey_weight(survey: Survey, columns):
    return survey.weight(columns)


def _joined(parts: list[SurveyNodes]) -> SurveyNodes:
    """Nodes of several components in one."""
    arrays = {
        field: jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(getattr(p, field) for p in parts))
        for field in SurveyNodes.__dataclass_fields__
        if field not in ("names", "sizes")
    }
    names, sizes = (sum((getattr(p, field) for p in parts), ()) for field in ("names", "sizes"))
    return SurveyNodes(**arrays, names=names, sizes=sizes)
