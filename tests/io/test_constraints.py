"""[constraints.NAME] from text to arrays: kinds, columns, cuts, units and every slip."""

import tomllib

import numpy as np
import pytest

from oortax import data, io, params
from oortax.io.constraint_tables import STANDARD_SOLAR_MOTION

HEAD = """
[potential.disc]
kind = "MiyamotoNagai"
M = {prior = "LogNormal(log(6.5e10), 0.5)"}
a = 3.0
b = 0.3
[potential.halo]
kind = "NFW"
rho_s = 8e6
r_s = 16.0
"""


MASERS = "[constraints.masers]\ntable = 'reid_2019_masers'\n"
FORCE = "[constraints.vertical_force]\ntable = 'bovy_rix_2013_table3'\n"


def config(text: str, folder=None):
    return io.parse_config(tomllib.loads(HEAD + text), *([] if folder is None else [folder]))


def problem(text: str, folder=None):
    return io.build(config(text, folder))


def message(text: str, folder=None) -> str:
    with pytest.raises(ValueError) as caught:
        problem(text, folder)
    return str(caught.value)


def test_constraints_alone_make_a_problem():
    made = problem('[constraints.circular_velocity]\ntable = "eilers_2019"\nR_max = 20.0')
    assert made.report is None and made.columns == {} and made.model.galaxy.names == ()
    assert made.title == "circular_velocity" and len(made.data_sha256) == 64
    assert made.tables["circular_velocity"].n_read == 38
    lines = made.sentences()
    assert lines[0] == "circular_velocity: eilers_2019.csv: 38 rows read, 30 used"
    assert "R outside 0 to 20 kpc" in lines[1]
    other = problem('[constraints.circular_velocity]\ntable = "ou_2024"')
    assert other.data_sha256 != made.data_sha256


def test_names_kinds_and_free_nuisance_parameters():
    made = problem(
        """
[constraints.co]
kind = "terminal_velocities"
table = "co_clemens_1985_q1"
sigma = {prior = "LogNormal(log(7), 0.3)", start = 6.0}
correlation_length = 0.05
[constraints.masers]
table = "reid_2019_masers"
V_s = {prior = "Normal(0, 10)"}
"""
    )
    assert set(made.priors) == {"potential.disc.M", "constraints.co.sigma", "constraints.masers.V_s"}
    known = params.parameters(made.model)
    assert float(known["constraints.co.sigma"].value) == 6.0
    assert known["constraints.masers.V_s"].unit == "km/s"
    assert float(known["constraints.co.correlation_length"].value) == 0.05


def test_both_sides_of_the_errors_or_their_mean():
    text = '[constraints.circular_velocity]\ntable = "ou_2024"\n'
    table = data.table("ou_2024")
    sides = problem(text + "asymmetric = true").constraints["circular_velocity"]
    np.testing.assert_array_equal(sides["sigma_minus"], table["sigma_minus"])
    np.testing.assert_array_equal(sides["sigma_plus"], table["sigma_plus"])
    mean = problem(text).constraints["circular_velocity"]
    np.testing.assert_allclose(mean["sigma_plus"], (table["sigma_minus"] + table["sigma_plus"]) / 2)


def test_terminal_velocities_are_cut_and_averaged_table_by_table():
    text = """
[constraints.gas]
kind = "terminal_velocities"
table = ["hi_mcclure_griffiths_dickey_2016_q1", "hi_mcclure_griffiths_dickey_2007_q4"]
l_min = 40.0
l_max = 60.0
"""
    made = problem(text)
    gas = made.constraints["gas"]
    assert made.tables["gas"].n_read == 761 + 748
    l = np.degrees(gas["l"])
    assert 40 <= np.abs(l).min() and np.abs(l).max() <= 60
    assert (np.sign(gas["v_lsr"]) == np.sign(l)).all(), "gas recedes in the first quadrant"
    np.testing.assert_array_equal(gas["solar_motion"], STANDARD_SOLAR_MOTION)
    assert len(l) == 40, "20 bins of 1 deg in each quadrant"
    q1 = data.table("hi_mcclure_griffiths_dickey_2016_q1")
    inside = (q1["glon"] >= 50) & (q1["glon"] < 51)
    here = np.argmin(np.abs(l - 50.5))
    assert gas["v_lsr"][here] == pytest.approx(q1["v_lsr"][inside].mean(), rel=1e-12)
    assert len(problem(text + "bin = 0.0").constraints["gas"]["l"]) == made.tables["gas"].n_used


