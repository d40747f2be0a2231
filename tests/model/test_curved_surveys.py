"""The surveyed volume of footprints of any shape: its nodes, and what they integrate to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, model, potential, stars, survey
from oortax.model.volume import volume_nodes
from oortax.survey import AbsLatitude, Cone, Declination, Fields, HealpixMap, Latitude, Magnitude, Polygon

CLUMP = stars.Gaussian(mean=0.8, sigma=0.3)
LIMIT = Magnitude(max=10.5)


@pytest.fixture(scope="module")
def galaxy():
    pot = potential.Sum(
        disc=potential.MiyamotoNagai(M=6.5e10, a=3.0, b=0.3), halo=potential.NFW(rho_s=8.5e6, r_s=16.0)
    )
    thin = df.QuasiIsothermal(R_d=2.6, sigma_r0=95.0, R_sigma=8.0, H_d=0.3)
    return model.Galaxy(pot, {"thin": model.Component(thin, CLUMP)}).bound()


def expected(galaxy, *cuts):
    """Stars of a double exponential disc in the survey, and the derivative in its scale height; and nodes."""
    # At z0 = 0 the density's kink lies on an edge of the panels for cuts in b, which are then good to 1e-6.
    sur = survey.Survey(survey.Sun(z0=0.0), selection=(LIMIT, *cuts), errors=survey.Errors(V=0.01))
    nodes = volume_nodes(galaxy, sur, 1, 2.0)
    x = jax.vmap(lambda l, b, s: survey.position(sur.sun, l, b, s))(nodes.l, nodes.b, nodes.s)

    def number(h):
        rho = jnp.exp(-(jnp.hypot(x[:, 0], x[:, 1]) - 8.178) / 2.6 - jnp.abs(x[:, 2]) / h)
        return jnp.sum(nodes.w * nodes.selection["thin"] * rho)

    value, slope = jax.value_and_grad(number)(0.3)
    return float(value), float(slope) / float(value), nodes


def test_one_footprint_said_in_two_ways(galaxy):
    """|b| and b by panels, cones and complements by the spiral's 1200 nodes."""
    cap = Cone(radius=60.0, l=0.0, b=90.0)
    pairs = [
        ((Latitude(min=30.0),), (cap,)),
        ((AbsLatitude(min=30.0),), (cap | Cone(radius=60.0, l=0.0, b=-90.0),)),
    ]
    for plain, curved in pairs:
        exact, exact_slope, _ = expected(galaxy, *plain)
        got, slope, _ = expected(galaxy, *curved)
        # Midpoints err by (cell size)^2 / 24 times the gradient along the border.
        assert got == pytest.approx(exact, rel=2e-3), curved
        assert slope == pytest.approx(exact_slope, rel=2e-3), curved


def test_fractions_of_the_sky_count_once(galaxy):
    """A map of 0.5 everywhere halves the number; a map of 1 is no cut; a field with its fraction likewise."""
    whole, _, _ = expected(galaxy, HealpixMap(np.ones(48), "icrs", "ring"))
    half, _, _ = expected(galaxy, HealpixMap(np.full(48, 0.5), "icrs", "ring"))
    assert half == pytest.approx(0.5 * whole, rel=1e-12)
    assert whole == pytest.approx(expected(galaxy)[0], rel=1e-5)
    field = {"l": [50.0], "b": [60.0], "radius": [6.0], "magnitude_min": [0.0], "magnitude_max": [99.0]}
    sampled, _, nodes = expected(galaxy, Fields(field | {"fraction": [0.2]}, band="V"))
    cone, _, _ = expected(galaxy, Cone(radius=6.0, l=50.0, b=60.0))
    # The field's bright limit, far from any star, moves the panels in distance.
    assert sampled == pytest.approx(0.2 * cone, rel=1e-5)
    # All nodes are in the field.
    assert np.all(Cone(radius=6.0, l=50.0, b=60.0).accepts({"l": nodes.l, "b": nodes.b}))


def test_parts_of_the_sky_add_up(galaxy):
    """A polygon, what of a hemisphere it leaves, and the other hemisphere: together the whole sky."""
    polygon = Polygon([[20, 10], [100, 5], [90, 70], [30, 60]], frame="galactic")
    north = Declination(min=0.0)
    parts = [expected(galaxy, *cuts)[0] for cuts in ((polygon & north,), (~polygon & north,), (~north,))]
    assert min(parts) > 0.01 * sum(parts)
    assert sum(parts) == pytest.approx(expected(galaxy)[0], rel=2e-3)


def test_a_footprint_that_is_nowhere(galaxy):
    with pytest.raises(ValueError, match="sees no part of the sky"):
        expected(galaxy, Cone(radius=3.0, l=0.0, b=0.0), Cone(radius=3.0, l=10.0, b=0.0))
    with pytest.raises(ValueError, match="'v_los' cannot be folded"):
        expected(galaxy, survey.LineOfSightVelocity(min=0.0))
