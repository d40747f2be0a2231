"""A prior for coefficients of splines: small differences between neighbours along each axis."""

from math import comb, prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro import distributions as dist
from numpyro.distributions import constraints


def differences(n: int, order: int) -> np.ndarray:
    """The matrix (n - order, n) of differences of neighbours, of the given order.

    >>> differences(4, 2)
    array([[ 1., -2.,  1.,  0.],
           [ 0.,  1., -2.,  1.]])
    """
    if not 1 <= order < n:
        raise ValueError(f"differences of order {order} of {n} coefficients: 1 <= order < {n} is needed")
    row = np.array([(-1.0) ** (order - j) * comb(order, j) for j in range(order + 1)])
    matrix = np.zeros((n - order, n))
    for i in range(n - order):
        matrix[i, i : i + order + 1] = row
    return matrix


class SmoothnessPrior(dist.Distribution):
    r"""Gaussian prior on a tensor of spline coefficients (P-splines: Eilers & Marx 1996, Stat. Sci. 11, 89).

        ln p = -1/2 sum_a strength_a |D_a c|^2 - 1/2 |c - centre|^2/width^2 + constant,

    D_a the differences of the given order along axis a. Polynomials below that order along every axis cost
    nothing but the wide second term, which makes the prior proper: with `SplineDF` these are double power
    laws and their like. The constant is exact, through the eigenvalues of each D_a^T D_a, so that strengths
    can be compared, or sampled.

    Parameters
    ----------
    shape : (n_t, n_x, n_y), or any
    strengths : (axes,), positive
        1/strength^(1/2) is the scatter of the differences along an axis.
    order : of the differences
    centre : (), about which the coefficients scatter by
    width : ()

    >>> prior = SmoothnessPrior((6, 5, 8), jnp.array([1.0, 4.0, 2.0]))
    >>> straight = jnp.broadcast_to(jnp.linspace(0.0, 5.0, 6)[:, None, None], (6, 5, 8))
    >>> bent = straight.at[3].add(1.0)
    >>> bool(prior.log_prob(straight) > prior.log_prob(bent))
    True
    """

    arg_constraints = {
        "strengths": constraints.independent(constraints.positive, 1),
        "centre": constraints.real,
        "width": constraints.positive,
    }
    pytree_data_fields = ("strengths", "centre", "width")
    pytree_aux_fields = ("order",)

    def __init__(
        self,
        shape: tuple[int, ...],
        strengths: Float[Array, " axes"] | Any,
        *,
        order: int = 2,
        centre: Any = 0.0,
        width: Any = 30.0,
        validate_args: bool | None = None,
    ):
        self.strengths = jnp.broadcast_to(jnp.asarray(strengths, jnp.result_type(float)), (len(shape),))
        self.centre, self.width, self.order = centre, width, order
        for n in shape:
            differences(n, order)
        super().__init__(batch_shape=(), event_shape=tuple(shape), validate_args=validate_args)

    @property
    def support(self):
        """All real tensors of the shape."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def roughness(self, c: Float[Array, "..."]) -> Float[Array, " axes"]:
        """|D_a c|^2 along each axis."""
        return jnp.stack(
            [jnp.sum(jnp.diff(c, self.order, axis) ** 2) for axis in range(len(self.event_shape))]
        )

    def eigenvalues(self) -> Float[Array, "..."]:
        """Of the precision, in the shape of c: in the eigenvectors of each axis it is diagonal."""
        total = jnp.full(self.event_shape, 1.0 / jnp.asarray(self.width) ** 2)
        for axis, n in enumerate(self.event_shape):
            along = [1] * len(self.event_shape)
            along[axis] = n
            total = total + self.strengths[axis] * jnp.asarray(eigen(n, self.order)[0]).reshape(along)
        return total

    def precision(self) -> np.ndarray:
        """The inverse covariance (P, P) of the flat coefficients, for given numbers."""
        shape, size = self.event_shape, prod(self.event_shape)
        total = np.eye(size) / float(self.width) ** 2
        for axis, strength in enumerate(np.asarray(self.strengths)):
            total += strength * penalty(shape, axis, self.order)
        return total

    def log_prob(self, value):
        """ln of the density at a tensor of coefficients."""
        off = value - self.centre
        square = jnp.sum(self.strengths * self.roughness(value)) + jnp.sum(off * off) / self.width**2
        log_det = jnp.sum(jnp.log(self.eigenvalues()))
        return 0.5 * (log_det - square - prod(self.event_shape) * jnp.log(2.0 * jnp.pi))

    def sample(self, key: Any, sample_shape=()):
        """Draws of coefficients."""
        drawn = jax.random.normal(key, (*sample_shape, *self.event_shape)) / jnp.sqrt(self.eigenvalues())
        for axis, n in enumerate(self.event_shape):
            vectors = jnp.asarray(eigen(n, self.order)[1])
            at = axis - len(self.event_shape)
            drawn = jnp.moveaxis(jnp.moveaxis(drawn, at, -1) @ vectors.T, -1, at)
        return self.centre + drawn


def penalty(shape: tuple[int, ...], axis: int, order: int) -> np.ndarray:
    """D_a^T D_a of the flat coefficients, (P, P)."""
    total = np.eye(1)
    for k, n in enumerate(shape):
        d = differences(n, order)
        total = np.kron(total, d.T @ d if k == axis else np.eye(n))
    return total


def eigen(n: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors (columns) of D^T D."""
    d = differences(n, order)
    values, vectors = np.linalg.eigh(d.T @ d)
    # The null space, exactly.
    values[:order] = 0.0
    return values, vectors
