"""Integrals over the angular momentum that labels the circular orbits of a disc."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from oortax.types import Scalar

# Trapezoidal nodes in ln L, kpc km/s. The integrand of a disc is analytic in ln L and falls off as a power
# of L below and exponentially above, so that the rule converges exponentially: halving the spacing changes
# the mass by less than 1e-9. The orbits of a disc lie well inside.
_LOG_L_RANGE = (-4.6, 11.5)
_N_LOG_L = 162


def over_log_L(integrand: Callable[[Scalar], Scalar], dtype, *, at_once: bool = True) -> Scalar:
    """The integral of integrand(L) over ln L, of L from 0.01 to 1e5 kpc km/s, by 162 fixed nodes.

    All nodes at once, or one after the other where one alone is work enough.

    >>> print(f"{over_log_L(lambda L: L**2 * jnp.exp(-L / 100.0), float):.3f}")
    10000.000
    """
    log_L = jnp.linspace(*_LOG_L_RANGE, _N_LOG_L, dtype=dtype)
    step = (_LOG_L_RANGE[1] - _LOG_L_RANGE[0]) / (_N_LOG_L - 1)
    L = jnp.exp(log_L)
    return step * jnp.sum(jax.vmap(integrand)(L) if at_once else lax.map(integrand, L))
