"""Pictures of posterior draws: corner, traces, and what the data added to the priors.

Draws are a dict from dotted path to an array of shape (chain, draw). Priors are a dict from path to a
NumPyro distribution or to an array of samples; paths without one are simply drawn without.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oortax.plots.literature import plus_minus
from oortax.plots.style import (
    CYCLE,
    MODEL,
    PRIOR,
    TRUTH,
    axes_or_new,
    exponent_of,
    figure_of,
    label,
    styled,
    symbol,
)

Draws = Mapping[str, Any]


def _corner_package():
    """The `corner` package, imported late: it pulls in ArviZ, whose daily notice is not for our users."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*ArviZ", category=FutureWarning)
        import corner as package
    return package


def _selected(draws: Draws, paths: Sequence[str] | None) -> dict[str, np.ndarray]:
    """The wanted draws as (chain, draw) arrays; raises ValueError on what cannot be drawn."""
    if not draws:
        raise ValueError("draws: empty; expected a mapping from parameter path to (chain, draw) arrays")
    chosen = list(draws) if paths is None else list(paths)
    found = {}
    for path in chosen:
        if path not in draws:
            raise ValueError(f"draws: no parameter {path!r} (known: {', '.join(draws)})")
        values = np.atleast_2d(np.asarray(draws[path], dtype=float))
        if values.ndim != 2 or not np.isfinite(values).all():
            raise ValueError(
                f"draws[{path!r}]: shape {values.shape}, {np.sum(~np.isfinite(values))} not finite; "
                "expected finite values of shape (chain, draw)"
            )
        found[path] = values
    return found


def prior_samples(prior, n: int = 4000) -> np.ndarray:
    """Samples of a prior given as a NumPyro distribution or as samples already (fixed key)."""
    if hasattr(prior, "sample"):
        import jax

        prior = prior.sample(jax.random.key(0), (n,))
    return np.ravel(np.asarray(prior, dtype=float))


def centre_and_width(values) -> tuple[float, float]:
    """Median and half the central 68% interval: a standard deviation that heavy tails leave alone."""
    low, middle, high = np.quantile(np.ravel(values), [0.1587, 0.5, 0.8413])
    return float(middle), float(0.5 * (high - low))


def _density_of(prior, grid: np.ndarray) -> np.ndarray:
    """The prior's density on a grid: exact for a distribution, a histogram for samples."""
    if not hasattr(prior, "log_prob"):
        samples = prior_samples(prior)
        counts, edges = np.histogram(samples, bins=40, density=True)
        return np.interp(grid, 0.5 * (edges[1:] + edges[:-1]), counts, left=0.0, right=0.0)
    support = getattr(prior, "support", None)
    inside = np.ones(grid.shape, bool) if support is None else np.asarray(support(grid))
    # Outside the support log_prob is undefined, and validation of the argument may warn.
    safe = np.where(inside, grid, float(np.median(prior_samples(prior))))
    return np.where(inside, np.exp(np.asarray(prior.log_prob(safe), dtype=float)), 0.0)


def _scaled(draws: dict[str, np.ndarray], units: Mapping[str, str]):
    """Draws divided by awkward powers of ten, their labels and those powers."""
    powers = {path: exponent_of(values) for path, values in draws.items()}
    texts = {path: label(path, units.get(path, ""), powers[path]) for path in draws}
    return {path: values / 10.0 ** powers[path] for path, values in draws.items()}, texts, powers


