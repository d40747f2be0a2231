"""Measurement errors assumed where the catalogue states none: constant, Gaia's, or tabulated."""

from collections.abc import Mapping
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.params import AbstractParametric, as_array, param


class AbstractErrors(AbstractParametric):
    """Gaussian measurement errors of a survey (standard deviations) and its zero points.

    A catalogue's own per-star errors are used in the numerator of the likelihood wherever it has
    them. The normalisation and mock catalogues need the errors of stars that are in no catalogue, hence a
    smooth model: `at` gives them by apparent magnitude, the attributes those of a typical star.

    Attributes
    ----------
    V : mag, positive; of the apparent magnitude on which stars are selected
    pm : mas/yr, positive; of each proper-motion component
    v_los : km/s, positive
    v_los_jitter : km/s, not negative
        Extra scatter of v_los from unresolved binaries and atmospheric motions, in quadrature.
    parallax : mas, not negative; 0 where none is stated
    distance_modulus : mag, not negative; of a distance modulus from another source than V
    parallax_zero_point : mas; observed = 1 / s + zero point + noise
    distance_modulus_zero_point : mag; observed = 5 log10(s / 10 pc) + zero point + noise
    """

    V: eqx.AbstractVar[Array]
    pm: eqx.AbstractVar[Array]
    v_los: eqx.AbstractVar[Array]
    v_los_jitter: eqx.AbstractVar[Array]
    parallax: eqx.AbstractVar[Array]
    distance_modulus: eqx.AbstractVar[Array]
    parallax_zero_point: eqx.AbstractVar[Array]
    distance_modulus_zero_point: eqx.AbstractVar[Array]

    def at(self, magnitude) -> dict[str, Any]:
        """Errors of a star of this apparent magnitude, by observable.

        V (mag), parallax (mas), mu_l, mu_b (mas/yr), v_los (km/s, of the measurement), v_los_total (with the
        jitter), distance_modulus (mag): arrays of the shape of `magnitude`, traceable.
        """
        like = jnp.zeros_like(jnp.asarray(magnitude, jnp.result_type(magnitude, float)))
        pm = self.pm + like
        return {
            "V": self.V + like,
            "parallax": self.parallax + like,
            "mu_l": pm,
            "mu_b": pm,
            "v_los": self.v_los + like,
            "v_los_total": self.v_los_total + like,
            "distance_modulus": self.distance_modulus + like,
        }

    @property
    def vary(self) -> bool:
        """Whether the errors depend on magnitude."""
        return False

    @property
    def v_los_total(self):
        """Measurement error and jitter of v_los in quadrature, km/s."""
        return (self.v_los**2 + self.v_los_jitter**2) ** 0.5


@final
class Errors(AbstractErrors):
    """Gaussian measurement errors of a survey (standard deviations) and its parallax zero point, constant.

    A catalogue's own per-star errors are used in the numerator of the likelihood wherever it has
    them. The normalisation needs the chance that a star that is not in the catalogue would have
    entered it, hence a smooth model: one error for all stars.

    Attributes
    ----------
    V : shape (), mag, positive
        Error of the apparent magnitude on which stars are selected.
    pm : shape (), mas/yr, positive
        Error of each proper-motion component.
    v_los : shape (), km/s, positive
        Error of the line-of-sight velocity.
    v_los_jitter : shape (), km/s, not negative
        Extra scatter of v_los from unresolved binaries and atmospheric motions, in quadrature.
    parallax : shape (), mas, not negative
        Error of the parallax; 0 (or None) where none is stated. Cuts on quantities that are derived
        from the parallax need a positive one.
    distance_modulus : shape (), mag, not negative
        Error of a distance modulus from another source than V; 0 (or None) where none is published.
    parallax_zero_point : shape (), mas
        Offset of the catalogue's parallaxes: observed = 1 / s + zero point + noise.
    distance_modulus_zero_point : shape (), mag
        Offset of the catalogue's distance moduli (not of those that follow from V and F(M)).

    >>> errors = Errors(V=0.01, parallax=0.02)
    >>> round(float(errors.v_los_total), 3)
    0.5
    """

    V: Float[Array, ""] = param(constraints.positive, "mag", "apparent-magnitude error")
    pm: Float[Array, ""] = param(constraints.positive, "mas/yr", "proper-motion error")
    v_los: Float[Array, ""] = param(constraints.positive, "km/s", "line-of-sight velocity error")
    v_los_jitter: Float[Array, ""] = param(constraints.nonnegative, "km/s", "binary scatter of v_los")
    parallax: Float[Array, ""] = param(constraints.nonnegative, "mas", "parallax error")
    distance_modulus: Float[Array, ""] = param(constraints.nonnegative, "mag", "distance-modulus error")
    parallax_zero_point: Float[Array, ""] = param(constraints.real, "mas", "parallax offset")
    distance_modulus_zero_point: Float[Array, ""] = param(constraints.real, "mag", "distance-modulus offset")

    def __init__(
        self,
        V: Any = 0.01,
        pm: Any = 0.02,
        v_los: Any = 0.5,
        v_los_jitter: Any = 0.0,
        parallax: Any = None,
        parallax_zero_point: Any = 0.0,
        distance_modulus: Any = None,
        distance_modulus_zero_point: Any = 0.0,
    ):
        self.V = V
        self.pm = pm
        self.v_los = v_los
        self.v_los_jitter = v_los_jitter
        unstated: Any = 0.0
        self.parallax = unstated if parallax is None else parallax
        self.distance_modulus = unstated if distance_modulus is None else distance_modulus
        self.parallax_zero_point = parallax_zero_point
        self.distance_modulus_zero_point = distance_modulus_zero_point


