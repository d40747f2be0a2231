"""The surveyed volume: its nodes, and the region of each component's stars in it."""

from collections.abc import Mapping
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.model.galaxy import Galaxy
from oortax.model.moving_selection import MovingSelection
from oortax.model.scales import RoughDensity
from oortax.survey import Survey, position
from oortax.types import Scalar

# Nodes that together hold this share of the stars by the components' rough density are left out.
_LOST = 1e-8
# A panel in distance with 8 nodes is not longer than this factor.
_FACTOR = 2.5
# A component's box leaves out nodes that together hold this share of the stars, or this one of its own. A
# side of it that is longer than this, in kpc (ln r, of those that are not flat), has one more point of the
# density grid for each so much.
_BEYOND, _OF_OWN = 1e-6, 1e-2
_SIDES = {"R": (3.0, 1.5), "z": (1.5, 0.75), "sine": (0.5, 0.25), "r": (1.5, 0.5)}
# Directions in a footprint whose borders are no meridians and parallels. An integral over it then errs by
# some 1e-3 or less (`Survey.sky_nodes`).
_CURVED = 1200


@final
class VolumeNodes(eqx.Module):
    """Heliocentric nodes of the surveyed volume with weights s^2 cos b ds dl db.

    `selection` holds the folded selection function of each component there, `moving` the same as a function
    of a zero point that is free (`with_moving_selection`).
    """

    l: Float[Array, " m"]
    b: Float[Array, " m"]
    s: Float[Array, " m"]
    w: Float[Array, " m"]
    selection: Mapping[str, Float[Array, " m"]]
    moving: MovingSelection | None = None


class Box(NamedTuple):
    """The meridional region of a component's stars: R, the largest |z| and r in kpc, and the range of R/r."""

    R_min: Scalar | float
    R_max: Scalar | float
    z_max: Scalar | float
    r_min: Scalar | float
    r_max: Scalar | float
    sine_min: Scalar | float
    sine_max: Scalar | float


class Volume(NamedTuple):
    """What `Nodes` hold of the surveyed volume."""

    nodes: VolumeNodes
    boxes: tuple[Box, ...]
    more: tuple[tuple[int, int], ...]


def whole_volume(galaxy: Galaxy, survey: Survey, refine: float = 1.0) -> Volume:
    """Nodes of all the volume in which the survey could list stars of the galaxy, and their boxes.

    They do not depend on a catalogue: with them in `make_nodes` and stars filled up by `filled`, catalogues
    of as many stars share one compiled likelihood.
    """
    return volume_within(galaxy.bound(), survey, refine, np.inf)


def volume_within(galaxy: Galaxy, survey: Survey, refine: float, reach: float) -> Volume:
    """Nodes to a distance `reach` (kpc) from the Sun, for a bound galaxy, and their boxes."""
    volume = volume_nodes(galaxy, survey, refine, reach)
    return Volume(volume, *_boxes(galaxy, survey, volume))


def volume_nodes(galaxy: Galaxy, survey: Survey, refine: float, reach: float) -> VolumeNodes:
    """Nodes of the surveyed volume, as far as `reach` (kpc) and as there are stars to speak of."""
    edges = [survey.distance_edges(galaxy.components[name].stars) for name in galaxy.names]
    ends = _distinct(np.minimum(np.concatenate([np.asarray(e) for e in edges]), reach))
    s, w_s = _panels(_divided(ends), round(8 * refine))
    l, b, area = _sky_nodes(survey, refine, ends[-1])
    n_sky, n_s = len(l), len(s)
    grid = {
        "l": np.tile(l, n_s),
        "b": np.tile(b, n_s),
        "s": np.repeat(s, n_sky),
    }
    w = np.repeat(w_s * s * s, n_sky) * np.tile(area, n_s)
    arrays = {name: jnp.asarray(values) for name, values in grid.items()}
    selection = folded(galaxy, survey, *arrays.values())
    largest = max(float(jnp.max(values)) for values in selection.values())
    if not largest > 0.0:
        raise ValueError("no star of any component can pass the survey's cuts: check its magnitude limits")
    everything = VolumeNodes(arrays["l"], arrays["b"], arrays["s"], jnp.asarray(w), selection)
    kept = _peopled(galaxy, survey, everything)
    return jax.tree.map(lambda a: a[kept], everything)


