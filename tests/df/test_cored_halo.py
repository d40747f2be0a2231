"""The core in action space: flat inside, absent outside, and paid for by its surroundings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df

SHAPE = dict(norm=1e12, J_0=8000.0, slope_in=5 / 3, slope_out=4.0, steepness=1.3)
WEIGHTS = dict(c_r_in=1.3, c_z_in=0.8, c_r_out=0.9, c_z_out=1.1)
J = jnp.array([60.0, 25.0, -400.0])


def test_factor_of_the_core():
    halo, cusp = df.CoredHalo(J_core=300.0, **SHAPE, **WEIGHTS), df.DoublePowerLaw(**SHAPE, **WEIGHTS)
    beta = float(halo.beta())
    assert 0.1 < beta < 1.0
    x = 300.0 / (1.3 * 60.0 + 0.8 * 25.0 + 0.9 * 400.0)
    expected = -5 / 6 * np.log(x * x - beta * x + 1)
    assert abs(expected) > 0.1
    assert float(halo.log_f(J) - cusp.log_f(J)) == pytest.approx(expected, rel=1e-12)
    far = 1e5 * J
    # What is left is 5/6 beta J_core/h = 1e-6.
    assert float(halo.log_f(far)) == pytest.approx(float(cusp.log_f(far)), abs=1e-5)


def test_f_is_flat_at_the_centre():
    halo = df.CoredHalo(J_core=300.0, **(SHAPE | dict(steepness=1.0)))
    centre = halo.log_f(jnp.zeros(3))
    # norm/(2 pi J_0)^3 (J_0/J_core)^slope_in, as (J_0/h)^G (h/J_core)^G.
    expected = np.log(1e12) - 3 * np.log(2 * np.pi * 8000.0) + 5 / 3 * np.log(8000.0 / 300.0)
    assert float(centre) == pytest.approx(expected, rel=1e-12)
    near = halo.log_f(jnp.array([1.0, 1.0, 1.0]))
    # The slope is beta/2 slope_in/J_core, and smaller terms of 1/J_0.
    assert abs(float(near - centre)) < 3.0 * 5 / 6 * float(halo.beta()) / 300.0


@pytest.mark.parametrize("extra", [{}, dict(J_cut=3e4), dict(slope_out=2.5, J_cut=3e4)])
def test_the_mass_is_kept(extra):
    # With equal labels the condition on beta is that of the mass, and one quadrature serves both.
    halo, cusp = df.CoredHalo(J_core=2000.0, **(SHAPE | extra)), df.DoublePowerLaw(**(SHAPE | extra))
    assert float(halo.mass() / cusp.mass()) == pytest.approx(1.0, abs=1e-10)
    assert float(halo.bind(None).mass()) == pytest.approx(float(halo.mass()), rel=1e-14)
    # An independent rule over the actions: within h = 1e7 the cusp lacks (8e3/1e7)^(4 - 3) at most.
    s = np.exp(np.linspace(np.log(1e-3), np.log(1e8), 4001))
    along = jax.jit(jax.vmap(lambda s: halo.log_f(s * jnp.array([0.2, 0.3, 0.5]))))
    total = (2 * np.pi) ** 3 * np.trapezoid(np.exp(along(jnp.asarray(s))) * s**3, np.log(s))
    tail = (
        {}
        if "J_cut" in extra
        else (2 * np.pi) ** 3 * np.exp(float(along(jnp.asarray(s[-1:]))[0])) * s[-1] ** 3
    )
    total += tail or 0.0
    assert total == pytest.approx(float(halo.mass()), rel=1e-6)


def test_mass_with_unequal_labels_is_that_of_the_integral():
    halo = df.CoredHalo(J_core=500.0, **SHAPE, **WEIGHTS, J_cut=5e4, rotation=0.5, J_phi0=100.0)
    got = df.action_integral(halo.bind(None).log_f, 2000.0)
    # The general rule resolves the cut-off less well than the halo's own.
    assert float(got.value) == pytest.approx(float(halo.mass()), rel=1e-5)


def test_bound_and_unbound_agree():
    halo = df.CoredHalo(J_core=300.0, **SHAPE)
    np.testing.assert_allclose(halo.bind(None).log_f(J), halo.log_f(J), rtol=1e-14)
    assert halo.bind(None).bind(None).log_f(J) == halo.bind(None).log_f(J)


def test_a_core_that_cannot_be_paid_for_is_told():
    halo = df.CoredHalo(**(SHAPE | dict(slope_in=0.5, slope_out=6.0)), J_core=8e4)
    assert np.isnan(halo.log_f(J)) and np.isnan(halo.mass())


def test_an_infinite_mass_is_refused():
    with pytest.raises(ValueError, match="CoredHalo.slope_out=2.9.*infinite.*J_cut"):
        df.CoredHalo(**(SHAPE | dict(slope_out=2.9)), J_core=300.0)
