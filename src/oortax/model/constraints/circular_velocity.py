"""Measured circular-speed curves."""

from typing import ClassVar, final

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.model.constraints.base import AbstractConstraint, Prediction
from oortax.params import param

JITTER = 1e-6
"""Added to the diagonal of a smooth correlation, whose Cholesky factor would else lose its last columns."""


@final
class CircularVelocity(AbstractConstraint):
    """A circular-speed curve v_c(R) with random errors and systematic ones of three kinds.

    The covariance of the points is diag(sigma_i^2 + (systematic v_i)^2) + s s^T + t t^T + K with
    s_i = common_fraction v_i, t_i = common_offset and
    K_ij = correlated_fraction^2 v_i v_j exp[-(R_i - R_j)^2/(2 correlation_length^2)],
    where v_i are the measured speeds. All but the random errors are 0 by default.

    Table: R (kpc), v_c, sigma_minus and sigma_plus (km/s). The curves of Eilers et al. (2019) and Ou et al.
    (2024) are Jeans models of red giants, not gas, and state their systematic errors apart: 2-3 per cent
    inside 15 kpc and up to 12-15 per cent at the far end.

    >>> from oortax import model, potential
    >>> curve = {"R": jnp.array([8.0]), "v_c": jnp.array([222.0]),
    ...          "sigma_minus": jnp.array([2.0]), "sigma_plus": jnp.array([2.0])}
    >>> tree = model.Model(model.Galaxy(potential.mw_potential_2014()), constraints={"v": CircularVelocity()})
    >>> round(float(model.fits(tree, {"v": curve})["v"].chi2), 6)
    1.0
    """

    axes: ClassVar = ("R [kpc]", "v_c [km/s]")

    systematic: Float[Array, ""] = param(
        constraints.nonnegative, "", "fraction of v_c added to each error for itself", default=0.0
    )
    common_fraction: Float[Array, ""] = param(
        constraints.nonnegative, "", "1-sigma scale of the whole curve", default=0.0
    )
    common_offset: Float[Array, ""] = param(
        constraints.nonnegative, "km/s", "1-sigma shift of the whole curve", default=0.0
    )
    correlated_fraction: Float[Array, ""] | None = param(
        constraints.nonnegative, "", "fraction of v_c of a smooth error", optional=True, default=None
    )
    correlation_length: Float[Array, ""] = param(
        constraints.positive, "kpc", "length along R of the smooth error", default=2.0
    )

    def radii(self, sun, table):
        """The table's."""
        return table["R"]

    def predict(self, view, table):
        """Circular speeds in km/s."""
        extra = (self.systematic * table["v_c"]) ** 2
        minus, plus = (jnp.sqrt(table[side] ** 2 + extra) for side in ("sigma_minus", "sigma_plus"))
        return Prediction(table["R"], table["v_c"], view.v_c, minus, plus)

    def modes(self, view, table):
        """Scale, offset and, if there is one, the smooth error's Cholesky factor."""
        v_c = table["v_c"]
        columns = [(self.common_fraction * v_c)[:, None], jnp.full((v_c.size, 1), self.common_offset)]
        if self.correlated_fraction is not None:
            apart = (table["R"][:, None] - table["R"]) / self.correlation_length
            kernel = jnp.exp(-0.5 * apart**2) + JITTER * jnp.eye(v_c.size)
            columns.append(self.correlated_fraction * v_c[:, None] * jnp.linalg.cholesky(kernel))
        return jnp.concatenate(columns, axis=1)
