"""Actions by a library of tori: conserved, canonical, differentiable, and the fudge's beyond the library."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, params, potential
from oortax.dynamics import torus_finder
from oortax.dynamics.torus.library import _closest, from_grid
from oortax.dynamics.torus.linear import LinearTori, first_order
from oortax.dynamics.torus.linear import linear as prepared
from oortax.numerics.trigonometry import wrapped
from oortax.results import Result

POT = potential.MiyamotoNagai(M=1e11, a=3.0, b=0.5)
RANGE = {"total": (700.0, 1000.0), "radial": (0.0, 0.15), "vertical": (0.0, 0.15)}
# Sixteen orbits, 16 points each: one shape for all that is compiled.
ORBITS, POINTS = 16, 16


@pytest.fixture(scope="module")
def library():
    return dynamics.fit_library(POT, **RANGE, tol=2e-4, max_tori=700, batch_size=16, progress=False)


@eqx.filter_jit
def _found(pot, library, x, v, refit=0):
    finder = dynamics.TorusFinder(pot, library, refit=refit)
    each = jax.vmap(finder.actions_angles_frequencies)(x, v)
    return each, jax.vmap(finder.torus_share)(x, v), jax.vmap(finder.fudge.actions_angles_frequencies)(x, v)


@pytest.fixture(scope="module")
def orbits(library):
    """Times, and points of orbits that start on fitted tori all over the range, half of them retrograde."""
    rng = np.random.default_rng(1)
    q = np.asarray(
        library.lower[0] + rng.uniform(0.05, 0.95, (ORBITS, 3)) * (library.upper[0] - library.lower[0])
    )
    J = from_grid(q)
    J[::2, 2] *= -1.0
    # As many as the library fits at a time: the same program.
    many = np.resize(J, (128, 3))
    tori = dynamics.fit_tori(POT, many, tol=1.0, n_modes=(22,), batch_size=16, progress=False)
    tori = jax.tree.map(lambda leaf: leaf[:ORBITS], tori)
    theta = jnp.asarray(rng.uniform(0.0, 2.0 * np.pi, (ORBITS, 3)))
    x, v = jax.jit(jax.vmap(dynamics.Torus.phase_point))(tori, theta)
    times = 20.0 / tori.Omega[:, :1] * jnp.linspace(0.0, 1.0, POINTS)
    along = jax.jit(jax.vmap(lambda x, v, t: dynamics.integrate_orbit(POT, x, v, t, steps=60)))
    return J, theta, times, *along(x, v, times)


@pytest.fixture(scope="module")
def found(library, orbits):
    _, _, _, x, v = orbits
    shaped = lambda leaf: np.asarray(leaf).reshape(ORBITS, POINTS, *leaf.shape[1:])  # noqa: E731
    return jax.tree.map(shaped, _found(POT, library, x.reshape(-1, 3), v.reshape(-1, 3)))


def scatter(J):
    """Standard deviation of J_r and J_z along orbits, over their sum: the root of the sum of squares."""
    size = np.mean(J[..., 0] + J[..., 1], axis=1)
    return np.hypot(*np.std(J[..., :2], axis=1).T) / size


def test_actions_are_conserved_and_those_of_the_tori(orbits, found):
    J = orbits[0]
    by_tori, share, by_fudge = found
    inside = (share == 1.0).all(axis=1)
    assert inside.sum() > ORBITS // 2 and (by_tori.residual[share > 0.0] > 0.0).all()
    assert np.isin(by_tori.code, (Result.OK, Result.INACCURATE)).all()
    assert (by_tori.code == np.where(by_tori.residual <= 2e-4, Result.OK, Result.INACCURATE))[inside].all()
    ours, theirs = scatter(by_tori.J)[inside], scatter(by_fudge.J)[inside]
    # Fits of 22 terms and an interpolation good to 2e-4 of energies.
    assert np.median(ours) < 1.5e-4 and np.median(ours) < 0.1 * np.median(theirs), (ours, theirs)
    wrong = np.abs(by_tori.J.mean(axis=1) - J)[inside, :2] / (J[:, 0] + J[:, 1])[inside, None]
    assert wrong.max() < 2e-3 and np.median(wrong) < 1e-4, wrong
    np.testing.assert_allclose(by_tori.J[..., 2], np.broadcast_to(J[:, None, 2], (ORBITS, POINTS)), rtol=1e-9)


def test_angles_rise_with_time(orbits, found):
    _, theta, times, _, _ = orbits
    by_tori, share, by_fudge = found
    inside = (share == 1.0).all(axis=1)

    def off(of):
        expected = theta[:, None] + of.Omega.mean(axis=1)[:, None] * np.asarray(times)[..., None]
        away = (of.theta - expected + np.pi) % (2.0 * np.pi) - np.pi
        return np.abs(away)[inside].max(axis=(1, 2))

    # Over 20 radians of theta_r, of tori with 22 terms: frequencies to 1e-3.
    assert np.median(off(by_tori)) < 3e-2 and np.median(off(by_tori)) < 0.6 * np.median(off(by_fudge))
    assert (by_tori.theta >= 0.0).all() and (by_tori.theta < 2.0 * np.pi).all()


@eqx.filter_jit
def _jacobian(pot, library, w):
    """d(theta, J)/d(a, x, v), (n, 6, 7), and the fudge's dJ/da, of ORBITS points w = (x, v)."""

    def map_of(a, w):
        finder = dynamics.TorusFinder(params.replace(pot, {"a": a}), library)
        at = finder.actions_angles_frequencies(w[:3], w[3:])
        return jnp.concatenate([at.theta, at.J]), finder.fudge.actions(w[:3], w[3:])

    def each(w):
        slopes, by_fudge = jax.jacfwd(lambda aw: map_of(aw[0], aw[1:]))(jnp.concatenate([pot.a[None], w]))
        return slopes, by_fudge[:, 0]

    return jax.vmap(each)(w)


