"""The fixed nodes of a likelihood: where the stars may be, and the surveyed volume.

All nodes sit in observable space and are drawn once: only J moves with the potential, so that hard survey
edges stay where they are and every derivative is exact.
"""

from collections.abc import Mapping
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from oortax.model.catalogue import Catalogue
from oortax.model.distances import distance_rules
from oortax.model.galaxy import Galaxy
from oortax.model.scales import RoughDensity, v_los_rule
from oortax.survey import Survey, position

# Volume beyond this many times the distance of the farthest star's farthest node is left out, and so are
# nodes that together hold this share of the stars by the components' rough density: the density grid, whose
# polynomials cover all nodes, is spared the wings of F in which no star is.
_REACH, _LOST = 1.2, 1e-8
# Directions in a footprint whose borders are no meridians and parallels. An integral over it then errs by
# some 1e-3 or less (`Survey.sky_nodes`).
_CURVED = 1200


@final
class StarNodes(eqx.Module):
    """A flat list of nodes of all stars: observables, quadrature weights, and whose they are."""

    star: Int[Array, " n"]
    l: Float[Array, " n"]
    b: Float[Array, " n"]
    s: Float[Array, " n"]
    mu_l: Float[Array, " n"]
    mu_b: Float[Array, " n"]
    v_los: Float[Array, " n"]
    V: Float[Array, " n"]
    log_w: Float[Array, " n"]


@final
class VolumeNodes(eqx.Module):
    """Heliocentric nodes of the surveyed volume with weights s^2 cos b ds dl db.

    `selection` holds the folded selection function of each component there.
    """

    l: Float[Array, " m"]
    b: Float[Array, " m"]
    s: Float[Array, " m"]
    w: Float[Array, " m"]
    selection: Mapping[str, Float[Array, " m"]]


class Box(NamedTuple):
    """The meridional region that holds all nodes: R, the largest |z| and r in kpc, and the range of R/r."""

    R_min: float
    R_max: float
    z_max: float
    r_min: float
    r_max: float
    sine_min: float
    sine_max: float


@final
class Nodes(eqx.Module):
    """Nodes of the stars and of the volume, and the box for the density grid."""

    stars: StarNodes
    volume: VolumeNodes
    box: Box = eqx.field(static=True)

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
    refine: int = 1,
    seed: int = 0,
    volume: tuple[VolumeNodes, Box] | None = None,
) -> Nodes:
    """Lay out the nodes of a catalogue in a survey.

    Parameters
    ----------
    nodes_per_star : int
        Nodes in the distance (`model.distances`), and more of them where it is uncertain. Proper motions and
        v_los are displaced by their own errors at the same abscissae with random signs, which gives every
        error its variance and no correlation on average. A missing v_los is integrated over by the
        trapezoidal rule, and not replaced by a number: over the velocities that the components of `galaxy`
        fill there, given the proper motion.
    refine : int
        Multiplies the nodes of the volume along each axis (to measure the normalisation's error).
    seed : int
        Of the signs.
    volume : of `whole_volume`, optional
        Nodes of the volume that are shared by many catalogues; by default they are made, and reach not much
        farther than the stars.

    Raises
    ------
    ValueError
        For stars whose parallax, distance modulus and V leave the distance open.
    """
    if nodes_per_star < 1:
        raise ValueError(f"nodes_per_star must be at least 1, not {nodes_per_star}")
    galaxy = galaxy.bound()
    stars = _star_nodes(catalogue, galaxy, survey, nodes_per_star, seed)
    if volume is None:
        made = _volume_nodes(galaxy, survey, refine, _REACH * float(jnp.max(stars.s)))
        volume = made, _box(survey, made)
    return Nodes(stars, *volume)


def whole_volume(galaxy: Galaxy, survey: Survey, refine: int = 1) -> tuple[VolumeNodes, Box]:
    """Nodes of all the volume in which the survey could list stars of the galaxy, and their box.

    They do not depend on a catalogue: with them in `make_nodes` and stars filled up by `filled`, catalogues
    of as many stars share one compiled likelihood.
    """
    volume = _volume_nodes(galaxy.bound(), survey, refine, np.inf)
    return volume, _box(survey, volume)


