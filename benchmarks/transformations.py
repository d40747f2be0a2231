"""Transformations of the toy tori: set in closed form from the fudge, or fitted to constant H.

Run `python benchmarks/transformations.py` (half an hour). The first 96 actions of the sets of tori.py.
"matched": by equal partial actions with the Staeckel fudge's torus, S_n as in `fit_torus`. The classical way
(Kaasalainen & Binney 1994, MNRAS 268, 1033) fits the lowest coefficients of both series (4 + 4, 8 + 8) by
least squares of H over the torus, first with S_n = 0, then together with the S_n. It starts here from
"linear": ln(rho/r) a straight line that maps the ends of the motion right, tan(lat)/tan(lat_toy) a constant.
Ends, barrier, family and focal distance are the fudge's, which is more than the classical way had. "crude":
all but the focal distance follow from an isochrone's ends. "Delta, barrier": these two are fitted as well.
What starts from "matched" has its S_n, too.

Least squares are MINPACK's (scipy's "lm", forward-mode derivatives), to a relative gain of 1e-5 in the square
or 400 evaluations, on the grid of 162 terms: on that of 22 only 8 latitudes differ, and 8 coefficients make H
constant at these alone. The residual is the rms of H at angles that no fit has seen, over Omega_r J_r +
Omega_z J_z of the matched torus with 22 terms; "failed": above 0.1, or a mean of H further than that from the
matched one (H is constant far from any galaxy, too). "evaluations" of H: median and 90%. ms/torus on one
thread, without compilation, with the fudge's torus; by MINPACK one at a time, the rest in batches of 16.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time  # noqa: E402  (after the environment is set)
from collections.abc import Iterator  # noqa: E402
from functools import cache, partial  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import lax  # noqa: E402
from scipy.optimize import least_squares  # noqa: E402

import actions  # noqa: E402
import oortax as ox  # noqa: E402
from oortax import potential  # noqa: E402
from oortax.dynamics.circular import circular_orbits  # noqa: E402
from oortax.dynamics.delta import focal_distance  # noqa: E402
from oortax.dynamics.torus.angles import fudge_angles  # noqa: E402
from oortax.dynamics.torus.fit import Problem, finish, fit  # noqa: E402
from oortax.dynamics.torus.generating import Warp  # noqa: E402
from oortax.dynamics.torus.grid import fresh, grid  # noqa: E402
from oortax.dynamics.torus.matching import matched  # noqa: E402
from oortax.dynamics.torus.separable import isochrone_ends, separable_torus  # noqa: E402
from oortax.dynamics.torus.series import to_powers  # noqa: E402
from oortax.dynamics.torus.toy import oscillator  # noqa: E402
from tori import random_actions  # noqa: E402

POTENTIALS, BATCH = ("mw_potential_2014", "dehnen_binney_1996"), 16
GRID = 162  # terms whose grid least squares use
FUDGE, LINEAR, CRUDE = "matched", "linear", "crude"
MINPACK = {"method": "lm", "x_scale": "jac", "ftol": 1e-5, "xtol": 1e-10, "gtol": 1e-14, "max_nfev": 400}


class Kind(NamedTuple):
    """Where the transformation starts, and what is fitted: coefficients of each series, constants, S_n."""

    start: str
    coefficients: int = 0
    constants: int = 0
    terms: int = 0

    @property
    def of_map(self) -> int:
        """Unknowns that are not S_n."""
        return 2 * self.coefficients + self.constants

    @property
    def fitted(self) -> str:
        """In words."""
        words = (f"{self.coefficients} + {self.coefficients}", "Delta, barrier", f"{self.terms} S_n")
        return ", ".join(word for word, n in zip(words, self[1:], strict=True) if n)


KINDS = (
    *(Kind(FUDGE), Kind(LINEAR, 4), Kind(LINEAR, 8), Kind(FUDGE, terms=22), Kind(LINEAR, 4, terms=22)),
    *(Kind(LINEAR, 8, terms=22), Kind(LINEAR, 8, 2, 22), Kind(CRUDE, 8, terms=22)),
    *(Kind(FUDGE, 4, terms=22), Kind(FUDGE, 8, terms=22), Kind(FUDGE, terms=45), Kind(FUDGE, terms=76)),
)


def started(start: str, orbits, focal, pot, J) -> Problem:
    """What is to be fitted, less the potential, which all tori share."""
    motion, ends, miss = separable_torus(pot, orbits, focal, J)
    t, warp = matched(motion, ends, J), Warp.of(ends.half)
    # H does not depend on them at the J that they are made for.
    angles = fudge_angles(motion, ends, J, t, warp, miss < 1e-3)
    if start == CRUDE:
        ends = isochrone_ends(orbits.at(J[1] + jnp.abs(J[2])), J)
        t = matched(motion, ends, J)
    if start != FUDGE:
        peri, apo = (
            0.5 * jnp.log(oscillator(t.barriers(J[2])[0], jnp.array(a), J[0]).r2) for a in (0.0, np.pi)
        )
        low, high = ends.middle - ends.half - peri, ends.middle + ends.half - apo
        radial = jnp.zeros_like(t.radial).at[:2].set(0.5 * jnp.stack([high + low, high - low]))
        ratio = jnp.log(ends.tangent * (1.0 - t.largest**2) / (2.0 * t.largest))
        latitude = jnp.zeros_like(t.latitude).at[0].set(ratio)
        t = eqx.tree_at(lambda t: (t.radial, t.latitude), t, (radial, latitude))
    return Problem(None, t, warp, angles, J)  # type: ignore


def generated(terms: int, pot, problem: Problem):
    """S_n for a given transformation and Omega_r J_r + Omega_z J_z, as `fit_torus` finds them."""
    problem = problem._replace(potential=pot)
    S = fit(problem, grid(terms), jnp.zeros(terms))
    found = finish(problem, grid(terms), S)
    return found.S, jnp.sum(jnp.abs(found.Omega[:2]) * problem.J[:2])


def energies(kind: Kind, angles, pot, problem: Problem, y):
    """H over angles; y: what is added to both series and to ln of the constants, and S_n."""
    t, k = problem.transformation, kind.coefficients
    # Of Chebyshev polynomials, which are far less alike than powers.
    radial, latitude = (
        series.at[:k].add(added @ to_powers(k)) if k else series
        for series, added in ((t.radial, y[:k]), (t.latitude, y[k : 2 * k]))
    )
    factors = jnp.ones(2).at[: kind.constants].set(jnp.exp(y[2 * k : kind.of_map]))
    new = (radial, latitude, t.Delta2 * factors[0], t.barrier * factors[1])
    t = eqx.tree_at(lambda t: (t.radial, t.latitude, t.Delta2, t.barrier), t, new)
    S = jnp.zeros(GRID).at[: kind.terms].set(y[kind.of_map :])
    return problem._replace(potential=pot, transformation=t).energy(angles, S).H.ravel()


@cache
def compiled(kind: Kind):
    """H over the grid, and its slopes in the unknowns."""
    H = partial(energies, kind, grid(GRID))
    return jax.jit(H), jax.jit(jax.jacfwd(H, argnums=2))


def minimised(kind: Kind, pot, problems: list[Problem], start, scales):
    """The best unknowns of each torus from a start, the evaluations that they took, and seconds of all."""

    def of(f, y, problem, scale):
        # H is not finite where there is no torus: MINPACK turns back there.
        H = np.asarray(f(pot, problem, y)) / scale
        return H - np.mean(H, axis=0) if np.all(np.isfinite(H)) else np.full_like(H, 1e3)

    H, slopes = (partial(of, f) for f in compiled(kind))
    cases = list(zip(start, problems, scales, strict=True))
    H(*cases[0]), slopes(*cases[0])
    begin = time.perf_counter()
    best = [least_squares(H, y, slopes, args=args, **MINPACK) for y, *args in cases]
    return np.array([b.x for b in best]), np.array([b.nfev for b in best]), time.perf_counter() - begin


def in_batches(of, pot):
    """A function of the potential and more for many tori; gives seconds, too, without compilation."""
    program = jax.jit(lambda pot, args: lax.map(lambda a: of(pot, *a), args, batch_size=BATCH))

    def timed(*args):
        jax.block_until_ready(program(pot, args))
        begin = time.perf_counter()
        return jax.block_until_ready(program(pot, args)), time.perf_counter() - begin

    return timed


def rows(name: str, n: int) -> Iterator[dict[str, Any]]:
    """All sets and kinds in one potential."""
    pot = potential.expand(getattr(potential, name)())
    orbits, focal = jax.jit(lambda pot: (circular_orbits(pot), focal_distance(pot)))(pot)
    start = {s: in_batches(partial(started, s, orbits, focal), pot) for s in (FUDGE, LINEAR, CRUDE)}
    generate = {terms: in_batches(partial(generated, terms), pot) for terms in (22, 45, 76)}
    unseen = {kind: in_batches(partial(energies, kind, fresh(GRID)), pot) for kind in KINDS}
    for family, J in random_actions(1000).items():
        problems = {s: f(J[:n]) for s, f in start.items()}
        series = {terms: f(problems[FUDGE][0]) for terms, f in generate.items()}
        S, scales = map(np.asarray, series[22][0])
        E = np.mean(unseen[Kind(FUDGE, terms=22)](problems[FUDGE][0], S)[0], axis=1)
        for kind in KINDS:
            together, seconds = problems[kind.start]
            alone = [jax.tree.map(lambda a, i=i: np.asarray(a[i]), together) for i in range(n)]
            S, y, evaluations = np.zeros((n, kind.terms)), np.zeros((n, kind.of_map)), np.zeros(n)
            stages = dict.fromkeys([kind._replace(terms=0), kind])
            if kind.start == FUDGE and kind.terms:
                (S, _), more = series[kind.terms]
                seconds, stages = seconds + more, [kind]
            for stage in stages if kind.of_map else ():
                y = np.concatenate([y, S], axis=1) if stage.terms else y
                y, further, more = minimised(stage, pot, alone, y, scales)
                evaluations, seconds = evaluations + further, seconds + more
            H = np.asarray(unseen[kind](together, y if kind.of_map else S)[0])
            off, residual = abs(np.mean(H, axis=1) - E) / scales, np.std(H, axis=1) / scales
            residual = np.where((off < 0.1) & (residual < 0.1), residual, np.inf)
            half, most = np.quantile(residual, (0.5, 0.9), method="lower")
            entry = {"potential": name, "set": family, "start": kind.start, "fitted": kind.fitted}
            entry |= {"unknowns": kind.of_map + kind.terms, "residual 50%": half, "residual 90%": most}
            entry["failed %"] = 100.0 * float(np.mean(np.isinf(residual)))
            spent = "{:.0f}, {:.0f}".format(*np.quantile(evaluations, (0.5, 0.9))) if kind.of_map else ""
            yield {**entry, "evaluations": spent, "ms/torus": 1e3 * seconds / n}


def main(n: int = 96) -> list[dict[str, Any]]:
    """Rows for each potential, set and kind."""
    ox.enable_x64()
    return [entry for name in POTENTIALS for entry in rows(name, n)]


if __name__ == "__main__":
    print(actions.table(main()))
