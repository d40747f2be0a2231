"""How tori answer to a change of the potential: one linear step of the fit, prepared once.

With the toy map kept, dS_n change H on a torus by 2 sum_n dS_n cos(n.chi) n.(dH/dJ^T), the potential by dPhi,
and the normal equations of the fit say which dS_n keep H constant:

    dS = -M^-1 (projection of dPhi - <dPhi>),   dE = <dPhi>

M, the slopes of H and where the torus passes belong to the pilot potential. Derivatives at the pilot are
those of `refit_torus` but at resonances; what is wrong with dS grows as the square of dPhi.
"""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from oortax.dynamics.torus.fit import Problem
from oortax.dynamics.torus.grid import Grid, grid
from oortax.dynamics.torus.near_resonance import angle_density
from oortax.dynamics.torus.normal import Normal
from oortax.dynamics.torus.torus import Torus
from oortax.dynamics.torus.toy import oscillator_at, sphere_at
from oortax.numerics.positive import cholesky, solve
from oortax.numerics.trigonometry import sin_cos
from oortax.potential.base import AbstractPotential

# A wave whose n.Omega is the root of this times |n_r| Omega_r + |n_z| Omega_z answers by half: beyond, a
# torus is resonant. What is fitted in many steps, with whatever damping, is undamped in comparison.
_DAMPING = 1e-4
# Tori at a time: what a step needs of them fits the cache.
_BATCH = 16


@final
class LinearTori(eqx.Module):
    """Tori of a pilot potential (one leading axis) and what they answer to a change (build with `linear`).

    R2, z2, Phi, by_r, by_z and weight are fields on the grid of the fit: kpc^2, (km/s)^2, the slopes of H
    and shares of the torus; `known` tells which tori there are.
    """

    R2: Float[Array, "tori r z"]
    z2: Float[Array, "tori r z"]
    Phi: Float[Array, "tori r z"]
    by_r: Float[Array, "tori r z"]
    by_z: Float[Array, "tori r z"]
    weight: Float[Array, "tori r z"]
    inverse: Float[Array, "tori m m"]
    known: Bool[Array, " tori"]

    def __call__(self, potential: AbstractPotential) -> tuple[Float[Array, "tori m"], Float[Array, " tori"]]:
        """dS_n and dE of each torus in an expanded potential; 0 for unknown tori."""
        of = grid(self.inverse.shape[-1])

        def answer(torus: LinearTori):
            Phi = jax.vmap(jax.vmap(potential.Phi_of_squares))(torus.R2, torus.z2)
            rise = Phi - torus.Phi
            normal = Normal(torus.by_r, torus.by_z, torus.inverse, jnp.zeros(()))
            miss = normal.project(of, rise - jnp.mean(rise))
            dS, dE = -torus.inverse @ miss, jnp.sum(torus.weight * rise)
            return jax.tree.map(lambda change: jnp.where(torus.known, change, 0.0), (dS, dE))

        return lax.map(answer, self, batch_size=_BATCH)


@final
class FirstOrderTori(eqx.Module):
    """What `LinearTori` answers to small changes of a potential's numbers a_p (build with `first_order`).

        dS_n = sum_p (dS_n/da_p) (a_p - a_p0),   dE the same

    A product of matrices, with no Phi on grids: for a likelihood, which asks at every step of a fit. `at`
    are the numbers a_p0 of the potential of the tori.
    """

    at: Float[Array, " p"]
    dS: Float[Array, "tori m p"]
    dE: Float[Array, "tori p"]

    def __call__(self, potential: AbstractPotential) -> tuple[Float[Array, "tori m"], Float[Array, " tori"]]:
        """dS_n and dE of each torus in an expanded potential of the same kind."""
        change = numbers_of(potential) - self.at
        return self.dS @ change, self.dE @ change


def numbers_of(potential: AbstractPotential) -> Float[Array, " p"]:
    """All numbers of a potential, in one vector."""
    return ravel_pytree(eqx.filter(potential, eqx.is_inexact_array))[0]


@eqx.filter_jit
def first_order(linear: LinearTori, potential: AbstractPotential) -> FirstOrderTori:
    """The derivatives of what tori answer by each of an expanded potential's numbers."""
    moving, rest = eqx.partition(potential, eqx.is_inexact_array)
    at, back = ravel_pytree(moving)
    return FirstOrderTori(at, *jax.jacfwd(lambda at: linear(eqx.combine(back(at), rest)))(at))


@eqx.filter_jit
def linear(potential: AbstractPotential, tori: Torus) -> LinearTori:
    """Prepared from tori fitted in a potential, to which `expand` has been applied."""
    return lax.map(lambda torus: _linear(potential, torus), tori, batch_size=_BATCH)


def _linear(potential: AbstractPotential, torus: Torus) -> LinearTori:
    of = grid(torus.S.shape[0])
    known = jnp.all(jnp.isfinite(torus.S))
    S, dS_dJ = (jnp.where(known, part, 0.0) for part in (torus.S, torus.dS_dJ))
    problem = Problem(potential, torus.transformation, torus.warp, torus.angles, torus.J)
    normal = Normal.of(of, torus.warp, problem.energy(of, S))
    weight = angle_density(torus.warp, torus.angles, of, dS_dJ)
    R2, z2 = _places(problem, of, S)
    Phi = jax.vmap(jax.vmap(potential.Phi_of_squares))(R2, z2)
    matrix = normal.damped(_DAMPING)
    inverse = solve(matrix, jnp.eye(len(S)), cholesky(matrix))
    fields = R2, z2, Phi, normal.a, normal.b, weight / jnp.sum(weight), inverse
    # Where a torus is mended from its neighbours the toy's actions may be negative, and there are no places.
    known = known & jnp.stack([jnp.all(jnp.isfinite(field)) for field in fields]).all()
    R2, z2, Phi, by_r, by_z, weight, inverse = (jnp.where(known, field, 1.0) for field in fields)
    return LinearTori(R2, z2, Phi, by_r, by_z, weight, inverse, known)


def _places(problem: Problem, of: Grid, S):
    """R^2 and z^2 on the grid."""
    t, J_phi = problem.transformation, problem.J[2]
    J_r, J_z = problem.toy_actions(of, S)
    theta_r, theta_z = problem.warp.radial(of.chi_r)[0], problem.warp.vertical(of.chi_z)[0]
    half, angle = sin_cos(0.5 * theta_r), sin_cos(theta_z)

    def place(half, angle, J_r, J_z):
        rho2, _ = t.of_radius(oscillator_at(t.barriers(J_phi)[0], half, J_r))
        sine, cosine, _ = t.of_latitude(sphere_at(t.barriers(J_phi)[1], angle, J_z))
        return rho2 * cosine**2, (rho2 + t.Delta2) * sine**2

    return jax.vmap(jax.vmap(place, (None, 0, 0, 0)), (0, None, 0, 0))(half, angle, J_r, J_z)
