"""Whether the stars of a catalogue can have come into it: the survey's cuts and the components' F(M)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from oortax.model.catalogue import Catalogue
from oortax.model.galaxy import Galaxy, Sight
from oortax.model.nodes import Nodes
from oortax.survey import Survey

_SHOWN = 5


def check_seen(catalogue: Catalogue, nodes: Nodes, sight: Sight, ids: Any = None) -> None:
    """Raise ValueError for stars that the survey cannot have listed: S = 0, or no component shows their V.

    `ids` name the stars in the message; otherwise their rows do. A cut on what the catalogue does not hold
    (a colour, say) is not tested.
    """
    columns = {name: np.asarray(getattr(catalogue, name)) for name in catalogue.__dataclass_fields__}
    survey, labels = sight.survey, np.arange(len(catalogue)) if ids is None else np.asarray(ids)
    observed = columns | {survey.band: columns["V"]}
    for cut in survey.selection:
        if any(name not in observed or np.all(np.isnan(observed[name])) for name in cut.columns):
            continue
        what = f"fail the cut {cut.kind!r}: S = 0 where they were observed; drop them, or state the selection"
        _complain(~cut.accepts(observed), labels, f"{what} that the catalogue was made with")
    shown = np.asarray(_shown(sight.galaxy.bound(), survey, nodes))
    any_node = np.zeros(len(catalogue), bool)
    np.logical_or.at(any_node, np.asarray(nodes.stars.star), shown)
    reach = ", ".join(
        "{} {:.3g} to {:.3g}".format(name, *map(float, part.stars.support))
        for name, part in sight.galaxy.components.items()
    )
    _complain(
        ~any_node,
        labels,
        "have a V that no component shows at their distance"
        f" (absolute magnitudes: {reach}); widen F(M), or cut by the absolute magnitude",
    )


def _complain(bad: np.ndarray, labels: np.ndarray, what: str) -> None:
    if not np.any(bad):
        return
    stars = np.flatnonzero(bad)
    named = ", ".join(str(label) for label in labels[stars[:_SHOWN]])
    more = f" and {len(stars) - _SHOWN:,} more" if len(stars) > _SHOWN else ""
    raise ValueError(f"{len(stars):,} stars (id {named}{more}) {what}")


@eqx.filter_jit
def _shown(galaxy: Galaxy, survey: Survey, nodes: Nodes):
    """Whether any component can show a node's V there."""

    def one(node):
        at = node.l, node.b, node.s, jnp.where(jnp.isfinite(node.V), node.V, 0.0)
        log_F = [survey.log_magnitude(part.stars, *at) for part in galaxy.components.values()]
        return jnp.any(jnp.isfinite(jnp.stack(log_F))) | ~jnp.isfinite(node.V)

    return jax.lax.map(one, nodes.stars, batch_size=4096)
