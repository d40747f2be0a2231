"""Quadrature over the distance of every star, from all that its own data say about it.

What a star's parallax, distance modulus and apparent magnitude leave open is a measure on x = ln s,

    dW = p(parallax | s) p(modulus | s) p(V | s) s^5 dx,

with s^5 dx = s^4 ds, the Jacobian of d^3x d^3v. The nodes are those of the Gauss rule of dW times a rough
density of the stars (`model.scales`), by which the weights are divided: n of them integrate any polynomial
in x of degree 2n - 1 times that, however lopsided it is, and the distance need not be the parallax's alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Float

from oortax.model.catalogue import Catalogue
from oortax.model.galaxy import Galaxy
from oortax.model.scales import RoughDensity, deviation
from oortax.numerics.batching import one_of_few
from oortax.survey import Survey

# Points of the trapezoidal rule that represents dW, errors to either side, and how far dW falls at its ends.
_POINTS, _WIDTHS, _DEPTH = 64, 7.0, 32.0
# Errors below this share of a parallax, and of s by a modulus (in mag), are rounded up to it.
LEAST = 1e-6
LEAST_MODULUS = 5.0 / np.log(10.0) * LEAST
# Apparent magnitudes between which a star without one may be.
_ANY_V = -30.0, 60.0
# Spread of ln s beyond which the data do not tell a distance.
_LARGEST_SPREAD = 0.6
# Points that magnitudes are asked at, at least: fewer are compiled for as often.
_LEAST_POINTS = 256


class DistanceRule(NamedTuple):
    """Gauss rules of n nodes for some stars.

    Attributes
    ----------
    star : shape (k,)
        Which stars.
    s : shape (k, n), kpc
    log_w : shape (k, n)
        ln of the weights for dW / p(V | s): the likelihood multiplies by the p(V | s) of its components.
    offset : shape (k, n)
        (x - mean) / spread of the measure: mean 0 and variance 1 by the rule, if n > 1.
    """

    star: np.ndarray
    s: np.ndarray
    log_w: np.ndarray
    offset: np.ndarray


def distance_rules(catalogue: Catalogue, galaxy: Galaxy, survey: Survey, n: int) -> list[DistanceRule]:
    """Nodes in the distance of every star: n, and more where the distance is uncertain or the star fast.

    ln f is smooth over some 0.1 in ln s, but not near the escape speed: a star has n (1 + [spread of ln s /
    0.1] + [u / 2]) nodes, rounded down within brackets, with u the deviation of its velocity in dispersions.

    Raises
    ------
    ValueError
        For stars whose data leave the distance open.
    """
    x, log_W, log_p = _measure(catalogue, galaxy, survey)
    top = log_W.max(axis=1, keepdims=True)
    W = np.exp(log_W - top)
    total = W.sum(axis=1)
    log_total = top[:, 0] + np.log(total * (x[:, 1] - x[:, 0]))
    W /= total[:, None]
    mean = np.sum(W * x, axis=1)
    spread = np.sqrt(np.sum(W * (x - mean[:, None]) ** 2, axis=1))
    vague = np.flatnonzero(spread > _LARGEST_SPREAD)
    if len(vague):
        raise ValueError(
            f"{len(vague)} stars (first row {vague[0]}) have a distance uncertain by more than a factor "
            f"{np.exp(_LARGEST_SPREAD):.1f} by parallax, distance modulus and V together: add "
            '{kind = "parallax_snr", min = 5} to the selection, or give a narrower F(M) or a distance modulus'
        )
    observed = [np.asarray(getattr(catalogue, name)) for name in ("mu_l", "mu_b", "v_los")]
    # NaN without a proper motion: then a rule over the velocities that there may be follows.
    u = np.nan_to_num(
        deviation(galaxy, survey, np.asarray(catalogue.l), np.asarray(catalogue.b), np.exp(mean), *observed)
    )
    count = n * (1 + (spread / 0.1).astype(int) + np.minimum(u / 2.0, 3.0).astype(int))
    rules = []
    for size in np.unique(count):
        k = np.flatnonzero(count == size)
        offset, w = gauss_rule((x[k] - mean[k, None]) / spread[k, None], W[k], int(size))
        s = np.exp(mean[k, None] + spread[k, None] * offset)
        with np.errstate(divide="ignore"):
            log_w = np.log(w) + log_total[k, None] - log_p(k, s)
        rules.append(DistanceRule(k, s, np.where(np.isfinite(log_w), log_w, -np.inf), offset))
    return rules


def gauss_rule(
    t: Float[np.ndarray, "k m"], w: Float[np.ndarray, "k m"], n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights (k, n) of the Gauss rules of k discrete measures with masses w at t.

    Stieltjes' recursion for the orthogonal polynomials, then the eigenvalues of their Jacobi matrix (Golub &
    Welsch 1969); Gautschi 2004, Orthogonal Polynomials, sec. 2.2.

    >>> nodes, weights = gauss_rule(np.array([[-1.0, 0.0, 1.0]]), np.array([[0.25, 0.5, 0.25]]), 2)
    >>> nodes.round(6).tolist(), weights.round(6).tolist()
    ([[-0.707107, 0.707107]], [[0.5, 0.5]])
    """
    before, now = np.zeros_like(t), np.ones_like(t)
    norm = w.sum(axis=1)
    jacobi = np.zeros((len(t), n, n))
    ratio = np.zeros(len(t))
    for j in range(n):
        alpha = np.sum(w * t * now**2, axis=1) / norm
        jacobi[:, j, j] = alpha
        before, now = now, (t - alpha[:, None]) * now - ratio[:, None] * before
        new = np.sum(w * now**2, axis=1)
        ratio, norm = new / norm, new
        if j + 1 < n:
            jacobi[:, j, j + 1] = jacobi[:, j + 1, j] = np.sqrt(ratio)
    nodes, vectors = np.linalg.eigh(jacobi)
    return nodes, vectors[:, 0] ** 2 * w.sum(axis=1)[:, None]


