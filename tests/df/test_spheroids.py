"""Symmetries and slopes of the spheroidal DFs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, params

HALO = df.DB96Halo(a=1.2, b=1.1, gamma=1.8, beta=3.5, A_0=500.0)
SHAPE = dict(norm=1e10, J_0=500.0, slope_in=1.5, slope_out=4.3, steepness=1.2, c_r_in=1.3, J_phi0=300.0)
J = jnp.array([60.0, 25.0, 400.0])
MIRROR = jnp.array([1.0, 1.0, -1.0])


def test_halo_is_even_in_angular_momentum():
    assert HALO.log_f(J) == HALO.log_f(J * MIRROR)


def test_double_power_law_rotation_is_odd():
    still, turning = df.DoublePowerLaw(**SHAPE), df.DoublePowerLaw(**SHAPE, rotation=0.6)
    assert still.log_f(J) == still.log_f(J * MIRROR)
    prograde, retrograde = jnp.exp(turning.log_f(J)), jnp.exp(turning.log_f(J * MIRROR))
    even = jnp.exp(still.log_f(J))
    np.testing.assert_allclose(0.5 * (prograde + retrograde), even, rtol=1e-13)
    np.testing.assert_allclose((prograde - retrograde) / (2 * even), 0.6 * np.tanh(400 / 300), rtol=1e-12)
    assert turning.mass() == still.mass()


def test_halo_rotation_is_odd():
    turning = params.replace(HALO, {"rotation": 0.6, "J_phi0": 300.0})
    prograde, retrograde = jnp.exp(turning.log_f(J)), jnp.exp(turning.log_f(J * MIRROR))
    even = jnp.exp(HALO.log_f(J))
    np.testing.assert_allclose(0.5 * (prograde + retrograde), even, rtol=1e-13)
    np.testing.assert_allclose((prograde - retrograde) / (2 * even), 0.6 * np.tanh(400 / 300), rtol=1e-12)


def test_cut_off_multiplies_and_may_be_absent():
    plain, cut = df.DoublePowerLaw(**SHAPE), df.DoublePowerLaw(**SHAPE, J_cut=2e3, cut_strength=1.5)
    g = J[0] + J[1] + J[2]
    assert float(cut.log_f(J) - plain.log_f(J)) == pytest.approx(-(float(g / 2e3) ** 1.5), rel=1e-12)
    far = df.DoublePowerLaw(**SHAPE, J_cut=1e11)
    assert float(far.log_f(J)) == pytest.approx(float(plain.log_f(J)), abs=1e-12)
    # The cut-off of a slope of 4.3 at 1e11/500 changes the mass by (2e8)^-1.3.
    assert float(far.mass()) == pytest.approx(float(plain.mass()), rel=1e-8)
    assert "J_cut" in params.parameters(cut) and "J_cut" not in params.parameters(plain)


def test_an_infinite_mass_is_refused_and_told():
    with pytest.raises(ValueError, match="slope_out=2.5.*infinite.*J_cut"):
        df.DoublePowerLaw(**(SHAPE | dict(slope_out=2.5)))
    # A sampler may go where a constructor would not: it is told by NaN.
    assert np.isnan(params.replace(df.DoublePowerLaw(**SHAPE), {"slope_out": 2.5}).mass())
    assert np.isfinite(df.DoublePowerLaw(**(SHAPE | dict(slope_out=2.5)), J_cut=1e4).mass())


def test_double_power_law_with_all_stars_on_one_side():
    f = df.DoublePowerLaw(**SHAPE, rotation=1.0)
    assert np.isfinite(f.log_f(J))
    deep = jnp.array([60.0, 25.0, -2e4])
    value, gradient = jax.value_and_grad(f.log_f)(deep)
    assert value < -60
    assert not np.any(np.isnan(gradient))


@pytest.mark.parametrize("scale, slope", [(1e-9, -4.2 / 2.2), (1e9, -(4.2 + 3.4) / 2.2)])
def test_halo_slopes(scale, slope):
    # d ln f / d ln A far inside and outside the break: -e_1 and -(e_1 + e_2).
    got = jax.grad(lambda s: HALO.log_f(jnp.exp(s) * J))(jnp.log(scale))
    assert float(got) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("scale, slope", [(1e-9, -1.5), (1e9, -4.3)])
def test_double_power_law_slopes(scale, slope):
    got = jax.grad(lambda s: df.DoublePowerLaw(**SHAPE).log_f(jnp.exp(s) * J))(jnp.log(scale))
    assert float(got) == pytest.approx(slope, rel=1e-6)


def test_weights_that_leave_nothing_for_angular_momentum():
    with pytest.raises(ValueError, match="c_r_in.*less than 3"):
        df.DoublePowerLaw(**SHAPE, c_z_in=1.8)
    with pytest.raises(ValueError, match="c_r_out.*less than 3"):
        df.DoublePowerLaw(**SHAPE, c_r_out=2.5, c_z_out=0.5)


@pytest.mark.parametrize("bad", [dict(beta=3.0), dict(gamma=2.5), dict(A_0=-1.0), dict(a=0.0)])
def test_halo_parameters_without_a_finite_mass_are_refused(bad):
    good = dict(a=1.2, b=1.1, gamma=1.8, beta=3.5, A_0=500.0)
    with pytest.raises(ValueError, match=next(iter(bad))):
        df.DB96Halo(**(good | bad))
