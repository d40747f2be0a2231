"""Sine and cosine against NumPy's, their derivatives, and angles brought back."""

import jax
import jax.numpy as jnp
import numpy as np

from oortax.numerics.trigonometry import sin_cos, wrapped

# Multiples of pi/4, where the reduction changes, and their neighbours; tiny and large angles.
X = np.concatenate([
    np.nextafter(np.arange(-9, 10) * np.pi / 4.0, side) for side in (-np.inf, np.inf)
] + [[0.0, 1e-300, 1e-8, -0.0], np.random.default_rng(0).uniform(-1e5, 1e5, 20000)])  # fmt: skip


def test_values():
    sine, cosine = jax.jit(sin_cos)(X)
    np.testing.assert_allclose(sine, np.sin(X), rtol=0.0, atol=2.3e-16)
    np.testing.assert_allclose(cosine, np.cos(X), rtol=0.0, atol=2.3e-16)
    # Small angles keep their digits.
    assert sin_cos(jnp.asarray(1e-300))[0] == 1e-300
    assert np.isnan(sin_cos(jnp.array([np.nan, np.inf, -np.inf]))).all()


def test_derivatives_of_any_order():
    x = jnp.array([-3.0, 0.0, 0.7, 4.0])
    first = jax.vmap(jax.grad(lambda x: sin_cos(x)[0]))
    third = jax.vmap(jax.grad(jax.grad(jax.grad(lambda x: sin_cos(x)[1]))))
    np.testing.assert_allclose(first(x), np.cos(x), atol=3e-16)
    np.testing.assert_allclose(third(x), np.sin(x), atol=3e-16)
    forward = jax.jvp(lambda x: sum(sin_cos(x)), (x,), (jnp.ones_like(x),))[1]
    np.testing.assert_allclose(forward, np.cos(x) - np.sin(x), atol=4e-16)


def test_wrapped():
    turns = 2.0 * np.pi * np.arange(-5, 6)
    np.testing.assert_allclose(wrapped(1.3 + turns), 1.3, atol=1e-14)
    np.testing.assert_allclose(wrapped(-3.1 + turns), -3.1, atol=1e-14)
