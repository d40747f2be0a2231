"""Draws of actions from f(J), by rejection: no Markov chain, and no grid that the draws would show."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.df.base import LARGEST_ACTION, AbstractDF
from oortax.df.cells import grid
from oortax.df.mixture import Mixture, with_masses
from oortax.df.rejection import draws_in_box
from oortax.dynamics.base import require_float64

# kpc km/s: total actions below are left out. A mass that grows as s^0.1 has 1e-28 of itself below.
LEAST_ACTION = 1e-280
# ln of the total action is this plus sinh(t): fine where galaxies are, and 660 e-folds in 11 units of t.
_CENTRE = 7.0
# Cells along t; along the share of J_r; and along that of J_z, for either sign of J_phi.
_FIRST = (36, 4, 4)
# Cells at most; what share of proposals they should keep; and what share may be above its bound.
_MOST_CELLS, _TARGET, _TOLERATED = 20_000, 0.8, 1e-3
_LOG_VOLUME = float(3.0 * np.log(2.0 * np.pi) - np.log(2.0))


class ActionDraws(NamedTuple):
    """Actions drawn from a distribution function, and how the draw went.

    Attributes
    ----------
    J : (n, 3), actions (J_r, J_z, J_phi) in kpc km/s, independent and in random order
    mass, mass_error : an estimate of (2 pi)^3 times the integral of f over the range that was drawn from, and
        its standard error, in the unit of `f.mass()`, which it does not use
    acceptance : share of proposals that was kept
    exceedances : proposals above the bound of their cell, which was raised
    """

    J: Float[np.ndarray, "n 3"]
    mass: float
    mass_error: float
    acceptance: float
    exceedances: int


def draw_actions(
    f: AbstractDF,
    key: Array,
    n: int,
    *,
    total: tuple[float, float] = (LEAST_ACTION, LARGEST_ACTION),
    batch_size: int = 16_384,
    progress: bool = True,
) -> ActionDraws:
    """n independent draws of J from the density (2 pi)^3 f(J) in action space, of both senses of rotation.

    With s = J_r + J_z + |J_phi|, the box of ln s (stretched: ln s = 7 + sinh t), 1 - (1 - J_r/s)^2 and
    J_z/(J_z + |J_phi|), with the sign of J_phi, has d^3J = (s^3/2) d(ln s) d... times constants. It is cut
    into cells under a piecewise constant envelope, finest where f varies most, and proposals under the
    envelope are kept if they lie below f.

    Parameters
    ----------
    f : a distribution function; bound to the circular orbits of its potential if it needs them
    key : JAX random key; the draws follow from it, whatever the batches
    n : number of draws
    total : range of s in kpc km/s; by default all, that is 1e-280 to 1e12 (`LARGEST_ACTION`, beyond which f
        is taken to vanish). How much that leaves out is 1 - mass/f.mass(): 6e-5 of a halo of Dehnen & Binney
        (1996) with beta = 3.5 and A_0 = 500, but 14 % for beta = 3.1
    batch_size : actions whose f is evaluated at a time
    progress : show a bar

    Notes
    -----
    Exact down to what is never noticed: f above the bound of a cell where no proposal has fallen into the
    excess. A proposal that has raises the bound, and what was missed is drawn, too. Bounds are those of 27
    points of a cell and of parabolas through them; they are exact where f falls with every action. One star
    in a thousand is proposed uniformly in the whole box, so that a peak that no point has seen is noticed.
    Memory is that of the draws and one block of proposals.

    Raises ValueError for n < 1, a range that is none, an f that is not bound, or vanishes in the range, or is
    NaN or float32.

    >>> from oortax.df import DoublePowerLaw
    >>> f = DoublePowerLaw(norm=1e10, J_0=500.0, slope_in=1.5, slope_out=6.0, rotation=0.5)
    >>> draws = draw_actions(f, jax.random.key(1), 20000, progress=False)
    >>> draws.J.shape, bool(abs(draws.mass - f.mass()) < 4.0 * draws.mass_error)
    ((20000, 3), True)
    """
    _check(n, total, batch_size)
    log_f = _LogF(ready(f), batch_size)
    low, high = (float(np.arcsinh(np.log(end) - _CENTRE)) for end in total)
    lower, upper = grid([
        np.linspace(low, high, _FIRST[0] + 1), np.linspace(0.0, 1.0, _FIRST[1] + 1),
        np.linspace(-1.0, 1.0, 2 * _FIRST[2] + 1),
    ])  # fmt: skip

    def evaluate(rng, q):
        del rng
        J = from_box(q)
        return log_f(J) + _log_jacobian(q), {"J": J}

    drawn = draws_in_box(
        key, evaluate, lower, upper, n, probe=lambda q: evaluate(None, q)[0], most=_MOST_CELLS,
        target=_TARGET, tolerated=_TOLERATED, name="actions", progress=progress,
    )  # fmt: skip
    mass = float(np.exp(drawn.log_mass))
    share = drawn.accepted / drawn.proposed
    return ActionDraws(drawn.draws["J"], mass, mass * drawn.mass_error, share, drawn.exceedances)


def sample_actions(key: Array, f: AbstractDF, n: int) -> Float[np.ndarray, "n 3"]:
    """The actions of `draw_actions` alone, (n, 3) in kpc km/s, without a bar.

    >>> from oortax.df import DB96Halo
    >>> halo = DB96Halo(a=1.2, b=1.2, beta=3.5, gamma=1.8, A_0=500.0)
    >>> sample_actions(jax.random.key(0), halo, 10).shape
    (10, 3)
    """
    return draw_actions(f, key, n, progress=False).J


def from_box(q: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Actions of (t, 1 - (1 - J_r/s)^2, +-J_z/(J_z + |J_phi|)); the last has the sign of J_phi."""
    s, rest = np.exp(_CENTRE + np.sinh(q[:, 0])), np.sqrt(1.0 - q[:, 1])
    vertical = np.abs(q[:, 2])
    L = s * rest
    return np.stack(
        [s * q[:, 1] / (1.0 + rest), L * vertical, np.sign(q[:, 2]) * L * (1.0 - vertical)], axis=1
    )


