"""What every selection promises, inherited through SELECTIONS."""

import tomllib
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from oortax import stars, survey
from oortax.io import toml
from oortax.io.nodes import parse_node
from oortax.survey import SELECTIONS

PIXELS = [0.0 if i % 5 == 4 else 0.5 + 0.05 * ((7 * i) % 11) for i in range(192)]
_AXES = np.meshgrid(range(3), range(2), (0, 1, 2, 4), range(2), indexing="ij")
GRID = 1.0 - 0.03 * _AXES[0] - 0.02 * _AXES[1] * (1 + _AXES[2]) - 0.14 * _AXES[2] - 0.05 * _AXES[3]
# Every selection as a configuration states it. A star at l = 0.5, b = 0.6, s = 0.6 kpc of M = 0.9 passes all.
TABLES = {
    "magnitude": {"band": "V", "min": 5.0, "max": 10.5},
    "absolute_magnitude": {"min": 0.2, "max": 1.6},
    "colour": {"min": 0.9, "max": 1.25},
    "parallax": {"min": 0.6, "max": 4.0},
    "parallax_snr": {"min": 20.0},
    "distance_modulus": {"min": 8.0, "max": 10.0},
    "proper_motion": {"max": 12.0, "component": "mu_ra"},
    "v_los": {"min": -95.0, "max": 90.0},
    "abs_b": {"min": 25.0},
    "latitude": {"min": -60.0, "max": 40.0},
    "longitude": {"min": 300.0, "max": 60.0},
    "cone": {"radius": 20.0, "ra": 266.0, "dec": 2.0},
    "declination": {"min": -30.0, "max": 20.0},
    "polygon": {"vertices": [[10, 10], [60, 10], [60, 60], [20, 30], [10, 55]], "frame": "galactic"},
    "healpix": {"values": PIXELS, "frame": "icrs", "ordering": "nested"},
    "fields": {
        "table": str(Path(__file__).parents[1] / "data" / "fields.csv"), "band": "V", "at_colour": 1.0
    },
    "completeness": {"fraction": [1.0, 0.8, 0.1], "V": [8.0, 10.0, 11.0]},
    "completeness_grid": {
        "values": GRID.tolist(),
        "l": [0, 120, 250],
        "b": [-80, 80],
        "magnitude": [4.0, 9.0, 10.0, 11.5],
        "colour": [0.5, 1.5],
        "at_colour": 1.0,
    },
    "v_los_completeness": {"fraction": [0.98, 0.5], "V": [8.0, 12.0]},
    "intersection": {
        "parts": [
            {"kind": "abs_b", "min": 20.0},
            {"kind": "magnitude", "max": 10.5},
            {"kind": "parallax", "min": 0.5},
        ]
    },
    "union": {
        "parts": [
            {
                "kind": "intersection",
                "parts": [{"kind": "latitude", "min": 30}, {"kind": "magnitude", "max": 10}],
            },
            {"kind": "magnitude", "max": 8.0},
        ]
    },
    "complement": {
        "part": {
            "kind": "intersection",
            "parts": [{"kind": "latitude", "max": 25.0}, {"kind": "magnitude", "min": 9.0}],
        }
    },
}  # fmt: skip


def parsed(kind):
    return parse_node({"kind": kind, **TABLES[kind]}, "survey.selection[0]", SELECTIONS)


CASES = {kind: parsed(kind).build(SELECTIONS) for kind in TABLES}
ERRORS = survey.Errors(V=0.05, parallax=0.03, parallax_zero_point=-0.02, distance_modulus=0.1)
CLUMP = stars.Gaussian(mean=0.9, sigma=0.4)
FAINT_LIMIT = survey.Magnitude(max=12.0)
each = pytest.mark.parametrize("kind", sorted(SELECTIONS))
FOLDABLE = [kind for kind in sorted(SELECTIONS) if not CASES[kind].unfoldable]
each_foldable = pytest.mark.parametrize("kind", FOLDABLE)
# Cuts that take all or nothing of the stars of given observables.
HARD = sorted(
    set(SELECTIONS) - {"healpix", "fields", "completeness", "completeness_grid", "v_los_completeness"}
)


