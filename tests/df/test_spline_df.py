"""The spline DF by itself: what it can be exactly, its edges, its mass, and the prior of its coefficients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from oortax import df, dynamics, potential

RNG = np.random.default_rng(8)
F = df.SplineDF(
    RNG.normal(0.0, 0.5, (8, 7, 10)) - np.linspace(0.0, 9.0, 8)[:, None, None], J_0=300.0, J_max=8e3
)
ENDS = {"J_0": 300.0, "J_max": 8e3}


@jax.jit
def _many(f, J):
    return jax.vmap(f.log_f)(J)


def _actions(n):
    return jnp.asarray(np.stack([*RNG.exponential(100.0, (2, n)), RNG.normal(0.0, 1500.0, n)], axis=1))


def test_coefficients_linear_in_t_are_a_double_power_law():
    """(1 + s/J_0)^-a (1 + s/J_max)^(a - slope): uniform cubic splines keep straight lines."""
    line = -2.0 * np.log(8e3 / 300.0) * (np.arange(8) - 1.0) / 5.0
    f = df.SplineDF(np.broadcast_to(line[:, None, None], (8, 7, 10)), **ENDS, slope=5.0)
    J = _actions(50)
    s = jnp.sum(jnp.abs(J), axis=1)
    exact = -2.0 * jnp.log1p(s / 300.0) - 3.0 * jnp.log1p(s / 8e3)
    np.testing.assert_allclose(_many(f, J), exact, atol=1e-12)
    # The outer slope: ln f over ln s from 1e9 to 1e10 kpc km/s.
    far = _many(f, jnp.array([[1e9, 1e9, 1e9], [1e10, 1e10, 1e10]]))
    assert float(far[1] - far[0]) / np.log(10.0) == pytest.approx(-5.0, abs=1e-4)


def test_the_mass_is_that_of_a_rule_that_knows_no_splines():
    line = -2.0 * np.log(8e3 / 300.0) * (np.arange(8) - 1.0) / 5.0
    f = df.SplineDF(np.broadcast_to(line[:, None, None], (8, 7, 10)), **ENDS, slope=5.0)
    # Isotropic in (J_r, J_z, |J_phi|): (2 pi)^3 s^2 ds, both senses of rotation.
    ln_s, step = np.linspace(np.log(1e-2), np.log(1e11), 20001, retstep=True)
    s = np.exp(ln_s)
    exact = (2 * np.pi) ** 3 * step * np.sum(s**3 * (1 + s / 300.0) ** -2 * (1 + s / 8e3) ** -3)
    # The tails that are left out: (1e11/8e3)^-2.
    assert float(f.mass()) == pytest.approx(exact, rel=1e-9)


def test_all_of_action_space_is_in_the_box():
    corners = [[0.0, 0, 0], [1e12, 0, 0], [0, 1e11, 0], [0, 0, 1e11], [0, 0, -1e11], [1e-9, 0, 0]]
    J = jnp.concatenate([jnp.array(corners), _actions(200)])
    q = np.asarray(jax.vmap(F.coordinates)(J))
    assert q.min() >= 0.0 and q.max() <= 1.0
    assert q[0, 0] == 0.0 and q[1, :2].min() > 0.99 and q[3, 2] > 0.99 and q[4, 2] < 0.01
    # Nothing at all at J = 0 depends on the direction from which it is reached.
    near = _many(F, 1e-7 * jnp.eye(3) * jnp.array([[1.0], [1.0], [-1.0]]))
    np.testing.assert_allclose(near, float(F.log_f(jnp.zeros(3))), atol=1e-8)


@pytest.mark.parametrize(
    "at", [[0.0, 25, 900], [40, 0, 900], [40, 0, -900], [0, 0, 900], [40, 25, 0], [0, 0, 0]]
)
def test_derivatives_at_the_edges(at):
    """One-sided differences into action space against derivatives, J_phi on both sides."""
    at = jnp.array(at, float)
    slope = jax.jit(jax.grad(F.log_f))
    for i in range(3):
        for side in (1.0, -1.0) if i == 2 else (1.0,):
            if i == 2 and at[2] != 0.0 and side < 0.0:
                continue
            h = jnp.zeros(3).at[i].set(side * 1e-2)
            values = _many(F, at + jnp.arange(5.0)[:, None] * h)
            numeric = float(np.array([-25.0, 48.0, -36.0, 16.0, -3.0]) @ values) / 12e-2 / side
            # J_phi = 0 itself belongs to neither side: the limit from this one.
            got = float(slope(at + (1e-9 * h if at[2] == 0.0 else 0.0))[i])
            # Truncation (1e-2 over 9, the least width)^4, rounding 1e-15/1e-2.
            assert got == pytest.approx(numeric, rel=1e-6, abs=1e-9), (i, side)


def test_f_is_smooth_in_v_phi_in_a_sphere():
    """A star's f as v_phi passes through 0, where J_z = L - |J_phi| has a kink that must not show."""
    pot = potential.Isochrone(M=1e11, b=3.0)
    finder = dynamics.IsochroneFinder(pot)

    def log_f(v_phi):
        return F.log_f(finder.actions(jnp.array([5.0, 0.0, 1.0]), jnp.stack([60.0, v_phi, 40.0])))

    slopes = jax.jit(jax.vmap(jax.grad(log_f)))(jnp.array([-1e-6, 1e-6]))
    assert abs(float(slopes[1])) > 1e-5
    assert float(slopes[0]) == pytest.approx(float(slopes[1]), rel=1e-5)


