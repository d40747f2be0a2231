"""Actions from orbits: exact in a Staeckel potential, and those of surfaces of section elsewhere."""

import csv
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, potential
from oortax.results import Result

DATA = Path(__file__).parents[1] / "data"
MW = potential.mw_potential_2014()
FOCI = potential.KuzminKutuzov(M=1e11, a=3.0, c=1.0)
STARS = 24


@eqx.filter_jit
def found(pot, x, v):
    return jax.vmap(dynamics.OrbitAveraged(pot).actions_angles_frequencies)(x, v)


def reference():
    """Eight stars each of a thin disc, a thick disc and a halo, and their actions."""
    with (DATA / "actions_reference.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines)]
    rows = [row for i, row in enumerate(rows) if i % 20 < STARS // 3]
    columns = lambda *names: np.array([[float(row[name]) for name in names] for row in rows])  # noqa: E731
    return columns("x", "y", "z"), columns("vx", "vy", "vz"), columns("J_r", "J_z", "J_phi")


X, V, TRUE = reference()


@pytest.fixture(scope="module")
def galaxy():
    return jax.tree.map(np.asarray, found(MW, X, V))


def test_reference_actions(galaxy):
    wrong = np.abs(galaxy.J - TRUE)[:, :2].max(axis=1) / (TRUE[:, 0] + TRUE[:, 1])
    thin, thick, halo = np.median(wrong.reshape(3, -1), axis=1)
    # The reference is good to 1e-6 in the median, 1e-3 at worst; twenty halo stars gave 9e-5 here.
    assert thin < 2e-6 and thick < 5e-6 and halo < 3e-4, (thin, thick, halo)
    assert wrong.max() < 2e-2
    np.testing.assert_allclose(galaxy.J[:, 2], TRUE[:, 2], rtol=1e-8)
    assert (galaxy.code == Result.OK).all() and (galaxy.residual > 0.0).all()


def test_staeckel_potential():
    """J, theta and Omega are those of the separable motion."""
    x, v = X[:STARS], 0.6 * V[:STARS]
    exact = dynamics.StaeckelFudge(FOCI, n_r=16, n_z=16, Delta=np.sqrt(8.0))
    exact = jax.tree.map(np.asarray, jax.jit(jax.vmap(exact.actions_angles_frequencies))(x, v))
    ours = jax.tree.map(np.asarray, found(FOCI, x, v))
    size = (exact.J[:, 0] + exact.J[:, 1])[:, None]
    wrong = (np.abs(ours.J - exact.J) / size).max(axis=1)
    assert (exact.code == Result.OK).all() and np.median(wrong) < 1e-6, wrong
    off = np.abs((ours.theta - exact.theta + np.pi) % (2.0 * np.pi) - np.pi).max(axis=1)
    rate = (np.abs(ours.Omega - exact.Omega) / np.abs(exact.Omega)).max(axis=1)
    assert np.median(off) < 1e-5 and np.median(rate) < 1e-6, (off, rate)


def test_codes_of_points_without_actions():
    points = {
        Result.UNBOUND: ([8.0, 0.0, 1.0], [0.0, 1500.0, 0.0]),
        Result.NONFINITE: ([8.0, np.nan, 1.0], [0.0, 200.0, 0.0]),
        Result.OUTSIDE: ([900.0, 0.0, 1.0], [0.0, 10.0, 0.0]),
    }
    x, v = (np.resize(np.array([point[i] for point in points.values()]), (STARS, 3)) for i in (0, 1))
    at = jax.tree.map(np.asarray, found(MW, x, v))
    for code, J, expected in zip(at.code, at.J, points, strict=False):
        assert code == expected and np.isnan(J).all(), (expected, code)


def test_what_is_refused():
    with pytest.raises(ValueError, match="has no derivatives"):
        jax.eval_shape(jax.grad(lambda x: dynamics.OrbitAveraged(FOCI).actions(x, V[0])[0]), X[0])
    with pytest.raises(ValueError, match="n_max"):
        dynamics.OrbitAveraged(FOCI, n_max=0)
    with pytest.raises(ValueError, match="odd"):
        dynamics.OrbitAveraged(FOCI, samples=100)
    with pytest.raises(ValueError, match="enable_x64"):
        jax.eval_shape(lambda x: dynamics.OrbitAveraged(FOCI).actions(x, x), jnp.zeros(3, jnp.float32))
