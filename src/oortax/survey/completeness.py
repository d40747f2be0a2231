"""Completeness: the fraction of stars that a catalogue holds, by magnitude, direction and colour."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from interpax import interp1d
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.params import as_array, param
from oortax.survey.selection import AbstractSelection, Columns, check_band, column
from oortax.types import Scalar

_IN_COLOUR = (
    "it depends on colour, of which F(M) knows nothing: state at_colour, the colour of the population's stars"
)


def checked_fractions(kind: str, values, remedy: str = "") -> np.ndarray:
    """Fractions as a float array; ValueError unless they lie between 0 and 1 and some are above 0."""
    table = np.asarray(values, dtype=np.float64)
    outside = ~((table >= 0.0) & (table <= 1.0))
    if outside.any():
        worst = table[outside][0]
        raise ValueError(
            f"{kind}: {outside.sum():,} of {table.size:,} fractions are not between 0 and 1 (such as "
            f"{worst:g}); put 0 where no star is kept{remedy}"
        )
    if not table.any():
        raise ValueError(
            f"{kind}: every fraction is 0, so it keeps nothing; check the table's units and axes"
        )
    return table


def _check_table(kind: str, fraction, V: tuple[float, ...]) -> None:
    if jnp.shape(fraction) != ((len(V),) if V else ()):
        raise ValueError(
            f"{kind}: fraction has shape {jnp.shape(fraction)} but there are {len(V)} "
            "magnitudes V; give one number, or a table of both"
        )
    if V and (len(V) < 2 or not np.all(np.diff(V) > 0)):
        raise ValueError(f"{kind}(V={list(V)}): give at least two increasing magnitudes")


def _tabulated(fraction, knots: tuple[float, ...], V):
    """A constant, or a monotone cubic (Fritsch & Carlson 1980) through a table, constant beyond its ends."""
    V = jnp.asarray(V, fraction.dtype)
    if not knots:
        return jnp.broadcast_to(fraction, V.shape)
    at = jnp.asarray(knots, fraction.dtype)
    return interp1d(jnp.clip(V, at[0], at[-1]).ravel(), at, fraction, method="monotonic").reshape(V.shape)


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
        _check_table("completeness", self.fraction, self.V)

    @property
    def columns(self) -> tuple[str, ...]:
        return ()

    @property
    def observables(self) -> tuple[str, ...]:
        """The survey's magnitude, in whichever band."""
        return ("V",)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Every row."""
        n = next((len(np.asarray(values)) for values in columns.values()), 0)
        return np.ones(n, dtype=bool)

    def completeness(self, V) -> Scalar:
        """The fraction at observed magnitude V."""
        return _tabulated(self.fraction, self.V, V)

    def completeness_breaks(self) -> tuple[float, ...]:
        """The table's magnitudes."""
        return self.V


@final
class VelocityCompleteness(AbstractSelection):
    """The fraction of stars with a measured v_los, in a catalogue of those alone.

    A constant, or a table in observed magnitude as in `Completeness`. Rows without v_los fail. A catalogue
    that keeps stars without v_los needs no such cut: the likelihood integrates over what is missing.

    Attributes
    ----------
    fraction : shape () or (n,), between 0 and 1
        Fraction, or fractions at the magnitudes `V`.
    V : n >= 2 increasing magnitudes, static; empty for a constant

    >>> rv = VelocityCompleteness([0.98, 0.5], V=[9.0, 14.0])
    >>> rv.weight({"V": jnp.array([8.0, 14.0]), "v_los": jnp.array([10.0, jnp.nan])}).round(2).tolist()
    [0.98..., 0.0]
    """

    kind: ClassVar[str] = "v_los_completeness"
    fraction: Float[Array, "..."] = param(constraints.unit_interval, "", "fraction of stars with v_los")
    V: tuple[float, ...] = eqx.field(static=True, default=())

    def __init__(self, fraction: Any, V=()):
        table: Any = as_array(fraction)
        self.fraction = table
        self.V = tuple(float(v) for v in V)
        _check_table(self.kind, self.fraction, self.V)

    @property
    def columns(self) -> tuple[str, ...]:
        return ("v_los",)

    @property
    def observables(self) -> tuple[str, ...]:
        """The survey's magnitude and the velocity that must be there."""
        return ("V", "v_los")

    @property
    def placed(self) -> bool:
        """Every star has a velocity; the fraction is of magnitude alone."""
        return True

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows with a velocity."""
        return np.isfinite(column(columns, "v_los", self.kind))

    def completeness(self, V) -> Scalar:
        """The fraction at observed magnitude V."""
        return _tabulated(self.fraction, self.V, V)

    def completeness_breaks(self) -> tuple[float, ...]:
        """The table's magnitudes."""
        return self.V


