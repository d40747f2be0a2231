"""A power-law bulge with an exponential cut-off."""

import functools
from math import factorial
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpyro.distributions import constraints

from oortax.constants import G
from oortax.numerics.partials import by_partials
from oortax.params import param
from oortax.potential.base import AbstractClosedForm, soften
from oortax.types import Scalar

# Scale of the mapped radius w = s/(S_MAP + s), and degrees of the two polynomials in w: with these
# the fit's error is 1e-12 for 0 <= alpha < 3 and its monomial form still loses no digits.
S_MAP = 6.0
DEGREE = 35
FLOAT32_DEGREE = 15
SINGULAR_DEGREE = 4
# Below this |2 - alpha|/2 the closed form of (w^delta - 1)/delta gives way to its series.
DELTA_SMALL = 1e-3


@final
class PowerLawCutoff(AbstractClosedForm):
    """A bulge with density rho_0 (r/r_0)^-alpha exp(-(r/r_c)^2).

    With s = (r/r_c)^2, delta = 1 - alpha/2 and incomplete gamma functions,

        Phi = -2 pi G rho_0 r_c^2 (r_0/r_c)^alpha [gamma(delta + 1/2, s)/sqrt(s) + Gamma(delta, s)].

    The bracket is sqrt(1 - w) [C(w) - B(w) (w^delta - 1)/delta] with w = s/(6 + s): B holds the first
    terms of the central cusp, C is smooth on 0 <= w <= 1, so that C is a polynomial whose coefficients
    depend on alpha alone. Under vmap they are computed once, not per point.

    Accuracy for 0 <= alpha <= 2.7: Phi to 1e-12, force to 1e-10 (relative), at any r. Alpha < 0 (a central
    hole) is allowed, with the same absolute but no relative accuracy of the force near the centre.
    Float32 keeps 3e-6 in Phi. For alpha >= 2 the potential diverges at r = 0.

    >>> bulge = PowerLawCutoff(rho_0=1e9, alpha=1.8, r_c=1.9)
    >>> round(float(bulge.Phi_Rz(8.0, 0.0)), 1)
    -10866.9
    """

    rho_0: Scalar = param(constraints.positive, "Msun/kpc^3", "density at r_0 without the cut-off")
    alpha: Scalar = param(constraints.less_than(3.0), "", "inner slope of the density")
    r_c: Scalar = param(constraints.positive, "kpc", "cut-off radius")
    r_0: Scalar = param(constraints.positive, "kpc", "radius of unit power law", default=1.0)

    def Phi_of_squares(self, R2, z2):
        scale = 2.0 * jnp.pi * G * self.rho_0 * self.r_c**2 * (self.r_0 / self.r_c) ** self.alpha
        return -scale * _bracket(soften(R2 + z2) / (self.r_c * self.r_c), 1.0 - 0.5 * self.alpha)


def _sum_of_polynomials(s, delta):
    """gamma(delta + 1/2, s)/sqrt(s) + Gamma(delta, s), by the polynomials in w."""
    inverse = 1.0 / (S_MAP + s)
    w = s * inverse
    smooth, singular = _polynomials(delta)
    regular = _horner(smooth, 2.0 * w - 1.0) - _horner(singular, w) * _power_term(jnp.log(w), delta)
    return jnp.sqrt(S_MAP * inverse) * regular


def _curvature(s, delta):
    """Second derivative with respect to s, elementary given the first: Poisson's equation."""
    return -0.5 * jnp.exp((delta - 2.0) * jnp.log(s) - s) - 1.5 * _slope(s, delta) / s


def _slope_of_sum(s, delta):
    """Its derivative with respect to s, -gamma(delta + 1/2, s)/(2 s^(3/2))."""
    return jax.jvp(lambda s: _sum_of_polynomials(s, delta), (s,), (jnp.ones_like(s),))[1]


_slope = by_partials(_slope_of_sum, known=(_curvature,))
_bracket = by_partials(_sum_of_polynomials, known=(_slope,))


def _power_term(log_w, delta):
    """(w^delta - 1)/delta with the limit ln w at delta = 0, smooth in both."""
    small = jnp.abs(delta) < DELTA_SMALL
    safe = jnp.where(small, 1.0, delta)
    y = delta * log_w
    series = 1.0 + y / 9.0
    for k in range(8, 1, -1):
        series = 1.0 + y / k * series
    # exp - 1 and not expm1, whose derivative expm1 + 1 loses all digits where w^delta is small.
    return jnp.where(small, log_w * series, (jnp.exp(safe * log_w) - 1.0) / safe)


def _horner(coefficients, u):
    """A polynomial, lowest coefficient first, unrolled so that one loop over points fuses."""
    start = coefficients[-1] + jnp.zeros_like(u)
    rest = coefficients[:-1]
    return lax.scan(lambda total, c: (total * u + c, None), start, rest, reverse=True, unroll=len(rest))[0]