def test_masers_are_turned_to_galactic_coordinates():
    masers = problem('[constraints.masers]\ntable = "reid_2019_masers"\nnodes = 9').constraints["masers"]
    table = data.table("reid_2019_masers")
    s = 1 / masers["parallax"]
    R = np.hypot(8.178 - s * np.cos(masers["b"]) * np.cos(masers["l"]), s * np.sin(masers["l"]))
    assert R.min() > 3.95 and 180 < len(R) < 202
    kept = np.isin(table["parallax"], masers["parallax"])
    for star in range(0, len(R), 20):
        # The table's own l leaves out the 25 mas (7e-6 deg) between ICRS and FK5.
        assert np.min(np.abs(table["glong"][kept] - np.degrees(masers["l"][star]))) < 1e-5
    motion = np.hypot(masers["mu_l"], masers["mu_b"])
    assert np.isin(np.round(motion, 9), np.round(np.hypot(table["pmra"], table["pmdec"]), 9)).all()
    assert masers["s"].shape == masers["log_w"].shape == (len(R), 9)
    # Rotation keeps the trace of the covariance.
    trace = table["pmra_error"] ** 2 + table["pmdec_error"] ** 2
    assert np.isin(np.round(masers["mu_ll"] + masers["mu_bb"], 12), np.round(trace, 12)).all()


def test_a_users_file_with_other_names(tmp_path):
    (tmp_path / "layer.csv").write_text("radius,width,e\n6,0.12,0.02\n8,0.16,0.02\n30,0.9,0.2\n")
    text = """
[constraints.gas_layer]
table = "layer.csv"
columns = {R = "radius", hwhm = "width", sigma = "e"}
R_max = 20.0
sigma_g = {prior = "Normal(8, 1)"}
"""
    made = problem(text.replace("Normal(8, 1)", "LogNormal(log(8), 0.1)"), tmp_path)
    layer = made.constraints["gas_layer"]
    np.testing.assert_array_equal(layer["hwhm"], [0.12, 0.16])
    np.testing.assert_array_equal(layer["sigma_minus"], layer["sigma_plus"])
    # The resolved configuration can be read from any folder, and says the same.
    again = io.parse_config(tomllib.loads(made.config.resolved_toml()))
    assert again.constraints["gas_layer"].record.table == str((tmp_path / "layer.csv").resolve())
    assert again.resolved_toml() == made.config.resolved_toml()


def test_masses_no_larger_than_their_errors_are_left_out(tmp_path):
    """ln(M - sigma_-) would be NaN: such a row is an upper limit."""
    rows = "r,M,sigma_minus,sigma_plus\n5,5e10,1e10,1e10\n50,4e11,4e11,1e11\n"
    (tmp_path / "masses.csv").write_text(rows, encoding="utf-8")
    made = problem("[constraints.enclosed_mass]\ntable = 'masses.csv'\nlog = true", tmp_path)
    table = made.tables["enclosed_mass"]
    assert (table.n_read, table.n_used) == (2, 1) and "sigma_minus is not below M" in str(made.sentences())


