"""Stellar populations: when stars formed, of which masses and metals, and how the living ones look."""

from functools import partial
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.core import Tracer
from jax.scipy.special import ndtr
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.params import param
from oortax.stars.grid_magnitudes import ColourMagnitude, GridMagnitudes, from_points
from oortax.stars.imf import AbstractIMF, Kroupa
from oortax.stars.isochrones import BANDS, Isochrones, blend, check_bands, heaviest_alive, split_colour
from oortax.stars.magnitudes import AbstractMagnitudes, _check_support
from oortax.stars.metallicity import AbstractMetallicity, FixedMetallicity
from oortax.stars.remnants import white_dwarfs
from oortax.stars.star_formation import AbstractStarFormation, Constant
from oortax.types import Scalar

# Metallicities in a quadrature reach this many standard deviations.
_WINGS = 3.5
_OUTSIDE = ("error", "nearest")
_DRAWN_AT_ONCE = 4096


class Stars(NamedTuple):
    """Stars of a population, arrays of shape (n,): Msun (at birth), Gyr, dex, mag, mag.

    Of an unresolved binary, `mass` is the primary's, and M and colour are those of the two together.
    """

    mass: Array
    age: Array
    mh: Array
    M: Array
    colour: Array


@final
class Population(AbstractMagnitudes):
    """A stellar population, and the distribution of its stars' absolute magnitudes and colours.

        p(M, colour) ~ int d age psi(age) int d[M/H] N([M/H] | age) int dm xi(m) delta(M - M_iso) delta(c -
        c_iso),

    over the stars that live. As a distribution of magnitudes it serves wherever `Gaussian` or `Tabulated`
    does; `bind` computes its table once, as a likelihood does for each set of parameters.

    Attributes
    ----------
    imf : AbstractIMF
        Of single stars, or of primaries; default `Kroupa()`.
    history : AbstractStarFormation
        Default `Constant(onset=10)`.
    metallicity : AbstractMetallicity
        Default `FixedMetallicity(0, 0.2)`.
    isochrones : Isochrones, or its name
    band, colour : str, static
        "V" and "B-V" by default; bands are B, V, G, BP and RP.
    support : two floats, mag, static
        Range of M, by default all that isochrones hold. Give the one of interest: it is cheaper.
    colour_range : two floats, mag, static
        Range of the table's colours; by default all of them.
    colour_window : two floats, mag, static, or None
        Only stars in this window, seen with errors of `colour_error`, count in the distribution of M.
    colour_error : float, mag, static
    binary_fraction : shape (), between 0 and 1, or None for none
        Share of the stars that have an unresolved companion on the main sequence of the same isochrone. Mass
        ratios are distributed evenly between 0 and 1; companions below 0.1 Msun add no light.
    with_white_dwarfs : bool, static
        Whether stars that died as white dwarfs are among the stars (see `oortax.stars.remnants`).
    outside : "error" or "nearest", static
        What to do about ages and mean metallicities beyond the isochrones: refuse them, or use the nearest
        isochrone. The wings of a metallicity distribution are always given to the nearest isochrone, and so
        are stars younger than the youngest.
    n_ages, n_metallicities : int, static
        Nodes of the quadrature.
    step, colour_step : float, mag, static
        Grid of the table; its kernel has a standard deviation of 0.82 steps.

    Notes
    -----
    Masses below 0.1 Msun, more massive stars than those of early asymptotic giants (thermal pulses and
    later), and remnants other than white dwarfs are not among the stars. Accuracy of the default
    quadrature: 0.5 % of the largest F (rms 0.3 % of F), against four times as many nodes. 50 ms a table on
    one core.

    >>> disc = Population(support=(-2.0, 10.0))
    >>> F = disc.bind()  # a distribution of M, of which 1 mag is more common than 0
    >>> bool(F.log_F(1.0) > F.log_F(0.0)), round(float(disc.number_per_mass()), 2)
    (True, 1.42)
    """

    imf: AbstractIMF
    history: AbstractStarFormation
    metallicity: AbstractMetallicity
    isochrones: Isochrones
    band: str = eqx.field(static=True)
    colour: str = eqx.field(static=True)
    support: tuple[float, float] = eqx.field(static=True)
    colour_range: tuple[float, float] = eqx.field(static=True)
    colour_window: tuple[float, float] | None = eqx.field(static=True)
    colour_error: float = eqx.field(static=True)
    with_white_dwarfs: bool = eqx.field(static=True)
    outside: str = eqx.field(static=True)
    n_ages: int = eqx.field(static=True)
    n_metallicities: int = eqx.field(static=True)
    step: float = eqx.field(static=True)
    colour_step: float = eqx.field(static=True)
    binary_fraction: Float[Array, ""] | None = param(
        constraints.unit_interval, "", "share of unresolved binaries", optional=True
    )

    def __init__(
        self,
        imf: AbstractIMF | None = None,
        history: AbstractStarFormation | None = None,
        metallicity: AbstractMetallicity | None = None,
        isochrones: Isochrones | str = "parsec",
        band: str = "V",
        colour: str = "B-V",
        support=None,
        colour_range=None,
        colour_window=None,
        colour_error: float = 0.02,
        binary_fraction: Any = None,
        with_white_dwarfs: bool = False,
        outside: str = "error",
        n_ages: int = 48,
        n_metallicities: int = 12,
        step: float = 0.1,
        colour_step: float = 0.025,
    ):
        self.imf = Kroupa() if imf is None else imf
        self.history = Constant(onset=jnp.asarray(10.0)) if history is None else history
        self.metallicity = FixedMetallicity() if metallicity is None else metallicity
        self.isochrones = Isochrones(isochrones) if isinstance(isochrones, str) else isochrones
        self.binary_fraction = binary_fraction
        self.band = check_bands([band])[0]
        self.colour = "-".join(split_colour(colour))
        seen = self._seen(np.moveaxis(self._magnitudes(), 2, 0))
        M, colours = _whole(seen[0], 3 * step), _whole(seen[1], 3 * colour_step)
        self.support = M if support is None else _check_support("Population", support)
        self.colour_range = colours if colour_range is None else _check_support("Population", colour_range)
        self.colour_window = None if colour_window is None else _window(colour_window)
        self.colour_error, self.step, self.colour_step = float(colour_error), float(step), float(colour_step)
        self.with_white_dwarfs, self.outside = bool(with_white_dwarfs), outside
        self.n_ages, self.n_metallicities = int(n_ages), int(n_metallicities)
        _check(self)

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that M and the colour need, each once."""
        return tuple(dict.fromkeys((self.band, *split_colour(self.colour))))

    def _magnitudes(self) -> np.ndarray:
        """The isochrones' magnitudes in `bands`."""
        return self.isochrones.grid.magnitudes[:, :, [BANDS.index(band) for band in self.bands]]

    def _seen(self, magnitudes):
        """M and colour from magnitudes in `bands`, which are along the first axis."""
        place = {band: magnitudes[i] for i, band in enumerate(self.bands)}
        first, second = split_colour(self.colour)
        return place[self.band], place[first] - place[second]

    def quadrature(self) -> tuple[Array, Array, Array]:
        """Ages (Gyr), metallicities (dex) and shares (of the stars formed) of nodes, each of shape (n,)."""
        edges = self.history.edges(self.n_ages, self.isochrones.ages[0])
        share = jnp.diff(self.history.cdf(edges))
        share = share / jnp.sum(share)
        age = 0.5 * (edges[1:] + edges[:-1])
        t = np.linspace(-_WINGS, _WINGS, self.n_metallicities + 1)
        w = np.diff(np.asarray(scipy.special.ndtr(t)))
        offset = self.metallicity.sigma * jnp.asarray(0.5 * (t[1:] + t[:-1]))
        mean = jax.vmap(self.metallicity.mean)(age)
        mh = mean[:, None] + offset
        shares = share[:, None] * jnp.asarray(w / w.sum())
        return jnp.broadcast_to(age[:, None], mh.shape).ravel(), mh.ravel(), shares.ravel()

    def points(self) -> tuple[Array, Array, Array]:
        """M, colour and number (per star formed) of weighted points that stand for the living stars."""
        ages, mh, shares = self.quadrature()
        table, grid = self._magnitudes(), self.isochrones.grid
        fraction = self.binary_fraction

        def one(age, mh, share):
            m, y = blend(grid, table, age, mh)
            number = share * self.imf.number(m[:-1], m[1:])
            # Two points for each step along the isochrone.
            places = [y[:, :-1] + f * (y[:, 1:] - y[:, :-1]) for f in (0.25, 0.75)]
            if fraction is None:
                return [(place, number / 2.0) for place in places]
            singles = [(place, number * (1.0 - fraction) / 2.0) for place in places]
            middle = 0.5 * (m[:-1] + m[1:]), 0.5 * (y[:, :-1] + y[:, 1:])
            pairs = _pairs(m[: len(grid.foot)], y[:, : len(grid.foot)], *middle)
            return singles + [(pair, number * fraction / len(pairs)) for pair in pairs]

        parts = [
            (jnp.moveaxis(places, 1, 0).reshape(len(self.bands), -1), number.ravel())
            for places, number in jax.vmap(one)(ages, mh, shares)
        ]
        if self.with_white_dwarfs:
            parts.append(white_dwarfs(self.imf, partial(heaviest_alive, grid), self.bands, ages, mh, shares))
        M, colour = self._seen(jnp.concatenate([part[0] for part in parts], axis=1))
        return M, colour, jnp.concatenate([part[1] for part in parts])

    @eqx.filter_jit
    def table(self) -> ColourMagnitude:
        """p(M, colour) of the living stars; its `number` is that of stars in it per unit mass formed."""
        M, colour, weight = self.points()
        return ColourMagnitude.from_points(
            M,
            colour,
            weight / self.imf.mean_mass(),
            self.support,
            self.colour_range,
            self.step,
            self.colour_step,
            self.band,
            self.colour,
        )

    def colour_magnitude(self) -> ColourMagnitude:
        """p(M, colour) of all its stars: `table`. A colour window has no effect on it."""
        return self.table()

    @eqx.filter_jit
    def bind(self) -> GridMagnitudes:
        """The distribution of M, within the colour window if there is one."""
        M, colour, weight = self.points()
        if self.colour_window is not None:
            lo, hi = self.colour_window
            error = self.colour_error
            weight = weight * (ndtr((hi - colour) / error) - ndtr((lo - colour) / error))
        return from_points(M, weight, self.support, self.step)

    @eqx.filter_jit
    def number_per_mass(self) -> Scalar:
        """Living stars (of all magnitudes and colours) per unit mass formed, 1/Msun."""
        return jnp.sum(self.points()[2]) / self.imf.mean_mass()

    def log_shape(self, M) -> Scalar:
        """ln F up to a constant; computes the whole table: `bind` first."""
        return self.bind().log_shape(M)

    def log_norm(self) -> Scalar:
        """ln of the integral of exp(log_shape) over the support."""
        return self.bind().log_norm()

    def blurred(self, m, sigma) -> Scalar:
        """Density of M + noise at m; see `GridMagnitudes`."""
        return self.bind().blurred(m, sigma)

    def breaks(self) -> Float[Array, "n"]:
        """Those of the table."""
        return self.bind().breaks()

    def draw(self, key, n: int) -> Stars:
        """n living stars (on the host).

        Ages, metallicities and masses are drawn from their distributions, not from the table; those that have
        died are drawn anew. With white dwarfs, not supported: ValueError.
        """
        if self.with_white_dwarfs:
            raise ValueError("Population.draw: white dwarfs are in the table only; draw from table() instead")
        found: list[Stars] = []
        have = 0
        while have < n:
            key, now = jax.random.split(key)
            # A power of two: few sizes, so that little is compiled anew.
            found.append(_living(self, now, 1 << max(10, int(1.3 * (n - have) - 1).bit_length())))
            have += len(found[-1].mass)
        return Stars(*(jnp.concatenate(parts)[:n] for parts in zip(*found, strict=True)))


