"""Whether the chains can be believed, in ArviZ's terms: the only file that imports ArviZ."""

import csv
import io
import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oortax.inference.posterior import Posterior
from oortax.inference.sample import Samples

with warnings.catch_warnings():
    # ArviZ 0.23 announces its successor once a day.
    warnings.simplefilter("ignore", FutureWarning)
    import arviz as az

R_HAT = 1.02
"""Largest rank-normalised split R-hat (Vehtari et al. 2021) of a converged run."""

ESS = 200.0
"""Smallest bulk and tail effective sample size of a converged run: errors of means below 7% of sigma."""


BFMI = 0.3
"""Smallest Bayesian fraction of missing information (Betancourt 2016) of a healthy chain."""


class Verdict(NamedTuple):
    """Converged or not, the figures that decide it, and both in a sentence."""

    converged: bool
    sentence: str
    r_hat: float
    ess_bulk: float
    ess_tail: float
    divergences: int
    bfmi: float
    ess_per_gradient: float


def to_inference_data(samples: Samples, attrs: Mapping[str, Any] | None = None) -> az.InferenceData:
    """ArviZ's InferenceData: parameters by dotted path, sample statistics, and where they came from.

    `attrs` (config, data hash, seed, ...) and the run's own settings (key, versions, fingerprint of
    the posterior) become attributes of the posterior group; nested ones as JSON.
    """
    stats = dict(samples.stats)
    names = {"log_density": "lp", "accept_prob": "acceptance_rate"}
    renamed = {names.get(name, name): value for name, value in stats.items()}
    # A doubled tree of depth d has at most 2^d - 1 steps.
    renamed["tree_depth"] = np.ceil(np.log2(stats["n_steps"] + 1)).astype(int)
    data = az.from_dict(posterior=dict(samples.values), sample_stats=renamed)
    everything = {**samples.settings, "n_gradients": samples.n_gradients, **(attrs or {})}
    data["posterior"].attrs.update({name: _attribute(value) for name, value in everything.items()})
    return data


