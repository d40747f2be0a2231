"""Oort's and Lindblad's integrals and adiabatic actions: where they are exact, and what they get wrong."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import constraints
from scipy.optimize import minimize_scalar

from oortax import params, potential
from oortax.dynamics.oort_lindblad import OortLindblad
from oortax.dynamics.orbit import integrate_orbit
from oortax.dynamics.staeckel import StaeckelFudge
from oortax.params import param
from oortax.potential.base import AbstractClosedForm
from oortax.results import Result
from oortax.types import Scalar

BATCH = 256
WEIGHTS = np.array([1.0, 1.7, 0.3])


@final
class Separate(AbstractClosedForm):
    """Phi = (omega^2 R^2 + v_0^2 ln(1 + R^2) + nu^2 z^2)/2 + K sqrt(1 + z^2), lengths in kpc."""

    omega: Scalar = param(constraints.nonnegative, "km/s/kpc", "frequency along the plane")
    v_0: Scalar = param(constraints.nonnegative, "km/s", "circular speed at large R")
    nu: Scalar = param(constraints.nonnegative, "km/s/kpc", "frequency across it")
    K: Scalar = param(constraints.nonnegative, "(km/s)^2", "force far from it, of 1 kpc")

    def Phi_of_squares(self, R2, z2):
        """Phi of the squares."""
        along = self.omega**2 * R2 + self.v_0**2 * jnp.log1p(R2)
        return 0.5 * (along + self.nu**2 * z2) + self.K * jnp.sqrt(1.0 + z2)


# One program for all: a part whose amplitude is 0 adds exactly nothing.
MW = potential.mw_potential_2014()
GALAXY = potential.Sum(
    disc=potential.MiyamotoNagai(M=1e11, a=3.0, b=0.28),
    separate=Separate(omega=0.0, v_0=0.0, nu=0.0, K=0.0),
)


def separate(**amplitudes):
    values = {f"separate.{name}": value for name, value in amplitudes.items()}
    return params.replace(GALAXY, {"disc.M": 0.0, **values})


@eqx.filter_jit
def found(pot, x, v, gamma):
    return jax.vmap(OortLindblad(pot, gamma=gamma).actions_angles_frequencies)(x, v)


@eqx.filter_jit
def actions(pot, x, v):
    return jax.vmap(OortLindblad(pot).actions)(x, v)


@eqx.filter_jit
def fudge(pot, x, v):
    return jax.vmap(StaeckelFudge(pot).actions)(x, v)


@eqx.filter_jit
def integrals(pot, x, v):
    """E_R, E_z and L_z, and the gradient of the first two's sum in the potential."""

    def total(pot, x, v):
        found = OortLindblad(pot).integrals(x, v)
        return found.E_R + found.E_z, found

    slope, found = jax.vmap(jax.grad(total, has_aux=True), (None, 0, 0))(pot, x, v)
    return found, slope


@eqx.filter_jit
def slopes(pot, x, v):
    """Gradients of weighed actions (gamma = 1) in the potential, x and v."""

    def weighed(pot, x, v):
        return OortLindblad(pot).actions(x, v) @ WEIGHTS

    return jax.vmap(jax.grad(weighed, argnums=(0, 1, 2)), (None, 0, 0))(pot, x, v)


@jax.jit
def orbit(pot, x, v, times):
    """Some 1000 steps in a radial period."""
    return integrate_orbit(pot, x, v, times, 20)


def filled(*points):
    """(x, v) of some points, the last one repeated up to BATCH."""
    x, v = (np.array([point[i] for point in points], float) for i in (0, 1))
    pad = ((0, BATCH - len(points)), (0, 0))
    return np.pad(x, pad, mode="edge"), np.pad(v, pad, mode="edge")


def apart(one, other):
    """Difference of angles."""
    return np.abs((np.asarray(one) - np.asarray(other) + np.pi) % (2.0 * np.pi) - np.pi)


def points(seed=0):
    """Points of disc stars, of any azimuth and either sense of rotation."""
    rng = np.random.default_rng(seed)
    R, phi, z = rng.uniform(3.0, 15.0, BATCH), rng.uniform(0.0, 6.28, BATCH), rng.normal(0.0, 0.5, BATCH)
    v_R, v_phi, v_z = rng.normal([0.0, 200.0, 0.0], [50.0, 40.0, 30.0], (BATCH, 3)).T
    v_phi[::4] *= -1.0
    cos, sin = np.cos(phi), np.sin(phi)
    x = np.stack([R * cos, R * sin, z], axis=1)
    return x, np.stack([v_R * cos - v_phi * sin, v_R * sin + v_phi * cos, v_z], axis=1)


