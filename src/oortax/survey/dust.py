"""Dust with structure: an exponential disc, and a user's map in three dimensions."""

from pathlib import Path
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from interpax import interp1d
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.params import as_array, param
from oortax.survey.extinction import AbstractExtinction, DustLayer
from oortax.survey.sun import Sun
from oortax.types import Scalar

BAND_COEFFICIENTS = {"B": 4.1 / 3.1, "V": 1.0, "G": 2.740 / 3.1, "BP": 3.374 / 3.1, "RP": 2.035 / 3.1}
"""A_band / A_V for R_V = 3.1: B by definition, Gaia's of Casagrande & VandenBerg (2018, MNRAS 479, L102).

The Gaia bands are wide: these are means for stars of 5250 to 7000 K behind little dust; A_G/A_V falls by
0.1 for the coolest stars, and by as much behind a few mag.
"""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_PANELS = 2


def band_coefficient(band: str) -> float:
    """A_band / A_V; ValueError for a band that is not known.

    >>> round(band_coefficient("G"), 3)
    0.884
    """
    if band not in BAND_COEFFICIENTS:
        raise ValueError(f"unknown band {band!r} (known: {', '.join(BAND_COEFFICIENTS)})")
    return BAND_COEFFICIENTS[band]


@final
class DustDisc(AbstractExtinction):
    """Dust in an exponential disc, of which a line of sight has the integral

        A(l, b, s) = c_band k int_0^s exp(-|z|/h - (R - R0)/R_d) ds',

    with z and R along it. For R_d without limit this is `DustLayer`.

    Attributes
    ----------
    k : shape (), mag/kpc, not negative
        A_V per length in the plane at the Sun's radius (about 0.7 to 1).
    h : shape (), kpc, positive
        Scale height (about 0.1 to 0.15).
    R_d : shape (), kpc, positive
        Scale length (about 3 to 4).
    band : str, static
        B, V, G, BP or RP; its coefficient c_band multiplies A_V.

    Notes
    -----
    The height's exponential is integrated in closed form (its column is the variable of the quadrature), the
    radius's with 24 nodes on each of three pieces: relative error 1e-6, and 2e-4 for lines that pass the
    centre within 0.3 kpc.

    >>> dust = DustDisc(k=0.7, h=0.1, R_d=3.5)
    >>> round(float(dust.A(Sun(), 0.0, 1.5707963, 50.0)), 4), round(float(dust.A(Sun(), 0.0, 0.0, 2.0)), 3)
    (0.0569, 1.534)
    """

    band: str = eqx.field(static=True)
    k: Float[Array, ""] = param(constraints.nonnegative, "mag/kpc", "A_V per length in the plane at R0")
    h: Float[Array, ""] = param(constraints.positive, "kpc", "scale height of the dust")
    R_d: Float[Array, ""] = param(constraints.positive, "kpc", "scale length of the dust")

    def __init__(self, k: Any, h: Any, R_d: Any = 3.5, band: str = "V"):
        self.k, self.h, self.R_d = k, h, R_d
        self.band = band
        band_coefficient(band)

    def A(self, sun: Sun, l, b, s) -> Scalar:
        """Extinction (mag) towards Galactic (l, b) (rad) out to the distance s (kpc)."""
        sin_b, cos_b = jnp.sin(b), jnp.cos(b)
        level = jnp.abs(sin_b) < 1e-12
        # Ends of pieces: where the path is next to the plane, from which dust thins out, and next to the
        # centre.
        plane = jnp.where(level, 0.0, -sun.z0 / jnp.where(level, 1.0, sin_b))
        centre = sun.R0 * jnp.cos(l) / jnp.maximum(cos_b, 1e-6)
        first, second = (jnp.clip(f(plane, centre), 0.0, s) for f in (jnp.minimum, jnp.maximum))
        edges = np.linspace(0.0, 1.0, _PANELS + 1)
        v = 1.0 - (edges[:-1, None] + (0.5 + 0.5 * _NODES) / _PANELS).ravel()
        # Crowded towards the end of the column, where distance runs away as its logarithm.
        y, w = 1.0 - v**4, 4.0 * v**3 * np.tile(0.5 * _WEIGHTS / _PANELS, _PANELS)
        total: Any = 0.0
        for a, c in ((0.0 * s, first), (first, second), (second, s)):
            z_a, z_c = (jnp.abs(sun.z0 + t * sin_b) for t in (a, c))
            start = jnp.where(z_a <= z_c, a, c)
            length, sign = c - a, jnp.where(z_a <= z_c, 1.0, -1.0)
            column, place = _column(length * jnp.abs(sin_b) / self.h, jnp.asarray(y))
            at = start + sign * length * place
            across = (sun.R0 - at * cos_b * jnp.cos(l), at * cos_b * jnp.sin(l))
            R = jnp.sqrt(across[0] ** 2 + across[1] ** 2 + 1e-20)
            near = jnp.exp(-jnp.minimum(z_a, z_c) / self.h)
            total = total + near * length * column * jnp.sum(w * jnp.exp((sun.R0 - R) / self.R_d))
        return band_coefficient(self.band) * self.k * total


def _column(x, y):
    """Of a layer e^-x t, 0 < t < 1: its integral, and t where a share y of it is passed; smooth at x = 0."""
    small = x < 1e-4
    safe = jnp.where(small, 1.0, x)
    column = jnp.where(small, 1.0 - x / 2.0 + x**2 / 6.0, -jnp.expm1(-safe) / safe)
    place = -jnp.log1p(y * jnp.expm1(-safe)) / safe
    return column, jnp.where(small, y - 0.5 * x * y * (1.0 - y), place)


