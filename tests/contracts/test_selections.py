"""What every selection promises, inherited through SELECTIONS."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from oortax import stars, survey
from oortax.survey import SELECTIONS

CASES = {
    "magnitude": survey.Magnitude(band="V", min=5.0, max=10.5),
    "absolute_magnitude": survey.AbsoluteMagnitude(min=0.2, max=1.6),
    "parallax_snr": survey.ParallaxSNR(min=20.0),
    "abs_b": survey.AbsLatitude(min=25.0),
    "latitude": survey.Latitude(min=-60.0, max=40.0),
    "longitude": survey.Longitude(min=300.0, max=60.0),
    "colour": survey.Colour(min=0.9, max=1.25),
    "completeness": survey.Completeness([1.0, 0.8, 0.1], V=[8.0, 10.0, 11.0]),
}
ERRORS = survey.Errors(V=0.05, parallax=0.03, parallax_zero_point=-0.02)
CLUMP = stars.Gaussian(mean=0.9, sigma=0.4)
FAINT_LIMIT = survey.Magnitude(max=12.0)
each = pytest.mark.parametrize("kind", sorted(SELECTIONS))


def make(kind, errors=ERRORS, **kwargs):
    return survey.Survey(selection=(CASES[kind],), errors=errors, **kwargs)


def draw(rng, M, l, b, s, errors=ERRORS):
    """Observed columns of stars with true (M, l, b, s): the generative model, with no dust."""
    n = len(M)
    V = M + 5 * np.log10(100 * s) + rng.normal(0, float(errors.V), n)
    parallax = 1 / s + float(errors.parallax_zero_point) + rng.normal(0, float(errors.parallax), n)
    constant = np.ones(n)
    return {
        "l": l * constant,
        "b": b * constant,
        "V": V,
        "parallax": parallax,
        "parallax_error": float(errors.parallax) * constant,
        "colour": 1.0 * constant,
    }


def test_every_selection_is_tested():
    assert set(CASES) == set(SELECTIONS)
    assert all(cls.kind == kind for kind, cls in SELECTIONS.items())


@each
def test_probability_is_a_probability(kind):
    grid = np.meshgrid(
        [-3.0, 0.2, 1.0, 4.0], [0.0, 2.0, 4.0], [-1.5, -0.3, 0.0, 0.5, 1.5], [0.0, 0.01, 0.5, 1.6, 30.0]
    )
    M, l, b, s = (axis.ravel() for axis in grid)
    value = np.asarray(jax.vmap(make(kind).probability)(M, l, b, s))
    assert value.shape == M.shape
    assert np.all((value >= 0) & (value <= 1 + 1e-8))
    assert np.all(value[s == 0] == 0)
    assert value.max() > 0.9


@each
def test_folded_agrees_with_a_monte_carlo(kind):
    """2e5 draws of M, the noise and the thinning, filtered by `accepts`: within 4 sigma."""
    rng = np.random.default_rng(8)
    n = 200_000
    model = make(kind)
    for l, b, s in ((1.0, 0.6, 0.6), (0.5, -0.9, 1.4), (3.0, 0.2, 2.1)):
        columns = draw(rng, rng.normal(0.9, 0.4, n), l, b, s)
        passes = CASES[kind].accepts(columns)
        if kind == "completeness":
            passes = rng.uniform(size=n) < CASES[kind].completeness(columns["V"])
        expected = float(model.folded(CLUMP, l, b, s))
        error = np.sqrt(max(expected * (1 - expected), 1 / n) / n)
        assert abs(np.mean(passes) - expected) < 4 * error, (s, np.mean(passes), expected, error)


@each
def test_gradients_are_finite_and_match_finite_differences(kind):
    """In s, V error, zero point, mean and width of F, and dust: also at distances where a limit cuts F."""

    def value(s, noise, zero_point, mean, sigma, k):
        errors = survey.Errors(noise, parallax=0.03, parallax_zero_point=zero_point)
        F = stars.Gaussian(mean, sigma, support=CLUMP.support)
        return make(kind, errors, extinction=survey.DustLayer(k, 0.1)).folded(F, 0.5, 0.6, s)

    gradient = jax.jit(jax.grad(value, argnums=(0, 1, 2, 3, 4, 5)))
    for s in (1e-3, 0.3, 0.8, 1.5, 20.0):
        point = tuple(jnp.asarray(q) for q in (s, 0.05, -0.02, 0.9, 0.4, 0.6))
        assert np.all(np.isfinite(gradient(*point))), s
    jitted = jax.jit(value)
    for s in (0.55, 1.45):
        point = [s, 0.05, -0.02, 0.9, 0.4, 0.6]
        for i, got in enumerate(gradient(*point)):
            up, down = list(point), list(point)
            up[i] += 1e-4
            down[i] -= 1e-4
            expected = (jitted(*up) - jitted(*down)) / 2e-4
            # The difference formula errs by step^2 f'''/6 (f varies over 0.05), and by rounding.
            assert float(got) == pytest.approx(float(expected), rel=1e-4, abs=3e-6), (s, i)


@each
def test_rows_with_nan_never_pass(kind):
    names = CASES[kind].columns
    columns = draw(np.random.default_rng(0), np.full(3, 0.9), 0.5, 0.6, 0.6)
    assert np.all(CASES[kind].accepts(columns))
    for name in names:
        broken = columns | {name: np.array([columns[name][0], np.nan, columns[name][2]])}
        assert CASES[kind].accepts(broken).tolist() == [True, False, True]


@each
def test_missing_column_is_named(kind):
    columns = draw(np.random.default_rng(0), np.full(3, 0.9), 0.5, 0.6, 0.6)
    for name in CASES[kind].columns:
        left = {other: values for other, values in columns.items() if other != name}
        with pytest.raises(ValueError, match=f"{kind}.*needs the column '{name}'"):
            make(kind).accepts(left)


@each
def test_sky_steps_only_at_the_stated_edges(kind):
    model = make(kind)
    rng = np.random.default_rng(2)
    l_panels = list(pairwise(model.edges_l()))
    b_panels = list(pairwise(model.edges_b()))
    assert all(lo < hi for lo, hi in l_panels + b_panels)
    share = 0.0
    for l0, l1 in l_panels:
        for b0, b1 in b_panels:
            inside = jax.vmap(model.sky)(rng.uniform(l0, l1, 50), rng.uniform(b0, b1, 50))
            assert np.ptp(inside) == 0
            share += float(inside[0]) * (l1 - l0) * (np.sin(b1) - np.sin(b0)) / (4 * np.pi)
    l, b = rng.uniform(0, 2 * np.pi, 100_000), np.arcsin(rng.uniform(-1, 1, 100_000))
    passes = CASES[kind].accepts({"l": l, "b": b}) if set(CASES[kind].columns) <= {"l", "b"} else np.ones(1)
    assert share == pytest.approx(np.mean(passes), abs=0.01)


@each
def test_one_trace_serves_all_parameters(kind):
    traces = []

    @jax.jit
    def value(model, s):
        traces.append(1)
        return model.folded(CLUMP, 0.5, 0.6, s)

    for zero_point in (-0.02, 0.0, 0.01):
        value(
            make(kind, survey.Errors(0.05, parallax=0.03, parallax_zero_point=zero_point)), jnp.asarray(0.7)
        )
    assert len(traces) == 1


def test_hard_edge_in_V_has_the_exact_derivative():
    """dS/ds for a hard limit and vanishing noise is -F(V_max - mu) dmu/ds, the moving edge's own term."""
    model = survey.Survey(selection=(survey.Magnitude(max=10.5),), errors=survey.Errors(V=1e-6))
    for s in (0.6, 0.871, 1.1):
        mu = 5 * np.log10(100 * s)
        expected = -np.exp(CLUMP.log_F(10.5 - mu)) * 5 / (np.log(10) * s)
        got = jax.grad(lambda s: model.folded(CLUMP, 0.0, 1.0, s))(s)
        assert float(got) == pytest.approx(float(expected), rel=1e-8)


def test_check_grads_of_a_joint_selection():
    """All cuts at once, at distances where the limits in V and in M_obs both bite."""
    model = survey.Survey(
        selection=tuple(CASES[kind] for kind in ("magnitude", "absolute_magnitude", "completeness")),
        errors=ERRORS,
    )
    for s in (0.602, 0.9, 1.147):
        check_grads(
            lambda s: model.folded(CLUMP, 0.5, 0.6, s), (s,), order=1, modes=["rev"], rtol=1e-5, eps=1e-5
        )
