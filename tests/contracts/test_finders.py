"""What every action finder must satisfy, case by case of finder and potential."""

import csv
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from oortax import dynamics, params, potential
from oortax.constants import G
from oortax.results import Result

DATA = Path(__file__).parents[1] / "data"
POT = potential.mw_potential_2014()
BATCH = 64
TRACES = []
FORCE = jax.jit(lambda x: potential.acceleration(POT, x))


@eqx.filter_jit
def evaluate(pot, x, v):
    """Actions and codes of a batch; every call below pads to one shape, one compilation per kind."""
    TRACES.append(1)
    return jax.vmap(dynamics.StaeckelFudge(pot).actions_and_code)(x, v)


def finite_sum(pot, x, v):
    """Sum of the finite actions, weighted so that no two components cancel."""
    J = jax.vmap(dynamics.StaeckelFudge(pot).actions)(x, v)
    return jnp.sum(jnp.where(jnp.isfinite(J), J, 0.0) * jnp.array([1.0, 1.7, 0.3]))


gradient = eqx.filter_jit(jax.grad(finite_sum, argnums=(0, 1, 2)))


def actions(pot, x, v):
    """J and codes of any number of points up to BATCH."""
    x, v = np.atleast_2d(x), np.atleast_2d(v)
    pad = ((0, BATCH - len(x)), (0, 0))
    found = evaluate(pot, np.pad(x, pad, mode="edge"), np.pad(v, pad, mode="edge"))
    return np.asarray(found.J)[: len(x)], np.asarray(found.code)[: len(x)]


def reference():
    with (DATA / "actions_reference.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    return {
        key: np.array([row[key] if key == "family" else float(row[key]) for row in rows]) for key in rows[0]
    }


TABLE = reference()
X = np.stack([TABLE[key] for key in ("x", "y", "z")], axis=1)
V = np.stack([TABLE[key] for key in ("vx", "vy", "vz")], axis=1)


ISOCHRONE = potential.Isochrone(M=8e10, b=3.0)


def isochrone_errors(x, v):
    """|J - exact| over J_r + J_z (Binney & Tremaine 2008, eq. 3.226), and J_r/L, of points in ISOCHRONE."""
    E = np.asarray(jax.vmap(ISOCHRONE.Phi)(x)) + 0.5 * np.sum(v * v, axis=1)
    x, v, E = x[E < 0.0], v[E < 0.0], E[E < 0.0]
    parts = [actions(ISOCHRONE, x[i : i + BATCH], v[i : i + BATCH]) for i in range(0, len(x), BATCH)]
    J, code = (np.concatenate(part) for part in zip(*parts, strict=True))
    assert np.all(code == Result.OK)
    L, L_z = np.linalg.norm(np.cross(x, v), axis=1), x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]
    G_M = G * 8e10
    J_r = G_M / np.sqrt(-2.0 * E) - 0.5 * (L + np.sqrt(L * L + 4.0 * G_M * 3.0))
    exact = np.stack([J_r, L - np.abs(L_z), L_z], axis=1)
    return np.max(np.abs(J - exact), axis=1) / (exact[:, 0] + exact[:, 1]), J_r / L


def test_isochrone_is_exact():
    """The Delta^2 that is found is 0 to rounding."""
    error, _ = isochrone_errors(X, V)
    assert len(error) > 30 and np.median(error) < 1e-12 and np.max(error) < 1e-8
    # Bound points of all shapes: the error grows with the eccentricity, as 1e-5 J_r/L.
    rng = np.random.default_rng(1)
    x, v = rng.normal(size=(2, 5 * BATCH, 3))
    x *= 10.0 ** rng.uniform(-0.5, 1.7, (len(x), 1)) / np.linalg.norm(x, axis=1, keepdims=True)
    escape = np.sqrt(-2.0 * np.asarray(jax.vmap(ISOCHRONE.Phi)(x)))[:, None]
    v *= 0.98 * escape * np.cbrt(rng.uniform(size=(len(v), 1))) / np.linalg.norm(v, axis=1, keepdims=True)
    error, shape = isochrone_errors(x, v)
    assert len(error) == 5 * BATCH and np.median(error) < 1e-5
    assert np.all(error < 6e-5 * (0.1 + shape)), np.max(error / (0.1 + shape))


