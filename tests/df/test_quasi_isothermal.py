"""Physics of the quasi-isothermal disc and of its binding to a potential."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, params, potential

POT = potential.mw_potential_2014()
ORBITS = jax.jit(dynamics.circular_orbits)(POT)
DISC = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3)


def test_unbound_disc_says_what_to_do():
    with pytest.raises(ValueError, match=r"bind\(dynamics.circular_orbits\(potential\)\).log_f"):
        DISC.log_f(jnp.ones(3))
    with pytest.raises(ValueError, match=r"circular_orbits\(potential\)\).mass"):
        DISC.mass()


def test_retrograde_stars_are_suppressed_by_their_energy():
    J = jnp.array([40.0, 10.0, 900.0])
    f = DISC.bind(ORBITS)
    R, Omega, _, _ = ORBITS.at(900.0 + 40.0 + 0.25 * 10.0)
    sigma_r = 120.0 * jnp.exp(-R / 6.5)
    expected = -2 * Omega * 900.0 / sigma_r**2
    assert float(f.log_f(J.at[2].multiply(-1)) - f.log_f(J)) == pytest.approx(float(expected), rel=1e-12)


def test_dispersions_on_a_circular_orbit():
    # With c_r, c_z -> 0 the label is J_phi, and f falls with J_r as exp(-kappa J_r / sigma_r^2) and with
    # J_z as exp(-J_z / (2 nu H_d^2)).
    disc = params.replace(DISC, {"c_r": 1e-9, "c_z": 1e-9}).bind(ORBITS)
    L = 8.0 * 220.0
    orbit = ORBITS.at(L)
    per_J = jax.grad(disc.log_f)(jnp.array([10.0, 5.0, L]))
    sigma_r = 120.0 * np.exp(-float(orbit.R) / 6.5)
    assert float(per_J[0]) == pytest.approx(-float(orbit.kappa) / sigma_r**2, rel=1e-6)
    assert float(per_J[1]) == pytest.approx(-1 / (2 * float(orbit.nu) * 0.3**2), rel=1e-6)


def test_derivative_with_respect_to_the_potential_contains_the_orbits():
    J = jnp.array([40.0, 10.0, 1700.0])

    @jax.jit
    def log_f(log_M):
        pot = potential.MiyamotoNagai(M=jnp.exp(log_M), a=3.0, b=0.28)
        f = DISC.bind(dynamics.circular_orbits(pot))
        return jnp.stack([f.log_f(J), jnp.log(f.mass())])

    log_M, h = jnp.log(1e11), 1e-4
    got = jax.jacfwd(log_f)(log_M)
    numeric = (log_f(log_M - 2 * h) - 8 * log_f(log_M - h) + 8 * log_f(log_M + h) - log_f(log_M + 2 * h)) / (
        12 * h
    )
    np.testing.assert_allclose(got, numeric, atol=1e-7)
    assert abs(float(got[0])) > 0.1


def test_rebinding_forgets_the_first_potential():
    other = jax.jit(dynamics.circular_orbits)(potential.MiyamotoNagai(M=1e11, a=3.0, b=0.28))
    J = jnp.array([40.0, 10.0, 1700.0])
    assert DISC.bind(other).bind(ORBITS).log_f(J) == DISC.bind(ORBITS).log_f(J)
    assert DISC.bind(other).log_f(J) != DISC.bind(ORBITS).log_f(J)
