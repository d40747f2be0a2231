"""Fields on a grid of angles chi and sums of modes there: what a fit of S_n adds up.

Products of two waves are waves again: mean(w cos(n.chi) cos(m.chi)) is half the sum of the Fourier
coefficients of w at n + m and n - m. Normal matrices therefore follow from the spectra of three fields.
"""

from functools import cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.dynamics.torus.generating import modes

Field = Float[Array, "r z"]
# At least, of the last sums over the torus.
_LATITUDES = 48


class Grid(NamedTuple):
    """The grid for one set of modes: half of each period, by symmetry. NumPy arrays, static in programs.

    n are the modes (m, 2); chi_r, chi_z the angles; cos_r ... sin_z the waves of all sums of modes (waves,
    angles); `at`, `plus` and `minus` the places of modes, of their sums and of differences in a spectrum.
    """

    n: Any
    chi_r: Any
    chi_z: Any
    cos_r: Any
    sin_r: Any
    cos_z: Any
    sin_z: Any
    at: Any
    plus: Any
    minus: Any

    def spectrum(self, field: Field) -> Float[Array, " k"]:
        """mean(field cos(k.chi)) for the sums and differences of all modes."""
        even = self.cos_r @ field @ self.cos_z.T
        odd = self.sin_r @ field @ self.sin_z.T
        return jnp.concatenate([(even + odd)[:, :0:-1], even - odd], axis=1).ravel() / field.size

    def coefficients(self, field: Field) -> Float[Array, " m"]:
        """mean(field cos(n.chi)) for each mode."""
        return self.spectrum(field)[self.at]

    def gram(self, field: Field) -> Float[Array, "m m"]:
        """mean(field cos(n.chi) cos(m.chi)) for all pairs of modes."""
        spectrum = self.spectrum(field)
        return 0.5 * (spectrum[self.plus] + spectrum[self.minus])

    def sum(self, coefficients: Float[Array, " m"]) -> Field:
        """sum_n c_n cos(n.chi)."""
        upper, lower = self._folded(coefficients)
        rows, columns = (slice(k) for k in upper.shape)
        even = self.cos_r[rows].T @ (upper + lower) @ self.cos_z[columns]
        odd = self.sin_r[rows].T @ (upper - lower) @ self.sin_z[columns]
        return even - odd

    def sum_of_sines(self, coefficients: Float[Array, " m"]) -> Field:
        """sum_n c_n sin(n.chi)."""
        upper, lower = self._folded(coefficients)
        rows, columns = (slice(k) for k in upper.shape)
        even = self.sin_r[rows].T @ (upper + lower) @ self.cos_z[columns]
        odd = self.cos_r[rows].T @ (upper - lower) @ self.sin_z[columns]
        return even + odd

    def _folded(self, coefficients: Float[Array, " m"]):
        """Coefficients in a table of n_r and |n_z|/2: of n_z >= 0, and of n_z < 0."""
        n_r, n_z = self.n.max(axis=0)
        last = n_z // 2
        table = jnp.zeros((n_r + 1, 2 * last + 1))
        table = table.at[self.n[:, 0], self.n[:, 1] // 2 + last].add(coefficients)
        return table[:, last:], table[:, last::-1].at[:, 0].set(0.0)


@cache
def grid(n_modes: int) -> Grid:
    """The grid that n_modes modes are fitted on."""
    n_r, n_z = np.abs(modes(n_modes)).max(axis=0)
    sizes = np.maximum(16, [3 * n_r, 2 * n_z])
    return _at(n_modes, *((np.arange(size) + 0.5) * np.pi / size for size in sizes))


@cache
def finishing(n_modes: int) -> Grid:
    """The grid that energy, frequencies and derivatives are found on: with latitudes enough for any torus.

    What is summed there has waves that a few S_n do not: on the grid of 76 modes Omega_z of a shell is off by
    7e-5 of itself.
    """
    n_r, n_z = np.abs(modes(n_modes)).max(axis=0)
    sizes = np.maximum([16, _LATITUDES], [3 * n_r, 2 * n_z])
    return _at(n_modes, *((np.arange(size) + 0.5) * np.pi / size for size in sizes))


@cache
def fresh(n_modes: int) -> Grid:
    """Angles that no fit has seen."""
    chi = 2.0 * np.pi * np.random.default_rng(7).uniform(size=20)
    return _at(n_modes, chi[:8], chi[8:])


def _at(n_modes: int, chi_r: np.ndarray, chi_z: np.ndarray) -> Grid:
    n = modes(n_modes)
    n_r, n_z = np.abs(n).max(axis=0)
    k_r, k_z = np.arange(2 * n_r + 1)[:, None], np.arange(0, 2 * n_z + 1, 2)[:, None]

    def index(k):
        k = np.where(k[..., :1] < 0, -k, k)
        return k[..., 0] * (2 * n_z + 1) + k[..., 1] // 2 + n_z

    return Grid(
        n, chi_r, chi_z, np.cos(k_r * chi_r), np.sin(k_r * chi_r), np.cos(k_z * chi_z), np.sin(k_z * chi_z),
        index(n), index(n[:, None] + n), index(n[:, None] - n),
    )  # fmt: skip