@pytest.mark.parametrize(("family", "median"), [("thin", 1.2e-3), ("thick", 3e-3), ("halo", 4e-3)])
def test_close_to_true_actions(family, median):
    rows = TABLE["family"] == family
    true = np.stack([TABLE[key] for key in ("J_r", "J_z", "J_phi")], axis=1)[rows]
    J, code = actions(POT, X[rows], V[rows])
    assert np.all(code == Result.OK)
    error = np.abs(J - true)[:, :2] / np.sum(true[:, :2], axis=1, keepdims=True)
    # Twice the median that AGAMA's fudge has over whole families: twenty orbits scatter that much.
    assert np.all(np.median(error, axis=0) < median), np.median(error, axis=0)
    np.testing.assert_allclose(J[:, 2], true[:, 2], rtol=1e-8)


def along_orbit(x, v, *, turns=8.0, outputs=BATCH):
    """Points of one orbit in POT, by scipy's DOP853, over some `turns` radial periods."""
    period = 2.0 * np.pi / float(potential.frequencies(POT, np.hypot(x[0], x[1]))[1])

    def right_side(_, state):
        return np.concatenate([state[3:], np.asarray(FORCE(state[:3]))])

    times = np.linspace(0.0, turns * period, outputs)
    path = solve_ivp(
        right_side, times[[0, -1]], np.concatenate([x, v]), "DOP853", times, rtol=1e-9, atol=1e-8
    )
    assert path.success
    return path.y[:3].T, path.y[3:].T


@pytest.mark.parametrize(("family", "bound"), [("thin", 4e-3), ("thick", 1e-2), ("halo", 2e-2)])
def test_conserved_along_orbits(family, bound):
    """J_r and J_z vary along an orbit by little of J_r + J_z; over whole families see benchmarks."""
    rows = np.flatnonzero(TABLE["family"] == family)[:3]
    for row in rows:
        J, code = actions(POT, *along_orbit(X[row], V[row]))
        assert np.all(code == Result.OK)
        scatter = np.std(J[:, :2], axis=0) / np.mean(J[:, 0] + J[:, 1])
        assert np.all(scatter < bound) and np.all(scatter > 1e-7), (row, scatter)
        assert np.std(J[:, 2]) < 1e-6 * np.abs(np.mean(J[:, 2]))


def test_batches_points_and_eager_calls_agree():
    J, _ = actions(POT, X[::10], V[::10])
    finder = dynamics.StaeckelFudge(POT)
    one = eqx.filter_jit(finder.actions)
    for i, row in enumerate(range(0, len(X), 10)):
        np.testing.assert_allclose(one(X[row], V[row]), J[i], rtol=1e-10)
    np.testing.assert_allclose(finder.actions(jnp.asarray(X[0]), jnp.asarray(V[0])), J[0], rtol=1e-10)


def test_no_trace_of_iterations():
    """J is smooth in the potential although turning points stop at different steps: see its differences."""
    steps = 1e-6 * np.arange(-6, 7)
    J = np.stack([actions(params.replace(POT, {"disc.b": 0.28 * (1.0 + h)}), X, V)[0] for h in steps])
    rough = np.abs(np.diff(J, 3, axis=0))
    # Rounding of actions up to 1e4 grows by 8 in third differences; a jump would show at its own size.
    assert np.max(rough) < 1e-9
    assert np.max(np.abs(np.diff(J, axis=0))) > 1e-7


def test_symmetries():
    J, _ = actions(POT, X, V)
    flip = np.array([1.0, 1.0, -1.0])
    np.testing.assert_allclose(actions(POT, X * flip, V * flip)[0], J, rtol=1e-12)
    # Reversing time and the sense of rotation leaves J_r and J_z and turns J_phi round.
    np.testing.assert_allclose(actions(POT, X, -V)[0], J * np.array([1.0, 1.0, -1.0]), rtol=1e-12)
    R2 = X[:, 0] ** 2 + X[:, 1] ** 2
    v_phi = (J[:, 2] / R2)[:, None] * np.stack([-X[:, 1], X[:, 0], 0.0 * R2], axis=1)
    np.testing.assert_allclose(actions(POT, X, 2.0 * v_phi - V)[0], J, rtol=1e-9)
    assert np.all(np.sign(J[:, 2]) == np.sign(X[:, 0] * V[:, 1] - X[:, 1] * V[:, 0]))


