"""Limits on what is observed of a star: magnitude, parallax, colour, proper motion, v_los."""

from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

from oortax.survey.selection import (
    AbstractSelection,
    Columns,
    Limits,
    check_band,
    checked_limits,
    column,
    inside,
    within,
)


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
        self.band = check_band(self.kind, band)
        self.min, self.max = checked_limits("magnitude", min, max)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.band,)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows with a magnitude within the limits."""
        return within(column(columns, self.band, self.kind), self.min, self.max)

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
        self.min, self.max = checked_limits("absolute_magnitude", min, max)
        self.band = check_band(self.kind, band)

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
        return usable & within(M, self.min, self.max)

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
        self.min = checked_limits("parallax_snr", min, None, unit="(a ratio)")[0]
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

    def _chance(self, observed: dict, one) -> Any:
        return super()._chance(observed, one) * (observed["parallax_error"] > 0)


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
        self.min, self.max = checked_limits("colour", min, max)
        self.name = name

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.name,)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows with a colour within the limits."""
        return within(column(columns, self.name, self.kind), self.min, self.max)

    def _chance(self, observed: dict, one) -> Any:
        return one * inside(observed[self.name], self.min, self.max)


@final
class Parallax(AbstractSelection):
    """min <= observed parallax <= max, in mas; folded over the survey's parallax error.

    >>> Parallax(min=1.0).accepts({"parallax": [2.0, 0.5, float("nan")]}).tolist()
    [True, False, False]
    """

    kind: ClassVar[str] = "parallax"
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)

    def __init__(self, min: float | None = None, max: float | None = None):
        self.min, self.max = checked_limits("parallax", min, max, unit="mas")

    @property
    def columns(self) -> tuple[str, ...]:
        return ("parallax",)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows with a parallax within the limits."""
        return within(column(columns, "parallax", self.kind), self.min, self.max)

    def parallax_limits(self, V, parallax_error) -> Limits:
        """The limits themselves."""
        return self.min, self.max


@final
class DistanceModulus(AbstractSelection):
    """min <= observed distance modulus <= max, in mag: of a modulus from another source than V.

    For catalogues that are cut in distance and list no magnitude. The folded probability includes the
    survey's error of the distance modulus, which must be given, and its zero point.

    >>> DistanceModulus(max=15.0).accepts({"distance_modulus": [14.0, 15.1, float("nan")]}).tolist()
    [True, False, False]
    """

    kind: ClassVar[str] = "distance_modulus"
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)

    def __init__(self, min: float | None = None, max: float | None = None):
        self.min, self.max = checked_limits("distance_modulus", min, max)

    @property
    def columns(self) -> tuple[str, ...]:
        return ("distance_modulus",)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows with a distance modulus within the limits."""
        return within(column(columns, "distance_modulus", self.kind), self.min, self.max)

    def _chance(self, observed: dict, one) -> Any:
        return one * inside(observed["distance_modulus"], self.min, self.max)

    def depth(self, modulus, error) -> Any:
        """Phi((max - modulus) / error) - Phi((min - modulus) / error)."""
        high = 1.0 if np.isinf(self.max) else ndtr((self.max - modulus) / error)
        return high if np.isinf(self.min) else high - ndtr((self.min - modulus) / error)

    def modulus_limits(self) -> tuple[float, float]:
        """The limits themselves."""
        return self.min, self.max


_VELOCITIES = (
    "the folded selection knows places and magnitudes only. For predictions, weight stars with velocities by "
    "Survey.weight; a fit needs a catalogue without this cut"
)
_MOTIONS = {
    "total": ("mu_l", "mu_b"),
    "mu_l": ("mu_l",),
    "mu_b": ("mu_b",),
    "mu_ra": ("l", "b", "mu_l", "mu_b"),
    "mu_dec": ("l", "b", "mu_l", "mu_b"),
}


@final
class ProperMotion(AbstractSelection):
    """min <= observed proper motion <= max, in mas/yr: its absolute value, or one component.

    Attributes
    ----------
    component : str, static
        "total", or "mu_l", "mu_b", "mu_ra" or "mu_dec" (with the cosine of the latitude).

    It acts on rows and on stars in six dimensions; it cannot be folded (see `oortax.survey.selection`).

    >>> cut = ProperMotion(max=5.0)
    >>> cut.weight({"mu_l": jnp.array([3.0, 4.0]), "mu_b": jnp.array([3.0, 4.0])}).tolist()
    [1.0, 0.0]
    """

    kind: ClassVar[str] = "proper_motion"
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)
    component: str = eqx.field(static=True)

    def __init__(self, min: float | None = None, max: float | None = None, component: str = "total"):
        self.min, self.max = checked_limits("proper_motion", min, max, unit="mas/yr")
        if component not in _MOTIONS:
            raise ValueError(f"proper_motion(component={component!r}): choose one of {', '.join(_MOTIONS)}")
        if component == "total" and self.max <= 0:
            raise ValueError(
                f"proper_motion(max={max!r}): keeps nothing, for no total proper motion is negative"
            )
        self.component = component

    @property
    def columns(self) -> tuple[str, ...]:
        return _MOTIONS[self.component]

    @property
    def observables(self) -> tuple[str, ...]:
        """The component itself, which follows from l, b, mu_l and mu_b if it is along ra or dec."""
        return ("mu_l", "mu_b") if self.component == "total" else (self.component,)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows with a proper motion within the limits."""
        return np.asarray(self.weight(columns)) > 0

    def _chance(self, observed: dict, one) -> Any:
        if self.component != "total":
            return one * inside(observed[self.component], self.min, self.max)
        square = observed["mu_l"] ** 2 + observed["mu_b"] ** 2
        return one * inside(square, max(self.min, 0.0) ** 2, self.max**2)

    @property
    def unfoldable(self) -> str:
        """It needs the velocity."""
        return _VELOCITIES


@final
class LineOfSightVelocity(AbstractSelection):
    """min <= observed line-of-sight velocity <= max, in km/s; a star without one fails.

    It acts on rows and on stars in six dimensions; it cannot be folded (see `oortax.survey.selection`).

    >>> LineOfSightVelocity(min=-50.0, max=50.0).accepts({"v_los": [10.0, 90.0, float("nan")]}).tolist()
    [True, False, False]
    """

    kind: ClassVar[str] = "v_los"
    min: float = eqx.field(static=True)
    max: float = eqx.field(static=True)

    def __init__(self, min: float | None = None, max: float | None = None):
        self.min, self.max = checked_limits("v_los", min, max, unit="km/s")

    @property
    def columns(self) -> tuple[str, ...]:
        return ("v_los",)

    def accepts(self, columns: Columns) -> np.ndarray:
        """Rows with a velocity within the limits."""
        return within(column(columns, "v_los", self.kind), self.min, self.max)

    def _chance(self, observed: dict, one) -> Any:
        return one * inside(observed["v_los"], self.min, self.max)

    @property
    def unfoldable(self) -> str:
        """It needs the velocity."""
        return _VELOCITIES
