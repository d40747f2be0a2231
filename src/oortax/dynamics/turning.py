"""Turning points of the fudge's motions in rho and v."""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool

from oortax.dynamics.spheroidal import (
    Spheroidal,
    at_label,
    crossing_kinetic,
    of_either_sign,
    radial_kinetic,
    radial_label,
    small2,
    vertical_kinetic,
)
from oortax.numerics.node_sum import node_sum
from oortax.potential.base import AbstractPotential
from oortax.types import Scalar

_STEPS = 15
# Turning points converge quadratically: a last step of 1e-6 leaves 1e-12, and J is stationary in them, so
# that the number of steps, which jumps, leaves no trace in J(x, v). Points that ran out of steps count as
# converged at 1e-2.
_LAST_STEP, TOLERANCE = 1e-6, 1e-2
_TINY = 1e-30
# Relative distance of the points a curvature is taken from.
_NEARBY = 1e-4
# Limits that keep a star of L_z = 0, which meets no barrier, off the axis; J changes by some 1e-4 of itself.
_FARTHEST = 1e4
_STEEPEST = 1.0 - 1e-9
# Delta^2/s^2 below which p_v^2 is looked at up to the axis.
_ROUND = 0.01
# s/Delta below which a star is next to the axis, or to the disc within the focal ring.
_BETWEEN = 0.01
# Half-widths in ln s, and cos^2 v, above which turning points move with the parameters; and how close to a
# root, relative to themselves, they must have converged for that.
_SWINGS, _RISES, _IS_ROOT = 1e-3, 1e-8, 1e-6
LEAST_SHARE = 1e-3
"""A motion in cos^2 v that does not reach the plane is taken to have this share of the way from it."""


class Ends(NamedTuple):
    """Turning points: 1/s at apocentre and pericentre, cos^2 v at the largest height, and at the lowest.

    In slightly prolate halos about discs p_v^2 has a second well towards the axis. What has a barrier between
    its wells counts with both, wherever the star is: the sum of their actions is the one number that does not
    jump as barriers come and go.

    `crosses`: the radial motion goes through the disc within the focal ring (Delta^2 < 0) and has no
    pericentre. The lowest cos^2 v is 0, but for motions in v that do not reach the plane: those of the same
    orbits, were the potential separable. `bend` is the curvature of the radial motion by its label and
    `fall` the slope of the vertical one in cos^2 v at the star's own point; `residual` is the size of the
    last Newton steps, and `slopes` are those of the kinetic energies by 1/s at the ends and by cos^2 v, 0 at
    ends that are limits and not roots.
    """

    w_apo: Scalar
    w_peri: Scalar
    cos2_v: Scalar
    lowest: Scalar
    crosses: Bool[Array, ""]
    bend: Scalar
    fall: Scalar
    residual: Scalar
    slopes: tuple[Scalar, ...]


def _value_slope(f, t):
    return jax.jvp(f, (t,), (jnp.ones_like(t),))


def _slope_curvature(f, t):
    """Slope and curvature of f at t from slopes on either side: cheaper than exact ones, and only a start."""
    nearby = jnp.stack([(1.0 - _NEARBY) * t, (1.0 + _NEARBY) * t])
    below, above = lax.map(lambda t: _value_slope(f, t)[1], nearby)
    return 0.5 * (above + below), 0.5 * (above - below) / (_NEARBY * t)


def _barrier(potential, star: Spheroidal, w):
    """Where p_u would vanish if Phi kept its value at 1/s = w: a lower bound of 1/s_peri."""
    plus, minus = of_either_sign(star.Delta2)
    s2 = 1.0 / (w * w)
    Phi = potential.Phi_of_squares((s2 + minus) * star.sin2_v, (s2 + plus) * star.cos2_v)
    barrier = star.I_u + (plus * star.sin2_v + minus * star.cos2_v) * Phi
    kinetic = jnp.maximum(star.E - Phi, 0.0)
    # kinetic = linear w^2 + square w^4 / 2; for Delta^2 < 0 after multiplication by rho^2/s^2.
    linear = barrier - minus * kinetic
    square = star.L_z**2 * plus + minus * (2.0 * barrier - star.L_z**2)
    root = jnp.sqrt(jnp.maximum(linear * linear + 2.0 * square * kinetic, 0.0))
    # Between the foci (linear < 0) only L_z keeps the star off the axis; this form does not cancel.
    between = linear < 0.0
    top = jnp.where(between, root - linear, 2.0 * kinetic)
    return jnp.sqrt(top / jnp.maximum(jnp.where(between, square, linear + root), _TINY))


def _ceiling(star: Spheroidal, value, y):
    """The largest cos^2 v if the force in v ended at y, where p_v^2 sin^2 v / 2 = value: an upper bound."""
    half_L2 = 0.5 * star.L_z**2
    kinetic = jnp.maximum((value + half_L2) / (1.0 - y), _TINY)
    return jnp.maximum(1.0 - half_L2 / kinetic, y)


