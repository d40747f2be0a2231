"""Polynomials and series of sines against NumPy's, with their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from oortax.dynamics.torus.series import polynomial, sine_series, sines, sines_to_powers, to_powers
from oortax.numerics.once import once

# Falling, as those of tori do: powers then lose no digits.
COEFFICIENTS = np.random.default_rng(0).normal(size=16) * 0.5 ** np.arange(16)
FAR = np.array([-1.0, -0.3, 0.0, 0.7, 1.0, 1.05])
ANGLES = np.array([0.0, 0.4, 0.5 * np.pi, 2.0, np.pi, 5.0])


def test_a_chebyshev_series_in_powers():
    """Value and derivative on [-1, 1] and a little beyond, the ends included."""
    powers = jnp.asarray(COEFFICIENTS @ to_powers(16))
    series = np.polynomial.chebyshev.Chebyshev(COEFFICIENTS)
    value, slope = jax.vmap(jax.value_and_grad(lambda x: polynomial(powers, x)))(jnp.asarray(FAR))
    np.testing.assert_allclose(value, series(FAR), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slope, series.deriv()(FAR), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("x", [0.0, 0.6, 1.0])
def test_derivatives_of_polynomials(x):
    """First and second ones in x, and those in the coefficients, in both modes, against differences.

    Differences with steps of 1e-5 and more are off by a higher derivative: 1.3e-5 for the second at x = 1.
    """
    c = jnp.asarray(COEFFICIENTS)
    check_grads(polynomial, (c, jnp.asarray(x)), 2, rtol=5e-5, atol=1e-6)


def test_series_of_sines():
    """Both forms against the sum itself, at 0 and pi, too; and the derivative against differences."""
    k = np.arange(1.0, 17.0)
    value = np.sin(k * ANGLES[:, None]) @ COEFFICIENTS
    slope = np.cos(k * ANGLES[:, None]) @ (k * COEFFICIENTS)
    powers = jnp.asarray(COEFFICIENTS @ sines_to_powers(16))
    for form, c in ((sine_series, powers), (sines, jnp.asarray(COEFFICIENTS))):
        found = jax.vmap(form, (None, 0))(c, jnp.asarray(ANGLES))
        np.testing.assert_allclose(found[0], value, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(found[1], slope, rtol=1e-11, atol=1e-11)
    h = 1e-6
    high, low = (np.asarray(sine_series(powers, jnp.asarray(1.3 + s))[0]) for s in (h, -h))
    np.testing.assert_allclose((high - low) / (2.0 * h), sine_series(powers, jnp.asarray(1.3))[1], rtol=1e-7)


def test_once_changes_nothing():
    """Values, infinities, NaN and derivatives are those of x."""
    x = jnp.array([-jnp.inf, -2.0, 0.0, 1e-300, 3.0, jnp.inf, jnp.nan])
    np.testing.assert_array_equal(jax.jit(once)(x), x)
    assert jax.grad(lambda x: once(x) ** 2)(3.0) == 6.0
    assert jax.hessian(lambda x: once(x) ** 3)(2.0) == 12.0
