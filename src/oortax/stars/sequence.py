"""Observed relations: colours of dwarfs at their magnitude, and the magnitudes of standard candles."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from scipy.interpolate import PchipInterpolator

from oortax import data
from oortax.numerics.spline import hermite
from oortax.params import param
from oortax.stars.grid_magnitudes import ColourMagnitude
from oortax.stars.magnitudes import AbstractMagnitudes, Gaussian
from oortax.types import Scalar


@final
class ColourMagnitudeRelation(AbstractMagnitudes):
    """Stars along an observed sequence: p(M, colour) = F(M) N(colour; c(M), scatter).

    As a distribution of magnitudes it is F.

    Attributes
    ----------
    stars : AbstractMagnitudes
        F(M).
    scatter : shape (), mag, positive
        Standard deviation of the colour at a magnitude.
    offset : shape (), mag
        Added to the mean colour: another metallicity, reddening or zero point.
    M, mean : n >= 3 floats, mag, static
        Increasing magnitudes, and the mean colour there; constant beyond them.
    band, colour : str, static

    c(M) is a monotone cubic between the points (Fritsch & Carlson 1980), with a continuous derivative.

    >>> dwarfs = dwarf_sequence(Gaussian(mean=6.0, sigma=1.5, support=(2.0, 12.0)))
    >>> round(float(dwarfs.mean_colour(4.79)), 3)
    0.65
    """

    stars: AbstractMagnitudes
    M: tuple[float, ...] = eqx.field(static=True)
    mean: tuple[float, ...] = eqx.field(static=True)
    band: str = eqx.field(static=True)
    colour: str = eqx.field(static=True)
    scatter: Float[Array, ""] = param(constraints.positive, "mag", "scatter of the colour")
    offset: Float[Array, ""] = param(constraints.real, "mag", "shift of the mean colour")

    def __init__(
        self, stars, M, mean, scatter: Any = 0.05, offset: Any = 0.0, band: str = "V", colour: str = "B-V"
    ):
        self.stars, self.scatter, self.offset = stars, scatter, offset
        self.M, self.mean = (tuple(np.asarray(x, dtype=float).ravel().tolist()) for x in (M, mean))
        self.band, self.colour = band, colour
        if not isinstance(stars, AbstractMagnitudes):
            raise ValueError(
                f"ColourMagnitudeRelation(stars={stars!r}): expected a distribution of magnitudes"
            )
        finite = np.all(np.isfinite([*self.M, *self.mean]))
        if len(self.M) < 3 or len(self.M) != len(self.mean) or not finite or np.any(np.diff(self.M) <= 0):
            raise ValueError(
                "ColourMagnitudeRelation: give a mean colour for each of three or more increasing magnitudes"
            )

    @property
    def support(self) -> tuple[float, float]:
        """That of F, mag."""
        return self.stars.support

    M_range = support

    @property
    def colour_range(self) -> tuple[float, float]:
        """Colours within 6 standard deviations of the relation, mag; not while it is traced."""
        reach = 6.0 * float(self.scatter)
        return min(self.mean) + float(self.offset) - reach, max(self.mean) + float(self.offset) + reach

    def magnitudes(self) -> AbstractMagnitudes:
        """F."""
        return self.stars.bind()

    def colour_magnitude(self) -> "ColourMagnitudeRelation":
        """Itself."""
        return self

    def bind(self) -> AbstractMagnitudes:
        """F with what follows from its parameters computed."""
        return self.stars.bind()

    def log_shape(self, M) -> Scalar:
        """ln F(M) up to a constant."""
        return self.stars.log_shape(M)

    def log_norm(self) -> Scalar:
        """ln of the integral of exp(log_shape) over the support."""
        return self.stars.log_norm()

    def breaks(self) -> Float[Array, "n"]:
        """Those of F."""
        return self.stars.breaks()

    def blurred(self, m, sigma) -> Scalar:
        """Density of M + noise at m, per mag."""
        return self.stars.blurred(m, sigma)

    def mean_colour(self, M) -> Scalar:
        """c(M), mag."""
        knots = np.asarray(self.M)
        curve = PchipInterpolator(knots, np.asarray(self.mean))
        table = np.stack([curve(knots), curve(knots, 1)], axis=1)
        return hermite(jnp.asarray(knots), jnp.asarray(table), M)[0] + self.offset

    def log_density(self, M, colour) -> Scalar:
        """ln p(M, colour), per mag^2; -inf outside the support of F."""
        t = (colour - self.mean_colour(M)) / self.scatter
        return self.stars.log_F(M) - 0.5 * t**2 - jnp.log(self.scatter * np.sqrt(2.0 * np.pi))

    def draw(self, key, n: int) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """n pairs (M, colour); M from F's cumulative distribution at 8001 points."""
        k_M, k_colour = jax.random.split(key)
        F, (lo, hi) = self.stars.bind(), self.stars.support
        edges = jnp.linspace(lo, hi, 8001)
        mass = jnp.exp(jax.vmap(F.log_F)(0.5 * (edges[1:] + edges[:-1])))
        cdf = jnp.concatenate([jnp.zeros(1), jnp.cumsum(mass)]) / jnp.sum(mass)
        M = jnp.interp(jax.random.uniform(k_M, (n,), dtype=edges.dtype), cdf, edges)
        noise = jax.random.normal(k_colour, (n,), dtype=edges.dtype)
        return M, jax.vmap(self.mean_colour)(M) + self.scatter * noise

    def table(self, step: float = 0.1, colour_step: float = 0.025) -> ColourMagnitude:
        """p(M, colour) as a `ColourMagnitude`, of the width of its kernel wider than the relation."""
        lo, hi = self.stars.support
        reach = 5.0 * float(self.scatter) + abs(float(self.offset)) + 4 * colour_step
        colours = (min(self.mean) - reach, max(self.mean) + reach)
        n, m = round(4 * (hi - lo) / step), round(4 * (colours[1] - colours[0]) / colour_step)
        M, c = ((np.arange(k) + 0.5) / k * (e[1] - e[0]) + e[0] for k, e in ((n, (lo, hi)), (m, colours)))
        F, mean = self.stars.bind(), jax.vmap(self.mean_colour)(jnp.asarray(M))
        log_F = jax.vmap(F.log_F)(jnp.asarray(M))
        weights = jnp.exp(log_F[:, None] - 0.5 * ((c - mean[:, None]) / self.scatter) ** 2)
        at_M, at_c = (jnp.asarray(x.ravel()) for x in np.meshgrid(M, c, indexing="ij"))
        share = weights.ravel() / jnp.sum(weights)
        return ColourMagnitude.from_points(
            at_M, at_c, share, (lo, hi), colours, step, colour_step, self.band, self.colour
        )


