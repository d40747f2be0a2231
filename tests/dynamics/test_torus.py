"""Tori against integrated orbits, identities of their derivatives, limits and bad input."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, params, potential
from oortax.dynamics.torus.generating import Warp, modes
from oortax.dynamics.torus.grid import grid
from oortax.dynamics.torus.series import sine_series, sine_waves
from oortax.dynamics.torus.toy import oscillator, oscillator_azimuth, sphere
from oortax.dynamics.torus.transformation import Transformation
from oortax.results import Result

POT = potential.mw_potential_2014()
DATA = Path(__file__).parents[1] / "data" / "tori_reference.csv"
# Bounds on the error of x over |x|, on that of Omega, and on the residual with 76 modes.
FAMILIES = {
    "thin": (2e-6, 3e-6, 1e-7),
    "thick": (5e-6, 1e-7, 3e-7),
    "nearplanar": (5e-7, 1e-6, 3e-8),
    "nearshell": (4e-4, 1.5e-5, 5e-5),
    "halo": (5e-4, 1.5e-6, 4e-5),
}
# Of angles, in 50 radial periods, rad. Of shells 9e-5 and 1.3e-2, of halo orbits 1.6e-3 and 3.6e-3.
DRIFTS = {"thin": 1e-4, "thick": 5e-4, "nearplanar": 1e-4, "nearshell": 2e-2, "halo": 8e-3}
NAN = float("nan")
DERIVED = np.array([[40.0, 30.0, 1700.0], [250.0, 300.0, -900.0], [0.0, 0.0, 1800.0]])
LIMITS = {
    "circular": (0.0, 0.0, 1800.0),
    "planar": (100.0, 0.0, -1500.0),
    "J_r < 0": (-1.0, 10.0, 1500.0),
    "J_z < 0": (10.0, -1.0, 1500.0),
    "NaN": (10.0, NAN, 1500.0),
    "infinite": (float("inf"), 1.0, 1500.0),
}


def _reference():
    with open(DATA, encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    orbits = {}
    for row in rows:
        orbits.setdefault(row["torus"], []).append(row)
    families = [rows[0]["family"] for rows in orbits.values()]

    def columns(*names):
        return np.array([[[float(row[name]) for name in names] for row in rows] for rows in orbits.values()])

    return families, columns


@pytest.fixture(scope="module")
def fitted():
    """Tori of a potential: the reference's, the limits', and last those whose derivatives are tested."""
    _, columns = _reference()
    J = np.concatenate([columns("J_r", "J_z", "J_phi")[:, 0], np.array(list(LIMITS.values())), DERIVED])
    program = jax.jit(jax.vmap(dynamics.fit_torus, in_axes=(None, 0)))
    return lambda pot: program(pot, jnp.asarray(J))


@pytest.fixture(scope="module")
def tori(fitted):
    return fitted(POT)


@jax.jit
def _phase_points(tori, theta):
    return jax.vmap(jax.vmap(dynamics.Torus.phase_point, in_axes=(None, 0)))(tori, theta)


@pytest.fixture(scope="module")
def points(tori):
    """Positions and velocities at the reference's angles."""
    families, columns = _reference()
    good = jax.tree.map(lambda leaf: leaf[: len(families)], tori)
    return _phase_points(good, jnp.asarray(columns("theta_r", "theta_z", "theta_phi")))


def test_integrated_orbits_are_reproduced(tori, points):
    families, columns = _reference()
    assert sorted(families) == sorted(2 * list(FAMILIES))
    x, v = (np.asarray(a) for a in points)
    dx = np.linalg.norm(x - columns("x", "y", "z"), axis=2) / np.linalg.norm(x, axis=2)
    dv = np.linalg.norm(v - columns("vx", "vy", "vz"), axis=2) / 200.0
    Omega = columns("Omega_r", "Omega_z", "Omega_phi")[:, 0]
    for i, family in enumerate(families):
        largest, of_Omega, residual = FAMILIES[family]
        assert tori.code[i] == Result.OK
        assert 0.0 < tori.residual[i] < residual, family
        assert dx[i].max() < largest and dv[i].max() < 5.0 * largest, family
        np.testing.assert_allclose(tori.Omega[i], Omega[i], rtol=of_Omega)


