"""Which tori exist: orbits from tori, integrated, told apart by their frequencies.

An orbit is resonant where Omega_r/Omega_z is a ratio of whole numbers below 9 to 2e-5, and chaotic where it
is another in the second half than in the first, by 1e-4. Frequencies are mean rates of the phases of (ln rho,
p_u) and (lat, p_lat), spheroidal coordinates in which both turn about a point: with a smooth weight, mean
rates of quasi-periodic motions converge faster than any power of time (Das et al. 2017, Nonlinearity 30,
4111). Four orbits start from each torus, at random angles; one that is not regular counts.
"""

from math import gcd

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from oortax import dynamics

PERIODS, STEPS, STARTS = 400, 600, 4
RATIOS = np.array([p / q for q in range(1, 9) for p in range(1, 17) if gcd(p, q) == 1])


def _spheroidal(x, v, Delta2):
    """(ln rho, p_u, lat, p_lat) of one point."""
    R2, z = x[0] ** 2 + x[1] ** 2, x[2]
    A = R2 + z * z - Delta2
    root = jnp.sqrt(A * A + 4.0 * Delta2 * R2)
    rho2 = jnp.where(A > 0.0, 0.5 * (A + root), 2.0 * Delta2 * R2 / (root - A))
    R, rho, height = jnp.sqrt(R2), jnp.sqrt(rho2), jnp.sqrt(rho2 + Delta2)
    sine, cosine, v_R = z / height, R / rho, (x[0] * v[0] + x[1] * v[1]) / R
    p_u = height * cosine * v_R + rho * sine * v[2]
    return 0.5 * jnp.log(rho2), p_u, jnp.arctan2(sine, cosine), height * cosine * v[2] - rho * sine * v_R


@eqx.filter_jit
def _points(tori, theta):
    return jax.vmap(lambda torus, theta: jax.vmap(torus.phase_point)(theta))(tori, theta)


@eqx.filter_jit
def _rates(pot, x, v, step, Delta2, middle, scale):
    """Mean phases per step in the two halves of the orbits, (2, n, 2)."""
    leap = jax.vmap(lambda x, v, dt: dynamics.symplectic_step(pot, x, v, dt))
    half = PERIODS * STEPS // 2

    def phases(x, v):
        log_rho, p_u, lat, p_lat = jax.vmap(_spheroidal)(x, v, Delta2)
        return jnp.stack([jnp.arctan2(-p_u, (log_rho - middle) * scale), jnp.arctan2(-p_lat, lat * scale)], 1)

    def advance(state, k):
        x, v, old, sums = state
        x, v = leap(x, v, step)
        new = phases(x, v)
        time = ((k % half) + 0.5) / half
        weight = jnp.exp(-1.0 / (time * (1.0 - time)))
        turned = (new - old + jnp.pi) % (2.0 * jnp.pi) - jnp.pi
        return (x, v, new, sums.at[k // half].add(weight * turned)), weight

    start = (x, v, phases(x, v), jnp.zeros((2, len(x), 2)))
    (_, _, _, sums), weights = jax.lax.scan(advance, start, jnp.arange(2 * half))
    return sums / (0.5 * jnp.sum(weights))


def kinds(pot, tori: dynamics.Torus, seed: int = 3) -> np.ndarray:
    """For each torus "regular", "resonant" or "chaotic"."""
    theta = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, (len(tori.E), 64, 3))
    x, v = _points(tori, jnp.asarray(theta))
    Delta2 = tori.transformation.Delta2
    log_rho, p_u, _, _ = jax.vmap(jax.vmap(_spheroidal, (0, 0, None)))(x, v, Delta2)
    low, high = log_rho.min(axis=1), log_rho.max(axis=1)
    scale = 2.0 * jnp.abs(p_u).max(axis=1) / (high - low)
    step = 2.0 * jnp.pi / tori.Omega[:, 0] / STEPS
    kind = np.full(len(tori.E), "regular", dtype="<U8")
    # All starts in one list: the cost of a step is that of its program as much as that of its orbits.
    several = lambda leaf: jnp.repeat(leaf, STARTS, axis=0)  # noqa: E731
    start = (leaf[:, :STARTS].reshape(-1, 3) for leaf in (x, v))
    found = _rates(pot, *start, *map(several, (step, Delta2, 0.5 * (low + high), scale)))
    rates = np.abs(found).reshape(2, -1, STARTS, 2)
    for k in range(STARTS):
        ratio = rates[:, :, k, 0] / rates[:, :, k, 1]
        moved = np.abs(ratio[1] - ratio[0])
        near = np.abs(ratio.mean(axis=0)[:, None] - RATIOS).min(axis=1)
        kind[(moved < 1e-4) & (near < 2e-5) & (kind == "regular")] = "resonant"
        kind[~(moved < 1e-4)] = "chaotic"
    return kind
