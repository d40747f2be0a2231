"""Weighted means of rows of a table: what interpolation in cells reads, for many points at once.

Two primitives of JAX, each the other's transpose in the weights:

    mean: out_n = sum_k w_nk table[rows[c_n, k]],        dot: out_nk = table[rows[c_n, k]] . by_n

`vmap` only makes them longer, so that whatever batches or derivatives are asked for, and in whatever order,
all points are sorted by their cells at once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Int

# Points that share one reading of their cell's rows.
_BLOCK = 16


def mean_of_rows(
    table: Float[Array, "t w"], rows: Int[Array, "c k"], cell: Int[Array, ""], weights: Float[Array, " k"]
) -> Float[Array, " w"]:
    """sum_k weights_k table[rows[cell, k]].

    A batch is sorted by cells: the rows of each are read once for a block of points, which are then one
    product of matrices. Read point by point, rows of some hundred numbers take most of the time of
    whatever is done with them. Differentiable in the table and in the weights, in both modes.

    >>> table, rows = jnp.arange(12.0).reshape(4, 3), jnp.array([[0, 1], [2, 3]])
    >>> weights = jnp.array([[0.5, 0.5], [1.0, 0.0]])
    >>> jax.vmap(mean_of_rows, (None, None, 0, 0))(table, rows, jnp.array([0, 1]), weights)
    Array([[1.5, 2.5, 3.5],
           [6. , 7. , 8. ]], dtype=float64)
    """
    return _mean.bind(table, rows, cell[None], weights[None])[0]


def _plain_mean(table, rows, cell, weights):
    return jnp.einsum("nk,nkw->nw", weights, table[rows[cell]])


def _plain_dot(table, rows, cell, by):
    return jnp.einsum("nw,nkw->nk", by, table[rows[cell]])


class _Blocks(NamedTuple):
    """Points of a cell side by side, in blocks that hold points of one cell only.

    place : (n,) of each point among those of all blocks; star : the point at each place, n for none;
    cell : of each block; filled : the number of blocks with points
    """

    place: Int[Array, " n"]
    star: Int[Array, " places"]
    cell: Int[Array, " blocks"]
    filled: Int[Array, ""]

    @classmethod
    def of(cls, cell: Int[Array, " n"], cells: int) -> "_Blocks":
        """The blocks of points in these cells."""
        n = len(cell)
        order = jnp.argsort(cell)
        count = jnp.zeros(cells, jnp.int32).at[cell].add(1)
        blocks = (count + _BLOCK - 1) // _BLOCK
        first = jnp.cumsum(blocks) - blocks
        before = jnp.cumsum(count) - count
        in_order = cell[order]
        place = _BLOCK * first[in_order] + jnp.arange(n, dtype=jnp.int32) - before[in_order]
        most = n // _BLOCK + min(cells, n)
        star = jnp.full(_BLOCK * most, n, jnp.int32).at[place].set(order.astype(jnp.int32))
        cell_of = jnp.zeros(most, jnp.int32).at[place // _BLOCK].set(in_order.astype(jnp.int32))
        return cls(jnp.zeros(n, jnp.int32).at[order].set(place), star, cell_of, jnp.sum(blocks))


def _by_cells(plain, product, width):
    """A function of points that takes a block of them, and one cell's rows, at a time."""

    def computed(table, rows, cell, of_points):
        if len(cell) < 2 * _BLOCK:
            return plain(table, rows, cell, of_points)
        blocks = _Blocks.of(cell, len(rows))
        padded = jnp.concatenate([of_points, jnp.zeros((1, of_points.shape[1]), of_points.dtype)])

        def block(k, out):
            # A product of matrices is fast only where it is not fused with what reads the rows.
            slab = lax.optimization_barrier(table[rows[blocks.cell[k]]])
            mine = lax.optimization_barrier(padded[lax.dynamic_slice(blocks.star, (_BLOCK * k,), (_BLOCK,))])
            return lax.dynamic_update_slice(out, product(mine, slab), (_BLOCK * k, 0))

        out = jnp.zeros((len(blocks.star), width(table, rows)), jnp.result_type(table, of_points))
        return lax.fori_loop(0, blocks.filled, block, out)[blocks.place]

    return computed


def _primitive(name: str, plain, product, width) -> Primitive:
    """Of (table, rows, cell, what each point brings): bilinear in the first and the last."""
    primitive, computed = Primitive(name), jax.jit(_by_cells(plain, product, width))
    primitive.def_impl(computed)
    primitive.def_abstract_eval(
        lambda table, rows, cell, of_points: ShapedArray(
            (cell.shape[0], width(table, rows)), jnp.result_type(table.dtype, of_points.dtype)
        )
    )
    mlir.register_lowering(primitive, mlir.lower_fun(computed, multiple_results=False))

    def batched(args, axes):
        size = next(a.shape[axis] for a, axis in zip(args, axes, strict=True) if axis is not None)
        front = [a if axis is None else jnp.moveaxis(a, axis, 0) for a, axis in zip(args, axes, strict=True)]
        if axes[0] is not None or axes[1] is not None:
            mapped = [None if axis is None else 0 for axis in axes]
            return jax.vmap(plain, mapped)(*front), 0
        cell, of_points = (
            jnp.broadcast_to(a, (size, *a.shape)) if axis is None else a
            for a, axis in zip(front[2:], axes[2:], strict=True)
        )
        flat = (a.reshape(-1, *a.shape[2:]) for a in (cell, of_points))
        out = primitive.bind(*front[:2], *flat)
        return out.reshape(size, -1, out.shape[-1]), 0

    batching.primitive_batchers[primitive] = batched
    return primitive


_mean = _primitive(
    "mean_of_rows", _plain_mean, lambda mine, slab: mine @ slab, lambda table, rows: table.shape[1]
)
_dot = _primitive(
    "dot_with_rows", _plain_dot, lambda mine, slab: mine @ slab.T, lambda table, rows: rows.shape[1]
)


def _moved(primitive):
    def jvp(primals, tangents):
        table, rows, cell, of_points = primals
        out, moved = primitive.bind(*primals), None
        if not isinstance(tangents[0], ad.Zero):
            moved = primitive.bind(tangents[0], rows, cell, of_points)
        if not isinstance(tangents[3], ad.Zero):
            by_points = primitive.bind(table, rows, cell, tangents[3])
            moved = by_points if moved is None else moved + by_points
        return out, jnp.zeros_like(out) if moved is None else moved

    return jvp


def _summed(rows, cell, table, weights, by):
    """What flows back to the table."""
    back = weights[:, :, None] * by[:, None, :]
    return jnp.zeros(table.aval.shape, back.dtype).at[rows[cell]].add(back)


def _transposed_mean(by, table, rows, cell, weights):
    if ad.is_undefined_primal(table):
        return _summed(rows, cell, table, weights, by), None, None, None
    return None, None, None, _dot.bind(table, rows, cell, by)


def _transposed_dot(by, table, rows, cell, of_points):
    if ad.is_undefined_primal(table):
        return _summed(rows, cell, table, by, of_points), None, None, None
    return None, None, None, _mean.bind(table, rows, cell, by)


for _p, _transposed in ((_mean, _transposed_mean), (_dot, _transposed_dot)):
    ad.primitive_jvps[_p] = _moved(_p)
    ad.primitive_transposes[_p] = _transposed
