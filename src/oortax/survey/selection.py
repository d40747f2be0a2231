"""Selection: the cuts that decide which stars are in a catalogue.

A cut acts in three ways, which agree. On the host, `accepts` filters the rows of a catalogue by what was
observed. In predictions, `weight` is the probability that a star with given observed quantities is in the
catalogue. In the normalisation of a fit the same cut is folded over the measurement errors: it states which
observed apparent magnitudes and parallaxes pass, and `oortax.survey.fold` integrates over the noise, so that
a hard cut on an observed quantity becomes a smooth and exactly differentiable function of the true one. Cuts
on the sky have no error to fold over.

A cut on proper motions or v_los cannot be folded in this way, for the folded selection knows places only:
`Survey.folded` raises for it, and so does a fit. It acts where the weights of stars in all six dimensions are
at hand: draw (x, v) and the noise, and average `Survey.weight` of what is observed (`Survey.observed`).

`a & b`, `a | b` and `~a` are the intersection, union and complement of selections.
"""

import difflib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from oortax.params import AbstractParametric
from oortax.survey.frames import galactic_to_icrs
from oortax.types import Scalar

Limits = tuple[Any, Any]
Columns = Mapping[str, Any]

BANDS = (
    "U", "B", "V", "R", "I", "J", "H", "K", "Ks", "G", "BP", "RP", "GRVS", "u", "g", "r", "i", "z", "y",
)  # fmt: skip
"""Bands by name: Johnson and Cousins, near-infrared, Gaia, and SDSS-like."""

_ALIASES = {"pmra": "mu_ra", "pmdec": "mu_dec", "pml": "mu_l", "pmb": "mu_b"}


