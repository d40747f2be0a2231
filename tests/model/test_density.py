"""The interpolated density against velocity integrals done at the very place."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, potential
from oortax.df.moments import log_density
from oortax.model.density import density_grid, velocity_nodes
from oortax.model.volume import Box

BOX = Box(7.2, 9.2, 1.0, 7.2, 9.3, 0.7, 1.0)
POT = potential.Sum(
    disc=potential.MiyamotoNagai(M=6.8e10, a=3.0, b=0.28), halo=potential.NFW(rho_s=8.5e6, r_s=16.0)
)


@pytest.fixture(scope="module")
def discs():
    orbits = dynamics.circular_orbits(POT)
    thin = df.QuasiIsothermal(R_d=2.6, sigma_r0=95.0, R_sigma=8.0, H_d=0.3)
    thick = df.QuasiIsothermal(R_d=2.2, sigma_r0=160.0, R_sigma=8.0, H_d=0.8)
    return thin.bind(orbits), thick.bind(orbits)


@pytest.fixture(scope="module")
def grid(discs):
    """A function (n_R, n_z) -> the grids of both discs, one after the other in one compiled program."""

    @partial(jax.jit, static_argnums=(1, 2))
    def of(f, n_R, n_z):
        finder, shape = dynamics.StaeckelFudge(POT), {"n_R": n_R, "n_z": n_z}
        nodes = velocity_nodes(f, POT, BOX, **shape)
        J = jax.vmap(jax.vmap(finder.actions))(nodes.x, nodes.v)
        return density_grid((f,), (nodes,), (J,), (BOX,), ((n_R, n_z),))

    found = {}

    def grids(n_R, n_z):
        if (n_R, n_z) not in found:
            found[n_R, n_z] = [of(f, n_R, n_z) for f in discs]
        return found[n_R, n_z]

    return grids


def log_rho(grids, R, z):
    """ln rho of both discs, shape (..., 2)."""
    return jnp.concatenate([grid.log_rho(R, z) for grid in grids], axis=-1)


# Off the grid's points; z on both sides of the plane.
R = np.array([7.3, 7.7, 8.0, 8.45, 8.9, 9.1, 8.178, 8.178, 8.178, 8.178])
Z = np.array([0.05, -0.4, 0.95, 0.15, -0.7, 0.3, 0.02, 0.1, 0.25, 0.6])


@pytest.fixture(scope="module")
def exact(discs):
    """ln rho of both discs at (R, Z), shape (n, 2), by twice the velocity nodes along each axis."""
    finder = dynamics.StaeckelFudge(POT)

    @jax.jit
    def at(f):
        return jax.vmap(lambda R, z: log_density(f, POT, finder, R, z, refine=2.0))(R, Z)

    return np.stack([at(f) for f in discs], axis=1)


def test_between_the_points(grid, exact):
    """The default 3 x 5 points and the 4 x 7 of many stars against the integral at the place itself."""
    errors = {
        shape: np.max(np.abs(jax.vmap(partial(log_rho, grid(*shape)))(R, Z) - exact), axis=0)
        for shape in ((3, 5), (4, 7))
    }
    assert np.ptp(exact, axis=0).min() > 0.5
    # Twice the measured errors. A finer grid does not lessen the thick disc's, 3e-3.
    assert np.all(errors[3, 5] < [1.2e-3, 6e-3]) and np.all(errors[4, 7] < [3e-4, 6e-3]), errors


def test_flat_in_the_plane(grid):
    """The model is symmetric about the plane: d ln rho/dz = 0 at z = 0, and ln rho is even."""
    found = partial(log_rho, grid(3, 5))
    slope = jax.jacfwd(found, argnums=1)
    np.testing.assert_array_equal(slope(8.0, 0.0), 0.0)
    assert np.all(slope(8.0, 0.1) < -0.1)
    np.testing.assert_array_equal(found(8.0, -0.3), found(8.0, 0.3))


def test_beyond_the_box(grid):
    """A disc goes on as it falls at the edge, outwards and upwards; inwards it would rise, and does not."""
    found = partial(log_rho, grid(3, 5))
    h = 1e-4
    slopes = (found(9.2, 0.5) - found(9.2 - h, 0.5)) / h, (found(8.0, 1.0) - found(8.0, 1.0 - h)) / h
    np.testing.assert_allclose(found(11.2, 0.5), found(9.2, 0.5) + 2.0 * slopes[0], atol=10.0 * h)
    # Linear in sqrt(z^2 + 0.2^2).
    ends = np.hypot(3.0, 0.2), np.hypot(1.0, 0.2)
    along = (ends[0] - ends[1]) * ends[1] * slopes[1]
    np.testing.assert_allclose(found(8.0, 3.0), found(8.0, 1.0) + along, atol=10.0 * h)
    assert np.all(slopes[0] < -0.2) and np.all(slopes[1] < -0.3)
    np.testing.assert_array_equal(found(5.0, 0.5), found(7.2, 0.5))
    # Its derivatives, beyond: the slope at the edge, none inwards.
    np.testing.assert_allclose(jax.jacfwd(found)(11.2, 0.5), slopes[0], atol=10.0 * h)
    np.testing.assert_array_equal(jax.jacfwd(found)(5.0, 0.5), 0.0)
