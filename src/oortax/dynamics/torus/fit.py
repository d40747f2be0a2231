"""Fitting the generating function: H constant over the torus."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from oortax.dynamics.torus.angles import FudgeAngles
from oortax.dynamics.torus.generating import Warp
from oortax.dynamics.torus.grid import Field, Grid
from oortax.dynamics.torus.near_resonance import (
    NearResonance,
    Passage,
    angle_density,
    true_angles,
    waves_with,
)
from oortax.dynamics.torus.normal import Energy, Normal
from oortax.dynamics.torus.toy import oscillator_at, sphere_at
from oortax.dynamics.torus.transformation import Meridional, Transformation
from oortax.numerics.implicit import moving_as
from oortax.numerics.once import once
from oortax.numerics.partials import all_by_partials
from oortax.numerics.positive import cholesky, solve
from oortax.numerics.trigonometry import sin_cos
from oortax.potential.base import AbstractPotential
from oortax.types import Actions, Frequencies, Scalar

# Steps at most, and the factor in rms(H) that makes another one worth while.
_ITERATIONS, _GAIN = 8, 1.2
# No step takes a toy action below this share of the torus's, or half of where it was, if that is less.
_ROOM = 0.05
# Levenberg's damping: a wave whose n.Omega is sqrt of this times |n_r| Omega_r + |n_z| Omega_z keeps half of
# its step. At first, and its least.
_DAMPING, LEAST = 1e-6, 1e-10
# Of the slopes dS_n/dJ, where S_n are damped: such tori are interpolated, and slopes lead from the actions of
# the fudge, wrong by some 1e-2, to those of the torus. Across a narrower resonance they mislead.
_OF_SLOPES = 1e-3


class Fit(NamedTuple):
    """S_n and their derivatives, energy and frequencies, and the rms of H over the grid."""

    S: Float[Array, " m"]
    dS_dJ: Float[Array, "m 3"]
    E: Scalar
    Omega: Frequencies
    rms: Scalar


def hamiltonian(potential: AbstractPotential, Delta2: Scalar, J_phi: Scalar, at: Meridional) -> Scalar:
    """H at a point."""
    R2 = at.rho2 * at.cosine**2
    z2 = (at.rho2 + Delta2) * at.sine**2
    kinetic = (at.p_u**2 + at.p_lat**2) / (at.rho2 + Delta2 * at.cosine**2) + J_phi**2 / R2
    return 0.5 * kinetic + potential.Phi_of_squares(R2, z2)


class Problem(NamedTuple):
    """What is fitted: one torus on its grid; `least` is the least damping."""

    potential: AbstractPotential
    transformation: Transformation
    warp: Warp
    angles: FudgeAngles
    J: Actions
    least: Scalar | float = LEAST

    def toy_actions(self, grid: Grid, S: Float[Array, " m"]) -> tuple[Field, Field]:
        """J^T_r and J^T_z on the grid."""
        _, by_chi_r = self.warp.radial(grid.chi_r)
        _, by_chi_z = self.warp.vertical(grid.chi_z)
        angles_r, angles_z = self.angles.by_chi(grid)
        moved = self.J - self.angles.J
        J_r = self.J[0] + ((moved @ angles_r)[:, None] + 2.0 * grid.sum(grid.n[:, 0] * S)) / by_chi_r[:, None]
        return J_r, self.J[1] + (moved @ angles_z + 2.0 * grid.sum(grid.n[:, 1] * S)) / by_chi_z

    def rates(self, grid: Grid, normal: Normal, by_J: Float[Array, "i r z"]) -> Float[Array, "i r z"]:
        """The change of H with J_i at fixed toy angles and S_n, from that with J^T_i."""
        i = len(by_J)
        angles_r, angles_z = self.angles.by_chi(grid)
        return by_J + normal.a * angles_r[:i, :, None] + normal.b * angles_z[:i, None, :]

    def energy(self, grid: Grid, S: Float[Array, " m"]) -> Energy:
        """H and its slopes, at fixed toy angles."""
        return Energy(*self._energy(grid, S, False))

    def energy_by_phi(self, grid: Grid, S: Float[Array, " m"]) -> tuple[Energy, Field]:
        """The same, and the derivative with respect to J_phi, which changes the toy, too."""
        *energy, by_phi = self._energy(grid, S, True)
        return Energy(*energy), by_phi

    def _energy(self, grid: Grid, S, with_phi: bool):
        theta_r, theta_z = self.warp.radial(grid.chi_r)[0], self.warp.vertical(grid.chi_z)[0]
        half, angle = jax.tree.map(once, (sin_cos(0.5 * theta_r), sin_cos(theta_z)))
        J_r, J_z = self.toy_actions(grid, S)
        at_point = _with_slopes if with_phi else _with_meridional_slopes

        def of(half, angle, J_r, J_z):
            return at_point((self.potential, self.transformation, half, angle), J_r, J_z, self.J[2])

        fields = jax.vmap(jax.vmap(of, (None, 0, 0, 0)), (0, None, 0, 0))(half, angle, J_r, J_z)
        return jax.tree.map(once, fields)


def _at_point(given, J_r, J_z, J_phi, with_phi: bool):
    """H and its slopes with the toy's actions, at an angle: given the potential, map and angles."""
    potential, t, half, angle = given
    one, none = jnp.ones_like(J_phi), jnp.zeros_like(J_phi)

    def H(radial, vertical, J_phi):
        (rho2, p_u), (sine, cosine, p_lat) = radial, vertical
        return hamiltonian(potential, t.Delta2, J_phi, Meridional(rho2, sine, cosine, p_u, p_lat))

    # J^T_r moves the radial motion alone, J^T_z that in latitude: their slopes, then those of H.
    def radius(J_r, J_phi):
        return t.of_radius(oscillator_at(t.barriers(J_phi)[0], half, J_r))

    def latitude(J_z, J_phi):
        return t.of_latitude(sphere_at(t.barriers(J_phi)[1], angle, J_z))

    radial, by_J_r = jax.jvp(radius, (J_r, J_phi), (one, none))
    vertical, by_J_z = jax.jvp(latitude, (J_z, J_phi), (one, none))
    value, (in_r, in_z, direct) = jax.value_and_grad(H, (0, 1, 2))(radial, vertical, J_phi)
    slopes = _dot(in_r, by_J_r), _dot(in_z, by_J_z)
    if with_phi:
        r_by_phi = jax.jvp(radius, (J_r, J_phi), (none, one))[1]
        z_by_phi = jax.jvp(latitude, (J_z, J_phi), (none, one))[1]
        slopes = *slopes, direct + _dot(in_r, r_by_phi) + _dot(in_z, z_by_phi)
    return value, *slopes


