"""Errors of measured points: split normals, common modes, against dense formulae and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal

from oortax.model.constraints import misfit, split_normal

RNG = np.random.default_rng(5)
N = 12
D = RNG.normal(0.0, 3.0, N)
SIGMA = RNG.uniform(0.5, 2.0, N)
MODES = np.stack([0.03 * RNG.uniform(180, 240, N), np.full(N, 2.0), RNG.normal(0, 1, N)], axis=1)


def test_equal_sides_with_modes_are_the_dense_gaussian():
    """The covariance is diag + S S^T, to rounding."""
    C = np.diag(SIGMA**2) + MODES @ MODES.T
    exact = multivariate_normal(np.zeros(N), C).logpdf(D)
    found = jax.jit(split_normal)(jnp.asarray(D), jnp.asarray(SIGMA), jnp.asarray(SIGMA), jnp.asarray(MODES))
    assert float(found) == pytest.approx(exact, rel=1e-12)
    chi2 = misfit(jnp.asarray(D), jnp.asarray(SIGMA), jnp.asarray(SIGMA), jnp.asarray(MODES))
    assert float(chi2) == pytest.approx(D @ np.linalg.solve(C, D), rel=1e-12)


def test_modes_of_zero_size_change_nothing():
    sides = jnp.asarray(SIGMA), jnp.asarray(2 * SIGMA)
    without = split_normal(jnp.asarray(D), *sides)
    assert float(split_normal(jnp.asarray(D), *sides, jnp.zeros((N, 2)))) == pytest.approx(
        float(without), rel=1e-14
    )


@pytest.mark.parametrize(("minus", "plus"), [(1.0, 1.0), (0.5, 2.0), (3.0, 0.4)])
def test_the_split_normal_is_a_density_of_the_measured_value(minus, plus):
    """It integrates to 1 over the residual, and falls by e^-1/2 at -sigma_plus and at +sigma_minus.

    A measured value below the predicted one is off by its upper error.
    """
    sides = jnp.array([minus]), jnp.array([plus])
    value = jax.jit(lambda d: split_normal(d[None], *sides))
    norm = quad(lambda d: float(jnp.exp(value(d))), -40, 40, points=[0.0], limit=200)[0]
    assert norm == pytest.approx(1.0, rel=1e-8)
    assert float(value(-plus) - value(0.0)) == pytest.approx(-0.5, rel=1e-12)
    assert float(value(minus) - value(0.0)) == pytest.approx(-0.5, rel=1e-12)


def test_unequal_sides_with_modes_find_the_best_amplitudes():
    """F(a) at the amplitudes found is the minimum of a convex function, and ln L is smooth across sides."""
    minus, plus = jnp.asarray(SIGMA), jnp.asarray(SIGMA * RNG.uniform(0.4, 2.5, N))
    modes = jnp.asarray(MODES)
    found = float(misfit(jnp.asarray(D), minus, plus, modes))

    def F(a):
        rest = D - MODES @ a
        return np.sum((rest / np.where(rest < 0, plus, minus)) ** 2) + a @ a

    from scipy.optimize import minimize

    best = min(minimize(F, RNG.normal(0, 1, 3), method="BFGS", tol=1e-12).fun for _ in range(4))
    # BFGS stops within 1e-8 of a minimum of order 10; the Newton steps end exactly on it.
    assert found == pytest.approx(best, rel=1e-7) and found <= best * (1 + 1e-12)
    along = np.linspace(-0.3, 0.3, 601)
    slope = jax.jit(jax.vmap(jax.grad(lambda t: split_normal(jnp.asarray(D) + t, minus, plus, modes))))(along)
    # Without a jump of the slope, its largest step is the average step times a curvature ratio below 10.
    steps = np.abs(np.diff(np.asarray(slope)))
    assert steps.max() < 10 * steps.mean()


def test_gradients_with_modes_are_those_of_differences():
    minus, plus = jnp.asarray(SIGMA), jnp.asarray(1.5 * SIGMA)

    def value(x):
        return split_normal(jnp.asarray(D) + x[0], x[1] * minus, x[1] * plus, x[2] * jnp.asarray(MODES))

    x = jnp.array([0.2, 1.1, 0.7])
    value = jax.jit(value)
    gradient = np.asarray(jax.jit(jax.grad(value))(x))
    h = 1e-5
    for i in range(3):
        e = jnp.zeros(3).at[i].set(h)
        # Central differences of a function of order 1e2: h^2 + 1e-16 * 1e2/h = 1e-9.
        assert gradient[i] == pytest.approx(float(value(x + e) - value(x - e)) / (2 * h), rel=1e-6, abs=1e-6)
