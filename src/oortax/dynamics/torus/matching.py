"""Transformations that turn a toy torus into the fudge's: equal partial actions.

The action of a part of a period, int_0^q p dq, is the same number in all canonical coordinates. A
transformation q(q_toy) under which the toy torus of actions J becomes the fudge's must therefore satisfy

    int^rho p_u du = int^r p dr    and    int_0^lat p_lat dlat = int_0^lat_toy p dlat_toy

and does so all the way between the turning points, which it maps on each other smoothly.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from oortax.dynamics.torus.separable import (
    Ends,
    SeparableMotion,
    radial_nodes,
    radial_speed,
    vertical_speed,
)
from oortax.dynamics.torus.toy import amplitudes
from oortax.dynamics.torus.transformation import Transformation
from oortax.types import Actions

# Nodes of the partial actions, and coefficients kept of the two series.
_N_R, _N_Z, _KEPT = 32, 24, 16
_NEWTON = 10
_TINY = 1e-30


def matched(motion: SeparableMotion, ends: Ends, J: Actions) -> Transformation:
    """The transformation under which the toy torus J becomes the torus of a separable motion."""
    # The barrier for which the toy's ratio of apocentre to pericentre is the motion's.
    sinh = jnp.sinh(ends.half)
    barrier = J[0] / (sinh * sinh)
    A, B = amplitudes(barrier, J[0])
    middle = 0.5 * jnp.log(barrier)
    t = jnp.asarray(radial_nodes(_N_R))
    log_r = middle - ends.half * jnp.cos(t)
    # tan(theta/2) of the toy angle at these radii, from A - B cos(theta) = r^2.
    theta = 2.0 * jnp.arctan(_half_tangent(t, ends.half))
    partial_J = 0.5 * (A * theta + B * jnp.sin(theta)) - barrier * jnp.arctan2(
        jnp.exp(2.0 * ends.half) * jnp.sin(0.5 * theta), jnp.cos(0.5 * theta)
    )
    speed = jax.vmap(partial(radial_speed, motion, ends))(t)
    where = _where(speed, 1, partial_J / J[0], t)
    log_rho = ends.middle - ends.half * jnp.cos(where)
    radial = (jnp.asarray(_cosines(_N_R, 1)) @ (log_rho - log_r))[:_KEPT]

    theta = 0.5 * jnp.asarray(radial_nodes(_N_Z))
    L, L_z = J[1] + jnp.abs(J[2]), jnp.abs(J[2])
    sine2 = J[1] * (J[1] + 2.0 * L_z) / (L * L)
    sin, cos = jnp.sin(theta), jnp.cos(theta)
    partial_J = L * theta - L_z * jnp.arctan2(L_z / L * sin, cos)
    speed = jax.vmap(partial(vertical_speed, motion, ends))(theta)
    where = _where(speed, 2, partial_J / J[1], theta)
    sine = ends.sine * jnp.sin(where)
    tangent = sine / jnp.sqrt(1.0 - sine * sine)
    toy = jnp.sqrt(sine2) * sin / jnp.hypot(cos, L_z / L * sin)
    latitude = (jnp.asarray(_cosines(_N_Z, 2)) @ jnp.log(tangent / toy))[:_KEPT]
    # T_k(2 sin^2 - 1) = (-1)^k cos(2 k theta), T_k(-cos t) likewise.
    sign = jnp.asarray((-1.0) ** np.arange(_KEPT))
    return Transformation(motion.Delta2, barrier, middle, ends.half, sine2, radial * sign, latitude * sign)


def _half_tangent(t, half):
    """tan(theta/2) where ln(r) = middle - half cos(t), from (r^2 - peri^2)/(apo^2 - r^2)."""
    above = jnp.expm1(4.0 * half * jnp.sin(0.5 * t) ** 2)
    below = -jnp.expm1(-4.0 * half * jnp.cos(0.5 * t) ** 2)
    return jnp.sqrt(above / below) * jnp.exp(-2.0 * half)


@cache
def _cosines(n: int, step: int) -> np.ndarray:
    """Values at the n nodes of a period's half or quarter -> coefficients of cos(step k t)."""
    t = radial_nodes(n) / step
    matrix = np.cos(step * np.arange(n)[:, None] * t) * 2.0 / n
    matrix[0] *= 0.5
    return matrix


def _where(speed, step: int, fraction, start):
    """The t at which the integral of a speed, a series of cos(step k t), is a fraction of its mean.

    At a turning point the integral vanishes as the cube of the distance: Newton's method is applied to its
    cube root, from the nearer end (from the plane as it is), within a bracket, for a fixed number of steps.
    """
    n = speed.shape[0]
    a = jnp.asarray(_cosines(n, step)) @ speed
    a = (a / a[0])[1:]
    k = step * jnp.arange(1.0, n)
    end = np.pi / step

    def solve(fraction, t):
        upper = fraction > 0.5 * end
        power = jnp.where(upper | (step == 1), 1.0 / 3.0, 1.0)
        target = jnp.where(upper, end - fraction, fraction) ** power
        sign = jnp.where(upper, -1.0, 1.0)

        def newton(state, _):
            t, low, high = state
            value = t + jnp.sum(a / k * jnp.sin(k * t))
            slope = 1.0 + jnp.sum(a * jnp.cos(k * t))
            below = value < fraction
            low, high = jnp.where(below, t, low), jnp.where(below, high, t)
            rest = jnp.maximum(jnp.where(upper, end - value, value), _TINY)
            new = t - sign * (rest**power - target) / (power * rest ** (power - 1.0) * slope)
            inside = (slope > 0.0) & (new >= low) & (new <= high)
            return (jnp.where(inside, new, 0.5 * (low + high)), low, high), None

        state = (t, jnp.zeros_like(t), jnp.full_like(t, end))
        return lax.scan(newton, state, length=_NEWTON)[0][0]

    return jax.vmap(solve)(fraction, start)
