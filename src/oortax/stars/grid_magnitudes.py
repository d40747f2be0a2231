"""Distributions on uniform grids of magnitude and colour: sums of cubic B-splines with positive weights.

Weights are laid down by the same B-splines, so that a star's place is spread by a kernel of standard
deviation sqrt(2/3) = 0.82 steps of the grid: smooth, positive, and exactly normalised.
"""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax import data
from oortax.numerics.bspline import basis
from oortax.stars.magnitudes import AbstractMagnitudes
from oortax.types import Scalar

_FLOOR = 1e-30
# Shares of a B-spline on either side of a boundary that lies on its knots, -1 to +1 steps from its centre.
_INSIDE = (1.0 / 24.0, 0.5, 23.0 / 24.0)


def cells(ends: tuple[float, float], step: float) -> int:
    """Number of grid cells of about the given step."""
    return max(4, round((ends[1] - ends[0]) / step))


def spread(x, ends: tuple[float, float], n: int):
    """The four B-splines over each point x, of n cells between lo and hi: first index, and weights of sum 1.

    Their indices run from 0 to n + 2, and their centres from lo - h to hi + h; points outside get weight 0.
    """
    lo, hi = ends
    t = (x - lo) / (hi - lo) * n
    inside = (t >= 0) & (t <= n)
    i = jnp.clip(jnp.floor(jnp.where(inside, t, 0.0)), 0, n - 1)
    weights = basis(3, 0, jnp.where(inside, t - i, 0.0))
    return i.astype(jnp.int32), [jnp.where(inside, w, 0.0) for w in weights]


def edge_shares(n: int) -> np.ndarray:
    """Share of each of the n + 3 B-splines that lies between the ends of the grid."""
    shares = np.ones(n + 3)
    shares[:3] *= _INSIDE
    shares[-3:] *= _INSIDE[::-1]
    return shares


