"""The isochrone in closed form: both ways, canonical, frequencies of H(J), singular orbits, derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import params, potential
from oortax.constants import G
from oortax.dynamics.isochrone import IsochroneFinder
from oortax.dynamics.orbit import integrate_orbit
from oortax.results import Result

POT = potential.Isochrone(M=8e10, b=3.0)
G_M, B = G * 8e10, 3.0
BATCH = 256
J_2 = np.diag(np.ones(3), 3) - np.diag(np.ones(3), -3)


@eqx.filter_jit
def forward(pot, x, v):
    return jax.vmap(IsochroneFinder(pot).actions_angles_frequencies)(x, v)


@eqx.filter_jit
def backward(pot, J, theta):
    return jax.vmap(IsochroneFinder(pot).phase_point)(J, theta)


def _energy(J):
    L = J[1] + jnp.abs(J[2])
    return -0.5 * (G_M / (J[0] + 0.5 * (L + jnp.sqrt(L * L + 4.0 * G_M * B)))) ** 2


def _sample():
    """Orbits of all sizes and shapes; some circular, planar, polar, radial, or two of these."""
    rng = np.random.default_rng(0)
    size = 10.0 ** rng.uniform(0.0, 4.0, BATCH)
    J = size[:, None] * rng.dirichlet([0.5, 0.5, 0.5], BATCH)
    J[:, 2] *= rng.choice([-1.0, 1.0], BATCH)
    J[:40, 0], J[30:70, 1], J[60:100, 2] = 0.0, 0.0, 0.0
    J[100:130, 0] *= 1e-6
    J[130:140, 1:] = 0.0
    return J, rng.uniform(0.0, 2.0 * np.pi, (BATCH, 3))


J, THETA = _sample()
SIZE = np.sum(np.abs(J), axis=1)
X, V = (np.asarray(part) for part in backward(POT, J, THETA))


def apart(one, other):
    """Difference of angles."""
    return np.abs((np.asarray(one) - np.asarray(other) + np.pi) % (2.0 * np.pi) - np.pi)


def test_round_trip():
    """J to rounding; x and v too, within what rounding of nearly radial motion at the centre makes of it."""
    found = forward(POT, X, V)
    assert np.all(found.code == Result.OK) and np.all(found.residual == 0.0)
    assert np.max(np.abs(found.J - J) / SIZE[:, None]) < 1e-13
    x, v = backward(POT, found.J, found.theta)
    assert np.max(np.linalg.norm(x - X, axis=1) / np.linalg.norm(X, axis=1)) < 1e-10
    assert np.max(np.linalg.norm(v - V, axis=1) / np.linalg.norm(V, axis=1)) < 1e-10
    general = np.min(np.abs(J) / SIZE[:, None], axis=1) > 1e-4
    assert np.sum(general) > 80 and np.max(apart(found.theta, THETA)[general]) < 1e-10
    # At J_phi = 0 the node is on either side, and theta_phi - theta_z or their sum tells where.
    inclined = (J[:, 1] > 1e-4 * SIZE) & (J[:, 2] != 0.0) & (J[:, 0] > 1e-4 * SIZE)
    assert np.max(apart(found.theta, THETA)[inclined]) < 1e-10


def test_actions_and_frequencies_of_the_book():
    """BT08 eq. 3.226 with its cancellation, 3.225's H(J) differentiated."""
    found = forward(POT, X, V)
    E = np.asarray(jax.vmap(POT.Phi)(X)) + 0.5 * np.sum(V * V, axis=1)
    L = np.linalg.norm(np.cross(X, V), axis=1)
    N = G_M / np.sqrt(-2.0 * E)
    J_r = N - 0.5 * (L + np.sqrt(L * L + 4.0 * G_M * B))
    assert np.max(np.abs(found.J[:, 0] - J_r) / N) < 1e-13
    np.testing.assert_allclose(found.J[:, 2], X[:, 0] * V[:, 1] - X[:, 1] * V[:, 0], atol=1e-11)
    np.testing.assert_allclose(E, jax.vmap(_energy)(J), rtol=1e-12)
    turning = J[:, 2] != 0.0
    assert np.sum(turning) > 200
    exact = jax.vmap(jax.grad(_energy))(jnp.asarray(J))
    np.testing.assert_allclose(found.Omega[turning], exact[turning], rtol=1e-12)