def _measure(catalogue: Catalogue, galaxy: Galaxy, survey: Survey):
    """Points x (N, m) that cover the measure of every star, ln of it there, and the function of (stars, s)
    that is divided out: ln p(V | s) plus ln of the rough density.
    """
    columns = {name: np.asarray(getattr(catalogue, name)) for name in ("l", "b", "V")}
    low, high = _interval(catalogue, galaxy, survey)
    R0, z0 = float(survey.sun.R0), float(survey.sun.z0)
    density = RoughDensity(galaxy, survey, float(np.exp(high.max())) + R0)

    def log_p(k, s):
        l, b, V = (np.broadcast_to(columns[name][k][:, None], s.shape) for name in ("l", "b", "V"))
        flat = [np.ravel(a) for a in (l, b, s, V)]
        across = s * np.cos(b)
        R = np.hypot(R0 - across * np.cos(l), across * np.sin(l))
        magnitudes = _log_magnitudes(galaxy, survey, *flat).reshape(s.shape)
        return magnitudes + density(R, z0 + s * np.sin(b))

    terms = _distance_terms(catalogue, survey)
    everyone = np.arange(len(catalogue))
    unit = np.linspace(0.0, 1.0, _POINTS)
    x = log_W = np.zeros((len(catalogue), _POINTS))
    for _ in range(2):
        x = low[:, None] + (high - low)[:, None] * unit
        own = 5.0 * x + sum(term(np.exp(x)) for term in terms)
        log_W = own + log_p(everyone, np.exp(x))
        # A star that no component can show at any distance keeps its nodes, and has L = 0.
        log_W = np.where(np.isfinite(log_W).any(axis=1, keepdims=True), log_W, own)
        inside = log_W > log_W.max(axis=1, keepdims=True) - _DEPTH
        first = np.maximum(np.argmax(inside, axis=1) - 1, 0)
        last = np.minimum(_POINTS - np.argmax(inside[:, ::-1], axis=1), _POINTS - 1)
        low, high = x[everyone, first], x[everyone, last]
    return x, log_W, log_p


