"""Absolute-magnitude distributions (luminosity functions) of stellar populations."""

import functools
from abc import abstractmethod
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import ndtr
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from scipy.interpolate import CubicSpline

from oortax.params import AbstractParametric, as_array, param
from oortax.types import Scalar

_LEGENDRE = np.polynomial.legendre.leggauss(16)
_HERMITE = np.polynomial.hermite_e.hermegauss(7)


class AbstractMagnitudes(AbstractParametric):
    """The distribution F(M) of absolute magnitude of a population's stars, int F dM = 1.

    A new distribution is one final subclass with a static `support` (mag), one `log_shape` that is
    smooth on the whole line, and one line in `MAGNITUDES`. Truncation to the support,
    normalisation and convolution with photometric errors follow from it.
    """

    support: eqx.AbstractVar[tuple[float, float]]

    @abstractmethod
    def log_shape(self, M) -> Scalar:
        """ln F(M) up to a constant: finite and smooth, also outside the support."""

    @abstractmethod
    def breaks(self) -> Float[Array, "n"]:
        """Magnitudes between which `log_shape` is well represented by a polynomial, for quadratures."""

    def bind(self) -> "AbstractMagnitudes":
        """This distribution with everything that follows from its parameters computed: itself, by default.

        A likelihood binds once for a set of parameters, before it asks for magnitudes of stars.
        """
        return self

    def colour_magnitude(self) -> Any:
        """p(M, colour), with `log_density(M, colour)`, `magnitudes()`, `M_range` and `colour_range`.

        None, by default, where nothing is known of the stars' colours.
        """
        return None

    def log_norm(self) -> Scalar:
        """ln of the integral of exp(log_shape) over the support (composite Gauss-Legendre)."""
        lo, hi = self.support
        inner = jnp.clip(jnp.sort(self.breaks()), lo, hi)
        edges = jnp.concatenate([jnp.full(1, lo, inner.dtype), inner, jnp.full(1, hi, inner.dtype)])
        half, middle = jnp.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
        x, w = (jnp.asarray(a, inner.dtype) for a in _LEGENDRE)
        values = jax.vmap(self.log_shape)((middle[:, None] + half[:, None] * x).ravel())
        # A panel of no width has weight zero; the logarithm of it must not poison the gradient.
        return jax.scipy.special.logsumexp(values, b=(half[:, None] * w).ravel())

    def log_F(self, M) -> Scalar:
        """ln F(M), per mag; -inf outside the support."""
        lo, hi = self.support
        M = jnp.asarray(M)
        inside = (M >= lo) & (M <= hi)
        value = self.log_shape(jnp.where(inside, M, 0.5 * (lo + hi))) - self.log_norm()
        return jnp.where(inside, value, -jnp.inf)

    def blurred(self, m, sigma) -> Scalar:
        """Density of M + noise at m, per mag, for Gaussian noise of standard deviation sigma.

        Seven-node Gauss-Hermite average of exp(log_shape), times the share of the true magnitudes
        that lies within the support, which are taken to be Gaussian with that average's mean and
        variance.

        Accuracy: exact for a Gaussian F up to sigma of half its width; otherwise the relative
        error is of order (sigma / scale of ln F)^3 within a few sigma of an edge of the support, and
        its fourth power elsewhere.
        """
        lo, hi = self.support
        x, w = (jnp.asarray(a, jnp.result_type(m, sigma)) for a in _HERMITE)
        F = w * jnp.exp(jax.vmap(self.log_shape)(m + sigma * x)) / np.sqrt(2 * np.pi)
        total = jnp.sum(F)
        share = F / total
        mean = jnp.sum(share * x)
        width = jnp.sqrt(jnp.sum(share * (x - mean) ** 2))
        inside = ndtr(((hi - m) / sigma - mean) / width) - ndtr(((lo - m) / sigma - mean) / width)
        return total * jnp.exp(-self.log_norm()) * inside


def _check_support(name: str, support) -> tuple[float, float]:
    try:
        lo, hi = (float(edge) for edge in support)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}(support={support!r}): give two magnitudes, such as (-1, 2)") from error
    if not (np.isfinite(lo) and np.isfinite(hi) and lo < hi):
        raise ValueError(
            f"{name}(support={support!r}): the bright end must be finite and below the faint end"
        )
    return lo, hi


