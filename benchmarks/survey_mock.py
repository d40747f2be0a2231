"""Mock catalogues of a survey: `oortax mock` from configuration to file.

Run `python benchmarks/survey_mock.py` (`--n 100000` for less). A magnitude-limited survey, V < 16 and
|b| > 20 deg, with errors of V, parallax, proper motion and v_los, of a disc and a halo with luminosity
functions from isochrones, in a galaxy of bulge, disc and halo. Seconds are of the command in a process of its
own, with and without compiled programs at hand; the memory is the process's largest.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONFIG = """
[survey]
selection = [{kind = "magnitude", band = "V", max = 16.0}, {kind = "abs_b", min = 20.0}]
errors = {V = 0.02, pm = 0.05, v_los = 1.0, parallax = 0.03}
[potential.bulge]
kind = "Hernquist"
M = 4.8e9
a = 0.3
[potential.disc]
kind = "MiyamotoNagai"
M = 6.8e10
a = 3.0
b = 0.28
[potential.halo]
kind = "NFW"
rho_s = 8.5e6
r_s = 16.0
[components.disc]
df = {kind = "QuasiIsothermal", R_d = 2.6, R_sigma = 8.0, sigma_r0 = 95.0, H_d = 0.3}
stars = {kind = "population", support = [-1.0, 10.0], history = {kind = "constant_rate", onset = 10.0}}
[components.halo]
weight = 0.01
df = {kind = "DB96Halo", a = 1.2, b = 1.2, beta = 3.5, gamma = 1.8, A_0 = 500.0}
stars = {kind = "population", support = [-3.0, 10.0], history = {kind = "burst", age = 10.5}, \
metallicity = {kind = "fixed_metallicity", mh = -1.5, sigma = 0.3}}
"""

RUN = """
import resource, sys
from oortax.cli import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)
"""


def main(sizes: tuple[int, ...] = (10_000, 1_000_000)) -> list[dict[str, Any]]:
    """One row a size and a state of the cache."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "survey.toml"
        config.write_text(CONFIG, encoding="utf-8")
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        for n in sizes:
            for state in ("cold", "warm"):
                arguments = ["mock", str(config), "--n", str(n), "--out", f"{folder}/a.parquet"]
                arguments += ["--force", "--json"]
                done = subprocess.run(
                    [sys.executable, "-c", RUN, *arguments], env=environment, capture_output=True, text=True
                )
                if done.returncode:
                    raise RuntimeError(done.stderr)
                found = json.loads(done.stdout)
                rows.append(
                    {
                        "stars": n,
                        "compiled programs": state,
                        "finder": found["finder"],
                        "seconds": found["seconds"],
                        "proposed a star": found["proposed"] / n,
                        "envelope raised": found["envelope_raised"],
                        "halo": found["components"]["halo"] / n,
                        "MB": float(done.stderr.split()[-1]),
                    }
                )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[10_000, 1_000_000])
    for entry in main(tuple(parser.parse_args().n)):
        print(", ".join(f"{name}: {item}" for name, item in entry.items()), flush=True)
