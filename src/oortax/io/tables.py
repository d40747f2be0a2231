"""Star catalogues: FITS, ECSV, CSV and Parquet files to arrays in the package's units.

Units are read from the file where it states them, may be given in the column mapping, and are
otherwise the customary ones (deg, mas, mas/yr, km/s, mag). astropy's Quantity stops here.
"""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oortax import data
from oortax.constants import KAPPA
from oortax.io import sky
from oortax.io.names import nearest
from oortax.io.rows import RowFilter, RowReport, rows_in_words


class Quantity(NamedTuple):
    """What a catalogue can hold: customary unit, unit inside, and column names tried by default."""

    unit: str
    inside: str
    names: tuple[str, ...]
    meaning: str


QUANTITIES: dict[str, Quantity] = {
    "ra": Quantity("deg", "rad", ("ra", "ra_icrs", "raj2000"), "ICRS right ascension"),
    "dec": Quantity("deg", "rad", ("dec", "de_icrs", "dej2000"), "ICRS declination"),
    "l": Quantity("deg", "rad", ("l", "glon"), "Galactic longitude"),
    "b": Quantity("deg", "rad", ("b", "glat"), "Galactic latitude"),
    "parallax": Quantity("mas", "mas", ("parallax", "plx"), "parallax"),
    "parallax_error": Quantity("mas", "mas", ("parallax_error", "e_parallax", "e_plx"), "its error"),
    "distance_modulus": Quantity(
        "mag", "mag", ("distance_modulus", "dm"), "distance modulus from a source other than V"
    ),
    "distance_modulus_error": Quantity(
        "mag", "mag", ("distance_modulus_error", "dm_error", "e_dm"), "its error"
    ),
    "pmra": Quantity("mas/yr", "mas/yr", ("pmra", "pmra_cosdec"), "proper motion in ra, times cos dec"),
    "pmdec": Quantity("mas/yr", "mas/yr", ("pmdec", "pmde"), "proper motion in dec"),
    "pmra_error": Quantity("mas/yr", "mas/yr", ("pmra_error", "e_pmra"), "its error"),
    "pmdec_error": Quantity("mas/yr", "mas/yr", ("pmdec_error", "e_pmdec", "e_pmde"), "its error"),
    "pmra_pmdec_corr": Quantity("", "", ("pmra_pmdec_corr", "pmradecor"), "their correlation"),
    "pm_l_cosb": Quantity(
        "mas/yr", "mas/yr", ("pm_l_cosb", "pmlcosb", "pml"), "proper motion in l, times cos b"
    ),
    "pm_b": Quantity("mas/yr", "mas/yr", ("pm_b", "pmb"), "proper motion in b"),
    "pm_l_cosb_error": Quantity("mas/yr", "mas/yr", ("pm_l_cosb_error", "pmlcosb_error"), "its error"),
    "pm_b_error": Quantity("mas/yr", "mas/yr", ("pm_b_error", "pmb_error"), "its error"),
    "pm_lb_corr": Quantity("", "", ("pm_lb_corr",), "their correlation"),
    "v_los": Quantity(
        "km/s",
        "km/s",
        ("radial_velocity", "v_los", "vlos", "rv", "hrv"),
        "heliocentric line-of-sight velocity",
    ),
    "v_los_error": Quantity(
        "km/s", "km/s", ("radial_velocity_error", "v_los_error", "e_rv", "rv_error"), "its error"
    ),
    "V": Quantity("mag", "mag", ("v_mag", "vmag", "v"), "apparent magnitude in the band the selection cuts"),
    "colour": Quantity("mag", "mag", ("b_v", "bv", "b-v", "colour", "color"), "colour"),
    "id": Quantity("", "", ("source_id", "gaia_dr3_id", "gaia_id", "id", "hip"), "identifier"),
}
"""Keys of a column mapping. Either ra, dec, pmra, pmdec or l, b, pm_l_cosb, pm_b; a parallax or a modulus."""

