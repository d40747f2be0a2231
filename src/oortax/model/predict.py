"""Mock catalogues: draw stars from the model and observe them as the survey does.

The route is deliberately not that of the likelihood. No density, no normalisation and no folded selection
enter: stars are proposed in position, velocity and magnitude, observed with noise, cut by the survey's own
cuts on observed columns, and kept in proportion to f(J). A fit that recovers the truth from such a
catalogue has its Jacobians, selection and normalisation right.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from oortax import survey as surveys
from oortax.df.rejection import bar_of_draws
from oortax.model.likelihood import FinderLike
from oortax.model.survey_nodes import (
    NUMBERS,
    DerivedGalaxy,
    SurveyNodes,
    derive_galaxy,
    host_seeds,
    make_nodes_of,
    moving,
    node_weights,
    pilot,
    with_tables,
)
from oortax.model.survey_proposal import SurveyProposal
from oortax.survey import Survey

_PILOT = 65_536
_HEADROOM = 1.4
# Proposals of one piece of work; pieces at the same time, and pieces from one look at the bar to the next.
_AT_ONCE, _WORKERS, _PIECES = 65_536, 2, 12
_MAX_BATCHES = 5000


class MockReport(NamedTuple):
    """How the draw went.

    Attributes
    ----------
    proposed, observed, drawn : int
        Stars proposed, those among them that passed the survey's cuts, and those kept.
    raised : int
        Times that a weight exceeded the envelope of its cell, whose stars were then drawn anew.
    largest : dict of float
        Largest weight met, by component, in units of the final envelope; below 1.
    """

    proposed: int
    observed: int
    drawn: int
    raised: int
    largest: dict[str, float]


class Mock(NamedTuple):
    """A mock catalogue.

    Attributes
    ----------
    columns : dict of arrays (n,)
        What the survey publishes: l, b (rad), parallax, parallax_error (mas), distance_modulus and its error
        (mag; either only if the survey states its error), mu_l, mu_b (mas/yr, mu_l with
        cos b), mu_l_error, mu_b_error, mu_lb_corr, v_los, v_los_error (km/s; NaN where missing), V and
        the survey's band (mag), V_error, and colour (mag; NaN where the population knows none, unless the
        survey selects on it).
    truth : dict of arrays
        component (index into `names`, -1 for outliers), x (n, 3) kpc, v (n, 3) km/s, J (n, 3) kpc km/s
        (NaN for outliers), s (kpc), M (mag).
    names : tuple of str
        The components.
    report : MockReport
    """

    columns: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]
    names: tuple[str, ...]
    report: MockReport


class _Stars(NamedTuple):
    """Stars that were kept: cell of the proposal, ln of their weight, and columns of truth and catalogue."""

    cell: np.ndarray
    log_w: np.ndarray
    truth: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]

    def take(self, keep) -> "_Stars":
        return jax.tree.map(lambda a: a[keep], self)


_derive, _weigh = eqx.filter_jit(derive_galaxy), eqx.filter_jit(node_weights)


class _Engine(NamedTuple):
    """All that proposing and weighing stars needs."""

    galaxy: Any
    survey: Survey
    derived: DerivedGalaxy
    proposals: list[SurveyProposal]
    colour_error: float

    def propose(self, rng, i: int, at: np.ndarray) -> _Stars:
        """Of stars of component i proposed in these cells those that the survey lists, with their weights."""
        galaxy, survey, name = self.galaxy, self.survey, self.galaxy.names[i]
        n, count = _power_of_four(len(at)), len(at)
        uniform, cell = rng.random((n, NUMBERS)), np.resize(at, n)
        v_c0, proposal = self.derived.v_c0, self.proposals[i]
        nodes = make_nodes_of(survey, v_c0, proposal, uniform, self.colour_error, name, cell)
        listed = (uniform[:, -1] < np.asarray(nodes.accepted)) & (np.arange(n) < count)
        weighted = _weigh(galaxy, survey, _filled(nodes, listed), derived=self.derived)
        rows = np.flatnonzero(listed)
        stars = _Stars(
            cell[rows],
            np.asarray(weighted.log_w)[: len(rows)] + np.log(n),
            {
                "component": np.full(len(rows), i),
                "x": np.asarray(weighted.x)[: len(rows)],
                "v": np.asarray(weighted.v)[: len(rows)],
                "J": np.asarray(weighted.J)[: len(rows)],
                "s": np.asarray(nodes.s)[rows],
                "M": np.asarray(nodes.M)[rows],
            },
            {k: np.asarray(v)[rows] for k, v in nodes.observed.items() if k not in ("mu_0", "mu_90")},
        )
        return stars.take(np.isfinite(stars.log_w))


def _power_of_four(n: int) -> int:
    """From 4096 on: few shapes, so that little is compiled anew."""
    return 4 ** max(6, ((n - 1).bit_length() + 1) // 2)


def _filled(nodes: SurveyNodes, listed: np.ndarray) -> SurveyNodes:
    """The listed nodes, and copies of them up to a power of four."""
    rows = np.flatnonzero(listed)
    at = np.resize(rows if len(rows) else [0], _power_of_four(len(rows)))
    arrays = {
        name: getattr(nodes, name)[at]
        for name in SurveyNodes.__dataclass_fields__
        if name not in ("observed", "names", "sizes")
    }
    return SurveyNodes(**arrays, observed={}, names=nodes.names, sizes=(len(at),))


class _Draw(NamedTuple):
    stars: _Stars
    counts: tuple[int, int, int]
    largest: np.ndarray


class _Process:
    """A Poisson process of stars in the survey, under an envelope of the weights in every cell.

    Cells are of sky and distance, and of the Gaussian that a velocity is drawn from: the broadest, which
    finds what the others miss, has the largest weights, but few of the proposals.

    In a cell that the proposal draws with a share q, and whose envelope is C, an exposure E means a Poisson
    number of proposals of mean E q C, of which w / C are kept: a process of density E w q, whatever C. Where
    a weight exceeds C, C is raised and the cell's stars are drawn anew, for the whole exposure so far.
    """

    def __init__(self, rng, engine: _Engine, i: int):
        self.rng, self.engine, self.i = rng, engine, i
        self.x64 = bool(jax.config.read("jax_enable_x64"))
        self.q = engine.proposals[i].cells()
        cells = len(self.q)
        found = engine.propose(rng, i, rng.choice(cells, _PILOT, p=self.q / self.q.sum()))
        if not len(found.log_w):
            name = engine.galaxy.names[i]
            raise ValueError(f"component {name!r} has no star in the survey's volume: f(J) vanishes there")
        self.largest = np.full(cells, -np.inf)
        np.maximum.at(self.largest, found.cell, found.log_w)
        seen = np.isfinite(self.largest)
        # Where no star of the pilot was, it will be found out.
        self.envelope = np.where(seen, self.largest, self.largest[seen].min()) + np.log(_HEADROOM)
        self.kept: list[_Stars] = []
        self.exposure = 0.0
        self.proposed = self.observed = self.raised = 0

    def rate(self) -> float:
        """Proposals for an exposure of 1."""
        return float(self.q @ np.exp(self.envelope))

    def expose(self, exposure: float) -> None:
        """Add the stars of a further exposure."""
        self.exposure += exposure
        cells = np.ones(len(self.q), bool)
        while cells.any():
            over = self._draw(exposure, cells)
            self.envelope[over] = self.largest[over] + np.log(_HEADROOM)
            self.raised += int(over.sum())
            if over.any():
                self.kept = [part.take(~over[part.cell]) for part in self.kept]
            exposure, cells = self.exposure, over

    def _draw(self, exposure: float, cells: np.ndarray) -> np.ndarray:
        """Stars in some cells; returns the cells where a weight exceeded its envelope."""
        mean = np.where(cells, exposure * self.q * np.exp(self.envelope), 0.0)
        at = np.repeat(np.arange(len(self.q)), self.rng.poisson(mean))
        # Pieces alike: the survey lists as many of each.
        self.rng.shuffle(at)
        parts = [at[start : start + _AT_ONCE] for start in range(0, len(at), _AT_ONCE)]
        with ThreadPoolExecutor(_WORKERS) as pool:
            for kept, observed, largest in pool.map(self._piece, self.rng.spawn(len(parts)), parts):
                self.kept.append(kept)
                self.observed += observed
                self.largest = np.maximum(self.largest, largest)
        self.proposed += len(at)
        return self.largest > self.envelope

    def _piece(self, rng, at: np.ndarray) -> tuple[_Stars, int, np.ndarray]:
        """Of stars proposed in these cells those kept, how many the survey lists, and largest weights."""
        # A thread has settings of its own.
        with jax.enable_x64(self.x64):
            stars = self.engine.propose(rng, self.i, at)
        largest = np.full(len(self.q), -np.inf)
        np.maximum.at(largest, stars.cell, stars.log_w)
        keep = np.log(rng.random(len(stars.cell))) < stars.log_w - self.envelope[stars.cell]
        return stars.take(keep), len(stars.cell), largest

    def drawn(self) -> int:
        return sum(len(part.cell) for part in self.kept)


def _reject(rng, engine: _Engine, n: int, batch: int, progress: bool) -> _Draw:
    """n stars, of all components together, from processes of one exposure."""
    processes = [_Process(rng, engine, i) for i in range(len(engine.galaxy.names))]
    drawn = batches = 0
    proposals = batch
    with bar_of_draws(progress) as bar:
        task = bar.add_task("stars of the survey", total=n)
        while drawn < n:
            exposure = proposals / sum(process.rate() for process in processes)
            for process in processes:
                process.expose(exposure)
            drawn, batches = sum(process.drawn() for process in processes), batches + 1
            # What is missing, and a little more, at the rate so far.
            rate = sum(process.exposure * process.rate() for process in processes) / max(drawn, 1)
            proposals = np.clip(1.02 * rate * (n - drawn), batch, max(batch, _PIECES * _AT_ONCE))
            bar.update(task, completed=min(drawn, n))
            if batches > _MAX_BATCHES:
                raise ValueError(f"only {drawn} of {n} stars accepted in {batches:,} batches of {batch:,}")
    parts = [part for process in processes for part in process.kept]
    stars = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    # In no order: not by component.
    chosen = rng.permutation(drawn)[:n]
    proposed, observed, raised = (
        sum(getattr(p, k) for p in processes) for k in ("proposed", "observed", "raised")
    )
    largest = np.array([np.exp(np.max(p.largest - p.envelope)) for p in processes])
    return _Draw(stars.take(chosen), (proposed, observed, raised), largest)


def _columns(survey: Survey, observed) -> dict[str, np.ndarray]:
    """A catalogue's columns: what was observed, under the names that the survey's cuts use, too."""
    columns = dict(observed) | {"mu_lb_corr": np.zeros(len(observed["l"]))}
    columns[survey.band] = columns["V"]
    for cut in survey.selection:
        columns[getattr(cut, "name", "colour")] = columns["colour"]
    return columns


def _scatter(rng, survey: Survey, v_c0, outliers, truth, columns) -> None:
    """Give a fraction of the stars, in place, the velocities of the outlier component.

    They keep their places and magnitudes: the outliers' density is that of all stars, times an isotropic
    Gaussian of dispersion `outliers.sigma` about the Galaxy's rest frame.
    """
    (chosen,) = np.nonzero(rng.random(len(truth["s"])) < float(outliers.fraction))
    u = float(outliers.sigma) * rng.standard_normal((len(chosen), 3))
    noisy = {name: columns[name] for name in ("mu_l", "mu_b", "v_los")}
    batch = min(_PILOT, _power_of_four(len(chosen)))
    for start in range(0, len(chosen), batch):
        rows = np.minimum(np.arange(start, start + batch), len(chosen) - 1)
        stars = chosen[rows]
        l, b, s = columns["l"][stars], columns["b"][stars], truth["s"][stars]
        v, new = (np.asarray(a) for a in moving(survey, v_c0, l, b, s, u[rows]))
        was = np.asarray(_motions(survey, v_c0, truth["x"][stars], truth["v"][stars]))
        # The noise of each star stays as drawn; assigning a repeated row twice does no harm.
        shift = new - was
        now = {name: noisy[name][stars] + shift[:, i] for i, name in enumerate(noisy)}
        for name, values in now.items():
            columns[name] = columns[name].copy()
            columns[name][stars] = values
        truth["v"][stars] = v
    truth["component"][chosen] = -1
    truth["J"][chosen] = np.nan


@eqx.filter_jit
def _motions(survey: Survey, v_c0, x, v):
    """Noiseless proper motions and line-of-sight velocities."""

    def one(x, v):
        seen = surveys.observe(survey.sun, v_c0, x, v)
        return jnp.stack([seen.mu_l, seen.mu_b, seen.v_los])

    return jax.vmap(one)(x, v)


def predict(
    key,
    galaxy,
    survey: Survey,
    n: int,
    *,
    finder: FinderLike = "StaeckelFudge",
    outliers=None,
    missing_v_los: float = 0.0,
    colour_error: float = 0.02,
    batch: int = 32_768,
    progress: bool = False,
) -> Mock:
    """Draw n observed stars from the model.

    Stars are proposed over the sky, the distances and magnitudes that the survey can see, and from
    velocities adapted to each component; observed with the survey's errors, cut by its cuts on observed
    columns, and accepted with probability f(J(x, v)) p(M, colour) / (envelope x proposal density).

    Parameters
    ----------
    key : JAX random key
    galaxy : model.Galaxy
    survey : survey.Survey
        Needs a faint limit. Without an error of parallax or distance modulus the catalogue has no distances.
    n : int
        Number of stars in the catalogue.
    finder : str or callable
        Action finder; use the one of the fit.
    outliers : model.Outliers, optional
        Replaces the velocities of a fraction of the stars.
    missing_v_los : float
        Share of stars, drawn at random, that have no line-of-sight velocity.
    colour_error : float, mag
        Of the observed colours, where the populations know theirs.
    batch : int
        Proposals at first, and at least; later ones are pieces of 65,536, two at a time.
    progress : bool
        Show a bar.

    Returns
    -------
    Mock

    Notes
    -----
    Exact but for weights above all that were met: in every cell (of sky, distance, and the Gaussian of the
    proposal that a velocity is from) the envelope starts at 1.4 times the largest of the pilot's weights, and
    is raised with every larger one, so what is missed has a share of the stars below about 1/n.

    Raises
    ------
    ValueError
        If n is not positive, the survey has no faint limit, or no star passes.
    """
    if n < 1:
        raise ValueError(f"predict(n={n}): n must be at least 1")
    if not 0.0 <= missing_v_los <= 1.0:
        raise ValueError(f"predict(missing_v_los={missing_v_los}): must lie between 0 and 1")
    of_pilot, of_draw = host_seeds(key)
    rng = np.random.default_rng(of_draw)
    derived = _derive(galaxy, survey, finder)
    proposals = pilot(galaxy, survey, of_pilot, derived, colour_error, galaxy.names)
    engine = _Engine(with_tables(galaxy), survey, derived, proposals, colour_error)
    draw = _reject(rng, engine, n, batch, progress)
    truth = dict(draw.stars.truth)
    columns = _columns(survey, draw.stars.columns)
    if outliers is not None:
        _scatter(rng, survey, derived.v_c0, outliers, truth, columns)
    missing = rng.random(n) < missing_v_los
    columns["v_los"] = np.where(missing, np.nan, columns["v_los"])
    columns["v_los_error"] = np.where(missing, np.nan, columns["v_los_error"])
    largest = {name: float(w) for name, w in zip(galaxy.names, draw.largest, strict=True)}
    proposed, observed, raised = draw.counts
    return Mock(columns, truth, galaxy.names, MockReport(proposed, observed, n, raised, largest))
