"""Oort's and Lindblad's integrals, and the adiabatic actions that follow from them.

Motion along the plane and across it are taken to be separate (Dehnen & Binney 1996, eqs. 1-2, after Oort 1932
and Lindblad 1933):

    E_z = v_z^2/2 + Phi(R, z) - Phi(R, 0),   E_R = v_R^2/2 + Phi(R, 0) + L_z^2/(2 R^2) - E_c(L_z).
"""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int

from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions, require_float64
from oortax.dynamics.isochrone import angle, magnitude
from oortax.dynamics.jet import IN_PLANE
from oortax.dynamics.spherical import (
    CENTRE,
    CONVERGED,
    FAR,
    Ends,
    RadialMotion,
    bound_motion,
    cosines,
    iterate,
    phase,
    radial_action,
    radial_angles,
    radial_ends,
    value_slope,
)
from oortax.numerics.implicit import moving_as
from oortax.numerics.node_sum import node_sum
from oortax.numerics.trigonometry import sin_cos
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result
from oortax.types import Scalar, Vec3

# Vertical motions lower than this share of R^2 (in z^2) go by the slope of Phi: differences would cancel.
_NARROW = 1e-7
# The height over which the force saturates is taken to be at least this share of the largest height.
_THIN = 1e-3
# The least L_z for which a circular orbit is sought, of that of the one at the star's R; the farthest step in
# ln(1/R^2). In bulges like r^0.2 the orbit's energy falls slowly with L_z.
_LEAST_L, _STEP = 1e-20, 20.0
# The weight of v_z in the phase, which z determines but at the top.
_BY_MOMENTUM = 0.01
# Takes the place of z^2 = 0, kpc^2.
_TINY = 1e-60


class Integrals(NamedTuple):
    """E_R and E_z in (km/s)^2, L_z in kpc km/s."""

    E_R: Scalar
    E_z: Scalar
    L_z: Scalar


class _Vertical(NamedTuple):
    """Motion across the plane at fixed R; `floor` is Phi(R, 0)."""

    potential: AbstractPotential
    R2: Scalar
    floor: Scalar
    E_z: Scalar

    def rise(self, q: Scalar) -> Scalar:
        """Phi(R, z) - Phi(R, 0) at z^2 = q."""
        return self.potential.Phi_of_squares(self.R2, q) - self.floor

    def slope(self, q: Scalar) -> Scalar:
        """Its derivative, off the plane by as much as potentials need."""
        return value_slope(self.rise, jnp.maximum(q, IN_PLANE**2 * self.R2 + _TINY))[1]


class _Top(NamedTuple):
    """The turning point: z^2 there, the height over which nodes crowd, slopes of Phi below and there."""

    q: Scalar
    scale: Scalar
    low: Scalar
    high: Scalar
    narrow: Bool[Array, ""]
    residual: Scalar