def filled(nodes: Nodes, n: int | None = None) -> Nodes:
    """The nodes with copies of the last star node, without weight, up to n of them.

    By default n is the next of 8, 10, 12, 14, 16, 20, ... x 2^k, so that catalogues whose stars need more
    nodes or fewer have few shapes. Raises ValueError if there are more than n already.
    """
    have = nodes.n_star_nodes
    if n is None:
        step = 1 << max((have - 1).bit_length() - 3, 0)
        n = -(-have // step) * step
    if n < have:
        raise ValueError(f"filled(n={n}): there are {have} star nodes already")
    rows = np.minimum(np.arange(n), have - 1)
    stars = jax.tree.map(lambda a: a[rows], nodes.stars)
    log_w = jnp.where(np.arange(n) < have, stars.log_w, -jnp.inf)
    return eqx.tree_at(lambda given: given.stars, nodes, eqx.tree_at(lambda s: s.log_w, stars, log_w))


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
        rows = {"star": star, "s": rule.s, "log_w": rule.log_w} | moved
        parts.append({name: values.ravel() for name, values in rows.items()})
    flat = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    # The Jacobian s^4 of velocities and volume is in the weights of the distances.
    missing = ~np.isfinite(columns["v_los"])[flat["star"]]
    if missing.any():
        open_ = {name: values[missing] for name, values in flat.items()}
        at = [columns[name][open_["star"]] for name in ("l", "b")] + [open_[k] for k in ("s", "mu_l", "mu_b")]
        row, v_los, log_step = v_los_rule(galaxy, survey, *at, rng=np.random.default_rng([seed, 1]))
        filled = {name: values[row] for name, values in open_.items()} | {"v_los": v_los}
        filled["log_w"] = filled["log_w"] + log_step
        flat = {name: np.concatenate([values[~missing], filled[name]]) for name, values in flat.items()}
    order = np.argsort(flat["star"], kind="stable")
    nodes = {name: jnp.asarray(values[order]) for name, values in flat.items()}
    star = flat["star"][order].astype(np.int32)
    take = {name: jnp.asarray(columns[name][star]) for name in ("l", "b", "V")}
    return StarNodes(**(nodes | take | {"star": jnp.asarray(star)}))


def _volume_nodes(galaxy: Galaxy, survey: Survey, refine: int, reach: float) -> VolumeNodes:
    """Nodes of the surveyed volume, as far as `reach` (kpc) and as there are stars to speak of."""
    edges = [survey.distance_edges(galaxy.components[name].stars) for name in galaxy.names]
    ends = _distinct(np.minimum(np.concatenate([np.asarray(e) for e in edges]), reach))
    s, w_s = _panels(_divided(ends), 8 * refine)
    l, b, area = _sky_nodes(survey, refine, ends[-1])
    n_sky, n_s = len(l), len(s)
    grid = {
        "l": np.tile(l, n_s),
        "b": np.tile(b, n_s),
        "s": np.repeat(s, n_sky),
    }
    w = np.repeat(w_s * s * s, n_sky) * np.tile(area, n_s)
    arrays = {name: jnp.asarray(values) for name, values in grid.items()}
    selection = {}
    for name in galaxy.names:
        folded = jax.jit(
            lambda stars, l, b, s: jax.lax.map(lambda q: survey.folded(stars, *q), (l, b, s), batch_size=1024)
        )
        selection[name] = folded(galaxy.components[name].stars, *arrays.values())
    largest = max(float(jnp.max(values)) for values in selection.values())
    if not largest > 0.0:
        raise ValueError("no star of any component can pass the survey's cuts: check its magnitude limits")
    everything = VolumeNodes(**arrays, w=jnp.asarray(w), selection=selection)
    kept = _peopled(galaxy, survey, everything)
    return jax.tree.map(lambda a: a[kept], everything)


def _sky_nodes(survey: Survey, refine: int, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions (l, b, rad) in which the survey sees anything, and the area (sr) of each.

    The fraction of stars that it sees there is left to the folded selection.
    """
    if survey.curved:
        return survey.sky_nodes(_CURVED * refine**2)
    b, w_b = _panels(np.array(survey.edges_b()), 6 * refine)
    l_edges = np.array(survey.edges_l())
    if len(l_edges) == 2:
        # Seen from far out the Galactic centre stands out: more longitudes where the survey reaches past it.
        n_l = (24 if reach > 0.5 * float(survey.sun.R0) else 12) * refine
        l, w_l = (np.arange(n_l) + 0.5) * 2.0 * np.pi / n_l, np.full(n_l, 2.0 * np.pi / n_l)
    else:
        l, w_l = _panels(l_edges, 8 * refine)
    sky = np.asarray(jax.vmap(lambda b: jax.vmap(lambda l: survey.sky(l, b))(jnp.asarray(l)))(jnp.asarray(b)))
    B, L = np.meshgrid(b, l, indexing="ij")
    seen = sky.ravel() > 0.0
    if not seen.any():
        raise ValueError("the survey sees no part of the sky: its cuts on position exclude each other")
    return L.ravel()[seen], B.ravel()[seen], ((w_b * np.cos(b))[:, None] * w_l).ravel()[seen]


def _peopled(galaxy: Galaxy, survey: Survey, volume: VolumeNodes) -> np.ndarray:
    """Indices of the nodes that hold all but a negligible share of the listed stars, roughly."""
    R, z = _meridional(survey, volume)
    density = RoughDensity(galaxy, survey, float(np.hypot(R, z).max()))
    seen = np.sum([np.asarray(values) for values in volume.selection.values()], axis=0)
    with np.errstate(divide="ignore"):
        log_share = np.log(seen * np.asarray(volume.w)) + density(R, z)
    share = np.exp(log_share - log_share.max())
    order = np.argsort(share)
    return np.sort(order[np.cumsum(share[order]) > _LOST * share.sum()])


def _meridional(survey: Survey, volume: VolumeNodes) -> tuple[np.ndarray, np.ndarray]:
    """R and |z| of the nodes."""
    place = jax.jit(jax.vmap(lambda l, b, s: position(survey.sun, l, b, s)))
    x = np.asarray(place(volume.l, volume.b, volume.s))
    return np.hypot(x[:, 0], x[:, 1]), np.abs(x[:, 2])


def _distinct(edges: np.ndarray) -> np.ndarray:
    """Sorted panel edges without those that (nearly) coincide."""
    edges = np.sort(edges)
    keep = np.concatenate([[True], np.diff(edges) > 1e-3 * edges[-1]])
    distinct = edges[keep]
    distinct[-1] = edges[-1]
    return distinct


def _divided(edges: np.ndarray) -> np.ndarray:
    """The edges with panels over more than a factor 2.5 in distance divided at their geometric mean."""
    low, high = edges[:-1], edges[1:]
    wide = (low > 0.0) & (high > 2.5 * low)
    return np.sort(np.concatenate([edges, np.sqrt(low[wide] * high[wide])]))


def _panels(edges: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights in every panel between consecutive edges."""
    x, w = np.polynomial.legendre.leggauss(n)
    low, high = edges[:-1, None], edges[1:, None]
    half = 0.5 * (high - low)
    return (0.5 * (high + low) + half * x).ravel(), (half * w).ravel()


def _box(survey: Survey, volume: VolumeNodes) -> Box:
    """The box around all nodes, with room for the Sun to move.

    Stars beyond the surveyed volume (by their errors) take the density at its edge.
    """
    R, z = _meridional(survey, volume)
    r, sine = np.hypot(R, z), R / np.hypot(R, z)
    margin = 0.02 * (R.max() - R.min() + z.max())
    return Box(
        max(float(R.min() - margin), 0.01),
        float(R.max() + margin),
        float(z.max() + margin),
        max(float(0.98 * r.min() - margin), 0.01),
        float(r.max() + margin),
        max(float(sine.min()) - 0.02, 0.0),
        min(float(sine.max()) + 0.02, 1.0),
    )
