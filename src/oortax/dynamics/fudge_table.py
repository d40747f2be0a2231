"""Tables of the interpolated Staeckel fudge: actions as functions of E, L_z and the third integral.

The third integral is A = p_v^2/2 at the crossing of the plane, for motion in v at the star's own rho (see
`spheroidal`; U is taken in the plane, V along rho),

    A = (L_x^2 + L_y^2 + Delta^2 v_z^2)/2 + (rho^2 + Delta^2) [Phi(x) - Phi(rho, 0)],

0 in the plane and (L^2 - L_z^2)/2 in a sphere. The radial motion, p_u^2/2 = P(rho) - A with

    P(rho) = (rho^2 + Delta^2) [E - Phi(rho, 0) - L_z^2/(2 rho^2)],

needs P >= A: the shell orbit has A_shell = max P, at rho_shell. Where Phi does not separate A changes with
rho; what the motion in v, mostly the faster one, conserves is J_z(E, L_z, A, rho). The tables therefore hold

1. ln A_0/A, where A_0 is the A at rho_shell with the same J_z: a parabola in
   r = (rho^2 - rho_shell^2)/(rho^2 + rho_shell^2);
2. J_z of A_0, and J_r of the A that averages A(rho) at this J_z over the radial motion.

Variables of the tables: R_c(E); k = |L_z|/L_c(E); and j = lambda/lambda_shell, where lambda =
sqrt(L_z^2 + 2A) - |L_z| is L - |L_z| in a sphere. J_z/lambda and J_r/(lambda_shell - lambda) are smooth and
neither 0 nor infinite anywhere.
"""

import functools
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from oortax.dynamics.delta import FocalDistance
from oortax.dynamics.jet import IN_PLANE, jet
from oortax.dynamics.spheroidal import Spheroidal, radial_kinetic, vertical_kinetic
from oortax.dynamics.staeckel import radial_action, vertical_action
from oortax.dynamics.turning import Ends, moving, turning_points
from oortax.numerics.batching import chunked_map, kept, recomputed
from oortax.numerics.bspline import basis, pieces
from oortax.numerics.implicit import moving_as
from oortax.numerics.node_sum import node_sum
from oortax.potential.base import AbstractPotential
from oortax.types import Scalar

_DEGREE = 2
# Scales in 1 - k and in j below which cells no longer shrink: the share of a thin disc's J_z in L_c.
_NEAR_CIRCULAR, _NEAR_PLANE = 0.02, 0.02
# Nodes keep this far, in cells, from orbits of which an action is 0: ratios of actions are 0/0 there.
_MARGIN = 0.05
_TINY = 1e-30
# A last step of ln(rho) below this, of a method that squares it, has found the maximum.
_FOUND = 1e-4
# Energies handled at a time: what they need fits the cache.
_ROWS = 7
# Largest ln A/A_0: the mean of A is that of the shell orbit long before.
_LARGEST = 50.0
# And of ln A_0/A between the nodes.
MOST = 3.0
# Where d ln J_z/d ln A, 1/2 to 1 in a separable potential, is less than this, or A changes more with radius
# (c1 and c2), the fudge fails: next to the axis of prolate potentials.
_LEAST_SLOPE, _MOST_CHANGES = 0.2, (2.0, 1.0)


@functools.cache
def _nodes(n: int) -> np.ndarray:
    """Where values are interpolated on n cells: their middles, and near both ends."""
    return np.concatenate([[_MARGIN], np.arange(n) + 0.5, [n - _MARGIN]])


@functools.cache
def _collocation(n: int, order: int = 0) -> np.ndarray:
    """Coefficients of the quadratic spline on n cells -> values, or derivatives, at the nodes."""
    matrix = np.zeros((n + 2, n + 2))
    for row, node in enumerate(_nodes(n)):
        cell = min(int(node), n - 1)
        matrix[row, cell : cell + 3] = np.polynomial.polynomial.polyval(node - cell, pieces(2, order).T)
    return matrix


@functools.cache
def _solve(n: int) -> np.ndarray:
    return np.linalg.inv(_collocation(n))


def _coefficients(values, axes: int):
    """Spline coefficients along the last axes of values at nodes."""
    for axis in range(-axes, 0):
        n = values.shape[axis] - 2
        values = jnp.moveaxis(jnp.tensordot(jnp.asarray(_solve(n)), values, (1, axis)), 0, axis)
    return values


def stretched(q: Scalar, scale: float) -> Scalar:
    """[0, 1] to [0, 1], with resolution growing towards 0 down to a scale."""
    return jnp.log1p(q / scale) / np.log1p(1.0 / scale)


