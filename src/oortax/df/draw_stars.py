"""Stars of f(J) in phase space: actions drawn from f, angles uniform, positions and velocities by tori."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from oortax.df.base import LARGEST_ACTION, AbstractDF
from oortax.df.draw_actions import LEAST_ACTION, draw_actions
from oortax.df.rejection import bar_of_draws, host_generator
from oortax.dynamics import Torus, TorusLibrary, circular_orbits, fit_library, fit_tori
from oortax.potential import AbstractPotential, expand
from oortax.results import Result

# Terms of tori fitted one by one; and those of one call, in whole chunks of `fit_tori`.
_MODES, _PORTION, _CHUNK = (22, 80), 2048, 128
# More stars than these are read from a library, where nothing else is asked for.
_MANY = 50_000
# A star of the library whose own H is within tol of its torus's E may have a torus of this many tol.
_LOOSE = 10.0
# Above this it is none, as in `fit_torus`.
_WORST = 0.1
# Stars placed by the library at a time, and those of them held in the cache.
_BATCH, _IN_CACHE = 16_384, 64
# The library's range leaves out this share of the stars at either end of each coordinate; and orbits within
# or beyond these radii (kpc), where circular orbits are not tabulated; and those next to the ends of shares.
_TAIL, _RADII, _LARGEST_SHARES = 2e-3, (0.03, 200.0), (0.95, 0.97)


class Stars(NamedTuple):
    """Stars drawn from a distribution function in a potential.

    Attributes
    ----------
    J, theta : (n, 3), actions (kpc km/s) and angles: those of the draw, whatever became of the torus
    x, v : (n, 3), kpc and km/s; NaN where there is no torus
    residual : (n,), of the star's torus (`Torus.residual`); for one from a library the largest of its cell,
        or, where that is above tol, |H - E| at the star itself over Omega_r J_r + Omega_z J_z
    code : (n,), a `Result`: INACCURATE where the residual is above tol (numbers are kept), NOT_CONVERGED or
        OUTSIDE where there is no torus
    fitted : (n,), whether the star's torus was fitted for it, rather than read from a library
    library : the library of tori, or None; hand it to further draws in the same potential
    """

    J: Float[np.ndarray, "n 3"]
    theta: Float[np.ndarray, "n 3"]
    x: Float[np.ndarray, "n 3"]
    v: Float[np.ndarray, "n 3"]
    residual: Float[np.ndarray, " n"]
    code: Int[np.ndarray, " n"]
    fitted: Bool[np.ndarray, " n"]
    library: TorusLibrary | None

    @property
    def placed(self) -> Bool[np.ndarray, " n"]:
        """Which stars have a position."""
        return np.isfinite(self.x[:, 0])

    def shares(self) -> dict[str, float]:
        """Shares of the stars by the name of their code, and of those with tori of their own."""
        by_code = {code.name: float(np.mean(self.code == code)) for code in Result}
        return {name: share for name, share in by_code.items() if share > 0.0} | {
            "fitted": float(np.mean(self.fitted))
        }


def draw_stars(
    f: AbstractDF,
    potential: AbstractPotential,
    key: Array,
    n: int,
    *,
    total: tuple[float, float] = (LEAST_ACTION, LARGEST_ACTION),
    tol: float = 1e-3,
    library: TorusLibrary | bool | None = None,
    max_tori: int = 20_000,
    most_fitted: int | None = None,
    progress: bool = True,
) -> Stars:
    """n stars of f in phase space: J from `draw_actions`, uniform angles, and (x, v) by tori.

    Up to 50,000 stars get tori of their own (`fit_tori`, a few milliseconds each). More are read from a
    library (`fit_library`, made for the range of the drawn actions; far sooner, see benchmarks), and those
    that it gives no torus, or a poor one, are fitted one by one: those without first. No star is dropped:
    `code` says what became of each, `Stars.shares` of all.

    Parameters
    ----------
    f : a distribution function; bound to the circular orbits of the potential if it needs them
    potential : axisymmetric and even in z
    key : JAX random key; J and theta follow from it alone
    n : number of stars
    total : range of J_r + J_z + |J_phi| in kpc km/s to draw from (see `draw_actions`)
    tol : residual of a torus (rms of H over Omega_r J_r + Omega_z J_z) above which it counts as inaccurate.
        A torus from a library may have ten times more, if the star's own H is within tol of E
    library : one that was fitted in this potential before, True to make one, False for the
        stars' own tori; None makes one for more than 50,000 stars
    max_tori : tori of a library made here
    most_fitted : stars that get tori of their own at most; None for all that need it
    progress : show bars

    Notes
    -----
    Memory grows with the stars by their record only. Resonant and chaotic orbits have no torus of small
    residual: a draw without them lacks a part of f, so compare `Stars.shares` before `placed` stars stand for
    the whole. With tol = 3e-3 moments in an isochrone are right within the errors of 25,000 stars
    (tests/df/test_draw_stars.py).

    Raises ValueError for what `draw_actions`, `fit_tori` and `fit_library` refuse, and most_fitted < 0.

    >>> from oortax import potential
    >>> from oortax.df import DoublePowerLaw
    >>> f = DoublePowerLaw(norm=1e10, J_0=500.0, slope_in=1.0, slope_out=6.0)
    >>> isochrone = potential.KuzminKutuzov(M=1e11, a=3.0, c=3.0)
    >>> stars = draw_stars(f, isochrone, jax.random.key(1), 16, progress=False)  # doctest: +SKIP
    >>> stars.x.shape, stars.shares()  # doctest: +SKIP
    ((16, 3), {'OK': 1.0, 'fitted': 1.0})
    """
    if most_fitted is not None and (not isinstance(most_fitted, int) or most_fitted < 0):
        raise ValueError(
            f"most_fitted = {most_fitted!r}: a whole number of stars, 0 or more, is needed, or None"
        )
    if not isinstance(library, TorusLibrary | bool | None):
        raise ValueError(
            f"library is a {type(library).__name__}: a TorusLibrary, True, False or None is needed"
        )
    of_actions, of_angles = jax.random.split(key)
    drawn = draw_actions(f, of_actions, n, total=total, progress=progress)
    J, theta = drawn.J, host_generator(of_angles).uniform(0.0, 2.0 * np.pi, (n, 3))
    potential = expand(potential)
    if library is None:
        library = n > _MANY
    if isinstance(library, bool):
        library = _library(potential, J, tol, max_tori, progress) if library else None
    stars = _Record(J, theta, tol)
    with bar_of_draws(progress) as bar:
        if library is not None:
            task = bar.add_task("stars from the library", total=n)
            for start in range(0, n, _BATCH):
                rows = np.arange(start, min(start + _BATCH, n))
                some = np.resize(rows, _BATCH)
                at = jnp.asarray(J[some]), jnp.asarray(theta[some])
                stars.put(rows, _from_library(potential, library, *at, jnp.asarray(tol)))
                bar.advance(task, len(rows))
        poor = stars.poor()[:most_fitted]
        task = bar.add_task("stars with their own tori", total=len(poor))
        for start in range(0, len(poor), _PORTION):
            rows = poor[start : start + _PORTION]
            stars.put_better(rows, _fitted(potential, J, theta, rows, tol))
            bar.advance(task, len(rows))
    return stars.record(library)


class _Record:
    """What is known of the stars so far."""

    def __init__(self, J, theta, tol: float):
        n = len(J)
        self.J, self.theta, self.tol = J, theta, tol
        self.x, self.v = np.full((2, n, 3), np.nan)
        self.residual = np.full(n, np.inf)
        self.code, self.fitted = np.full(n, Result.NOT_CONVERGED, np.int32), np.zeros(n, bool)

    def put(self, rows, found) -> None:
        """Positions, velocities, residuals and codes of some stars, and padding."""
        x, v, residual, code = (np.asarray(a)[: len(rows)] for a in found)
        self.x[rows], self.v[rows] = x, v
        self.residual[rows] = np.where(np.isfinite(x[:, 0]), residual, np.inf)
        inaccurate = (code == Result.OK) & (residual > self.tol)
        self.code[rows] = np.where(inaccurate, Result.INACCURATE, code)

    def put_better(self, rows, found) -> None:
        """The same, where it is better than what is there."""
        better = np.asarray(found[2])[: len(rows)] < self.residual[rows]
        # Where there is nothing yet, the fit's reason replaces the library's.
        better |= ~np.isfinite(self.residual[rows])
        self.put(rows[better], [np.asarray(a)[: len(rows)][better] for a in found])
        self.fitted[rows[better]] = True

    def poor(self) -> np.ndarray:
        """Stars whose torus is missing or inaccurate, worst first."""
        rows = np.flatnonzero(~(self.residual <= self.tol))
        return rows[np.argsort(-self.residual[rows], kind="stable")]

    def record(self, library) -> Stars:
        residual = np.where(np.isfinite(self.residual), self.residual, np.nan)
        return Stars(self.J, self.theta, self.x, self.v, residual, self.code, self.fitted, library)


@eqx.filter_jit
def _from_library(potential, library: TorusLibrary, J, theta, tol):
    """Positions, velocities, residuals (see `Stars`) and codes."""

    def one(at):
        torus = library(at[0])
        x, v = torus.phase_point(at[1])
        scale = jnp.abs(torus.Omega[0]) * torus.J[0] + jnp.abs(torus.Omega[1]) * torus.J[1]
        own = jnp.abs(0.5 * v @ v + potential.Phi(x) - torus.E) / scale
        of_cell, loose = torus.residual, _LOOSE * tol
        of_both = jnp.where(of_cell <= loose, own, jnp.maximum(own, of_cell))
        residual = jnp.where((of_cell <= tol) & (own <= loose), of_cell, of_both)
        found = (torus.code == Result.INACCURATE) | (torus.code == Result.OK)
        # Between the nodes of poor cells there may be no torus at all.
        good = found & (residual < _WORST)
        code = jnp.where(good, Result.OK, jnp.where(found, Result.NOT_CONVERGED, torus.code))
        x, v = (jnp.where(good, a, jnp.nan) for a in (x, v))
        return x, v, residual, code

    return jax.lax.map(one, (J, theta), batch_size=_IN_CACHE)


@eqx.filter_jit
def _points(tori: Torus, theta):
    return jax.lax.map(lambda a: a[0].phase_point(a[1]), (tori, theta), batch_size=_IN_CACHE)


def _fitted(potential, J, theta, rows, tol: float):
    """Stars by tori fitted for them, and padding up to whole chunks."""
    padded = np.resize(rows, -(-len(rows) // _CHUNK) * _CHUNK)
    tori = fit_tori(potential, J[padded], tol=tol, n_modes=_MODES, progress=False)
    return *_points(tori, jnp.asarray(theta[padded])), tori.residual, tori.code


def _library(potential, J, tol: float, max_tori: int, progress: bool) -> TorusLibrary:
    """A library for nearly all of these actions."""
    s, L = np.sum(np.abs(J), axis=1), J[:, 1] + np.abs(J[:, 2])
    orbits = eqx.filter_jit(circular_orbits)(potential)
    found = [float(np.exp(np.interp(np.log(R), orbits.table[:, 0], orbits.log_L))) for R in _RADII]
    low, high = (min(max(float(end), found[0]), found[1]) for end in np.quantile(s, (_TAIL, 1.0 - _TAIL)))
    if not low < high:
        raise ValueError(
            f"nearly all actions are those of orbits within {_RADII[0]} kpc or beyond {_RADII[1]} kpc: "
            "there are no tori; give a narrower range `total`"
        )
    radial, vertical = (
        float(min(np.quantile(share, 1.0 - _TAIL), most))
        for share, most in zip((J[:, 0] / s, J[:, 1] / L), _LARGEST_SHARES, strict=True)
    )
    return fit_library(
        potential, total=(low, high), radial=(0.0, radial), vertical=(0.0, vertical), tol=tol,
        max_tori=max_tori, progress=progress,
    )  # fmt: skip