@final
class GridMagnitudes(AbstractMagnitudes):
    """F(M) = sum_k w_k B(M - M_k), cubic B-splines on a uniform grid, normalised on the support.

    Attributes
    ----------
    weights : shape (n + 3,), not negative
        Up to a constant factor; n is the number of grid cells in the support.
    support : two floats, mag, static

    Notes
    -----
    `blurred` is accurate to 1e-3 of F's maximum for errors up to half a step of the grid.

    >>> F = GridMagnitudes(jnp.ones(23), (0.0, 2.0))
    >>> round(float(F.log_F(1.234)), 9)
    -0.693147181
    """

    weights: Float[Array, "m"]
    support: tuple[float, float] = eqx.field(static=True)

    @property
    def step(self) -> float:
        """Step of the grid, mag."""
        return (self.support[1] - self.support[0]) / (len(self.weights) - 3)

    def log_shape(self, M) -> Scalar:
        """ln of the sum; constant beyond the support, and never below 1e-30 of the largest weight."""
        lo, hi = self.support
        i, b = spread(jnp.clip(M, lo, hi), self.support, len(self.weights) - 3)
        # A sum written out fuses with its neighbours.
        total: Any = sum(b[k] * self.weights[i + k] for k in range(4))
        return jnp.log(jnp.maximum(total, _FLOOR * jnp.max(self.weights)))

    def breaks(self) -> Float[Array, "n"]:
        """Every fourth knot."""
        lo, hi = self.support
        n = len(self.weights) - 3
        return jnp.asarray(np.linspace(lo, hi, max(2, n // 4) + 1)[1:-1], self.weights.dtype)

    def log_norm(self) -> Scalar:
        """ln of the integral over the support, in closed form."""
        return jnp.log(self.step * jnp.sum(self.weights * edge_shares(len(self.weights) - 3)))


@final
class ColourMagnitude(AbstractMagnitudes):
    """p(M, colour): a smooth density over absolute magnitude and colour, on a uniform grid.

    As a distribution of magnitudes it is its marginal in M.

    Attributes
    ----------
    weights : shape (n + 3, m + 3), not negative
        Of the products of B-splines, up to a constant factor.
    number : shape ()
        What the density is normalised to: living stars within the grid per unit mass formed, or 1.
    M_range, colour_range : two floats, mag, static
    band, colour : str, static

    >>> table = ColourMagnitude(jnp.ones((13, 8)), jnp.array(1.0), (0.0, 2.0), (0.5, 1.0), "V", "B-V")
    >>> round(float(table.density(0.3, 0.7)), 9)
    1.0
    """

    weights: Float[Array, "n m"]
    number: Float[Array, ""]
    M_range: tuple[float, float] = eqx.field(static=True)
    colour_range: tuple[float, float] = eqx.field(static=True)
    band: str = eqx.field(static=True, default="V")
    colour: str = eqx.field(static=True, default="B-V")

    @property
    def cells(self) -> tuple[int, int]:
        """Number of grid cells in M and colour."""
        return self.weights.shape[0] - 3, self.weights.shape[1] - 3

    def _shares(self):
        n, m = self.cells
        return edge_shares(n), edge_shares(m)

    def total(self) -> Scalar:
        """Integral of the sum of B-splines over the grid."""
        n, m = self.cells
        area = (self.M_range[1] - self.M_range[0]) / n * (self.colour_range[1] - self.colour_range[0]) / m
        of_M, of_colour = self._shares()
        return area * (jnp.asarray(of_M) @ self.weights @ jnp.asarray(of_colour))

    def density(self, M, colour) -> Scalar:
        """p(M, colour) per mag^2, integral 1 over the grid; 0 outside. Twice continuously differentiable."""
        n, m = self.cells
        i, b = spread(M, self.M_range, n)
        j, c = spread(colour, self.colour_range, m)
        total: Any = sum(b[k] * c[q] * self.weights[i + k, j + q] for k in range(4) for q in range(4))
        return total / self.total()

    def log_density(self, M, colour) -> Scalar:
        """ln p(M, colour); -inf where there are no stars."""
        p = self.density(M, colour)
        return jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1.0)), -jnp.inf)

    def magnitudes(self) -> GridMagnitudes:
        """p(M), all colours of the grid together."""
        return GridMagnitudes(weights=self.weights @ self._shares()[1], support=self.M_range)

    @property
    def support(self) -> tuple[float, float]:
        """`M_range`."""
        return self.M_range

    def colour_magnitude(self) -> "ColourMagnitude":
        """Itself."""
        return self

    def bind(self) -> GridMagnitudes:
        """`magnitudes`."""
        return self.magnitudes()

    def log_shape(self, M) -> Scalar:
        """ln p(M) up to a constant."""
        return self.magnitudes().log_shape(M)

    def breaks(self) -> Float[Array, "n"]:
        """Those of `magnitudes`."""
        return self.magnitudes().breaks()

    def draw(self, key, n: int) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """n pairs (M, colour) within the grid, exactly from the density.

        A B-spline is the density of the sum of four uniform numbers; a star beyond the grid's edge is drawn
        anew.
        """
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
        flat = np.cumsum(np.asarray(self.weights).ravel())
        size = np.array(self.cells)
        ranges = np.array([self.M_range, self.colour_range])
        found = np.empty((0, 2))
        while len(found) < n:
            chosen = np.searchsorted(flat, rng.random(int(1.2 * n) + 16) * flat[-1], side="right")
            at = np.stack(np.unravel_index(chosen, self.weights.shape), axis=1) - 1.0
            t = (at + rng.random((4, *at.shape)).sum(axis=0) - 2.0) / size
            keep = np.all((t >= 0) & (t <= 1), axis=1)
            found = np.concatenate([found, ranges[:, 0] + t[keep] * (ranges[:, 1] - ranges[:, 0])])
        return jnp.asarray(found[:n, 0]), jnp.asarray(found[:n, 1])

    @classmethod
    def from_points(
        cls,
        M,
        colour,
        weights,
        M_range,
        colour_range,
        step=0.1,
        colour_step=0.025,
        band="V",
        colour_name="B-V",
    ) -> "ColourMagnitude":
        """The density of weighted points (shape (k,)), each spread by the kernel; traceable in all three."""
        n, m = cells(M_range, step), cells(colour_range, colour_step)
        i, b = spread(M, _padded(M_range, n), n + 2 * _PAD)
        j, c = spread(colour, _padded(colour_range, m), m + 2 * _PAD)
        columns = m + 2 * _PAD + 3
        table = jnp.zeros((n + 2 * _PAD + 3) * columns, jnp.result_type(weights))
        for k in range(4):
            for q in range(4):
                table = table.at[(i + k) * columns + j + q].add(weights * b[k] * c[q])
        kept = table.reshape(-1, columns)[_PAD : _PAD + n + 3, _PAD : _PAD + m + 3]
        number = jnp.asarray(edge_shares(n)) @ kept @ jnp.asarray(edge_shares(m))
        return cls(
            weights=kept,
            number=number,
            M_range=M_range,
            colour_range=colour_range,
            band=band,
            colour=colour_name,
        )  # type: ignore[call-arg]

    @classmethod
    def from_file(cls, path, band: str = "V", colour: str = "B-V") -> "ColourMagnitude":
        """A user's table: CSV with columns M, colour and density (or counts) at every point of a grid.

        M and colour, at the centres of the cells, are equidistant with at least four values each. The
        kernel's width is that of the table's own grid. ValueError for anything else.
        """
        rows = data.read_csv(path)
        missing = [name for name in ("M", "colour", "density") if name not in rows]
        if missing:
            raise ValueError(f"{path} lacks the columns {', '.join(missing)} (it has {', '.join(rows)})")
        M, c = (np.unique(rows[name]) for name in ("M", "colour"))
        for name, x in (("M", M), ("colour", c)):
            if len(x) < 4 or np.ptp(np.diff(x)) > 1e-6 * np.ptp(x):
                raise ValueError(f"{path}: {name} needs four or more equidistant values")
        if len(rows["M"]) != len(M) * len(c):
            raise ValueError(
                f"{path}: {len(rows['M'])} rows for {len(M)} x {len(c)} points; give one for each"
            )
        density = rows["density"]
        if not (np.all(np.isfinite(density)) and np.all(density >= 0) and density.sum() > 0):
            raise ValueError(f"{path}: density must be finite and not negative, and somewhere positive")
        M_range, colour_range = (
            (float(1.5 * x[0] - 0.5 * x[1]), float(1.5 * x[-1] - 0.5 * x[-2])) for x in (M, c)
        )
        return cls.from_points(
            jnp.asarray(rows["M"]),
            jnp.asarray(rows["colour"]),
            jnp.asarray(density / density.sum()),
            M_range,
            colour_range,
            float(M[1] - M[0]),
            float(c[1] - c[0]),
            band,
            colour,
        )


_PAD = 4


def _padded(ends: tuple[float, float], n: int) -> tuple[float, float]:
    """A range with cells added at both ends, so that stars beyond the ends spread into it."""
    lo, hi = ends
    pad = _PAD * (hi - lo) / n
    return lo - pad, hi + pad


def from_points(M, weights, support: tuple[float, float], step: float) -> GridMagnitudes:
    """The distribution of weighted magnitudes (shape (k,)), each spread by the kernel; traceable in both."""
    n = cells(support, step)
    i, b = spread(M, _padded(support, n), n + 2 * _PAD)
    table = jnp.zeros(n + 2 * _PAD + 3, jnp.result_type(weights))
    for k in range(4):
        table = table.at[i + k].add(weights * b[k])
    return GridMagnitudes(weights=table[_PAD : _PAD + n + 3], support=support)
