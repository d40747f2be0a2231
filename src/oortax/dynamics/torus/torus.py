"""Tori: for given actions, position and velocity as functions of the angles."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from oortax.dynamics.base import require_float64
from oortax.dynamics.circular import CircularOrbits, circular_orbits
from oortax.dynamics.delta import FocalDistance, focal_distance
from oortax.dynamics.torus.angles import FudgeAngles, Shift, fudge_angles
from oortax.dynamics.torus.fit import LEAST, Fit, Problem, finish, fit
from oortax.dynamics.torus.generating import Series, Warp
from oortax.dynamics.torus.grid import finishing, fresh, grid
from oortax.dynamics.torus.matching import matched
from oortax.dynamics.torus.separable import separable_torus
from oortax.dynamics.torus.toy import (
    Turn,
    oscillator,
    oscillator_azimuth,
    oscillator_inverse,
    sphere,
    sphere_inverse,
)
from oortax.dynamics.torus.transformation import Meridional, Transformation
from oortax.numerics.implicit import moving_as
from oortax.numerics.trigonometry import sin_cos, wrapped
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result
from oortax.types import Actions, Angles, Frequencies, Scalar, Vec3

# J_r and J_z below this share of J_r + J_z + |J_phi| are taken to be it: angles have no meaning at 0.
_LEAST_SHARE = 1e-7
# So is J_r below this share of J_z: a shell is not rho = const, which takes some J^T_r to describe.
_SHELL = 1e-4
# A fit that leaves more than this of rms(H)/(Omega_r J_r + Omega_z J_z) is none.
_WORST = 0.1
# Residual (logarithms of actions) of the fudge's torus below which its angles are used.
_FOUND = 1e-3
# Newton's steps for the toy angles of true ones: so many with the fudge's angles alone, at most so many with
# all; and those for warped toy angles, in the last ones and before.
_ROUGH, _MOST, _UNWARP, _ROUGHLY = 2, 10, 9, 5
# A step that leaves less than a tenth of its square: 1e-8.
_NEAR = 3e-4


@final
class Torus(eqx.Module):
    """A torus of one potential: actions, energy, frequencies, and the map from angles to phase space.

    Attributes
    ----------
    J : (J_r, J_z, J_phi) in kpc km/s
    E : the mean of H over the torus, (km/s)^2
    Omega : (Omega_r, Omega_z, Omega_phi) in km/s/kpc
    S, dS_dJ : coefficients of the generating function (`oortax.dynamics.torus.generating`)
    residual : rms of H - E over angles that the fit has not seen, over Omega_r J_r + Omega_z J_z
    code : a `Result`; where it is neither OK nor INACCURATE, numbers are NaN
    transformation, warp, angles : constants of the torus
    """

    J: Actions
    E: Scalar
    Omega: Frequencies
    S: Float[Array, " m"]
    dS_dJ: Float[Array, "m 3"]
    residual: Scalar
    code: Int[Array, ""]
    transformation: Transformation
    warp: Warp
    angles: FudgeAngles

    @eqx.filter_jit
    def phase_point(self, theta: Angles) -> tuple[Vec3, Vec3]:
        """Position (kpc) and velocity (km/s) at angles theta = (theta_r, theta_z, theta_phi).

        theta_r = 0 at pericentre, theta_z = 0 at the upward crossing of the plane, theta_phi = phi where both
        vanish.
        """
        chi = self._chi(theta[:2])
        series = self.warp.series(chi, jnp.concatenate([self.S[:, None], self.dS_dJ[:, 2:]], axis=1))
        shift = self.angles.at(self.warp, chi)
        return self._at(chi, series, shift, theta[2] - shift.value[2] - series.value[1])

    @eqx.filter_jit
    def phase_point_toy(self, theta: Angles) -> tuple[Vec3, Vec3, Scalar]:
        """Position and velocity at warped toy angles (chi_r, chi_z, theta^T_phi), and d3(theta)/d3(chi).

        Cheaper than `phase_point`: averages over the torus are sums over uniform chi with these weights.
        """
        series = self.warp.series(theta[:2], jnp.concatenate([self.S[:, None], self.dS_dJ[:, :2]], axis=1))
        shift = self.angles.at(self.warp, theta[:2])
        x, v = self._at(theta[:2], series, shift, theta[2])
        (a, b), (c, d) = _by_toy(shift, series.by_r[1:], series.by_z[1:])
        return x, v, jnp.abs((a * d - b * c) * jnp.prod(self._slopes(theta[:2])))

    @eqx.filter_jit
    def angles_actions(self, x: Vec3, v: Vec3) -> tuple[Angles, Actions]:
        """Angles (0 to 2 pi) and actions of a point on the torus or close to it: `phase_point` backwards.

        The toy's are found in closed form but for two one-dimensional searches, and the generating function
        is taken to be linear in J about the torus: off by dJ, J errs by about dJ^2/J and theta by dJ/J, and
        both by the torus's residual. Where they vary along an orbit, the torus is not the orbit's.

        >>> from oortax import potential
        >>> torus = fit_torus(potential.mw_potential_2014(), jnp.array([30.0, 10.0, 1800.0]), 22)
        >>> theta, J = torus.angles_actions(*torus.phase_point(jnp.array([0.3, 2.0, 1.0])))
        >>> theta.round(6), J.round(6)
        (Array([0.3, 2. , 1. ], dtype=float64), Array([  30.,   10., 1800.], dtype=float64))
        """
        J_phi = x[0] * v[1] - x[1] * v[0]
        sign = jnp.where(J_phi < 0.0, -1.0, 1.0)
        radial, tangent, p = self.transformation.inverse(Meridional.of(x, v, self.transformation.Delta2))
        of_radius, of_latitude = self.transformation.barriers(J_phi)
        theta_r, J_r = oscillator_inverse(of_radius, radial)
        theta_z, J_z = sphere_inverse(of_latitude, tangent, p)
        turn = self._turn(of_radius, theta_r, J_r, sphere(theta_z, J_z, of_latitude).azimuth)
        toy = jnp.stack([theta_r, theta_z, jnp.arctan2(x[1], x[0]) - sign * turn.angle])

        chi = self._unwarped(toy[:2])
        series = self._series(chi)
        shift, moved = self.angles.at(self.warp, chi), self.J - self.angles.J
        # J^T = J_0 + dS(J_0)/dtheta^T + (1 + d2S/dJ dtheta^T) . (J - J_0)
        by_J = jnp.stack([series.by_r[1:] + shift.by_r, series.by_z[1:] + shift.by_z])
        at_J = jnp.stack([series.by_r[0], series.by_z[0]]) + jnp.stack([shift.by_r, shift.by_z]) @ moved
        d_phi = J_phi - self.J[2]
        rest = jnp.stack([J_r, J_z]) - self.J[:2] - at_J - by_J[:, 2] * d_phi
        d_J = _solved(by_J[:, :2] + jnp.eye(2), rest)
        angles = (toy + shift.value + series.value[1:]) % (2.0 * jnp.pi)
        return angles, self.J + jnp.concatenate([d_J, d_phi[None]])

    def _series(self, chi: Float[Array, "2"]) -> Series:
        """Those of S_n and of dS_n/dJ, of which there may be fewer: the others count as 0."""
        if len(self.dS_dJ) == len(self.S):
            return self.warp.series(chi, jnp.concatenate([self.S[:, None], self.dS_dJ], axis=1))
        both = (self.warp.series(chi, of) for of in (self.S[:, None], self.dS_dJ))
        return Series(*(jnp.concatenate(parts) for parts in zip(*both, strict=True)))

    def _unwarped(self, toy: Float[Array, "2"]) -> Float[Array, "2"]:
        """The chi of toy angles, with the derivatives of a solution."""
        chi = lax.stop_gradient(self.warp.unwarped(toy, _UNWARP))
        found = jnp.stack([self.warp.radial(chi[0])[0], self.warp.vertical(chi[1])[0]])
        return moving_as(chi, (toy - found) / lax.stop_gradient(self._slopes(chi)))

    def _slopes(self, chi: Float[Array, "2"]) -> Float[Array, "2"]:
        """d(theta^T)/d(chi)."""
        return jnp.stack([self.warp.radial(chi[0])[1], self.warp.vertical(chi[1])[1]])

    def _angles(self, chi: Float[Array, "2"], with_series: bool = True):
        """True (theta_r, theta_z) less the toy's at chi, and d(theta)/d(theta^T), rows theta.

        Without the series: the fudge's, approximately.
        """
        shift = self.angles.at(self.warp, chi, 2)
        if not with_series:
            return shift.value, _by_toy(shift, 0.0, 0.0)
        series = self.warp.series(chi, self.dS_dJ[:, :2])
        return shift.value + series.value, _by_toy(shift, series.by_r, series.by_z)

    def _chi(self, theta: Float[Array, "2"]) -> Float[Array, "2"]:
        """The chi of true angles, by Newton's method in the toy angles; differentiable as its solution.

        At first without the series, which takes most of the time.
        """
        torus, target = lax.stop_gradient((self, theta))

        def step(toy, with_series=True, unwarp=_UNWARP):
            added, by_toy = torus._angles(torus.warp.unwarped(toy, unwarp), with_series)
            return toy - jnp.clip(_solved(by_toy, wrapped(toy + added - target)), -0.5, 0.5)

        def unfinished(state):
            toy, last, steps = state
            return (jnp.max(jnp.abs(toy - last)) > _NEAR) & (steps < _MOST)

        toy = lax.fori_loop(0, _ROUGH, lambda _, toy: step(toy, False, _ROUGHLY), target)
        first = step(toy, True, _ROUGHLY)
        state = (step(first), first, jnp.asarray(2))
        toy, *_ = lax.while_loop(unfinished, lambda s: (step(s[0]), s[0], s[2] + 1), state)
        chi = lax.stop_gradient(torus.warp.unwarped(toy, _UNWARP))
        added, by_toy = self._angles(chi)
        toy = jnp.stack([self.warp.radial(chi[0])[0], self.warp.vertical(chi[1])[0]])
        miss = wrapped(toy + added - target) - (theta - target)
        by_toy, slopes = lax.stop_gradient((by_toy, self._slopes(chi)))
        return moving_as(chi, -_solved(by_toy, miss) / slopes)

    def _at(
        self, chi: Float[Array, "2"], series: Series, shift: Shift, theta_phi: Scalar
    ) -> tuple[Vec3, Vec3]:
        """Position and velocity; the first of the series is S itself."""
        moved = self.J - self.angles.J
        by_r, by_z = series.by_r[0] + moved @ shift.by_r, series.by_z[0] + moved @ shift.by_z
        J = jnp.stack([self.J[0] + by_r, self.J[1] + by_z])
        theta_r, theta_z = self.warp.radial(chi[0])[0], self.warp.vertical(chi[1])[0]
        of_radius, of_latitude = self.transformation.barriers(self.J[2])
        latitude = sphere(theta_z, J[1], of_latitude)
        at = self.transformation(oscillator(of_radius, theta_r, J[0]), latitude)
        rho, height = jnp.sqrt(at.rho2), jnp.sqrt(at.rho2 + self.transformation.Delta2)
        R, z = rho * at.cosine, height * at.sine
        metric = at.rho2 + self.transformation.Delta2 * at.cosine**2
        v_R = (height * at.cosine * at.p_u - rho * at.sine * at.p_lat) / metric
        v_z = (rho * at.sine * at.p_u + height * at.cosine * at.p_lat) / metric
        v_phi = self.J[2] / R
        turn = self._turn(of_radius, theta_r, J[0], latitude.azimuth)
        sign = jnp.where(self.J[2] < 0.0, -1.0, 1.0)
        sine, cosine = sin_cos(theta_phi)
        cos = cosine * turn.cosine - sign * sine * turn.sine
        sin = sine * turn.cosine + sign * cosine * turn.sine
        x = jnp.stack([R * cos, R * sin, z])
        return x, jnp.stack([v_R * cos - v_phi * sin, v_R * sin + v_phi * cos, v_z])

    def _turn(self, barrier, theta_r, J_r, in_latitude: Turn) -> Turn:
        """The azimuth that the toy's angles add to theta^T_phi."""
        in_plane = oscillator_azimuth(barrier, theta_r, J_r)
        return Turn(
            *(jnp.where(self.transformation.box, a, b) for a, b in zip(in_plane, in_latitude, strict=True))
        )


