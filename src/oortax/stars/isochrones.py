"""Isochrones: the magnitudes of stars of one age and composition, along their evolution.

A table holds every isochrone of a grid in log age and [M/H] at the same equivalent evolutionary points.
Between the nodes of the grid, stars at the same point are averaged: the turn-off and the giant branch move
with age and do not blur. The place along an isochrone is its phase:

    0 to 1   main sequence, from 0.1 Msun to the exhaustion of hydrogen in the centre
    1 to 2   subgiants, up to the base of the giant branch
    2 to 3   red giants, up to the tip
    3 to 4   core helium burning; there is a jump at 3 where helium ignites in a flash
    4 to 5   early asymptotic giants

Initial masses increase with phase, and stars that are more massive than the last point are dead.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from oortax import data
from oortax.types import Scalar

BANDS = ("B", "V", "G", "BP", "RP")
"""Johnson B and V; Gaia's G, BP and RP."""

FLASH = 3
"""Phase at which the points of an isochrone may jump."""


class Grid(NamedTuple):
    """A table of isochrones on the host.

    Attributes
    ----------
    mh, log_age : shape (n_z,), (n_a,)
        The grid, dex and log10(yr).
    phase : shape (n,)
        Phases of the points; one value, 3, occurs twice.
    foot : shape (n_ms, 2)
        log10 m of main-sequence points = foot[:, 0] + foot[:, 1] log10(m at the exhaustion of hydrogen).
    log_m_end : shape (n_z, n_a)
        log10 of that mass, Msun.
    root : shape (n_z, n_a, n - n_ms)
        Fourth roots of the steps in mass from one later point to the next.
    magnitudes : shape (n_z, n_a, 5, n)
        Absolute magnitudes in `BANDS`.
    """

    mh: np.ndarray
    log_age: np.ndarray
    phase: np.ndarray
    foot: np.ndarray
    log_m_end: np.ndarray
    root: np.ndarray
    magnitudes: np.ndarray


@functools.cache
def read_grid(name: str) -> Grid:
    """A bundled table, "parsec", or a file of the same layout (see `benchmarks/isochrones.py`)."""
    bundled = {"parsec": "isochrones_parsec"}
    file = data.path(bundled[name]) if name in bundled else Path(name)
    if not file.is_file():
        raise ValueError(f"no isochrones {name!r}: give one of {', '.join(bundled)} or an .npz file")
    with np.load(file) as saved:
        wanted = ("mh", "log_age", "cells", "lowest", "log_m_end", "root", "root_scale", "tables")
        missing = [key for key in (*wanted, "photometry", "photometry_scale") if key not in saved]
        if missing:
            raise ValueError(f"{file} is no table of isochrones: it lacks {', '.join(missing)}")
        rows = {key: saved[key] for key in saved.files}
    cells = [int(n) for n in rows["cells"]]
    knots = [np.linspace(k, k + 1, n + 1) for k, n in enumerate(cells)]
    phase = np.concatenate([knots[0], *(x[0 if k == FLASH else 1 :] for k, x in enumerate(knots[1:], 1))])
    u = knots[0] * (2.0 - knots[0])
    foot = np.stack([np.log10(float(rows["lowest"])) * (1.0 - u), u**3], axis=1)
    low, step = rows["photometry_scale"].T[..., None, None, None]
    tables = dict(zip(rows["tables"].tolist(), low + step * rows["photometry"], strict=True))
    G, RP = tables["G"], tables["G"] - tables["G-RP"]
    magnitudes = {"V": tables["V"], "B": tables["V"] + tables["B-V"], "G": G, "RP": RP}
    magnitudes["BP"] = RP + tables["BP-RP"]
    root = rows["root_scale"][0] + rows["root_scale"][1] * rows["root"]
    stacked = np.stack([magnitudes[band] for band in BANDS], axis=2)
    return Grid(rows["mh"], rows["log_age"], phase, foot, rows["log_m_end"], root, stacked)


def _slope_rows(x: np.ndarray) -> np.ndarray:
    """Matrix from values at knots to the slopes there of the parabola through three neighbours."""
    n = len(x)
    rows = np.zeros((n, n))
    for i, t in enumerate(x):
        k = min(max(i, 1), n - 2)
        a, b, c = x[k - 1 : k + 2]
        rows[i, k - 1] = (2 * t - b - c) / ((a - b) * (a - c))
        rows[i, k] = (2 * t - a - c) / ((b - a) * (b - c))
        rows[i, k + 1] = (2 * t - a - b) / ((c - a) * (c - b))
    return rows


def _weights(x: np.ndarray, t):
    """Cubic Hermite interpolation at t as a sum of four neighbours: the first index, and four weights."""
    n = len(x)
    knots, slopes = jnp.asarray(x), jnp.asarray(_slope_rows(x))
    i = jnp.clip(jnp.sum(t > knots, dtype=jnp.int32) - 1, 0, n - 2)
    h = knots[i + 1] - knots[i]
    u = (t - knots[i]) / h
    v = 1.0 - u
    w = h * (u * v**2 * slopes[i] - u**2 * v * slopes[i + 1])
    w = w.at[i].add(v**2 * (1.0 + 2.0 * u)).at[i + 1].add(u**2 * (3.0 - 2.0 * u))
    start = jnp.clip(i - 1, 0, n - 4)
    return start, jnp.take(w, start + jnp.arange(4))