def test_energy_and_angular_momentum_are_constant_on_them(tori, points):
    families, _ = _reference()
    x, v = points
    H = jax.vmap(jax.vmap(lambda x, v: 0.5 * v @ v + POT.Phi(x)))(x, v)
    scale = np.sum(np.asarray(tori.Omega[:, :2] * tori.J[:, :2]), axis=1)
    for i, family in enumerate(families):
        assert np.abs(H[i] - tori.E[i]).max() < 10.0 * FAMILIES[family][2] * scale[i]
    L_z = x[..., 0] * v[..., 1] - x[..., 1] * v[..., 0]
    J_phi = np.asarray(tori.J[: len(families), 2:])
    np.testing.assert_allclose(L_z, np.broadcast_to(J_phi, L_z.shape), rtol=1e-12)


def test_orbits_keep_their_angles_and_actions(tori):
    """Integrated for 50 radial periods from a point of the torus: theta - Omega t and J stay."""
    families, _ = _reference()
    first = jax.tree.map(lambda leaf: leaf[: len(families)], tori)
    start = jnp.asarray(np.random.default_rng(6).uniform(0.0, 2.0 * np.pi, (len(families), 3)))

    @jax.jit
    def along(pot, torus, start):
        x, v = torus.phase_point(start)
        times = jnp.arange(121) * (50.0 / 120.0) * 2.0 * jnp.pi / torus.Omega[0]
        orbit = dynamics.integrate_orbit(pot, x, v, times, 240)
        theta, J = jax.vmap(torus.angles_actions)(*orbit)
        return theta - torus.Omega * times[:, None], J

    theta, J = jax.vmap(along, (None, 0, 0))(POT, first, start)
    off = np.abs((np.asarray(theta) - start[:, None] + np.pi) % (2.0 * np.pi) - np.pi).max(axis=(1, 2))
    total = np.sum(np.asarray(first.J[:, :2]), axis=1)
    moved = np.abs(np.asarray(J) - first.J[:, None]).max(axis=(1, 2)) / total
    for i, family in enumerate(families):
        assert off[i] < DRIFTS[family], family
        # The largest of 121 against an rms; the integration keeps J to 1e-6.
        assert moved[i] < 20.0 * first.residual[i] + 1e-6, family


def test_circular_and_planar_limits(tori):
    n = len(_reference()[0])
    circular, planar = (jax.tree.map(lambda leaf, i=i: leaf[n + i], tori) for i in (0, 1))
    orbit = jax.jit(dynamics.circular_orbits)(POT).at(1800.0)
    # J_z = 1e-7 L is a height of 2 pc in a disc of 280 pc: (z/b)^2 = 6e-5, of which nu loses a part.
    np.testing.assert_allclose(circular.Omega, [orbit.kappa, orbit.nu, orbit.Omega], rtol=3e-5)
    E = 0.5 * (1800.0 / orbit.R) ** 2 + POT.Phi_Rz(orbit.R, 0.0)
    assert circular.E == pytest.approx(float(E), rel=1e-6)
    assert planar.code == Result.OK and planar.residual < 1e-9 and planar.Omega[2] < 0.0


def test_bad_actions_have_a_reason(tori):
    n = len(_reference()[0])
    reasons = [Result.OK, Result.OK, Result.OUTSIDE, Result.OUTSIDE, Result.NONFINITE, Result.NONFINITE]
    assert tori.code[n:-3].tolist() == reasons
    assert np.isnan(tori.E[n + 2 : -3]).all() and np.isfinite(tori.E[: n + 2]).all()
    with pytest.raises(ValueError, match="float64"):
        dynamics.fit_torus(POT, jnp.ones(3, jnp.float32))


