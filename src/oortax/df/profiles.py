"""What f(J) says of columns and of single velocities: surface densities and marginal distributions."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.df.base import AbstractDF
from oortax.df.mixture import populations
from oortax.df.moments import moments, velocity_scale_at
from oortax.df.velocity import legendre
from oortax.dynamics import AbstractActionFinder
from oortax.potential import AbstractPotential, circular_velocity
from oortax.types import Scalar

DIRECTIONS = {"R": (1.0, 0.0, 0.0), "phi": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
"""Names of directions in (v_R, v_phi, v_z)."""

# Of a disc's integrals across a velocity: ends and spacing in dispersions, more room towards v_phi = 0.
_BELOW, _ABOVE, _SPACING = 8.0, 6.0, 0.5
# Gauss-Legendre nodes of a spheroid's, in speed and about it.
_SPEEDS, _ANGLES = 24, 48
_FAR = 1000.0


def surface_density(
    f: AbstractDF,
    potential: AbstractPotential,
    finder: AbstractActionFinder,
    R,
    z_max: float,
    refine: float = 1.0,
    n: int = 20,
) -> Scalar:
    """Column of f within |z| < z_max at R, in Msun (or stars) per kpc^2.

    n Gauss-Legendre heights, dense at the plane: z = z_max t^2.

    >>> from oortax import df, dynamics, potential
    >>> pot = potential.MiyamotoNagai(M=1.2e11, a=3.0, b=0.3)
    >>> disc = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=8.0, H_d=0.3, Sigma_0=8e8)
    >>> f = disc.bind(dynamics.circular_orbits(pot))
    >>> column = surface_density(f, pot, dynamics.StaeckelFudge(pot), 8.0, 4.0)
    >>> 0.9 < float(column / (8e8 * jnp.exp(-8.0 / 2.6))) < 1.2
    True
    """
    t, weights = (jnp.asarray(a) for a in legendre(n, 1.0))

    def at(t):
        return moments(f, potential, finder, R, z_max * t * t, refine).density

    return 4.0 * z_max * jnp.sum(weights * t * jax.lax.map(at, t))


def velocity_distribution(
    f: AbstractDF,
    potential: AbstractPotential,
    finder: AbstractActionFinder,
    R,
    z,
    v: Float[Array, " n"],
    along: str | Float[Array, "3"] = "phi",
) -> Float[Array, " n"]:
    """Density of one velocity at (R, z): int f d^2v across `along`, per kpc^3 and km/s.

    Parameters
    ----------
    f : AbstractDF, bound
    v : (n,) km/s
        Velocities along `along`.
    along : "R", "phi", "z" or (3,)
        A direction in (v_R, v_phi, v_z), such as that of a line of sight; it need not have unit length.

    Its integral over v is the density of `moments`. A disc's is integrated by the trapezoidal rule over 28 x
    28 velocities spaced by half a dispersion; a spheroid's by Gauss-Legendre rules in the speed across and
    the angle, split where v_phi = 0. Raises ValueError for an unknown direction.

    >>> from oortax import df, dynamics, potential
    >>> pot = potential.Isochrone(M=1e11, b=3.0)
    >>> sphere = df.IsochroneSphere(M=1e11, b=3.0)
    >>> finder, v = dynamics.IsochroneFinder(pot), jnp.array([-50.0, 50.0])
    >>> p = velocity_distribution(sphere, pot, finder, 3.0, 1.0, v)
    >>> bool(jnp.allclose(p[0], p[1]))
    True
    """
    axes = _axes(along)
    R, z = jnp.asarray(R), jnp.asarray(z)
    total = jnp.zeros(jnp.shape(v))
    for log_scale, part in populations(f):
        across = _across_disc if part.flat else _across_spheroid
        total = total + jnp.exp(log_scale) * across(part, potential, finder, R, z, jnp.asarray(v), axes)
    return total


def _axes(along) -> np.ndarray | Array:
    """(3, 3): rows are the direction and two across it."""
    if isinstance(along, str):
        if along not in DIRECTIONS:
            raise ValueError(f"velocity_distribution(along={along!r}): R, phi, z or three numbers are needed")
        along = DIRECTIONS[along]
    first = np.asarray(along, float)
    if first.shape != (3,) or not np.linalg.norm(first) > 0.0:
        raise ValueError(f"velocity_distribution(along={along!r}): a direction has three numbers, not all 0")
    first = first / np.linalg.norm(first)
    # The second in the plane of v_R and v_z, where it can be: v_phi is then in the third alone.
    second = np.cross(first, [0.0, 1.0, 0.0])
    second = second / np.linalg.norm(second) if np.linalg.norm(second) > 1e-9 else np.array([1.0, 0.0, 0.0])
    return np.stack([first, second, np.cross(second, first)])


def _integrated(f, finder, R, z, velocities, weights):
    """sum of weights f over nodes (n, 3)."""
    x = jnp.stack([R, jnp.zeros_like(R), z])
    values = jax.vmap(lambda v: f.log_f(finder.actions(x, v)))(velocities)
    return jnp.sum(weights * jnp.exp(values))


def _across_disc(f, potential, finder, R, z, v, axes):
    mean, sigma = velocity_scale_at(f, potential, finder, R, z)
    steps = np.arange(-_BELOW, _ABOVE + 0.5 * _SPACING, _SPACING)
    # Dispersions and means along the axes; room towards -v_phi on both sides that may be it.
    widths = jnp.sqrt((axes[1:] ** 2) @ sigma**2)
    signs = np.where(axes[1:, 1] < 0.0, -1.0, 1.0)
    middle = axes[1:] @ mean
    a, b = (middle[k] + signs[k] * widths[k] * steps for k in (0, 1))
    a, b = (part.ravel() for part in jnp.meshgrid(a, b, indexing="ij"))
    weight = _SPACING**2 * widths[0] * widths[1]
    across = a[:, None] * axes[1] + b[:, None] * axes[2]
    return jax.lax.map(lambda u: _integrated(f, finder, R, z, u * axes[0] + across, weight), v)


def _across_spheroid(f, potential, finder, R, z, v, axes):
    far = jnp.full_like(R, _FAR)
    escape2 = 2.0 * (potential.Phi_Rz(far, jnp.zeros_like(R)) - potential.Phi_Rz(R, z))
    t, w_t = legendre(_SPEEDS, 1.0)
    half, w_half = legendre(_ANGLES // 2, np.pi)
    psi, w_psi = np.concatenate([half, half + np.pi]), np.tile(w_half, 2)
    t, psi = (part.ravel() for part in np.meshgrid(t, psi, indexing="ij"))
    weights = np.outer(w_t, w_psi).ravel()

    def at(u):
        largest = jnp.sqrt(jnp.maximum(escape2 - u * u, 0.0))
        # s = largest t^2: dense where f has its cusp, at low speeds across.
        s = largest * t * t
        nodes = u * axes[0] + (s * np.cos(psi))[:, None] * axes[1] + (s * np.sin(psi))[:, None] * axes[2]
        return _integrated(f, finder, R, z, nodes, weights * 2.0 * largest * t * s)

    return jax.lax.map(at, v)


def asymmetric_drift(
    f: AbstractDF, potential: AbstractPotential, finder: AbstractActionFinder, R, z=0.0, refine: float = 1.0
) -> Scalar:
    """How far f's mean rotation at (R, z) lags behind the circular speed at R, km/s."""
    return circular_velocity(potential, jnp.asarray(R)) - moments(f, potential, finder, R, z, refine).mean[1]