@final
class OortLindblad(AbstractActionFinder):
    """Adiabatic actions of separate motions along the plane and across it, and the classical integrals.

    Parameters
    ----------
    potential : AbstractPotential
    gamma : scalar
        J_z = (1/2 pi) oint p_z dz at the star's own R; J_r is that of the plane's motion in
        Phi(R, 0) + (|L_z| + gamma J_z)^2/(2 R^2), which allows for the energy that the vertical motion takes
        and gives back (Binney 2010, MNRAS 401, 2318: gamma = 1). With gamma = 0 neither knows of the other.
    n_r, n_z : int
        Nodes of the two quadratures.

    Notes
    -----
    Right for stars that stay near the plane. The velocity ellipsoid of any f(J) is aligned with the R- and
    z-axes, whatever the potential: where that matters, use `StaeckelFudge` or tori. Exact, with gamma = 0, in
    a potential f(R) + g(z). In mw_potential_2014 J_r and J_z vary along an orbit by 1e-2 (thin disc), 5e-2
    (thick disc) and more (halo) of J_r + J_z. Angles and frequencies are those of the two motions by
    themselves: Omega_z is the vertical frequency at the star's R and varies along the orbit. Quadratures
    are right to 1e-8 and better. Stars with J_z > 0 that come to the axis have no J_r for gamma > 0: the
    code is UNBOUND. Differentiable once in x, v and the potential's parameters. Needs float64.

    >>> from oortax import potential
    >>> finder = OortLindblad(potential.mw_potential_2014())
    >>> x, v = jnp.array([8.0, 0.0, 0.1]), jnp.array([30.0, 210.0, 15.0])
    >>> finder.actions(x, v).round(1)
    Array([  14.4,    2. , 1680. ], dtype=float64)
    """

    potential: AbstractPotential
    gamma: Scalar
    n_r: int = eqx.field(static=True)
    n_z: int = eqx.field(static=True)

    def __init__(self, potential: AbstractPotential, *, gamma=1.0, n_r: int = 24, n_z: int = 16):
        if n_r < 8 or n_z < 8:
            raise ValueError(f"OortLindblad needs n_r >= 8 and n_z >= 8, got {n_r} and {n_z}")
        require_float64("OortLindblad", *jax.tree.leaves(eqx.filter(potential, eqx.is_array)))
        self.potential = expand(potential)
        self.gamma = jnp.asarray(gamma, float)
        self.n_r = n_r
        self.n_z = n_z

    def integrals(self, x: Vec3, v: Vec3) -> Integrals:
        """E_R, E_z and L_z of any point, bound or not.

        E_R >= 0 vanishes for circular motion along the plane, E_z >= 0 for stars that stay in it.

        >>> from oortax import potential
        >>> finder = OortLindblad(potential.mw_potential_2014())
        >>> found = finder.integrals(jnp.array([8.0, 0.0, 0.1]), jnp.array([30.0, 210.0, 15.0]))
        >>> [round(float(part), 1) for part in found]
        [563.1, 139.8, 1680.0]
        """
        require_float64("OortLindblad", x, v)
        vertical = self._vertical(x, v)
        L_z = x[0] * v[1] - x[1] * v[0]
        E = 0.5 * (v[0] * v[0] + v[1] * v[1]) + vertical.floor
        return Integrals(E - circular_energy(self.potential, L_z, vertical.R2), vertical.E_z, L_z)

    def actions_and_code(self, x: Vec3, v: Vec3) -> StarActions:
        """Actions with the residual of the turning points and a `Result` code."""
        return self._found(x, v)[0]

    def actions_angles_frequencies(self, x: Vec3, v: Vec3) -> ActionAngles:
        """The same with the angles and frequencies of the two motions."""
        found, vertical, top, motion, fixed, ends = self._found(x, v)
        theta_z, Omega_z = _vertical_angle(vertical, top, x[2], v[2], self.n_z)
        along = radial_angles(motion, fixed, ends, self.n_r)
        sign = jnp.where(found.J[2] < 0.0, -1.0, 1.0)
        # On the axis phi is the direction of motion.
        on_axis = x[0] ** 2 + x[1] ** 2 == 0.0
        phi = angle(jnp.where(on_axis, v[1], x[1]), jnp.where(on_axis, v[0], x[0]))
        theta = jnp.stack([along.theta_r, theta_z, phi + sign * along.ahead]) % (2.0 * np.pi)
        Omega = jnp.stack([along.Omega_r, Omega_z, sign * along.Omega_L])
        good = found.code == Result.OK
        return ActionAngles(
            found.J, jnp.where(good, theta, jnp.nan), jnp.where(good, Omega, jnp.nan), *found[1:]
        )

    def _vertical(self, x: Vec3, v: Vec3) -> _Vertical:
        R2 = jnp.maximum(x[0] * x[0] + x[1] * x[1], CENTRE**2)
        floor = self.potential.Phi_of_squares(R2, 0.0 * R2)
        motion = _Vertical(self.potential, R2, floor, 0.5 * v[2] * v[2])
        q = x[2] * x[2]
        narrow = q < _NARROW * motion.R2
        near = q * motion.slope(0.5 * q)
        rise = jnp.where(narrow, near, motion.rise(q))
        return motion._replace(E_z=motion.E_z + rise)

    def _found(
        self, x: Vec3, v: Vec3
    ) -> tuple[StarActions, _Vertical, _Top, RadialMotion, RadialMotion, Ends]:
        require_float64("OortLindblad", x, v)
        vertical, code_z = _returning(self._vertical(x, v))
        top = _top(vertical, jnp.where(code_z == Result.OK, x[2] * x[2], 0.0))
        J_z = _vertical_action(vertical, top, self.n_z)

        R2 = vertical.R2
        L_z = x[0] * v[1] - x[1] * v[0]
        barrier = magnitude(L_z) + self.gamma * J_z
        lent = self.gamma * J_z * (2.0 * magnitude(L_z) + self.gamma * J_z)
        speed2 = v[0] * v[0] + v[1] * v[1] + lent / R2
        E = 0.5 * speed2 + vertical.floor
        one = jnp.ones_like(R2)
        w = x[0] * v[0] + x[1] * v[1]
        motion = RadialMotion(self.potential, E, barrier, 0.5 * jnp.log(R2), w, one, 0.0 * one)
        motion, code_r = bound_motion(motion)
        fixed, ends = radial_ends(motion)
        J_r = radial_action(motion, fixed, ends, self.n_r)

        residual = ends.residual + top.residual
        converged = jnp.where(residual < CONVERGED, Result.OK, Result.NOT_CONVERGED)
        code = jnp.where(code_z == Result.OK, jnp.where(code_r == Result.OK, converged, code_r), code_z)
        J = jnp.where(code == Result.OK, jnp.stack([J_r, J_z, L_z]), jnp.nan)
        return StarActions(J, residual, code), vertical, top, motion, fixed, ends