def _solved(matrix, right: Float[Array, "2"]) -> Float[Array, "2"]:
    """A system of two equations."""
    (a, b), (c, d) = matrix
    return jnp.stack([d * right[0] - b * right[1], a * right[1] - c * right[0]]) / (a * d - b * c)


def _by_toy(shift: Shift, by_r, by_z):
    """d(theta)/d(theta^T), rows theta, from what the fudge's angles and the series add."""
    return jnp.stack([shift.by_r[:2] + by_r, shift.by_z[:2] + by_z], axis=1) + jnp.eye(2)


def fit_torus(potential: AbstractPotential, J: Actions, n_modes: int = 76) -> Torus:
    """The torus of actions J = (J_r, J_z, J_phi) in a potential.

    The toy torus is bent into the one that the Staeckel fudge assigns to J, and its angles into the fudge's.
    A generating function of n_modes terms (static) then makes H constant over it. Traceable and vmappable.
    Derivatives with respect to J and the potential are those of the fitted equations' solution (implicit), at
    fixed toy map. dE/dalpha is the torus average of dPhi/dalpha to the residual.

    Exact in Staeckel potentials and in the isochrone: to 1e-6 and better in J along the torus and in
    Omega, of boxes, too (tests/dynamics/test_exact_tori.py). Residuals of 76 modes in mw_potential_2014 are
    below 1e-7 for orbits of a thin disc, 3e-7 of a thick one, and 4e-5 of a halo; x at given angles agrees
    with long integrations of these to 2e-6, 5e-6 and 5e-4 of itself, Omega to 3e-6 (1.5e-5 of shells), and
    theta - Omega t stays within 5e-4 rad for 50 periods (8e-3 of a halo, 2e-2 of a shell;
    tests/dynamics/test_torus.py). Orbits of
    small |J_phi| pass the centre as boxes or the axis as loops, with residuals up to 2e-2; about half of them
    are resonant or chaotic in a strongly flattened potential. Angles err by more than H: with 45 terms x is
    within 1.2e-2 of an orbit of the halo, 0.15 of a box (tests/dynamics/test_tori.py); benchmarks/tori.py
    has random sets in three potentials. At J_phi = 0 derivatives and Omega_phi are limits from above.

    J_r below 1e-7 of J_r + J_z + |J_phi| and 1e-4 of J_z is taken to be their sum, J_z below 1e-7 of the
    former to be that: a shell is not quite a surface rho = const.

    The code is OUTSIDE for negative J_r or J_z, NONFINITE for NaN or infinite J, and NOT_CONVERGED where no
    torus was found. Needs float64 (ValueError).

    >>> from oortax import potential
    >>> torus = fit_torus(potential.mw_potential_2014(), jnp.array([30.0, 10.0, 1800.0]), n_modes=22)
    >>> x, v = torus.phase_point(jnp.array([0.3, 0.0, 0.0]))
    >>> bool(torus.residual < 1e-4), bool(abs(x[0] * v[1] - x[1] * v[0] - 1800.0) < 1e-6)
    (True, True)
    """
    require_float64("fit_torus", J)
    if not isinstance(n_modes, int) or n_modes < 1:
        raise ValueError(f"n_modes = {n_modes!r}: a whole number >= 1 is needed, such as 76")
    return _fit_from_scratch(potential, J, n_modes)


