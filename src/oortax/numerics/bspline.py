"""B-splines on uniform knots, of one variable and of two: smooth tables that are cheap to read."""

import functools
from functools import partial
from math import comb, factorial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from oortax.types import Scalar


@functools.cache
def pieces(degree: int, order: int = 0) -> np.ndarray:
    """Coefficients of the degree + 1 B-splines that overlap one cell, or of their derivatives, lowest first.

    Row k is the piece that B(t + degree - k) has on 0 <= t < 1, from
    B(x) = sum_j (-1)^j C(p + 1, j) (x - j)_+^p / p!.
    """
    rows = np.zeros((degree + 1, degree + 1))
    for k in range(degree + 1):
        shift = degree - k
        for j in range(shift + 1):
            sign = (-1) ** j * comb(degree + 1, j) / factorial(degree)
            for power in range(degree + 1):
                rows[k, power] += sign * comb(degree, power) * float(shift - j) ** (degree - power)
    return np.polynomial.polynomial.polyder(rows, order, axis=1)


def basis(degree: int, order: int, t: Scalar) -> list[Scalar]:
    """Derivatives of the given order of the degree + 1 B-splines of a cell at t in [0, 1]."""
    values = []
    for piece in pieces(degree, order):
        total = jnp.full_like(t, piece[-1])
        for coefficient in piece[-2::-1].tolist():
            total = total * t + coefficient
        values.append(total)
    return values


@functools.cache
def interpolation_matrix(n: int, degree: int) -> np.ndarray:
    """The matrix from values at n even knots to the n + degree - 1 coefficients of the spline through them.

    Not a knot: the highest derivative is continuous at the (degree - 1)/2 knots next to each end.
    """
    size, extra = n + degree - 1, (degree - 1) // 2
    if n < degree + 1:
        raise ValueError(f"a spline of degree {degree} needs at least {degree + 1} knots, got {n}")
    at_knot = pieces(degree)[:, 0]
    system = np.zeros((size, size))
    for i in range(n):
        system[i, i : i + degree] = at_knot[:degree]
    jump = [(-1.0) ** j * comb(degree + 1, j) for j in range(degree + 2)]
    for side in range(extra):
        system[n + side, side : side + degree + 2] = jump
        system[n + extra + side, size - side - degree - 2 : size - side] = jump
    return np.linalg.inv(system)[:, :n]


def _cell(table_size: int, degree: int, u: Scalar):
    """The cell that u lies in, and where in it."""
    i = jnp.clip(jnp.floor(u), 0.0, table_size - degree - 1.0)
    return i.astype(jnp.int32), u - i


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def surface(degree: int, orders: tuple[int, int], table: Float[Array, "m n"], u: Scalar, v: Scalar) -> Scalar:
    """A tensor-product spline of two variables, or one of its partial derivatives, at one point.

    Parameters
    ----------
    degree : of the splines in both variables (odd)
    orders : orders of the derivative in u and v
    table : shape (m, n), coefficients; cell i holds i <= u < i + 1 and reads rows i to i + degree
    u, v : 0 <= u <= m - degree, 0 <= v <= n - degree

    Continuous derivatives up to degree - 1; partial derivatives in u and v are those of the spline, read
    from the same coefficients.
    """
    i, s = _cell(table.shape[0], degree, u)
    j, t = _cell(table.shape[1], degree, v)
    across = basis(degree, orders[1], t)
    # Single reads of a flat table, which compile to loads; blocks of a table compile to copies.
    flat, start = table.reshape(-1), i * table.shape[1] + j
    total = jnp.zeros_like(s)
    for k, weight in enumerate(basis(degree, orders[0], s)):
        row = jnp.zeros_like(s)
        for l, other in enumerate(across):
            offset = k * table.shape[1] + l
            row = row + other * flat.at[start + offset].get(mode="promise_in_bounds")
        total = total + weight * row
    return total