@pytest.fixture(scope="module")
def slopes(library, orbits):
    _, _, _, x, v = orbits
    return jax.tree.map(np.asarray, _jacobian(POT, library, jnp.concatenate([x[:, 3], v[:, 3]], axis=1)))


def test_canonical_brackets(found, slopes):
    """{theta_i, J_j} = delta_ij and {J_i, J_j} = 0, by derivatives in x and v."""
    rows = np.flatnonzero((found[1] == 1.0).all(axis=1))
    by_w = slopes[0][rows, :, 1:]
    unit = np.block([[np.zeros((3, 3)), np.eye(3)], [-np.eye(3), np.zeros((3, 3))]])
    wrong = np.abs(by_w @ unit @ np.swapaxes(by_w, 1, 2) - unit)
    # Angles of 22 terms are good to some 1e-2 where J_r or J_z is small.
    assert len(rows) > 7 and np.median(wrong[:, :3, 3:]) < 1e-3 and wrong[:, :3, 3:].max() < 0.15
    # In kpc km/s, of actions that add to 850.
    assert wrong[:, 3:, 3:].max() < 0.5


def test_derivatives_in_position_velocity_and_potential(library, orbits, found, slopes):
    _, _, _, x, v = orbits
    x, v = x[:, 3], v[:, 3]
    by_a, by_w, fudge_by_a = slopes[0][:, 3:, 0], slopes[0][:, 3:, 1:], slopes[1]
    np.testing.assert_allclose(by_a, fudge_by_a, rtol=1e-9, atol=1e-9)
    assert np.abs(by_a).max() > 1.0
    w = np.concatenate([x, v], axis=1)
    by_steps = differences(library, w)
    inside = found[1][:, 3] == 1.0
    # With angles all steps are differentiated, for actions alone the equations that they solve.
    for slopes_of in (by_w, np.asarray(_of_actions(POT, library, jnp.asarray(w)))):
        wrong = np.abs(by_steps - slopes_of)[:, :2] / np.abs(slopes_of[:, :2]).max(axis=1, keepdims=True)
        # What is frozen in the shift to the star's energy: the product of two errors.
        assert np.median(wrong[inside]) < 3e-4 and wrong[inside].max() < 1e-2, wrong[inside].max(axis=(1, 2))


