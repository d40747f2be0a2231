"""The path of an orbit between the times at which it is known.

In each interval it is the polynomial of fifth degree with the positions, velocities and accelerations of both
ends. Functions take one orbit, (t,) and (t, 3), or many with a leading axis.
"""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from oortax.numerics.batching import chunked_map

# Orbits that are asked about at a time.
_ASKED = 256
# Halvings of an interval between two times: to 1e-9 of it.
_HALVINGS = 30


@eqx.filter_jit
def extremes(times, x, v, a) -> Float[Array, "*n 3"]:
    """Least and largest r, and largest |z|; NaN where a point is."""

    def one(star):
        times, x, v, a = star
        polynomials = _polynomials(times, x, v, a)

        def at(s):
            return _evaluated(polynomials, s[:, None])

        turn = at(_zero(lambda s: jnp.sum(jnp.multiply(*at(s)), axis=1), times[1:]))[0]
        top = at(_zero(lambda s: at(s)[1][:, 2], times[1:]))[0]
        # Where the sign does not change an end of the interval was found, or nearly.
        r = jnp.linalg.norm(jnp.concatenate([x, turn]), axis=1)
        found = jnp.stack([jnp.min(r), jnp.max(r), jnp.max(jnp.abs(jnp.concatenate([x, top])[:, 2]))])
        return jnp.where(jnp.all(jnp.isfinite(x)), found, jnp.nan)

    return _of_each(one, times, x, v, a)


@eqx.filter_jit
def at_times(times, x, v, a, t):
    """Positions and velocities at times t, (m,): NaN beyond the first and the last."""

    def one(star):
        times, x, v, a = star
        rises = jnp.where(times[-1] > times[0], 1.0, -1.0)
        cell = jnp.clip(jnp.searchsorted(rises * times, rises * t, side="right") - 1, 0, len(times) - 2)
        h = (times[cell + 1] - times[cell])[:, None]
        s = (t - times[cell])[:, None] / h
        value, slope = _evaluated(_polynomials(times, x, v, a)[:, cell], s)
        inside = (s >= 0.0) & (s <= 1.0)
        return jnp.where(inside, value, jnp.nan), jnp.where(inside, slope / h, jnp.nan)

    return _of_each(one, times, x, v, a)


@eqx.filter_jit
def crossings(times, x, v, a):
    """R and v_R in each interval in which the plane is crossed upwards; NaN in the others."""

    def one(star):
        times, x, v, a = star
        polynomials, before, after = _polynomials(times, x, v, a), x[:-1, 2], x[1:, 2]
        upward = jnp.where(times[-1] > times[0], 1.0, -1.0)
        crossed = jnp.where(upward > 0.0, (before < 0.0) & (after >= 0.0), (before >= 0.0) & (after < 0.0))
        s = _zero(lambda s: _evaluated(polynomials, s[:, None])[0][:, 2], times[1:])
        at, slope = _evaluated(polynomials, s[:, None])
        R = jnp.where(crossed, jnp.hypot(at[:, 0], at[:, 1]), jnp.nan)
        return R, (at[:, 0] * slope[:, 0] + at[:, 1] * slope[:, 1]) / (R * jnp.diff(times))

    return _of_each(one, times, x, v, a)


def _polynomials(times, x, v, a) -> Float[Array, "6 t 3"]:
    """Coefficients between each time and the next, in the share of the interval that has passed."""
    h = jnp.diff(times)[:, None]
    c0, c1, c2 = x[:-1], h * v[:-1], 0.5 * h * h * a[:-1]
    dx, dv, da = x[1:] - c0 - c1 - c2, h * v[1:] - c1 - 2.0 * c2, h * h * a[1:] - 2.0 * c2
    last = (10.0 * dx - 4.0 * dv + 0.5 * da, -15.0 * dx + 7.0 * dv - da, 6.0 * dx - 3.0 * dv + 0.5 * da)
    return jnp.stack([c0, c1, c2, *last])


def _evaluated(coefficients, s):
    """A polynomial and its derivative at s."""
    value, slope = coefficients[5], jnp.zeros_like(coefficients[5])
    for c in coefficients[4::-1]:
        slope = slope * s + value
        value = value * s + c
    return value, slope


def _zero(f, like):
    """Where f(s) changes its sign in (0, 1), for each of many functions of a share of an interval."""
    falls = f(jnp.zeros_like(like)) > 0.0

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        before = (f(middle) > 0.0) == falls
        return jnp.where(before, middle, low), jnp.where(before, high, middle)

    low, high = lax.fori_loop(0, _HALVINGS, halve, (jnp.zeros_like(like), jnp.ones_like(like)))
    return 0.5 * (low + high)


def _of_each(one, *leaves):
    """Of one orbit, or of each of many, some at a time."""
    return one(leaves) if leaves[1].ndim == 2 else chunked_map(one, leaves, _ASKED)
