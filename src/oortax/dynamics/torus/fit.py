"""Fitting the generating function: H constant over the torus."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from oortax.dynamics.torus.angles import FudgeAngles
from oortax.dynamics.torus.generating import Warp
from oortax.dynamics.torus.grid import Field, Grid
from oortax.dynamics.torus.toy import oscillator, sphere
from oortax.dynamics.torus.transformation import Transformation
from oortax.numerics.positive import cholesky, solve
from oortax.potential.base import AbstractPotential
from oortax.types import Actions, Frequencies, Scalar

# Steps at most, and the factor in rms(H) that makes another one worth while.
_ITERATIONS, _GAIN = 8, 1.2
# No step takes a toy action below this share of the torus's, or half of where it was, if that is less.
_ROOM = 0.05
# Levenberg's damping: a wave whose n.Omega is sqrt of this times |n_r| Omega_r + |n_z| Omega_z keeps half of
# its step. At first, and its least.
_DAMPING, _LEAST = 1e-6, 1e-10


class Fit(NamedTuple):
    """S_n and their derivatives, energy and frequencies, and the rms of H over the grid."""

    S: Float[Array, " m"]
    dS_dJ: Float[Array, "m 3"]
    E: Scalar
    Omega: Frequencies
    rms: Scalar


class Energy(NamedTuple):
    """H on the grid, and its derivatives with respect to the toy actions."""

    H: Field
    by_r: Field
    by_z: Field
    by_phi: Field


def hamiltonian(
    potential: AbstractPotential, transformation: Transformation, theta_r, theta_z, J: Actions
) -> Scalar:
    """H at toy angles and toy actions (J_phi is its own toy action)."""
    of_radius, of_latitude = transformation.barriers(J[2])
    at = transformation(oscillator(of_radius, theta_r, J[0]), sphere(theta_z, J[1], of_latitude))
    R2 = at.rho2 * at.cosine**2
    z2 = (at.rho2 + transformation.Delta2) * at.sine**2
    kinetic = (at.p_u**2 + at.p_lat**2) / (at.rho2 + transformation.Delta2 * at.cosine**2) + J[2] ** 2 / R2
    return 0.5 * kinetic + potential.Phi_of_squares(R2, z2)


class Problem(NamedTuple):
    """What is fitted: one torus on its grid."""

    potential: AbstractPotential
    transformation: Transformation
    warp: Warp
    angles: FudgeAngles
    J: Actions

    def toy_actions(self, grid: Grid, S: Float[Array, " m"]) -> tuple[Field, Field]:
        """J^T_r and J^T_z on the grid."""
        _, by_chi_r = self.warp.radial(grid.chi_r)
        _, by_chi_z = self.warp.vertical(grid.chi_z)
        angles_r, angles_z = self.angles.by_chi(grid.chi_r, grid.chi_z)
        moved = self.J - self.angles.J
        J_r = self.J[0] + ((moved @ angles_r)[:, None] + 2.0 * grid.sum(grid.n[:, 0] * S)) / by_chi_r[:, None]
        return J_r, self.J[1] + (moved @ angles_z + 2.0 * grid.sum(grid.n[:, 1] * S)) / by_chi_z

    def energy(self, grid: Grid, S: Float[Array, " m"]) -> Energy:
        """H and its slopes, at fixed toy angles."""

        def of(theta_r, theta_z, J_r, J_z):
            def H(*J):
                return hamiltonian(self.potential, self.transformation, theta_r, theta_z, jnp.stack(J))

            value, slopes = jax.value_and_grad(H, (0, 1, 2))(J_r, J_z, self.J[2])
            return Energy(value, *slopes)

        theta_r, theta_z = self.warp.radial(grid.chi_r)[0], self.warp.vertical(grid.chi_z)[0]
        J_r, J_z = self.toy_actions(grid, S)
        return jax.vmap(jax.vmap(of, (None, 0, 0, 0)), (0, None, 0, 0))(theta_r, theta_z, J_r, J_z)


class Normal(NamedTuple):
    """The normal equations of dH = 2 sum_n cos(n.chi) (n_r a + n_z b) dS_n, up to a constant."""

    a: Field
    b: Field
    matrix: Float[Array, "m m"]
    scale: Float[Array, " m"]

    @classmethod
    def of(cls, grid: Grid, warp: Warp, energy: Energy) -> "Normal":
        """From the slopes of H."""
        a = energy.by_r / warp.radial(grid.chi_r)[1][:, None]
        b = energy.by_z / warp.vertical(grid.chi_z)[1]
        n_r, n_z = grid.n[:, 0].astype(float), grid.n[:, 1].astype(float)
        aa, ab, bb = (grid.gram(w) for w in (a * a, a * b, b * b))
        cross = jnp.asarray(np.outer(n_r, n_z) + np.outer(n_z, n_r))
        matrix = jnp.asarray(np.outer(n_r, n_r)) * aa + cross * ab + jnp.asarray(np.outer(n_z, n_z)) * bb
        mean = n_r * grid.coefficients(a) + n_z * grid.coefficients(b)
        # The square of a column with all its n.Omega taken positive: what is large there, but at a resonance.
        scale = jnp.asarray(
            n_r**2 * jnp.mean(a * a)
            + 2 * abs(n_r * n_z) * jnp.mean(jnp.abs(a * b))
            + n_z**2 * jnp.mean(b * b)
        )
        return cls(a, b, 4.0 * (matrix - mean[:, None] * mean), 2.0 * scale)

    def project(self, grid: Grid, field: Field) -> Float[Array, " m"]:
        """The right-hand side of a field, whose mean must be 0."""
        n_r, n_z = grid.n[:, 0], grid.n[:, 1]
        return 2.0 * (n_r * grid.coefficients(self.a * field) + n_z * grid.coefficients(self.b * field))

    def damped(self, damping) -> Float[Array, "m m"]:
        """The matrix of damped least squares."""
        return self.matrix + jnp.diag(damping * self.scale)


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
        damping = jnp.where(better, jnp.maximum(0.1 * state.damping, _LEAST), 30.0 * state.damping)
        gain = jnp.where(better, state.rms / rms, state.gain)
        normal = Normal.of(grid, problem.warp, energy)
        matrix = normal.damped(damping)
        miss = normal.project(grid, energy.H - jnp.mean(energy.H))
        change = -solve(matrix, miss, cholesky(matrix))
        trial = S + room(problem, grid, S, change) * change
        return _State(S, energy, least, trial, damping, gain, state.steps + 1)

    def gains(state: _State):
        return (state.gain > _GAIN) & (state.steps <= _ITERATIONS)

    none = Energy(*[jnp.zeros((grid.chi_r.size, grid.chi_z.size))] * 4)
    infinite = jnp.asarray(jnp.inf)
    start = _State(S, none, infinite, S, jnp.asarray(10.0 * _DAMPING), infinite, jnp.asarray(0))
    if steps is None:
        return lax.while_loop(gains, step, start).S
    return lax.scan(lambda state, _: (step(state), None), start, length=steps + 1)[0].S


@jax.custom_jvp
def moving_as(solution, change):
    """A solution, with the derivatives of solution + change, those of a Newton step that is not taken.

    Where no derivative is asked for, nothing is computed.
    """
    return solution


@moving_as.defjvp
def _(primals, tangents):
    return primals[0], tangents[0] + tangents[1]


def finish(problem: Problem, grid: Grid, S: Float[Array, " m"]) -> Fit:
    """Energy, and dS_n/dJ and Omega from one linear system each.

    S may be held fixed: the derivatives of one more Newton step are those of S, as if it solved its equations
    exactly, to the order of the residual. At fixed toy angles dH/dJ_i = Omega_i everywhere:

        dH/dJ^T_i + sum_n (dH/dS_n) dS_n/dJ_i = Omega_i.

    E and Omega are means over the true angles, which E's derivatives need to be right to the second order of
    the residual: the mean of dH/dS_n vanishes there.
    """
    energy = problem.energy(grid, S)
    normal = Normal.of(grid, problem.warp, energy)
    # The matrix is that of the second system, too.
    matrix = lax.stop_gradient(normal.damped(_LEAST))
    factor = cholesky(matrix)
    S = moving_as(S, -solve(matrix, normal.project(grid, energy.H - jnp.mean(energy.H)), factor))
    energy = problem.energy(grid, S)
    slopes = jnp.stack(energy[1:])
    normal = Normal.of(grid, problem.warp, energy)
    angles_r, angles_z = problem.angles.by_chi(grid.chi_r, grid.chi_z)
    slopes = slopes + normal.a * angles_r[:, :, None] + normal.b * angles_z[:, None, :]
    centred = slopes - jnp.mean(slopes, axis=(1, 2), keepdims=True)
    misses = jax.vmap(lambda f: normal.project(grid, f), out_axes=1)(centred)
    dS_dJ = -solve(normal.damped(_LEAST), misses, factor)
    n_r, n_z = grid.n[:, 0, None], grid.n[:, 1, None]
    total = jax.vmap(grid.sum, 1)
    change = 2.0 * (normal.a * total(n_r * dS_dJ) + normal.b * total(n_z * dS_dJ))
    weight = lax.stop_gradient(angle_density(problem, grid, dS_dJ))
    weight = weight / jnp.sum(weight)
    Omega = jnp.sum(weight * (slopes + change), axis=(1, 2))
    return Fit(S, dS_dJ, jnp.sum(weight * energy.H), Omega, jnp.std(energy.H))


def angle_density(problem: Problem, grid: Grid, dS_dJ: Float[Array, "m 3"]) -> Field:
    """d2(theta)/d2(chi) on the grid, of the true angles."""
    _, by_chi_r = problem.warp.radial(grid.chi_r)
    _, by_chi_z = problem.warp.vertical(grid.chi_z)
    angles_r, angles_z = problem.angles.by_chi(grid.chi_r, grid.chi_z)
    n_r, n_z = grid.n[:, 0], grid.n[:, 1]

    def slopes(i):
        by_r = ((by_chi_r if i == 0 else 0.0) + angles_r[i])[:, None] + 2.0 * grid.sum(n_r * dS_dJ[:, i])
        by_z = (by_chi_z if i == 1 else 0.0) + angles_z[i] + 2.0 * grid.sum(n_z * dS_dJ[:, i])
        return by_r, by_z

    (rr, rz), (zr, zz) = slopes(0), slopes(1)
    return jnp.abs(rr * zz - rz * zr)


def room(problem: Problem, grid: Grid, S, change) -> Scalar:
    """The part of a step, at most 1, that leaves all toy actions more than a share of the torus's."""
    now = problem.toy_actions(grid, S)
    after = problem.toy_actions(grid, S + change)
    spent = []
    for J, a, b in zip(problem.J[:2], now, after, strict=True):
        spent.append(jnp.max((a - b) / (a - jnp.minimum(_ROOM * J, 0.5 * a))))
    return jnp.minimum(1.0, 0.9 / jnp.maximum(jnp.maximum(*spent), 1e-30))
