"""Sums over nodes: the accumulated gradient is the ordinary one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax.numerics.node_sum import node_sum

T = np.linspace(0.1, 0.9, 7)


def term(arguments, t):
    a, table, switch = arguments
    return jnp.where(switch, jnp.sin(a[0] * t + a[1]), a[1] * t) + jnp.sum(jnp.cos(table * t))


def plain(arguments):
    return sum(term(arguments, t) for t in T)


def _with(f, switch, tree):
    return f((*tree, switch))


def summed(arguments):
    return node_sum(term, arguments, T)


@pytest.fixture
def arguments():
    # A table of more than a few entries takes the ordinary road.
    return (jnp.array([0.7, 1.3]), jnp.linspace(0.0, 2.0, 40)), jnp.array([True, False, True])


def test_value_gradient_and_forward_mode(arguments):
    (a, table), switch = arguments
    tree, move = ((a, table), (a + 1.0, table - 2.0))
    for which in (True, False):
        old, new = (partial(_with, f, jnp.array(which)) for f in (plain, summed))
        assert float(new(tree)) == pytest.approx(float(old(tree)), rel=1e-14)
        for exact, found in zip(jax.grad(old)(tree), jax.grad(new)(tree), strict=True):
            np.testing.assert_allclose(found, exact, rtol=1e-13, atol=1e-15)
        exact, found = (jax.jvp(f, (tree,), (move,))[1] for f in (old, new))
        assert float(found) == pytest.approx(float(exact), rel=1e-13)


def test_under_vmap_and_jit(arguments):
    (a, table), switch = arguments
    batch = jnp.stack([a, 2.0 * a, 3.0 * a])

    def total(f, batch, table):
        return jnp.sum(jax.vmap(lambda a, s: f((a, table, s)))(batch, switch) ** 2)

    exact = jax.grad(lambda *x: total(plain, *x), (0, 1))(batch, table)
    found = jax.jit(jax.grad(lambda *x: total(summed, *x), (0, 1)))(batch, table)
    for one, other in zip(exact, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12)
        assert np.all(np.isfinite(one)) and np.any(np.abs(one) > 0.1)


def test_only_what_moves_is_differentiated(arguments):
    """A function without a derivative in a fixed argument can be summed: that derivative is not asked for."""
    calls = []

    @jax.custom_jvp
    def fixed(b):
        return b

    fixed.defjvp(lambda primals, tangents: calls.append(1) or (primals[0], tangents[0]))
    slope = jax.grad(lambda a: node_sum(lambda args, t: args[0] * t * fixed(args[1]), (a, jnp.array(2.0)), T))
    assert float(slope(1.5)) == pytest.approx(2.0 * T.sum())
    assert not calls
