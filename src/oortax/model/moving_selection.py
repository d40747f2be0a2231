"""The selection as a function of a zero point that is free, tabulated once and not folded again and again."""

from collections.abc import Mapping
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.survey import Survey
from oortax.types import Scalar


@final
class MovingSelection(eqx.Module):
    """Folded selections of a volume's nodes, interpolated in one zero point of the survey's errors.

    Attributes
    ----------
    values : by component, shape (m, k)
        At the k zero points of `chebyshev`.
    low, high : range of the zero point, mas or mag
        Beyond it selections go on along their tangents, not below 0.
    field : name of the zero point in `Survey.errors`
    """

    values: Mapping[str, Float[Array, "m k"]]
    low: Scalar
    high: Scalar
    field: str = eqx.field(static=True)

    def at(self, survey: Survey) -> dict[str, Float[Array, " m"]]:
        """Selections of each component's nodes for the survey's zero point."""
        k = next(iter(self.values.values())).shape[1]
        x = (2.0 * getattr(survey.errors, self.field) - self.low - self.high) / (self.high - self.low)
        inside = jnp.where(x < -1.0, -1.0, jnp.where(x > 1.0, 1.0, x))
        weights, slopes = jax.jvp(lambda x: _weights(x, k), (inside,), (jnp.ones_like(inside),))
        weights = weights + slopes * (x - inside)
        return {name: jnp.maximum(values @ weights, 0.0) for name, values in self.values.items()}


def chebyshev(k: int, low: float, high: float) -> np.ndarray:
    """Zeros of the k-th Chebyshev polynomial of a range, in falling order."""
    return 0.5 * (low + high) + 0.5 * (high - low) * np.cos(np.pi * (np.arange(k) + 0.5) / k)


def _weights(x, k: int) -> Float[Array, " k"]:
    """Of the values at the zeros, in the polynomial through them at x in [-1, 1]."""
    T = [jnp.ones_like(x), x]
    while len(T) < k:
        T.append(2.0 * x * T[-1] - T[-2])
    j, i = np.arange(k)[:, None], np.arange(k)
    to_values = (2.0 - (j == 0)) / k * np.cos(np.pi * j * (i + 0.5) / k)
    return jnp.stack(T[:k]) @ jnp.asarray(to_values, dtype=x.dtype)
