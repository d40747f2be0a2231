"""The disc of Dehnen & Binney (1996): eq. (9) as printed, its mass, and what frequencies of orbits change."""

from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, params, potential
from oortax.constants import G

TABLE = np.genfromtxt(Path(__file__).parents[1] / "data" / "disc_reference.csv", delimiter=",", names=True)
POT = potential.mw_potential_2014()
ORBITS = jax.jit(dynamics.circular_orbits)(POT)
DISC = df.DB96Disc(M_d=4e10, R_d=2.8, sigma_r0=140.0, sigma_l0=75.0)
M, B = 1e11, 2.0


class Tabulated(NamedTuple):
    """One row of the table as circular orbit and as frequencies: R dR/dJ_phi is what Omega, kappa make."""

    R: jax.Array
    Omega: jax.Array
    kappa: jax.Array
    nu: jax.Array


class Row(eqx.Module):
    R: jax.Array
    R_slope: jax.Array
    Omega: jax.Array

    def at(self, L):
        # dR/dJ_phi = 2 Omega/(R kappa^2): any Omega will do for stars with J_phi > 0.
        Omega = L / self.R**2
        return Tabulated(self.R, Omega, jnp.sqrt(2.0 * Omega / (self.R * self.R_slope)), jnp.ones_like(L))

    def __call__(self, J):
        return self


class IsochroneFrequencies(eqx.Module):
    """Omega(J) of the isochrone (Binney & Tremaine 2008, eqs. 3.227-3.228)."""

    largest_share: float  # of J_r + J_z over |J_phi|; beyond it there are none

    class Record(NamedTuple):
        Omega: jax.Array

    def __call__(self, J):
        GM, L = G * M, J[1] + jnp.abs(J[2])
        root = jnp.sqrt(L * L + 4.0 * GM * B)
        Omega_r = GM**2 / (J[0] + 0.5 * (L + root)) ** 3
        Omega_z = 0.5 * (1.0 + L / root) * Omega_r
        Omega = jnp.stack([Omega_r, Omega_z, jnp.sign(J[2]) * Omega_z])
        return self.Record(jnp.where(J[0] + J[1] < self.largest_share * jnp.abs(J[2]), Omega, jnp.nan))


def test_eq_9_as_printed_with_the_frequencies_of_orbits():
    J = jnp.stack([TABLE["J_r"], TABLE["J_z"], TABLE["J_phi"]], axis=1)
    Omega = jnp.stack([TABLE["Omega_r"], TABLE["Omega_z"], 0.0 * TABLE["Omega_z"]], axis=1)

    @jax.jit
    @jax.vmap
    def log_f(J, Omega, R, slope):
        row = Row(R, slope, Omega)
        return df.BoundDB96Disc(DISC, row, row, jnp.zeros(())).log_f(J)

    got = log_f(J, Omega, TABLE["R_circ"], TABLE["dRdJphi_circ"])
    expected = np.log(TABLE["f_eq9"])
    assert np.ptp(expected) > 50.0
    # Ten printed digits of J and Omega, which multiply exponents of up to 100.
    assert np.max(np.abs(got - expected) / (1.0 + np.abs(expected))) < 1e-9


def test_circular_orbits_carry_the_mass_of_eq_7():
    # (2 pi)^3 f(0, 0, L) = M_d/R_d^2 exp(-R/R_d) R dR/dL kappa nu/(sigma_r sigma_l)^2, dR/dL from the table.
    L = jnp.array(1700.0)
    R, slope = jax.value_and_grad(lambda L: ORBITS.at(L).R)(L)
    orbit = ORBITS.at(L)
    f0 = 4e10 / 2.8**2 * jnp.exp(-R / 2.8) * R * slope / (2 * np.pi) ** 3
    warm = orbit.kappa * orbit.nu / (140.0**2 * 75.0**2) * jnp.exp(2 * R / 2.8)
    f = DISC.bind(ORBITS)
    got = f.log_f(jnp.array([0.0, 0.0, L])) - f.log_N
    # The slope of a cubic spline good to 2e-6.
    assert float(got) == pytest.approx(float(jnp.log(f0 * warm)), abs=2e-4)


def _mass(f, step=0.16):
    """(2 pi)^3 times the integral of f, by J = exp(t - exp(-t)) in each action."""
    t = np.arange(-4.0, 11.5, step)
    J = np.exp(t - np.exp(-t))
    weight = step * J * (1.0 + np.exp(-t))
    grid = jnp.asarray(np.stack(np.meshgrid(J, J, J, indexing="ij"), axis=-1).reshape(-1, 3))
    density = jax.jit(jax.vmap(lambda J: jnp.exp(f.log_f(J)) + jnp.exp(f.log_f(J.at[2].multiply(-1.0)))))
    cube = np.asarray(density(grid)).reshape((len(t),) * 3)
    return (2 * np.pi) ** 3 * np.einsum("ijk,i,j,k", cube, weight, weight, weight)


