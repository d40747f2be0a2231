"""mass() against brute-force integrals over all three actions."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, potential
from oortax.df.simplex import mean_exponential

ORBITS = jax.jit(dynamics.circular_orbits)(potential.mw_potential_2014())

THIN = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3, Sigma_0=8e8)
HOT = df.QuasiIsothermal(R_d=3.5, sigma_r0=220.0, R_sigma=9.0, H_d=0.9, Sigma_0=1.0, c_r=0.6, c_z=0.6)
COLD = df.QuasiIsothermal(R_d=2.0, sigma_r0=25.0, R_sigma=20.0, H_d=0.05, Sigma_0=1.0)


def _brute_force(f, step=0.16):
    """(2 pi)^3 times the integral of f, by J = exp(t - exp(-t)) in each action (double exponential)."""
    t = np.arange(-4.0, 11.5, step)
    J = np.exp(t - np.exp(-t))
    weight = step * J * (1.0 + np.exp(-t))
    grid = jnp.asarray(np.stack(np.meshgrid(J, J, J, indexing="ij"), axis=-1).reshape(-1, 3))
    density = jax.jit(jax.vmap(lambda J: jnp.exp(f.log_f(J)) + jnp.exp(f.log_f(J.at[2].multiply(-1.0)))))
    cube = np.asarray(density(grid)).reshape((len(t),) * 3)
    return (2 * np.pi) ** 3 * np.einsum("ijk,i,j,k", cube, weight, weight, weight)


@pytest.mark.parametrize("disc", [THIN, HOT, COLD], ids=["thin", "hot", "cold"])
def test_disc_mass(disc):
    f = disc.bind(ORBITS)
    # The brute-force rule converges to 1e-7 (halving its step changes it by less).
    assert float(f.mass()) == pytest.approx(_brute_force(f), rel=1e-6)


def test_disc_mass_is_close_to_its_surface_density():
    # A cold disc is the exponential disc 2 pi Sigma_0 R_d^2 its parameters name: corrections are of
    # order (sigma/v_c)^2, per cent for sigma_r0 = 25 km/s.
    assert float(COLD.bind(ORBITS).mass()) == pytest.approx(2 * np.pi * 2.0**2, rel=0.02)


def test_disc_mass_follows_its_amplitude_and_potential():
    doubled = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3, Sigma_0=1.6e9)
    assert float(doubled.bind(ORBITS).mass()) == pytest.approx(2 * float(THIN.bind(ORBITS).mass()), rel=1e-13)
    other = jax.jit(dynamics.circular_orbits)(potential.MiyamotoNagai(M=1e11, a=3.0, b=0.28))
    ratio = THIN.bind(other).mass() / THIN.bind(ORBITS).mass()
    assert abs(float(ratio) - 1.0) > 1e-3


def test_double_power_law_mass():
    f = df.DoublePowerLaw(
        norm=1.0, J_0=50.0, slope_in=1.5, slope_out=6.0, steepness=1.2, c_r_in=1.3, c_z_in=0.9, rotation=0.7
    )
    # J^-6 leaves (1e5/50)^-3 = 1e-10 beyond the grid.
    assert float(f.mass()) == pytest.approx(_brute_force(f), rel=1e-6)


def test_double_power_law_mass_in_closed_form():
    # With equal isotropic weights h = g = J_r + J_z + |J_phi|, of which the volume within s is s^3/3 for
    # both signs of J_phi; with e = 1 the integral of s^2 (1 + 1/s)^p (1 + s)^-q is B(3 - p, q - 3).
    p, q = 1.3, 3.4
    f = df.DoublePowerLaw(norm=1.0, J_0=300.0, slope_in=p, slope_out=q, steepness=1.0)
    beta = np.exp(sum(s * float(jax.lax.lgamma(x)) for s, x in ((1, 3 - p), (1, q - 3), (-1, q - p))))
    assert float(f.mass()) == pytest.approx(beta, rel=1e-9)


@pytest.mark.parametrize(
    "p, strength, J_cut", [(2.4, 2.0, 2e4), (1.0, 1.0, 50.0), (2.9, 4.0, 1e6), (0.5, 0.7, 1e5)]
)
def test_cut_off_mass_in_closed_form(p, strength, J_cut):
    # With equal slopes and weights f = norm/(2 pi J_0)^3 (J_0/s)^p exp(-(s/J_cut)^c), of
    # s = J_r + J_z + |J_phi|,
    # whose mass is norm (J_cut/J_0)^(3-p) Gamma((3-p)/c)/c.
    f = df.DoublePowerLaw(norm=1.0, J_0=300.0, slope_in=p, slope_out=p, J_cut=J_cut, cut_strength=strength)
    expected = (J_cut / 300.0) ** (3 - p) * math.gamma((3 - p) / strength) / strength
    # The trapezoidal rule converges to rounding.
    assert float(f.mass()) == pytest.approx(expected, rel=1e-10)


def test_cut_off_mass_by_brute_force():
    f = df.DoublePowerLaw(
        norm=1.0, J_0=50.0, slope_in=1.5, slope_out=2.2, c_r_in=1.3, c_z_out=0.7, rotation=0.7, J_cut=2e3
    )
    assert float(f.mass()) == pytest.approx(_brute_force(f), rel=1e-6)


@pytest.mark.parametrize("gamma, beta, a, b", [(1.8, 3.5, 1.2, 1.2), (0.5, 5.0, 1.7, 0.8)])
def test_halo_mass_is_one(gamma, beta, a, b):
    f = df.DB96Halo(a=a, b=b, gamma=gamma, beta=beta, A_0=200.0)
    # a J_r + b J_z + |J_phi| = A bounds the volume A^3/(6 a b) twice, so f may be integrated over A;
    # ln A = ln A_0 + sinh(t) covers the slow tail.
    t = np.linspace(-6.5, 6.5, 1600)
    A = 200.0 * np.exp(np.sinh(t))
    keep = A < 1e11
    log_f = np.asarray(jax.vmap(lambda A: f.log_f(jnp.array([0.0, 0.0, 1.0]) * A))(jnp.asarray(A[keep])))
    shells = A[keep] ** 3 * np.cosh(t[keep]) / (a * b)
    total = (2 * np.pi) ** 3 * np.trapezoid(np.exp(log_f) * shells, t[keep])
    e = (6 - gamma + 2 * (beta - gamma)) / (4 - gamma)
    beyond = (200.0 / 1e11) ** (e - 3)
    assert beyond < 2e-4
    tail = (2 * np.pi) ** 3 / (a * b) * np.exp(log_f[-1]) * A[keep][-1] ** 3 / (e - 3)
    assert total + tail == pytest.approx(1.0, rel=1e-5)
    assert float(f.mass()) == 1.0
    # The label A itself: three directions of equal A have equal f.
    J = jnp.array([[100.0 / a, 0.0, 0.0], [0.0, 100.0 / b, 0.0], [0.0, 0.0, -100.0]])
    np.testing.assert_allclose(jax.vmap(f.log_f)(J), f.log_f(J[2]), rtol=1e-13)


def test_halo_mass_by_brute_force():
    f = df.DB96Halo(a=1.3, b=0.8, gamma=0.5, beta=8.0, A_0=100.0)
    # The tail beyond 1e5 kpc km/s: (A_0/1e5)^(e_1 + e_2 - 3) = 1e-8.
    assert _brute_force(f) == pytest.approx(1.0, rel=1e-6)


def test_mean_exponential_against_quadrature_and_across_its_branches():
    nodes, weights = np.polynomial.legendre.leggauss(40)
    nodes, weights = 0.5 * (nodes + 1), 0.5 * weights
    s, t = np.meshgrid(nodes, nodes, indexing="ij")
    area = s * np.outer(weights, weights)
    corners = [0.0, 0.1, 0.2, 0.6, 0.6 + 1e-9, 3.0, 9.0]
    for x in itertools.product(corners, repeat=3):
        exponent = x[0] * (1 - s) + x[1] * s * t + x[2] * s * (1 - t)
        assert float(mean_exponential(jnp.array(x))) == pytest.approx(
            np.sum(area * np.exp(-exponent)), rel=1e-12
        )
    below = mean_exponential(jnp.array([0.2, 0.4, 0.7 - 1e-12]))
    above = mean_exponential(jnp.array([0.2, 0.4, 0.7 + 1e-12]))
    assert float(below) == pytest.approx(float(above), rel=1e-11)
    big = mean_exponential(jnp.array([1e5, 2e6, 0.0]))
    assert float(big) == pytest.approx(1 / (1e5 * 2e6), rel=1e-10)
