"""Fields: a survey of many cones on the sky, in each of which a fraction of the stars was observed.

Multi-object spectrographs observe a plate's worth of stars at a time, drawn from cells of magnitude and
colour at rates that differ from plate to plate: APOGEE's cohorts, LAMOST's plates.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.params import as_array
from oortax.survey.completeness import checked_fractions
from oortax.survey.footprints import direction, galactic_vectors
from oortax.survey.selection import AbstractSelection, Columns, check_band
from oortax.types import Scalar

# Names of a column in tables of sampling fractions, the last ones APOGEE's.
_NAMES = {
    "l": ("l", "glon"),
    "b": ("b", "glat"),
    "ra": ("ra",),
    "dec": ("dec",),
    "radius": ("radius",),
    "magnitude_min": ("magnitude_min", "hmin"),
    "magnitude_max": ("magnitude_max", "hmax"),
    "colour_min": ("colour_min", "jk0min"),
    "colour_max": ("colour_max", "jk0max"),
    "fraction": ("fraction", "fracsampling"),
}
_BATCH = 1024


@final
class Fields(AbstractSelection):
    """Cones on the sky with a sampling fraction in each cell of magnitude and colour.

    A star that lies in several cells, of one field or of fields that overlap, was drawn in each of them
    independently: it is in the catalogue with probability 1 - prod (1 - fraction).

    Attributes
    ----------
    table : mapping of columns, or the path of a CSV file with them
        One row a cell: l and b, or ra and dec, of the field's centre, radius (deg), magnitude_min,
        magnitude_max, colour_min, colour_max (mag; the colours may be left out), fraction. APOGEE's names
        (glon, glat, hmin, hmax, jk0min, jk0max, fracsampling) serve as well. Cells of one centre and radius
        are one field. A cell's upper limits belong to the next cell.
    band, name : str, static
        The magnitude's band and the name of the colour.
    at_colour : float, static
        Colour at which the fields are folded over a population, whose F(M) knows no colour. It is needed only
        where the cells differ in colour: a window common to all is that of F(M), as for `Colour`.

    Raises
    ------
    ValueError
        For columns that are missing, cells without extent, fractions outside 0 to 1, or all of them 0.

    >>> short = {"l": 10.0, "b": 20.0, "radius": 1.5, "magnitude_min": 7.0, "magnitude_max": 12.2}
    >>> survey = Fields({key: [value] for key, value in (short | {"fraction": 0.3}).items()}, band="H")
    >>> star = {"l": jnp.radians(10.5), "b": jnp.radians(20.0), "H": jnp.array([9.0, 12.5])}
    >>> survey.weight(star).round(6).tolist()
    [0.3..., 0.0]
    """

    kind: ClassVar[str] = "fields"
    n: Float[Array, "fields 3"]
    radius: Float[Array, " fields"]
    cells: Float[Array, "fields cells 5"]
    overlaps: int = eqx.field(static=True)
    breaks: tuple[float, ...] = eqx.field(static=True)
    window: tuple[float, float] | None = eqx.field(static=True)
    band: str = eqx.field(static=True)
    name: str = eqx.field(static=True)
    at_colour: float | None = eqx.field(static=True)

    def __init__(self, table: Any, band: str = "H", name: str = "colour", at_colour: float | None = None):
        self.band, self.name, self.at_colour = check_band(self.kind, band), name, at_colour
        rows = _columns(_read(Path(table)) if isinstance(table, str | Path) else table)
        frame, lon, lat = ("galactic", "l", "b") if "l" in rows else ("icrs", "ra", "dec")
        centres = galactic_vectors(self.kind, rows[lon], rows[lat], frame)
        _check(rows)
        # Cells that keep nothing need not be looked up.
        kept = rows["fraction"] > 0
        centres, rows = centres[kept], {name: values[kept] for name, values in rows.items()}
        key = np.column_stack([centres.round(9), rows["radius"]])
        _, first, which, count = np.unique(
            key, axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        which = which.ravel()
        cells = np.zeros((len(first), count.max(), 5))
        order = np.argsort(which, kind="stable")
        place = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
        names = ("magnitude_min", "magnitude_max", "colour_min", "colour_max", "fraction")
        cells[which[order], place] = np.column_stack([rows[k] for k in names])[order]
        converted: Any = [as_array(a) for a in (centres[first], np.radians(rows["radius"][first]), cells)]
        self.n, self.radius, self.cells = converted
        self.overlaps = _overlaps(centres[first], np.radians(rows["radius"][first]))
        self.breaks = tuple(np.unique([rows["magnitude_min"], rows["magnitude_max"]]).tolist())
        windows = np.unique(np.column_stack([rows["colour_min"], rows["colour_max"]]), axis=0)
        self.window = (float(windows[0, 0]), float(windows[0, 1])) if len(windows) == 1 else None

    @property
    def columns(self) -> tuple[str, ...]:
        colourless = self.window == (-np.inf, np.inf)
        return ("l", "b", self.band) if colourless else ("l", "b", self.band, self.name)

    @property
    def curved(self) -> bool:
        return True

    def cap(self) -> tuple[np.ndarray, float] | None:
        """About the mean of the centres, as far as the farthest field reaches."""
        n, radius = np.asarray(self.n), np.asarray(self.radius)
        mean = n.mean(axis=0)
        if np.linalg.norm(mean) < 0.1:
            return None
        mean /= np.linalg.norm(mean)
        reach = float(np.max(np.arccos(np.clip(n @ mean, -1.0, 1.0)) + radius))
        return (mean, reach) if reach < np.pi else None

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows in a cell that was sampled at all."""
        return np.asarray(self.weight(columns)) > 0

    def _missed(self, l, b, V, colour):
        """Probability that a star is in no cell that drew it: one star."""
        away = jnp.sum((self.n - direction(l, b)) ** 2, axis=-1)
        within = 4 * jnp.sin(self.radius / 2) ** 2 - away

        # The few fields that may hold the star, one after the other: top_k is 3.5 times slower on a CPU.
        def deepest(within, _):
            i = jnp.argmax(within)
            return within.at[i].set(-jnp.inf), (within[i], i)

        _, (depth, which) = jax.lax.scan(deepest, within, length=self.overlaps)
        lo, hi, blue, red, fraction = jnp.moveaxis(self.cells[which], -1, 0)
        hit = (V >= lo) & (V < hi) & (depth >= 0)[:, None]
        if colour is not None:
            hit = hit & (colour >= blue) & (colour < red)
        return jnp.prod(jnp.where(hit, 1.0 - fraction, 1.0))

    def _drawn(self, l, b, V, colour=None):
        """Probability that a star is in the catalogue, for arrays that broadcast."""
        arrays = (l, b, V) if colour is None else (l, b, V, colour)
        arrays = jnp.broadcast_arrays(*(jnp.asarray(a, self.n.dtype) for a in arrays))

        def one(star):
            return self._missed(star[0], star[1], star[2], None if colour is None else star[3])

        missed = jax.lax.map(one, tuple(a.ravel() for a in arrays), batch_size=_BATCH)
        return 1.0 - missed.reshape(arrays[0].shape)

    def _chance(self, observed: dict, one) -> Any:
        return one * self._drawn(*(observed[name] for name in self.columns))

    def completeness_at(self, l, b, V) -> Any:
        """The fraction in a direction (rad) at observed magnitude V, within the colours of F(M)."""
        return self._drawn(l, b, V, None if self.window is not None else self.at_colour)

    def sky(self, l, b) -> Scalar:
        """1 within any field."""
        away = jnp.sum((direction(l, b)[..., None, :] - self.n) ** 2, axis=-1)
        inside = jnp.any(away <= 4 * jnp.sin(self.radius / 2) ** 2, axis=-1)
        return jnp.where(inside, jnp.ones((), self.n.dtype), 0.0)

    @property
    def placed(self) -> bool:
        """At the colour `at_colour`, or without limits in colour."""
        return self.at_colour is not None or self.window == (-np.inf, np.inf)

    @property
    def unfoldable(self) -> str:
        """A reason if the cells differ in colour and there is no `at_colour`."""
        if self.window is not None or self.at_colour is not None:
            return ""
        return "its cells differ in colour, of which F(M) knows nothing: state at_colour"

    def magnitude_limits(self) -> tuple[float, float]:
        """The brightest and the faintest limit of all cells."""
        return self.breaks[0], self.breaks[-1]

    def completeness_breaks(self) -> tuple[float, ...]:
        """The limits of all cells."""
        return self.breaks


