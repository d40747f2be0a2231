"""Fitting the generating function: H constant over the torus."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from oortax.dynamics.torus.generating import Warp, Waves, grid
from oortax.dynamics.torus.toy import oscillator, sphere
from oortax.dynamics.torus.transformation import Transformation
from oortax.potential.base import AbstractPotential
from oortax.types import Actions, Frequencies, Scalar

_ITERATIONS = 6
# A step takes no toy action closer to 0 than this share of where it was.
_ROOM = 0.2
# Levenberg's damping, in units of the normal matrix's diagonal: at first, and its least.
_DAMPING, _LEAST = 1e-6, 1e-13


class Fit(NamedTuple):
    """S_n and their derivatives, energy and frequencies, and the rms of H over the grid."""

    S: Float[Array, " m"]
    dS_dJ: Float[Array, "m 3"]
    E: Scalar
    Omega: Frequencies
    rms: Scalar


def hamiltonian(
    potential: AbstractPotential, transformation: Transformation, theta_r, theta_z, J: Actions
) -> Scalar:
    """H at toy angles and toy actions (J_phi is its own toy action)."""
    at = transformation(oscillator(transformation.barrier, theta_r, J[0]), sphere(theta_z, J[1], J[2]))
    R2 = at.rho2 * at.cosine**2
    z2 = (at.rho2 + transformation.Delta2) * at.sine**2
    kinetic = (at.p_u**2 + at.p_lat**2) / (at.rho2 + transformation.Delta2 * at.cosine**2) + J[2] ** 2 / R2
    return 0.5 * kinetic + potential.Phi_of_squares(R2, z2)


def toy_actions(waves: Waves, S: Float[Array, " m"], J: Actions) -> Actions:
    """J^T at one point of the grid."""
    return jnp.stack([J[0] + waves.by_r @ S, J[1] + waves.by_z @ S, J[2]])


def on_grid(warp: Warp, n_modes: int) -> Waves:
    """The waves at all points of the grid."""
    return jax.vmap(lambda chi: warp.waves(chi, n_modes))(jnp.asarray(grid(n_modes)))


def _linearised(potential, transformation, waves: Waves, S, J):
    """H on the grid, dH/dJ^T (points, 3) and dH/dS (points, m)."""

    def at(waves):
        def H(J):
            return hamiltonian(potential, transformation, waves.theta_r, waves.theta_z, J)

        J_toy = toy_actions(waves, S, J)
        value, slope = jax.value_and_grad(H)(J_toy)
        return value, slope, slope[0] * waves.by_r + slope[1] * waves.by_z

    return jax.vmap(at)(waves)


def fit(potential: AbstractPotential, transformation: Transformation, waves: Waves, J: Actions):
    """S_n by Levenberg and Marquardt's method from S_n = 0, a fixed number of steps; not differentiable."""
    m = waves.by_r.shape[1]

    def rms(S):
        def H(waves):
            return hamiltonian(
                potential, transformation, waves.theta_r, waves.theta_z, toy_actions(waves, S, J)
            )

        return jnp.std(jax.vmap(H)(waves))

    def step(state, _):
        S, damping, best = state
        H, _, A = _linearised(potential, transformation, waves, S, J)
        change = -_solve(A - jnp.mean(A, axis=0), (H - jnp.mean(H))[:, None], damping)[:, 0]
        trial = S + _room(waves, S, J, change) * change
        found = rms(trial)
        better = found < best
        damping = jnp.where(better, jnp.maximum(0.1 * damping, _LEAST), 100.0 * damping)
        return (jnp.where(better, trial, S), damping, jnp.where(better, found, best)), None

    start = jnp.zeros(m)
    state, _ = lax.scan(step, (start, jnp.asarray(_DAMPING), rms(start)), length=_ITERATIONS)
    return state[0]


def finish(
    potential: AbstractPotential,
    transformation: Transformation,
    waves: Waves,
    S: Float[Array, " m"],
    J: Actions,
) -> Fit:
    """One more Newton step, energy, and dS_n/dJ and Omega from one linear system each.

    S may be held fixed: the step makes the result differentiable in potential and J, to the order of the
    residual, as if S_n solved its equations exactly. At fixed toy angles dH/dJ_i = Omega_i everywhere:

        dH/dJ^T_i + sum_n (dH/dS_n) dS_n/dJ_i = Omega_i.

    E and Omega are means over the true angles, which E's derivatives need to be right to the second order of
    the residual: the mean of dH/dS_n vanishes there.
    """
    H, _, A = _linearised(potential, transformation, waves, S, J)
    change = -_solve(A - jnp.mean(A, axis=0), (H - jnp.mean(H))[:, None], _LEAST)[:, 0]
    S = S + lax.stop_gradient(_room(waves, S, J, change)) * change
    H, slope, A = _linearised(potential, transformation, waves, S, J)
    dS_dJ = -_solve(A - jnp.mean(A, axis=0), slope - jnp.mean(slope, axis=0), _LEAST)
    weight = lax.stop_gradient(jax.vmap(angle_density, (0, None))(waves, dS_dJ))
    weight = weight / jnp.sum(weight)
    return Fit(S, dS_dJ, weight @ H, weight @ (slope + A @ dS_dJ), jnp.std(H))


def angle_density(waves: Waves, dS_dJ: Float[Array, "m 3"]) -> Scalar:
    """d2(theta)/d2(chi) at one point, of the true angles."""
    by_toy = jnp.stack([waves.by_r @ dS_dJ[:, :2], waves.by_z @ dS_dJ[:, :2]])
    return jnp.abs(jnp.linalg.det(jnp.eye(2) + by_toy)) * waves.measure


def _room(waves: Waves, S, J: Actions, change) -> Scalar:
    """The part of a step that leaves all toy actions a share of what they were: at most 1."""
    used = jnp.maximum(
        jnp.max(-(waves.by_r @ change) / (J[0] + waves.by_r @ S)),
        jnp.max(-(waves.by_z @ change) / (J[1] + waves.by_z @ S)),
    )
    return jnp.minimum(1.0, (1.0 - _ROOM) / jnp.maximum(used, 1e-30))


def _solve(A, b, damping):
    """Least squares of A x = b by damped normal equations."""
    normal = A.T @ A
    diagonal = jnp.diagonal(normal)
    floor = 1e-13 * jnp.sum(diagonal)
    return jax.scipy.linalg.solve(normal + jnp.diag(damping * diagonal + floor), A.T @ b, assume_a="pos")
