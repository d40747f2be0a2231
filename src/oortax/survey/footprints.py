"""Footprints: which part of the sky a survey covers."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from oortax.survey.frames import ICRS_TO_GALACTIC
from oortax.survey.selection import AbstractSelection, Columns, checked_limits, column, inside, within
from oortax.types import Scalar


def unit_vector(lon, lat) -> np.ndarray:
    """Cartesian unit vectors (..., 3) of directions in rad."""
    lon, lat = np.asarray(lon, dtype=float), np.asarray(lat, dtype=float)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def direction(l, b):
    """The same as a JAX array, for arrays that broadcast."""
    l, b = jnp.broadcast_arrays(jnp.asarray(l, jnp.result_type(l, float)), b)
    return jnp.stack([jnp.cos(b) * jnp.cos(l), jnp.cos(b) * jnp.sin(l), jnp.sin(b)], axis=-1)


def galactic_vectors(kind: str, lon, lat, frame: str) -> np.ndarray:
    """Galactic unit vectors (..., 3) of directions in deg in a stated frame."""
    if frame not in FRAMES:
        raise ValueError(f'{kind}(frame={frame!r}): state the frame of the coordinates, "galactic" or "icrs"')
    lon, lat = np.asarray(lon, dtype=float), np.asarray(lat, dtype=float)
    if not (np.all(np.isfinite(lon)) and np.all(np.abs(lat) <= 90.0)):
        raise ValueError(f"{kind}: coordinates must be in deg, with latitudes between -90 and 90")
    n = unit_vector(np.radians(lon), np.radians(lat))
    return n if frame == "galactic" else n @ ICRS_TO_GALACTIC.T


FRAMES = ("galactic", "icrs")


def _latitudes(kind: str, lo, hi, floor: float) -> tuple[float, float]:
    lo, hi = checked_limits(kind, lo, hi, floor, 90.0, "deg")
    return max(lo, floor), min(hi, 90.0)


class AbstractLatitudes(AbstractSelection):
    """A range of latitude, or of its absolute value."""

    min: eqx.AbstractVar[float]
    max: eqx.AbstractVar[float]

    @abstractmethod
    def of(self, b) -> Any:
        """What is limited, of a latitude (rad)."""

    @property
    def columns(self) -> tuple[str, ...]:
        return ("b",)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows within the limits."""
        return within(self.of(column(columns, "b", self.kind)), *np.radians([self.min, self.max]))

    def sky(self, l, b) -> Scalar:
        """1 within the limits."""
        lo, hi = np.radians([self.min, self.max])
        inside = (self.of(b) >= lo) & (self.of(b) <= hi) & jnp.isfinite(l)
        return jnp.where(inside, jnp.ones((), jnp.result_type(b, float)), 0.0)


@final
class AbsLatitude(AbstractLatitudes):
    """min <= |b| <= max, in degrees.

    >>> AbsLatitude(min=25.0).accepts({"b": [0.1, -0.6]}).tolist()
    [False, True]
    """

    kind: ClassVar[str] = "abs_b"
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)

    def __init__(self, min: float | None = None, max: float | None = None):
        self.min, self.max = _latitudes("abs_b", min, max, 0.0)

    def of(self, b) -> Any:
        """|b|."""
        return abs(b)

    def edges_b(self) -> tuple[float, ...]:
        """Both limits, north and south."""
        lo, hi = (float(edge) for edge in np.radians([self.min, self.max]))
        return (-hi, -lo, lo, hi)


@final
class Latitude(AbstractLatitudes):
    """min <= b <= max, in degrees.

    >>> Latitude(min=30.0).accepts({"b": [1.0, -1.0]}).tolist()
    [True, False]
    """

    kind: ClassVar[str] = "latitude"
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)

    def __init__(self, min: float | None = None, max: float | None = None):
        self.min, self.max = _latitudes("latitude", min, max, -90.0)

    def of(self, b) -> Any:
        """b."""
        return b

    def edges_b(self) -> tuple[float, ...]:
        """Both limits."""
        return tuple(float(edge) for edge in np.radians([self.min, self.max]))


