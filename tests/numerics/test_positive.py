"""Positive definite systems: solutions, derivatives, and batches that leave the pool of threads alone."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax.numerics.positive import cholesky, solve


@pytest.fixture(scope="module")
def systems():
    """16 systems of 45 unknowns: the work that XLA gives to several threads."""
    half = np.random.default_rng(0).normal(size=(16, 45, 45))
    return jnp.asarray(half @ half.transpose(0, 2, 1) + 45.0 * np.eye(45)), jnp.asarray(half[:, :, :3])


def _solved(matrix, right):
    return solve(matrix, right, cholesky(matrix))


def test_solutions(systems):
    matrix, right = systems
    expected = np.linalg.solve(matrix, right)
    np.testing.assert_allclose(jax.vmap(_solved)(matrix, right), expected, rtol=0.0, atol=1e-15)
    np.testing.assert_allclose(
        jax.vmap(_solved)(matrix, right[..., 0]), expected[..., 0], rtol=0.0, atol=1e-15
    )
    one_matrix = jax.vmap(_solved, (None, 0))(matrix[0], right)
    np.testing.assert_allclose(one_matrix, np.linalg.solve(matrix[0], right), rtol=0.0, atol=1e-15)
    twice = jax.vmap(jax.vmap(_solved))(matrix.reshape(4, 4, 45, 45), right.reshape(4, 4, 45, 3))
    np.testing.assert_allclose(twice.reshape(16, 45, 3), expected, rtol=0.0, atol=1e-15)


def test_not_positive_definite_is_nan():
    assert jnp.all(jnp.isnan(_solved(jnp.diag(jnp.array([1.0, -1.0])), jnp.ones(2))))


def test_derivatives_are_those_of_finite_differences(systems):
    matrix, right = (a[:2] for a in systems)
    way = matrix @ matrix / 45.0  # symmetric, as matrices here are

    def total(s):
        return jnp.sum(jnp.sin(10.0 * jax.vmap(_solved)(matrix + s * way, (1.0 + s) * right)))

    step = 1e-5
    difference = (total(step) - total(-step)) / (2.0 * step)
    assert abs(difference) > 0.1
    for derivative in (jax.grad(total)(0.0), jax.jvp(total, (0.0,), (1.0,))[1]):
        # Rounding of sums of order 10 over the step.
        assert derivative == pytest.approx(float(difference), rel=1e-7)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about CPUs")
def test_no_batch_waits_for_the_pool_of_threads(systems):
    """LAPACK is called for a matrix at a time; XLA's own batch of factors is what must not appear."""

    def lapack(program):
        text = jax.jit(jax.grad(lambda *a: jnp.sum(jnp.sin(program(*a))))).lower(*systems).compile().as_text()
        calls = [line for line in text.splitlines() if "lapack_" in line]
        batched = [line for line in calls if re.search(r"f64\[\d+,\d+,\d+\]", line.split("custom-call")[0])]
        return len(calls), len(batched)

    calls, batched = lapack(jax.vmap(_solved))
    assert calls > 0 and batched == 0
    assert lapack(lambda A, b: jax.vmap(jnp.linalg.cholesky)(A))[1] > 0
