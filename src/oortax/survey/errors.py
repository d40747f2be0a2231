"""Measurement errors assumed where the catalogue states none."""

from typing import Any, final

from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.params import AbstractParametric, param


@final
class Errors(AbstractParametric):
    """Gaussian measurement errors of a survey (standard deviations) and its parallax zero point.

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

    def __init__(
        self,
        V: Any = 0.01,
        pm: Any = 0.02,
        v_los: Any = 0.5,
        v_los_jitter: Any = 0.0,
        parallax: Any = None,
        parallax_zero_point: Any = 0.0,
        distance_modulus: Any = None,
    ):
        self.V = V
        self.pm = pm
        self.v_los = v_los
        self.v_los_jitter = v_los_jitter
        unstated: Any = 0.0
        self.parallax = unstated if parallax is None else parallax
        self.distance_modulus = unstated if distance_modulus is None else distance_modulus
        self.parallax_zero_point = parallax_zero_point

    @property
    def v_los_total(self):
        """Measurement error and jitter of v_los in quadrature, km/s."""
        return (self.v_los**2 + self.v_los_jitter**2) ** 0.5