@eqx.filter_jit
def _fit_from_scratch(potential, J: Actions, n_modes: int) -> Torus:
    potential = expand(potential)
    return _fit_torus(potential, circular_orbits(potential), focal_distance(potential), J, n_modes)


def _fit_torus(
    potential, orbits: CircularOrbits, focal: FocalDistance, J: Actions, n_modes: int, damping=LEAST
) -> Torus:
    asked = J
    total = J[0] + J[1] + jnp.abs(J[2])
    # A constant is added: derivatives with respect to J stay what they are.
    least = _LEAST_SHARE * total + jnp.stack([_SHELL * J[1], jnp.zeros_like(total)])
    lift = lax.stop_gradient(jnp.maximum(least - J[:2], 0.0))
    J = jnp.concatenate([J[:2] + lift, J[2:]])
    frozen, fixed_J, orbits, focal = lax.stop_gradient((potential, J, orbits, focal))
    motion, ends, miss = separable_torus(frozen, orbits, focal, fixed_J)
    transformation = lax.stop_gradient(matched(motion, ends, fixed_J))
    warp = lax.stop_gradient(Warp.of(ends.half))
    angles = lax.stop_gradient(fudge_angles(motion, ends, fixed_J, transformation, warp, miss < _FOUND))
    fixed = Problem(frozen, transformation, warp, angles, fixed_J, damping)
    S = lax.stop_gradient(fit(fixed, grid(n_modes), jnp.zeros(n_modes)))
    return _complete(Problem(potential, transformation, warp, angles, J, damping), S, asked, jnp.array(True))


