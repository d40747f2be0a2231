"""How two parts of the mass model share the matter near the plane."""

from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp

from oortax.model.constraints.base import AbstractConstraint, Prediction
from oortax.potential import AbstractPotential, density, named_parts


@final
class DensityRatio(AbstractConstraint):
    """The density of one part of the mass model over that of another in the plane at R: rho_part/rho_to.

    Star counts tell the two discs apart where the potential hardly does: rho_thick/rho_thin = 0.12 +- 0.012
    at the Sun (Juric et al. 2008, ApJ 673, 864, as used by McMillan 2017).

    Table: R (kpc), ratio and sigma, shape (1,); R is 0 for the Sun's own R0.

    >>> DensityRatio(part="thick", to="thin").axes[1]
    'ratio of densities'
    """

    axes: ClassVar = ("R [kpc]", "ratio of densities")

    part: str = eqx.field(static=True)
    to: str = eqx.field(static=True)

    def check(self, potential: AbstractPotential) -> None:
        """Raise ValueError if the mass model has no part of a name."""
        known = named_parts(potential)
        for key in ("part", "to"):
            if getattr(self, key) not in known:
                raise ValueError(
                    f"{key} = {getattr(self, key)!r} is not a part of the potential (it has "
                    f"{', '.join(known) or 'none: make it a Sum'})"
                )

    def predict(self, view, table):
        """Ratios of densities."""
        R = jnp.where(table["R"] > 0.0, table["R"], view.sun.R0)

        def rho(name):
            part = named_parts(view.potential)[name]
            return jax.vmap(lambda R: density(part, jnp.stack([R, 0.0 * R, 0.0 * R])))(R)

        return Prediction(R, table["ratio"], rho(self.part) / rho(self.to), table["sigma"], table["sigma"])
