"""Piecewise constant envelopes over a box, refined where they waste most: the host's side of rejection."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# Where a cell is probed along each axis; just inside, so that a corner belongs to its own cell.
_PLACES = np.array([1e-9, 0.5, 1.0 - 1e-9])
# Of what the probes' curvature says they miss, so much is added; and this (of the bound) in any case.
_CURVATURE, _LEAST_PAD, _LARGEST_PAD = 1.5, 0.005, 1.0
# Share of the envelope that is spread over the whole box: where no probe saw anything, draws look, too.
_FLOOR = 1e-3
# A round of refinement cuts the cells that make up this share of the waste.
_WORST_SHARE = 0.7

Probe = Callable[[np.ndarray], np.ndarray]


class Cells(NamedTuple):
    """Boxes that fill a larger one, each with the ln of a bound on a density per unit volume of the box."""

    lower: Float[np.ndarray, "m d"]
    upper: Float[np.ndarray, "m d"]
    log_bound: Float[np.ndarray, " m"]

    @property
    def log_volume(self) -> np.ndarray:
        """ln of the volumes."""
        return np.sum(np.log(self.upper - self.lower), axis=1)


def refined(probe: Probe, lower: np.ndarray, upper: np.ndarray, *, most: int, target: float) -> Cells:
    """Cells bisected until the envelope is used up to a share `target`, as far as `most` cells allow.

    Parameters
    ----------
    probe : points (n, d) -> ln of the density (n,), -inf where it vanishes
    lower, upper : (m, d), the cells to begin with
    most : the largest number of cells
    target : the integral of the density, as the probes see it, over that of the envelope

    A cell's bound is the largest of its 3^d probes and what parabolas through them have above them. For a
    density that falls along each axis it is exact; for others draws correct it (`thinned`).
    """
    logs = _probed(probe, lower, upper)
    while True:
        bound, share, waste = _waste(logs, lower, upper)
        if share > target or len(lower) >= most or not np.any(waste > 0.0):
            break
        order = np.argsort(-waste, kind="stable")
        n = 1 + int(np.searchsorted(np.cumsum(waste[order]), _WORST_SHARE * waste.sum()))
        cut = order[: min(n, most - len(lower))]
        kept = np.setdiff1d(np.arange(len(lower)), cut)
        new = _halves(lower[cut], upper[cut], _axis(logs[cut], bound[cut]))
        lower, upper = (
            np.concatenate([old[kept], part]) for old, part in zip((lower, upper), new, strict=True)
        )
        logs = np.concatenate([logs[kept], _probed(probe, *new)])
    cells = Cells(lower, upper, bound)
    if not np.any(np.isfinite(bound)):
        return cells
    total = np.logaddexp.reduce(bound + cells.log_volume)
    floor = np.log(_FLOOR) + total - np.logaddexp.reduce(cells.log_volume)
    return cells._replace(log_bound=np.maximum(bound, floor))


def grid(edges: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The lower and upper corners (m, d) of all cells between edges along each axis."""
    lower, upper = (
        np.meshgrid(*(e[part] for e in edges), indexing="ij") for part in (slice(-1), slice(1, None))
    )
    return tuple(np.stack(part, axis=-1).reshape(-1, len(edges)) for part in (lower, upper))  # type: ignore[return-value]


def halved(lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All cells bisected along all axes."""
    for axis in range(lower.shape[1]):
        lower, upper = _halves(lower, upper, np.full(len(lower), axis))
    return lower, upper


def _halves(lower, upper, axis):
    rows = np.arange(len(lower))
    middle = 0.5 * (lower + upper)[rows, axis]
    left, right = upper.copy(), lower.copy()
    left[rows, axis], right[rows, axis] = middle, middle
    return np.concatenate([lower, right]), np.concatenate([left, upper])


def _probed(probe: Probe, lower, upper) -> np.ndarray:
    """ln of the density at each cell's lattice, (m, 3, ..., 3)."""
    m, d = lower.shape
    places = np.stack(np.meshgrid(*[_PLACES] * d, indexing="ij"), axis=-1).reshape(1, -1, d)
    points = lower[:, None] + places * (upper - lower)[:, None]
    return probe(points.reshape(-1, d)).reshape(m, *[3] * d)


def _waste(logs, lower, upper) -> tuple[np.ndarray, float, np.ndarray]:
    """Each cell's bound; the share of the envelope that is used; and what each cell wastes, in any unit."""
    m, d = lower.shape
    flat = logs.reshape(m, -1)
    bound = np.max(flat, axis=1) + _pad(logs)
    top = np.max(bound + np.sum(np.log(upper - lower), axis=1))
    if not np.isfinite(top):
        return bound, 1.0, np.zeros(m)
    volume = np.prod(upper - lower, axis=1)
    simpson = np.array([1.0, 4.0, 1.0]) / 6.0
    weights = np.ones(1)
    for _ in range(d):
        weights = np.multiply.outer(weights, simpson).ravel()
    with np.errstate(under="ignore"):
        envelope = volume * np.exp(bound - top)
        used = volume * (np.exp(flat - top) @ weights)
    return bound, float(used.sum() / envelope.sum()), np.maximum(envelope - used, 0.0)


def _pad(logs) -> np.ndarray:
    """What the density may have above the largest probe: by parabolas along the axes."""
    m, d = logs.shape[0], logs.ndim - 1
    pad = np.full(m, _LEAST_PAD)
    for axis in range(d):
        y = np.moveaxis(logs, axis + 1, -1).reshape(m, -1, 3)
        finite = np.isfinite(y).all(axis=-1)
        low, mid, high = np.moveaxis(np.where(finite[..., None], y, 0.0), -1, 0)
        second, first = low - 2.0 * mid + high, 0.5 * (high - low)
        inside = finite & (second < 0.0) & (np.abs(first) < -second)
        peak = mid - first**2 / (2.0 * np.where(inside, second, -1.0))
        pad += _CURVATURE * np.max(np.where(inside, peak - np.max([low, mid, high], axis=0), 0.0), axis=1)
    return np.minimum(pad, _LARGEST_PAD)


def _axis(logs, bound) -> np.ndarray:
    """The axis along which bisecting a cell lowers its envelope most, or, failing that, f varies most."""
    m, d = logs.shape[0], logs.ndim - 1
    gains = np.empty((m, d))
    relative = logs - bound.reshape(m, *[1] * d)
    with np.errstate(under="ignore"):
        values = np.exp(relative)
    for axis in range(d):
        low, mid, high = (np.max(np.take(values, i, axis=axis + 1).reshape(m, -1), axis=1) for i in range(3))
        least = np.min(values, axis=axis + 1).reshape(m, -1)
        most = np.max(values, axis=axis + 1).reshape(m, -1)
        halves = 0.5 * (np.maximum(low, mid) + np.maximum(mid, high))
        gains[:, axis] = np.max([low, mid, high], axis=0) - halves + 0.1 * np.max(most - least, axis=1)
    return np.argmax(gains, axis=1)
