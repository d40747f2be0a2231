"""Simulation-based calibration of a small but complete model: are the posteriors what they claim?

Run `python benchmarks/calibration.py`; it is `oortax calibrate calibration --mocks 800 --records
benchmarks/calibration.jsonl`: mocks that this file holds are not made again (OORTAX_CALIBRATION_ANEW=1: all
are, which takes hours), and it holds all afterwards. Results are in the folder that
OORTAX_CALIBRATION names (else a temporary one), so that an interrupted run goes on; OORTAX_CALIBRATION_MOCKS
is the number of mocks. Each mock draws nine parameters from their priors (disc mass; speed and axis
ratio of the halo's potential; dispersion and thickness of the disc's f(J); anisotropy and share of the
stellar halo; the Sun's V; outliers), a catalogue of 500 stars from the model (by a route that shares neither
density nor normalisation with the likelihood), and finds the posterior from the start and the nodes that a
real fit would use: maximum, Laplace's Gaussian, 512 draws of it with Pareto-smoothed importance weights.

One row a quantity: shares of the truths inside the central 50, 68 and 95 % intervals, the probability of a
larger chi^2 of the rank histogram if ranks are flat, and mean and width of the pulls (truth - mean)/sd on
the real line. Then the ends of the binomial 99 % bands, and a row for all: mocks, those that could not be
drawn or fitted, the smallest p times the number of quantities, coverages outside their bands (of 30; 0.3
are expected), effective draws and gradients a mock, and seconds of one worker a mock.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from oortax import data
from oortax.commands import session
from oortax.commands.calibrate import calibrate

MOCKS = 800
RECORDS = Path(__file__).parent / "calibration.jsonl"


def main() -> list[dict[str, Any]]:
    """One row a quantity, the bands, and one for all."""
    session.prepare()
    config = data.config("calibration")
    assert config is not None
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get("OORTAX_CALIBRATION", temporary))
        resume = (folder / "config.toml").is_file()
        mocks = int(os.environ.get("OORTAX_CALIBRATION_MOCKS", MOCKS))
        anew = os.environ.get("OORTAX_CALIBRATION_ANEW", "0") != "0" or not RECORDS.is_file()
        records = () if anew else (RECORDS,)
        found = calibrate(config, mocks=mocks, out=folder, resume=resume, records=records)
        shutil.copyfile(folder / "records.jsonl", RECORDS)
    rows: list[dict[str, Any]] = []
    for name, of in found["quantities"].items():
        shares = {f"{100 * float(level):.0f} %": f"{share:.3f}" for level, share in of["coverage"].items()}
        pull = {} if of["pull_sd"] != of["pull_sd"] else {
            "mean pull": round(of["pull_mean"], 3),
            "width of pulls": round(of["pull_sd"], 3),
        }  # fmt: skip
        rows.append({"quantity": name, **shares, "p of ranks": of["p"], **pull})
    bands = {
        f"{100 * float(k):.0f} %": f"{low:.3f} to {high:.3f}" for k, (low, high) in found["band"].items()
    }
    rows.append({"quantity": "99 % bands", **bands})
    least = min(of["p"] for of in found["quantities"].values()) * len(found["quantities"])
    rows.append(
        {
            "quantity": "all",
            "p of ranks": min(least, 1.0),
            "mocks": found["mocks"],
            "failed": found["failed"],
            "outside": len(found["outside"]),
            "effective draws": found["median_ess"],
            "gradients": found["gradients"],
            "seconds a mock": found["seconds_per_mock"],
        }
    )
    return rows


if __name__ == "__main__":
    for entry in main():
        print(", ".join(f"{name}: {item}" for name, item in entry.items()))
