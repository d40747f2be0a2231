"""Nodes of the sky for footprints of any shape: a spiral of equal areas, of which they keep a part."""

from collections.abc import Callable

import numpy as np

_GOLDEN = np.pi * (3.0 - np.sqrt(5.0))
_MOST = 2**21


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

    The sum of sky x area approximates the footprint's area. Fewer than n are found only in footprints of
    less than n / 2e6 of the cap. ValueError if there are none.
    """
    axis, radius = (np.array([0.0, 0.0, 1.0]), np.pi) if cap is None else cap
    size = n
    while True:
        l, b, area = spiral(axis, radius, size)
        seen = np.concatenate(
            [np.asarray(sky(l[i : i + 8192], b[i : i + 8192])) > 0.0 for i in range(0, size, 8192)]
        )
        if seen.sum() >= n or size >= _MOST:
            break
        size = min(_MOST, int(1.1 * size * n / max(seen.sum(), 0.05 * n)) + 1)
    if not seen.any():
        raise ValueError(
            "the survey sees no part of the sky: its cuts on direction exclude each other; check their "
            "frames and that angles are in deg"
        )
    return l[seen], b[seen], np.full(int(seen.sum()), area)
