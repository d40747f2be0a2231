"""log f and masses against independently computed numbers (tests/data/README.md)."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, potential

DATA = Path(__file__).parents[1] / "data" / "df_reference.csv"
POT = potential.mw_potential_2014()
TABLE = np.genfromtxt(DATA, delimiter=",", names=True)
ACTIONS = jnp.stack([TABLE["J_r"], TABLE["J_z"], TABLE["J_phi"]], axis=1)

DISC = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3, Sigma_0=8e8, c_r=1.0, c_z=0.25)
SPHEROID = df.DoublePowerLaw(
    norm=1e10,
    J_0=500.0,
    slope_in=1.5,
    slope_out=4.3,
    steepness=1.2,
    c_r_in=1.3,
    c_z_in=0.9,
    c_r_out=1.1,
    c_z_out=0.95,
    rotation=0.3,
    J_phi0=300.0,
)
ORBITS = jax.jit(dynamics.circular_orbits)(POT)
HALO = df.DB96Halo(a=1.2, b=1.2, gamma=1.8, beta=3.5, A_0=500.0)
AGAMA_MASS = {"disc": 33932753522.719402, "spheroid": 6191165126.147854}


class ExactOrbit(NamedTuple):
    R: jax.Array
    Omega: jax.Array
    kappa: jax.Array
    nu: jax.Array


class ExactOrbits:
    """Circular orbits by bisection of R^2 Omega(R) = L instead of a table."""

    def at(self, L):
        low, high = jnp.log(1e-4), jnp.log(1e4)

        def halve(_, bracket):
            low, high = bracket
            middle = 0.5 * (low + high)
            R = jnp.exp(middle)
            inside = R * potential.circular_velocity(POT, R) < L
            return jnp.where(inside, middle, low), jnp.where(inside, high, middle)

        low, high = jax.lax.fori_loop(0, 60, halve, (low, high))
        R = jnp.exp(0.5 * (low + high))
        return ExactOrbit(R, *potential.frequencies(POT, R))


def _log_f(f, J=ACTIONS):
    return np.asarray(jax.jit(jax.vmap(f.log_f))(J))


@pytest.mark.parametrize("f, column", [(SPHEROID, "f_double_power_law"), (HALO, "f_db96_halo")])
def test_log_f_of_spheroids(f, column):
    # The table prints 16 digits of numbers computed to rounding.
    np.testing.assert_allclose(_log_f(f), np.log(TABLE[column]), atol=1e-11)


def test_log_f_of_the_disc_with_exact_frequencies():
    expected = TABLE["f_quasi_isothermal"]
    # A few rows at |J_phi| where f underflows in the reference's exp are only bounded there.
    normal = expected > 1e-300
    assert normal.sum() >= 95
    got = _log_f(DISC.bind(ExactOrbits()))
    # Bisection is exact to rounding; the reference's frequencies are good to 1e-9 relative, and
    # multiply exponents of up to 700.
    scale = 1.0 + np.abs(np.log(expected[normal]))
    assert np.max(np.abs(got[normal] - np.log(expected[normal])) / scale) < 1e-9
    assert np.all(got[~normal] < -600.0)


def test_log_f_of_the_disc_with_tabulated_frequencies():
    exact, table = _log_f(DISC.bind(ExactOrbits())), _log_f(DISC.bind(ORBITS))
    assert np.max(np.abs(table - exact) / (1.0 + np.abs(exact))) < 3e-6


def test_masses_against_agama():
    """To what AGAMA reaches; by brute force to 1e-6 in test_masses.py."""
    # Its quadrature's: it promises 1e-3. Its table of frequencies is good to 5e-5, ours to 2e-6.
    disc = DISC.bind(ORBITS).mass()
    assert float(disc) == pytest.approx(AGAMA_MASS["disc"], rel=3e-5)
    assert float(SPHEROID.mass()) == pytest.approx(AGAMA_MASS["spheroid"], rel=1e-6)