def test_energy_s_derivatives_are_frequencies_averages_and_differences(fitted):
    """dE/dJ = Omega, and (dE/dalpha)_J is the torus average of dPhi/dalpha; at a circular orbit, too."""
    free = ("disc.b", "halo.rho_s")
    values = {name: jnp.asarray(params.parameters(POT)[name].value) for name in free}

    def E(values, J):
        torus = dynamics.fit_torus(params.replace(POT, values), J, 76)
        return torus.E, torus

    gradient = jax.jit(jax.vmap(jax.grad(E, argnums=(0, 1), has_aux=True), in_axes=(None, 0)))
    (by_pot, by_J), tori = gradient(values, jnp.asarray(DERIVED))
    # First order in the residuals.
    assert tori.residual[0] < 1e-6 and tori.residual[1] < 1e-4
    for i in range(2):
        np.testing.assert_allclose(by_J[i], tori.Omega[i], rtol=float(tori.residual[i]))
    orbit = jax.jit(dynamics.circular_orbits)(POT).at(1800.0)
    np.testing.assert_allclose(by_J[2], [orbit.kappa, orbit.nu, orbit.Omega], rtol=3e-5)

    # Differences of whole fits: their toy maps move with the parameters, the derivative's does not.
    for name in free:
        h = 1e-2 * values[name]
        upper, lower = (fitted(params.replace(POT, {name: values[name] + s * h})).E for s in (1.0, -1.0))
        for i, largest in ((0, 2e-5), (1, 1e-3)):
            expected = float((upper - lower)[i - 3] / (2.0 * h))
            # Measured 5e-6 and 6e-4: the halo's fits, of different toy maps, have other errors of E.
            assert by_pot[name][i] == pytest.approx(expected, rel=largest)

    # Crossings of the plane are a small part of the period.
    chi_r, chi_z = ((np.arange(n) + 0.5) * 2.0 * np.pi / n for n in (24, 96))
    angles = jnp.asarray([(a, b, 0.0) for a in chi_r for b in chi_z])

    @jax.jit
    def average(torus):
        x, _, weight = jax.vmap(torus.phase_point_toy)(angles)
        slopes = jax.vmap(jax.grad(lambda values, x: params.replace(POT, values).Phi(x)), (None, 0))(
            values, x
        )
        return jax.tree.map(lambda slope: jnp.mean(slope * weight), slopes), jnp.mean(weight)

    for i in range(2):
        mean, total = average(jax.tree.map(lambda leaf, i=i: leaf[i], tori))
        assert total == pytest.approx(1.0, abs=1e-6), "angles fill (2 pi)^2"
        for name in free:
            assert by_pot[name][i] == pytest.approx(float(mean[name]), rel=float(tori.residual[i]))


@pytest.mark.parametrize("box", [False, True])
def test_the_toy_and_its_transformation_are_canonical(box):
    """The Jacobian of (theta, J) -> (q, p) is symplectic, whatever the coefficients, in both families."""
    numbers = {
        "Delta2": 9.0,
        "barrier": 300.0,
        "soft2": 90.0 * box,
        "middle": 2.9,
        "half": 0.5,
        "largest": 0.3,
    }
    bend = Transformation(
        box=jnp.asarray(box),
        radial=jnp.array([0.1, 0.05, 0.02, -0.01]),
        latitude=jnp.array([-0.3, 0.04, 0.02]),
        **{name: jnp.asarray(value) for name, value in numbers.items()},
    )

    def coordinates(w):
        of_radius, of_latitude = bend.barriers(w[5])
        latitude = sphere(w[1], w[4], of_latitude)
        at = bend(oscillator(of_radius, w[0], w[3]), latitude)
        turn = oscillator_azimuth(of_radius, w[0], w[3]) if box else latitude.azimuth
        u = jnp.arcsinh(jnp.sqrt(at.rho2 / bend.Delta2))
        phi = w[2] + jnp.sign(w[5]) * turn.angle
        return jnp.stack([u, jnp.arctan2(at.sine, at.cosine), phi, at.p_u, at.p_lat, w[5]])

    form = np.block([[np.zeros((3, 3)), np.eye(3)], [-np.eye(3), np.zeros((3, 3))]])
    jacobian = jax.jit(jax.jacfwd(coordinates))
    for w in ([0.4, 0.7, 1.0, 50.0, 90.0, 800.0], [2.5, 4.0, -1.0, 120.0, 30.0, -500.0]):
        D = np.asarray(jacobian(jnp.array(w)))
        np.testing.assert_allclose(D.T @ form @ D, form, atol=1e-10)


