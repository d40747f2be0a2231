"""Actions of stars with next to no L_z that turn before they reach the axis: derivatives stay those of J."""

import jax
import jax.numpy as jnp
import numpy as np

from oortax import dynamics, potential

# Like some of the nodes of a halo catalogue, which spoilt the gradient of ln L: x (kpc), v (km/s).
STARS = np.array(
    [
        [[19.08, 0.0, 6.58], [-193.1, 1e-4, -68.4]],
        [[12.31, 0.0, -2.50], [-238.8, 1e-3, -60.8]],
        [[8.0, 0.0, 3.0], [-150.0, 1e-3, -60.0]],
    ]
)


def _galaxy(q):
    return potential.Sum(
        bulge=potential.Hernquist(M=1e10, a=0.5),
        disc=potential.MiyamotoNagai(M=6.5e10, a=3.0, b=0.28),
        halo=potential.FlattenedNFW(rho_s=1.11e7, r_s=16.0, q=q),
    )


def test_slopes_match_differences():
    @jax.jit
    def both(q, x, v):
        def J(q):
            return jax.vmap(dynamics.StaeckelFudge(_galaxy(q)).actions)(x, v)

        return jax.jvp(J, (q,), (jnp.ones_like(q),))

    x, v = jnp.asarray(STARS[:, 0]), jnp.asarray(STARS[:, 1])
    J, slope = both(jnp.asarray(0.8), x, v)
    h = 1e-3
    difference = (both(jnp.asarray(0.8 + h), x, v)[0] - both(jnp.asarray(0.8 - h), x, v)[0]) / (2 * h)
    assert np.all(np.abs(np.asarray(J)[:, 2]) < 1.0) and np.all(np.asarray(J)[:, 1] > 10.0)
    # Turning points are held fixed in the derivative, which costs some 1e-3 of J here.
    size = np.asarray(J)[:, :2].sum(axis=1)
    assert np.all(np.abs(np.asarray(slope - difference)).max(axis=1) < 0.02 * size)
