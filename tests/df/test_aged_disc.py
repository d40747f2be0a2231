"""The disc of all ages: its sum over ages, and what single ages do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from oortax import df, dynamics, params, potential

POT = potential.mw_potential_2014()
ORBITS = jax.jit(dynamics.circular_orbits)(POT)
SHAPE = dict(R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.4, Sigma_0=8e8)
DISC = df.AgedDisc(**SHAPE)
J = jnp.array(
    [[10.0, 5.0, 1700.0], [0.5, 0.2, 1700.0], [0.0, 0.0, 900.0], [120.0, 40.0, 1200.0], [200.0, 80.0, 2500.0]]
)


@jax.jit
def _log_f(f):
    f = f.bind(ORBITS)
    return jax.vmap(f.log_f)(J)


def test_sum_over_ages():
    # exp(tau/8) weights of QuasiIsothermal discs, by a fine rule over tau: 2000 points in tau^(1/3).
    root = np.linspace(0.0, 10.0 ** (1 / 3), 2001)
    tau = root**3

    @jax.jit
    @jax.vmap
    def at_age(tau):
        s = ((tau + 0.11) / 10.11) ** 0.33
        disc = df.QuasiIsothermal(**(SHAPE | dict(sigma_r0=120.0 * s, H_d=0.4 * s))).bind(ORBITS)
        return jnp.exp(jax.vmap(disc.log_f)(J))

    by_age = np.asarray(at_age(jnp.asarray(tau))) * np.exp(tau / 8.0)[:, None] * (3 * root**2)[:, None]
    expected = scipy.integrate.simpson(by_age, x=root, axis=0) / (8.0 * np.expm1(10.0 / 8.0))
    # The default 16 ages: 5e-8; Simpson's rule of 2000 panels 1e-9.
    np.testing.assert_allclose(_log_f(DISC), np.log(expected), atol=3e-7)


@pytest.mark.parametrize("tau_1, accuracy", [(0.11, 1e-6), (0.01, 5e-6)])
def test_how_many_ages_are_needed(tau_1, accuracy):
    few, many = (df.AgedDisc(**SHAPE, tau_1=tau_1, n_ages=n) for n in (16, 60))
    assert np.max(np.abs(_log_f(few) - _log_f(many))) < accuracy
    fewer = df.AgedDisc(**SHAPE, tau_1=tau_1, n_ages=6)
    assert np.max(np.abs(_log_f(fewer) - _log_f(many))) > 1e-3


def test_without_growth_all_ages_are_one_disc():
    still = params.replace(DISC, {"beta": 1e-9})
    np.testing.assert_allclose(_log_f(still), _log_f(df.QuasiIsothermal(**SHAPE)), atol=1e-6)


def test_single_ages():
    f = DISC.bind(ORBITS)
    old, young = f.at_age(10.0), f.at_age(0.0)
    np.testing.assert_allclose(jax.vmap(old.log_f)(J), _log_f(df.QuasiIsothermal(**SHAPE)), rtol=1e-12)
    s = float((0.11 / 10.11) ** 0.33)
    assert float(young.disc.sigma_r0) == pytest.approx(120.0 * s) and float(young.disc.H_d) == pytest.approx(
        0.4 * s
    )
    # Of circular orbits f is greatest for the youngest, of eccentric ones for the oldest.
    assert young.log_f(J[2]) > old.log_f(J[2]) and young.log_f(J[3]) < old.log_f(J[3]) - 10.0


def test_shares_of_ages():
    tau = jnp.linspace(0.0, 10.0, 4001)
    share = np.exp(jax.vmap(DISC.log_age_density)(tau))
    assert scipy.integrate.simpson(share, x=np.asarray(tau)) == pytest.approx(1.0, abs=1e-9)
    assert DISC.log_age_density(10.1) == -jnp.inf and DISC.log_age_density(-0.1) == -jnp.inf
    s, log_weights = DISC.ages()
    assert np.all(np.diff(s) > 0.0)
    # The weights integrate s^(1/beta - 1) exp(tau/t_0), smooth in s.
    assert float(jnp.sum(jnp.exp(log_weights))) == pytest.approx(1.0, abs=1e-7)


def test_mass_is_the_mean_of_the_ages():
    f = DISC.bind(ORBITS)
    mass = float(f.mass())
    masses = [float(f.at_age(tau).mass()) for tau in (0.0, 10.0)]
    assert min(masses) < mass < max(masses)
    # f itself, along J_phi, is the mean; its mass the mean of masses: checked by the rule of one age.
    one = df.AgedDisc(**SHAPE, beta=1e-9).bind(ORBITS)
    assert float(one.mass()) == pytest.approx(masses[1], rel=1e-7)


def test_rule_over_velocities_serves_all_ages():
    R, z = 8.0, 0.3

    @jax.jit
    def density(disc, orbits, pot):
        finder = dynamics.OortLindblad(pot)
        s, log_weights = disc.ages()
        own = jax.lax.map(lambda s: df.log_density(disc._grown(s).bind(orbits), pot, finder, R, z, 1.6), s)
        return df.log_density(disc.bind(orbits), pot, finder, R, z), jax.nn.logsumexp(own + log_weights)

    got, expected = density(DISC, ORBITS, POT)
    assert float(got) == pytest.approx(float(expected), abs=1e-3)


def test_unbound_disc_says_what_to_do():
    with pytest.raises(ValueError, match=r"bind\(dynamics.circular_orbits\(potential\)\).log_f"):
        DISC.log_f(J[0])
    with pytest.raises(ValueError, match=r"circular_orbits\(potential\)\).mass"):
        DISC.mass()


@pytest.mark.parametrize("bad", [dict(n_ages=1), dict(n_ages=2.5), dict(n_ages=True)])
def test_numbers_of_ages(bad):
    with pytest.raises(ValueError, match="n_ages.*whole number"):
        df.AgedDisc(**SHAPE, **bad)