def blend(grid: Grid, magnitudes, age, mh):
    """Masses (n,) and magnitudes (k, n) at an age (Gyr) and [M/H] inside the grid; clipped to it."""
    log_age = jnp.clip(9.0 + jnp.log10(age), grid.log_age[0], grid.log_age[-1])
    mh = jnp.clip(mh, grid.mh[0], grid.mh[-1])
    (a, w_a), (z, w_z) = _weights(grid.log_age, log_age), _weights(grid.mh, mh)
    rows, columns = z + jnp.arange(4), a + jnp.arange(4)

    def mean(table):
        block = jnp.asarray(table)[rows[:, None], columns[None, :]]
        return jnp.tensordot(w_a, jnp.tensordot(w_z, block, 1), 1)

    log_m_end = mean(grid.log_m_end)
    main = 10 ** (grid.foot[:, 0] + grid.foot[:, 1] * log_m_end)
    later = main[-1] + jnp.cumsum(mean(grid.root) ** 4)
    return jnp.concatenate([main, later]), mean(magnitudes)


def heaviest_alive(grid: Grid, age, mh):
    """Initial mass (Msun) of the most massive living star of an age (Gyr) and [M/H], clipped to the grid."""
    last = 10**grid.log_m_end + np.sum(grid.root**4, axis=-1)
    log_age = jnp.clip(9.0 + jnp.log10(age), grid.log_age[0], grid.log_age[-1])
    (a, w_a), (z, w_z) = (
        _weights(grid.log_age, log_age),
        _weights(grid.mh, jnp.clip(mh, grid.mh[0], grid.mh[-1])),
    )
    return w_z @ jnp.asarray(last)[(z + jnp.arange(4))[:, None], (a + jnp.arange(4))[None, :]] @ w_a


def check_bands(bands, known=BANDS) -> tuple[str, ...]:
    """Raise ValueError for a band that is not known."""
    for band in bands:
        if band not in known:
            raise ValueError(f"unknown band {band!r} (known: {', '.join(known)})")
    return tuple(bands)


def split_colour(colour: str) -> tuple[str, str]:
    """The two bands of a colour such as "B-V" or "BP-RP"; ValueError if they are not known.

    >>> split_colour("BP-RP")
    ('BP', 'RP')
    """
    bands = tuple(part.strip() for part in str(colour).split("-"))
    if len(bands) != 2:
        raise ValueError(f"colour {colour!r}: give two bands, such as 'B-V' (bands: {', '.join(BANDS)})")
    check_bands(bands)
    return bands[0], bands[1]


@final
class Isochrone(eqx.Module):
    """Stars of one age and composition.

    Attributes
    ----------
    m : shape (n,), Msun
        Initial masses at the points of the table, not decreasing.
    magnitudes : shape (5, n), mag
        Absolute magnitudes in `BANDS`.
    phases : n floats, static
    """

    m: Float[Array, " n"]
    magnitudes: Float[Array, "5 n"]
    phases: tuple[float, ...] = eqx.field(static=True)

    def magnitude(self, band: str, phase) -> Scalar:
        """Absolute magnitude at a phase from 0 to 5: C1 but for the flash at 3."""
        check_bands([band])
        return _along(self.phases, self.magnitudes[BANDS.index(band)], phase, monotone=False)

    def colour(self, colour: str, phase) -> Scalar:
        """A colour such as "B-V" at a phase."""
        first, second = split_colour(colour)
        return self.magnitude(first, phase) - self.magnitude(second, phase)

    def mass(self, phase) -> Scalar:
        """Initial mass (Msun) at a phase: once continuously differentiable, not decreasing."""
        return _along(self.phases, self.m, phase, monotone=True)

    def phase_of(self, m) -> Scalar:
        """Phase of a star of initial mass m, by straight lines between points; NaN if dead."""
        phases = jnp.asarray(self.phases)
        alive = (m >= self.m[0]) & (m <= self.m[-1])
        return jnp.where(alive, jnp.interp(m, self.m, phases), jnp.nan)


def _along(phases, values, phase, monotone: bool):
    """Cubic Hermite interpolation on either side of the flash."""
    x = np.asarray(phases)
    cut = int(np.flatnonzero(x == FLASH)[0]) + 1
    parts = []
    for part in (slice(0, cut), slice(cut, len(x))):
        knots, y = x[part], values[part]
        slopes = _monotone_slopes(knots, y) if monotone else jnp.asarray(_slope_rows(knots)) @ y
        i = jnp.clip(jnp.sum(phase > knots, dtype=jnp.int32) - 1, 0, len(knots) - 2)
        h = jnp.asarray(np.diff(knots))[i]
        u = (phase - jnp.asarray(knots)[i]) / h
        v = 1.0 - u
        value = v**2 * (1.0 + 2.0 * u) * y[i] + u**2 * (3.0 - 2.0 * u) * y[i + 1]
        parts.append(value + h * (u * v**2 * slopes[i] - u**2 * v * slopes[i + 1]))
    inside = (phase >= 0) & (phase <= x[-1])
    return jnp.where(inside, jnp.where(phase <= FLASH, parts[0], parts[1]), jnp.nan)


