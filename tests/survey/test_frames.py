"""Frames against astropy, the signs of the dynamics frame, and derivatives at the poles."""

import astropy.coordinates as coord
import astropy.units as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from oortax import survey

N = 200
SUN = survey.Sun(R0=8.3, z0=0.017, U=10.0, V=11.0, W=7.0)
V_C0 = 235.0


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(5)
    ra, dec = rng.uniform(0, 2 * np.pi, N), np.arcsin(rng.uniform(-1, 1, N))
    return ra, dec, rng.uniform(0.02, 20.0, N), *rng.normal(0, 20, (2, N)), rng.normal(0, 150, N)


def sky_coordinates(sample):
    ra, dec, s, pm_ra, pm_dec, v_los = sample
    return coord.SkyCoord(
        ra * u.rad,
        dec * u.rad,
        distance=s * u.kpc,
        pm_ra_cosdec=pm_ra * u.mas / u.yr,
        pm_dec=pm_dec * u.mas / u.yr,
        radial_velocity=v_los * u.km / u.s,
    )


def to_galactic(sample):
    ra, dec, s, pm_ra, pm_dec, v_los = sample
    l, b, mu_l, mu_b = jax.vmap(survey.icrs_to_galactic)(ra, dec, pm_ra, pm_dec)
    return l, b, s, mu_l, mu_b, v_los


def test_galactic_sky_agrees_with_astropy(sample):
    l, b, _, mu_l, mu_b, _ = to_galactic(sample)
    truth = sky_coordinates(sample).galactic
    np.testing.assert_allclose(l, truth.l.rad, rtol=0, atol=1e-12)
    np.testing.assert_allclose(b, truth.b.rad, rtol=0, atol=1e-12)
    np.testing.assert_allclose(mu_l, truth.pm_l_cosb.to_value(u.mas / u.yr), rtol=0, atol=1e-9)
    np.testing.assert_allclose(mu_b, truth.pm_b.to_value(u.mas / u.yr), rtol=0, atol=1e-9)