def test_series_and_their_derivatives():
    """Against the plain sum over modes."""
    warp, chi = Warp.of(jnp.asarray(0.6)), jnp.array([0.9, 2.2])
    c = jnp.asarray(np.random.default_rng(2).normal(size=(45, 2)))
    n = jnp.asarray(modes(45), dtype=float)

    def toy(chi):
        return jnp.stack([warp.radial(chi[0])[0], warp.vertical(chi[1])[0]])

    def plain(chi):
        return 2.0 * jnp.sin(n @ chi) @ c

    series = warp.series(chi, c)
    by_toy = jax.jacfwd(plain)(chi) @ jnp.linalg.inv(jax.jacfwd(toy)(chi))
    np.testing.assert_allclose(series.value, plain(chi), atol=1e-11)
    np.testing.assert_allclose(jnp.stack([series.by_r, series.by_z], axis=1), by_toy, atol=1e-10)
    np.testing.assert_allclose(toy(warp.unwarped(toy(chi))), toy(chi), atol=1e-6)


def test_sums_on_the_grid():
    """Spectra, normal matrices and syntheses against plain sums, for sets that end anywhere."""
    key = np.random.default_rng(1)
    for m in (7, 22, 50):
        at = grid(m)
        waves = np.cos(at.n[:, :1, None] * at.chi_r[:, None] + at.n[:, 1:, None] * at.chi_z)
        field, c = key.normal(size=waves.shape[1:]), key.normal(size=m)
        np.testing.assert_allclose(at.sum(jnp.asarray(c)), np.einsum("m,mij->ij", c, waves), atol=1e-12)
        sines = np.sin(at.n[:, :1, None] * at.chi_r[:, None] + at.n[:, 1:, None] * at.chi_z)
        expected = np.einsum("m,mij->ij", c, sines)
        np.testing.assert_allclose(at.sum_of_sines(jnp.asarray(c)), expected, atol=1e-12)
        expected = np.einsum("mij,nij,ij->mn", waves, waves, field) / field.size
        np.testing.assert_allclose(at.gram(jnp.asarray(field)), expected, atol=1e-14)
        expected = np.einsum("mij,ij->m", waves, field) / field.size
        np.testing.assert_allclose(at.coefficients(jnp.asarray(field)), expected, atol=1e-14)


@pytest.mark.parametrize("n", [1, 5, 22, 76, 280])
def test_modes_are_the_lowest_of_each_pair(n):
    found = {tuple(pair) for pair in modes(n).tolist()}
    order = lambda r, z: r**1.5 + (abs(z) / 3.5) ** 1.5  # noqa: E731
    last = max(order(*pair) for pair in found)
    lower = {(r, z) for r in range(40) for z in range(-80, 81, 2) if (r > 0 or z > 0) and order(r, z) < last}
    assert len(found) == n and lower < found
    assert modes(n).tolist() == modes(n + 7)[:n].tolist()


def test_waves_of_known_angles_are_the_series():
    angles, powers = np.array([0.0, 0.3, 0.5 * np.pi, 2.0, np.pi]), np.random.default_rng(2).normal(size=9)
    value, slope = jax.vmap(sine_series, (None, 0))(jnp.asarray(powers), jnp.asarray(angles))
    waves, slopes = sine_waves(len(powers), angles)
    # Rounding of nine terms of order 1, times k <= 8 of the slopes.
    np.testing.assert_allclose(powers @ waves, value, rtol=0.0, atol=1e-14)
    np.testing.assert_allclose(powers @ slopes, slope, rtol=0.0, atol=1e-13)
