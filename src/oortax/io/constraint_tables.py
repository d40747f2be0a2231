"""The tables of direct constraints: columns, cuts and options of each kind, from CSV files to arrays.

Columns are found under their usual names (`QUANTITIES` of a record) unless `columns` maps them:
columns = {R = "radius", v_c = "speed", sigma = "error"}. `sigma` stands for equal errors on both sides,
else give sigma_minus and sigma_plus.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from oortax import data
from oortax.io import sky
from oortax.io.names import check_keys, nearest
from oortax.io.output import sha256
from oortax.io.rows import RowFilter, RowReport, rows_in_words

STANDARD_SOLAR_MOTION = (10.27, 15.32, 7.74)
"""(U, V, W) in km/s of radio astronomers' LSR: 20 km/s towards RA 18h, Dec +30 deg (1900)."""

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableRecord(ABC):
    """What every kind with a table has.

    Attributes
    ----------
    table : bundled name, CSV file, or a list of either whose rows are joined
    columns : names of columns by quantity, where they are not the usual ones
    """

    QUANTITIES: ClassVar[dict[str, tuple[str, ...]]]

    table: str | list
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables' names."""
        return (self.table,) if isinstance(self.table, str) else tuple(self.table)

    @abstractmethod
    def arrays(self, raw: Arrays, rows: RowFilter, sun: Any) -> Arrays:
        """The quantities of all rows, of which `rows` keeps those that pass the cuts."""

    def reduced(self, arrays: Arrays) -> Arrays:
        """What the constraint's class needs, from the rows kept."""
        return arrays

    def read(self, where: str, folder: Path, sun: Any) -> tuple[Arrays, RowReport, dict[str, str]]:
        """Arrays for the constraint, the count of rows, and the SHA-256 of each file."""
        check_keys(self.columns, self.QUANTITIES, f"{where}.columns")
        if not self.tables:
            raise ValueError(f"{where}.table is empty: name a bundled table or a CSV file")
        files = {name: _file(name, folder, where) for name in self.tables}
        parts = [self._columns(data.read_csv(file), f"{where}: {file.name}") for file in files.values()]
        number = np.concatenate([np.full(len(next(iter(p.values()))), i) for i, p in enumerate(parts)])
        raw = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} | {"_table": number}
        source = ", ".join(file.name for file in files.values())
        rows = RowFilter(source, len(number))
        arrays = self.arrays(raw, rows, sun)
        self._check(arrays, rows, f"{where}: {source}")
        kept = {key: values[rows.keep] for key, values in arrays.items()}
        return self.reduced(kept), rows.report(), {file.name: sha256(file) for file in files.values()}

    def _columns(self, table: Arrays, where: str) -> Arrays:
        """The columns by quantity, with `sigma` spread over both sides."""
        found = {}
        for quantity, usual in self.QUANTITIES.items():
            names = (self.columns[quantity],) if quantity in self.columns else usual
            column = next((name for name in names if name in table), None)
            if column is not None:
                found[quantity] = table[column]
            elif quantity in self.columns or not quantity.startswith("sigma"):
                raise ValueError(
                    f"{where} has no column {names[0]!r}{nearest(names[0], table)} (it has "
                    f"{', '.join(table)}); map one by columns = {{{quantity} = ...}}"
                )
        if "sigma" in self.QUANTITIES:
            explicit = [key for key in ("sigma", "sigma_minus", "sigma_plus") if key in self.columns]
            both = found.pop("sigma", None)
            if both is not None and (explicit == ["sigma"] or "sigma_minus" not in found):
                found |= {"sigma_minus": both, "sigma_plus": both}
            for side in ("sigma_minus", "sigma_plus"):
                if side not in found:
                    raise ValueError(
                        f"{where} has no column {side!r} (it has {', '.join(table)}); map sigma, or "
                        "sigma_minus and sigma_plus, by columns = {sigma = ...}"
                    )
        return found

    def _check(self, arrays: Arrays, rows: RowFilter, where: str) -> None:
        """Raise ValueError if no row is left, a value is missing or an error is not positive."""
        if not rows.keep.any():
            raise ValueError(f"{where} has no point between {self._limits(arrays)}")
        for key, values in arrays.items():
            missing = ~np.isfinite(values) & rows.keep
            if missing.any():
                raise ValueError(f"{where}: {key} is missing in {rows_in_words(missing)}")
            if key.startswith("sigma") or key.endswith("_error"):
                bad = (values <= 0) & rows.keep
                if bad.any():
                    raise ValueError(f"{where}: {key} is not positive in {rows_in_words(bad)}")

    def _limits(self, arrays: Arrays) -> str:
        """The cuts that left nothing, and what there was."""
        names = [field.name for field in dataclasses.fields(self) if field.name[-4:] in ("_min", "_max")]
        key = next((key for key in ("R", "r") if key in arrays), None)
        there = (
            ""
            if key is None
            else f" ({np.nanmin(arrays[key]):g} to {np.nanmax(arrays[key]):g} kpc are there)"
        )
        return " and ".join(names) + there