# Factor of DR3's parallax errors, and proper-motion errors in units of parallax errors (mean of both
# components; per yr).
_RELEASES = {"dr3": (1.0, 0.96), "dr4": (0.749, 0.54), "dr5": (0.527, 0.27)}


@final
class GaiaErrors(AbstractErrors):
    """Gaia's errors as functions of G, averaged over the sky.

        sigma_parallax = T sqrt(40 + 800 z + 30 z^2) muas,  z = max(10^(0.4 (13 - 15)), 10^(0.4 (G - 15)))

    and sigma_pm = 0.96 (DR3), 0.54 (DR4) or 0.27 (DR5) sigma_parallax per yr in each component, with T = 1,
    0.749 or 0.527: ESA's Gaia science performance, as in PyGaia 3 (Brown). For line-of-sight velocities

        sigma_v = 0.12 + 1.18 exp(0.836 (G_RVS - 12)) km/s,

    which passes through the medians of DR3, 1.3 km/s at G_RVS = 12 and 6.4 km/s at 14 (Katz et al. 2023, A&A
    674, A5); hot stars are worse. Later releases are given DR3's times T.

    Attributes
    ----------
    release : "dr3", "dr4" or "dr5", static
    G : mag, static
        Of the typical star, for what takes one error for all (`pm`, `v_los`, `parallax`).
    scale : shape (), positive
        Factor of the astrometric errors; 1.1 or so for what they are underestimated by.
    G_minus_GRVS : shape (), mag
        Colour by which G_RVS follows from G; about 0.5 for solar-type stars, 0.8 to 1 for red giants.
    V, v_los_jitter, distance_modulus, parallax_zero_point, distance_modulus_zero_point
        As in `Errors`; V is that of the magnitude on which stars are selected.

    The magnitude of `at` is taken for G. Where Gaia has looked more often the errors are smaller than the
    sky's average; that is not modelled.

    >>> gaia = GaiaErrors()
    >>> [round(float(gaia.at(15.0)[name]), 3) for name in ("parallax", "mu_l", "v_los")]
    [0.029, 0.028, 7.544]
    """

    release: str = eqx.field(static=True)
    G: float = eqx.field(static=True)
    V: Float[Array, ""] = param(constraints.positive, "mag", "apparent-magnitude error")
    scale: Float[Array, ""] = param(constraints.positive, "", "factor of the astrometric errors")
    G_minus_GRVS: Float[Array, ""] = param(constraints.real, "mag", "colour G - G_RVS")
    v_los_jitter: Float[Array, ""] = param(constraints.nonnegative, "km/s", "binary scatter of v_los")
    distance_modulus: Float[Array, ""] = param(constraints.nonnegative, "mag", "distance-modulus error")
    parallax_zero_point: Float[Array, ""] = param(constraints.real, "mas", "parallax offset")
    distance_modulus_zero_point: Float[Array, ""] = param(constraints.real, "mag", "distance-modulus offset")

    def __init__(
        self,
        release: str = "dr3",
        G: float = 13.0,
        scale: Any = 1.0,
        V: Any = 0.01,
        G_minus_GRVS: Any = 0.8,
        v_los_jitter: Any = 0.0,
        distance_modulus: Any = 0.0,
        parallax_zero_point: Any = 0.0,
        distance_modulus_zero_point: Any = 0.0,
    ):
        if release not in _RELEASES:
            raise ValueError(f"GaiaErrors(release={release!r}): choose one of {', '.join(_RELEASES)}")
        if not np.isfinite(G):
            raise ValueError(f"GaiaErrors(G={G!r}): give the magnitude of a typical star")
        self.release, self.G = release, float(G)
        self.scale, self.V, self.G_minus_GRVS = scale, V, G_minus_GRVS
        self.v_los_jitter, self.distance_modulus = v_los_jitter, distance_modulus
        self.parallax_zero_point = parallax_zero_point
        self.distance_modulus_zero_point = distance_modulus_zero_point

    def _parallax(self, G):
        z = 10 ** (0.4 * (jnp.maximum(G, 13.0) - 15.0))
        return 1e-3 * _RELEASES[self.release][0] * self.scale * jnp.sqrt(40.0 + 800.0 * z + 30.0 * z**2)

    def _v_los(self, G):
        faint = G - self.G_minus_GRVS - 12.0
        return _RELEASES[self.release][0] * (0.12 + 1.18 * jnp.exp(0.836 * faint))

    @property
    def parallax(self):
        """mas, of the typical star."""
        return self._parallax(self.G)

    @property
    def pm(self):
        """mas/yr, of the typical star."""
        return _RELEASES[self.release][1] * self._parallax(self.G)

    @property
    def v_los(self):
        """km/s, of the typical star."""
        return self._v_los(self.G)

    @property
    def vary(self) -> bool:
        """They do."""
        return True

    def at(self, magnitude) -> dict[str, Any]:
        """Errors of a star of this G; see `AbstractErrors.at`."""
        G = jnp.asarray(magnitude, jnp.result_type(magnitude, float))
        parallax, v_los = self._parallax(G), self._v_los(G)
        pm = _RELEASES[self.release][1] * parallax
        return super().at(G) | {
            "parallax": parallax,
            "mu_l": pm,
            "mu_b": pm,
            "v_los": v_los,
            "v_los_total": jnp.sqrt(v_los**2 + self.v_los_jitter**2),
        }


