"""Moments of f(J) at a point: integrals over velocity by a rule that fits f there."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from oortax.df.base import AbstractDF
from oortax.df.mixture import BoundMixture, Mixture, populations, with_masses
from oortax.df.velocity import VelocityRule, VelocityScale, disc_rule
from oortax.dynamics import AbstractActionFinder
from oortax.params import as_array
from oortax.potential import AbstractPotential
from oortax.types import Scalar

# A disc's rule at first, in the dispersions of the plane: high above it stars lag, and are hotter.
_WIDER, _COARSER = 1.6, 1.2
# Of the rule that fits, in dispersions: spacing at refine = 1, and the ball that holds the nodes. Beyond that
# of the likelihood's rule lie 1 % of sigma_phi^2, and more of its derivatives.
_SPACING, _REACH = 1.1, (5.6, 2.6)
# v_R and v_z are odd over the half of the meridional plane that the rules leave out.
_EVEN = ((1.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 1.0))


class Moments(NamedTuple):
    """Density (stars or mass per kpc^3), mean (v_R, v_phi, v_z) and dispersion tensor ((km/s)^2)."""

    density: Scalar
    mean: Float[Array, "3"]
    dispersion: Float[Array, "3 3"]


def log_density(
    f: AbstractDF, potential: AbstractPotential, finder: AbstractActionFinder, R, z, refine: float = 1.0
) -> Scalar:
    """ln of the density of f (bound) at (R, z): ln int f(J(x, v)) d^3v, to the accuracy of `moments`."""
    return _log_density(f, potential, finder, as_array(R), as_array(z), refine)


def moments(
    f: AbstractDF, potential: AbstractPotential, finder: AbstractActionFinder, R, z, refine: float = 1.0
) -> Moments:
    """Density, mean velocity and dispersion tensor of f at (R, z) in kpc.

    Parameters
    ----------
    f : AbstractDF
        Bound to the potential (`f.bind(dynamics.circular_orbits(potential))`).
    finder : AbstractActionFinder
        The one used for the stars, too.
    refine : float
        2 doubles the nodes per axis.

    For a disc velocities are first spread widely about those of the plane, then as f is found to be; a
    mixture's components have rules of their own. The quadrature's error at 30 places each of a disc and two
    spheroids (R from 3 to 23, z to 8 kpc): 4e-4 of the disc's density and dispersions at worst, 2e-5 with
    refine = 1.5; of the spheroids' 4e-3 (1e-3 in the median), 1.2e-3 with 1.5, 4e-4 with 2. The finder's
    may be larger: for the fudge see benchmarks/moments.py. The error at hand: `moments_with_error`.

    >>> from oortax import df, dynamics, potential
    >>> pot = potential.MiyamotoNagai(M=1.2e11, a=3.0, b=0.3)
    >>> disc = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=8.0, H_d=0.3)
    >>> f = disc.bind(dynamics.circular_orbits(pot))
    >>> local = moments(f, pot, dynamics.StaeckelFudge(pot), 8.0, 0.1)
    >>> 180 < float(local.mean[1]) < 220
    True
    """
    return _moments(f, potential, finder, as_array(R), as_array(z), refine)


def moments_with_error(
    f: AbstractDF, potential: AbstractPotential, finder: AbstractActionFinder, R, z, refine: float = 1.0
) -> tuple[Moments, Moments]:
    """`moments` with half as many nodes again per axis, and how far those of `refine` are from them.

    The difference estimates the quadrature's error, mostly too large; what the finder's does is not in it.
    """
    rough, fine = (moments(f, potential, finder, R, z, factor * refine) for factor in (1.0, 1.5))
    return fine, jax.tree.map(lambda a, b: jnp.abs(a - b), rough, fine)


def component_moments(
    f: Mixture | BoundMixture,
    potential: AbstractPotential,
    finder: AbstractActionFinder,
    R,
    z,
    refine: float = 1.0,
) -> dict[str, Moments]:
    """The moments of each component of a mixture, by name; the densities' sum is that of the mixture.

    Raises ValueError for another DF.
    """
    if not isinstance(f, Mixture | BoundMixture):
        raise ValueError(f"component_moments: {type(f).__name__} has no components; use moments")
    mixture = f if isinstance(f, Mixture) else f.mixture
    bound = with_masses(f) if isinstance(f, Mixture) else f
    found = {}
    for name, part, log_scale in zip(mixture.names, bound.bound, bound.log_scales, strict=True):
        each = moments(part, potential, finder, R, z, refine)
        found[name] = each._replace(density=jnp.exp(log_scale) * each.density)
    return found


def velocity_scale_at(
    f: AbstractDF, potential: AbstractPotential, finder: AbstractActionFinder, R, z
) -> VelocityScale:
    """Mean and dispersions of a disc's f at (R, z) by a coarse rule, to place nodes: without derivatives."""
    (_, v_phi, _), (sigma_R, sigma_phi, sigma_z) = f.velocity_scale(potential, R, z)
    wide = _WIDER * sigma_R, _WIDER * sigma_z, _WIDER * sigma_phi
    rule = disc_rule(*wide, v_phi, spacing=_COARSER, centre=f.centre)
    found = _of_nodes(jnp.zeros_like(v_phi), rule, _log_f(f, finder, R, z, rule))
    sigma = jnp.sqrt(jnp.diagonal(found.dispersion))
    # Where next to nothing is, f may vanish on all nodes.
    known = jnp.all(jnp.isfinite(sigma)) & jnp.all(sigma > 0.0) & jnp.isfinite(found.mean[1])
    planar = jnp.stack([sigma_R, sigma_phi, sigma_z])
    mean = jnp.zeros(3).at[1].set(jnp.where(known, found.mean[1], v_phi))
    return lax.stop_gradient(VelocityScale(mean, jnp.where(known, sigma, planar)))


