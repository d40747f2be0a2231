"""What a galaxy's parameters say in numbers that others have measured: to be evaluated over posterior draws.

Functions of a `Galaxy` alone; all are traceable, vmappable and differentiable in its parameters. Populations
have shares of the Galaxy's stars: densities of stars are per `amount`, the number (or mass) of all.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from oortax import params
from oortax.df import AbstractDF, Moments, log_density, moments
from oortax.df.moments import summed
from oortax.df.velocity import legendre
from oortax.dynamics import AbstractActionFinder, circular_orbits
from oortax.model.constraints import enclosed_mass, surface_density
from oortax.model.galaxy import Galaxy
from oortax.model.likelihood import FinderLike, finder_of
from oortax.numerics.implicit import moving_as
from oortax.potential import (
    AbstractPotential,
    Sum,
    circular_velocity,
    effective_surface_density,
    expand,
    vertical_force,
)
from oortax.survey import Sun
from oortax.types import Scalar

# Axis ratios among which the flattening is sought, and steps in ln q with which it is made exact.
_RATIOS, _SIDE = (0.02, 5.0, 14), 0.02


class Kinematics(NamedTuple):
    """Stars at one place.

    Attributes
    ----------
    density : shape (), kpc^-3 per `amount`
    v_phi : shape (), km/s, mean rotation
    asymmetric_drift : shape (), km/s, circular speed at R less v_phi
    sigma : shape (3,), km/s, sigma_R, sigma_phi, sigma_z
    tilt : shape (), rad, angle of the ellipsoid's long axis with the R axis; arctan(z/R) if it points to the
        centre
    beta : shape (), 1 - (sigma_theta^2 + <v_phi^2>)/(2 sigma_r^2) (Binney & Tremaine 2008, eq. 4.61)
    """

    density: Scalar
    v_phi: Scalar
    asymmetric_drift: Scalar
    sigma: Float[Array, "3"]
    tilt: Scalar
    beta: Scalar


class LocalStars(NamedTuple):
    """The kinematics of each component, by name, and of all stars."""

    components: dict[str, Kinematics]
    total: Kinematics


class _Populations(NamedTuple):
    """Bound DFs with the logs of their amplitudes, and where they move."""

    potential: AbstractPotential
    finder: AbstractActionFinder
    parts: dict[str, tuple[Scalar, AbstractDF]]


def _populations(galaxy: Galaxy, finder: FinderLike, amount) -> _Populations:
    potential = lax.optimization_barrier(expand(galaxy.potential))
    orbits, built = lax.optimization_barrier((circular_orbits(potential), finder_of(finder)(potential)))
    log_amounts = galaxy.log_weights() + jnp.log(amount)
    parts = {}
    for name, log_amount in zip(galaxy.names, log_amounts, strict=True):
        f = galaxy.components[name].df.bind(orbits)
        parts[name] = (log_amount - jnp.log(f.mass()), f)
    return _Populations(potential, built, parts)


def kinematics(
    galaxy: Galaxy, R, z: Any = 0.0, *, finder: FinderLike = "StaeckelFudge", amount=1.0, refine: float = 1.0
) -> LocalStars:
    """Density, rotation, velocity ellipsoid and anisotropy of each component at (R, z) in kpc.

    Parameters
    ----------
    finder : name of an action finder, or a function of the potential that makes one
        As in `log_likelihood`.
    amount : number or mass of all stars
    refine : float
        Multiplies the velocity nodes along each axis (`df.moments`, whose accuracy this has).

    >>> from oortax import df, potential, stars
    >>> from oortax.model import Component, Galaxy
    >>> sphere = df.IsochroneSphere(M=1e11, b=3.0)
    >>> component = Component(sphere, stars.Gaussian(mean=0.8, sigma=0.3))
    >>> galaxy = Galaxy(potential.Isochrone(M=1e11, b=3.0), {"stars": component})
    >>> local = jax.jit(lambda galaxy: kinematics(galaxy, 3.0, 1.0, amount=1e11))(galaxy)
    >>> print(f"{local.total.density:.2e} Msun/kpc^3, {np.abs(local.components['stars'].beta):.2f}")
    6.24e+07 Msun/kpc^3, 0.00
    """
    R, z = params.as_array(R), params.as_array(z)
    in_place = _populations(galaxy, finder, amount)
    v_c = circular_velocity(in_place.potential, R)
    each = {}
    for name, (log_amount, f) in in_place.parts.items():
        found = moments(f, in_place.potential, in_place.finder, R, z, refine)
        each[name] = found._replace(density=jnp.exp(log_amount) * found.density)
    total = summed(list(each.values()))
    return LocalStars(
        {name: _kinematics(part, v_c, R, z) for name, part in each.items()}, _kinematics(total, v_c, R, z)
    )


def _kinematics(found: Moments, v_c, R, z) -> Kinematics:
    density, mean, dispersion = found
    variances = jnp.diagonal(dispersion)
    tilt = 0.5 * jnp.arctan2(2.0 * dispersion[0, 2], variances[0] - variances[2])
    r = jnp.hypot(R, z)
    outwards = jnp.stack([R / r, jnp.zeros_like(r), z / r])
    radial = outwards @ dispersion @ outwards
    across = jnp.sum(variances) - radial + mean[1] ** 2
    beta = 1.0 - 0.5 * across / radial
    return Kinematics(density, mean[1], v_c - mean[1], jnp.sqrt(variances), tilt, beta)


def matter_densities(galaxy: Galaxy, R, z: Any = 0.0) -> dict[str, Scalar]:
    """Density of each part of the potential at (R, z) in kpc, by its name in `Sum`, in Msun/kpc^3.

    A potential that is no sum has one part, "potential".

    >>> from oortax import potential
    >>> from oortax.model import Galaxy
    >>> round(float(matter_densities(Galaxy(potential.NFW(rho_s=1e7, r_s=16.0)), 16.0)["potential"]), 1)
    2500000.0
    """
    R, z = params.as_array(R), params.as_array(z)
    return {name: part.rho(R, z) for name, part in _parts(galaxy.potential).items()}


def masses_within(galaxy: Galaxy, r) -> dict[str, Scalar]:
    """Mass of each part of the potential within a sphere of radius r in kpc, in Msun, by Gauss's theorem.

    Accuracy that of `enclosed_mass`; parts as in `matter_densities`.

    >>> from oortax import potential
    >>> from oortax.model import Galaxy
    >>> galaxy = Galaxy(potential.Sum(bulge=potential.Hernquist(M=1e10, a=1.0)))
    >>> round(float(masses_within(galaxy, 1.0)["bulge"]) / 1e10, 6)
    0.25
    """
    return {name: enclosed_mass(expand(part), r) for name, part in _parts(galaxy.potential).items()}


def _parts(potential: AbstractPotential) -> dict[str, AbstractPotential]:
    return potential.parts if isinstance(potential, Sum) else {"potential": potential}


def stars_within(
    galaxy: Galaxy,
    r,
    *,
    finder: FinderLike = "StaeckelFudge",
    amount=1.0,
    refine: float = 1.0,
    n: tuple[int, int] = (20, 12),
) -> dict[str, Scalar]:
    """Number (or mass) of each component within a sphere of radius r in kpc: out of `amount` for all.

    n Gauss-Legendre nodes in t, radius r t^2, and in u, height u^3 of the radius: dense in the centre and at
    the plane. Accuracy some 1e-3 for r up to 60 scale heights of a disc, far better for spheroids, whose
    densities are then limited by the rule over velocities.

    >>> from oortax import df, potential, stars
    >>> from oortax.model import Component, Galaxy
    >>> component = Component(df.IsochroneSphere(M=1e11, b=3.0), stars.Gaussian(mean=0.8, sigma=0.3))
    >>> pot = potential.Isochrone(M=1e11, b=3.0)
    >>> within = jax.jit(lambda g: stars_within(g, 3.0, amount=1e11))(Galaxy(pot, {"stars": component}))
    >>> print(f"{float(within['stars'] / enclosed_mass(pot, 3.0)):.2f}")
    1.00
    """
    r = params.as_array(r)
    in_place = _populations(galaxy, finder, amount)
    (t, w_t), (u, w_u) = (legendre(k, 1.0) for k in n)
    t, u = (part.ravel() for part in np.meshgrid(t, u, indexing="ij"))
    # d^3x = 4 pi s^2 ds d(mu), s = r t^2, mu = u^3, both signs of z.
    weights = 4.0 * np.pi * np.outer(w_t, w_u).ravel() * t**4 * 2.0 * t * 3.0 * u**2
    s, mu = r * jnp.asarray(t**2), jnp.asarray(u**3)
    places = s * jnp.sqrt(1.0 - mu**2), s * mu

    def of(log_amount, f):
        def density(place):
            R, z = place
            return jnp.exp(log_density(f, in_place.potential, in_place.finder, R, z, refine))

        return jnp.exp(log_amount) * r**3 * jnp.sum(weights * lax.map(density, places))

    return {name: of(*part) for name, part in in_place.parts.items()}


def flattening(
    galaxy: Galaxy, R, *, finder: FinderLike = "StaeckelFudge", refine: float = 1.0
) -> dict[str, Scalar]:
    """Axis ratio q of each component's surface of constant density through (R, 0): rho(0, q R) = rho(R, 0).

    Sought between 0.02 and 5, where it is the last crossing; NaN where there is none. Its derivatives are
    those of the equation. Accuracy that of the densities over their slope: 1e-3 or so.

    >>> from oortax import df, potential, stars
    >>> from oortax.model import Component, Galaxy
    >>> component = Component(df.IsochroneSphere(M=1e11, b=3.0), stars.Gaussian(mean=0.8, sigma=0.3))
    >>> galaxy = Galaxy(potential.Isochrone(M=1e11, b=3.0), {"stars": component})
    >>> print(f"{jax.jit(lambda galaxy: flattening(galaxy, 5.0))(galaxy)['stars']:.2f}")
    1.00
    """
    R = params.as_array(R)
    in_place = _populations(galaxy, finder, 1.0)
    space = in_place.potential, in_place.finder
    return {name: _axis_ratio(f, *space, R, refine) for name, (_, f) in in_place.parts.items()}


def _axis_ratio(f, potential, finder, R, refine) -> Scalar:
    def above(parts: Any, log_q) -> Scalar:
        """ln of the density on the axis over that in the plane."""
        (g, pot, found), zero = parts, jnp.zeros_like(R)
        R_and_z = jnp.stack([zero, R]), jnp.stack([R * jnp.exp(log_q), zero])
        on_axis, in_plane = lax.map(lambda at: log_density(g, pot, found, at[0], at[1], refine), R_and_z)
        return on_axis - in_plane

    moving = f, potential, finder
    fixed = jax.tree.map(lambda leaf: lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, moving)
    grid = jnp.linspace(np.log(_RATIOS[0]), np.log(_RATIOS[1]), _RATIOS[2])
    values = lax.map(lambda log_q: above(fixed, log_q), grid)
    passes = (values[:-1] > 0.0) & (values[1:] <= 0.0)
    last = len(grid) - 2 - jnp.argmax(passes[::-1])
    low, high = grid[last], grid[last + 1]

    # Where the chord crosses, and from there by a parabola, good to 1e-6 in ln q.
    at_low, at_high = values[last], values[last + 1]
    middle = low - at_low * (high - low) / (at_high - at_low)
    left, centre, right = lax.map(lambda side: above(fixed, middle + side), jnp.array([-_SIDE, 0.0, _SIDE]))
    slope, bend = (right - left) / (2.0 * _SIDE), (right - 2.0 * centre + left) / _SIDE**2
    # It falls: of the two roots the one close by.
    change = -2.0 * centre / (slope - jnp.sqrt(jnp.maximum(slope**2 - 2.0 * centre * bend, 0.0)))
    log_q = jnp.where(jnp.any(passes), middle + change, jnp.nan)
    slope = slope + bend * change
    return jnp.exp(moving_as(log_q, -above(moving, log_q) / slope))


def at_the_sun(
    galaxy: Galaxy,
    sun: Sun | None = None,
    z=1.1,
    *,
    finder: FinderLike = "StaeckelFudge",
    amount=1.0,
    refine: float = 1.0,
) -> dict[str, Scalar]:
    """The local quantities most often quoted, as a flat table for a summary.

    - v_c (km/s) at R0; K_z ((km/s)^2/kpc), K_z_over_2piG and Sigma (Msun/kpc^2) at R0 and z (kpc), Sigma
      being the column of all matter within |z|; rho (Msun/kpc^3) at the Sun, and rho.NAME of each part of a
      `potential.Sum`.
    - For each component of stars, at the Sun: NAME.density, .v_phi, .asymmetric_drift, .sigma_R, .sigma_phi,
      .sigma_z, .tilt, .beta, as in `Kinematics`.

    >>> from oortax import potential
    >>> from oortax.model import Galaxy
    >>> from oortax.survey import Sun
    >>> found = at_the_sun(Galaxy(potential.mw_potential_2014()), Sun(R0=8.0))
    >>> print(f"{found['v_c']:.0f} km/s, {found['Sigma'] / 1e6:.0f} Msun/pc^2, {found['rho.halo'] / 1e9:.4f}")
    220 km/s, 68 Msun/pc^2, 0.0075
    """
    sun = Sun() if sun is None else sun
    pot = expand(galaxy.potential)
    densities = matter_densities(galaxy, sun.R0, sun.z0)
    found = {
        "v_c": circular_velocity(pot, sun.R0),
        "K_z": vertical_force(pot, sun.R0, z),
        "K_z_over_2piG": effective_surface_density(pot, sun.R0, z),
        "Sigma": surface_density(pot, sun.R0, z),
        "rho": jnp.sum(jnp.stack(list(densities.values()))),
    }
    if isinstance(galaxy.potential, Sum):
        found |= {f"rho.{name}": rho for name, rho in densities.items()}
    if galaxy.components:
        local = kinematics(galaxy, sun.R0, sun.z0, finder=finder, amount=amount, refine=refine)
        for name, part in local.components.items():
            table = part._asdict()
            sigma = table.pop("sigma")
            table |= {f"sigma_{axis}": sigma[i] for i, axis in enumerate(("R", "phi", "z"))}
            found |= {f"{name}.{quantity}": value for quantity, value in table.items()}
    return found


def over_draws(quantity: Callable[[Any], Any], tree: Any, draws: Mapping[str, Any]) -> Any:
    """quantity(tree) with the parameters of every draw: a pytree with leading axis n.

    Parameters
    ----------
    quantity : traceable function of the tree
        Compiled once for each function object: hand over the same one again.
    tree : Galaxy, Model or any other tree with parameters
        Parameters that `draws` do not have keep their values.
    draws : mapping of dotted path to (n,) values, as from `inference.laplace` or `inference.sample`

    One draw at a time, so that memory does not grow with n. Raises ValueError for unknown paths and for
    draws of different lengths.

    >>> from oortax import potential
    >>> from oortax.model import Galaxy
    >>> galaxy = Galaxy(potential.Hernquist(M=1e10, a=1.0))
    >>> draws = {"potential.a": np.array([0.5, 1.0])}
    >>> mass = over_draws(lambda galaxy: masses_within(galaxy, 1.0)["potential"], galaxy, draws)
    >>> print(np.round(mass / 1e10, 4))
    [0.4444 0.25  ]
    """
    values = {path: jnp.asarray(draw) for path, draw in draws.items()}
    shapes = {path: draw.shape for path, draw in values.items()}
    if not shapes or len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"over_draws(draws=...): one value per draw, (n,), is needed; shapes are {shapes}")
    return _over_draws(quantity, tree, values)


@eqx.filter_jit
def _over_draws(quantity, tree, draws):
    return lax.map(lambda values: quantity(params.replace(tree, values)), draws)
