"""The thickness of a gas layer that its own pressure holds up."""

from typing import ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.model.constraints.base import AbstractConstraint, Prediction
from oortax.params import as_array, param
from oortax.potential import AbstractPotential
from oortax.types import Scalar

Z_MAX = 10.0
"""The half-width is sought below this height, in kpc; a layer that is thicker gives NaN."""
_HALVINGS = 45


def half_width(pot: AbstractPotential, R, sigma_g) -> Scalar:
    """Height (kpc) at which an isothermal layer of gas has half the density of the plane.

    Hydrostatic equilibrium, rho(z) = rho(0) exp{-[Phi(R, z) - Phi(R, 0)]/sigma_g^2}, so that the half-width
    at half maximum solves Phi(R, z) - Phi(R, 0) = sigma_g^2 ln 2 (Merrifield 1993; Malhotra 1994).
    Differentiable in everything, by the implicit function theorem. NaN above 10 kpc.

    >>> from oortax import potential
    >>> pot = potential.LogarithmicHalo(v_0=200.0, r_c=1e-6, q=1.0)   # Phi(z) = v_0^2/2 ln(1 + z^2/R^2)
    >>> round(float(half_width(pot, 8.0, 10.0)), 6), round(8.0 * (2.0 ** (2.0 * 0.05**2) - 1.0) ** 0.5, 6)
    (0.471372, 0.471372)
    """
    R, sigma_g = as_array(R), as_array(sigma_g)
    energy = sigma_g**2 * jnp.log(2.0)

    def excess(z):
        return pot.Phi_Rz(R, z) - pot.Phi_Rz(R, jnp.zeros_like(z)) - energy

    def halve(_, bracket):
        low, high = bracket
        z = 0.5 * (low + high)
        below = excess(z) < 0.0
        return jnp.where(below, z, low), jnp.where(below, high, z)

    low, high = jnp.zeros_like(R), jnp.full_like(R, Z_MAX)
    z = jax.lax.stop_gradient(sum(jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))) / 2.0)
    # One Newton step with the slope held: its value polishes z, its derivative is the implicit one.
    slope = jax.lax.stop_gradient(jax.jvp(excess, (z,), (jnp.ones_like(z),))[1])
    found = z - excess(z) / slope
    return jnp.where(excess(high) > 0.0, found, jnp.nan)


@final
class GasLayer(AbstractConstraint):
    """Half-widths at half maximum of a gas layer against R; they measure K_z near the plane.

    The dispersion sigma_g of the gas (thermal, turbulent, magnetic and cosmic-ray support together) is all
    but degenerate with K_z: give it a prior.

    Table: R, hwhm, sigma_minus and sigma_plus (kpc).

    >>> float(GasLayer().sigma_g)
    8.0
    """

    axes: ClassVar = ("R [kpc]", "half-width of the gas [kpc]")

    sigma_g: Float[Array, ""] = param(constraints.positive, "km/s", "dispersion of the gas", default=8.0)

    def predict(self, view, table):
        """Half-widths in kpc against R."""
        widths = jax.vmap(lambda R: half_width(view.potential, R, self.sigma_g))(table["R"])
        return Prediction(table["R"], table["hwhm"], widths, table["sigma_minus"], table["sigma_plus"])
