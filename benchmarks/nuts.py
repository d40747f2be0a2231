"""The demo's posterior with 10,000 stars and the interpolated fudge, by `oortax fit` on two cores.

Run `python benchmarks/nuts.py` (20 minutes; `--stars 2000` for less; `--finder TorusFinder` is 1,000 stars,
tori, and 320 draws). The command runs in a process of its own with an empty cache of compiled programs; two
chains of 60 + 640 draws. s: the whole command, compilation, maximum and pictures included; R-hat, ESS: the
largest and the smallest bulk effective number of draws, of all parameters; gradients: of both chains, warm-up
included; ESS per gradient, and per second of the whole command; divergences: transitions after warm-up that
left their trajectory, of which one is enough for `converged` to be False. With OORTAX_NUTS=DIR a row is kept
in that folder, so that an interrupted run goes on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import arviz

from kept import kept
from oortax import data

RUNS = {"InterpolatedFudge": (10_000, 640), "TorusFinder": (1_000, 320)}


def row(finder: str, stars: int, samples: int, folder: Path) -> dict[str, Any]:
    """One fit."""
    text = data.demo_config().read_text(encoding="utf-8")
    changes = {
        'finder = "StaeckelFudge"': f'finder = "{finder}"',
        "stars  = 2000": f"stars  = {stars}",
        "samples = 320": f"samples = {samples}",
    }
    for old, new in changes.items():
        if text.count(old) != 1:
            raise RuntimeError(f"the demo's configuration has no {old}")
        text = text.replace(old, new)
    config, out = folder / f"{finder}.toml", folder / finder
    config.write_text(text, encoding="utf-8")
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / f"cache-{finder}")}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-m", "oortax.cli", "fit", str(config), "--out", str(out), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    rows, seconds = found["parameters"].values(), found["run"]["seconds"]
    least = min(each["ess_bulk"] for each in rows)
    chains: Any = arviz.from_netcdf(out / "posterior.nc")
    gradients = int(chains.posterior.attrs["n_gradients"])
    return {
        "finder": finder,
        "stars": stars,
        "free": len(found["parameters"]),
        "s": seconds,
        "R-hat": f"{max(each['r_hat'] for each in rows):.4f}",
        "ESS": least,
        "gradients": gradients,
        "ESS per gradient": least / gradients,
        "ESS per second": least / seconds,
        "divergences": int(chains.sample_stats["diverging"].sum()),
        "converged": found["converged"],
    }


def main(finders: Sequence[str] = ("InterpolatedFudge",), stars: int | None = None) -> list[dict[str, Any]]:
    """One row a finder."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for finder in finders:
            usual, samples = RUNS[finder]
            of = finder, stars or usual, samples
            rows.append(kept("OORTAX_NUTS", "-".join(map(str, of)), lambda of=of: row(*of, Path(folder))))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--finder", choices=tuple(RUNS), action="append")
    parser.add_argument("--stars", type=int)
    given = parser.parse_args()
    for entry in main(given.finder or ("InterpolatedFudge",), given.stars):
        print(", ".join(f"{name}: {item}" for name, item in entry.items()), flush=True)