_with_slopes = all_by_partials(partial(_at_point, with_phi=True))
_with_meridional_slopes = all_by_partials(partial(_at_point, with_phi=False))


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


class _State(NamedTuple):
    """The best S so far, with its energies; and the S to try next."""

    S: Float[Array, " m"]
    energy: Energy
    rms: Scalar
    trial: Float[Array, " m"]
    damping: Scalar
    gain: Scalar
    steps: Int[Array, ""]


def fit(problem: Problem, grid: Grid, S: Float[Array, " m"], steps: int | None = None) -> Float[Array, " m"]:
    """S_n by Levenberg's method, a number of steps or until that gains no more; not differentiable."""

    def step(state: _State) -> _State:
        # There is no other evaluation of H in the program: that is what takes time to compile.
        found = problem.energy(grid, state.trial)
        rms = jnp.std(found.H)
        better = rms < state.rms
        old, new = (state.S, state.energy, state.rms), (state.trial, found, rms)
        S, energy, least = jax.tree.map(lambda a, b: jnp.where(better, a, b), new, old)
        damping = jnp.where(better, jnp.maximum(0.1 * state.damping, problem.least), 30.0 * state.damping)
        normal = Normal.of(grid, problem.warp, energy)
        matrix = normal.damped(damping)
        miss = normal.project(grid, energy.H - jnp.mean(energy.H))
        change = -solve(matrix, miss, cholesky(matrix))
        # What the step promises, of the square of rms(H): where that is little it is not worth another H.
        promised = jnp.sqrt(1.0 / jnp.maximum(1.0 + change @ miss / (least * least), 1e-30))
        gain = jnp.where(better, jnp.minimum(state.rms / rms, promised), state.gain)
        trial = S + room(problem, grid, S, change) * change
        return _State(S, energy, least, trial, damping, gain, state.steps + 1)

    def gains(state: _State):
        return (state.gain > _GAIN) & (state.steps <= _ITERATIONS)

    none = Energy(*[jnp.zeros((grid.chi_r.size, grid.chi_z.size))] * 3)
    infinite = jnp.asarray(jnp.inf)
    start = _State(
        S, none, infinite, S, jnp.maximum(10.0 * _DAMPING, problem.least), infinite, jnp.asarray(0)
    )
    if steps is None:
        end = lax.while_loop(gains, step, start)
        # The last step, small and from the best S, if none had to be taken back.
        return jnp.where(end.steps <= _ITERATIONS, end.trial, end.S)
    return lax.scan(lambda state, _: (step(state), None), start, length=steps + 1)[0].S


