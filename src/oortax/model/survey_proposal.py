"""Where to look for the stars of a survey: proposal densities over what can be seen of each component.

A star is proposed in longitude, latitude and distance (an adaptive table on the sky that the survey covers),
absolute magnitude (F(M), within the magnitudes that can pass at that distance), colour and velocity. The
proposal says how probable each star was; nothing of the model's density enters, so that every use of it,
by weights or by rejection, is exact.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from oortax.model.proposal import VelocityProposal, adapted, first_guess
from oortax.survey import Survey
from oortax.survey.fold import WINGS

# Cells of the sky in sin b and l, points in each at which the survey is asked, and bins of distance.
_B, _L, _INNER = 64, 96, (12, 8)
_GROUPS, _S = 8, 40
# Share of the proposals that keep to no pilot.
_FLOOR = 0.1
_MAGNITUDES, _COLOURS = 8001, 161
# Uniform numbers that one star takes.
DIMENSIONS = 10


class Sky(NamedTuple):
    """The part of the sky that the survey covers, as cells of equal area.

    Attributes
    ----------
    cells : (k,), indices into the grid of sin b (rows) and l
    cumulative : (groups, k), of the shares of the cells within each group of rows
    shares : (k,), share of a cell within its group
    group : (k,), the cell's group
    area : (groups,), covered area of each group, sr
    """

    cells: np.ndarray
    cumulative: np.ndarray
    shares: np.ndarray
    group: np.ndarray
    area: np.ndarray


def sky_of(survey: Survey) -> Sky:
    """Cells that the survey covers somewhere, and their neighbours; ValueError if there are none."""
    n_b, n_l = _B * _INNER[0], _L * _INNER[1]
    b = np.arcsin((np.arange(n_b) + 0.5) / n_b * 2.0 - 1.0)
    l = (np.arange(n_l) + 0.5) / n_l * 2.0 * np.pi
    inside = jax.jit(jax.vmap(lambda b: jax.vmap(lambda l: survey.sky(l, b))(jnp.asarray(l))))(jnp.asarray(b))
    seen = np.asarray(inside).reshape(_B, _INNER[0], _L, _INNER[1])
    covered = (seen > 0).mean(axis=(1, 3))
    if not covered.any():
        raise ValueError("the survey's selection keeps nothing of the sky: do its cuts exclude each other?")
    touched = covered > 0
    rows = np.pad(touched, ((1, 1), (0, 0)))
    near = rows[:-2] | rows[1:-1] | rows[2:]
    near = near | np.roll(near, 1, axis=1) | np.roll(near, -1, axis=1)
    cells = np.flatnonzero(near)
    # A neighbour may be covered between the points asked.
    share = np.maximum(covered.ravel()[cells], 0.02)
    rank = np.cumsum(share) - 0.5 * share
    group = np.minimum((_GROUPS * rank / share.sum()).astype(int), _GROUPS - 1)
    total = np.bincount(group, share, _GROUPS)
    shares = share / total[group]
    cumulative = np.stack([np.cumsum(np.where(group == g, shares, 0.0)) for g in range(_GROUPS)])
    return Sky(cells, cumulative, shares, group, total * 4.0 * np.pi / (_B * _L))


class Colours(NamedTuple):
    """Densities of colour at absolute magnitudes, piecewise constant: (k,), (m + 1,), and (k, m) per mag."""

    M: np.ndarray
    edges: np.ndarray
    density: np.ndarray
    cumulative: np.ndarray


def colours_of(colour_magnitude: Any, support: tuple[float, float]) -> Colours:
    """The colours of p(M, colour), with a floor of 5 % everywhere in its range."""
    M = np.linspace(*support, 241)
    edges = np.linspace(*colour_magnitude.colour_range, _COLOURS)
    middles = 0.5 * (edges[1:] + edges[:-1])
    table = jax.jit(jax.vmap(lambda M: jax.vmap(lambda c: colour_magnitude.log_density(M, c))(middles)))(M)
    p = np.exp(np.asarray(table, dtype=float))
    # Neighbours in M and colour are let in: the relation moves within a cell.
    p = p + np.roll(p, 1, axis=1) + np.roll(p, -1, axis=1)
    p[1:-1] = p[:-2] + p[1:-1] + p[2:]
    sums = p.sum(axis=1, keepdims=True)
    flat = np.full_like(p, 1.0 / p.shape[1])
    share = np.where(sums > 0, 0.95 * p / np.where(sums > 0, sums, 1.0) + 0.05 * flat, flat)
    return Colours(M, edges, share / np.diff(edges), np.cumsum(share, axis=1))


class Proposed(NamedTuple):
    """Proposed stars, arrays of shape (n,), and u (n, 3): v_R, v_phi, v_z in km/s.

    log_q is ln of the density per dl d(sin b) ds dM dcolour d^3u (without colour where there is none);
    inf for a star that cannot pass.
    """

    l: np.ndarray
    b: np.ndarray
    s: np.ndarray
    M: np.ndarray
    colour: np.ndarray
    u: np.ndarray
    log_q: np.ndarray
    cell: np.ndarray


class SurveyProposal(NamedTuple):
    """The proposal density for one component's stars.

    Attributes
    ----------
    sky : Sky
    edges : (m + 1,), kpc, of the bins of distance
    table : (groups, m), shares of the bins of sky and distance
    velocities : VelocityProposal
    magnitudes : (cumulative F, M) at the ends of narrow bins
    colours : Colours or None
    limits : apparent magnitudes between which stars can pass
    """

    sky: Sky
    edges: np.ndarray
    table: np.ndarray
    velocities: VelocityProposal
    magnitudes: tuple[np.ndarray, np.ndarray]
    colours: Colours | None
    limits: tuple[float, float]

    def draw(self, uniform: np.ndarray, dust) -> Proposed:
        """Stars from numbers (n, DIMENSIONS) between 0 and 1; `dust(l, b, s)` is their extinction, mag."""
        at = _bins(self.table, uniform[:, 0])
        group, bin_s = np.divmod(at, self.table.shape[1])
        row = np.empty(len(at), int)
        for g in np.unique(group):
            mine = group == g
            row[mine] = np.searchsorted(self.sky.cumulative[g], uniform[mine, 1], side="right")
        row = np.minimum(row, len(self.sky.cells) - 1)
        i, j = np.divmod(self.sky.cells[row], _L)
        # What the choice of the cell left of its number places the star in longitude.
        below = self.sky.cumulative[group, row] - self.sky.shares[row]
        within = np.clip((uniform[:, 1] - below) / self.sky.shares[row], 0.0, 1.0)
        l, sin_b = (j + within) / _L * 2.0 * np.pi, (i + uniform[:, 2]) / _B * 2.0 - 1.0
        near, far = self.edges[bin_s] ** 3, self.edges[bin_s + 1] ** 3
        s = np.cbrt(near + uniform[:, 3] * (far - near))
        b = np.arcsin(sin_b)
        log_q = np.log(self.table[group, bin_s] * 3.0 * s**2 / (far - near))
        log_q += np.log(self.sky.shares[row] * _B * _L / (4.0 * np.pi))
        modulus = 5.0 * np.log10(100.0 * s) + dust(l, b, s)
        M, of_M = self._magnitude(uniform[:, 4], modulus)
        colour, of_colour = self._colour(uniform[:, 5], M)
        u, of_u = self.velocities.at(uniform[:, 6:10])
        return Proposed(l, b, s, M, colour, u, log_q + of_M + of_colour + of_u, at)

    def _magnitude(self, uniform, modulus):
        """M from F between the limits, and ln of its density."""
        cumulative, edges = self.magnitudes
        lo, hi = (np.interp(limit - modulus, edges, cumulative) for limit in self.limits)
        empty = ~(hi > lo)
        level = np.where(empty, 0.5, lo + uniform * (hi - lo))
        bins = np.clip(np.searchsorted(cumulative, level, side="right") - 1, 0, len(edges) - 2)
        share, width = np.diff(cumulative)[bins], np.diff(edges)[bins]
        with np.errstate(divide="ignore", invalid="ignore"):
            M = edges[bins] + width * np.clip((level - cumulative[bins]) / share, 0.0, 1.0)
            log_q = np.log(share / width) - np.log(hi - lo)
        return np.where(empty, 0.5 * (edges[0] + edges[-1]), M), np.where(empty, np.inf, log_q)

    def _colour(self, uniform, M):
        if self.colours is None:
            return np.full(len(M), np.nan), np.zeros(len(M))
        table = self.colours
        row = np.clip(np.rint((M - table.M[0]) / (table.M[1] - table.M[0])).astype(int), 0, len(table.M) - 1)
        cumulative = table.cumulative[row]
        bins = np.minimum((cumulative < uniform[:, None]).sum(axis=1), cumulative.shape[1] - 1)
        width = table.edges[1] - table.edges[0]
        density = table.density[row, bins]
        below = cumulative[np.arange(len(M)), bins] - density * width
        within = np.clip((uniform - below) / (density * width), 0.0, 1.0)
        return table.edges[bins] + width * within, np.log(density)

    def adapted(self, stars: Proposed, weights: np.ndarray, v_c0: float) -> "SurveyProposal":
        """The proposal that follows weighted stars drawn from it; those that do not pass have no weight."""
        seen = weights > 0
        found = np.bincount(stars.cell, weights, self.table.size).reshape(self.table.shape)
        # A bin may be rich and yet have had few stars: half of it goes by its neighbours in distance.
        smooth = found.copy()
        smooth[:, 1:-1] = 0.25 * found[:, :-2] + 0.5 * found[:, 1:-1] + 0.25 * found[:, 2:]
        flat = self.sky.area[:, None] * np.ones(self.table.shape[1])
        table = (1.0 - _FLOOR) * smooth / smooth.sum() + _FLOOR * flat / flat.sum()
        velocities = adapted(stars.u[seen], weights[seen], v_c0)
        return self._replace(table=table, velocities=velocities)


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
    edges_M = np.linspace(*F.support, _MAGNITUDES)
    middles = jnp.asarray(0.5 * (edges_M[1:] + edges_M[:-1]))
    mass = np.asarray(jax.jit(jax.vmap(lambda M: jnp.exp(F.log_F(M))))(middles))
    edges = np.geomspace(max(near, 1e-3 * far), far, _S)
    edges = np.concatenate([[near], edges[near < edges]])
    table = sky.area[:, None] * np.ones(len(edges) - 1)
    limits, wing = survey._magnitude_limits(), WINGS * float(survey.errors.V)
    return SurveyProposal(
        sky,
        edges,
        table / table.sum(),
        first_guess(v_c0),
        (np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum(), edges_M),
        None if colours is None else colours_of(colours, F.support),
        (limits[0] - wing, limits[1] + wing),
    )


def gaussian(uniform: np.ndarray) -> np.ndarray:
    """Standard normal numbers from uniform ones."""
    return ndtri(np.clip(uniform, 1e-16, 1.0 - 1e-16))