def dwarf_sequence(stars: AbstractMagnitudes, scatter: Any = 0.05) -> ColourMagnitudeRelation:
    """The mean main sequence of Pecaut & Mamajek (2013, ApJS 208, 9), M_V = -5.7 to 18.9, in B-V."""
    rows = data.table("dwarf_sequence")
    return ColourMagnitudeRelation(stars, rows["m_v"], rows["b_v"], scatter)


def rr_lyrae(fe_h: float = -1.5, sigma: Any = 0.15) -> Gaussian:
    """M_V of RR Lyrae stars of a metallicity: 0.23 ([Fe/H] + 1.5) + 0.59 (Cacciari & Clementini 2003).

    `sigma` (mag) is the spread that evolution off the horizontal branch and metallicity leave.

    >>> round(float(rr_lyrae(-1.0).mean), 3)
    0.705
    """
    return Gaussian(mean=0.23 * (fe_h + 1.5) + 0.59, sigma=sigma)


def bhb_magnitude(g_r) -> Scalar:
    """M_g (SDSS) of blue horizontal-branch stars of a dereddened colour -0.25 < g - r < 0.

    Deason, Belokurov & Evans (2011, MNRAS 416, 2903, eq. 7), whose scatter is 0.15 mag with few exceptions.

    >>> round(float(bhb_magnitude(-0.14)), 3)
    0.483
    """
    x = g_r
    return 0.434 - 0.169 * x + 2.319 * x**2 + 20.449 * x**3 + 94.517 * x**4


def blue_horizontal_branch(g_r: float = -0.14, sigma: Any = 0.15) -> Gaussian:
    """M_g (SDSS) of blue horizontal-branch stars of one colour (default: SEGUE's median)."""
    if not -0.25 < g_r < 0.0:
        raise ValueError(f"blue_horizontal_branch(g_r={g_r}): the relation holds for -0.25 < g - r < 0")
    return Gaussian(mean=bhb_magnitude(g_r), sigma=sigma)
