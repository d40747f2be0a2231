"""The apparent motion of the Galaxy's centre."""

from typing import ClassVar, final

import jax.numpy as jnp

from oortax.constants import KAPPA
from oortax.model.constraints.base import AbstractConstraint, Prediction


@final
class SgrAProperMotion(AbstractConstraint):
    """The proper motion of Sgr A* along l, the reflex of the Sun's: mu_l = -[v_c(R0) + V]/(kappa R0).

    Sgr A* is taken to rest at the centre of the Galaxy. Table: mu and sigma (mas/yr), shape (1,).

    >>> SgrAProperMotion().axes[1]
    'mu_l of Sgr A* [mas/yr]'
    """

    axes: ClassVar = ("R0 [kpc]", "mu_l of Sgr A* [mas/yr]")

    def predict(self, view, table):
        """The one proper motion, in mas/yr."""
        mu = -(view.v_c0 + view.sun.V) / (KAPPA * view.sun.R0)
        return Prediction(
            jnp.atleast_1d(view.sun.R0), table["mu"], jnp.atleast_1d(mu), table["sigma"], table["sigma"]
        )
