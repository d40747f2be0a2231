"""Metallicities: the distribution of [M/H] among stars of one age.

A Gaussian in [M/H] about a mean that is a function of age. A new one is a final subclass with `mean` and a
parameter `sigma`, and a line in `METALLICITIES`.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.params import AbstractParametric, param
from oortax.types import Scalar


class AbstractMetallicity(AbstractParametric):
    """[M/H] at a given age: normal, with mean `mean(age)` and standard deviation `sigma`."""

    sigma: eqx.AbstractVar[Any]

    @abstractmethod
    def mean(self, age) -> Scalar:
        """Mean [M/H] (dex) of the stars of an age (Gyr)."""

    def draw(self, key, age) -> Float[Array, " n"]:
        """[M/H] of one star of each age (shape (n,), Gyr)."""
        age = jnp.asarray(age)
        noise = jax.random.normal(key, age.shape, dtype=jnp.result_type(float))
        return jax.vmap(self.mean)(age) + self.sigma * noise


@final
class Enrichment(AbstractMetallicity):
    """Mean abundance that grows exponentially in time: mean [M/H] = start + (now - start)(1 - age/onset).

    Dehnen & Binney (1996, sec. 4.4) let the mean Z grow exponentially from 1e-4 to 0.04, but for the Sun's
    Z of 0.0152 that is start = -2.18 and now = 0.42. They have a Gaussian in Z, of a width that they do not
    state; here it is a Gaussian in log Z.

    Attributes
    ----------
    start, now : shape (), dex
        Mean [M/H] at the onset of star formation and today.
    onset : shape (), Gyr, positive
        Age at which the mean is `start`; older stars have it, too.
    sigma : shape (), dex, positive

    >>> disc = Enrichment(start=-2.18, now=0.42, onset=12.0)
    >>> round(float(disc.mean(6.0)), 3)
    -0.88
    """

    start: Float[Array, ""] = param(constraints.real, "dex", "mean [M/H] at the onset")
    now: Float[Array, ""] = param(constraints.real, "dex", "mean [M/H] today")
    onset: Float[Array, ""] = param(constraints.positive, "Gyr", "age of the oldest stars")
    sigma: Float[Array, ""] = param(constraints.positive, "dex", "standard deviation of [M/H]")

    def __init__(self, start: Any = -2.18, now: Any = 0.42, onset: Any = 12.0, sigma: Any = 0.2):
        self.start, self.now, self.onset, self.sigma = start, now, onset, sigma

    def mean(self, age) -> Scalar:
        """Linear in age up to the onset."""
        return self.now + (self.start - self.now) * jnp.minimum(age / self.onset, 1.0)


@final
class FixedMetallicity(AbstractMetallicity):
    """The same Gaussian at all ages.

    Attributes
    ----------
    mh : shape (), dex
        Mean [M/H].
    sigma : shape (), dex, positive

    >>> float(FixedMetallicity(mh=-1.5, sigma=0.3).mean(3.0))
    -1.5
    """

    mh: Float[Array, ""] = param(constraints.real, "dex", "mean [M/H]")
    sigma: Float[Array, ""] = param(constraints.positive, "dex", "standard deviation of [M/H]")

    def __init__(self, mh: Any = 0.0, sigma: Any = 0.2):
        self.mh, self.sigma = mh, sigma

    def mean(self, age) -> Scalar:
        """mh."""
        return self.mh + 0.0 * age


@final
class AgeMetallicity(AbstractMetallicity):
    """Any age-metallicity relation.

    Attributes
    ----------
    relation : callable
        Mean [M/H] (dex) of an age (Gyr), traceable: an equinox module with its own parameters, or a function.
    sigma : shape (), dex, positive

    >>> float(AgeMetallicity(lambda age: 0.1 - 0.05 * age, sigma=0.15).mean(4.0))
    -0.1
    """

    relation: Callable
    sigma: Float[Array, ""] = param(constraints.positive, "dex", "standard deviation of [M/H]")

    def __init__(self, relation: Callable, sigma: Any = 0.2):
        if not callable(relation):
            raise ValueError(f"AgeMetallicity(relation={relation!r}): give a function of the age in Gyr")
        self.relation, self.sigma = relation, sigma

    def mean(self, age) -> Scalar:
        """relation(age)."""
        return self.relation(age)


METALLICITIES: dict[str, type[AbstractMetallicity]] = {
    "enrichment": Enrichment,
    "fixed_metallicity": FixedMetallicity,
}
"""Metallicity distributions by the `kind` used in configuration files."""
