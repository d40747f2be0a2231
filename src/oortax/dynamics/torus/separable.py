"""The torus that the Staeckel fudge assigns to given actions: its turning points and separated motions.

As if (rho^2 + Delta^2 cos^2(lat)) Phi were U(rho) + V(lat), with U taken along the plane and V along the
ellipsoid rho = rho_0 (Binney 2012, MNRAS 426, 1324):

    p_u^2/2   = (rho^2 + Delta^2) (E - Phi(rho, 0)) - I - J_phi^2 Delta^2/(2 rho^2)
    p_lat^2/2 = I - E Delta^2 sin^2(lat) - V(lat) - J_phi^2/(2 cos^2(lat)),   V(0) = 0
"""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool

from oortax.dynamics.circular import CircularOrbit, CircularOrbits
from oortax.dynamics.delta import FocalDistance
from oortax.dynamics.jet import IN_PLANE
from oortax.numerics.trigonometry import sin_cos
from oortax.potential.base import AbstractPotential
from oortax.types import Actions, Scalar

_N_R, _N_Z = 16, 16
# Steps, and those in which the focal distance follows the ends; J_phi at first, of J_r + J_z.
_STEPS, _FOLLOWED, _FAR = 18, 8, 0.3
# The step from here leaves 1e-13 of the actions: Newton's method converges quadratically.
_NEAR = 1e-7
# Where the focal distance makes the two motions separate: ln(rho) = middle + 0.3 half, 0.8 of the largest
# latitude (chosen by residuals); steps in its logarithm at first and later.
_AT_RHO, _AT_LATITUDE, _AT_FIRST, _LATER = 0.3, 0.8, 6, 2
# Its bounds in squares of rho, and the least sin^2(lat) that differs enough from the plane.
_LEAST, _MOST, _HIGH2 = 1e-6, 1e3, 1e-4
# Newton's steps in ln(middle), ln(half) and ln(tan(lat)) at most.
_LIMITS = np.array([0.4, 0.7, 0.7])
_TINY = 1e-30


class SeparableMotion(eqx.Module):
    """Two separated motions with given integrals; `rho_0` is the ellipsoid along which V is taken."""

    potential: AbstractPotential
    Delta2: Scalar
    rho_0: Scalar
    J_phi: Scalar
    E: Scalar
    I: Scalar

    def p_u2(self, rho: Scalar) -> Scalar:
        """p_u^2 at rho in the plane."""
        free = (rho * rho + self.Delta2) * self.E - self.U(rho)
        return 2.0 * (free - self.I)

    def U(self, rho: Scalar) -> Scalar:
        """The potential of the motion in rho, with the centrifugal one."""
        plane = self.potential.Phi_of_squares(rho * rho, (IN_PLANE * rho) ** 2)
        return (rho * rho + self.Delta2) * plane + 0.5 * self.J_phi**2 * self.Delta2 / (rho * rho)

    def p_lat2(self, sine: Scalar) -> Scalar:
        """p_lat^2 at a latitude."""
        V = self.V(sine) - self.V(jnp.full_like(sine, IN_PLANE))
        return 2.0 * (self.I - self.E * self.Delta2 * sine * sine - V) - self.J_phi**2 / (1.0 - sine * sine)

    def V(self, sine: Scalar) -> Scalar:
        """The potential of the motion in latitude, up to a constant."""
        sine2 = sine * sine
        cosine2 = 1.0 - sine2
        rho2 = self.rho_0 * self.rho_0
        Phi = self.potential.Phi_of_squares(rho2 * cosine2, (rho2 + self.Delta2) * sine2)
        return (rho2 + self.Delta2 * cosine2) * Phi


class Ends(NamedTuple):
    """ln(rho) = middle -+ half at peri- and apocentre; tangent of the largest latitude."""

    middle: Scalar
    half: Scalar
    tangent: Scalar

    def rho(self, t) -> Scalar:
        """rho at t: pericentre at 0, apocentre at pi."""
        return jnp.exp(self.middle - self.half * jnp.cos(t))


def radial_nodes(n: int) -> np.ndarray:
    """t = (k + 1/2) pi/n, for ln(rho) = middle - half cos(t)."""
    return (np.arange(n) + 0.5) * np.pi / n