def test_phase_point_is_canonical():
    """d(x, v)/d(theta, J) is symplectic: no angle, action or origin of theta can be wrong."""
    general = np.flatnonzero(np.min(np.abs(J) / SIZE[:, None], axis=1) > 1e-2)[:32]
    assert len(general) == 32

    def at(z):
        return jnp.concatenate(IsochroneFinder(POT).phase_point(z[3:], z[:3]))

    z = np.concatenate([THETA, J], axis=1)[general]
    M = np.asarray(jax.jit(jax.vmap(jax.jacfwd(at)))(z))
    # In units in which theta and J are of one size.
    unit = np.sqrt(SIZE[general])[:, None]
    M = M * np.concatenate([1.0 / unit + 0.0 * z[:, :3], unit + 0.0 * z[:, :3]], axis=1)[:, None, :]
    bracket = np.einsum("nia,ij,njb->nab", M, J_2, M)
    assert np.max(np.abs(bracket - J_2)) < 1e-9


def test_origins_of_angles():
    """theta_r = 0 at pericentre, theta_z = 0 at the upward crossing, theta_phi = phi where both vanish."""
    theta = np.zeros((BATCH, 3))
    theta[:, 2] = np.linspace(0.0, 6.0, BATCH)
    x, v = (np.asarray(part) for part in backward(POT, J, theta))
    general = np.min(np.abs(J) / SIZE[:, None], axis=1) > 1e-4
    r = np.linalg.norm(x, axis=1)
    assert np.max((np.abs(np.sum(x * v, axis=1)) / SIZE)[general]) < 1e-12
    assert np.max((np.abs(x[:, 2]) / r)[general]) < 1e-12 and np.all(v[general, 2] > 0.0)
    assert np.max(apart(np.arctan2(x[:, 1], x[:, 0]), theta[:, 2])[general]) < 1e-12
    later = backward(POT, J, theta + np.array([1.0, 0.0, 0.0]))[0]
    assert np.all(np.linalg.norm(later, axis=1)[general] > r[general])


def test_angles_grow_with_time():
    x, v = np.array([8.0, 0.5, 1.0]), np.array([90.0, -110.0, 60.0])
    times = jnp.linspace(0.0, 0.8, BATCH)
    path = jax.jit(integrate_orbit, static_argnums=4)(POT, jnp.asarray(x), jnp.asarray(v), times, 20)
    found = forward(POT, *path)
    expected = found.theta[0] + found.Omega[0] * times[:, None]
    # The integrator's own error: of fourth order, some 700 steps a period.
    assert np.max(apart(found.theta, expected)) < 1e-7
    assert np.max(np.abs(found.J - found.J[0])) < 1e-7 * np.sum(np.abs(found.J[0]))
    assert float(found.Omega[0, 0] * times[-1]) > 4.0 * np.pi and found.J[0, 2] < 0.0


def test_derivatives():
    """In x, v, M and b against differences; at circular, planar and radial orbits and on the axis too."""
    v_c = float(potential.circular_velocity(POT, 8.0))
    x = np.array(
        [[8.0, 1.0, 0.5], [8.0, 0.0, 0.0], [8.0, 0.0, 0.0], [0.0, 0.0, 3.0], [5.0, 0.0, 2.0], [5.0, 3.0, 2.0]]
    )
    v = np.array(
        [
            [30.0, 150.0, 20.0],
            [0.0, v_c, 0.0],
            [40.0, 200.0, 0.0],
            [20.0, 30.0, 40.0],
            [60.0, 0.0, 30.0],
            [0.0] * 3,
        ]
    )

    def weighed(M, b, x, v):
        return IsochroneFinder(POT.__class__(M=M * 8e10, b=b)).actions(x, v) @ jnp.array([1.0, 1.7, 0.3])

    one = jax.jit(jax.vmap(jax.grad(weighed, argnums=(0, 1, 2, 3)), (None, None, 0, 0)))
    value = jax.jit(jax.vmap(weighed, (None, None, 0, 0)))
    slopes = [np.asarray(slope) for slope in one(1.0, B, x, v)]
    assert all(np.all(np.isfinite(slope)) for slope in slopes)
    h = 1e-4
    for i, step in enumerate(np.eye(2) * h):
        up, down = value(1.0 + step[0], B + step[1], x, v), value(1.0 - step[0], B - step[1], x, v)
        np.testing.assert_allclose(slopes[i], (up - down) / (2.0 * h), rtol=1e-6, atol=1e-5)
    # Where |L_z| has its cusp the slope is the mean of both sides, at rest that of L is none.
    for axis in range(3):
        for which, size in ((2, 1e-4), (3, 1e-2)):
            step = size * np.eye(3)[axis]
            shift = (step, 0.0) if which == 2 else (0.0, step)
            up, down = (value(1.0, B, x + s * shift[0], v + s * shift[1]) for s in (1.0, -1.0))
            difference = (np.asarray(up) - np.asarray(down)) / (2.0 * size)
            scale = np.max(np.abs(slopes[which]), axis=1)[:5]
            assert np.all(np.abs(slopes[which][:5, axis] - difference[:5]) < 1e-5 * scale), (axis, which)


