"""The generating function that carries a toy torus onto one of nearly constant energy.

    S(theta^T, J) = theta^T . J + 2 sum_n S_n sin(n . chi(theta^T)),   J^T = dS/dtheta^T,   theta = dS/dJ

with n = (n_r, n_z), n_z even (McGill & Binney 1990, MNRAS 244, 634). The angles chi crowd the waves where
they are needed: at pericentre and at the plane.
"""

from functools import cache
from typing import NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.types import Scalar

# d(theta_z)/d(chi_z) in the plane is 1 - _AT_PLANE.
_AT_PLANE = 0.8
# |n_z| goes up to this times n_r: the plane is crossed in a small part of the vertical period.
_VERTICAL = 4


@cache
def modes(n_modes: int) -> np.ndarray:
    """The n_modes pairs (n_r, n_z) of lowest order max(n_r, |n_z|/4), shape (n_modes, 2).

    n_z is even, and there is one of each n and -n. Sets are nested; orders 2 to 6 are complete with 22, 45,
    76, 115 and 162.

    >>> modes(4).tolist()
    [[0, 2], [0, 4], [1, -4], [1, -2]]
    """
    order = int(np.ceil(np.sqrt(n_modes))) + 1
    pairs = [
        (r, z)
        for r in range(order)
        for z in range(-_VERTICAL * order, _VERTICAL * order + 1, 2)
        if r > 0 or z > 0
    ]
    pairs.sort(key=lambda n: (max(n[0], int(np.ceil(abs(n[1]) / _VERTICAL))), n))
    return np.array(pairs[:n_modes])


class Waves(NamedTuple):
    """Toy angles at one chi, and the modes there.

    `by_r` and `by_z` are d/dtheta^T_r and d/dtheta^T_z of 2 sin(n . chi), `sines` the modes themselves, and
    `measure` is d2(theta^T)/d2(chi).
    """

    theta_r: Scalar
    theta_z: Scalar
    by_r: Float[Array, " m"]
    by_z: Float[Array, " m"]
    sines: Float[Array, " m"]
    measure: Scalar


@final
class Warp(eqx.Module):
    """theta_r = chi_r - e sin(chi_r), theta_z = chi_z - 0.4 sin(2 chi_z): constants of a torus."""

    e: Scalar

    @classmethod
    def of(cls, half: Scalar) -> "Warp":
        """The warp for a motion whose ln(rho) varies by +-half."""
        return cls(jnp.clip(1.0 - 4.0 / (jnp.exp(2.0 * half) + 3.0), 0.0, 0.8))

    def radial(self, chi: Scalar) -> tuple[Scalar, Scalar]:
        """theta_r and its derivative."""
        return chi - self.e * jnp.sin(chi), 1.0 - self.e * jnp.cos(chi)

    def vertical(self, chi: Scalar) -> tuple[Scalar, Scalar]:
        """theta_z and its derivative."""
        return chi - 0.5 * _AT_PLANE * jnp.sin(2.0 * chi), 1.0 - _AT_PLANE * jnp.cos(2.0 * chi)

    def waves(self, chi: Float[Array, "2"], n_modes: int) -> Waves:
        """The modes at a pair of angles chi."""
        n = modes(n_modes).astype(float)
        phase = n @ chi
        theta_r, by_chi_r = self.radial(chi[0])
        theta_z, by_chi_z = self.vertical(chi[1])
        cosines = 2.0 * jnp.cos(phase)
        return Waves(
            theta_r,
            theta_z,
            cosines * n[:, 0] / by_chi_r,
            cosines * n[:, 1] / by_chi_z,
            2.0 * jnp.sin(phase),
            by_chi_r * by_chi_z,
        )
