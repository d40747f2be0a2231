"""Exact draws under a piecewise constant envelope, with bounds that are raised when a draw exceeds them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from oortax.df.cells import Cells, Probe, halved, refined

# Proposals made at a time, whatever the batches in which they are evaluated.
_BLOCK = 65_536
# A bound that was exceeded is raised to the excess and so much more, in ln.
_HEADROOM = 0.1
# How often the cells are made finer.
_TRIALS = 3
# More than so many blocks' worth of proposals for one correction: the envelope is no use.
_LARGEST_CORRECTION = 30
# Share of proposals kept, as long as nothing is known; and blocks of which none is before giving up.
_FIRST_GUESS, _PATIENCE = 0.5, 200


class PoorEnvelope(Exception):
    """The density exceeds its bounds by so much that finer cells are needed."""


class Thinned(NamedTuple):
    """Draws and what they cost.

    Attributes
    ----------
    draws : arrays by name, each with n rows
    log_mass, mass_error : ln of the density's integral over the box, and its relative standard error
    proposed, accepted, exceedances : proposals, those accepted (n or more), and those above their bound
    """

    draws: dict[str, np.ndarray]
    log_mass: float
    mass_error: float
    proposed: int
    accepted: int
    exceedances: int


# Points (n, d) in the box -> the ln of the density there, and whatever belongs to the point.
Evaluate = Callable[[np.random.Generator, np.ndarray], tuple[np.ndarray, dict[str, np.ndarray]]]


def host_generator(key) -> np.random.Generator:
    """NumPy's generator, seeded by a JAX key."""
    data = jax.random.key_data(key) if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return np.random.default_rng(np.asarray(data).ravel().tolist())


def bar_of_draws(progress: bool) -> Progress:
    """A bar like that of `fit_tori`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=not progress,
    )


def draws_in_box(
    key,
    evaluate: Evaluate,
    lower: np.ndarray,
    upper: np.ndarray,
    n: int,
    *,
    probe: Probe,
    most: int,
    target: float,
    tolerated: float,
    name: str,
    progress: bool,
) -> Thinned:
    """n draws from a density in a box, with cells refined for it (see `refined`, `thinned`).

    Where the envelope turns out to be no use, one with finer cells to begin with takes its place.
    """
    with bar_of_draws(progress) as bar:
        task = bar.add_task(name, total=n)
        for trial in range(_TRIALS):
            cells = refined(probe, lower, upper, most=most * 2**trial, target=target)
            if not np.any(np.isfinite(cells.log_bound)):
                raise ValueError("f vanishes everywhere in the range: there is nothing to draw")
            try:
                rng = host_generator(key)
                return thinned(rng, cells, evaluate, n, tolerated, lambda new: bar.advance(task, new))
            except PoorEnvelope:
                lower, upper = halved(lower, upper)
                bar.reset(task)
    raise ValueError(
        "f has peaks too narrow for the envelope's cells: check its widths, or give a narrower range"
    )


def thinned(
    rng: np.random.Generator,
    cells: Cells,
    evaluate: Evaluate,
    n: int,
    tolerated: float,
    advance: Callable[[int], None],
) -> Thinned:
    """n independent draws from a density below the cells' bounds.

    Proposals are a Poisson process, uniform in the volume under the envelope; those below the density are
    kept. One above its cell's bound raises the bound, and the volume between the old bound and the new is
    filled with as many proposals per volume as the rest: what was drawn before stays valid, and the draws are
    as if the bound had always been the higher one. The order is random.

    The share of proposals above their bounds, times what f has above them, is how much was missed before.
    Where it is more than `tolerated`, or filling up would take far more proposals than the draw, this raises
    PoorEnvelope.
    """
    top = float(np.max(cells.log_bound + cells.log_volume))
    state = _State(rng, cells, evaluate, np.exp(cells.log_volume), top)
    idle = 0
    while state.accepted < n:
        missing = n - state.accepted
        efficiency = state.accepted / state.proposed if state.accepted else _FIRST_GUESS
        expected = (missing + 3.0 * np.sqrt(missing) + 10.0) / efficiency
        before = state.accepted
        state.block(min(expected, _BLOCK) / state.envelope())
        advance(min(state.accepted, n) - min(before, n))
        idle = idle + 1 if state.accepted == before else 0
        if idle > _PATIENCE:
            raise ValueError(f"none of {state.proposed:,} proposals was accepted: the density is too peaked")
    if state.exceedances > tolerated * state.proposed + 10:
        raise PoorEnvelope
    chosen = rng.permutation(state.accepted)[:n]
    draws = {name: np.concatenate([part[name] for part in state.kept])[chosen] for name in state.kept[0]}
    share = state.accepted / state.proposed
    error = np.sqrt((1.0 - share) / (share * state.proposed))
    return Thinned(
        draws, float(np.log(share * state.envelope()) + top), float(error), state.proposed, state.accepted,
        state.exceedances,
    )  # fmt: skip


class _State:
    """A draw under way; volumes are in units of exp(top)."""

    def __init__(self, rng, cells: Cells, evaluate: Evaluate, volume: np.ndarray, top: float):
        self.rng, self.cells, self.evaluate, self.volume, self.top = rng, cells, evaluate, volume, top
        self.log_bound = cells.log_bound - top
        self.rate = 0.0
        self.proposed = self.accepted = self.exceedances = 0
        self.kept: list[dict[str, np.ndarray]] = []

    def envelope(self) -> float:
        """The integral of the envelope."""
        return float(self.volume @ np.exp(self.log_bound))

    def block(self, rate: float) -> None:
        """As many proposals per volume below all bounds, and whatever is missing once they are raised."""
        self.rate += rate
        raised = self._fill(np.zeros_like(self.volume), self.log_bound, rate)
        while raised is not None:
            old, self.log_bound = self.log_bound, raised
            expected = self.rate * float(self.volume @ (np.exp(raised) - np.exp(old)))
            if expected > _LARGEST_CORRECTION * _BLOCK + 3.0 * self.proposed:
                raise PoorEnvelope
            raised = self._fill(np.exp(old), raised, self.rate)

    def _fill(self, lowest: np.ndarray, log_bound: np.ndarray, rate: float) -> np.ndarray | None:
        """Fill the volume between `lowest` and the bounds; new bounds, if a point lies above its own."""
        highest, rng = np.exp(log_bound), self.rng
        counts = rng.poisson(rate * self.volume * (highest - lowest))
        raised, some = log_bound.copy(), False
        for cell in _blocks(np.repeat(np.arange(len(counts)), counts)):
            lower, upper = self.cells.lower[cell], self.cells.upper[cell]
            points = lower + rng.random(lower.shape) * (upper - lower)
            height = lowest[cell] + rng.random(len(cell)) * (highest - lowest)[cell]
            log_density, belongings = self.evaluate(rng, points)
            log_density = log_density - self.top
            with np.errstate(over="ignore", under="ignore"):
                keep = height < np.exp(log_density)
            self.kept.append({name: values[keep] for name, values in belongings.items()})
            self.proposed, self.accepted = self.proposed + len(cell), self.accepted + int(keep.sum())
            above = log_density > log_bound[cell]
            if np.any(above):
                some = True
                self.exceedances += int(above.sum())
                np.maximum.at(raised, cell[above], log_density[above] + _HEADROOM)
        return raised if some else None


def _blocks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[i : i + _BLOCK] for i in range(0, len(rows), _BLOCK)]
