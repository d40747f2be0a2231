"""Data against the model's own catalogue: histograms with Poisson bars, model bands, pulls and chi^2.

Observed and model samples are dicts of arrays under the same names. A model array of shape (n,) is one
large predicted catalogue; of shape (replicate, n), one catalogue per posterior draw, whose scatter gives
the band. Non-finite values (a missing v_los) are left out on both sides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy.stats import chi2 as chi2_distribution

from oortax.constants import KAPPA
from oortax.plots.style import DATA, MODEL, axes_or_new, styled, touching, with_unit

COLUMNS: dict[str, tuple[str, str]] = {
    "parallax": (r"parallax", "mas"),
    "distance": (r"distance", "kpc"),
    "x": ("$x$", "kpc"),
    "y": ("$y$", "kpc"),
    "z": ("$z$", "kpc"),
    "v_U": ("$U$", "km/s"),
    "v_V": ("$V$", "km/s"),
    "v_W": ("$W$", "km/s"),
    "v_los": (r"$v_{\rm los}$", "km/s"),
    "mu_l": (r"$\mu_{l*}$", "mas/yr"),
    "mu_b": (r"$\mu_b$", "mas/yr"),
    "l": ("$l$", "deg"),
    "b": ("$b$", "deg"),
    "V": ("apparent magnitude $V$", "mag"),
    "M_V": ("$M_V$ from the distance", "mag"),
    "colour": ("$B-V$", "mag"),
}
"""Axis label and unit of the quantities known by name; `histogram` takes others with explicit labels."""


def heliocentric(catalogue: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Observables to compare, derived from a catalogue's own columns alike for data and model.

    `catalogue` has l, b [rad], and optionally parallax [mas] or distance_modulus [mag], mu_l (with cos b),
    mu_b [mas/yr], v_los [km/s; NaN if missing], V, colour [mag]. What follows from a distance is left out
    without one. Distances are 1/parallax, where there is no
    modulus: the same biased estimate on both sides. v_U, v_V, v_W are velocities relative to the Sun towards
    l = 0, l = 90 deg and the NGP; M_V is V less the modulus of that distance. Returns a dict of arrays named
    as in `COLUMNS`.

    >>> sky = {"l": np.zeros(1), "b": np.zeros(1), "parallax": np.full(1, 2.0), "mu_l": np.zeros(1)}
    >>> row = heliocentric(sky | {"mu_b": np.ones(1), "v_los": np.full(1, 30.0)})
    >>> [round(float(row[k][0]), 2) for k in ("distance", "v_U", "v_V", "v_W")]
    [0.5, 30.0, 0.0, 2.37]
    """
    table = {name: np.asarray(values, dtype=float) for name, values in catalogue.items()}
    # Columns without a number count as absent.
    table = {name: values for name, values in table.items() if values.size == 0 or np.isfinite(values).any()}
    for name in ("l", "b"):
        if name not in table:
            raise ValueError(f"catalogue: no column {name!r} (columns: {', '.join(catalogue)})")
    l, b = table["l"], table["b"]
    modulus = table.get("distance_modulus", np.full(l.shape, np.nan))
    parallax = table.get("parallax", np.full(l.shape, np.nan))
    with np.errstate(invalid="ignore", divide="ignore"):
        s = np.where(np.isfinite(modulus), 10.0 ** (0.2 * modulus - 2.0), 1.0 / parallax)
    s = np.where((s > 0.0) & np.isfinite(s), s, np.nan)
    cos_b, sin_b, cos_l, sin_l = np.cos(b), np.sin(b), np.cos(l), np.sin(l)
    found = {"parallax": parallax} if "parallax" in table else {}
    far = "parallax" in table or "distance_modulus" in table
    found |= {"distance": s, "z": s * sin_b} if far else {}
    found |= {"l": np.degrees(np.mod(l, 2 * np.pi)), "b": np.degrees(b)}
    found |= {name: table[name] for name in ("mu_l", "mu_b", "v_los", "V", "colour") if name in table}
    if far and "V" in table:
        found["M_V"] = table["V"] - 5.0 * np.log10(100.0 * s)
    if far and {"mu_l", "mu_b", "v_los"} <= table.keys():
        v_l, v_b, v_s = KAPPA * s * table["mu_l"], KAPPA * s * table["mu_b"], table["v_los"]
        towards_centre = v_s * cos_b - v_b * sin_b
        found["v_U"] = towards_centre * cos_l - v_l * sin_l
        found["v_V"] = towards_centre * sin_l + v_l * cos_l
        found["v_W"] = v_s * sin_b + v_b * cos_b
    return found


