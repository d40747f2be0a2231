"""Actions, angles and frequencies from orbits: a toy's actions along an orbit, averaged over its angles."""

from functools import cache
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions, require_float64
from oortax.dynamics.circular import ring
from oortax.dynamics.delta import FocalDistance, focal_distance
from oortax.dynamics.orbit import adaptive_orbit
from oortax.dynamics.separable_toy import angles_actions, fitted
from oortax.numerics.trigonometry import sin_cos
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result
from oortax.types import Actions, Angles, Frequencies, Scalar, Vec3

# Tolerances of the integrator, and at most so many steps in each direction.
_TOLERANCE, _MOST_STEPS = 1e-10, 20_000
# What is added to the squares of a mode, in shares of n^2.
_RIDGE = 1e-7
# Residual above which actions are called inaccurate.
_POOR = 0.05
# Radii of circular orbits (kpc) between which periods are known.
_R_MIN, _R_MAX, _KNOTS = 0.01, 300.0, 64


class _Fit(NamedTuple):
    J: Actions
    theta: Angles
    Omega: Frequencies
    residual: Scalar


@cache
def _modes(n_max: int) -> np.ndarray:
    """n = (n_r, n_z), n_z even, n_r + |n_z| <= n_max, one of n and -n, without 0."""
    n_z = np.arange(-n_max - n_max % 2, n_max + 1, 2)
    n = np.array([(r, z) for r in range(n_max + 1) for z in n_z if r + abs(z) <= n_max])
    return n[(n[:, 0] > 0) | (n[:, 1] > 0)]


def _window(samples: int) -> np.ndarray:
    """exp(-1/(4 t (1 - t))), of sum 1: averages with it of what oscillates vanish faster than any power of
    its frequency."""
    t = (np.arange(samples) + 0.5) / samples
    weight = np.exp(-0.25 / (t * (1.0 - t)))
    return weight / weight.sum()


@final
class OrbitAveraged(AbstractActionFinder):
    potential: AbstractPotential
    focal: FocalDistance
    E: Float[Array, " k"]
    log_kappa: Float[Array, " k"]
    n_max: int = eqx.field(static=True)
    periods: float = eqx.field(static=True)
    samples: int = eqx.field(static=True)

    def __init__(self, potential: AbstractPotential, *, n_max: int = 12, periods: float = 14.0, samples=None):
        self.potential = expand(potential)
        self.focal = focal_distance(self.potential)
        R = jnp.geomspace(_R_MIN, _R_MAX, _KNOTS)
        rings = jax.vmap(lambda R: ring(self.potential, R))(R)
        self.E = rings.Phi + 0.5 * R * rings.Phi_R
        self.log_kappa = 0.5 * jnp.log(rings.Phi_RR + 3.0 * rings.Phi_R / R)
        self.n_max, self.periods = n_max, float(periods)
        self.samples = samples or 2 * round(25 * periods) + 1

    def actions_and_code(self, x: Vec3, v: Vec3) -> StarActions:
        found = self.actions_angles_frequencies(x, v)
        return StarActions(found.J, found.residual, found.code)

    def actions_angles_frequencies(self, x: Vec3, v: Vec3) -> ActionAngles:
        require_float64("OrbitAveraged", x, v)
        E = 0.5 * (v @ v) + self.potential.Phi(x)
        period = 2.0 * jnp.pi * jnp.exp(-jnp.interp(E, self.E, self.log_kappa))
        finite = jnp.isfinite(E)
        bound = finite & (E < self.E[-1])
        good = lambda part, other: jnp.where(bound, part, jnp.asarray(other))  # noqa: E731
        times, xs, vs, reached = self._orbit(good(x, [8.0, 0.0, 0.0]), good(v, [0.0, 0.0, 0.0]), period)
        fit = self._fit(times, xs, vs, E)
        return ActionAngles(
            fit.J, fit.theta % (2 * jnp.pi), fit.Omega, fit.residual, jnp.where(reached, 0, 3)
        )

    def _orbit(self, x, v, period):
        half = 0.5 * self.periods * period * jnp.linspace(0.0, 1.0, (self.samples + 1) // 2)
        both = jax.vmap(
            lambda v: adaptive_orbit(
                self.potential, x, v, half, rtol=_TOLERANCE, atol=_TOLERANCE, max_steps=_MOST_STEPS
            )
        )
        xs, vs, reached = both(jnp.stack([v, -v]))
        join = lambda part, sign: jnp.concatenate([sign * part[1, :0:-1], part[0]])  # noqa: E731
        times = jnp.concatenate([-half[:0:-1], half])
        return times, join(xs, 1.0), join(vs, -1.0), jnp.all(reached)

    def _fit(self, times, xs, vs, E) -> _Fit:
        L_z = xs[0, 0] * vs[0, 1] - xs[0, 1] * vs[0, 0]
        toy = fitted(xs, vs, self.focal(E, L_z), L_z)
        theta, J = jax.vmap(lambda x, v: angles_actions(toy, x, v))(xs, vs)
        theta = jnp.unwrap(theta, axis=0)
        n = jnp.asarray(_modes(self.n_max), float)
        w = jnp.asarray(_window(len(times)))
        sine, cosine = sin_cos(n @ theta[:, :2].T)
        n2 = jnp.sum(n * n, axis=1)
        # J^T = J + 2 sum n S_n cos: unknowns J and 2 S_n.
        by_mode = n.T[:, :, None] * cosine
        weighed = by_mode * w
        square = jnp.einsum("imt,int->mn", weighed, by_mode) + _RIDGE * jnp.diag(n2)
        border = jnp.sum(weighed, axis=2)
        right = jnp.sum(weighed * J.T[:, None], axis=(0, 2))
        averages = w @ J
        J_of, S = _bordered(jnp.eye(2), border, square, averages, right)
        rest = J.T - J_of[:, None] - jnp.einsum("imt,m->it", by_mode, S)
        residual = jnp.sqrt(jnp.sum(w * rest**2)) / jnp.sum(J_of)
        # theta + 2 sum dS_n/dJ sin = theta_0 + Omega t
        scaled = times / times[-1]
        smooth = jnp.stack([jnp.ones_like(scaled), scaled])
        ws = -sine * w
        line, _ = _bordered(
            (smooth * w) @ smooth.T,
            smooth @ ws.T,
            ws @ -sine.T + _RIDGE * jnp.eye(len(n)),
            (smooth * w) @ theta,
            ws @ theta,
        )
        return _Fit(jnp.concatenate([J_of, L_z[None]]), line[0], line[1] / times[-1], residual)


def _bordered(A, B, D, a, d):
    """Solution (p, q) of A p + B q = a, B^T p + D q = d."""
    factor = jax.scipy.linalg.cho_factor(D)
    of_B, of_d = (jax.scipy.linalg.cho_solve(factor, part) for part in (B.T, d))
    p = jnp.linalg.solve(A - B @ of_B, a - B @ of_d)
    return p, of_d - of_B @ p
