"""Tori where theory gives them: the isochrone, and a Staeckel potential, in which the fudge is exact."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import beta, qmc

from oortax import df, dynamics, params, potential
from oortax.constants import G

STAECKEL = potential.KuzminKutuzov(M=1e11, a=3.0, c=1.0)
# Thin disc; retrograde halo; a box; a box at J_phi = 0; near-shell; eccentric, flat; near the centre.
J = np.array(
    [
        [30.0, 10.0, 1800.0],
        [400.0, 300.0, -800.0],
        [700.0, 100.0, 40.0],
        [600.0, 65.0, 0.0],
        [0.1, 400.0, 500.0],
        [800.0, 5.0, 300.0],
        [10.0, 10.0, 50.0],
        [100.0, 100.0, 10.0],
    ]
)
BOX = [False, False, True, True, False, False, False, True]
THETA = np.random.default_rng(0).uniform(0.0, 2.0 * np.pi, (24, 3))


# The same with nearer foci: all but a few orbits pass far from them.
ROUND = potential.KuzminKutuzov(M=1e11, a=3.0, c=2.5)
# A spheroid that rotates: f depends on J_r + J_z + |J_phi| = 500 y, and y^2 f(y) = y/(1 + y)^5.
SPHEROID = df.DoublePowerLaw(norm=1e10, J_0=500.0, slope_in=1.0, slope_out=6.0, rotation=0.6, J_phi0=300.0)
SETS, IN_A_SET, ANGLES = 10, 1024, 16
# Bounds of R and |z|, kpc.
CELLS = [
    (0.5, 2.0, 0.0, 0.5),
    (2.0, 4.0, 0.0, 1.0),
    (4.0, 7.0, 0.0, 1.0),
    (2.0, 4.0, 1.0, 3.0),
    (4.0, 8.0, 2.0, 5.0),
    (0.5, 2.0, 1.0, 4.0),
]


def _fit(pot, actions):
    """One program for all: the rows of one call are of one length."""
    rows = np.resize(actions, (max(len(actions), 128), 3))
    tori = dynamics.fit_tori(pot, rows, tol=1e-5, n_modes=(22,), batch_size=16, progress=False)
    return jax.tree.map(lambda leaf: leaf[: len(actions)], tori)


def _draws():
    """Actions and angles of the spheroid's stars, sets of scrambled Sobol points."""
    actions, angles = [], []
    for seed in range(SETS):
        u = qmc.Sobol(4, rng=np.random.default_rng(seed)).random(IN_A_SET)
        b = beta.ppf(u[:, 0], 2.0, 3.0)
        low, high = np.sort(u[:, 1:3], axis=1).T
        J = (500.0 * b / (1.0 - b))[:, None] * np.stack([low, high - low, 1.0 - high], axis=1)
        with_rotation = u[:, 3] < 0.5 * (1.0 + 0.6 * np.tanh(J[:, 2] / 300.0))
        J[:, 2] *= np.where(with_rotation, 1.0, -1.0)
        actions.append(J)
        angles.append(np.random.default_rng(100 + seed).uniform(0.0, 2.0 * np.pi, (IN_A_SET, ANGLES, 3)))
    return np.concatenate(actions), np.concatenate(angles)


@pytest.fixture(scope="module")
def tori():
    return _fit(STAECKEL, J)