def test_few_slopes_serve_actions(library, orbits, found, monkeypatch):
    """Of 22 waves 8: what is neglected multiplies the fudge's error; angles and derivatives do with all."""
    monkeypatch.setattr(torus_finder, "_SLOPES", 8)
    _, _, _, x, v = orbits
    x, v = x[:, 3], v[:, 3]

    @jax.jit
    def few(x, v):
        finder = dynamics.TorusFinder(POT, library)
        assert finder.rest.shape[1] == 3 * 14
        with_angles = jax.vmap(finder.actions_angles_frequencies)(x, v)
        return with_angles, jax.vmap(jax.value_and_grad(lambda x, v: finder.actions(x, v)[0], (0, 1)))(x, v)

    with_angles, (J_r, slopes) = few(x, v)
    whole = jax.tree.map(lambda leaf: leaf[:, 3], found[0])
    np.testing.assert_allclose(with_angles.J, whole.J, rtol=1e-9)
    np.testing.assert_allclose(with_angles.theta, whole.theta, atol=1e-9)
    off = np.abs(J_r - whole.J[:, 0]) / (whole.J[:, 0] + whole.J[:, 1])
    assert 0.0 < np.median(off) < 1e-5 and off.max() < 2e-4, off
    inside = found[1][:, 3] == 1.0
    exact = differences(library, np.concatenate([x, v], axis=1))[inside, 0]
    wrong = np.abs(np.concatenate(slopes, axis=1)[inside] - exact) / np.abs(exact).max(axis=1, keepdims=True)
    assert np.median(wrong) < 1e-3 and wrong.max() < 2e-2, wrong.max(axis=1)


def test_where_the_fudge_leads_to_a_cell_without_tori(library):
    """The closest one serves at first: whether there is a torus is asked of the star's own actions."""
    axis, cut = int(library.axis[0]), float(library.cut[0])
    width = np.asarray(library.upper[0] - library.lower[0])
    q = np.asarray(library.lower[0]) + 0.6 * width
    # Beside the first cut, closer than the fudge knows.
    q = np.array([np.where(np.arange(3) == axis, cut - side * 1e-4 * width, q) for side in (1.0, -1.0)])
    tori = dynamics.fit_tori(
        POT, np.resize(from_grid(q), (128, 3)), tol=1.0, n_modes=(22,), batch_size=16, progress=False
    )
    theta = jnp.asarray(np.random.default_rng(7).uniform(0.0, 2.0 * np.pi, (128, 3)))
    x, v = (jnp.resize(each, (256, 3)) for each in jax.jit(jax.vmap(dynamics.Torus.phase_point))(tori, theta))

    centres = np.asarray(library.lower + library.upper)[:, axis] / 2.0
    residual = jnp.where(centres > cut, jnp.inf, library.residual)
    closest = _closest(*map(np.asarray, (library.lower, library.upper, residual)))
    assert np.isfinite(residual[closest]).all() and (centres[closest] < cut).all()
    holed = eqx.tree_at(lambda l: (l.residual, l.closest), library, (residual, jnp.asarray(closest)))
    whole, _, by_fudge = _found(POT, library, x, v)
    again, share, _ = _found(POT, holed, x, v)

    at = jax.jit(jax.vmap(lambda J: library.place(J)[0][axis]))
    own, first = np.asarray(at(whole.J)) > cut, np.asarray(at(by_fudge.J)) > cut
    served = ~own & first
    assert served.sum() > 20 and (share[served] == 1.0).all()
    off = np.abs(again.J - whole.J)[served, :2] / np.sum(whole.J[served, :2], axis=1, keepdims=True)
    # Cells meet where their polynomials are alike to the library's errors.
    assert off.max() < 5e-4, off.max()

    # Where it starts from is no function of the point: what is left of it after two steps is neglected.
    w = np.concatenate([x, v], axis=1)[np.flatnonzero(served)[:ORBITS]]
    slopes, exact = np.asarray(_of_actions(POT, holed, jnp.asarray(w))), differences(holed, w)
    wrong = np.abs(slopes - exact)[:, :2] / np.abs(exact[:, :2]).max(axis=1, keepdims=True)
    assert np.median(wrong) < 1e-3 and wrong.max() < 2e-2, wrong.max(axis=(1, 2))


