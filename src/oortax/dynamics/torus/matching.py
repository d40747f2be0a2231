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
    passes_focus,
    radial_nodes,
    radial_speed,
    vertical_speed,
)
from oortax.dynamics.torus.series import sines, to_powers
from oortax.dynamics.torus.toy import amplitudes
from oortax.dynamics.torus.transformation import Transformation
from oortax.types import Actions, Scalar

# Nodes of the partial actions, and coefficients kept of the two series.
N_R, N_Z, _KEPT = 32, 24, 16
_NEWTON = 10
_TINY, _ROUNDING = 1e-30, 1e-12


def matched(motion: SeparableMotion, ends: Ends, J: Actions) -> Transformation:
    """The transformation under which the toy torus J becomes the torus of a separable motion."""
    box, L_z = passes_focus(motion, ends), jnp.abs(motion.J_phi)
    # The other toy's barrier: for which its ratio of apocentre to pericentre, or its largest latitude, is the
    # motion's.
    sinh = jnp.sinh(ends.half)
    cosine = 1.0 / jnp.hypot(1.0, ends.tangent)
    barrier = jnp.where(box, J[1] * (1.0 + cosine) / (cosine * ends.tangent**2), J[0] / (sinh * sinh))
    of_radius, of_latitude = jnp.where(box, L_z, barrier), jnp.where(box, barrier, L_z)

    A, B = amplitudes(of_radius, J[0])
    apo2 = A + B
    peri2 = of_radius * of_radius / apo2
    # The toy radius of the focal distance.
    soft2 = jnp.where(box, motion.Delta2 * apo2 * jnp.exp(-2.0 * (ends.middle + ends.half)), 0.0)
    low, high = (0.5 * jnp.log(r2 + soft2) for r2 in (peri2, apo2))
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    t = jnp.asarray(radial_nodes(N_R))
    above = jnp.exp(2.0 * low) * jnp.expm1(4.0 * half * jnp.sin(0.5 * t) ** 2)
    below = -jnp.exp(2.0 * high) * jnp.expm1(-4.0 * half * jnp.cos(0.5 * t) ** 2)
    log_r = 0.5 * jnp.log(peri2 + above)
    # The toy angle at these radii: r^2 - peri^2 = 2 B sin^2(theta/2).
    theta = 2.0 * jnp.arctan(jnp.sqrt(above / below))
    speed = jax.vmap(partial(radial_speed, motion, ends))(t)
    where = where_partial_actions_agree(speed, 1, radial_partial_action(theta, J[0], of_radius) / J[0], t)
    log_rho = ends.middle - ends.half * jnp.cos(where)
    radial = (jnp.asarray(cosines(N_R, 1)) @ (log_rho - log_r))[:_KEPT]

    speed = jax.vmap(partial(vertical_speed, motion, ends))(0.5 * jnp.asarray(radial_nodes(N_Z)))
    L = J[1] + of_latitude
    largest = jnp.sqrt(J[1] * (J[1] + 2.0 * of_latitude)) / (L + of_latitude)
    # The toy angle where tan(lat_toy/2) is (1 - cos t)/2 of its largest value:
    # 1 - sin(theta) = (largest - tan)(1 - largest tan)/(largest (1 + tan^2)), tan = tan(lat_toy/2).
    below = np.cos(0.5 * radial_nodes(N_Z)) ** 2
    tan = largest * np.sin(0.5 * radial_nodes(N_Z)) ** 2
    rest = below * (1.0 - largest * tan) / (1.0 + tan * tan)
    theta = jnp.arctan2(1.0 - rest, jnp.sqrt(rest * (2.0 - rest)))
    where = where_partial_actions_agree(
        speed, 2, vertical_partial_action(theta, J[1], of_latitude) / J[1], theta
    )
    tangent = jnp.tan(jnp.arctan(ends.tangent) * jnp.sin(where))
    toy = 2.0 * tan / (1.0 - tan * tan)
    latitude = (jnp.asarray(cosines(N_Z, 1)) @ jnp.log(tangent / toy))[:_KEPT]
    # T_k(-cos t) = (-1)^k cos(k t).
    powers = jnp.asarray(((-1.0) ** np.arange(_KEPT))[:, None] * to_powers(_KEPT))
    return Transformation(
        motion.Delta2, box, barrier, soft2, middle, half, largest, radial @ powers, latitude @ powers
    )


def radial_partial_action(theta: Scalar, J_r: Scalar, barrier: Scalar) -> Scalar:
    """int_peri^r p dr of the toy, at its angle theta: pi J_r at apocentre."""
    A, B = amplitudes(barrier, J_r)
    turned = jnp.arctan2((A + B) * jnp.sin(0.5 * theta), barrier * jnp.cos(0.5 * theta))
    return 0.5 * (A * theta + B * jnp.sin(theta)) - barrier * turned


def vertical_partial_action(theta: Scalar, J_z: Scalar, barrier: Scalar) -> Scalar:
    """int_0^lat p dlat of the toy, at its angle theta: J_z pi/2 at the largest latitude."""
    L = J_z + barrier
    return L * theta - barrier * jnp.arctan2(barrier / L * jnp.sin(theta), jnp.cos(theta))


@cache
def cosines(n: int, step: int) -> np.ndarray:
    """Values at the n nodes of a period's half or quarter -> coefficients of cos(step k t)."""
    t = radial_nodes(n) / step
    matrix = np.cos(step * np.arange(n)[:, None] * t) * 2.0 / n
    matrix[0] *= 0.5
    return matrix


def where_partial_actions_agree(speed, step: int, fraction, start):
    """The t at which the integral of a speed, a series of cos(step k t), is a fraction of its mean.

    At a turning point the integral vanishes as the cube of the distance: Newton's method is applied to its
    cube root, from the nearer end (from the plane as it is), within a bracket, for a fixed number of steps.
    """
    n = speed.shape[0]
    a = jnp.asarray(cosines(n, step)) @ speed
    integral = (a / a[0])[1:] / (step * np.arange(1.0, n))
    end = np.pi / step

    def solve(fraction, t):
        upper = fraction > 0.5 * end
        power = jnp.where(upper | (step == 1), 1.0 / 3.0, 1.0)
        target = jnp.where(upper, end - fraction, fraction) ** power
        sign = jnp.where(upper, -1.0, 1.0)

        def newton(state, _):
            t, low, high = state
            value, slope = sines(integral, step * t)
            value, slope = t + value, 1.0 + step * slope
            below = value < fraction
            low, high = jnp.where(below, t, low), jnp.where(below, high, t)
            rest = jnp.maximum(jnp.where(upper, end - value, value), _TINY)
            # Not rest**power, a call to the C library.
            root = jnp.exp(power * jnp.log(rest))
            new = t - sign * (root - target) * rest / (power * root * slope)
            # Rounding may put a step from the solution just outside: bisection would lead away from it.
            inside = (slope > 0.0) & (new >= low - _ROUNDING) & (new <= high + _ROUNDING)
            return (jnp.where(inside, new, 0.5 * (low + high)), low, high), None

        state = (t, jnp.zeros_like(t), jnp.full_like(t, end))
        return lax.scan(newton, state, length=_NEWTON)[0][0]

    return jax.vmap(solve)(fraction, start)