def make(kind, errors=ERRORS, **kwargs):
    return survey.Survey(selection=(CASES[kind],), errors=errors, **kwargs)


def draw(rng, M, l, b, s, errors=ERRORS):
    """Observed columns of stars with true (M, l, b, s): the generative model, with no dust."""
    n = len(M)
    V = M + 5 * np.log10(100 * s) + rng.normal(0, float(errors.V), n)
    parallax = 1 / s + float(errors.parallax_zero_point) + rng.normal(0, float(errors.parallax), n)
    modulus = 5 * np.log10(100 * s) + rng.normal(0, float(errors.distance_modulus), n)
    constant = np.ones(n)
    return {
        "distance_modulus": modulus,
        "l": l * constant,
        "b": b * constant,
        "V": V,
        "parallax": parallax,
        "parallax_error": float(errors.parallax) * constant,
        "colour": 1.0 * constant,
        "mu_l": rng.normal(0, 4, n),
        "mu_b": rng.normal(0, 4, n),
        "v_los": rng.normal(0, 30, n),
    }


def test_every_selection_is_tested():
    assert set(CASES) == set(SELECTIONS)
    assert all(cls.kind == kind for kind, cls in SELECTIONS.items())
    assert set(SELECTIONS) - set(FOLDABLE) == {"proper_motion", "v_los"}


@each_foldable
def test_probability_is_a_probability(kind):
    grid = np.meshgrid(
        [-3.0, 0.2, 1.0, 4.0], [0.0, 0.5, 2.0, 4.0], [-1.5, -0.3, 0.0, 0.6, 1.5], [0.0, 0.01, 0.5, 1.6, 30.0]
    )
    M, l, b, s = (axis.ravel() for axis in grid)
    value = np.asarray(jax.jit(jax.vmap(make(kind).probability))(M, l, b, s))
    assert value.shape == M.shape
    assert np.all((value >= 0) & (value <= 1 + 1e-8))
    assert np.all(value[s == 0] == 0)
    assert value.max() > 0.9


@each_foldable
def test_folded_agrees_with_a_monte_carlo(kind):
    """2e5 draws of M, the noise and the thinning, kept by `weight`: within 4 sigma."""
    rng = np.random.default_rng(8)
    n = 200_000
    folded = jax.jit(lambda *place: make(kind).folded(CLUMP, *place))
    weight = jax.jit(lambda columns: CASES[kind].weight(columns))
    for l, b, s in ((1.0, 0.6, 0.6), (0.5, -0.9, 1.4), (3.0, 0.2, 2.1)):
        columns = draw(rng, rng.normal(0.9, 0.4, n), l, b, s)
        passes = rng.uniform(size=n) < np.asarray(weight(columns))
        expected = float(folded(l, b, s))
        error = np.sqrt(max(expected * (1 - expected), 1 / n) / n)
        assert abs(np.mean(passes) - expected) < 4 * error, (s, np.mean(passes), expected, error)


@each_foldable
def test_gradients_are_finite_and_match_finite_differences(kind):
    """In s, V error, zero point, mean and width of F, and dust: also at distances where a limit cuts F."""

    def value(s, noise, zero_point, mean, sigma, k):
        errors = survey.Errors(noise, parallax=0.03, parallax_zero_point=zero_point, distance_modulus=0.1)
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
        with pytest.raises(ValueError, match=f"needs the column '{name}'"):
            make(kind).accepts(left)
        with pytest.raises(ValueError, match=f"needs the column '{name}'"):
            CASES[kind].weight(left)


