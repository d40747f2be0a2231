"""Folding of the cuts over the measurement errors: one integral over observed brightness.

Let m = V_obs - mu, with mu the distance modulus plus the extinction, so that m is the true absolute
magnitude plus the photometric noise, of density G(m). Given m, the cuts on quantities derived from
the parallax ask that the observed parallax lie in an interval [p_lo(V_obs), p_hi(V_obs)], which
Gaussian noise meets with a difference of two normal integrals. Hence

    P = int_{V_min - mu}^{V_max - mu} G(m) c(m + mu) [Phi((p_hi - p)/sigma) - Phi((p_lo - p)/sigma)] dm

with the hard limits in V as limits of the integral and p = 1/s + zero point. Both errors are
folded exactly, the error of V in the absolute magnitude included. The integral is a composite
Gauss-Legendre sum whose panels end where the integrand changes character: at the limits in V, the
breaks of G, and the centre and wings of either parallax step. Panels follow those places smoothly,
so automatic differentiation yields the exact derivative, moving limits included.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import ndtr

from oortax.survey.selection import is_open, narrowest
from oortax.types import Scalar

WINGS = 6.0
"""Standard deviations beyond which Gaussian noise is left out (2e-9 of the probability)."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_SMALLEST_ERROR = 1e-7


def distance_modulus(s):
    """5 log10(s / 10 pc) for a distance s in kpc."""
    return 5 * jnp.log10(100 * s)


def _cdf(limit, centre, sigma):
    """Normal integral up to a limit that may be infinite, with finite derivatives."""
    if np.ndim(limit) == 0 and not isinstance(limit, Tracer) and np.isinf(limit):
        return 1.0 if limit > 0 else 0.0
    return ndtr((limit - centre) / sigma)


def _parallax_probability(selections, V, parallax, sigma):
    """Chance that the observed parallax passes all cuts, given the observed magnitude."""
    lo, hi = narrowest(selection.parallax_limits(V, sigma) for selection in selections)
    if is_open(lo) and is_open(hi):
        return jnp.ones_like(V)
    return jnp.maximum(_cdf(hi, parallax, sigma) - _cdf(lo, parallax, sigma), 0.0) * jnp.ones_like(V)


def _breaks(selections, mu, parallax, sigma) -> list:
    """Values of m between which the cuts are smooth functions of it."""
    found = []
    for selection in selections:
        for wing in (-WINGS, 0.0, WINGS):
            # Parallaxes that noise could make negative: the faint wing then reaches to infinity.
            shifted = jnp.maximum(parallax + wing * sigma, 1e-6 * parallax)
            found += [V - mu for V in selection.magnitudes_at(shifted)]
        found += [V - mu for V in selection.completeness_breaks()]
    return found


def fold(
    selections: tuple,
    density: Callable,
    bounds: tuple,
    breaks,
    mu,
    parallax,
    parallax_error,
    direction: tuple = (0.0, 0.0),
    error_at: Callable | None = None,
) -> Scalar:
    """The probability integral of the module's docstring for one star or one population.

    Parameters
    ----------
    selections : tuple of AbstractSelection
    density : callable
        G(m), the density of true absolute magnitude plus photometric noise, per mag.
    bounds : (lo, hi), mag
        Outside which G is negligible.
    breaks : shape (n,), mag
        Where G changes character.
    mu : shape (), mag
        Distance modulus plus extinction.
    parallax, parallax_error : shape (), mas
        Expected observed parallax, and its error.
    direction : (l, b), rad
        In which completeness may vary.
    error_at : callable, optional
        Parallax error as a function of the observed magnitude, where it is not the same for all.
    """
    dtype = jnp.result_type(mu, parallax, float)
    sigma = jnp.maximum(parallax_error, _SMALLEST_ERROR * jnp.abs(parallax))
    lo, hi = (jnp.asarray(bound, dtype) for bound in bounds)
    V_lo, V_hi = -np.inf, np.inf
    for selection in selections:
        limits = selection.magnitude_limits()
        V_lo, V_hi = max(V_lo, limits[0]), min(V_hi, limits[1])
    start = jnp.clip(V_lo - mu, lo, hi) if np.isfinite(V_lo) else lo
    end = jnp.clip(V_hi - mu, lo, hi) if np.isfinite(V_hi) else hi
    end = jnp.maximum(start, end)
    inner = jnp.concatenate(
        [jnp.atleast_1d(b).astype(dtype) for b in [*_breaks(selections, mu, parallax, sigma), breaks]]
    )
    inner = jnp.clip(jnp.sort(inner), start, end)
    edges = jnp.concatenate([start[None], inner, end[None]])
    half, middle = jnp.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    m = (middle[:, None] + half[:, None] * jnp.asarray(_NODES, dtype)).ravel()
    weights = (half[:, None] * jnp.asarray(_WEIGHTS, dtype)).ravel()
    if error_at is not None:
        sigma = jnp.maximum(error_at(m + mu), _SMALLEST_ERROR * jnp.abs(parallax))
    values = jax.vmap(density)(m) * _parallax_probability(selections, m + mu, parallax, sigma)
    for selection in selections:
        values = values * selection.completeness_at(*direction, m + mu)
    return jnp.sum(weights * values)