def circular_energy(potential: AbstractPotential, L_z: Scalar, R2: Scalar) -> Scalar:
    """E_c(L_z), the energy of the circular orbit in the plane, sought from R^2: the least Phi_eff.

    Its derivatives need no motion of the radius, at which Phi_eff is stationary.
    """
    L2 = L_z * L_z

    def Phi(R2):
        return potential.Phi_of_squares(R2, 0.0 * R2)

    def excess(log_y):
        """ln of R^3 dPhi/dR at y = 1/R^2, less that of L^2."""
        R2 = jnp.exp(-log_y)
        return jnp.log(2.0 * R2 * R2 * value_slope(Phi, R2)[1] / least)

    start = jnp.maximum(R2, CENTRE**2)
    circular2 = 2.0 * start * start * value_slope(Phi, start)[1]
    least = lax.stop_gradient(jnp.maximum(L2, _LEAST_L**2 * circular2))

    def change(y):
        value, slope = value_slope(excess, jnp.log(y))
        return y * jnp.exp(jnp.clip(value / jnp.maximum(-slope, 0.1), -_STEP, _STEP))

    y, _ = iterate(change, lax.stop_gradient(1.0 / start), False)
    y = lax.stop_gradient(y)
    return Phi(1.0 / y) + 0.5 * L2 * y


def _returning(motion: _Vertical) -> tuple[_Vertical, Int[Array, ""]]:
    """The motion and its code; where it does not return, one that stays in the plane."""
    finite = jnp.isfinite(motion.E_z + motion.R2)
    far = jnp.maximum(jnp.exp(2.0 * FAR), 100.0 * jnp.where(finite, motion.R2, 0.0))
    escapes = motion.E_z > motion.rise(far)
    code = jnp.where(finite, jnp.where(escapes, Result.UNBOUND, Result.OK), Result.NONFINITE)
    good = code == Result.OK
    R2, floor, E_z = (jnp.where(good, a, b) for a, b in zip(motion[1:], (1.0, 0.0, 0.0), strict=True))
    return _Vertical(motion.potential, R2, floor, E_z), code


def _top(motion: _Vertical, q_star: Scalar) -> _Top:
    """The turning point, held fixed: Phi is concave in z^2, and beyond a disc nearly linear in |z|."""
    motion, q_star = lax.stop_gradient((motion, q_star))
    in_plane = motion.slope(0.0 * q_star)
    # By the slope in the plane: never too far.
    start = jnp.maximum(jnp.maximum(q_star, motion.E_z / in_plane), _TINY)
    narrow = start < _NARROW * motion.R2

    def change(q):
        rise, slope = value_slope(motion.rise, q)
        step = (motion.E_z - rise) / slope
        # From below, in |z|.
        along = jnp.where(step > 0.0, 0.25 * step * step / q, 0.0)
        return jnp.clip(q + step + along, jnp.maximum(0.1 * q, q_star), 16.0 * q)

    q, residual = iterate(change, start, narrow)
    q = jnp.where(narrow, jnp.maximum(motion.E_z / motion.slope(0.5 * start), _TINY), q)
    high = motion.slope(q)
    scale = jnp.sqrt(q) * jnp.clip(high / in_plane, _THIN, 1.0)
    return _Top(q, scale, in_plane, high, narrow, residual)


