"""From configuration and catalogue to a model: rows counted, errors assumed aloud, supports checked."""

import copy
import tomllib

import numpy as np
import pytest

from oortax import data, io, params
from oortax.io.tables import read_table
from oortax.stars import GridMagnitudes, Population, Tabulated

CONFIG = """
[data]
catalogue = "stars.parquet"
[survey]
selection = [
  {kind = "magnitude", band = "V", max = 10.0},
  {kind = "absolute_magnitude", min = 0.2, max = 1.6},
  {kind = "abs_b", min = 30.0},
]
errors = {pm = 0.03, v_los = 0.7}
[potential.disc]
kind = "MiyamotoNagai"
M = {prior = "LogNormal(log(6.5e10), 0.5)", start = 7e10}
a = 3.0
b = 0.3
[potential.halo]
kind = "NFW"
rho_s = 8e6
r_s = 16.0
[components.thin]
weight = {prior = "Beta(8, 2)", start = 0.75}
df = {kind = "QuasiIsothermal", R_d = 2.6, sigma_r0 = 95.0, R_sigma = 8.0, H_d = 0.3}
[components.thick]
df = {kind = "QuasiIsothermal", R_d = 2.2, sigma_r0 = 160.0, R_sigma = 8.0, H_d = 0.8}
[sun]
V = {prior = "Normal(12.24, 2.0)"}
[outliers]
fraction = {prior = "Beta(1, 50)", start = 0.01}
sigma = 150.0
[constraints.circular_velocity]
table = "eilers_2019"
systematic = 0.03
R_max = 20.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with 3000 of the bundled stars, a few of them spoilt."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("problem")
    columns = {
        key: np.array(v[::15][:3000]) for key, v in read_table(data.path("gaia_giants")).columns.items()
    }
    columns["parallax"][:3] = [np.nan, -0.1, 0.0]
    columns["gaia_dr3_id"][10] = columns["gaia_dr3_id"][11]
    pq.write_table(pa.table(columns), folder / "stars.parquet")
    return folder


@pytest.fixture
def document():
    return copy.deepcopy(tomllib.loads(CONFIG))


def build(document, folder):
    return io.build(io.parse_config(document, folder))


def test_rows_are_accounted_for(document, folder):
    problem = build(document, folder)
    report, n = problem.report, len(problem.columns["l"])
    assert report.n_read == 3000 and report.n_used == n > 500
    reasons = list(report.excluded)
    assert [reason.split()[0] for reason in reasons[:3]] == ["parallax", "parallax", "the"]
    assert any('kind = "magnitude"' in reason and "10.0" in reason for reason in reasons)
    assert any('kind = "abs_b"' in reason for reason in reasons)
    assert problem.columns["V"].max() <= 10.0 and np.degrees(np.abs(problem.columns["b"])).min() >= 30


def test_assumed_errors_fill_only_what_is_missing_and_are_said(document, folder):
    problem = build(document, folder)
    columns = problem.columns
    assert (columns["mu_l_error"] == 0.03).all() and (columns["mu_lb_corr"] == 0).all()
    observed = np.isfinite(columns["v_los"])
    assert (columns["v_los_error"][observed] == 0.7).all() and np.isnan(
        columns["v_los_error"][~observed]
    ).all()
    assert len(np.unique(columns["parallax_error"])) > 3, "the catalogue's own"
    text = " ".join(problem.report.sentences())
    assert "mu_l_error and mu_b_error of 0.03 mas/yr assumed" in text and "v_los is missing for" in text
    median = np.median(columns["parallax_error"])
    assert float(problem.model.survey.errors.parallax) == pytest.approx(median, rel=0.5)


def test_model_holds_values_and_starts_at_the_configurations_paths(document, folder):
    problem = build(document, folder)
    known = params.parameters(problem.model)
    assert set(problem.priors) == set(problem.start) <= set(known)
    assert set(problem.start) == {
        "potential.disc.M",
        "components.thin.weight",
        "sun.V",
        "outliers.fraction",
    }
    for path, value in (problem.start | {"potential.halo.r_s": 16.0, "sun.R0": 8.178}).items():
        assert float(params.get(problem.model, path)) == pytest.approx(value, rel=1e-12), path


def test_the_luminosity_function_comes_from_all_selected_stars(document, folder):
    problem = build(document, folder)
    stars = params.get(problem.model, "components.thin.stars")
    assert isinstance(stars, Tabulated) and stars.support == pytest.approx((0.1, 1.7))
    document["inference"] = {"stars": 100}
    few = build(document, folder)
    same = params.get(few.model, "components.thin.stars")
    np.testing.assert_array_equal(same.log_density, stars.log_density)


def test_a_subset_is_random_reproducible_and_reported(document, folder):
    document["inference"] = {"stars": 100, "seed": 1}
    first, again = build(document, folder), build(document, folder)
    other = build(document | {"inference": {"stars": 100, "seed": 2}}, folder)
    np.testing.assert_array_equal(first.columns["ids"], again.columns["ids"])
    assert len(first.columns["ids"]) == 100 and set(first.columns["ids"]) != set(other.columns["ids"])
    assert any("100 of the" in line and "seed 1" in line for line in first.report.sentences())


def test_the_circular_speed_curve(document, folder):
    problem = build(document, folder)
    curve = problem.constraints["circular_velocity"]
    assert curve["R"].min() == pytest.approx(5.27) and curve["R"].max() < 20
    assert curve["sigma_plus"][0] == curve["sigma_minus"][0] == pytest.approx(1.905)
    assert float(problem.model.constraints["circular_velocity"].systematic) == 0.03
    assert np.interp(8.178, curve["R"], curve["v_c"]) == pytest.approx(228.9, abs=0.05)


def test_the_data_hash_follows_the_file(document, folder):
    assert build(document, folder).data_sha256 == io.sha256(folder / "stars.parquet")


@pytest.mark.parametrize(
    ("section", "entry", "value", "words"),
    [
        (
            "potential",
            "disc",
            {"kind": "MiyamotoNagai", "M": -1e10, "a": 3.0, "b": 0.3},
            ("potential.disc", "positive"),
        ),
        (
            "potential",
            "disc",
            {"kind": "MiyamotoNagai", "M": 1e10, "a": 3.0, "b": {"prior": "Normal(0.3, 0.3)"}},
            ("potential.disc.b", "not positive", "LogNormal"),
        ),
        (
            "survey",
            "selection",
            [{"kind": "magnitude", "max": 1.0}],
            ("no star is left", "magnitude", "3,000 rows read"),
        ),
        (
            "components",
            "thin",
            {"weight": 1.2, "df": None},
            ("components.thin.weight = 1.2", "between 0 and 1"),
        ),
        ("constraints", "circular_velocity", {"table": "eilers"}, ("eilers_2019",)),
        ("constraints", "circular_velocity", {"table": "eilers_2019", "R_min": 50.0}, ("no point between",)),
    ],
)
def test_bad_values_are_named(document, folder, section, entry, value, words):
    if isinstance(value, dict) and value.get("df", 0) is None:
        value["df"] = document["components"]["thin"]["df"]
    document[section][entry] = value
    with pytest.raises(ValueError) as caught:
        build(document, folder)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_setting_cannot_be_free(document, folder):
    document["potential"]["halo"] = {
        "kind": "FlattenedNFW", "rho_s": 8e6, "r_s": 16.0, "q": 1.0, "n_nodes": {"prior": "Uniform(1, 20)"},
    }  # fmt: skip
    with pytest.raises(ValueError, match="n_nodes"):
        build(document, folder)


def test_a_cut_on_a_column_that_is_not_there(document, folder):
    document["data"]["catalogue"] = "no_colour.parquet"
    document["survey"]["selection"].append({"kind": "colour", "min": 0.9, "max": 1.2})
    import pyarrow.parquet as pq

    pq.write_table(
        pq.read_table(folder / "stars.parquet").drop_columns(["b_v"]), folder / "no_colour.parquet"
    )
    with pytest.raises(ValueError, match=r"gives no colour: map columns\.colour"):
        build(document, folder)


POPULATION = """
kind = "population"
support = [0.0, 1.8]
colour_window = [0.9, 1.25]
imf = {kind = "salpeter"}
history = {kind = "exponential_decay", onset = 10.0, decay = 8.0}
metallicity = {kind = "fixed_metallicity", mh = -0.1, sigma = 0.15}
n_ages = 12
n_metallicities = 4
"""


def test_a_population_is_tabulated_once_if_it_is_fixed(document, folder):
    document["components"]["thin"]["stars"] = tomllib.loads(POPULATION)
    problem = build(document, folder)
    found = params.get(problem.model, "components.thin.stars")
    assert isinstance(found, GridMagnitudes) and found.support == (0.0, 1.8)
    again = io.parse_config(tomllib.loads(problem.config.resolved_toml()), folder)
    assert again.components["thin"].stars == problem.config.components["thin"].stars


def test_a_population_with_free_parameters_is_part_of_the_model(document, folder, tmp_path):
    table = tomllib.loads(POPULATION)
    table["history"]["decay"] = {"prior": "LogNormal(log(8), 0.3)", "start": 7.0}
    document["components"]["thin"]["stars"] = table
    problem = build(document, folder)
    path = "components.thin.stars.history.decay"
    assert path in problem.priors and float(params.get(problem.model, path)) == 7.0
    found = params.get(problem.model, "components.thin.stars")
    assert isinstance(found, Population)
    bound = problem.model.galaxy.bound()
    assert isinstance(bound.components["thin"].stars, GridMagnitudes) and bound.bound() is bound
    assert bound.components["thick"].stars is problem.model.galaxy.components["thick"].stars
    # It is saved by its parameters, and says the same when it is read back.
    again = io.load(io.save(tmp_path / "population.json", found))
    assert float(again.bind().log_F(0.8)) == float(bound.components["thin"].stars.log_F(0.8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "kroupa"}, 'components.thin.stars: kind = "kroupa" is a part of'),
        ({"imf": {"kind": "kruopa"}}, "did you mean 'kroupa'"),
        ({"history": {"kind": "burst", "age": 14.0}}, "components.thin.stars: age.*outside the isochrones"),
        ({"history": {"kind": "constant_rate", "onset": -1.0}}, "onset must be positive"),
        ({"metallicity": {"kind": "salpeter"}}, "expected Metallicity"),
        ({"band": "U"}, "unknown band 'U'"),
    ],
)
def test_a_population_s_slips_are_named(document, folder, change, message):
    table = {"kind": "kroupa"} if change == {"kind": "kroupa"} else tomllib.loads(POPULATION) | change
    document["components"]["thin"]["stars"] = table
    with pytest.raises(ValueError, match=message):
        build(document, folder)


@pytest.mark.parametrize(
    ("name", "stars", "free", "tables"),
    [
        ("globular_clusters", 68, 11, {"circular_velocity"}),
        ("segue_bhb", 3697, 13, {"circular_velocity"}),
        ("giants_and_gas", 4000, 26, {"hi", "masers", "sgr_a_proper_motion", "discs", "enclosed_mass"}),
        ("milky_way", 2000 + 68, 33, {"hi", "masers", "sgr_a_proper_motion", "discs"}),
    ],
)
def test_bundled_fits_are_what_they_say(name, stars, free, tables):
    """Of real catalogues: the rows that their cuts leave, the free parameters, and the direct constraints."""
    made = io.build(io.load_config(data.config(name)))
    assert sum(len(part.columns["l"]) for part in made.stars.values()) == stars
    assert len(made.priors) == free and set(made.tables) == tables
