"""Sums over quadrature nodes whose gradient is accumulated on the way."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

# Parameters held in larger arrays than this are differentiated in the ordinary way.
_FEW = 16


def node_sum(term: Callable[..., Any], arguments: Any, *columns: Any) -> Any:
    """sum_i term(arguments, *row_i) over the rows of `columns`; the gradient is summed beside the value.

    Reverse mode of a sum over nodes stores every intermediate of every node, for each point of a batch, and
    reads it back later. A point has few arguments, so this keeps one running partial derivative for each
    of them that is differentiated, and stores nothing.
    The loop lies outside any batch of points, which vectorises better than an inner sum and compiles one
    term. First derivatives only, in forward and reverse mode. All that is traced comes in `arguments`
    (a tree); `columns` are constants.

    >>> float(jax.grad(lambda a: node_sum(lambda a, t: a * a * t, a, jnp.array([1.0, 2.0])))(3.0))
    18.0
    """
    dynamic, static = eqx.partition(arguments, eqx.is_array)

    def loop(step, start):
        return lax.scan(step, start, tuple(jnp.asarray(column) for column in columns))[0]

    def at(dynamic, row):
        return term(eqx.combine(dynamic, static), *row)

    def plain(dynamic):
        return loop(
            lambda total, row: (total + at(dynamic, row), None), jnp.zeros((), dtype=columns[0].dtype)
        )

    total = jax.custom_jvp(plain)

    def rule(primals, tangents):
        leaves, tree = jax.tree.flatten(primals[0])
        # SymbolicZero is a leaf, so that the tangents line up with the leaves.
        moves = jax.tree.leaves(tangents[0], is_leaf=lambda t: isinstance(t, SymbolicZero))
        moving = [not isinstance(move, SymbolicZero) for move in moves]
        few = [m and jnp.size(leaf) <= _FEW for m, leaf in zip(moving, leaves, strict=True)]
        many = [m and not f for m, f in zip(moving, few, strict=True)]

        def with_those(mask, values):
            values = iter(values)
            return tree.unflatten([next(values) if m else leaf for m, leaf in zip(mask, leaves, strict=True)])

        def chosen(mask, items):
            return [item for m, item in zip(mask, items, strict=True) if m]

        def step(sums, row):
            new = jax.value_and_grad(lambda values: at(with_those(few, values), row))(chosen(few, leaves))
            return jax.tree.map(jnp.add, sums, new), None

        zero = jnp.zeros((), dtype=columns[0].dtype)
        value, slopes = loop(step, (zero, [jnp.zeros_like(leaf) for leaf in chosen(few, leaves)]))
        change = jnp.zeros_like(value)
        for slope, move in zip(slopes, chosen(few, moves), strict=True):
            change = change + jnp.sum(slope * move)
        if any(many):
            values, rest = chosen(many, leaves), chosen(many, moves)
            change = change + jax.jvp(lambda values: plain(with_those(many, values)), (values,), (rest,))[1]
        return value, change

    total.defjvp(rule, symbolic_zeros=True)
    return total(dynamic)
