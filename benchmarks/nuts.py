"""The demo's posterior with 10,000 stars and the interpolated fudge, by `oortax fit` on two cores.

Run `python benchmarks/nuts.py` (half an hour; `--stars 2000` for less). The command runs in a process of its
own with an empty cache of compiled programs. s: the whole command, compilation, maximum and pictures
included; R-hat, ESS: the largest and the smallest bulk effective number of draws, of all parameters;
gradients: of both chains, warm-up included; ESS per gradient, and per second of the whole command.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import arviz

from oortax import data

STARS, FINDERS = 10_000, ("InterpolatedFudge",)


def row(finder: str, stars: int, folder: Path) -> dict[str, Any]:
    """One fit."""
    text = data.demo_config().read_text(encoding="utf-8")
    changes = {'finder = "StaeckelFudge"': f'finder = "{finder}"', "stars  = 2000": f"stars  = {stars}"}
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
        "R-hat": max(each["r_hat"] for each in rows),
        "ESS": least,
        "gradients": gradients,
        "ESS per gradient": least / gradients,
        "ESS per second": least / seconds,
        "converged": found["converged"],
    }


def main(stars: int = STARS) -> list[dict[str, Any]]:
    """One row a finder."""
    with tempfile.TemporaryDirectory() as folder:
        return [row(finder, stars, Path(folder)) for finder in FINDERS]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stars", type=int, default=STARS)
    for entry in main(parser.parse_args().stars):
        print(", ".join(f"{name}: {item}" for name, item in entry.items()), flush=True)
