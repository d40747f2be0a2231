"""Actions, angles and frequencies in any spherical potential, by quadrature (Binney & Tremaine 2008, 3.5.2).

In u = ln(r) the radial momentum is that of F(u) = (r p_r)^2 = 2 r^2 (E - Phi) - L^2, and

    J_r = (1/pi) int sqrt(F) du,   time = int r^2 du/sqrt(F),   azimuth = L int du/sqrt(F).

With u = middle - half cos(t) between the ends and F = (half sin(t))^2 g, integrands are smooth, even and
periodic in t: the midpoint rule and cosine series converge geometrically, at eccentric orbits too, where r
would need many more nodes than ln(r) does.
"""

from functools import cache
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions, require_float64
from oortax.dynamics.isochrone import OrbitalPlane, angle, orbital_plane, root
from oortax.numerics.implicit import moving_as
from oortax.numerics.node_sum import node_sum
from oortax.numerics.trigonometry import sin_cos
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result
from oortax.types import Scalar, Vec3

# Orbits narrower than this in ln(r) go by a polynomial about the star, of slopes at this distance: F would
# cancel to 1e-16/half^2, and the polynomial is good to half^4.
_NARROW, _APART = 5e-3, 2.5e-3
# The least L, of that of the circular orbit at apocentre. Below it J_r + L/2 no longer changes.
_LEAST_L = 1e-6
# A last Newton step of this leaves its square. Most steps; relative change of 1/r in one.
_LAST_STEP, _STEPS, _FACTOR = 1e-8, 60, 0.1
# Weight of the momentum in the star's t, which its radius alone does not give at the ends.
_BY_MOMENTUM = 0.01
# Largest change of Phi with angle, of r dPhi/dr, in a potential that is called spherical.
_ROUND = 1e-4
_TINY = 1e-290
# Relative rounding of Phi, and a margin.
_ROUNDING = 1e-13
# Turning points that ran out of steps count as converged here: J is stationary in them.
CONVERGED = 1e-5
# ln(r) to which a bound star may go, and the least r, kpc.
FAR, CENTRE = np.log(1e4), 1e-9


class RadialMotion(NamedTuple):
    """Motion in F(u) of one star at ln(r) = u with r p_r = w; Phi is taken along the direction (R, z)/r."""

    potential: AbstractPotential
    E: Scalar
    L: Scalar
    u: Scalar
    w: Scalar
    sine2: Scalar
    cosine2: Scalar

    def F(self, u: Scalar) -> Scalar:
        """(r p_r)^2 at ln(r) = u, (kpc km/s)^2."""
        r2 = jnp.exp(2.0 * u)
        return 2.0 * r2 * (self.E - self._Phi(r2)) - self.L * self.L

    def kinetic(self, y: Scalar) -> Scalar:
        """p_r^2/2 at 1/r^2 = y."""
        return self.E - self._Phi(1.0 / y) - 0.5 * self.L * self.L * y

    def _Phi(self, r2: Scalar) -> Scalar:
        return self.potential.Phi_of_squares(r2 * self.sine2, r2 * self.cosine2)


def bound_motion(motion: RadialMotion) -> tuple[RadialMotion, Int[Array, ""]]:
    """The motion and its code; where it does not return, a motion that does, for what is not used."""
    finite = jnp.isfinite(motion.E + motion.L + motion.u + motion.w)
    u = jnp.maximum(FAR, jnp.where(finite, motion.u, 0.0) + 2.0)
    escapes = ~(motion.kinetic(jnp.exp(-2.0 * u)) < 0.0)
    code = jnp.where(finite, jnp.where(escapes, Result.UNBOUND, Result.OK), Result.NONFINITE)
    rest = (motion._Phi(jnp.ones_like(u)), *(jnp.zeros_like(u),) * 3)
    own = (motion.E, motion.L, motion.u, motion.w)
    E, L, u, w = (jnp.where(code == Result.OK, a, b) for a, b in zip(own, rest, strict=True))
    return motion._replace(E=E, L=L, u=u, w=w), code


class Ends(NamedTuple):
    """ln(r) at pericentre and apocentre, less that of the star; g of narrow orbits as a polynomial in it.

    `residual` is the size of the last Newton steps in ln(r); `narrow` whether the polynomial is used.
    """

    low: Scalar
    high: Scalar
    g: Float[Array, "4"]
    narrow: Scalar
    residual: Scalar

    @property
    def middle(self) -> Scalar:
        return 0.5 * (self.high + self.low)

    @property
    def half(self) -> Scalar:
        return jnp.maximum(0.5 * (self.high - self.low), _TINY)