def _unstretched(y: np.ndarray, scale: float) -> np.ndarray:
    return scale * np.expm1(y * np.log1p(1.0 / scale))


def excess(A: Scalar, w: Scalar) -> Scalar:
    """lambda = sqrt(w^2 + 2A) - w, with w > 0."""
    return 2.0 * A / (jnp.sqrt(w * w + 2.0 * A) + w)


def slowness(A_shell, L_z, Delta2, rho2):
    """w: the frequency of small oscillations in v, without the pull of the disc; |L_z| in a sphere."""
    L_z2 = L_z * L_z
    return jnp.sqrt(L_z2 * (1.0 + Delta2 / rho2) + 2.0 * Delta2 * A_shell / (rho2 + Delta2) + _TINY)


def total(potential, E, L_z, Delta2, rho2):
    """P(rho): p_u^2/2 + p_v^2/2 at the crossing of the plane."""
    return (rho2 + Delta2) * (E - potential.Phi_of_squares(rho2, jnp.zeros_like(rho2)) - 0.5 * L_z**2 / rho2)


def _shell(potential, E, L_z, Delta2, R_c):
    """rho^2 where P is largest."""

    def slope_of(log_rho, potential, E, L_z, Delta2):
        def P(log_rho):
            return total(potential, E, L_z, Delta2, jnp.exp(2.0 * log_rho))

        return jax.jvp(P, (log_rho,), (jnp.ones_like(log_rho),))[1]

    given = potential, E, L_z, Delta2
    fixed = lax.stop_gradient(given)
    grid = jnp.log(lax.stop_gradient(R_c)) + np.linspace(-3.0, 0.1, 48)
    log_rho = grid[jnp.argmax(jax.vmap(functools.partial(total, *fixed))(jnp.exp(2.0 * grid)))]

    def step(state, _):
        log_rho = state[0]
        slope, bend = jax.jvp(lambda at: slope_of(at, *fixed), (log_rho,), (jnp.ones_like(log_rho),))
        bend = jnp.minimum(bend, -_TINY)
        change = jnp.clip(slope / bend, -0.03, 0.03)
        return (log_rho - change, bend, change), None

    start = log_rho, -jnp.ones_like(log_rho), jnp.ones_like(log_rho)
    log_rho, bend, last = kept(lax.scan(step, start, length=4)[0])
    slope = node_sum(lambda at, _: slope_of(*at), (log_rho, *given), np.ones(1))
    # Where there is no maximum, as in prolate potentials, steps end at their limit, a number.
    change = jnp.where(jnp.abs(last) < _FOUND, -slope / bend, 0.0)
    return jnp.exp(2.0 * moving_as(log_rho, change))


def crossing(potential, E, L_z, Delta2, A, rho2) -> Spheroidal:
    """A star that crosses the plane at rho."""
    Phi_0 = potential.Phi_of_squares(rho2, jnp.zeros_like(rho2))
    half_p_u2 = jnp.maximum(total(potential, E, L_z, Delta2, rho2) - A, 0.0)
    barrier = 0.5 * L_z**2
    I_u = E * rho2 - barrier * Delta2 / rho2 - (rho2 + Delta2) * Phi_0 - half_p_u2
    I_v = A - E * Delta2 + barrier + (rho2 + Delta2) * Phi_0
    one = jnp.ones_like(E)
    p_u = jnp.sqrt(2.0 * lax.stop_gradient(half_p_u2))
    p_v = jnp.sqrt(2.0 * lax.stop_gradient(A))
    return Spheroidal(E, L_z, Delta2, rho2, rho2 + Delta2, one, 0.0 * one, p_u, p_v, I_u, I_v)


def _highest(potential, star: Spheroidal, y, steps: int):
    """cos^2 v where p_v vanishes, by Newton's method in cos v."""
    fixed = lax.stop_gradient((potential, star))

    def step(state, _):
        y = state[0]
        value, slope = jax.jvp(lambda y: vertical_kinetic(*fixed, y), (y,), (jnp.ones_like(y),))
        shift = 0.5 * value / jnp.maximum(-slope, _TINY)
        new = y + 2.0 * shift + shift * shift / jnp.maximum(y, jnp.abs(shift) + _TINY)
        return (jnp.clip(new, 0.0, 1.0 - 1e-9), slope), None

    y, slope = kept(lax.scan(step, lax.stop_gradient((y, -jnp.ones_like(y))), length=steps)[0])
    value = node_sum(lambda at, _: vertical_kinetic(*at), (potential, star, y), np.ones(1))
    return moving_as(y, value / jnp.maximum(-slope, _TINY))