def _pairs(m, y, m_1, y_1, n_ratios: int = 5):
    """Magnitudes (b, k) of primaries with companions, for each of n mass ratios."""
    log_m = jnp.log(m)
    pairs = []
    for q in (np.arange(n_ratios) + 0.5) / n_ratios:
        m_2 = q * m_1
        y_2 = jax.vmap(lambda row, x=jnp.log(m_2): jnp.interp(x, log_m, row))(y)
        light = jnp.where(m_2 < m[0], 0.0, 10 ** (0.4 * (y_1 - y_2)))
        pairs.append(y_1 - 2.5 * jnp.log10(1.0 + light))
    return pairs


@eqx.filter_jit
def _place(population: Population, m, age, mh, q):
    """M and colour of stars, with a companion of mass ratio q (0: none); NaN if they are dead."""
    table, grid = population._magnitudes(), population.isochrones.grid
    n_ms = len(grid.foot)

    def one(star):
        m_1, age, mh, q = star
        m, y = blend(grid, table, age, mh)
        alive = (m_1 >= m[0]) & (m_1 <= m[-1])
        y_1 = jnp.stack([jnp.interp(m_1, m, row) for row in y])
        y_2 = jnp.stack([jnp.interp(q * m_1, m[:n_ms], row[:n_ms]) for row in y])
        light = jnp.where(q * m_1 < m[0], 0.0, 10 ** (0.4 * (y_1 - y_2)))
        M, colour = population._seen(y_1 - 2.5 * jnp.log10(1.0 + light))
        return jnp.where(alive, M, jnp.nan), jnp.where(alive, colour, jnp.nan)

    return jax.lax.map(one, (m, age, mh, q), batch_size=min(_DRAWN_AT_ONCE, len(m)))


