"""Where in distance and velocity a star's nodes must lie: what the components fill, roughly.

Only to lay out nodes: the DFs' `log_density_scale` and `velocity_scale` are rough, and enter no likelihood.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import RectBivariateSpline
from scipy.special import logsumexp as logsumexp_of

from oortax.constants import KAPPA
from oortax.dynamics import circular_orbits
from oortax.model.galaxy import Galaxy
from oortax.potential import circular_velocity, expand
from oortax.survey import Survey, phase_space

# Trapezoidal nodes in v_los: steps of 1.2 dispersions are good to 1e-6 for a Gaussian. Near the escape
# speed, where f falls off fast, at least so many nodes over the bound velocities.
_STEP, _HALF_RANGE, _LEAST_NODES = 1.2, 4.6, 8
# Stars that pass 1000 kpc count as unbound; the speed they need may rise by this factor during a fit, and
# the nodes reach at least over this share of it.
_FAR, _MARGIN, _LEAST_SHARE = 1000.0, 1.05, 0.15
# Steps of a rule in two dimensions: so many dispersions are at most the radius of the bound velocities.
_BOUND = 4.4
# Points of the table of the rough density along either axis.
_TABLE = 40


class _Along(NamedTuple):
    """Of every component k: mean and dispersion of v_los given the proper motion, and the deviation from the
    mean velocity, in dispersions, at that mean; and the range of v_los within which the star is bound.
    """

    mean: Float[Array, "n k"]
    sigma: Float[Array, "n k"]
    least: Float[Array, "n k"]
    low: Float[Array, " n"]
    high: Float[Array, " n"]


def _bound(galaxy: Galaxy):
    """The potential in tables, and every component's DF bound to it."""
    potential = expand(galaxy.potential)
    orbits = circular_orbits(potential)
    return potential, [galaxy.components[name].df.bind(orbits) for name in galaxy.names]


def _cylindrical(x: Float[Array, "3"]):
    """R, and the directions of increasing R, phi and z, as rows."""
    R = jnp.hypot(x[0], x[1])
    return R, jnp.array([[x[0], x[1], 0.0], [-x[1], x[0], 0.0], [0.0, 0.0, R]]) / R


@eqx.filter_jit
def _along(galaxy: Galaxy, survey: Survey, l, b, s, mu_l, mu_b) -> _Along:
    potential, dfs = _bound(galaxy)
    v_c0 = circular_velocity(potential, survey.sun.R0)
    top = potential.Phi(jnp.array([_FAR, 0.0, 0.0]))

    def one(at):
        l, b, s, mu_l, mu_b = at
        x, v = phase_space(survey.sun, v_c0, l, b, s, mu_l, mu_b, 0.0)
        along = phase_space(survey.sun, v_c0, l, b, s, mu_l, mu_b, 1.0)[1] - v
        R, axes = _cylindrical(x)
        scales = [f.velocity_scale(potential, R, x[2]) for f in dfs]
        mean, sigma = (jnp.stack(parts) for parts in zip(*scales, strict=True))
        start, way = (axes @ v - mean) / sigma, axes @ along / sigma
        precision = jnp.sum(way**2, axis=1)
        centre = -jnp.sum(way * start, axis=1) / precision
        least = jnp.sqrt(jnp.sum((start + centre[:, None] * way) ** 2, axis=1))
        escape2 = _MARGIN**2 * 2.0 * (top - potential.Phi(x))
        nearest = -(along @ v)
        half2 = escape2 - (v @ v - nearest**2)
        half = jnp.sqrt(jnp.maximum(half2, _LEAST_SHARE**2 * escape2))
        return _Along(centre, 1.0 / jnp.sqrt(precision), least, nearest - half, nearest + half)

    return jax.lax.map(one, (l, b, s, mu_l, mu_b), batch_size=4096)


