"""Positive definite systems, one after the other where they come in batches on a CPU.

XLA's kernels for a batch of Cholesky factors, or of systems with these, hand it out to a pool of threads and
wait for them, on a thread of that pool. Two such kernels that do not depend on each other, as in a gradient,
wait for ever where the pool has two threads (jaxlib 0.10). A system at a time needs no pool: a loop over the
batch costs a few per cent of what stands around it. On other devices batches stay batches.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float


def cholesky(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """L, lower triangular, with L L^T = matrix; NaN where there is none. Not differentiable: held fixed."""
    return _cholesky(lax.stop_gradient(matrix))


def solve(
    matrix: Float[Array, "n n"], right: Float[Array, " n"] | Float[Array, "n k"], factor: Float[Array, "n n"]
):
    """x with matrix x = right, by the Cholesky factor of the matrix; differentiable in matrix and right.

    >>> matrix = jnp.array([[4.0, 2.0], [2.0, 3.0]])
    >>> solve(matrix, jnp.array([8.0, 8.0]), cholesky(matrix))
    Array([1., 2.], dtype=float64)
    """
    factor = lax.stop_gradient(factor)
    return lax.custom_linear_solve(
        lambda x: matrix @ x, right, lambda _, b: _by_factor(factor, b), symmetric=True
    )


def _one_by_one(function: Callable) -> Callable:
    """The function, whose batches become loops on a CPU."""
    point = custom_vmap(function)

    @point.def_vmap
    def _(size, batched, *arguments):
        arguments = [
            argument if has_batch else jnp.broadcast_to(argument, (size, *argument.shape))
            for argument, has_batch in zip(arguments, batched, strict=True)
        ]
        return lax.platform_dependent(
            *arguments, cpu=lambda *a: lax.map(lambda each: point(*each), a), default=jax.vmap(function)
        ), True

    return point


@_one_by_one
def _cholesky(matrix):
    return lax.linalg.cholesky(matrix, symmetrize_input=False)


@_one_by_one
def _by_factor(factor, right):
    columns = right if right.ndim == 2 else right[:, None]
    half = lax.linalg.triangular_solve(factor, columns, left_side=True, lower=True)
    whole = lax.linalg.triangular_solve(factor, half, left_side=True, lower=True, transpose_a=True)
    return whole.reshape(right.shape)
