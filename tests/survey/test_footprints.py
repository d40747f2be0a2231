"""Footprints against closed forms, and the nodes that integrate over them."""

import jax
import numpy as np
import pytest

from oortax import survey
from oortax.model.volume import _sky_nodes
from oortax.survey import AbsLatitude, Cone, Declination, Latitude, Polygon, Survey, icrs_to_galactic
from oortax.survey.sky import spiral


def random_sky(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 2 * np.pi, n), np.arcsin(rng.uniform(-1, 1, n))


def area(*cuts, n=4000):
    """Area of a footprint (sr) by its nodes."""
    model = Survey(selection=cuts)
    l, b, w = model.sky_nodes(n)
    return float(np.sum(w * np.asarray(jax.vmap(model.sky)(l, b))))


@pytest.mark.parametrize("radius", [0.1, 1.5, 20.0, 120.0, 180.0])
def test_cone_is_the_angle_from_its_centre(radius):
    rng = np.random.default_rng(3)
    centre = survey.Cone(radius=radius, l=200.0, b=-30.0).centre()
    # Directions near the border, whose distance from the centre is exactly known.
    side = np.cross(centre, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    up = np.cross(side, centre)
    angle = np.radians(radius) * rng.uniform(0.9, 1.1, 500)
    turn = rng.uniform(0, 2 * np.pi, 500)
    n = np.cos(angle)[:, None] * centre
    n = n + np.sin(angle)[:, None] * (np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * up)
    l, b = np.arctan2(n[:, 1], n[:, 0]), np.arcsin(np.clip(n[:, 2], -1, 1))
    expected = (angle <= np.radians(radius)) | (2 * np.pi - angle <= np.radians(radius))
    assert np.array_equal(Cone(radius=radius, l=200.0, b=-30.0).accepts({"l": l, "b": b}), expected)
    assert area(Cone(radius=radius, l=200.0, b=-30.0)) == pytest.approx(
        4 * np.pi * np.sin(np.radians(radius) / 2) ** 2, rel=1e-9
    )


def test_equatorial_cones_and_declinations():
    """The cone about the celestial pole is a cut in declination; declinations are those of the frames."""
    l, b = random_sky(5000)
    stars = {"l": l, "b": b}
    polar = Cone(radius=50.0, ra=0.0, dec=90.0)
    assert np.array_equal(polar.accepts(stars), Declination(min=40.0).accepts(stars))
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 2 * np.pi, 500), np.arcsin(rng.uniform(-1, 1, 500))
    l, b, _, _ = jax.vmap(icrs_to_galactic)(ra, dec)
    inside = Declination(min=-30.0, max=10.0).accepts({"l": l, "b": b})
    assert np.array_equal(inside, (dec >= np.radians(-30.0)) & (dec <= np.radians(10.0)))
    assert Declination(min=-90.0, max=90.0).accepts({"l": l, "b": b}).all()
    band = 2 * np.pi * (np.sin(np.radians(10.0)) + np.sin(np.radians(30.0)))
    assert area(Declination(min=-30.0, max=10.0)) == pytest.approx(band, rel=1e-3)


@pytest.mark.parametrize("frame", ["galactic", "icrs"])
@pytest.mark.parametrize("order", [1, -1])
def test_octant_is_a_polygon(frame, order):
    """Three right angles: pi/2 sr, and the signs of all three components positive."""
    octant = Polygon([[0, 0], [90, 0], [0, 90]][::order], frame=frame)
    l, b = random_sky(4000)
    inside = octant.accepts({"l": l, "b": b})
    lon, lat = l, b
    if frame == "icrs":
        lon, lat, _, _ = jax.vmap(survey.galactic_to_icrs)(l, b)
    expected = (np.cos(lon) > 0) & (np.sin(lon) > 0) & (np.asarray(lat) > 0)
    assert np.array_equal(inside, expected) and 0.1 < inside.mean() < 0.15
    # Its border, 270 deg long, is cut out of cells by some 50 points each.
    assert area(octant) == pytest.approx(np.pi / 2, rel=2e-3)


