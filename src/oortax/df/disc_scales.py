"""Rough moments of a disc, only for laying out nodes; they enter no likelihood."""

import jax.numpy as jnp

from oortax.df.velocity import VelocityScale
from oortax.potential import AbstractPotential
from oortax.types import Scalar


def disc_velocity_scale(R, Omega, kappa, sigma_R, sigma_z, fall) -> VelocityScale:
    """Mean rotation behind v_c by the asymmetric drift, and the dispersions, of a disc at R.

    `fall` is -d ln(Sigma sigma_R^2)/d ln R (Binney & Tremaine 2008, eq. 4.228); the drift is at most 1.5
    sigma_phi.
    """
    v_c, epicycle2 = Omega * R, (0.5 * kappa / Omega) ** 2
    sigma_phi = sigma_R * jnp.sqrt(epicycle2)
    drift = 0.5 * sigma_R**2 / v_c * (fall - 1.0 + epicycle2)
    drift = jnp.minimum(drift, 1.5 * sigma_phi)
    zero = jnp.zeros_like(v_c)
    return VelocityScale(jnp.stack([zero, v_c - drift, zero]), jnp.stack([sigma_R, sigma_phi, sigma_z]))


def log_isothermal(potential: AbstractPotential, R, z, sigma_z) -> Scalar:
    """ln of the density at z over that in the plane: isothermal in the potential, at two thirds of sigma_z^2.

    Two thirds, because nu J_z grows faster than the energy of the vertical motion.
    """
    lift = potential.Phi_Rz(R, z) - potential.Phi_Rz(R, jnp.zeros_like(R))
    return -1.5 * lift / sigma_z**2
