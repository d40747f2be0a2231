"""Schwarzschild's method: weights of orbits, none negative, whose sum is a given model."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.dynamics.orbit_cells import CellMoments
from oortax.dynamics.orbit_library import OrbitLibrary

_MOMENTS = {"v_R": 1, "v_z": 2, "v_phi": 3, "v_R2": 4, "v_z2": 5, "v_phi2": 6, "v_R v_z": 7}


class Reweighted(NamedTuple):
    """Orbits that make a model.

    Attributes
    ----------
    weights : (n,), mass on each orbit
    cells : what they make together
    rms : of what was fitted, in units of `error`
    """

    weights: Float[Array, " n"]
    cells: CellMoments
    rms: float

    @property
    def used(self) -> int:
        """Orbits that have any weight."""
        return int(np.sum(np.asarray(self.weights) > 0.0))


def reweight(
    library: OrbitLibrary,
    target: CellMoments,
    *,
    moments: tuple[str, ...] = (),
    error: float = 0.01,
    smooth: float = 0.0,
) -> Reweighted:
    """The orbits' weights by non-negative least squares (Schwarzschild 1979; Zhao 1996).

    Parameters
    ----------
    library : its orbits without numbers are left out
    target : of the model, in the library's cells; empty cells are fitted, too
    moments : of "v_R", "v_z", "v_phi", "v_R2", "v_z2", "v_phi2", "v_R v_z", fitted beside the mass, each in
        units of sqrt(<v^2>) of its cell or that squared
    error : of each number, over the mass of its cell (at least over a tenth of the mean cell's)
    smooth : penalty on the squares of weights over the mean weight, which spreads them over more orbits; 0:
        as few orbits as there are cells have any

    Masses alone leave velocities open: of one density there are many models. Raises ValueError for other
    cells than the library's and unknown moments.

    >>> fit = reweight(library, target, moments=("v_R2", "v_phi"))  # doctest: +SKIP
    >>> fit.cells.dispersions  # doctest: +SKIP
    """
    # Takes a third of a second to import.
    from scipy.optimize import nnls

    for ours, theirs in ((library.cells.R_edges, target.R_edges), (library.cells.z_edges, target.z_edges)):
        if ours.shape != theirs.shape or not np.allclose(ours, theirs):
            raise ValueError("target has other cells than the library: make both with the same edges")
    if unknown := set(moments) - set(_MOMENTS):
        raise ValueError(f"moments {sorted(unknown)} are not among {', '.join(_MOMENTS)}")
    if not error > 0.0 or smooth < 0.0:
        raise ValueError(f"error = {error!r}, smooth = {smooth!r}: error > 0 and smooth >= 0 are needed")
    sums, aim = np.asarray(library.cells.sums), np.asarray(target.sums)
    known: np.ndarray = np.all(np.isfinite(sums), axis=(1, 2, 3))
    aim, orbits = aim.reshape(-1, 8), sums[known].reshape(known.sum(), -1, 8)
    mass = np.maximum(aim[:, 0], 0.1 * aim[:, 0].mean())
    speed2 = np.maximum(aim[:, 4:7].sum(axis=1) / mass, 1e-3 * (aim[:, 4:7].sum() / aim[:, 0].sum()))
    rows, values = [orbits[:, :, 0] / mass], [aim[:, 0] / mass]
    for name in moments:
        k = _MOMENTS[name]
        unit = mass * (np.sqrt(speed2) if k < 4 else speed2)
        rows.append(orbits[:, :, k] / unit)
        values.append(aim[:, k] / unit)
    matrix, right = np.concatenate(rows, axis=1).T / error, np.concatenate(values) / error
    mean = aim[:, 0].sum() / known.sum()
    penalty = np.sqrt(smooth) / mean * np.eye(known.sum()) if smooth > 0.0 else np.zeros((0, known.sum()))
    # Weights in units of the mean: numbers of order one.
    found, _ = nnls(
        mean * np.concatenate([matrix, penalty]), np.concatenate([right, np.zeros(len(penalty))]),
        maxiter=30 * known.sum(),
    )  # fmt: skip
    weights = np.zeros(len(known))
    weights[known] = mean * found
    rms = float(np.sqrt(np.mean((mean * matrix @ found - right) ** 2)))
    total = jnp.asarray(np.tensordot(weights[known], sums[known], 1))
    return Reweighted(jnp.asarray(weights), target.with_sums(total), rms)
