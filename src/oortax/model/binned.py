"""The binned likelihood: counts of stars in cells of observables against what the model expects there.

For catalogues without distances, or of too many stars to treat one by one. The model's counts are sums over
the fixed nodes of a survey (`SurveyNodes`): smooth and differentiable in everything, with common random
numbers, and of a cost that does not depend on the number of stars.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Int
from scipy.special import ndtr

from oortax.model.galaxy import Galaxy
from oortax.model.likelihood import FinderLike
from oortax.model.survey_nodes import SurveyNodes, derive_galaxy, node_weights, survey_nodes, with_tables
from oortax.survey import Survey, pole_motions
from oortax.types import Scalar

# Shares of a node's error kernel in a cell below this are left out; its wings reach as many standard errors.
_LEAST, _WINGS = 1e-7, 5.0
# Quantities on which no selection acts through the nodes' drawn errors are spread by their error kernel.
_TRUE = {"mu_l": "mu_l", "mu_b": "mu_b", "v_los": "v_los"}


@final
class BinnedCatalogue(eqx.Module):
    """A catalogue's counts in cells, and the nodes that predict them (build with `bin_catalogue`).

    Attributes
    ----------
    counts : (n_cells + 1,), stars in each cell; the last: in no cell, or in one that too few nodes serve
    nodes : of the survey
    row, cell, share : (m,), node, cell, and the share of the node's stars that are observed there
    served : (n_cells,), whether a cell counts on its own
    quantities, edges : of the cells, static; the product grid, in C order
    """

    counts: Float[Array, " cells"]
    nodes: SurveyNodes
    row: Int[Array, " m"]
    cell: Int[Array, " m"]
    share: Float[Array, " m"]
    served: Any
    quantities: tuple[str, ...] = eqx.field(static=True)
    edges: tuple[tuple[float, ...], ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of cells along each quantity."""
        return tuple(len(e) - 1 for e in self.edges)

    @property
    def N(self) -> Scalar:
        """Stars of the catalogue."""
        return jnp.sum(self.counts)


def bin_catalogue(
    galaxy: Galaxy,
    survey: Survey,
    columns: Mapping[str, Any],
    cells: Mapping[str, Any],
    key: Array,
    n: int = 65_536,
    *,
    finder: FinderLike = "InterpolatedFudge",
    colour_error: float = 0.02,
    least: float = 20.0,
) -> BinnedCatalogue:
    """Counts of a catalogue in the product cells of some observables, with nodes for the model's.

    Parameters
    ----------
    galaxy : about which the fit will be: places the nodes
    survey : the cuts that made the catalogue; needs a faint limit
    columns : of the catalogue, as `io.read_catalogue` gives them: l, b (rad), mu_l, mu_b (mas/yr), V ...
    cells : increasing edges by the name of the observable: V, colour, mu_l, mu_b, mu_0, mu_90 (mas/yr; of
        `survey.pole_motions`), v_los, parallax, distance_modulus, l, b
    key, n, finder, colour_error : of `survey_nodes`
    least : effective number of nodes below which a cell is not counted on its own

    A star without one of the quantities counts as in no cell. Velocities are spread over the cells by their
    error kernel; other quantities, on which cuts act, have their errors drawn once for each node.

    Raises ValueError for unknown quantities, edges that do not increase, and a catalogue without stars.
    """
    names = tuple(cells)
    edges = tuple(_edges(name, e) for name, e in cells.items())
    derived = _derive(galaxy, survey, finder)
    nodes = survey_nodes(galaxy, survey, key, n, colour_error=colour_error, derived=derived)
    shape = tuple(len(e) - 1 for e in edges)
    n_cells = int(np.prod(shape))
    row, cell, share = _spread(nodes, survey, names, edges)
    log_w = np.asarray(_weigh(with_tables(galaxy), survey, nodes, derived=derived).log_w)
    w = np.exp(log_w) * np.asarray(nodes.accepted)
    part = w[row] * share
    sums, squares = (np.bincount(cell, x, n_cells) for x in (part, part * w[row]))
    with np.errstate(invalid="ignore", divide="ignore"):
        served = sums**2 >= least * squares
    served &= sums > 0
    keep = served[cell]
    row, cell, share = row[keep], cell[keep], share[keep]
    rest = np.clip(1.0 - np.bincount(row, share, len(w)), 0.0, 1.0)
    outside = np.flatnonzero((rest > _LEAST) & (np.asarray(nodes.accepted) > 0))
    row, cell, share = (
        np.concatenate(pair)
        for pair in ((row, outside), (cell, np.full(len(outside), n_cells)), (share, rest[outside]))
    )
    counts = _count(columns, names, edges)
    if counts.sum() == 0:
        raise ValueError("bin_catalogue: the catalogue holds no stars")
    lost = np.where(served, 0.0, counts[:-1]).sum()
    counts = np.append(np.where(served, counts[:-1], 0.0), counts[-1] + lost)
    order = np.argsort(cell, kind="stable")
    return BinnedCatalogue(
        jnp.asarray(counts),
        nodes,
        jnp.asarray(row[order]),
        jnp.asarray(cell[order]),
        jnp.asarray(share[order]),
        jnp.asarray(served),
        names,
        tuple(tuple(float(x) for x in e) for e in edges),
    )


