"""HEALPix pixels against published indices and their inverse; maps with their frame and ordering."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import survey
from oortax.survey.healpix import centre, nside_of, pixel

# Index, by healpy's documentation, of directions given as (colatitude, longitude), nside 16, ring.
PUBLISHED = [
    ((1.5291175943723188, 0.0), 1440),
    ((np.pi / 4, np.pi / 4), 427),
    ((0.0, 0.0), 0),
    ((np.pi, 0.0), 3068),
]
# The same pixels by their two indices, nside 2, and one of nside 16 (healpy's documentation).
RING_TO_NESTED = [3, 7, 11, 15, 2, 1, 6, 5, 10, 9]


@pytest.mark.parametrize(("direction", "index"), PUBLISHED)
def test_published_indices(direction, index):
    colatitude, lon = direction
    assert int(pixel(16, lon, np.pi / 2 - colatitude, "ring")) == index


def test_published_correspondence_of_orderings():
    for ring, nested in enumerate(RING_TO_NESTED):
        assert int(pixel(2, *centre(2, ring, "ring"), "nested")) == nested
    assert int(pixel(16, *centre(16, 1504, "ring"), "nested")) == 1130


@pytest.mark.parametrize("ordering", ["ring", "nested"])
@pytest.mark.parametrize("nside", [1, 2, 8, 64])
def test_centres_lie_in_their_pixels(nside, ordering):
    index = np.arange(12 * nside**2)
    assert np.array_equal(pixel(nside, *centre(nside, index, ordering), ordering), index)


def test_rings_are_those_of_gorski():
    """Heights of the rings (eqs. 4 and 8 of Gorski et al. 2005), pixels in each, and the order along it."""
    nside = 4
    lon, lat = centre(nside, np.arange(12 * nside**2), "ring")
    i = np.arange(1, 4 * nside)
    z = np.where(i < nside, 1 - i**2 / (3 * nside**2), 4 / 3 - 2 * i / (3 * nside))
    z = np.where(i > 3 * nside, -1 + (4 * nside - i) ** 2 / (3 * nside**2), z)
    count = np.minimum(np.minimum(4 * i, 4 * (4 * nside - i)), 4 * nside)
    np.testing.assert_allclose(np.sin(lat), np.repeat(z, count), atol=1e-14)
    rings = np.repeat(i, count)
    assert np.all(np.diff(lon)[np.diff(rings) == 0] > 0)


@pytest.mark.parametrize("ordering", ["ring", "nested"])
def test_pixels_have_equal_areas(ordering):
    """4e5 random directions in 192 pixels: chi-square of the counts within 5 sigma."""
    rng = np.random.default_rng(0)
    n, cells = 400_000, 192
    index = pixel(4, rng.uniform(0, 2 * np.pi, n), np.arcsin(rng.uniform(-1, 1, n)), ordering)
    count = np.bincount(index, minlength=cells)
    chi2 = np.sum((count - n / cells) ** 2) / (n / cells)
    assert abs(chi2 - (cells - 1)) < 5 * np.sqrt(2 * cells)


def test_pixels_hold_directions_near_their_centres():
    """No point is farther from its centre than the corner of the pixel where belt and caps meet (nside 8)."""
    nside = 8
    z = np.array([2 / 3, 1 - (1 - 1 / nside) ** 2 / 3])
    corner = np.prod(z) + np.prod(np.sqrt(1 - z**2)) * np.cos(np.pi / (4 * nside))
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(0, 2 * np.pi, 20_000), np.arcsin(rng.uniform(-1, 1, 20_000))
    for ordering in ("ring", "nested"):
        l, b = centre(nside, np.asarray(pixel(nside, lon, lat, ordering)), ordering)
        cosine = np.sin(b) * np.sin(lat) + np.cos(b) * np.cos(lat) * np.cos(l - lon)
        assert corner <= np.min(cosine) < 1 - 0.9 * (1 - corner)


@pytest.mark.parametrize("ordering", ["ring", "nested"])
@pytest.mark.parametrize("frame", ["galactic", "icrs"])
def test_map_is_read_in_its_frame_and_ordering(frame, ordering):
    """A map of what lies north of declination 20, or latitude 20, is the hard cut, but near the border."""
    lat = centre(64, np.arange(49152), ordering)[1]
    cut = survey.HealpixMap(np.where(lat > np.radians(20.0), 1.0, 0.0), frame=frame, ordering=ordering)
    exact = survey.Latitude(min=20.0) if frame == "galactic" else survey.Declination(min=20.0)
    rng = np.random.default_rng(2)
    l, b = rng.uniform(0, 2 * np.pi, 20_000), np.arcsin(rng.uniform(-1, 1, 20_000))
    differ = np.asarray(cut.sky(l, b) != exact.sky(l, b))
    # Pixels of 0.9 deg along a border that is 340 deg long, of a sky of 41,253 square deg.
    assert 0 < np.mean(differ) < 0.5 * 0.9 * 340 / 41253 * 1.5
    assert jnp.shape(cut.sky(l[:, None], b[:3])) == (20_000, 3)
    assert np.isfinite(jax.grad(lambda b: cut.sky(0.3, b))(np.pi / 2))


def test_files(tmp_path):
    values = np.linspace(0.0, 1.0, 48)
    np.save(tmp_path / "map.npy", values)
    np.savez(tmp_path / "map.npz", values=values, frame="icrs", ordering="nested")
    for name in ("map.npy", "map.npz"):
        cut = survey.HealpixMap(str(tmp_path / name), frame="icrs", ordering="nested")
        assert cut.nside == 2 and np.array_equal(cut.values, values)
    with pytest.raises(ValueError, match="says frame 'icrs', but frame='galactic'"):
        survey.HealpixMap(tmp_path / "map.npz", frame="galactic", ordering="nested")
    with pytest.raises(ValueError, match="says ordering 'nested', but ordering='ring'"):
        survey.HealpixMap(tmp_path / "map.npz", frame="icrs", ordering="ring")
    np.savez(tmp_path / "other.npz", m=values)
    with pytest.raises(ValueError, match="lacks the array values"):
        survey.HealpixMap(tmp_path / "other.npz", frame="icrs", ordering="ring")


ONES = np.ones(48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": np.ones(50)}, "12 nside\\^2 pixels.*not 50; the nearest is 48 \\(nside 2\\)"),
        ({"values": np.ones(108)}, "power of two"),
        ({"values": np.ones((4, 12))}, "shape \\(4, 12\\)"),
        ({"values": ONES, "frame": None}, 'frame=None.*"galactic" or "icrs"'),
        ({"values": ONES, "frame": "equatorial"}, '"galactic" or "icrs"'),
        ({"values": ONES, "ordering": None}, 'ordering=None.*"ring" or "nested"'),
        ({"values": ONES, "ordering": "RINGS"}, '"ring" or "nested"'),
        ({"values": 2 * ONES}, "48 of 48 fractions are not between 0 and 1"),
        ({"values": ONES - 1.6375e30}, "UNSEEN"),
        ({"values": ONES * np.nan}, "not between 0 and 1"),
        ({"values": 0 * ONES}, "keeps nothing"),
        ({"values": "nowhere.npy"}, "no such .npy or .npz file"),
    ],
)
def test_bad_maps_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        survey.HealpixMap(**({"frame": "icrs", "ordering": "ring"} | arguments))
    assert nside_of(48) == 2