def _mean(f, parameters, potential, star: Spheroidal, ends: Ends, n: int):
    """Mean of f(rho^2, *parameters) over time (du/p_u) along the radial motion."""
    t = (np.arange(n) + 0.5) * np.pi / n
    low, high = -jnp.log(ends.w_peri), -jnp.log(ends.w_apo)
    middle, half = 0.5 * (high + low), 0.5 * (high - low)

    def at(potential, star, middle, half, bend, parameters, sine, cosine):
        rho = jnp.exp(middle - half * cosine)
        floor = 1e-3 * bend * (half * sine) ** 2 + _TINY
        square = jnp.maximum(radial_kinetic(potential, star, 1.0 / rho), floor)
        return sine / jnp.sqrt(square * (rho * rho + star.Delta2)), f(rho * rho, *parameters)

    arguments = (potential, star, middle, half, ends.bend, parameters)
    rows = np.sin(t), np.cos(t)
    shares, values = jax.vmap(lambda *row: at(*lax.stop_gradient(arguments), *row))(*rows)
    whole = jnp.sum(shares)
    mean = jnp.sum(shares * values) / whole

    def away(given, *row):
        arguments, mean = given
        share, value = at(*arguments, *row)
        return share * (value - mean)

    # Of which the sum is 0: its derivatives are those of the mean.
    return moving_as(mean, node_sum(away, (arguments, mean), *rows) / whole)


def _limited(c: Scalar, most: float) -> Scalar:
    """c where it is small, and never more than the most."""
    return c / (1.0 + (c / most) ** 8) ** 0.125


def column(potential, E, L_z, Delta2, rho2, S, n: int, n_r: int, n_z: int):
    """A_shell, and (g_r, g_z, c1, c2) at all nodes in j, of one E and L_z.

    J_r = S (1 - j) g_r and J_z = S j g_z with S = L_c - L_z; ln A_0/A = c1 r + c2 r^2.
    """
    A_shell = total(potential, E, L_z, Delta2, rho2)
    w = slowness(A_shell, L_z, Delta2, rho2)
    shell = excess(A_shell, w)
    j = jnp.asarray(_unstretched(_nodes(n) / n, _NEAR_PLANE))
    lam = j * shell
    A = 0.5 * lam * (lam + 2.0 * w)

    def at(A):
        star = crossing(potential, E, L_z, Delta2, A, rho2)
        # The well at the plane alone: with Delta^2 > 0, as in all tables, a prolate potential's other one
        # belongs to no motion there is, and J_z of both may be anything.
        ends = kept(turning_points(*lax.stop_gradient((potential, star)), wells=False))
        ends = moving(potential, star, ends)._replace(lowest=ends.lowest)
        r_peri, r_apo = ((q - star.rho2) / (q + star.rho2) for q in (ends.w_peri**-2, ends.w_apo**-2))
        r_at = jnp.stack([jnp.minimum(0.9 * r_peri, -0.1), jnp.zeros_like(A), jnp.maximum(0.9 * r_apo, 0.1)])

        def J_z(r):
            there = crossing(potential, E, L_z, Delta2, A, rho2 * (1.0 + r) / (1.0 - r))
            y = _highest(potential, there, ends.cos2_v, 10)
            return vertical_action(potential, there, ends._replace(cos2_v=y), n_z)

        return radial_action(potential, star, ends, n_r), lax.map(J_z, r_at), r_at, star, ends

    J_r, J_z, r_at, star, ends = jax.vmap(at)(A)
    g_r, g_z = J_r / (S * (1.0 - j)), J_z[:, 1] / (S * j)
    # d ln J_z / d ln A, by the spline in j.
    slope = _collocation(n, 1) @ _solve(n) * n / ((j + _NEAR_PLANE) * np.log1p(1.0 / _NEAR_PLANE))[:, None]
    by_A = (lam + 2.0 * w) / (2.0 * (lam + w)) * (1.0 + j * (slope @ jnp.log(g_z)))
    ratio = J_z / J_z[:, 1:2]
    # Where the fudge fails, next to the axis in prolate potentials, A is the star's own.
    ratio = jnp.where(jnp.isfinite(ratio) & (ratio > 0.0), ratio, 1.0)
    by_A = jnp.maximum(by_A, _LEAST_SLOPE)
    low, high = (jnp.log(ratio[:, i]) / (by_A * r_at[:, i]) for i in (0, 2))
    curvature = (high - low) / (r_at[:, 2] - r_at[:, 0])
    changes = high - curvature * r_at[:, 2], curvature
    c1, c2 = (_limited(c, most) for c, most in zip(changes, _MOST_CHANGES, strict=True))

    def over_A_0(q, rho2, c1, c2):
        r = (q - rho2) / (q + rho2)
        # Far out, where Delta^2 is next to 0 and the slope by A too, ln A by r may be beyond all numbers.
        return jnp.exp(jnp.minimum(-r * (c1 + c2 * r), _LARGEST))

    # J_r of the mean of A along the radial motion.
    parameters = jnp.broadcast_to(rho2, c1.shape), c1, c2
    mean = jax.vmap(lambda given, star, ends: _mean(over_A_0, given, potential, star, ends, n_r))(
        parameters, star, ends
    )
    j_mean = jnp.minimum(excess(A * mean, w) / shell, 1.0)
    t = stretched(j_mean, _NEAR_PLANE) * n
    cell = jnp.clip(jnp.floor(t), 0, n - 1).astype(jnp.int32)
    coefficients = jnp.asarray(_solve(n)) @ g_r
    there = sum(b * coefficients[cell + i] for i, b in enumerate(basis(_DEGREE, 0, t - cell)))
    return A_shell, jnp.stack([there * (1.0 - j_mean) / (1.0 - j), g_z, c1, c2])


