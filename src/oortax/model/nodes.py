"""The fixed nodes of a likelihood: where the stars may be, and the surveyed volume.

All nodes sit in observable space and are drawn once: only J moves with the potential, so that hard survey
edges stay where they are and every derivative is exact.
"""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from oortax.model.catalogue import Catalogue
from oortax.model.distances import distance_rules
from oortax.model.galaxy import Galaxy
from oortax.model.moving_selection import MovingSelection, chebyshev
from oortax.model.scales import motion_rule, v_los_rule
from oortax.model.volume import Box, Volume, VolumeNodes, folded, volume_nodes, volume_within
from oortax.numerics.batching import one_of_few
from oortax.survey import Survey

# Stars are looked for so many times as far as the farthest star's farthest node.
_REACH = 1.2
# Values along a zero point, tried in turn, where their polynomial is checked, and how good it must be: a
# hundredth in ln L of 10^4 stars.
_VALUES, _CHECKED, _ACCURACY = (5, 9, 17), 12, 1e-6


@final
class StarNodes(eqx.Module):
    """A flat list of nodes of all stars: observables, quadrature weights, and whose they are.

    `log_w` is ln of the weight of d^3x d^3v, `log_place` that of d^3x alone: over the nodes of a star it sums
    up densities in space, given what else than its velocity is known of it.
    """

    star: Int[Array, " n"]
    l: Float[Array, " n"]
    b: Float[Array, " n"]
    s: Float[Array, " n"]
    mu_l: Float[Array, " n"]
    mu_b: Float[Array, " n"]
    v_los: Float[Array, " n"]
    V: Float[Array, " n"]
    log_w: Float[Array, " n"]
    log_place: Float[Array, " n"]


@final
class Nodes(eqx.Module):
    """Nodes of the stars and of the volume, and each component's box for the density grid.

    `more` are the points of that grid along either axis that large boxes have beyond those of the settings,
    `zero_points` (of parallax and of distance modulus) those with which the nodes were laid out.
    """

    stars: StarNodes
    volume: VolumeNodes
    boxes: tuple[Box, ...]
    more: tuple[tuple[int, int], ...] = eqx.field(static=True)
    zero_points: Float[Array, "2"] = eqx.field(default_factory=lambda: jnp.zeros(2))

    @property
    def n_star_nodes(self) -> int:
        """Number of star nodes: one action evaluation each."""
        return self.stars.star.shape[0]


def make_nodes(
    catalogue: Catalogue,
    galaxy: Galaxy,
    survey: Survey,
    nodes_per_star: int = 3,
    *,
    refine: float = 1.0,
    seed: int = 0,
    volume: Volume | None = None,
) -> Nodes:
    """Lay out the nodes of a catalogue in a survey.

    Parameters
    ----------
    nodes_per_star : int
        Nodes in the distance (`model.distances`), and more of them where it is uncertain. Proper motions and
        v_los are displaced by their own errors at the same abscissae with random signs, which gives every
        error its variance and no correlation on average. A missing v_los, or proper motion, is integrated
        over by the trapezoidal rule, and not replaced by a number: over the velocities that the components
        of `galaxy` fill there, given what is measured (some 50 nodes for a proper motion and a component).
    refine : float
        Multiplies the nodes of the volume along each axis (`diagnose` measures the normalisation's error).
    seed : int
        Of the signs.
    volume : of `whole_volume`, optional
        Nodes of the volume that are shared by many catalogues; by default they are made, and reach not much
        farther than the stars.

    Raises
    ------
    ValueError
        For stars whose parallax, distance modulus and V leave the distance open, and stars without V in a
        survey that selects on V.
    """
    if nodes_per_star < 1:
        raise ValueError(f"nodes_per_star must be at least 1, not {nodes_per_star}")
    _check_magnitudes(catalogue, survey)
    galaxy = galaxy.bound()
    stars = _star_nodes(catalogue, galaxy, survey, nodes_per_star, seed)
    errors = survey.errors
    zero_points = jnp.stack([errors.parallax_zero_point, errors.distance_modulus_zero_point])
    seen = volume_within(galaxy, survey, refine, _reach(stars)) if volume is None else volume
    return Nodes(stars, *seen, zero_points)


def with_finer_volume(nodes: Nodes, galaxy: Galaxy, survey: Survey, refine: float) -> Nodes:
    """The nodes with so many times those of the volume along each axis."""
    volume = volume_nodes(galaxy.bound(), survey, refine, _reach(nodes.stars))
    return eqx.tree_at(lambda n: n.volume, nodes, volume)


