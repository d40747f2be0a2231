"""A distribution function without a formula: ln f as a tensor product of splines in scaled actions."""

from collections.abc import Sequence
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.df.action_integral import power_tails
from oortax.df.base import AbstractDF, where_bound
from oortax.df.velocity import legendre
from oortax.numerics.bspline import solid
from oortax.params import param
from oortax.types import Actions, Scalar

DEGREE = 3
"""Of the splines: ln f has two continuous derivatives in the scaled actions."""

# Nodes of the mass integral along the total action; at least, and per cell, across it.
_N_TOTAL, _LEAST, _PER_CELL = 101, 12, 3


@final
class SplineDF(AbstractDF):
    r"""Positive tensor-product splines in scaled actions: a non-parametric f(J).

    With s = J_r + J_z + |J_phi|, s' = s + J_0 and L = J_z + |J_phi|, the coordinates

        t = ln[(1 + s/J_0)/(1 + s/J_max)] / ln(J_max/J_0)                      size, 0 to 1,
        x = ln(1 + e/e_0) / ln(1 + 1/e_0),  e = J_r/s'                         eccentricity, 0 to 1,
        y = 1/2 + artanh(c) / [2 artanh(1/(1 + i_0))],  c = J_phi/(L + i_0 s') inclination, 0 to 1,

    and cubic B-splines B on n_t - 3, n_x - 3, n_y - 3 equal cells,

        ln f = sum_abc coefficients_abc B_a(t) B_b(x) B_c(y) - slope ln(1 + s/J_max) + ln f_baseline.

    Splines that are linear in t, x and y are powers of the actions: a double power law in s, and powers of
    the shares of J_r and J_z where these exceed e_0 and i_0. y runs from retrograde orbits (0) through
    J_phi = 0 (1/2) to prograde ones in the plane (1), so that rotation is free.

    Attributes
    ----------
    coefficients : shape (n_t, n_x, n_y), real
        Of the B-splines, at least 4 along each axis; their mean is a change of ln f.
    J_0, J_max : shape (), kpc km/s, positive
        Actions between which t is logarithmic; below and beyond it ends at 0 and 1. J_0 < J_max.
    slope : shape (), positive
        Of the decline beyond J_max; greater than 3 where there is no baseline, as else the mass is infinite.
    e_0, i_0 : shape (), positive
        Shares of J_r and J_z below which x and y are linear in them.
    baseline : a distribution function of finite mass that the splines correct, or None

    Notes
    -----
    The splines are bounded, and so is f over its baseline, and finite everywhere with finite derivatives in
    all actions: at J_r = 0, J_z = 0, J_phi = 0 and J = 0 alike. It is smooth in J_phi at a given L, as the f
    of a regular model is (in spheres, where L does not depend on the sense of rotation). Differentiable in
    every parameter. Smoothness: `SmoothnessPrior`; fits: `fit_spline` (Dehnen & Binney 1996, section 3, after
    May & Binney 1986, MNRAS 221, 857).

    Raises ValueError for coefficients of the wrong shape, J_0 >= J_max and an infinite mass.

    Examples
    --------
    >>> f = SplineDF.blank((8, 7, 12), J_0=300.0, J_max=1e4)
    >>> f = SplineDF(f.coefficients - 10.0 * jnp.linspace(0, 1, 8)[:, None, None], J_0=300.0, J_max=1e4)
    >>> print(f"{f.log_f(jnp.array([60.0, 20.0, 1800.0])):.3f} {f.mass():.4g}")
    -6.151 1.171e+10
    """

    coefficients: Float[Array, "t x y"] = param(constraints.real, "", "coefficients of the splines")
    J_0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "action where splines begin")
    J_max: Float[Array, ""] = param(constraints.positive, "kpc km/s", "action where splines end")
    slope: Float[Array, ""] = param(constraints.positive, "", "slope beyond the splines", default=6.0)
    e_0: Float[Array, ""] = param(constraints.positive, "", "least share of J_r resolved", default=0.03)
    i_0: Float[Array, ""] = param(constraints.positive, "", "least share of J_z resolved", default=0.03)
    baseline: AbstractDF | None = None

    def __check_init__(self):
        """Shapes, the order of the two actions, and a finite mass."""
        # Transformations rebuild modules with placeholders.
        if isinstance(self.coefficients, jax.Array):
            shape = self.coefficients.shape
            if len(shape) != 3 or min(shape) <= DEGREE:
                raise ValueError(
                    f"SplineDF(coefficients of shape {shape}): three axes (t, x, y) are needed, and at least "
                    f"{DEGREE + 1} coefficients along each"
                )
        values = (self.J_0, self.J_max, self.slope)
        if any(isinstance(v, Tracer) or not isinstance(v, jax.Array) for v in values):
            return
        J_0, J_max, slope = (np.asarray(v) for v in values)
        if bool(np.any(J_0 >= J_max)):
            raise ValueError(f"SplineDF(J_0={J_0}, J_max={J_max}): J_0 must be less than J_max")
        if self.baseline is None and bool(np.any(slope <= 3.0)):
            raise ValueError(
                f"SplineDF(slope={slope}): the mass is infinite unless slope is greater than 3, or there is "
                "a baseline"
            )

    @classmethod
    def blank(cls, shape: Sequence[int], **parameters: Any) -> "SplineDF":
        """With coefficients of 0: the baseline times the outer decline, before a fit."""
        return cls(coefficients=jnp.zeros(tuple(shape)), **parameters)

    def bind(self, circular_orbits: Any) -> "SplineDF":
        """With its baseline, if there is one, in the potential whose circular orbits these are."""
        if self.baseline is None:
            return self
        values = {name: getattr(self, name) for name in ("J_0", "J_max", "slope", "e_0", "i_0")}
        return SplineDF(self.coefficients, **values, baseline=self.baseline.bind(circular_orbits))

    def coordinates(self, J: Actions) -> Float[Array, "3"]:
        """(t, x, y) of bound actions J, each from 0 to 1."""
        J_r, J_z, J_phi = J
        L = J_z + jnp.abs(J_phi)
        s = J_r + L
        larger = s + self.J_0
        t = (jnp.log1p(s / self.J_0) - jnp.log1p(s / self.J_max)) / jnp.log(self.J_max / self.J_0)
        x = jnp.log1p(J_r / larger / self.e_0) / jnp.log1p(1.0 / self.e_0)
        y = 0.5 + 0.5 * jnp.arctanh(J_phi / (L + self.i_0 * larger)) / jnp.arctanh(1.0 / (1.0 + self.i_0))
        return jnp.stack([t, x, y])

    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J = (J_r, J_z, J_phi) in kpc km/s; -inf where there are no actions."""
        splines = where_bound(self._log_splines, J)
        # A baseline looks after itself where there are no actions.
        return splines if self.baseline is None else splines + self.baseline.log_f(J)

    def log_offset(self, J: Actions) -> Scalar:
        """What ln f is without the splines: the decline and the baseline."""
        decline = where_bound(self._log_decline, J)
        return decline if self.baseline is None else decline + self.baseline.log_f(J)

    def _log_splines(self, J: Actions) -> Scalar:
        return solid(DEGREE, self.coefficients, self.coordinates(J)) + self._log_decline(J)

    def _log_decline(self, J: Actions) -> Scalar:
        J_r, J_z, J_phi = J
        return -self.slope * jnp.log1p((J_r + J_z + jnp.abs(J_phi)) / self.J_max)

    def mass(self) -> Scalar:
        r"""(2 pi)^3 times the integral of f over the actions.

        With J_r = s e and J_phi = (s - J_r) c, d^3J = s^2 (1 - e) ds de dc; the trapezoidal rule along ln s
        (stretched), and Gauss-Legendre in x and y, split at J_phi = 0.

        Accuracy 2e-6 where coefficients scatter by 1 about a trend, 2e-5 where by 3; differentiable. Of a
        baseline that is a cold disc 1.2e-3 (10 coefficients and more along x and y: 3e-4).
        """
        dtype = jnp.result_type(self.coefficients)
        ln_y, w_y = power_tails(dtype, _N_TOTAL)
        scale = jnp.sqrt(self.J_0 * self.J_max)
        _, n_x, n_y = self.coefficients.shape
        u, w_u = (jnp.asarray(a, dtype) for a in legendre(_LEAST + _PER_CELL * (n_x - DEGREE), 1.0))
        # Of each sense of rotation.
        q, w_q = (jnp.asarray(a, dtype) for a in legendre(_LEAST + _PER_CELL * (n_y - DEGREE) // 2, 1.0))
        end = jnp.log1p(1.0 / self.e_0)
        e = self.e_0 * jnp.expm1(u * end)
        w_e = w_u * end * (e + self.e_0)
        end = jnp.arctanh(1.0 / (1.0 + self.i_0))
        c = (1.0 + self.i_0) * jnp.tanh(q * end)
        w_c = w_q * end * (1.0 + self.i_0) / jnp.cosh(q * end) ** 2
        c, w_c = jnp.concatenate([c, -c]), jnp.concatenate([w_c, w_c])
        weights = (w_e * (1.0 - e))[:, None] * w_c
        across = (1.0 - e)[:, None]
        parts = jnp.broadcast_arrays(e[:, None], across * (1.0 - jnp.abs(c)), across * c)
        directions = jnp.stack(parts, axis=-1).reshape(-1, 3)
        log_weights = jnp.log(weights).ravel()

        @jax.checkpoint
        def at(ln_y):
            inside = ln_y + jnp.log(scale) < np.log(1e12)
            s = jnp.exp(jnp.where(inside, ln_y, 0.0)) * scale
            log_f = jax.vmap(self.log_f)(s * directions) + log_weights + 3.0 * ln_y
            some = inside & (log_f != -jnp.inf)
            return jnp.sum(jnp.where(some, jnp.exp(jnp.where(some, log_f, 0.0)), 0.0))

        return (2.0 * jnp.pi) ** 3 * scale**3 * jnp.sum(w_y * jax.lax.map(at, ln_y))
