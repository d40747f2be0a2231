"""Pictures of a mass model: equidensities, vertical forces across the disc, local axis ratios.

As in `plots.potential`, a sequence of posterior draws may stand for a potential: its median and bands.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from oortax.plots import literature
from oortax.plots.potential import (
    Potentials,
    _force_at,
    _log_density_at,
    _Phi_at,
    band,
    curves,
    curves_of_Phi,
)
from oortax.plots.style import (
    CYCLE,
    DASHES,
    DATA,
    LITERATURE,
    MODEL,
    axes_or_new,
    mark_sun,
    styled,
    with_unit,
)
from oortax.potential.base import AbstractPotential


@styled
def equidensities(
    pot: AbstractPotential,
    *,
    R_max: float = 20.0,
    z_max: float = 15.0,
    step: float = 0.25,
    Phi: bool = True,
    n_grid: int = 120,
    R0: float | None = 8.178,
    ax: Axes | None = None,
) -> Axes:
    """Contours of the density of matter in (R, z), and of the potential.

    Parameters
    ----------
    pot : one potential.
    step : interval between contours in log10 rho [Msun/pc^3]; those of whole powers of ten are labelled.
    Phi : draw equipotentials as well, dashed, through every second kpc in the plane.
    """
    ax = axes_or_new(ax, (5.6, 3.9))
    # As in `equipotentials`: finer towards the centre and the plane, and not quite zero.
    R, z = (np.maximum(np.linspace(0, 1, n_grid) ** 2, 1e-4) * largest for largest in (R_max, z_max))
    grid = np.stack(np.meshgrid(R, z), axis=-1).reshape(-1, 2)
    log_rho = curves(_log_density_at, pot, grid)[0].reshape(n_grid, n_grid)
    finite = log_rho[np.isfinite(log_rho)]
    low, high = np.ceil(np.min(finite) / step), np.floor(np.quantile(finite, 0.995) / step)
    levels = step * np.arange(low, high + 1.0)
    whole = np.isclose(levels, np.round(levels), atol=1e-6)
    lines = ax.contour(
        R, z, np.ma.masked_invalid(log_rho), levels, colors=MODEL, linestyles="solid",
        linewidths=np.where(whole, 1.4, 0.7),
    )  # fmt: skip
    _label_decades(ax, lines, 0.09 * R_max)
    handles = [Line2D([], [], color=MODEL, label=with_unit(r"$\rho$", "Msun/pc^3"))]
    if Phi:
        values = curves_of_Phi(_Phi_at, pot, grid)[0].reshape(n_grid, n_grid)
        steps = 2.0 * np.arange(1, int(np.hypot(R_max, z_max) / 2.0))
        along = curves_of_Phi(_Phi_at, pot, np.stack([steps, 0.0 * steps], axis=-1))[0]
        ax.contour(R, z, values, np.unique(along), colors=DATA, linewidths=0.8, linestyles=[(0, (4, 3))])
        handles.append(Line2D([], [], color=DATA, lw=0.8, ls=(0, (4, 3)), label=r"$\Phi$"))
    if R0 is not None:
        mark_sun(ax, R0)
    ax.set(xlim=(0, R_max), ylim=(0, z_max), aspect="equal")
    ax.set_xlabel(with_unit("$R$", "kpc"))
    ax.set_ylabel(with_unit("$z$", "kpc"))
    ax.legend(handles=handles, loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")
    return ax


def _label_decades(ax: Axes, lines, spacing: float) -> None:
    """Name the contours of whole powers of ten at 50 degrees of latitude, where they leave room."""
    last = spacing
    for level, path in sorted(zip(lines.levels, lines.get_paths(), strict=True), key=lambda pair: -pair[0]):
        if not np.isclose(level, np.round(level), atol=1e-6) or not len(path.vertices):
            continue
        R, z = path.vertices[np.argmin(np.abs(np.arctan2(path.vertices[:, 1], path.vertices[:, 0]) - 0.87))]
        if np.hypot(R, z) > last and 0.3 < np.arctan2(z, R) < 1.3:
            last = np.hypot(R, z) + spacing
            ax.text(
                R, z, f"$10^{{{level:.0f}}}$", color=MODEL, fontsize=9, ha="center", va="center",
                bbox={"fc": "white", "ec": "none", "pad": 0.6}, clip_on=True,
            )  # fmt: skip


@styled
def vertical_force_over_R(
    pots: Potentials,
    *,
    z: Sequence[float] = (0.3, 1.1, 2.5, 5.0),
    R=None,
    R0: float | None = 8.178,
    compare: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """|K_z|/(2 pi G) over R at the heights `z` (kpc), in Msun/pc^2, and the published value at 1.1 kpc.

    By default 2 to 20 kpc. The scale is logarithmic: an exponential disc is a straight line.
    """
    ax = axes_or_new(ax)
    R = np.linspace(2.0, 20.0, 100) if R is None else np.asarray(R, dtype=float)
    _forces(ax, pots, R, z, lambda x, height: (x, np.full_like(x, height)), "z")
    if compare and R0 is not None and any(np.isclose(height, 1.1) for height in z):
        for entry in literature.measurements("K_z_1.1"):
            ax.errorbar(
                R0, entry.value, entry.error, fmt="s", color=LITERATURE, ms=5, mfc="white", lw=1.3,
                capsize=3, label=f"{entry.name}, 1.1 kpc", zorder=5,
            )  # fmt: skip
    ax.set(xlim=(R.min(), R.max()), yscale="log")
    ax.set_xlabel(with_unit("$R$", "kpc"))
    ax.legend(loc="upper right")
    return ax


@styled
def vertical_force_over_z(
    pots: Potentials,
    *,
    R: Sequence[float] = (4.0, 6.0, 8.178, 12.0, 16.0),
    z=None,
    ax: Axes | None = None,
) -> Axes:
    """|K_z|/(2 pi G) over z at the radii `R` (kpc), in Msun/pc^2; by default up to 4 kpc.

    Each curve rises through the disc and then by the halo's share.
    """
    ax = axes_or_new(ax)
    z = np.linspace(0.0, 4.0, 100) if z is None else np.asarray(z, dtype=float)
    # An odd function: start a hair above the plane, where every potential is smooth.
    top = _forces(ax, pots, z, R, lambda x, radius: (np.full_like(x, radius), np.maximum(x, 1e-6)), "R")
    ax.set(xlim=(z.min(), z.max()), ylim=(0.0, 1.3 * top))
    ax.set_xlabel(with_unit("$z$", "kpc"))
    ax.legend(loc="upper left", ncols=2, columnspacing=1.2)
    return ax


def _forces(ax: Axes, pots: Potentials, x, fixed, points, name: str) -> float:
    """Draw |K_z|/(2 pi G) over x, one curve for each fixed value of the other coordinate; the largest."""
    grid = np.concatenate([np.stack(points(x, value), axis=-1) for value in fixed])
    force = curves_of_Phi(_force_at, pots, grid)
    force = force.reshape(len(force), len(fixed), len(x))
    for index, value in enumerate(fixed):
        style = {"color": CYCLE[index % 6], "ls": ("-", *DASHES)[index % 7]}
        band(ax, x, force[:, index], label=f"${name} = {value:.3g}$ kpc", **style)
    ax.set_ylabel(with_unit(r"$|K_z|\,/\,2\pi G$", "Msun/pc^2"))
    return float(np.nanmax(force))


@styled
def axis_ratios(
    pots: Potentials,
    *,
    R=None,
    R0: float | None = 8.178,
    ax: Axes | None = None,
) -> Axes:
    """Local axis ratios q = z/R of equipotentials and of equidensities over R.

    The surface through (R, 0) meets the axis at height z: Phi(0, z) = Phi(R, 0), and likewise for rho, the
    outermost such z. There is a gap where none exists, as for the density of a disc with a hole.

    Parameters
    ----------
    pots : one potential or posterior draws.
    R : radii in kpc; by default 0.3 to 60 kpc.
    R0 : the Sun's radius in kpc, marked; None for no mark.
    """
    ax = axes_or_new(ax)
    R = np.geomspace(0.3, 60.0, 100) if R is None else np.asarray(R, dtype=float)
    largest = 1.0
    for values, color, style, name in zip(
        local_axis_ratios(pots, R), (MODEL, LITERATURE), ("-", "--"), (r"$\Phi$", r"$\rho$"), strict=True
    ):
        band(ax, R, values, color=color, ls=style, label=name)
        if np.isfinite(values).any():
            largest = max(largest, float(np.nanmax(values)))
    ax.axhline(1.0, color="0.75", lw=0.8, zorder=0)
    if R0 is not None:
        ax.axvline(R0, color="0.75", lw=0.8, zorder=0)
        ax.annotate(
            r"$R_0$", (R0, 0.015), xycoords=("data", "axes fraction"), xytext=(3, 0),
            textcoords="offset points", color="0.45", fontsize=9, va="bottom",
        )  # fmt: skip
    ax.set(xscale="log", xlim=(R.min(), R.max()), ylim=(0.0, 1.1 * largest))
    ax.set_xlabel(with_unit("$R$", "kpc"))
    ax.set_ylabel("axis ratio $q$")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.legend(loc="best")
    return ax


def local_axis_ratios(pots: Potentials, R) -> tuple[np.ndarray, np.ndarray]:
    """Axis ratios z/R of the equipotential and of the equidensity through (R, 0): each (n_draw, n_R).

    Accurate to 1e-3 for 0.01 < z/R < 10, by interpolation in ln z; NaN where there is none.

    >>> from oortax.potential import FlattenedNFW
    >>> Phi, rho = local_axis_ratios(FlattenedNFW(rho_s=1e7, r_s=16.0, q=0.7), [8.0])
    >>> [round(float(q[0, 0]), 3) for q in (Phi, rho)]
    [0.859, 0.7]
    """
    R = np.atleast_1d(np.asarray(R, dtype=float))
    z = np.geomspace(0.01 * R.min(), 10.0 * R.max(), 600)
    grid = np.concatenate([np.stack([0.0 * z, z], -1), np.stack([R, 0.0 * R], -1)])
    depth, log_rho = -curves_of_Phi(_Phi_at, pots, grid), curves(_log_density_at, pots, grid)
    depth, log_rho = (
        np.stack([_height(np.log(z), draw[: len(z)], draw[len(z) :]) for draw in values]) / R
        for values in (depth, log_rho)
    )
    return depth, log_rho


def _height(log_z, on_axis, in_plane):
    """The largest z where a function falling along the axis passes each of its values in the plane.

    NaN in `on_axis` (a density of zero) counts as below.
    """
    above = np.where(np.isnan(on_axis), -np.inf, on_axis) - in_plane[:, None]
    passes = (above[:, :-1] > 0.0) & (above[:, 1:] <= 0.0)
    last = passes.shape[1] - 1 - np.argmax(passes[:, ::-1], axis=1)
    row = np.arange(len(in_plane))
    before, after = above[row, last], above[row, last + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(np.isfinite(after), before / (before - after), 0.0)
    found = log_z[last] + share * (log_z[last + 1] - log_z[last])
    return np.where(passes.any(axis=1), np.exp(found), np.nan)
