"""Series of one angle or one number, by Clenshaw's recurrence: a sine and a cosine each, not dozens."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from oortax.numerics.trigonometry import sin_cos
from oortax.types import Scalar


def chebyshev(coefficients: Float[Array, " k"], x: Scalar) -> Scalar:
    """sum_k c_k T_k(x), k = 0, 1, ..."""
    last, before = jnp.zeros_like(x), jnp.zeros_like(x)
    for c in coefficients[:0:-1]:
        last, before = c + 2.0 * x * last - before, last
    return coefficients[0] + x * last - before


def sines(coefficients: Float[Array, "k ..."], angle: Scalar) -> tuple[Array, Array]:
    """sum_k c_k sin(k x), k = 1, 2, ..., and its derivative; one or several series at once."""
    sin, cos = sin_cos(angle)
    last, before = jnp.zeros_like(coefficients[0]), jnp.zeros_like(coefficients[0])
    slope, slope_before = last, before
    for k in range(coefficients.shape[0], 0, -1):
        c = coefficients[k - 1]
        last, before = c + 2.0 * cos * last - before, last
        slope, slope_before = k * c + 2.0 * cos * slope - slope_before, slope
    return sin * last, cos * slope - slope_before
