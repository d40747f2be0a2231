"""Tori of random actions: residuals, codes, cost, and the orbits that start on them.

Run `python benchmarks/tori.py` (twenty minutes; `--potentials mw_potential_2014 --tori 200` for less). Disc:
J_r exponential with mean 30, J_z with mean 10, J_phi = 1800 +- 300 kpc km/s. Halo: means 400 and 300, J_phi =
0 +- 900. The residual is the rms of H over the torus at angles that the fit has not seen, over Omega_r J_r +
Omega_z J_z. "inaccurate": residual above tol with the largest set of terms (162, or 280 for halo tori with
tol = 1e-5); "not converged": above 0.1, or no torus; "regular" of these, where integration
(benchmarks/orbits.py) of orbits from the fudge's torus finds nothing resonant or chaotic. "resonant,
chaotic": share of the first 128 tori with such orbits; "regular" columns are residuals of the others.
"dtheta": largest |theta - theta_0 - Omega t| along orbits integrated for 50 radial periods from tori with
code OK, in rad, median and 90% of 48; "dJ": largest |J - J_0| along them, over J_r + J_z; both by
`Torus.angles_actions` (pi and inf where an orbit leaves its torus). One thread each, two potentials at a
time; ms/torus is `fit_tori` without compilation, terms as tol needs them; "22 terms" that of so many terms
whatever their residual, and its median; "gradients" the cost of tori of 45 terms with the derivatives of
their E, and of E, Omega, S_n and dS_n/dJ, in J and in all numbers of the potential, over that without;
us/point: `phase_point` at true and `phase_point_toy` at toy angles. The first call compiles, unless the set
before it has. AGAMA's mapper, quoted
from the project's own measurements on another machine: 2.9 ms (thin), 10.4 (thick), 18.8 (halo) where it
succeeds, 67 of 100 halo tori fail in MWPotential2014; 3 to 11 us a point.
"""

import argparse
import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time  # noqa: E402  (after the environment is set)
from collections.abc import Callable  # noqa: E402
from concurrent.futures import ProcessPoolExecutor  # noqa: E402
from multiprocessing import get_context  # noqa: E402
from typing import Any  # noqa: E402

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import oortax as ox  # noqa: E402
from oortax import dynamics, potential  # noqa: E402
from oortax.dynamics.delta import focal_distance  # noqa: E402
from oortax.dynamics.torus.torus import _fit_torus  # noqa: E402
from oortax.results import Result  # noqa: E402
from orbits import kinds  # noqa: E402

POTENTIALS = ("mw_potential_2014", "mcmillan_2017", "dehnen_binney_1996")
# Set, tol, numbers of terms, and one of how many tori are fitted.
SETS = (
    ("disc", 1e-6, (45, 162), 5),
    ("disc", 1e-4, (45, 162), 1),
    ("halo", 1e-5, (45, 162, 280), 5),
    ("halo", 1e-3, (45, 162), 1),
)
# With 600 steps a radial period the integrator itself drifts by 2e-4 (thin) to 2e-3 rad (a far, inclined
# orbit) in 50 periods; 1200 and 2400 agree to 1e-4, but for the inclined one (3e-4).
ORBITS, PERIODS, STEPS, EVERY, CLASSIFIED = 48, 50, 1200, 440, 128