def test_limits():
    v_c = float(potential.circular_velocity(POT, 8.0))
    points = {
        "circular": ([8.0, 0.0, 0.0], [0.0, v_c, 0.0]),
        "planar": ([8.0, 0.0, 0.0], [40.0, 200.0, 0.0]),
        "axis": ([0.0, 0.0, 3.0], [20.0, 30.0, 40.0]),
        "no L_z": ([5.0, 0.0, 2.0], [60.0, 0.0, 30.0]),
        "at rest": ([5.0, 3.0, 2.0], [0.0, 0.0, 0.0]),
        "unbound": ([8.0, 0.0, 1.0], [0.0, 1500.0, 0.0]),
        "not a number": ([8.0, np.nan, 1.0], [0.0, 200.0, 0.0]),
    }
    x, v = (np.array([point[i] for point in points.values()]) for i in (0, 1))
    found = dict(zip(points, zip(*actions(POT, x, v), strict=True), strict=True))
    assert np.max(np.abs(found["circular"][0][:2])) < 1e-6
    assert abs(found["planar"][0][1]) < 1e-6 and found["planar"][0][0] > 1.0
    for name in ("axis", "no L_z", "at rest"):
        J, code = found[name]
        assert code == Result.OK and np.all(np.isfinite(J)) and J[0] > 0.0 and J[1] > 0.0, (name, J)
        assert J[2] == 0.0
    assert found["unbound"][1] == Result.UNBOUND and np.all(np.isnan(found["unbound"][0]))
    assert found["not a number"][1] == Result.NONFINITE
    pad = ((0, BATCH - 6), (0, 0))
    slopes = gradient(POT, np.pad(x[:-1], pad, mode="edge"), np.pad(v[:-1], pad, mode="edge"))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes))


def test_derivatives_match_differences():
    v_c = float(potential.circular_velocity(POT, 8.0))
    x = np.concatenate([X[::6][:8], [[8.0, 0.0, 0.0], [8.0, 0.0, 0.0], [6.0, 1.0, 2.0]]])
    v = np.concatenate([V[::6][:8], [[0.0, v_c, 0.0], [30.0, 200.0, 0.0], [50.0, 12.0, 40.0]]])
    rows, pad = len(x), ((0, BATCH - len(x)), (0, 0))
    x, v = np.pad(x, pad, "edge"), np.pad(v, pad, "edge")
    by_potential, by_x, by_v = gradient(POT, x, v)
    weights = np.array([1.0, 1.7, 0.3])

    def each(pot, x, v):
        return np.asarray(evaluate(pot, x, v).J) @ weights

    for exact, which in ((by_x, 0), (by_v, 1)):
        for axis in range(3):
            h = (1e-4, 3e-3)[which] * np.eye(3)[axis]
            step = (h * (which == 0), h * (which == 1))
            up, down = each(POT, x + step[0], v + step[1]), each(POT, x - step[0], v - step[1])
            difference = (up - down) / (2.0 * np.max(h))
            scale = np.max(np.abs(np.stack([np.asarray(exact)[:, i] for i in range(3)])), axis=0)
            # At the circular orbit J is quadratic in the step: one-sided smoothness leaves h^1.
            error = np.abs(np.asarray(exact)[:, axis] - difference)[:rows] / scale[:rows]
            assert np.max(error) < 5e-4 and np.median(error) < 1e-6, (which, axis, error)
    for path in params.parameters(POT):
        value = float(params.get(POT, path))
        exact = float(params.get(by_potential, path)) * value
        h = 1e-4
        up, down = (each(params.replace(POT, {path: value * (1.0 + d)}), x, v) for d in (h, -h))
        # The circular and planar orbits are minima of E at given L_z: J_r changes with the orbit's shape.
        assert exact == pytest.approx(float(np.sum(up - down)) / (2.0 * h), rel=1e-4, abs=1e-3), path


