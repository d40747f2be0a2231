"""Write RESULTS.md: `python benchmarks/run.py` (all), or with the names of the benchmarks to run again.

Benchmarks: potentials, actions, finders, orbit_library, surface_density, flattening, scores, tori,
four_orbits, reference, library, dfs, moments, draws, self_consistency, transformations, likelihood,
recovery, survey_mock, calibration, forecast, robustness, mock_fit, held_out, nuts, science; gpu, which
needs one; and mocks, binned and real_sky, which need the catalogues (see there). Those not run are kept as
they are.
"""

import platform
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import actions
import binned
import calibration
import dfs
import draws
import finders
import flattening
import forecast
import four_orbits
import gpu
import held_out
import library
import likelihood
import mock_fit
import mocks
import moments
import nuts
import orbit_library
import potentials
import real_sky
import recovery
import reference
import robustness
import science
import scores
import self_consistency
import surface_density
import survey_mock
import tori
import transformations

HERE = Path(__file__).parent
BENCHMARKS = {
    "potentials": potentials,
    "actions": actions,
    "finders": finders,
    "orbit_library": orbit_library,
    "surface_density": surface_density,
    "flattening": flattening,
    "scores": scores,
    "tori": tori,
    "gpu": gpu,
    "four_orbits": four_orbits,
    "reference": reference,
    "library": library,
    "dfs": dfs,
    "moments": moments,
    "draws": draws,
    "self_consistency": self_consistency,
    "transformations": transformations,
    "likelihood": likelihood,
    "recovery": recovery,
    "calibration": calibration,
    "forecast": forecast,
    "robustness": robustness,
    "survey_mock": survey_mock,
    "mock_fit": mock_fit,
    "held_out": held_out,
    "real_sky": real_sky,
    "nuts": nuts,
    "science": science,
    "mocks": mocks,
    "binned": binned,
}


def section(name: str) -> str:
    """One benchmark's docstring and table."""
    module = BENCHMARKS[name]
    stamp = datetime.now(UTC).strftime("%Y-%m-%d")
    versions = ", ".join(f"{package} {version(package)}" for package in ("oortax", "jax", "numpy"))
    text = (module.__doc__ or "").strip()
    return (
        f"<!-- {name}:begin -->\n## {name}\n\n{text}\n\n{actions.table(module.main())}\n\n"
        f"{stamp}, Python {platform.python_version()}, {versions}, {platform.machine()}.\n"
        f"<!-- {name}:end -->\n"
    )


def main(names: list[str]) -> None:
    """Run the named benchmarks and rewrite their sections."""
    new = {name: section(name) for name in BENCHMARKS if name in names}
    path = HERE / "RESULTS.md"
    # Read only now: another run may have written its own meanwhile.
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = []
    for name in BENCHMARKS:
        kept = re.search(f"<!-- {name}:begin -->.*?<!-- {name}:end -->\n", old, re.DOTALL)
        if name in new:
            parts.append(new[name])
        elif kept:
            parts.append(kept.group())
    head = "# Results\n\nWritten by `python benchmarks/run.py`; not edited by hand. Machines are noisy.\n\n"
    path.write_text(head + "\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(BENCHMARKS)
    if unknown:
        raise SystemExit(
            f"unknown benchmarks {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    main(sys.argv[1:] or [name for name in BENCHMARKS if name != "gpu"])