def write_netcdf(data: az.InferenceData, path: str | os.PathLike) -> Path:
    """Write posterior.nc whole or not at all: beside the target first, then renamed over it."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    data.to_netcdf(str(partial))
    os.replace(partial, path)
    return path


def summary(samples: Samples, posterior: Posterior | None = None) -> dict[str, dict[str, float]]:
    """A row for each parameter, ready for JSON or a table.

    mean, sd; q3, q16, median, q84, q97 (quantiles); mcse (standard error of the mean), r_hat,
    ess_bulk, ess_tail. With the posterior also prior_width, and contraction = 1 - (posterior width /
    prior width)^2 from the central 68% ranges on the real line: near 0, the data say nothing.
    """
    diagnosed = _diagnose(samples)
    widths = (
        None if posterior is None else dict(zip(posterior.names, posterior.prior_scale()[1], strict=True))
    )
    rows = {}
    for i, path in enumerate(samples.names):
        x = samples.values[path]
        q3, q16, median, q84, q97 = (float(q) for q in np.quantile(x, [0.03, 0.16, 0.5, 0.84, 0.97]))
        row = {"mean": float(x.mean()), "sd": float(x.std(ddof=1)), "q3": q3, "q16": q16, "median": median}
        row |= {"q84": q84, "q97": q97} | diagnosed[path]
        if widths is not None:
            low, high = np.quantile(samples.u[..., i], [0.1587, 0.8413])
            row["prior_width"] = float(widths[path])
            row["contraction"] = 1.0 - (0.5 * float(high - low) / row["prior_width"]) ** 2
        rows[path] = row
    return rows


def write_summary(rows: Mapping[str, Mapping[str, float]], folder: str | os.PathLike) -> tuple[Path, Path]:
    """Write summary.csv and summary.json into the folder, each atomically; NaN is null in JSON."""
    columns = list(next(iter(rows.values())))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["parameter", *columns])
    writer.writerows([path, *(repr(row[column]) for column in columns)] for path, row in rows.items())
    finite = {p: {k: v if math.isfinite(v) else None for k, v in row.items()} for p, row in rows.items()}
    paths = Path(folder) / "summary.csv", Path(folder) / "summary.json"
    for path, text in zip(paths, (table.getvalue(), json.dumps(finite, indent=2) + "\n"), strict=True):
        partial = path.with_name(path.name + ".partial")
        partial.write_text(text)
        os.replace(partial, path)
    return paths


def verdict(samples: Samples, *, r_hat: float = R_HAT, ess: float = ESS) -> Verdict:
    """Judge a run: R-hat below `r_hat`, bulk and tail ESS above `ess`, no divergences, BFMI above 0.3.

    A chain that never moved has no R-hat: that counts as not converged. The ESS per gradient
    counts every gradient of every chain, warm-up included.
    """
    rows = _diagnose(samples)
    worst_path = max(rows, key=lambda path: _or_inf(rows[path]["r_hat"]))
    worst = rows[worst_path]["r_hat"]
    bulk_path = min(rows, key=lambda path: _or_zero(rows[path]["ess_bulk"]))
    bulk = _or_zero(rows[bulk_path]["ess_bulk"])
    tail_path = min(rows, key=lambda path: _or_zero(rows[path]["ess_tail"]))
    tail = _or_zero(rows[tail_path]["ess_tail"])
    divergences = int(samples.stats["diverging"].sum())
    total = samples.stats["diverging"].size
    faults = []
    if not worst < r_hat:
        reason = "a chain is stuck or there is one only" if math.isnan(worst) else f"not below {r_hat:g}"
        faults.append(f"R-hat of {worst_path} is {worst:.3f} ({reason})")
    if min(bulk, tail) < ess:
        path = bulk_path if bulk <= tail else tail_path
        faults.append(f"{path} has {min(bulk, tail):.0f} effective draws, fewer than {ess:.0f}")
    if divergences:
        faults.append(f"{divergences} of {total} transitions diverged")
    bfmi = _bfmi(samples.stats["energy"])
    if bfmi < BFMI:
        faults.append(
            f"the energy is explored slowly (BFMI {bfmi:.2f}): some prior is too wide or heavy-tailed"
        )
    figures = f"R-hat <= {worst:.3f}, effective draws >= {min(bulk, tail):.0f}, {divergences} divergences"
    if faults:
        remedy = "raise target_accept" if divergences else "draw more samples"
        sentence = f"Not converged: {'; '.join(faults)}. Try this: {remedy}."
    else:
        sentence = f"Converged: {figures} in {total} draws."
    return Verdict(not faults, sentence, worst, bulk, tail, divergences, bfmi, bulk / samples.n_gradients)


def assert_converged(samples: Samples, *, r_hat: float = R_HAT, ess: float = ESS) -> Verdict:
    """The verdict; ValueError with its sentence unless converged."""
    result = verdict(samples, r_hat=r_hat, ess=ess)
    if not result.converged:
        raise ValueError(result.sentence)
    return result


def smoothed_weights(log_ratio: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed importance weights (n,), of sum 1, of ln p - ln q, and the Pareto shape k_hat.

    Vehtari et al. 2024, JMLR 25, 72; the estimates are unreliable for k_hat > 0.7. Ratios that are not
    finite have weight 0.
    """
    finite = np.isfinite(log_ratio)
    weights = np.zeros(len(log_ratio))
    with warnings.catch_warnings():
        # Its warning of large k_hat would repeat what is returned.
        warnings.simplefilter("ignore")
        log_w, k_hat = az.psislw(np.asarray(log_ratio)[finite])
    weights[finite] = np.exp(np.asarray(log_w))
    return weights / weights.sum(), float(k_hat)


def _diagnose(samples: Samples) -> dict[str, dict[str, float]]:
    """R-hat, effective sample sizes and standard error of the mean of each parameter."""
    rows = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for path in samples.names:
            x = np.asarray(samples.values[path])
            rows[path] = {
                "mcse": float(az.mcse(x)),  # type: ignore[arg-type]
                "r_hat": _r_hat(x),
                "ess_bulk": float(az.ess(x, method="bulk")),  # type: ignore[arg-type]
                "ess_tail": float(az.ess(x, method="tail")),  # type: ignore[arg-type]
            }
    return rows


def _bfmi(energy: np.ndarray) -> float:
    """The smallest over chains of <(E_i - E_(i-1))^2> / var(E)."""
    spread = np.maximum(np.var(energy, axis=1), np.finfo(float).tiny)
    return float(np.min(np.mean(np.diff(energy, axis=1) ** 2, axis=1) / spread))


def _r_hat(x: np.ndarray) -> float:
    if x.shape[0] < 2 or np.any(np.ptp(x, axis=1) == 0):
        return math.nan
    return float(az.rhat(x, method="rank"))  # type: ignore[arg-type]


def _or_inf(x: float) -> float:
    return math.inf if math.isnan(x) else x


def _or_zero(x: float) -> float:
    return 0.0 if math.isnan(x) else x


def _attribute(value: Any) -> Any:
    """NetCDF attributes are strings and numbers; anything else is kept as JSON."""
    return (
        value if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(value)
    )
