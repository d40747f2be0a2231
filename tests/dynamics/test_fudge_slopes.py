"""Derivatives of the fudge's actions are those of its values, with few nodes and at small L_z, too.

That is what keeps Hamiltonian trajectories on their energy, and `oortax check` content.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, params, potential

POT = potential.Sum(
    disc=potential.MiyamotoNagai(M=6.5e10, a=3.0, b=0.3),
    halo=potential.FlattenedNFW(rho_s=8.5e6, r_s=16.0, q=0.9, n_nodes=7),
)
N, STEP = 1500, 1e-4


def halo(rng):
    direction = rng.normal(size=(N, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    return direction * 15.0 * np.exp(rng.normal(0.0, 0.3, (N, 1))), rng.normal(size=(N, 3)) * [110, 110, 70]


def disc(rng):
    x = np.stack([rng.uniform(4.0, 12.0, N), np.zeros(N), rng.normal(0.0, 0.4, N)], axis=1)
    return x, rng.normal(size=(N, 3)) * [35, 35, 20] + [0, 200, 0]


PATHS = ("halo.q", "halo.rho_s", "disc.M")


@functools.cache
def compiled(make):
    """J_r and J_z, and their derivative along a direction, of ln of the parameters by which these move."""

    def J(moved, x, v):
        factors = dict(zip(PATHS, moved, strict=True))
        changed = {path: params.get(POT, path) * jnp.exp(by) for path, by in factors.items()}
        finder = make(params.replace(POT, changed))
        return jax.lax.map(lambda star: finder.actions(*star)[:2], (x, v), batch_size=N)

    at = jnp.zeros(3)
    return jax.jit(J), jax.jit(lambda by, x, v: jax.jvp(lambda moved: J(moved, x, v), (at,), (by,))[1])


@pytest.mark.parametrize("make", [dynamics.StaeckelFudge, dynamics.InterpolatedFudge])
@pytest.mark.parametrize("sample", [disc, halo])
def test_slopes_in_the_potential_are_those_of_the_values(sample, make):
    """Relative to J_r + J_z, by the default rules, whose turning points must move for that."""
    x, v = map(jnp.asarray, sample(np.random.default_rng(0)))
    value, slope = compiled(make)
    total = np.asarray(value(jnp.zeros(3), x, v)).sum(axis=1)
    for by in np.eye(3):
        differences = np.asarray(value(STEP * by, x, v) - value(-STEP * by, x, v)) / (2.0 * STEP)
        off = np.abs(np.asarray(slope(jnp.asarray(by), x, v)) - differences).max(axis=1) / total
        bound = np.isfinite(off)
        assert bound.mean() > 0.99 and np.median(np.abs(differences[bound]).max(axis=1) / total[bound]) > 1e-2
        # Some orbits are so close to a separatrix that the step is large.
        assert np.median(off[bound]) < 1e-7 and np.quantile(off[bound], 0.99) < 2e-5
        assert np.max(off[bound]) < (1e-5 if sample is disc else 1e-2)


@pytest.mark.parametrize("make", [dynamics.StaeckelFudge, dynamics.InterpolatedFudge])
def test_slopes_at_singular_points(make):
    """Circular, planar, shell-like, through the axis, on it, and at rest: those of the values."""
    v_c = float(potential.circular_velocity(POT, 8.0))
    points = np.array([
        [8.0, 0.0, 0.0, 0.0, v_c, 0.0],
        [8.0, 0.0, 0.0, 40.0, 0.9 * v_c, 0.0],
        [8.0, 0.0, 0.0, 0.0, v_c, 60.0],
        [8.0, 0.0, 2.0, 60.0, 0.0, 50.0],
        [0.0, 0.0, 3.0, 20.0, 30.0, 40.0],
        [5.0, 3.0, 2.0, 0.0, 0.0, 0.0],
    ])  # fmt: skip
    w, n = jnp.asarray(np.resize(points, (N, 6))), len(points)
    x, v = w[:, :3], w[:, 3:]
    value, slope = compiled(make)
    total = np.asarray(value(jnp.zeros(3), x, v))[:n].sum(axis=1)
    # Of a circular orbit, the angular momentum.
    total = np.maximum(total, 1e-3 * 8.0 * v_c)
    assert np.isfinite(total).all()
    for by in np.eye(3):
        differences = np.asarray(value(STEP * by, x, v) - value(-STEP * by, x, v))[:n] / (2.0 * STEP)
        off = np.abs(np.asarray(slope(jnp.asarray(by), x, v))[:n] - differences).max(axis=1) / total
        # Of circular orbits J is the square of an amplitude, which rounding leaves at 1e-8, and so their
        # slopes at some 1e-7 of the angular momentum: which, differs between versions of XLA.
        assert off[0] < 5e-4 and np.all(off[1:] < 1e-4), off


def test_reverse_mode_is_the_transpose():
    """Of one halo star of small L_z, whose turning point is next to the axis."""
    x, v = jnp.array([11.1, -1.17, 13.76]), jnp.array([-220.6, 24.8, -153.6])

    def J(values):
        return dynamics.StaeckelFudge(params.replace(POT, values)).actions(x, v)[:2]

    at = {path: params.get(POT, path) for path in PATHS}
    forward, reverse = jax.jit(jax.jacfwd(J))(at), jax.jit(jax.jacrev(J))(at)
    for path in at:
        np.testing.assert_allclose(forward[path], reverse[path], rtol=1e-9)
