"""Integrated orbits: circles, conserved energy, order of convergence, derivatives, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, potential

POT = potential.mw_potential_2014()
X, V = jnp.array([8.3, 0.1, 0.1]), jnp.array([30.0, 211.0, 19.0])


def _integrated(steps, x=X, v=V):
    return dynamics.integrate_orbit(POT, x, v, jnp.linspace(0.0, 1.6, 101), steps)


@pytest.fixture(scope="module")
def orbits():
    """Some ten radial periods with 50, 100 and 500 steps in each."""
    return {steps: jax.jit(_integrated, static_argnums=0)(steps) for steps in (5, 10, 50)}


def test_energy_and_order(orbits):
    energy = jax.vmap(lambda x, v: 0.5 * v @ v + POT.Phi(x))
    errors = {n: np.abs(energy(x, v) / energy(x, v)[0] - 1.0).max() for n, (x, v) in orbits.items()}
    assert 0.0 < errors[50] < 1e-8
    # Fourth order: half of the step, a sixteenth of the error.
    assert 8.0 < errors[5] / errors[10] < 32.0
    x, v = orbits[50]
    L_z = x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]
    np.testing.assert_allclose(L_z, L_z[0], rtol=1e-11)


def test_a_circular_orbit_stays_one():
    orbit = jax.jit(dynamics.circular_orbits)(POT).at(1800.0)
    x, v = jnp.array([1.0, 0.0, 0.0]) * orbit.R, jnp.array([0.0, 1.0, 0.0]) * orbit.R * orbit.Omega
    times = jnp.linspace(0.0, 1.0, 41)
    found, _ = dynamics.integrate_orbit(POT, x, v, times, 20)
    phi = orbit.Omega * times
    expected = orbit.R * jnp.stack([jnp.cos(phi), jnp.sin(phi), 0.0 * phi], axis=1)
    # The table of circular orbits is good to some 1e-7.
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_backwards_and_derivatives():
    @jax.jit
    def end(x, v):
        xs, vs = dynamics.integrate_orbit(POT, x, v, jnp.linspace(0.0, 0.3, 11), 20)
        return jnp.concatenate([xs[-1], vs[-1]])

    last = end(X, V)
    back, _ = dynamics.integrate_orbit(POT, last[:3], last[3:], jnp.linspace(0.3, 0.0, 11), 20)
    # A composition of symmetric steps is reversible.
    np.testing.assert_allclose(back[-1], X, atol=1e-10)
    by_v = jax.jit(jax.jacfwd(end, 1))(X, V)
    for i in range(3):
        h = 1e-3 * np.eye(3)[i]
        np.testing.assert_allclose(by_v[:, i], (end(X, V + h) - end(X, V - h)) / 2e-3, rtol=1e-5, atol=1e-6)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="steps"):
        dynamics.integrate_orbit(POT, X, V, jnp.arange(3.0), 0)
    with pytest.raises(ValueError, match="float64"):
        dynamics.integrate_orbit(POT, jnp.ones(3, jnp.float32), V, jnp.arange(3.0))


def test_derivatives_against_differences():
    """The end of an orbit by the potential's parameters and by where it began."""
    times = jnp.linspace(0.0, 0.15, 4)

    @jax.jit
    def end(M, b, x):
        pot = potential.MiyamotoNagai(M=M, a=3.0, b=b)
        xs, vs = dynamics.integrate_orbit(pot, x, jnp.array([20.0, 170.0, 40.0]), times, 40)
        return jnp.concatenate([xs[-1], vs[-1]])

    at = (jnp.asarray(7e10), jnp.asarray(0.3), jnp.array([8.0, 0.0, 0.1]))
    forward, backward = jax.jit(jax.jacfwd(end, (0, 1, 2)))(*at), jax.jit(jax.jacrev(end, (0, 1, 2)))(*at)
    for k, h in enumerate((7e5, 3e-6, jnp.array([0.0, 0.0, 1e-6]))):
        upper, lower = (end(*at[:k], at[k] + s * h, *at[k + 1 :]) for s in (1.0, -1.0))
        expected = (upper - lower) / (2.0 * jnp.sum(h))
        for found in (forward[k], backward[k]):
            of_h = found[:, 2] if k == 2 else found
            np.testing.assert_allclose(of_h, expected, rtol=0.0, atol=1e-6 * float(jnp.abs(expected).max()))
