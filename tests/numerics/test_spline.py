"""Cubic splines on uniform grids: order, exactness, end behaviour, derivatives in the data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax.numerics.spline import UniformSpline

INSIDE = jnp.linspace(0.013, 2.987, 201)


def spline_of(f, n):
    grid = jnp.linspace(0.0, 3.0, n)
    return UniformSpline.through(0.0, 3.0, jnp.stack([f(grid), 2.0 * f(grid)], axis=1))


def test_fourth_order_in_the_spacing():
    worst = []
    for n in (21, 41, 81):
        values = jax.vmap(spline_of(jnp.sin, n))(INSIDE)
        worst.append(np.max(np.abs(values[:, 0] - jnp.sin(INSIDE))))
        np.testing.assert_allclose(values[:, 1], 2.0 * values[:, 0], rtol=1e-14)
    orders = np.log2(np.array(worst[:-1]) / worst[1:])
    assert np.all(orders > 3.7) and np.all(orders < 5.0), orders


def test_reproduces_cubics_and_their_derivatives():
    def cubic(x):
        return 1.0 - 2.0 * x + 0.5 * x**2 - 0.3 * x**3

    spline = spline_of(cubic, 9)
    np.testing.assert_allclose(jax.vmap(spline)(INSIDE)[:, 0], cubic(INSIDE), atol=1e-13)
    slope = jax.vmap(jax.grad(lambda x: spline(x)[0]))(INSIDE)
    np.testing.assert_allclose(slope, jax.vmap(jax.grad(cubic))(INSIDE), atol=1e-12)


def test_constant_beyond_the_ends_with_zero_slope():
    spline = spline_of(jnp.exp, 12)
    for x, end in ((-1.0, 1.0), (5.0, np.exp(3.0))):
        assert spline(x)[0] == pytest.approx(end, rel=1e-14)
        assert jax.grad(lambda x: spline(x)[0])(x) == 0.0


def test_linear_in_its_data():
    def value(values):
        return UniformSpline.through(0.0, 3.0, values[:, None])(1.234)[0]

    data = jnp.cos(jnp.linspace(0.0, 3.0, 10))
    weights = jax.grad(value)(data)
    assert value(data) == pytest.approx(float(weights @ data), rel=1e-13)
    assert float(jnp.sum(weights)) == pytest.approx(1.0, rel=1e-13)


def test_too_few_points_are_named():
    with pytest.raises(ValueError, match="at least 4 points, got 3"):
        spline_of(jnp.sin, 3)
