"""The interface of an action finder: (x, v) -> J at one point."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp

from oortax.types import Actions, Vec3


class AbstractActionFinder(eqx.Module):
    """Actions of a bound phase-space point in one potential.

    A finder is derived from a potential: it is built inside jit, once per likelihood evaluation, and
    never stored or sampled.
    """

    @abstractmethod
    def actions(self, x: Vec3, v: Vec3) -> Actions:
        """J = (J_r, J_z, J_phi) in kpc km/s; NaN where the point has no actions."""


def require_float64(name: str, *arrays) -> None:
    """Raise ValueError with the remedy if action work is asked for in single precision."""
    for array in arrays:
        if jnp.result_type(array) != jnp.float64:
            raise ValueError(
                f"{name} needs float64, got {jnp.result_type(array)}: call oortax.enable_x64() before "
                "making arrays"
            )