@dataclass(frozen=True)
class Comparison:
    """Counts of data and model in bins.

    `expected` is the model's mean count scaled to the number of data, `model_sd` its own uncertainty
    (finite predicted catalogue and posterior), `pull` (observed - expected) / sqrt(expected +
    model_sd^2), `chi2` Pearson's sum of pull^2 over the `n_bins` bins with at least 5 expected, and
    `p_value` the probability of a larger one. The total is scaled away, hence n_bins - 1 degrees of
    freedom; parameters fitted to the same stars make p_value larger than it should be.
    """

    edges: np.ndarray
    observed: np.ndarray
    expected: np.ndarray
    model_sd: np.ndarray
    pull: np.ndarray
    chi2: float
    n_bins: int
    p_value: float

    @property
    def centres(self) -> np.ndarray:
        """Middle of each bin."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])


def _finite(values) -> np.ndarray:
    values = np.ravel(np.asarray(values, dtype=float))
    return values[np.isfinite(values)]


def compare_counts(observed, model, bins: int | np.ndarray = 30) -> Comparison:
    """Bin data and model alike; `bins` is a number of bins over the data's central 99% or edges.

    Data beyond the edges are left out of the counts, and so is the model's share there: expected
    counts are N_data (share of the model in the bin), so totals may differ slightly.
    """
    data = _finite(observed)
    replicates = [_finite(row) for row in np.atleast_2d(np.asarray(model, dtype=float))]
    if data.size == 0 or any(row.size == 0 for row in replicates):
        raise ValueError(
            f"observed has {data.size} and model {[r.size for r in replicates]} finite values; both need some"
        )
    if np.ndim(bins) == 0:
        low, high = np.quantile(data, [0.005, 0.995])
        if high <= low:
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, int(bins) + 1)
    else:
        edges = np.asarray(bins, dtype=float)
    counts = np.histogram(data, edges)[0].astype(float)
    shares = np.stack([np.histogram(row, edges)[0] / row.size for row in replicates])
    expected = data.size * shares.mean(axis=0)
    drawn = np.array([row.size for row in replicates])
    noise = expected * data.size * np.mean(1.0 / drawn)
    scatter = np.var(data.size * shares, axis=0, ddof=1) if len(replicates) > 1 else noise
    # Replicates scatter by their own counting noise, which averages out, and by the posterior, which does
    # not. The difference of two noisy variances is smoothed over bins: the posterior's share varies slowly.
    excess = np.convolve(np.pad(scatter - noise, 2, mode="edge"), np.array([1, 2, 3, 2, 1]) / 9, mode="valid")
    model_sd = np.sqrt(noise / len(replicates) + np.maximum(excess, 0.0))
    sd = np.sqrt(np.maximum(expected + model_sd**2, 1e-300))
    pull = np.where(expected > 0.0, (counts - expected) / sd, np.nan)
    enough = expected >= 5.0
    chi2, n_bins = float(np.sum(pull[enough] ** 2)), int(enough.sum())
    p_value = float(chi2_distribution.sf(chi2, n_bins - 1)) if n_bins > 1 else float("nan")
    return Comparison(edges, counts, expected, model_sd, pull, chi2, n_bins, p_value)


def poisson_interval(counts: np.ndarray) -> np.ndarray:
    """Lower and upper lengths of the central 68.3% interval of a Poisson mean (Garwood 1936).

    >>> poisson_interval(np.array([0.0, 4.0])).round(2).tolist()
    [[0.0, 1.91], [1.84, 3.16]]
    """
    tail = 0.1587
    safe = np.maximum(counts, 1.0)
    lower = np.where(counts > 0, 0.5 * chi2_distribution.ppf(tail, 2 * safe), 0.0)
    upper = 0.5 * chi2_distribution.ppf(1 - tail, 2 * (counts + 1))
    return np.stack([counts - lower, upper - counts])


@styled
def histogram(
    observed,
    model,
    *,
    name: str = "",
    text: str | None = None,
    unit: str | None = None,
    bins: int | np.ndarray = 30,
    log: bool = False,
    pulls: Axes | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Counts of one observable: points with Poisson bars for the data, a stepped band for the model.

    Parameters
    ----------
    observed, model : arrays of the observable (model: see the module's text).
    name : key into `COLUMNS` for label and unit; `text` and `unit` override it.
    pulls : Axes below for (data - model)/sigma, sharing x; without it, only chi^2 is written.
    log : logarithmic counts.
    """
    known_text, known_unit = COLUMNS.get(name, (name, ""))
    axis_label = with_unit(known_text if text is None else text, known_unit if unit is None else unit)
    ax = axes_or_new(ax, (4.6, 3.4))
    result = compare_counts(observed, model, bins)
    top = _draw_counts(ax, result)
    if log:
        ax.set_yscale("log")
        ax.set_ylim(0.6, 6.0 * top)
    else:
        ax.set_ylim(0, 1.28 * top)
        # The lowest label would reach into the panel below.
        ax.yaxis.set_major_locator(MaxNLocator(5, prune="lower"))
    ax.set_xlim(result.edges[0], result.edges[-1])
    ax.set_ylabel("stars per bin")
    ax.text(
        0.03, 0.965, rf"$\chi^2/n_{{\rm bin}} = {result.chi2:.0f}/{result.n_bins}$", transform=ax.transAxes,
        va="top", fontsize=9,
    )  # fmt: skip
    if legend:
        ax.legend(loc="upper right", ncols=2, borderaxespad=0.2, columnspacing=1.0, handletextpad=0.5)
    if pulls is None:
        ax.set_xlabel(axis_label)
    else:
        ax.tick_params(labelbottom=False)
        _draw_pulls(pulls, result)
        pulls.set_xlabel(axis_label)
    return ax