def radial_speed(motion: SeparableMotion, ends: Ends, t) -> Scalar:
    """p_u du/dt at t: smooth and even about both ends."""
    rho = ends.rho(t)
    return jnp.sqrt(jnp.maximum(motion.p_u2(rho), _TINY)) * _du_dt(motion.Delta2, ends, rho, t)


def vertical_speed(motion: SeparableMotion, ends: Ends, t) -> Scalar:
    """p_lat d(lat)/dt at t in (0, pi/2), lat = largest sin(t): crowded at the turning point."""
    largest = jnp.arctan(ends.tangent)
    p_lat = jnp.sqrt(jnp.maximum(motion.p_lat2(sin_cos(largest * jnp.sin(t))[0]), _TINY))
    return p_lat * largest * jnp.cos(t)


def _du_dt(Delta2, ends: Ends, rho, t):
    return rho / jnp.sqrt(rho * rho + Delta2) * ends.half * jnp.sin(t)


class _Found(NamedTuple):
    """What two motions of given ends have: E, I of either, actions, and p_u^2 at the focus without J_phi."""

    E: Scalar
    I_u: Scalar
    I_lat: Scalar
    J_r: Scalar
    J_z: Scalar
    focal_p2: Scalar


def _found(bare: SeparableMotion, ends: Ends) -> _Found:
    """From the ends, with no turning point to be searched; `bare` has E = I = 0.

    All potentials of a motion are asked for at once: that halves the time to compile and to run.
    """
    t_r, t_z = radial_nodes(_N_R), 0.5 * radial_nodes(_N_Z)
    Delta2, largest = bare.Delta2, jnp.arctan(ends.tangent)
    rho = ends.rho(jnp.asarray(np.concatenate([[0.0, np.pi], t_r])))
    sine, _ = sin_cos(largest * np.sin(np.concatenate([[0.5 * np.pi], t_z])))
    U = jax.vmap(bare.U)(rho)
    V = jax.vmap(bare.V)(jnp.concatenate([sine, jnp.full((1,), IN_PLANE)]))

    (peri, apo), barrier = rho[:2], 0.5 * bare.J_phi**2
    E = (U[1] - U[0]) / ((apo - peri) * (apo + peri))
    I_u = E * (peri * peri + Delta2) - U[0]
    p_u2 = 2.0 * ((rho[2:] * rho[2:] + Delta2) * E - U[2:] - I_u)
    J_r = jnp.mean(jnp.sqrt(jnp.maximum(p_u2, _TINY)) * _du_dt(Delta2, ends, rho[2:], t_r))

    sine2 = sine * sine
    I = E * Delta2 * sine2 + V[:-1] - V[-1] + barrier / (1.0 - sine2)
    J_z = jnp.mean(jnp.sqrt(jnp.maximum(2.0 * (I[0] - I[1:]), _TINY)) * largest * np.cos(t_z))
    plane = (U[0] - barrier * Delta2 / (peri * peri)) / (peri * peri + Delta2)
    return _Found(E, I_u, I[0], J_r, J_z, 2.0 * (Delta2 * (E - plane) - I[0]))