@final
class Longitude(AbstractSelection):
    """Galactic longitude from min eastwards to max, in degrees; min > max goes through l = 0.

    >>> Longitude(min=350.0, max=10.0).accepts({"l": [0.0, 1.0, 6.2]}).tolist()
    [True, False, True]
    """

    kind: ClassVar[str] = "longitude"
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)

    def __init__(self, min: float, max: float):
        if not (0 <= min <= 360 and 0 <= max <= 360 and min != max):
            raise ValueError(f"longitude(min={min!r}, max={max!r}): give two different angles in 0..360 deg")
        self.min, self.max = float(min), float(max)

    @property
    def columns(self) -> tuple[str, ...]:
        return ("l",)

    def _inside(self, l, module):
        offset = module.mod(l - np.radians(self.min), 2 * np.pi)
        return offset <= np.radians((self.max - self.min) % 360 or 360.0)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows within the range of longitude."""
        with np.errstate(invalid="ignore"):
            return self._inside(column(columns, "l", self.kind), np)

    def sky(self, l, b) -> Scalar:
        """1 within the range."""
        inside = self._inside(jnp.asarray(l), jnp) & jnp.isfinite(b)
        return jnp.where(inside, jnp.ones((), jnp.result_type(l, float)), 0.0)

    def edges_l(self) -> tuple[float, ...]:
        """Both ends."""
        return tuple(float(edge) for edge in np.radians([self.min, self.max]))


def _on_sky(selection: AbstractSelection, columns: Columns) -> np.ndarray:
    """Rows in whose direction a footprint lets stars pass."""
    l, b = (column(columns, name, selection.kind) for name in ("l", "b"))
    finite = np.isfinite(l) & np.isfinite(b)
    return finite & (np.asarray(selection.sky(np.where(finite, l, 0.0), np.where(finite, b, 0.0))) > 0)


@final
class Cone(AbstractSelection):
    """Directions within `radius` of a centre (l, b) or (ra, dec), all in deg.

    >>> pole = Cone(radius=10.0, l=0.0, b=90.0)
    >>> pole.accepts({"l": [1.0, 1.0], "b": [1.4, 1.3]}).tolist()
    [True, False]
    """

    kind: ClassVar[str] = "cone"
    radius: float = eqx.field(static=True)
    l: float | None = eqx.field(static=True)
    b: float | None = eqx.field(static=True)
    ra: float | None = eqx.field(static=True)
    dec: float | None = eqx.field(static=True)

    def __init__(
        self,
        radius: float,
        l: float | None = None,
        b: float | None = None,
        ra: float | None = None,
        dec: float | None = None,
    ):
        given = tuple(q is not None for q in (l, b, ra, dec))
        if given not in ((True, True, False, False), (False, False, True, True)):
            raise ValueError(f"cone(l={l!r}, b={b!r}, ra={ra!r}, dec={dec!r}): give l and b, or ra and dec")
        if not 0.0 < radius <= 180.0:
            raise ValueError(f"cone(radius={radius!r}): must be between 0 and 180 deg")
        self.radius, self.l, self.b, self.ra, self.dec = radius, l, b, ra, dec
        self.centre()

    def centre(self) -> np.ndarray:
        """Galactic unit vector of the centre."""
        galactic = self.l is not None
        lon, lat = (self.l, self.b) if galactic else (self.ra, self.dec)
        return galactic_vectors("cone", lon, lat, "galactic" if galactic else "icrs")

    @property
    def columns(self) -> tuple[str, ...]:
        return ("l", "b")

    @property
    def curved(self) -> bool:
        return True

    def cap(self) -> tuple[np.ndarray, float]:
        """The cone itself."""
        return self.centre(), float(np.radians(self.radius))

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows within the cone."""
        return _on_sky(self, columns)

    def sky(self, l, b) -> Scalar:
        """1 within the cone."""
        # By the chord, which small angles do not round away.
        away = direction(l, b) - self.centre()
        return inside(jnp.sum(away**2, axis=-1), 0.0, 4 * np.sin(np.radians(self.radius) / 2) ** 2)


