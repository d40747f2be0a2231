"""Series of one angle or one number: polynomials by Horner's rule, and Clenshaw's recurrence.

Horner's chain has one use for each of its results, so that XLA makes one loop of it and of what surrounds it.
Each result of a recurrence is needed twice: every step of it becomes a loop of its own over a whole batch,
which takes several times as long. Terms are few and coefficients fall, so that powers lose no digits that
count.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.numerics.once import once
from oortax.numerics.trigonometry import sin_cos
from oortax.types import Scalar


@jax.jit
def polynomial(coefficients: Float[Array, "... k"], x: Scalar) -> Array:
    """sum_k c_k x^k, k = 0, 1, ...; one or several at once.

    Its derivative is a chain of its own, that of the coefficients k c_k.

    >>> float(polynomial(jnp.array([1.0, 2.0, 3.0]), jnp.array(2.0)))
    17.0
    """
    return _polynomial(coefficients, x)


@jax.custom_jvp
def _polynomial(coefficients, x):
    return once(_horner(coefficients, x))


@_polynomial.defjvp
def _(primals, tangents):
    coefficients, x = primals
    slope = polynomial(derived(coefficients), x)
    return polynomial(coefficients, x), _horner(tangents[0], x) + slope * tangents[1]


def derived(coefficients: Float[Array, "... k"]) -> Float[Array, "... k-1"]:
    """Coefficients of a polynomial's derivative."""
    return coefficients[..., 1:] * np.arange(1.0, coefficients.shape[-1])


@jax.jit
def _horner(coefficients, x):
    total = coefficients[..., -1]
    for k in range(coefficients.shape[-1] - 2, -1, -1):
        total = total * x + coefficients[..., k]
    return total


@cache
def to_powers(n: int) -> np.ndarray:
    """(n, n), of T_j(x), j < n: coefficients of a Chebyshev series @ this -> those of x^k."""
    return _padded([np.polynomial.chebyshev.cheb2poly(row) for row in np.eye(n)], n)


@cache
def sines_to_powers(n: int) -> np.ndarray:
    """(n, n): coefficients of sin(k x), k = 1 ... n @ this -> those of sin(x) cos(x)^k, k = 0 ... n - 1."""
    # sin(k x) = sin(x) U_(k-1)(cos(x)), T'_k = k U_(k-1).
    rows = [np.polynomial.polynomial.polyder(to_powers(n + 1)[k]) / k for k in range(1, n + 1)]
    return _padded(rows, n)


def _padded(rows, n):
    return np.array([np.pad(row, (0, n - len(row))) for row in rows])


@jax.jit
def sine_series(powers: Float[Array, "... k"], angle: Scalar) -> tuple[Array, Array]:
    """sin(x) sum_k c_k cos(x)^k and its derivative; one or several series at once."""
    sin, cos = sin_cos(angle)
    value, slope = once(_horner(powers, cos)), once(_horner(derived(powers), cos))
    return sin * value, cos * value - sin * sin * slope


def sine_waves(n: int, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sin(x) cos(x)^k, k < n, and its derivative at known angles: powers @ these are `sine_series`."""
    k, sin, cos = np.arange(n)[:, None], np.sin(angles), np.cos(angles)
    return sin * cos**k, cos ** (k + 1) - k * sin * sin * cos ** np.maximum(k - 1, 0)


def sines(coefficients: Float[Array, " k"], angle: Scalar) -> tuple[Scalar, Scalar]:
    """sum_k c_k sin(k x), k = 1, 2, ..., and its derivative, for series that may be long."""
    sin, cos = sin_cos(angle)
    last, before = jnp.zeros_like(angle), jnp.zeros_like(angle)
    slope, slope_before = last, before
    for k in range(coefficients.shape[0], 0, -1):
        c = coefficients[k - 1]
        last, before = c + 2.0 * cos * last - before, last
        slope, slope_before = k * c + 2.0 * cos * slope - slope_before, slope
    return sin * last, cos * slope - slope_before
