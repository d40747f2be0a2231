"""One interface, whatever finds the integrals: all finders in an isochrone, where the truth is known."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, params, potential
from oortax.numerics.trigonometry import wrapped
from oortax.results import Result

POT = potential.Isochrone(M=8e10, b=3.0)
ORBITS, POINTS = 4, 8
BATCH = ORBITS * POINTS
WEIGHTS = jnp.array([1.0, 1.7, 0.3])


class Case(NamedTuple):
    """A finder and what it may err by: J over J_r + J_z, angles, frequencies over themselves, derivatives."""

    make: object
    J: float
    theta: float
    Omega: float
    slope: float | None


@pytest.fixture(scope="module")
def orbits():
    """Actions, angles and points of orbits of a disc in POT: x and v (ORBITS, POINTS, 3), and their times."""
    finder = dynamics.IsochroneFinder(POT)
    J = jnp.array([[40.0, 20.0, 800.0], [15.0, 50.0, -750.0], [60.0, 60.0, 730.0], [25.0, 10.0, -830.0]])
    theta = jnp.array([[0.3, 1.0, 2.0], [2.0, 4.0, 1.0], [4.0, 0.5, 5.0], [5.5, 2.5, 3.0]])
    x, v = jax.vmap(finder.phase_point)(J, theta)
    Omega = jax.jit(jax.vmap(finder.actions_angles_frequencies))(x, v).Omega
    times = 12.0 / Omega[:, :1] * jnp.linspace(0.0, 1.0, POINTS)
    angles = theta[:, None] + Omega[:, None] * times[..., None]
    x, v = jax.vmap(jax.vmap(finder.phase_point, (None, 0)))(J, angles)
    return J, angles, Omega, x, v


# What Oort and Lindblad separate is one motion in a sphere: J_r and J_z err by a fifth of their sum,
# Omega_z by a third.
CASES = {
    "IsochroneFinder": Case(dynamics.IsochroneFinder, 1e-9, 1e-8, 1e-9, 1e-5),
    "SphericalFinder": Case(dynamics.SphericalFinder, 1e-8, 1e-7, 1e-8, 1e-5),
    "StaeckelFudge": Case(dynamics.StaeckelFudge, 1e-5, 1e-4, 1e-4, 1e-3),
    "InterpolatedFudge": Case(dynamics.InterpolatedFudge, 2e-2, 1e-1, 2e-2, 3e-2),
    "OortLindblad": Case(dynamics.OortLindblad, 0.25, 0.6, 0.4, 1e-3),
    "TorusFinder": Case(None, 3e-4, 1e-2, 1e-3, 1e-2),
    "OrbitAveraged": Case(dynamics.OrbitAveraged, 2e-3, 3e-2, 1e-2, None),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    made = CASES[request.param]
    if request.param == "TorusFinder":
        ranges = {"total": (750.0, 1000.0), "radial": (0.0, 0.12), "vertical": (0.0, 0.12)}
        library = dynamics.fit_library(POT, **ranges, tol=2e-4, max_tori=400, batch_size=16, progress=False)
        made = made._replace(make=dynamics.PilotTori(POT, library))
    return made


@eqx.filter_jit
def evaluate(make, pot, x, v):
    """Both methods, of BATCH points."""
    finder = make(pot)
    return jax.vmap(finder.actions_and_code)(x, v), jax.vmap(finder.actions_angles_frequencies)(x, v)


def found(case, x, v):
    """Both methods, of any number of points up to BATCH."""
    x, v = np.asarray(x).reshape(-1, 3), np.asarray(v).reshape(-1, 3)
    pad = ((0, BATCH - len(x)), (0, 0))
    both = evaluate(case.make, POT, np.pad(x, pad, mode="edge"), np.pad(v, pad, mode="edge"))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: len(x)], both)


def test_actions_angles_and_frequencies(case, orbits):
    J, angles, Omega, x, v = jax.tree.map(np.asarray, orbits)
    alone, whole = found(case, x, v)
    np.testing.assert_allclose(whole.J, alone.J, rtol=1e-5, atol=1e-3 * case.J * 100.0)
    np.testing.assert_array_equal(whole.code, alone.code)
    assert np.isin(alone.code, (Result.OK, Result.INACCURATE)).all()
    size = (J[:, 0] + J[:, 1])[:, None, None]
    off = np.abs(whole.J.reshape(x.shape) - J[:, None])[..., :2] / size
    assert off.max() < case.J, off.max(axis=(1, 2))
    np.testing.assert_allclose(whole.J[:, 2], np.cross(x, v)[..., 2].ravel(), rtol=1e-9)
    off = np.abs(wrapped(whole.theta.reshape(x.shape) - angles))
    assert off.max() < case.theta, off.max(axis=(1, 2))
    off = np.abs(whole.Omega.reshape(x.shape) / Omega[:, None] - 1.0)
    assert off.max() < case.Omega, off.max(axis=(1, 2))


def test_symmetries(case, orbits):
    _, _, _, x, v = orbits
    x, v = np.asarray(x[:, 0]), np.asarray(v[:, 0])
    J = found(case, x, v)[0].J
    flip = np.array([1.0, 1.0, -1.0])
    # OrbitAveraged integrates in steps that rounding may shift.
    close = {"rtol": 1e-6, "atol": 1e-6}
    np.testing.assert_allclose(found(case, x * flip, v * flip)[0].J, J, **close)
    turn = np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(found(case, x @ turn.T, v @ turn.T)[0].J, J, **close)
    # Reversing time turns J_phi round.
    reverse = {"rtol": 1e-6, "atol": 2.0 * case.J * 100.0}
    np.testing.assert_allclose(found(case, x, -v)[0].J, J * np.array([1.0, 1.0, -1.0]), **reverse)


def test_what_has_no_actions(case):
    x = np.array([[5.0, 0.0, 1.0], [5.0, np.nan, 1.0]])
    v = np.array([[0.0, 1500.0, 0.0], [0.0, 150.0, 0.0]])
    for of in found(case, x, v):
        assert np.isnan(of.J).all()
        assert not np.isin(of.code, (Result.OK, Result.INACCURATE)).any()
    with pytest.raises(ValueError, match="enable_x64"):
        single = jnp.array([8.0, 0.0, 0.0], dtype=jnp.float32)
        case.make(POT).actions(single, single)


def test_derivatives(case, orbits):
    """In x, v and the potential's parameters: those of the exact finder, to what J itself may err by."""
    if case.slope is None:
        pytest.skip("an orbit of many periods has no useful derivatives")
    _, _, _, x, v = orbits
    w = jnp.concatenate([x, v], axis=-1).reshape(-1, 6)

    @eqx.filter_jit
    def slopes(make, w):
        def weighed(w, pot):
            return make(pot).actions(w[:3], w[3:]) @ WEIGHTS

        by_w, by_pot = jax.vmap(jax.grad(weighed, (0, 1)), (0, None))(w, POT)
        return by_w, jnp.stack([params.get(by_pot, path) for path in ("M", "b")], axis=1)

    ours, exact = (
        jax.tree.map(np.asarray, slopes(make, w)) for make in (case.make, dynamics.IsochroneFinder)
    )
    for mine, true in zip(ours, exact, strict=True):
        scale = np.median(np.abs(true), axis=0)
        off = np.abs(mine - true) / scale
        assert np.median(off) < max(case.slope, 10.0 * case.J), np.median(off, axis=0)
