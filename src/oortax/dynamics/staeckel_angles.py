"""Angles and frequencies of the Staeckel fudge, in the manner of its actions.

The generating function W(E, I_3, L_z) = int p_u du + int p_lat dlat + L_z phi separates, lat = pi/2 - v, and

    theta_i = dW/dJ_i = sum_a (dI_a/dJ_i) dW/dI_a,   Omega_i = dE/dJ_i,   I_a = (E, I_3, L_z),

with J_r and J_z the parts of W over whole periods. U, V and the focal distance are held fixed, as if the
potential were separable.
"""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from oortax.dynamics.spheroidal import (
    Spheroidal,
    at_label,
    narrowest,
    of_either_sign,
    radial_kinetic,
    radial_label,
    small2,
    vertical_kinetic,
)
from oortax.dynamics.turning import LEAST_SHARE, Ends
from oortax.numerics.implicit import moving_as
from oortax.numerics.trigonometry import sin_cos, wrapped
from oortax.potential.base import AbstractPotential
from oortax.types import Angles, Frequencies, Scalar, Vec3

# Heights in cos(v) that are taken to be at least this.
_NARROW = 1e-5
# psi = t - crowding/2 sin(2t), sin(lat) = largest sin(psi): nodes in t crowd towards the plane.
_CROWDING, _NEWTON = 0.6, 6
_TINY = 1e-30
# So far from an end of the motion a slope that is 0/0 there is taken.
_INSIDE = 1e-4


class _Motion(NamedTuple):
    """What (E, I_3, L_z) move of W: mean rates in t and integrals from t = 0 to the star's t."""

    mean: Float[Array, "3"]
    to_star: Float[Array, "3"]


def angles_frequencies(
    potential: AbstractPotential, star: Spheroidal, ends: Ends, x: Vec3, v: Vec3, n_r: int, n_z: int
) -> tuple[Angles, Frequencies]:
    """theta (0 to 2 pi) and Omega (km/s/kpc) of one star."""
    sign = jnp.where(star.L_z < 0.0, -1.0, 1.0)
    star = star._replace(L_z=jnp.where(star.L_z < 0.0, -star.L_z, star.L_z))
    ends = _moving(potential, star, ends)
    radial = _radial(potential, star, ends, n_r)
    vertical = _vertical(potential, star, ends, x, n_z)
    (a, b, r), (c, d, z) = radial.mean, vertical.mean
    determinant = a * d - b * c
    # Rows: d(E, I_3, L_z)/dJ_r and so on.
    of_J = jnp.stack([
        jnp.stack([d, -c, jnp.zeros_like(d)]) / determinant,
        jnp.stack([-b, a, jnp.zeros_like(a)]) / determinant,
        jnp.stack([(b * z - d * r) / determinant, (c * r - a * z) / determinant, jnp.ones_like(a)]),
    ])  # fmt: skip
    theta = of_J @ (radial.to_star + vertical.to_star)
    turned = jnp.stack([jnp.ones_like(sign), jnp.ones_like(sign), sign])
    # On the axis phi is the direction of motion.
    on_axis = x[0] ** 2 + x[1] ** 2 == 0.0
    phi = jnp.where(on_axis, _direction(v), _direction(jnp.where(on_axis, 1.0, x)))
    theta = turned * theta + jnp.stack([jnp.zeros_like(phi), jnp.zeros_like(phi), phi])
    return theta % (2.0 * np.pi), turned * of_J[:, 0]


def _direction(x: Vec3) -> Scalar:
    still = (x[0] == 0.0) & (x[1] == 0.0)
    return jnp.arctan2(jnp.where(still, 0.0, x[1]), jnp.where(still, 1.0, x[0]))


def _moving(potential, star: Spheroidal, ends: Ends) -> Ends:
    """The ends, with the derivatives of turning points."""
    fixed = lax.stop_gradient((potential, star))

    def follow(kinetic, end, least):
        slope = jax.jvp(lambda y: kinetic(*fixed, y), (end,), (jnp.ones_like(end),))[1]
        slope = jnp.where(jnp.abs(slope) > least, slope, jnp.inf)
        return moving_as(end, -kinetic(potential, star, end) / slope)

    flat = 1e-9 * jnp.abs(ends.bend)
    w_apo, w_peri = (follow(radial_kinetic, w, flat / w) for w in (ends.w_apo, ends.w_peri))
    steep = 1e-9 * jnp.abs(ends.fall)
    cos2_v, lowest = (follow(vertical_kinetic, y, steep) for y in (ends.cos2_v, ends.lowest))
    lowest = jnp.where(ends.lowest > 0.0, lowest, 0.0)
    return ends._replace(w_apo=w_apo, w_peri=w_peri, cos2_v=cos2_v, lowest=lowest)


