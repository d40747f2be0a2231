"""HEALPix: equal-area pixels of the sphere, and a selection given as a map of them.

Pixel indices after Gorski et al. (2005, ApJ 622, 759), whose equations (2) to (12) give the centres; here z =
sin(latitude), and near the poles 1 - |z| is taken from the latitude without cancellation. Everything that
`pixel` computes is elementwise and traceable.
"""

from pathlib import Path
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.params import as_array
from oortax.survey.completeness import checked_fractions
from oortax.survey.footprints import FRAMES, direction
from oortax.survey.frames import ICRS_TO_GALACTIC
from oortax.survey.selection import AbstractSelection, Columns
from oortax.types import Scalar

ORDERINGS = ("ring", "nested")
_LARGEST = 8192


def nside_of(n_pixels: int) -> int:
    """nside of a map of 12 nside^2 pixels; ValueError if the length is none such.

    >>> nside_of(49152)
    64
    """
    nside = round(np.sqrt(n_pixels / 12))
    if n_pixels < 12 or 12 * nside**2 != n_pixels or nside & (nside - 1) or nside > _LARGEST:
        near = 2 ** int(np.clip(np.round(np.log2(max(n_pixels, 12) / 12) / 2), 0, np.log2(_LARGEST)))
        raise ValueError(
            f"a HEALPix map has 12 nside^2 pixels, nside a power of two up to {_LARGEST}, not {n_pixels:,}; "
            f"the nearest is {12 * near**2:,} (nside {near}). Fill up a map of part of the sky with 0"
        )
    return nside


def pixel(nside: int, lon, lat, ordering: str):
    """Index of the pixel that holds a direction (rad; arrays that broadcast).

    >>> int(pixel(16, 0.0, 0.04, "ring")), int(pixel(16, 0.7853981634, 0.7853981634, "ring"))
    (1440, 427)
    """
    if ordering not in ORDERINGS:
        raise ValueError(f'ordering={ordering!r}: state the order of the pixels, "ring" or "nested"')
    lon, lat = jnp.broadcast_arrays(jnp.asarray(lon, jnp.result_type(lon, float)), lat)
    quarter = jnp.mod(lon / (np.pi / 2), 4.0)
    quarter = jnp.where(quarter >= 4.0, 0.0, quarter)
    z = jnp.sin(lat)
    polar = jnp.abs(z) > 2.0 / 3.0
    # In the belt: numbers of the ascending and descending pixel borders below the direction.
    ascending = jnp.floor(nside * (0.5 + quarter - 0.75 * z)).astype(jnp.int32)
    descending = jnp.floor(nside * (0.5 + quarter + 0.75 * z)).astype(jnp.int32)
    # In the caps: the same counted from the pole, within a quarter; sqrt(3 (1 - |z|)) by half angles.
    face = jnp.minimum(jnp.floor(quarter), 3.0)
    part = quarter - face
    depth = nside * np.sqrt(6.0) * jnp.sin((np.pi / 2 - jnp.minimum(jnp.abs(lat), np.pi / 2)) / 2)
    up = jnp.minimum(jnp.floor(part * depth).astype(jnp.int32), nside - 1)
    down = jnp.minimum(jnp.floor((1.0 - part) * depth).astype(jnp.int32), nside - 1)
    index = _ring if ordering == "ring" else _nested
    return index(nside, quarter, z, polar, ascending, descending, face.astype(jnp.int32), up, down)


