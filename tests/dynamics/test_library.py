"""A library of tori: what it interpolates against tori fitted there, codes, refitting, files."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, params, potential
from oortax.dynamics.torus.library import from_grid, to_grid
from oortax.dynamics.torus.torus import residual
from oortax.results import Result

POT = potential.MiyamotoNagai(M=1e11, a=3.0, b=0.5)
RANGE = {"total": (600.0, 1100.0), "radial": (0.02, 0.2), "vertical": (0.02, 0.2)}
TOL, MOVED = 5e-4, {"a": 3.05}
THETA = jnp.asarray(np.random.default_rng(2).uniform(0.0, 2.0 * np.pi, (8, 3)))


@pytest.fixture(scope="module")
def library():
    return dynamics.fit_library(POT, **RANGE, tol=TOL, max_tori=800, batch_size=16, progress=False)


@pytest.fixture(scope="module")
def actions(library):
    """Anywhere in the range, half of them retrograde."""
    u = np.random.default_rng(1).uniform(size=(60, 3))
    J = from_grid(np.asarray(library.lower[0] + u * (library.upper[0] - library.lower[0])))
    J[::2, 2] *= -1.0
    return jnp.asarray(J)


@eqx.filter_jit
def _read(pot, library, J):
    """Tori, their residuals, and points on them."""

    def at(J):
        torus = library(J)
        return torus, residual(pot, torus), jax.vmap(torus.phase_point)(THETA)

    return jax.lax.map(at, J)


def test_tori_in_between_are_those_of_their_actions(library, actions):
    tori, errors, (x, v) = _read(POT, library, actions)
    assert library.leaves().sum() > 2, "cells were cut"
    assert (tori.code == Result.OK).mean() > 0.9
    assert (tori.code == np.where(tori.residual <= TOL, Result.OK, Result.INACCURATE)).all()
    # A cell's residual is that of 18 probes: one torus of 60 has 1.23 times that, and one an E off by 1.21.
    assert (errors > 0.0).all() and (errors < 1.5 * tori.residual).all()
    np.testing.assert_array_equal(tori.J, actions)
    anew = dynamics.fit_tori(POT, np.resize(actions, (128, 3)), tol=1.0, n_modes=(22,), progress=False)
    anew = jax.tree.map(lambda leaf: leaf[: len(actions)], anew)
    scale = jnp.sum(anew.Omega[:, :2] * anew.J[:, :2], axis=1)
    assert (jnp.abs(tori.E - anew.E) < 1.5 * tori.residual * scale).all()
    np.testing.assert_allclose(tori.Omega, anew.Omega, rtol=1e-3)
    expected, _ = jax.jit(jax.vmap(lambda torus: jax.vmap(torus.phase_point)(THETA)))(anew)
    distance = jnp.linalg.norm(x - expected, axis=2) / jnp.linalg.norm(expected, axis=2)
    assert 0.0 < distance.max() < 5e-4
    L_z = x[..., 0] * v[..., 1] - x[..., 1] * v[..., 0]
    np.testing.assert_allclose(L_z, np.broadcast_to(actions[:, 2:], L_z.shape), rtol=1e-12)


def test_nodes_are_their_own_tori(library):
    inner = np.array([21, 22, 25, 26, 37, 38, 41, 42])
    leaf = np.flatnonzero(library.leaves())[0]
    at_nodes = jax.tree.map(lambda a: a[library.nodes[leaf, inner]], library.tori)
    tori, _, _ = _read(POT, library, at_nodes.J)
    np.testing.assert_allclose(tori.S, at_nodes.S, atol=1e-9 * float(jnp.abs(at_nodes.S).max()))
    np.testing.assert_allclose(tori.E, at_nodes.E, rtol=1e-12)


def test_cells_are_found(library, actions):
    q = jax.vmap(to_grid)(actions)
    cells = jax.vmap(library._cell)(q)
    assert library.leaves()[cells].all() and len(np.unique(cells)) > 2
    assert ((q >= library.lower[cells]) & (q <= library.upper[cells])).all()
    np.testing.assert_allclose(from_grid(np.asarray(q)), np.abs(actions), rtol=1e-12)


def test_derivatives_in_actions(library, actions):
    """Of E, Omega and x, against differences; and dE/dJ against Omega."""

    def values(J):
        torus = library(J)
        return torus.E[None], torus.Omega, torus.phase_point(THETA[0])[0]

    value, slope = jax.jit(values), jax.jit(jax.jacfwd(values))
    for J in actions[:3]:
        slopes = slope(J)
        np.testing.assert_allclose(slopes[0][0], library(J).Omega, rtol=2e-3)
        for i in range(3):
            h = jnp.zeros(3).at[i].set(1e-4 * jnp.sum(jnp.abs(J)))
            for of, upper, lower in zip(slopes, value(J + h), value(J - h), strict=True):
                expected = (upper - lower) / (2.0 * h[i])
                np.testing.assert_allclose(of[:, i], expected, atol=1e-5 * float(jnp.abs(expected).max()))


def test_the_library_follows_the_potential(library, actions):
    moved = params.replace(POT, MOVED)
    traces = 0

    @eqx.filter_jit
    def refit(pot, library):
        nonlocal traces
        traces += 1
        return dynamics.refit_library(pot, library)

    followed = refit(moved, library)
    again = refit(POT, library)
    assert traces == 1
    _, before, _ = _read(moved, library, actions)
    _, after, _ = _read(moved, followed, actions)
    assert jnp.median(before) > 10.0 * TOL and after.max() < 2.0 * TOL, "it moved, and the library went along"
    leaves = library.leaves()
    np.testing.assert_allclose(again.residual[leaves], library.residual[leaves], rtol=1e-2)


OUT = {
    "beyond": ([100.0, 100.0, 2000.0], Result.OUTSIDE),
    "too radial": ([500.0, 50.0, 200.0], Result.OUTSIDE),
    "negative": ([-1.0, 50.0, 700.0], Result.OUTSIDE),
    "NaN": ([float("nan"), 50.0, 700.0], Result.NONFINITE),
    "infinite": ([10.0, float("inf"), 700.0], Result.NONFINITE),
}


@pytest.mark.parametrize("case", OUT)
def test_what_is_outside_has_a_reason(library, case):
    J, reason = OUT[case]
    torus = library(jnp.array(J))
    assert torus.code == reason and np.isnan(torus.E) and np.isnan(torus.S).all()


def test_libraries_are_saved_and_loaded(library, tmp_path):
    dynamics.save_tori(tmp_path / "library.npz", library)
    loaded = dynamics.load_tori(tmp_path / "library.npz")
    assert isinstance(loaded, dynamics.TorusLibrary)
    jax.tree.map(np.testing.assert_array_equal, loaded, library)


def test_tori_are_fitted_where_there_are_stars():
    """Of a wide range with few tori: better ones for the stars, and no others."""
    wide = {"total": (200.0, 3000.0), "radial": (0.0, 0.5), "vertical": (0.0, 0.5)}
    u = np.random.default_rng(4).normal(size=(500, 3))
    stars = np.array([60.0, 20.0, 900.0]) * np.exp(np.array([0.3, 0.3, 0.1]) * u) * [1.0, 1.0, -1.0]
    stars[0] = np.nan
    # Some 70 tori more for each cell that is cut: enough for one that only stars ask for.
    options = {"tol": 1e-4, "max_tori": 600, "batch_size": 16, "progress": False}
    blind, found = (
        dynamics.fit_library(POT, **wide, **options, stars=at) for at in (None, jnp.asarray(stars))
    )
    assert len(found.tori.E) <= 600
    place = jax.vmap(lambda library, J: library.place(J)[1], (None, 0))
    errors = [
        np.asarray(library.residual[place(library, jnp.asarray(stars[1:]))]) for library in (blind, found)
    ]
    assert np.median(errors[1]) < 0.5 * np.median(errors[0])
    q = np.asarray(jax.vmap(to_grid)(jnp.asarray(stars[1:])))
    for cell in np.flatnonzero(~found.leaves()):
        assert np.any(np.all((q >= found.lower[cell]) & (q < found.upper[cell]), axis=1)), cell


BAD = {
    "shape of the stars": ({"stars": np.ones((3, 2))}, r"\(3, 2\)"),
    "no stars": ({"stars": np.full((3, 3), np.nan)}, "finite"),
    "falling": ({"total": (1000.0, 500.0)}, "total"),
    "no total": ({"total": (0.0, 500.0)}, "total"),
    "radial orbits": ({"radial": (0.0, 1.0)}, "radial"),
    "share": ({"vertical": (0.0, 1.5)}, "vertical"),
    "tol": ({"tol": -1.0}, "tol"),
    "tori": ({"max_tori": 8}, "max_tori"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused(case):
    wrong, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        dynamics.fit_library(POT, **{**RANGE, "progress": False, **wrong})
