"""How much of a likelihood is served by tori, and how much by the fudge beyond their library."""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from oortax.model.catalogue import Catalogue
from oortax.model.galaxy import Model, Sight
from oortax.model.likelihood import Settings, node_terms, points_of
from oortax.model.nodes import Nodes
from oortax.numerics.batching import chunked_map


class Coverage(NamedTuple):
    """Shares that the fudge serves, from 0 to 1.

    Attributes
    ----------
    stars : of the stars, each with the weights of its nodes in its likelihood
    normalisation : of the stars that the model has at the points of its density grid
    """

    stars: float
    normalisation: float

    def as_dict(self) -> dict[str, Any]:
        """The numbers under names that print well."""
        return {"share of stars beyond the tori": self.stars, "and of the model": self.normalisation}


def coverage(
    model: Model,
    catalogue: Catalogue,
    nodes: Nodes,
    *,
    finder: Any,
    settings: Settings | None = None,
    name: str = "",
) -> Coverage:
    """How much of a model's ln L rests on the fudge, with tori as its action finder.

    Parameters
    ----------
    finder : what `log_likelihood` is given, such as `dynamics.pilot_tori` makes
    name : of the catalogue in the model, where there are several

    What is served by the fudge is not wrong by itself: the region is fixed in
    the library's coordinates, the same for stars and normalisation. Raises ValueError if the finder has no
    `torus_share`.

    >>> stars, normalisation = coverage(model, catalogue, nodes, finder=tori)  # doctest: +SKIP
    """
    made = None if isinstance(finder, str) else eqx.filter_eval_shape(finder, model.galaxy.potential)
    if not hasattr(made, "torus_share"):
        raise ValueError("coverage is for finders of tori: give finder=dynamics.pilot_tori(potential, x, v)")
    settings = Settings() if settings is None else settings
    return Coverage(*map(float, _shares(model.sight(name), catalogue, nodes, finder, settings)))


@eqx.filter_jit
def _shares(sight: Sight, catalogue: Catalogue, nodes: Nodes, finder, settings: Settings):
    galaxy, survey, outliers = sight
    points = points_of(galaxy, survey, nodes, finder, settings)

    built: Any = points.finder

    def found(point):
        return built.actions(*point), 1.0 - built.torus_share(*point)

    J, beyond = chunked_map(found, points.places, settings.batch_size)
    derived = points.with_actions(galaxy, nodes, J, settings)
    *actions, _ = points.parts(J)
    *of_fields, of_nodes = points.parts(beyond)

    stars, N = nodes.stars, len(catalogue)
    terms = node_terms(galaxy.bound(), survey, outliers, derived, stars)
    peak = jax.ops.segment_max(terms, stars.star, N, indices_are_sorted=True)
    weight = jnp.exp(terms - peak[stars.star])
    total = partial(jax.ops.segment_sum, segment_ids=stars.star, num_segments=N, indices_are_sorted=True)
    of_stars = total(weight * of_nodes) / total(weight)

    whole = part = jnp.zeros(())
    for f, amplitude, field, J, share in zip(
        derived.dfs, derived.log_amplitudes, points.fields, actions, of_fields, strict=True
    ):
        counts = field.w * jnp.exp(amplitude + jax.vmap(jax.vmap(f.log_f))(J))
        whole, part = whole + jnp.sum(counts), part + jnp.sum(counts * share)
    return jnp.mean(of_stars), part / whole