_derive, _weigh = eqx.filter_jit(derive_galaxy), eqx.filter_jit(node_weights)


def _edges(name: str, given: Any) -> np.ndarray:
    e = np.asarray(given, dtype=float)
    if e.ndim != 1 or len(e) < 2 or not np.all(np.diff(e) > 0):
        raise ValueError(f"bin_catalogue: the edges of {name!r} must be two or more increasing numbers")
    return e


def quantity_of(columns: Mapping[str, Any], name: str) -> np.ndarray:
    """An observable (N,) of a catalogue; mu_0 and mu_90 are derived. ValueError if there is none."""
    if name in ("mu_0", "mu_90") and name not in columns:
        motion = pole_motions(*(jnp.asarray(columns[k]) for k in ("l", "b", "mu_l", "mu_b")))
        return np.asarray(motion[("mu_0", "mu_90").index(name)])
    if name not in columns:
        raise ValueError(f"bin_catalogue: there is no observable {name!r}; there are {', '.join(columns)}")
    return np.asarray(columns[name], dtype=float)


def _count(columns, names, edges) -> np.ndarray:
    """Stars in every cell, and last those in none."""
    values = np.stack([quantity_of(columns, name) for name in names], axis=1)
    finite = np.all(np.isfinite(values), axis=1)
    counts = np.histogramdd(values[finite], bins=list(edges))[0].ravel()
    return np.append(counts, len(values) - counts.sum())


def _spread(nodes: SurveyNodes, survey: Survey, names, edges):
    """Nodes, cells and shares of the stars of accepted nodes, in the product cells."""
    sigma = {name: np.asarray(nodes.observed[f"{name}_error"]) for name in _TRUE}
    sigma["v_los"] = np.hypot(sigma["v_los"], float(survey.errors.v_los_jitter))
    sigma |= {"mu_0": sigma["mu_l"], "mu_90": sigma["mu_b"]}
    rows = np.flatnonzero(np.asarray(nodes.accepted) > 0)
    cell, share = np.zeros(len(rows), int), np.ones(len(rows))
    true = {name: np.asarray(getattr(nodes, source)) for name, source in _TRUE.items()}
    motion = pole_motions(nodes.l, nodes.b, nodes.mu_l, nodes.mu_b)
    true |= {"mu_0": np.asarray(motion[0]), "mu_90": np.asarray(motion[1])}
    used = {name for cut in survey.selection for name in cut.columns}
    for name, e in zip(names, edges, strict=True):
        cut = any(column.startswith("mu_") for column in used) if name.startswith("mu_") else name in used
        spread = name in true and not cut
        values = (true[name] if spread else quantity_of(nodes.observed, name))[rows]
        width = sigma[name][rows] if spread else np.zeros(len(rows))
        low = np.searchsorted(e, values - _WINGS * width, side="right") - 1
        high = np.searchsorted(e, values + _WINGS * width, side="right") - 1
        reach = int(np.max(high - low, initial=0)) + 1
        at = np.arange(len(rows))
        parts = []
        for step in range(reach):
            i = low + step
            good = (i <= high) & (i >= 0) & (i < len(e) - 1)
            inner = np.clip(i, 0, len(e) - 2)
            sharp = np.maximum(width, 1e-30)
            chance = ndtr((e[inner + 1] - values) / sharp) - ndtr((e[inner] - values) / sharp)
            chance = np.where(width > 0, chance, 1.0)
            good &= chance * share > _LEAST
            new = cell[good] * (len(e) - 1) + inner[good]
            parts.append((at[good], new, (share * chance)[good]))
        at, cell, share = (np.concatenate(x) for x in zip(*parts, strict=True))
        rows = rows[at]
    return rows, cell, share


