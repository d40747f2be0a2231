"""Draws of stars in a region of space: positions and velocities from f(J(x, v)), without tori."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from oortax.df.base import AbstractDF
from oortax.df.cells import grid
from oortax.df.draw_actions import ready
from oortax.df.rejection import draws_in_box
from oortax.df.velocity_proposal import PhaseSpace
from oortax.dynamics import AbstractActionFinder
from oortax.potential import AbstractPotential, expand

# What a bound has above the largest f/q seen, in ln.
_HEADROOM = 0.3
_FIRST, _MOST_CELLS, _TARGET, _TOLERATED = 5, 300, 0.7, 1e-2


class Region(NamedTuple):
    """A region of space: a cylindrical box, or a part of it.

    Attributes
    ----------
    R, z : ranges in kpc
    phi : range in rad, within [-2 pi, 2 pi] and no wider than 2 pi; x = R cos(phi), y = R sin(phi)
    inside : positions (n, 3) as a NumPy array -> (n,) bool, for a region of another shape within the box,
        which should fit it closely; None for all of the box

    >>> sphere = lambda x: np.sum((x - [8.0, 0.0, 0.0]) ** 2, axis=1) < 1.0
    >>> near_the_sun = Region(R=(7.0, 9.0), z=(-1.0, 1.0), phi=(-0.15, 0.15), inside=sphere)
    """

    R: tuple[float, float]
    z: tuple[float, float]
    phi: tuple[float, float] = (0.0, 2.0 * np.pi)
    inside: Callable[[np.ndarray], np.ndarray] | None = None


class RegionDraws(NamedTuple):
    """Stars drawn in a region, and how the draw went.

    Attributes
    ----------
    x, v, J : (n, 3), kpc, km/s, and the finder's actions in kpc km/s; independent and in random order
    mass, mass_error : an estimate of the integral of f over the region and all velocities, and its standard
        error, in the unit of `f.mass()`
    acceptance : share of proposals that was kept
    exceedances : proposals above the bound of their cell, which was raised
    """

    x: Float[np.ndarray, "n 3"]
    v: Float[np.ndarray, "n 3"]
    J: Float[np.ndarray, "n 3"]
    mass: float
    mass_error: float
    acceptance: float
    exceedances: int


def draw_in_region(
    f: AbstractDF,
    potential: AbstractPotential,
    finder: AbstractActionFinder,
    region: Region,
    key: Array,
    n: int,
    *,
    batch_size: int = 8192,
    progress: bool = True,
) -> RegionDraws:
    """n stars of f(J(x, v)) within a region: all of phase space there, by rejection, without a density.

    The region's (R^2, z) is cut into cells with bounds on f/q, q the density of proposed velocities
    (`draw_velocities`), finest where they vary most. Only finder and f enter, no tori and no quadrature.

    Parameters
    ----------
    f : a distribution function; bound to the circular orbits of the potential if it needs them
    potential : axisymmetric
    finder : of actions in this potential; the draws are those of f with its actions
    region : where the stars are
    key : JAX random key; the draws follow from it, whatever the batches
    n : number of stars
    batch_size : proposals evaluated at a time
    progress : show a bar

    Notes
    -----
    Exact down to what is never noticed, as for `draw_actions`: a proposal above the bound of its cell raises
    it, and what was missed is drawn, too. Bounds come from 27 velocities at each of nine positions of a cell.

    Raises ValueError for n < 1, a region that is none, an f that is not bound, or vanishes in the region.

    >>> from oortax import df, dynamics, potential
    >>> import jax
    >>> pot = potential.MiyamotoNagai(M=1.2e11, a=3.0, b=0.3)
    >>> f = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=8.0, H_d=0.3)
    >>> f = f.bind(dynamics.circular_orbits(pot))
    >>> finder, region = dynamics.StaeckelFudge(pot), Region(R=(7.0, 9.0), z=(-1.0, 1.0))
    >>> stars = draw_in_region(f, pot, finder, region, jax.random.key(1), 500, progress=False)
    >>> bool(np.all(np.abs(stars.x[:, 2]) <= 1.0)), stars.v.shape
    (True, (500, 3))
    """
    if not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n = {n!r}: a whole number of draws, at least 1, is needed")
    check_region(region)
    space = PhaseSpace(ready(f), expand(potential), finder, batch_size)
    log_measure = np.log(0.5 * (region.phi[1] - region.phi[0]))

    def probe(q):
        x = np.stack([np.sqrt(q[:, 0]), np.zeros(len(q)), q[:, 1]], axis=1)
        proposals = space.gaussians(x)
        w = proposals.places()
        many = np.repeat(np.arange(len(x)), w.shape[1])
        w = w.reshape(-1, 3)
        ratio = space.log_f(x[many], w)[0] - proposals.take(many).log_density(w)
        return np.max(ratio.reshape(len(x), -1), axis=1) + log_measure + _HEADROOM

    def evaluate(rng, q):
        phi = rng.uniform(*region.phi, len(q))
        R = np.sqrt(q[:, 0])
        x = np.stack([R * np.cos(phi), R * np.sin(phi), q[:, 1]], axis=1)
        there = np.ones(len(q), bool) if region.inside is None else np.asarray(region.inside(x), bool)
        log_density = np.full(len(q), -np.inf)
        v, J = np.full((len(q), 3), np.nan), np.full((len(q), 3), np.nan)
        if np.any(there):
            proposals = space.gaussians(x[there])
            w = proposals.draw(rng)
            log_f, v[there], J[there] = space.log_f(x[there], w)
            log_density[there] = log_f - proposals.log_density(w) + log_measure
        return log_density, {"x": x, "v": v, "J": J}

    # Where the region reaches both sides of the plane, cells do not.
    low, high = region.z
    z = np.linspace(low, high, _FIRST + 1)
    z = np.unique(np.append(z, 0.0)) if low < 0.0 < high else z
    lower, upper = grid([np.linspace(region.R[0] ** 2, region.R[1] ** 2, _FIRST + 1), z])
    drawn = draws_in_box(
        key, evaluate, lower, upper, n, probe=probe, most=_MOST_CELLS, target=_TARGET,
        tolerated=_TOLERATED, name="stars", progress=progress,
    )  # fmt: skip
    mass = float(np.exp(drawn.log_mass))
    share = drawn.accepted / drawn.proposed
    return RegionDraws(**drawn.draws, mass=mass, mass_error=mass * drawn.mass_error, acceptance=share,
                       exceedances=drawn.exceedances)  # fmt: skip


def check_region(region: Region) -> None:
    """Raise ValueError for a region that is none."""
    if not isinstance(region, Region):
        raise ValueError(f"region is a {type(region).__name__}: Region(R=(7.0, 9.0), z=(-1.0, 1.0)) is one")
    for name in ("R", "z", "phi"):
        low, high = getattr(region, name)
        if not (np.isfinite(low) and np.isfinite(high) and low < high) or (name == "R" and low < 0.0):
            raise ValueError(f"Region({name}={(low, high)}): a finite rising pair is needed, R not below 0")
    if region.phi[1] - region.phi[0] > 2.0 * np.pi + 1e-9:
        raise ValueError(f"Region(phi={region.phi}): no more than 2 pi are needed")