def _draw_counts(ax: Axes, result: Comparison) -> float:
    """Model band and data points; returns the height they reach."""
    low, high = result.expected - result.model_sd, result.expected + result.model_sd
    ax.stairs(high, result.edges, baseline=np.maximum(low, 0.0), fill=True, color=MODEL, alpha=0.3)
    ax.stairs(result.expected, result.edges, baseline=None, color=MODEL, lw=1.4, label="model")
    bars = poisson_interval(result.observed)
    ax.errorbar(
        result.centres, result.observed, bars, fmt="o", color=DATA, ms=2.6, lw=0.8, label="data", zorder=4
    )
    return float(max(np.max(result.observed + bars[1]), np.max(high)))


def _draw_pulls(ax: Axes, result: Comparison) -> None:
    finite = result.pull[np.isfinite(result.pull)]
    reach = float(np.clip(1.15 * np.max(np.abs(finite), initial=0.0), 3.4, 8.0))
    ax.axhspan(-1, 1, color=MODEL, alpha=0.15, lw=0)
    ax.axhline(0, color=MODEL, lw=0.9)
    few = result.expected < 5.0
    clipped = np.clip(result.pull, -reach, reach)
    ax.plot(result.centres[~few], clipped[~few], "o", color=DATA, ms=2.6)
    ax.plot(result.centres[few], clipped[few], "o", mfc="white", mec="0.55", mew=0.7, ms=2.6)
    ax.set(xlim=(result.edges[0], result.edges[-1]), ylim=(-reach, reach))
    step = 2 if reach < 5 else 4
    ax.set_yticks([-step, 0, step])
    ax.set_ylabel("pull")


@styled
def predictive_grid(
    observed: Mapping[str, Any],
    model: Mapping[str, Any],
    *,
    names: Sequence[str] | None = None,
    n_columns: int = 3,
    bins: int = 30,
    log: Sequence[str] = (),
) -> np.ndarray:
    """One histogram with pulls for every observable present on both sides; returns its Axes (n,)."""
    from matplotlib import pyplot as plt

    if names is None:
        names = [name for name in COLUMNS if name in observed and name in model]
    missing = [name for name in names if name not in observed or name not in model]
    if missing or not names:
        raise ValueError(
            f"observables {missing or 'requested'} not in both observed ({', '.join(observed)}) and model "
            f"({', '.join(model)})"
        )
    n_columns = min(n_columns, len(names))
    n_rows = -(-len(names) // n_columns)
    fig = plt.figure(figsize=(3.5 * n_columns, 3.3 * n_rows), layout="constrained")
    touching(fig)
    # Empty rows between: panels that touch leave no other way to keep the pairs apart.
    heights = ([1.0, 0.04] * n_rows)[:-1]
    outer = fig.add_gridspec(len(heights), n_columns, height_ratios=heights)
    axes = []
    for index, name in enumerate(names):
        row, column = divmod(index, n_columns)
        cell = outer[2 * row, column].subgridspec(2, 1, height_ratios=(3, 1), hspace=0)
        ax = fig.add_subplot(cell[0])
        below = fig.add_subplot(cell[1], sharex=ax)
        histogram(
            observed[name], model[name], name=name, bins=bins, log=name in log, pulls=below, ax=ax,
            legend=index == 0,
        )  # fmt: skip
        if column > 0:
            ax.set_ylabel("")
            below.set_ylabel("")
        axes.append(ax)
    return np.array(axes, dtype=object)