def refit_torus(potential: AbstractPotential, torus: Torus, steps: int = 2) -> Torus:
    """The torus of the same actions in another potential, close by: toy map kept, S_n corrected.

    A fixed number of Newton steps from the S_n that are there, and a last one that is differentiable: no
    table is built, and a compiled likelihood can carry a library of tori along. Traceable and vmappable;
    derivatives as in `fit_torus`. The residual tells how far the potential may move. Codes are those of
    `fit_torus`; a torus that failed keeps its code.

    >>> from oortax import params, potential
    >>> pot = potential.mw_potential_2014()
    >>> torus = fit_torus(pot, jnp.array([30.0, 10.0, 1800.0]), 22)
    >>> thicker = refit_torus(params.replace(pot, {"disc.b": 0.3}), torus)
    >>> bool(thicker.Omega[1] < torus.Omega[1]), bool(thicker.residual < 1e-3)
    (True, True)
    """
    check_refit(torus, steps)
    return _refitted(expand(potential), torus, steps)


def check_refit(torus: Torus, steps: int) -> None:
    """What is asked of tori that are fitted again."""
    if not isinstance(steps, int) or steps < 0:
        raise ValueError(f"steps = {steps!r}: a whole number >= 0 is needed")
    require_float64("refit_torus", torus.J)