def test_in_the_isochrone():
    """E and Omega in closed form (Binney & Tremaine 2008, section 3.5.2); loops, as there are no foci.

    Kuzmin & Kutuzov's potential with a = c = b is the isochrone: no other program is compiled.
    """
    loops = J[[0, 1, 4, 5, 6, 7]]
    tori = _fit(potential.KuzminKutuzov(M=8e10, a=3.0, c=3.0), loops)
    GM, L = G * 8e10, loops[:, 1] + np.abs(loops[:, 2])
    root = np.sqrt(L * L + 4.0 * GM * 3.0)
    E = -(GM**2) / 2.0 / (loops[:, 0] + 0.5 * (L + root)) ** 2
    Omega_r = GM**2 / (loops[:, 0] + 0.5 * (L + root)) ** 3
    Omega_z = 0.5 * (1.0 + L / root) * Omega_r
    assert (np.asarray(tori.code) == 0).all() and (np.asarray(tori.residual) > 0.0).all()
    np.testing.assert_allclose(tori.E, E, rtol=1e-9)
    expected = np.stack([Omega_r, Omega_z, np.sign(loops[:, 2]) * Omega_z], axis=1)
    # 22 terms and a latitude's series of 16: 6e-7 is the largest, of the orbit closest to the axis.
    np.testing.assert_allclose(tori.Omega, expected, rtol=1e-6)


def test_actions_of_phase_points_in_a_staeckel_potential(tori):
    """The fudge's actions, exact here and computed in other ways, are J all over the torus."""
    assert tori.transformation.box.tolist() == BOX
    np.testing.assert_allclose(tori.transformation.Delta2, 8.0, rtol=1e-6)
    # The fudge's J_phi has a floor: at 0 the rest is left to S_n (2e-6 with 76 terms).
    assert (np.asarray(tori.residual) < np.where(J[:, 2] == 0.0, 3e-4, 5e-8)).all()

    @jax.jit
    def found(tori, theta):
        finder = dynamics.StaeckelFudge(STAECKEL)

        def one(torus, theta):
            x, v = torus.phase_point(theta)
            return finder.actions(x, v), 0.5 * v @ v + STAECKEL.Phi(x)

        return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(tori, theta)

    actions, E = found(tori, jnp.asarray(THETA))
    total = np.sum(np.abs(J), axis=1)
    error = np.abs(np.asarray(actions) - J[:, None]).max(axis=(1, 2)) / total
    assert (error < np.where(J[:, 2] == 0.0, 3e-3, 5e-6)).all(), error
    scale = np.sum(np.asarray(tori.Omega[:, :2] * tori.J[:, :2]), axis=1)
    assert (np.abs(E - tori.E[:, None]).max(axis=1) < np.where(J[:, 2] == 0.0, 3e-3, 1e-6) * scale).all()


def test_angles_and_actions_of_points(tori):
    """On the torus they are what the point was made from; near it, J is that of the point to second order."""
    key = np.random.default_rng(5)
    theta = jnp.asarray(key.uniform(0.0, 2.0 * np.pi, (16, 3)))

    @jax.jit
    def there_and_back(tori):
        finder = dynamics.StaeckelFudge(STAECKEL)

        def one(torus, theta):
            x, v = torus.phase_point(theta)
            angles, J = torus.angles_actions(x, v)
            near = [
                torus.angles_actions(x, v * (1.0 + e))[1] - finder.actions(x, v * (1.0 + e)) for e in STEPS
            ]
            moved = finder.actions(x, v * (1.0 + STEPS[0])) - torus.J
            return angles, J, jnp.stack([*near, moved])

        return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(tori, theta)

    STEPS = (4e-3, 1e-3)
    # J_phi = 0 has a cusp there.
    regular = jax.tree.map(lambda leaf: leaf[J[:, 2] != 0.0], tori)
    angles, actions, off = there_and_back(regular)
    size = np.sum(np.abs(np.asarray(regular.J)), axis=1)[:, None]
    apart = np.abs((np.asarray(angles) - theta + np.pi) % (2.0 * np.pi) - np.pi)
    assert apart.max() < 1e-8
    assert (np.abs(actions - regular.J[:, None]).max(axis=2) < 1e-9 * size).all()
    far, near, moved = np.moveaxis(np.abs(np.asarray(off)).max(axis=3), 2, 0) / size[None]
    assert moved.mean() > 1e-3, "the actions change"
    # Steps a fourth as large leave a sixteenth of the error, down to that of either.
    assert (near.mean(axis=1) < far.mean(axis=1) / 8.0 + 2e-6).all()
    assert (far.mean(axis=1) < 0.1 * moved.mean(axis=1)).all()


