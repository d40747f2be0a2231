"""Stars in regions of space: their actions, and those of all that could be there.

In a given potential both are computed once; f enters afterwards, whatever it is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import ndtri
from scipy.stats import qmc

from oortax.df.draw_in_region import Region, check_region
from oortax.dynamics import AbstractActionFinder
from oortax.potential import AbstractPotential, expand

# Of the nodes: a core about the median, a wing about the mean, in the stars' dispersions; and any bound ones.
_SHARES, _CORE, _WING = (0.45, 0.3, 0.25), 1.3, 1.5
_FAR, _LEAST_STARS = 1000.0, 20


class LocalStars(NamedTuple):
    """All stars (or a random share of all) of a population within a region: x and v, (n, 3), kpc and km/s."""

    region: Region
    x: Float[np.ndarray, "n 3"]
    v: Float[np.ndarray, "n 3"]


class LocalActions(NamedTuple):
    """Actions of stars in k regions, and nodes of integrals over phase space there, in one potential.

    Attributes
    ----------
    J : (n, 3), kpc km/s, of the stars
    v : (n, 3), (v_R, v_phi, v_z) of the stars, km/s
    which : (n,), the region of each star
    node_J, node_v : (q, 3), of the nodes
    weights : (q,), kpc^3 (km/s)^3: the sum of weights times f is the number of stars in the regions
    node_which : (q,), the region of each node
    """

    J: Float[np.ndarray, "n 3"]
    v: Float[np.ndarray, "n 3"]
    which: Int[np.ndarray, " n"]
    node_J: Float[np.ndarray, "q 3"]
    node_v: Float[np.ndarray, "q 3"]
    weights: Float[np.ndarray, " q"]
    node_which: Int[np.ndarray, " q"]


def local_actions(
    potential: AbstractPotential,
    finder: AbstractActionFinder,
    samples: Sequence[LocalStars],
    *,
    n_nodes: int = 2**15,
    seed: int = 0,
    batch_size: int = 8192,
) -> LocalActions:
    """Actions of stars and of nodes in their regions, in one potential.

    Parameters
    ----------
    potential : axisymmetric
    finder : of actions in this potential
    samples : the stars of each region, at least 20; regions must not overlap, and be equally complete
    n_nodes : about how many nodes each region gets
    seed : of the scrambling of the nodes; how much a result changes with it is the quadrature's error

    Notes
    -----
    Nodes are scrambled Sobol points of position and velocity: of each region 45 % in a Gaussian about the
    median velocity of its stars, 30 % in a wider one about their mean and 25 % among all bound velocities
    (to 1000 kpc), each with the exact inverse of the sum of their densities as its weight. v_R is folded: J
    does not change with (v_R, v_z) -> (-v_R, -v_z).

    Raises ValueError for shapes that do not fit, stars outside their region, or without actions.

    >>> from oortax import df, dynamics, potential
    >>> pot = potential.Isochrone(M=1e11, b=3.0)
    >>> f, finder = df.IsochroneSphere(M=1e11, b=3.0), dynamics.IsochroneFinder(pot)
    >>> region = df.Region(R=(3.0, 4.0), z=(0.0, 1.0))
    >>> stars = df.draw_in_region(f, pot, finder, region, jax.random.key(1), 100, progress=False)
    >>> data = local_actions(pot, finder, [LocalStars(region, stars.x, stars.v)], n_nodes=4096)
    >>> number = data.weights @ np.exp(jax.vmap(f.log_f)(jnp.asarray(data.node_J)))
    >>> bool(abs(number - stars.mass) < 4.0 * stars.mass_error)
    True
    """
    if not samples:
        raise ValueError("local_actions: give at least one LocalStars(region, x, v)")
    potential = expand(potential)
    parts = []
    for k, sample in enumerate(samples):
        x, w = _checked(sample, k)
        J = _actions(finder, x, w, batch_size)
        lost = ~np.all(np.isfinite(J), axis=1)
        if np.any(lost):
            raise ValueError(
                f"local_actions: {np.sum(lost)} stars of region {k} have no actions, the first at x = "
                f"{x[lost][0]} kpc with (v_R, v_phi, v_z) = {w[lost][0]} km/s: not bound in this potential? "
                "Leave them out of all potentials that you compare"
            )
        x_q, w_q, weights = _nodes(potential, sample.region, w, n_nodes, np.random.default_rng((seed, k)))
        J_q = _actions(finder, x_q, w_q, batch_size)
        there = np.all(np.isfinite(J_q), axis=1) & (weights > 0.0)
        which, which_q = np.full(len(J), k), np.full(np.sum(there), k)
        parts.append((J, w, which, J_q[there], w_q[there], weights[there], which_q))
    return LocalActions(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _checked(sample: LocalStars, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions, and velocities along (R, phi, z)."""
    check_region(sample.region)
    x, v = np.asarray(sample.x, float), np.asarray(sample.v, float)
    if x.ndim != 2 or x.shape[1:] != (3,) or v.shape != x.shape or len(x) < _LEAST_STARS:
        raise ValueError(
            f"region {k}: x {x.shape} and v {v.shape} must both be (n, 3), with n of {_LEAST_STARS} or more"
        )
    region, R, tiny = sample.region, np.hypot(x[:, 0], x[:, 1]), 1e-9
    there = (R > region.R[0] - tiny) & (R < region.R[1] + tiny)
    there &= (x[:, 2] > region.z[0] - tiny) & (x[:, 2] < region.z[1] + tiny)
    turned = np.mod(np.arctan2(x[:, 1], x[:, 0]) - region.phi[0] + tiny, 2.0 * np.pi)
    there &= turned <= region.phi[1] - region.phi[0] + 2.0 * tiny
    if region.inside is not None:
        there &= np.asarray(region.inside(x), bool)
    if not np.all(there):
        raise ValueError(f"region {k}: the star at x = {x[~there][0]} kpc lies outside {region}")
    c, s = x[:, 0] / R, x[:, 1] / R
    return x, np.stack([v[:, 0] * c + v[:, 1] * s, v[:, 1] * c - v[:, 0] * s, v[:, 2]], axis=1)