def _living(population: Population, key, n: int) -> Stars:
    """Of n stars formed, between 0.1 Msun and the IMF's limit, those that live."""
    k_age, k_mh, k_m, k_binary, k_q = jax.random.split(key, 5)
    age = population.history.draw(k_age, n)
    mh = population.metallicity.draw(k_mh, age)
    imf = population.imf
    grid = population.isochrones.grid
    least = max(imf.limits[0], float(10 ** grid.foot[0, 0]))
    u_0 = imf.number(imf.limits[0], least)
    u = u_0 + (1.0 - u_0) * jax.random.uniform(k_m, (n,), dtype=jnp.result_type(float))
    m = jnp.maximum(_quantiles(imf, u), least)
    fraction = population.binary_fraction
    binary = jax.random.uniform(k_binary, (n,)) < (0.0 if fraction is None else fraction)
    q = jnp.where(binary, jax.random.uniform(k_q, (n,), dtype=jnp.result_type(float)), 0.0)
    M, colour = _place(population, m, age, mh, q)
    keep = np.flatnonzero(np.isfinite(np.asarray(M)))
    return Stars(*(values[keep] for values in (m, age, mh, M, colour)))


@eqx.filter_jit
def _quantiles(imf: AbstractIMF, u):
    return imf.quantile(u)


