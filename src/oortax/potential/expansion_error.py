"""Whether a density has a potential, and how well its expansion gives it."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from oortax.constants import G
from oortax.potential.base import AbstractPotential
from oortax.potential.composite import Sum
from oortax.potential.expansion import Grid
from oortax.potential.from_density import AbstractDensity, expand


class ExpansionError(NamedTuple):
    """Errors of an expanded potential at a net of points; forces relative to the force at the point."""

    force: float
    median_force: float
    R: float
    z: float
    density: float
    median_density: float
    part: str

    def __str__(self) -> str:
        where = f"R = {self.R:.3g}, z = {self.z:.3g} kpc"
        part = f", mostly of {self.part}" if self.part else ""
        return (
            f"force: {self.median_force:.1e} in the median, {self.force:.1e} at worst ({where}{part}); "
            f"density: {self.median_density:.1e}, {self.density:.1e}"
        )


def expansion_error(
    pot: AbstractPotential,
    grid: Grid | None = None,
    *,
    r_min: float = 0.01,
    r_max: float = 100.0,
    tolerance: float | None = None,
) -> ExpansionError:
    """How far the expansion of a potential on a grid is from that on one twice as fine.

    Parameters
    ----------
    pot : AbstractPotential
        With concrete parameters (not inside jit). Parts in closed form have no error.
    grid : Grid, optional
        The default one if not given.
    r_min, r_max : float
        Radii (kpc) between which to look: 24 of them, at 12 latitudes from the plane to the axis.
    tolerance : float, optional
        Largest force error to accept.

    Returns
    -------
    ExpansionError
        force, median_force and where the former is; density and median_density, the difference between the
        Laplacian of Phi and 4 pi G rho, relative to rho plus |a|/(4 pi G r), a third of the mean density
        within r; and the name of the part of a Sum that errs most.

    Raises
    ------
    ValueError
        If the error exceeds the tolerance: with the part, the error and what to raise. Also if the density is
        none (see `check_density`).

    >>> from oortax import potential
    >>> expansion_error(potential.ExponentialDisc(Sigma_0=8e8, R_d=2.6, z_d=0.3)).force < 1e-5
    True
    """
    grid = Grid() if grid is None else grid
    check_density(pot, grid)
    finer = Grid(2 * grid.n_r, 2 * grid.n_theta, grid.r_min, grid.r_max, 5)
    r = np.geomspace(r_min, r_max, 24)[:, None]
    latitude = np.concatenate([[0.0], np.geomspace(1e-3, 0.5, 7), [0.8, 1.2, 1.5, 0.5 * np.pi]])
    R, z = ((r * f(latitude)).ravel() for f in (np.cos, np.sin))
    coarse, fine = (np.asarray(_forces(expand(pot, rule), R, z)) for rule in (grid, finer))
    size = np.hypot(*fine)
    error = np.hypot(*(coarse - fine)) / size
    worst = int(np.argmax(error))
    rho = np.asarray(jax.vmap(pot.rho)(R, z))
    mean = size / np.hypot(R, z) / (4.0 * np.pi * G)
    density = np.abs(np.asarray(_laplacian(expand(pot, grid), R, z)) - rho) / (rho + mean)
    part = _worst_part(pot, grid, finer, R[worst], z[worst])
    found = ExpansionError(
        float(error[worst]),
        float(np.median(error)),
        float(R[worst]),
        float(z[worst]),
        float(density.max()),
        float(np.median(density)),
        part,
    )
    if tolerance is not None and not found.force <= tolerance:
        thin = found.z < 0.1 * found.R or found.R < 0.1 * found.z
        more = "n_theta" if thin else "n_r and n_theta"
        raise ValueError(
            f"the expansion{f' of {part}' if part else ''} has not converged: force error {found.force:.1e} "
            f"> {tolerance:g} at R = {found.R:.3g}, z = {found.z:.3g} kpc; raise {more} of the Grid "
            f"(now {grid.n_r}, {grid.n_theta})"
        )
    return found


def _worst_part(pot, grid: Grid, finer: Grid, R, z) -> str:
    """The part of a sum whose force errs most at a point."""
    if not isinstance(pot, Sum):
        return ""
    at = np.array([R]), np.array([z])

    def force(part: AbstractDensity, grid: Grid) -> np.ndarray:
        # Without its source one part's field is like another's, for which the program is compiled already.
        return np.asarray(_forces(eqx.tree_at(lambda f: f.source, part.expanded(grid), None), *at))

    errors = {
        name: float(np.hypot(*(force(part, grid) - force(part, finer))[:, 0]))
        for name, part in pot.parts.items()
        if isinstance(part, AbstractDensity)
    }
    return max(errors, key=lambda name: errors[name]) if errors else ""


@eqx.filter_jit
def _forces(pot: AbstractPotential, R, z):
    """(a_R, a_z) at many points, shape (2, n)."""
    return -jnp.stack(jax.vmap(jax.jacfwd(pot.Phi_Rz, argnums=(0, 1)))(jnp.asarray(R), jnp.asarray(z)))


@eqx.filter_jit
def _laplacian(pot: AbstractPotential, R, z):
    """The Laplacian of Phi over 4 pi G at many points."""
    points = jnp.stack([jnp.asarray(R), jnp.zeros_like(jnp.asarray(R)), jnp.asarray(z)], axis=1)
    return jax.vmap(lambda x: jnp.trace(jax.hessian(pot.Phi)(x)))(points) / (4.0 * jnp.pi * G)


def check_density(pot: AbstractPotential, grid: Grid | None = None) -> None:
    """Raise ValueError, naming the part, for a density that no potential belongs to.

    Negative or NaN somewhere between r_min and r_max of the grid; steeper than r^-3 at the centre (infinite
    mass); or falling no faster than r^-2 outside (infinite potential), rising ones included. Parameters that
    are traced are not looked at.
    """
    grid = Grid() if grid is None else grid
    for name, part in (pot.parts if isinstance(pot, Sum) else {"": pot}).items():
        traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(part))
        if isinstance(part, AbstractDensity) and not traced:
            _check(part, f"{name} ({type(part).__name__})" if name else type(part).__name__, grid)


def _check(part: AbstractDensity, label: str, grid: Grid) -> None:
    r = np.geomspace(grid.r_min, grid.r_max, 40)
    latitude = np.linspace(0.02, 1.55, 9)
    R, z = np.outer(r, np.cos(latitude)), np.outer(r, np.sin(latitude))
    rho = np.asarray(jax.vmap(jax.vmap(part.rho))(jnp.asarray(R), jnp.asarray(z)))
    for bad, word in ((np.isnan(rho), "NaN"), (np.isinf(rho), "infinite"), (rho < 0.0, "negative")):
        if bad.any():
            at = tuple(np.argwhere(bad)[0])
            raise ValueError(
                f"{label}: its density is {word} at R = {R[at]:.3g}, z = {z[at]:.3g} kpc; check its "
                "parameters or its function"
            )
    mean = rho.mean(axis=1)
    if not (mean > 0.0).any():
        raise ValueError(f"{label}: its density vanishes between {grid.r_min:g} and {grid.r_max:g} kpc")
    inner, outer = _slope(r[:2], mean[:2]), _slope(r[-2:], mean[-2:])
    if inner <= -3.0:
        raise ValueError(
            f"{label}: rho ~ r^{inner:.2f} at the centre has infinite mass; it must be flatter than r^-3"
        )
    if outer >= -2.0:
        raise ValueError(
            f"{label}: rho ~ r^{outer:+.2f} at {grid.r_max:g} kpc has an infinite potential; it must fall "
            "faster than r^-2: steepen it or give it a cut-off"
        )


def _slope(r: np.ndarray, rho: np.ndarray) -> float:
    """dln(rho)/dln(r) between two radii; a harmless one where there is nothing."""
    return float(np.log(rho[1] / rho[0]) / np.log(r[1] / r[0])) if np.all(rho > 0.0) else -2.5
