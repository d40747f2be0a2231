"""Orbits of many stars: conservation, turning points, sections, exact orbits, codes, bad input."""

from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from scipy.integrate import solve_ivp

from oortax import potential
from oortax.dynamics.orbit import adaptive_orbit
from oortax.dynamics.orbits import Orbit, integrate_orbits
from oortax.params import param
from oortax.potential.base import AbstractPotential
from oortax.results import Result

POT = potential.mw_potential_2014()
# A thin disc's, a thick disc's and a halo's star, one that falls nearly through the centre, no star.
X = np.array([[8.29, 0.1, 0.1]] * 3 + [[8.0, 0.0, 3.0], [8.0, np.nan, 0.0]])
V = np.array([[30.22, 211.1, 19.22], [50.22, 187.1, 54.22], [100.22, 109.1, 101.22], [20, 15, 10], [0, 1, 0]])
# Ten radial periods of the thin disc's star, at 500 times in each.
TIMES = np.linspace(0.0, 1.7, 5001)
FORCE = jax.jit(lambda x: potential.acceleration(POT, x))


@pytest.fixture(scope="module")
def orbits():
    return integrate_orbits(POT, X, V, TIMES)


@pytest.fixture(scope="module")
def fine():
    """With tolerances a hundred times smaller: what interpolation should find."""
    return integrate_orbits(POT, X, V, TIMES, rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def coarse(fine):
    """The same at 50 times in a radial period."""
    thin = (part[:, ::10] for part in (fine.x, fine.v, fine.a, fine.E))
    return Orbit(fine.times[::10], *thin, fine.code)


def test_against_scipy_and_what_is_conserved(orbits):
    def slope(_, state):
        return np.concatenate([state[3:], FORCE(state[:3])])

    options = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-11}
    path = solve_ivp(slope, (0.0, 0.34), np.concatenate([X[2], V[2]]), t_eval=TIMES[:1001], **options)
    np.testing.assert_allclose(orbits.x[2, :1001].T, path.y[:3], atol=1e-8)
    np.testing.assert_allclose(orbits.v[2, :1001].T, path.y[3:], atol=1e-6)
    assert np.all(orbits.code == np.array([0, 0, 0, 0, Result.NONFINITE]))
    error = np.asarray(orbits.energy_error)
    # Ten times the tolerance of a step: errors of some hundred steps add up as they will.
    assert np.all(error[:4] < 2e-9) and np.all(error[:4] > 0.0)
    L_z = np.asarray(orbits.L_z)[:4]
    assert np.max(np.abs(L_z / L_z[:, :1] - 1.0)[:3]) < 1e-8
    assert np.all(np.isnan(orbits.x[4])) and np.isnan(orbits.pericentre[4]) and np.isnan(orbits.z_max[4])


def test_extremes_between_the_times(coarse, fine):
    # Interpolation at 50 times in a period, and, where the star falls through the centre, at few in the fall.
    for name in ("pericentre", "apocentre", "z_max"):
        found, exact = (np.asarray(getattr(of, name))[:4] for of in (coarse, fine))
        assert np.max(np.abs(found - exact)[:2]) < 1e-7, name
        assert np.max(np.abs(found - exact)) < 1e-3, name
    r = np.asarray(coarse.r)[:4]
    assert np.all(coarse.pericentre[:4] <= r.min(axis=1)) and np.all(coarse.apocentre[:4] >= r.max(axis=1))
    # Sampled values alone would be off by more than what is asserted above.
    assert np.max(np.abs(r.min(axis=1) - np.asarray(fine.pericentre)[:4])) > 1e-5
    ratio = coarse.pericentre / coarse.apocentre
    np.testing.assert_allclose(coarse.eccentricity[:4], ((1.0 - ratio) / (1.0 + ratio))[:4], rtol=1e-12)