def anisotropy(
    f: AbstractDF, potential: AbstractPotential, finder: AbstractActionFinder, R, z, refine: float = 1.0
) -> Scalar:
    """beta = 1 - (sigma_theta^2 + <v_phi^2>)/(2 sigma_r^2) in spherical coordinates (Binney & Tremaine 2008,
    eq. 4.61)."""
    _, mean, dispersion = moments(f, potential, finder, R, z, refine)
    r = jnp.hypot(R, z)
    sine, cosine = R / r, z / r
    outwards = jnp.stack([sine, jnp.zeros_like(r), cosine])
    radial = outwards @ dispersion @ outwards
    trace = jnp.trace(dispersion) + mean[1] ** 2
    return 1.0 - (trace - radial) / (2.0 * radial)


def tilt(
    f: AbstractDF, potential: AbstractPotential, finder: AbstractActionFinder, R, z, refine: float = 1.0
) -> Scalar:
    """Angle of the velocity ellipsoid's long axis with the R axis in the (R, z) plane, rad (Binney & Tremaine
    2008, eq. 4.280): arctan(z/R) if it points to the centre."""
    dispersion = moments(f, potential, finder, R, z, refine).dispersion
    return 0.5 * jnp.arctan2(2.0 * dispersion[0, 2], dispersion[0, 0] - dispersion[2, 2])
