"""PowerLawCutoff at alpha = 2, where its closed form is 0/0, on the axis too."""

import jax
import jax.numpy as jnp
import numpy as np

from oortax import potential

POINTS = jnp.array([[0.0, 0.0, 0.02], [0.0, 0.0, 1.5], [1.0, 0.0, 0.0], [0.3, 0.4, 0.5], [0.0, 0.0, 4.0]])


def bulge(alpha):
    return potential.PowerLawCutoff(rho_0=1e9, alpha=alpha, r_c=1.9)


def test_second_derivatives_at_alpha_2():
    """Phi'' in x: M(r) is an error function for alpha = 2, so that Phi_rr = 4 pi G rho - 2 G M/r^3."""
    from scipy.special import erf

    from oortax.constants import G

    hessians = jax.jit(jax.vmap(jax.hessian(bulge(2.0).Phi)))(POINTS)
    for x, found in zip(np.asarray(POINTS), hessians, strict=True):
        r = np.linalg.norm(x)
        n = x / r
        mass = 4.0 * np.pi * 1e9 * 0.5 * np.sqrt(np.pi) * 1.9 * erf(r / 1.9)
        rho = 1e9 * r**-2.0 * np.exp(-((r / 1.9) ** 2))
        across = G * mass / r**3
        true = across * np.eye(3) + (4.0 * np.pi * G * rho - 3.0 * across) * np.outer(n, n)
        np.testing.assert_allclose(found, true, atol=1e-10 * np.max(np.abs(true)))


def test_derivatives_at_alpha_2():
    """d/d alpha of Phi, force and density at delta = 0, by differences that leave the range of the series."""

    def f(alpha):
        pot = bulge(alpha)
        force = jax.vmap(lambda x: potential.acceleration(pot, x))(POINTS)
        rho = jax.vmap(lambda x: potential.density(pot, x))(POINTS)
        return jnp.concatenate([jax.vmap(pot.Phi)(POINTS)[:, None], force, rho[:, None]], axis=1)

    two, h = jnp.array(2.0), 5e-3
    slope, f = jax.jit(jax.jacfwd(f))(two), jax.jit(f)
    near, far = ([f(two + s * k * h) for s in (-1.0, 1.0)] for k in (1.0, 2.0))
    differences = (8.0 * (near[1] - near[0]) - (far[1] - far[0])) / (12.0 * h)
    # Point by point, since densities span nine decades; forces in units of the whole force.
    value = np.asarray(f(two))
    size = np.abs(value)
    size[:, 1:4] = np.linalg.norm(value[:, 1:4], axis=1, keepdims=True)
    assert np.max(np.abs(slope - differences) / size) < 1e-6
    assert np.all(np.max(np.abs(slope) / size, axis=0)[[0, 1, 3, 4]] > 0.1)


def test_at_the_centre_nothing_is_nan():
    """For alpha = 2 Phi diverges as ln r: its floor at r = 0 is finite, and so are all derivatives."""
    centre = jnp.zeros(3)

    @jax.jit
    def at(alpha):
        return jax.value_and_grad(bulge(alpha).Phi)(centre)

    values, slopes = at(jnp.array(2.0)), jax.jit(jax.jacfwd(at))(jnp.array(2.0))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((values, slopes)))
    np.testing.assert_array_equal(values[1], 0.0)
