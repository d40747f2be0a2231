"""`oortax mock`: a catalogue that a survey of the model would publish, with the truth beside it."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from oortax import model
from oortax.commands import session
from oortax.commands.info import versions
from oortax.dynamics import FINDERS
from oortax.io.config import Config, load_config
from oortax.io.mock_file import write_mock
from oortax.io.problem import forward_model

# From so many stars on, tables of the fudge save more than they cost.
_MANY = 20_000


def mock(
    config: Path,
    *,
    n: int,
    out: Path,
    force: bool = False,
    seed: int | None = None,
    missing_v_los: float = 0.0,
    finder: str | None = None,
    catalogue: str = "",
    json: bool = False,
) -> dict[str, Any]:
    """Draw the catalogue, write it, and print how the draw went; returns the same as a mapping.

    Parameters as of the command line. Raises ValueError for a file that exists, an unknown finder or
    catalogue, and what `model.predict` refuses.
    """
    console, began = session.console(json), time.perf_counter()
    settings = load_config(config, forward=True)
    if out.exists() and not force:
        raise ValueError(f"{out} exists; --force writes over it")
    if finder is None:
        finder = "InterpolatedFudge" if n >= _MANY else "StaeckelFudge"
    if finder not in FINDERS:
        raise ValueError(f"finder {finder!r} is not one of {', '.join(FINDERS)}")
    seed = settings.inference.seed if seed is None else seed
    sight = forward_model(settings, catalogue)
    drawn = model.predict(
        jax.random.key(seed),
        sight.galaxy,
        sight.survey,
        n,
        finder=finder,
        outliers=sight.outliers,
        missing_v_los=missing_v_los,
        progress=console.is_terminal,
    )
    facts = {"made by": " ".join(f"{k} {v}" for k, v in versions().items()), "seed": str(seed)}
    facts |= {"finder": finder, "configuration": settings.resolved_toml()}
    write_mock(out, _given(drawn.columns, settings, catalogue), drawn.truth, drawn.names, facts)
    which = drawn.truth["component"]
    counts = {name: int(np.sum(which == i)) for i, name in enumerate(drawn.names)}
    counts |= {"outliers": int(np.sum(which == -1))} if sight.outliers is not None else {}
    result = {
        "file": str(out),
        "stars": n,
        "components": counts,
        "proposed": drawn.report.proposed,
        "envelope_raised": drawn.report.raised,
        "finder": finder,
        "seed": seed,
        "seconds": time.perf_counter() - began,
    }
    console.print(f"[bold]{out}[/bold]: {n:,} stars in {result['seconds']:.1f} s (seed {seed}, {finder})")
    for name, count in counts.items():
        console.print(f"  {name}: {count:,}")
    console.print(f"  {drawn.report.proposed:,} proposed; the truth is in the columns true_...")
    if json:
        session.print_json(result)
    return result


def _given(columns: Mapping[str, Any], settings: Config, catalogue: str) -> dict[str, Any]:
    """The columns without what the catalogue does not measure."""
    parts = settings.star_catalogues()
    lacks = parts[catalogue].unmeasured if catalogue in parts else ()
    quantities = {"proper_motion": ("mu_l", "mu_b", "mu_lb"), "distance": ("parallax", "distance_modulus")}
    lost = {name for each in lacks for name in quantities.get(each, (each,))}
    return {name: v for name, v in columns.items() if name.removesuffix("_error") not in lost}