def separable_torus(
    potential: AbstractPotential, orbits: CircularOrbits, focal: FocalDistance, J: Actions
) -> tuple[SeparableMotion, Ends, Scalar]:
    """The motion whose fudge actions are J, its ends, and the last step's residual (0 if it was found).

    Newton's method in the logarithms of the ends, in limited steps until one leaves nothing: E and I follow
    from the ends in closed form, so that no turning point is searched. J_phi is lowered from _FAR (J_r + J_z)
    to its value, or to a hundredth of that, while the focal distance follows the ends.
    """
    L_z = jnp.abs(J[2])
    wide = _FAR * (J[0] + J[1])
    lowest = jnp.maximum(L_z, 1e-2 * wide)
    L = J[1] + L_z
    rho_0 = orbits.at(L).R

    def ends_of(y):
        return Ends(y[0], jnp.exp(y[1]), jnp.exp(y[2]))

    def residual(y, J_phi, Delta2):
        zero = jnp.zeros_like(J_phi)
        found = _found(SeparableMotion(potential, Delta2, rho_0, J_phi, zero, zero), ends_of(y))
        misses = jnp.stack([
            jnp.log(found.J_r / J[0]), jnp.log(found.J_z / J[1]), (found.I_u - found.I_lat) / (L * L)
        ])  # fmt: skip
        integrals = jnp.stack([found.E, found.I_lat])
        return (misses, integrals), (misses, integrals, found.focal_p2)

    def step(loop):
        (y, Delta2, focal_p2, _), k, *_ = loop
        J_phi = jnp.maximum(lowest, wide * 0.3**k)
        followed = own_focal_distance2(potential, ends_of(y), Delta2, _LATER)
        Delta2 = jnp.where(k < _FOLLOWED, followed, Delta2)
        y = _lowered(focal_p2, Delta2, J_phi, y)
        slopes, (misses, integrals, focal_p2) = jax.jacfwd(residual, has_aux=True)(y, J_phi, Delta2)
        change = jnp.linalg.solve(slopes[0], misses)
        change = change / jnp.maximum(1.0, jnp.max(jnp.abs(change) / _LIMITS))
        integrals = integrals - slopes[1] @ change
        there = (J_phi <= lowest) & jnp.all(jnp.abs(misses) < _NEAR)
        return (y - change, Delta2, focal_p2, integrals), k + 1, jnp.max(jnp.abs(misses)), there

    def unfinished(loop):
        _, k, _, there = loop
        return ~there & (k < _STEPS)

    y, Delta2 = _start(potential, orbits, focal, J, wide)
    state = (y, Delta2, jnp.zeros_like(L), jnp.zeros_like(J[:2]))
    loop = (state, jnp.asarray(0), jnp.zeros_like(L), jnp.asarray(False))
    ((y, Delta2, _, (E, I)), _, miss, _) = lax.while_loop(unfinished, step, loop)
    return SeparableMotion(potential, Delta2, rho_0, lowest, E, I), ends_of(y), miss


def _start(potential, orbits: CircularOrbits, focal: FocalDistance, J: Actions, wide):
    """Logarithms of the ends, and Delta^2, of about the right motion."""
    L_z = jnp.abs(J[2])
    first = jnp.concatenate([J[:2], jnp.maximum(L_z, wide)[None]])
    start = isochrone_ends(orbits.at(J[1] + first[2]), first)
    # From above: there may be a lower, wrong end where the potential is nearly harmonic.
    apo2 = jnp.exp(2.0 * (start.middle + start.half))
    E = potential.Phi_of_squares(apo2, 0.0 * apo2) + 0.5 * (J[1] + first[2]) ** 2 / apo2
    Delta2 = own_focal_distance2(potential, start, focal(E, L_z), _AT_FIRST)
    # Where the focal distance is large the motions are those in R and z: J_z has no part in the barrier, and
    # sets a height.
    middle2 = jnp.exp(2.0 * start.middle)
    w = middle2 / (middle2 + Delta2)
    orbit = orbits.at(w * J[1] + first[2])
    near = isochrone_ends(orbit, first * jnp.stack([1.0, w, 1.0]))
    sine2 = jnp.minimum(2.0 * J[1] / (orbit.nu * (jnp.exp(2.0 * near.middle) + Delta2)), 0.9)
    tangent2 = w * start.tangent**2 + (1.0 - w) * sine2 / (1.0 - sine2)
    return jnp.stack([near.middle, jnp.log(near.half), 0.5 * jnp.log(tangent2)]), Delta2


