"""Interstellar extinction in front of a star."""

from abc import abstractmethod
from typing import final

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.params import AbstractParametric, param
from oortax.survey.sun import Sun
from oortax.types import Scalar


class AbstractExtinction(AbstractParametric):
    """Extinction in the survey's band between the Sun and a point."""

    @abstractmethod
    def A(self, sun: Sun, l, b, s) -> Scalar:
        """Extinction (mag) towards Galactic (l, b) (rad) out to the distance s (kpc)."""


@final
class DustLayer(AbstractExtinction):
    """A plane-parallel exponential dust layer centred on the Galactic plane.

        A(l, b, s) = k int_0^s exp(-|z0 + s' sin b| / h) ds'     (Parenago 1940)

    in closed form, smooth through b = 0 and through the plane.

    Attributes
    ----------
    k : shape (), mag/kpc, not negative
        Extinction per length in the plane (about 0.7 to 1 in V near the Sun).
    h : shape (), kpc, positive
        Scale height of the dust (about 0.1 to 0.15).

    >>> dust = DustLayer(k=0.7, h=0.1)
    >>> round(float(dust.A(Sun(z0=0.0), 0.0, 0.0, 2.0)), 6)
    1.4
    >>> round(float(dust.A(Sun(z0=0.0), 0.0, 1.5707963, 50.0)), 6)
    0.07
    """

    k: Float[Array, ""] = param(constraints.nonnegative, "mag/kpc", "extinction per length in the plane")
    h: Float[Array, ""] = param(constraints.positive, "kpc", "scale height of the dust")

    def A(self, sun: Sun, l, b, s) -> Scalar:
        """Extinction (mag) towards Galactic (l, b) (rad) out to the distance s (kpc)."""
        start = sun.z0
        end = start + s * jnp.sin(b)
        crosses = start * end < 0
        # One side of the plane: s exp(-|start|/h) (1 - exp(-t))/t, without cancellation at t = 0.
        t = jnp.where(crosses, 0.0, (jnp.abs(end) - jnp.abs(start)) / self.h)
        same_side = jnp.exp(-jnp.abs(start) / self.h) * _relative_decay(t)
        # Through the plane: the two sides' columns add, so nothing cancels.
        span = jnp.where(crosses, jnp.abs(end) + jnp.abs(start), 1.0)
        column = -jnp.expm1(-jnp.abs(start) / self.h) - jnp.expm1(-jnp.abs(end) / self.h)
        through = self.h * column / span
        return self.k * s * jnp.where(crosses, through, same_side)


def _relative_decay(t):
    """(1 - exp(-t)) / t, with its Taylor series near t = 0 for the sake of derivatives."""
    small = jnp.abs(t) < 1e-3
    safe = jnp.where(small, 1.0, t)
    series = 1.0 - t / 2.0 + t**2 / 6.0 - t**3 / 24.0 + t**4 / 120.0
    return jnp.where(small, series, -jnp.expm1(-safe) / safe)
