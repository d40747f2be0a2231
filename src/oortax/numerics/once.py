"""Values that a compiled program computes once."""

import jax
import jax.numpy as jnp


# Jitted, as others of the small functions that programs use hundreds of times: a use then costs one equation
# to trace and to differentiate, not all of its own. Compiled programs are the same.
@jax.jit
def once(x):
    """x itself, but each use of it reads what was computed, and does not compute it anew.

    XLA repeats products and sums for each of their uses, a polynomial of any degree, too, rather than write
    them to memory; on CPUs it drops optimization barriers before it decides so. What it holds to be expensive
    it does not repeat: here, a division by a 1 that it cannot foresee. The same holds for derivatives: what a
    backward pass sums up for x is written before it goes on to what x was made of, and not summed anew for
    each of these, and for all that lies on the way to them.

    >>> float(once(jnp.array(2.0)))
    2.0
    """
    return _once(x)


@jax.custom_jvp
def _once(x):
    return x / jnp.where(x < -jnp.inf, 0.5, 1.0)


@_once.defjvp
def _(primals, tangents):
    (x,), (along,) = primals, tangents
    return once(x), along / jnp.where(x < -jnp.inf, 0.5, 1.0)