def value_slope(f, t):
    return jax.jvp(f, (t,), (jnp.ones_like(t),))


def _slope(f, t):
    return value_slope(f, t)[1]


def _expansion(motion: RadialMotion) -> Float[Array, "6"]:
    """Coefficients of F about the star, to the fifth power: from slopes at five points."""
    away = _APART * jnp.arange(-2.0, 3.0)
    below2, below, here, above, above2 = lax.map(lambda s: _slope(motion.F, motion.u + s), away)
    first, second = above - below, above2 - below2
    d2 = (8.0 * first - second) / (12.0 * _APART)
    d3 = (16.0 * (above + below) - (above2 + below2) - 30.0 * here) / (12.0 * _APART**2)
    d4 = (second - 2.0 * first) / (2.0 * _APART**3)
    d5 = (above2 + below2 - 4.0 * (above + below) + 6.0 * here) / _APART**4
    w = motion.w
    return jnp.stack([w * w, here, 0.5 * d2, d3 / 6.0, d4 / 24.0, d5 / 120.0])


def _deflated(c: Float[Array, "6"], low: Scalar, high: Scalar) -> Float[Array, "4"]:
    """Coefficients of g = F/[(s - low)(high - s)]: the remainder, which is 0 at roots, is left out."""
    once = [c[5]]
    for k in (4, 3, 2, 1):
        once.append(c[k] + low * once[-1])
    twice = [once[0]]
    for coefficient in once[1:4]:
        twice.append(coefficient + high * twice[-1])
    return -jnp.stack(twice[::-1])


def _narrow_ends(c: Float[Array, "6"]) -> tuple[Scalar, Scalar, Bool[Array, ""]]:
    """Roots of the polynomial on both sides of the star, and whether those of its parabola are near."""
    bend = jnp.where(c[2] < 0.0, c[2], -1.0)
    discriminant = root(c[1] * c[1] - 4.0 * c[0] * bend)
    # Both in the form that does not cancel.
    far = -0.5 * (c[1] + jnp.where(c[1] < 0.0, -1.0, 1.0) * discriminant)
    one, other = far / bend, c[0] / jnp.where(far == 0.0, 1.0, far)
    ends = jnp.stack([jnp.minimum(one, other), jnp.maximum(one, other)])
    narrow = (c[2] < 0.0) & (ends[1] - ends[0] < 2.0 * _NARROW)
    for _ in range(2):
        value = c[0] + ends * (c[1] + ends * (c[2] + ends * (c[3] + ends * (c[4] + ends * c[5]))))
        slope = c[1] + ends * (2.0 * c[2] + ends * (3.0 * c[3] + ends * (4.0 * c[4] + ends * 5.0 * c[5])))
        ends = ends - jnp.where(slope == 0.0, 0.0, value / jnp.where(slope == 0.0, 1.0, slope))
    return jnp.minimum(ends[0], 0.0), jnp.maximum(ends[1], 0.0), narrow


def iterate(change, start: Scalar, frozen) -> tuple[Scalar, Scalar]:
    """Iterate `change` until the last of a batch has converged: where it ended, and its last step."""

    def step(state):
        count, y, _ = state
        new = change(y)
        return count + 1, new, jnp.where(frozen, 0.0, jnp.abs(new / y - 1.0))

    def unfinished(state):
        return (state[0] < _STEPS) & (state[-1] > _LAST_STEP)

    _, y, residual = lax.while_loop(unfinished, step, (0, start, jnp.ones_like(start)))
    return y, residual


def _apocentre(motion: RadialMotion, frozen) -> tuple[Scalar, Scalar]:
    """1/r there and the last step: p_r^2 is concave in 1/r, so that Newton's method comes from outside."""
    start = jnp.exp(-motion.u)

    def change(q):
        value, slope = value_slope(lambda q: motion.kinetic(q * q), q)
        # From inside the circular radius the way is long.
        new = jnp.where(slope > 0.0, q - value / jnp.where(slope > 0.0, slope, 1.0), 0.0)
        return jnp.clip(new, _FACTOR * q, start)

    return iterate(change, start, frozen)


