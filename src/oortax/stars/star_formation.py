"""Star-formation histories: when a population's stars formed.

An age is the time in Gyr since a star formed. `density` is the rate against age, normalised to one unit of
mass formed over all ages. A new history is a final subclass with `cdf`, `quantile` and `edges`, and a line
in `HISTORIES`.
"""

from abc import abstractmethod
from typing import Any, final

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.params import AbstractParametric, param
from oortax.types import Scalar


class AbstractStarFormation(AbstractParametric):
    """The distribution of the ages of all stars ever formed."""

    @abstractmethod
    def cdf(self, age) -> Scalar:
        """Share of the mass formed within the last `age` Gyr."""

    @abstractmethod
    def quantile(self, u) -> Scalar:
        """The age (Gyr) below which a share u of the stars are."""

    @abstractmethod
    def edges(self, n: int, youngest: float) -> Float[Array, "n+1"]:
        """Ages (Gyr) that bound n intervals for a quadrature; `youngest` is the first of interest."""

    @abstractmethod
    def oldest(self) -> Scalar:
        """Age (Gyr) beyond which there are no stars (or less than 1e-4 of them)."""

    def density(self, age) -> Scalar:
        """Rate per Gyr at an age, per unit mass formed."""
        return jax.grad(lambda t: self.cdf(t).sum())(jnp.asarray(age, jnp.result_type(float)))

    def draw(self, key, n: int) -> Float[Array, " n"]:
        """n ages, Gyr, of stars at birth: those that have died since are among them."""
        return self.quantile(jax.random.uniform(key, (n,), dtype=jnp.result_type(float)))


def _geometric(n: int, youngest, oldest):
    """0, and n ages in equal ratio from `youngest` to `oldest`: isochrones change with log age."""
    ratio = jnp.log(oldest / youngest)
    inner = youngest * jnp.exp(ratio * jnp.linspace(0.0, 1.0, n))
    return jnp.concatenate([jnp.zeros_like(inner[:1]), inner])


@final
class ExponentialDecay(AbstractStarFormation):
    """A rate that sets in and decays: psi ~ exp(-(onset - age)/decay) for 0 < age < onset.

    Dehnen & Binney (1996, sec. 4.4): onset 12 and decay 12 Gyr for the disc, 14 and 2 Gyr for the halo.

    Attributes
    ----------
    onset : shape (), Gyr, positive
        Age of the oldest stars.
    decay : shape (), Gyr, positive
        Time in which the rate falls by e.

    >>> disc = ExponentialDecay(onset=12.0, decay=12.0)
    >>> round(float(disc.cdf(1.0)), 4), round(float(disc.quantile(disc.cdf(5.0))), 9)
    (0.0506, 5.0)
    """

    onset: Float[Array, ""] = param(constraints.positive, "Gyr", "age of the oldest stars")
    decay: Float[Array, ""] = param(constraints.positive, "Gyr", "decay time of the rate")

    def cdf(self, age) -> Scalar:
        """(e^(age/decay) - 1) / (e^(onset/decay) - 1)."""
        t = jnp.clip(jnp.asarray(age), 0.0, self.onset)
        growth = jnp.exp((t - self.onset) / self.decay)
        return growth * jnp.expm1(-t / self.decay) / jnp.expm1(-self.onset / self.decay)

    def quantile(self, u) -> Scalar:
        """decay ln(1 + u (e^(onset/decay) - 1)), without overflow."""
        a = self.onset / self.decay
        return self.onset + self.decay * jnp.log(u + (1.0 - u) * jnp.exp(-a))

    def edges(self, n: int, youngest: float) -> Float[Array, "n+1"]:
        """0, and ages in equal ratio from the youngest to the onset."""
        return _geometric(n, jnp.minimum(youngest, 0.5 * self.onset), self.onset)

    def oldest(self) -> Scalar:
        """The onset."""
        return self.onset


@final
class Constant(AbstractStarFormation):
    """A constant rate for 0 < age < onset.

    Attributes
    ----------
    onset : shape (), Gyr, positive
        Age of the oldest stars.

    >>> float(Constant(onset=10.0).cdf(2.5))
    0.25
    """

    onset: Float[Array, ""] = param(constraints.positive, "Gyr", "age of the oldest stars")

    def cdf(self, age) -> Scalar:
        """age / onset."""
        return jnp.clip(jnp.asarray(age), 0.0, self.onset) / self.onset

    def quantile(self, u) -> Scalar:
        """u onset."""
        return u * self.onset

    def edges(self, n: int, youngest: float) -> Float[Array, "n+1"]:
        """0, and ages in equal ratio from the youngest to the onset."""
        return _geometric(n, jnp.minimum(youngest, 0.5 * self.onset), self.onset)

    def oldest(self) -> Scalar:
        """The onset."""
        return self.onset


@final
class Burst(AbstractStarFormation):
    """One epoch: ages are normally distributed about `age`, cut at 0.

    Attributes
    ----------
    age : shape (), Gyr, positive
        Time since the burst.
    width : shape (), Gyr, positive
        Its standard deviation.

    >>> round(float(Burst(age=11.0, width=0.5).cdf(11.0)), 6)
    0.5
    """

    age: Float[Array, ""] = param(constraints.positive, "Gyr", "time since the burst")
    width: Float[Array, ""] = param(constraints.positive, "Gyr", "duration (standard deviation)")

    def __init__(self, age: Any, width: Any = 0.5):
        self.age, self.width = age, width

    def _before(self):
        return ndtr(-self.age / self.width)

    def cdf(self, age) -> Scalar:
        """The normal integral, cut at 0."""
        share = ndtr((jnp.maximum(jnp.asarray(age), 0.0) - self.age) / self.width)
        return (share - self._before()) / (1.0 - self._before())

    def quantile(self, u) -> Scalar:
        """Its inverse."""
        before = self._before()
        return self.age + self.width * ndtri(before + jnp.asarray(u) * (1.0 - before))

    def edges(self, n: int, youngest: float) -> Float[Array, "n+1"]:
        """Equidistant within 4 standard deviations."""
        t = jnp.linspace(-4.0, 4.0, n + 1, dtype=self.age.dtype)
        return jnp.maximum(self.age + self.width * t, 0.0)

    def oldest(self) -> Scalar:
        """3.7 standard deviations before the burst."""
        return self.age + 3.7 * self.width


HISTORIES: dict[str, type[AbstractStarFormation]] = {
    "exponential_decay": ExponentialDecay,
    "constant_rate": Constant,
    "burst": Burst,
}
"""Star-formation histories by the `kind` used in configuration files."""