def test_a_polygon_of_many_sides_is_a_cone_and_a_notch_is_left_out():
    turn = np.radians(np.arange(0, 360, 2.0))
    ring = [[np.degrees(t) % 360, 80.0] for t in turn]
    l, b = random_sky(20_000, 4)
    stars = {"l": l, "b": b}
    cone = Cone(radius=10.0, l=0.0, b=90.0).accepts(stars)
    polygon = Polygon(ring, frame="galactic").accepts(stars)
    # Between arc and chord lie 2e-4 of the cone.
    assert np.sum(polygon != cone) <= 2 and polygon.sum() > 100
    arrow = Polygon([[340, -20], [20, -20], [20, 20], [0, 0], [340, 20]], frame="galactic")
    probe = {"l": np.radians([0.0, 0.0, 15.0, 345.0, 180.0]), "b": np.radians([10.0, -10.0, 10.0, 10.0, 0.0])}
    assert arrow.accepts(probe).tolist() == [False, True, True, True, False]


def layer(l, b):
    """A smooth function of direction such as the stars' column in an inclined disc."""
    return np.exp(-2.0 * np.abs(np.sin(b))) * (1.3 + np.cos(l) * np.cos(b))


def test_nodes_integrate_over_combined_footprints():
    """1200 nodes, as a fit uses, against 2e6: 1e-3 wherever borders cut through a smooth density."""
    footprints = {
        "cone": (Cone(radius=15.0, l=80.0, b=45.0),),
        "cone and latitude": (Cone(radius=30.0, l=80.0, b=25.0), Latitude(min=20.0)),
        "north but for the plane": (Declination(min=0.0), AbsLatitude(min=15.0)),
        "two cones": (Cone(radius=8.0, l=10.0, b=50.0) | Cone(radius=12.0, ra=30.0, dec=-20.0),),
        "without a hole": (Declination(max=30.0), ~Cone(radius=25.0, l=302.0, b=-40.0)),
    }
    for name, cuts in footprints.items():
        model = Survey(selection=cuts)
        l, b, w = _sky_nodes(model, 1, 1.0)
        dense_l, dense_b, dense_w = spiral(np.array([0.6, 0.0, 0.8]), np.pi, 2_000_000)
        sky = np.asarray(model.sky(dense_l, dense_b))
        got, exact = np.sum(w * layer(l, b)), np.sum(sky * dense_w * layer(dense_l, dense_b))
        assert 1100 < len(l) < 2000, name
        assert got == pytest.approx(exact, rel=1e-3), name


def test_nodes_of_a_cone_integrate_closed_forms():
    """int n.c over a cone is pi sin^2 r, to 1e-4 with 1000 nodes."""
    cone = Cone(radius=25.0, l=130.0, b=20.0)
    l, b, w = Survey(selection=cone).sky_nodes(1000)
    n = survey.footprints.unit_vector(l, b)
    assert np.sum(w * (n @ cone.centre())) == pytest.approx(np.pi * np.sin(np.radians(25.0)) ** 2, rel=1e-4)
    # Across, where the spiral is only nearly even: against 0.
    side = np.cross(cone.centre(), [0.0, 0.0, 1.0])
    assert abs(np.sum(w * (n @ side))) < 1e-3 * np.sum(w)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Cone(radius=5.0), "give l and b, or ra and dec"),
        (lambda: Cone(radius=5.0, l=1.0, dec=2.0), "give l and b, or ra and dec"),
        (lambda: Cone(radius=0.0, l=1.0, b=2.0), "between 0 and 180"),
        (lambda: Cone(radius=1.0, l=1.0, b=95.0), "latitudes between -90 and 90"),
        (lambda: Declination(), "give min, max or both"),
        (lambda: Declination(min=-100.0), "between -90 and 90"),
        (lambda: Polygon([[0, 0], [1, 0]], frame="icrs"), "three or more"),
        (lambda: Polygon([[0, 0], [1, 0], [1, 1]]), 'state the frame.*"galactic" or "icrs"'),
        (lambda: Polygon([[0, 0], [1, 1], [1, 0], [0, 1]], frame="icrs"), "cross"),
        (lambda: Polygon([[0, 0], [0, 0], [1, 0], [0, 1]], frame="icrs"), "no length"),
        (lambda: Polygon([[0, 0], [120, 0], [240, 0]], frame="icrs"), "farther than 80 deg"),
        (
            lambda: Survey(selection=(Cone(2.0, l=0.0, b=0.0), Latitude(min=30.0))).sky_nodes(10),
            "sees no part of the sky",
        ),
    ],
)
def test_bad_footprints_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
