"""`oortax mock`, then `oortax fit` of its output: does a catalogue give back the galaxy that made it?

Run `python benchmarks/mock_fit.py` (a quarter of an hour). The survey and galaxy of
benchmarks/survey_mock.py, V < 16 and |b| > 20 deg, a disc and a halo of stars with luminosity functions from
isochrones: three mock catalogues of different seeds, each fitted star by star with the command's own defaults
but for the number of stars and of nodes per star and the method (laplace). Eight parameters are free, and
start away from the truth. Priors are wide beside what the stars tell. "pull": (fit - truth)/sd in ln of the
parameter, for velocities in the parameter; chi2 and p: of all together, with the correlations.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2

import survey_mock

MOCKS, STARS, NODES = 3, 4000, 8
# In the configuration of the mock; the truth, the prior's width in ln (or its own), and where the fit starts.
FREE = {
    "potential.disc.M": ("M = 6.8e10", 6.8e10, "LogNormal(log(6e10), 0.5)"),
    "potential.disc.b": ("b = 0.28", 0.28, "LogNormal(log(0.35), 0.5)"),
    "potential.halo.rho_s": ("rho_s = 8.5e6", 8.5e6, "LogNormal(log(1e7), 0.5)"),
    "components.disc.df.sigma_r0": ("sigma_r0 = 95.0", 95.0, "LogNormal(log(110), 0.5)"),
    "components.disc.df.H_d": ("H_d = 0.3", 0.3, "LogNormal(log(0.4), 0.5)"),
    "components.disc.df.R_d": ("R_d = 2.6", 2.6, "LogNormal(log(3), 0.5)"),
    "components.halo.weight": ("weight = 0.01", 0.01, "Beta(1, 50)"),
}
SUN = ("sun.V", 12.24, "Normal(10, 5)")


def fit_config(catalogue: Path) -> str:
    """The mock's configuration with data, priors and starts."""
    text = survey_mock.CONFIG
    for path, (entry, _, prior) in FREE.items():
        if text.count(entry) != 1:
            raise RuntimeError(f"{path}: {entry!r} is not in the configuration once")
        name = path.rsplit(".", 1)[1]
        start = ", start = 0.02" if name == "weight" else ""
        text = text.replace(entry, f'{name} = {{prior = "{prior}"{start}}}')
    return f"""
[data]
catalogue = "{catalogue}"
{text}
[sun]
V = {{prior = "{SUN[2]}"}}
[inference]
method = "laplace"
stars = {STARS}
nodes_per_star = {NODES}
"""


def run(*arguments: str, environment: dict[str, str]) -> dict[str, Any]:
    """A command's figures."""
    done = subprocess.run(
        [sys.executable, "-m", "oortax.cli", *arguments, "--json"],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def rows_of(seed: int, folder: Path, environment: dict[str, str]) -> list[dict[str, Any]]:
    """One mock: a row for each parameter, and one for all."""
    catalogue, mock, fit = (folder / f"{seed}{end}" for end in (".parquet", "-mock.toml", "-fit.toml"))
    mock.write_text(survey_mock.CONFIG, encoding="utf-8")
    fit.write_text(fit_config(catalogue), encoding="utf-8")
    drawn = ("--n", "20000", "--out", str(catalogue), "--seed", str(seed))
    run("mock", str(mock), *drawn, environment=environment)
    found = run("fit", str(fit), "--out", str(folder / f"fit-{seed}"), environment=environment)
    gaussian = json.loads((folder / f"fit-{seed}" / "laplace.json").read_text(encoding="utf-8"))
    truth = {path: there for path, (_, there, _) in FREE.items()} | {SUN[0]: SUN[1]}
    covariance = np.asarray(gaussian["covariance"])
    off = np.array(gaussian["mean"]) - [on_the_real_line(path, truth[path]) for path in gaussian["names"]]
    rows = [
        {
            "seed": seed,
            "parameter": path,
            "truth": truth[path],
            "fit": gaussian["values"][path],
            "sd": gaussian["sigma"][path],
            "pull": off[i] / np.sqrt(covariance[i, i]),
        }
        for i, path in enumerate(gaussian["names"])
    ]
    square = float(off @ np.linalg.solve(covariance, off))
    whole = {
        "chi2": square,
        "p": float(chi2.sf(square, len(off))),
        "seconds of the fit": found["run"]["seconds"],
    }
    return [*rows, {"seed": seed, "parameter": "all", **whole}]


def on_the_real_line(path: str, value: float) -> float:
    """Where posteriors are made: ln of what is positive, the logit of a share."""
    if path == SUN[0]:
        return value
    return float(np.log(value / (1.0 - value))) if path.endswith("weight") else float(np.log(value))


def main(mocks: int = MOCKS) -> list[dict[str, Any]]:
    """All rows."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        return [row for seed in range(1, mocks + 1) for row in rows_of(seed, Path(folder), environment)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mocks", type=int, default=MOCKS)
    for entry in main(parser.parse_args().mocks):
        print(", ".join(f"{name}: {item}" for name, item in entry.items()), flush=True)
