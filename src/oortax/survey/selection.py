"""Selection: the cuts that decide which stars are in a catalogue.

A cut acts twice. On the host, `accepts` filters the rows of a catalogue by what was observed. In
the normalisation, the same cut is folded over the measurement errors: it states which observed
apparent magnitudes and parallaxes pass, and `oortax.survey.fold` integrates over the noise, so that
a hard cut on an observed quantity becomes a smooth and exactly differentiable function of the true
one. Cuts on the sky have no error to fold over.
"""

import difflib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from interpax import interp1d
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.params import AbstractParametric, as_array, param
from oortax.types import Scalar

Limits = tuple[Any, Any]
Columns = Mapping[str, Any]


def column(columns: Columns, name: str, wanted_by: str) -> np.ndarray:
    """A catalogue column as a float array; ValueError naming the nearest column if there is none."""
    if name not in columns:
        near = difflib.get_close_matches(name, list(columns), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"the selection {wanted_by!r} needs the column {name!r}{hint} (there are: {', '.join(columns)})"
        )
    return np.asarray(columns[name], dtype=np.float64)


def _within(values: np.ndarray, lo: float, hi: float) -> np.ndarray:
    """lo <= value <= hi; NaN never passes."""
    with np.errstate(invalid="ignore"):
        return (values >= lo) & (values <= hi)


def _limits(kind: str, lo, hi, floor=-np.inf, ceiling=np.inf, unit="mag") -> tuple[float, float]:
    """Checked limits as floats; None leaves a side open."""
    low = -np.inf if lo is None else float(lo)
    high = np.inf if hi is None else float(hi)
    if np.isnan(low) or np.isnan(high) or (np.isinf(low) and np.isinf(high)):
        raise ValueError(f"{kind}(min={lo!r}, max={hi!r}): give min, max or both, in {unit}")
    if low >= high:
        raise ValueError(f"{kind}(min={lo!r}, max={hi!r}): min must be less than max ({unit})")
    if any(np.isfinite(limit) and not floor <= limit <= ceiling for limit in (low, high)):
        raise ValueError(
            f"{kind}(min={lo!r}, max={hi!r}): the limits must lie between {floor:g} and {ceiling:g} {unit}"
        )
    return low, high


class AbstractSelection(AbstractParametric):
    """One cut. A new one is a final subclass with `kind`, `columns`, `accepts`, and whichever of the
    other methods it restricts (each by default lets everything pass), and a line in `SELECTIONS`.
    """

    kind: eqx.AbstractClassVar[str]

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Names of the catalogue columns that `accepts` reads."""

    @abstractmethod
    def accepts(self, columns: Columns) -> np.ndarray:
        """Which rows pass, by what was observed (host side). l, b in rad, parallax in mas, magnitudes."""

    def sky(self, l, b) -> Scalar:
        """1 where the direction (rad) passes, else 0."""
        return jnp.ones(jnp.broadcast_shapes(jnp.shape(l), jnp.shape(b)), jnp.result_type(l, b, float))

    def edges_l(self) -> tuple[float, ...]:
        """Galactic longitudes (rad, in [0, 2 pi]) at which `sky` steps."""
        return ()

    def edges_b(self) -> tuple[float, ...]:
        """Galactic latitudes (rad) at which `sky` steps."""
        return ()

    def magnitude_limits(self) -> tuple[float, float]:
        """Interval of the observed apparent magnitude that passes."""
        return -np.inf, np.inf

    def parallax_limits(self, V, parallax_error) -> Limits:
        """Interval of the observed parallax (mas) that passes at the observed apparent magnitude V."""
        return -np.inf, np.inf

    def magnitudes_at(self, parallax) -> tuple[Any, ...]:
        """Observed apparent magnitudes at which `parallax` (mas) is just on a limit that moves with V."""
        return ()

    def completeness(self, V) -> Scalar:
        """Probability that a star of observed apparent magnitude V is in the catalogue at all."""
        return jnp.ones_like(jnp.asarray(V, dtype=jnp.result_type(V, float)))

    def completeness_breaks(self) -> tuple[float, ...]:
        """Apparent magnitudes at which `completeness` is not analytic."""
        return ()

    @property
    def uses_parallax(self) -> bool:
        """Whether the observed parallax enters the cut."""
        return "parallax" in self.columns


@final
class Magnitude(AbstractSelection):
    """min <= observed apparent magnitude <= max in one band, both hard.

    >>> Magnitude(band="V", max=10.5).accepts({"V": [9.0, 10.6, float("nan")]}).tolist()
    [True, False, False]
    """

    kind: ClassVar[str] = "magnitude"
    band: str = eqx.field(static=True)
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)

    def __init__(self, band: str = "V", min: float | None = None, max: float | None = None):
        self.band = band
        self.min, self.max = _limits("magnitude", min, max)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.band,)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows with a magnitude within the limits."""
        return _within(column(columns, self.band, self.kind), self.min, self.max)

    def magnitude_limits(self) -> tuple[float, float]:
        """The limits themselves."""
        return self.min, self.max