@each
def test_sky_nodes_or_edges_cover_the_footprint(kind):
    """`sky` steps at the stated edges only, or the nodes for curved borders add up to its area."""
    model = make(kind)
    rng = np.random.default_rng(2)
    if model.curved:
        l, b, area = model.sky_nodes(2000)
        value = np.asarray(jax.jit(jax.vmap(model.sky))(l, b))
        assert np.all(value > 0)
        share = np.sum(value * area) / (4 * np.pi)
    else:
        l_panels = list(pairwise(model.edges_l()))
        b_panels = list(pairwise(model.edges_b()))
        assert all(lo < hi for lo, hi in l_panels + b_panels)
        share, sky_of = 0.0, jax.jit(jax.vmap(model.sky))
        for l0, l1 in l_panels:
            for b0, b1 in b_panels:
                inside = sky_of(rng.uniform(l0, l1, 50), rng.uniform(b0, b1, 50))
                assert np.ptp(inside) == 0
                share += float(inside[0]) * (l1 - l0) * (np.sin(b1) - np.sin(b0)) / (4 * np.pi)
    l, b = rng.uniform(0, 2 * np.pi, 100_000), np.arcsin(rng.uniform(-1, 1, 100_000))
    sky = np.asarray(jax.jit(jax.vmap(model.sky))(l, b))
    # The scatter of the mean of 1e5 stars is below 0.0016.
    assert share == pytest.approx(np.mean(sky), abs=0.005)
    if set(CASES[kind].columns) <= {"l", "b"} and kind != "completeness":
        assert np.array_equal(CASES[kind].accepts({"l": l, "b": b}), sky > 0)


def observed_stars(rng, n):
    """Quantities far and wide, a tenth of them NaN."""
    ranges = {
        "l": (0, 2 * np.pi), "b": (-np.pi / 2, np.pi / 2), "V": (3, 14), "colour": (0, 2),
        "parallax": (-1, 6), "parallax_error": (0.01, 0.2), "mu_l": (-10, 10), "mu_b": (-10, 10),
        "v_los": (-100, 100), "distance_modulus": (7, 12),
    }  # fmt: skip
    columns = {name: rng.uniform(lo, hi, n) for name, (lo, hi) in ranges.items()}
    return {name: np.where(rng.random(n) < 0.02, np.nan, values) for name, values in columns.items()}


@each
def test_weight_is_a_probability_that_agrees_with_accepts(kind):
    columns = observed_stars(np.random.default_rng(5), 4000)
    # Near the stars that pass, too.
    near = draw(np.random.default_rng(6), np.full(1000, 0.9), 0.5, 0.6, 0.6)
    columns = {name: np.concatenate([values, near[name]]) for name, values in columns.items()}
    weight = np.asarray(jax.jit(lambda columns: CASES[kind].weight(columns))(columns))
    accepted = CASES[kind].accepts(columns)
    assert weight.shape == (5000,) and np.all((weight >= 0) & (weight <= 1))
    assert np.all(weight[~accepted] == 0) and 0 < np.mean(weight > 0) < 1
    if kind in HARD:
        assert np.array_equal(weight, accepted)
    for name in CASES[kind].observables:
        missing = ~np.isfinite(columns[name]) if name in columns else np.zeros(5000, bool)
        assert kind == "union" or np.all(weight[missing] == 0)
    total = survey.Survey(selection=(CASES[kind], FAINT_LIMIT), errors=ERRORS).weight(columns)
    bright = np.nan_to_num(columns["V"], nan=99.0) <= 12.0
    np.testing.assert_allclose(total, weight * bright, atol=1e-15)


@each
def test_weight_broadcasts(kind):
    rng = np.random.default_rng(3)
    grid = {name: values[:, None] for name, values in draw(rng, np.full(4, 0.9), 0.5, 0.6, 0.6).items()}
    grid["l"], grid["b"] = np.linspace(0.3, 0.8, 7), np.linspace(0.4, 0.7, 7)
    weight_of = jax.jit(lambda columns: CASES[kind].weight(columns))
    weight = weight_of(grid)
    for i in range(4):
        for j in (0, 3, 6):
            star = {name: values[i, 0] if values.ndim == 2 else values[j] for name, values in grid.items()}
            one = weight_of(star)
            assert jnp.shape(one) == ()
            whole = jnp.broadcast_to(weight, (4, 7)) if jnp.ndim(weight) != 1 else weight[None].repeat(4, 0)
            np.testing.assert_allclose(one, whole[i, j], rtol=1e-12)