def differences(library, w):
    """dJ/d(x, v), (ORBITS, 3, 6), of ORBITS points w by both signs of six steps."""
    step = np.eye(6) * np.repeat([1e-4, 3e-3], 3)[:, None]
    # Filled up to the shape that is compiled.
    moved = np.resize(w + np.concatenate([step, -step])[:, None], (ORBITS * POINTS, 6))
    J = np.asarray(_found(POT, library, moved[:, :3], moved[:, 3:])[0].J)[: 12 * ORBITS].reshape(
        2, 6, ORBITS, 3
    )
    return np.moveaxis((J[0] - J[1]) / (2.0 * np.diag(step))[:, None, None], 0, 2)


@eqx.filter_jit
def _of_actions(pot, library, w):
    """dJ/d(x, v) of actions without angles, by reverse mode."""
    finder = dynamics.TorusFinder(pot, library)
    return jax.vmap(jax.jacrev(lambda w: finder.actions(w[:3], w[3:])))(w)


def test_derivatives_of_actions_at_singular_points(library):
    """Circular, planar and shells, of the library, against differences; elsewhere finite."""
    points = np.concatenate([np.array(list(singular_points().values()))], axis=1).reshape(-1, 6)[:5]
    w = np.resize(points, (ORBITS, 6))
    slopes = np.asarray(_of_actions(POT, library, jnp.asarray(w)))[:5]
    assert np.isfinite(slopes).all()
    off = np.abs(slopes - differences(library, w)[:5])[:3] / np.abs(slopes[:3, 2]).max(axis=1)[:, None, None]
    # In units of dJ_phi/d(x, v): J_r and J_z themselves are least there.
    assert off.max() < 1e-2, off.max(axis=2)


def test_beyond_the_library_the_fudge_serves(library, orbits):
    _, _, _, x, v = orbits
    # The same orbits further out: actions grow with the square root of the radius in ln total.
    scale = jnp.linspace(0.6, 1.8, POINTS)[:, None]
    x, v = (scale * x[1]).repeat(ORBITS, axis=0), v[1].repeat(ORBITS, axis=0)
    by_tori, share, by_fudge = jax.tree.map(np.asarray, _found(POT, library, x, v))
    outside = share == 0.0
    assert 20 < outside.sum() < len(share) - 20
    np.testing.assert_array_equal(by_tori.J[outside], by_fudge.J[outside])
    np.testing.assert_allclose(by_tori.Omega[outside], by_fudge.Omega[outside])
    assert np.isinf(by_tori.residual[outside]).all()
    assert (by_tori.code[outside & (by_fudge.code == Result.OK)] == Result.INACCURATE).all()


def singular_points():
    """x and v by name."""
    v_c = float(potential.circular_velocity(POT, 4.0))
    return {
        "circular": ([4.0, 0.0, 0.0], [0.0, v_c, 0.0]),
        "planar": ([4.0, 0.0, 0.0], [30.0, v_c, 0.0]),
        "shell": ([4.0, 0.0, 0.0], [0.0, v_c, 40.0]),
        "axis": ([0.0, 0.0, 3.0], [20.0, 30.0, 40.0]),
        "at rest": ([5.0, 3.0, 2.0], [0.0, 0.0, 0.0]),
        "unbound": ([8.0, 0.0, 1.0], [0.0, 1500.0, 0.0]),
        "not a number": ([8.0, np.nan, 1.0], [0.0, 200.0, 0.0]),
    }


def test_singular_and_bad_points(library):
    points = singular_points()
    rows = np.arange(ORBITS * POINTS) % len(points)
    x, v = (jnp.asarray(np.array([point[i] for point in points.values()], dtype=float)[rows]) for i in (0, 1))
    by_tori, share, by_fudge = jax.tree.map(
        lambda a: np.asarray(a)[: len(points)], _found(POT, library, x, v)
    )
    names = list(points)
    assert (share[: names.index("axis")] == 1.0).all()
    for name, J, known, code in zip(names, by_tori.J, by_fudge.J, by_tori.code, strict=True):
        if name in ("unbound", "not a number"):
            assert np.isnan(J).all() and code not in (Result.OK, Result.INACCURATE)
        else:
            # Shells and planar orbits: to the 1e-4 of J_r + J_z that fits leave there.
            assert np.isfinite(J).all() and np.all(np.abs(J - known) < 2e-2 * np.sum(known[:2]) + 0.05), (
                name,
                J,
            )

    w = np.resize(np.concatenate([x, v], axis=1)[: len(points) - 1], (ORBITS, 6))
    assert all(np.isfinite(slope).all() for slope in _finite_part(_jacobian(POT, library, jnp.asarray(w))))


