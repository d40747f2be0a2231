"""The Staeckel fudge: actions of any bound point, as if Phi separated in spheroidal coordinates."""

from functools import partial
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from oortax.dynamics.base import AbstractActionFinder, require_float64
from oortax.dynamics.delta import FocalDistance, focal_distance
from oortax.dynamics.spheroidal import Spheroidal, radial_kinetic, spheroidal, vertical_kinetic
from oortax.dynamics.turning import Ends, turning_points
from oortax.potential.base import AbstractPotential
from oortax.results import Result
from oortax.types import Actions, Scalar, Vec3

# Below this half-width in ln(rho), or this height in cos(v), the motion is a harmonic oscillator's.
_NARROW = 1e-5
# Turning points converge quadratically: a last step of 1e-3 leaves 1e-6, and J is stationary in them.
_TOLERANCE = 1e-3
# How strongly the nodes in v crowd towards the plane, where discs bend the potential.
_CROWDING = 0.6


class StarActions(NamedTuple):
    """Actions with the reason why they are what they are."""

    J: Actions
    residual: Scalar
    code: Int[Array, ""]


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
    """J_r = (1/pi) int p_u du by the midpoint rule in t, ln(rho) = mid + half cos(t).

    The rule is spectrally accurate for p_u and also for dp_u/dalpha ~ 1/p_u, so that derivatives need no
    motion of the end points; a Gauss rule with the root in its weight is not.
    """
    t = (np.arange(n) + 0.5) * np.pi / n
    low, high = jnp.log(ends.w_apo), jnp.log(ends.w_peri)
    narrow = 0.5 * (high - low) < _NARROW
    half = jnp.maximum(0.5 * (high - low), _NARROW)
    w = jnp.exp(0.5 * (high + low) + half * np.cos(t))
    square = 2.0 * jax.vmap(partial(radial_kinetic, potential, star))(w)
    model = (ends.bend + jnp.finfo(w.dtype).tiny) * (half * np.sin(t)) ** 2
    root = _sqrt_between_roots(square, model, narrow)
    return half / n * jnp.sum(np.sin(t) * root / (w * jnp.sqrt(1.0 + star.Delta2 * w * w)))


def vertical_action(potential: AbstractPotential, star: Spheroidal, ends: Ends, n: int) -> Scalar:
    """J_z = (2/pi) int_0^max p_v d(cos v)/sin v by the midpoint rule in t, cos(v) = max cos(phi(t)).

    phi(t) crowds the nodes towards the plane. The spherical potential with the same turning point, whose
    action is known, is subtracted node by node: that removes the boundary layer of L_z -> 0.
    """
    t = (np.arange(n) + 0.5) * np.pi / (2 * n)
    phi = t + 0.5 * _CROWDING * np.sin(2.0 * t)
    stretch = 1.0 + _CROWDING * np.cos(2.0 * t)
    narrow = ends.cos2_v < _NARROW**2
    y_max = jnp.maximum(ends.cos2_v, _NARROW**2)
    y = y_max * np.cos(phi) ** 2
    square = 2.0 * jax.vmap(partial(vertical_kinetic, potential, star))(y)
    below = y_max * np.sin(phi) ** 2
    root = _sqrt_between_roots(square, 2.0 * ends.fall * below, narrow)
    L = jnp.abs(star.L_z) / jnp.sqrt(1.0 - y_max)
    terms = np.sin(phi) * stretch * (root - L * jnp.sqrt(below)) / (1.0 - y)
    return jnp.sqrt(y_max) / n * jnp.sum(terms) + L * y_max / (1.0 + jnp.sqrt(1.0 - y_max))


@final
class StaeckelFudge(AbstractActionFinder):
    """Actions by the Staeckel fudge with a focal distance Delta(E, L_z).

    Parameters
    ----------
    potential : AbstractPotential
        Build the finder inside jit, from the potential of the moment: the table of Delta belongs to it.
    n_r, n_z : int
        Nodes of the two quadratures.

    Notes
    -----
    Exact in Staeckel and spherical potentials; elsewhere J varies along an orbit by some 1e-3 of J_r + J_z
    for disc stars and 5e-3 for halo stars (measured by benchmarks/actions.py). Differentiable once in x, v
    and the potential's parameters, at circular and planar orbits too; not twice, since the turning points
    are held fixed. Needs float64.

    >>> from oortax import potential
    >>> finder = StaeckelFudge(potential.mw_potential_2014())
    >>> x, v = jnp.array([8.0, 0.0, 0.1]), jnp.array([30.0, 210.0, 15.0])
    >>> finder.actions(x, v).round(1)
    Array([  13.2,    1.5, 1680. ], dtype=float64)
    """

    potential: AbstractPotential
    focal: FocalDistance
    n_r: int = eqx.field(static=True)
    n_z: int = eqx.field(static=True)

    def __init__(self, potential: AbstractPotential, *, n_r: int = 10, n_z: int = 8):
        if n_r < 4 or n_z < 4:
            raise ValueError(f"StaeckelFudge needs n_r >= 4 and n_z >= 4, got {n_r} and {n_z}")
        require_float64("StaeckelFudge", *jax.tree.leaves(eqx.filter(potential, eqx.is_array)))
        self.potential = potential
        self.focal = focal_distance(potential)
        self.n_r = n_r
        self.n_z = n_z

    def actions(self, x: Vec3, v: Vec3) -> Actions:
        """J = (J_r, J_z, J_phi) in kpc km/s; NaN if the point is unbound."""
        return self.actions_and_code(x, v).J

    def actions_and_code(self, x: Vec3, v: Vec3) -> StarActions:
        """Actions with the residual of the turning points and a `Result` code."""
        require_float64("StaeckelFudge", x, v)
        star = spheroidal(self.potential, self.focal, x, v)
        # dJ/d(turning point) = 0: the integrands vanish there.
        ends = turning_points(*lax.stop_gradient((self.potential, star)))
        J_r = radial_action(self.potential, star, ends, self.n_r)
        J_z = vertical_action(self.potential, star, ends, self.n_z)
        J = jnp.stack([J_r, J_z, star.L_z])
        converged = ends.residual < _TOLERANCE
        escapes = radial_kinetic(self.potential, lax.stop_gradient(star), 1e-4 / _kpc(x)) > 0.0
        code = jnp.where(converged, Result.OK, jnp.where(escapes, Result.UNBOUND, Result.NOT_CONVERGED))
        code = jnp.where(jnp.isfinite(star.E), code, Result.NONFINITE)
        return StarActions(jnp.where(code == Result.OK, J, jnp.nan), ends.residual, code)


def _kpc(x: Vec3) -> Scalar:
    """One kpc in x's dtype."""
    return jnp.ones_like(x[0])