def folded(galaxy: Galaxy, survey: Survey, l, b, s) -> dict[str, Float[Array, " m"]]:
    """The share of each component's stars at some places that the survey lists."""
    return {name: _folded(survey, galaxy.components[name].stars, l, b, s) for name in galaxy.names}


@eqx.filter_jit
def _folded(survey: Survey, stars, l, b, s):
    return jax.lax.map(lambda at: survey.folded(stars, *at), (l, b, s), batch_size=1024)


def _sky_nodes(survey: Survey, refine: float, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions (l, b, rad) in which the survey sees anything, and the area (sr) of each.

    The fraction of stars that it sees there is left to the folded selection.
    """
    if survey.curved:
        return survey.sky_nodes(round(_CURVED * refine**2))
    b, w_b = _panels(np.array(survey.edges_b()), round(6 * refine))
    l_edges = np.array(survey.edges_l())
    if len(l_edges) == 2:
        # Seen from far out the Galactic centre stands out: more longitudes where the survey reaches past it.
        n_l = round((24 if reach > 0.5 * float(survey.sun.R0) else 12) * refine)
        l, w_l = (np.arange(n_l) + 0.5) * 2.0 * np.pi / n_l, np.full(n_l, 2.0 * np.pi / n_l)
    else:
        l, w_l = _panels(l_edges, round(8 * refine))
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
    """The edges with panels over more than a factor 2.5 in distance divided evenly in its logarithm."""
    parts = [edges[:1]]
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        n = int(np.ceil(np.log(high / low) / np.log(_FACTOR))) if low > 0.0 else 1
        parts.append(np.append(low * (high / low) ** (np.arange(1, n) / n) if n > 1 else [], high))
    return np.concatenate(parts)


def _panels(edges: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights in every panel between consecutive edges."""
    x, w = np.polynomial.legendre.leggauss(n)
    low, high = edges[:-1, None], edges[1:, None]
    half = 0.5 * (high - low)
    return (0.5 * (high + low) + half * x).ravel(), (half * w).ravel()


def _boxes(
    galaxy: Galaxy, survey: Survey, volume: VolumeNodes
) -> tuple[tuple[Box, ...], tuple[tuple[int, int], ...]]:
    """The box around the nodes of each component that hold its stars, and how many points large ones need."""
    R, z = _meridional(survey, volume)
    log_rho = RoughDensity(galaxy, survey, float(np.hypot(R, z).max())).each(R, z)
    seen = np.stack([np.asarray(volume.selection[name]) for name in galaxy.names]) * np.asarray(volume.w)
    stars = seen * np.exp(log_rho - log_rho.max())
    boxes, more = [], []
    for name, share in zip(galaxy.names, stars / stars.sum(), strict=True):
        order = np.argsort(share)
        held = order[np.cumsum(share[order]) > min(_BEYOND, _OF_OWN * share.sum())]
        held = held if len(held) else order
        box = _box(R[held], z[held])
        boxes.append(Box(*map(jnp.asarray, box)))
        more.append(_more(box, galaxy.components[name].df.flat))
    return tuple(boxes), tuple(more)


def _box(R: np.ndarray, z: np.ndarray) -> Box:
    """The box around some nodes, with room for the Sun to move."""
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


def _more(box: Box, flat: bool) -> tuple[int, int]:
    """Points that a large box needs beyond those of a small one, along both axes of the density grid."""
    if flat:
        sides = {"R": box.R_max - box.R_min, "z": box.z_max}
    else:
        sides = {"sine": box.sine_max - box.sine_min, "r": float(np.log(box.r_max / box.r_min))}
    first, second = (
        max(0, int(np.ceil((length - _SIDES[name][0]) / _SIDES[name][1]))) for name, length in sides.items()
    )
    return first, second
