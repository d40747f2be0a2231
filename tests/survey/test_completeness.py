"""Tabulated completeness and fields, against other interpolators and by hand."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from oortax import stars, survey
from oortax.survey import CompletenessGrid, Fields, Survey

APOGEE = Path(__file__).parents[1] / "data" / "apogee_sampling_fractions.csv"
AXES = {
    "l": np.array([0.0, 40.0, 200.0, 300.0]),
    "b": np.array([-90.0, -10.0, 0.0, 30.0, 90.0]),
    "magnitude": np.array([8.0, 9.0, 12.0]),
    "colour": np.array([0.0, 0.7, 1.5]),
}
VALUES = np.random.default_rng(0).uniform(size=tuple(len(x) for x in AXES.values()))


def random_stars(n, seed=1):
    rng = np.random.default_rng(seed)
    return {
        "l": rng.uniform(0, 2 * np.pi, n),
        "b": np.arcsin(rng.uniform(-1, 1, n)),
        "G": rng.uniform(7.5, 12.5, n),
        "g_r": rng.uniform(-0.2, 1.8, n),
    }


def test_grid_is_multilinear_periodic_and_zero_outside():
    grid = CompletenessGrid(VALUES, **AXES, band="G", name="g_r")
    at = random_stars(3000)
    l = np.append(AXES["l"], 360.0)
    table = np.concatenate([VALUES, VALUES[:1]])
    exact = RegularGridInterpolator(
        (np.radians(l), np.radians(AXES["b"]), AXES["magnitude"], AXES["colour"]),
        table,
        bounds_error=False,
        fill_value=0.0,
    )(np.column_stack([at[name] for name in ("l", "b", "G", "g_r")]))
    got = np.asarray(grid.weight(at))
    np.testing.assert_allclose(got, exact, atol=1e-12)
    outside = (at["G"] < 8) | (at["G"] > 12) | (at["g_r"] < 0) | (at["g_r"] > 1.5)
    assert np.all(got[outside] == 0) and np.all(got[~outside] > 0) and 0.2 < outside.mean() < 0.8
    around = {**at, "l": at["l"] - 2 * np.pi}
    np.testing.assert_allclose(grid.weight(around), got, atol=1e-12)


def test_grids_of_fewer_axes_do_not_depend_on_the_others():
    of_b = CompletenessGrid([0.0, 1.0, 0.5], b=[-30.0, 0.0, 60.0])
    assert of_b.columns == ("b",)
    assert of_b.weight({"b": jnp.radians(jnp.array([-40.0, -15.0, 30.0, 61.0]))}).tolist() == pytest.approx(
        [0.0, 0.5, 0.75, 0.0]
    )
    of_colour = CompletenessGrid([1.0, 0.0], colour=[0.0, 1.0], name="b_v")
    assert float(of_colour.weight({"b_v": 0.25})) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="cannot be folded.*at_colour"):
        Survey(selection=of_colour).folded(stars.Gaussian(0.9, 0.4), 0.0, 0.5, 0.5)


def test_grid_from_a_file(tmp_path):
    np.savez(tmp_path / "grid.npz", values=VALUES, **AXES)
    grid = CompletenessGrid(str(tmp_path / "grid.npz"), band="G", name="g_r")
    direct = CompletenessGrid(VALUES, **AXES, band="G", name="g_r")
    at = random_stars(100)
    np.testing.assert_array_equal(grid.weight(at), direct.weight(at))
    np.savez(tmp_path / "other.npz", S=VALUES)
    with pytest.raises(ValueError, match="lacks the array values"):
        CompletenessGrid(str(tmp_path / "other.npz"))


def test_apogee_cohorts_by_hand():
    """Three fields and their cohorts, from the table's own text."""
    fields = Fields(APOGEE, name="jk0")
    centre = {"l": np.radians(119.9999), "b": np.radians(-8.0)}
    star = {name: np.full(7, value) for name, value in centre.items()}
    star["H"] = np.array([6.9, 7.0, 12.1, 12.2, 12.8, 13.2, 13.3])
    star["jk0"] = np.full(7, 0.8)
    expected = [0.0, 0.0465, 0.0465, 0.0, 0.0204, 0.0204, 0.0]
    np.testing.assert_allclose(fields.weight(star), expected, atol=1e-12)
    assert np.all(np.asarray(fields.weight(star | {"jk0": np.full(7, 0.4)})) == 0)
    # 000+17 has a radius of 0.8 deg, 000+30 of 1.49.
    offsets = np.array([0.79, 0.81, 1.48, 1.50])
    for l, b, inside in ((0.144775, 17.002494, 1), (359.999867, 30.000146, 3)):
        seen = {
            "l": np.full(4, np.radians(l)),
            "b": np.radians(b + offsets),
            "H": np.full(4, 12.0),
            "jk0": np.full(4, 0.8),
        }
        assert (np.asarray(fields.weight(seen)) > 0).sum() == inside
    assert fields.overlaps == 1 and fields.magnitude_limits() == (7.0, 13.8)
    # One window in colour for all cells is that of F(M): it can be folded without a colour.
    assert fields.unfoldable == "" and fields.window == (0.5, 999.0)