def _finite_part(slopes):
    """Derivatives of J, and the fudge's: angles have none at circular and planar orbits."""
    return slopes[0][:, 3:], slopes[1]


@eqx.filter_jit
def _by_pilot(tori, pot, x, v):
    """J, and its derivative in the potential's a."""

    def actions(a):
        return jax.vmap(tori(params.replace(pot, {"a": a})).actions)(x, v)

    return jax.jvp(actions, (pot.a,), (jnp.ones(()),))


@pytest.fixture(scope="module")
def elsewhere(library, orbits, found):
    """By tori fitted where a is greater by -0.1 ... 0.1 kpc: J, what is inside, the fudge's J."""
    _, _, _, x, v = orbits
    x, v = x.reshape(-1, 3), v.reshape(-1, 3)
    tori, at = dynamics.PilotTori(POT, library), {}
    for step in (-0.1, -0.05, 0.05, 0.1):
        there = tori.moved_to(params.replace(POT, {"a": POT.a + step}))
        exact, share, by_fudge = jax.tree.map(np.asarray, _found(there.potential, there.library, x, v))
        at[step] = exact.J, share == 1.0, by_fudge.J
    inside = (found[1].ravel() == 1.0) & np.all([each[1] for each in at.values()], axis=0)
    return tori, x, v, inside, at


def test_in_a_potential_that_has_moved(found, elsewhere):
    """Tori that are not fitted again follow it far better than the fudge describes it."""
    tori, x, v, inside, at = elsewhere
    size = found[0].J.reshape(-1, 3)[inside, :2].sum(axis=1)[:, None]
    off = {}
    for step, (exact, _, by_fudge) in at.items():
        J, _ = _by_pilot(tori, params.replace(POT, {"a": POT.a + step}), x, v)
        off[step] = [
            np.median(np.abs(of - exact)[inside, :2] / size)
            for of in (np.asarray(J), by_fudge, found[0].J.reshape(-1, 3))
        ]
    assert inside.sum() > 100
    for step, (linear, by_fudge, unmoved) in off.items():
        assert unmoved > 0.04 * abs(step), "the potential has moved"
        # 3e-5, 6e-5 at twice the step; the linear theory of tori alone would be off by 1e-3.
        assert linear < 1e-4 and linear < 0.1 * by_fudge, (step, linear, by_fudge)


def test_derivatives_in_the_potential_are_those_of_tori(found, elsewhere):
    tori, x, v, inside, at = elsewhere
    _, by_a = _by_pilot(tori, POT, x, v)
    size = found[0].J.reshape(-1, 3)[inside, :2].sum(axis=1)[:, None]
    exact, by_fudge = (
        (4.0 * (at[0.05][k] - at[-0.05][k]) / 0.1 - (at[0.1][k] - at[-0.1][k]) / 0.2) / 3.0 for k in (0, 2)
    )
    off, fudge_off = (np.abs(slope - exact)[inside, :2] / size for slope in (np.asarray(by_a), by_fudge))
    moved = np.quantile(np.abs(exact[inside, :2]) / size, 0.9)
    # An interpolation good to 2e-4 of energies, in the differences and in the derivatives.
    assert moved > 0.3 and np.median(off) < 1e-3, np.median(off)
    worst, fudge_worst = np.quantile(off, 0.9), np.quantile(fudge_off, 0.9)
    assert worst < 3e-3 and worst < 0.4 * fudge_worst, (worst, fudge_worst)


@eqx.filter_jit
def _all_by_pilot(tori, pot, x, v):
    """All that it finds, and the gradient in a of the sum of J."""
    gradient = jax.grad(lambda a: jnp.sum(jax.vmap(tori(params.replace(pot, {"a": a})).actions)(x, v)[:, :2]))
    return jax.vmap(tori(pot).actions_angles_frequencies)(x, v), gradient(pot.a)


