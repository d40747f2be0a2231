"""The Staeckel fudge: actions of any bound point, as if Phi separated in spheroidal coordinates."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions, require_float64
from oortax.dynamics.delta import FixedFocalDistance, FocalDistance, focal_distance
from oortax.dynamics.spheroidal import (
    Spheroidal,
    at_label,
    narrowest,
    radial_kinetic,
    radial_label,
    spheroidal,
    vertical_kinetic,
)
from oortax.dynamics.staeckel_angles import angles_frequencies
from oortax.dynamics.turning import LEAST_SHARE, TOLERANCE, Ends, moving, turning_points
from oortax.numerics.batching import kept, recomputed
from oortax.numerics.node_sum import node_sum
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result
from oortax.types import Scalar, Vec3

# Below this height in cos(v) the motion is a harmonic oscillator's.
_NARROW = 1e-5
# At L^2 below this share of the vertical motion's own, no boundary layer at the axis needs subtracting.
_SLOW = 1e-3
_NEVER = 1e10
# How strongly the nodes in v crowd towards the plane, where discs bend the potential.
_CROWDING = 0.6


def _sqrt_between_roots(square, model, narrow):
    """sqrt(square), with the right first derivatives when its two roots have merged.

    `model` is the parabola that `square` tends to; there the root is linearised about it, which makes the
    midpoint rule exact in value and first derivative.
    """
    ordinary = ~narrow & (square > 0.0)
    root = jnp.where(ordinary, jnp.sqrt(jnp.where(ordinary, square, 1.0)), 0.0)
    base = jnp.sqrt(jnp.where(narrow, model, 1.0))
    return jnp.where(narrow, base + 0.5 * (square - model) / base, root)


def radial_action(potential: AbstractPotential, star: Spheroidal, ends: Ends, n: int) -> Scalar:
    """J_r = (1/pi) int p_u du by the midpoint rule in t, ln(s) = mid + half cos(t).

    The rule is spectrally accurate for p_u and also for dp_u/dalpha ~ 1/p_u; a Gauss rule with the root in
    its weight is not.

    For Delta^2 < 0 it is u^2 = mid + half cos(t), s = sqrt(-Delta^2) sinh(u): orbits that cross the disc
    within the focal ring have no pericentre, u starts from 0, p_u is even in it, and the nodes are the same
    on both sides of the separatrix.
    """
    high, low = (radial_label(star.Delta2, w) for w in (ends.w_apo, ends.w_peri))
    low = jnp.where(ends.crosses, 0.0, low)
    middle = 0.5 * (high + low)
    least = narrowest(star.Delta2, middle)
    narrow, half = 0.5 * (high - low) < least, jnp.maximum(0.5 * (high - low), least)
    model = (ends.bend + jnp.finfo(half.dtype).tiny) * half * half
    t = (np.arange(n) + 0.5) * np.pi / n

    def term(arguments, sine, cosine):
        potential, star, middle, half, model, narrow = arguments
        w, by_u = at_label(star.Delta2, middle + half * cosine)
        square = 2.0 * radial_kinetic(potential, star, w)
        root = _sqrt_between_roots(square, model * sine * sine, narrow)
        return sine * root / (w * by_u)

    return half / n * node_sum(term, (potential, star, middle, half, model, narrow), np.sin(t), np.cos(t))


def vertical_action(potential: AbstractPotential, star: Spheroidal, ends: Ends, n: int) -> Scalar:
    """J_z = (2/pi) int_0^max p_v d(cos v)/sin v by the midpoint rule in t, cos(v) = max cos(phi(t)).

    phi(t) crowds the nodes towards the plane. Node by node, the motion in a spherical potential with the
    same speed at the turning point is subtracted, whose action is L - |L_z|: that removes the boundary
    layer at the axis for L_z -> 0, in the value and in its derivatives. Where the motion does not reach the
    plane, cos^2(v) goes from its least value to the largest as cos^2(phi), and what is subtracted vanishes
    there, too: its p_v^2 is multiplied by 1 - least/cos^2(v), and by a number, 1 at the turning point.
    """
    narrow = ends.cos2_v < _NARROW**2
    y_max = jnp.maximum(ends.cos2_v, _NARROW**2)
    span = jnp.maximum(y_max - ends.lowest, _NARROW**2)
    steeper = 1.0 / jnp.maximum(1.0 - ends.lowest / y_max, LEAST_SHARE)
    L_z2 = star.L_z * star.L_z
    L2 = (2.0 * vertical_kinetic(potential, star, y_max) + L_z2) / (1.0 - y_max)
    turns = ~narrow & (L2 > 0.0)
    L2 = jnp.where(turns, L2, 1.0)
    t = (np.arange(n) + 0.5) * np.pi / (2 * n)
    phi = t + 0.5 * _CROWDING * np.sin(2.0 * t)
    weight = np.sin(phi) * (1.0 + _CROWDING * np.cos(2.0 * t))

    def node(lowest, span, weight, cosine2):
        """cos^2 v and d(cos v)/sin^2 v, made of that of a motion from the plane."""
        y = lowest + span * cosine2
        return y, weight * jnp.sqrt(span * cosine2 / y) / (1.0 - y)

    def whole(arguments, *row):
        potential, star, y_max, lowest, span, fall, narrow = arguments
        y, weight = node(lowest, span, *row)
        square = 2.0 * vertical_kinetic(potential, star, y)
        return weight * _sqrt_between_roots(square, 2.0 * fall * y_max * (1.0 - row[1]), narrow)

    def of_sphere(arguments, *row):
        L2, L_z2, steeper, lowest, span = arguments
        y, weight = node(lowest, span, *row)
        square = steeper * (1.0 - lowest / y) * (L2 * (1.0 - y) - L_z2)
        return weight * jnp.where(square <= 0.0, 0.0, jnp.sqrt(jnp.where(square > 0.0, square, 1.0)))

    columns, by = (weight, np.cos(phi) ** 2), jnp.sqrt(span) / n
    J = by * node_sum(whole, (potential, star, y_max, ends.lowest, span, ends.fall, narrow), *columns)
    layer = by * node_sum(of_sphere, (L2, L_z2, steeper, ends.lowest, span), *columns)
    # Where that speed vanishes with L_z there is no layer, and the subtraction would divide by it.
    slow = _SLOW * ((2.0 * J) ** 2 + L_z2)
    weighed = jnp.where(turns, 1.0 / (1.0 + jnp.minimum(slow / L2, _NEVER) ** 4), 0.0)
    # Its action is L - |L_z| for motions from the plane.
    lowest, L_z = ends.lowest, jnp.abs(star.L_z)
    from_plane = jnp.sqrt(lowest) * jnp.sqrt(jnp.maximum(L2 - L_z2, jnp.finfo(L2.dtype).tiny))
    sphere = jnp.sqrt(L2) - from_plane - jnp.sqrt(1.0 - lowest) * L_z
    return J + weighed * (jnp.sqrt(steeper) * sphere - layer)


@final
class StaeckelFudge(AbstractActionFinder):
    """Actions by the Staeckel fudge with a focal distance Delta(E, L_z).

    Parameters
    ----------
    potential : AbstractPotential
        Build the finder inside jit, from the potential of the moment: the table of Delta belongs to it.
    n_r, n_z : int
        Nodes of the two quadratures; angles and frequencies take twice as many.
    Delta, Delta2 : scalar, optional
        One focal distance (kpc) for all orbits, or its square, which may be negative. With a Staeckel
        potential's own, such as Delta2 = a^2 - c^2 in `oortax.potential.KuzminKutuzov`, actions, angles and
        frequencies are exact.

    Raises ValueError for Delta and Delta2 together, fewer nodes than 4, and float32.

    Notes
    -----
    Prolate potentials, Delta^2 < 0, have two families of orbits: those that go round the focal ring, R^2 =
    -Delta^2 in the plane, and those that cross the disc within it. J_r and J_z are continuous from one to the
    other: for the second J_r is half, and J_z twice, the action of a whole period in u and in v, which leaves
    volumes in phase space right, and theta_z jumps by pi where z changes sign. Where the potential is prolate
    outside but, about a disc, not at the ring, Delta^2 stops near 0, as if it were round.

    In an isochrone sphere J of disc and halo stars is right to 1e-8 of J_r + J_z, and of bound points of any
    shape to 6e-5 (0.1 + J_r/L). In mw_potential_2014 J varies along an orbit by 1e-3 (thin disc), 3e-3 (thick
    disc) and 4e-3 (halo) of J_r + J_z in the median (benchmarks/RESULTS.md), in a logarithmic halo of q =
    1.15 by 5 %, instead of 17 % in round coordinates (tests/dynamics/test_prolate_fudge.py).
    Differentiable once in x, v and the potential's parameters, at circular and planar orbits too; in the
    parameters also on the axis, for L_z = 0 and at rest, where J_r and J_z have a cusp in L_z. Not twice,
    since the turning points are held fixed. Needs float64.

    >>> from oortax import potential
    >>> finder = StaeckelFudge(potential.mw_potential_2014())
    >>> x, v = jnp.array([8.0, 0.0, 0.1]), jnp.array([30.0, 210.0, 15.0])
    >>> finder.actions(x, v).round(1)
    Array([  14.4,    1.9, 1680. ], dtype=float64)
    """

    potential: AbstractPotential
    focal: FocalDistance | FixedFocalDistance
    n_r: int = eqx.field(static=True)
    n_z: int = eqx.field(static=True)

    def __init__(self, potential: AbstractPotential, *, n_r: int = 8, n_z: int = 6, Delta=None, Delta2=None):
        if n_r < 4 or n_z < 4:
            raise ValueError(f"StaeckelFudge needs n_r >= 4 and n_z >= 4, got {n_r} and {n_z}")
        require_float64("StaeckelFudge", *jax.tree.leaves(eqx.filter(potential, eqx.is_array)))
        self.potential = expand(potential)
        if Delta is not None and Delta2 is not None:
            raise ValueError("StaeckelFudge: give Delta or its square Delta2, not both")
        if Delta is not None:
            self.focal = FixedFocalDistance(jnp.asarray(Delta, float) ** 2)
        elif Delta2 is not None:
            self.focal = FixedFocalDistance(jnp.asarray(Delta2, float))
        else:
            self.focal = focal_distance(self.potential)
        self.n_r = n_r
        self.n_z = n_z

    def actions_and_code(self, x: Vec3, v: Vec3) -> StarActions:
        """Actions with the residual of the turning points and a `Result` code."""
        return self._actions(x, v)[0]

    def actions_angles_frequencies(self, x: Vec3, v: Vec3) -> ActionAngles:
        """The same with angles and frequencies: those of a separable potential with the fudge's motions.

        Theirs is the first order of the fudge's error where that of actions is the second, and derivatives
        of theta and Omega leave out that Delta moves.
        """
        found, star, ends = self._actions(x, v)
        theta, Omega = angles_frequencies(self.potential, star, ends, x, v, 2 * self.n_r, 2 * self.n_z)
        good = found.code == Result.OK
        return ActionAngles(
            found.J, jnp.where(good, theta, jnp.nan), jnp.where(good, Omega, jnp.nan), *found[1:]
        )

    @recomputed
    def _actions(self, x: Vec3, v: Vec3) -> tuple[StarActions, Spheroidal, Ends]:
        require_float64("StaeckelFudge", x, v)
        star = spheroidal(self.potential, self.focal, x, v)
        ends = kept(turning_points(*lax.stop_gradient((self.potential, star))))
        seen = moving(self.potential, star, ends)._replace(lowest=ends.lowest)
        J_r = radial_action(self.potential, star, seen, self.n_r)
        J_z = vertical_action(self.potential, star, seen, self.n_z)
        J = jnp.stack([J_r, J_z, star.L_z])
        converged = ends.residual < TOLERANCE
        escapes = radial_kinetic(self.potential, lax.stop_gradient(star), 1e-4 / _kpc(x)) > 0.0
        code = jnp.where(converged, Result.OK, jnp.where(escapes, Result.UNBOUND, Result.NOT_CONVERGED))
        code = jnp.where(jnp.isfinite(star.E), code, Result.NONFINITE)
        return StarActions(jnp.where(code == Result.OK, J, jnp.nan), ends.residual, code), star, ends


def _kpc(x: Vec3) -> Scalar:
    """One kpc in x's dtype."""
    return jnp.ones_like(x[0])