def test_fields_may_be_given_in_either_frame():
    columns = np.genfromtxt(APOGEE, delimiter=",", names=True, dtype=None, encoding="utf-8")
    shared = {
        "radius": columns["radius"],
        "magnitude_min": columns["hmin"],
        "magnitude_max": columns["hmax"],
        "fraction": columns["fracsampling"],
    }
    galactic = Fields(shared | {"l": columns["glon"], "b": columns["glat"]})
    icrs = Fields(shared | {"ra": columns["ra"], "dec": columns["dec"]})
    # The table's two sets of coordinates agree to 0.2 arcsec or so.
    assert np.max(np.min(np.linalg.norm(galactic.n[:, None] - icrs.n, axis=-1), axis=1)) < 1e-6
    assert galactic.columns == ("l", "b", "H")


def test_overlapping_fields_draw_independently():
    table = {
        "l": [100.0, 101.0, 150.0],
        "b": [0.0, 0.0, 0.0],
        "radius": [2.0, 2.0, 2.0],
        "magnitude_min": [8.0] * 3,
        "magnitude_max": [10.0] * 3,
        "fraction": [0.5, 0.4, 1.0],
    }
    fields = Fields(table, band="V")
    l = np.radians([98.5, 100.5, 102.9, 150.0, 160.0])
    weight = fields.weight({"l": l, "b": np.zeros(5), "V": np.full(5, 9.0)})
    np.testing.assert_allclose(weight, [0.5, 1 - 0.5 * 0.6, 0.4, 1.0, 0.0], atol=1e-12)
    assert fields.overlaps == 2
    # It is the union of the three.
    single = [Fields({name: [values[i]] for name, values in table.items()}, band="V") for i in range(3)]
    union = single[0] | single[1] | single[2]
    np.testing.assert_allclose(
        union.weight({"l": l, "b": np.zeros(5), "V": np.full(5, 9.0)}), weight, atol=1e-12
    )
    np.testing.assert_allclose(jax.vmap(fields.sky)(l, np.zeros(5)), [1, 1, 1, 1, 0])


def test_v_los_completeness_and_its_fold():
    """The fraction of a catalogue of stars with v_los, folded and by rows."""
    cut = survey.VelocityCompleteness([1.0, 0.2], V=[8.0, 10.0])
    folded = Survey(selection=cut).folded(stars.Gaussian(0.9, 1e-3), 0.0, 0.5, 0.5)
    V = 0.9 + 5 * np.log10(50)
    assert float(folded) == pytest.approx(float(cut.completeness(V)), abs=1e-4)
    assert cut.accepts({"v_los": [1.0, np.nan]}).tolist() == [True, False]


def fields(**changes):
    table = {
        "l": [1.0],
        "b": [2.0],
        "radius": [1.0],
        "magnitude_min": [7.0],
        "magnitude_max": [9.0],
        "fraction": [0.5],
    }
    table = table | {name: [value] for name, value in changes.items()}
    return Fields({name: values for name, values in table.items() if values != [None]})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CompletenessGrid(VALUES, **(AXES | {"b": AXES["b"][::-1]})), "increasing|-90 to 90"),
        (lambda: CompletenessGrid(VALUES[..., 0], **AXES), "shape.*order is l, b, magnitude"),
        (lambda: CompletenessGrid(VALUES + 0.5, **AXES), "not between 0 and 1"),
        (lambda: CompletenessGrid(0 * VALUES, **AXES), "keeps nothing"),
        (lambda: CompletenessGrid([1.0, 1.0], l=[0.0, 360.0]), "from 0 to 360"),
        (lambda: CompletenessGrid([1.0], b=[0.0]), "two or more"),
        (lambda: CompletenessGrid(0.5), "axes"),
        (lambda: CompletenessGrid([1.0, 0.5], magnitude=[8, 9], band="W"), "unknown band 'W'"),
        (lambda: CompletenessGrid([1.0, 0.5], colour=[0, 1], at_colour=2.0), "keeps nothing there"),
        (lambda: CompletenessGrid("nowhere.npz"), "no such .npz file"),
        (lambda: survey.VelocityCompleteness([0.5, 0.6]), "one number, or a table"),
        (lambda: survey.VelocityCompleteness(1.5), "fraction must be"),
        (lambda: fields(fraction=1.2), "not between 0 and 1"),
        (lambda: fields(fraction=0.0), "keeps nothing"),
        (lambda: fields(radius=0.0), "radius must be between 0 and 90"),
        (lambda: fields(magnitude_max=6.0), "magnitude_min is not less than magnitude_max in row 0"),
        (lambda: fields(b=100.0), "latitudes between -90 and 90"),
        (lambda: fields(radius=None), "lacks radius"),
        (lambda: fields(l=None), "lacks ra, dec"),
        (lambda: fields(fraction="many"), "'fraction' must hold numbers"),
        (lambda: Fields("nowhere.csv"), "no such CSV file"),
        (lambda: Fields(APOGEE, band="h"), "unknown band 'h'"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_cells_without_extent_may_be_listed_if_nothing_was_observed_in_them():
    """As three of APOGEE's cohorts are."""
    table = {
        "l": [1.0, 1.0],
        "b": [2.0, 2.0],
        "radius": [1.0, 1.0],
        "magnitude_min": [7.0, 9.0],
        "magnitude_max": [9.0, 9.0],
        "fraction": [0.5, 0.0],
    }
    assert Fields(table).magnitude_limits() == (7.0, 9.0)
