"""Terminal velocities of the gas inside the Sun's circle."""

from typing import ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.model.constraints.base import AbstractConstraint, Prediction
from oortax.params import param


@final
class TerminalVelocities(AbstractConstraint):
    """The extreme velocities of gas along lines of sight in the plane, as the table's LSR has them.

    Gas on circular orbits is fastest where the line of sight touches a circle, at R = R0 |sin l|, and there

        v_term = sgn(sin l) [v_c(R0 |sin l|) + bias] - [U cos l + (v_c(R0) + V) sin l]
                                                     + [U_lsr cos l + V_lsr sin l].

    The first bracket is the gas, the second the Sun's full motion along the line of sight, and the third what
    the observers put back: published v_lsr are heliocentric velocities to which an assumed solar
    motion was added (the standard one unless the table says otherwise), whatever the Sun really does.

    Random motions and streaming scatter the gas by `sigma`, alike over `correlation_length` in sin l
    (an exponential correlation); `noise` is what is left between neighbouring points. `bias` is how much
    faster than the circular orbit the reading is at both ends: it depends on how the observers define the
    edge of a line profile, and can be free.

    Table: l (rad), v_lsr (km/s) and solar_motion, shape (3,), the (U, V, W) of the table's LSR.

    >>> gas = TerminalVelocities(sigma=5.0)
    >>> float(gas.sigma), gas.correlation_length is None
    (5.0, False)
    """

    axes: ClassVar = ("l [deg]", "terminal v_lsr [km/s]")

    sigma: Float[Array, ""] = param(
        constraints.positive, "km/s", "random and streaming motions of the gas", default=7.0
    )
    correlation_length: Float[Array, ""] | None = param(
        constraints.positive, "", "correlation in sin l; None: none", optional=True, default=0.0625
    )
    noise: Float[Array, ""] = param(
        constraints.positive, "km/s", "error of one point for itself", default=1.0
    )
    bias: Float[Array, ""] = param(
        constraints.real, "km/s", "excess over the circular speed at the tangent point", default=0.0
    )

    def radii(self, sun, table):
        """Tangent points, R0 |sin l|."""
        return sun.R0 * jnp.abs(jnp.sin(table["l"]))

    def predict(self, view, table):
        """v_term in km/s against l in degrees from -180 to 180."""
        sin_l, cos_l = jnp.sin(table["l"]), jnp.cos(table["l"])
        sun, lsr = view.sun, table["solar_motion"]
        gas = jnp.sign(sin_l) * (view.v_c + self.bias)
        model = gas - (sun.U - lsr[0]) * cos_l - (view.v_c0 + sun.V - lsr[1]) * sin_l
        correlated = self.sigma**2 + self.noise**2
        error = jnp.full_like(sin_l, jnp.sqrt(correlated))
        return Prediction(jnp.degrees(jnp.arctan2(sin_l, cos_l)), table["v_lsr"], model, error, error)

    def log_likelihood(self, view, table):
        """Gaussian, of covariance sigma^2 exp(-|sin l_i - sin l_j|/length) + noise^2 delta_ij."""
        r, S = self._innovations(view, table)
        return -0.5 * jnp.sum(r**2 / S + jnp.log(2.0 * jnp.pi * S))

    def chi2(self, view, table):
        """r^T C^-1 r."""
        r, S = self._innovations(view, table)
        return jnp.sum(r**2 / S)

    def _innovations(self, view, table):
        """What each residual adds to those before it in sin l, and its variance.

        An exponential correlation makes a Markov chain: one pass (a Kalman filter) replaces the dense matrix.
        """
        sin_l = jnp.sin(table["l"])
        order = jnp.argsort(sin_l)
        d = self.residual(view, table)[0][order]
        # The first point has no forerunner: a step of 0 keeps the chain's own variance, which it starts with.
        step = jnp.diff(sin_l[order], prepend=sin_l[order][:1])
        if self.correlation_length is None:
            memory = jnp.zeros_like(d)
        else:
            memory = jnp.exp(-step / self.correlation_length)
        own, noise = self.sigma**2, self.noise**2

        def add(state, point):
            mean, variance = state
            d, a = point
            mean, variance = a * mean, a**2 * variance + (1.0 - a**2) * own
            r, S = d - mean, variance + noise
            return (mean + variance / S * r, variance * noise / S), (r, S)

        start = (jnp.zeros_like(d[0]), own * jnp.ones_like(d[0]))
        return jax.lax.scan(add, start, (d, memory))[1]