@final
class DustMap(AbstractExtinction):
    """A user's extinction in three dimensions, on a regular grid of direction and distance.

    Attributes
    ----------
    A_V : shape (n_l, n_b, n_s), mag
        Extinction in V from the Sun to each point.
    scale : shape (), not negative
        Factor of the whole map.
    l, b : n_l and n_b floats, deg, static
        Increasing; longitudes from 0 to less than 360, and the map is periodic in them.
    s : n_s floats, kpc, static
        Increasing; 0 is put before it, with no extinction. Constant beyond the last.
    band : str, static

    Linear in direction, a monotone cubic (Fritsch & Carlson 1980) in distance: it rises where the map does,
    and has a continuous derivative in s.

    >>> far = np.broadcast_to(np.arange(1.0, 5.0), (4, 3, 4))
    >>> dust = DustMap(far, l=[0, 90, 180, 270], b=[-90, 0, 90], s=[1, 2, 3, 4])
    >>> round(float(dust.A(Sun(), 6.2, 0.3, 2.5)), 6), round(float(dust.A(Sun(), 0.1, 0.3, 9.0)), 6)
    (2.5, 4.0)
    """

    A_V: Float[Array, "n_l n_b n_s"]
    l: tuple[float, ...] = eqx.field(static=True)
    b: tuple[float, ...] = eqx.field(static=True)
    s: tuple[float, ...] = eqx.field(static=True)
    band: str = eqx.field(static=True)
    scale: Float[Array, ""] = param(constraints.nonnegative, "", "factor of the map")

    def __init__(self, A_V, l, b, s, scale: Any = 1.0, band: str = "V"):
        values: Any = as_array(np.asarray(A_V, dtype=float))
        self.A_V, self.scale, self.band = values, scale, band
        self.l, self.b, self.s = (tuple(np.asarray(x, dtype=float).ravel().tolist()) for x in (l, b, s))
        band_coefficient(band)
        axes = {"l": (self.l, 0.0, 360.0), "b": (self.b, -90.0, 90.0), "s": (self.s, 0.0, np.inf)}
        for name, (x, lo, hi) in axes.items():
            inside = all(lo <= v <= hi for v in x) and (name != "l" or x[-1] < 360.0)
            if len(x) < 3 or np.any(np.diff(x) <= 0) or not inside:
                raise ValueError(
                    f"DustMap({name}=...): give three or more increasing values in [{lo:g}, {hi:g}]"
                )
        shape = (len(self.l), len(self.b), len(self.s))
        table = np.asarray(self.A_V)
        if table.shape != shape:
            raise ValueError(f"DustMap: A_V has shape {table.shape}, l, b and s have {shape}")
        if not (np.all(np.isfinite(table)) and np.all(table >= 0)):
            raise ValueError("DustMap: A_V must be finite and not negative; fill what the map does not cover")

    def A(self, sun: Sun, l, b, s) -> Scalar:
        """Extinction (mag) towards Galactic (l, b) (rad) out to the distance s (kpc)."""
        table, knots = self.A_V, np.asarray(self.s)
        if knots[0] > 0:
            knots = np.concatenate([[0.0], knots])
            table = jnp.concatenate([jnp.zeros_like(table[..., :1]), table], axis=-1)
        (i, u), (j, v) = _place(np.radians(self.l), l, True), _place(np.radians(self.b), b, False)
        corners = table[jnp.stack([i, i + 1])[:, None] % len(self.l), jnp.stack([j, j + 1])]
        profile = jnp.einsum("i,j,ijk->k", jnp.stack([1.0 - u, u]), jnp.stack([1.0 - v, v]), corners)
        at = jnp.atleast_1d(jnp.clip(jnp.asarray(s, table.dtype), 0.0, knots[-1]))
        value = interp1d(at, jnp.asarray(knots, table.dtype), profile, method="monotonic")
        return band_coefficient(self.band) * self.scale * value[0]


def _place(knots: np.ndarray, x, periodic: bool):
    """Index of the interval of x, and where in it x is, from 0 to 1; the last interval closes a period."""
    if periodic:
        knots = np.concatenate([knots, [knots[0] + 2 * np.pi]])
        x = knots[0] + jnp.mod(x - knots[0], 2 * np.pi)
    i = jnp.clip(jnp.sum(x > jnp.asarray(knots), dtype=jnp.int32) - 1, 0, len(knots) - 2)
    u = (x - jnp.asarray(knots)[i]) / jnp.asarray(np.diff(knots))[i]
    return i, jnp.clip(u, 0.0, 1.0)


def dust_map(file: str, scale: Any = 1.0, band: str = "V") -> DustMap:
    """A `DustMap` from an .npz file with the arrays l, b (deg), s (kpc) and A_V (n_l, n_b, n_s) (mag)."""
    path = Path(file)
    if path.suffix != ".npz" or not path.is_file():
        raise ValueError(f"dust_map(file={file!r}): no such .npz file")
    with np.load(path) as saved:
        missing = [name for name in ("A_V", "l", "b", "s") if name not in saved]
        if missing:
            raise ValueError(f"{file} lacks {', '.join(missing)} (it has {', '.join(saved.files)})")
        return DustMap(saved["A_V"], saved["l"], saved["b"], saved["s"], scale, band)


EXTINCTIONS: dict[str, Any] = {"dust_layer": DustLayer, "dust_disc": DustDisc, "dust_map": dust_map}
"""Extinction models by the `kind` used in configuration files."""
