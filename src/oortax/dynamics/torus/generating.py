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
from jax import lax
from jaxtyping import Array, Float

from oortax.numerics.trigonometry import sin_cos
from oortax.types import Scalar

# d(theta_z)/d(chi_z) in the plane is 1 - _AT_PLANE.
_AT_PLANE = 0.8
# The plane is crossed in a small part of the vertical period: more waves in z. And the power of the order.
_VERTICAL, _POWER = 3.5, 1.5
_UNWARP = 5


@cache
def modes(n_modes: int) -> np.ndarray:
    """The n_modes pairs (n_r, n_z) of lowest order n_r^1.5 + (|n_z|/3.5)^1.5, shape (n_modes, 2).

    n_z is even, and there is one of each n and -n. Sets are nested. A rectangle of as many terms lacks waves
    with a large n_r and a small n_z, in which most of what is left of H on a halo's tori is then found.

    >>> modes(4).tolist()
    [[0, 2], [1, 0], [0, 4], [1, -2]]
    """
    # All pairs whose n_r and |n_z|/3.5 are at most this: more than enough.
    last = int(np.ceil(np.sqrt(n_modes))) + 1
    n_z = 2 * int(_VERTICAL * last / 2)
    pairs = [(r, z) for r in range(last + 1) for z in range(-n_z, n_z + 1, 2) if r > 0 or z > 0]
    pairs.sort(key=lambda n: (_order(n), n))
    return np.array(pairs[:n_modes])


def _order(n: tuple[int, int]) -> float:
    return n[0] ** _POWER + (abs(n[1]) / _VERTICAL) ** _POWER


class Series(NamedTuple):
    """2 sum_n c_n sin(n . chi) for q sets of coefficients, and its derivatives with respect to toy angles."""

    value: Float[Array, " q"]
    by_r: Float[Array, " q"]
    by_z: Float[Array, " q"]


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
        sin, cos = sin_cos(chi)
        return chi - self.e * sin, 1.0 - self.e * cos

    def vertical(self, chi: Scalar) -> tuple[Scalar, Scalar]:
        """theta_z and its derivative."""
        sin, cos = sin_cos(2.0 * chi)
        return chi - 0.5 * _AT_PLANE * sin, 1.0 - _AT_PLANE * cos

    def series(self, chi: Float[Array, "2"], coefficients: Float[Array, "m q"]) -> Series:
        """The sums over modes at a pair of angles chi: over n_z first, with few sines and cosines."""
        n = modes(coefficients.shape[0])
        rows, columns = np.arange(n[:, 0].max() + 1), np.arange(0, np.abs(n[:, 1]).max() + 1, 2)
        last = len(columns) - 1
        table = jnp.zeros((len(rows), 2 * last + 1, coefficients.shape[1]))
        table = table.at[n[:, 0], n[:, 1] // 2 + last].set(coefficients)
        upper, lower = table[:, last:], table[:, last::-1].at[:, 0].set(0.0)
        sin_r, cos_r = sin_cos(rows * chi[0])
        sin_z, cos_z = sin_cos(columns * chi[1])

        def over_z(by_cosine, by_sine):
            even = jnp.einsum("l,klq->kq", by_cosine, upper + lower)
            return even, jnp.einsum("l,klq->kq", by_sine, upper - lower)

        even, odd = over_z(cos_z, sin_z)
        slope_even, slope_odd = over_z(-columns * sin_z, columns * cos_z)
        by_chi_r = (rows * cos_r) @ even - (rows * sin_r) @ odd
        by_chi_z = sin_r @ slope_even + cos_r @ slope_odd
        return Series(
            2.0 * (sin_r @ even + cos_r @ odd),
            2.0 * by_chi_r / self.radial(chi[0])[1],
            2.0 * by_chi_z / self.vertical(chi[1])[1],
        )

    def unwarped(self, theta: Float[Array, "2"], steps: int = _UNWARP) -> Float[Array, "2"]:
        """The chi of toy angles, by Newton's method from where the warp is gentle: 5 steps give 6 digits."""

        def solve(of, start, theta):
            def step(chi, _):
                value, slope = of(chi)
                return chi - jnp.clip((value - theta) / slope, -0.5, 0.5), None

            return lax.scan(step, start, length=steps)[0]

        e = self.e
        sin, cos = sin_cos(theta[0])
        chi_r = theta[0] + e * sin / (1.0 - e * cos + 0.3 * e)
        chi_z = theta[1] + 0.5 * _AT_PLANE * sin_cos(2.0 * theta[1])[0]
        return jnp.stack([solve(self.radial, chi_r, theta[0]), solve(self.vertical, chi_z, theta[1])])
