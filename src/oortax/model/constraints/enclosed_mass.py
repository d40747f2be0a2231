"""Mass inside spheres."""

from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.constants import G
from oortax.model.constraints.base import AbstractConstraint, Prediction
from oortax.params import as_array, param
from oortax.potential import AbstractPotential
from oortax.types import Scalar

N_MU = 24


def enclosed_mass(pot: AbstractPotential, r, n: int = N_MU) -> Scalar:
    """Mass within radius r (kpc) in Msun, by Gauss' law: M(<r) = r^2/G int_0^1 dPhi/dr dmu, mu = cos theta.

    The flux of the force through the sphere is exact for any axisymmetric potential; its mean over mu is a
    Gauss rule of n nodes in sqrt(mu), which crowd towards the plane.

    Accuracy (24 nodes): rounding for a sphere, 1e-10 for a Miyamoto-Nagai disc with b = a/10 at any radius.

    >>> from oortax import potential
    >>> round(float(enclosed_mass(potential.Plummer(M=1e10, b=1.0), 2.0)) / 1e10, 6)
    0.715542
    """
    t, weight = np.polynomial.legendre.leggauss(n)
    t, weight = 0.5 * (1.0 + t), 0.5 * weight
    r = jnp.asarray(as_array(r))
    mu = jnp.asarray(t**2, r.dtype)
    sine = jnp.asarray(np.sqrt(1.0 - t**4), r.dtype)
    force = jax.vmap(lambda s, c: jax.jvp(lambda u: pot.Phi_Rz(u * s, u * c), (r,), (jnp.ones_like(r),))[1])
    return r**2 / G * jnp.dot(jnp.asarray(2.0 * t * weight, r.dtype), force(sine, mu))


@final
class EnclosedMass(AbstractConstraint):
    """Masses M(<r), each with errors downwards and upwards, compared as they are or in ln M.

    With `log` the split normal is one of ln M, with errors ln[(M + sigma_+)/M] and ln[M/(M - sigma_-)].
    `systematic` is a fraction of M added to each error in quadrature: published masses differ by
    more than their errors.

    Table: r (kpc), M, sigma_minus and sigma_plus (Msun).

    >>> EnclosedMass(log=True).log
    True
    """

    axes: ClassVar = ("r [kpc]", "M(<r) [Msun]")
    log_axes: ClassVar = True

    systematic: Float[Array, ""] = param(
        constraints.nonnegative, "", "fraction of M added to each error for itself", default=0.0
    )
    log: bool = eqx.field(static=True, default=False)

    def predict(self, view, table):
        """Masses in Msun."""
        r, M = table["r"], table["M"]
        mass = jax.vmap(lambda r: enclosed_mass(view.potential, r))(r)
        minus, plus = (jnp.hypot(table[s], self.systematic * M) for s in ("sigma_minus", "sigma_plus"))
        return Prediction(r, M, mass, minus, plus)

    def residual(self, view, table):
        """Differences of M or of ln M, with their errors."""
        if not self.log:
            return super().residual(view, table)
        M = table["M"]
        minus, plus = -jnp.log1p(-table["sigma_minus"] / M), jnp.log1p(table["sigma_plus"] / M)
        d = jnp.log(M / self.predict(view, table).predicted)
        return d, jnp.hypot(minus, self.systematic), jnp.hypot(plus, self.systematic)
