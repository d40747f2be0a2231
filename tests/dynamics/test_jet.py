"""Derivatives of Phi in R^2 and z^2 against those in R and z, and Poisson's equation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import potential
from oortax.constants import G
from oortax.dynamics.jet import IN_PLANE, jet

POT = potential.mw_potential_2014()


class Unsquared(potential.AbstractPotential):
    """A logarithmic potential written in x, not in squares."""

    def Phi(self, x):
        return 110.0**2 * jnp.log(1.0 + x[0] ** 2 + x[1] ** 2 + x[2] ** 2 / 0.64)


@pytest.mark.parametrize("pot", [POT, Unsquared()], ids=["MWPotential2014", "unsquared"])
def test_against_derivatives_in_R_and_z(pot):
    R, z = jnp.array([0.3, 4.0, 8.0, 30.0]), jnp.array([0.1, 0.02, 1.1, 12.0])
    phi = lambda p: pot.Phi_Rz(p[0], p[1])  # noqa: E731
    p = jnp.stack([R, z], axis=1)
    first, second = jax.vmap(jax.grad(phi))(p), jax.vmap(jax.hessian(phi))(p)
    got = jax.vmap(lambda R, z: jet(pot, R * R, z * z))(R, z)
    np.testing.assert_allclose(got.Phi, jax.vmap(phi)(p), rtol=1e-14)
    np.testing.assert_allclose(2.0 * R * got.a, first[:, 0], rtol=1e-12)
    np.testing.assert_allclose(2.0 * z * got.b, first[:, 1], rtol=1e-12)
    np.testing.assert_allclose(2.0 * got.a + 4.0 * R**2 * got.aa, second[:, 0, 0], rtol=1e-9)
    np.testing.assert_allclose(4.0 * R * z * got.ab, second[:, 0, 1], rtol=1e-9)
    np.testing.assert_allclose(2.0 * got.b + 4.0 * z**2 * got.bb, second[:, 1, 1], rtol=1e-9)


def test_poisson_in_the_plane():
    R = jnp.array([0.5, 2.0, 8.0, 20.0])
    got = jax.vmap(lambda R: jet(POT, R * R, (IN_PLANE * R) ** 2))(R)
    laplacian = 4.0 * got.a + 4.0 * R**2 * got.aa + 2.0 * got.b
    x = jnp.stack([R, 0.0 * R, 0.0 * R], axis=1)
    rho = jax.vmap(lambda x: potential.density(POT, x))(x)
    np.testing.assert_allclose(laplacian, 4.0 * np.pi * G * rho, rtol=1e-8)
