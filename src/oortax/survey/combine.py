"""Selections combined: both, either, or not.

Probabilities of the parts multiply, which is exact for hard cuts; fractions below 1 are taken as independent
draws, so that one of two catalogues at least holds a star with probability 1 - (1 - p)(1 - q).
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from oortax.survey.selection import AbstractSelection, Columns, Limits, inside, narrowest, observable
from oortax.types import Scalar


def _checked(kind: str, parts: Sequence[AbstractSelection]) -> tuple[AbstractSelection, ...]:
    found = tuple(parts)
    if len(found) < 2:
        raise ValueError(f"{kind}: give two or more parts, not {len(found)}")
    for part in found:
        if not isinstance(part, AbstractSelection):
            raise ValueError(f"{kind}: {part!r} is not a selection; see SELECTIONS")
    _bands(kind, found)
    return found


def _bands(kind: str, parts: tuple[AbstractSelection, ...]) -> list[str]:
    """The parts' one band, or none; ValueError if there are several."""
    bands = sorted({band for part in parts if (band := getattr(part, "band", None)) is not None})
    if len(bands) > 1:
        raise ValueError(f"{kind}: cuts in several bands ({', '.join(bands)}); use one")
    return bands


def _band(kind: str, parts: tuple[AbstractSelection, ...]) -> str:
    """The band of the parts; AttributeError if they have none, as of any selection without."""
    for band in _bands(kind, parts):
        return band
    raise AttributeError(f"{kind} has no band")


def _union_of(parts, method: Callable) -> tuple:
    """All that a method yields of any part, each once, in order."""
    return tuple(dict.fromkeys(item for part in parts for item in method(part)))


def _steps(part: AbstractSelection) -> tuple[float, ...]:
    """All apparent magnitudes at which a part's probability jumps."""
    return (*(V for V in part.magnitude_limits() if np.isfinite(V)), *part.magnitude_steps())


def _of_place(part: AbstractSelection, l, b, V):
    """Probability by direction (rad) and observed magnitude of a part that depends on nothing else."""
    return part.sky(l, b) * inside(V, *part.magnitude_limits()) * part.completeness_at(l, b, V)


def _only_sky(part: AbstractSelection) -> bool:
    return set(part.observables) <= {"l", "b"}


def _why_unfoldable(kind: str, parts: tuple[AbstractSelection, ...]) -> str:
    for part in parts:
        if part.unfoldable:
            return part.unfoldable
        if not part.placed:
            return (
                f"{part.kind} is not a cut on direction and apparent magnitude alone, of which {kind} can be "
                "folded; state the limits that remain by min and max"
            )
    return ""


class AbstractCombination(AbstractSelection):
    """Parts that are judged together: what an intersection and a union have in common."""

    parts: eqx.AbstractVar[tuple[AbstractSelection, ...]]

    @property
    def band(self) -> str:
        """The band of its magnitude limits."""
        return _band(self.kind, self.parts)

    @property
    def columns(self) -> tuple[str, ...]:
        return _union_of(self.parts, lambda part: part.columns)

    @property
    def observables(self) -> tuple[str, ...]:
        """Those of all parts."""
        return _union_of(self.parts, lambda part: part.observables)

    @property
    def placed(self) -> bool:
        return all(part.placed for part in self.parts)

    @property
    def curved(self) -> bool:
        return any(part.curved for part in self.parts)

    def edges_l(self) -> tuple[float, ...]:
        """Those of all parts."""
        return _union_of(self.parts, lambda part: part.edges_l())

    def edges_b(self) -> tuple[float, ...]:
        """Those of all parts."""
        return _union_of(self.parts, lambda part: part.edges_b())


