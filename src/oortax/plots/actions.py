"""Pictures of f(J) in action space: one DF, or one that was recovered from stars beside the truth."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm

from oortax.df import AbstractDF, SplineFit
from oortax.plots.style import DATA, axes_or_new, styled, with_unit

_AXES = {"J_r": 0, "J_z": 1, "J_phi": 2}
_NAMES = {"J_r": "$J_r$", "J_z": "$J_z$", "J_phi": r"$J_\phi$"}
# Contours of the uncertainty of ln f.
_SIGMAS = (0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0)
_UNIT = "kpc*km/s"


@styled
def action_plane(
    f: AbstractDF,
    ax: Axes | None = None,
    *,
    across: str = "J_r",
    up: str = "J_z",
    at: float = 1600.0,
    limits: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 200.0), (0.0, 100.0)),
    data=None,
    n_grid: int = 80,
    levels: int = 12,
) -> Axes:
    """log10 f in a plane of action space, relative to its largest value there.

    Parameters
    ----------
    f : bound, if it needs circular orbits.
    across, up : two of "J_r", "J_z", "J_phi".
    at : kpc km/s, the third action.
    limits : of the two axes, kpc km/s.
    data : (n, 3), actions of stars, drawn as points whatever their third action; or None.
    levels : number of contours, half a decade apart, below the largest value.

    Raises ValueError for an unknown action, or the same one twice.

    >>> from oortax import df
    >>> f = df.DoublePowerLaw(norm=1.0, J_0=500.0, slope_in=1.0, slope_out=5.0)
    >>> ax = action_plane(f, across="J_phi", up="J_r", at=20.0, limits=((-2000.0, 2000.0), (0.0, 500.0)))
    >>> ax.get_xlabel()
    '$J_\\\\phi$ [kpc km s$^{-1}$]'
    """
    ax = axes_or_new(ax)
    grids, J = _plane(across, up, at, limits, n_grid)
    values = np.asarray(_log_f(f, jnp.asarray(J))).reshape(n_grid, n_grid) / np.log(10.0)
    _contours(ax, grids, values - np.max(values), -0.5 * np.arange(levels, -1, -1))
    if data is not None:
        data = np.asarray(data)
        ax.plot(data[:, _AXES[across]], data[:, _AXES[up]], ",", color=DATA, alpha=0.6)
    _label(ax, across, up, limits)
    return ax


@styled
def recovered_actions(
    fit: SplineFit,
    truth: AbstractDF,
    axes=None,
    *,
    level: float = 0.0,
    across: str = "J_r",
    up: str = "J_z",
    at: float = 1600.0,
    limits: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 200.0), (0.0, 100.0)),
    data=None,
    n_grid: int = 60,
) -> np.ndarray:
    """f of a fit in a plane of action space in three panels: the truth, what was recovered, its uncertainty.

    The first two share their contours, half a decade apart; the third has those of the standard deviation of
    ln f. Parameters as in `action_plane`; `level` is added to the truth's ln f (ln of the number of stars
    over their mass). Returns the three Axes.
    """
    if axes is None:
        axes = plt.figure(figsize=(9.6, 3.3), layout="constrained").subplots(1, 3, sharex=True, sharey=True)
    grids, J = _plane(across, up, at, limits, n_grid)
    got, sigma = fit.log_f(jnp.asarray(J))
    want = np.asarray(_log_f(truth, jnp.asarray(J))) + level
    top = np.max(want)
    lowest = np.floor(2.0 * max((np.min(want) - top) / np.log(10.0), -6.0))
    levels = 0.5 * np.arange(min(lowest, -2.0), 2.0)
    for ax, values, title in zip(axes, (want, got), ("truth", "recovered"), strict=False):
        values = (values - top).reshape(n_grid, n_grid) / np.log(10.0)
        _contours(ax, grids, values, levels, title)
    norm = BoundaryNorm(_SIGMAS, 256, extend="both")
    sigma = np.maximum(sigma, 1e-9).reshape(n_grid, n_grid)
    picture = axes[2].contourf(*grids, sigma, _SIGMAS, cmap="cividis", norm=norm, extend="both")
    axes[2].figure.colorbar(picture, ax=axes[2], label=r"$\sigma(\ln f)$")
    axes[2].set_title("uncertainty")
    for ax in axes:
        if data is not None:
            points = np.asarray(data)
            ax.plot(points[:, _AXES[across]], points[:, _AXES[up]], ",", color=DATA, alpha=0.15)
        _label(ax, across, up, limits)
    for ax in axes[1:]:
        ax.set_ylabel("")
    return np.asarray(axes)


@eqx.filter_jit
def _log_f(f: AbstractDF, J):
    return jax.vmap(f.log_f)(J)


def _plane(across: str, up: str, at: float, limits, n: int):
    """The grid along both axes, and actions (n^2, 3)."""
    if across not in _AXES or up not in _AXES or across == up:
        raise ValueError(f"across={across!r}, up={up!r}: two different ones of J_r, J_z, J_phi are needed")
    grids = [np.linspace(low, high, n) for low, high in limits]
    J = np.full((n, n, 3), float(at))
    J[..., _AXES[across]], J[..., _AXES[up]] = grids[0], grids[1][:, None]
    return grids, J.reshape(-1, 3)


def _contours(ax: Axes, grids, values, levels, title: str = "") -> None:
    picture = ax.contourf(*grids, np.maximum(values, levels[0]), levels, cmap="cividis", extend="max")
    ax.contour(*grids, values, levels, colors="white", linewidths=0.4, linestyles="solid")
    if title != "truth":
        ax.figure.colorbar(picture, ax=ax, label=r"$\log_{10} f/f_{\rm max}$")
    if title:
        ax.set_title(title)


def _label(ax: Axes, across: str, up: str, limits) -> None:
    ax.set(xlim=limits[0], ylim=limits[1])
    ax.set_xlabel(with_unit(_NAMES[across], _UNIT))
    ax.set_ylabel(with_unit(_NAMES[up], _UNIT))