def _radial(potential, star: Spheroidal, ends: Ends, n: int) -> _Motion:
    """The radial label is middle - half cos(t); rates are smooth in t and even about both ends."""
    low, high = (radial_label(star.Delta2, w) for w in (ends.w_peri, ends.w_apo))
    low = jnp.where(ends.crosses, 0.0, low)
    minus = of_either_sign(star.Delta2)[1]
    middle = 0.5 * (low + high)
    least = narrowest(star.Delta2, middle)
    narrow, half = 0.5 * (high - low) < least, jnp.maximum(0.5 * (high - low), least)
    t = (np.arange(n) + 0.5) * np.pi / n

    def rate(sin, cos):
        """du/(p_u dt) and rho^2 at a node; radial_kinetic is p_u^2/(2 s^2)."""
        w, by_u = at_label(star.Delta2, middle - half * cos)
        square = 2.0 * radial_kinetic(potential, star, w)
        # Between merged ends: the parabola that the motion tends to.
        square = jnp.where(narrow, ends.bend * (half * sin) ** 2, square)
        return half * sin * w / (by_u * jnp.sqrt(jnp.maximum(square, _TINY))), 1.0 / (w * w) + minus

    by_t, rho2 = jax.vmap(rate)(jnp.asarray(np.sin(t)), jnp.asarray(np.cos(t)))
    rates = by_t * jnp.stack([rho2, -jnp.ones_like(rho2), -star.L_z * star.Delta2 / rho2])
    series = rates @ jnp.asarray(_cosines(n, 1).T)
    # The star's t, smooth at the ends: its cosine from s, its sine from p_u.
    label = radial_label(star.Delta2, 1.0 / jnp.sqrt(small2(star)))
    cos = jnp.clip((middle - label) / half, -1.0, 1.0)
    angle = jnp.arccos(lax.stop_gradient(cos))
    k = np.arange(n)
    slowness = -series[1] @ jnp.cos(k * angle)
    # A polynomial in the cosine, whose slope is finite at the ends.
    inside = jnp.clip(angle, _INSIDE, np.pi - _INSIDE)
    slope = -series[1] @ (k * jnp.sin(k * inside) / jnp.sin(inside))
    slowness = slowness + lax.stop_gradient(slope) * (cos - lax.stop_gradient(cos))
    sin = star.p_u * slowness * at_label(star.Delta2, label)[1] / half
    return _Motion(series[:, 0], _integrals(series, 1, _angle(sin, cos)))