@final
class Intersection(AbstractCombination):
    """Stars that pass every part: `a & b`.

    >>> from oortax.survey import Latitude, Magnitude
    >>> both = Intersection((Latitude(min=0.0), Magnitude(max=10.0)))
    >>> both.accepts({"l": [0.0, 0.0], "b": [1.0, 1.0], "V": [9.0, 11.0]}).tolist()
    [True, False]
    """

    kind: ClassVar[str] = "intersection"
    parts: tuple[AbstractSelection, ...]

    def __init__(self, parts: Sequence[AbstractSelection]):
        self.parts = _checked(self.kind, parts)
        lo, hi = self.magnitude_limits()
        if lo >= hi:
            raise ValueError(
                f"intersection: keeps nothing, for its parts ask for magnitudes above {lo:g} and below {hi:g}"
            )

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows that all parts accept."""
        return np.all([part.accepts(columns) for part in self.parts], axis=0)

    def weight(self, observed: Columns) -> Any:
        """The product of the parts' weights."""
        return prod(part.weight(observed) for part in self.parts)

    @property
    def unfoldable(self) -> str:
        """The first part's reason."""
        return next((part.unfoldable for part in self.parts if part.unfoldable), "")

    def sky(self, l, b) -> Scalar:
        """The product of the parts."""
        value: Any = prod(part.sky(l, b) for part in self.parts)
        return value

    def cap(self) -> tuple[np.ndarray, float] | None:
        """The smallest of the parts'."""
        caps = [cap for part in self.parts if (cap := part.cap()) is not None]
        return min(caps, key=lambda cap: cap[1], default=None)

    def magnitude_limits(self) -> tuple[float, float]:
        """The narrowest of the parts'."""
        lo, hi = zip(*(part.magnitude_limits() for part in self.parts), strict=True)
        return max(lo), min(hi)

    def magnitude_steps(self) -> tuple[float, ...]:
        """Those of all parts."""
        return _union_of(self.parts, lambda part: part.magnitude_steps())

    def parallax_limits(self, V, parallax_error) -> Limits:
        """The narrowest of the parts'."""
        limits = [part.parallax_limits(V, parallax_error) for part in self.parts]
        return narrowest(limits)

    def magnitudes_at(self, parallax) -> tuple[Any, ...]:
        """Those of all parts."""
        return tuple(V for part in self.parts for V in part.magnitudes_at(parallax))

    def depth(self, modulus, error) -> Any:
        """The product of the parts."""
        return prod(part.depth(modulus, error) for part in self.parts)

    def modulus_limits(self) -> tuple[float, float]:
        """The narrowest of the parts'."""
        lo, hi = zip(*(part.modulus_limits() for part in self.parts), strict=True)
        return max(lo), min(hi)

    def completeness(self, V) -> Scalar:
        """The product of the parts."""
        value: Any = prod(part.completeness(V) for part in self.parts)
        return value

    def completeness_at(self, l, b, V) -> Any:
        """The product of the parts."""
        return prod(part.completeness_at(l, b, V) for part in self.parts)

    def completeness_breaks(self) -> tuple[float, ...]:
        """Those of all parts."""
        return _union_of(self.parts, lambda part: part.completeness_breaks())


@final
class Union(AbstractCombination):
    """Stars that pass one part at least: `a | b`.

    It can be folded over a population if every part is a cut on direction and apparent magnitude; for
    predictions and on rows the parts may be any.

    >>> from oortax.survey import Latitude
    >>> either = Union((Latitude(min=60.0), Latitude(max=-60.0)))
    >>> either.accepts({"l": [0.0] * 3, "b": [1.2, 0.0, -1.2]}).tolist()
    [True, False, True]
    """

    kind: ClassVar[str] = "union"
    parts: tuple[AbstractSelection, ...]

    def __init__(self, parts: Sequence[AbstractSelection]):
        self.parts = _checked(self.kind, parts)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows that any part accepts."""
        return np.any([part.accepts(columns) for part in self.parts], axis=0)

    def weight(self, observed: Columns) -> Any:
        """One less the chance to pass none of the parts."""
        return 1.0 - prod(1.0 - part.weight(observed) for part in self.parts)

    @property
    def unfoldable(self) -> str:
        """A reason if a part is a cut on anything but direction and magnitude."""
        return _why_unfoldable(self.kind, self.parts)

    @property
    def _on_sky(self) -> bool:
        return all(_only_sky(part) for part in self.parts)

    def sky(self, l, b) -> Scalar:
        """Of parts on the sky alone their union; else 1 wherever any part is on the sky."""
        skies: list[Any] = [part.sky(l, b) for part in self.parts]
        if self._on_sky:
            missed: Any = prod(1.0 - sky for sky in skies)
            return 1.0 - missed
        return jnp.where(sum(skies) > 0, jnp.ones((), jnp.result_type(skies[0])), 0.0)

    def magnitude_limits(self) -> tuple[float, float]:
        """The widest of the parts'."""
        lo, hi = zip(*(part.magnitude_limits() for part in self.parts), strict=True)
        return min(lo), max(hi)

    def magnitude_steps(self) -> tuple[float, ...]:
        """Steps of any part within the widest limits."""
        return tuple(V for V in _union_of(self.parts, _steps) if V not in self.magnitude_limits())

    def completeness_at(self, l, b, V) -> Any:
        """The union, in the direction (l, b) (rad) at observed magnitude V."""
        if self._on_sky:
            return self.completeness(V)
        return 1.0 - prod(1.0 - _of_place(part, l, b, V) for part in self.parts)

    def completeness_breaks(self) -> tuple[float, ...]:
        """Breaks and steps of all parts."""
        return _union_of(self.parts, lambda part: (*part.completeness_breaks(), *_steps(part)))


