"""Mapping over long leading axes in chunks, so that memory does not grow with the number of stars."""

from collections.abc import Callable
from typing import Any

import jax


def chunked_map(f: Callable, xs: Any, batch_size: int | None) -> Any:
    """vmap f over the leading axis of xs, batch_size entries at a time (None: all at once).

    Each chunk is rematerialised in the backward pass where there are several, so that a gradient's memory
    is that of one chunk.

    >>> import jax.numpy as jnp
    >>> chunked_map(lambda x: x * x, jnp.arange(5.0), 2)
    Array([ 0.,  1.,  4.,  9., 16.], dtype=float64)
    """
    n = jax.tree.leaves(xs)[0].shape[0]
    if batch_size is None or n <= batch_size:
        return jax.vmap(f)(xs)
    return jax.lax.map(jax.checkpoint(f), xs, batch_size=batch_size)
