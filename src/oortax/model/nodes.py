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
from oortax.model.galaxy import Galaxy
from oortax.survey import Survey, position

# Trapezoidal nodes in a missing v_los: steps of 1.2 times the smallest dispersion met in discs.
_V_LOS_STEP, _V_LOS_HALF_RANGE = 30.0, 210.0
_LEAST_PARALLAX_SNR = 4.0


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
    """The meridional box that holds all nodes: R_min, R_max and the largest |z|, in kpc."""

    R_min: float
    R_max: float
    z_max: float


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
) -> Nodes:
    """Lay out the nodes of a catalogue in a survey.

    Parameters
    ----------
    nodes_per_star : int
        Gauss-Hermite nodes in the parallax. Proper motions and v_los are displaced by their own errors at
        the same abscissae with random signs, which gives every error its variance and no correlation on
        average. A missing v_los is integrated over by the trapezoidal rule, and not replaced by a number.
    refine : int
        Multiplies the nodes of the volume along each axis (to measure the normalisation's error).
    seed : int
        Of the signs.

    Raises
    ------
    ValueError
        For stars whose parallax is too uncertain for nodes about 1/parallax.
    """
    if nodes_per_star < 1:
        raise ValueError(f"nodes_per_star must be at least 1, not {nodes_per_star}")
    stars = _star_nodes(catalogue, survey, nodes_per_star, seed)
    volume = _volume_nodes(galaxy, survey, refine)
    return Nodes(stars, volume, _box(survey, stars, volume))


def _star_nodes(catalogue: Catalogue, survey: Survey, n: int, seed: int) -> StarNodes:
    columns = {name: np.asarray(getattr(catalogue, name)) for name in catalogue.__dataclass_fields__}
    parallax = columns["parallax"] - float(survey.errors.parallax_zero_point)
    sigma = columns["parallax_error"]
    poor = np.flatnonzero(parallax < _LEAST_PARALLAX_SNR * sigma)
    if len(poor):
        raise ValueError(
            f"{len(poor)} stars (first row {poor[0]}) have parallax/error < {_LEAST_PARALLAX_SNR:g}: too "
            'little for nodes about 1/parallax; add {kind = "parallax_snr", min = 5} to the selection'
        )
    x, w = np.polynomial.hermite_e.hermegauss(n)
    w = w / w.sum()
    N = len(parallax)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(3, N))
    measured = np.isfinite(columns["v_los"])
    v_grid = np.arange(-_V_LOS_HALF_RANGE, _V_LOS_HALF_RANGE + 1.0, _V_LOS_STEP)
    jitter = float(survey.errors.v_los_jitter)
    v_sigma = np.hypot(columns["v_los_error"], jitter)
    expected = _expected_v_los(survey, columns["l"], columns["b"])
    rows = []
    for j in range(n):
        s = 1.0 / (parallax + x[j] * sigma)
        moved = [columns[k] + signs[i] * x[j] * columns[f"{k}_error"] for i, k in enumerate(("mu_l", "mu_b"))]
        # s^4 from the velocities and the volume, s^2 from ds = s^2 d(parallax).
        log_w = np.log(w[j]) + 6.0 * np.log(s)
        base = np.stack([np.arange(N), s, *moved, log_w])
        known = np.vstack([base, columns["v_los"] + signs[2] * x[j] * v_sigma])[:, measured]
        rows.append(known)
        for v in v_grid:
            missing = np.vstack([base, expected + v])[:, ~measured]
            missing[4] += np.log(_V_LOS_STEP)
            rows.append(missing)
    flat = np.concatenate(rows, axis=1)
    flat = flat[:, np.argsort(flat[0], kind="stable")]
    star = flat[0].astype(np.int32)
    take = {name: jnp.asarray(columns[name][star]) for name in ("l", "b", "V")}
    s, mu_l, mu_b, log_w, v_los = (jnp.asarray(row) for row in flat[1:])
    return StarNodes(jnp.asarray(star), s=s, mu_l=mu_l, mu_b=mu_b, v_los=v_los, log_w=log_w, **take)


def _expected_v_los(survey: Survey, l, b) -> np.ndarray:
    """Centre of the nodes of a missing v_los: the reflex of the Sun's peculiar motion, 15 km/s behind."""
    sun = survey.sun
    U, V, W = -float(sun.U), -float(sun.V) - 15.0, -float(sun.W)
    return (U * np.cos(l) + V * np.sin(l)) * np.cos(b) + W * np.sin(b)


def _volume_nodes(galaxy: Galaxy, survey: Survey, refine: int) -> VolumeNodes:
    edges = [survey.distance_edges(galaxy.components[name].stars) for name in galaxy.names]
    s, w_s = _panels(_distinct(np.concatenate([np.asarray(e) for e in edges])), 8 * refine)
    b_edges = np.array(survey.edges_b())
    b, w_b = _panels(b_edges, 6 * refine)
    l_edges = np.array(survey.edges_l())
    if len(l_edges) == 2:
        n_l = 12 * refine
        l, w_l = (np.arange(n_l) + 0.5) * 2.0 * np.pi / n_l, np.full(n_l, 2.0 * np.pi / n_l)
    else:
        l, w_l = _panels(l_edges, 8 * refine)
    sky = np.asarray(jax.vmap(lambda b: jax.vmap(lambda l: survey.sky(l, b))(jnp.asarray(l)))(jnp.asarray(b)))
    B, L = np.meshgrid(b, l, indexing="ij")
    area = (w_b * np.cos(b))[:, None] * w_l * sky
    seen = area.ravel() > 0.0
    if not seen.any():
        raise ValueError("the survey sees no part of the sky: its cuts on position exclude each other")
    n_sky, n_s = int(seen.sum()), len(s)
    grid = {
        "l": np.tile(L.ravel()[seen], n_s),
        "b": np.tile(B.ravel()[seen], n_s),
        "s": np.repeat(s, n_sky),
    }
    w = np.repeat(w_s * s * s, n_sky) * np.tile(area.ravel()[seen], n_s)
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
    return VolumeNodes(**arrays, w=jnp.asarray(w), selection=selection)


def _distinct(edges: np.ndarray) -> np.ndarray:
    """Sorted panel edges without those that (nearly) coincide."""
    edges = np.sort(edges)
    keep = np.concatenate([[True], np.diff(edges) > 1e-3 * edges[-1]])
    distinct = edges[keep]
    distinct[-1] = edges[-1]
    return distinct


def _panels(edges: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights in every panel between consecutive edges."""
    x, w = np.polynomial.legendre.leggauss(n)
    low, high = edges[:-1, None], edges[1:, None]
    half = 0.5 * (high - low)
    return (0.5 * (high + low) + half * x).ravel(), (half * w).ravel()


def _box(survey: Survey, stars: StarNodes, volume: VolumeNodes) -> Box:
    """The box around all nodes that can matter, with room for the Sun to move.

    Stars beyond the surveyed volume (by their errors) take the density at its edge.
    """
    matters = np.zeros(volume.s.shape, dtype=bool)
    for values in volume.selection.values():
        matters |= np.asarray(values) > 1e-9 * float(jnp.max(values))
    place = jax.jit(jax.vmap(lambda l, b, s: position(survey.sun, l, b, s)))
    x = np.asarray(place(volume.l, volume.b, volume.s))[matters]
    R, z = np.hypot(x[:, 0], x[:, 1]), np.abs(x[:, 2])
    margin = 0.02 * (R.max() - R.min() + z.max())
    return Box(max(float(R.min() - margin), 0.01), float(R.max() + margin), float(z.max() + margin))
