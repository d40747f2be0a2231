"""Exact integrals of exponentials over the triangle."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from oortax.types import Scalar

_SERIES_BELOW = 0.5
_SERIES_TERMS = 11


def _mean_exponential_edge(d) -> Array:
    """(1 - exp(-d)) / d for d >= 0, and its derivative, without cancellation at small d."""
    small = d < 1e-2
    safe = jnp.where(small, 1.0, d)
    series = 1.0 - d / 2.0 * (1.0 - d / 3.0 * (1.0 - d / 4.0 * (1.0 - d / 5.0 * (1.0 - d / 6.0))))
    return jnp.where(small, series, -jnp.expm1(-safe) / safe)


def mean_exponential(x: Float[Array, "3"]) -> Scalar:
    """The integral of exp(-t.x) over the triangle t_0 + t_1 + t_2 = 1, t >= 0, in (t_0, t_1).

    By the Hermite-Genocchi formula this is the second divided difference of exp(-x). x >= 0; at
    x = 0 it is the triangle's area, 1/2. Relative accuracy 1e-14, smooth where two or three of the
    x agree (a Taylor series about their mean takes over from the divided difference).

    >>> float(mean_exponential(jnp.zeros(3)))
    0.5
    """
    low, middle, high = jnp.sort(x)
    spread = high - low
    close = spread < _SERIES_BELOW
    wide = jnp.where(close, 1.0, spread)
    lower_edge = jnp.exp(-low) * _mean_exponential_edge(middle - low)
    upper_edge = jnp.exp(-middle) * _mean_exponential_edge(high - middle)
    by_difference = (lower_edge - upper_edge) / wide

    # sum_k (-1)^k h_k(d) / (k+2)!, h_k the complete homogeneous symmetric polynomials of the
    # deviations d from the mean; as their sum vanishes, h_k = e_3 h_{k-3} - e_2 h_{k-2}.
    mean = jnp.mean(x)
    a, b, c = jnp.where(close, x - mean, 0.0)
    e_2, e_3 = a * b + b * c + c * a, a * b * c
    h = [jnp.ones_like(mean), jnp.zeros_like(mean), -e_2]
    series, factor = jnp.zeros_like(mean), 0.5
    for k in range(_SERIES_TERMS):
        series = series + factor * h[0]
        factor *= -1.0 / (k + 3)
        h = [h[1], h[2], e_3 * h[0] - e_2 * h[1]]
    return jnp.where(close, jnp.exp(-mean) * series, by_difference)
