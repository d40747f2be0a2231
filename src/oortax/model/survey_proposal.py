"""Where to look for the stars of a survey: proposal densities over what can be seen of each component.

A star is proposed in longitude, latitude and distance (an adaptive table on the sky that the survey covers),
absolute magnitude (F(M), within the magnitudes that can pass at that distance), colour and velocity. The
proposal says how probable each star was; nothing of the model's density enters, so that every use of it,
by weights or by rejection, is exact.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from oortax.model.proposal import LocalProposal, adapted, first_guess
from oortax.survey import Survey
from oortax.survey.fold import WINGS

# Steps (rad) in which borders other than edges are looked for, and rows of them at once; cells of the sky in
# sin b and l, points in each; groups of cells, and bins of distance.
_FINEST, _AT_ONCE = np.radians(0.25), 64
_B, _L, _INNER = 64, 96, (12, 8)
_GROUPS, _S = 8, 40
# Share of the proposals that keep to no pilot.
_FLOOR = 0.1
_MAGNITUDES, _ROWS, _COLOURS = 8001, 601, 241
# Uniform numbers that one star takes.
DIMENSIONS = 10


class Sky(NamedTuple):
    """The part of the sky that the survey covers, as cells of a grid in sin b and l.

    Attributes
    ----------
    low, width : (k, 2), the lower ends of each cell in (sin b, l) and its widths
    group : (k,), one of a few groups that the cells are in, which ascend
    shares : (k,), share of a cell's covered area within its group
    area : (groups,), covered area of each group, sr
    """

    low: np.ndarray
    width: np.ndarray
    group: np.ndarray
    shares: np.ndarray
    area: np.ndarray

    def middles(self) -> tuple[np.ndarray, np.ndarray]:
        """l and b (rad) of the cells' middles."""
        sin_b, l = (self.low + 0.5 * self.width).T
        return l, np.arcsin(sin_b)


def sky_of(survey: Survey) -> Sky:
    """Cells that the survey covers somewhere, and their neighbours; ValueError if there are none."""
    fine = [_panels(edges, survey.curved) for edges in _edges(survey)]
    at = [np.concatenate([_middles(panel) for panel in panels]) for panels in fine]
    seen = _covered(survey, *at)
    if not seen.any():
        raise ValueError("the survey's selection keeps nothing of the sky: do its cuts exclude each other?")
    fine[0], at[0] = [np.sin(panel) for panel in fine[0]], np.sin(at[0])
    flags = np.asarray(seen.any(axis=1)), np.asarray(seen.any(axis=0))
    (low_b, width_b), (low_l, width_l) = map(_intervals, fine, flags, (_B, _L))
    points = _within(low_b, width_b, _INNER[0]), _within(low_l, width_l, _INNER[1])
    inside = _covered(survey, np.arcsin(points[0]), points[1])
    covered = inside.reshape(len(low_b), _INNER[0], len(low_l), _INNER[1]).mean(axis=(1, 3))
    # A field may lie between those points, but not between those that were asked first.
    touched = covered > 0
    hits = (
        np.searchsorted(low, x[i], side="right") - 1
        for low, x, i in zip((low_b, low_l), at, np.nonzero(seen), strict=True)
    )
    touched[tuple(hits)] = True
    rows = np.pad(touched, ((1, 1), (0, 0)))
    near = rows[:-2] | rows[1:-1] | rows[2:]
    near = near | np.roll(near, 1, axis=1) | np.roll(near, -1, axis=1)
    row, column = np.nonzero(near)
    widths = np.stack([width_b[row], width_l[column]], axis=1)
    share = np.maximum(covered[row, column], 0.02) * np.prod(widths, axis=1)
    rank = np.cumsum(share) - 0.5 * share
    group = np.minimum((_GROUPS * rank / share.sum()).astype(int), _GROUPS - 1)
    area = np.bincount(group, share, _GROUPS)
    return Sky(np.stack([low_b[row], low_l[column]], axis=1), widths, group, share / area[group], area)


def _edges(survey: Survey) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes and longitudes (rad) of the survey's own edges, and of boxes about its caps."""
    b, l = set(survey.edges_b()), set(survey.edges_l())
    for cap in (cut.cap() for cut in survey.selection):
        if cap is None:
            continue
        n, radius = cap
        centre = float(np.arcsin(np.clip(n[2], -1.0, 1.0)))
        b |= {end for end in (centre - radius, centre + radius) if abs(end) < 0.5 * np.pi}
        if abs(centre) + radius < 0.5 * np.pi:
            reach = np.arcsin(np.sin(radius) / np.cos(centre))
            l |= {float((np.arctan2(n[1], n[0]) + side) % (2.0 * np.pi)) for side in (-reach, reach)}
    return np.array(sorted(b)), np.array(sorted(l))