def test_icrs_and_galactic_are_inverse(sample):
    l, b, _, mu_l, mu_b, _ = to_galactic(sample)
    back = jax.vmap(survey.galactic_to_icrs)(l, b, mu_l, mu_b)
    for value, truth in zip(back, (sample[0], sample[1], sample[3], sample[4]), strict=True):
        np.testing.assert_allclose(value, truth, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "frame",
    [survey.Galactocentric(), survey.Galactocentric(8.0, 0.05, (10.0, 230.0, 5.0))],
    ids=["v4.0", "other"],
)
def test_galactocentric_agrees_with_astropy(sample, frame):
    x, v = jax.vmap(lambda *row: survey.phase_space(SUN, V_C0, *row))(*to_galactic(sample))
    xg, vg = jax.vmap(lambda x, v: survey.to_galactocentric(SUN, V_C0, x, v, frame))(x, v)
    truth = sky_coordinates(sample).transform_to(
        coord.Galactocentric(
            galcen_coord=coord.ICRS(ra=frame.ra * u.deg, dec=frame.dec * u.deg),
            galcen_distance=frame.distance * u.kpc,
            z_sun=frame.z_sun * u.kpc,
            galcen_v_sun=coord.CartesianDifferential(frame.v_sun * u.km / u.s),
        )
    )
    np.testing.assert_allclose(xg.T, truth.cartesian.xyz.to_value(u.kpc), rtol=0, atol=1e-9)
    np.testing.assert_allclose(vg.T, truth.velocity.d_xyz.to_value(u.km / u.s), rtol=1e-9, atol=1e-9)
    x_back, v_back = jax.vmap(lambda x, v: survey.from_galactocentric(SUN, V_C0, x, v, frame))(xg, vg)
    np.testing.assert_allclose(x_back, x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(v_back, v, rtol=0, atol=1e-10)


def test_observe_inverts_phase_space(sample):
    rows = to_galactic(sample)
    x, v = jax.vmap(lambda *row: survey.phase_space(SUN, V_C0, *row))(*rows)
    seen = jax.vmap(lambda x, v: survey.observe(SUN, V_C0, x, v))(x, v)
    for value, truth in zip(seen, rows, strict=True):
        np.testing.assert_allclose(value, truth, rtol=0, atol=1e-9)


def test_signs_of_the_dynamics_frame():
    """Left-handed: towards the centre x falls, l = 90 deg and rotation are +y, the pole is +z; J_phi > 0."""
    x_sun, v_sun = survey.phase_space(SUN, V_C0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(x_sun, [8.3, 0.0, 0.017], atol=1e-15)
    np.testing.assert_allclose(v_sun, [-10.0, 246.0, 7.0], atol=1e-12)
    assert x_sun[0] * v_sun[1] - x_sun[1] * v_sun[0] > 0
    for l, b, axis, sign in ((0, 0, 0, -1), (np.pi / 2, 0, 1, 1), (0, np.pi / 2, 2, 1)):
        step = survey.position(SUN, l, b, 1.0) - x_sun
        np.testing.assert_allclose(step, sign * np.eye(3)[axis], atol=1e-12)
        _, v = survey.phase_space(SUN, V_C0, l, b, 1.0, 0.0, 0.0, 30.0)
        np.testing.assert_allclose(v - v_sun, 30.0 * sign * np.eye(3)[axis], atol=1e-12)
    # A star at rest with respect to the centre, seen towards it, drifts to negative l: Sgr A*'s motion.
    at_rest = survey.observe(SUN, V_C0, jnp.zeros(3).at[2].set(0.017), jnp.zeros(3))
    assert float(at_rest.mu_l) == pytest.approx(-246.0 / (4.740470463533349 * 8.3), rel=1e-12)


def test_distance_scales_the_jacobian():
    """|d(x, v)/d(l, b, s, mu_l, mu_b, v_los)| = s^4 cos b kappa^2: the measure used by the likelihood."""
    point = jnp.array([2.0, 0.7, 1.5, 3.0, -4.0, 20.0])
    jacobian = jax.jacfwd(lambda q: jnp.concatenate(survey.phase_space(SUN, V_C0, *q)))(point)
    expected = 1.5**4 * np.cos(0.7) * 4.740470463533349**2
    assert abs(np.linalg.det(jacobian)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dec", [np.pi / 2, -np.pi / 2, np.radians(27.12825118085622)])
def test_gradients_are_finite_at_poles(dec):
    point = jnp.array([np.radians(192.8594812065348), dec, 3.0, -2.0])
    assert np.all(np.isfinite(jax.jacfwd(lambda q: jnp.stack(survey.icrs_to_galactic(*q)))(point)))
    x, v = survey.phase_space(SUN, V_C0, 0.0, np.sign(dec) * np.pi / 2, 2.0, 1.0, -1.0, 5.0)
    x = x.at[0].set(SUN.R0)
    assert np.all(np.isfinite(jax.jacfwd(lambda x: jnp.stack(survey.observe(SUN, V_C0, x, v)))(x)))


def test_gradients_match_finite_differences():
    x, v = survey.phase_space(SUN, V_C0, 2.0, 0.7, 1.5, 3.0, -4.0, 20.0)
    check_grads(lambda x, v: survey.observe(SUN, V_C0, x, v), (x, v), order=1, rtol=1e-6)


def test_dtype_is_preserved():
    values = [jnp.float32(q) for q in (1.0, 0.5, 2.0, 3.0, -4.0, 20.0)]
    sun = survey.Sun(**{name: jnp.float32(1.0) for name in ("R0", "z0", "U", "V", "W")})
    x, v = survey.phase_space(sun, jnp.float32(220.0), *values)
    assert x.dtype == v.dtype == jnp.float32
    assert all(q.dtype == jnp.float32 for q in survey.observe(sun, jnp.float32(220.0), x, v))


def test_sun_refuses_impossible_values():
    with pytest.raises(ValueError, match="R0 must be positive, in kpc"):
        survey.Sun(R0=-8.0)


@pytest.mark.parametrize("b", [0.5 * np.pi, -0.5 * np.pi, 1.2, 0.0])
def test_pole_motions_are_the_cartesian_components(b):
    """Towards l = 0 and l = 90 deg, whatever the longitude at the pole; and their derivatives."""
    for l in (0.0, 1.0, 4.0):
        towards = survey.pole_motions(l, b, 3.0, -2.0)
        step = 1e-6
        east, north = (
            np.array([-np.sin(l), np.cos(l), 0.0]),
            np.array([-np.sin(b) * np.cos(l), -np.sin(b) * np.sin(l), np.cos(b)]),
        )
        np.testing.assert_allclose(towards, (3.0 * east - 2.0 * north)[:2], atol=1e-12)
        slope = jax.jacobian(lambda b, l=l: jnp.stack(survey.pole_motions(l, b, 3.0, -2.0)))(b)
        up, down = (jnp.stack(survey.pole_motions(l, b + side * step, 3.0, -2.0)) for side in (1, -1))
        np.testing.assert_allclose(slope, (up - down) / (2 * step), atol=1e-8)