V_C = float(potential.circular_velocity(GALAXY, 8.0))
POINTS = {
    "general": ([8.0, 1.0, 0.5], [30.0, 190.0, 20.0]),
    "thick": ([5.0, -3.0, 2.0], [80.0, 120.0, 30.0]),
    "planar": ([8.0, 0.0, 0.0], [40.0, 200.0, 0.0]),
    "circular": ([8.0, 0.0, 0.0], [0.0, V_C, 0.0]),
    "shell": ([8.0, 0.0, 0.0], [0.0, V_C, 20.0]),
    "hardly any height": ([8.0, 0.0, 1e-5], [10.0, 200.0, 1e-4]),
    "no L_z": ([5.0, 0.0, 2.0], [60.0, 0.0, 30.0]),
    "at rest": ([5.0, 3.0, 2.0], [0.0, 0.0, 0.0]),
    "at rest in the plane": ([5.0, 3.0, 0.0], [0.0, 0.0, 0.0]),
    "through the centre": ([5.0, 0.0, 0.0], [60.0, 0.0, 0.0]),
}
NAMES = list(POINTS)


def test_integrals_of_Dehnen_and_Binney():
    """DB96 eqs. 1-2 written out, E_c as the least Phi_eff; and E_R at circular orbits and L_z = 0."""
    x, v = points()
    R, z = np.hypot(x[:, 0], x[:, 1]), x[:, 2]
    v_R = (x[:, 0] * v[:, 0] + x[:, 1] * v[:, 1]) / R
    L_z = x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]
    Phi = jax.jit(jax.vmap(lambda R, z: GALAXY.Phi_Rz(R, z)))
    one = jax.jit(lambda R, z: GALAXY.Phi_Rz(R, z))
    star, _ = integrals(GALAXY, x, v)
    plane = np.asarray(Phi(R, 0.0 * R))
    np.testing.assert_allclose(star.E_z, 0.5 * v[:, 2] ** 2 + Phi(R, z) - plane, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(star.L_z, L_z, rtol=1e-13)
    for i in range(0, BATCH, 16):
        least = minimize_scalar(
            lambda R, i=i: float(one(R, 0.0)) + 0.5 * (L_z[i] / R) ** 2,
            bounds=(0.1, 60.0),
            method="bounded",
            options={"xatol": 1e-7},
        )
        E_R = 0.5 * v_R[i] ** 2 + plane[i] + 0.5 * (L_z[i] / R[i]) ** 2 - least.fun
        assert star.E_R[i] == pytest.approx(E_R, abs=1e-6)
    # E_R >= 0 vanishes on the circular orbit: rounding of Phi.
    star, slope = integrals(GALAXY, *filled(*POINTS.values()))
    assert np.min(star.E_R) > -1e-9 and np.min(star.E_z) >= 0.0
    assert abs(star.E_R[NAMES.index("circular")]) < 1e-9
    assert star.E_R[NAMES.index("no L_z")] == pytest.approx(
        0.5 * 60.0**2 + float(one(5.0, 0.0)) - float(one(0.0, 0.0)), rel=1e-8
    )
    for path in ("disc.M", "disc.a"):
        value = float(params.get(GALAXY, path))
        up, down = (
            integrals(params.replace(GALAXY, {path: value * (1.0 + h)}), *filled(*POINTS.values()))[0]
            for h in (1e-4, -1e-4)
        )
        difference = (up.E_R + up.E_z - down.E_R - down.E_z) / (2e-4 * value)
        # Rounding of Phi, some 1e-11, and the third derivative.
        np.testing.assert_allclose(params.get(slope, path), difference, rtol=1e-6, atol=1e-4 / value)


def test_two_oscillators():
    """J_z = E_z/nu, J_r = (E_along/omega - |L_z|)/2 and their frequencies, exactly."""
    omega, nu = 30.0, 70.0
    pot = separate(omega=omega, nu=nu)
    x, v = points(1)
    star = found(pot, x, v, jnp.array(0.0))
    assert np.all(star.code == Result.OK)
    E_z = 0.5 * (v[:, 2] ** 2 + (nu * x[:, 2]) ** 2)
    along = 0.5 * np.sum(v[:, :2] ** 2, axis=1) + 0.5 * omega**2 * np.sum(x[:, :2] ** 2, axis=1)
    L_z = x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]
    J = np.stack([0.5 * (along / omega - np.abs(L_z)), E_z / nu, L_z], axis=1)
    np.testing.assert_allclose(star.J, J, rtol=1e-9, atol=1e-9)
    exact = np.stack([2.0 * omega + 0.0 * L_z, nu + 0.0 * L_z, omega * np.sign(L_z)], axis=1)
    np.testing.assert_allclose(star.Omega, exact, rtol=1e-7)