def _vertical(potential, star: Spheroidal, ends: Ends, x: Vec3, n: int) -> _Motion:
    """sin(lat) = largest sin(psi(t)); what a sphere's motion between these latitudes has is in closed form.

    That removes the boundary layer at the axis for L_z -> 0. Where the motion does not reach the plane,
    sin^2(lat) goes from its least value to the largest as sin^2(psi), psi above pi where z < 0, and the
    sphere's p^2 is multiplied by 1 - least/sin^2(lat), and by a number that makes it the same at the top.
    """
    largest2 = jnp.maximum(ends.cos2_v, _NARROW**2)
    span, lifted = jnp.maximum(largest2 - ends.lowest, _NARROW**2), ends.lowest > 0.0
    narrow = ends.cos2_v < _NARROW**2
    cosine2 = 1.0 - largest2
    # The sphere whose motion turns there: p^2 = L^2 - L_z^2/cos^2(lat).
    L_z2 = jnp.maximum(star.L_z * star.L_z, _TINY)
    L = jnp.sqrt(L_z2 / cosine2)
    faster = L / jnp.sqrt(jnp.maximum(1.0 - ends.lowest / largest2, LEAST_SHARE))
    turning = faster / L * jnp.sqrt(1.0 - ends.lowest)
    # Not where its motion would be slow beside the star's.
    speed2 = 2.0 * vertical_kinetic(potential, star, jnp.zeros_like(largest2))
    share = lax.stop_gradient(jnp.where(L * L * largest2 > 1e-6 * speed2, 1.0, 0.0))
    t = (np.arange(n) + 0.5) * np.pi / (2 * n)
    psi = t - 0.5 * _CROWDING * np.sin(2.0 * t)

    def rate(sin, cos, by_t):
        y = ends.lowest + span * sin * sin
        square = 2.0 * vertical_kinetic(potential, star, y)
        square = jnp.where(narrow, 2.0 * ends.fall * largest2 * cos * cos, square)
        step = jnp.where(lifted, span * sin / jnp.sqrt(y), jnp.sqrt(span)) * cos * by_t
        # dlat/p_lat, of the star and of the sphere. No time is spent in a barrier between two motions.
        own = jnp.where(square > _TINY, step / jnp.sqrt(jnp.maximum(square, _TINY)), 0.0)
        return own, by_t / faster, 1.0 - y

    columns = (np.sin(psi), np.cos(psi), 1.0 - _CROWDING * np.cos(2.0 * t))
    own, sphere, sine2_v = jax.vmap(rate)(*map(jnp.asarray, columns))
    rest = own - share * sphere
    rates = jnp.stack([star.Delta2 * sine2_v * own, rest, -star.L_z / sine2_v * rest])
    series = rates @ jnp.asarray(_cosines(n, 2).T)

    sin = x[2] / jnp.sqrt(star.polar2) / jnp.sqrt(largest2)
    # cos(2 psi), in which what is even about both ends is smooth.
    cos_2 = jnp.clip(1.0 - 2.0 * (star.cos2_v - ends.lowest) / span, -1.0, 1.0)
    angle = 0.5 * jnp.arccos(lax.stop_gradient(cos_2))

    def slowness_at(series, angle):
        t = _uncrowded(angle)
        return series @ jnp.cos(2.0 * np.arange(n) * t) / (1.0 - _CROWDING * jnp.cos(2.0 * t))

    slowness = slowness_at(series[1], angle) + share / faster
    inside = jnp.clip(angle, _INSIDE, 0.5 * np.pi - _INSIDE)
    slope = jax.jvp(partial(slowness_at, series[1]), (inside,), (jnp.ones_like(inside),))[1]
    slope = lax.stop_gradient(-0.5 * slope / jnp.sin(2.0 * inside))
    slowness = slowness + slope * (cos_2 - lax.stop_gradient(cos_2))
    # cos(psi) from p_lat = -p_v; smooth at the ends.
    cos = -star.p_v * slowness * jnp.sqrt(star.sin2_v / largest2)
    side = jnp.where(x[2] < 0.0, -1.0, 1.0)
    sin_2 = -2.0 * side * star.p_v * slowness * jnp.sqrt(star.sin2_v * star.cos2_v) / span
    above = 0.5 * _angle(sin_2, cos_2)
    psi = jnp.where(lifted, above + jnp.where(side < 0.0, np.pi, 0.0), _angle(sin, cos))
    t_star = moving_as(_uncrowded(lax.stop_gradient(psi)), _crowding_miss(psi))
    # In a sphere: azimuth of the node and angle along the orbit.
    slower = jnp.sqrt(cosine2 / (1.0 - ends.lowest))
    azimuth = psi + wrapped(jnp.arctan2(slower * jnp.sin(psi), jnp.cos(psi)) - psi)
    of_sphere = share * jnp.stack([jnp.zeros_like(psi), psi / faster, -azimuth / turning])
    whole = share * jnp.stack([jnp.zeros_like(psi), 1.0 / faster, -1.0 / turning])
    return _Motion(series[:, 0] + whole, _integrals(series, 2, t_star) + of_sphere)


def _angle(sin, cos):
    """arctan2, 0 to 2 pi, from sine and cosine that need not be normalised."""
    nowhere = (sin == 0.0) & (cos == 0.0)
    return jnp.arctan2(sin, jnp.where(nowhere, 1.0, cos)) % (2.0 * np.pi)


def _uncrowded(psi):
    """t of psi = t - crowding/2 sin(2t)."""

    def step(t, _):
        sin, cos = sin_cos(2.0 * t)
        change = (t - 0.5 * _CROWDING * sin - psi) / (1.0 - _CROWDING * cos)
        return t - jnp.clip(change, -0.3, 0.3), None

    start = psi + 0.5 * _CROWDING * sin_cos(2.0 * psi)[0]
    return lax.scan(step, start, length=_NEWTON)[0]


def _crowding_miss(psi):
    """A step in t that is 0 and has the derivative of t(psi)."""
    fixed = lax.stop_gradient(psi)
    t = _uncrowded(fixed)
    return (psi - fixed) / (1.0 - _CROWDING * jnp.cos(2.0 * t))


@cache
def _cosines(n: int, step: int) -> np.ndarray:
    """Values at the n nodes -> coefficients of cos(step k t)."""
    t = (np.arange(n) + 0.5) * np.pi / (step * n)
    matrix = np.cos(step * np.arange(n)[:, None] * t) * 2.0 / n
    matrix[0] *= 0.5
    return matrix


def _integrals(series: Float[Array, "3 n"], step: int, t: Scalar) -> Float[Array, "3"]:
    """int_0^t of sums of cos(step k t)."""
    k = step * np.arange(1.0, series.shape[1])
    return series[:, 0] * t + series[:, 1:] @ (jnp.sin(k * t) / k)