class RoughDensity:
    """ln of the density of all components, or of each, at R, z (kpc, arrays), up to a constant.

    Read from tables: what it is used for needs a smooth function, and not this one.
    """

    def __init__(self, galaxy: Galaxy, survey: Survey, reach: float):
        x = np.sinh(np.linspace(0.0, np.arcsinh(reach), _TABLE))
        R, z = np.meshgrid(np.maximum(x, 1e-3), x, indexing="ij")
        values = _log_density(galaxy, survey, jnp.asarray(R.ravel()), jnp.asarray(z.ravel()))
        knots = np.arcsinh(x)
        tables = np.asarray(values).T.reshape(-1, *R.shape)
        of_all = np.logaddexp.reduce(tables, axis=0)
        self._each, self._all = (
            [RectBivariateSpline(knots, knots, table, kx=2, ky=2) for table in some]
            for some in (tables, [of_all])
        )

    def __call__(self, R, z) -> np.ndarray:
        return self._all[0].ev(np.arcsinh(R), np.arcsinh(np.abs(z)))

    def each(self, R, z) -> np.ndarray:
        """Component by component, shape (k, ...)."""
        return np.stack([spline.ev(np.arcsinh(R), np.arcsinh(np.abs(z))) for spline in self._each])


@eqx.filter_jit
def _log_density(galaxy: Galaxy, survey: Survey, R, z):
    potential, dfs = _bound(galaxy)
    local = jnp.stack([f.log_density_scale(potential, survey.sun.R0, jnp.full((), 0.5)) for f in dfs])

    def one(at):
        rough = jnp.stack([f.log_density_scale(potential, *at) for f in dfs])
        return rough - local + galaxy.log_weights()

    return jax.vmap(one)((R, z))


def deviation(galaxy: Galaxy, survey: Survey, l, b, s, mu_l, mu_b, v_los) -> np.ndarray:
    """How far stars' velocities are from the mean of the nearest component, in its dispersions; shape (N,).

    Where v_los is not measured (NaN), the least that the proper motion allows; NaN without a proper motion.
    """
    found = _along(galaxy, survey, l, b, s, mu_l, mu_b)
    mean, sigma, least = (np.asarray(a) for a in found[:3])
    measured = np.isfinite(v_los)[:, None]
    along = np.where(measured, (v_los[:, None] - mean) / sigma, 0.0)
    return np.min(np.hypot(least, along), axis=1)


def v_los_rule(galaxy: Galaxy, survey: Survey, l, b, s, mu_l, mu_b, *, rng: np.random.Generator):
    """Trapezoidal rules in the v_los of n points: row (m,), v_los (km/s) by its name, and ln of the weight.

    Each rule has a random phase: where f has a cusp, as on radial orbits, errors of many stars average out.
    """
    found = _along(galaxy, survey, l, b, s, mu_l, mu_b)
    mean, sigma, _, bound_low, bound_high = (np.asarray(a) for a in found)
    low = np.maximum(np.min(mean - _HALF_RANGE * sigma, axis=1), bound_low)
    high = np.minimum(np.max(mean + _HALF_RANGE * sigma, axis=1), bound_high)
    # Beyond the reach of every component: the star has next to no likelihood whatever its v_los.
    outside = low >= high
    low, high = np.where(outside, bound_low, low), np.where(outside, bound_high, high)
    count = np.maximum(np.ceil((high - low) / (_STEP * sigma.min(axis=1))), _LEAST_NODES).astype(int)
    step = (high - low) / count
    row = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    v_los = (low + step * rng.random(len(low)))[row] + place * step[row]
    return row, {"v_los": v_los}, np.log(step)[row]


