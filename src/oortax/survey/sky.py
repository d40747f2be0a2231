"""Nodes of the sky for footprints of any shape: a spiral of equal areas, of which they keep a part."""

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

_GOLDEN = np.pi * (3.0 - np.sqrt(5.0))
_MOST, _CHUNK, _DENSE = 2**21, 16384, 50


def spiral(axis: np.ndarray, radius: float, n: int) -> tuple[np.ndarray, np.ndarray, float]:
    """n directions (l, b, rad) spread evenly over a cap, and the area (sr) of each.

    Consecutive ones are turned by the golden angle about the cap's axis, at heights that divide the cap into
    n equal areas (Fibonacci lattice; Swinbank & Purser 2006, Q. J. R. Meteorol. Soc. 132, 1769).

    >>> l, b, area = spiral(np.array([0.0, 0.0, 1.0]), np.pi / 2, 100)
    >>> bool(b.min() > 0.0), round(float(area * 100 / (2 * np.pi)), 6)
    (True, 1.0)
    """
    i = np.arange(n) + 0.5
    depth = 2.0 * np.sin(radius / 2) ** 2 * i / n
    across = np.sqrt(depth * (2.0 - depth))
    right = np.cross(np.eye(3)[np.argmin(np.abs(axis))], axis)
    right /= np.linalg.norm(right)
    up = np.cross(axis, right)
    turn = _GOLDEN * i
    x = (1.0 - depth)[:, None] * axis + across[:, None] * (
        np.cos(turn)[:, None] * right + np.sin(turn)[:, None] * up
    )
    l = np.mod(np.arctan2(x[:, 1], x[:, 0]), 2.0 * np.pi)
    b = np.arctan2(x[:, 2], np.hypot(x[:, 0], x[:, 1]))
    return l, b, 4.0 * np.pi * np.sin(radius / 2) ** 2 / n


def footprint_nodes(
    sky: Callable, cap: tuple[np.ndarray, float] | None, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At least n nodes (l, b, rad) where `sky` is above 0, within a cap, and their areas (sr).

    A spiral some 50 times as dense is divided among the n: each node moves to the member next to its cell's
    centre and has the integral of `sky` over the cell, divided by its own, for its area. Cells cut by a
    border then count by what is left of them. Fewer than n are found only in footprints of less than n / 2e6
    of the cap. ValueError if there are none.
    """
    axis, radius = (np.array([0.0, 0.0, 1.0]), np.pi) if cap is None else cap
    seeds = _seen(sky, axis, radius, n)[0]
    dense, value, area = _seen(sky, axis, radius, _DENSE * n)
    cell = cKDTree(seeds).query(dense)[1]
    total = np.bincount(cell, value * area, len(seeds))
    centres = np.stack([np.bincount(cell, value * dense[:, i], len(seeds)) for i in range(3)], axis=1)
    held = total > 0
    centres = centres[held] / np.linalg.norm(centres[held], axis=1)[:, None]
    # Of each cell's members the one nearest to its centre.
    away = np.sum((dense - centres[(np.cumsum(held) - 1)[cell]]) ** 2, axis=1)
    order = np.lexsort((away, cell))
    node = order[np.unique(cell[order], return_index=True)[1]]
    x = dense[node]
    l = np.mod(np.arctan2(x[:, 1], x[:, 0]), 2.0 * np.pi)
    return l, np.arctan2(x[:, 2], np.hypot(x[:, 0], x[:, 1])), total[held] / value[node]


def _seen(sky: Callable, axis, radius: float, n: int) -> tuple[np.ndarray, np.ndarray, float]:
    """At least n unit vectors of a spiral where `sky` is above 0, `sky` there, and the area of each (sr)."""
    size = n
    while True:
        l, b, area = spiral(axis, radius, size)
        value = np.concatenate(
            [np.asarray(sky(l[i : i + _CHUNK], b[i : i + _CHUNK])) for i in range(0, size, _CHUNK)]
        )
        seen = value > 0.0
        if seen.sum() >= n or size >= _MOST:
            break
        size = min(_MOST, int(1.1 * size * n / max(seen.sum(), 0.02 * n)) + 1)
    if not seen.any():
        raise ValueError(
            "the survey sees no part of the sky: its cuts on direction exclude each other; check their "
            "frames and that angles are in deg"
        )
    l, b = l[seen], b[seen]
    n_hat = np.stack([np.cos(b) * np.cos(l), np.cos(b) * np.sin(l), np.sin(b)], axis=-1)
    return n_hat, value[seen], area