@final
class Gaussian(AbstractMagnitudes):
    """F(M) a normal density, truncated to its support and normalised there.

    Attributes
    ----------
    mean : shape (), mag
        Mean absolute magnitude.
    sigma : shape (), mag, positive
        Standard deviation.
    support : two floats, mag, static
        Magnitudes outside which F is zero; mean -+ 6 sigma of the values given at construction if
        not stated. It does not follow the parameters, so that a fit's domain stays fixed.

    >>> clump = Gaussian(mean=0.8, sigma=0.25)
    >>> [round(edge, 9) for edge in clump.support], round(float(clump.log_F(0.8)), 6)
    ([-0.7, 2.3], 0.467356)
    """

    mean: Float[Array, ""] = param(constraints.real, "mag", "mean absolute magnitude")
    sigma: Float[Array, ""] = param(constraints.positive, "mag", "standard deviation")
    support: tuple[float, float] = eqx.field(static=True)

    def __init__(self, mean, sigma, support=None):
        centre: Any = as_array(mean)
        width: Any = as_array(sigma)
        self.mean, self.sigma = centre, width
        if support is None:
            if isinstance(self.mean, Tracer) or isinstance(self.sigma, Tracer):
                raise ValueError(
                    "Gaussian(mean, sigma) inside jit: give support=(bright, faint), it is static"
                )
            # A width that is not positive is refused, by name, when the module is checked.
            half = 6 * abs(float(self.sigma)) or 1.0
            support = (float(self.mean) - half, float(self.mean) + half)
        self.support = _check_support("Gaussian", support)

    def log_shape(self, M) -> Scalar:
        """-(M - mean)^2 / (2 sigma^2)."""
        return -0.5 * ((M - self.mean) / self.sigma) ** 2

    def breaks(self) -> Float[Array, "n"]:
        """The mean, and one and three standard deviations to either side."""
        return self.mean + self.sigma * jnp.array([-3.0, -1.0, 1.0, 3.0], self.mean.dtype)

    def log_norm(self) -> Scalar:
        """ln of the integral of exp(log_shape) over the support, in closed form."""
        lo, hi = ((edge - self.mean) / self.sigma for edge in self.support)
        # Reflected so that the difference is one of small numbers if the support is far on one side.
        flip = lo > 0
        mass = ndtr(jnp.where(flip, -lo, hi)) - ndtr(jnp.where(flip, -hi, lo))
        return jnp.log(mass * self.sigma * np.sqrt(2 * np.pi))

    def blurred(self, m, sigma) -> Scalar:
        """Density of M + noise at m, per mag, in closed form."""
        lo, hi = self.support
        variance = self.sigma**2 + sigma**2
        mean = (m * self.sigma**2 + self.mean * sigma**2) / variance
        width = self.sigma * sigma / jnp.sqrt(variance)
        inside = ndtr((hi - mean) / width) - ndtr((lo - mean) / width)
        density = jnp.exp(-0.5 * (m - self.mean) ** 2 / variance - self.log_norm())
        return density * self.sigma / jnp.sqrt(variance) * inside