class _Rule(NamedTuple):
    """Static matrices that turn t^delta at quadrature nodes into the polynomial C."""

    log_w: np.ndarray  # (N,) at the Chebyshev nodes in w
    powers: np.ndarray  # (N, SINGULAR_DEGREE + 1): w^n there
    to_chebyshev: np.ndarray  # (N, N): values at the nodes -> Chebyshev coefficients in 2 w - 1
    to_monomials: np.ndarray  # (N, N): and these -> powers of 2 w - 1
    log_t: np.ndarray  # (Q,): quadrature nodes in the density's own s
    weights: np.ndarray  # (N, Q): sum_q weights[j, q] t_q^delta = the integral beyond the first node
    log_first: float  # ln of the smallest s among the nodes
    first: np.ndarray  # (N, K): the integral within it, s_1^(delta + 1/2)/(delta + 1/2 + k)
    singular: np.ndarray  # (SINGULAR_DEGREE + 1,): (-6)^k/k! of the cusp's expansion
    reorder: np.ndarray  # (SINGULAR_DEGREE + 1,)^2: 1/(n - k)! for k <= n


@functools.cache
def _rule() -> _Rule:
    """The bracket of Phi at the nodes, int_0^inf t^delta e^-t min(sqrt(t/s), 1) dt/t, as quadrature."""
    n = DEGREE + 1
    angle = (np.arange(n) + 0.5) * np.pi / n
    y = -np.cos(angle)
    w = np.sin(0.5 * angle) ** 2
    s = S_MAP * w / np.cos(0.5 * angle) ** 2
    root = np.sqrt(S_MAP / (S_MAP + s))
    # Cells between the nodes, where the kink at t = s sits; nothing is left beyond t = 45.
    edges = np.append(s[s < 40.0], [45.0])
    u, weight = np.polynomial.legendre.leggauss(10)
    lower, upper = np.log(edges[:-1, None]), np.log(edges[1:, None])
    log_t = (0.5 * (upper + lower) + 0.5 * (upper - lower) * u).ravel()
    t = np.exp(log_t)
    measure = (0.5 * (upper - lower) * weight).ravel() * np.exp(-t)
    kernel = np.where(t < s[:, None], np.sqrt(t / s[:, None]), 1.0)
    k = np.arange(6)
    first = (-s[0]) ** k / np.array([factorial(i) for i in k]) / np.sqrt(s[:, None]) / root[:, None]
    chebyshev = np.cos(np.arange(n)[:, None] * np.arccos(y)) * 2.0 / n
    chebyshev[0] *= 0.5
    monomials = np.zeros((n, n))
    for degree in range(n):
        poly = np.polynomial.chebyshev.cheb2poly(np.eye(n)[degree, : degree + 1])
        monomials[: degree + 1, degree] = poly
    return _Rule(
        np.log(w),
        w[:, None] ** np.arange(SINGULAR_DEGREE + 1),
        chebyshev,
        monomials,
        log_t,
        kernel * measure / root[:, None],
        float(np.log(s[0])),
        first,
        np.array([(-S_MAP) ** i / factorial(i) for i in range(SINGULAR_DEGREE + 1)]),
        np.array(
            [
                [1.0 / factorial(n - k) if k <= n else 0.0 for k in range(SINGULAR_DEGREE + 1)]
                for n in range(SINGULAR_DEGREE + 1)
            ]
        ),
    )


def _polynomials(delta):
    """Coefficients of C (in 2 w - 1) and B (in w), lowest first, as functions of delta."""
    rule = _rule()
    dtype = jnp.result_type(delta)

    def static(array):
        return jnp.asarray(array, dtype=dtype)

    a = delta + 0.5
    # B: the series of s^delta-terms, sum_k (-s)^k/k! delta/(2 (delta + k)(a + k)), reordered in powers of w
    # by (1 - w)^-(a + k), whose coefficients are (a + k)_j/j! = rising[k + j]/rising[k]/j!.
    order = np.arange(SINGULAR_DEGREE + 1)
    rising = jnp.cumprod(jnp.where(order > 0, a + static(order - 1), 1.0))
    first = jnp.where(order > 0, delta / (delta + static(np.maximum(order, 0.5))), 1.0)
    terms = 0.5 * static(rule.singular) / (a + static(order)) * first / rising
    singular = rising * (static(rule.reorder) @ terms) * jnp.exp(delta * float(np.log(S_MAP)))
    k = np.arange(rule.first.shape[1])
    within = static(rule.first) @ (1.0 / (a + static(k))) * jnp.exp(a * rule.log_first)
    values = static(rule.weights) @ jnp.exp(delta * static(rule.log_t)) + within
    values = values + _power_term(static(rule.log_w), delta) * (static(rule.powers) @ singular)
    # Two products, not one: the large entries of the second must meet the small coefficients only. In
    # float32 rounding would fill the high ones, which add less than 1e-6.
    kept = DEGREE + 1 if jnp.finfo(dtype).eps < 1e-10 else FLOAT32_DEGREE + 1
    chebyshev = static(rule.to_chebyshev[:kept]) @ values
    return static(rule.to_monomials[:kept, :kept]) @ chebyshev, singular