def _surface_jvp(degree, orders, primals, tangents):
    table, u, v = primals
    dtable, du, dv = tangents
    with_u, with_v = not isinstance(du, SymbolicZero), not isinstance(dv, SymbolicZero)
    if with_u and with_v:
        value, by_u, by_v = _with_slopes(degree, orders, table, u, v)
        change = by_u * du + by_v * dv
    else:
        value, change = surface(degree, orders, table, u, v), jnp.zeros_like(u)
        if with_u:
            change = change + surface(degree, (orders[0] + 1, orders[1]), table, u, v) * du
        if with_v:
            change = change + surface(degree, (orders[0], orders[1] + 1), table, u, v) * dv
    if not isinstance(dtable, SymbolicZero):
        change = change + _block(degree, orders, dtable, u, v)[0, 0]
    return value, change


surface.defjvp(_surface_jvp, symbolic_zeros=True)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _with_slopes(degree: int, orders: tuple[int, int], table, u, v) -> tuple[Scalar, Scalar, Scalar]:
    """A surface and its slopes in u and v, for which its coefficients are read once."""
    found = _block(degree, orders, table, u, v, 1)
    return found[0, 0], found[1, 0], found[0, 1]


def _slopes_jvp(degree, orders, primals, tangents):
    table, u, v = primals
    dtable, du, dv = tangents
    at = _block(degree, orders, table, u, v, 2)
    change = [jnp.zeros_like(u)] * 3
    if not isinstance(du, SymbolicZero):
        change = [c + slope * du for c, slope in zip(change, (at[1, 0], at[2, 0], at[1, 1]), strict=True)]
    if not isinstance(dv, SymbolicZero):
        change = [c + slope * dv for c, slope in zip(change, (at[0, 1], at[1, 1], at[0, 2]), strict=True)]
    if not isinstance(dtable, SymbolicZero):
        by_table = _block(degree, orders, dtable, u, v, 1)
        by_table = by_table[0, 0], by_table[1, 0], by_table[0, 1]
        change = [c + part for c, part in zip(change, by_table, strict=True)]
    return (at[0, 0], at[1, 0], at[0, 1]), tuple(change)


_with_slopes.defjvp(_slopes_jvp, symbolic_zeros=True)


def _block(degree: int, orders: tuple[int, int], table, u, v, more: int = 0):
    """The same sum over a block of the table, and those with up to so many more derivatives in u and v.

    Reverse mode adds one block per point.
    """
    i, s = _cell(table.shape[0], degree, u)
    j, t = _cell(table.shape[1], degree, v)
    block = lax.dynamic_slice(table, (i, j), (degree + 1, degree + 1))
    down, across = (
        jnp.stack([jnp.stack(basis(degree, order + k, at)) for k in range(more + 1)])
        for order, at in zip(orders, (s, t), strict=True)
    )
    return down @ block @ across.T


def solid(degree: int, table: Float[Array, "l m n"], where: Float[Array, "3"]) -> Scalar:
    """A tensor-product spline of three variables in [0, 1] at one point; coefficients (l, m, n).

    Along an axis of n coefficients lie n - degree equal cells. Differentiable in table and point.

    >>> round(float(solid(3, jnp.ones((4, 5, 6)), jnp.array([0.2, 0.5, 1.0]))), 9)
    1.0
    """
    start, weights = jnp.zeros((), jnp.int32), []
    for size, stride, u in zip(table.shape, _strides(table.shape), where, strict=True):
        i, at = _cell(size, degree, u * (size - degree))
        start = start + i * stride
        weights.append(jnp.stack(basis(degree, 0, at)))
    block = (
        table.reshape(-1).at[start + jnp.asarray(offsets(table.shape, degree))].get(mode="promise_in_bounds")
    )
    return jnp.einsum("abc,a,b,c->", block, *weights)


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1] * shape[2], shape[2], 1


@functools.cache
def offsets(shape: tuple[int, int, int], degree: int) -> np.ndarray:
    """Where in a flat table of three axes the coefficients of a cell are, counted from the first."""
    along = np.arange(degree + 1)
    a, b, _ = _strides(shape)
    return a * along[:, None, None] + b * along[:, None] + along