def test_a_baseline_is_corrected():
    orbits = jax.jit(dynamics.circular_orbits)(potential.mw_potential_2014())
    disc = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3)
    f = df.SplineDF(jnp.full((5, 5, 5), 0.7), **ENDS, slope=1.0, baseline=disc)
    with pytest.raises(ValueError, match="circular_orbits"):
        f.log_f(jnp.array([30.0, 10.0, 1800.0]))
    J = _actions(20)
    bound = f.bind(orbits)
    decline = jnp.log1p(jnp.sum(jnp.abs(J), axis=1) / 8e3)
    expected = _many(disc.bind(orbits), J) + 0.7 - decline
    np.testing.assert_allclose(_many(bound, J), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(bound.log_offset)(J), expected - 0.7, rtol=1e-12)
    plain = df.SplineDF(jnp.zeros((5, 12, 12)), **ENDS, slope=1e-9, baseline=disc).bind(orbits)
    # A cold disc fills a small part of the rule's directions, of which there are more with more cells: 3e-4.
    assert float(plain.mass()) == pytest.approx(float(disc.bind(orbits).mass()), rel=1e-3)


def test_what_is_refused():
    with pytest.raises(ValueError, match="three axes"):
        df.SplineDF(jnp.zeros((5, 5)), **ENDS)
    with pytest.raises(ValueError, match="at least 4"):
        df.SplineDF(jnp.zeros((5, 3, 5)), **ENDS)
    with pytest.raises(ValueError, match="J_0 must be less"):
        df.SplineDF.blank((5, 5, 5), J_0=1e4, J_max=300.0)
    with pytest.raises(ValueError, match="mass is infinite"):
        df.SplineDF.blank((5, 5, 5), **ENDS, slope=2.5)
    with pytest.raises(ValueError, match="order 5"):
        df.SmoothnessPrior((8, 5, 8), 1.0, order=5)


def test_the_prior_is_the_gaussian_that_it_says():
    shape, strengths = (5, 4, 6), jnp.array([2.0, 0.3, 7.0])
    prior = df.SmoothnessPrior(shape, strengths, centre=1.5, width=3.0)
    c = RNG.normal(1.0, 1.0, shape)
    covariance = np.linalg.inv(prior.precision())
    exact = stats.multivariate_normal(np.full(c.size, 1.5), covariance).logpdf(c.ravel())
    assert float(prior.log_prob(c)) == pytest.approx(exact, rel=1e-10)

    def log_prob(log_strengths):
        return df.SmoothnessPrior(shape, jnp.exp(log_strengths), centre=1.5, width=3.0).log_prob(c)

    at, h = jnp.log(strengths), 1e-4
    slope = jax.grad(log_prob)(at)
    for i in range(3):
        step = jnp.zeros(3).at[i].set(h)
        numeric = (log_prob(at + step) - log_prob(at - step)) / (2 * h)
        # Truncation 1e-8 of the terms.
        assert float(slope[i]) == pytest.approx(float(numeric), rel=1e-6, abs=1e-6)
    draws = np.asarray(prior.sample(jax.random.key(3), (4000,))).reshape(4000, -1)
    chi2 = np.einsum("np,pq,nq->n", draws - 1.5, prior.precision(), draws - 1.5)
    # chi^2 of 120: mean 120, sd sqrt(240); four standard errors of 4000.
    assert chi2.mean() == pytest.approx(120.0, abs=4.0 * np.sqrt(240.0 / 4000))


def test_power_laws_cost_nothing_but_the_width():
    shape = (6, 5, 7)
    i, j, k = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")
    line = 1.0 - 0.3 * i + 0.2 * j - 0.1 * k
    weak, strong = (df.SmoothnessPrior(shape, s, width=1e4) for s in (1.0, 100.0))
    np.testing.assert_allclose(strong.roughness(line), 0.0, atol=1e-25)
    bent = line + 0.01 * i**2
    # The curved one loses relative to the straight one, by (100 - 1)/2 times the sum of (0.02)^2.
    lost = [float(p.log_prob(line) - p.log_prob(bent)) for p in (weak, strong)]
    assert lost[1] - lost[0] == pytest.approx(0.5 * 99.0 * 0.02**2 * 4 * 35, rel=1e-5)
