"""The tapered exponential disc: its factors, its mass and the disc that it makes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from oortax import df, dynamics, params, potential

DISC = df.TaperedExponential(
    norm=4e10,
    J_phi0=600.0,
    J_r0=40.0,
    J_z0=8.0,
    J_v0=200.0,
    J_d0=20.0,
    J_taper=50.0,
    J_trans=30.0,
    p_r=1.3,
    p_z=1.1,
)


def _f_phi(L, J_d0=20.0, J_taper=50.0, J_trans=30.0):
    J_d = np.sqrt(L * L + J_d0 * J_d0)
    taper = 0.5 * (1.0 + np.tanh((L - J_taper) / J_trans))
    return 4e10 / (2 * np.pi) ** 3 * J_d / 600.0**2 * np.exp(-J_d / 600.0) * taper


def test_factors():
    for J in ([10.0, 5.0, 900.0], [60.0, 1.0, 70.0], [5.0, 20.0, -30.0]):
        J_v = np.hypot(J[2], 200.0) / 600.0
        k_r, k_z = J_v**1.3 / 40.0, J_v**1.1 / 8.0
        expected = _f_phi(J[2]) * k_r * np.exp(-k_r * J[0]) * k_z * np.exp(-k_z * J[1])
        assert float(DISC.log_f(jnp.array(J))) == pytest.approx(np.log(expected), abs=1e-10)


def test_agama_s_exponential_is_a_special_case():
    # AGAMA: norm/(2 pi)^3 Jden/Jphi0^2 exp(-Jden/Jphi0)
    #        * Jvel^2/(Jr0 Jz0)^2 exp(-Jr Jvel/Jr0^2 - Jz Jvel/Jz0^2).
    Jr0, Jz0, Jphi0, addJden, addJvel = 150.0, 60.0, 600.0, 20.0, 200.0
    f = df.TaperedExponential(
        norm=4e10, J_phi0=Jphi0, J_r0=Jr0**2 / Jphi0, J_z0=Jz0**2 / Jphi0,
        J_v0=addJvel, J_d0=addJden, J_taper=1e-3, J_trans=1e-2,
    )  # fmt: skip
    Jr, Jz, Jphi = 30.0, 10.0, 1100.0
    Jden, Jvel = np.hypot(Jphi, addJden), np.hypot(Jphi, addJvel)
    expected = 4e10 / (2 * np.pi) ** 3 * Jden / Jphi0**2 * np.exp(-Jden / Jphi0) * (Jvel / (Jr0 * Jz0)) ** 2
    expected *= np.exp(-Jr * Jvel / Jr0**2 - Jz * Jvel / Jz0**2)
    assert float(f.log_f(jnp.array([Jr, Jz, Jphi]))) == pytest.approx(np.log(expected), abs=1e-10)


@pytest.mark.parametrize(
    "shape",
    [{}, dict(J_d0=0.1, J_trans=0.01), dict(J_taper=400.0, J_trans=3.0), dict(J_taper=1.0, J_trans=300.0)],
)
def test_mass(shape):
    f = params.replace(DISC, shape)
    J_taper, width = shape.get("J_taper", 50.0), shape.get("J_trans", 30.0)
    breaks = [-width, 0.0, J_taper - 5 * width, J_taper, J_taper + 5 * width]
    ends = sorted({b for b in breaks if -4e3 < b < 3e4} | {-4e3, 3e4})
    total = sum(
        scipy.integrate.quad(_f_phi, low, high, args=(shape.get("J_d0", 20.0), J_taper, width), epsrel=1e-12)[
            0
        ]
        for low, high in zip(ends, ends[1:], strict=False)
    )
    assert float(f.mass()) == pytest.approx((2 * np.pi) ** 3 * total, rel=1e-9)


def test_mass_in_the_limit_of_the_amplitude():
    f = params.replace(DISC, {"J_d0": 0.01, "J_taper": 0.01, "J_trans": 0.001})
    assert float(f.mass()) == pytest.approx(4e10, rel=1e-6)


def test_mass_by_the_quadrature_over_actions():
    warm = params.replace(DISC, {"J_r0": 400.0, "J_z0": 200.0, "J_v0": 600.0, "J_trans": 300.0})
    got = df.action_integral(warm.log_f, jnp.array([400.0, 200.0, 600.0]), n_angle=48)
    # 24 angular nodes give 3e-6, 48 2e-10.
    assert float(got.value) == pytest.approx(float(warm.mass()), rel=1e-8)


def test_f_is_smooth_where_the_sense_of_rotation_changes():
    slope = jax.grad(DISC.log_f)
    above, below = slope(jnp.array([10.0, 5.0, 1e-9])), slope(jnp.array([10.0, 5.0, -1e-9]))
    np.testing.assert_allclose(above, below, rtol=1e-9)
    # Far on the retrograde side the taper is exp(2 J_phi/J_trans).
    far = jax.grad(DISC.log_f)(jnp.array([0.0, 0.0, -2000.0]))[2]
    near = jax.grad(DISC.log_f)(jnp.array([0.0, 0.0, 2000.0]))[2]
    assert float(far + near) == pytest.approx(2.0 / 30.0, rel=1e-6)


def test_it_makes_an_exponential_disc():
    pot = potential.LogarithmicHalo(v_0=220.0, r_c=0.1, q=0.95)
    f = df.TaperedExponential(
        norm=4e10, J_phi0=600.0, J_r0=8.0, J_z0=2.0, J_v0=100.0, J_d0=10.0, J_taper=30.0, J_trans=20.0
    )
    finder = dynamics.OortLindblad(pot)

    @jax.jit
    def at(R, z):
        local = df.moments(f, pot, finder, R, z)
        return local.density, local.mean[1], jnp.diag(local.dispersion)

    R = np.array([6.0, 9.0])
    z = np.linspace(0.0, 0.8, 33)
    columns = [np.array([float(at(R_k, z_k)[0]) for z_k in z]) for R_k in R]
    inner, outer = (2 * np.trapezoid(column, z) for column in columns)
    # R_d = 600/220 kpc; corrections are of order (sigma/v_c)^2.
    assert np.log(inner / outer) == pytest.approx(3.0 * 220.0 / 600.0, rel=0.03)
    assert inner == pytest.approx(
        4e10 / (2 * np.pi) * (220.0 / 600.0) ** 2 * np.exp(-6.0 * 220.0 / 600.0), rel=0.05
    )
    _, v_phi, dispersion = at(6.0, 0.001)
    Omega, kappa, _ = potential.frequencies(pot, 6.0)
    assert 210.0 < float(v_phi) < 220.0
    assert float(dispersion[0]) == pytest.approx(float(kappa * 8.0 * 600.0 / (6.0 * 220.0)), rel=0.1)
