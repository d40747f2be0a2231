"""Nodes of the sky for footprints of any shape: a spiral of equal areas, of which they keep a part."""

from collections.abc import Callable

import numpy as np
from scipy.spatial import KDTree

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
    """Some n nodes (l, b, rad) where `sky` is above 0, within a cap, and their areas (sr).

    They are a spiral's, each with the same area. Where `sky` varies within a node's cell, which a spiral 50
    times as dense finds out, the node moves to the cell's member nearest to the centre of what is seen
    there, and its area times `sky` there is the integral over the cell. Footprints of less than 1e-3 of their
    cap get fewer nodes and coarser borders. ValueError if nothing is seen.
    """
    axis, radius = (np.array([0.0, 0.0, 1.0]), np.pi) if cap is None else cap
    l, b, _ = spiral(axis, radius, 16 * n)
    share = np.count_nonzero(_evaluated(sky, l, b)) / len(l)
    size = int(min(n / max(share, 1e-3), _MOST // 8))
    dense_l, dense_b, dense_area = spiral(axis, radius, min(_DENSE * size, _MOST))
    value = _evaluated(sky, dense_l, dense_b)
    if not value.any():
        raise ValueError(
            "the survey sees no part of the sky: its cuts on direction exclude each other; check their "
            "frames and that angles are in deg"
        )
    l, b, area = spiral(axis, radius, size)
    dense = _vectors(dense_l, dense_b)
    cell = np.asarray(KDTree(_vectors(l, b)).query(dense)[1])
    count, total = np.bincount(cell, minlength=size), np.bincount(cell, value, size)
    own = _evaluated(sky, l, b)
    even = (own > 0) & (np.bincount(cell, np.abs(value - own[cell]), size) <= 1e-12 * count)
    cut = (total > 0) & ~even
    # Of each uneven cell's seen members the one nearest to their mean.
    mean = np.stack([np.bincount(cell, value * x, size) for x in dense.T], axis=1)[cut] / total[cut, None]
    members = np.flatnonzero(cut[cell] & (value > 0))
    away = np.sum((dense[members] - mean[(np.cumsum(cut) - 1)[cell[members]]]) ** 2, axis=1)
    order = members[np.lexsort((away, cell[members]))]
    moved = order[np.unique(cell[order], return_index=True)[1]]
    areas = np.concatenate(
        [np.full(even.sum(), area), area * (total / np.maximum(count, 1))[cut] / value[moved]]
    )
    return np.concatenate([l[even], dense_l[moved]]), np.concatenate([b[even], dense_b[moved]]), areas


def _evaluated(sky: Callable, l: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`sky` in pieces of one size, so that it is compiled once."""
    padded = [np.resize(x, -(-len(l) // _CHUNK) * _CHUNK).reshape(-1, _CHUNK) for x in (l, b)]
    return np.concatenate([np.asarray(sky(*piece)) for piece in zip(*padded, strict=True)])[: len(l)]


def _vectors(l: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(b) * np.cos(l), np.cos(b) * np.sin(l), np.sin(b)], axis=-1)