SINGULAR = {
    "axis": ([0.0, 0.0, 3.0], [20.0, 30.0, 40.0]),
    "up the axis": ([0.0, 0.0, 3.0], [0.0, 0.0, 40.0]),
    "no L_z": ([5.0, 0.0, 2.0], [60.0, 0.0, 30.0]),
    "hardly any L_z": ([5.0, 0.0, 2.0], [60.0, 2e-5, 30.0]),
    "through the centre": ([5.0, 0.0, 0.0], [60.0, 0.0, 0.0]),
    "at rest": ([5.0, 3.0, 2.0], [0.0, 0.0, 0.0]),
    "at rest in the plane": ([5.0, 3.0, 0.0], [0.0, 0.0, 0.0]),
    "at rest on the axis": ([0.0, 0.0, 3.0], [0.0, 0.0, 0.0]),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_derivatives_in_parameters_at_singular_points(name):
    """On the axis, for L_z = 0 and at rest J moves with the potential as its derivative says."""
    x, v = (np.tile(np.array(part), (BATCH, 1)) for part in SINGULAR[name])
    by_potential, _, _ = gradient(POT, x, v)
    slopes, errors = [], []
    for path in params.parameters(POT):
        value = float(params.get(POT, path))
        slopes.append(float(params.get(by_potential, path)) * value / BATCH)
        up, down = (evaluate(params.replace(POT, {path: value * (1.0 + h)}), x, v) for h in (1e-4, -1e-4))
        difference = (np.asarray(up.J[0]) - np.asarray(down.J[0])) @ [1.0, 1.7, 0.3] / 2e-4
        errors.append(abs(slopes[-1] - difference))
    # Eight and six nodes are few for orbits without L_z: the derivative of the integral and that of its
    # quadrature differ by up to 3e-4 of the largest (with three times as many nodes, by 1e-5).
    assert max(errors) < 5e-4 * np.linalg.norm(slopes) and np.linalg.norm(slopes) > 10.0, errors


@pytest.mark.parametrize("point", ["no L_z", "at rest"])
def test_continuous_as_L_z_vanishes(point):
    """J at L_z = 0 is the limit: rounding decides nothing there."""
    x, v = (np.tile(np.array(part), (BATCH, 1)) for part in SINGULAR[point])
    L_z = np.concatenate([[0.0], np.geomspace(1e-9, 1e-2, BATCH - 1)])
    turn = np.stack([-x[:, 1], x[:, 0], 0.0 * L_z], axis=1) / (x[0, 0] ** 2 + x[0, 1] ** 2)
    J, code = actions(POT, x, v + L_z[:, None] * turn)
    assert np.all(code == Result.OK)
    # J_r + |L_z|/2 and J_z + |L_z|/2 are smooth at L_z = 0 in a sphere; 1e-2 covers either slope.
    assert np.max(np.abs(J[:, :2] - J[0, :2]) - L_z[:, None]) < 1e-5


def test_one_trace_for_all_parameters():
    actions(POT, X, V)
    before = len(TRACES)
    changed = params.replace(POT, {"disc.b": 0.35, "halo.r_s": 20.0})
    J = actions(changed, X, V)[0]
    assert len(TRACES) == before
    assert np.max(np.abs(J - actions(POT, X, V)[0])) > 0.1


def test_float32_is_refused():
    finder = dynamics.StaeckelFudge(POT)
    with pytest.raises(ValueError, match="enable_x64"):
        finder.actions(jnp.array([8.0, 0.0, 0.0], dtype=jnp.float32), jnp.array([0.0, 200.0, 0.0]))


@pytest.mark.parametrize(
    "pot",
    [
        potential.Sum(disc=POT["disc"], halo=potential.FlattenedNFW(rho_s=8e6, r_s=16.0, q=1.4)),
        potential.LogarithmicHalo(v_0=220.0, r_c=5.0, q=0.8),
        potential.Plummer(M=3e11, b=2.0),
    ],
    ids=["prolate", "logarithmic", "Plummer"],
)
def test_finite_in_other_potentials(pot):
    x, v = np.concatenate([X, 0.1 * X[:4]]), np.concatenate([V, 0.3 * V[:4]])
    E = np.asarray(jax.vmap(pot.Phi)(x)) + 0.5 * np.sum(v * v, axis=1)
    J, code = actions(pot, x, v)
    bound = E < -2e3 if not isinstance(pot, potential.LogarithmicHalo) else np.isfinite(E)
    assert np.sum(bound) > 40 and np.all(code[bound] == Result.OK)
    assert np.all(np.isfinite(J[bound])) and np.min(J[bound][:, :2]) > -1e-9
