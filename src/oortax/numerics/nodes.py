"""Weighted means of rows of a table: what interpolation in cells reads, for many points at once."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float, Int

# Points that share one reading of their cell's rows.
_BLOCK = 16


@jax.custom_jvp
def mean_of_rows(
    table: Float[Array, "t w"], rows: Int[Array, "c k"], cell: Int[Array, ""], weights: Float[Array, " k"]
) -> Float[Array, " w"]:
    """sum_k weights_k table[rows[cell, k]].

    A batch is sorted by cells: the rows of each are read once for a block of points, which are then one
    product of matrices. Read point by point, rows of some hundred numbers take most of the time of
    whatever is done with them. Differentiable in the table and in the weights.

    >>> table, rows = jnp.arange(12.0).reshape(4, 3), jnp.array([[0, 1], [2, 3]])
    >>> weights = jnp.array([[0.5, 0.5], [1.0, 0.0]])
    >>> jax.vmap(mean_of_rows, (None, None, 0, 0))(table, rows, jnp.array([0, 1]), weights)
    Array([[1.5, 2.5, 3.5],
           [6. , 7. , 8. ]], dtype=float64)
    """
    return _sorted(table, rows, cell, weights)


@mean_of_rows.defjvp
def _(primals, tangents):
    table, rows, cell, weights = primals
    moved = _plain(tangents[0], rows, cell, weights) + _plain(table, rows, cell, tangents[3])
    return mean_of_rows(*primals), moved


def _plain(table, rows, cell, weights):
    return weights @ table[rows[cell]]


@custom_vmap
def _sorted(table, rows, cell, weights):
    return _plain(table, rows, cell, weights)


@_sorted.def_vmap
def _(axis_size, in_batched, table, rows, cell, weights):
    if in_batched[0] or in_batched[1] or not in_batched[2] or axis_size < 2 * _BLOCK:
        axes = tuple(0 if batched else None for batched in in_batched)
        return jax.vmap(_plain, axes)(table, rows, cell, weights), True
    if not in_batched[3]:
        weights = jnp.broadcast_to(weights, (axis_size, *weights.shape))
    return _by_cells(table, rows, cell, weights), True


def _by_cells(table, rows, cell, weights):
    """Points of a cell side by side, in blocks that hold points of one cell only."""
    n, cells = len(cell), len(rows)
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
    padded = jnp.concatenate([weights, jnp.zeros((1, weights.shape[1]))])

    def block(k, out):
        # A product of matrices is fast only where it is not fused with what reads the rows.
        slab = lax.optimization_barrier(table[rows[cell_of[k]]])
        mine = lax.optimization_barrier(padded[lax.dynamic_slice(star, (_BLOCK * k,), (_BLOCK,))])
        return lax.dynamic_update_slice(out, mine @ slab, (_BLOCK * k, 0))

    out = lax.fori_loop(0, jnp.sum(blocks), block, jnp.zeros((_BLOCK * most, table.shape[1])))
    return out[jnp.zeros(n, jnp.int32).at[order].set(place)]
