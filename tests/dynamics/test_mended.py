"""Nodes of libraries in units of their actions, and those without tori: what fills them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, potential
from oortax.dynamics.torus.mended import NODES, _weights, mend
from oortax.dynamics.torus.scaled import in_own_units, in_units, size
from oortax.results import Result


def test_linear_functions_are_filled_exactly():
    """Whatever is missing, as long as what is left tells a slope along each axis."""
    x = np.stack(np.meshgrid(NODES, NODES, NODES, indexing="ij"), axis=-1).reshape(-1, 3)
    rng = np.random.default_rng(3)
    f = x @ rng.normal(size=3) + rng.normal()
    for number in (1, 8, 24):
        found = np.ones(64, bool)
        found[rng.choice(64, number, replace=False)] = False
        assert np.max(np.abs(_weights(found) @ f[found] - f[~found])) < 1e-6


@pytest.fixture(scope="module", name="library")
def _library():
    pot = potential.MiyamotoNagai(M=1e11, a=3.0, b=0.5)
    ranges = {"total": (600.0, 1100.0), "radial": (0.02, 0.2), "vertical": (0.02, 0.2)}
    return dynamics.fit_library(pot, **ranges, tol=5e-4, max_tori=64, batch_size=16, progress=False)


def test_units_of_the_actions_take_away_the_size(library):
    """There and back; S/s of tori of one shape and 1.8 times the size differ little beside S itself."""
    tori = library.tori
    own = jax.vmap(in_own_units)(tori)
    again = jax.vmap(lambda torus: in_units(torus, size(torus.J)))(eqx.tree_at(lambda t: t.J, own, tori.J))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-14), again, tori)
    # Nodes 16 apart along the first axis: the same shares.
    small, large = (np.asarray(tori.S.reshape(4, 16, -1)[i]) for i in (0, 3))
    small_own, large_own = (np.asarray(own.S.reshape(4, 16, -1)[i]) for i in (0, 3))
    change = np.linalg.norm(large - small) / np.linalg.norm(small)
    assert np.linalg.norm(large_own - small_own) / np.linalg.norm(small_own) < 0.5 * change
    np.testing.assert_allclose(own.Omega * size(tori.J.T)[:, None] ** -1.0, tori.Omega, rtol=1e-14)


def spoiled(library, missing):
    """Its tori without some."""
    gone = np.isin(np.arange(len(library.tori.E)), missing)
    nan = np.where(gone, np.nan, 1.0)
    numbers = library.tori.E * nan, library.tori.S * nan[:, None]
    code = np.where(gone, int(Result.NOT_CONVERGED), library.tori.code)
    return eqx.tree_at(lambda t: (t.E, t.S, t.code), library.tori, (*numbers, code))


def test_failed_nodes_are_filled_from_those_around_them(library):
    missing = np.array([5, 21, 42])
    mended, true = mend(spoiled(library, missing), library.nodes), library.tori
    assert (np.asarray(mended.code) == Result.OK).all() and np.isinf(mended.residual[missing]).all()
    np.testing.assert_array_equal(mended.J, true.J)
    others = np.setdiff1d(np.arange(len(true.E)), missing)
    np.testing.assert_array_equal(np.asarray(mended.S)[others], np.asarray(true.S)[others])
    # To what a cubic of the largest terms misses.
    scale = float(jnp.max(jnp.abs(true.S)))
    assert float(np.max(np.abs(mended.S - true.S))) < 0.05 * scale
    # E is half as large at one end of the cell as at the other.
    assert float(np.max(np.abs(mended.E / true.E - 1.0))) < 5e-3


def test_cells_with_few_tori_stay_without(library):
    many = np.arange(25)
    mended = mend(spoiled(library, many), library.nodes)
    assert (np.asarray(mended.code)[many] == Result.NOT_CONVERGED).all() and np.isnan(mended.E[many]).all()