@eqx.filter_jit
def _across(galaxy: Galaxy, survey: Survey, l, b, s, v_los):
    """Of every component: mean (n, k, 2) and root of the covariance (n, k, 2, 2) of the velocity across the
    line of sight (km/s, along l and b), given v_los; and centre and radius of the bound ones, (n, 2), (n,).
    """
    potential, dfs = _bound(galaxy)
    v_c0 = circular_velocity(potential, survey.sun.R0)
    top = potential.Phi(jnp.array([_FAR, 0.0, 0.0]))

    def one(at):
        l, b, s, v_los = at
        unit = 1.0 / (KAPPA * s)

        def velocity(mu_l, mu_b, v_los):
            return phase_space(survey.sun, v_c0, l, b, s, mu_l, mu_b, v_los)

        x, still = velocity(0.0, 0.0, 0.0)
        moves = [(unit, 0.0, 0.0), (0.0, unit, 0.0), (0.0, 0.0, 1.0)]
        # Rows: the directions of increasing l, b and distance, all unit vectors.
        frame = jnp.stack([velocity(*move)[1] - still for move in moves])
        R, axes = _cylindrical(x)
        turn = frame @ axes.T
        means, roots = [], []
        for f in dfs:
            mean, sigma = f.velocity_scale(potential, R, x[2])
            mean = turn @ (mean - axes @ still)
            covariance = (turn * sigma**2) @ turn.T
            slope = covariance[:2, 2] / covariance[2, 2]
            means.append(mean[:2] + slope * (v_los - mean[2]))
            roots.append(jnp.linalg.cholesky(covariance[:2, :2] - jnp.outer(slope, covariance[2, :2])))
        own = frame @ still
        escape2 = _MARGIN**2 * 2.0 * (top - potential.Phi(x))
        radius = jnp.sqrt(jnp.maximum(escape2 - (v_los + own[2]) ** 2, _LEAST_SHARE**2 * escape2))
        return jnp.stack(means), jnp.stack(roots), -own[:2], radius

    return jax.lax.map(one, (l, b, s, v_los), batch_size=4096)


def motion_rule(galaxy: Galaxy, survey: Survey, l, b, s, v_los, *, rng: np.random.Generator):
    """Rules in the proper motion of n points: row (m,), mu_l and mu_b (mas/yr) by name, ln of the weight.

    Of each component a trapezoidal rule in two dimensions, in steps of its own velocity ellipsoid given v_los
    and with a random phase, for the share p_k / sum p_j of the integrand, p_k being its Gaussian: that share
    is as smooth and as wide as p_k, however different the components are. Unbound nodes are left out.
    """
    mean, root, centre, radius = (np.asarray(a) for a in _across(galaxy, survey, l, b, s, v_los))
    n, k = mean.shape[:2]
    # Where the bound velocities are fewer than the Gaussian's, the steps are theirs.
    largest = np.linalg.norm(root, ord=2, axis=(2, 3))
    root = root * np.minimum(1.0, radius[:, None] / (_BOUND * largest))[:, :, None, None]
    inverse = np.linalg.inv(root)
    log_det = np.log(np.abs(np.linalg.det(root)))
    side = np.arange(-_HALF_RANGE, _HALF_RANGE, _STEP)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    rows, places, weights = [], [], []
    for i in range(k):
        z = grid + _STEP * rng.random((n, 1, 2))
        v = mean[:, None, i] + np.einsum("nij,nmj->nmi", root[:, i], z)
        away = v[:, :, None] - mean[:, None]
        squares = np.sum(np.einsum("nkij,nmkj->nmki", inverse, away) ** 2, axis=-1)
        log_p = -0.5 * squares - log_det[:, None]
        log_w = 2.0 * np.log(_STEP) + log_det[:, i, None] + log_p[:, :, i] - logsumexp_of(log_p, axis=-1)
        near = np.sum(z**2, axis=-1) < _HALF_RANGE**2
        bound = np.sum((v - centre[:, None]) ** 2, axis=-1) < radius[:, None] ** 2
        # A star that is unbound whatever its motion keeps its nodes, and next to no likelihood.
        keep = near & (bound | ~np.any(near & bound, axis=1, keepdims=True))
        row, at = np.nonzero(keep)
        rows.append(row)
        places.append(v[row, at])
        weights.append(log_w[row, at])
    row, v, log_w = (np.concatenate(parts) for parts in (rows, places, weights))
    speed = KAPPA * np.asarray(s)[row]
    return row, {"mu_l": v[:, 0] / speed, "mu_b": v[:, 1] / speed}, log_w - 2.0 * np.log(speed)