def _log_magnitudes(galaxy: Galaxy, survey: Survey, *points: np.ndarray) -> np.ndarray:
    """`_log_magnitude`, at a number of points that is filled up to one of few, each of which is compiled."""
    n = len(points[0])
    rows = np.minimum(np.arange(max(one_of_few(n), _LEAST_POINTS)), n - 1)
    return np.asarray(_log_magnitude(galaxy, survey, *(a[rows] for a in points)))[:n]


@eqx.filter_jit
def _log_magnitude(galaxy: Galaxy, survey: Survey, l, b, s, V):
    """ln p(V | l, b, s) of all components by their shares, at n points; 0 where V is not known."""

    def one(at):
        terms = [survey.log_magnitude(galaxy.components[name].stars, *at) for name in galaxy.names]
        return logsumexp(jnp.maximum(jnp.stack(terms) + galaxy.log_weights(), -1e5))

    known = jnp.isfinite(V)
    value = jax.lax.map(one, (l, b, s, jnp.where(known, V, 0.0)), batch_size=4096)
    return jnp.where(known, jnp.where(value < -5e4, -jnp.inf, value), 0.0)


def _distance_terms(catalogue: Catalogue, survey: Survey) -> list:
    """ln p(parallax | s) and ln p(modulus | s) as functions of s (N, m), zero where not measured."""
    terms = []
    for value, sigma, model in _measured(catalogue, survey):
        known = np.isfinite(value)
        centre, width = np.where(known, value, 0.0)[:, None], np.where(known, sigma, 1.0)[:, None]

        def term(s, known=known, centre=centre, width=width, model=model):
            gauss = -0.5 * ((centre - model(s)) / width) ** 2 - np.log(width * np.sqrt(2.0 * np.pi))
            return np.where(known[:, None], gauss, 0.0)

        terms.append(term)
    return terms


def _measured(catalogue: Catalogue, survey: Survey) -> list[tuple[np.ndarray, np.ndarray, Callable]]:
    """Value, error and the model's value as a function of s, of parallax and distance modulus."""
    parallax = np.asarray(catalogue.parallax) - float(survey.errors.parallax_zero_point)
    modulus = np.asarray(catalogue.distance_modulus) - float(survey.errors.distance_modulus_zero_point)
    least = LEAST * np.where(np.isfinite(parallax), np.abs(parallax), 0.0)
    return [
        (parallax, np.maximum(np.asarray(catalogue.parallax_error), least), lambda s: 1.0 / s),
        (
            modulus,
            np.maximum(np.asarray(catalogue.distance_modulus_error), LEAST_MODULUS),
            lambda s: 5.0 * np.log10(100.0 * s),
        ),
    ]


def _interval(catalogue: Catalogue, galaxy: Galaxy, survey: Survey) -> tuple[np.ndarray, np.ndarray]:
    """Ends of ln s beyond which dW vanishes: seven errors of each datum, and the ends of F."""
    (parallax, parallax_error, _), (modulus, modulus_error, _) = _measured(catalogue, survey)
    per_mag = 0.2 * np.log(10.0)

    def of_modulus(mu):
        return per_mag * (mu - 10.0)

    supports = np.array([component.stars.support for component in galaxy.components.values()])
    wing = _WIDTHS * float(survey.errors.V)
    V = np.asarray(catalogue.V)
    dust = 0.0 if survey.extinction is None else 10.0
    bright, faint = (np.where(np.isfinite(V), V, end) for end in _ANY_V)
    low = of_modulus(bright - supports.max() - wing - dust)
    high = of_modulus(faint - supports.min() + wing)
    for known, near, far in (
        (
            np.isfinite(parallax),
            -np.log(np.maximum(parallax + _WIDTHS * parallax_error, 1e-9)),
            -np.log(np.maximum(parallax - _WIDTHS * parallax_error, 1e-9)),
        ),
        (
            np.isfinite(modulus),
            of_modulus(modulus - _WIDTHS * modulus_error),
            of_modulus(modulus + _WIDTHS * modulus_error),
        ),
    ):
        # Data that exclude each other: the later one is kept, and the star's L is next to nothing.
        apart = known & ((near >= high) | (far <= low))
        low = np.where(known, np.where(apart, near, np.maximum(low, near)), low)
        high = np.where(known, np.where(apart, far, np.minimum(high, far)), high)
    return low, high