def _lowest(vertical, y_0, prolate):
    """The least cos^2 v, and the size of the last step towards it: 0 where the motion reaches the plane.

    By Newton's method between a point below and one above, else their mean. No step is made where no point of
    a batch is in a prolate potential.
    """

    def unfinished(state):
        return (state[0] < 2 * _STEPS) & (state[-1] > _LAST_STEP)

    def step(state):
        count, y, below, above, _ = state
        value, slope = _value_slope(vertical, y)
        below, above = jnp.where(value < 0.0, y, below), jnp.where(value < 0.0, above, y)
        new = y - value / jnp.where(slope == 0.0, _TINY, slope)
        new = jnp.where((new >= below) & (new <= above), new, 0.5 * (below + above))
        return count + 1, new, below, above, jnp.abs(new - y)

    zero = jnp.zeros_like(y_0)
    state = (0, zero, zero, y_0, jnp.where(prolate, 1.0, zero))
    _, y, _, _, last = lax.while_loop(unfinished, step, state)
    return y, last


def _highest(vertical, y_0, y_end, search):
    """The largest root of p_v^2 sin^2 v, from the axis, and whether there is one above y_0.

    By Newton's method, which from that side comes to a concave function's root without passing it, and where
    there is none passes the maximum. What has no barrier there, as for L_z = 0, goes up to y_end. No step is
    made where no point of a batch is to be searched.
    """

    def unfinished(state):
        return (state[0] < 2 * _STEPS) & (state[2] > _LAST_STEP)

    def step(state):
        count, y, _, _ = state
        value, slope = _value_slope(vertical, y)
        falls = (value < 0.0) & (slope < 0.0)
        new = jnp.where(falls, jnp.maximum(y - value / jnp.where(falls, slope, -1.0), y_0), y)
        is_end = falls | ((value > 0.0) & (y == y_end))
        return count + 1, new, jnp.where(falls & (new > y_0), y - new, 0.0), is_end

    state = (0, y_end, jnp.where(search, 1.0, jnp.zeros_like(y_0)), search)
    _, y, last, is_end = lax.while_loop(unfinished, step, state)
    return y, search & is_end & (y > y_0) & (last <= _LAST_STEP)


