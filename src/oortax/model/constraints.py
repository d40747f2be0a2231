"""Direct measurements of the potential as terms of ln L."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from oortax.potential import circular_velocity
from oortax.types import Scalar


def log_circular_velocity(tree: Any, curve: Mapping[str, Any]) -> Scalar:
    """ln of the Gaussian likelihood of a measured circular-speed curve.

    Parameters
    ----------
    tree : Model
    curve : mapping
        R (kpc), v_c and sigma (km/s), shape (n,), and `systematic`, a fraction of v_c added in quadrature
        to every error (the points are taken as independent).
    """
    v_c = jax.vmap(lambda R: circular_velocity(tree.galaxy.potential, R))(jnp.asarray(curve["R"]))
    measured = jnp.asarray(curve["v_c"])
    variance = jnp.asarray(curve["sigma"]) ** 2 + (jnp.asarray(curve["systematic"]) * measured) ** 2
    return -0.5 * jnp.sum((v_c - measured) ** 2 / variance + jnp.log(2.0 * jnp.pi * variance))


CONSTRAINTS: dict[str, Callable[[Any, Mapping[str, Any]], Scalar]] = {
    "circular_velocity": log_circular_velocity,
}
"""Terms of ln L by the name of their table in a config's [constraints]."""
