"""Stars that cross the axis, where L_z and R v_R vanish however fast they do: the fudge's J there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, potential

ROUND = potential.Isochrone(M=1e11, b=3.0)
# Distances from the axis, kpc: on it, where squares underflow, and on both sides of where the form changes.
DISTANCES = np.array([0.0, 1e-300, 1e-12, 1e-6, 4e-3, 6e-3])


@pytest.fixture(scope="module")
def found():
    """J, and their slopes in v, of stars close to the axis that move across it, and exactly."""
    x = jnp.stack([jnp.asarray(DISTANCES), jnp.zeros(6), jnp.full(6, 5.0)], axis=1)
    v = jnp.broadcast_to(jnp.array([30.0, 120.0, 60.0]), (6, 3))

    def of(make):
        def one(x, v):
            return make(ROUND).actions(x, v)

        return jax.jit(lambda x, v: (jax.vmap(one)(x, v), jax.vmap(jax.jacfwd(one, 1))(x, v)))(x, v)

    return of(dynamics.StaeckelFudge), of(dynamics.IsochroneFinder)


def test_actions_on_the_axis_are_exact(found):
    (ours, _), (exact, _) = found
    # Delta has a small floor, which costs 1e-6 of J_r + J_z.
    np.testing.assert_allclose(ours, exact, atol=1e-5 * float(exact[0, :2].sum()))
    # L - |L_z|: what crosses the axis is in it.
    assert float(ours[0, 1]) == pytest.approx(5.0 * np.hypot(30.0, 120.0), rel=1e-5)


def test_slopes_in_the_velocity(found):
    (_, ours), (_, exact) = found
    # On the axis J_z has a cusp in L_z, and J_phi no slope; J_r and L are smooth in v.
    for slopes in (ours, exact):
        assert np.all(np.isfinite(slopes))
    np.testing.assert_allclose(ours[:, 0], exact[:, 0], atol=2e-4)
    np.testing.assert_allclose(ours[:, 1], exact[:, 1], atol=2e-4)


def test_between_the_foci():
    """There rho vanishes on the axis: J of a box, and of a loop next to it, as they are some way off."""
    finder = dynamics.StaeckelFudge(ROUND, Delta=8.0)
    R = jnp.array([0.0, 1e-8, 1e-6, 1e-4, 1e-3])
    x = jnp.stack([R, jnp.zeros(5), jnp.full(5, 5.0)], axis=1)
    for v in ([123.69, 0.0, 60.0], [0.0, 123.69, 60.0]):
        found = jax.jit(jax.vmap(lambda x, v=v: finder.actions_and_code(x, jnp.array(v))))(x)
        assert np.all(found.code == 0)
        # At 1e-3 kpc the orbit itself, and the end of its radial sum, differ by 2e-4.
        np.testing.assert_allclose(found.J[:, :2], np.broadcast_to(found.J[-1, :2], (5, 2)), rtol=5e-4)


def test_slopes_in_the_potential_on_the_axis():
    x, v = jnp.array([0.0, 0.0, 5.0]), jnp.array([30.0, 120.0, 60.0])

    def of(make):
        return jax.jit(lambda b: make(potential.Isochrone(M=1e11, b=b)).actions(x, v))

    ours, exact, h = of(dynamics.StaeckelFudge), of(dynamics.IsochroneFinder), 1e-3
    slope = jax.jit(jax.jacfwd(ours))(3.0)
    numeric = (ours(3.0 + h) - ours(3.0 - h)) / (2.0 * h)
    # J_r = 49 has a slope of tens; turning points are good to 1e-12 of it over 2e-3 kpc.
    np.testing.assert_allclose(slope, numeric, atol=1e-4)
    np.testing.assert_allclose(slope, jax.jit(jax.jacfwd(exact))(3.0), atol=1e-3)
    assert abs(float(slope[0])) > 1.0
