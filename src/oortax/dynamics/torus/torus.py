"""Tori: for given actions, position and velocity as functions of the angles."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from oortax.dynamics.base import require_float64
from oortax.dynamics.circular import CircularOrbits, circular_orbits
from oortax.dynamics.delta import FocalDistance, focal_distance
from oortax.dynamics.torus.fit import Problem, finish, fit, hamiltonian
from oortax.dynamics.torus.generating import Warp, Waves
from oortax.dynamics.torus.grid import grid
from oortax.dynamics.torus.matching import matched
from oortax.dynamics.torus.separable import separable_torus
from oortax.dynamics.torus.toy import oscillator, oscillator_azimuth, sphere
from oortax.dynamics.torus.transformation import Transformation
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result
from oortax.types import Actions, Angles, Frequencies, Scalar, Vec3

# J_r and J_z below this share of L = J_z + |J_phi| are taken to be it: angles have no meaning at 0.
_LEAST_SHARE = 1e-7
# The residual of the fudge's torus (logarithms of actions) that counts as found.
_FOUND = 1e-6
# A fit that leaves more than this of rms(H)/(Omega_r J_r + Omega_z J_z) is none.
_WORST = 0.1
_NEWTON = 12
_FRESH = np.random.default_rng(7).uniform(0.0, 2.0 * np.pi, (64, 2))


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
    code : a `Result`; where it is not OK, numbers are NaN
    transformation, warp : constants of the torus
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

    def phase_point(self, theta: Angles) -> tuple[Vec3, Vec3]:
        """Position (kpc) and velocity (km/s) at angles theta = (theta_r, theta_z, theta_phi).

        theta_r = 0 at pericentre, theta_z = 0 at the upward crossing of the plane, theta_phi = phi where both
        vanish.
        """
        chi = self._chi(theta[:2])
        waves = self.warp.waves(chi, self.S.shape[0])
        return self._at(waves, theta[2] - waves.sines @ self.dS_dJ[:, 2])

    def phase_point_toy(self, theta: Angles) -> tuple[Vec3, Vec3, Scalar]:
        """Position and velocity at warped toy angles (chi_r, chi_z, theta^T_phi), and d3(theta)/d3(chi).

        Cheaper than `phase_point`: averages over the torus are sums over uniform chi with these weights.
        """
        waves = self.warp.waves(theta[:2], self.S.shape[0])
        x, v = self._at(waves, theta[2])
        return x, v, angle_density(waves, self.dS_dJ)

    def _angles(self, chi: Float[Array, "2"]) -> Float[Array, "2"]:
        """True (theta_r, theta_z) at chi."""
        waves = self.warp.waves(chi, self.S.shape[0])
        return jnp.stack([waves.theta_r, waves.theta_z]) + waves.sines @ self.dS_dJ[:, :2]

    def _chi(self, theta: Float[Array, "2"]) -> Float[Array, "2"]:
        """The chi of true angles, by Newton's method; differentiable as its solution."""
        torus, target = lax.stop_gradient((self, theta))

        def step(chi, _):
            miss = _wrapped(torus._angles(chi) - target)
            change = jnp.linalg.solve(jax.jacfwd(torus._angles)(chi), miss)
            return chi - jnp.clip(change, -0.5, 0.5), None

        chi, _ = lax.scan(step, target, length=_NEWTON)
        miss = _wrapped(self._angles(chi) - theta)
        return chi - jnp.linalg.solve(lax.stop_gradient(jax.jacfwd(torus._angles)(chi)), miss)

    def _at(self, waves, theta_phi: Scalar) -> tuple[Vec3, Vec3]:
        """Position and velocity at toy angles."""
        J = toy_actions(waves, self.S, self.J)
        of_radius, of_latitude = self.transformation.barriers(J[2])
        latitude = sphere(waves.theta_z, J[1], of_latitude)
        at = self.transformation(oscillator(of_radius, waves.theta_r, J[0]), latitude)
        rho, height = jnp.sqrt(at.rho2), jnp.sqrt(at.rho2 + self.transformation.Delta2)
        R, z = rho * at.cosine, height * at.sine
        metric = at.rho2 + self.transformation.Delta2 * at.cosine**2
        v_R = (height * at.cosine * at.p_u - rho * at.sine * at.p_lat) / metric
        v_z = (rho * at.sine * at.p_u + height * at.cosine * at.p_lat) / metric
        v_phi = self.J[2] / R
        in_plane = oscillator_azimuth(of_radius, waves.theta_r, J[0])
        azimuth = jnp.where(self.transformation.box, in_plane, latitude.azimuth)
        phi = theta_phi + jnp.where(self.J[2] < 0.0, -1.0, 1.0) * azimuth
        cos, sin = jnp.cos(phi), jnp.sin(phi)
        x = jnp.stack([R * cos, R * sin, z])
        return x, jnp.stack([v_R * cos - v_phi * sin, v_R * sin + v_phi * cos, v_z])


def _wrapped(angle):
    """To [-pi, pi)."""
    return (angle + jnp.pi) % (2.0 * jnp.pi) - jnp.pi