def check_band(kind: str, band: str) -> str:
    """The band, if it is known; ValueError with the nearest known one."""
    if band not in BANDS:
        near = difflib.get_close_matches(str(band), BANDS, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{kind}: unknown band {band!r}{hint} (known: {', '.join(BANDS)})")
    return band


def column(columns: Columns, name: str, wanted_by: str) -> np.ndarray:
    """A catalogue column as a float array; ValueError naming the nearest column if there is none."""
    if name not in columns:
        near = difflib.get_close_matches(name, list(columns), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"the selection {wanted_by!r} needs the column {name!r}{hint} (there are: {', '.join(columns)})"
        )
    return np.asarray(columns[name], dtype=np.float64)


def observable(observed: Columns, name: str, wanted_by: str):
    """An observed quantity as a JAX array; proper motions in ra and dec follow from those in l and b.

    pmra, pmdec, pml and pmb are taken for mu_ra, mu_dec, mu_l and mu_b. ValueError if there is no such
    quantity.
    """
    known = {_ALIASES.get(key, key): values for key, values in observed.items()}
    if name in ("mu_ra", "mu_dec") and name not in known:
        for key in ("l", "b", "mu_l", "mu_b"):
            if key not in known:
                column(observed, key, wanted_by)
        arrays = jnp.broadcast_arrays(*(jnp.asarray(known[key]) for key in ("l", "b", "mu_l", "mu_b")))
        motions = jax.vmap(_to_icrs)(*(a.ravel() for a in arrays))
        return motions[name == "mu_dec"].reshape(arrays[0].shape)
    if name not in known:
        column(observed, name, wanted_by)
    return jnp.asarray(known[name], jnp.result_type(jnp.asarray(known[name]), float))


def _to_icrs(l, b, mu_l, mu_b):
    """Equatorial proper motions; a star without all four gets NaN, and no NaN in its gradients."""
    star = jnp.stack([l, b, mu_l, mu_b])
    fine = jnp.all(jnp.isfinite(star))
    _, _, mu_ra, mu_dec = galactic_to_icrs(*jnp.where(fine, star, 0.0))
    return jnp.where(fine, mu_ra, jnp.nan), jnp.where(fine, mu_dec, jnp.nan)


def within(values: np.ndarray, lo: float, hi: float) -> np.ndarray:
    """lo <= value <= hi; NaN never passes."""
    with np.errstate(invalid="ignore"):
        return (values >= lo) & (values <= hi)


def checked_limits(kind: str, lo, hi, floor=-np.inf, ceiling=np.inf, unit="mag") -> tuple[float, float]:
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
    A cut on anything else than direction, magnitude and parallax overrides `weight` and `unfoldable`.
    """

    kind: eqx.AbstractClassVar[str]

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Names of the catalogue columns that `accepts` reads."""

    @abstractmethod
    def accepts(self, columns: Columns) -> np.ndarray:
        """Which rows pass, by what was observed (host side). l, b in rad, parallax in mas, magnitudes."""

    @property
    def observables(self) -> tuple[str, ...]:
        """Names of the observed quantities that `weight` reads."""
        return self.columns

    def weight(self, observed: Columns) -> Any:
        """Probability, in [0, 1], that a star that shows these observed quantities is in the catalogue.

        Parameters
        ----------
        observed : mapping of arrays that broadcast against each other
            l, b (rad), apparent magnitudes by their band, colours by their name, parallax, parallax_error
            (mas), mu_l, mu_b or mu_ra, mu_dec (mas/yr, with the cosine), v_los (km/s), as far as the cut
            reads them (`observables`). A star with NaN among these has weight 0.

        Traceable. The derivative is that of the fractions; hard edges have none.
        """
        values = {name: observable(observed, name, self.kind) for name in self.observables}
        finite = _all_finite(values)
        safe = {name: jnp.where(finite, value, 1.0) for name, value in values.items()}
        return jnp.where(finite, self._chance(safe, jnp.ones_like(finite, dtype=float)), 0.0)

    def _chance(self, observed: dict, one) -> Any:
        """`weight` of finite quantities; `one` has the shape of all of them together."""
        l, b = (observed.get(name, 0.0 * one) for name in ("l", "b"))
        value = one * self.sky(l, b)
        band = getattr(self, "band", "V")
        if band in observed:
            V = observed[band]
            value = value * inside(V, *self.magnitude_limits()) * self.completeness_at(l, b, V)
        if "parallax" in observed:
            V, error = (observed.get(name, 0.0 * one) for name in (band, "parallax_error"))
            value = value * inside(observed["parallax"], *self.parallax_limits(V, error))
        return value

    @property
    def unfoldable(self) -> str:
        """Why the cut cannot be folded over a population in `Survey.folded`; empty if it can."""
        return ""

    @property
    def placed(self) -> bool:
        """Whether `sky`, `magnitude_limits` and `completeness_at` together are the whole cut."""
        return set(self.observables) <= {"l", "b", "V", getattr(self, "band", "V")}

    def sky(self, l, b) -> Scalar:
        """1 where the direction (rad) passes, else 0; or the fraction of stars there."""
        return jnp.ones(jnp.broadcast_shapes(jnp.shape(l), jnp.shape(b)), jnp.result_type(l, b, float))

    @property
    def curved(self) -> bool:
        """Whether `sky` or `completeness_at` change elsewhere on the sky than at `edges_l` and `edges_b`."""
        return False

    def cap(self) -> tuple[np.ndarray, float] | None:
        """Galactic unit vector and radius (rad) of a cap outside which `sky` is 0; None for the whole sky."""
        return None

    def edges_l(self) -> tuple[float, ...]:
        """Galactic longitudes (rad, in [0, 2 pi]) at which `sky` steps."""
        return ()

    def edges_b(self) -> tuple[float, ...]:
        """Galactic latitudes (rad) at which `sky` steps."""
        return ()

    def magnitude_limits(self) -> tuple[float, float]:
        """Interval of the observed apparent magnitude that passes."""
        return -np.inf, np.inf

    def magnitude_steps(self) -> tuple[float, ...]:
        """Apparent magnitudes other than `magnitude_limits` at which `completeness_at` jumps."""
        return ()

    def parallax_limits(self, V, parallax_error) -> Limits:
        """Interval of the observed parallax (mas) that passes at the observed apparent magnitude V."""
        return -np.inf, np.inf

    def magnitudes_at(self, parallax) -> tuple[Any, ...]:
        """Observed apparent magnitudes at which `parallax` (mas) is just on a limit that moves with V."""
        return ()

    def depth(self, modulus, error) -> Any:
        """Chance that a star passes by its observed distance modulus, of the true one (mag) and its error."""
        return 1.0

    def modulus_limits(self) -> tuple[float, float]:
        """Interval of the observed distance modulus that passes."""
        return -np.inf, np.inf

    def completeness(self, V) -> Scalar:
        """Probability that a star of observed apparent magnitude V is in the catalogue at all."""
        return jnp.ones_like(jnp.asarray(V, dtype=jnp.result_type(V, float)))

    def completeness_at(self, l, b, V) -> Any:
        """The same in the direction (l, b) (rad), where it depends on that; arrays that broadcast."""
        return self.completeness(V)

    def completeness_breaks(self) -> tuple[float, ...]:
        """Apparent magnitudes at which `completeness_at` is not analytic."""
        return ()

    @property
    def uses_parallax(self) -> bool:
        """Whether the observed parallax enters the cut."""
        return "parallax" in self.columns

    def __and__(self, other: "AbstractSelection") -> "AbstractSelection":
        from oortax.survey.combine import Intersection

        return Intersection((self, other))

    def __or__(self, other: "AbstractSelection") -> "AbstractSelection":
        from oortax.survey.combine import Union

        return Union((self, other))

    def __invert__(self) -> "AbstractSelection":
        from oortax.survey.combine import Complement

        return Complement(self)


def _all_finite(values: Mapping[str, Any]):
    """Where all arrays are finite, in their common shape."""
    finite = jnp.ones((), bool)
    for value in values.values():
        finite = finite & jnp.isfinite(value)
    return finite


def inside(value, lo, hi):
    """1 where lo <= value <= hi, else 0, in the dtype of the value."""
    return jnp.where((value >= lo) & (value <= hi), jnp.ones((), jnp.result_type(value, float)), 0.0)


def narrowest(limits) -> Limits:
    """The intersection of intervals, whose ends are arrays or infinite floats."""
    lo, hi = -np.inf, np.inf
    for new_lo, new_hi in limits:
        lo = new_lo if is_open(lo) else lo if is_open(new_lo) else jnp.maximum(lo, new_lo)
        hi = new_hi if is_open(hi) else hi if is_open(new_hi) else jnp.minimum(hi, new_hi)
    return lo, hi


def is_open(limit) -> bool:
    """Whether an end of an interval is at infinity."""
    return isinstance(limit, float) and np.isinf(limit)
