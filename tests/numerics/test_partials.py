"""Functions by partial derivatives: the same derivatives as without, of first and second order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax.numerics.partials import all_by_partials, by_partials


def several(given, a, b):
    """Three values of two scalars, given an array, a number and an integer."""
    table, k, power = given
    inner = table @ jnp.stack([a, a * b, jnp.sin(b)])
    return inner * k, jnp.exp(-a * b) * table[0], a**power


GIVEN = (jnp.array([0.3, -1.2, 0.7]), jnp.asarray(1.7), 3)


def test_first_and_second_derivatives_are_those_of_the_function() -> None:
    """Reverse mode in everything, and reverse mode over it; weights make all values count."""
    weights = jnp.array([1.0, -0.4, 2.3])

    def total(f):
        return lambda table, k, a, b: jnp.dot(weights, jnp.stack(f((table, k, 3), a, b)))

    at = (*GIVEN[:2], jnp.asarray(0.8), jnp.asarray(-0.5))
    everything = (0, 1, 2, 3)
    for derivative in (jax.grad, lambda f, of: jax.jacrev(jax.grad(f, of), of), jax.hessian):
        plain = derivative(total(several), everything)(*at)
        by = derivative(total(all_by_partials(several)), everything)(*at)
        # The same sums in another order.
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-13), by, plain)


def test_points_of_fields_are_differentiated_one_by_one() -> None:
    """Under vmap, with what is given shared, and with respect to one scalar only."""
    f = all_by_partials(several)
    a, b = jnp.linspace(0.2, 2.0, 7), jnp.linspace(-1.0, 1.0, 7)

    def mean(f, a, k):
        values = jax.vmap(lambda a, b: f((GIVEN[0], k, 3), a, b))(a, b)
        return sum(jnp.mean(value**2) for value in values)

    for of in (0, 1, (0, 1)):
        by = jax.grad(lambda a, k: mean(f, a, k), of)(a, GIVEN[1])
        plain = jax.grad(lambda a, k: mean(several, a, k), of)(a, GIVEN[1])
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-13), by, plain)


@pytest.mark.parametrize("order", [1, 2])
def test_given_partials_are_used(order: int) -> None:
    """A known partial derivative replaces the one taken forwards, and is differentiated itself."""
    f = by_partials(lambda a, b: a**3 * b, known=(lambda a, b: 3.0 * a * a * b,))
    g, plain = f, lambda a, b: a**3 * b
    for _ in range(order):
        g, plain = jax.grad(g), jax.grad(plain)
    np.testing.assert_allclose(g(1.3, 0.4), plain(1.3, 0.4), rtol=1e-14)
