"""Cubic splines on uniform grids: twice differentiable, and differentiable in their data.

interpax offers splines on any knots; on a uniform grid the knot search disappears and the slopes are one
constant matrix times the data, which is what makes a table lookup cheap inside a likelihood.
"""

import functools
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@functools.cache
def slope_matrix(n: int) -> np.ndarray:
    """The matrix A with h f'(x_i) = (A f)_i for the not-a-knot cubic spline through n >= 4 points."""
    left = np.zeros((n, n))
    right = np.zeros((n, n))
    for i in range(1, n - 1):
        left[i, i - 1 : i + 2] = 1.0, 4.0, 1.0
        right[i, i - 1], right[i, i + 1] = -3.0, 3.0
    # Not a knot: the third derivative is continuous at the second and the last but one point.
    left[0, :2], right[0, :3] = (2.0, 4.0), (-5.0, 4.0, 1.0)
    left[-1, -2:], right[-1, -3:] = (4.0, 2.0), (-1.0, -4.0, 5.0)
    return np.linalg.solve(left, right)


@final
class UniformSpline(eqx.Module):
    """Cubic spline through values at x_i = x_0 + i h, vector-valued; constant beyond its ends.

    Parameters
    ----------
    x_0, h : scalar
        First knot and spacing (may be traced).
    values : shape (n, k)
        Data; n >= 4.

    Notes
    -----
    Fourth-order accurate in h. Beyond the ends the function keeps its end value.

    >>> grid = jnp.linspace(0.0, 3.0, 40)
    >>> spline = UniformSpline.through(0.0, 3.0, jnp.sin(grid)[:, None])
    >>> bool(abs(spline(1.234)[0] - jnp.sin(1.234)) < 1e-6)
    True
    """

    x_0: Float[Array, ""]
    h: Float[Array, ""]
    table: Float[Array, "n k2"]

    @classmethod
    def through(cls, x_first, x_last, values: Float[Array, "n k"]) -> "UniformSpline":
        """The not-a-knot spline through values on a uniform grid from x_first to x_last."""
        n = values.shape[0]
        if n < 4:
            raise ValueError(f"a cubic spline needs at least 4 points, got {n}")
        slopes = jnp.asarray(slope_matrix(n), dtype=values.dtype) @ values
        x_first = jnp.asarray(x_first, dtype=values.dtype)
        return cls(x_first, (x_last - x_first) / (n - 1), jnp.concatenate([values, slopes], axis=1))

    def __call__(self, x) -> Float[Array, " k"]:
        """The spline at one point x."""
        n, columns = self.table.shape
        k = columns // 2
        t = jnp.clip((x - self.x_0) / self.h, 0.0, n - 1.0)
        i = jnp.clip(jnp.floor(t), 0, n - 2).astype(jnp.int32)
        t = t - i
        low, high = self.table[i], self.table[i + 1]
        s = 1.0 - t
        return (
            s * s * (1.0 + 2.0 * t) * low[:k]
            + t * t * (3.0 - 2.0 * t) * high[:k]
            + t * s * (s * low[k:] - t * high[k:])
        )


def with_slopes(values: Float[Array, "n k"], step: Float[Array, " n"]) -> Float[Array, "n 2k"]:
    """Table for `hermite`: values on knots that are even in some variable t, and their slopes in x.

    `step` is dx/dt times the spacing in t at each knot; the slopes are those of the cubic spline in t.
    """
    slopes = jnp.asarray(slope_matrix(values.shape[0]), dtype=values.dtype) @ values
    return jnp.concatenate([values, slopes / step[:, None]], axis=1)


def hermite(knots: Float[Array, " n"], table: Float[Array, "n k2"], x) -> Float[Array, " k"]:
    """Cubic Hermite interpolation at one point x between increasing, uneven knots; constant beyond.

    The knot is found by comparing x with all of them, which vectorises where a binary search does not.
    """
    n, columns = table.shape
    k = columns // 2
    i = jnp.clip(jnp.sum(x > knots, dtype=jnp.int32) - 1, 0, n - 2)
    h = knots[i + 1] - knots[i]
    t = jnp.clip((x - knots[i]) / h, 0.0, 1.0)
    s = 1.0 - t
    low, high = table[i], table[i + 1]
    return (
        s * s * (1.0 + 2.0 * t) * low[:k]
        + t * t * (3.0 - 2.0 * t) * high[:k]
        + t * s * h * (s * low[k:] - t * high[k:])
    )