def _pericentre(motion: RadialMotion, y_apo: Scalar, frozen) -> tuple[Scalar, Scalar]:
    """1/r^2 there, in which p_r^2 is concave, too; from inside, where L alone would turn the star."""

    def barrier(y, value):
        """L^2 y = 2 (E - Phi) at fixed Phi: it does not lead past the end."""
        return y + 2.0 * value / motion.L**2

    def change(y):
        value, slope = value_slope(motion.kinetic, y)
        falls = slope < 0.0
        new = jnp.where(falls, y - value / jnp.where(falls, slope, -1.0), y / _FACTOR)
        new = jnp.where(value > 0.0, jnp.maximum(new, barrier(y, value)), new)
        return jnp.clip(new, jnp.maximum(_FACTOR**3 * y, y_apo), y / _FACTOR**3)

    start = jnp.maximum(jnp.exp(-2.0 * motion.u), y_apo)
    return iterate(change, jnp.maximum(barrier(start, motion.kinetic(start)), start), frozen)


def radial_ends(motion: RadialMotion) -> tuple[RadialMotion, Ends]:
    """Turning points, held fixed; and the motion with an L that is at least `_LEAST_L`."""
    motion = lax.stop_gradient(motion)
    c = _expansion(motion)
    low, high, narrow = _narrow_ends(c)
    # Rest at the centre of a core: F changes by less than Phi's rounding, and only the polynomial tells how.
    lost = motion.w**2 + jnp.abs(c[1]) < _ROUNDING * jnp.exp(2.0 * motion.u) * jnp.abs(motion.E)
    low, high, narrow = jnp.maximum(low, -1.0), jnp.minimum(high, 1.0), narrow | lost
    q_apo, last_apo = _apocentre(motion, narrow)
    y_apo = q_apo * q_apo
    r2 = 1.0 / y_apo
    circular2 = 2.0 * r2 * r2 * _slope(motion._Phi, r2)
    motion = motion._replace(L=jnp.maximum(motion.L, _LEAST_L * root(circular2)))
    y_peri, last_peri = _pericentre(motion, y_apo, narrow)
    low = jnp.where(narrow, low, -0.5 * jnp.log(y_peri) - motion.u)
    high = jnp.where(narrow, high, -0.5 * jnp.log(y_apo) - motion.u)
    return motion, Ends(low, high, _deflated(c, low, high), narrow, last_apo + last_peri)


def _g(motion: RadialMotion, ends: Ends, sin, cos) -> tuple[Scalar, Scalar]:
    """ln(r) and g at a node."""
    s = ends.middle - ends.half * cos
    c = ends.g
    near = c[0] + s * (c[1] + s * (c[2] + s * c[3]))
    far = motion.F(motion.u + s) / jnp.where(ends.narrow, 1.0, ends.half * sin) ** 2
    return motion.u + s, jnp.maximum(jnp.where(ends.narrow, near, far), _TINY)


def radial_action(motion: RadialMotion, fixed: RadialMotion, ends: Ends, n: int) -> Scalar:
    """J_r by the midpoint rule in t; `fixed` and `ends` come from `radial_ends(motion)`.

    First derivatives are (1/2 pi) int dF/sqrt(F) du: sqrt(F) vanishes at the ends, which need not move.
    """
    t = (np.arange(n) + 0.5) * np.pi / n

    def own(arguments, sin, cos):
        motion, ends = arguments
        return sin * sin * jnp.sqrt(_g(motion, ends, sin, cos)[1])

    def change(arguments, sin, cos):
        motion, fixed, ends = arguments
        u, g = _g(fixed, ends, sin, cos)
        return 0.5 * motion.F(u) / jnp.sqrt(g)

    columns = np.sin(t), np.cos(t)
    value = ends.half**2 / n * node_sum(own, (fixed, ends), *columns)
    # Where L is held at its least, J_r + L/2 keeps its value.
    held = jnp.where(motion.L < fixed.L, fixed.L, motion.L)
    value = value + 0.5 * lax.stop_gradient(held - motion.L)
    change_ = node_sum(change, (motion._replace(L=held), fixed, ends), *columns) / n
    return moving_as(value, change_ + 0.5 * (held - motion.L))


class RadialAngles(NamedTuple):
    """Omega_r and Omega_L = dH/dL (km/s/kpc), theta_r, and Omega_L times the time since pericentre less the
    azimuth since then."""

    Omega_r: Scalar
    Omega_L: Scalar
    theta_r: Scalar
    ahead: Scalar