@each
def test_weight_has_finite_derivatives(kind):
    """Also where a star has no value; and they are the fraction's slope where it is smooth."""
    columns = observed_stars(np.random.default_rng(7), 50) | {"l": np.full(50, 0.5), "b": np.full(50, 0.6)}

    def total(columns):
        return jnp.sum(CASES[kind].weight(columns))

    gradient = jax.jit(jax.grad(total))({name: jnp.asarray(values) for name, values in columns.items()})
    assert all(np.all(np.isfinite(values)) for values in gradient.values())
    star = {
        name: jnp.asarray(value[0])
        for name, value in draw(np.random.default_rng(1), np.zeros(1), 0.5, 0.6, 0.6).items()
    }
    slope = jax.grad(lambda V: CASES[kind].weight(star | {"V": V}))
    step = 1e-5
    ends = [CASES[kind].weight(star | {"V": jnp.asarray(9.4 + sign * step)}) for sign in (1, -1)]
    # Rounding of order 1e-16 over 2e-5; cubic tables err by step^2.
    assert float(slope(9.4)) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), abs=1e-9)
    assert kind not in ("completeness", "completeness_grid", "v_los_completeness") or abs(slope(9.4)) > 1e-3


@each
def test_configuration_round_trip(kind):
    text = toml.dumps({"survey": {"selection": [parsed(kind).resolved()]}})
    table = tomllib.loads(text)["survey"]["selection"][0]
    again = parse_node(table, "survey.selection[0]", SELECTIONS).build(SELECTIONS)
    columns = draw(np.random.default_rng(4), np.linspace(-3.0, 3.0, 200), 0.5, 0.6, 0.6)
    weight = np.asarray(again.weight(columns))
    assert weight.max() > 0.2
    np.testing.assert_array_equal(weight, CASES[kind].weight(columns))


@pytest.mark.parametrize("kind", ["proper_motion", "v_los"])
def test_cuts_on_velocities_say_what_to_do_instead(kind):
    with pytest.raises(ValueError, match=f"{kind}.*cannot be folded.*Survey.weight"):
        make(kind).folded(CLUMP, 0.5, 0.6, 0.6)


@each_foldable
def test_one_trace_serves_all_parameters(kind):
    traces = []

    @jax.jit
    def value(model, s):
        traces.append(1)
        return model.folded(CLUMP, 0.5, 0.6, s)

    for zero_point in (-0.02, 0.0, 0.01):
        errors = survey.Errors(0.05, parallax=0.03, parallax_zero_point=zero_point, distance_modulus=0.1)
        value(make(kind, errors), jnp.asarray(0.7))
    assert len(traces) == 1


def test_hard_edge_in_V_has_the_exact_derivative():
    """dS/ds for a hard limit and vanishing noise is -F(V_max - mu) dmu/ds, the moving edge's own term."""
    model = survey.Survey(selection=(survey.Magnitude(max=10.5),), errors=survey.Errors(V=1e-6))
    slope = jax.jit(jax.grad(lambda s: model.folded(CLUMP, 0.0, 1.0, s)))
    for s in (0.6, 0.871, 1.1):
        mu = 5 * np.log10(100 * s)
        expected = -np.exp(CLUMP.log_F(10.5 - mu)) * 5 / (np.log(10) * s)
        assert float(slope(s)) == pytest.approx(float(expected), rel=1e-8)


def test_check_grads_of_a_joint_selection():
    """All cuts at once, at distances where the limits in V and in M_obs both bite."""
    model = survey.Survey(
        selection=tuple(CASES[kind] for kind in ("magnitude", "absolute_magnitude", "completeness")),
        errors=ERRORS,
    )
    folded = jax.jit(lambda s: model.folded(CLUMP, 0.5, 0.6, s))
    for s in (0.602, 0.9, 1.147):
        check_grads(folded, (s,), order=1, modes=["rev"], rtol=1e-5, eps=1e-5)