@final
class AbsoluteMagnitude(AbstractSelection):
    """min <= M_obs <= max, M_obs = V + 5 log10(parallax / 100 mas) from what was observed.

    No correction for extinction or for the parallax zero point enters M_obs, and a star without a
    positive parallax has none and fails. The folded probability includes the parallax error, the
    magnitude error, the zero point and the extinction.

    >>> cut = AbsoluteMagnitude(min=0.2, max=1.6)
    >>> cut.accepts({"V": [6.0, 6.0, 6.0], "parallax": [10.0, 1.0, -1.0]}).tolist()
    [True, False, False]
    """

    kind: ClassVar[str] = "absolute_magnitude"
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)
    band: str = eqx.field(static=True)

    def __init__(self, min: float | None = None, max: float | None = None, band: str = "V"):
        self.min, self.max = _limits("absolute_magnitude", min, max)
        self.band = band

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.band, "parallax")

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows whose absolute magnitude from the observed parallax lies within the limits."""
        V = column(columns, self.band, self.kind)
        parallax = column(columns, "parallax", self.kind)
        with np.errstate(invalid="ignore"):
            usable = parallax > 0
        M = V + 5 * np.log10(np.where(usable, parallax, 1.0) / 100)
        return usable & _within(M, self.min, self.max)

    def parallax_limits(self, V, parallax_error) -> Limits:
        """Parallaxes (mas) at which M_obs is min and max: 100 x 10^((M - V)/5)."""
        lo = 0.0 if np.isinf(self.min) else 100 * jnp.exp(0.2 * np.log(10) * (self.min - V))
        hi = np.inf if np.isinf(self.max) else 100 * jnp.exp(0.2 * np.log(10) * (self.max - V))
        return lo, hi

    def magnitudes_at(self, parallax) -> tuple[Any, ...]:
        """V at which M_obs is min and max, given the parallax."""
        shift = 5 * jnp.log10(parallax / 100)
        return tuple(M - shift for M in (self.min, self.max) if np.isfinite(M))


@final
class ParallaxSNR(AbstractSelection):
    """Observed parallax at least `min` times its error.

    Rows use their own errors, the normalisation the survey's `errors.parallax`.

    >>> cut = ParallaxSNR(min=20.0)
    >>> cut.accepts({"parallax": [1.0, 0.2], "parallax_error": [0.02, 0.02]}).tolist()
    [True, False]
    """

    kind: ClassVar[str] = "parallax_snr"
    min: float = eqx.field(static=True)

    def __init__(self, min: float):
        self.min = _limits("parallax_snr", min, None, unit="(a ratio)")[0]
        if self.min < 0:
            raise ValueError(f"parallax_snr(min={min!r}): min must not be negative")

    @property
    def columns(self) -> tuple[str, ...]:
        return ("parallax", "parallax_error")

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows with parallax >= min parallax_error."""
        error = column(columns, "parallax_error", self.kind)
        parallax = column(columns, "parallax", self.kind)
        with np.errstate(invalid="ignore"):
            return (error > 0) & (parallax >= self.min * error)

    def parallax_limits(self, V, parallax_error) -> Limits:
        """From min times the survey's parallax error upwards."""
        return self.min * parallax_error, np.inf


def _latitudes(kind: str, lo, hi, floor: float) -> tuple[float, float]:
    lo, hi = _limits(kind, lo, hi, floor, 90.0, "deg")
    return max(lo, floor), min(hi, 90.0)