def _coordinates(a, J, theta, torus):
    """All that a parameter, an action or an angle flows through: E; Omega; x; v."""
    torus = eqx.tree_at(lambda t: t.J, torus, J)
    moved = dynamics.refit_torus(params.replace(STAECKEL, {"a": a}), torus, steps=3)
    x, v = moved.phase_point(theta)
    return moved.E[None], moved.Omega, x, v


# At J_phi = 0 the residual is 1e-4: how Omega follows the potential errs by 2e-2, all else by 2e-3.
_ERRORS = {3: 3e-2}
_FORM = np.block([[np.zeros((3, 3)), np.eye(3)], [-np.eye(3), np.zeros((3, 3))]])


@pytest.fixture(scope="module")
def programs():
    return jax.jit(_coordinates), jax.jit(jax.jacfwd(_coordinates, argnums=(0, 1, 2)))


@pytest.mark.parametrize("i", range(len(J)))
def test_derivatives_against_differences(tori, programs, i):
    """By potential, actions and angles; at J_phi = 0 J_phi has only one side."""
    value, jacobian = programs
    torus = jax.tree.map(lambda leaf: leaf[i], tori)
    at = [jnp.asarray(3.0), torus.J, jnp.array([2.0, 1.0, 0.3])]
    slopes = jacobian(*at, torus)
    steps = (3e-5, 1e-6 * np.maximum(J[i], 1e-1 * np.abs(J[i]).max()), 1e-5)
    for k, point in enumerate(at):
        for column in range(point.size):
            if J[i, 2] == 0.0 and (k, column) == (1, 2):
                continue
            h = np.broadcast_to(steps[k], point.shape) * (np.arange(point.size) == column).reshape(
                point.shape
            )
            ends = [value(*at[:k], point + s * h, *at[k + 1 :], torus) for s in (1.0, -1.0)]
            for of, upper, lower in zip(slopes, *ends, strict=True):
                expected = (upper - lower) / (2.0 * h.sum())
                found = np.asarray(of[k]).reshape(len(expected), -1)[:, column]
                largest = _ERRORS.get(i, 1e-5) * float(jnp.abs(expected).max())
                np.testing.assert_allclose(found, expected, rtol=0.0, atol=largest + 1e-12)


def test_reverse_mode_is_forward_mode_transposed(tori, programs):
    """Of loops and boxes, next to a shell and to the plane, and at J_phi = 0: in all that a torus is.

    The same derivatives by other sums: H's are taken forwards, and computed again, in reverse mode.
    """
    weights = [jnp.asarray(np.random.default_rng(5).normal(size=n)) for n in (1, 3, 3, 3)]

    @jax.jit
    def reverse(a, J, theta, torus):
        return jax.vjp(lambda *at: _coordinates(*at, torus), a, J, theta)[1](tuple(weights))

    _, jacobian = programs
    for i in range(len(J)):
        torus = jax.tree.map(lambda leaf, i=i: leaf[i], tori)
        at = jnp.asarray(3.0), torus.J, jnp.array([2.0, 1.0, 0.3])
        rows = jacobian(*at, torus)
        for k, found in enumerate(reverse(*at, torus)):
            expected = sum(weight @ row[k] for weight, row in zip(weights, rows, strict=True))
            np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("i", range(len(J)))
