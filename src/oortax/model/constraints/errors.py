"""Errors of measured points: unequal on the two sides, with parts common to many points."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from oortax.types import Scalar

STEPS = 6
"""Newton steps for the common parts; a piecewise quadratic needs as many as sides change, rarely three."""


def split_normal(
    d: Float[Array, " n"],
    minus: Float[Array, " n"],
    plus: Float[Array, " n"],
    modes: Float[Array, "n m"] | None = None,
) -> Scalar:
    r"""ln of the likelihood of residuals d = measured - predicted with split-normal errors and common modes.

    Without modes, each point has ln L = -d^2/(2 sigma^2) - ln[sqrt(2 pi) (sigma_- + sigma_+)/2], where sigma
    is sigma_- if the measured value lies above the predicted one, else sigma_+: the split normal
    (two-piece) density, whose maximum and slope are continuous at d = 0.

    Column k of `modes` moves all points together by a unit normal amplitude a_k, d = S a + noise. The
    amplitudes are marginalised: with F(a) = sum_i (d - S a)_i^2/(2 sigma_i^2) + a.a/2,

        ln L = -min_a F - ln det(1 + S^T D^-1 S)/2 - sum_i ln[sqrt(2 pi) (sigma_- + sigma_+)/2].

    With equal sides this is the exact Gaussian of covariance D + S S^T. With unequal ones the marginal has
    no closed form: this is Laplace's approximation with D at the mean of the two errors, smooth in d.

    Parameters
    ----------
    d, minus, plus : shape (n,), the errors positive
        If `minus is plus`, the sides are known to be equal, which saves the search for the minimum.
    modes : shape (n, m) or None

    >>> d, one = jnp.array([2.0, -2.0]), jnp.ones(2)
    >>> round(float(split_normal(d, one, one)), 4), round(float(split_normal(d, one, 2 * one)), 4)
    (-5.8379, -5.1488)
    """
    norm = jnp.sum(jnp.log(0.5 * (minus + plus))) + 0.5 * d.size * jnp.log(2.0 * jnp.pi)
    value = -0.5 * misfit(d, minus, plus, modes) - norm
    if modes is None:
        return value
    return value - 0.5 * jnp.linalg.slogdet(_curvature(0.5 * (minus + plus), modes))[1]


def misfit(d, minus, plus, modes=None) -> Scalar:
    """chi^2 of residuals with split-normal errors, at the best amplitudes of the common modes."""
    if modes is None:
        return jnp.sum((d / _side(d, minus, plus)) ** 2)
    # The minimum does not move the derivative of F (envelope theorem): the search needs no gradient.
    a = jax.lax.stop_gradient(_amplitudes(d, minus, plus, modes))
    rest = d - modes @ a
    return jnp.sum((rest / _side(rest, minus, plus)) ** 2) + a @ a


def _side(d, minus, plus):
    return plus if minus is plus else jnp.where(d < 0.0, plus, minus)


def _curvature(sigma, modes):
    scaled = modes / sigma[:, None]
    return jnp.eye(modes.shape[1], dtype=scaled.dtype) + scaled.T @ scaled


def _amplitudes(d, minus, plus, modes):
    """argmin_a F, by Newton steps from the solution with mean errors."""

    def solve(sigma):
        return jnp.linalg.solve(_curvature(sigma, modes), modes.T @ (d / sigma**2))

    a = solve(0.5 * (minus + plus))
    if minus is plus:
        return a
    return jax.lax.fori_loop(0, STEPS, lambda _, a: solve(_side(d - modes @ a, minus, plus)), a)