def own_focal_distance2(potential: AbstractPotential, ends: Ends, Delta2: Scalar, steps: int) -> Scalar:
    """Delta^2 of the coordinates in which an orbit's two motions separate best, by steps from a guess.

    Where (rho^2 + Delta^2 cos^2(lat)) Phi is U(rho) + V(lat), its derivative with respect to rho^2 at given
    rho is the same at all latitudes: here, in the plane and high on the orbit. Exact in Staeckel potentials;
    small where the potential is prolate.
    """
    rho2 = jnp.exp(2.0 * (ends.middle + _AT_RHO * ends.half))
    high2 = jnp.maximum(jnp.sin(_AT_LATITUDE * jnp.arctan(ends.tangent)) ** 2, _HIGH2)
    latitudes = jnp.stack([high2, jnp.full_like(high2, IN_PLANE**2)])

    def slope(Delta2, sine2):
        def separated(rho2):
            Phi = potential.Phi_of_squares(rho2 * (1.0 - sine2), (rho2 + Delta2) * sine2)
            return (rho2 + Delta2 * (1.0 - sine2)) * Phi

        return jax.jvp(separated, (rho2,), (jnp.ones_like(rho2),))[1]

    def miss(log_Delta2):
        high, plane = jax.vmap(partial(slope, jnp.exp(log_Delta2)))(latitudes)
        return high - plane

    def step(log_Delta2, _):
        value, by_log = jax.jvp(miss, (log_Delta2,), (jnp.ones_like(log_Delta2),))
        return log_Delta2 - jnp.clip(value / by_log, -0.7, 0.7), None

    Delta2 = jnp.exp(lax.scan(step, jnp.log(Delta2), length=steps)[0])
    return jnp.clip(Delta2, _LEAST * rho2, _MOST * rho2)


def _lowered(focal_p2, Delta2, J_phi, y):
    """The unknowns with a pericentre at which J_phi can stop a motion with this p_u^2 at the focus.

    p_u^2 = 0 needs J_phi^2 Delta^2/rho^2 > 2 [Delta^2 (E - Phi) - I]: the solution fulfils it. Without this,
    Newton's method for a box gets stuck where p_u^2 is largest.
    """
    log_peri, log_apo = y[0] - jnp.exp(y[1]), y[0] + jnp.exp(y[1])
    largest = jnp.abs(J_phi) * jnp.sqrt(Delta2 / jnp.where(focal_p2 > 0.0, focal_p2, 1.0))
    log_peri = jnp.where(focal_p2 > 0.0, jnp.minimum(log_peri, jnp.log(largest)), log_peri)
    return jnp.stack([0.5 * (log_apo + log_peri), jnp.log(0.5 * (log_apo - log_peri)), y[2]])


def passes_focus(motion: SeparableMotion, ends: Ends) -> Bool[Array, ""]:
    """Whether a motion is a box: only its small |J_phi| keeps it from the axis between the foci.

    The number was chosen by the residuals of tori of both families.
    """
    peri2 = jnp.exp(2.0 * (ends.middle - ends.half))
    plane = motion.potential.Phi_of_squares(peri2, IN_PLANE**2 * peri2)
    return 2.0 * (motion.Delta2 * (motion.E - plane) - motion.I) > 200.0 * motion.J_phi**2


def isochrone_ends(orbit: CircularOrbit, J: Actions) -> Ends:
    """The ends in the isochrone sphere with the circular orbit's R, Omega and kappa: where to start.

    Omega/kappa = (1 + L/sqrt(L^2 + 4 G M b))/2 gives G M b, and R then b.
    """
    L, L_z = J[1] + jnp.abs(J[2]), jnp.abs(J[2])
    ratio = jnp.clip(orbit.Omega / orbit.kappa, 0.51, 0.99)
    g = 0.25 * (1.0 / (2.0 * ratio - 1.0) ** 2 - 1.0)
    y = 1.0 + (1.0 + jnp.sqrt(1.0 + 4.0 * g)) / (2.0 * g)
    b = orbit.R / jnp.sqrt(y * y - 1.0)
    GM = g * L * L / b
    root = jnp.sqrt(L * L + 4.0 * GM * b)
    c = (J[0] + 0.5 * (L + root)) ** 2 / GM - b
    # e^2 = 1 - L^2 (1 + b/c)/(GM c), without cancellation for small J_r.
    e = jnp.sqrt(J[0] * (J[0] + root) * (J[0] + L) * (J[0] + L + root)) / (GM * c)
    peri, apo = (b * jnp.sqrt((2.0 + c / b * (1.0 + s * e)) * (c / b * (1.0 + s * e))) for s in (-1.0, 1.0))
    tangent = jnp.sqrt(J[1] * (J[1] + 2.0 * L_z)) / jnp.maximum(L_z, _TINY)
    half = 0.5 * jnp.log(apo / peri)
    return Ends(0.5 * jnp.log(peri * apo), half, tangent * jnp.sqrt(orbit.Omega / orbit.nu))