def test_angles_and_actions_are_canonical(tori, programs, i):
    """(theta, J) -> (x, v) is symplectic: all brackets, and with them det = 1. J in units of their sum.

    Worst are those of J_i and J_j, second derivatives of S: 2e-4, and 0.1 at J_phi = 0.
    """
    torus, unit = jax.tree.map(lambda leaf: leaf[i], tori), np.abs(J[i]).sum()
    for theta in ([2.0, 1.0, 0.3], [0.1, 3.0, -1.0]):
        _, _, x, v = programs[1](jnp.asarray(3.0), torus.J, jnp.array(theta), torus)
        D = np.block([[x[2], unit * x[1]], [v[2], unit * v[1]]])
        np.testing.assert_allclose(D.T @ _FORM @ D / unit, _FORM, atol=0.2 if i == 3 else 5e-4)


def test_random_tori_make_the_galaxy_of_their_df():
    """10^4 tori, J drawn from f and angles uniform: masses and velocities in cells, against quadrature.

    The latter integrates f over velocities with exact actions. Errors are from the scatter of ten sets.
    """
    actions, theta = _draws()
    drawn = _fit(ROUND, actions)
    found = np.isfinite(drawn.E)
    # Not found are 0.8 %: small orbits between the foci.
    assert found.mean() > 0.99

    @jax.jit
    def points(tori, theta):
        each = lambda a: jax.vmap(a[0].phase_point)(a[1])  # noqa: E731
        return jax.lax.map(each, (tori, theta), batch_size=256)

    x, v = (np.asarray(a).reshape(SETS, -1, 3) for a in points(drawn, jnp.asarray(theta)))
    there = np.repeat(found, ANGLES).reshape(SETS, -1)
    R, z = np.hypot(x[..., 0], x[..., 1]), x[..., 2]
    v_R = (x[..., 0] * v[..., 0] + x[..., 1] * v[..., 1]) / R
    v_phi = (x[..., 0] * v[..., 1] - x[..., 1] * v[..., 0]) / R
    v_z = v[..., 2]
    tilt = v_R * v_z * np.sign(z)

    finder, total = dynamics.StaeckelFudge(ROUND), float(SPHEROID.mass())
    nodes, weights = np.polynomial.legendre.leggauss(5)
    at = jax.jit(jax.vmap(lambda R, z: df.moments(SPHEROID, ROUND, finder, R, z, 2.0)))
    pulls, errors = [], []
    for R_low, R_high, z_low, z_high in CELLS:
        inside = there & (R > R_low) & (R < R_high) & (np.abs(z) > z_low) & (np.abs(z) < z_high)
        R_at = np.repeat(0.5 * (R_low + R_high + (R_high - R_low) * nodes), 5)
        z_at = np.tile(0.5 * (z_low + z_high + (z_high - z_low) * nodes), 5)
        area = (R_high - R_low) * (z_high - z_low) * 0.25 * np.repeat(weights, 5) * np.tile(weights, 5)
        local = at(jnp.asarray(R_at), jnp.asarray(z_at))
        mass = 4.0 * np.pi * R_at * area * local.density
        second = np.asarray(local.dispersion) + local.mean[:, :, None] * local.mean[:, None, :]
        expected = [np.sum(mass) / total]
        for moment in (local.mean[:, 1], *second[:, [0, 1, 2, 0], [0, 1, 2, 2]].T):
            expected.append(np.sum(mass * moment) / np.sum(mass))
        share = np.mean(inside, axis=1)
        counted = [share]
        for moment in (v_phi, v_R**2, v_phi**2, v_z**2, tilt):
            counted.append(np.sum(np.where(inside, moment, 0.0), axis=1) / np.sum(inside, axis=1))
        for of_sets, value in zip(counted, expected, strict=True):
            error = np.std(of_sets, ddof=1) / np.sqrt(SETS)
            pulls.append((np.mean(of_sets) - value) / error)
        errors.append(abs(np.mean(share) / expected[0] - 1.0))
    # Errors of ten sets are themselves uncertain by a quarter; measured 3.3 and 1.6.
    assert np.abs(pulls).max() < 5.0 and np.sqrt(np.mean(np.square(pulls))) < 2.0
    assert max(errors) < 0.03
