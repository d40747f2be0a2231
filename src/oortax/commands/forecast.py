"""`oortax forecast`: what a planned survey would tell about the parameters, from the model alone."""

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oortax import inference, model, params, plots
from oortax.commands import session
from oortax.commands.info import versions
from oortax.commands.stars import Planned, key_of
from oortax.io.output import open_folder, write_json, write_text

_CORNER_DRAWS = 4000
NORMALISED = 1e-3
"""Mean scores with a smaller probability say that the likelihood is not normalised."""


def forecast(
    config: Path,
    *,
    n: int | None = None,
    draws: int = 4000,
    precision: float = 0.1,
    missing_v_los: float = 0.0,
    out: Path | None = None,
    force: bool = False,
    seed: int | None = None,
    json: bool = False,
) -> dict[str, Any]:
    """Draw stars of the model, add up what they tell, write table and pictures; returns the summary.

    Parameters as of the command line. Raises ValueError for a configuration without free parameters, and
    what `model.predict` refuses.
    """
    console, began = session.console(json), time.perf_counter()
    planned = Planned.of(config, n, seed)
    options = planned.config.inference
    if not precision > 0.0:
        raise ValueError(f"precision = {precision} must be positive")
    if draws < 100:
        raise ValueError(f"draws = {draws}: at least 100 stars are needed for the expectation")
    folder = open_folder(out, f"oortax-{config.stem}-forecast", force=force, resume=False, identity="")
    catalogue = planned.draw(planned.tree, key_of(options.seed), draws, missing_v_los, console.is_terminal)
    with console.status("scores of the stars"):
        nodes = planned.nodes(catalogue, model.whole_volume(planned.tree.galaxy, planned.tree.survey))
        tables, left_out = _tables(planned)
        found = inference.forecast(
            planned.posterior(),
            planned.stars.per_star,
            {"catalogue": catalogue, "nodes": nodes},
            float(options.stars or 0),
            tables=tables,
        )
    rows, (scores, p) = table(found, precision), found.mean_score()
    notes = list(_notes(planned, found, rows, left_out, p))
    summary = {
        "stars": options.stars,
        "drawn": found.n,
        "lost": found.lost,
        "missing_v_los": missing_v_los,
        "parameters": rows,
        "correlation": {
            path: dict(zip(found.names, row, strict=True))
            for path, row in zip(found.names, found.correlation().tolist(), strict=True)
        },
        "mean_score": {"z": scores, "p": p},
        "constraints": sorted(tables),
        "constraints_left_out": list(left_out),
        "notes": notes,
        "finder": planned.stars.finder,
        "seed": options.seed,
        "versions": versions(),
        "seconds": time.perf_counter() - began,
    }
    write_json(folder / "forecast.json", summary)
    write_text(folder / "forecast.csv", _csv(rows))
    write_text(folder / "config.toml", config.read_text(encoding="utf-8"))
    _pictures(planned, found, folder)
    console.print(f"[bold]{folder}[/bold]: {options.stars:,} stars ({summary['seconds']:.1f} s)")
    for line in [*_lines(rows, precision, bool(tables)), *notes]:
        console.print(f"  {line}")
    if json:
        session.print_json(summary | {"folder": str(folder)})
    return summary


def table(found: inference.Forecast, precision: float) -> dict[str, dict[str, float]]:
    """A row for each parameter: what prior, data and both say of it."""
    alone, both = found.sigma(prior=False), found.sigma()
    error_alone, error_both = found.sigma_error(prior=False), found.sigma_error()
    widths = np.abs(found.slope) * found.prior_width
    scores, _ = found.mean_score()
    rows = {}
    for i, path in enumerate(found.names):
        target = precision * abs(found.values[path])
        rows[path] = {
            "value": found.values[path],
            "prior_width": float(widths[i]),
            "sigma_data": alone[path],
            "sigma_data_error": error_alone[path],
            "sigma": both[path],
            "sigma_error": error_both[path],
            "gain": 1.0 - (both[path] / float(widths[i])) ** 2,
            "stars_for_precision": found.stars_for(path, target) if target > 0.0 else math.inf,
            "mean_score": scores[path],
        }
    return rows