# Both are compiled: calls outside jit would go through a finder step by step.
@eqx.filter_jit
def _log_density(f, potential, finder, R, z, refine) -> Scalar:
    each = [
        log_scale + jax.nn.logsumexp(log_f, b=rule.weights)
        for log_scale, rule, log_f in _on_nodes(f, potential, finder, R, z, refine)
    ]
    return jax.nn.logsumexp(jnp.stack(each))


@eqx.filter_jit
def _moments(f, potential, finder, R, z, refine) -> Moments:
    return summed([_of_nodes(*on) for on in _on_nodes(f, potential, finder, R, z, refine)])


def _on_nodes(f, potential, finder, R, z, refine):
    """(log of the amplitude, rule, ln f on its nodes) of each component."""
    found = []
    for log_scale, part in populations(f):
        if part.flat:
            (_, v_phi, _), (sigma_R, sigma_phi, sigma_z) = velocity_scale_at(part, potential, finder, R, z)
            options = {"spacing": _SPACING / refine, "centre": part.centre, "reach": _REACH}
            rule = disc_rule(sigma_R, sigma_z, sigma_phi, v_phi, **options)
        else:
            rule = part.velocity_rule(potential, R, z, refine)
        found.append((log_scale, rule, _log_f(part, finder, R, z, rule)))
    return found


def _log_f(f, finder, R, z, rule: VelocityRule):
    x = jnp.stack([R, jnp.zeros_like(R), z])
    return jax.vmap(lambda v: f.log_f(finder.actions(x, v)))(rule.velocities)


def _of_nodes(log_scale, rule: VelocityRule, log_f) -> Moments:
    values = rule.weights * jnp.exp(log_scale + log_f)
    density = jnp.sum(values)
    # The rule holds half of the meridional plane: means of v_R and v_z vanish by symmetry.
    v_phi = values @ rule.velocities[:, 1] / density
    mean = jnp.stack([jnp.zeros_like(density), v_phi, jnp.zeros_like(density)])
    delta = rule.velocities - mean
    dispersion = jnp.einsum("n,ni,nj->ij", values, delta, delta) / density * jnp.asarray(_EVEN)
    return Moments(density, mean, dispersion)


def summed(parts: list[Moments]) -> Moments:
    """The moments of several populations together, from those of each at one place."""
    if len(parts) == 1:
        return parts[0]
    densities = jnp.stack([part.density for part in parts])
    density = jnp.sum(densities)
    shares = densities / density
    mean = shares @ jnp.stack([part.mean for part in parts])
    off = jnp.stack([part.mean - mean for part in parts])
    within = jnp.einsum("n,nij->ij", shares, jnp.stack([part.dispersion for part in parts]))
    return Moments(density, mean, within + jnp.einsum("n,ni,nj->ij", shares, off, off))
