"""The focal distance of the Staeckel fudge as a smooth function of energy and angular momentum.

A focal distance chosen star by star makes f(J) jump from one star to the next; one that depends on the
integrals (E, L_z) alone does not, and is differentiable in the potential.
"""

from functools import partial
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from oortax.dynamics.jet import IN_PLANE, Jet, jet
from oortax.numerics.once import once
from oortax.numerics.spline import hermite, with_slopes
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.types import Scalar

# Chebyshev points in k = L_z/L_c(E) on [0, 1] and the map from values there to monomial coefficients.
_K_NODES = 0.5 - 0.5 * np.cos((2 * np.arange(5) + 1) * np.pi / 10)
_K_MONOMIALS = np.linalg.inv(np.vander(_K_NODES, increasing=True))
# At the focal ring the potential is prolate enough if Delta^2/R^2 is this share of what it is outside.
_ALIKE = 0.3
# Twice the least Delta^2, in squares of the radius of the circular orbit.
_LEAST = 1e-5


def local_focal_distance2(potential: AbstractPotential, R, z) -> Scalar:
    """Delta^2 (kpc^2) for which a Staeckel potential has the local second derivatives of Phi.

    Delta^2 = z^2 - R^2 + [3 z Phi_R - 3 R Phi_z + R z (Phi_RR - Phi_zz)] / Phi_Rz (Sanders 2012, MNRAS
    426, 128, eq. 8). Off the plane and off the axis only; 0 where Phi_Rz vanishes (a harmonic core).
    """
    return _of_jet(R * R, z * z, jet(potential, R * R, z * z))


def _of_jet(R2, z2, local: Jet) -> Scalar:
    """The same in derivatives with respect to R^2 and z^2, where R z cancels."""
    scale = jnp.abs(local.a) + jnp.abs(local.b)
    harmonic = jnp.abs(local.ab) * (R2 + z2) < 1e-9 * scale
    bracket = 2.0 * (local.a - local.b) + R2 * local.aa - z2 * local.bb
    return jnp.where(harmonic, 0.0, z2 - R2 + bracket / jnp.where(harmonic, 1.0, local.ab))


@final
class FocalDistance(eqx.Module):
    """Delta^2(E, L_z) of one potential: cubic in E between knots, quartic in k = |L_z|/L_c(E).

    Delta^2 is the local value on the sphere whose radius is that of the circular orbit of energy E, at
    the latitude lambda with sin(lambda) = 0.15 s (1 + s^2), s^2 = 1 - k^2: the height at which orbits of
    these integrals spend their time (chosen by the scatter of J along thin, thick and halo orbits in
    MWPotential2014: see benchmarks). Where the potential is prolate, so that Delta^2 < 0, coordinates have
    a focal ring of radius sqrt(-Delta^2) in the plane. Orbits that pass within it are of a family of their
    own if the potential is prolate there, too; about a disc they are not, and the ring is kept within
    all pericentres, -Delta^2 < (k^2 R/2)^2. Who calls the table and not `signed` gets a small positive value.
    """

    E: Float[Array, " n"]
    table: Float[Array, "n 16"]

    def __call__(self, E, L_z) -> Scalar:
        """Delta^2 > 0 (kpc^2) at energy E ((km/s)^2) and angular momentum L_z (kpc km/s)."""
        Delta2, _, R2, _ = self._local(E, L_z)
        return _floored(Delta2, R2)

    def signed(self, E, L_z) -> Scalar:
        """Delta^2 (kpc^2) of either sign: negative where the potential is prolate."""
        Delta2, k, R2, throughout = self._local(E, L_z)
        prolate = Delta2 < 0.0
        # With slope 1 at 0, so that ln L has no kink where a potential becomes prolate. A Kepler orbit's
        # pericentre is at k^2 R/(1 + sqrt(1 - k^2)).
        largest = jnp.where(prolate, (0.25 * k**4 + _LEAST) * R2, 1.0)
        small = Delta2 / (1.0 + jnp.maximum(-Delta2, 0.0) / largest)
        return small + throughout * (Delta2 - small)

    def prolate(self, E, L_z) -> Bool[Array, ""]:
        """Whether the potential is prolate for orbits of these integrals."""
        return self._local(E, L_z)[0] < 0.0

    def _local(self, E, L_z) -> tuple[Scalar, Scalar, Scalar, Scalar]:
        """Delta^2 of either sign, k, the square of the radius of the circular orbit, and `_throughout`."""
        row = [once(each) for each in hermite(self.E, self.table, E)]
        k = jnp.clip(jnp.abs(L_z) / row[5], 0.0, 1.0)
        k = once(k)
        Delta2 = row[0] + k * (row[1] + k * (row[2] + k * (row[3] + k * row[4])))
        return Delta2, k, row[6], jnp.clip(row[7], 0.0, 1.0)


