"""Measured vertical forces at a height above the plane."""

from typing import ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.constants import MSUN_PC2
from oortax.model.constraints.base import AbstractConstraint, Prediction
from oortax.params import param
from oortax.potential import effective_surface_density


@final
class VerticalForce(AbstractConstraint):
    """|K_z|(R, z)/(2 pi G) in Msun/pc^2, K_z = -dPhi/dz.

    The covariance is diag(sigma_i^2 + (systematic K_i)^2) + s s^T with s_i = common_fraction K_i.

    Table: R and z (kpc), K_z, sigma_minus and sigma_plus (Msun/pc^2), and shift, 1 where R was
    measured from the Sun and moves with R0 (then R is for R0_table, in kpc), else 0.

    >>> float(VerticalForce(systematic=0.05).systematic)
    0.05
    """

    axes: ClassVar = ("R [kpc]", "|K_z|/(2 pi G) [Msun/pc^2]")

    systematic: Float[Array, ""] = param(
        constraints.nonnegative, "", "fraction of K_z added to each error for itself", default=0.0
    )
    common_fraction: Float[Array, ""] = param(
        constraints.nonnegative, "", "1-sigma scale of the whole table", default=0.0
    )

    def predict(self, view, table):
        """Forces in Msun/pc^2 against R."""
        R = table["R"] + table["shift"] * (view.sun.R0 - table["R0_table"])
        force = jax.vmap(lambda R, z: effective_surface_density(view.potential, R, z))(R, table["z"])
        extra = (self.systematic * table["K_z"]) ** 2
        minus, plus = (jnp.sqrt(table[side] ** 2 + extra) for side in ("sigma_minus", "sigma_plus"))
        return Prediction(R, table["K_z"], force / MSUN_PC2, minus, plus)

    def modes(self, view, table):
        """The common scale."""
        return (self.common_fraction * table["K_z"])[:, None]