def test_exact_where_the_potential_separates():
    """With gamma = 0 J stays and all three angles grow by Omega; with gamma = 1 J_r does not stay."""
    pot = separate(v_0=200.0, K=2e3)
    times = jnp.linspace(0.0, 0.4, BATCH)
    x, v = orbit(pot, jnp.array([8.0, 0.5, 0.2]), jnp.array([40.0, -150.0, 40.0]), times)
    assert np.max(np.abs(x[:, 2])) > 0.5
    star = found(pot, x, v, jnp.array(0.0))
    assert np.all(star.code == Result.OK)
    turn = apart(star.theta, star.theta[0] + star.Omega[0] * times[:, None])
    # The integrator's error.
    assert np.max(np.abs(star.J - star.J[0])) < 1e-8 * np.sum(np.abs(star.J[0]))
    assert np.max(np.abs(star.Omega / star.Omega[0] - 1.0)) < 1e-8
    assert np.max(turn) < 1e-6 and float(star.Omega[0, 0] * times[-1]) > 2.0 * np.pi
    coupled = found(pot, x, v, jnp.array(1.0))
    assert np.std(coupled.J[:, 0]) > 1e-2 and np.std(coupled.J[:, 1]) < 1e-6


def test_exact_in_the_plane():
    """There J_z is 0 and the rest conserved, whatever gamma; circular orbits' frequencies are known."""
    times = jnp.linspace(0.0, 0.4, BATCH)
    x, v = orbit(GALAXY, jnp.array([8.0, 0.0, 0.0]), jnp.array([70.0, 160.0, 0.0]), times)
    one, other = (found(GALAXY, x, v, jnp.array(gamma)) for gamma in (0.0, 1.0))
    for star in (one, other):
        assert np.all(star.code == Result.OK) and np.max(np.abs(star.J[:, 1])) < 1e-12
        assert np.max(np.abs(star.J - one.J[0])) < 1e-8 * np.sum(np.abs(one.J[0])) and star.J[0, 0] > 50.0
        turn = apart(star.theta, star.theta[0] + star.Omega[0] * times[:, None])
        assert np.max(turn[:, [0, 2]]) < 1e-6
    circular = found(GALAXY, *filled(POINTS["circular"]), jnp.array(1.0))
    assert np.max(np.abs(circular.J[:, :2])) < 1e-9
    epicyclic = potential.frequencies(GALAXY, 8.0)
    # That of second derivatives of Phi as differences.
    np.testing.assert_allclose(circular.Omega[0], [epicyclic.kappa, epicyclic.nu, epicyclic.Omega], rtol=1e-7)


def test_no_tilt():
    """J_r and J_z are even in v_R and in v_z, so that <v_R v_z> = 0 for any f(J); the fudge's are not."""
    v_R, v_z = (part.ravel() for part in np.meshgrid(*[np.linspace(-140.0, 140.0, 16)] * 2))
    x = np.tile([8.0, 0.0, 2.0], (BATCH, 1))
    v = np.stack([v_R, np.full(BATCH, 190.0), v_z], axis=1)
    flip = np.array([-1.0, 1.0, 1.0])

    def tilt(of):
        """Relative change of J_z with the sign of v_R; angle of the velocity ellipsoid of a DF (degrees)."""
        J, mirrored = np.asarray(of(x, v)), np.asarray(of(x, v * flip))
        f = np.exp(-J[:, 0] / 60.0 - J[:, 1] / 30.0)
        RR, zz, Rz = (np.sum(f * a * b) / np.sum(f) for a, b in ((v_R, v_R), (v_z, v_z), (v_R, v_z)))
        return np.max(np.abs(mirrored / J - 1.0)[:, 1]), np.degrees(0.5 * np.arctan2(2.0 * Rz, RR - zz))

    even, angle = tilt(lambda x, v: actions(MW, x, v))
    assert even < 1e-12 and abs(angle) < 1e-10
    odd, angle = tilt(lambda x, v: fudge(MW, x, v))
    # The direction of the centre is 14 degrees below the plane's.
    assert odd > 0.1 and 5.0 < angle < 16.0


def test_actions_vary_along_a_thick_disc_orbit():
    """MWPotential2014, up to 0.9 kpc: J_z by 7.6 per cent (standard deviation), by the fudge 0.15."""
    times = jnp.linspace(0.0, 2.0, BATCH)
    x, v = orbit(MW, jnp.array([8.0, 0.0, 0.0]), jnp.array([60.0, 180.0, 45.0]), times)
    assert 0.8 < np.max(np.abs(x[:, 2])) < 1.0

    J, better = actions(MW, x, v), fudge(MW, x, v)
    scatter, less = (np.std(part, axis=0) / np.mean(part, axis=0) for part in (J, better))
    assert 0.06 < scatter[1] < 0.09 and 0.03 < scatter[0] < 0.06
    assert less[1] < 2.5e-3 and less[0] < 3e-3
    # The mean is right to a per cent.
    np.testing.assert_allclose(np.mean(J, axis=0), np.mean(better, axis=0), rtol=1.5e-2)


