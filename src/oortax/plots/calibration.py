"""Pictures of planned surveys and of tested ones: forecast widths, ranks and coverage."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from oortax.plots.style import CYCLE, MODEL, PRIOR, axes_or_new, styled, symbol


@styled
def forecast_widths(
    prior_width: Any,
    alone: Mapping[str, float],
    both: Mapping[str, float],
    *,
    slope: Any = 1.0,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Standard deviations that a survey would give, in units of each prior's width, on a logarithmic axis.

    Parameters
    ----------
    prior_width, slope : shape (P,), widths of the priors, and what turns them into units of the parameters
    alone, both : by path, standard deviations by the data alone, and with the priors
    """
    ax = axes_or_new(ax, (5.6, 0.34 * len(both) + 1.3))
    rows = np.arange(len(both))[::-1]
    widths = np.abs(np.asarray(slope) * np.asarray(prior_width))
    ratio = np.array(list(both.values())) / widths
    free = np.array([alone[path] for path in both]) / widths
    ax.barh(rows, ratio, color=MODEL, height=0.5, label="stars and prior")
    shown = np.isfinite(free)
    ax.plot(free[shown], rows[shown], "|", color=CYCLE[1], ms=13, mew=2.2, label="stars alone")
    ax.axvline(1.0, color=PRIOR, ls="--", label="prior")
    ax.set_xscale("log")
    low, high = min(ratio.min(), 0.3), max(1.0, free[shown].max(initial=1.0))
    ticks = np.array([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0])
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set(xlim=(0.6 * low, 2.0 * min(high, 30.0)), ylim=(-0.7, len(both) + 0.3))
    ax.set_yticks(rows, [symbol(path) for path in both])
    ax.tick_params(axis="y", which="both", length=0)
    ax.set_xlabel("standard deviation / prior width")
    ax.set_title(title)
    ax.legend(loc="upper center", ncols=3, borderaxespad=0.2, columnspacing=1.0, handlelength=1.3)
    return ax


@styled
def rank_histograms(
    counts: Mapping[str, Any], p: Mapping[str, float] | None = None, *, axes: np.ndarray | None = None
) -> np.ndarray:
    """Histograms of ranks by quantity; the band holds 99 % of the counts of a bin if ranks are flat.

    `counts` are numbers in equal bins from 0 to 1; `p`, by quantity, is written into the panels.
    """
    from scipy.stats import binom

    names = list(counts)
    if axes is None:
        from matplotlib import pyplot as plt

        across = min(4, len(names))
        down = -(-len(names) // across)
        fig = plt.figure(figsize=(2.3 * across, 1.75 * down + 0.3), layout="constrained")
        axes = fig.subplots(down, across, squeeze=False, sharex=True)
    axes = np.asarray(axes, dtype=object)
    for ax in axes.ravel()[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(axes.ravel(), names, strict=False):
        found = np.asarray(counts[name])
        bins, total = len(found), int(found.sum())
        low, high = binom.interval(0.99, total, 1.0 / bins)
        ax.axhspan(low, high, color=PRIOR, alpha=0.25, lw=0)
        ax.axhline(total / bins, color=PRIOR, lw=0.9)
        ax.stairs(found, np.linspace(0.0, 1.0, bins + 1), color=MODEL, lw=1.4)
        ax.set(xlim=(0.0, 1.0), ylim=(0.0, 1.45 * max(found.max(), high)))
        text = symbol(name) if "." in name else name
        ax.set_title(text if p is None else f"{text}   p = {p[name]:.2f}", fontsize=9.5)
        ax.tick_params(labelsize=8)
        ax.minorticks_off()
    for ax in axes[-1]:
        ax.set_xlabel("rank of the truth", fontsize=9)
    return axes


@styled
def coverage(
    shares: Mapping[str, Mapping[float, float]],
    band: Mapping[float, tuple[float, float]],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Shares of truths inside central intervals, less what they should be, over the binomial 99 % bands."""
    ax = axes_or_new(ax, (5.6, 0.34 * len(shares) + 1.3))
    rows = np.arange(len(shares))[::-1]
    for k, (level, (low, high)) in enumerate(band.items()):
        # Side by side, in steps of one: each level has a lane of its own.
        ax.axvspan(k + low - level, k + high - level, color=PRIOR, alpha=0.25, lw=0)
        ax.axvline(k, color=PRIOR, lw=0.9)
        off = np.array([of[level] - level for of in shares.values()])
        ax.plot(k + off, rows, "o", color=CYCLE[k], ms=5)
    ax.set_xticks(range(len(band)), [f"{100 * level:.0f} %" for level in band])
    ax.set_yticks(rows, [symbol(name) if "." in name else name for name in shares])
    ax.tick_params(axis="both", which="both", length=0)
    ax.set(xlim=(-0.5, len(band) - 0.5), ylim=(-0.7, len(shares) - 0.3))
    ax.set_xlabel("coverage of central intervals (0.1 is a tenth of a lane)")
    return ax