def test_at_the_pilot_itself(found, elsewhere):
    """All that the finder of moved tori finds is what that of the library does; both modes of derivatives."""
    tori, x, v, inside, _ = elsewhere
    by_tori = found[0]
    at_pilot, gradient = _all_by_pilot(tori, POT, x, v)
    J, by_a = _by_pilot(tori, POT, x, v)
    np.testing.assert_allclose(J, by_tori.J.reshape(-1, 3), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(at_pilot.J, J, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(at_pilot.Omega, by_tori.Omega.reshape(-1, 3), rtol=1e-9)
    off = wrapped(np.asarray(at_pilot.theta) - by_tori.theta.reshape(-1, 3))
    assert np.abs(off).max() < 1e-9 and inside.any()
    np.testing.assert_array_equal(at_pilot.code, by_tori.code.ravel())
    np.testing.assert_allclose(gradient, np.sum(by_a[:, :2]), rtol=1e-8)


def test_derivatives_in_position_and_velocity_by_a_pilot(library, orbits):
    """In the pilot's potential, against differences of its tori: ordinary, circular, planar, shell."""
    tori = dynamics.PilotTori(POT, library)
    ordinary = np.concatenate([orbits[3][:, 3], orbits[4][:, 3]], axis=1)
    singular = np.concatenate(np.array(list(singular_points().values())[:3], dtype=float), axis=None)

    @eqx.filter_jit
    def slopes(tori, pot, w):
        finder = tori(pot)
        return jax.vmap(jax.jacrev(lambda w: finder.actions(w[:3], w[3:])))(w)

    for w, typical in ((ordinary, 1e-3), (np.resize(singular.reshape(3, 6), (ORBITS, 6)), 1e-2)):
        ours, exact = np.asarray(slopes(tori, POT, jnp.asarray(w))), differences(library, w)
        # In units of dJ_phi/d(x, v): J_r and J_z themselves are least at singular points.
        off = np.abs(ours - exact) / np.abs(ours[:, 2]).max(axis=1)[:, None, None]
        assert np.median(off) < typical and off.max() < 2e-2, off.max(axis=(1, 2))


def test_derivatives_in_the_potential_at_singular_points(library):
    """Circular, planar, shells, on the axis, at rest, unbound: finite, and those of differences."""
    points = [point for name, point in singular_points().items() if name != "not a number"]
    x, v = (jnp.asarray(np.resize(np.array([p[i] for p in points]), (ORBITS * POINTS, 3))) for i in (0, 1))
    tori, h = dynamics.PilotTori(POT, library), 1e-4
    J, by_a = _by_pilot(tori, POT, x, v)
    ends = [_by_pilot(tori, params.replace(POT, {"a": POT.a + step}), x, v)[0] for step in (h, -h)]
    n = len(points)
    J, by_a, difference = (np.asarray(of)[:n] for of in (J, by_a, (ends[0] - ends[1]) / (2.0 * h)))
    bound = np.isfinite(J[:, 0])
    assert bound.sum() == n - 1 and np.isfinite(by_a[bound]).all()
    # The first three, of the library: no kink, also where J_r or J_z is 0.
    assert np.abs(by_a - difference)[:3].max() < 1e-4 and np.abs(difference[:3]).max() > 1.0
    # Beyond it, those of the fudge, whose quadratures are tested elsewhere.
    by_fudge = jax.jit(
        jax.vmap(
            jax.jacfwd(lambda a, x, v: dynamics.StaeckelFudge(params.replace(POT, {"a": a})).actions(x, v)),
            (None, 0, 0),
        )
    )(POT.a, x[:n], v[:n])
    np.testing.assert_allclose(by_a[bound][3:], np.asarray(by_fudge)[bound][3:], rtol=1e-9, atol=1e-9)
    assert np.isfinite(np.asarray(_all_by_pilot(tori, POT, x, v)[1]))


def test_tori_without_places_do_not_answer(library):
    """Negative toy actions, as of a torus mended from its neighbours, must not spoil the slopes of all."""
    tori = jax.tree.map(lambda leaf: leaf[:3], library.tori)
    spoilt = eqx.tree_at(lambda t: t.S, tori, tori.S.at[1].add(tori.J[1, 0]))

    @jax.jit
    def answers(pot, tori):
        made = prepared(pot, tori)

        def total(M):
            dS, dE = made(params.replace(pot, {"M": M}))
            return jnp.sum(dS) + jnp.sum(dE), (dS, dE)

        return made.known, jax.value_and_grad(total, has_aux=True)(1.01 * pot.M)

    known, ((_, right), _) = answers(POT, tori)
    some, ((_, found), slope) = answers(POT, spoilt)
    np.testing.assert_array_equal(known, [True, True, True])
    np.testing.assert_array_equal(some, [True, False, True])
    for ours, theirs in zip(found, right, strict=True):
        np.testing.assert_array_equal(ours[1], 0.0)
        np.testing.assert_array_equal(ours[np.array([0, 2])], theirs[np.array([0, 2])])
        assert np.all(theirs[1] != 0.0)
    assert np.isfinite(slope)


def test_first_order_is_the_slope_of_what_tori_answer(library):
    """By each of the potential's numbers."""
    made = prepared(POT, jax.tree.map(lambda leaf: leaf[:3], library.tori))
    table, answer = first_order(made, POT), jax.jit(lambda made, pot: made(pot))
    for path in params.parameters(POT):
        value = float(params.get(POT, path))
        up, down = (params.replace(POT, {path: value * (1.0 + h)}) for h in (1e-4, -1e-4))
        for ours, above, below in zip(answer(table, up), answer(made, up), answer(made, down), strict=True):
            change = 0.5 * (above - below)
            # Differences leave the square of the step, 1e-8, times a few.
            np.testing.assert_allclose(ours, change, rtol=1e-6, atol=1e-6 * np.abs(change).max())


def test_tori_answer_a_potential_of_many_numbers(library, orbits):
    """There is no table of slopes then: the finder of moved tori asks Phi on their grids, for the same J."""
    x, v = (w.reshape(-1, 3) for w in orbits[3:])
    few, many = dynamics.PilotTori(POT, library), dynamics.PilotTori(many_numbers(), library)
    assert isinstance(many.linear, LinearTori) and not isinstance(few.linear, LinearTori)
    asking = eqx.tree_at(lambda tori: tori.linear, few, prepared(POT, library.tori))
    moved = params.replace(POT, {"a": 1.01 * POT.a})
    for ours, theirs in zip(_by_pilot(few, moved, x, v), _by_pilot(asking, moved, x, v), strict=True):
        # Sums over grids in another order: 1e-10 of the largest where measured.
        np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-9 * np.abs(theirs).max())


def many_numbers():
    """POT in twelve parts: 36 numbers."""
    part = params.replace(POT, {"M": POT.M / 12})
    return potential.Sum(**{f"part{i}": part for i in range(12)})


def test_pilot_tori_cover_the_stars(library, orbits):
    _, _, _, x, v = orbits
    x, v = x.reshape(-1, 3), v.reshape(-1, 3)
    tori = dynamics.pilot_tori(POT, x, v, max_tori=64, batch_size=16, progress=False)
    share = jax.jit(jax.vmap(tori(POT).torus_share))(x, v)
    assert (np.asarray(share) == 1.0).mean() > 0.98
    with pytest.raises(ValueError, match=r"\(n, 3\)"):
        dynamics.pilot_tori(POT, x[0], v[0])
    with pytest.raises(ValueError, match="no star is bound"):
        dynamics.pilot_tori(POT, x, 100.0 * v)


def test_impossible_options_are_refused(library):
    with pytest.raises(ValueError, match="another kind"):
        dynamics.PilotTori(POT, library)(potential.mw_potential_2014())
    with pytest.raises(ValueError, match="steps"):
        dynamics.TorusFinder(POT, library, steps=0)
    with pytest.raises(ValueError, match="refit"):
        dynamics.TorusFinder(POT, library, linear=dynamics.PilotTori(POT, library).linear, refit=1)
    with pytest.raises(ValueError, match="enable_x64"):
        x = jnp.array([8.0, 0.0, 0.0], dtype=jnp.float32)
        dynamics.TorusFinder(POT, library).actions(x, x)