def _floored(Delta2, R2) -> Scalar:
    """Of what is read from the table, whose polynomials may overshoot."""
    return 0.5 * (Delta2 + jnp.hypot(Delta2, _LEAST * R2))


def _throughout(log_R, Delta2) -> Float[Array, " n"]:
    """1 where the potential is prolate, Delta^2(R) < 0, and at the focal ring, R^2 = -Delta^2, too; else 0.

    Between them where it is less so, in units of R^2, than at R itself.
    """
    shape = Delta2 * jnp.exp(-2.0 * log_R)
    ring = log_R + 0.5 * jnp.log(jnp.maximum(-shape, _LEAST))
    t = jnp.clip(jnp.interp(ring, log_R, shape) / (_ALIKE * jnp.minimum(shape, -_LEAST)), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


@final
class FixedFocalDistance(eqx.Module):
    """One Delta^2 for all orbits: that of a Staeckel potential's own coordinates."""

    Delta2: Scalar

    def signed(self, E, L_z) -> Scalar:
        """Delta^2 (kpc^2), whatever the integrals."""
        return self.Delta2


def focal_distance(
    potential: AbstractPotential, *, R_min: float = 0.03, R_max: float = 300.0, n: int = 32
) -> FocalDistance:
    """Tabulate Delta^2(E, L_z) for circular-orbit radii between R_min and R_max (kpc)."""
    return _tabulated(expand(potential), R_min, R_max, n)


# Compiled, as all that calls outside jit would do step by step.
@eqx.filter_jit
def _tabulated(potential: AbstractPotential, R_min: float, R_max: float, n: int) -> FocalDistance:
    log_R = jnp.linspace(np.log(R_min), np.log(R_max), n)
    R2 = jnp.exp(2.0 * log_R)[:, None]
    s2 = 1.0 - _K_NODES**2
    sine2 = 0.15**2 * s2 * (1.0 + s2) ** 2
    # The ring in the plane and the points above it, in one list: potentials are long to compile.
    z2 = R2 * jnp.concatenate([jnp.array([IN_PLANE**2]), jnp.asarray(sine2)]).astype(R2.dtype)
    local = jax.vmap(jax.vmap(partial(jet, potential)))(R2 - z2, z2)
    ring, above = (jax.tree.map(lambda a, at=at: a[:, at], local) for at in (slice(0, 1), slice(1, None)))
    a, aa = ring.a[:, 0], ring.aa[:, 0]
    R2_ring = R2[:, 0]
    E = ring.Phi[:, 0] + R2_ring * a
    dE_dlog_R = 4.0 * R2_ring * a + 2.0 * R2_ring**2 * aa
    L_c = R2_ring * jnp.sqrt(2.0 * a)
    Delta2 = _of_jet((R2 - z2)[:, 1:], z2[:, 1:], above)
    by_k = Delta2 @ jnp.asarray(_K_MONOMIALS.T, dtype=R2.dtype)
    rows = [by_k, L_c[:, None], R2, _throughout(log_R, by_k[:, 0])[:, None]]
    step = (log_R[-1] - log_R[0]) / (n - 1)
    return FocalDistance(E, with_slopes(jnp.concatenate(rows, axis=1), dE_dlog_R * step))