def turning_points(potential: AbstractPotential, star: Spheroidal, *, wells: bool = True) -> Ends:
    """Ends of the motion in s and v: Newton's method from a parabola through the star's own point.

    p_u^2/(2 s^2) is concave in w = 1/s and p_v^2 sin^2 v convex in cos^2 v in galaxy-like potentials,
    so that Newton's method approaches each root from one side; steps are limited all the same. Where the
    motion in v does not reach the plane (Delta^2 < 0), p_v^2 sin^2 v is concave, and its larger root is
    approached from the axis, as is that of a second well; without `wells` the star's own is the only one. A
    batch goes on until its last point has converged.
    """
    radial = partial(radial_kinetic, potential, star)
    vertical = partial(vertical_kinetic, potential, star)
    w_0, y_0 = 1.0 / jnp.sqrt(small2(star)), star.cos2_v
    y_end = jnp.maximum(_STEEPEST, y_0)
    plus, minus = of_either_sign(star.Delta2)
    apart2 = plus + minus
    crosses = (minus > 0.0) & (crossing_kinetic(potential, star) > 0.0)
    # For Delta^2 > 0, p_u^2/(2 s^2) bends at least this much in 1/s^2, whatever the potential.
    barrier_bend = star.L_z**2 * plus

    value = 0.5 * star.p_u**2 * w_0**2
    slope, curvature = _slope_curvature(radial, w_0)
    curvature = -jnp.maximum(jnp.abs(curvature), 1e-3 * (jnp.abs(slope) * w_0 + value) / w_0**2)
    root = jnp.sqrt(slope * slope - 2.0 * value * curvature)
    w_apo = jnp.clip(w_0 + (root - slope) / curvature, 0.2 * w_0, w_0)
    # Next to the axis between the foci 1/s is any size, and Newton's steps far too short: s ~ Delta/10.
    between = w_0 * w_0 * apart2 > _BETWEEN**-2
    w_apo = jnp.where(between, jnp.minimum(w_apo, 10.0 / jnp.sqrt(apart2)), w_apo)
    farthest = jnp.maximum(w_0, _FARTHEST * jnp.minimum(w_0, 10.0 / jnp.sqrt(apart2)))
    w_peri = jnp.clip(w_0 - (root + slope) / curvature, w_0, 2.0 * w_0)
    w_peri = jnp.clip(_barrier(potential, star, w_peri), w_0, farthest)
    w_peri = jnp.where(crosses, farthest, w_peri)
    flat = 1e-9 * jnp.abs(curvature) * w_0
    by_u = at_label(star.Delta2, radial_label(star.Delta2, w_0))[1]
    bend = jnp.abs(curvature) * w_0**2 * jnp.where(minus > 0.0, (1.0 + minus * w_0**2) / by_u**2, 1.0)

    value, slope = 0.5 * star.p_v**2 * star.sin2_v, _value_slope(vertical, y_0)[1]
    fall = jnp.maximum(-slope, 1e-9 * jnp.abs(value))
    y = jnp.minimum(y_0 + value / jnp.maximum(fall, _TINY), _ceiling(star, value, y_0))
    prolate = minus > 0.0
    lowest, last = _lowest(vertical, y_0, prolate)
    highest, above = _highest(vertical, y_0, y_end, wells & (star.Delta2 < _ROUND * small2(star)))
    # From the axis, where p_v^2 sin^2 v = -L_z^2.
    y = jnp.clip(jnp.where((lowest > 0.0) | (prolate & (slope > 0.0)), y_end, y), y_0, y_end)
    y = jnp.where(above, highest, y)

    def step(state):
        count, w_apo, w_peri, y, _, _ = state
        value, slope = _value_slope(radial, w_apo)
        slopes = [_of_root(value, slope, w_apo)]
        new_apo = jnp.clip(w_apo - value / jnp.maximum(slope, flat), 0.3 * w_apo, w_0)
        # A parabola in 1/rho^2 with the barrier's own bend.
        value, slope = _value_slope(radial, w_peri)
        slopes.append(_of_root(value, slope, w_peri))
        slope = 0.5 * slope / w_peri
        root = jnp.sqrt(jnp.maximum(slope * slope + 2.0 * barrier_bend * value, 0.0))
        ratio = 1.0 + 2.0 * value / (w_peri * w_peri * jnp.maximum(root - slope, 0.5 * flat / w_peri))
        new_peri = w_peri * jnp.sqrt(jnp.clip(ratio, 0.04, 4.0))
        # From far inside, the barrier; where even that hardly moves, the distance is doubled.
        far = jnp.where(slope < 0.0, new_peri, 2.0 * w_peri)
        new_peri = jnp.where(value > 0.0, jnp.maximum(far, _barrier(potential, star, w_peri)), new_peri)
        new_peri = jnp.where(crosses, farthest, jnp.clip(new_peri, w_0, farthest))
        # In cos v, not its square: beyond a thin disc the motion is nearly linear in |z|.
        value, slope = _value_slope(vertical, y)
        slopes.append(_of_root(value, slope, y))
        shift = 0.5 * value / jnp.maximum(-slope, 1e-9 * fall + _TINY)
        new_y = y + 2.0 * shift + shift * shift / jnp.maximum(y, jnp.abs(shift) + _TINY)
        new_y = jnp.where(value > 0.0, jnp.minimum(new_y, _ceiling(star, value, y)), new_y)
        new_y = jnp.clip(jnp.where(prolate, y + 2.0 * shift, new_y), y_0, y_end)
        residual = jnp.abs(new_apo / w_apo - 1.0) + jnp.abs(new_peri / w_peri - 1.0) + jnp.abs(new_y - y)
        return count + 1, new_apo, new_peri, new_y, tuple(slopes), residual

    # Next to the separatrix of the two families of a prolate potential a pericentre is nearly a double root.
    most = jnp.where(prolate, 2 * _STEPS, _STEPS)

    def unfinished(state):
        return (state[0] < most) & (state[-1] > _LAST_STEP)

    one = jnp.ones_like(y)
    state = lax.while_loop(unfinished, step, (0, w_apo, w_peri, y, (one, one, one), one))
    _, w_apo, w_peri, y, slopes, residual = state
    return Ends(w_apo, w_peri, y, lowest, crosses, bend, fall, residual + last, slopes)


def _of_root(value, slope, t) -> Scalar:
    """The slope at t if that is next to a root, else 0."""
    return jnp.where(jnp.abs(value) < _IS_ROOT * jnp.abs(slope) * t, slope, 0.0)


@eqx.filter_custom_jvp
def moving(potential: AbstractPotential, star: Spheroidal, ends: Ends) -> Ends:
    """The ends with their derivatives in potential and star, by the implicit function theorem.

    Actions are stationary in the turning points, but sums over few nodes are not: with ends that move, the
    derivatives of the sums are those of their values. Ends that are limits stay, and those of motions so
    small that sums over fixed nodes are exact.
    """
    return ends


@moving.def_jvp
def _moving(primals, tangents):
    _, _, ends = primals

    def kinetic(potential, star):
        """Each as a sum of one term: `node_sum` stores nothing for the backward pass."""
        of = (radial_kinetic, ends.w_apo), (radial_kinetic, ends.w_peri), (vertical_kinetic, ends.cos2_v)
        return [node_sum(lambda at, _, K=K: K(*at), (potential, star, t), np.ones(1)) for K, t in of]

    changes = eqx.filter_jvp(kinetic, primals[:2], tangents[:2])[1]
    wide = 0.5 * jnp.log(ends.w_peri / ends.w_apo) > _SWINGS
    moves = wide, wide, ends.cos2_v > _RISES
    moved = [
        jnp.where(may & (slope != 0.0), -change / jnp.where(slope == 0.0, 1.0, slope), 0.0)
        for may, slope, change in zip(moves, ends.slopes, changes, strict=True)
    ]
    rest = jax.tree.map(jnp.zeros_like, ends)._replace(crosses=None)
    return ends, rest._replace(w_apo=moved[0], w_peri=moved[1], cos2_v=moved[2])
