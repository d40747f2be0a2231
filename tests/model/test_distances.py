"""Nodes in distance and in a missing v_los against dense quadratures."""

import jax
import numpy as np
import pytest

from oortax import df, model, potential, stars, survey
from oortax.model.distances import distance_rules, gauss_rule
from oortax.model.scales import v_los_rule

POT = potential.Sum(
    disc=potential.MiyamotoNagai(M=6.5e10, a=3.0, b=0.28), halo=potential.NFW(rho_s=1e7, r_s=16.0)
)
HALO = df.DB96Halo(a=1.2, b=1.2, beta=3.5, gamma=1.8, A_0=500.0)
F = stars.Gaussian(mean=0.6, sigma=0.25)
GALAXY = model.Galaxy(POT, {"halo": model.Component(HALO, F)})
SURVEY = survey.Survey(selection=survey.Magnitude(max=18.5), errors=survey.Errors(V=0.02))
L, B, V = 1.0, 0.9, 15.0
# What the star's own data say.
DATA = {
    "modulus": {"distance_modulus": 14.5, "distance_modulus_error": 0.15},
    "good parallax": {"parallax": 0.13, "parallax_error": 0.004},
    "poor parallax": {"parallax": 0.05, "parallax_error": 0.08},
    "negative parallax": {"parallax": -0.05, "parallax_error": 0.1},
    "V alone": {},
    "all": {
        "parallax": 0.1,
        "parallax_error": 0.03,
        "distance_modulus": 14.2,
        "distance_modulus_error": 0.3,
    },
}


def _catalogue(**columns):
    base = {"l": L, "b": B, "V": V, "mu_l": -2.0, "mu_b": 1.0, "mu_l_error": 0.1, "mu_b_error": 0.1}
    return model.Catalogue(**{name: np.array([value]) for name, value in (base | columns).items()})


def _dense(columns, weight) -> float:
    """int p(parallax | s) p(modulus | s) p(V | s) s^4 weight(s) ds by a fine trapezoidal rule."""
    s = np.exp(np.linspace(np.log(0.5), np.log(60.0), 40_001))
    mu = 5.0 * np.log10(100.0 * s)
    variance = 0.25**2 + 0.02**2
    values = s**4 * weight(s) * np.exp(-0.5 * (V - mu - 0.6) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
    for name, seen in (("parallax", 1.0 / s), ("distance_modulus", mu)):
        if name in columns:
            sigma = columns[f"{name}_error"]
            values *= np.exp(-0.5 * ((columns[name] - seen) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)
    return float(np.trapezoid(values, s))


@pytest.mark.parametrize("case", DATA)
def test_distance_nodes_match_a_dense_quadrature(case):
    columns = DATA[case]
    (rule,) = distance_rules(_catalogue(**columns), GALAXY, SURVEY, 3)
    s = rule.s[0]
    p_V = np.array([float(SURVEY.log_magnitude(F, L, B, x, V)) for x in s])
    for weight in (lambda s: s**-3.0, lambda s: s**-4.0 * np.exp(-s / 20.0)):
        found = float(np.sum(np.exp(rule.log_w[0] + p_V) * weight(s)))
        # Two nodes are good to 7e-4, three to 8e-6, four to 6e-8 in the worst of these cases.
        assert found == pytest.approx(_dense(columns, weight), rel=2e-5)


def test_gauss_rule_is_exact_to_its_degree():
    """n nodes integrate polynomials of degree 2n - 1 over any measure, here a lopsided one; not of 2n."""
    t = np.linspace(-2.0, 5.0, 200)[None]
    w = np.exp(-np.abs(t)) * (t > -1.0)
    for n in (1, 2, 5):
        nodes, weights = gauss_rule(t, w, n)
        for degree in range(2 * n):
            exact = np.sum(w * t**degree)
            assert np.sum(weights * nodes**degree) == pytest.approx(exact, rel=1e-9, abs=1e-9)
        assert abs(np.sum(weights * nodes ** (2 * n)) / np.sum(w * t ** (2 * n)) - 1.0) > 1e-6


def test_missing_v_los_is_integrated_over_what_the_component_fills():
    """An isotropic Gaussian of 110 km/s about rest: the integral over v_los is known."""
    rng = np.random.default_rng(1)
    n, sigma = 200, 110.0
    l, b = 2 * np.pi * rng.random(n), rng.choice([-1, 1], n) * np.radians(rng.uniform(30, 90, n))
    s = rng.uniform(3.0, 15.0, n)
    mu = rng.normal(0.0, 100.0, (2, n)) / (4.74 * s)
    row, velocities, log_step = v_los_rule(GALAXY, SURVEY, l, b, s, *mu, rng=rng)
    v_c0 = potential.circular_velocity(POT, SURVEY.sun.R0)
    place = jax.jit(jax.vmap(lambda *at: survey.phase_space(SURVEY.sun, v_c0, *at)[1]))
    v = np.asarray(place(l[row], b[row], s[row], mu[0][row], mu[1][row], velocities["v_los"]))
    found = np.bincount(row, np.exp(log_step - 0.5 * np.sum(v**2, axis=1) / sigma**2))
    v0, v1 = (np.asarray(place(l, b, s, *mu, np.full(n, x))) for x in (0.0, 1.0))
    along = v1 - v0
    perpendicular2 = np.sum(v0**2, axis=1) - np.sum(v0 * along, axis=1) ** 2
    exact = np.sqrt(2 * np.pi) * sigma * np.exp(-0.5 * perpendicular2 / sigma**2)
    # Stars that are nearly unbound by their proper motion have their nodes where they are bound.
    slow = perpendicular2 < 300.0**2
    assert slow.sum() > 100
    np.testing.assert_allclose(found[slow], exact[slow], rtol=2e-3)
    assert len(row) < 14 * n


def test_data_that_do_not_tell_a_distance_are_refused():
    vague = stars.Gaussian(mean=3.0, sigma=2.0)
    galaxy = model.Galaxy(POT, {"halo": model.Component(HALO, vague)})
    with pytest.raises(ValueError, match="1 stars .first row 0. have a distance uncertain by more than"):
        distance_rules(_catalogue(), galaxy, SURVEY, 3)
    with pytest.raises(ValueError, match="missing column distance_modulus_error"):
        _catalogue(distance_modulus=14.0)
    with pytest.raises(ValueError, match="column parallax_error is negative or not finite in 1 rows"):
        _catalogue(parallax=1.0, parallax_error=np.nan)