@final
class Complement(AbstractSelection):
    """Stars that do not pass the part, although it could be judged: `~a`.

    A star with NaN in a column that the part reads fails both. Of a fraction p, 1 - p is left. It can be
    folded over a population if the part is a cut on direction and apparent magnitude.

    >>> from oortax.survey import Latitude
    >>> outside = Complement(Latitude(min=-30.0, max=30.0))
    >>> outside.accepts({"l": [0.0] * 3, "b": [0.1, 1.0, float("nan")]}).tolist()
    [False, True, False]
    """

    kind: ClassVar[str] = "complement"
    part: AbstractSelection

    def __init__(self, part: AbstractSelection):
        if not isinstance(part, AbstractSelection):
            raise ValueError(f"complement: {part!r} is not a selection; see SELECTIONS")
        self.part = part

    @property
    def band(self) -> str:
        """The band of its magnitude limits."""
        return _band(self.kind, (self.part,))

    @property
    def columns(self) -> tuple[str, ...]:
        return self.part.columns

    @property
    def observables(self) -> tuple[str, ...]:
        """Those of the part."""
        return self.part.observables

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows that the part would not keep for certain."""
        return np.asarray(self.weight(columns)) > 0

    def weight(self, observed: Columns) -> Any:
        """One less the part's weight."""
        left = 1.0 - self.part.weight(observed)
        known: Any = True
        for name in self.observables:
            known = known & jnp.isfinite(observable(observed, name, self.kind))
        return jnp.where(known, left, 0.0)

    @property
    def unfoldable(self) -> str:
        """A reason if the part is a cut on anything but direction and magnitude."""
        return _why_unfoldable(self.kind, (self.part,))

    @property
    def placed(self) -> bool:
        return self.part.placed

    def sky(self, l, b) -> Scalar:
        """Of a part on the sky alone the rest of the sky; else the whole."""
        if _only_sky(self.part):
            return 1.0 - self.part.sky(l, b)
        return super().sky(l, b)

    @property
    def curved(self) -> bool:
        return self.part.curved

    def edges_l(self) -> tuple[float, ...]:
        """The part's."""
        return self.part.edges_l()

    def edges_b(self) -> tuple[float, ...]:
        """The part's."""
        return self.part.edges_b()

    def magnitude_limits(self) -> tuple[float, float]:
        """What a hard limit on one side leaves; no limits otherwise."""
        lo, hi = self.part.magnitude_limits()
        hard = not (self.part.completeness_breaks() or {"l", "b"} & set(self.observables))
        if hard and len(self.observables) == 1 and np.isinf(lo) != np.isinf(hi):
            return (hi, np.inf) if np.isinf(lo) else (-np.inf, lo)
        return -np.inf, np.inf

    def magnitude_steps(self) -> tuple[float, ...]:
        """The part's steps that are not limits."""
        return tuple(V for V in _steps(self.part) if V not in self.magnitude_limits())

    def completeness_at(self, l, b, V) -> Any:
        """What the part leaves, in the direction (l, b) (rad) at observed magnitude V."""
        if _only_sky(self.part):
            return self.completeness(V)
        return 1.0 - _of_place(self.part, l, b, V)

    def completeness_breaks(self) -> tuple[float, ...]:
        """Breaks and steps of the part."""
        return (*self.part.completeness_breaks(), *_steps(self.part))