def test_derivatives_of_angles_and_points():
    """theta and Omega in b; x and v in b, at J_r = 0 and J_z = 0 too, and in J."""
    general = np.min(np.abs(J) / SIZE[:, None], axis=1) > 1e-2

    def there(b, x, v):
        found = IsochroneFinder(potential.Isochrone(M=8e10, b=b)).actions_angles_frequencies(x, v)
        return jnp.concatenate([found.theta, found.Omega])

    exact = jax.jit(jax.vmap(jax.jacrev(there), (None, 0, 0)))(B, X, V)
    h = 1e-5
    up, down = (forward(params.replace(POT, {"b": b}), X, V) for b in (B + h, B - h))
    turn = (np.asarray(up.theta - down.theta) + np.pi) % (2.0 * np.pi) - np.pi
    difference = np.concatenate([turn, np.asarray(up.Omega - down.Omega)], axis=1) / (2.0 * h)
    scale = np.max(np.abs(difference), axis=1, keepdims=True)
    assert np.max((np.abs(exact - difference) / scale)[general]) < 1e-5

    def back(b, J, theta):
        return jnp.concatenate(IsochroneFinder(potential.Isochrone(M=8e10, b=b)).phase_point(J, theta))

    by_b = jax.jit(jax.vmap(jax.jacrev(back), (None, 0, 0)))(B, J, THETA)
    up, down = (
        np.concatenate(backward(params.replace(POT, {"b": b}), J, THETA), axis=1) for b in (B + h, B - h)
    )
    difference = (up - down) / (2.0 * h)
    scale = np.max(np.abs(difference), axis=1, keepdims=True) + 1e-6
    assert np.all(np.isfinite(by_b)) and np.max(np.abs(by_b - difference) / scale) < 1e-4


def test_singular_points_and_codes():
    points = {
        "at rest": ([5.0, 3.0, 2.0], [0.0, 0.0, 0.0]),
        "at rest at the centre": ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        "through the centre": ([0.0, 0.0, 0.0], [10.0, 20.0, 30.0]),
        "up the axis": ([0.0, 0.0, 3.0], [0.0, 0.0, 40.0]),
        "unbound": ([8.0, 0.0, 1.0], [0.0, 1500.0, 0.0]),
        "not a number": ([8.0, np.nan, 1.0], [0.0, 200.0, 0.0]),
        "infinitely far": ([-np.inf, 0.0, 1.0], [0.0, 200.0, 0.0]),
        "infinitely fast": ([8.0, 0.0, 1.0], [0.0, np.inf, 0.0]),
    }
    x, v = (np.resize([point[i] for point in points.values()], (BATCH, 3)) for i in (0, 1))
    found = forward(POT, x, v)
    assert list(found.code[:8]) == [0, 0, 0, 0, Result.UNBOUND, *[Result.NONFINITE] * 3]
    for part in (found.J, found.theta, found.Omega):
        assert np.all(np.isfinite(part[:4])) and np.all(np.isnan(part[4:8]))
    assert np.all(found.J[:4, 1:] == 0.0) and found.J[1, 0] == 0.0
    # A radial orbit from the centre to the centre takes one period of theta_r.
    assert found.theta[0, 0] == pytest.approx(np.pi) and found.theta[2, 0] == 0.0
    out = np.array([[found.J[2, 0], 0.0, 0.0]] * BATCH), np.zeros((BATCH, 3))
    speed = np.linalg.norm(backward(POT, *out)[1][0])
    assert speed == pytest.approx(np.linalg.norm([10.0, 20.0, 30.0]), rel=1e-12)
    assert np.all(np.isnan(backward(POT, -np.abs(J) - 1.0, THETA)[0]))


def test_second_derivatives():
    """The closed forms are differentiable twice: d2H/dJ2 by way of Omega(x(J), v(J))."""

    def Omega(J, theta):
        finder = IsochroneFinder(POT)
        return finder.actions_angles_frequencies(*finder.phase_point(J, theta)).Omega

    at, theta = jnp.array([300.0, 200.0, 700.0]), jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(jax.jit(jax.jacfwd(Omega))(at, theta), jax.hessian(_energy)(at), rtol=1e-9)


def test_bad_input():
    with pytest.raises(ValueError, match="SphericalFinder"):
        IsochroneFinder(potential.Plummer(M=8e10, b=3.0))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="enable_x64"):
        IsochroneFinder(POT).actions(jnp.ones(3, jnp.float32), jnp.ones(3, jnp.float32))
