"""Rotation of a spheroid: a part odd in J_phi, which changes neither its density nor its mass."""

import jax.numpy as jnp

from oortax.types import Scalar


def log_odd(rotation: Scalar, x: Scalar) -> Scalar:
    """ln(1 + rotation tanh x), -1 < rotation < 1, x = J_phi/J_phi0.

    It stays finite, and differentiable, deep in the empty side of |rotation| = 1.

    >>> print(f"{log_odd(jnp.array(1.0), jnp.array(-300.0)):.2f}")
    -599.31
    """
    towards, against = jnp.log1p(rotation) + x, jnp.log1p(-rotation) - x
    return jnp.logaddexp(towards, against) - jnp.logaddexp(x, -x)