@eqx.filter_jit
def _refitted(potential, torus: Torus, steps: int | None, least: Scalar | float = LEAST) -> Torus:
    """With the torus's modes; steps None: until nothing is gained."""
    problem = Problem(
        potential, *lax.stop_gradient((torus.transformation, torus.warp, torus.angles)), torus.J, least
    )
    known = jnp.all(jnp.isfinite(torus.S))
    start = lax.stop_gradient(jnp.where(known, torus.S, 0.0))
    S = lax.stop_gradient(fit(lax.stop_gradient(problem), grid(torus.S.shape[0]), start, steps))
    refitted = _complete(problem, S, torus.J, known)
    return eqx.tree_at(lambda t: t.code, refitted, jnp.where(known, refitted.code, torus.code))


def _complete(problem: Problem, S, asked: Actions, known) -> Torus:
    """The record, with its residual at fresh angles; NaN for numbers where there is none, and the reason."""
    J = problem.J
    # Computed again in a backward pass: its fields, kept for all tori, would not fit the cache.
    found = jax.checkpoint(lambda problem, S: finish(problem, finishing(S.shape[0]), S))(problem, S)
    rms_H = lax.stop_gradient(_rms_H(problem, found))
    good = known & (rms_H < _WORST) & jnp.all(found.Omega[:2] > 0.0)
    code = jnp.where(good, Result.OK, Result.NOT_CONVERGED)
    code = jnp.where(jnp.any(asked[:2] < 0.0), Result.OUTSIDE, code)
    code = jnp.where(jnp.all(jnp.isfinite(asked)), code, Result.NONFINITE)
    numbers = (found.E, found.Omega, found.S, found.dS_dJ)
    E, Omega, S, dS_dJ = jax.tree.map(lambda a: jnp.where(code == Result.OK, a, jnp.nan), numbers)
    return Torus(J, E, Omega, S, dS_dJ, rms_H, code, *problem[1:4])


def _rms_H(problem: Problem, of: Fit | Torus) -> Scalar:
    """rms of H - E at angles that no fit has seen, over Omega_r J_r + Omega_z J_z."""
    energies = problem.energy(fresh(of.S.shape[0]), of.S).H
    scale = jnp.abs(of.Omega[0]) * problem.J[0] + jnp.abs(of.Omega[1]) * problem.J[1]
    return jnp.sqrt(jnp.mean((energies - of.E) ** 2)) / scale


def residual(potential: AbstractPotential, torus: Torus) -> Scalar:
    """The residual of a torus, of interpolated ones, too; `expand` has been applied to the potential."""
    problem = Problem(potential, torus.transformation, torus.warp, torus.angles, torus.J)
    return _rms_H(problem, torus)
