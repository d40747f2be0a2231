"""Draws of velocities at given positions: stars of f(J) conditional on where they are."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
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
# Proposals of a round in which few positions are left; and rounds before giving up.
_LEAST_ROUND, _MOST_ROUNDS = 8192, 100_000


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

    >>> from oortax import df, dynamics, potential
    >>> pot = potential.MiyamotoNagai(M=1.2e11, a=3.0, b=0.3)
    >>> f = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=8.0, H_d=0.3)
    >>> f = f.bind(dynamics.circular_orbits(pot))
    >>> x = jnp.tile(jnp.array([8.0, 0.0, 0.1]), (500, 1))
    >>> key = jax.random.key(1)
    >>> draws = draw_velocities(f, pot, dynamics.StaeckelFudge(pot), x, key, progress=False)
    >>> 180.0 < draws.v[:, 1].mean() < 220.0
    True
    """
    x = np.asarray(x, dtype=float)
    if x.ndim != 2 or x.shape[1] != 3 or len(x) == 0 or not np.all(np.isfinite(x)):
        raise ValueError(f"x has shape {x.shape}: (n, 3) finite positions in kpc with n > 0 are needed")
    f = ready(f)
    potential, rng = expand(potential), host_generator(key)
    space, group, n = PhaseSpace(f, potential, finder, batch_size), groups(x), len(x)
    scale, proposals = _log_scales(f, potential, x), space.gaussians(x)
    many, everywhere = np.tile(np.arange(n), _PILOTS), np.tile(group, _PILOTS)
    bounds = _Bounds(group)
    for again in (True, False):
        w = proposals.take(many).draw(rng)
        log_f = space.log_f(x[many], w)[0]
        ratio = log_f - proposals.take(many).log_density(w) - scale[many]
        if again and len(space.populations) == 1:
            proposals = proposals.adapted_to(everywhere, w, ratio)
            ratio = log_f - proposals.take(many).log_density(w) - scale[many]
        bounds.raised(many, ratio)
    if not np.all(np.isfinite(bounds.log_bound)):
        lost = x[np.flatnonzero(~np.isfinite(bounds.log_bound)[group])[0]]
        raise ValueError(f"f vanishes for all velocities tried near x = {lost} kpc: there is nothing to draw")
    v, J, waiting = np.full((n, 3), np.nan), np.full((n, 3), np.nan), np.ones(n, bool)
    proposed = exceedances = 0
    with bar_of_draws(progress) as bar:
        task = bar.add_task("velocities", total=n)
        for _ in range(_MOST_ROUNDS):
            (rows,) = np.nonzero(waiting)
            if len(rows) == 0:
                return VelocityDraws(v, J, n / proposed, exceedances)
            # Few left: several proposals each, the first one kept counts.
            rows = np.repeat(rows, max(1, _LEAST_ROUND // len(rows)))
            there = proposals.take(rows)
            w = there.draw(rng)
            log_f, of_all, actions = space.log_f(x[rows], w)
            ratio = log_f - there.log_density(w) - scale[rows]
            proposed += len(rows)
            keep = np.log(rng.random(len(rows))) < ratio - bounds.log_bound[group[rows]]
            kept, first = np.unique(rows[keep], return_index=True)
            chosen = np.flatnonzero(keep)[first]
            v[kept], J[kept], waiting[kept] = of_all[chosen], actions[chosen], False
            above = bounds.raised(rows, ratio)
            exceedances += above.count
            waiting |= above.groups[group]
            bar.update(task, completed=n - int(waiting.sum()))
    raise ValueError(f"no velocity accepted at {x[waiting][0]} kpc, in {proposed:,} tries at all positions")


class _Above(NamedTuple):
    count: int
    groups: np.ndarray


class _Bounds:
    """ln of the bound on f/q of each group."""

    def __init__(self, group: np.ndarray):
        self.group = group
        self.log_bound = np.full(group.max() + 1, -np.inf)

    def raised(self, rows, ratio) -> _Above:
        """Raise the bounds that some ratios exceed, and tell which."""
        above = ratio > self.log_bound[self.group[rows]]
        groups = np.zeros(len(self.log_bound), bool)
        groups[self.group[rows[above]]] = True
        np.maximum.at(self.log_bound, self.group[rows[above]], ratio[above] + _HEADROOM)
        return _Above(int(above.sum()), groups)


def groups(x: np.ndarray) -> Int[np.ndarray, " n"]:
    """Groups of neighbours in (R, |z|), of 64 or a few more: strips in R, each cut in |z|."""
    n, R, z = len(x), np.hypot(x[:, 0], x[:, 1]), np.abs(x[:, 2])
    strips = max(1, int(np.sqrt(n / _GROUP)))
    strip = np.empty(n, int)
    strip[np.argsort(R, kind="stable")] = np.arange(n) * strips // n
    group = np.empty(n, int)
    group[np.lexsort((z, strip))] = np.arange(n) * max(1, n // _GROUP) // n
    return group


@eqx.filter_jit
def _scales(f, potential, R, z):
    return jax.vmap(lambda R, z: f.log_density_scale(potential, R, z))(R, z)


def _log_scales(f, potential, x) -> np.ndarray:
    """Roughly, how f/q varies within a group: good enough to save proposals."""
    scales = np.asarray(_scales(f, potential, jnp.asarray(np.hypot(x[:, 0], x[:, 1])), jnp.asarray(x[:, 2])))
    return np.where(np.isfinite(scales), scales, 0.0)
