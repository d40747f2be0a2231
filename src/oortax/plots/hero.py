"""One wide picture of a whole fit, for a front page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oortax.plots import literature
from oortax.plots.posterior import joint, marginal, prior_posterior
from oortax.plots.potential import Potentials, equipotentials, rotation_curve, vertical_force
from oortax.plots.predictive import histogram
from oortax.plots.style import CYCLE, styled, touching
from oortax.potential.base import AbstractPotential


@styled
def overview(
    best: AbstractPotential,
    pots: Potentials,
    draws: Mapping[str, Any],
    priors: Mapping[str, Any],
    observed: Mapping[str, Any],
    model: Mapping[str, Any],
    *,
    curve: Mapping[str, Any] | None = None,
    curve_label: str = "data",
    q: str = "potential.halo.q",
    others: Sequence[str] = (),
    velocity: str = "v_W",
    units: Mapping[str, str] | None = None,
    R0: float = 8.178,
    fig: Figure | None = None,
) -> np.ndarray:
    """Six panels: circular speed, vertical force, equipotentials; velocities, q and its degeneracies, priors.

    Parameters
    ----------
    best, pots : the best potential (equipotentials) and posterior draws of it (bands).
    draws, priors, units : parameters by dotted path, as in `plots.posterior`.
    observed, model : observables, as in `plots.predictive`; `velocity` names the one drawn.
    curve : table of circular speeds, as in `rotation_curve`.
    q : path of the halo's axis ratio, drawn against (up to two of) `others`.

    Returns the (2, 3) array of main Axes; that of the q panel is its top one.
    """
    if fig is None:
        from matplotlib import pyplot as plt

        fig = plt.figure(figsize=(14.4, 8.0), layout="constrained")
        touching(fig)
    grid = fig.add_gridspec(2, 3, hspace=0.08, wspace=0.04)
    axes = np.empty((2, 3), dtype=object)
    axes[0, 0] = rotation_curve(
        pots, data=curve, R0=R0, data_label=curve_label, ax=fig.add_subplot(grid[0, 0])
    )
    axes[0, 1] = vertical_force(pots, R0=R0, ax=fig.add_subplot(grid[0, 1]))
    axes[0, 2] = equipotentials(best, R0=R0, z_max=18.5, ax=fig.add_subplot(grid[0, 2]))
    cell = grid[1, 0].subgridspec(2, 1, height_ratios=(3, 1), hspace=0)
    top = fig.add_subplot(cell[0])
    below = fig.add_subplot(cell[1], sharex=top)
    axes[1, 0] = histogram(observed[velocity], model[velocity], name=velocity, pulls=below, ax=top)
    axes[1, 1] = _q_panel(fig, grid[1, 1], draws, priors, q, list(others)[:2], units or {})
    # A grid of one panel, so that its margins are reckoned like those of its neighbours.
    axes[1, 2] = prior_posterior(draws, priors, ax=fig.add_subplot(grid[1, 2].subgridspec(1, 1)[0]))
    axes[0, 2].set_anchor("N")
    titles = ("circular speed", "vertical force at the Sun", "equipotentials and density")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title)
    axes[1, 0].set_title("velocities, data and model")
    axes[1, 1].set_title("flattening of the halo")
    axes[1, 2].set_title("what the data added to the priors")
    return axes


def _q_panel(fig: Figure, cell, draws, priors, q: str, others: list[str], units) -> Axes:
    """The posterior of q over its prior and the literature, and q against other parameters below."""
    rows = cell.subgridspec(1 + len(others), 1, height_ratios=[1.5] + [1.0] * len(others), hspace=0.0)
    top = fig.add_subplot(rows[0])
    marginal(draws, q, prior=priors.get(q), units=units, ax=top)
    literature_above(top, "q")
    limits, lower = top.get_xlim(), []
    for index, other in enumerate(others):
        ax = fig.add_subplot(rows[1 + index])
        joint(draws, q, other, units=units, ax=ax)
        ax.set_xlim(limits)
        ax.set_ylabel(ax.get_ylabel().replace(" [", "\n["), fontsize=9.5)
        lower.append(ax)
        if index < len(others) - 1:
            ax.tick_params(labelbottom=False)
            ax.set_xlabel("")
    if lower:
        fig.align_ylabels(lower)
        top.tick_params(labelbottom=False)
        top.set_xlabel("")
    top.set_ylabel("density")
    return top


def literature_above(ax: Axes, key: str) -> Axes:
    """Published values as horizontal error bars in the upper part of a panel of a marginal posterior."""
    entries = literature.measurements(key)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (1.0 + 0.26 * len(entries)))
    left, right = ax.get_xlim()
    for index, entry in enumerate(entries):
        height = high * (1.08 + 0.24 * index)
        color = CYCLE[1:][index % 5]
        if entry.limit or entry.error is None:
            ax.plot(entry.value, height, marker=">" if entry.limit else "o", color=color, ms=5)
        else:
            ax.errorbar(entry.value, height, xerr=entry.error, fmt="o", color=color, ms=4, lw=1.2)
        edge = entry.value + (entry.error or 0.0)
        inside = edge < 0.5 * (left + right)
        start = edge if inside else entry.value - (entry.error or 0.0)
        ax.annotate(
            entry.name, (start, height), xytext=(7 if inside else -7, 0), textcoords="offset points",
            ha="left" if inside else "right", va="center", fontsize=8.5, color=color,
        )  # fmt: skip
    return ax
