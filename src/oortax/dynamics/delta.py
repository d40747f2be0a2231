"""The focal distance of the Staeckel fudge as a smooth function of energy and angular momentum.

A focal distance chosen star by star makes f(J) jump from one star to the next; one that depends on the
integrals (E, L_z) alone does not, and is differentiable in the potential.
"""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.dynamics.circular import ring
from oortax.numerics.spline import hermite, with_slopes
from oortax.potential.base import AbstractPotential
from oortax.types import Scalar

# Chebyshev points in k = L_z/L_c(E) on [0, 1] and the map from values there to monomial coefficients.
_K_NODES = 0.5 - 0.5 * np.cos((2 * np.arange(5) + 1) * np.pi / 10)
_K_MONOMIALS = np.linalg.inv(np.vander(_K_NODES, increasing=True))


def local_focal_distance2(potential: AbstractPotential, R, z) -> Scalar:
    """Delta^2 (kpc^2) for which a Staeckel potential has the local second derivatives of Phi.

    Delta^2 = z^2 - R^2 + [3 z Phi_R - 3 R Phi_z + R z (Phi_RR - Phi_zz)] / Phi_Rz (Sanders 2012, MNRAS
    426, 128, eq. 8). Off the plane and off the axis only; 0 where Phi_Rz vanishes (a harmonic core).
    """

    def gradient(Rz):
        return jax.grad(lambda q: potential.Phi_Rz(q[0], q[1]))(Rz)

    Rz = jnp.stack([R, z])
    Phi_R, Phi_z = gradient(Rz)
    (Phi_RR, Phi_Rz), (_, Phi_zz) = jax.jacfwd(gradient)(Rz)
    scale = jnp.abs(Phi_RR) + jnp.abs(Phi_zz)
    harmonic = jnp.abs(Phi_Rz) < 1e-9 * scale
    Phi_Rz = jnp.where(harmonic, 1.0, Phi_Rz)
    bracket = 3.0 * z * Phi_R - 3.0 * R * Phi_z + R * z * (Phi_RR - Phi_zz)
    return jnp.where(harmonic, 0.0, z * z - R * R + bracket / Phi_Rz)


@final
class FocalDistance(eqx.Module):
    """Delta^2(E, L_z) of one potential: cubic in E between knots, quartic in k = |L_z|/L_c(E).

    Delta^2 is the local value on the sphere whose radius is that of the circular orbit of energy E, at
    the latitude lambda with sin(lambda) = 0.15 s (1 + s^2), s^2 = 1 - k^2: the height at which orbits of
    these integrals spend their time (chosen by the scatter of J along thin, thick and halo orbits in
    MWPotential2014: see benchmarks). Where the potential is prolate, so that Delta^2 < 0, it goes
    smoothly to a small positive value.
    """

    E: Float[Array, " n"]
    table: Float[Array, "n 12"]

    def __call__(self, E, L_z) -> Scalar:
        """Delta^2 (kpc^2) at energy E ((km/s)^2) and angular momentum L_z (kpc km/s)."""
        row = hermite(self.E, self.table, E)
        k = jnp.clip(jnp.abs(L_z) / row[5], 0.0, 1.0)
        return row[0] + k * (row[1] + k * (row[2] + k * (row[3] + k * row[4])))


def focal_distance(
    potential: AbstractPotential, *, R_min: float = 0.03, R_max: float = 300.0, n: int = 32
) -> FocalDistance:
    """Tabulate Delta^2(E, L_z) for circular-orbit radii between R_min and R_max (kpc)."""
    log_R = jnp.linspace(np.log(R_min), np.log(R_max), n)

    def at_radius(log_R):
        R = jnp.exp(log_R)
        orbit = ring(potential, R)
        E = orbit.Phi + 0.5 * R * orbit.Phi_R
        dE_dlog_R = 0.5 * R * (3.0 * orbit.Phi_R + R * orbit.Phi_RR)
        L_c = jnp.sqrt(R**3 * orbit.Phi_R)

        def at_k(k):
            s2 = 1.0 - k * k
            sine = 0.15 * jnp.sqrt(s2) * (1.0 + s2)
            Delta2 = local_focal_distance2(potential, R * jnp.sqrt(1.0 - sine**2), R * sine)
            floor = 1e-5 * R * R
            return 0.5 * (Delta2 + jnp.sqrt(Delta2**2 + floor**2))

        Delta2 = jax.vmap(at_k)(jnp.asarray(_K_NODES, dtype=R.dtype))
        monomials = jnp.asarray(_K_MONOMIALS, dtype=R.dtype) @ Delta2
        return E, dE_dlog_R, jnp.append(monomials, L_c)

    E, dE_dlog_R, rows = jax.vmap(at_radius)(log_R)
    step = (log_R[-1] - log_R[0]) / (n - 1)
    return FocalDistance(E, with_slopes(rows, dE_dlog_R * step))