def _panels(edges: np.ndarray, curved: bool) -> list[np.ndarray]:
    """Each interval between edges in parts: borders that are no edges are looked for."""
    parts = [max(8, int(np.ceil((b - a) / _FINEST))) if curved else 8 for a, b in pairwise(edges)]
    return [np.linspace(a, b, n + 1) for (a, b), n in zip(pairwise(edges), parts, strict=True)]


def _middles(edges: np.ndarray) -> np.ndarray:
    return 0.5 * (edges[1:] + edges[:-1])


def _within(low: np.ndarray, width: np.ndarray, n: int) -> np.ndarray:
    """n midpoints of parts of every cell."""
    return (low[:, None] + width[:, None] * (np.arange(n) + 0.5) / n).ravel()


def _covered(survey: Survey, b, l) -> np.ndarray:
    """Which directions the survey covers, on the product of b and l."""
    l = jnp.asarray(l)
    # A few rows at a time: memory must not grow with the fineness.
    parts = np.array_split(np.asarray(b), max(1, len(b) // _AT_ONCE))
    return np.concatenate([np.asarray(_sky(survey, jnp.asarray(part), l)) > 0 for part in parts])


@eqx.filter_jit
def _sky(survey: Survey, b, l):
    return jax.vmap(lambda b: jax.vmap(lambda l: survey.sky(l, b))(l))(b)


def _intervals(panels: list[np.ndarray], covered: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower ends and widths of about n cells, over the parts of panels that are covered or next to such."""
    sizes = [len(panel) - 1 for panel in panels]
    flags = np.split(covered, np.cumsum(sizes)[:-1])
    runs = []
    for panel, flag in zip(panels, flags, strict=True):
        padded = np.pad(flag, 1)
        at = np.flatnonzero(padded[:-2] | padded[1:-1] | padded[2:])
        for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
            if len(run):
                runs.append((panel[run[0]], panel[run[-1] + 1]))
    total = sum(b - a for a, b in runs)
    cells = [np.linspace(a, b, max(2, round(n * (b - a) / total)) + 1) for a, b in runs]
    return np.concatenate([c[:-1] for c in cells]), np.concatenate([np.diff(c) for c in cells])


class Colours(NamedTuple):
    """Densities of colour at absolute magnitudes, piecewise constant: (k,), (m + 1,), and (k, m) per mag."""

    M: np.ndarray
    edges: np.ndarray
    density: np.ndarray
    cumulative: np.ndarray


def colours_of(colour_magnitude: Any, support: tuple[float, float]) -> Colours:
    """The colours of p(M, colour), with a floor of 5 % everywhere in its range."""
    low, high = colour_magnitude.colour_range
    M, edges = np.linspace(support[0], support[1], _ROWS), np.linspace(low, high, _COLOURS)
    middles = 0.5 * (edges[1:] + edges[:-1])
    p = np.exp(
        np.asarray(_log_densities(colour_magnitude, jnp.asarray(M), jnp.asarray(middles)), dtype=float)
    )
    sums = p.sum(axis=1, keepdims=True)
    flat = np.full_like(p, 1.0 / p.shape[1])
    share = np.where(sums > 0, 0.95 * p / np.where(sums > 0, sums, 1.0) + 0.05 * flat, flat)
    return Colours(M, edges, share / np.diff(edges), np.cumsum(share, axis=1))


@eqx.filter_jit
def _log_densities(colour_magnitude, M, colour):
    return jax.vmap(lambda M: jax.vmap(lambda c: colour_magnitude.log_density(M, c))(colour))(M)


@eqx.filter_jit
def _densities(F, M):
    return jax.vmap(lambda M: jnp.exp(F.log_F(M)))(M)


class Proposed(NamedTuple):
    """Proposed stars, arrays of shape (n,), and u (n, 3): v_R, v_phi, v_z in km/s.

    log_q is ln of the density per dl d(sin b) ds dM dcolour d^3u (without colour where there is none);
    inf for a star that cannot pass. R and z are Galactocentric, kpc; `volume` what the star's weight would be
    in a galaxy of even density.
    """

    l: np.ndarray
    b: np.ndarray
    s: np.ndarray
    M: np.ndarray
    colour: np.ndarray
    u: np.ndarray
    log_q: np.ndarray
    cell: np.ndarray
    R: np.ndarray
    z: np.ndarray
    volume: np.ndarray


class SurveyProposal(NamedTuple):
    """The proposal density for one component's stars.

    Attributes
    ----------
    sky : Sky
    edges : (m + 1,), kpc, of the bins of distance
    table : (groups, m), shares of the bins of sky and distance
    rows : (m, k), shares of the sky's cells within their groups, in each bin of distance
    local : LocalProposal
    magnitudes : (cumulative F, M) at the ends of narrow bins
    colours : Colours or None
    limits : apparent magnitudes between which stars can pass
    """

    sky: Sky
    edges: np.ndarray
    table: np.ndarray
    rows: np.ndarray
    local: LocalProposal
    magnitudes: tuple[np.ndarray, np.ndarray]
    colours: Colours | None
    limits: tuple[float, float]

    def cells(self) -> np.ndarray:
        """Shares of cells: of the table, and within each of it of the Gaussians that velocities are from."""
        return np.outer(self.table, self.local.shares).ravel()

    def draw(self, uniform: np.ndarray, dust, place, at: np.ndarray | None = None) -> Proposed:
        """Stars from numbers (n, DIMENSIONS) between 0 and 1.

        `dust(l, b, s)` is their extinction, mag, `place(l, b, s)` their R and z, kpc. `at` are the `cells`
        that they shall be drawn in (by default drawn, too); log_q is that of a free draw all the same.
        """
        which = None
        if at is None:
            at = _bins(self.table, uniform[:, 0])
        else:
            at, which = np.divmod(at, len(self.local.shares))
        group, bin_s = np.divmod(at, self.table.shape[1])
        row, within = self._row(group, bin_s, uniform[:, 1])
        low, width = self.sky.low[row], self.sky.width[row]
        sin_b, l = low[:, 0] + width[:, 0] * uniform[:, 2], low[:, 1] + width[:, 1] * within
        near, far = self.edges[bin_s] ** 3, self.edges[bin_s + 1] ** 3
        s = np.cbrt(near + uniform[:, 3] * (far - near))
        b = np.arcsin(sin_b)
        log_q = np.log(self.table[group, bin_s] * 3.0 * s**2 / (far - near))
        log_q += np.log(self.rows[bin_s, row] / np.prod(width, axis=1))
        modulus = 5.0 * np.log10(100.0 * s) + dust(l, b, s)
        M, of_M, listed = self._magnitude(uniform[:, 4], modulus)
        colour, of_colour = self.colour(uniform[:, 5], M)
        R, z = place(l, b, s)
        volume = listed * s**2 * np.exp(-log_q)
        u, of_u = self.local.velocities(self.local.zones.at(R, z), uniform[:, 6:10], which)
        return Proposed(l, b, s, M, colour, u, log_q + of_M + of_colour + of_u, at, R, z, volume)

    def _row(self, group, bin_s, uniform) -> tuple[np.ndarray, np.ndarray]:
        """Cells of the sky, and what their choice left of the number, between 0 and 1."""
        bins, k = self.rows.shape
        ladder = np.cumsum(self.rows, axis=1)
        ends = np.searchsorted(self.sky.group, np.arange(_GROUPS), side="right") - 1
        # Steps of 1 from group to group and from bin to bin: one search serves all stars.
        ladder = _GROUPS * np.arange(bins)[:, None] + ladder
        steps = _GROUPS * bin_s + group
        row = np.searchsorted(ladder.ravel(), steps + uniform, side="right") - k * bin_s
        row = np.clip(row, np.append(0, ends[:-1] + 1)[group], ends[group])
        share = self.rows[bin_s, row]
        return row, np.clip((uniform - (ladder[bin_s, row] - steps - share)) / share, 0.0, 1.0)

    def magnitude(self, uniform, modulus) -> tuple[np.ndarray, np.ndarray]:
        """M from F between the limits, and ln of its density."""
        return self._magnitude(uniform, modulus)[:2]

    def _magnitude(self, uniform, modulus) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same, and the share of F that is between the limits."""
        cumulative, edges = self.magnitudes
        lo, hi = (np.interp(limit - modulus, edges, cumulative) for limit in self.limits)
        empty = ~(hi > lo)
        level = np.where(empty, 0.5, lo + uniform * (hi - lo))
        bins = np.clip(np.searchsorted(cumulative, level, side="right") - 1, 0, len(edges) - 2)
        share, width = np.diff(cumulative)[bins], np.diff(edges)[bins]
        with np.errstate(divide="ignore", invalid="ignore"):
            M = edges[bins] + width * np.clip((level - cumulative[bins]) / share, 0.0, 1.0)
            log_q = np.log(share / width) - np.log(hi - lo)
        M = np.where(empty, 0.5 * (edges[0] + edges[-1]), M)
        return M, np.where(empty, np.inf, log_q), np.where(empty, 0.0, hi - lo)

    def colour(self, uniform, M) -> tuple[np.ndarray, np.ndarray]:
        """Colours of stars of magnitude M, and ln of their density; NaN and 0 where they are not known."""
        if self.colours is None:
            return np.full(len(M), np.nan), np.zeros(len(M))
        table = self.colours
        row = np.clip(np.rint((M - table.M[0]) / (table.M[1] - table.M[0])).astype(int), 0, len(table.M) - 1)
        # Rows one after the other, each from its number upwards: one search serves all stars.
        columns = table.cumulative.shape[1]
        ladder = (table.cumulative / table.cumulative[:, -1:] + np.arange(len(table.M))[:, None]).ravel()
        bins = np.clip(np.searchsorted(ladder, row + uniform) - row * columns, 0, columns - 1)
        width = table.edges[1] - table.edges[0]
        density = table.density[row, bins]
        below = table.cumulative[row, bins] - density * width
        within = np.clip((uniform - below) / (density * width), 0.0, 1.0)
        return table.edges[bins] + width * within, np.log(density)

    def adapted(self, stars: Proposed, weights: np.ndarray, place, v_c0: float) -> "SurveyProposal":
        """The proposal that follows weighted stars drawn from it; those that do not pass have no weight."""
        seen = weights > 0
        found = np.bincount(stars.cell, weights, self.table.size).reshape(self.table.shape)
        # A bin may be rich and yet have had few stars: half of it goes by its neighbours in distance.
        smooth = found.copy()
        smooth[:, 1:-1] = 0.25 * found[:, :-2] + 0.5 * found[:, 1:-1] + 0.25 * found[:, 2:]
        flat = self.sky.area[:, None] * np.ones(self.table.shape[1])
        table = (1.0 - _FLOOR) * smooth / smooth.sum() + _FLOOR * flat / flat.sum()
        R, z, u, volume = (a[seen] for a in (stars.R, stars.z, stars.u, stars.volume))
        local = adapted(R, z, u, weights[seen], volume, v_c0)
        return self._replace(table=table, rows=self._rows(local, place), local=local)

    def _rows(self, local: LocalProposal, place) -> np.ndarray:
        """Shares of the sky's cells by the density at their middles, in the middle of each bin."""
        s = np.cbrt(0.5 * (self.edges[1:] ** 3 + self.edges[:-1] ** 3))
        l, b = self.sky.middles()
        R, z = place(np.tile(l, len(s)), np.tile(b, len(s)), np.repeat(s, len(l)))
        density = local.density[local.zones.at(R, z)].reshape(len(s), len(l))
        rows = self.sky.shares * density
        total = np.stack([np.bincount(self.sky.group, row, _GROUPS) for row in rows])
        return (1.0 - _FLOOR) * rows / total[:, self.sky.group] + _FLOOR * self.sky.shares


def _bins(table: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    cumulative = np.cumsum(table.ravel())
    return np.minimum(np.searchsorted(cumulative / cumulative[-1], uniform, side="right"), table.size - 1)


def survey_proposal(sky: Sky, survey: Survey, stars: Any, v_c0: float, name: str = "") -> SurveyProposal:
    """A first proposal for the stars of a component: even in the logarithm of distance, and of any velocity.

    Raises ValueError if the survey has no faint limit, or if no star of the component can pass.
    """
    near, far = (float(edge) for edge in survey.distance_range(stars))
    if not far > near:
        raise ValueError(f"no star of component {name!r} can pass the survey's magnitude limits")
    colours = stars.colour_magnitude()
    F = stars.bind() if colours is None else colours.magnitudes()
    edges_M = np.linspace(F.support[0], F.support[1], _MAGNITUDES)
    middles = jnp.asarray(0.5 * (edges_M[1:] + edges_M[:-1]))
    mass = np.asarray(_densities(F, middles))
    edges = np.geomspace(max(near, 1e-3 * far), far, _S)
    edges = np.concatenate([[near], edges[near < edges]])
    table = sky.area[:, None] * np.ones(len(edges) - 1)
    limits, wing = survey.magnitude_limits(), WINGS * float(survey.errors.V)
    return SurveyProposal(
        sky,
        edges,
        table / table.sum(),
        np.tile(sky.shares, (table.shape[1], 1)),
        first_guess(v_c0),
        (np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum(), edges_M),
        None if colours is None else colours_of(colours, F.support),
        (limits[0] - wing, limits[1] + wing),
    )


def gaussian(uniform: np.ndarray) -> np.ndarray:
    """Standard normal numbers from uniform ones."""
    return ndtri(np.clip(uniform, 1e-16, 1.0 - 1e-16))
