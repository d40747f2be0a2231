"""Mixtures: amplitudes of components do not matter, weights do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, params, potential

ORBITS = jax.jit(dynamics.circular_orbits)(potential.mw_potential_2014())
THIN = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3, Sigma_0=8e8)
HALO = df.DB96Halo(a=1.2, b=1.1, gamma=1.8, beta=3.5, A_0=500.0)
BOTH = df.Mixture({"thin": THIN, "halo": HALO}, {"halo": 0.2, "thin": 0.8})
J = jnp.array([60.0, 25.0, 400.0])


def test_value_is_the_weighted_sum_of_normalised_components():
    thin = THIN.bind(ORBITS)
    expected = 0.8 * jnp.exp(thin.log_f(J)) / thin.mass() + 0.2 * jnp.exp(HALO.log_f(J))
    assert float(jnp.exp(BOTH.bind(ORBITS).log_f(J))) == pytest.approx(float(expected), rel=1e-12)
    assert float(BOTH.mass()) == pytest.approx(1.0)


def test_amplitudes_cancel():
    brighter = params.replace(BOTH, {"thin.Sigma_0": 3.0})
    np.testing.assert_allclose(brighter.bind(ORBITS).log_f(J), BOTH.bind(ORBITS).log_f(J), rtol=1e-12)


def test_weights_stay_with_their_components_through_transformations():
    # JAX sorts the keys of mappings: "halo" comes back before "thin".
    assert list(BOTH.components) == ["thin", "halo"]
    plain = BOTH.bind(ORBITS).log_f(J)
    through = jax.jit(lambda f: f)(BOTH)
    assert through.bind(ORBITS).log_f(J) == plain
    np.testing.assert_allclose(jax.jit(lambda f: f.bind(ORBITS).log_f(J))(BOTH), plain, rtol=1e-12)


def test_paths():
    assert {"thin.R_d", "halo.beta", "weights"} <= set(params.parameters(BOTH))


def test_a_component_that_vanishes_does_not_poison_the_sum():
    # exp(-2 Omega |J_phi| / sigma_r^2) underflows far outside, where sigma_r -> 0.
    far = jnp.array([3e4, 10.0, -5e3])
    f = BOTH.bind(ORBITS)
    assert THIN.bind(ORBITS).log_f(far) < -1e4
    value, gradient = jax.value_and_grad(f.log_f)(far)
    assert float(value) == pytest.approx(float(HALO.log_f(far) + jnp.log(0.2)), rel=1e-12)
    assert np.all(np.isfinite(gradient))


def test_unbound_mixture_of_discs_says_what_to_do():
    with pytest.raises(ValueError, match="circular_orbits"):
        BOTH.log_f(J)
    alone = df.Mixture({"halo": HALO}, [1.0])
    np.testing.assert_allclose(alone.log_f(J), HALO.log_f(J), rtol=1e-14)


def test_a_component_that_cannot_be_normalised_is_named():
    endless = params.replace(
        df.DoublePowerLaw(norm=1.0, J_0=500.0, slope_in=1.0, slope_out=4.0), {"slope_out": 2.0}
    )
    both = df.Mixture({"halo": HALO, "endless": endless}, [0.5, 0.5])
    with pytest.raises(ValueError, match="'endless' cannot be normalised.*nan"):
        both.bind(ORBITS)
    with pytest.raises(ValueError, match="'endless' cannot be normalised"):
        both.log_f(J)
    empty = df.Mixture({"thin": params.replace(THIN, {"Sigma_0": 0.0}), "halo": HALO}, [0.5, 0.5])
    with pytest.raises(ValueError, match="'thin' cannot be normalised.*0"):
        empty.bind(ORBITS)
    assert np.isnan(jax.jit(lambda f: f.bind(ORBITS).log_f(J))(both))


@pytest.mark.parametrize(
    "components, weights, message",
    [
        ({}, [], "at least one"),
        ({"halo": HALO}, [0.5, 0.5], "1 components but 2 weights"),
        ({"halo": HALO}, {"hallo": 1.0}, "hallo"),
        ({"halo": HALO}, [-1.0], "weights"),
        ({"halo": 3.0}, [1.0], "not a DF"),
    ],
)
def test_bad_mixtures(components, weights, message):
    with pytest.raises(ValueError, match=message):
        df.Mixture(components, weights)