def _at(motion: _Vertical, top: _Top, sin, cos) -> tuple[Scalar, Scalar, Scalar]:
    """q = z^2, dz/d(sin t)/sqrt(q_max) and (p_z/cos(t))^2/q_max at a node, z = scale sinh(sin(t) Y)."""
    Y = jnp.arcsinh(jnp.sqrt(top.q) / top.scale)
    growth = jnp.exp(Y * sin)
    q = (top.scale * 0.5 * (growth - 1.0 / growth)) ** 2
    by_sin = top.scale * Y * 0.5 * (growth + 1.0 / growth) / jnp.sqrt(top.q)
    # A narrow motion's slope is linear between its ends.
    share = q / top.q
    near = 2.0 * (top.low + 0.5 * (top.high - top.low) * (1.0 + share)) * (1.0 - share)
    h = jnp.where(top.narrow, near, 2.0 * (motion.E_z - motion.rise(q)) / top.q) / (cos * cos)
    return q, by_sin, jnp.maximum(h, _TINY)


def _vertical_action(motion: _Vertical, top: _Top, n: int) -> Scalar:
    """J_z = (2/pi) int_0^max p_z dz by the midpoint rule in t; first derivatives as in `radial_action`."""
    t = (np.arange(n) + 0.5) * np.pi / (2 * n)

    def own(arguments, sin, cos):
        fixed, top = arguments
        _, by_sin, h = _at(fixed, top, sin, cos)
        return by_sin * cos * cos * jnp.sqrt(h)

    def change(arguments, sin, cos):
        motion, fixed, top = arguments
        q, by_sin, h = _at(fixed, top, sin, cos)
        return by_sin / jnp.sqrt(h) * (motion.E_z - motion.rise(q))

    columns = np.sin(t), np.cos(t)
    fixed = lax.stop_gradient(motion)
    value = top.q / n * node_sum(own, (fixed, top), *columns)
    return moving_as(value, node_sum(change, (motion, fixed, top), *columns) / n)


def _vertical_angle(motion: _Vertical, top: _Top, z: Scalar, v_z: Scalar, n: int) -> tuple[Scalar, Scalar]:
    """theta_z and Omega_z; the turning point moves with what it depends on."""
    slope = jnp.where((top.q > _TINY) & (top.high > 0.0), top.high, jnp.inf)
    q = moving_as(top.q, (motion.E_z - motion.rise(top.q)) / slope)
    top = top._replace(q=q, low=motion.slope(0.0 * q), high=motion.slope(q))
    t = (np.arange(n) + 0.5) * np.pi / (2 * n)

    def rate(sin, cos):
        _, by_sin, h = _at(motion, top, sin, cos)
        return by_sin / jnp.sqrt(h)

    rates = jax.vmap(rate)(jnp.asarray(np.sin(t)), jnp.asarray(np.cos(t)))
    series = rates @ jnp.asarray(cosines(n).T)
    k = 2.0 * np.arange(1.0, n)
    Y = jnp.arcsinh(jnp.sqrt(q) / top.scale)
    sin = jnp.arcsinh(z / top.scale) / Y
    fixed = jnp.arcsin(jnp.clip(lax.stop_gradient(sin), -1.0, 1.0))
    sines, waves = sin_cos(k * fixed)
    # cos(t) from v_z; dz/d(sin t) = scale Y cosh(Y sin t).
    slow = series[0] + series[1:] @ waves
    cos = v_z * slow / (Y * jnp.hypot(top.scale, z))
    bent = -((series[1:] * k) @ sines) / slow
    t = phase(sin, cos, 1.0, _BY_MOMENTUM, 0.0, bent * jnp.where(lax.stop_gradient(cos) < 0.0, -1.0, 1.0))
    return t + series[1:] @ (sin_cos(k * t)[0] / k) / series[0], 1.0 / series[0]