@final
class Tabulated(AbstractMagnitudes):
    """F(M) = exp(cubic spline through the given ln F), normalised on the knots' range.

    Positive and twice continuously differentiable within its support, the range of the knots.
    Adding a constant to `log_density` changes nothing.

    Attributes
    ----------
    log_density : shape (n,)
        ln F at the knots, up to a constant. Its entries are parameters.
    knots : n >= 4 floats, mag, static
        Increasing absolute magnitudes.

    >>> import numpy as np
    >>> M = np.linspace(-1.0, 2.6, 15)
    >>> table = Tabulated(M, -0.5 * ((M - 0.8) / 0.3) ** 2)
    >>> round(float(table.log_F(0.8)), 6), round(float(Gaussian(0.8, 0.3).log_F(0.8)), 6)
    (0.285034, 0.285034)
    """

    knots: tuple[float, ...] = eqx.field(static=True)
    log_density: Float[Array, "n"] = param(constraints.real, "", "ln F at the knots, up to a constant")

    def __init__(self, M, log_density):
        knots = np.asarray(M, dtype=np.float64)
        self.knots = tuple(float(k) for k in knots.ravel())
        values: Any = as_array(log_density)
        self.log_density = values
        if knots.ndim != 1 or knots.size < 4 or not np.all(np.isfinite(knots)) or np.any(np.diff(knots) <= 0):
            raise ValueError(f"Tabulated(M={M!r}): M needs at least four finite, increasing magnitudes")
        if jnp.shape(self.log_density) != knots.shape:
            raise ValueError(
                f"Tabulated: log_density has shape {jnp.shape(self.log_density)}, M has {knots.shape}; "
                "give one value per magnitude"
            )

    @property
    def support(self) -> tuple[float, float]:
        """The range of the knots, mag."""
        return self.knots[0], self.knots[-1]

    def log_shape(self, M) -> Scalar:
        """The spline; beyond half a knot spacing outside the support it continues as a constant.

        Written as sum_j p_j x^j + sum_k d_k (M - M_k)_+^3, whose coefficients are constant matrices
        times the data: a dozen multiplications and no search among the knots.
        """
        dtype = self.log_density.dtype
        cubic, jumps = (
            jnp.asarray(matrix, dtype) @ self.log_density for matrix in _spline_matrices(self.knots)
        )
        t = self.knots
        M = jnp.clip(M, t[0] - 0.5 * (t[1] - t[0]), t[-1] + 0.5 * (t[-1] - t[-2]))
        x = M - t[0]
        value = cubic[0] + x * (cubic[1] + x * (cubic[2] + x * cubic[3]))
        # A Python sum over the knots fuses with its neighbours; a matrix product would not.
        for k, knot in enumerate(t[1:-1]):
            value = value + jumps[k] * jnp.maximum(M - knot, 0.0) ** 3
        return value

    def breaks(self) -> Float[Array, "n"]:
        """The inner knots."""
        return jnp.asarray(self.knots[1:-1], self.log_density.dtype)

    @classmethod
    def from_sample(cls, M, lo: float, hi: float, n_knots: int = 10, weights=None) -> "Tabulated":
        """The maximum-likelihood spline for a sample of absolute magnitudes (a smooth histogram).

        ln F is linear in its values at the knots, so this is an exponential family with a concave
        likelihood (log-spline density estimation, Kooperberg & Stone 1991). A weak penalty on the
        second differences of ln F settles knots that no star constrains.

        Parameters
        ----------
        M : shape (N,), mag
            Absolute magnitudes; those outside [lo, hi] are left out.
        lo, hi : float, mag
            Range, which becomes the support.
        n_knots : int
            Number of equidistant knots; stars need to resolve their spacing.
        weights : shape (N,), optional
            For example 1/V_max: a magnitude-limited sample holds bright stars from a larger volume,
            so its bare histogram is not F.

        Raises
        ------
        ValueError
            If the range is empty, n_knots < 4, or fewer than 10 stars a knot lie in the range.

        >>> import numpy as np
        >>> sample = np.random.default_rng(1).normal(0.8, 0.25, 20_000)
        >>> F = Tabulated.from_sample(sample, 0.0, 1.6, n_knots=8)
        >>> round(float(np.exp(F.log_F(0.8))), 1)
        1.6
        """
        lo, hi = _check_support("Tabulated.from_sample", (lo, hi))
        M = np.asarray(M, dtype=np.float64).ravel()
        weights = np.ones_like(M) if weights is None else np.asarray(weights, dtype=np.float64).ravel()
        if weights.shape != M.shape or not np.all(weights >= 0):
            raise ValueError("Tabulated.from_sample: give one weight per magnitude, none negative")
        keep = (M >= lo) & (M <= hi)
        if n_knots < 4 or keep.sum() < 10 * n_knots:
            raise ValueError(
                f"Tabulated.from_sample(n_knots={n_knots}): {keep.sum()} stars lie in [{lo:g}, {hi:g}]; "
                "it takes four knots or more and ten stars for each"
            )
        knots = np.linspace(lo, hi, n_knots)
        return cls(knots, _logspline(M[keep], weights[keep], knots))


@functools.cache
def _spline_matrices(knots: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Data to coefficients of the not-a-knot cubic spline: its first cubic, and its jumps of f_xxx / 6."""
    coefficients = CubicSpline(np.array(knots), np.eye(len(knots))).c
    return coefficients[::-1, 0], np.diff(coefficients[0], axis=0)


def _logspline(M, weights, knots) -> np.ndarray:
    """Penalised maximum-likelihood values of ln F at the knots, by Newton steps on a fine histogram."""
    counts, edges = np.histogram(M, bins=1000, range=(knots[0], knots[-1]), weights=weights)
    counts *= len(M) / counts.sum()
    basis = CubicSpline(knots, np.eye(len(knots)))((edges[1:] + edges[:-1]) / 2)
    curvature = np.diff(np.eye(len(knots)), n=2, axis=0)
    # The likelihood is blind to a constant; the last term fixes it without any other effect.
    penalty = curvature.T @ curvature + np.ones((len(knots), len(knots)))

    def objective(values):
        log_F = basis @ values
        top = log_F.max()
        return (
            len(M) * (top + np.log(np.exp(log_F - top).sum()))
            - counts @ log_F
            + values @ penalty @ values / 2
        )

    values = np.zeros(len(knots))
    for _ in range(100):
        log_F = basis @ values
        p = np.exp(log_F - log_F.max())
        p /= p.sum()
        mean = p @ basis
        gradient = len(M) * mean - counts @ basis + penalty @ values
        hessian = len(M) * ((basis * p[:, None]).T @ basis - np.outer(mean, mean)) + penalty
        step = np.linalg.solve(hessian, -gradient)
        length, here = 1.0, objective(values)
        while objective(values + length * step) > here and length > 1e-6:
            length /= 2
        values = values + length * step
        if -(gradient @ step) < 1e-10:
            break
    return values