class Expected(NamedTuple):
    """Shares of all stars expected in the cells (the last: elsewhere), and ln w of the nodes."""

    shares: Float[Array, " cells"]
    log_w: Float[Array, " n"]


def expected(
    galaxy: Galaxy,
    survey: Survey,
    binned: BinnedCatalogue,
    finder: FinderLike = "InterpolatedFudge",
) -> Expected:
    """The model's shares in the cells; traceable, differentiable in every parameter of galaxy and Sun."""
    log_w = node_weights(galaxy, survey, binned.nodes, finder).log_w
    log_w = jnp.where(jnp.isfinite(log_w), log_w, -jnp.inf)
    w = jnp.exp(log_w) * binned.nodes.accepted
    shares = jax.ops.segment_sum(
        w[binned.row] * binned.share, binned.cell, len(binned.counts), indices_are_sorted=True
    )
    return Expected(shares, log_w)


def log_likelihood_binned(
    galaxy: Galaxy,
    survey: Survey,
    binned: BinnedCatalogue,
    *,
    finder: FinderLike = "InterpolatedFudge",
    form: str = "conditional",
    log_number: Any = None,
) -> Scalar:
    """ln L of the counts; traceable, differentiable in every parameter of galaxy and Sun.

    "conditional" on the number of stars, ln L = sum_j n_j ln(lambda_j / A); "poisson", with N_all =
    e^log_number stars in the Galaxy, sum_j [n_j ln(N_all lambda_j) - N_all lambda_j - ln n_j!]; lambda_j is
    the model's share in cell j, A their sum. -inf where a cell with stars has no nodes of any weight.
    `binned_noise` says what the nodes' number does to it.
    """
    if form not in ("conditional", "poisson"):
        raise ValueError(f"form = {form!r} must be 'conditional' or 'poisson'")
    if form == "poisson" and log_number is None:
        raise ValueError("the Poisson form needs log_number, ln of the number of stars in the Galaxy")
    shares, n = expected(galaxy, survey, binned, finder).shares, binned.counts
    log_shares = jnp.where(n > 0, jnp.log(jnp.where(n > 0, shares, 1.0)), 0.0)
    if form == "conditional":
        return jnp.sum(n * log_shares) - jnp.sum(n) * jnp.log(jnp.sum(shares))
    terms = jnp.where(n > 0, n * (log_shares + log_number), 0.0) - gammaln(n + 1.0)
    return jnp.sum(terms) - jnp.exp(log_number) * jnp.sum(shares)


class BinnedNoise(NamedTuple):
    """Monte Carlo noise of ln L.

    Attributes
    ----------
    sigma : standard deviation of ln L between sets of as many independent nodes
    bias : expectation of ln L less its limit for many nodes
    nodes_per_star : effective number of nodes over the number of stars; where nodes were drawn at random, it
        would add 1 / nodes_per_star of their variance to that of the parameters. Sobol numbers add less
    elsewhere : share of the catalogue in no cell of its own
    """

    sigma: float
    bias: float
    nodes_per_star: float
    elsewhere: float


def binned_noise(
    galaxy: Galaxy, survey: Survey, binned: BinnedCatalogue, finder: FinderLike = "InterpolatedFudge"
) -> BinnedNoise:
    """How much ln L owes to the number of nodes, from the weights themselves (conditional form)."""
    found = _expected(galaxy, survey, binned, finder)
    n, shares = np.asarray(binned.counts), np.asarray(found.shares)
    w = np.exp(np.asarray(found.log_w)) * np.asarray(binned.nodes.accepted)
    row, cell, share = (np.asarray(a) for a in (binned.row, binned.cell, binned.share))
    N, A = n.sum(), shares.sum()
    safe = np.where(shares > 0, shares, 1.0)
    part = w[row] * share
    slope = np.bincount(row, part * (n / safe)[cell], len(w)) - N / A * np.bincount(row, part, len(w))
    squares = np.bincount(cell, part * w[row] * share, len(n))
    whole = np.sum(np.bincount(row, part, len(w)) ** 2)
    return BinnedNoise(
        float(np.sqrt(np.sum(slope**2))),
        float(-0.5 * np.sum(n * squares / safe**2) + 0.5 * N * whole / A**2),
        float(A**2 / whole / N),
        float(n[-1] / N),
    )


_expected = eqx.filter_jit(expected)
