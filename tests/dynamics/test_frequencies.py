"""Frequencies from orbits: the isochrone's, those of a sum of lines, and drifts of regular orbits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, potential
from oortax.dynamics.frequencies import leading_line


def test_the_isochrone_s():
    pot = potential.Isochrone(M=1e11, b=3.0)
    x = jnp.array([[8.0, 0.0, 1.0], [6.0, 2.0, 0.5], [5.0, -4.0, 3.0]])
    v = jnp.array([[40.0, 120.0, 30.0], [-60.0, -90.0, 40.0], [80.0, 60.0, 20.0]])
    exact = jax.vmap(dynamics.IsochroneFinder(pot).actions_angles_frequencies)(x, v).Omega
    times = jnp.linspace(0.0, 1.0, 4001) * (80.0 * np.pi / exact[:, :1])
    orbits = dynamics.integrate_orbits(pot, x, v, times)
    found = dynamics.fundamental_frequencies(orbits)
    off = np.abs(np.asarray(found.Omega / exact) - 1.0).max(axis=1)
    # The second has 5 Omega_z - 2 Omega_r two cycles beside Omega_r: the window does not part them.
    assert off[[0, 2]].max() < 3e-7 and off[1] < 3e-5, off
    # Of half as many periods, where more lines are close.
    assert found.drift[0] < 1e-5 and (found.drift < 2e-3).all()
    np.testing.assert_allclose(dynamics.fundamental_frequencies(orbits[1]).Omega, found.Omega[1], rtol=1e-9)


def test_a_line_among_others():
    k = np.arange(2000)
    f = 1.0 * np.exp(-0.1234567j * k) + 0.6 * np.exp(0.31j * k + 1j) + 0.3 * np.exp(-0.2j * k)
    assert float(leading_line(jnp.asarray(f), True)) == pytest.approx(-0.1234567, rel=5e-9)
    f = 5.0 + np.cos(0.21 * k + 0.4) + 0.4 * np.cos(0.5 * k)
    assert float(leading_line(jnp.asarray(f, complex), False)) == pytest.approx(0.21, rel=1e-8)


def test_bad_times():
    pot = potential.Isochrone(M=1e11, b=3.0)
    x, v = jnp.array([8.0, 0.0, 1.0]), jnp.array([40.0, 120.0, 30.0])
    few = dynamics.integrate_orbits(pot, x, v, jnp.linspace(0.0, 1.0, 9))
    with pytest.raises(ValueError, match="32"):
        dynamics.fundamental_frequencies(few)
    unequal = dynamics.integrate_orbits(pot, x, v, jnp.linspace(0.0, 1.0, 40) ** 2)
    with pytest.raises(ValueError, match="the same distance apart"):
        dynamics.fundamental_frequencies(unequal)