@styled
def corner(
    draws: Draws,
    *,
    paths: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    truths: Mapping[str, float] | None = None,
    priors: Mapping[str, Any] | None = None,
    bins: int = 24,
    fig: Figure | None = None,
) -> np.ndarray:
    """All one- and two-dimensional marginals of the posterior, with truths and priors laid over.

    Contours hold 39% and 86% of the draws (1 and 2 sigma of a two-dimensional Gaussian); priors are
    grey curves, truths green lines. Returns the square array of Axes.
    """
    corner_package = _corner_package()
    values, texts, powers = _scaled(_selected(draws, paths), units or {})
    flat = np.stack([v.ravel() for v in values.values()], axis=-1)
    if flat.shape[0] <= flat.shape[1]:
        raise ValueError(
            f"draws: {flat.shape[0]} draws are too few for a corner of {flat.shape[1]} parameters"
        )
    moving = np.ptp(flat, axis=0) > 0
    if not moving.all():
        fixed = [path for path, moves in zip(values, moving, strict=True) if not moves]
        raise ValueError(f"draws: {', '.join(fixed)} never changes; leave it out with `paths`")
    n = flat.shape[1]
    if fig is None:
        from matplotlib import pyplot as plt

        side = min(1.35 * n + 0.9, 18.0)
        fig = plt.figure(figsize=(side, side))
    corner_package.corner(
        flat, bins=bins, fig=fig, color=MODEL, smooth=0.9, smooth1d=0.7, levels=(0.393, 0.865),
        plot_datapoints=False, plot_density=False, fill_contours=True, no_fill_contours=False,
        labels=[""] * n, max_n_ticks=4, hist_kwargs={"lw": 1.4, "color": MODEL},
        contour_kwargs={"linewidths": 0.9},
    )  # fmt: skip
    axes = np.array(fig.axes[: n * n], dtype=object).reshape(n, n)
    for index, path in enumerate(values):
        if priors and path in priors:
            _prior_on_histogram(axes[index, index], values[path], priors[path], 10.0 ** powers[path], bins)
        if truths and path in truths:
            _truth_lines(axes, index, float(truths[path]) / 10.0 ** powers[path])
    _finish_corner(axes, values, texts)
    _corner_legend(axes, bool(truths), bool(priors))
    return axes


def _finish_corner(axes: np.ndarray, values: dict[str, np.ndarray], texts: dict[str, str]) -> None:
    """Margins, ticks and labels that stay apart from each other whatever the number of parameters."""
    n = len(values)
    fig = figure_of(axes)
    side = fig.get_figwidth()
    left = min(0.3, 0.95 / side)
    fig.subplots_adjust(left=left, bottom=left, right=1 - 0.25 / side, top=1 - 0.3 / side)
    size = 8.5 if n > 6 else 9.5
    for row in range(n):
        for column in range(row + 1):
            ax = axes[row, column]
            ax.tick_params(which="both", labelsize=size - 1.5, labelrotation=0, top=False, right=False)
            ax.minorticks_off()
            ax.set_xticks(_inner_ticks(*ax.get_xlim()))
            if column < row:
                ax.set_yticks(_inner_ticks(*ax.get_ylim()))
    for index, path in enumerate(values):
        text = texts[path].replace(" [", "\n[")
        bottom, side_axes = axes[n - 1, index], axes[index, 0]
        bottom.set_xlabel(text, fontsize=size)
        bottom.xaxis.set_label_coords(0.5, -0.24)
        if index > 0:
            side_axes.set_ylabel(text, fontsize=size)
            side_axes.yaxis.set_label_coords(-0.38, 0.5)
        middle, width = centre_and_width(values[path])
        axes[index, index].set_title(plus_minus(middle, width), fontsize=size, loc="center", pad=4)


def _inner_ticks(low: float, high: float) -> np.ndarray:
    """Round numbers away from the panel's ends, where labels of neighbours would run into each other."""
    ticks = np.asarray(MaxNLocator(4).tick_values(low, high))
    margin = 0.12 * (high - low)
    return ticks[(ticks > low + margin) & (ticks < high - margin)]


def _prior_on_histogram(ax: Axes, values, prior, ten: float, bins: int) -> None:
    low, high = ax.get_xlim()
    grid = np.linspace(low, high, 200)
    # The histogram counts draws per bin: scale the prior's density to the same area.
    width = np.ptp(values) / bins
    ax.plot(grid, _density_of(prior, grid * ten) * ten * values.size * width, color=PRIOR, lw=1.2, ls="--")
    ax.set_xlim(low, high)


def _truth_lines(axes: np.ndarray, index: int, truth: float) -> None:
    n = len(axes)
    for row in range(index, n):
        low, high = axes[row, index].get_xlim()
        axes[row, index].axvline(truth, color=TRUTH, lw=1.1)
        axes[row, index].set_xlim(min(low, truth), max(high, truth))
    for column in range(index):
        low, high = axes[index, column].get_ylim()
        axes[index, column].axhline(truth, color=TRUTH, lw=1.1)
        axes[index, column].set_ylim(min(low, truth), max(high, truth))