def random_actions(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """The two sets, (n, 3) each."""
    key = np.random.default_rng(seed)
    disc = (key.exponential(30.0, n), key.exponential(10.0, n), key.normal(1800.0, 300.0, n))
    halo = (key.exponential(400.0, n), key.exponential(300.0, n), key.normal(0.0, 900.0, n))
    return {"disc": np.stack(disc, axis=1), "halo": np.stack(halo, axis=1)}


@eqx.filter_jit
def _points(tori: dynamics.Torus, theta):
    return jax.vmap(dynamics.Torus.phase_point)(tori, theta)


@eqx.filter_jit
def _orbits(pot, tori: dynamics.Torus, x, v, step):
    """Angles and actions along orbits."""
    leap = jax.vmap(lambda x, v, dt: dynamics.symplectic_step(pot, x, v, dt))

    def advance(state, _):
        state, _ = jax.lax.scan(lambda s, _: (leap(*s, step), None), state, length=EVERY)
        return state, jax.vmap(dynamics.Torus.angles_actions)(tori, *state)

    return jax.lax.scan(advance, (x, v), length=PERIODS * STEPS // EVERY)[1]


def drifts(pot, tori: dynamics.Torus) -> tuple[np.ndarray, np.ndarray]:
    """For each torus, how far an orbit's angles get from where they should be, and its actions from J."""
    start = jnp.asarray(np.random.default_rng(3).uniform(0.0, 2.0 * np.pi, (len(tori.E), 3)))
    x, v = _points(tori, start)
    step = 2.0 * jnp.pi / tori.Omega[:, 0] / STEPS
    theta, J = (np.asarray(a) for a in _orbits(pot, tori, x, v, step))
    times = (np.arange(len(theta)) + 1.0)[:, None] * EVERY * np.asarray(step)
    off = theta - start - np.asarray(tori.Omega) * times[..., None]
    off = np.abs((off + np.pi) % (2.0 * np.pi) - np.pi)
    moved = np.abs(J - tori.J) / np.sum(tori.J[:, :2], axis=1)[:, None]
    # An orbit that leaves its torus for where the torus has no angles.
    off, moved = np.nan_to_num(off, nan=np.pi), np.nan_to_num(moved, nan=np.inf)
    return off.max(axis=(0, 2)), moved.max(axis=(0, 2))


def seconds_of(program: Callable, *arguments, repeats: int = 6) -> float:
    """Median over repeats, after a first call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def _of_E(torus):
    return (torus.E,)


def _of_all(torus):
    return torus.E, torus.Omega, torus.S, torus.dS_dJ


def _total(of, tables, parts: Callable):
    """The sum of parts of all tori of (potential, J)."""
    pot, J = of

    def one(J):
        torus = _fit_torus(pot, *tables, J, 45)
        whole = sum(jnp.sum(part) for part in parts(torus))
        return jnp.where(torus.code == Result.OK, whole, 0.0)

    return jnp.sum(jax.lax.map(one, J, batch_size=16))


_alone, _with_slopes = eqx.filter_jit(_total), eqx.filter_jit(eqx.filter_value_and_grad(_total))


def gradients_over_value(pot, J: np.ndarray) -> str:
    """Cost of tori with derivatives in J and the potential, of E and of all that they are, over that
    without."""
    tables = eqx.filter_jit(lambda pot: (dynamics.circular_orbits(pot), focal_distance(pot)))(pot)
    of = (pot, jnp.asarray(J[:64]))
    alone = seconds_of(_alone, of, tables, _of_all)
    ratios = [seconds_of(_with_slopes, of, tables, parts) / alone for parts in (_of_E, _of_all)]
    return ", ".join(f"{ratio:.1f}" for ratio in ratios)


def found_by_orbits(pot, tori: dynamics.Torus) -> np.ndarray:
    """Kinds of the orbits near tori that were not found: from the fudge's, with S_n = 0."""
    n = len(tori.E)
    if n == 0:
        return np.zeros(0, dtype="<U8")
    orbits = eqx.filter_jit(dynamics.circular_orbits)(pot)
    kappa = jax.vmap(lambda L: orbits.at(L).kappa)(jnp.sum(jnp.abs(tori.J), axis=1))
    bare = eqx.tree_at(
        lambda t: (t.S, t.dS_dJ, t.Omega),
        tori,
        (0.0 * jnp.nan_to_num(tori.S), 0.0 * jnp.nan_to_num(tori.dS_dJ), jnp.repeat(kappa[:, None], 3, 1)),
    )
    return kinds(pot, bare)


def row(pot, J: np.ndarray, tol: float, n_modes: tuple[int, ...], kind: np.ndarray | None):
    """One potential, set and tolerance; and which of the first tori are regular, if that is not known yet."""
    n = len(J)

    def timed(tol=tol, n_modes=n_modes):
        start = time.perf_counter()
        tori = dynamics.fit_tori(pot, J, tol=tol, n_modes=n_modes, progress=False)
        return jax.block_until_ready(tori), time.perf_counter() - start

    _, first = timed()
    tori, seconds = timed()
    timed(1.0, (22,))
    few, least = timed(1.0, (22,))
    few = np.median(np.where(np.isfinite(few.E), few.residual, np.inf))
    some = lambda rows: jax.tree.map(lambda leaf: leaf[rows], tori)  # noqa: E731
    code, residual = np.asarray(tori.code), np.asarray(tori.residual)
    there = np.isfinite(tori.E)
    found = np.where(there, residual, np.inf)
    quantile = {f"residual {q}%": np.sort(found)[min(n - 1, int(q / 100 * n))] for q in (50, 90)}
    good = np.flatnonzero(code == Result.OK)[:ORBITS]
    off, moved = drifts(pot, some(good))
    lost = found_by_orbits(pot, some(np.flatnonzero(~there)))
    new = kind is None
    if kind is None:
        kind = np.full(min(n, CLASSIFIED), "not found", dtype="<U9")
        first_ones = np.flatnonzero(there[:CLASSIFIED])
        kind[first_ones] = kinds(pot, some(first_ones))
    regular = found[: len(kind)][kind == "regular"]
    one = some(good[0])
    theta = jnp.asarray(np.random.default_rng(4).uniform(0.0, 2.0 * np.pi, (8192, 3)))
    points = eqx.filter_jit(lambda map_of: jax.lax.map(map_of, theta, batch_size=1024))
    return kind, {
        "tol": tol,
        "tori": n,
        **quantile,
        "inaccurate %": 100.0 * np.mean(code == Result.INACCURATE),
        "not converged %": 100.0 * np.mean(~there),
        "of these regular": f"{np.sum(lost == 'regular')} of {len(lost)}",
        "resonant, chaotic %": ", ".join(f"{100 * np.mean(kind == k):.0f}" for k in ("resonant", "chaotic")),
        **{f"regular {q}%": np.quantile(regular, q / 100) for q in (50, 90, 97)},
        "dtheta": f"{np.median(off):.0e}, {np.quantile(off, 0.9):.0e}",
        "dJ": f"{np.median(moved):.0e}, {np.quantile(moved, 0.9):.0e}",
        "ms/torus": 1e3 * seconds / n,
        "22 terms": f"{1e3 * least / n:.2f}, {few:.0e}",
        "gradients": gradients_over_value(pot, J) if new else "",
        "us/point": ", ".join(
            f"{1e6 * seconds_of(points, map_of) / len(theta):.2f}"
            for map_of in (one.phase_point, one.phase_point_toy)
        ),
        "first call s": first,
    }


def rows(name: str, n: int) -> list[dict[str, Any]]:
    """All sets in one potential."""
    ox.enable_x64()
    jax.config.update("jax_enable_compilation_cache", False)
    pot, actions = potential.expand(getattr(potential, name)()), random_actions(n)
    of_family, found = {}, []
    for family, tol, n_modes, one_of in SETS:
        J = actions[family][: n // one_of]
        of_family[family], entries = row(pot, J, tol, n_modes, of_family.get(family))
        found.append({"potential": name, "set": family, **entries})
    return found


def main(names: tuple[str, ...] = POTENTIALS, n: int = 1000) -> list[dict[str, Any]]:
    """Rows for each potential and set; two potentials at a time, a process and a core each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    # A new process for each: what is compiled for three potentials is more than Linux maps in one.
    with ProcessPoolExecutor(min(2, cores), get_context("spawn"), max_tasks_per_child=1) as pool:
        return [entry for found in pool.map(rows, names, [n] * len(names)) for entry in found]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--potentials", nargs="+", default=POTENTIALS)
    parser.add_argument("--tori", type=int, default=1000)
    options = parser.parse_args()
    for entry in main(tuple(options.potentials), options.tori):
        for name, item in entry.items():
            print(f"{name}: {item}", flush=True)