EQUATORIAL = ("ra", "dec", "pmra", "pmdec")
GALACTIC = ("l", "b", "pm_l_cosb", "pm_b")
UNMEASURED = ("proper_motion", "distance", "V", "v_los")
"""What a catalogue may leave out, if it is said."""
FORMATS = {
    ".fits": "fits", ".fit": "fits", ".fits.gz": "fits", ".ecsv": "ascii.ecsv", ".csv": "ascii.csv",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Table:
    """The raw columns of a file and the units it states ("" where it states none)."""

    source: str
    columns: dict[str, np.ndarray]
    units: dict[str, str]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0


def find_catalogue(name: str | Path, folder: Path | None = None) -> Path:
    """The file of a catalogue: a path (relative to `folder`) or the name of a bundled data set."""
    candidate = Path(name).expanduser()
    if not candidate.is_absolute() and folder is not None:
        candidate = folder / candidate
    if candidate.is_file():
        return candidate
    bundled = {Path(file).stem: file for file in data.names()}
    if str(name) in bundled:
        return data.path(str(name))
    hint = nearest(candidate.name, [*(p.name for p in candidate.parent.glob("*")), *bundled])
    raise FileNotFoundError(f"no catalogue {str(candidate)!r}{hint} (bundled: {', '.join(bundled)})")


def read_table(path: str | Path) -> Table:
    """Read every column of a FITS, ECSV, CSV or Parquet file.

    Masked and null entries become NaN (0 in integer columns). Raises ValueError for an unknown
    suffix, an unreadable file or a table without rows.
    """
    path = Path(path)
    suffix = next((s for s in FORMATS if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise ValueError(f"{path}: unknown format {path.suffix!r}; use {', '.join(FORMATS)}")
    try:
        if FORMATS[suffix] == "parquet":
            columns, units = _read_parquet(path)
        else:
            columns, units = _read_astropy(path, FORMATS[suffix])
    except FileNotFoundError:
        raise
    except (ValueError, TypeError, LookupError, NotImplementedError, OSError) as error:
        raise ValueError(f"{path} cannot be read as {FORMATS[suffix]}: {error}") from error
    table = Table(path.name, columns, units)
    if len(table) == 0:
        raise ValueError(f"{path} holds no rows")
    return table


def _read_parquet(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    import pyarrow.parquet as pq

    file = pq.read_table(path)
    columns, units = {}, {}
    for name in file.column_names:
        column, field = file[name], file.schema.field(name)
        if column.null_count and str(column.type).startswith(("int", "uint")):
            column = column.fill_null(0)
        columns[name] = column.to_numpy()
        units[name] = (field.metadata or {}).get(b"unit", b"").decode()
    return columns, units


def _read_astropy(path: Path, format: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    from astropy.table import Table as AstropyTable

    table = AstropyTable.read(path, format=format)
    columns, units = {}, {}
    for name in table.colnames:
        column = table[name]
        if getattr(column, "mask", None) is not None:
            kind = column.dtype.kind
            column = column.filled(np.nan if kind == "f" else 0 if kind in "iu" else "")
        columns[name] = _native(np.asarray(column))
        units[name] = str(table[name].unit or "")
    return columns, units


def _native(values: np.ndarray) -> np.ndarray:
    """FITS is big-endian; JAX and Parquet are not."""
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def read_catalogue(
    name: str | Path,
    columns: Mapping[str, Any] | None = None,
    *,
    folder: Path | None = None,
    unmeasured: Collection[str] = (),
) -> tuple[dict[str, np.ndarray], RowReport]:
    """Read a catalogue of stars into the arrays of `model.Catalogue`.

    Parameters
    ----------
    name : path, or the name of a bundled data set ("gaia_giants")
    columns : mapping from a key of `QUANTITIES` to a column name, or to {"name": ..., "unit": ...};
        keys left out are looked for under their customary names
    folder : where a relative path starts
    unmeasured : what rows may lack, of `UNMEASURED`; v_los always, V where no cut needs it

    Returns
    -------
    arrays : float64, shape (N,): l, b [rad]; parallax, parallax_error [mas]; distance_modulus,
        distance_modulus_error [mag]; mu_l (with cos b), mu_b and their errors [mas/yr], mu_lb_corr; v_los,
        v_los_error [km/s]; V, colour [mag]; NaN where missing; and ids (integers or strings; row numbers if
        the file has none)
    report : the rows excluded (position, distance, proper motion or, where that may be missing, velocity
        missing, parallax <= 0, repeated id)

    Raises
    ------
    ValueError
        A column that is missing, misnamed, not numeric or in a wrong unit; impossible coordinates;
        no row left. The message names the column, the rows and the remedy.

    Examples
    --------
    >>> stars, report = read_catalogue("gaia_giants")
    >>> report.n_used, int(np.isfinite(stars["v_los"]).sum())
    (45156, 44262)
    """
    path = find_catalogue(name, folder)
    table = read_table(path)
    raw = _select(table, columns or {}, unmeasured)
    rows = RowFilter(table.source, len(table))
    _check_ranges(raw, table.source)
    stars = _galactic(raw)
    ids = raw.get("id")
    stars["ids"] = np.arange(len(table)) if ids is None else ids
    _exclude(rows, stars, raw, unmeasured)
    rows.require_some("Check the column mapping and the units of parallax and proper motions.")
    stars = {key: values[rows.keep] for key, values in stars.items()}
    if "distance" not in unmeasured:
        _check_units_by_physics(stars, table.source)
    return stars, rows.report().with_notes(missing_velocities(stars))


def missing_velocities(stars: Mapping[str, np.ndarray]) -> list[str]:
    """Sentences on the stars without v_los, and those without proper motion, if there are any."""
    counts = {"v_los": np.isnan(stars["v_los"]).sum(), "the proper motion": np.isnan(stars["mu_l"]).sum()}
    return [
        f"{name} is missing for {int(missing):,} of the rows used; it is integrated over"
        for name, missing in counts.items()
        if missing
    ]


def _select(table: Table, mapping: Mapping[str, Any], unmeasured: Collection[str]) -> dict[str, np.ndarray]:
    """The columns by key, converted to the units used inside."""
    for key in mapping:
        if key not in QUANTITIES:
            raise ValueError(
                f"columns: unknown key {key!r}{nearest(key, QUANTITIES)}; keys: {', '.join(QUANTITIES)}"
            )
    lower = {name.lower(): name for name in table.columns}
    raw = {}
    for key, quantity in QUANTITIES.items():
        if key in mapping:
            column, unit = _parse_entry(key, mapping[key])
            if column not in table.columns:
                raise ValueError(
                    f"{table.source} has no column {column!r} (mapped to {key})"
                    f"{nearest(column, table.columns)}; its columns: {', '.join(table.columns)}"
                )
        else:
            column = next((lower[name] for name in quantity.names if name in lower), None)
            unit = None
            if column is None:
                continue
        raw[key] = _convert(table, key, column, unit)
    _require(table, raw, unmeasured)
    return raw


def _parse_entry(key: str, entry: Any) -> tuple[str, str | None]:
    if isinstance(entry, str):
        return entry, None
    if isinstance(entry, Mapping) and "name" in entry and set(entry) <= {"name", "unit"}:
        return str(entry["name"]), entry.get("unit")
    raise ValueError(f'columns.{key} = {entry!r}: give a column name or {{name = "...", unit = "..."}}')


def _convert(table: Table, key: str, column: str, unit: str | None) -> np.ndarray:
    """One column as float64 in the unit used inside; identifiers stay as they are."""
    values, quantity = table.columns[column], QUANTITIES[key]
    if key == "id":
        return values
    if values.dtype.kind not in "fiub":
        example = next((repr(v) for v in values if not _is_number(v)), "")
        raise ValueError(f"{table.source}: column {column!r} ({key}) is not numeric, it holds {example}")
    stated = unit or table.units.get(column, "") or quantity.unit
    values = np.asarray(values, dtype=float)
    if not quantity.unit or stated == quantity.inside:
        return values
    import astropy.units as u

    try:
        factor = u.Unit(stated).to(u.Unit(quantity.inside))
    except (ValueError, u.UnitConversionError) as error:
        raise ValueError(
            f"{table.source}: column {column!r} has unit {stated!r}, which is no unit of {quantity.meaning}; "
            f'say columns.{key} = {{name = "{column}", unit = "{quantity.unit}"}} or map another column'
        ) from error
    return values * factor


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _require(table: Table, raw: Mapping[str, np.ndarray], unmeasured: Collection[str]) -> None:
    """Raise unless there are positions, proper motions and, if need be, parallaxes or distance moduli."""
    missing: list[str] = []
    if not _system(raw, unmeasured):
        # Complain about the system of which more is there.
        system = max((EQUATORIAL, GALACTIC), key=lambda keys: sum(key in raw for key in keys))
        missing = [key for key in system if key not in raw]
    if "distance" not in unmeasured and "parallax" not in raw and "distance_modulus" not in raw:
        missing.append("parallax")
    for name, needs in (("proper_motion", "v_los"), ("distance", "V")):
        if name in unmeasured and needs not in raw and not missing:
            missing.append(needs)
    if missing:
        key = missing[0]
        lacks = {"parallax": "distance", "pmra": "proper_motion", "pm_l_cosb": "proper_motion"}.get(key)
        may = f', or unmeasured = ["{lacks}"] if there is none' if lacks else ""
        raise ValueError(
            f"{table.source} has no column for {', '.join(missing)}{nearest(key, table.columns)}; "
            f'say columns = {{{key} = "NAME"}}{may} (its columns: {", ".join(table.columns)})'
        )


def _system(raw: Mapping[str, np.ndarray], unmeasured: Collection[str]) -> tuple[str, ...]:
    """The columns of position and proper motion that serve; none if neither system is whole."""
    for system in (GALACTIC, EQUATORIAL):
        needed = system[:2] if "proper_motion" in unmeasured else system
        half = len(set(system[2:]) & set(raw)) == 1
        if all(key in raw for key in needed) and not half:
            return system
    return ()


def _check_ranges(raw: Mapping[str, np.ndarray], source: str) -> None:
    """Raise where a value is impossible: the sign of a wrong column or unit."""
    limits = {"dec": np.pi / 2, "b": np.pi / 2, "ra": 2 * np.pi, "l": 2 * np.pi}
    for key, limit in limits.items():
        if key not in raw:
            continue
        bad = np.abs(raw[key]) > limit * (1 + 1e-12)
        if bad.any():
            value = np.degrees(raw[key][np.argmax(bad)])
            raise ValueError(
                f"{source}: {key} is impossible in {rows_in_words(bad)} (first {value:g} deg, allowed up to "
                f"{np.degrees(limit):g}): check the column mapped to {key} and its unit"
            )
    errors = [key for key in raw if key.endswith("_error")]
    for key in errors:
        bad = raw[key] < 0
        if bad.any():
            raise ValueError(
                f"{source}: {key} is negative in {rows_in_words(bad)} (first {raw[key][np.argmax(bad)]:g}): "
                "errors are standard deviations; remove or correct these rows"
            )
    for key in ("pmra_pmdec_corr", "pm_lb_corr"):
        if key in raw and (bad := np.abs(raw[key]) > 1).any():
            raise ValueError(f"{source}: {key} lies outside [-1, 1] in {rows_in_words(bad)}")
    if "V" in raw and (bad := (raw["V"] < -2) | (raw["V"] > 35)).any():
        raise ValueError(
            f"{source}: V is no magnitude in {rows_in_words(bad)} (first {raw['V'][np.argmax(bad)]:g}): "
            "mark missing magnitudes as NaN"
        )


def _galactic(raw: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Galactic positions and motions with their errors, and the other columns, NaN where absent."""
    n = len(next(iter(raw.values())))

    def column(key: str, default: float = np.nan) -> np.ndarray:
        return raw[key] if key in raw else np.full(n, default)

    motions = "pm_l_cosb" in raw or "pmra" in raw
    if _system(raw, () if motions else ("proper_motion",)) == GALACTIC:
        l, b = raw["l"] % (2 * np.pi), raw["b"]
        mu_l, mu_b = column("pm_l_cosb"), column("pm_b")
        errors = column("pm_l_cosb_error"), column("pm_b_error"), column("pm_lb_corr", 0.0)
    else:
        psi = sky.position_angle(raw["ra"], raw["dec"])
        l, b = sky.galactic_position(raw["ra"], raw["dec"])
        mu_l, mu_b = sky.rotate_motion(psi, column("pmra"), column("pmdec"))
        errors = sky.rotate_errors(
            psi, column("pmra_error"), column("pmdec_error"), column("pmra_pmdec_corr", 0.0)
        )
    stars = {"l": l, "b": b, "mu_l": mu_l, "mu_b": mu_b}
    stars |= dict(zip(("mu_l_error", "mu_b_error", "mu_lb_corr"), errors, strict=True))
    for key in ("parallax", "distance_modulus", "v_los"):
        stars[key], stars[f"{key}_error"] = column(key), column(f"{key}_error")
    for key in ("V", "colour"):
        stars[key] = column(key)
    return stars


def _exclude(
    rows: RowFilter,
    stars: dict[str, np.ndarray],
    raw: Mapping[str, np.ndarray],
    unmeasured: Collection[str],
) -> None:
    """Drop and count rows that cannot be used; half a proper motion is none."""
    rows.drop(~np.isfinite(stars["l"] + stars["b"]), "the position is missing or NaN")
    modulus = np.isfinite(stars["distance_modulus"])
    which = "parallax and distance_modulus are" if modulus.any() else "parallax is"
    if "distance" not in unmeasured:
        rows.drop(~modulus & ~np.isfinite(stars["parallax"]), f"{which} missing or NaN")
        negative = "parallax is zero or negative (no distance can be drawn from it)"
        rows.drop(~modulus & ~(stars["parallax"] > 0), negative)
    still = ~np.isfinite(stars["mu_l"] + stars["mu_b"])
    stars |= {name: np.where(still, np.nan, stars[name]) for name in ("mu_l", "mu_b")}
    if "proper_motion" in unmeasured:
        rows.drop(still & ~np.isfinite(stars["v_los"]), "proper motion and v_los are missing or NaN")
    else:
        rows.drop(still, "a proper motion is missing or NaN")
    rows.drop(np.isinf(stars["v_los"]), "v_los is infinite")
    if "id" in raw:
        rows.drop(_repeated(raw["id"], rows.keep), "the id occurs in an earlier row")


def _repeated(ids: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """True where an id was seen in an earlier kept row; 0, "" and negative integers mean no id."""
    none = ids <= 0 if ids.dtype.kind in "iu" else ids == ids.dtype.type() if ids.dtype.kind in "SU" else None
    candidates = keep if none is None else keep & ~none
    index = np.flatnonzero(candidates)
    _, first = np.unique(ids[index].astype(str) if ids.dtype.kind == "O" else ids[index], return_index=True)
    again = candidates.copy()
    again[index[first]] = False
    return again


def _check_units_by_physics(stars: Mapping[str, np.ndarray], source: str) -> None:
    """Raise where typical speeds are no speeds of stars: a wrong unit of parallax, motion or velocity."""
    modulus, parallax = stars["distance_modulus"], stars["parallax"]
    with np.errstate(divide="ignore", invalid="ignore"):
        s = np.where(np.isfinite(modulus), 10.0 ** (0.2 * modulus - 2.0), 1.0 / parallax)
        speeds = KAPPA * np.hypot(stars["mu_l"], stars["mu_b"]) * s
    speeds = speeds[np.isfinite(speeds) & (s > 0)]
    if len(speeds) >= 20 and not 0.5 < (typical := float(np.median(speeds))) < 2000:
        raise ValueError(
            f"{source}: the median tangential speed, 4.74 mu/parallax, is {typical:.3g} km/s, no speed of "
            "stars: the unit of parallax or of the proper motions is wrong; give it, "
            'columns.parallax = {name = "...", unit = "arcsec"}'
        )
    v_los = np.abs(stars["v_los"][np.isfinite(stars["v_los"])])
    if len(v_los) >= 20 and not 0.5 < (speed := float(np.median(v_los))) < 2000:
        raise ValueError(
            f"{source}: the median |v_los| is {speed:.3g} km/s, no speed of stars: give its unit, "
            'columns.v_los = {name = "...", unit = "m/s"}'
        )