def _ring(nside, quarter, z, polar, ascending, descending, face, up, down):
    ring = nside + 1 + ascending - descending
    shift = 1 - (ring & 1)
    along = jnp.mod((ascending + descending - nside + shift + 1) // 2, 4 * nside)
    belt = 2 * nside * (nside - 1) + (ring - 1) * 4 * nside + along
    ring = up + down + 1
    along = jnp.minimum(jnp.floor(quarter * ring).astype(jnp.int32), 4 * ring - 1)
    north, south = 2 * ring * (ring - 1), 12 * nside**2 - 2 * ring * (ring + 1)
    return jnp.where(polar, jnp.where(z > 0, north, south) + along, belt)


def _nested(nside, quarter, z, polar, ascending, descending, face, up, down):
    row_up, row_down = ascending // nside, descending // nside
    belt = jnp.where(row_up == row_down, (row_up & 3) + 4, jnp.where(row_up < row_down, row_up & 3, 0))
    belt = jnp.where(row_up > row_down, (row_down & 3) + 8, belt)
    x, y = descending & (nside - 1), nside - 1 - (ascending & (nside - 1))
    north = z > 0
    face = jnp.where(polar, jnp.where(north, face, face + 8), belt)
    x = jnp.where(polar, jnp.where(north, nside - 1 - down, up), x)
    y = jnp.where(polar, jnp.where(north, nside - 1 - up, down), y)
    return face * nside**2 + _interleaved(x) + 2 * _interleaved(y)


def _interleaved(x):
    """The bits of x < 2^13 at the even places."""
    return sum(((x >> i) & 1) << (2 * i) for i in range(int(np.log2(_LARGEST))))


def centre(nside: int, index, ordering: str) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude (rad) of the centres of pixels (host side).

    >>> [round(float(q), 6) for q in centre(16, 1440, "ring")]
    [0.0, 0.041679]
    """
    index = np.asarray(index, dtype=np.int64)
    if ordering == "ring":
        return _ring_centre(nside, index)
    face, rest = np.divmod(index, nside**2)
    x, y = (sum(((rest >> (2 * i + j)) & 1) << i for i in range(14)) for j in (0, 1))
    row = (2 + face // 4) * nside - x - y - 1
    in_ring = np.where(row < nside, row, np.where(row > 3 * nside, 4 * nside - row, nside))
    cap = 1 - in_ring**2 / (3 * nside**2)
    z = np.where(row < nside, cap, np.where(row > 3 * nside, -cap, (2 * nside - row) * 2 / (3 * nside)))
    # The middle of each face in units of an eighth turn: 1, 3, 5, 7 in the caps and 0, 2, 4, 6 between.
    middle = 2 * (face % 4) + np.where(face // 4 == 1, 0, 1)
    lon = np.pi / 4 * (middle + (x - y) / in_ring)
    return np.mod(lon, 2 * np.pi), np.arcsin(z)


def _ring_centre(nside: int, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total, cap = 12 * nside**2, 2 * nside * (nside - 1)
    south = index >= total - cap
    mirrored = np.where(south, total - 1 - index, index)
    polar = mirrored < cap
    # Counted from the pole (south: backwards), eqs. (2) to (5); the belt by eqs. (6) to (9).
    p = np.where(polar, mirrored, 0)
    ring = np.floor((1 + np.sqrt(1 + 2 * p)) / 2).astype(np.int64)
    along = p - 2 * ring * (ring - 1) + 0.5
    lon_cap = np.pi / 2 / ring * np.where(south, 4 * ring - along, along)
    z_cap = (1 - ring**2 / (3 * nside**2)) * np.where(south, -1, 1)
    q = np.where(polar, 0, index - cap)
    row = q // (4 * nside) + nside
    lon_belt = np.pi / 2 / nside * (q % (4 * nside) + 0.5 * ((row - nside + 1) % 2))
    z_belt = 4 / 3 - 2 * row / (3 * nside)
    return np.where(polar, lon_cap, lon_belt), np.arcsin(np.where(polar, z_cap, z_belt))


@final
class HealpixMap(AbstractSelection):
    """The fraction of stars that the catalogue holds, as a HEALPix map of the sky.

    Attributes
    ----------
    values : shape (12 nside^2,), between 0 and 1
        An array, or the path of an .npy file, or of an .npz file with the array `values` (in configurations;
        relative to the working directory). If the .npz file holds `frame` and `ordering` too, they must be
        what is stated.
    frame : "galactic" or "icrs", static
        Of the map. It must be stated, for nothing in the numbers tells.
    ordering : "ring" or "nested", static
        Of the pixels. It must be stated, likewise.

    >>> north = HealpixMap([1.0] * 4 + [0.5] * 4 + [0.0] * 4, frame="galactic", ordering="nested")
    >>> [float(north.sky(0.8, b)) for b in (1.5, 0.0, -1.5)]
    [1.0, 0.5, 0.0]
    """

    kind: ClassVar[str] = "healpix"
    values: Float[Array, " n"]
    frame: str = eqx.field(static=True)
    ordering: str = eqx.field(static=True)

    def __init__(self, values: Any, frame: str | None = None, ordering: str | None = None):
        if frame not in FRAMES:
            raise ValueError(f'healpix(frame={frame!r}): state the frame of the map, "galactic" or "icrs"')
        if ordering not in ORDERINGS:
            raise ValueError(
                f'healpix(ordering={ordering!r}): state the order of the pixels, "ring" or "nested"'
            )
        if isinstance(values, str | Path):
            values = _read_map(Path(values), frame, ordering)
        if np.ndim(values) != 1:
            raise ValueError(f"healpix: the map has shape {np.shape(values)}; give one value per pixel")
        try:
            nside_of(len(values))
        except ValueError as error:
            raise ValueError(f"healpix: {error}") from error
        table: Any = as_array(checked_fractions("healpix", values, " or the map is blank (UNSEEN, NaN)"))
        self.values, self.frame, self.ordering = table, frame, ordering

    @property
    def nside(self) -> int:
        """Resolution: 12 nside^2 pixels."""
        return nside_of(len(self.values))

    @property
    def columns(self) -> tuple[str, ...]:
        return ("l", "b")

    @property
    def curved(self) -> bool:
        return True

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows in pixels with a fraction above 0."""
        return np.asarray(self.weight(columns)) > 0

    def sky(self, l, b) -> Scalar:
        """The fraction in the pixel of a direction."""
        if self.frame == "icrs":
            n = direction(l, b) @ jnp.asarray(ICRS_TO_GALACTIC)
            n = jax.lax.stop_gradient(n)
            l, b = jnp.arctan2(n[..., 1], n[..., 0]), jnp.arctan2(n[..., 2], jnp.hypot(n[..., 0], n[..., 1]))
        return self.values[pixel(self.nside, l, b, self.ordering)]


def _read_map(path: Path, frame: str, ordering: str) -> np.ndarray:
    if path.suffix not in (".npy", ".npz") or not path.is_file():
        raise ValueError(f"healpix(values={str(path)!r}): no such .npy or .npz file")
    if path.suffix == ".npy":
        return np.load(path)
    with np.load(path) as saved:
        if "values" not in saved:
            raise ValueError(f"{path} lacks the array values (it has {', '.join(saved.files)})")
        for name, stated in (("frame", frame), ("ordering", ordering)):
            if name in saved and str(saved[name]) != stated:
                raise ValueError(f"{path} says {name} {str(saved[name])!r}, but {name}={stated!r} is stated")
        return saved["values"]
