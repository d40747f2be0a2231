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
