"""Any spherical potential by quadrature: against the isochrone, along orbits, at singular points."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from oortax import params, potential
from oortax.dynamics.isochrone import IsochroneFinder
from oortax.dynamics.orbit import integrate_orbit
from oortax.dynamics.spherical import SphericalFinder
from oortax.results import Result

# One program for all: a part whose amplitude is 0 adds exactly nothing.
ALL = potential.Sum(
    isochrone=potential.Isochrone(M=8e10, b=3.0),
    nfw=potential.NFW(rho_s=1e7, r_s=16.0),
    hernquist=potential.Hernquist(M=8e10, a=3.0),
)
AMPLITUDES = {"isochrone": "isochrone.M", "nfw": "nfw.rho_s", "hernquist": "hernquist.M"}
BATCH = 256
WEIGHTS = np.array([1.0, 1.7, 0.3])


def only(name):
    return params.replace(ALL, {path: 0.0 for part, path in AMPLITUDES.items() if part != name})


@eqx.filter_jit
def found(pot, x, v):
    return jax.vmap(SphericalFinder(pot).actions_angles_frequencies)(x, v)


@eqx.filter_jit
def exact(pot, x, v):
    return jax.vmap(IsochroneFinder(pot).actions_angles_frequencies)(x, v)


@eqx.filter_jit
def slopes(pot, x, v):
    """Gradients of weighed actions in the potential, x and v."""

    def weighed(pot, x, v):
        return SphericalFinder(pot).actions(x, v) @ WEIGHTS

    return jax.vmap(jax.grad(weighed, argnums=(0, 1, 2)), (None, 0, 0))(pot, x, v)


@jax.jit
def orbit(pot, x, v, times):
    """Some 3000 steps in a radial period."""
    return integrate_orbit(pot, x, v, times, 60)


def filled(*points):
    """(x, v) of some points, the last one repeated up to BATCH."""
    x, v = (np.array([point[i] for point in points], float) for i in (0, 1))
    pad = ((0, BATCH - len(points)), (0, 0))
    return np.pad(x, pad, mode="edge"), np.pad(v, pad, mode="edge")


def apart(one, other):
    """Difference of angles."""
    return np.abs((np.asarray(one) - np.asarray(other) + np.pi) % (2.0 * np.pi) - np.pi)


def _sample():
    """Orbits of all sizes and shapes; some circular or nearly, planar, polar, or two of these."""
    rng = np.random.default_rng(0)
    J = 10.0 ** rng.uniform(0.0, 4.0, BATCH)[:, None] * rng.dirichlet([0.5, 0.5, 0.5], BATCH)
    J[:, 2] *= rng.choice([-1.0, 1.0], BATCH)
    J[:40, 0], J[30:70, 1], J[60:100, 2] = 0.0, 0.0, 0.0
    J[100:130, 0] *= 10.0 ** rng.uniform(-12.0, -2.0, 30)
    points = jax.jit(jax.vmap(IsochroneFinder(ALL["isochrone"]).phase_point))
    return J, *(np.asarray(part) for part in points(J, rng.uniform(0.0, 2.0 * np.pi, (BATCH, 3))))


J, X, V = _sample()
SIZE = np.sum(np.abs(J), axis=1)


def test_isochrone():
    """48 nodes: J to 1e-11; angles and frequencies to 1e-11 in the median, 5e-8 at worst unless L << J_r."""
    one, other = found(only("isochrone"), X, V), exact(ALL["isochrone"], X, V)
    assert np.all(one.code == Result.OK) and np.max(one.residual) < 1e-5
    assert np.max(np.abs(one.J - other.J) / SIZE[:, None]) < 1e-11
    round_ = (J[:, 1] + np.abs(J[:, 2])) / SIZE > 1e-3
    assert np.sum(round_) > 240
    rate = np.max(np.abs(one.Omega / other.Omega - 1.0), axis=1)
    assert np.median(rate) < 1e-11 and np.max(rate[round_]) < 5e-8 and np.max(rate) < 1e-5
    general = round_ & (np.min(np.abs(J), axis=1) > 1e-4 * SIZE)
    angle = np.max(apart(one.theta, other.theta), axis=1)[general]
    assert len(angle) > 100 and np.median(angle) < 1e-11 and np.max(angle) < 5e-8


@pytest.mark.parametrize("name", ["nfw", "hernquist"])
def test_along_an_orbit(name):
    """In an eccentric, inclined, retrograde orbit J stays and angles grow by Omega."""
    pot = only(name)
    x, v = jnp.array([8.0, 0.5, 1.0]), jnp.array([60.0, -70.0, 60.0])
    times = jnp.linspace(0.0, 1.0, BATCH)
    xs, vs = orbit(pot, x, v, times)
    r = np.linalg.norm(xs, axis=1)
    assert np.max(r) > 2.0 * np.min(r)
    star = found(pot, xs, vs)
    assert np.all(star.code == Result.OK) and star.J[0, 2] < 0.0
    # The integrator's own error, in phase too.
    assert np.max(np.abs(star.J - star.J[0])) < 1e-8 * np.sum(np.abs(star.J[0]))
    assert float(star.Omega[0, 0] * times[-1]) > 4.0 * np.pi
    assert np.max(apart(star.theta, star.theta[0] + star.Omega[0] * times[:, None])) < 1e-6
    # Motion from peri- to apocentre is the first half of theta_r.
    radial, theta_r = np.sum(np.asarray(xs * vs), axis=1), np.asarray(star.theta[:, 0])
    clear = np.abs(np.sin(theta_r)) > 1e-3
    assert np.all((radial > 0.0)[clear] == (theta_r < np.pi)[clear])


def test_radial_action_by_other_quadrature():
    """(1/pi) int p_r dr of Hernquist's sphere by QUADPACK, between ends by bisection."""
    pot = only("hernquist")
    E, L, M = -1.5e4, 500.0, 8e10

    def square(r):
        return 2.0 * (E + 4.300917270069976e-6 * M / (r + 3.0)) - (L / r) ** 2

    middle = 8.0
    ends = brentq(square, 1e-3, middle, xtol=1e-15), brentq(square, middle, 1e3, xtol=1e-13)
    half, centre = 0.5 * (ends[1] - ends[0]), 0.5 * (ends[1] + ends[0])
    J_r = (
        quad(
            lambda t: np.sqrt(max(square(centre - half * np.cos(t)), 0.0)) * half * np.sin(t),
            0.0,
            np.pi,
            epsabs=1e-10,
            epsrel=1e-12,
        )[0]
        / np.pi
    )
    star = found(pot, *filled(([middle, 0.0, 0.0], [np.sqrt(square(middle)), 0.0, L / middle])))
    np.testing.assert_allclose(star.J[0], [J_r, L, 0.0], rtol=1e-10, atol=1e-9)
    assert J_r > 100.0


