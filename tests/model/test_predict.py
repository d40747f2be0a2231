"""Mock catalogues against the model they were drawn from, by routes that share no code with the sampler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, model, potential, stars, survey

# What the sampler does is the same in any potential: one that compiles soon.
POT = potential.Sum(
    disc=potential.MiyamotoNagai(M=7e10, a=3.0, b=0.3), halo=potential.NFW(rho_s=9e6, r_s=16.0)
)
CLUMP = stars.Gaussian(mean=0.8, sigma=0.25)
# Names out of alphabetical order: JAX sorts the keys of mappings.
GALAXY = model.Galaxy(
    POT,
    {
        "thin": model.Component(df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3), CLUMP),
        "hot": model.Component(df.QuasiIsothermal(R_d=2.2, sigma_r0=180.0, R_sigma=8.0, H_d=0.8), CLUMP, 0.3),
    },
)
SURVEY = survey.Survey(
    selection=(
        survey.Magnitude(max=10.5),
        survey.AbsLatitude(min=25.0),
        survey.AbsoluteMagnitude(min=0.2, max=1.6),
        survey.Colour(min=0.9, max=1.25),
    ),
    errors=survey.Errors(
        V=0.02, parallax=0.03, pm=0.05, v_los=0.5, v_los_jitter=2.0, parallax_zero_point=-0.02
    ),
)
N = 3000
SAMPLES = 1 << 15


@pytest.fixture(scope="module")
def mock():
    return model.predict(jax.random.key(11), GALAXY, SURVEY, N)


@jax.jit
def _log_f(potential, dfs, x, v):
    finder = dynamics.StaeckelFudge(potential)
    orbits = dynamics.circular_orbits(potential)
    bound = [f.bind(orbits) for f in dfs]

    def one(x, v):
        J = finder.actions(x, v)
        return jnp.stack([f.log_f(J) - jnp.log(f.mass()) for f in bound]), J

    return jax.vmap(one)(x, v)


def _moments(x, v, which):
    """Per star: the quantities whose means are compared, for the stars of each component."""
    R = np.hypot(x[:, 0], x[:, 1])
    v_R = (x[:, 0] * v[:, 0] + x[:, 1] * v[:, 1]) / R
    v_phi = (x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]) / R
    s = np.linalg.norm(x - np.array([float(SURVEY.sun.R0), 0.0, float(SURVEY.sun.z0)]), axis=1)
    features = np.stack(
        [s, np.abs(x[:, 2]), R, v_phi, v_R**2, v_phi**2, v[:, 2] ** 2, v_R * v[:, 2] * x[:, 2]]
    )
    return np.concatenate([features * (which == 0), features * (which == 1), (which == 0)[None]])


def test_moments_agree_with_importance_sampling(mock):
    rng = np.random.default_rng(3)
    n = SAMPLES
    s, l = 1.75 * np.cbrt(rng.random(n)), 2 * np.pi * rng.random(n)
    b = np.arcsin(np.sin(np.radians(25)) + (1 - np.sin(np.radians(25))) * rng.random(n)) * rng.choice(
        [-1, 1], n
    )
    x = np.asarray(jax.vmap(lambda *p: survey.position(SURVEY.sun, *p))(l, b, s))
    folded = np.asarray(jax.jit(jax.vmap(lambda *p: SURVEY.folded(CLUMP, *p)))(l, b, s))
    which = rng.integers(0, 2, n)
    sigma = np.where(which == 0, 45.0, 75.0)[:, None] * np.array([1.0, 0.8, 0.8])
    deviation = rng.standard_normal((n, 3)) * 1.2
    v = deviation * sigma
    R = np.hypot(x[:, 0], x[:, 1])
    u_phi = np.where(which == 0, 200.0, 175.0) + v[:, 1]
    v_xyz = np.stack(
        [v[:, 0] * x[:, 0] - u_phi * x[:, 1], v[:, 0] * x[:, 1] + u_phi * x[:, 0], R * v[:, 2]], 1
    )
    v_xyz /= R[:, None]
    log_f, _ = _log_f(POT, [GALAXY.components[name].df for name in ("thin", "hot")], x, v_xyz)
    log_q = -0.5 * np.sum((deviation / 1.2) ** 2, axis=1) - np.sum(np.log(sigma), axis=1)
    weights = folded * np.exp(np.asarray(log_f)[np.arange(n), which] - log_q) * np.array([0.7, 0.3])[which]
    expected = _moments(x, v_xyz, which)
    mean = expected @ weights / weights.sum()
    error = np.sqrt(((expected - mean[:, None]) ** 2) @ weights**2) / weights.sum()
    drawn_from = np.where(mock.truth["component"] == mock.names.index("thin"), 0, 1)
    drawn = _moments(mock.truth["x"], mock.truth["v"], drawn_from)
    error = np.hypot(error, drawn.std(axis=1) / np.sqrt(N))
    pulls = (drawn.mean(axis=1) - mean) / error
    # 17 correlated pulls of unit width: none beyond 4, and neither all small nor all large.
    assert np.max(np.abs(pulls)) < 4.0
    assert 0.1 < np.sqrt(np.mean(pulls**2)) < 2.0
    # Sharp enough to mean something: the mean height and the share of the thin disc to 3 per cent.
    assert error[1] < 0.03 * mean[1] and error[16] < 0.03 * mean[16]


def test_components_keep_their_names(mock):
    thin, hot = (
        mock.truth["v"][mock.truth["component"] == mock.names.index(name)] for name in ("thin", "hot")
    )
    assert 20 < np.std(thin[:, 2]) < 35 < 50 < np.std(hot[:, 2]) < 90


def test_every_star_passes_the_survey(mock):
    assert np.all(SURVEY.accepts(mock.columns).mask)
    assert all(len(values) == N for values in mock.columns.values())
    assert all(np.all(np.isfinite(values)) for values in mock.columns.values())


def test_noise_is_as_stated(mock):
    columns, truth = mock.columns, mock.truth
    v_c0 = potential.circular_velocity(POT, SURVEY.sun.R0)
    seen = jax.vmap(lambda x, v: survey.observe(SURVEY.sun, v_c0, x, v))(truth["x"], truth["v"])
    np.testing.assert_allclose(seen.s, truth["s"], rtol=1e-10)
    residuals = {
        "mu_l": (columns["mu_l"] - seen.mu_l) / 0.05,
        "mu_b": (columns["mu_b"] - seen.mu_b) / 0.05,
        "v_los": (columns["v_los"] - seen.v_los) / np.hypot(0.5, 2.0),
        "parallax": (columns["parallax"] - 1 / truth["s"] + 0.02) / 0.03,
    }
    for name, residual in residuals.items():
        residual = np.asarray(residual)
        # Four standard errors of mean and width; the parallax is also biased by the cuts (by 0.1 sigma).
        bias = 0.1 if name == "parallax" else 0.0
        assert abs(residual.mean()) < 4 / np.sqrt(N) + bias, name
        assert abs(residual.std() - 1) < 4 / np.sqrt(2 * N) + 0.5 * bias, name
    assert set(columns["v_los_error"]) == {0.5} and set(columns["mu_l_error"]) == {0.05}


def test_actions_belong_to_the_stars(mock):
    # As many rows as in the test above, so that nothing is compiled twice.
    x, v = (np.resize(mock.truth[name], (SAMPLES, 3)) for name in ("x", "v"))
    _, J = _log_f(POT, [GALAXY.components[name].df for name in ("thin", "hot")], x, v)
    np.testing.assert_allclose(mock.truth["J"], J[:N], rtol=1e-8, atol=1e-8)


def test_draw_is_reproducible_and_reports_itself(mock):
    report = mock.report
    assert report.drawn == N < report.observed < report.proposed
    assert set(report.largest) == {"thin", "hot"} and 0 < max(report.largest.values()) <= 1
    first = model.predict(jax.random.key(4), GALAXY, SURVEY, 300)
    again = model.predict(jax.random.key(4), GALAXY, SURVEY, 300)
    other = model.predict(jax.random.key(5), GALAXY, SURVEY, 300)
    np.testing.assert_array_equal(first.columns["v_los"], again.columns["v_los"])
    assert not np.any(np.isin(first.columns["v_los"], other.columns["v_los"]))


def test_missing_velocities_and_outliers():
    outliers = model.Outliers(fraction=0.2, sigma=200.0)
    got = model.predict(jax.random.key(6), GALAXY, SURVEY, 1500, outliers=outliers, missing_v_los=0.3)
    missing = np.isnan(got.columns["v_los"])
    # Binomial shares within four standard deviations.
    assert abs(missing.mean() - 0.3) < 4 * np.sqrt(0.21 / 1500)
    np.testing.assert_array_equal(missing, np.isnan(got.columns["v_los_error"]))
    out = got.truth["component"] == -1
    assert abs(out.mean() - 0.2) < 4 * np.sqrt(0.16 / 1500)
    v = got.truth["v"][out]
    assert np.all(np.abs(v.std(axis=0) / 200 - 1) < 4 / np.sqrt(2 * out.sum()))
    assert np.all(np.abs(v.mean(axis=0)) < 4 * 200 / np.sqrt(out.sum()))
    v_c0 = potential.circular_velocity(POT, SURVEY.sun.R0)
    seen = jax.vmap(lambda x, v: survey.observe(SURVEY.sun, v_c0, x, v))(got.truth["x"][out], v)
    assert np.max(np.abs(got.columns["mu_l"][out] - seen.mu_l)) < 6 * 0.05
    assert np.all(np.isnan(got.truth["J"][out])) and np.all(np.isfinite(got.truth["J"][~out]))


def test_without_an_error_of_distance_there_is_no_distance():
    got = model.predict(jax.random.key(0), GALAXY, survey.Survey(selection=survey.Magnitude(max=10.5)), 10)
    assert "parallax" not in got.columns and "distance_modulus" not in got.columns


def test_bad_requests_say_what_to_do():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="n must be at least 1"):
        model.predict(key, GALAXY, SURVEY, 0)
    with pytest.raises(ValueError, match="missing_v_los"):
        model.predict(key, GALAXY, SURVEY, 10, missing_v_los=1.2)
    endless = survey.Survey(selection=survey.AbsLatitude(min=25.0), errors=survey.Errors(parallax=0.02))
    with pytest.raises(ValueError, match="faint limit"):
        model.predict(key, GALAXY, endless, 10)