def finish(problem: Problem, grid: Grid, S: Float[Array, " m"]) -> Fit:
    """Energy, and dS_n/dJ and Omega from one linear system each.

    S may be held fixed: one more Newton step, from the grid of the fit to this one, gives the solution here
    and its derivatives, to the order of the residual. At fixed toy angles dH/dJ_i = Omega_i everywhere:

        dH/dJ^T_i + sum_n (dH/dS_n) dS_n/dJ_i = Omega_i.

    E and Omega are means over the true angles, which E's derivatives need to be right to the second order of
    the residual: the mean of dH/dS_n vanishes there. With many terms, waves near a resonance are removed from
    H and Omega.
    """
    fixed = lax.stop_gradient(problem)
    S, matrix, factor, removed = _moved_to(fixed, grid, lax.stop_gradient(S))
    energy, by_phi = problem.energy_by_phi(grid, S)
    normal = Normal.of(grid, problem.warp, energy)
    change, left = _least_squares(grid, normal, energy.H, matrix, factor)
    if removed is not None:
        near, step = removed
        change = change + step @ near.of_field(left)
    # Of no value, and not computed where no derivative is asked for.
    moved = jax.jvp(lambda S: fixed.energy_by_phi(grid, S), (S,), (change,))[1]
    S, energy, by_phi = jax.tree.map(moving_as, (S, energy, by_phi), (change, *moved))
    normal = Normal.of(grid, problem.warp, energy)
    damped = problem.least > LEAST
    matrix = normal.damped(jnp.where(damped, jnp.maximum(problem.least, _OF_SLOPES), problem.least))
    factor = cholesky(matrix)
    rates = problem.rates(grid, normal, jnp.stack([energy.by_r, energy.by_z, by_phi]))
    dS_dJ = normal.slopes(grid, rates, matrix, factor)
    if removed is not None:
        near, _ = removed
        left = jax.vmap(near.of_field, 0, 1)(normal.moved(grid, rates, dS_dJ))
        dS_dJ = dS_dJ + jnp.where(damped, 0.0, near.step(grid, normal, matrix, factor) @ left)
    weight = lax.stop_gradient(shares(problem, grid, dS_dJ))
    Omega = jnp.sum(weight * normal.moved(grid, rates, dS_dJ), axis=(1, 2))
    return Fit(S, dS_dJ, jnp.sum(weight * energy.H), Omega, jnp.std(energy.H))


def _moved_to(problem: Problem, grid: Grid, S: Float[Array, " m"]):
    """S after a step on another grid than it was fitted on, without the waves near a resonance.

    With the step's matrix, its factor, and those waves with what they take from S_n, if any are to go.
    """
    energy = problem.energy(grid, S)
    normal = Normal.of(grid, problem.warp, energy)
    matrix = normal.damped(problem.least)
    factor = cholesky(matrix)
    change, left = _least_squares(grid, normal, energy.H, matrix, factor)
    if not waves_with(len(S)):
        return *lax.stop_gradient((S + room(problem, grid, S, change) * change, matrix, factor)), None
    rates = problem.rates(grid, normal, jnp.stack([energy.by_r, energy.by_z]))
    dS_dJ = normal.slopes(grid, rates, matrix, factor)
    weight = shares(problem, grid, dS_dJ)
    Omega = jnp.sum(weight * normal.moved(grid, rates, dS_dJ), axis=(1, 2))
    torus = Passage(true_angles(problem.warp, problem.angles, grid, dS_dJ), weight, Omega)
    near = NearResonance.of(grid, torus, problem.least, left, problem.J)
    step = near.step(grid, normal, matrix, factor)
    change = change + step @ near.of_field(left)
    return lax.stop_gradient((S + room(problem, grid, S, change) * change, matrix, factor, (near, step)))


def _least_squares(grid: Grid, normal: Normal, H: Field, matrix, factor):
    """The step of least squares, and H after it."""
    change = -solve(matrix, normal.project(grid, H - jnp.mean(H)), factor)
    return change, normal.moved(grid, H[None], change[:, None])[0]


def shares(problem: Problem, grid: Grid, dS_dJ: Float[Array, "m i"]) -> Field:
    """What part of the torus is around each point of the grid."""
    density = angle_density(problem.warp, problem.angles, grid, dS_dJ)
    return density / jnp.sum(density)


def room(problem: Problem, grid: Grid, S, change) -> Scalar:
    """The part of a step, at most 1, that leaves all toy actions more than a share of the torus's."""
    now = problem.toy_actions(grid, S)
    after = problem.toy_actions(grid, S + change)
    spent = []
    for J, a, b in zip(problem.J[:2], now, after, strict=True):
        spent.append(jnp.max((a - b) / (a - jnp.minimum(_ROOM * J, 0.5 * a))))
    return jnp.minimum(1.0, 0.9 / jnp.maximum(jnp.maximum(*spent), 1e-30))