def _nodes(potential, region: Region, w, n: int, rng):
    """Positions, cylindrical velocities and weights of nodes in a region."""
    centre = np.array([0.0, np.median(w[:, 1]), 0.0])
    mean = np.array([0.0, np.mean(w[:, 1]), 0.0])
    core = _CORE * 1.4826 * np.median(np.abs(w - centre), axis=0)
    wing = _WING * np.sqrt(np.mean((w - mean) ** 2, axis=0))
    positions, velocities = [], []
    for part, share in enumerate(_SHARES):
        # Whole powers of two: these points are even.
        m = max(0, round(np.log2(max(share * n, 1.0))))
        u = np.clip(qmc.Sobol(6, seed=rng).random_base2(m), 1e-12, 1.0 - 1e-12)  # type: ignore[call-arg]
        R = np.sqrt(region.R[0] ** 2 + u[:, 0] * (region.R[1] ** 2 - region.R[0] ** 2))
        z = region.z[0] + u[:, 1] * (region.z[1] - region.z[0])
        phi = region.phi[0] + u[:, 2] * (region.phi[1] - region.phi[0])
        positions.append(np.stack([R * np.cos(phi), R * np.sin(phi), z], axis=1))
        if part < 2:
            middle, sigma = ((centre, core), (mean, wing))[part]
            velocities.append(middle + sigma * ndtri(u[:, 3:]))
        else:
            speed = _escape(potential, R, z) * u[:, 3] ** (1.0 / 3.0)
            up, angle = 2.0 * u[:, 4] - 1.0, 2.0 * np.pi * u[:, 5]
            across = np.sqrt(1.0 - up**2)
            velocities.append(
                speed[:, None] * np.stack([across * np.cos(angle), across * np.sin(angle), up], axis=1)
            )
    counts = [len(part) for part in positions]
    x, v = np.concatenate(positions), np.concatenate(velocities)
    v[:, 0] = np.abs(v[:, 0])
    escape = _escape(potential, np.hypot(x[:, 0], x[:, 1]), x[:, 2])
    ball = 3.0 / (4.0 * np.pi * escape**3) * (np.linalg.norm(v, axis=1) < escape)
    density = counts[0] * _gaussian(v, centre, core) + counts[1] * _gaussian(v, mean, wing) + counts[2] * ball
    volume = 0.5 * (region.R[1] ** 2 - region.R[0] ** 2) * np.diff(region.z)[0] * np.diff(region.phi)[0]
    weights = volume / density
    if region.inside is not None:
        weights = np.where(np.asarray(region.inside(x), bool), weights, 0.0)
    return x, v, weights


def _gaussian(v, mean, sigma) -> np.ndarray:
    z = (v - mean) / sigma
    return np.exp(-0.5 * np.sum(z * z, axis=1)) / ((2.0 * np.pi) ** 1.5 * np.prod(sigma))


def _escape(potential, R, z) -> np.ndarray:
    return np.asarray(_escape_speeds(potential, jnp.asarray(R), jnp.asarray(z)))


@eqx.filter_jit
def _escape_speeds(potential: AbstractPotential, R: Array, z: Array) -> Array:
    far = potential.Phi_Rz(jnp.asarray(_FAR), jnp.asarray(0.0))
    return jax.vmap(lambda R, z: jnp.sqrt(2.0 * jnp.maximum(far - potential.Phi_Rz(R, z), 0.0)))(R, z)


def _actions(finder, x, w, size: int) -> np.ndarray:
    """Of stars at x with velocities along (R, phi, z), in batches of one size."""
    R, z = np.hypot(x[:, 0], x[:, 1]), x[:, 2]
    at = np.stack([R, np.zeros_like(R), z], axis=1)
    parts = []
    for start in range(0, len(x), size):
        rows = np.minimum(np.arange(start, start + size), len(x) - 1)
        parts.append(np.asarray(_many(finder, jnp.asarray(at[rows]), jnp.asarray(w[rows])))[: len(x) - start])
    return np.concatenate(parts)


@eqx.filter_jit
def _many(finder: AbstractActionFinder, x, v):
    return jax.lax.map(lambda star: finder.actions(*star), (x, v), batch_size=1024)
