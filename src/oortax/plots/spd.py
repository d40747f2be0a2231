"""Survey probability distributions: contours in two observables, and histograms of one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oortax.plots.predictive import COLUMNS
from oortax.plots.style import DASHES, MODEL, axes_or_new, styled, with_unit

LABELS: dict[str, tuple[str, str]] = COLUMNS | {
    "mu_0": (r"$\mu_0$", "mas/yr"),
    "mu_90": (r"$\mu_{90}$", "mas/yr"),
    "l": ("$l$", "rad"),
    "b": ("$b$", "rad"),
    "s": ("$s$", "kpc"),
    "M": ("absolute magnitude", "mag"),
    "distance_modulus": ("distance modulus", "mag"),
}
"""Axis label and unit of the observables."""


def _label(name: str) -> str:
    return with_unit(*LABELS.get(name, (name, "")))


def _range(spd: Any, name: str, component: str | None, share: float = 0.998) -> tuple[float, float]:
    tail = 0.5 * (1.0 - share)
    return spd.quantile(name, tail, component), spd.quantile(name, 1.0 - tail, component)


def save_picture(figure: Any, path: Path) -> Path:
    """Write a figure to a file of the format of its name, and close it."""
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)
    return path


@styled
def spd_contours(
    spd: Any,
    quantities: Sequence[str] = ("mu_0", "mu_90"),
    component: str | None = None,
    *,
    spacing: float = 0.4,
    n_levels: int = 8,
    ranges: Sequence[tuple[float, float]] | None = None,
    dashed: bool = False,
    peak: float | None = None,
    colour: Any = None,
    grid: int = 161,
    width: float = 1.5,
    ax: Axes | None = None,
) -> Axes:
    """Contours of the density of a survey's stars in two observables, spaced evenly in its logarithm.

    Parameters
    ----------
    spd : model.SPD
    quantities : names of two observables
    component : its stars alone
    spacing : dex between contours (those of Dehnen & Binney 1996: 0.4), the first half as much below the peak
    n_levels : of contours
    ranges : of the two quantities; by default those that hold 99.8 % of the stars in each
    dashed : draw dashed, as the paper draws the disc's part of a joint distribution
    peak : density (of all stars of the survey) that the levels count from; None: the largest here
    colour : of the contours
    grid : points an axis
    width : of the kernel, in units of Scott's rule
    ax : axes to draw on

    The density is that of the component's share of the survey: contours of a part lie within the whole's.
    """
    ax = axes_or_new(ax)
    spans = [_range(spd, name, component) for name in quantities] if ranges is None else ranges
    x, y = (np.linspace(*span, grid) for span in spans)
    part = 1.0 if component is None else spd.fraction(component).value
    density = part * spd.density(quantities, (x, y), component, width)
    top = float(density.max()) if peak is None else peak
    levels = top * 10.0 ** (-spacing * (np.arange(n_levels)[::-1] + 0.5))
    ax.contour(
        x, y, density.T, levels, colors=MODEL if colour is None else colour,
        linewidths=1.0, linestyles=DASHES[0] if dashed else "-",
    )  # fmt: skip
    ax.set_xlabel(_label(quantities[0]))
    ax.set_ylabel(_label(quantities[1]))
    return ax


@styled
def spd_histogram(
    spd: Any,
    quantity: str,
    bins: int | np.ndarray = 40,
    *,
    components: bool = True,
    observed: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Expected distribution of one observable, of the whole survey and by component, with its error.

    Parameters
    ----------
    spd : model.SPD
    quantity : name of the observable
    bins : number of bins over the range of 99.8 % of the stars, or edges
    components : also draw them one by one
    observed : values (N,) of a catalogue, drawn as points with Poisson errors
    ax : axes to draw on
    """
    ax = axes_or_new(ax)
    edges = np.linspace(*_range(spd, quantity, None), bins + 1) if isinstance(bins, int) else np.asarray(bins)
    parts = [None, *spd.names] if components and len(spd.names) > 1 else [None]
    for part, dashes in zip(parts, ("-", *DASHES), strict=False):
        found = spd.histogram(quantity, edges, part)
        density, error = found.values / np.diff(edges), found.errors / np.diff(edges)
        (line,) = ax.step(
            edges, np.append(density, density[-1]), where="post", linestyle=dashes, label=part or "all"
        )
        low, high = density - error, density + error
        ax.fill_between(
            edges, np.append(low, low[-1]), np.append(high, high[-1]),
            step="post", alpha=0.25, color=line.get_color(), linewidth=0,
        )  # fmt: skip
    if observed is not None:
        counts = np.histogram(observed, edges)[0]
        scale = len(observed) * np.diff(edges)
        middles = 0.5 * (edges[1:] + edges[:-1])
        ax.errorbar(middles, counts / scale, np.sqrt(counts) / scale, fmt="k.", ms=4, lw=1, label="observed")
    ax.set_xlabel(_label(quantity))
    ax.set_ylabel("share of the stars per unit")
    ax.set_ylim(bottom=0)
    if len(parts) > 1 or observed is not None:
        ax.legend()
    return ax


@styled
def db96_figures(bright: Any, faint: Any) -> tuple[Figure, Figure]:
    """Figures 1 and 2 of Dehnen & Binney (1996), from the distributions of 14 < B < 18 and 18 < B < 22.

    Parameters
    ----------
    bright, faint : model.SPD, with components "disc" and "halo" (`model.db96_galaxy`, `model.db96_survey`)

    Returns Figure 1 (proper motions of disc and halo apart, 14 < B < 18) and Figure 2 (both together in the
    two ranges, dashed: the disc alone). Contours are 0.4 dex apart.
    """
    spans = ((-60.0, 60.0), (-80.0, 40.0))
    first, axes = plt.subplots(1, 2, figsize=(9.0, 4.4), sharex=True, sharey=True, layout="constrained")
    for ax, name in zip(axes, ("disc", "halo"), strict=True):
        spd_contours(bright, component=name, ranges=spans, ax=ax)
        ax.set_title(f"{name}, 14 < B < 18")
    second, axes = plt.subplots(1, 2, figsize=(9.0, 4.4), sharex=True, sharey=True, layout="constrained")
    for ax, spd, title in zip(axes, (bright, faint), ("14 < B < 18", "18 < B < 22"), strict=True):
        x, y = (np.linspace(*span, 161) for span in spans)
        peak = float(spd.density(("mu_0", "mu_90"), (x, y), None, 1.5).max())
        spd_contours(spd, ranges=spans, peak=peak, ax=ax)
        spd_contours(spd, component="disc", ranges=spans, peak=peak, dashed=True, ax=ax)
        ax.set_title(title)
    return first, second
