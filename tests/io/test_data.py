"""The bundled data are what their provenance says they are."""

import numpy as np
import pytest

from oortax import data, io
from oortax.io.tables import read_table


@pytest.fixture(scope="module")
def giants():
    return io.read_catalogue("gaia_giants")


def test_the_giants_pass_their_own_cuts(giants):
    stars, report = giants
    M_V = stars["V"] + 5 * np.log10(stars["parallax"] / 100)
    assert report.n_read == report.n_used == 45156
    assert np.isfinite(stars["v_los"]).sum() == 44262
    assert stars["V"].max() <= 10.5 and (stars["parallax"] > 0).all()
    assert 0.2 < M_V.min() < 0.21 and 1.59 < M_V.max() < 1.6
    assert 0.9 < stars["colour"].min() and stars["colour"].max() < 1.25
    assert np.degrees(np.abs(stars["b"])).min() > 25


def test_the_giants_are_as_near_and_as_well_measured_as_stated(giants):
    stars, _ = giants
    snr = stars["parallax"] / stars["parallax_error"]
    s = 1 / stars["parallax"]
    assert np.median(snr) == pytest.approx(112, abs=1) and np.mean(snr > 20) == pytest.approx(0.99, abs=0.001)
    assert np.quantile(s, [0.5, 0.99]) == pytest.approx([0.556, 0.980], abs=0.002)
    assert np.quantile(s * np.abs(np.sin(stars["b"])), 0.99) == pytest.approx(0.780, abs=0.002)


def test_the_giants_ids_are_unique_but_for_the_one_without(giants):
    ids = giants[0]["ids"]
    assert (ids == 0).sum() == 1 and len(np.unique(ids)) == len(ids)


def test_the_giants_move_like_the_disc(giants):
    """Mean motion relative to the Sun is the reflex of its (U, V + drift, W) to a few km/s."""
    stars, _ = giants
    good = np.isfinite(stars["v_los"])
    l, b, p = (stars[key][good] for key in ("l", "b", "parallax"))
    v_l, v_b, v_r = 4.74047 * stars["mu_l"][good] / p, 4.74047 * stars["mu_b"][good] / p, stars["v_los"][good]
    U = v_r * np.cos(b) * np.cos(l) - v_l * np.sin(l) - v_b * np.sin(b) * np.cos(l)
    W = v_r * np.sin(b) + v_b * np.cos(b)
    V = v_r * np.cos(b) * np.sin(l) + v_l * np.cos(l) - v_b * np.sin(b) * np.sin(l)
    assert np.median(U) == pytest.approx(-10, abs=3)
    assert np.median(W) == pytest.approx(-7.3, abs=1)
    assert -35 < np.median(V) < -15


def test_units_travel_in_the_parquet_file():
    units = read_table(data.path("gaia_giants")).units
    assert units["parallax"] == "mas" and units["pmra"] == "mas/yr" and units["ra"] == "deg"


def test_the_circular_speed_curve():
    curve = data.table("eilers_2019")
    assert np.interp(8.178, curve["r_kpc"], curve["v_c"]) == pytest.approx(228.9, abs=0.05)
    near = curve["r_kpc"] < 15
    # The paper quotes -1.7 +- 0.1 km/s/kpc.
    assert np.polyfit(curve["r_kpc"][near], curve["v_c"][near], 1)[0] == pytest.approx(-1.7, abs=0.3)
    assert (curve["sigma_minus"] > 0).all() and (curve["sigma_plus"] > 0).all()


def test_the_vertical_force_table():
    table = data.table("bovy_rix_2013_table3")
    near = np.abs(table["r0_minus_r_kpc"]) < 0.6
    w = 1 / table["kz_1p1_over_2piG_error"][near] ** 2
    mean = np.sum(w * table["kz_1p1_over_2piG"][near]) / np.sum(w)
    assert mean == pytest.approx(64, abs=1) and len(table["r_kpc"]) == 43


def test_terminal_velocities_are_those_of_a_flat_curve():
    """|v| + 233 |sin l|, the circular speed but for streaming of some 7 km/s, is 235 within 15 everywhere."""
    names = (
        "hi_mcclure_griffiths_dickey_2007_q4",
        "hi_mcclure_griffiths_dickey_2016_q1",
        "co_clemens_1985_q1",
    )
    for name, n in zip(names, (761, 748, 143), strict=True):
        table = data.table(name)
        l = np.radians((table["glon"] + 180) % 360 - 180)
        assert len(l) == n and (np.sign(table["v_lsr"]) == np.sign(l))[np.abs(np.degrees(l)) < 60].all()
        for degrees in (30, 60):
            near = np.abs(np.abs(np.degrees(l)) - degrees) < 0.5
            speed = np.mean(np.abs(table["v_lsr"][near]) + 233 * np.abs(np.sin(l[near])))
            assert near.any() and abs(speed - 235) < 15, (name, degrees, speed)


def test_the_masers():
    table = data.table("reid_2019_masers")
    assert len(table["ra"]) == 202 and all(np.isfinite(v).all() for k, v in table.items() if k != "name")
    assert 0.04 < table["parallax"].min() and table["parallax"].max() < 2.5
    assert np.median(table["parallax_error"]) == pytest.approx(0.024, abs=0.001)
    assert np.abs(table["glat"]).max() < 25 and table["r_lt_4kpc_flag"].sum() < 20


def test_enclosed_masses_have_their_errors_the_right_way_round():
    """Gnedin et al. (2010): 6.9 (+3.0 -1.2) 10^11 Msun within 80 kpc."""
    table = data.table("enclosed_mass_compilation")
    row = np.flatnonzero(table["r_kpc"] == 80)[0]
    assert table["m_enclosed_msun"][row] == pytest.approx(6.9e11, rel=0.01)
    assert table["sigma_plus"][row] == pytest.approx(3.0e11, rel=0.01)
    assert table["sigma_minus"][row] == pytest.approx(1.2e11, rel=0.1)
    assert (table["sigma_minus"] < table["m_enclosed_msun"]).all()


def test_the_second_curve_agrees_with_the_first():
    """Both are Jeans models of giants: within 5 km/s of each other at 7 to 15 kpc."""
    old, new = data.table("eilers_2019"), data.table("ou_2024")
    R = np.linspace(7, 15, 9)
    difference = np.interp(R, new["r_kpc"], new["v_c"]) - np.interp(R, old["r_kpc"], old["v_c"])
    assert len(new["r_kpc"]) == 37 and np.abs(difference).max() < 6


def test_every_data_file_has_its_provenance_with_credit():
    text = data.provenance()
    for name in data.names():
        assert f"## {name}" in text
    assert "ESA" in text and "DPAC" in text and "45,156" in text


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'eilers_2019'"):
        data.table("eilers2019")
    with pytest.raises(ValueError, match="read_catalogue"):
        data.table("gaia_giants")
