"""Mapping over long leading axes in chunks, so that memory does not grow with the number of stars."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

_KEPT_CHUNKS = 16
_KEPT = "kept"


def chunked_map(f: Callable, xs: Any, batch_size: int | None) -> Any:
    """vmap f over the leading axis of xs, batch_size entries at a time (None: all at once).

    Where there are many chunks each is computed again in the backward pass, so that a gradient's memory is
    that of one chunk; a few are kept, which is faster.

    >>> chunked_map(lambda x: x * x, jnp.arange(5.0), 2)
    Array([ 0.,  1.,  4.,  9., 16.], dtype=float64)
    """
    n = jax.tree.leaves(xs)[0].shape[0]
    if batch_size is None or n <= batch_size:
        return jax.vmap(f)(xs)
    many = n > _KEPT_CHUNKS * batch_size
    body = jax.vmap(jax.checkpoint(f) if many else f)
    # Filled up to whole chunks with copies of the last entry: a shorter last chunk would be compiled anew.
    chunks = -(-n // batch_size)
    rows = jnp.minimum(jnp.arange(chunks * batch_size), n - 1)
    xs = jax.tree.map(lambda a: a[rows].reshape(chunks, batch_size, *a.shape[1:]), xs)
    ys = jax.lax.map(body, xs)
    return jax.tree.map(lambda a: a.reshape(chunks * batch_size, *a.shape[2:])[:n], ys)


def kept(found: Any) -> Any:
    """The same, by a name: what `recomputed` does not compute again, the result of an iteration."""
    return jax.tree.map(lambda a: checkpoint_name(a, _KEPT), found)


def recomputed(f: Callable) -> Callable:
    """The same function, computed again in a backward pass but for what is `kept`.

    For points that take few numbers to fill hundreds of intermediates: writing these for a batch of points,
    and reading them back, takes longer than computing them where they are needed, in the cache.
    """
    return eqx.filter_checkpoint(f, policy=jax.checkpoint_policies.save_only_these_names(_KEPT))


def one_of_few(n: int) -> int:
    """The next of 8, 10, 12, 14, 16, 20, ... x 2^k: arrays filled up to it have few shapes to compile for.

    >>> [one_of_few(n) for n in (7, 9, 17, 1150)]
    [7, 10, 20, 1280]
    """
    step = 1 << max((n - 1).bit_length() - 3, 0)
    return -(-n // step) * step