def test_derivatives():
    """In x, v and the potential against differences, at planar, circular and resting points, too."""
    x, v = filled(*POINTS.values())
    by_pot, by_x, by_v = slopes(GALAXY, x, v)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((by_pot, by_x, by_v)))
    regular = NAMES.index("no L_z")

    def each(pot, x, v):
        return np.asarray(found(pot, x, v, jnp.array(1.0)).J) @ WEIGHTS

    for exact, size, which in ((by_x, 1e-4, 0), (by_v, 1e-2, 1)):
        scale = np.max(np.abs(exact), axis=1)[:regular]
        for axis in range(3):
            step = [0.0, 0.0]
            step[which] = size * np.eye(3)[axis]
            up, down = each(GALAXY, x + step[0], v + step[1]), each(GALAXY, x - step[0], v - step[1])
            error = np.abs(np.asarray(exact)[:, axis] - (up - down) / (2.0 * size))[:regular] / scale
            assert np.max(error) < 1e-5, (which, axis, dict(zip(NAMES, error, strict=False)))
    for path in ("disc.M", "disc.a", "disc.b"):
        value = float(params.get(GALAXY, path))
        slope = np.asarray(params.get(by_pot, path)) * value
        up, down = (each(params.replace(GALAXY, {path: value * (1.0 + h)}), x, v) for h in (1e-4, -1e-4))
        error = np.abs(slope - (up - down) / 2e-4)
        assert np.max(error / (1.0 + np.abs(slope))) < 1e-4, path
        assert np.max(np.abs(slope)) > 1.0


def test_derivatives_of_angles_and_frequencies():
    """In one parameter, against differences."""
    x, v = filled(POINTS["general"])

    @jax.jit
    def moving(a):
        def there(a):
            finder = OortLindblad(params.replace(GALAXY, {"disc.a": a}))
            return finder.actions_angles_frequencies(jnp.array(x[0]), jnp.array(v[0]))

        return jax.jvp(there, (a,), (1.0,))[1]

    slope = moving(3.0)
    h = 1e-4
    up, down = (
        found(params.replace(GALAXY, {"disc.a": 3.0 + s * h}), x, v, jnp.array(1.0)) for s in (1.0, -1.0)
    )
    for part in ("theta", "Omega"):
        difference = (getattr(up, part)[0] - getattr(down, part)[0]) / (2.0 * h)
        np.testing.assert_allclose(getattr(slope, part), difference, rtol=1e-5, atol=1e-7)
        assert np.min(np.abs(difference)) > 1e-4


def test_singular_points_and_codes():
    extra = {
        "up the axis": ([0.0, 0.0, 3.0], [0.0, 0.0, 40.0]),
        "unbound": ([8.0, 0.0, 1.0], [0.0, 1500.0, 0.0]),
        "unbound across": ([8.0, 0.0, 1.0], [0.0, 200.0, 1500.0]),
        "not a number": ([8.0, np.nan, 1.0], [0.0, 200.0, 0.0]),
        "infinitely fast": ([8.0, 0.0, 1.0], [0.0, np.inf, 0.0]),
        "infinitely far": ([8.0, -np.inf, 1.0], [0.0, 200.0, 0.0]),
    }
    x, v = filled(*POINTS.values(), *extra.values())
    n = len(POINTS)
    for gamma in (0.0, 1.0):
        star = found(GALAXY, x, v, jnp.array(gamma))
        # A vertical motion's action holds a star off the axis.
        axis = Result.OK if gamma == 0.0 else Result.UNBOUND
        assert np.all(star.code[:n] == Result.OK) and star.code[n] == axis
        assert list(star.code[n + 1 : n + 6]) == [Result.UNBOUND] * 2 + [Result.NONFINITE] * 3
        for part in (star.J, star.theta, star.Omega):
            assert np.all(np.isfinite(part[:n])) and np.all(np.isnan(part[n + 1 : n + 6]))
        assert np.min(star.J[:n, :2]) > -1e-9
    # In sums over stars neither spoils the gradient in the potential.
    by_pot = slopes(GALAXY, *filled(*list(extra.values())[:3]))[0]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(by_pot))


def test_bad_input():
    with pytest.raises(ValueError, match="n_r >= 8"):
        OortLindblad(GALAXY, n_r=4)
    for method in ("actions", "integrals", "actions_angles_frequencies"):
        with pytest.raises(ValueError, match="enable_x64"):
            getattr(OortLindblad(GALAXY), method)(jnp.ones(3, jnp.float32), jnp.ones(3, jnp.float32))