def with_moving_selection(
    nodes: Nodes, galaxy: Galaxy, survey: Survey, field: str, low: float, high: float
) -> Nodes | None:
    """The nodes with selections as functions of a zero point between low and high, for `log_likelihood`.

    `field` is "parallax_zero_point" (mas) or "distance_modulus_zero_point" (mag). `Settings.fold` is not
    needed for it then: ln A and its derivative come from polynomials in it. They are checked between their
    nodes, where the selections' errors add up to less than 1e-6 of their sum. None where 17 values do not
    give that, as for ranges of many errors: fold anew.
    """
    galaxy, volume = galaxy.bound(), nodes.volume
    w = np.asarray(volume.w)
    ends = jnp.asarray([low, high], dtype=w.dtype)

    def at(zero_point: float) -> Survey:
        return eqx.tree_at(lambda s: getattr(s.errors, field), survey, jnp.asarray(zero_point))

    def each(zero_points: np.ndarray) -> list[dict[str, Array]]:
        return [folded(galaxy, at(value), volume.l, volume.b, volume.s) for value in zero_points]

    checked = np.linspace(low, high, _CHECKED)
    exact = each(checked)
    for k in _VALUES:
        values = jax.tree.map(lambda *row: jnp.stack(row, axis=1), *each(chebyshev(k, low, high)))
        moving = MovingSelection(values, ends[0], ends[1], field)
        errors = [
            float(w @ np.abs(np.asarray(found[name] - true[name]))) / float(w @ np.asarray(true[name]))
            for found, true in zip((moving.at(at(value)) for value in checked), exact, strict=True)
            for name in galaxy.names
            if np.any(true[name])
        ]
        if max(errors, default=0.0) < _ACCURACY:
            return eqx.tree_at(lambda n: n.volume.moving, nodes, moving, is_leaf=lambda x: x is None)
    return None


def filled(nodes: Nodes, n: int | None = None) -> Nodes:
    """The nodes with copies of the last star node, without weight, up to n of them.

    By default n is `one_of_few`, so that catalogues whose stars need more nodes or fewer have few shapes.
    Raises ValueError if there are more than n already.
    """
    have = nodes.n_star_nodes
    n = one_of_few(have) if n is None else n
    if n < have:
        raise ValueError(f"filled(n={n}): there are {have} star nodes already")
    rows = np.minimum(np.arange(n), have - 1)
    # By NumPy: these shapes are of one catalogue, and would be compiled for it alone.
    stars = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)[rows]), nodes.stars)
    weights = [
        jnp.asarray(np.where(np.arange(n) < have, np.asarray(log_w), -np.inf))
        for log_w in (stars.log_w, stars.log_place)
    ]
    stars = eqx.tree_at(lambda s: (s.log_w, s.log_place), stars, weights)
    return eqx.tree_at(lambda n: n.stars, nodes, stars)


def _reach(stars: StarNodes) -> float:
    """How far from the Sun stars are looked for, kpc."""
    return _REACH * float(jnp.max(stars.s))


def _check_magnitudes(catalogue: Catalogue, survey: Survey) -> None:
    """Raise ValueError if the survey selects on V and some stars have none: they cannot have passed."""
    on_V = [cut.kind for cut in survey.selection if {"V", survey.band} & set(cut.observables)]
    missing = np.flatnonzero(~np.isfinite(np.asarray(catalogue.V)))
    if on_V and len(missing):
        raise ValueError(
            f"{len(missing)} stars (first row {missing[0]}) have no V, on which the survey selects by "
            f'{", ".join(on_V)}: give V, or select by {{kind = "distance_modulus"}} or {{kind = "parallax"}}'
        )


def _star_nodes(catalogue: Catalogue, galaxy: Galaxy, survey: Survey, n: int, seed: int) -> StarNodes:
    columns = {name: np.asarray(getattr(catalogue, name)) for name in catalogue.__dataclass_fields__}
    columns["v_los_error"] = np.hypot(columns["v_los_error"], float(survey.errors.v_los_jitter))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(3, len(catalogue)))
    parts = []
    for rule in distance_rules(catalogue, galaxy, survey, n):
        moved = {
            name: columns[name][rule.star, None]
            + (signs[i] * columns[f"{name}_error"])[rule.star, None] * rule.offset
            for i, name in enumerate(("mu_l", "mu_b", "v_los"))
        }
        star = np.broadcast_to(rule.star[:, None], rule.s.shape)
        # The Jacobian s^4 of velocities and volume is in the weights of the distances.
        log_place = rule.log_w - 2.0 * np.log(rule.s)
        rows = {"star": star, "s": rule.s, "log_w": rule.log_w, "log_place": log_place} | moved
        parts.append({name: values.ravel() for name, values in rows.items()})
    flat = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    flat = _filled(flat, columns, galaxy, survey, "v_los", v_los_rule, np.random.default_rng([seed, 1]))
    flat = _filled(flat, columns, galaxy, survey, "mu_l", motion_rule, np.random.default_rng([seed, 2]))
    order = np.argsort(flat["star"], kind="stable")
    nodes = {name: jnp.asarray(values[order]) for name, values in flat.items()}
    star = flat["star"][order].astype(np.int32)
    take = {name: jnp.asarray(columns[name][star]) for name in ("l", "b", "V")}
    return StarNodes(**(nodes | take | {"star": jnp.asarray(star)}))


def _filled(flat: dict, columns: dict, galaxy: Galaxy, survey: Survey, name: str, rule, rng) -> dict:
    """The nodes with those of stars without a velocity replaced by the nodes of a rule over it."""
    missing = ~np.isfinite(columns[name])[flat["star"]]
    if not missing.any():
        return flat
    open_ = {key: values[missing] for key, values in flat.items()}
    at = [columns[key][open_["star"]] for key in ("l", "b")] + [open_["s"]]
    at += [open_["v_los"]] if name == "mu_l" else [open_["mu_l"], open_["mu_b"]]
    row, velocities, log_w = rule(galaxy, survey, *at, rng=rng)
    filled = {key: values[row] for key, values in open_.items()} | velocities
    filled["log_w"] = filled["log_w"] + log_w
    # All velocities at a place share its weight.
    filled["log_place"] = filled["log_place"] - np.log(np.bincount(row))[row]
    return {key: np.concatenate([values[~missing], filled[key]]) for key, values in flat.items()}