def _file(name: str, folder: Path, where: str) -> Path:
    """A user's CSV file, or a bundled table."""
    if not isinstance(name, str):
        raise ValueError(f"{where}.table = {name!r} must be a name or a path")
    if (folder / name).is_file():
        return folder / name
    try:
        file = data.path(name)
    except ValueError as error:
        raise ValueError(f"{where}.table: there is no file {name!r}, and {error}") from error
    data.table(name)
    return file


def _averaged(arrays: Arrays, asymmetric: bool) -> Arrays:
    """Errors as they are, or on both sides their mean."""
    if asymmetric:
        return arrays
    mean = 0.5 * (arrays["sigma_minus"] + arrays["sigma_plus"])
    return arrays | {"sigma_minus": mean, "sigma_plus": mean}


def _between(rows: RowFilter, name: str, values: np.ndarray, low: float, high: float, unit: str) -> None:
    rows.drop((values < low) | (values > high), f"{name} outside {low:g} to {high:g} {unit}")


_ERRORS = {"sigma": ("sigma",), "sigma_minus": ("sigma_minus",), "sigma_plus": ("sigma_plus",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CircularVelocityTable(TableRecord):
    """A measured circular-speed curve: "eilers_2019" or "ou_2024", or a file with r_kpc, v_c and errors.

    Attributes
    ----------
    R_min, R_max : kpc, the range used
    asymmetric : use the errors of the two sides; else their mean
    """

    QUANTITIES: ClassVar = {"R": ("r_kpc", "R"), "v_c": ("v_c",), **_ERRORS}

    R_min: float = 0.0
    R_max: float = float("inf")
    asymmetric: bool = False

    def arrays(self, raw, rows, sun):
        """R, v_c, sigma_minus, sigma_plus."""
        _between(rows, "R", raw["R"], self.R_min, self.R_max, "kpc")
        return _averaged({k: raw[k] for k in ("R", "v_c", "sigma_minus", "sigma_plus")}, self.asymmetric)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TerminalVelocitiesTable(TableRecord):
    """Terminal velocities of gas: "hi_mcclure_griffiths_dickey_2007_q4", "..._2016_q1", "co_clemens_1985_q1".

    Attributes
    ----------
    l_min, l_max : deg, the range of |l| used, l counted from -180 to 180; the bar reaches to some 30 deg
    bin : deg; rows of a table are averaged in bins of this width in l (0: as they are)
    solar_motion : km/s, (U, V, W) that the observers added to heliocentric velocities; [0, 0, 0] if the
        column is heliocentric
    """

    QUANTITIES: ClassVar = {"l": ("glon", "l"), "v_lsr": ("v_lsr",)}

    l_min: float = 30.0
    l_max: float = 80.0
    bin: float = 1.0
    solar_motion: list = dataclasses.field(default_factory=lambda: list(STANDARD_SOLAR_MOTION))

    def arrays(self, raw, rows, sun):
        """l (deg) and v_lsr, and the table they are of."""
        if not 0.0 <= self.l_min < self.l_max < 90.0:
            raise ValueError(
                f"l_min = {self.l_min:g} and l_max = {self.l_max:g}: tangent points need "
                "0 <= l_min < l_max < 90"
            )
        if not self.bin >= 0.0:
            raise ValueError(f"bin = {self.bin:g} must be positive, or 0 for none")
        l = (raw["l"] + 180.0) % 360.0 - 180.0
        _between(rows, "|l|", np.abs(l), self.l_min, self.l_max, "deg")
        return {"l": l, "v_lsr": raw["v_lsr"], "_table": raw["_table"]}

    def reduced(self, arrays):
        """Averages in bins of l, in rad."""
        l, v, table = arrays["l"], arrays["v_lsr"], arrays["_table"]
        if self.bin > 0.0:
            keys = np.stack([table, np.floor(l / self.bin)], axis=1)
            group, count = np.unique(keys, axis=0, return_inverse=True, return_counts=True)[1:]
            group = group.ravel()
            l, v = np.bincount(group, l) / count, np.bincount(group, v) / count
        return {"l": np.radians(l), "v_lsr": v, "solar_motion": _motion(self.solar_motion)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MasersTable(TableRecord):
    """Masers with VLBI astrometry: "reid_2019_masers", or a file with such columns.

    Attributes
    ----------
    R_min : kpc; sources whose 1/parallax puts them nearer to the centre are left out (the bar)
    snr_min : smallest parallax over its error
    nodes : distances per source
    power : of the distribution of sources along the line of sight, s^power; it matters: with the bundled
        table and configuration, R0 is 8.11 kpc for 0 and 7.99 for -2 (flat in parallax)
    solar_motion : as of terminal_velocities
    """

    QUANTITIES: ClassVar = {
        key: (key,)
        for key in (
            "ra", "dec", "parallax", "parallax_error", "pmra", "pmra_error", "pmdec", "pmdec_error",
            "v_lsr", "v_lsr_error",
        )
    }  # fmt: skip

    R_min: float = 4.0
    snr_min: float = 0.0
    nodes: int = 21
    power: float = 0.0
    solar_motion: list = dataclasses.field(default_factory=lambda: list(STANDARD_SOLAR_MOTION))

    def arrays(self, raw, rows, sun):
        """Galactic coordinates, motions and their covariances."""
        if self.nodes < 5:
            raise ValueError(f"nodes = {self.nodes}: at least 5 distances per source are needed")
        ra, dec = np.radians(raw["ra"]), np.radians(raw["dec"])
        psi = sky.position_angle(ra, dec)
        l, b = sky.galactic_position(ra, dec)
        mu_l, mu_b = sky.rotate_motion(psi, raw["pmra"], raw["pmdec"])
        e_l, e_b, corr = sky.rotate_errors(psi, raw["pmra_error"], raw["pmdec_error"], 0.0)
        rows.drop(~(raw["parallax"] > 0), "parallax is not positive")
        with np.errstate(divide="ignore", invalid="ignore"):
            snr = raw["parallax"] / raw["parallax_error"]
            s = 1.0 / raw["parallax"]
            R = np.hypot(float(sun.R0) - s * np.cos(b) * np.cos(l), s * np.cos(b) * np.sin(l))
        rows.drop(R < self.R_min, f"R = {self.R_min:g} kpc or less at 1/parallax")
        rows.drop(snr < self.snr_min, f"parallax below {self.snr_min:g} errors")
        kept = {k: raw[k] for k in ("parallax", "parallax_error", "v_lsr", "v_lsr_error")}
        errors = {"mu_l_error": e_l, "mu_b_error": e_b, "corr": corr}
        return kept | errors | {"l": l, "b": b, "mu_l": mu_l, "mu_b": mu_b}

    def reduced(self, arrays):
        """With distance nodes, and covariances in place of errors."""
        from oortax.model import parallax_nodes

        e_l, e_b, corr = (arrays.pop(key) for key in ("mu_l_error", "mu_b_error", "corr"))
        s, log_w = parallax_nodes(arrays["parallax"], arrays["parallax_error"], self.nodes, self.power)
        covariance = {"mu_ll": e_l**2, "mu_bb": e_b**2, "mu_lb": corr * e_l * e_b}
        return arrays | covariance | {"s": s, "log_w": log_w, "solar_motion": _motion(self.solar_motion)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerticalForceTable(TableRecord):
    """|K_z|/(2 pi G) at a height: "bovy_rix_2013_table3", or a file with R, K_z [Msun/pc^2] and errors.

    Attributes
    ----------
    z : kpc, the height of all points
    R_min, R_max : kpc, the range used
    R0_table : kpc; where given, radii were measured from the Sun for this R0 and move with R0
    asymmetric : use the errors of the two sides; else their mean
    """

    QUANTITIES: ClassVar = {
        "R": ("r_kpc", "R"),
        "K_z": ("kz_1p1_over_2piG", "K_z"),
        "sigma": ("kz_1p1_over_2piG_error", "sigma"),
        "sigma_minus": ("sigma_minus",),
        "sigma_plus": ("sigma_plus",),
    }

    z: float = 1.1
    R_min: float = 0.0
    R_max: float = float("inf")
    R0_table: float | None = None
    asymmetric: bool = True

    def arrays(self, raw, rows, sun):
        """R, z, K_z, errors, and whether R moves with R0."""
        if not self.z > 0.0:
            raise ValueError(f"z = {self.z:g} must be positive: K_z vanishes in the plane")
        _between(rows, "R", raw["R"], self.R_min, self.R_max, "kpc")
        moves = self.R0_table is not None
        full = {
            "z": self.z,
            "shift": float(moves),
            "R0_table": self.R0_table if self.R0_table is not None else 0.0,
        }
        kept = {k: raw[k] for k in ("R", "K_z", "sigma_minus", "sigma_plus")}
        return _averaged(kept, self.asymmetric) | {
            k: np.full_like(raw["R"], value) for k, value in full.items()
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnclosedMassTable(TableRecord):
    """Masses within r: "enclosed_mass_compilation", or a file with r_kpc, m_enclosed_msun and errors.

    Attributes
    ----------
    r_min, r_max : kpc, the range used
    asymmetric : use the errors of the two sides; else their mean
    """

    QUANTITIES: ClassVar = {"r": ("r_kpc", "r"), "M": ("m_enclosed_msun", "M"), **_ERRORS}

    r_min: float = 1.0
    r_max: float = float("inf")
    asymmetric: bool = True

    def arrays(self, raw, rows, sun):
        """r, M, sigma_minus, sigma_plus."""
        _between(rows, "r", raw["r"], self.r_min, self.r_max, "kpc")
        table = _averaged({k: raw[k] for k in ("r", "M", "sigma_minus", "sigma_plus")}, self.asymmetric)
        # ln(M - sigma_-) is where an error in ln M begins.
        rows.drop(table["sigma_minus"] >= table["M"], "sigma_minus is not below M")
        return table


@dataclasses.dataclass(frozen=True, kw_only=True)
class GasLayerTable(TableRecord):
    """Half-widths at half maximum of a gas layer: a file with R, hwhm [kpc] and errors; none is bundled.

    Attributes
    ----------
    R_min, R_max : kpc, the range used
    asymmetric : use the errors of the two sides; else their mean
    """

    QUANTITIES: ClassVar = {"R": ("r_kpc", "R"), "hwhm": ("hwhm",), **_ERRORS}

    R_min: float = 0.0
    R_max: float = float("inf")
    asymmetric: bool = True

    def arrays(self, raw, rows, sun):
        """R, hwhm, sigma_minus, sigma_plus."""
        _between(rows, "R", raw["R"], self.R_min, self.R_max, "kpc")
        return _averaged({k: raw[k] for k in ("R", "hwhm", "sigma_minus", "sigma_plus")}, self.asymmetric)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurfaceDensityValue:
    """One column of all matter within |z| of the plane.

    Attributes
    ----------
    value, error : Msun/pc^2
    z : kpc
    R : kpc; None for the Sun's R0, which may be free
    """

    value: float
    error: float
    z: float = 1.1
    R: float | None = None

    def read(self, where: str, folder: Path, sun: Any) -> tuple[Arrays, RowReport, dict[str, str]]:
        """Arrays of one point."""
        _positive(where, {"error": self.error, "z": self.z, "R": 1.0 if self.R is None else self.R})
        values = {"Sigma": self.value, "sigma": self.error, "z": self.z, "R": self.R or 0.0}
        return {k: np.array([v]) for k, v in values.items()}, RowReport("the configuration", 1), {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DensityRatioValue:
    """One ratio of the densities of two parts of the potential, in the plane.

    Attributes
    ----------
    value, error : of rho_part/rho_to
    R : kpc; None for the Sun's R0, which may be free
    """

    value: float
    error: float
    R: float | None = None

    def read(self, where: str, folder: Path, sun: Any) -> tuple[Arrays, RowReport, dict[str, str]]:
        """Arrays of one point."""
        _positive(where, {"value": self.value, "error": self.error, "R": 1.0 if self.R is None else self.R})
        values = {"ratio": self.value, "sigma": self.error, "R": self.R or 0.0}
        return {k: np.array([v]) for k, v in values.items()}, RowReport("the configuration", 1), {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SgrAProperMotionValue:
    """The proper motion of Sgr A* along l; by default that of Reid & Brunthaler (2020, ApJ 892, 39).

    Attributes
    ----------
    value, error : mas/yr
    """

    value: float = -6.411
    error: float = 0.008

    def read(self, where: str, folder: Path, sun: Any) -> tuple[Arrays, RowReport, dict[str, str]]:
        """Arrays of one point."""
        _positive(where, {"error": self.error})
        return (
            {"mu": np.array([self.value]), "sigma": np.array([self.error])},
            RowReport("the configuration", 1),
            {},
        )


RECORDS: dict[str, type[Any]] = {
    "circular_velocity": CircularVelocityTable,
    "terminal_velocities": TerminalVelocitiesTable,
    "masers": MasersTable,
    "vertical_force": VerticalForceTable,
    "enclosed_mass": EnclosedMassTable,
    "gas_layer": GasLayerTable,
    "surface_density": SurfaceDensityValue,
    "density_ratio": DensityRatioValue,
    "sgr_a_proper_motion": SgrAProperMotionValue,
}
"""What a configuration says of each kind's data; nuisance parameters are those of `model.CONSTRAINTS`."""


def _positive(where: str, values: Mapping[str, float]) -> None:
    for name, value in values.items():
        if not value > 0.0:
            raise ValueError(f"{where}.{name} = {value:g} must be positive")


def _motion(given: list) -> np.ndarray:
    if len(given) != 3 or not all(isinstance(v, int | float) and np.isfinite(v) for v in given):
        raise ValueError(f"solar_motion = {given!r} must be three numbers, [U, V, W] in km/s")
    return np.array(given, dtype=float)