def _monotone_slopes(knots, y):
    """Slopes that keep a rising cubic rising: harmonic means of its neighbours' (Fritsch & Carlson 1980)."""
    steps = jnp.diff(y) / np.diff(knots)
    before, after = steps[:-1], steps[1:]
    both = (before > 0) & (after > 0)
    safe = [jnp.where(both, s, 1.0) for s in (before, after)]
    inner = jnp.where(both, 2.0 / (1.0 / safe[0] + 1.0 / safe[1]), 0.0)
    return jnp.concatenate([steps[:1], inner, steps[-1:]])


@final
class Isochrones(eqx.Module):
    """A grid of isochrones.

    The bundled "parsec" is the PARSEC grid (Bressan et al. 2012) with bolometric corrections of MARCS
    models (B, V, at each metallicity) and of BaSTI (G, BP, RP, near-solar composition at all of them);
    sources in the data's PROVENANCE.md. Ages 0.1 to 12.6 Gyr, [M/H] -2.18 to 0.60, masses from 0.1 Msun.

    Attributes
    ----------
    name : str, static
        "parsec", or an .npz file of the same layout.

    Notes
    -----
    Accuracy (mag; `python benchmarks/isochrones.py measure`). The table has its source's points to 0.0005
    in the median and 0.012 for 95 % of them. One age left out of the grid (then 0.1 dex wide) is predicted
    to 0.001 in the median; 95 % of dwarfs from 0.4 Msun lie within 0.010, of turn-off stars within 0.027 in M
    and 0.011 in colour (both at equal mass) and within 0.009 of the curve, of red giants within 0.005 of it.
    The largest errors at equal mass, at turn-offs of 1.6 to 5 Gyr where convective cores appear, shrink by
    two with the grid's step, so that 95 % are within 0.025 in the grid as it is. One metallicity left out:
    0.024, 0.035 and 0.007; below 0.4 Msun 0.074. G, BP and RP keep the empirical relation of G - V to BP - RP
    to 0.05 for 0.5 < BP - RP < 1.5; M dwarfs and the coolest giants do not (0.3). Their BP - RP is that of
    near-solar metallicity at all others: about 0.03 too red at [M/H] = -1.5.

    >>> isochrones = Isochrones()
    >>> old = isochrones.at(age=10.0, mh=0.0)
    >>> turn_off = float(old.mass(1.0)), float(old.magnitude("V", 1.0)), float(old.colour("B-V", 1.0))
    >>> [round(value, 2) for value in turn_off]
    [0.99, 4.1, 0.63]
    """

    name: str = eqx.field(static=True, default="parsec")

    def __check_init__(self):
        """Raise ValueError if there is no such table."""
        read_grid(self.name)

    @property
    def grid(self) -> Grid:
        """The table."""
        return read_grid(self.name)

    @property
    def ages(self) -> tuple[float, float]:
        """Youngest and oldest age, Gyr."""
        lo, hi = (10 ** (x - 9.0) for x in self.grid.log_age[[0, -1]])
        return float(lo), float(hi)

    @property
    def metallicities(self) -> tuple[float, float]:
        """Lowest and highest [M/H], dex."""
        return float(self.grid.mh[0]), float(self.grid.mh[-1])

    def check(self, age=None, mh=None, remedy: str = "") -> None:
        """Raise ValueError if an age (Gyr) or [M/H] is outside the grid; traced values pass."""
        for what, value, (lo, hi), unit in (
            ("age", age, self.ages, " Gyr"),
            ("[M/H]", mh, self.metallicities, ""),
        ):
            if value is None or isinstance(value, Tracer):
                continue
            values = np.asarray(value)
            if not np.all((values >= lo * (1 - 1e-9 * np.sign(lo))) & (values <= hi * (1 + 1e-9))):
                raise ValueError(
                    f"{what} = {np.array2string(values, threshold=5)}{unit} is outside the isochrones "
                    f"{self.name!r}: {lo:.4g} to {hi:.4g}{unit}{remedy}"
                )

    def at(self, age, mh) -> Isochrone:
        """The isochrone of an age (Gyr) and [M/H] (dex).

        Differentiable in both, with continuous first derivatives. ValueError outside the grid, NaN if traced.
        """
        self.check(age, mh)
        grid = self.grid
        (young, old), (poor, rich) = self.ages, self.metallicities
        inside = (
            (age >= 0.999999 * young) & (age <= 1.000001 * old) & (mh >= poor - 1e-6) & (mh <= rich + 1e-6)
        )
        m, magnitudes = blend(grid, grid.magnitudes, age, mh)
        valid: Any = jnp.where(inside, 1.0, jnp.nan)
        return Isochrone(m * valid, magnitudes * valid, tuple(grid.phase.tolist()))
