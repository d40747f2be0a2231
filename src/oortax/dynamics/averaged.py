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
from oortax.dynamics.separable_toy import angles_actions, fitted, followed
from oortax.numerics.positive import cholesky, solve
from oortax.numerics.trigonometry import sin_cos
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result
from oortax.types import Actions, Angles, Frequencies, Scalar, Vec3

# Tolerances of the integrator, relative and absolute, and at most so many steps in each direction.
_TOLERANCE, _MOST_STEPS = 1e-10, 20_000
# What is added to the squares of a mode, in shares of n^2.
_RIDGE = 1e-8
# Residual above which actions are called inaccurate.
_POOR = 0.05
# What is added to J_r + J_z where residuals are shares of it, in shares of |J_phi|.
_SMALL = 1e-6
# Radii of circular orbits (kpc) between which periods are known, and where a star has escaped.
_R_MIN, _R_MAX, _KNOTS, _ESCAPED = 0.01, 300.0, 64, 1e4


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


@jax.custom_jvp
def _no_derivative(x, v):
    return x, v


@_no_derivative.defjvp
def _(primals, tangents):
    raise ValueError(
        "OrbitAveraged has no derivatives: those of an orbit grow with its length; TorusFinder has them"
    )


@final
class OrbitAveraged(AbstractActionFinder):
    """Actions, angles and frequencies from the star's own orbit: the accurate, slow referee.

    The orbit is integrated forwards and backwards (`adaptive_orbit`), a toy whose angles and actions are in
    closed form is fitted to it, and the toy's actions and angles along it,

        J^T = J + 2 sum_n n S_n cos(n . theta^T)
        theta^T = theta_0 + Omega t - 2 sum_n dS_n/dJ sin(n . theta^T)

    are solved for J, theta_0 and Omega by least squares (Sanders & Binney 2014, MNRAS 441, 3284). The toy is
    an isochrone in spheroidal coordinates, which leaves less to the S_n than theirs. Times are weighted by
    exp(-1/(4 t (1 - t))), with which means of oscillations vanish faster than any power of their number; a
    small penalty on n^2 S_n^2 keeps modes that a short orbit does not tell apart from growing.

    Parameters
    ----------
    potential : AbstractPotential
        Axisymmetric and even in z.
    n_max : int
        Modes n = (n_r, n_z) with n_r + |n_z| <= n_max, n_z even.
    periods : float
        Length of the orbit in radial periods of the circular orbit of its energy.
    samples : int, optional
        Points on it, odd; default 50 a period.

    Notes
    -----
    Of twenty orbits each in mw_potential_2014, J_r and J_z over J_r + J_z agree with those of surfaces of
    section to 7e-8 (thin disc), 2e-7 (thick disc) and 9e-5 (halo) in the median, 4e-6, 3e-5 and 1e-2 at
    worst, for some 20 ms a star. `residual` is the rms of what the modes leave of J^T, over J_r + J_z; above
    0.05 (resonant and chaotic orbits, those through the centre) the code is INACCURATE. It is UNBOUND for
    stars that escape, OUTSIDE for energies of no circular orbit between 0.01 and 300 kpc, NOT_CONVERGED where
    the integration stops or no toy fits, NONFINITE for NaN; then numbers are NaN. Vmappable;
    differentiating raises ValueError, as does float32.

    >>> from oortax import potential
    >>> finder = OrbitAveraged(potential.mw_potential_2014(), n_max=6, periods=8.0)
    >>> x, v = jnp.array([8.0, 0.0, 0.3]), jnp.array([20.0, 220.0, 10.0])
    >>> J = jax.jit(lambda x, v: finder.actions(x, v))(x, v)
    >>> round(float(J[2]), 6)
    1760.0
    """

    potential: AbstractPotential
    focal: FocalDistance
    E: Float[Array, " k"]
    log_kappa: Float[Array, " k"]
    n_max: int = eqx.field(static=True)
    periods: float = eqx.field(static=True)
    samples: int = eqx.field(static=True)

    def __init__(
        self,
        potential: AbstractPotential,
        *,
        n_max: int = 12,
        periods: float = 14.0,
        samples: int | None = None,
    ):
        if not isinstance(n_max, int) or n_max < 2 or not periods > 1.0:
            raise ValueError(
                f"n_max = {n_max!r}, periods = {periods!r}: n_max >= 2 and periods > 1 are needed"
            )
        if samples is not None and (samples < 25 or samples % 2 == 0):
            raise ValueError(f"samples = {samples}: an odd number >= 25 is needed")
        require_float64("OrbitAveraged", *jax.tree.leaves(eqx.filter(potential, eqx.is_array)))
        self.potential = expand(potential)
        self.focal = focal_distance(self.potential)
        R = jnp.geomspace(_R_MIN, _R_MAX, _KNOTS)
        rings = jax.vmap(lambda R: ring(self.potential, R))(R)
        self.E = rings.Phi + 0.5 * R * rings.Phi_R
        self.log_kappa = 0.5 * jnp.log(rings.Phi_RR + 3.0 * rings.Phi_R / R)
        self.n_max, self.periods = n_max, float(periods)
        self.samples = samples or 2 * round(25 * periods) + 1

    def actions_and_code(self, x: Vec3, v: Vec3) -> StarActions:
        """Actions with their residual and a `Result` code."""
        found = self.actions_angles_frequencies(x, v)
        return StarActions(found.J, found.residual, found.code)

    def actions_angles_frequencies(self, x: Vec3, v: Vec3) -> ActionAngles:
        """The same with angles and frequencies."""
        require_float64("OrbitAveraged", x, v)
        x, v = _no_derivative(x, v)
        E = 0.5 * (v @ v) + self.potential.Phi(x)
        finite = jnp.isfinite(E)
        bound = finite & (E > self.E[0]) & (E < self.E[-1])
        # A circular orbit instead of one without end: all stars of a batch take the steps of the longest.
        middle = _KNOTS // 2
        R = jnp.geomspace(_R_MIN, _R_MAX, _KNOTS)[middle]
        speed = jnp.sqrt(2.0 * (self.E[middle] - self.potential.Phi_Rz(R, 0.0)))
        good = lambda part, other: jnp.where(bound, part, other)  # noqa: E731
        x, v = good(x, R * jnp.array([1.0, 0.0, 0.0])), good(v, speed * jnp.array([0.0, 1.0, 0.0]))
        kappa = jnp.exp(jnp.interp(good(E, self.E[middle]), self.E, self.log_kappa))
        times, xs, vs, reached = self._orbit(x, v, 2.0 * jnp.pi / kappa)
        fit = self._fit(times, xs, vs, E)
        escapes = E > self.potential.Phi(jnp.array([_ESCAPED, 0.0, 0.0]))
        code = jnp.where(fit.residual < _POOR, Result.OK, Result.INACCURATE)
        code = jnp.where(reached & jnp.isfinite(fit.residual), code, Result.NOT_CONVERGED)
        code = jnp.where(bound, code, jnp.where(escapes, Result.UNBOUND, Result.OUTSIDE))
        code = jnp.where(finite, code, Result.NONFINITE)
        known = (code == Result.OK) | (code == Result.INACCURATE)
        J, theta, Omega = (
            jnp.where(known, part, jnp.nan) for part in (fit.J, fit.theta % (2.0 * jnp.pi), fit.Omega)
        )
        return ActionAngles(J, theta, Omega, fit.residual, code)

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
        w = jnp.asarray(_window(len(times)))
        toy = fitted(xs, vs, w, self.focal(E, L_z), L_z)
        theta, J, lag = jax.vmap(lambda x, v: angles_actions(toy, x, v))(xs, vs)
        even = followed(theta, lag, L_z)
        n = jnp.asarray(_modes(self.n_max), float)
        sine, cosine = sin_cos(n @ theta[:, :2].T)
        # J^T = J + 2 sum n S_n cos: unknowns J and 2 S_n.
        n_n, weighed = n @ n.T, cosine * w
        square = n_n * (weighed @ cosine.T) + _RIDGE * jnp.diag(jnp.diag(n_n))
        right = jnp.sum(n * (weighed @ J), axis=1)
        J_of, S = _bordered(jnp.eye(2), n.T * jnp.sum(weighed, axis=1), square, w @ J, right)
        rest = J.T - J_of[:, None] - n.T @ (S[:, None] * cosine)
        # theta + 2 sum dS_n/dJ sin = theta_0 + Omega t
        scaled = times / times[-1]
        smooth = jnp.stack([jnp.ones_like(scaled), scaled])
        weighed = -sine * w
        line, _ = _bordered(
            (smooth * w) @ smooth.T,
            smooth @ weighed.T,
            weighed @ -sine.T + _RIDGE * jnp.eye(len(n)),
            (smooth * w) @ even,
            weighed @ even,
        )
        turns = sin_cos((n @ line[1, :2])[:, None] * scaled)
        left = jnp.hypot(*(part @ w for part in turns))
        unresolved = jnp.sum(jnp.abs(S) * left * jnp.linalg.norm(n, axis=1))
        below = jnp.sum(jnp.maximum(-J_of, 0.0))
        size = jnp.sum(jnp.abs(J_of)) + _SMALL * jnp.abs(L_z)
        residual = (jnp.sqrt(jnp.sum(w * rest**2)) + unresolved + below) / size
        J_of = jnp.maximum(J_of, 0.0)
        return _Fit(jnp.concatenate([J_of, L_z[None]]), line[0], line[1] / times[-1], residual)


def _bordered(A, B, D, a, d) -> tuple[Array, Array]:
    """Solution (p, q) of A p + B q = a, B^T p + D q = d, a positive definite system."""
    factor = cholesky(D)
    of_B, of_d = solve(D, B.T, factor), solve(D, d, factor)
    schur = A - B @ of_B
    p = solve(schur, a - B @ of_d, cholesky(schur))
    return p, of_d - of_B @ p
