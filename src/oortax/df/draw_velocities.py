"""Draws of velocities at given positions: stars of f(J) conditional on where they are."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from oortax.df.base import AbstractDF
from oortax.df.draw_actions import ready
from oortax.df.rejection import bar_of_draws, host_generator
from oortax.df.velocity_proposal import PhaseSpace
from oortax.dynamics import AbstractActionFinder
from oortax.potential import AbstractPotential, expand

# Positions that share a bound, and proposals at each that find it before the first draw.
_GROUP, _PILOTS = 64, 6
# A bound is the largest ratio seen and so much more, in ln.
_HEADROOM = 0.3
# Positions at a time; proposals of a round in which few are left; and, per position, before giving up.
_PORTION, _LEAST_ROUND, _MOST_PROPOSALS = 16_384, 8192, 1e6


class VelocityDraws(NamedTuple):
    """Velocities drawn at given positions, and how the draw went.

    Attributes
    ----------
    v, J : (n, 3), velocities (km/s) and the finder's actions (kpc km/s)
    acceptance : share of proposals that was kept
    exceedances : proposals above their bound, after which the draws under it were made again
    """

    v: Float[np.ndarray, "n 3"]
    J: Float[np.ndarray, "n 3"]
    acceptance: float
    exceedances: int


def draw_velocities(
    f: AbstractDF,
    potential: AbstractPotential,
    finder: AbstractActionFinder,
    x: Float[Array, "n 3"],
    key: Array,
    *,
    batch_size: int = 8192,
    progress: bool = True,
) -> VelocityDraws:
    """One velocity at each position x, from the density f(J(x, v)) in v.

    Proposals are Gaussians with wings up to the escape speed, at first about the DF's `velocity_scale`, then
    with the mean and dispersions of pilot stars nearby (not for mixtures, where each component has its own);
    they are kept in proportion to f/q under a bound that neighbours in (R, |z|) share.

    Parameters
    ----------
    f : a distribution function; bound to the circular orbits of the potential if it needs them
    potential : axisymmetric
    finder : of actions in this potential; the draws are those of f with its actions
    x : (n, 3), kpc
    key : JAX random key; the draws follow from it, whatever the batches
    batch_size : proposals evaluated at a time
    progress : show a bar

    Notes
    -----
    Exact but for the chance that f/q exceeds the bound at a position where no proposal of its group of 64 has
    met that. The bound is 1.35 times the largest of 800 pilot proposals; a higher ratio, once met,
    raises it, and all of the group are drawn anew.

    Raises ValueError for x of the wrong shape or not finite, an f that is not bound, or vanishes at some x.

    >>> import jax
    >>> from oortax import df, dynamics, potential
    >>> pot = potential.MiyamotoNagai(M=1.2e11, a=3.0, b=0.3)
    >>> f = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=8.0, H_d=0.3)
    >>> f = f.bind(dynamics.circular_orbits(pot))
    >>> x = np.tile([8.0, 0.0, 0.1], (500, 1))
    >>> key = jax.random.key(1)
    >>> draws = draw_velocities(f, pot, dynamics.StaeckelFudge(pot), x, key, progress=False)
    >>> bool(180.0 < draws.v[:, 1].mean() < 220.0)
    True
    """
    at = np.asarray(x, dtype=float)
    if at.ndim != 2 or at.shape[1] != 3 or len(at) == 0 or not np.all(np.isfinite(at)):
        raise ValueError(f"x has shape {at.shape}: (n, 3) finite positions in kpc with n > 0 are needed")
    space, rng = PhaseSpace(ready(f), expand(potential), finder, batch_size), host_generator(key)
    n, counts = len(at), np.zeros(2, int)
    v, J = np.full((n, 3), np.nan), np.full((n, 3), np.nan)
    by_R = np.argsort(np.hypot(at[:, 0], at[:, 1]), kind="stable")
    with bar_of_draws(progress) as bar:
        task = bar.add_task("velocities", total=n)
        for start in range(0, n, _PORTION):
            rows = by_R[start : start + _PORTION]
            portion = _Portion(rng, space, at[rows])
            while np.any(portion.waiting):
                portion.round()
                bar.update(task, completed=start + int(np.sum(~portion.waiting)))
            v[rows], J[rows] = portion.v, portion.J
            counts += portion.counts
    return VelocityDraws(v, J, n / int(counts[0]), int(counts[1]))


class _Portion:
    """Positions whose velocities are drawn together: memory is that of one portion, and the record."""

    def __init__(self, rng: np.random.Generator, space: PhaseSpace, x: np.ndarray):
        n, self.rng, self.space, self.x, self.group = len(x), rng, space, x, groups(x)
        self.scale, self.proposals = space.log_density_scale(x), space.gaussians(x)
        self.v, self.J, self.waiting = np.full((n, 3), np.nan), np.full((n, 3), np.nan), np.ones(n, bool)
        self.log_bound = np.full(self.group.max() + 1, -np.inf)
        # Proposals, and those above their bounds.
        self.counts = np.zeros(2, int)
        many = np.tile(np.arange(n), _PILOTS)
        w, ratio = self._proposed(many)[:2]
        if len(space.populations) == 1:
            old = self.proposals
            self.proposals = old.adapted_to(self.group[many], w, ratio)
            self._raise(
                many, ratio + old.take(many).log_density(w) - self.proposals.take(many).log_density(w)
            )
        else:
            self._raise(many, ratio)
        self._raise(many, self._proposed(many)[1])
        lost = ~np.isfinite(self.log_bound)[self.group]
        if np.any(lost):
            raise ValueError(f"f vanishes for all velocities tried near x = {x[lost][0]} kpc")

    def round(self) -> None:
        """One proposal or more for each position that has no velocity yet."""
        (rows,) = np.nonzero(self.waiting)
        # Where few are left several each: the first one kept counts.
        rows = np.repeat(rows, max(1, _LEAST_ROUND // len(rows)))
        _, ratio, v, J = self._proposed(rows)
        keep = np.log(self.rng.random(len(rows))) < ratio - self.log_bound[self.group[rows]]
        kept, first = np.unique(rows[keep], return_index=True)
        chosen = np.flatnonzero(keep)[first]
        self.v[kept], self.J[kept], self.waiting[kept] = v[chosen], J[chosen], False
        above = self._raise(rows, ratio)
        self.waiting |= np.isin(self.group, self.group[above])
        self.counts += len(rows), len(above)
        if self.counts[0] > _MOST_PROPOSALS * len(self.x):
            raise ValueError(f"no velocity accepted at x = {self.x[rows[0]]} kpc: f is too peaked there")

    def _proposed(self, rows):
        """Proposals at positions, ln(f/q) over the rough density, and Cartesian velocities and actions."""
        proposals = self.proposals.take(rows)
        w = proposals.draw(self.rng)
        log_f, v, J = self.space.log_f(self.x[rows], w)
        return w, log_f - proposals.log_density(w) - self.scale[rows], v, J

    def _raise(self, rows, ratio) -> np.ndarray:
        """Raise the bounds that some ratios exceed; the positions of these."""
        above = ratio > self.log_bound[self.group[rows]]
        np.maximum.at(self.log_bound, self.group[rows[above]], ratio[above] + _HEADROOM)
        return rows[above]


def groups(x: np.ndarray) -> Int[np.ndarray, " n"]:
    """Groups of neighbours in (R, |z|), of 64 or a few more: strips in R, each cut in |z|."""
    n, R, z = len(x), np.hypot(x[:, 0], x[:, 1]), np.abs(x[:, 2])
    strips = max(1, int(np.sqrt(n / _GROUP)))
    strip = np.empty(n, int)
    strip[np.argsort(R, kind="stable")] = np.arange(n) * strips // n
    group = np.empty(n, int)
    group[np.lexsort((z, strip))] = np.arange(n) * max(1, n // _GROUP) // n
    return group
