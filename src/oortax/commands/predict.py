"""`oortax predict` and `oortax db96`: survey probability distributions as tables and pictures."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from oortax import model, plots
from oortax.commands import session
from oortax.dynamics import FINDERS
from oortax.io.config import load_config
from oortax.io.output import open_folder, write_json, write_text
from oortax.io.problem import forward_model, observed_stars

_BINS = 40
_QUANTILES = (0.16, 0.5, 0.84)
_DEGREES = ("l", "b")
# Stars with a value of an observable, at least, that it is compared.
_COMPARED = 60


def predict(
    config: Path,
    *,
    n: int = 65_536,
    out: Path | None = None,
    force: bool = False,
    seed: int | None = None,
    finder: str | None = None,
    catalogue: str = "",
    compare: bool = False,
    json: bool = False,
) -> dict[str, Any]:
    """Write a folder with summary.json, distributions.csv and a picture of each; returns the summary.

    With `compare` also compared.csv, and the catalogue's stars in the pictures. Parameters as of the command
    line. Raises ValueError for an unknown finder, what `model.spd` refuses, and where there is no catalogue.
    """
    console, began = session.console(json), time.perf_counter()
    settings = load_config(config, forward=True)
    finder = settings.inference.finder if finder is None else finder
    finder = finder if finder in FINDERS else _instead(finder)
    seed = settings.inference.seed if seed is None else seed
    folder = open_folder(out, f"oortax-{config.stem}-predict", force=force, resume=False, identity="")
    sight = forward_model(settings, catalogue)
    columns = observed_stars(settings, catalogue).columns if compare else {}
    with console.status("predicting"):
        found = model.spd(sight.galaxy, sight.survey, jax.random.key(seed), n, finder=finder)
    summary = summarise(found) | {"finder": finder, "seed": seed, "seconds": time.perf_counter() - began}
    compared = against_stars(found, columns)
    if compared:
        summary["compared"] = {each.quantity: _in_numbers(each) for each in compared}
        write_text(folder / "compared.csv", _compared_table(compared))
    write_json(folder / "summary.json", summary)
    write_text(folder / "distributions.csv", _table(found))
    write_text(folder / "config.toml", settings.resolved_toml())
    _pictures(found, folder, columns)
    console.print(f"[bold]{folder}[/bold]: {summary['seconds']:.1f} s (seed {seed}, {finder})")
    for line in [*_lines(found, summary), *_compared_lines(compared)]:
        console.print(f"  {line}")
    if json:
        session.print_json(summary | {"folder": str(folder)})
    return summary


def _instead(finder: str) -> str:
    """Finders that are prepared for the stars of a catalogue cannot serve where there is none."""
    from oortax.dynamics import STAR_FINDERS

    if finder not in STAR_FINDERS:
        raise ValueError(f"finder {finder!r} is not one of {', '.join(FINDERS)}")
    return "StaeckelFudge"


def observables(found: model.SPD) -> list[str]:
    """Names of the observables that have values, in their order."""
    listed = found.weight > 0
    return [
        name
        for name, values in found.observed.items()
        if not name.endswith("_error") and np.any(np.isfinite(values[listed])) and np.ptp(values[listed]) > 0
    ]


def summarise(found: model.SPD) -> dict[str, Any]:
    """Shares of the components, and quantiles of every observable, as plain numbers."""
    fractions = {name: found.fraction(name)._asdict() for name in found.names}
    quantiles = {
        name: {part: [found.quantile(name, q, _of(part)) for q in _QUANTILES] for part in _parts(found)}
        for name in observables(found)
    }
    return {
        "share_of_all_stars": found.share()._asdict(),
        "fraction_of_catalogue": fractions,
        "effective_stars": {part: found.effective(_of(part)) for part in _parts(found)},
        "quantiles_16_50_84": quantiles,
    }


def _parts(found: model.SPD) -> list[str]:
    return ["all", *found.names]


def _of(part: str) -> str | None:
    return None if part == "all" else part


def _table(found: model.SPD) -> str:
    """Histograms of every observable, all stars and by component, with Monte Carlo errors, as CSV."""
    parts = _parts(found)
    head = "observable,low,high," + ",".join(f"{part},{part}_error" for part in parts)
    rows = [head]
    for name in observables(found):
        low, high = (found.quantile(name, q) for q in (0.001, 0.999))
        edges = np.linspace(low, high, _BINS + 1)
        histograms = [found.histogram(name, edges, _of(part)) for part in parts]
        unit = 180.0 / np.pi if name in _DEGREES else 1.0
        for i in range(_BINS):
            numbers = [unit * edges[i], unit * edges[i + 1]]
            for h in histograms:
                numbers += [h.values[i], h.errors[i]]
            rows.append(name + "," + ",".join(f"{x:.7g}" for x in numbers))
    return "\n".join(rows) + "\n"


def against_stars(found: model.SPD, columns: Mapping[str, np.ndarray]) -> list[model.Against]:
    """Every observable that enough of a catalogue's stars have, against what is predicted."""
    compared = []
    for name in observables(found):
        values = _values_of(columns, name)
        if np.isfinite(values).sum() >= _COMPARED:
            compared.append(model.against(found, name, values))
    return compared