@final
class FudgeTable(eqx.Module):
    """Splines of one potential's actions (build with `fudge_table`)."""

    knots: Float[Array, "m 6"]
    """Rows E, L_c, dL_c/dE, d2L_c/dE2, R_c^2 and d ln(R_c)/dE of circular orbits, even in ln R_c."""
    E_far: Scalar
    plane: Float[Array, "x y"]
    spheroids: Complex[Array, "x y"]
    shift: Complex[Array, "x y t"]
    actions: Complex[Array, "x y t"]


def fudge_table(
    potential: AbstractPotential,
    focal: FocalDistance,
    *,
    R_min: float,
    R_max: float,
    cells: tuple[int, int, int],
    n_r: int,
    n_z: int,
) -> FudgeTable:
    """Tabulate an expanded potential for circular-orbit radii between R_min and R_max (kpc)."""
    n_x, n_y, n_t = cells
    knots = np.arange(n_x + 1.0)
    at = np.concatenate([knots, _nodes(n_x)]) / n_x
    R = jnp.exp(np.log(R_min) + np.log(R_max / R_min) * at)
    R2 = R * R
    local = jax.vmap(lambda R2: jet(potential, R2, IN_PLANE**2 * R2))(R2)
    Omega2, kappa2 = 2.0 * local.a, 8.0 * local.a + 4.0 * R2 * local.aa
    E, L_c, Omega = local.Phi + 0.5 * R2 * Omega2, R2 * jnp.sqrt(Omega2), jnp.sqrt(Omega2)
    bend = (4.0 * Omega2 / kappa2 - 1.0) / (Omega2 * L_c)
    rows = jnp.stack([E, L_c, 1.0 / Omega, bend, R2, 2.0 * Omega / (L_c * kappa2)], axis=1)

    def one(E, L_c, R, q):
        L_z = (1.0 - q) * L_c
        Delta2 = focal(E, L_z)
        rho2 = _shell(potential, E, L_z, Delta2, R)
        A_shell, columns = column(potential, E, L_z, Delta2, rho2, q * L_c, n_t, n_r, n_z)
        return A_shell / (q * L_c * L_c), Delta2 / (R * R), rho2 / (R * R), columns

    q = jnp.asarray(_unstretched(_nodes(n_y) / n_y, _NEAR_CIRCULAR))
    inner = slice(n_x + 1, None)
    rows_of = E[inner], L_c[inner], R[inner]
    A_shell, Delta2, rho2, columns = chunked_map(
        recomputed(lambda at: jax.vmap(lambda q: one(at[0], at[1], at[2], q))(q)), rows_of, _ROWS
    )
    g_r, g_z, c1, c2 = jnp.moveaxis(_coefficients(jnp.moveaxis(columns, 2, 0), 3), 0, 0)
    A_shell, Delta2, rho2 = (_coefficients(values, 2) for values in (A_shell, Delta2, rho2))
    far = potential.Phi_of_squares(1e8 * jnp.ones_like(R2[0]), jnp.zeros_like(R2[0]))
    return FudgeTable(
        rows[: n_x + 1],
        far,
        A_shell,
        lax.complex(Delta2, rho2),
        lax.complex(c1, c2),
        lax.complex(g_r, g_z),
    )
