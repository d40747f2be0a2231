"""Weighted means of rows: many points, sorted by cells, are what each is by itself; derivatives, too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax.numerics.nodes import mean_of_rows

RNG = np.random.default_rng(5)
TABLE = jnp.asarray(RNG.normal(size=(40, 7)))
ROWS = jnp.asarray(RNG.integers(0, 40, (9, 4)))
DIRECTION = jnp.asarray(RNG.normal(size=(40, 7)))


def plain(table, cell, weights):
    return jnp.einsum("nk,nkw->nw", weights, table[ROWS[cell]])


def sorted_by_cells(table, cell, weights):
    return jax.vmap(mean_of_rows, (None, None, 0, 0))(table, ROWS, cell, weights)


# Fewer points than are sorted; all in one cell; full blocks; cells without points.
@pytest.mark.parametrize(("n", "cells"), [(5, 9), (100, 1), (256, 9), (333, 4)])
def test_many_points(n, cells):
    rng = np.random.default_rng(n)
    cell, weights = jnp.asarray(rng.integers(0, cells, n)), jnp.asarray(rng.normal(size=(n, 4)))
    moved = jnp.asarray(rng.normal(size=(n, 4)))
    of_points = jnp.asarray(rng.normal(size=(n, 7)))

    def both_modes(f):
        def of(table, weights):
            return f(table, cell, weights)

        value, tangent = jax.jvp(of, (TABLE, weights), (DIRECTION, moved))
        by_table, by_weights = jax.vjp(of, TABLE, weights)[1](of_points)
        return value, tangent, by_table, by_weights

    for ours, expected in zip(both_modes(sorted_by_cells), both_modes(plain), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)
        assert np.abs(expected).max() > 0.1


def test_derivative_of_a_derivative():
    """What is linear in the weights' change can be transposed: a gradient of a directional derivative."""
    n, rng = 100, np.random.default_rng(7)
    cell, weights = jnp.asarray(rng.integers(0, 9, n)), jnp.asarray(rng.normal(size=(n, 4)))

    def total(f, size):
        def of(weights):
            return jnp.sin(f(TABLE, cell, weights))

        return jnp.sum(jax.jvp(of, (weights,), (size * weights,))[1])

    ours, expected = (
        float(jax.jit(jax.grad(lambda size: total(f, size)))(2.0))  # noqa: B023
        for f in (sorted_by_cells, plain)
    )
    assert ours == pytest.approx(expected, rel=1e-12) and abs(ours) > 1.0


def test_gradient_of_each_point():
    """vmap of a gradient, and of a gradient of a directional derivative: the transpose is batched, too."""
    n, rng = 100, np.random.default_rng(11)
    cell, weights = jnp.asarray(rng.integers(0, 9, n)), jnp.asarray(rng.normal(size=(n, 4)))

    def gradients(f):
        def value(cell, weights, table):
            return jnp.sum(jnp.sin(f(table, cell, weights)))

        def slope(cell, weights, table):
            return jax.jvp(lambda w: value(cell, w, table), (weights,), (weights,))[1]

        return [
            jax.jit(jax.vmap(jax.grad(of, argnums=(1, 2)), (0, 0, None)))(cell, weights, TABLE)
            for of in (value, slope)
        ]

    ours = gradients(lambda table, cell, weights: mean_of_rows(table, ROWS, cell, weights))
    expected = gradients(lambda table, cell, weights: weights @ table[ROWS[cell]])
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
        assert np.abs(b).max() > 0.1


def test_maps_within_maps():
    rng = np.random.default_rng(13)
    cell, weights = jnp.asarray(rng.integers(0, 9, (8, 20))), jnp.asarray(rng.normal(size=(8, 20, 4)))
    twice = jax.vmap(jax.vmap(mean_of_rows, (None, None, 0, 0)), (None, None, 0, 0))
    expected = jax.vmap(plain, (None, 0, 0))(TABLE, cell, weights)
    np.testing.assert_allclose(twice(TABLE, ROWS, cell, weights), expected, rtol=1e-12, atol=1e-12)
    # One cell for all of a batch; tables of their own.
    alone = jax.vmap(mean_of_rows, (None, None, None, 0))(TABLE, ROWS, cell[0, 0], weights[0])
    np.testing.assert_allclose(
        alone, plain(TABLE, jnp.full(20, cell[0, 0]), weights[0]), rtol=1e-12, atol=1e-12
    )
    tables = jnp.stack([TABLE, 2.0 * TABLE])
    both = jax.vmap(sorted_by_cells, (0, None, None))(tables, cell[0], weights[0])
    np.testing.assert_allclose(both[1], 2.0 * expected[0], rtol=1e-12, atol=1e-12)
