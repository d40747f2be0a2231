"""Turning points of the fudge's motions in rho and v."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from oortax.dynamics.spheroidal import Spheroidal, radial_kinetic, vertical_kinetic
from oortax.potential.base import AbstractPotential
from oortax.types import Scalar

_STEPS = 7
_TINY = 1e-30
# Limits that keep a star of L_z = 0, which meets no barrier, off the axis; J changes by some 1e-4 of itself.
_FARTHEST = 1e4
_STEEPEST = 1.0 - 1e-9


class Ends(NamedTuple):
    """Turning points: 1/rho at apocentre and pericentre, cos^2 v at the largest height.

    `bend` is the curvature of the radial motion in ln rho and `fall` the slope of the vertical one in
    cos^2 v at the star's own point; `residual` is the size of the last Newton steps.
    """

    w_apo: Scalar
    w_peri: Scalar
    cos2_v: Scalar
    bend: Scalar
    fall: Scalar
    residual: Scalar


def _value_slope(f, t):
    return jax.jvp(f, (t,), (jnp.ones_like(t),))


def _parabola(f, t):
    """Value, slope and curvature of f at t."""
    (value, slope), (_, curvature) = jax.jvp(partial(_value_slope, f), (t,), (jnp.ones_like(t),))
    return value, slope, curvature


def _barrier(potential, star: Spheroidal, w):
    """Where p_u would vanish if Phi kept its value at 1/rho = w: a lower bound of 1/rho_peri."""
    q = 1.0 / (w * w)
    Phi = potential.Phi_of_squares(q * star.sin2_v, (q + star.Delta2) * star.cos2_v)
    linear = star.I_u + star.Delta2 * star.sin2_v * Phi
    kinetic = jnp.maximum(star.E - Phi, 0.0)
    centrifugal = star.L_z**2 * star.Delta2
    root = jnp.sqrt(linear * linear + 2.0 * centrifugal * kinetic)
    # Between the foci (linear < 0) only L_z keeps the star off the axis; this form does not cancel.
    between = linear < 0.0
    top = jnp.where(between, root - linear, 2.0 * kinetic)
    return jnp.sqrt(top / jnp.maximum(jnp.where(between, centrifugal, linear + root), _TINY))


def _ceiling(star: Spheroidal, value, y):
    """The largest cos^2 v if the force in v ended at y, where p_v^2 sin^2 v / 2 = value: an upper bound."""
    half_L2 = 0.5 * star.L_z**2
    kinetic = jnp.maximum((value + half_L2) / (1.0 - y), _TINY)
    return jnp.maximum(1.0 - half_L2 / kinetic, y)


def turning_points(potential: AbstractPotential, star: Spheroidal) -> Ends:
    """Ends of the motion in rho and v: Newton's method from a parabola through the star's own point.

    p_u^2/(2 rho^2) is concave in w = 1/rho and p_v^2 sin^2 v convex in cos^2 v in galaxy-like potentials,
    so that Newton's method approaches each root from one side; steps are limited all the same.
    """
    radial = partial(radial_kinetic, potential, star)
    vertical = partial(vertical_kinetic, potential, star)
    w_0, y_0 = 1.0 / jnp.sqrt(star.rho2), star.cos2_v

    value, slope, curvature = _parabola(radial, w_0)
    value = jnp.maximum(value, 0.0)
    curvature = -jnp.maximum(jnp.abs(curvature), 1e-3 * (jnp.abs(slope) * w_0 + value) / w_0**2)
    root = jnp.sqrt(slope * slope - 2.0 * value * curvature)
    w_apo = jnp.clip(w_0 + (root - slope) / curvature, 0.2 * w_0, w_0)
    w_peri = jnp.clip(w_0 - (root + slope) / curvature, w_0, 2.0 * w_0)
    w_peri = jnp.clip(_barrier(potential, star, w_peri), w_0, 10.0 * w_0)
    flat = 1e-9 * jnp.abs(curvature) * w_0
    bend = jnp.abs(curvature) * w_0**2

    value, slope, curvature = _parabola(vertical, y_0)
    value, slope = jnp.maximum(value, 0.0), -jnp.maximum(-slope, 1e-9 * (jnp.abs(value) + jnp.abs(curvature)))
    root = jnp.sqrt(jnp.maximum(slope * slope - 2.0 * value * curvature, 0.25 * slope * slope))
    y = jnp.minimum(y_0 + 2.0 * value / (root - slope), _ceiling(star, value, y_0))
    y = jnp.clip(y, y_0, jnp.maximum(_STEEPEST, y_0))
    fall = -slope

    def step(_, state):
        w_apo, w_peri, y, _ = state
        value, slope = _value_slope(radial, w_apo)
        new_apo = jnp.clip(w_apo - value / jnp.maximum(slope, flat), 0.3 * w_apo, w_0)
        # Newton in 1/rho^2, in which the centrifugal barrier is linear; from far inside, the barrier itself.
        value, slope = _value_slope(radial, w_peri)
        ratio = 1.0 - 2.0 * value / (w_peri * jnp.minimum(slope, -flat))
        at_barrier = _barrier(potential, star, w_peri)
        # Where even the barrier hardly moves, the distance is doubled.
        far = (value > 0.0) & ((slope >= 0.0) | (ratio > 2.0))
        leap = jnp.maximum(at_barrier, w_peri * jnp.sqrt(jnp.clip(ratio, 2.0, 4.0)))
        new_peri = jnp.where(far, leap, w_peri * jnp.sqrt(jnp.clip(ratio, 0.04, 2.0)))
        new_peri = jnp.clip(new_peri, w_0, _FARTHEST * w_0)
        # In cos v, not its square: beyond a thin disc the motion is nearly linear in |z|.
        value, slope = _value_slope(vertical, y)
        shift = 0.5 * value / jnp.maximum(-slope, 1e-9 * fall)
        new_y = y + 2.0 * shift + shift * shift / jnp.maximum(y, jnp.abs(shift) + _TINY)
        new_y = jnp.where(value > 0.0, jnp.minimum(new_y, _ceiling(star, value, y)), new_y)
        new_y = jnp.clip(new_y, y_0, jnp.maximum(_STEEPEST, y_0))
        residual = jnp.abs(new_apo / w_apo - 1.0) + jnp.abs(new_peri / w_peri - 1.0) + jnp.abs(new_y - y)
        return new_apo, new_peri, new_y, residual

    state = lax.fori_loop(0, _STEPS, step, (w_apo, w_peri, y, jnp.ones_like(y)))
    w_apo, w_peri, y, residual = state
    return Ends(w_apo, w_peri, y, bend, fall, residual)