def test_mass_of_the_circular_form():
    f = DISC.bind(ORBITS)
    assert float(f.mass()) == 4e10 and float(DISC.mass()) == 4e10
    # The brute-force rule converges to 1e-7; below the first tabulated orbit f has a bend.
    assert _mass(f) == pytest.approx(4e10, rel=3e-6)
    # What N takes away is the retrograde stars: few, and all of them near the centre.
    assert 0.0 < -float(f.log_N) < 0.1
    cold = params.replace(DISC, {"sigma_r0": 20.0}).bind(ORBITS)
    assert abs(float(cold.log_N)) < 2e-3


def test_mass_with_the_frequencies_of_orbits():
    orbits = jax.jit(dynamics.circular_orbits)(potential.Isochrone(M=M, b=B))
    thin = df.DB96Disc(M_d=4e10, R_d=2.8, sigma_r0=80.0, sigma_l0=40.0)
    f = jax.jit(lambda d: d.bind_frequencies(orbits, IsochroneFrequencies(3.0)))(thin)
    assert float(f.mass()) == 4e10
    # f jumps at the end of the frequencies' range.
    assert _mass(f) == pytest.approx(4e10, rel=1e-4)
    # Frequencies fall with the actions: eq. (9) alone makes too much mass.
    excess = -float(f.log_N)
    assert excess > 0.02 and excess > -float(thin.bind(orbits).log_N)


def test_nearly_unbound_orbits_are_not_cut_off_by_their_frequencies():
    # J_r Omega_r falls as J_r^-2 where the potential is Kepler's: eq. (9) rises again, which is why the
    # frequencies must have a range.
    orbits = jax.jit(dynamics.circular_orbits)(potential.Isochrone(M=M, b=B))
    cold = params.replace(DISC, {"sigma_r0": 50.0})
    f = df.BoundDB96Disc(cold, orbits, IsochroneFrequencies(1e12), jnp.zeros(()))
    near, middle, far = (float(f.log_f(jnp.array([J_r, 0.0, 1500.0]))) for J_r in (1.0, 1e3, 1e4))
    assert middle < near - 20.0 and far > middle + 10.0
    limited = df.BoundDB96Disc(cold, orbits, IsochroneFrequencies(3.0), jnp.zeros(()))
    assert float(limited.log_f(jnp.array([1e4, 0.0, 1500.0]))) < middle


def test_frequencies_that_are_missing_are_those_of_the_circular_orbit():
    class Nothing(eqx.Module):
        def __call__(self, J):
            return IsochroneFrequencies.Record(jnp.full(3, jnp.nan))

    J = jnp.array([60.0, 25.0, 1600.0])
    f = DISC.bind_frequencies(ORBITS, Nothing())
    # 36 nodes in each of J_r and J_z integrate exp(-x) to 7e-8.
    assert float(f.log_f(J)) == pytest.approx(float(DISC.bind(ORBITS).log_f(J)), abs=1e-6)
    assert np.all(np.isfinite(jax.grad(f.log_f)(J)))


def test_bound_frequencies_are_not_bound_again():
    f = df.BoundDB96Disc(DISC, ORBITS, IsochroneFrequencies(3.0), jnp.zeros(()))
    with pytest.raises(ValueError, match="belong to one potential.*bind_frequencies"):
        f.bind(ORBITS)


def test_unbound_disc_says_what_to_do():
    with pytest.raises(ValueError, match=r"bind\(dynamics.circular_orbits\(potential\)\).log_f"):
        DISC.log_f(jnp.ones(3))


def test_retrograde_stars_are_suppressed_by_their_energy():
    f, J = DISC.bind(ORBITS), jnp.array([40.0, 10.0, 900.0])
    R, Omega, _, _ = ORBITS.at(900.0)
    expected = -2 * Omega * 900.0 / 140.0**2 * jnp.exp(R / 2.8)
    assert float(f.log_f(J.at[2].multiply(-1)) - f.log_f(J)) == pytest.approx(float(expected), rel=1e-12)


def test_dispersions_and_surface_density_of_a_cold_disc():
    f = df.DB96Disc(M_d=4e10, R_d=3.0, sigma_r0=40.0, sigma_l0=20.0).bind(ORBITS)
    finder = dynamics.OortLindblad(POT)
    fall = np.exp(-8.0 / 6.0)

    @jax.jit
    def column(z):
        return jax.vmap(lambda z: jnp.exp(df.log_density(f, POT, finder, 8.0, z)))(z)

    local = jax.jit(lambda: df.moments(f, POT, finder, 8.0, 0.001))()
    sigma = np.sqrt(np.diag(local.dispersion))
    # nu J_z exceeds the energy of the vertical motion, and R_c of |J_phi| the mean radius: 4 % at these
    # dispersions, 13 % at 19 km/s.
    np.testing.assert_allclose(sigma[[0, 2]], [40.0 * fall, 20.0 * fall], rtol=0.05)
    z = np.linspace(0.0, 0.6, 41)
    surface_density = 2.0 * np.trapezoid(np.asarray(column(jnp.asarray(z))), z)
    # Stars at 8 kpc come from R_c within 1 kpc or so: of order (sigma/v_c)^2 (R/R_d)^2.
    assert surface_density == pytest.approx(4e10 / (2 * np.pi * 9.0) * np.exp(-8.0 / 3.0), rel=0.03)