def radial_angles(motion: RadialMotion, fixed: RadialMotion, ends: Ends, n: int) -> RadialAngles:
    """Angles and frequencies of the radial motion, from n nodes; ends move with what they depend on."""
    motion = motion._replace(L=jnp.where(motion.L < fixed.L, fixed.L, motion.L))
    ends = _moving(motion, fixed, ends)
    t = (np.arange(n) + 0.5) * np.pi / n

    def rate(sin, cos):
        u, g = _g(motion, ends, sin, cos)
        slowness = 1.0 / jnp.sqrt(g)
        return jnp.stack([jnp.exp(2.0 * u) * slowness, slowness])

    rates = jax.vmap(rate, out_axes=1)(jnp.asarray(np.sin(t)), jnp.asarray(np.cos(t)))
    series = rates @ jnp.asarray(cosines(n).T)
    t = _phase(motion, ends, series[1])
    k = np.arange(1.0, n)
    time, azimuth = series[:, 0] * t + series[:, 1:] @ (sin_cos(k * t)[0] / k)
    Omega_r = 1.0 / series[0, 0]
    Omega_L = motion.L * series[1, 0] * Omega_r
    return RadialAngles(Omega_r, Omega_L, Omega_r * time, Omega_L * time - motion.L * azimuth)


def _phase(motion: RadialMotion, ends: Ends, slowness: Float[Array, " n"]) -> Scalar:
    """The star's t (-pi to pi): near the ends its sine is known from p_r, elsewhere its cosine from r."""
    k = np.arange(1.0, len(slowness))
    cos = jnp.clip(ends.middle / ends.half, -1.0, 1.0)
    sines, waves = sin_cos(k * jnp.arccos(lax.stop_gradient(cos)))
    slow = slowness[0] + slowness[1:] @ waves
    sin = motion.w * slow / ends.half
    sign = jnp.where(lax.stop_gradient(sin) < 0.0, -1.0, 1.0)
    return phase(sin, cos, _BY_MOMENTUM, 1.0, -((slowness[1:] * k) @ sines) / slow * sign, 0.0)


def phase(sin, cos, by_sin, by_cos, bent_sin, bent_cos) -> Scalar:
    """t of a sine and a cosine that depend on t themselves, their logarithms with the slopes `bent`.

    Its derivative is taken from both, with the given weights: whatever t is, one of them determines it.
    """
    t = angle(*lax.stop_gradient((sin, cos)))
    s, c = sin_cos(t)
    a, b = by_sin * c, by_cos * s
    rate = a * (c - s * bent_sin) + b * (s + c * bent_cos)
    return moving_as(
        t, lax.stop_gradient(1.0 / rate) * (lax.stop_gradient(a) * sin - lax.stop_gradient(b) * cos)
    )


def _moving(motion: RadialMotion, fixed: RadialMotion, ends: Ends) -> Ends:
    """The ends, with the derivatives of turning points: none where they have merged."""

    def follow(end, side):
        at = fixed.u + end
        slope = _slope(fixed.F, at)
        resolved = side * slope > 1e-9 * fixed.L**2
        return moving_as(end, -motion.F(at) / jnp.where(resolved, slope, jnp.inf) - motion.u)

    ends = ends._replace(low=follow(ends.low, 1.0), high=follow(ends.high, -1.0))
    return ends._replace(g=_deflated(_expansion(motion), ends.low, ends.high))


@cache
def cosines(n: int) -> np.ndarray:
    """Values at n nodes (i + 1/2) pi/n of an angle -> coefficients of the cosines of its multiples."""
    matrix = np.cos(np.arange(n)[:, None] * (np.arange(n) + 0.5) * np.pi / n) * 2.0 / n
    matrix[0] *= 0.5
    return matrix


