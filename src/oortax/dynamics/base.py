"""The interface of an action finder: (x, v) -> J, theta and Omega at one point."""

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int

from oortax.types import Actions, Angles, Frequencies, Scalar, Vec3


class StarActions(NamedTuple):
    """Actions with the reason why they are what they are.

    Attributes
    ----------
    J : (J_r, J_z, J_phi) in kpc km/s; NaN where the code is neither OK nor INACCURATE
    residual : how far the finder's equations are from being solved; what it measures is the finder's to say
    code : a `Result`
    """

    J: Actions
    residual: Scalar
    code: Int[Array, ""]


class ActionAngles(NamedTuple):
    """Actions, angles and frequencies with the reason why they are what they are.

    Attributes
    ----------
    J : (J_r, J_z, J_phi) in kpc km/s
    theta : (theta_r, theta_z, theta_phi) in [0, 2 pi): theta_r = 0 at pericentre, theta_z = 0 at the upward
        crossing of the plane, theta_phi = phi where both vanish
    Omega : (Omega_r, Omega_z, Omega_phi) in km/s/kpc
    residual, code : as in `StarActions`
    """

    J: Actions
    theta: Angles
    Omega: Frequencies
    residual: Scalar
    code: Int[Array, ""]


class AbstractActionFinder(eqx.Module):
    """Actions, angles and frequencies of a bound phase-space point in one potential.

    A finder is derived from a potential: it is built inside jit, once per likelihood evaluation, and
    never stored or sampled.
    """

    @abstractmethod
    def actions_and_code(self, x: Vec3, v: Vec3) -> StarActions:
        """Actions with a residual and a `Result` code."""

    @abstractmethod
    def actions_angles_frequencies(self, x: Vec3, v: Vec3) -> ActionAngles:
        """J, theta and Omega with a residual and a `Result` code."""

    def actions(self, x: Vec3, v: Vec3) -> Actions:
        """J = (J_r, J_z, J_phi) in kpc km/s; NaN where the point has no actions."""
        return self.actions_and_code(x, v).J


def require_float64(name: str, *arrays) -> None:
    """Raise ValueError with the remedy if action work is asked for in single precision."""
    for array in arrays:
        if jnp.result_type(array) != jnp.float64:
            raise ValueError(
                f"{name} needs float64, got {jnp.result_type(array)}: call oortax.enable_x64() before "
                "making arrays"
            )