V_C = float(potential.circular_velocity(only("nfw"), 8.0))
POINTS = {
    "general": ([8.0, 1.0, 0.5], [30.0, 90.0, 20.0]),
    "eccentric": ([5.0, -3.0, 2.0], [80.0, 20.0, 30.0]),
    "planar": ([8.0, 0.0, 0.0], [40.0, 120.0, 0.0]),
    "circular": ([8.0, 0.0, 0.0], [0.0, V_C, 0.0]),
    "circular, inclined": ([8.0, 0.0, 0.0], [0.0, 0.6 * V_C, 0.8 * V_C]),
    "polar": ([5.0, 0.0, 2.0], [60.0, 0.0, 30.0]),
    "on the axis": ([0.0, 0.0, 3.0], [20.0, 30.0, 40.0]),
    "radial": ([8.0, 0.0, 3.0], [16.0, 0.0, 6.0]),
    "at rest": ([5.0, 3.0, 2.0], [0.0, 0.0, 0.0]),
    "up the axis": ([0.0, 0.0, 3.0], [0.0, 0.0, 40.0]),
    "at rest at the centre": ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
    "through the centre": ([0.0, 0.0, 0.0], [10.0, 20.0, 30.0]),
}
NAMES = list(POINTS)


def test_derivatives():
    """In x, v and the potential against differences: first at regular and round orbits, then at L = 0."""
    pot = only("nfw")
    x, v = filled(*POINTS.values())
    by_pot, by_x, by_v = slopes(pot, x, v)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((by_pot, by_x, by_v)))
    regular = NAMES.index("radial")

    def each(pot, x, v):
        return np.asarray(found(pot, x, v).J) @ WEIGHTS

    for exact_, size, which in ((by_x, 1e-4, 0), (by_v, 1e-2, 1)):
        scale = np.max(np.abs(exact_), axis=1)[:regular]
        for axis in range(3):
            step = [0.0, 0.0]
            step[which] = size * np.eye(3)[axis]
            difference = (
                (each(pot, x + step[0], v + step[1]) - each(pot, x - step[0], v - step[1])) / size / 2.0
            )
            # J_z has a cusp at L_z = 0, where its slope is the mean of both sides'.
            error = np.abs(np.asarray(exact_)[:, axis] - difference)[:regular] / scale
            assert np.max(error) < 1e-5, (which, axis, dict(zip(NAMES, error, strict=False)))
    for path, value in {"nfw.rho_s": 1e7, "nfw.r_s": 16.0}.items():
        slope = np.asarray(params.get(by_pot, path)) * value
        up, down = (each(params.replace(pot, {path: value * (1.0 + h)}), x, v) for h in (1e-4, -1e-4))
        difference = (up - down) / 2e-4
        # Both for radial orbits and at rest; rounding of J_r/1e-4 and the third derivative, 1e-8.
        np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-5)
        assert np.max(np.abs(slope)) > 10.0