def test_values_without_a_table():
    made = problem(
        "[constraints.sgr_a_proper_motion]\n[constraints.surface_density]\nvalue = 70.0\nerror = 4.0"
    )
    assert made.constraints["sgr_a_proper_motion"]["mu"] == [-6.411]
    assert made.constraints["surface_density"]["z"] == [1.1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("no [data] and no [catalogues] and no [constraints]",)),
        ("[constraints.it]\ntable = 'x'", ("constraints.it", "unknown kind 'it'", "give a kind")),
        ("[constraints.it]\nkind = 'maser'", ("unknown kind 'maser'", "did you mean 'masers'")),
        ("[constraints.masers]", ("[constraints.masers] lacks table",)),
        ("[constraints.masers]\ntable = 3", ("constraints.masers.table = 3", "str or list")),
        ("[constraints.masers]\ntable = []", ("constraints.masers.table is empty",)),
        ("[constraints.masers]\ntable = 'reid_2019_maser'", ("no file", "did you mean 'reid_2019_masers'")),
        ("[constraints.masers]\ntable = 'gaia_giants'", ("constraints.masers", "is a catalogue")),
        ("[constraints.masers]\ntable = 'eilers_2019'", ("eilers_2019.csv has no column 'ra'", "columns")),
        (
            "[constraints.masers]\ntable = 'reid_2019_masers'\nV_ss = 1",
            ("unknown key 'V_ss'", "did you mean 'V_s'"),
        ),
        (
            "[constraints.masers]\ntable = 'reid_2019_masers'\nsigma = -1.0",
            ("constraints.masers", "positive"),
        ),
        ("[constraints.masers]\ntable = 'reid_2019_masers'\nR_min = 50.0", ("no point", "R_min")),
        ("[constraints.masers]\ntable = 'reid_2019_masers'\nnodes = 2", ("nodes = 2",)),
        (
            "[constraints.masers]\ntable = 'reid_2019_masers'\nsolar_motion = [1.0]",
            ("constraints.masers", "three numbers"),
        ),
        (
            "[constraints.masers]\ntable = 'reid_2019_masers'\nsigma = {prior = 'Normal(8, 8)'}",
            ("constraints.masers.sigma", "LogNormal"),
        ),
        (
            "[constraints.terminal_velocities]\ntable = 'co_clemens_1985_q1'\nl_max = 95.0",
            ("l_max = 95", "tangent points"),
        ),
        (
            "[constraints.vertical_force]\ntable = 'bovy_rix_2013_table3'\nz = 0.0",
            ("z = 0 must be positive",),
        ),
        (
            "[constraints.vertical_force]\ntable = 'bovy_rix_2013_table3'\ncolumns = {K = 'x'}",
            ("constraints.vertical_force.columns", "'K_z'"),
        ),
        ("[constraints.surface_density]\nvalue = 70.0\nerror = 0.0", ("error = 0 must be positive",)),
        ("[constraints.surface_density]\nvalue = 70.0", ("lacks error",)),
        (
            "[constraints.sgr_a_proper_motion]\n[outliers]\nfraction = 0.1",
            ("no [data]", "[outliers] describes stars"),
        ),
    ],
)
def test_every_slip_is_named(text, words):
    found = message(text)
    for word in words:
        assert word in found, found


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("5,230,0\n6,231,2", ("sigma_minus is not positive", "row 0")),
        ("5,230,1\n6,,2", ("v_c is missing", "row 1")),
    ],
)
def test_bad_rows_are_named(tmp_path, rows, words):
    (tmp_path / "curve.csv").write_text(f"R,v_c,sigma\n{rows}\n")
    found = message('[constraints.circular_velocity]\ntable = "curve.csv"', tmp_path)
    for word in ("constraints.circular_velocity: curve.csv", *words):
        assert word in found, found


def test_rows_outside_the_cuts_may_be_spoilt(tmp_path):
    (tmp_path / "curve.csv").write_text("R,v_c,sigma\n5,230,2\n40,,0\n")
    text = '[constraints.circular_velocity]\ntable = "curve.csv"\nR_max = 30.0'
    assert len(problem(text, tmp_path).constraints["circular_velocity"]["R"]) == 1


def test_the_bundled_configuration():
    """Everything it names is there, its resolved form reads back, and a mass model's parameters are free."""
    made = io.build(io.load_config(data.config("gas")))
    assert made.report is None
    assert {"potential.halo.rho_s", "sun.R0", "constraints.masers.V_s", "constraints.hi.bias"} <= set(
        made.priors
    )
    again = io.parse_config(tomllib.loads(made.config.resolved_toml()))
    assert again.resolved_toml() == made.config.resolved_toml()
    assert data.config("gas.toml") == data.config("gas") and data.config("gass") is None


def test_a_ratio_of_densities_names_parts_of_the_potential():
    ratio = '[constraints.parts]\nkind = "density_ratio"\nvalue = 9.0\nerror = 2.0\nto = "halo"\n'
    made = problem(ratio + 'part = "disc"')
    assert {key: float(value[0]) for key, value in made.constraints["parts"].items()} == {
        "ratio": 9.0,
        "sigma": 2.0,
        "R": 0.0,
    }
    assert message(ratio + 'part = "thick"').startswith(
        "constraints.parts.part = 'thick' is not a part of the potential (it has disc, halo)"
    )
    assert "constraints.parts.error" in message(ratio.replace("2.0", "0.0") + 'part = "disc"')