def _values_of(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    known = columns.keys() >= {"mu_l", "mu_b"} if name in ("mu_0", "mu_90") else name in columns
    return model.quantity_of(columns, name) if known else np.zeros(0)


def _in_numbers(of: model.Against) -> dict[str, Any]:
    return {
        "stars": int(of.counted.sum()),
        "chi2": of.chi2,
        "cells": len(of.counted),
        "p": of.p,
        "misfit": of.misfit,
        "largest_pull": float(of.pulls[of.worst]),
    }


def _compared_table(compared: list[model.Against]) -> str:
    """Cells of all observables as CSV; the outermost are open."""
    rows = ["observable,low,high,counted,expected,error,pull"]
    for of in compared:
        edges = of.edges * (180.0 / np.pi if of.quantity in _DEGREES else 1.0)
        columns = (edges[:-1], edges[1:], of.counted, of.expected, of.error, of.pulls)
        rows += [of.quantity + "," + ",".join(f"{x:.7g}" for x in row) for row in zip(*columns, strict=True)]
    return "\n".join(rows) + "\n"


def _compared_lines(compared: list[model.Against]) -> list[str]:
    return [
        f"{of.quantity} of {int(of.counted.sum()):,} stars: chi2 {of.chi2:.1f} in {len(of.counted)} cells, "
        f"p = {of.p:.2g}, misfit {100.0 * of.misfit:.1f} % a cell, largest pull {of.pulls[of.worst]:+.1f}"
        for of in compared
    ]


def _pictures(found: model.SPD, folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    for name in observables(found):
        values = _values_of(columns, name)
        values = values[np.isfinite(values)]
        axes = plots.spd_histogram(found, name, observed=values if len(values) else None)
        plots.save_picture(axes.figure, folder / f"{name}.png")
    for pair in (("mu_l", "mu_b"), ("mu_0", "mu_90"), ("colour", "V")):
        if all(name in observables(found) for name in pair):
            plots.save_picture(plots.spd_contours(found, pair).figure, folder / f"{pair[0]}-{pair[1]}.png")


def _lines(found: model.SPD, summary: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, fraction in summary["fraction_of_catalogue"].items():
        effective = summary["effective_stars"][name]
        lines.append(
            f"{name}: {fraction['value']:.4f} +- {fraction['error']:.4f} ({effective:.0f} effective)"
        )
    for name, of in summary["quantiles_16_50_84"].items():
        low, middle, high = of["all"]
        lines.append(f"{name}: {middle:.4g} ({low:.4g} to {high:.4g})")
    return lines


def db96(
    *, n: int = 65_536, out: Path | None = None, force: bool = False, json: bool = False
) -> dict[str, Any]:
    """Write Figures 1 and 2 of Dehnen & Binney (1996) and the numbers behind them; returns the numbers."""
    console, began = session.console(json), time.perf_counter()
    folder = open_folder(out, "oortax-db96", force=force, resume=False, identity="")
    with console.status("the model of Dehnen & Binney (1996)"):
        galaxy = model.db96_galaxy()
        ranges = {"14 < B < 18": (14.0, 18.0), "18 < B < 22": (18.0, 22.0)}
        found = {
            title: model.spd(galaxy, model.db96_survey(*limits), jax.random.key(1), n)
            for title, limits in ranges.items()
        }
    for number, figure in enumerate(plots.db96_figures(*found.values()), start=1):
        plots.save_picture(figure, folder / f"figure{number}.png")
    summary = {title: summarise(one) | disc_free_region(one) for title, one in found.items()}
    write_json(folder / "summary.json", summary)
    console.print(f"[bold]{folder}[/bold]: figure1.png, figure2.png in {time.perf_counter() - began:.1f} s")
    for title, of in summary.items():
        console.print(f"  {title}: halo {of['fraction_of_catalogue']['halo']['value']:.3f} of the stars")
        for name in ("disc", "halo"):
            low, middle, high = of["quantiles_16_50_84"]["mu_90"][name]
            console.print(f"    {name}: mu_90 = {middle:.1f} ({low:.1f} to {high:.1f}) mas/yr")
        halo = of["disc_free_region"]
        console.print(
            f"    B > 12 + 10 (B - V): {halo['halo']:.3f} of the halo's, {halo['disc']:.4f} of the disc's"
        )
    if json:
        session.print_json(summary | {"folder": str(folder)})
    return summary


def disc_free_region(found: model.SPD) -> dict[str, Any]:
    """Shares of the components with B > 12 + 10 (B - V), where DB96 find hardly any star of the disc."""
    inside = found.observed["V"] > 12.0 + 10.0 * found.observed["colour"]
    return {"disc_free_region": {name: found.mean(inside.astype(float), name).value for name in found.names}}
