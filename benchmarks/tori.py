"""Tori of random actions: residuals, codes, cost, and the orbits that start on them.

Run `python benchmarks/tori.py` (ten minutes; `--potentials mw_potential_2014 --tori 200` for less). Disc: J_r
exponential with mean 30, J_z with mean 10, J_phi = 1800 +- 300 kpc km/s. Halo: means 400 and 300, J_phi = 0
+- 900. The residual is the rms of H over the torus at angles that the fit has not seen, over Omega_r J_r +
Omega_z J_z. "inaccurate": residual above tol with the largest set of terms (162, or 280 where tol = 1e-5);
"not converged": above 0.1, or no torus. "resonant, chaotic": share of 128 tori with such orbits, as
integration shows (benchmarks/orbits.py); "regular" columns are of the others. "drift": largest |x - x(theta +
Omega t)|/|x| along orbits integrated for 50 radial periods from tori with code OK, median and 90% of 48. One
thread each, two potentials at a time; ms/torus is `fit_tori` without compilation, terms as tol needs them;
"22 terms" the first stage alone; the first call compiles, unless the set before it has. AGAMA's mapper,
quoted from the project's own measurements on another machine: 2.9 ms (thin), 10.4 (thick), 18.8 (halo) where
it succeeds, 67 of 100 halo tori fail in MWPotential2014.
"""

import argparse
import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time  # noqa: E402  (after the environment is set)
from concurrent.futures import ProcessPoolExecutor  # noqa: E402
from multiprocessing import get_context  # noqa: E402
from typing import Any  # noqa: E402

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import oortax as ox  # noqa: E402
from oortax import dynamics, potential  # noqa: E402
from oortax.results import Result  # noqa: E402
from orbits import kinds  # noqa: E402

POTENTIALS = ("mw_potential_2014", "mcmillan_2017", "dehnen_binney_1996")
# Set, tol, numbers of terms, and one of how many tori are fitted.
SETS = (
    ("disc", 1e-5, (22, 76, 162), 5),
    ("disc", 1e-4, (22, 76, 162), 1),
    ("halo", 1e-5, (22, 76, 162, 280), 5),
    ("halo", 1e-3, (22, 76, 162), 1),
)
ORBITS, PERIODS, STEPS, CLASSIFIED = 48, 50, 600, 128


def random_actions(n: int, seed: int = 1) -> dict[str, np.ndarray]:
    """The two sets, (n, 3) each."""
    key = np.random.default_rng(seed)
    disc = (key.exponential(30.0, n), key.exponential(10.0, n), key.normal(1800.0, 300.0, n))
    halo = (key.exponential(400.0, n), key.exponential(300.0, n), key.normal(0.0, 900.0, n))
    return {"disc": np.stack(disc, axis=1), "halo": np.stack(halo, axis=1)}


@eqx.filter_jit
def _positions(tori: dynamics.Torus, theta):
    return jax.vmap(dynamics.Torus.phase_point)(tori, theta)


@eqx.filter_jit
def _orbits(pot, x, v, step):
    """Positions after each radial period."""
    leap = jax.vmap(lambda x, v, dt: dynamics.symplectic_step(pot, x, v, dt))

    def period(state, _):
        state, _ = jax.lax.scan(lambda s, _: (leap(*s, step), None), state, length=STEPS)
        return state, state[0]

    return jax.lax.scan(period, (x, v), length=PERIODS)[1]


def drifts(pot, tori: dynamics.Torus) -> np.ndarray:
    """For each torus the largest distance of an orbit from where its angles should be."""
    theta = jnp.asarray(np.random.default_rng(3).uniform(0.0, 2.0 * np.pi, (len(tori.E), 3)))
    x, v = _positions(tori, theta)
    T = 2.0 * jnp.pi / tori.Omega[:, 0]
    found = np.asarray(_orbits(pot, x, v, T / STEPS))
    largest = np.zeros(len(T))
    for k in range(PERIODS):
        expected = np.asarray(_positions(tori, theta + tori.Omega * ((k + 1) * T)[:, None])[0])
        distance = np.linalg.norm(found[k] - expected, axis=1) / np.linalg.norm(expected, axis=1)
        largest = np.maximum(largest, distance)
    return largest


def row(pot, J: np.ndarray, tol: float, n_modes: tuple[int, ...], kind: np.ndarray | None):
    """One potential, set and tolerance; and which of the first tori are regular, if that is not known yet."""
    n = len(J)

    def timed(n_modes=n_modes):
        start = time.perf_counter()
        tori = dynamics.fit_tori(pot, J, tol=tol, n_modes=n_modes, progress=False)
        return jax.block_until_ready(tori), time.perf_counter() - start

    _, first = timed()
    tori, seconds = timed()
    _, least = timed((22,))
    code, residual = np.asarray(tori.code), np.asarray(tori.residual)
    found = np.where(np.isfinite(residual), residual, np.inf)
    quantile = {f"residual {q}%": np.sort(found)[min(n - 1, int(q / 100 * n))] for q in (50, 90)}
    good = np.flatnonzero(code == Result.OK)[:ORBITS]
    drift = drifts(pot, jax.tree.map(lambda leaf: leaf[good], tori))
    if kind is None:
        kind = np.full(min(n, CLASSIFIED), "not found", dtype="<U9")
        there = np.flatnonzero(np.isfinite(tori.E[:CLASSIFIED]))
        kind[there] = kinds(pot, jax.tree.map(lambda leaf: leaf[there], tori))
    regular = found[: len(kind)][kind == "regular"]
    of_regular = {f"regular {q}%": np.quantile(regular, q / 100) for q in (50, 90, 97)}
    one = jax.tree.map(lambda leaf: leaf[good[0]], tori)
    theta = jnp.asarray(np.random.default_rng(4).uniform(0.0, 2.0 * np.pi, (8192, 3)))
    points = eqx.filter_jit(lambda t, theta: jax.lax.map(t.phase_point, theta, batch_size=256))
    times = []
    for _ in range(6):
        start = time.perf_counter()
        jax.block_until_ready(points(one, theta))
        times.append(time.perf_counter() - start)
    return kind, {
        "tol": tol,
        "tori": n,
        **quantile,
        "inaccurate %": 100.0 * np.mean(code == Result.INACCURATE),
        "not converged %": 100.0 * np.mean(code == Result.NOT_CONVERGED),
        "resonant, chaotic %": ", ".join(f"{100 * np.mean(kind == k):.0f}" for k in ("resonant", "chaotic")),
        **of_regular,
        "drift": f"{np.median(drift):.0e}, {np.quantile(drift, 0.9):.0e}",
        "ms/torus": 1e3 * seconds / n,
        "22 terms": 1e3 * least / n,
        "us/point": 1e6 * np.median(times[1:]) / len(theta),
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
    """Rows for each potential and set; two potentials at a time, a process each."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        return [entry for found in pool.map(rows, names, [n] * len(names)) for entry in found]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--potentials", nargs="+", default=POTENTIALS)
    parser.add_argument("--tori", type=int, default=1000)
    options = parser.parse_args()
    for entry in main(tuple(options.potentials), options.tori):
        for name, item in entry.items():
            print(f"{name}: {item}", flush=True)