def test_at_any_time_and_sections(coarse, fine):
    t = np.asarray(fine.times)[3::97]
    x, v = coarse.at(t)
    assert np.max(np.abs(x - fine.x[:, 3::97])[:2]) < 1e-6 and np.max(np.abs(v - fine.v[:, 3::97])[:2]) < 1e-3
    one = coarse[0].at(t[5])
    np.testing.assert_allclose(one, (x[0, 5], v[0, 5]), rtol=1e-12)
    assert np.all(np.isnan(coarse[0].at(1.71)[0]))
    R, v_R = coarse.surface_of_section()
    R_fine, v_R_fine = fine.surface_of_section()
    assert R.shape == R_fine.shape and np.all(np.isnan(R[4]))
    for star, (length, speed) in enumerate([(1e-7, 1e-5), (1e-5, 1e-3)]):
        crossings = int(np.isfinite(R[star]).sum())
        # Once in each period of z.
        change = np.sign(np.asarray(fine.x)[star, :, 2])
        assert crossings == np.sum((change[:-1] < 0) & (change[1:] > 0)) > 8
        np.testing.assert_allclose(R[star, :crossings], R_fine[star, :crossings], atol=length)
        np.testing.assert_allclose(v_R[star, :crossings], v_R_fine[star, :crossings], atol=speed)
    alone = coarse[1].surface_of_section()[0]
    np.testing.assert_array_equal(alone, R[1][np.isfinite(R[1])])


def test_backwards(orbits):
    back = integrate_orbits(POT, orbits.x[:, -1], orbits.v[:, -1], TIMES[::-1])
    np.testing.assert_allclose(back.x[:3, -1], X[:3], atol=1e-7)
    R, v_R = (np.asarray(part) for part in orbits.surface_of_section())
    R_back, v_R_back = (np.asarray(part) for part in back.surface_of_section())
    # The same crossings in the opposite order: upwards means forwards in time.
    crossed, crossed_back = np.isfinite(R[0]), np.isfinite(R_back[0])
    np.testing.assert_allclose(R_back[0][crossed_back][::-1], R[0][crossed], atol=1e-6)
    np.testing.assert_allclose(v_R_back[0][crossed_back][::-1], v_R[0][crossed], atol=1e-4)
    np.testing.assert_allclose(back.pericentre[:2], orbits.pericentre[:2], atol=1e-7)


def test_isochrone_period_and_turning_points():
    """r_p, r_a and the radial period of Binney & Tremaine (2008, eqs. 2.47-2.52), in closed form."""
    b = 3.0
    pot = potential.Isochrone(M=8e10, b=b)
    G_M = float(-pot.Phi(jnp.zeros(3))) * 2.0 * b
    x, v = np.array([7.0, 1.0, 2.0]), np.array([30.0, 120.0, 40.0])
    E = 0.5 * v @ v - G_M / (b + np.sqrt(b * b + x @ x))
    L2 = np.sum(np.cross(x, v) ** 2)
    c = G_M / (-2.0 * E) - b
    e = np.sqrt(1.0 - L2 / (G_M * c) * (1.0 + b / c))
    s = 2.0 + c / b * (1.0 + np.array([-e, e]))
    period = 2.0 * np.pi * G_M / (-2.0 * E) ** 1.5
    times = np.stack([np.linspace(0.0, period, 120), np.linspace(0.0, -period, 120)])
    orbit = integrate_orbits(pot, np.stack([x, x]), np.stack([v, v]), times, method="symplectic")
    r = b * np.sqrt(s * (s - 2.0))
    np.testing.assert_allclose(orbit.pericentre, [r[0]] * 2, rtol=1e-7)
    np.testing.assert_allclose(orbit.apocentre, [r[1]] * 2, rtol=1e-7)
    np.testing.assert_allclose(orbit.r[:, -1], np.linalg.norm(x), rtol=1e-7)
    assert np.all(orbit.code == Result.OK)


@final
class _Oscillators(AbstractPotential):
    """Three oscillators and a constant force upwards: neither axisymmetric nor even in z."""

    omega: Float[Array, "3"] = param(constraints.positive, "km/s/kpc")
    g: Float[Array, ""] = param(constraints.positive, "km^2/s^2/kpc")

    def Phi(self, x):
        return 0.5 * jnp.sum((self.omega * x) ** 2) + self.g * x[2]