def _whole(values, margin: float) -> tuple[float, float]:
    """The range of an array with a margin, in steps of 0.5 mag."""
    lo, hi = float(np.min(values)) - margin, float(np.max(values)) + margin
    return float(np.floor(2 * lo) / 2), float(np.ceil(2 * hi) / 2)


def _window(window) -> tuple[float, float]:
    try:
        lo, hi = (float(edge) for edge in window)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Population(colour_window={window!r}): give two colours, such as (0.9, 1.25)"
        ) from error
    if not lo < hi:
        raise ValueError(f"Population(colour_window={window!r}): the blue end must be below the red one")
    return lo, hi


def _check(population: Population) -> None:
    """Raise ValueError for parts of the wrong type, sizes without sense and stars beyond the isochrones."""
    parts = {"imf": AbstractIMF, "history": AbstractStarFormation, "metallicity": AbstractMetallicity}
    for name, kind in (parts | {"isochrones": Isochrones}).items():
        part = getattr(population, name)
        if not isinstance(part, kind):
            raise ValueError(
                f"Population({name}={part!r}): expected {kind.__name__.removeprefix('Abstract')}"
            )
    for name, least in (("n_ages", 4), ("n_metallicities", 1)):
        if getattr(population, name) < least:
            raise ValueError(f"Population({name}={getattr(population, name)}): must be at least {least}")
    for name in ("step", "colour_step", "colour_error"):
        if not (np.isfinite(getattr(population, name)) and getattr(population, name) > 0):
            raise ValueError(f"Population({name}={getattr(population, name)}): must be positive, in mag")
    if population.outside not in _OUTSIDE:
        raise ValueError(f"Population(outside={population.outside!r}): give one of {', '.join(_OUTSIDE)}")
    if population.outside == "nearest":
        return
    oldest = population.history.oldest()
    if isinstance(oldest, Tracer) or any(isinstance(x, Tracer) for x in jax.tree.leaves(population)):
        return
    remedy = '; outside="nearest" gives such stars to the nearest isochrone'
    population.isochrones.check(age=jnp.maximum(oldest, population.isochrones.ages[0]), remedy=remedy)
    ages = jnp.linspace(min(0.1, 0.5 * float(oldest)), float(oldest), 9)
    population.isochrones.check(mh=jax.vmap(population.metallicity.mean)(ages), remedy=remedy)