@final
class Declination(AbstractSelection):
    """min <= declination (ICRS) <= max, in deg.

    >>> Declination(min=0.0).accepts({"l": [2.1, 5.2], "b": [0.4, -0.6]}).tolist()
    [True, False]
    """

    kind: ClassVar[str] = "declination"
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)

    def __init__(self, min: float | None = None, max: float | None = None):
        self.min, self.max = _latitudes("declination", min, max, -90.0)

    @property
    def columns(self) -> tuple[str, ...]:
        return ("l", "b")

    @property
    def curved(self) -> bool:
        return True

    def cap(self) -> tuple[np.ndarray, float]:
        """About the celestial pole from which the farther limit is nearer."""
        pole = ICRS_TO_GALACTIC[:, 2]
        if self.min >= -self.max:
            return pole, float(np.radians(90.0 - self.min))
        return -pole, float(np.radians(90.0 + self.max))

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows within the limits."""
        return _on_sky(self, columns)

    def sky(self, l, b) -> Scalar:
        """1 within the limits."""
        sine = direction(l, b) @ jnp.asarray(ICRS_TO_GALACTIC[:, 2])
        # The limits at the poles are open, whatever the sine is rounded to.
        lo = -2.0 if self.min <= -90.0 else np.sin(np.radians(self.min))
        hi = 2.0 if self.max >= 90.0 else np.sin(np.radians(self.max))
        return inside(sine, lo, hi)


@final
class Polygon(AbstractSelection):
    """The inside of a polygon on the sphere, whose sides are arcs of great circles.

    Attributes
    ----------
    vertices : n >= 3 pairs (l, b) or (ra, dec), deg, static
        In order, either way around; all within 80 deg of their mean direction (unite several by `|`).
    frame : str, static
        "galactic" or "icrs".

    In the gnomonic projection about the mean direction the sides are straight, and even-odd counting of the
    sides to one side of a star tells whether it is inside.

    >>> square = Polygon([[350, -5], [10, -5], [10, 5], [350, 5]], frame="galactic")
    >>> square.accepts({"l": [0.0, 0.3, 3.1], "b": [0.0, 0.0, 0.0]}).tolist()
    [True, False, False]
    """

    kind: ClassVar[str] = "polygon"
    vertices: tuple[tuple[float, float], ...] = eqx.field(static=True)
    frame: str = eqx.field(static=True)

    def __init__(self, vertices: Sequence[Any], frame: str | None = None):
        corners = np.asarray(vertices, dtype=float)
        if corners.ndim != 2 or corners.shape[0] < 3 or corners.shape[1] != 2:
            raise ValueError(f"polygon: give three or more vertices [lon, lat] in deg, not {vertices!r}")
        self.vertices = tuple((float(lon), float(lat)) for lon, lat in corners)
        self.frame = str(frame)
        n = self._corners()
        if np.linalg.norm(n.mean(axis=0)) < 0.1 or np.min(n @ self.cap()[0]) < np.cos(np.radians(80.0)):
            raise ValueError(
                "polygon: the vertices lie farther than 80 deg from their mean direction; divide the polygon "
                "and unite its parts"
            )
        if _crosses_itself(self._plane()[1]):
            raise ValueError("polygon: its sides cross or have no length; give the vertices in order")

    def _corners(self) -> np.ndarray:
        """Galactic unit vectors (n, 3) of the vertices."""
        corners = np.asarray(self.vertices)
        return galactic_vectors("polygon", corners[:, 0], corners[:, 1], self.frame)

    def _plane(self) -> tuple[np.ndarray, np.ndarray]:
        """Axes (3, 3: right, up, centre) of the projection, and the vertices (n, 2) in it."""
        n = self._corners()
        centre = n.mean(axis=0) / np.linalg.norm(n.mean(axis=0))
        right = np.cross(np.eye(3)[np.argmin(np.abs(centre))], centre)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(centre, right), centre])
        flat = n @ axes.T
        return axes, flat[:, :2] / flat[:, 2:]

    @property
    def columns(self) -> tuple[str, ...]:
        return ("l", "b")

    @property
    def curved(self) -> bool:
        return True

    def cap(self) -> tuple[np.ndarray, float]:
        """About the mean direction, as far as the farthest vertex."""
        n = self._corners()
        centre = n.mean(axis=0) / np.linalg.norm(n.mean(axis=0))
        return centre, float(np.arccos(np.clip(np.min(n @ centre), -1.0, 1.0))) + 1e-9

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows within the polygon."""
        return _on_sky(self, columns)

    def sky(self, l, b) -> Scalar:
        """1 within the polygon."""
        axes, flat = self._plane()
        n = direction(l, b) @ jnp.asarray(axes.T)
        front = n[..., 2] > 0
        depth = jnp.where(front, n[..., 2], 1.0)
        x, y = n[..., 0] / depth, n[..., 1] / depth
        odd = jnp.zeros(x.shape, bool)
        for (x0, y0), (x1, y1) in zip(flat, np.roll(flat, -1, axis=0), strict=True):
            spans = (y0 > y) != (y1 > y)
            slope = 0.0 if y0 == y1 else (x1 - x0) / (y1 - y0)
            odd = odd ^ (spans & (x < x0 + slope * (y - y0)))
        return jnp.where(front & odd, jnp.ones((), x.dtype), 0.0)


def _crosses_itself(flat: np.ndarray) -> bool:
    """Whether two sides of a plane polygon (n, 2) cross, or one has no length."""
    a, c = flat, np.roll(flat, -1, axis=0)
    if np.any(np.linalg.norm(c - a, axis=1) < 1e-12):
        return True

    def side(p, q, r):
        return np.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    n = len(a)
    return any(
        side(a[i], c[i], a[j]) * side(a[i], c[i], c[j]) < 0
        and side(a[j], c[j], a[i]) * side(a[j], c[j], c[i]) < 0
        for i in range(n)
        for j in range(i + 1, n)
    )