@final
class SphericalFinder(AbstractActionFinder):
    """Actions, angles and frequencies in any spherical potential.

    Parameters
    ----------
    potential : AbstractPotential
        Spherical: raises ValueError if Phi is seen to change with direction; traced values are not looked at.
    n : int
        Nodes of the quadratures, at least 8.

    Notes
    -----
    Against `IsochroneFinder`, over random orbits of any size and shape with L > 1e-4 L_c and the default n: J
    to 1e-12 of J_r + L, angles and frequencies to 1e-13 in the median and 2e-8 at worst, by rounding where
    E - Phi cancels. Smaller L want more nodes (J is right to 1e-9, angles to 1e-4 at worst), and below
    1e-6 L_c angles and frequencies are those of that L. First derivatives in x, v and the potential's
    parameters are as good; on exactly circular orbits those of angles and frequencies leave out that the ends
    move, and J_z has a cusp at L_z = 0. Stars that pass 10 Mpc count as unbound. Needs float64.

    >>> from oortax import potential
    >>> finder = SphericalFinder(potential.NFW(rho_s=1e7, r_s=16.0))
    >>> x, v = jnp.array([8.0, 0.0, 1.0]), jnp.array([30.0, 100.0, 15.0])
    >>> finder.actions(x, v).round(3)
    Array([ 56.847,  11.234, 800.   ], dtype=float64)
    """

    potential: AbstractPotential
    n: int = eqx.field(static=True)

    def __init__(self, potential: AbstractPotential, *, n: int = 48):
        if n < 8:
            raise ValueError(f"SphericalFinder needs n >= 8, got {n}")
        require_float64("SphericalFinder", *jax.tree.leaves(eqx.filter(potential, eqx.is_array)))
        self.potential = expand(potential)
        _require_round(self.potential)
        self.n = n

    def actions_and_code(self, x: Vec3, v: Vec3) -> StarActions:
        """Actions with the residual of the turning points and a `Result` code."""
        return self._found(x, v)[0]

    def actions_angles_frequencies(self, x: Vec3, v: Vec3) -> ActionAngles:
        """The same with angles and frequencies."""
        found, plane, motion, fixed, ends = self._found(x, v)
        at = radial_angles(motion, fixed, ends, self.n)
        theta = plane.angles(at.theta_r, at.ahead)
        Omega = plane.frequencies(at.Omega_r, at.Omega_L)
        good = found.code == Result.OK
        return ActionAngles(
            found.J, jnp.where(good, theta, jnp.nan), jnp.where(good, Omega, jnp.nan), *found[1:]
        )

    def _found(self, x: Vec3, v: Vec3) -> tuple[StarActions, OrbitalPlane, RadialMotion, RadialMotion, Ends]:
        require_float64("SphericalFinder", x, v)
        plane = orbital_plane(x, v)
        R2, z2 = x[0] * x[0] + x[1] * x[1], x[2] * x[2]
        at_centre = R2 + z2 < CENTRE**2
        R2, z2 = jnp.where(at_centre, CENTRE**2, R2), jnp.where(at_centre, 0.0, z2)
        E = 0.5 * (v @ v) + self.potential.Phi_of_squares(R2, z2)
        r2 = R2 + z2
        sine2 = lax.stop_gradient(R2 / r2)
        motion = RadialMotion(self.potential, E, plane.L, 0.5 * jnp.log(r2), x @ v, sine2, 1.0 - sine2)
        motion, code = bound_motion(motion)
        fixed, ends = radial_ends(motion)
        J_r = radial_action(motion, fixed, ends, self.n)
        code = jnp.where((code == Result.OK) & ~(ends.residual < CONVERGED), Result.NOT_CONVERGED, code)
        J = jnp.where(code == Result.OK, jnp.stack([J_r, plane.J_z, plane.L_z]), jnp.nan)
        return StarActions(J, ends.residual, code), plane, motion, fixed, ends


def _require_round(potential: AbstractPotential) -> None:
    """Raise ValueError if Phi changes with direction between 0.1 and 100 kpc, and its values are known."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(potential)):
        return

    def change(log_r):
        def Phi(log_r, cosine2):
            r2 = jnp.exp(2.0 * log_r)
            return potential.Phi_of_squares(r2 * (1.0 - cosine2), r2 * cosine2)

        around = jax.vmap(Phi, (None, 0))(log_r, jnp.array([0.0, 0.3, 0.7, 1.0]))
        return (jnp.max(around) - jnp.min(around)) / jnp.abs(jax.grad(Phi)(log_r, 0.0))

    with jax.ensure_compile_time_eval():
        largest = float(jnp.max(jax.vmap(change)(jnp.log(jnp.array([0.1, 1.0, 10.0, 100.0])))))
    if not largest < _ROUND:
        raise ValueError(
            "SphericalFinder needs a spherical potential; this one changes with direction by "
            f"{largest:.1g} of r dPhi/dr: use StaeckelFudge"
        )
