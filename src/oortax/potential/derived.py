"""What follows from Phi: forces, densities, circular orbits' frequencies.

Functions of one point; batches are `jax.vmap` outside. They use forward and reverse derivatives of
`Phi` only, so that they serve every potential.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from oortax.constants import G
from oortax.params import as_array
from oortax.potential.base import AbstractPotential, soften
from oortax.types import Scalar, Vec3


def acceleration(pot: AbstractPotential, x: Vec3) -> Vec3:
    """Acceleration -grad Phi at the point x = (x, y, z) in kpc, in (km/s)^2/kpc.

    >>> from oortax import potential
    >>> pot = potential.Plummer(M=1e10, b=1.0)
    >>> round(float(acceleration(pot, jnp.array([0.0, 0.0, 1.0]))[2]), 2)
    -15206.04
    """
    x = as_array(x)
    R2, z2 = x[0] * x[0] + x[1] * x[1], x[2] * x[2]
    by_R2, by_z2 = _gradient_of_squares(pot, R2, z2)
    return -2.0 * jnp.stack([x[0] * by_R2, x[1] * by_R2, x[2] * by_z2])


@eqx.filter_jit
def _gradient_of_squares(pot: AbstractPotential, R2: Scalar, z2: Scalar):
    """(dPhi/dR^2, dPhi/dz^2), shape (2,).

    A loop over the two directions, because XLA fuses what comes before an array of vectors into each of
    their components, and vectorises none: without it forces of MWPotential2014 take four times as long.
    """
    return jax.lax.map(
        lambda along: jax.jvp(pot.Phi_of_squares, (R2, z2), (along[0], along[1]))[1],
        jnp.eye(2, dtype=R2.dtype),
    )


def density(pot: AbstractPotential, x: Vec3) -> Scalar:
    """Density div grad Phi / (4 pi G) at the point x in kpc (Poisson's equation), in Msun/kpc^3.

    Potentials that are given by a density return that.

    >>> from oortax import potential
    >>> centre = float(density(potential.Plummer(M=1e10, b=1.0), jnp.zeros(3)))
    >>> round(centre / (3e10 / (4 * jnp.pi)), 6)
    1.0
    """
    x = as_array(x)
    return pot.rho(jnp.sqrt(soften(x[0] * x[0] + x[1] * x[1])), x[2])


def vertical_force(pot: AbstractPotential, R, z) -> Scalar:
    """Vertical force K_z = -dPhi/dz at (R, z) in kpc, in (km/s)^2/kpc: negative above the plane."""
    R = as_array(R)
    return -_derivative(lambda u: pot.Phi_Rz(R, u))(as_array(z))


def effective_surface_density(pot: AbstractPotential, R, z) -> Scalar:
    """|K_z|/(2 pi G) at (R, z) in kpc, in Msun/kpc^2.

    Near the Sun this is close to the column of matter within |z|; the difference is the radial term
    of Poisson's equation.
    """
    return jnp.abs(vertical_force(pot, R, z)) / (2.0 * jnp.pi * G)


def circular_velocity(pot: AbstractPotential, R) -> Scalar:
    """Circular speed sqrt(R dPhi/dR) in the plane at R in kpc, in km/s; 0 at R = 0.

    NaN where the force points outwards, and no circular orbit exists.

    >>> from oortax import potential
    >>> round(float(circular_velocity(potential.mw_potential_2014(), 8.0)), 9)
    220.0
    """
    R = as_array(R)
    return _root(R * _derivative(lambda u: pot.Phi_Rz(u, jnp.zeros_like(u)))(R))


def escape_velocity(pot: AbstractPotential, x: Vec3) -> Scalar:
    """Escape speed sqrt(-2 Phi(x)) at the point x in kpc, in km/s.

    Holds for potentials that vanish at infinity: all built-in ones but LogarithmicHalo and ScaleFree, from
    which nothing escapes. NaN where Phi > 0.
    """
    return _root(-2.0 * pot.Phi(as_array(x)))


class CircularFrequencies(NamedTuple):
    """Frequencies of the circular orbit in the plane, in km/s/kpc."""

    Omega: Scalar
    kappa: Scalar
    nu: Scalar


def frequencies(pot: AbstractPotential, R) -> CircularFrequencies:
    """Azimuthal, epicycle and vertical frequency (Omega, kappa, nu) at R > 0 in kpc, in km/s/kpc.

    Omega^2 = Phi_R/R, kappa^2 = Phi_RR + 3 Phi_R/R, nu^2 = Phi_zz in the plane (BT08 eq. 3.79). NaN
    where a circular orbit does not exist or is unstable.

    >>> from oortax import potential
    >>> pot = potential.LogarithmicHalo(v_0=200.0, r_c=1e-6, q=1.0)
    >>> Omega, kappa, nu = frequencies(pot, 8.0)
    >>> round(float(kappa / Omega), 6), round(float(nu / Omega), 6)
    (1.414214, 1.0)
    """
    R = as_array(R)
    zero = jnp.zeros_like(R)
    slope = _derivative(lambda u: pot.Phi_Rz(u, zero))
    dPhi_dR, d2Phi_dR2 = jax.jvp(slope, (R,), (jnp.ones_like(R),))
    d2Phi_dz2 = _derivative(_derivative(lambda u: pot.Phi_Rz(R, u)))(zero)
    Omega2 = dPhi_dR / R
    return CircularFrequencies(_root(Omega2), _root(d2Phi_dR2 + 3.0 * Omega2), _root(d2Phi_dz2))


def _derivative(f):
    """Forward derivative of a scalar function of a scalar: cheaper than reverse mode, and it nests."""
    return lambda u: jax.jvp(f, (u,), (jnp.ones_like(u),))[1]


def _root(square):
    """sqrt with derivative 0 instead of inf at 0; NaN below 0."""
    positive = square != 0.0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
