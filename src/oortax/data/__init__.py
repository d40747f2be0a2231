"""Small real data sets that travel with the package; their provenance is in `PROVENANCE.md`.

>>> from oortax import data
>>> data.names()
('bovy_rix_2013_table3.csv', 'co_clemens_1985_q1.csv', 'dwarf_sequence.csv', ...)
>>> curve = data.table("eilers_2019")
>>> len(curve["r_kpc"]), float(curve["v_c"][0])
(38, 226.83)
"""

import difflib
from pathlib import Path

import numpy as np

_FOLDER = Path(__file__).parent
_SUFFIXES = (".csv", ".parquet", ".npz")


def names() -> tuple[str, ...]:
    """The bundled files, in alphabetical order."""
    return tuple(sorted(file.name for file in _FOLDER.iterdir() if file.suffix in _SUFFIXES))


def path(name: str) -> Path:
    """The file of a bundled data set, with or without its suffix.

    Raises ValueError naming the nearest data set if there is none of that name.

    >>> path("gaia_giants").name
    'gaia_giants.parquet'
    """
    for file in names():
        if name in (file, Path(file).stem):
            return _FOLDER / file
    known = [Path(file).stem for file in names()]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"no bundled data set {name!r}{hint} (bundled: {', '.join(known)})")


def table(name: str) -> dict[str, np.ndarray]:
    """The columns of a bundled CSV table (units in `PROVENANCE.md`)."""
    file = path(name)
    if file.suffix != ".csv":
        raise ValueError(f"{file.name} is a catalogue: read it with oortax.io.read_catalogue('{file.stem}')")
    return read_csv(file)


def read_csv(file: str | Path) -> dict[str, np.ndarray]:
    """The columns of a CSV table of numbers with one header line."""
    try:
        rows = np.genfromtxt(file, delimiter=",", names=True, dtype=float, encoding="utf-8", ndmin=1)
    except ValueError as error:
        raise ValueError(f"{file} is not a CSV table of numbers: {error}") from error
    if rows.dtype.names is None:
        raise ValueError(f"{file} has no header line naming its columns")
    return {column: np.ascontiguousarray(rows[column]) for column in rows.dtype.names}


def demo_config() -> Path:
    """The configuration that `oortax demo` runs."""
    return _FOLDER / "demo.toml"


def config(name: str) -> Path | None:
    """A bundled configuration, with or without its suffix: demo, gas, globular_clusters, segue_bhb,
    giants_and_gas, milky_way or calibration.

    None if there is none of that name.

    >>> config("gas").name
    'gas.toml'
    """
    file = _FOLDER / f"{Path(name).stem}.toml"
    return file if name in (file.name, file.stem) and file.is_file() else None


def provenance() -> str:
    """Authors, sources, licences and cuts of every bundled data set (Markdown)."""
    return (_FOLDER / "PROVENANCE.md").read_text(encoding="utf-8")