def _corner_legend(axes: np.ndarray, truths: bool, priors: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=MODEL, lw=1.6, label="posterior")]
    if priors:
        handles.append(Line2D([], [], color=PRIOR, ls="--", lw=1.3, label="prior"))
    if truths:
        handles.append(Line2D([], [], color=TRUTH, lw=1.3, label="truth"))
    if len(handles) > 1 and len(axes) > 1:
        figure_of(axes).legend(handles=handles, loc="upper right", fontsize=10.5, borderaxespad=1.0)


@styled
def trace(
    draws: Draws,
    *,
    paths: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    diverging=None,
    rhat: Mapping[str, float] | None = None,
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Each chain's draws in sequence (right) and their distribution (left), one row per parameter.

    `diverging`, (chain, draw) booleans, puts ticks where transitions diverged; `rhat` is written into
    the panels. Returns an array of Axes of shape (n_parameter, 2).
    """
    values, texts, _ = _scaled(_selected(draws, paths), units or {})
    n = len(values)
    if axes is None:
        from matplotlib import pyplot as plt

        fig = plt.figure(figsize=(8.4, 0.95 * n + 0.6), layout="constrained")
        axes = fig.subplots(n, 2, squeeze=False, width_ratios=(1, 3))
    axes = np.asarray(axes, dtype=object).reshape(n, 2)
    for (left, right), (path, chains) in zip(axes, values.items(), strict=True):
        edges = np.linspace(chains.min(), chains.max() + 1e-12 * max(1.0, abs(chains.max())), 31)
        for index, chain in enumerate(chains):
            color = CYCLE[index % len(CYCLE)]
            left.hist(chain, edges, density=True, histtype="step", color=color, lw=1.1)
            right.plot(chain, color=color, lw=0.45, alpha=0.85)
        if diverging is not None:
            for chain, draw in np.argwhere(np.atleast_2d(diverging)):
                right.plot(draw, chains[chain, draw], marker="|", color="k", ms=9, mew=1.3, zorder=4)
        left.set_yticks([])
        left.set_ylabel(texts[path].replace(" [", "\n["), rotation=0, ha="right", va="center", fontsize=10)
        right.set_xlim(0, chains.shape[1] - 1)
        right.yaxis.set_ticks_position("right")
        for ax in (left, right):
            ax.tick_params(labelsize=8, labelbottom=ax is left or right is axes[-1, 1])
            ax.minorticks_off()
        if rhat is not None and path in rhat:
            low, high = right.get_ylim()
            right.set_ylim(low, high + 0.3 * (high - low))
            right.text(
                0.99, 0.93, rf"$\hat{{R}}={rhat[path]:.3f}$", transform=right.transAxes, ha="right", va="top",
                fontsize=8.5,
            )  # fmt: skip
    axes[-1, 1].set_xlabel("draw")
    n_chains = len(next(iter(values.values())))
    note = "" if diverging is None else "; ticks: divergent transitions"
    axes[0, 1].set_title(f"{n_chains} chains, one colour each{note}", fontsize=9.5)
    return axes


@styled
def prior_posterior(
    draws: Draws,
    priors: Mapping[str, Any],
    *,
    paths: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Where the posterior lies within each prior, in units of the prior's width, and how much it narrowed.

    x = (theta - prior median) / prior width; widths are half the central 68% intervals. Bars are the
    posterior's 68% and 95%; the number is posterior width / prior width: 1 means that the data said nothing.
    """
    chosen = [p for p in (draws if paths is None else paths) if p in priors]
    if not chosen:
        raise ValueError(f"priors: none for the parameters drawn (priors: {', '.join(priors) or 'none'})")
    values = _selected(draws, chosen)
    ax = axes_or_new(ax, (5.6, 0.34 * len(chosen) + 1.2))
    rows = np.arange(len(chosen))[::-1]
    ax.axvspan(-1, 1, color=PRIOR, alpha=0.18, lw=0, label="prior 68%")
    ax.plot([0, 0], [-0.7, len(chosen) - 0.5], color=PRIOR, lw=0.8)
    reach = 2.2
    for row, (path, chains) in zip(rows, values.items(), strict=True):
        centre, width = centre_and_width(prior_samples(priors[path]))
        if width == 0.0:
            raise ValueError(f"priors[{path!r}]: has no width; leave it out with `paths`")
        low2, low, middle, high, high2 = (
            np.quantile(chains, [0.025, 0.1587, 0.5, 0.8413, 0.975]) - centre
        ) / width
        ax.plot([low2, high2], [row, row], color=MODEL, lw=1.1)
        ax.plot([low, high], [row, row], color=MODEL, lw=4.0, solid_capstyle="butt")
        ax.plot(middle, row, "o", color="white", mec=MODEL, ms=4.5)
        reach = max(reach, min(1.1 * max(abs(low2), abs(high2)), 6.0))
        ax.annotate(
            f"{0.5 * (high - low):.2f}", (1.0, row), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=9, annotation_clip=False,
        )  # fmt: skip
    ax.plot([], [], color=MODEL, lw=4.0, label="posterior 68%")
    ax.plot([], [], color=MODEL, lw=1.1, label="posterior 95%")
    ax.set_yticks(rows, [symbol(path) for path in values])
    ax.tick_params(axis="y", which="both", length=0)
    ax.minorticks_off()
    ax.set(xlim=(-reach, reach), ylim=(-0.7, len(chosen) + 0.25))
    ax.set_xlabel("(parameter $-$ prior median) / prior width")
    ax.annotate(
        "width\nratio", (1.0, len(chosen) - 0.1), xycoords=("axes fraction", "data"), xytext=(4, 0),
        textcoords="offset points", va="center", fontsize=8.5, linespacing=1.0, annotation_clip=False,
    )  # fmt: skip
    ax.legend(loc="upper center", ncols=3, borderaxespad=0.2, columnspacing=1.0, handlelength=1.3)
    return ax


@styled
def joint(
    draws: Draws,
    x: str,
    y: str,
    *,
    units: Mapping[str, str] | None = None,
    truths: Mapping[str, float] | None = None,
    bins: int = 30,
    ax: Axes | None = None,
) -> Axes:
    """The joint posterior of two parameters: 39% and 86% contours over the draws."""
    corner_package = _corner_package()
    values, texts, powers = _scaled(_selected(draws, [x, y]), units or {})
    ax = axes_or_new(ax, (4.2, 3.8))
    a, b = values[x].ravel(), values[y].ravel()
    step = max(1, math.ceil(a.size / 1500))
    ax.plot(a[::step], b[::step], ".", color=MODEL, ms=2.0, alpha=0.35, mec="none", zorder=1)
    corner_package.hist2d(
        a, b, ax=ax, bins=bins, smooth=1.5, levels=(0.393, 0.865), color=MODEL, plot_datapoints=False,
        plot_density=False, fill_contours=False, no_fill_contours=True, contour_kwargs={"linewidths": 1.3},
    )  # fmt: skip
    if truths and x in truths and y in truths:
        ax.plot(truths[x] / 10.0 ** powers[x], truths[y] / 10.0 ** powers[y], "+", color=TRUTH, ms=10, mew=2)
    ax.set_xlabel(texts[x])
    ax.set_ylabel(texts[y])
    return ax


@styled
def marginal(
    draws: Draws,
    path: str,
    *,
    prior=None,
    units: Mapping[str, str] | None = None,
    truth: float | None = None,
    bins: int = 25,
    ax: Axes | None = None,
) -> Axes:
    """The posterior of one parameter as a normalised histogram, over its prior (dashed)."""
    values, texts, powers = _scaled(_selected(draws, [path]), units or {})
    ax = axes_or_new(ax, (4.2, 2.8))
    x, ten = values[path].ravel(), 10.0 ** powers[path]
    ax.hist(x, bins, density=True, histtype="stepfilled", color=MODEL, alpha=0.35, label="posterior")
    if prior is not None:
        own = prior_samples(prior) / ten
        low = min(x.min(), float(np.quantile(own, 0.005)))
        high = max(x.max(), float(np.quantile(own, 0.995)))
        grid = np.linspace(low, high, 300)
        ax.plot(grid, _density_of(prior, grid * ten) * ten, color=PRIOR, ls="--", lw=1.3, label="prior")
        ax.set_xlim(low, high)
    if truth is not None:
        ax.axvline(truth / ten, color=TRUTH, label="truth")
    ax.set_yticks([])
    ax.set_xlabel(texts[path])
    ax.set_ylabel("probability density")
    ax.legend()
    return ax
