"""Velocities that a model expects where the stars of a catalogue are: what the "kinematic" form predicts."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.df.draw_velocities import draw_velocities
from oortax.df.rejection import host_generator
from oortax.model.catalogue import Catalogue
from oortax.model.galaxy import Galaxy, Sight
from oortax.model.likelihood import FinderLike, Settings, derive, finder_of, log_places
from oortax.model.nodes import Nodes
from oortax.potential import circular_velocity, expand
from oortax.survey import Survey, observe, position


def replicate(
    key: Array,
    sight: Sight,
    catalogue: Catalogue,
    nodes: Nodes,
    *,
    finder: FinderLike = "StaeckelFudge",
    settings: Settings | None = None,
    progress: bool = False,
) -> Catalogue:
    """The catalogue with other proper motions and v_los, drawn from the model where the stars are.

    A distance of every star is drawn from its own data and the model's density, a component by its share
    there, a velocity from f(J(x, v)) at that place, and errors from those of the catalogue: the predictive
    distribution given places and magnitudes, whatever selected these. What was not measured stays so; the
    columns of distance do not change.

    Parameters
    ----------
    sight : how the catalogue sees the Galaxy (`Model.sight`)
    nodes : of `make_nodes` for this catalogue; many a star where its distance is uncertain
    settings : of the density's grid, as of the likelihood

    Raises ValueError where f vanishes at a star's place (`df.draw_velocities`).
    """
    settings = Settings() if settings is None else settings
    galaxy, survey, outliers = sight
    rng, galaxy = host_generator(key), galaxy.bound()
    stars, N = nodes.stars, len(catalogue)
    derived, log_share = _at_nodes(galaxy, survey, nodes, finder, settings)
    row, component = _chosen(rng, np.asarray(stars.star), np.asarray(log_share), N)
    potential = expand(galaxy.potential)
    found = finder_of(finder)(potential)
    s = np.asarray(stars.s)[row]
    place = jax.jit(jax.vmap(lambda l, b, s: position(survey.sun, l, b, s)))
    x = np.asarray(place(catalogue.l, catalogue.b, jnp.asarray(s)))
    v = np.empty_like(x)
    for i, f in enumerate(derived.dfs):
        (mine,) = np.nonzero(component == i)
        if len(mine):
            drawn = draw_velocities(
                f, potential, found, jnp.asarray(x[mine]), jax.random.fold_in(key, i), progress=progress
            )
            v[mine] = drawn.v
    if outliers is not None:
        (other,) = np.nonzero(rng.random(N) < float(outliers.fraction))
        v[other] = float(outliers.sigma) * rng.standard_normal((len(other), 3))
    seen = _observed(survey, potential, jnp.asarray(x), jnp.asarray(v))
    return _with_errors(rng, catalogue, seen)


@eqx.filter_jit
def _at_nodes(galaxy: Galaxy, survey: Survey, nodes: Nodes, finder: FinderLike, settings: Settings):
    """What follows from the galaxy, and ln of the density of each component at every star node, (n, k)."""
    derived = derive(galaxy, survey, nodes, finder, settings)
    return derived, log_places(galaxy, survey, derived, nodes.stars)


def _chosen(rng, star: np.ndarray, log_share: np.ndarray, N: int) -> tuple[np.ndarray, np.ndarray]:
    """A node and a component of every star, in proportion to their densities."""
    peak = np.full(N, -np.inf)
    np.maximum.at(peak, star, log_share.max(axis=1))
    # The largest of Gumbel's numbers added to ln p chooses in proportion to p.
    score = log_share - peak[star, None] + rng.gumbel(size=log_share.shape)
    best = score.max(axis=1)
    order = np.lexsort((best, star))
    last = np.searchsorted(star[order], np.arange(N), side="right") - 1
    row = order[last]
    return row, np.argmax(score[row], axis=1)


@eqx.filter_jit
def _observed(survey: Survey, potential: Any, x: Float[Array, "n 3"], v: Float[Array, "n 3"]):
    """Proper motions and v_los without errors."""
    v_c0 = circular_velocity(potential, survey.sun.R0)
    return jax.vmap(lambda x, v: observe(survey.sun, v_c0, x, v))(x, v)


def _with_errors(rng, catalogue: Catalogue, seen: Any) -> Catalogue:
    columns = {name: np.array(getattr(catalogue, name)) for name in catalogue.__dataclass_fields__}
    noise = dict(zip(("mu_l", "mu_b", "v_los"), rng.standard_normal((3, len(catalogue))), strict=True))
    rho = columns["mu_lb_corr"]
    noise["mu_b"] = rho * noise["mu_l"] + np.sqrt(1.0 - rho**2) * noise["mu_b"]
    for name, scatter in noise.items():
        moved = np.asarray(getattr(seen, name)) + columns[f"{name}_error"] * scatter
        columns[name] = np.where(np.isfinite(columns[name]), moved, np.nan)
    return Catalogue(**columns)