def angle_density(waves: Waves, dS_dJ: Float[Array, "m 3"]) -> Scalar:
    """d2(theta)/d2(chi) at one point, of the true angles."""
    by_toy = jnp.stack([waves.by_r @ dS_dJ[:, :2], waves.by_z @ dS_dJ[:, :2]])
    return jnp.abs(jnp.linalg.det(jnp.eye(2) + by_toy)) * waves.measure


def toy_actions(waves: Waves, S: Float[Array, " m"], J: Actions) -> Actions:
    """J^T at one point of the grid."""
    return jnp.stack([J[0] + waves.by_r @ S, J[1] + waves.by_z @ S, J[2]])


def fit_torus(potential: AbstractPotential, J: Actions, n_modes: int = 76) -> Torus:
    """The torus of actions J = (J_r, J_z, J_phi) in a potential.

    The toy torus is bent into the one that the Staeckel fudge assigns to J; a generating function of n_modes
    terms (static) then makes H constant over it. Traceable and vmappable. Derivatives with respect to J and
    the potential are those of the fitted equations' solution (implicit), at fixed toy map. dE/dalpha is the
    torus average of dPhi/dalpha to the residual; differences of whole fits, whose toy maps move, agree with
    it to 1e-4 for a disc orbit and 6e-3 for a halo orbit (45 modes).

    Residuals of 76 modes in mw_potential_2014 are below 2e-7 for orbits of a thin disc, 2e-6 of a thick one,
    and 6e-4 of a halo; x at given angles agrees with long integrations of these to 2e-5, 6e-5 and 3e-3 of
    itself (tests/dynamics/test_torus.py). Not so for small |J_phi| beside J_r and J_z, of which many do not
    converge (the residual tells), nor for J_r -> 0 at large J_z, where the shell's own shape is missed and
    Omega_r is poor.

    The code is OUTSIDE for negative J_r or J_z, NONFINITE for NaN or infinite J, and NOT_CONVERGED where no
    torus was found. Needs float64 (ValueError).

    >>> from oortax import potential
    >>> torus = fit_torus(potential.mw_potential_2014(), jnp.array([30.0, 10.0, 1800.0]))
    >>> x, v = torus.phase_point(jnp.array([0.3, 0.0, 0.0]))
    >>> bool(torus.residual < 1e-5), bool(abs(x[0] * v[1] - x[1] * v[0] - 1800.0) < 1e-6)
    (True, True)
    """
    require_float64("fit_torus", J)
    potential = expand(potential)
    return _fit_torus(potential, circular_orbits(potential), focal_distance(potential), J, n_modes)


def _fit_torus(potential, orbits: CircularOrbits, focal: FocalDistance, J: Actions, n_modes: int) -> Torus:
    asked = J
    L = J[1] + jnp.abs(J[2])
    # A constant is added: derivatives with respect to J stay what they are.
    lift = lax.stop_gradient(jnp.maximum(_LEAST_SHARE * L - J[:2], 0.0))
    J = jnp.concatenate([J[:2] + lift, J[2:]])
    frozen, fixed_J, orbits, focal = lax.stop_gradient((potential, J, orbits, focal))
    motion, ends, miss = separable_torus(frozen, orbits, focal, fixed_J)
    transformation = lax.stop_gradient(matched(motion, ends, fixed_J))
    warp = lax.stop_gradient(Warp.of(ends.half))
    S = lax.stop_gradient(fit(Problem(frozen, transformation, warp, fixed_J), grid(n_modes)))
    torus = _complete(Problem(potential, transformation, warp, J), S, lax.stop_gradient(miss))
    return _judged(torus, asked)


def _complete(problem: Problem, S, miss) -> Torus:
    """The record, with its residual at fresh angles."""
    potential, transformation, warp, J = problem
    found = finish(problem, grid(S.shape[0]), S)

    def H(chi):
        at = warp.waves(chi, S.shape[0])
        return hamiltonian(potential, transformation, at.theta_r, at.theta_z, toy_actions(at, found.S, J))

    energies = jax.vmap(H)(jnp.asarray(_FRESH))
    scale = jnp.abs(found.Omega[0]) * J[0] + jnp.abs(found.Omega[1]) * J[1]
    residual = lax.stop_gradient(jnp.sqrt(jnp.mean((energies - found.E) ** 2)) / scale)
    good = (miss < _FOUND) & (residual < _WORST) & jnp.all(found.Omega[:2] > 0.0)
    code = jnp.where(good, Result.OK, Result.NOT_CONVERGED)
    return Torus(J, found.E, found.Omega, found.S, found.dS_dJ, residual, code, transformation, warp)


def _judged(torus: Torus, asked: Actions) -> Torus:
    """The torus with NaN for numbers where there is none, and the reason."""
    code = jnp.where(jnp.any(asked[:2] < 0.0), Result.OUTSIDE, torus.code)
    code = jnp.where(jnp.all(jnp.isfinite(asked)), code, Result.NONFINITE)
    numbers = (torus.E, torus.Omega, torus.S, torus.dS_dJ)
    judged = jax.tree.map(lambda a: jnp.where(code == Result.OK, a, jnp.nan), numbers)
    return eqx.tree_at(lambda t: (t.E, t.Omega, t.S, t.dS_dJ, t.code), torus, (*judged, code))