def _tables(planned: Planned) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Tables of the direct constraints whose information can be added, and the names of the others."""
    config, sun = planned.config, planned.tree.survey.sun
    every = {name: part.read(config.folder, sun)[0] for name, part in config.constraints.items()}
    _, left_out = inference.constraint_information(planned.posterior(), every)
    return {name: arrays for name, arrays in every.items() if name not in left_out}, left_out


def _notes(
    planned: Planned,
    found: inference.Forecast,
    rows: Mapping[str, Mapping[str, float]],
    left_out: tuple[str, ...],
    p: float,
) -> Iterator[str]:
    """What the figures rest on, in sentences."""
    verdict = (
        "as it should be" if p >= NORMALISED else "the likelihood is NOT normalised there: see oortax check"
    )
    yield f"mean score of {found.n:,} stars is zero with p = {p:.2g} ({verdict})"
    error = max(row["sigma_data_error"] / row["sigma_data"] for row in rows.values())
    yield f"standard deviations are good to {100 * error:.1f} % (of {found.n:,} stars drawn)"
    if found.lost:
        yield f"{found.lost} stars that the model drew have no finite score and are left out"
    if left_out:
        yield f"constraints left out, whose likelihood is not of residuals: {', '.join(left_out)}"
    if planned.config.binned:
        yield f"catalogues in cells are left out: {', '.join(planned.config.binned)}"
    if planned.stars.finder != planned.config.inference.finder:
        yield f"actions by {planned.stars.finder}, not by {planned.config.inference.finder}"


def _csv(rows: dict[str, dict[str, float]]) -> str:
    columns = list(next(iter(rows.values())))
    lines = [",".join(["parameter", *columns])]
    lines += [",".join([path, *(repr(row[name]) for name in columns)]) for path, row in rows.items()]
    return "\n".join(lines) + "\n"


def _lines(rows: dict[str, dict[str, float]], precision: float, constrained: bool) -> list[str]:
    """The table in lines of text."""
    data = "+constraints" if constrained else "stars alone"
    head = ("value", "prior", data, "with prior", "gain", f"for {precision:.0%}", "score")
    width = max(len(path) for path in rows)
    lines = [f"{'parameter':{width}}" + "".join(f"{name:>13}" for name in head)]
    for path, row in rows.items():
        cells = (
            f"{row['value']:.4g}",
            f"{row['prior_width']:.3g}",
            f"{row['sigma_data']:.3g}",
            f"{row['sigma']:.3g}",
            f"{row['gain']:.2f}",
            f"{row['stars_for_precision']:.2g}",
            f"{row['mean_score']:+.1f}",
        )
        lines.append(f"{path:{width}}" + "".join(f"{cell:>13}" for cell in cells))
    return lines


def _pictures(planned: Planned, found: inference.Forecast, folder: Path) -> None:
    units = {path: p.unit for path, p in params.parameters(planned.tree).items()}
    axes = plots.forecast_widths(
        found.prior_width,
        found.sigma(prior=False),
        found.sigma(),
        slope=found.slope,
        title=f"{planned.config.inference.stars:,} stars",
    )
    plots.save_picture(axes.figure, folder / "widths.png")
    posterior = planned.posterior()
    L = np.linalg.cholesky(found.covariance())
    z = jax.random.normal(key_of(planned.config.inference.seed, 1), (_CORNER_DRAWS, len(L)))
    values = posterior.constrain(posterior.start + jnp.asarray(z) @ L.T)
    axes = plots.corner(
        {path: np.asarray(x)[None] for path, x in values.items()},
        units=units,
        truths=found.values,
        priors=planned.priors,
    )
    plots.save_picture(axes[0, 0].figure, folder / "corner.png")
