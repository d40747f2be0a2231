"""Rewrite README's table of the demo's results and overview.png from a finished demo.

Run `oortax demo`, then `python benchmarks/demo.py oortax-demo-1`.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- demo:begin -->\n", "<!-- demo:end -->\n"
WIDTH = 1456
"""Pixels across overview.png."""

TABLE = """\
`oortax demo` with its default seed, median and 68 % interval, beside published values (they stand beside \
the fit's in the report, too):

| quantity | this fit | published | source |
|---|---|---|---|
| circular speed v_c(R0) [km/s] | {v_c} | 229 ± 6 | Eilers+ 2019 (the error is the 2-3 % systematic) |
| vertical force at 1.1 kpc, \\|K_z\\|/(2πG) [Msun/pc²] | {K_z} | 67 ± 6 | Bovy & Rix 2013 |
| surface density within 1.1 kpc [Msun/pc²] | {Sigma} | 68 ± 4 | Bovy & Rix 2013 |
| density of dark matter at the Sun [Msun/pc³] | {rho_DM} | 0.0126 q^-0.89, ± 15 % | Piffl+ 2014 |
| | | 0.00901 | Hattori+ 2021 (0.342 GeV/cm³) |
| axis ratio q of the halo's density | {q}, prior 1.00 (+0.35 -0.26) | 1.3 ± 0.25 | Posti & Helmi 2019 |
| | | > 0.963 (99 %) | Hattori+ 2021 (the prior allowed q ≤ 1) |
| | | 1 ± 0.09 | Wegg+ 2019† |

† recalled, not checked against the paper. v_c(R0) is not independent of the demo: \
the fit includes that curve.
These stars hardly know q: its posterior is nearly as wide as its prior, \
and the density of dark matter follows it.
That run's largest R-hat is {r_hat:.3f} and its smallest bulk effective sample size {ess:.0f}; \
the whole command took {minutes:.1f} minutes on two cores, compilation and pictures included.
"""


def interval(entry: Mapping[str, float], digits: int) -> str:
    """Median and 68 % interval as README prints them.

    >>> interval({"q16": 0.81, "median": 1.04, "q84": 1.34}, 2)
    '1.04 (+0.30 -0.23)'
    """
    middle = entry["median"]
    up, down = entry["q84"] - middle, middle - entry["q16"]
    return f"{middle:.{digits}f} (+{up:.{digits}f} -{down:.{digits}f})"


def block(result: Mapping[str, Any]) -> str:
    """README's lines between the markers; ValueError if the demo did not sample to convergence."""
    if result["method"] != "nuts" or not result["converged"]:
        raise ValueError(f"not a result for README: {result['method']}, {result['verdict']}")
    derived, rows = result["derived"], result["parameters"].values()
    return TABLE.format(
        v_c=interval(derived["v_c"], 1),
        K_z=interval(derived["K_z_1.1"], 1),
        Sigma=interval(derived["Sigma_1.1"], 1),
        rho_DM=interval(derived["rho_DM"], 4),
        q=interval(derived["q"], 2),
        r_hat=max(row["r_hat"] for row in rows),
        ess=min(row["ess_bulk"] for row in rows),
        minutes=result["run"]["seconds"] / 60.0,
    )


def main(folder: Path) -> None:
    """Rewrite both files; Pillow comes with matplotlib."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    readme = ROOT / "README.md"
    head, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError("README.md has lost its markers demo:begin and demo:end")
    readme.write_text(head + begin + block(result) + end + tail, encoding="utf-8")
    with Image.open(folder / "figures" / "overview.png") as picture:
        on_white = Image.new("RGB", picture.size, "white")
        on_white.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
        height = round(picture.height * WIDTH / picture.width)
    on_white.resize((WIDTH, height), Image.Resampling.LANCZOS).save(
        ROOT / "benchmarks" / "overview.png", optimize=True
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("give the folder of a finished demo: python benchmarks/demo.py oortax-demo-1")
    main(Path(sys.argv[1]))