_TABULATED = ("parallax", "pm", "v_los")


@final
class TabulatedErrors(AbstractErrors):
    """Errors tabulated in apparent magnitude, such as the medians of a catalogue's own per-star errors.

    Their logarithms are interpolated linearly, and constant beyond the table's ends.

    Attributes
    ----------
    magnitude : n >= 2 increasing magnitudes, static
    tables : shape (3, n)
        Errors of parallax (mas), of each proper-motion component (mas/yr) and of v_los (km/s), positive.
    typical : mag, static
        Magnitude of the typical star, for what takes one error for all.
    V, v_los_jitter, distance_modulus, parallax_zero_point, distance_modulus_zero_point
        As in `Errors`.

    >>> errors = TabulatedErrors([10.0, 14.0], parallax=[0.02, 0.04], pm=[0.02, 0.05], v_los=[0.5, 2.0])
    >>> round(float(errors.at(12.0)["v_los"]), 3), round(float(errors.parallax), 4)
    (1.0, 0.0283)
    """

    magnitude: tuple[float, ...] = eqx.field(static=True)
    typical: float = eqx.field(static=True)
    tables: Float[Array, "3 n"]
    V: Float[Array, ""] = param(constraints.positive, "mag", "apparent-magnitude error")
    v_los_jitter: Float[Array, ""] = param(constraints.nonnegative, "km/s", "binary scatter of v_los")
    distance_modulus: Float[Array, ""] = param(constraints.nonnegative, "mag", "distance-modulus error")
    parallax_zero_point: Float[Array, ""] = param(constraints.real, "mas", "parallax offset")
    distance_modulus_zero_point: Float[Array, ""] = param(constraints.real, "mag", "distance-modulus offset")

    def __init__(
        self,
        magnitude: Any,
        parallax: Any,
        pm: Any,
        v_los: Any,
        typical: float | None = None,
        V: Any = 0.01,
        v_los_jitter: Any = 0.0,
        distance_modulus: Any = 0.0,
        parallax_zero_point: Any = 0.0,
        distance_modulus_zero_point: Any = 0.0,
    ):
        self.magnitude = tuple(np.asarray(magnitude, dtype=float).ravel().tolist())
        if len(self.magnitude) < 2 or not np.all(np.diff(self.magnitude) > 0):
            raise ValueError("TabulatedErrors(magnitude=...): give two or more increasing magnitudes")
        for name, table in zip(_TABULATED, (parallax, pm, v_los), strict=True):
            values = np.asarray(table, dtype=float)
            if values.shape != (len(self.magnitude),) or not np.all(values > 0):
                raise ValueError(
                    f"TabulatedErrors({name}=...): give a positive error for each of "
                    f"the {len(self.magnitude)} magnitudes"
                )
        tables: Any = as_array(np.array([parallax, pm, v_los], dtype=float))
        self.tables = tables
        self.typical = float(np.mean(self.magnitude) if typical is None else typical)
        self.V, self.v_los_jitter, self.distance_modulus = V, v_los_jitter, distance_modulus
        self.parallax_zero_point = parallax_zero_point
        self.distance_modulus_zero_point = distance_modulus_zero_point

    @classmethod
    def from_catalogue(
        cls, columns: Mapping[str, Any], band: str = "V", bins: int = 12, **others: Any
    ) -> "TabulatedErrors":
        """The medians of a catalogue's own errors in `bins` bins of equal numbers of stars.

        `columns` has the magnitude by its band, parallax_error, mu_l_error, mu_b_error (of which the root
        mean square counts) and v_los_error; NaN where a star has none. ValueError if a bin has none at all.
        """
        wanted = (band, "parallax_error", "mu_l_error", "mu_b_error", "v_los_error")
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise ValueError(f"TabulatedErrors.from_catalogue: no column {', '.join(missing)}")
        m, parallax, mu_l, mu_b, v_los = (np.asarray(columns[name], dtype=float) for name in wanted)
        known = np.flatnonzero(np.isfinite(m))
        groups = np.array_split(known[np.argsort(m[known], kind="stable")], bins)
        errors = (parallax, np.sqrt((mu_l**2 + mu_b**2) / 2), v_los)
        sizes = [[int(np.isfinite(e[g]).sum()) for g in groups] for e in errors]
        if min(min(row) for row in sizes) == 0:
            raise ValueError(
                f"TabulatedErrors.from_catalogue: of {len(known):,} stars some of {bins} bins have no error "
                "of parallax, proper motion or v_los; use fewer bins"
            )
        tables = [[float(np.nanmedian(e[g])) for g in groups] for e in errors]
        centres = [float(np.median(m[g])) for g in groups]
        others = {"typical": float(np.median(m[known]))} | others
        return cls(centres, tables[0], tables[1], tables[2], **others)

    def _at(self, i: int, magnitude):
        knots = jnp.asarray(self.magnitude, self.tables.dtype)
        return jnp.exp(jnp.interp(magnitude, knots, jnp.log(self.tables[i])))

    @property
    def parallax(self):
        """mas, of the typical star."""
        return self._at(0, self.typical)

    @property
    def pm(self):
        """mas/yr, of the typical star."""
        return self._at(1, self.typical)

    @property
    def v_los(self):
        """km/s, of the typical star."""
        return self._at(2, self.typical)

    @property
    def vary(self) -> bool:
        """They do."""
        return True

    def at(self, magnitude) -> dict[str, Any]:
        """Errors of a star of this apparent magnitude; see `AbstractErrors.at`."""
        V = jnp.asarray(magnitude, jnp.result_type(magnitude, float))
        parallax, pm, v_los = (self._at(i, V) for i in range(3))
        return super().at(V) | {
            "parallax": parallax,
            "mu_l": pm,
            "mu_b": pm,
            "v_los": v_los,
            "v_los_total": jnp.sqrt(v_los**2 + self.v_los_jitter**2),
        }


ERRORS: dict[str, type[AbstractErrors]] = {
    "constant": Errors,
    "gaia": GaiaErrors,
    "tabulated": TabulatedErrors,
}
"""Error models by the `kind` used in configuration files; constant if there is none."""