_AXES = ("l", "b", "magnitude", "colour")


@final
class CompletenessGrid(AbstractSelection):
    """The fraction of stars that the catalogue holds, tabulated on a grid: S(l, b, m, colour).

    Multilinear between the nodes of the axes that are given, and 0 outside their range; it does not depend on
    what has no axis. A grid in longitude is periodic.

    Attributes
    ----------
    values : shape (len(axis) of every axis given, in the order below), between 0 and 1
    l, b : deg, static
        Increasing; longitudes from 0 to less than 360.
    magnitude, colour : mag, static
        Increasing, of what is observed.
    band, name : str, static
        The magnitude's band, and the name of the colour.
    at_colour : float, static
        Colour at which the grid is folded over a population, whose F(M) knows no colour; None if the grid
        has no such axis, or for predictions alone.

    In place of `values` there may be the path of an .npz file with it and the axes, as in configurations
    (relative to the working directory).

    >>> grid = CompletenessGrid([[1.0, 0.5], [0.8, 0.0]], b=[-90.0, 90.0], magnitude=[10.0, 12.0])
    >>> [round(float(grid.completeness_at(0.0, 0.0, V)), 3) for V in (10.0, 11.0, 12.1)]
    [0.9, 0.575, 0.0]
    """

    kind: ClassVar[str] = "completeness_grid"
    values: Float[Array, "..."]
    l: tuple[float, ...] = eqx.field(static=True)
    b: tuple[float, ...] = eqx.field(static=True)
    magnitude: tuple[float, ...] = eqx.field(static=True)
    colour: tuple[float, ...] = eqx.field(static=True)
    band: str = eqx.field(static=True)
    name: str = eqx.field(static=True)
    at_colour: float | None = eqx.field(static=True)

    def __init__(
        self,
        values: Any,
        l=(),
        b=(),
        magnitude=(),
        colour=(),
        band: str = "V",
        name: str = "colour",
        at_colour: float | None = None,
    ):
        axes: dict[str, Any] = {"l": l, "b": b, "magnitude": magnitude, "colour": colour}
        if isinstance(values, str | Path):
            values, axes = _read_grid(Path(values), axes)
        self.l, self.b, self.magnitude, self.colour = (
            tuple(np.asarray(axes[name], dtype=float).ravel().tolist()) for name in _AXES
        )
        self.band, self.name, self.at_colour = check_band(self.kind, band), name, at_colour
        for axis, lo, hi in (("l", 0.0, 360.0), ("b", -90.0, 90.0)):
            knots = getattr(self, axis)
            if knots and not (lo <= knots[0] and knots[-1] <= hi and (axis == "b" or knots[-1] < hi)):
                raise ValueError(f"completeness_grid({axis}=...): must be deg from {lo:g} to {hi:g}")
        given = self._given()
        for axis in given:
            knots = getattr(self, axis)
            if len(knots) < 2 or not np.all(np.diff(knots) > 0):
                raise ValueError(
                    f"completeness_grid({axis}={list(knots)}): give two or more increasing values"
                )
        shape = tuple(len(getattr(self, axis)) for axis in given)
        if not given or np.shape(values) != shape:
            raise ValueError(
                f"completeness_grid: values have shape {np.shape(values)}, the axes "
                f"{', '.join(given) or '(none)'} have {shape}; the order is l, b, magnitude, "
                "colour"
            )
        table: Any = as_array(checked_fractions(self.kind, values))
        self.values = table
        if at_colour is not None and self.colour and not self.colour[0] <= at_colour <= self.colour[-1]:
            raise ValueError(
                f"completeness_grid(at_colour={at_colour:g}): keeps nothing there; the grid's colours are "
                f"{self.colour[0]:g} to {self.colour[-1]:g}"
            )

    def _given(self) -> tuple[str, ...]:
        return tuple(axis for axis in _AXES if getattr(self, axis))

    @property
    def columns(self) -> tuple[str, ...]:
        names = {"l": "l", "b": "b", "magnitude": self.band, "colour": self.name}
        return tuple(names[axis] for axis in self._given())

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows where the fraction is above 0."""
        return np.asarray(self.weight(columns)) > 0

    def _fraction(self, at: Mapping[str, Any]):
        """The grid's value at arrays (rad, mag) of the axes given."""
        table, places, within = self.values, [], True
        for i, axis in enumerate(self._given()):
            knots, x = np.asarray(getattr(self, axis)), at[axis]
            if axis in ("l", "b"):
                knots = np.radians(knots)
            if axis == "l":
                knots = np.append(knots, knots[0] + 2 * np.pi)
                table = jnp.concatenate([table, jnp.take(table, jnp.array([0]), axis=i)], axis=i)
                x = knots[0] + jnp.mod(x - knots[0], 2 * np.pi)
            else:
                within = within & (x >= knots[0]) & (x <= knots[-1])
            places.append(
                jnp.interp(x, jnp.asarray(knots, table.dtype), jnp.arange(len(knots), dtype=table.dtype))
            )
        places = jnp.broadcast_arrays(*places)
        flat = map_coordinates(table, [place.ravel() for place in places], order=1, mode="nearest")
        return jnp.where(within, jnp.clip(flat.reshape(places[0].shape), 0.0, 1.0), 0.0)

    def _chance(self, observed: dict, one) -> Any:
        at = {"l": "l", "b": "b", "magnitude": self.band, "colour": self.name}
        return one * self._fraction({axis: observed[at[axis]] for axis in self._given()})

    def completeness_at(self, l, b, V) -> Any:
        """The fraction in a direction (rad) at observed magnitude V, for stars of the colour `at_colour`."""
        return self._fraction({"l": l, "b": b, "magnitude": V, "colour": jnp.asarray(self.at_colour or 0.0)})

    def sky(self, l, b) -> Scalar:
        """1 within the grid's latitudes."""
        lo, hi = np.radians(self.b[0] if self.b else -90.0), np.radians(self.b[-1] if self.b else 90.0)
        return jnp.where(
            (b >= lo) & (b <= hi) & jnp.isfinite(l), jnp.ones((), jnp.result_type(b, float)), 0.0
        )

    @property
    def curved(self) -> bool:
        """With axes on the sky the slope changes at all of their nodes."""
        return bool(self.l or self.b)

    @property
    def placed(self) -> bool:
        """At the colour `at_colour`."""
        return True

    @property
    def unfoldable(self) -> str:
        """A reason if there is a colour axis and no `at_colour`."""
        return _IN_COLOUR if self.colour and self.at_colour is None else ""

    def magnitude_limits(self) -> tuple[float, float]:
        """The ends of the axis."""
        return (self.magnitude[0], self.magnitude[-1]) if self.magnitude else (-np.inf, np.inf)

    def completeness_breaks(self) -> tuple[float, ...]:
        """The nodes of the axis."""
        return self.magnitude


def _read_grid(path: Path, axes: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """Values and axes from an .npz file; axes stated beside it win."""
    if path.suffix != ".npz" or not path.is_file():
        raise ValueError(f"completeness_grid(values={str(path)!r}): no such .npz file")
    with np.load(path) as saved:
        if "values" not in saved:
            raise ValueError(f"{path} lacks the array values (it has {', '.join(saved.files)})")
        found = {name: saved[name] for name in _AXES if name in saved}
        return saved["values"], {
            name: axes[name] if len(axes[name]) else found.get(name, ()) for name in _AXES
        }
