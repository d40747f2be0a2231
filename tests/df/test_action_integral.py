"""The quadrature over action space against closed forms, and what it says of its own error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, potential
from oortax.df.action_integral import action_integral


def _exponential(J):
    """f whose integral is 2 (2 pi)^3 a b c, a = 40, b = 300, c = 1000."""
    return -J[0] / 40.0 - J[1] / 300.0 - jnp.abs(J[2]) / 1000.0


SCALES = jnp.array([40.0, 300.0, 1000.0])
EXACT = 2 * (2 * np.pi) ** 3 * 40.0 * 300.0 * 1000.0


def test_exponential_in_stretched_actions():
    got = action_integral(_exponential, SCALES)
    # Analytic along rays and over directions: the rules converge to rounding.
    assert float(got.value) == pytest.approx(EXACT, rel=1e-10)
    assert float(got.error) < 1e-6 * EXACT


@pytest.mark.parametrize("scale", [SCALES, 200.0])
@pytest.mark.parametrize("n_radial, n_angle", [(41, 8), (61, 12), (81, 6)])
def test_error_covers_what_coarse_rules_miss(n_radial, n_angle, scale):
    got = action_integral(_exponential, scale, n_radial=n_radial, n_angle=n_angle)
    true_error = abs(float(got.value) - EXACT)
    assert true_error > 1e-12 * EXACT
    assert true_error < float(got.error)


def test_a_cold_disc_is_said_to_be_unresolved():
    orbits = jax.jit(dynamics.circular_orbits)(potential.mw_potential_2014())
    disc = df.QuasiIsothermal(R_d=2.6, sigma_r0=25.0, R_sigma=20.0, H_d=0.05).bind(orbits)
    got = action_integral(disc.log_f, 1000.0)
    assert abs(float(got.value / disc.mass()) - 1.0) > 0.05
    assert float(got.error) > 0.1 * float(got.value)


@pytest.mark.parametrize("beta, accuracy", [(6.0, 1e-8), (4.5, 1e-6)])
def test_halo_of_known_mass(beta, accuracy):
    halo = df.DB96Halo(a=1.2, b=0.9, gamma=1.0, beta=beta, A_0=500.0, rotation=0.8, J_phi0=200.0)
    # What lies beyond 1e12 kpc km/s, (500/1e12)^(2 (beta - 3)/(4 - gamma)), is below 6e-10 for both.
    assert float(action_integral(halo.log_f, 500.0).value) == pytest.approx(1.0, rel=accuracy)


def test_derivatives_are_those_of_the_integral():
    def mass(b):
        return action_integral(lambda J: _exponential(J) - J[1] * (1.0 / b - 1.0 / 300.0), SCALES).value

    value, slope = jax.value_and_grad(mass)(jnp.array(250.0))
    # The integral is proportional to b; the derivative of the value's 1e-10.
    assert float(slope * 250.0 / value) == pytest.approx(1.0, rel=1e-8)


def test_where_f_vanishes_derivatives_are_finite():
    def mass(edge):
        def inside(J):
            return jnp.where(jnp.sum(J[:2]) < edge, -jnp.sum(jnp.abs(J)) / edge, -jnp.inf)

        return action_integral(inside, 200.0).value

    assert np.isfinite(jax.grad(mass)(jnp.array(250.0)))


@pytest.mark.parametrize("bad", [dict(n_radial=160), dict(n_radial=3), dict(n_angle=4)])
def test_rules_that_cannot_judge_their_error_are_refused(bad):
    with pytest.raises(ValueError, match="n_radial.*n_angle"):
        action_integral(_exponential, SCALES, **bad)