def test_derivatives_of_angles_and_frequencies():
    """In r_s, against differences, for general orbits."""

    pot, (x, v) = only("nfw"), filled(POINTS["general"])

    @jax.jit
    def moving(r_s):
        def there(r_s):
            finder = SphericalFinder(potential.NFW(rho_s=1e7, r_s=r_s))
            return finder.actions_angles_frequencies(jnp.array(x[0]), jnp.array(v[0]))

        return jax.jvp(there, (r_s,), (1.0,))[1]

    slope = moving(16.0)
    h = 1e-4
    up, down = (found(params.replace(pot, {"nfw.r_s": 16.0 + s * h}), x, v) for s in (1.0, -1.0))
    for part in ("theta", "Omega"):
        difference = (getattr(up, part)[0] - getattr(down, part)[0]) / (2.0 * h)
        np.testing.assert_allclose(getattr(slope, part), difference, rtol=1e-6, atol=1e-8)
        assert np.min(np.abs(difference)) > 1e-4


def test_singular_points():
    star = found(only("nfw"), *filled(*POINTS.values()))
    at = {name: jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], star) for i, name in enumerate(NAMES)}
    assert np.all(star.code == Result.OK)
    for part in (star.J, star.theta, star.Omega):
        assert np.all(np.isfinite(part))
    assert np.min(star.J[:, :2]) > -1e-9
    epicyclic = potential.frequencies(only("nfw"), 8.0)
    for name in ("circular", "circular, inclined"):
        assert at[name].J[0] < 1e-9
        # Rounding of a second derivative, in the polynomial.
        np.testing.assert_allclose(
            at[name].Omega, [epicyclic.kappa, epicyclic.Omega, epicyclic.Omega], rtol=1e-8
        )
    assert at["circular"].J[1] == at["planar"].J[1] == 0.0
    for name in ("radial", "at rest", "up the axis", "through the centre"):
        J = at[name].J
        assert J[0] > 1.0 and np.all(np.abs(J[1:]) < 1e-9 * J[0]), name
    assert np.all(np.abs(at["at rest at the centre"].J) < 1e-9)
    # In a core, where Phi is flat to rounding, too; its motion is an oscillator's.
    core = found(only("isochrone"), *filled(POINTS["at rest at the centre"]))
    assert np.all(core.code == Result.OK) and np.max(np.abs(core.J)) < 1e-9
    # (-2 E)^(3/2)/(GM) of the isochrone with E = -GM/(2 b).
    assert core.Omega[0, 0] == pytest.approx(np.sqrt(4.300917270069976e-6 * 8e10 / 3.0**3), rel=1e-6)
    # At rest a star is at apocentre.
    assert at["at rest"].theta[0] == pytest.approx(np.pi, abs=1e-6)


def test_codes():
    pot = only("nfw")
    bad = {
        Result.UNBOUND: [([8.0, 0.0, 1.0], [0.0, 1500.0, 0.0])],
        Result.NONFINITE: [
            ([8.0, np.nan, 1.0], [0.0, 200.0, 0.0]),
            ([8.0, 0.0, 1.0], [0.0, np.inf, 0.0]),
            ([-np.inf, 0.0, 1.0], [0.0, 200.0, 0.0]),
        ],
    }
    for code, points in bad.items():
        star = found(pot, *filled(*points))
        assert np.all(star.code == code)
        assert np.all(np.isnan(star.J)) and np.all(np.isnan(star.theta)) and np.all(np.isnan(star.Omega))
    # An unbound star in a sum over stars spoils no gradient.
    by_pot = slopes(pot, *filled(*bad[Result.UNBOUND]))[0]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(by_pot))


def test_bad_input():
    with pytest.raises(ValueError, match="StaeckelFudge"):
        SphericalFinder(potential.LogarithmicHalo(v_0=200.0, r_c=1.0, q=0.99))
    SphericalFinder(potential.LogarithmicHalo(v_0=200.0, r_c=1.0, q=1.0))
    with pytest.raises(ValueError, match="n >= 8"):
        SphericalFinder(ALL, n=4)
    with pytest.raises(ValueError, match="enable_x64"):
        found(ALL, jnp.ones((2, 3), jnp.float32), jnp.ones((2, 3), jnp.float32))