def _read(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        raise ValueError(f"fields(table={str(path)!r}): no such CSV file")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"fields(table={str(path)!r}): the file has no rows")
    return {name: [row[name] for row in rows] for name in rows[0] if name}


def _columns(table: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The columns as floats under our names; colours without limits where there are none."""
    found = {}
    for name, aliases in _NAMES.items():
        source = next((alias for alias in aliases if alias in table), None)
        if source is not None:
            try:
                found[name] = np.asarray(table[source], dtype=np.float64).ravel()
            except ValueError as error:
                raise ValueError(f"fields: the column {source!r} must hold numbers: {error}") from error
    for name, missing in (("colour_min", -np.inf), ("colour_max", np.inf)):
        if name not in found and "fraction" in found:
            found[name] = np.full(len(found["fraction"]), missing)
    place = ("l", "b") if {"l", "b"} <= set(found) else ("ra", "dec")
    wanted = (*place, *(name for name in _NAMES if name not in ("l", "b", "ra", "dec")))
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(
            f"fields: the table lacks {', '.join(missing)} (it has {', '.join(map(str, table))}); it needs l "
            "and b, or ra and dec, radius, magnitude_min, magnitude_max and fraction"
        )
    if len({len(found[name]) for name in wanted}) > 1:
        raise ValueError("fields: the table's columns must be equally long")
    return {name: found[name] for name in wanted}


def _check(rows: dict[str, np.ndarray]) -> None:
    checked_fractions("fields", rows["fraction"])
    if not np.all((rows["radius"] > 0) & (rows["radius"] <= 90)):
        raise ValueError("fields: every radius must be between 0 and 90 deg")
    for lo, hi in (("magnitude_min", "magnitude_max"), ("colour_min", "colour_max")):
        # Tables may list cells without extent, of which nothing was observed.
        empty = ~(rows[lo] < rows[hi]) & (rows["fraction"] > 0)
        if empty.any():
            raise ValueError(
                f"fields: {lo} is not less than {hi} in row {np.flatnonzero(empty)[0]} (of {len(empty)})"
            )


def _overlaps(n: np.ndarray, radius: np.ndarray) -> int:
    """No direction is in more fields than this: one and those that meet it, at most."""
    most = 1
    for start in range(0, len(n), 256):
        rows = slice(start, start + 256)
        apart = np.arccos(np.clip(n[rows] @ n.T, -1.0, 1.0))
        most = max(most, int((apart <= radius[rows, None] + radius + 1e-9).sum(axis=1).max()))
    return most