def _log_jacobian(q) -> np.ndarray:
    """ln of (2 pi)^3 d^3J/d^3q: both shares are uniform in volume."""
    return _LOG_VOLUME + 3.0 * (_CENTRE + np.sinh(q[:, 0])) + np.log(np.cosh(q[:, 0]))


class _LogF:
    """log_f of many actions, in batches of one size so that nothing is compiled twice."""

    def __init__(self, f: AbstractDF, batch_size: int):
        self.f, self.batch_size = f, batch_size

    def __call__(self, J: np.ndarray) -> np.ndarray:
        found = np.empty(len(J))
        for start in range(0, len(J), self.batch_size):
            part = J[start : start + self.batch_size]
            # Filled up with ones.
            batch = np.ones((self.batch_size, 3))
            batch[: len(part)] = part
            found[start : start + len(part)] = np.asarray(_many(self.f, jnp.asarray(batch)))[: len(part)]
        if np.any(np.isnan(found) | (found == np.inf)):
            at = J[np.flatnonzero(np.isnan(found) | (found == np.inf))[0]]
            raise ValueError(
                f"log f is NaN or infinite at J = {at} kpc km/s: check the parameters of "
                f"{type(self.f).__name__}"
            )
        return found


@eqx.filter_jit
def _many(f: AbstractDF, J):
    return jax.vmap(f.log_f)(J)


def _check(n, total, batch_size) -> None:
    if not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n = {n!r}: a whole number of draws, at least 1, is needed")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size = {batch_size!r}: a whole number >= 1 is needed")
    low, high = total
    if not LEAST_ACTION <= low < high <= LARGEST_ACTION:
        raise ValueError(
            f"total = {total}: a rising pair is needed, between {LEAST_ACTION:g} and {LARGEST_ACTION:g} "
            "kpc km/s"
        )
    require_float64("draw_actions", jnp.asarray(1.0))


def ready(f: AbstractDF) -> AbstractDF:
    """The DF as one that gives numbers, or ValueError."""
    if not isinstance(f, AbstractDF):
        raise ValueError(f"f is a {type(f).__name__}: a distribution function is needed (see oortax.df)")
    # A DF that needs circular orbits says so here.
    jax.eval_shape(f.log_f, jnp.ones(3))
    # The masses of a mixture's components are computed once, not with every batch.
    return with_masses(f) if isinstance(f, Mixture) else f
