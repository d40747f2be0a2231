"""Catalogues: every format gives the same stars, and every kind of bad input is named."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from oortax import io

N = 60


@pytest.fixture
def stars():
    """Sixty stars in Gaia archive columns: about 40 km/s across the sky at about 500 pc."""
    rng = np.random.default_rng(7)
    return {
        "source_id": np.arange(1, N + 1) * 10**15,
        "ra": rng.uniform(0, 360, N),
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, N))),
        "parallax": rng.uniform(1.0, 4.0, N),
        "parallax_error": np.full(N, 0.02),
        "pmra": rng.normal(0, 15, N),
        "pmdec": rng.normal(0, 15, N),
        "pmra_error": rng.uniform(0.01, 0.05, N),
        "pmdec_error": rng.uniform(0.01, 0.05, N),
        "pmra_pmdec_corr": rng.uniform(-0.6, 0.6, N),
        "radial_velocity": rng.normal(0, 30, N),
        "v_mag": rng.uniform(6, 10, N),
        "b_v": rng.uniform(0.9, 1.2, N),
    }


def write(path, columns):
    Table(columns).write(path, overwrite=True)
    return path


def csv(tmp_path, columns):
    return write(tmp_path / "stars.csv", columns)


def message(path, columns=None) -> str:
    with pytest.raises(ValueError) as caught:
        io.read_catalogue(path, columns)
    return str(caught.value)


@pytest.mark.parametrize("name", ["stars.fits", "stars.ecsv", "stars.csv", "stars.parquet"])
def test_all_formats_give_the_same_float64_columns(tmp_path, stars, name):
    read, report = io.read_catalogue(write(tmp_path / name, stars))
    assert report.n_used == N and not report.excluded
    for key, values in (("parallax", stars["parallax"]), ("v_los", stars["radial_velocity"])):
        assert read[key].dtype == np.float64 and read[key].dtype.isnative
        np.testing.assert_allclose(read[key], values, rtol=1e-15)
    np.testing.assert_array_equal(read["ids"], stars["source_id"])


def test_positions_and_motions_agree_with_astropy(tmp_path, stars):
    read, _ = io.read_catalogue(csv(tmp_path, stars))
    sky = SkyCoord(
        ra=stars["ra"] * u.deg,
        dec=stars["dec"] * u.deg,
        pm_ra_cosdec=stars["pmra"] * u.mas / u.yr,
        pm_dec=stars["pmdec"] * u.mas / u.yr,
        frame="icrs",
    ).galactic
    # 1e-9 is asked for; float64 rounding of the rotation is 1e-15.
    np.testing.assert_allclose(np.exp(1j * read["l"]), np.exp(1j * sky.l.rad), atol=1e-12)
    np.testing.assert_allclose(read["b"], sky.b.rad, atol=1e-12)
    np.testing.assert_allclose(read["mu_l"], sky.pm_l_cosb.value, atol=1e-10)
    np.testing.assert_allclose(read["mu_b"], sky.pm_b.value, atol=1e-10)


def test_proper_motion_covariance_turns_with_the_frame(tmp_path, stars):
    """The covariance is that of draws around the measured motion, rotated one by one."""
    read, _ = io.read_catalogue(csv(tmp_path, stars))
    rng, i, n = np.random.default_rng(0), 3, 40000
    s1, s2, rho = (stars[k][i] for k in ("pmra_error", "pmdec_error", "pmra_pmdec_corr"))
    draws = rng.multivariate_normal(
        (stars["pmra"][i], stars["pmdec"][i]), [[s1**2, rho * s1 * s2], [rho * s1 * s2, s2**2]], n
    )
    one = {key: np.repeat(values[i], n) for key, values in stars.items()}
    one |= {"pmra": draws[:, 0], "pmdec": draws[:, 1], "source_id": np.arange(1, n + 1)}
    many, _ = io.read_catalogue(write(tmp_path / "one.parquet", one))
    # Sampling error of a standard deviation is 1/sqrt(2 n) = 0.35 %, of a correlation 0.5 %.
    assert many["mu_l"].std() == pytest.approx(read["mu_l_error"][i], rel=0.02)
    assert many["mu_b"].std() == pytest.approx(read["mu_b_error"][i], rel=0.02)
    assert np.corrcoef(many["mu_l"], many["mu_b"])[0, 1] == pytest.approx(read["mu_lb_corr"][i], abs=0.025)


def test_galactic_columns_are_taken_as_they_are(tmp_path, stars):
    equatorial, _ = io.read_catalogue(csv(tmp_path, stars))
    columns = {key: stars[key] for key in ("source_id", "parallax", "parallax_error", "v_mag")}
    columns |= {"glon": np.degrees(equatorial["l"]), "glat": np.degrees(equatorial["b"])}
    columns |= {"pml": equatorial["mu_l"], "pmb": equatorial["mu_b"]}
    galactic, _ = io.read_catalogue(write(tmp_path / "galactic.ecsv", columns))
    for key in ("l", "b", "mu_l", "mu_b"):
        np.testing.assert_allclose(galactic[key], equatorial[key], rtol=1e-12, atol=1e-12)
    assert np.isnan(galactic["v_los"]).all() and np.isnan(galactic["mu_l_error"]).all()


def test_units_come_from_the_file_or_the_mapping(tmp_path, stars):
    plain, _ = io.read_catalogue(csv(tmp_path, stars))
    table = Table(stars)
    table["parallax"] = (stars["parallax"] * u.mas).to(u.arcsec)
    table["ra"] = (stars["ra"] * u.deg).to(u.rad)
    table["radial_velocity"] = (stars["radial_velocity"] * u.km / u.s).to(u.m / u.s)
    table.write(tmp_path / "units.ecsv")
    with_units, _ = io.read_catalogue(tmp_path / "units.ecsv")
    renamed = {"plx_arcsec" if k == "parallax" else k: v for k, v in stars.items()}
    renamed["plx_arcsec"] = stars["parallax"] / 1000
    mapped, _ = io.read_catalogue(
        write(tmp_path / "mapped.csv", renamed), {"parallax": {"name": "plx_arcsec", "unit": "arcsec"}}
    )
    for other in (with_units, mapped):
        for key in ("l", "parallax", "v_los"):
            np.testing.assert_allclose(other[key], plain[key], rtol=1e-12)


def test_masked_and_null_values_are_missing(tmp_path, stars):
    table = Table(stars, masked=True)
    table["radial_velocity"].mask[:5] = True
    null = {
        key: pa.array(values, mask=np.arange(N) < 5 if key == "radial_velocity" else None)
        for key, values in stars.items()
    }
    pq.write_table(pa.table(null), tmp_path / "masked.parquet")
    for name in ("masked.fits", "masked.ecsv", "masked.csv", "masked.parquet"):
        if not (tmp_path / name).exists():
            table.write(tmp_path / name)
        read, report = io.read_catalogue(tmp_path / name)
        assert np.isnan(read["v_los"][:5]).all() and np.isfinite(read["v_los"][5:]).all(), name
        assert "v_los is missing for 5" in report.sentences()[-1]


def test_unusable_rows_are_counted_once_under_their_first_reason(tmp_path, stars):
    stars["parallax"][:4] = [np.nan, -0.5, 0.0, 2.0]
    stars["pmra"][[0, 3]] = np.nan
    stars["dec"][10] = np.nan
    stars["source_id"][20] = stars["source_id"][21]
    stars["source_id"][30:32] = 0
    read, report = io.read_catalogue(csv(tmp_path, stars))
    assert list(report.excluded.values()) == [1, 1, 2, 1, 1]
    assert [key.split()[0] for key in report.excluded] == ["the", "parallax", "parallax", "a", "the"]
    assert report.n_used == N - 6 == len(read["l"])
    assert (read["parallax"] > 0).all() and np.isfinite(read["mu_l"]).all()
    assert (read["ids"] == 0).sum() == 2, "0 means no id, not a repeated one"
    assert report.sentences()[0] == f"stars.csv: {N} rows read, {N - 6} used"


def test_distance_moduli_stand_in_for_parallaxes(tmp_path, stars):
    s = 1.0 / stars.pop("parallax")
    stars |= {"dm": 5 * np.log10(100 * s), "my_error": np.full(N, 0.1)}
    del stars["parallax_error"]
    stars["dm"][3] = np.nan
    read, report = io.read_catalogue(csv(tmp_path, stars), {"distance_modulus_error": "my_error"})
    keep = np.arange(N) != 3
    np.testing.assert_allclose(read["distance_modulus"], stars["dm"][keep], rtol=1e-12)
    assert (read["distance_modulus_error"] == 0.1).all() and np.isnan(read["parallax"]).all()
    assert report.excluded == {"parallax and distance_modulus are missing or NaN": 1}
    # A star may have either.
    stars["parallax"] = np.where(keep, np.nan, 2.0)
    assert io.read_catalogue(csv(tmp_path, stars))[1].n_used == N
    stars["dm"] += 30.0
    assert "columns.parallax" in message(csv(tmp_path, stars))


def test_a_missing_column_is_named_with_the_nearest(tmp_path, stars):
    stars["paralax"] = stars.pop("parallax")
    text = message(csv(tmp_path, stars))
    assert "no column for parallax" in text and "did you mean 'paralax'" in text and "columns = {" in text


def test_a_misspelt_mapping_is_named(tmp_path, stars):
    path = csv(tmp_path, stars)
    text = message(path, {"v_los": "radial_velocty"})
    assert "'radial_velocty' (mapped to v_los)" in text and "'radial_velocity'" in text
    assert "unknown key 'parallx'; did you mean 'parallax'" in message(path, {"parallx": "parallax"})
    assert "columns.parallax" in message(path, {"parallax": 3})


def test_half_a_coordinate_system_is_not_enough(tmp_path, stars):
    del stars["pmdec"]
    assert "no column for pmdec" in message(csv(tmp_path, stars))


def test_wrong_units_are_named(tmp_path, stars):
    path = csv(tmp_path, stars)
    text = message(path, {"parallax": {"name": "parallax", "unit": "km/s"}})
    assert "'parallax'" in text and "'km/s'" in text and 'unit = "mas"' in text
    assert "furlong" in message(path, {"parallax": {"name": "parallax", "unit": "furlong"}})


@pytest.mark.parametrize(
    ("key", "factor", "words"),
    [("parallax", 1e-3, "parallax or of the proper motions"), ("radial_velocity", 1e3, "columns.v_los")],
)
def test_units_that_make_impossible_speeds_are_found(tmp_path, stars, key, factor, words):
    """Arcsec taken for mas, or m/s for km/s: the median speed betrays it."""
    stars[key] = stars[key] * factor
    text = message(csv(tmp_path, stars))
    assert "km/s" in text and words in text


def test_impossible_latitudes_name_rows_and_remedy(tmp_path, stars):
    stars["dec"][[2, 5]] = 95.0
    text = message(csv(tmp_path, stars))
    assert "dec is impossible in rows 2, 5" in text and "95" in text and "unit" in text


def test_negative_errors_and_sentinels_are_refused(tmp_path, stars):
    path = csv(tmp_path, stars | {"parallax_error": np.where(np.arange(N) == 4, -1.0, 0.02)})
    assert "parallax_error is negative in row 4" in message(path)
    path = csv(tmp_path, stars | {"v_mag": np.where(np.arange(N) == 6, 99.0, 8.0)})
    assert "V is no magnitude in row 6" in message(path) and "NaN" in message(path)
    path = csv(tmp_path, stars | {"pmra_pmdec_corr": np.full(N, 1.5)})
    assert "outside [-1, 1]" in message(path)


def test_text_where_numbers_belong_is_shown(tmp_path, stars):
    values = stars["parallax"].astype(str)
    values[3] = "two"
    assert "'parallax'" in message(csv(tmp_path, stars | {"parallax": values}))
    assert "two" in message(csv(tmp_path, stars | {"parallax": values}))


def test_all_rows_bad_gives_the_count(tmp_path, stars):
    stars["parallax"][:] = -1.0
    text = message(csv(tmp_path, stars))
    assert "no star is left" in text and f"{N} rows excluded: parallax is zero or negative" in text


def test_files_that_are_not_catalogues(tmp_path, stars):
    (tmp_path / "empty.csv").write_text("ra,dec,parallax\n")
    assert "holds no rows" in message(tmp_path / "empty.csv")
    (tmp_path / "broken.parquet").write_bytes(b"not parquet")
    assert "broken.parquet cannot be read as parquet" in message(tmp_path / "broken.parquet")
    (tmp_path / "stars.txt").write_text("1 2 3")
    assert "unknown format '.txt'" in message(tmp_path / "stars.txt")
    csv(tmp_path, stars)
    with pytest.raises(FileNotFoundError, match=r"did you mean 'stars\.csv'"):
        io.read_catalogue(tmp_path / "star.csv")
    with pytest.raises(FileNotFoundError, match="gaia_giants"):
        io.read_catalogue("gaia_giant")
