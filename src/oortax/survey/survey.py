"""A survey: the Sun, the cuts, the measurement errors and the dust in front of the stars."""

from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from oortax.params import AbstractParametric
from oortax.survey.combine import Intersection
from oortax.survey.errors import AbstractErrors, Errors
from oortax.survey.extinction import AbstractExtinction
from oortax.survey.fold import WINGS, distance_modulus, fold
from oortax.survey.frames import Observables
from oortax.survey.selection import AbstractSelection, Columns
from oortax.survey.sky import footprint_nodes
from oortax.survey.sun import Sun
from oortax.types import Scalar


class Acceptance(NamedTuple):
    """Which rows pass every cut, and how many fail each cut (a row may fail several)."""

    mask: np.ndarray
    failed: dict[str, int]


@final
class Survey(AbstractParametric):
    """A survey of stars from the Sun.

    Attributes
    ----------
    sun : Sun
        The observer's place and motion.
    selection : tuple of AbstractSelection
        The cuts; a star must pass all of them. An intersection counts as its parts.
    errors : AbstractErrors
        Measurement errors; `Errors` unless stated.
    extinction : AbstractExtinction or None
        Dust; None for a transparent Galaxy or magnitudes corrected for it.

    >>> from oortax import stars
    >>> from oortax.survey import AbsLatitude, Magnitude
    >>> survey = Survey(selection=(Magnitude(max=10.5), AbsLatitude(min=25.0)))
    >>> clump = stars.Gaussian(mean=0.8, sigma=0.25)
    >>> [round(float(survey.folded(clump, 0.0, 1.0, s)), 4) for s in (0.2, 0.871, 2.0)]
    [1.0, 0.4999, 0.0]
    """

    sun: Sun
    selection: tuple[AbstractSelection, ...]
    errors: AbstractErrors
    extinction: AbstractExtinction | None

    def __init__(
        self, sun: Sun | None = None, selection=(), errors: AbstractErrors | None = None, extinction=None
    ):
        self.sun = Sun() if sun is None else sun
        cuts = (selection,) if isinstance(selection, AbstractSelection) else tuple(selection)
        self.selection = tuple(part for cut in cuts for part in _parts(cut))
        self.errors = Errors() if errors is None else errors
        self.extinction = extinction
        _check(self)

    def accepts(self, columns: Columns) -> Acceptance:
        """Apply the cuts to a catalogue's observed columns (host side).

        Columns are arrays by name: l, b (rad), parallax, parallax_error (mas), apparent magnitudes by
        the name of their band, colour. NaN passes no cut. ValueError names a missing column.
        """
        lengths = {name: np.shape(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
            raise ValueError(f"the catalogue's columns must be 1-D and equally long, not {lengths}")
        mask = np.ones(next(iter(lengths.values()), (0,)), dtype=bool)
        failed: dict[str, int] = {}
        for name, selection in zip(self.names, self.selection, strict=True):
            passes = selection.accepts(columns)
            failed[name] = int(np.sum(~passes))
            mask &= passes
        return Acceptance(mask, failed)

    @property
    def band(self) -> str:
        """The band of the cuts on magnitude; V if no cut names one."""
        return next((band for cut in self.selection if (band := getattr(cut, "band", None)) is not None), "V")

    def weight(self, observed: Columns) -> Any:
        """Probability, in [0, 1], that a star that shows these observed quantities is in the catalogue.

        The product of the cuts' own weights (see `AbstractSelection.weight` for what `observed` holds).
        There is one apparent magnitude: in the survey's band, or as V. Traceable.
        """
        magnitude = next((observed[name] for name in (self.band, "V") if name in observed), None)
        if magnitude is not None:
            observed = {self.band: magnitude, "V": magnitude} | dict(observed)
        value: Any = jnp.ones(())
        for selection in self.selection:
            value = value * selection.weight(observed)
        if not self.selection:
            value = jnp.ones(jnp.broadcast_shapes(*(jnp.shape(values) for values in observed.values())))
        return value

    def observed(self, star: Observables, M, noise) -> dict[str, Any]:
        """What the survey observes of one star of true absolute magnitude M, as `weight` takes it.

        Parameters
        ----------
        star : Observables
            True place and motion, as `observe` gives them; shape ().
        M : shape (), mag
        noise : shape (6,)
            Standard normal deviates for V, parallax, mu_l, mu_b, v_los and the distance modulus: kept from
            one model to the next, they make a smooth function of the parameters. Zeros for no noise.

        The errors are those of the star's true apparent magnitude, and come with it: parallax_error,
        mu_l_error, mu_b_error, v_los_error. A parallax and a distance modulus of which the survey states no
        error are exact, and so are directions. Batches by `jax.vmap`.
        """
        V = M + distance_modulus(star.s) + self.dust(star.l, star.b, star.s)
        sigma = self.errors.at(V)
        magnitude = V + sigma["V"] * noise[0]
        return {
            "l": star.l,
            "b": star.b,
            "V": magnitude,
            self.band: magnitude,
            "parallax": 1 / star.s + self.errors.parallax_zero_point + sigma["parallax"] * noise[1],
            "parallax_error": sigma["parallax"],
            "mu_l": star.mu_l + sigma["mu_l"] * noise[2],
            "mu_l_error": sigma["mu_l"],
            "mu_b": star.mu_b + sigma["mu_b"] * noise[3],
            "mu_b_error": sigma["mu_b"],
            "v_los": star.v_los + sigma["v_los_total"] * noise[4],
            "v_los_error": sigma["v_los"],
            "distance_modulus": distance_modulus(star.s)
            + self.errors.distance_modulus_zero_point
            + sigma["distance_modulus"] * noise[5],
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds of the cuts in order, numbered where one occurs again."""
        kinds = [selection.kind for selection in self.selection]
        seen = [kinds[:i].count(kind) for i, kind in enumerate(kinds)]
        return tuple(kind if n == 0 else f"{kind}_{n + 1}" for kind, n in zip(kinds, seen, strict=True))

    def sky(self, l, b) -> Scalar:
        """1 where every cut on the direction (rad) passes, else 0; or the fraction of stars there."""
        value = jnp.ones((), jnp.result_type(l, b, float))
        for selection in self.selection:
            value = value * selection.sky(l, b)
        return value

    def edges_b(self) -> tuple[float, ...]:
        """Latitudes (rad) from pole to pole between which no cut steps; the plane is among them."""
        inner = {edge for selection in self.selection for edge in selection.edges_b()}
        return tuple(sorted({-np.pi / 2, 0.0, np.pi / 2} | {edge + 0.0 for edge in inner}))

    def edges_l(self) -> tuple[float, ...]:
        """Longitudes (rad) from 0 to 2 pi between which no cut steps."""
        inner = {edge for selection in self.selection for edge in selection.edges_l()}
        return tuple(sorted({0.0, 2 * np.pi} | inner))

    @property
    def curved(self) -> bool:
        """Whether the footprint has other borders than meridians and parallels; `sky_nodes` then serves."""
        return any(selection.curved for selection in self.selection)

    def sky_nodes(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nodes (l, b, rad) spread evenly over the footprint, some n, and the area (sr) of each.

        The sum of area x `sky` x f approximates the integral of a smooth f over the footprint. Accuracy, of a
        disc's counts within 1 kpc with n = 1200: 1e-6 on the whole sky, 2e-4 in a cone, 1.4e-3 where borders
        cut through a steep gradient; it falls as 1/n. ValueError if the survey sees no part of the sky.
        """
        caps = [cap for selection in self.selection if (cap := selection.cap()) is not None]
        cap = min(caps, key=lambda cap: cap[1], default=None)
        sky = jax.jit(jax.vmap(self.sky))
        return footprint_nodes(lambda l, b: sky(jnp.asarray(l), jnp.asarray(b)), cap, n)

    def dust(self, l, b, s) -> Scalar:
        """Extinction (mag) in front of a star."""
        if self.extinction is None:
            return jnp.zeros((), jnp.result_type(l, b, s, float))
        return self.extinction.A(self.sun, l, b, s)

    def folded(self, stars: Any, l, b, s) -> Scalar:
        """Probability that a star of a population at (l, b, s) enters the catalogue.

            S(l, b, s) = sky(l, b) int dM F(M) P[cuts on observed V and parallax | M, s, errors]

        Parameters
        ----------
        stars : AbstractMagnitudes
            The population's F(M), by its `support`, `breaks` and `blurred`.
        l, b : shape (), rad
        s : shape (), kpc, positive

        Accuracy: absolute error below 3e-8, relative error below 1e-6 as long as S > 1e-3, for a
        photometric error of 0.01 mag (a Tabulated F at 0.05 mag: 4e-7 and 1e-5). Smooth and
        differentiable in s, the errors, the zero point, the dust and the parameters of F. Batches
        by `jax.vmap`; S is 0 for s <= 0.

        Raises
        ------
        ValueError
            For cuts that cannot be folded: on proper motions or v_los, or on colours within F(M)'s own.
        """
        noise = self.errors.V
        lo, hi = stars.support
        bounds = (lo - WINGS * noise, hi + WINGS * noise)
        wings = jnp.stack([lo + WINGS * noise, hi - WINGS * noise, lo + 0 * noise, hi + 0 * noise])
        breaks = jnp.concatenate([stars.breaks(), wings])
        return self._fold(lambda m: stars.blurred(m, noise), bounds, breaks, l, b, s)

    def log_magnitude(self, stars: Any, l, b, s, V) -> Scalar:
        """ln of the density, per mag, of the magnitude V observed of a star of a population at (l, b, s).

        F(M) convolved with the error of V, as `folded` has it: numerator and normalisation of a
        likelihood then share one F. -inf where no star of the population can show V.
        """
        density = stars.blurred(V - distance_modulus(s) - self.dust(l, b, s), self.errors.V)
        seen = density > 0.0
        return jnp.where(seen, jnp.log(jnp.where(seen, density, 1.0)), -jnp.inf)

    def probability(self, M, l, b, s) -> Scalar:
        """Probability that a star of true absolute magnitude M at (l, b, s) enters the catalogue."""
        noise = self.errors.V
        bounds = (M - WINGS * noise, M + WINGS * noise)
        breaks = M + noise * jnp.array([-4.0, -2.0, 0.0, 2.0, 4.0], jnp.result_type(noise))

        def density(m):
            return jnp.exp(-0.5 * ((m - M) / noise) ** 2) / (np.sqrt(2 * np.pi) * noise)

        return self._fold(density, bounds, breaks, l, b, s)

    def _fold(self, density, bounds, breaks, l, b, s) -> Scalar:
        for name, selection in zip(self.names, self.selection, strict=True):
            if reason := selection.unfoldable:
                raise ValueError(f"the cut {name!r} cannot be folded over a population: {reason}")
        valid = jnp.asarray(s) > 0
        safe = jnp.where(valid, s, 1.0)
        mu = distance_modulus(safe) + self.dust(l, b, safe)
        parallax = 1.0 / safe + self.errors.parallax_zero_point
        error_at = error = None
        if self.errors.vary:
            error_at = lambda V: self.errors.at(V)["parallax"]  # noqa: E731
            error = error_at(mu + (bounds[0] + bounds[1]) / 2)
        error = self.errors.parallax if error is None else error
        value = fold(self.selection, density, bounds, breaks, mu, parallax, error, (l, b), error_at)
        modulus = distance_modulus(safe) + self.errors.distance_modulus_zero_point
        for selection in self.selection:
            value = value * selection.depth(modulus, self.errors.distance_modulus)
        return jnp.where(valid, self.sky(l, b) * value, 0.0)

    def distance_range(self, stars: Any) -> tuple[Scalar, Scalar]:
        """Distances (kpc) outside which no star of the population passes limits of magnitude or modulus.

        `folded` is below 1e-8 there. Dust only brings the far end nearer. ValueError if the survey
        has no faint limit.
        """
        V_lo, V_hi = self.magnitude_limits()
        low, high = self._moduli()
        if not np.isfinite(V_hi) and not high:
            raise ValueError(
                "the survey has no faint limit, so its volume is unbounded: add a magnitude selection with a "
                "max, or, where distance moduli are listed, one of distance_modulus"
            )
        lo, hi = stars.support
        wing = WINGS * self.errors.V
        ends = [V_hi - (lo - wing)] if np.isfinite(V_hi) else []
        far = 10 ** (0.2 * jnp.min(jnp.stack(ends + high[-1:])) - 2)
        starts = [V_lo - (hi + wing)] if np.isfinite(V_lo) and self.extinction is None else []
        starts += low[:1]
        near = 10 ** (0.2 * jnp.max(jnp.stack(starts)) - 2) if starts else jnp.zeros_like(far)
        near = jnp.minimum(near, far)
        return jax.lax.stop_gradient(near), jax.lax.stop_gradient(far)

    def _moduli(self) -> tuple[list, list]:
        """True distance moduli about the limits in the observed one: at the nearer limit and at the farther.

        Half the error's wings, and all of them, to either side; in ascending order; none without a limit.
        """
        limits = [selection.modulus_limits() for selection in self.selection]
        ends = max([lo for lo, _ in limits], default=-np.inf), min([hi for _, hi in limits], default=np.inf)
        wing, zero_point = WINGS * self.errors.distance_modulus, self.errors.distance_modulus_zero_point
        near, far = (
            [end - zero_point + k * wing for k in (-1.0, -0.5, 0.0, 0.5, 1.0)] if np.isfinite(end) else []
            for end in ends
        )
        return near, far

    def magnitude_limits(self) -> tuple[float, float]:
        """Interval of the observed apparent magnitude outside which no star passes."""
        limits = [selection.magnitude_limits() for selection in self.selection]
        return max([lo for lo, _ in limits], default=-np.inf), min([hi for _, hi in limits], default=np.inf)

    def distance_edges(self, stars: Any, l=None, b=None):
        """Distances (kpc, ascending, shape (n,)) between which `folded` is smooth in s.

        They are where the magnitude limits sweep over the ends of F and of the cuts in absolute
        magnitude, and the ends of `distance_range`. Give (l, b) for the edges behind the dust in that
        direction. They carry no gradient: S is continuous across them, so an integral over
        s needs none. n depends on the selection only; edges may coincide.
        """
        near, far = self.distance_range(stars)
        limits = [V for V in self.magnitude_limits() if np.isfinite(V)]
        limits += sorted({V for selection in self.selection for V in selection.magnitude_steps()})
        moduli = jnp.asarray([V - M for V in limits for M in stars.support], near.dtype)
        found = [10 ** (0.2 * moduli - 2)]
        if self.extinction is not None and l is not None and b is not None:
            found = [jax.vmap(lambda mu: self._distance_behind_dust(mu, l, b))(moduli)]
        found += [10 ** (0.2 * jnp.atleast_1d(modulus) - 2) for part in self._moduli() for modulus in part]
        # A cut in M_obs meets a limit in V at one observed parallax, whatever the dust. At 100 mas V = M.
        steps = [M for selection in self.selection for M in selection.magnitudes_at(100.0)]
        for M in steps:
            for V in limits:
                inverse = 100 * 10 ** (0.2 * (M - V)) - self.errors.parallax_zero_point
                found.append(jnp.where(inverse > 0, 1 / jnp.where(inverse > 0, inverse, 1.0), far)[None])
        inner = jnp.clip(jnp.concatenate(found), near, far)
        return jax.lax.stop_gradient(jnp.sort(jnp.concatenate([jnp.stack([near, far]), inner])))

    def _distance_behind_dust(self, modulus, l, b):
        """The distance at which distance modulus plus extinction reaches a value, by bisection in ln s."""

        def halve(_, bracket):
            lo, hi = bracket
            middle = (lo + hi) / 2
            s = jnp.exp(middle)
            beyond = distance_modulus(s) + self.dust(l, b, s) > modulus
            return jnp.where(beyond, lo, middle), jnp.where(beyond, middle, hi)

        hi = jnp.log(10.0) * (0.2 * modulus - 2)
        lo, hi = jax.lax.fori_loop(0, 60, halve, (hi - 12.0, hi))
        return jax.lax.stop_gradient(jnp.exp((lo + hi) / 2))


def _parts(cut) -> tuple:
    """The parts of an intersection, and of those; anything else itself."""
    if isinstance(cut, Intersection):
        return tuple(part for inner in cut.parts for part in _parts(inner))
    return (cut,)


def _check(survey: Survey) -> None:
    """Raise ValueError on parts of the wrong type, two bands, or parallax cuts without an error."""
    for part, kind, name in ((survey.sun, Sun, "sun"), (survey.errors, Errors, "errors")):
        if isinstance(part, str | int | float | dict):
            raise ValueError(f"Survey({name}={part!r}): expected {kind.__name__}(...)")
    for selection in survey.selection:
        if not isinstance(selection, AbstractSelection):
            raise ValueError(f"Survey(selection=...): {selection!r} is not a selection; see SELECTIONS")
    bands = sorted({band for s in survey.selection if (band := getattr(s, "band", None)) is not None})
    if len(bands) > 1:
        raise ValueError(
            f"Survey: cuts in several bands ({', '.join(bands)}); a population has one absolute magnitude, "
            "so all magnitude cuts must be in the band of its distribution F(M)"
        )
    lo, hi = survey.magnitude_limits()
    if lo >= hi:
        raise ValueError(
            f"Survey: the selection keeps nothing, for its cuts ask for magnitudes above {lo:g} and "
            f"below {hi:g}"
        )
    modulus_error = survey.errors.distance_modulus
    if any("distance_modulus" in s.columns for s in survey.selection) and eqx.is_array(modulus_error):
        if not isinstance(modulus_error, Tracer) and not bool(np.all(np.asarray(modulus_error) > 0)):
            raise ValueError(
                "Survey: the selection uses the observed distance modulus, so its error must be folded over; "
                "give Errors(distance_modulus=...) the catalogue's typical error in mag, for example 0.1"
            )
    error = survey.errors.parallax
    if any(s.uses_parallax for s in survey.selection) and eqx.is_array(error):
        if not isinstance(error, Tracer) and not bool(np.all(np.asarray(error) > 0)):
            raise ValueError(
                "Survey: the selection uses the observed parallax, so its error must be folded over; give "
                "Errors(parallax=...) the catalogue's typical error in mas, for example 0.02"
            )