@final
class AbsLatitude(AbstractSelection):
    """min <= |b| <= max, in degrees.

    >>> AbsLatitude(min=25.0).accepts({"b": [0.1, -0.6]}).tolist()
    [False, True]
    """

    kind: ClassVar[str] = "abs_b"
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)

    def __init__(self, min: float | None = None, max: float | None = None):
        self.min, self.max = _latitudes("abs_b", min, max, 0.0)

    @property
    def columns(self) -> tuple[str, ...]:
        return ("b",)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows within the limits in |b|."""
        return _within(np.abs(column(columns, "b", self.kind)), *np.radians([self.min, self.max]))

    def sky(self, l, b) -> Scalar:
        """1 within the limits."""
        lo, hi = np.radians([self.min, self.max])
        inside = (jnp.abs(b) >= lo) & (jnp.abs(b) <= hi) & jnp.isfinite(l)
        return jnp.where(inside, jnp.ones((), jnp.result_type(b, float)), 0.0)

    def edges_b(self) -> tuple[float, ...]:
        """Both limits, north and south."""
        lo, hi = (float(edge) for edge in np.radians([self.min, self.max]))
        return (-hi, -lo, lo, hi)


@final
class Latitude(AbstractSelection):
    """min <= b <= max, in degrees.

    >>> Latitude(min=30.0).accepts({"b": [1.0, -1.0]}).tolist()
    [True, False]
    """

    kind: ClassVar[str] = "latitude"
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)

    def __init__(self, min: float | None = None, max: float | None = None):
        self.min, self.max = _latitudes("latitude", min, max, -90.0)

    @property
    def columns(self) -> tuple[str, ...]:
        return ("b",)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows within the limits in b."""
        return _within(column(columns, "b", self.kind), *np.radians([self.min, self.max]))

    def sky(self, l, b) -> Scalar:
        """1 within the limits."""
        lo, hi = np.radians([self.min, self.max])
        return jnp.where(
            (b >= lo) & (b <= hi) & jnp.isfinite(l), jnp.ones((), jnp.result_type(b, float)), 0.0
        )

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


@final
class Colour(AbstractSelection):
    """min <= observed colour <= max.

    It acts on rows only: a population's luminosity function is by definition that of its stars
    within the colour window, so its folded factor is 1. A star without a colour fails.

    >>> Colour(min=0.9, max=1.25).accepts({"colour": [1.0, 1.3, float("nan")]}).tolist()
    [True, False, False]
    """

    kind: ClassVar[str] = "colour"
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __init__(self, min: float | None = None, max: float | None = None, name: str = "colour"):
        self.min, self.max = _limits("colour", min, max)
        self.name = name

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.name,)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows with a colour within the limits."""
        return _within(column(columns, self.name, self.kind), self.min, self.max)


@final
class Completeness(AbstractSelection):
    """The fraction of stars that the catalogue holds, constant or tabulated in observed magnitude.

    A table is interpolated by a monotone cubic (Fritsch & Carlson 1980) and constant beyond its
    ends. Every row of a catalogue passes: the missing stars are missing already.

    Attributes
    ----------
    fraction : shape () or (n,), between 0 and 1
        Fraction, or fractions at the magnitudes `V`.
    V : n >= 2 increasing magnitudes, static; empty for a constant

    >>> table = Completeness([1.0, 0.9, 0.2], V=[9.0, 10.0, 11.0])
    >>> [round(float(table.completeness(V)), 3) for V in (5.0, 10.0, 12.0)]
    [1.0, 0.9, 0.2]
    """

    kind: ClassVar[str] = "completeness"
    fraction: Float[Array, "..."] = param(constraints.unit_interval, "", "fraction of stars in the catalogue")
    V: tuple[float, ...] = eqx.field(static=True, default=())

    def __init__(self, fraction: Any, V=()):
        table: Any = as_array(fraction)
        self.fraction = table
        self.V = tuple(float(v) for v in V)
        if jnp.shape(self.fraction) != ((len(self.V),) if self.V else ()):
            raise ValueError(
                f"completeness: fraction has shape {jnp.shape(self.fraction)} but there are {len(self.V)} "
                "magnitudes V; give one number, or a table of both"
            )
        if self.V and (len(self.V) < 2 or not np.all(np.diff(self.V) > 0)):
            raise ValueError(f"completeness(V={list(self.V)}): give at least two increasing magnitudes")

    @property
    def columns(self) -> tuple[str, ...]:
        return ()

    def accepts(self, columns: Columns) -> np.ndarray:
        """Every row."""
        n = next((len(np.asarray(values)) for values in columns.values()), 0)
        return np.ones(n, dtype=bool)

    def completeness(self, V) -> Scalar:
        """The fraction at observed magnitude V."""
        V = jnp.asarray(V, self.fraction.dtype)
        if not self.V:
            return jnp.broadcast_to(self.fraction, V.shape)
        knots = jnp.asarray(self.V, self.fraction.dtype)
        inside = jnp.clip(V, knots[0], knots[-1])
        return interp1d(inside.ravel(), knots, self.fraction, method="monotonic").reshape(V.shape)

    def completeness_breaks(self) -> tuple[float, ...]:
        """The table's magnitudes."""
        return self.V


SELECTIONS: dict[str, type[AbstractSelection]] = {
    cls.kind: cls
    for cls in (
        Magnitude,
        AbsoluteMagnitude,
        ParallaxSNR,
        AbsLatitude,
        Latitude,
        Longitude,
        Colour,
        Completeness,
    )
}
"""Selections by the `kind` used in configuration files."""