@pytest.mark.parametrize("method", ["dop853", "symplectic"])
def test_a_potential_of_three_dimensions(method):
    """x = x_0 cos(omega t) + v_0/omega sin(omega t), about -g/omega_z^2 in z."""
    omega, g = np.array([20.0, 31.0, 47.0]), 2000.0
    pot = _Oscillators(jnp.asarray(omega), jnp.asarray(g))
    x, v, times = X[:2], V[:2], np.linspace(0.0, 0.5, 101)
    orbit = integrate_orbits(pot, x, v, times, method=method)
    middle = np.array([0.0, 0.0, -g / omega[2] ** 2])
    cos, sin = (f(times[:, None] * omega) for f in (np.cos, np.sin))
    expected = middle + (x - middle)[:, None] * cos + (v / omega)[:, None] * sin
    np.testing.assert_allclose(orbit.x, expected, atol=1e-6)
    top = middle[2] + np.array([-1.0, 1.0])[:, None] * np.hypot(x[:, 2] - middle[2], v[:, 2] / omega[2])
    np.testing.assert_allclose(orbit.z_max, np.max(np.abs(top), axis=0), atol=1e-6)
    assert np.all(orbit.energy_error < 1e-7) and np.ptp(orbit.L_z[0]) > 100.0


def test_what_a_limit_of_steps_leaves(orbits):
    few = integrate_orbits(POT, X[0], V[0], TIMES[::10], steps=100)
    assert few.x.shape == (501, 3) and few.E.shape == (501,) and int(few.code) == Result.NOT_CONVERGED
    there = np.isfinite(few.x[:, 0])
    assert 10 < there.sum() < 501 and np.all(there[: there.sum()]) and np.isnan(few.pericentre)
    # Steps in a batch are each star's own.
    np.testing.assert_allclose(few.x[there], orbits.x[0, ::10][there], atol=1e-9)


def test_derivatives_of_the_adaptive_orbit():
    times = jnp.linspace(0.0, 0.2, 3)

    @jax.jit
    def end(b, x):
        pot = potential.MiyamotoNagai(M=7e10, a=3.0, b=b)
        xs, vs, _ = adaptive_orbit(pot, x, jnp.array([20.0, 170.0, 40.0]), times, max_steps=256)
        return jnp.concatenate([xs[-1], vs[-1] / 100.0]) @ jnp.array([1.0, 0.7, 0.4, 0.3, 1.1, 0.2])

    at = (jnp.asarray(0.3), jnp.array([8.0, 0.0, 0.1]))
    by_b, by_x = jax.jit(jax.grad(end, (0, 1)))(*at)
    # Steps change with what they start from, and errors of 1e-10 with them, over differences of 1e-4.
    assert by_b == pytest.approx(float(end(0.3001, at[1]) - end(0.2999, at[1])) / 2e-4, rel=1e-4)
    for k in range(3):
        h = 1e-4 * np.eye(3)[k]
        difference = float(end(at[0], at[1] + h) - end(at[0], at[1] - h)) / 2e-4
        assert by_x[k] == pytest.approx(difference, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"potential": "MWPotential2014"}, "potential is a str"),
        ({"x": X[:2]}, "shape"),
        ({"x": X[:, :2], "v": V[:, :2]}, "shape"),
        ({"x": jnp.ones((5, 3), jnp.float32)}, "float64"),
        ({"times": np.array([0.0])}, "times has shape"),
        ({"times": np.zeros((3, 10))}, "times has shape"),
        ({"times": np.array([0.0, 1.0, 0.5])}, "rise or all fall"),
        ({"times": np.array([0.0, np.nan, 0.5])}, "rise or all fall"),
        ({"method": "leapfrog"}, "method"),
        ({"rtol": 0.0}, "rtol"),
        ({"steps": 0}, "steps"),
        ({"batch_size": 1.5}, "batch_size"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    arguments: dict[str, Any] = {"potential": POT, "x": X, "v": V, "times": TIMES} | change
    with pytest.raises(ValueError, match=message):
        integrate_orbits(**arguments)


def test_points_of_one_orbit_are_not_orbits(orbits):
    with pytest.raises(ValueError, match="one star"):
        orbits[0][1]
