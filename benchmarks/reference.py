"""Tori against long integrations of orbits, by families of orbits in two potentials.

Run `python benchmarks/reference.py` (five minutes). Orbits and their J, E, Omega are from surfaces of section
of integrated orbits, without torus or fudge (benchmarks/orbits_reference.csv: J good to 1e-3 at worst, in the
median J_r to 1e-6 and J_z to 1e-5; those that are resonant, irregular or poorly known are left out).
`fit_tori` gets their J, with tol = 1e-5 and up to 280 terms. E: |dE|/(Omega_r J_r + Omega_z J_z). Omega: the
largest |dOmega|/Omega of the three. J: |dJ|/(J_r + J_z) of `Torus.angles_actions` at the orbit's point. x:
|dx|/|x| at given angles on the tori of benchmarks/tori_reference.csv, five a family with eight points each.
Median and 90% of all tori that were found, whatever their code.

The files: 1200 orbits and 60 tori in MWPotential2014 and McMillan (2017), computed for this project in NumPy
and SciPy (DOP853 at 1e-12, frequencies by weighted Birkhoff averages), under the project's licence; kpc,
km/s, kpc km/s, km/s/kpc; err_ columns are relative.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import csv  # noqa: E402  (after the environment is set)
from concurrent.futures import ProcessPoolExecutor  # noqa: E402
from multiprocessing import get_context  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import oortax as ox  # noqa: E402
from oortax import dynamics, potential  # noqa: E402
from oortax.results import Result  # noqa: E402

HERE = Path(__file__).parent
TOL, N_MODES = 1e-5, (45, 162, 280)


def _read(name: str, of_potential: str) -> list[dict[str, str]]:
    with open(HERE / name, encoding="utf-8") as lines:
        return [row for row in csv.DictReader(lines) if row["potential"] == of_potential]


def _columns(rows, *names) -> np.ndarray:
    return np.array([[float(row[name]) for name in names] for row in rows])


def _two(errors: np.ndarray) -> str:
    if len(errors) == 0:
        return ""
    return f"{np.median(errors):.0e}, {np.quantile(errors, 0.9):.0e}"


@eqx.filter_jit
def _actions(tori: dynamics.Torus, x, v):
    return jax.vmap(lambda torus, x, v: torus.angles_actions(x, v)[1])(tori, x, v)


@eqx.filter_jit
def _positions(tori: dynamics.Torus, theta):
    return jax.vmap(lambda torus, theta: torus.phase_point(theta)[0])(tori, theta)


def rows(name: str) -> list[dict[str, Any]]:
    """A row for each family in one potential."""
    ox.enable_x64()
    pot = potential.expand(getattr(potential, name)())
    orbits = [row for row in _read("orbits_reference.csv", name) if row["flag"] in ("ok", "ok_abs")]
    points = _read("tori_reference.csv", name)
    first = {row["torus"]: row for row in reversed(points)}
    J = np.concatenate([_columns(rows, "J_r", "J_z", "J_phi") for rows in (orbits, list(first.values()))])
    tori = dynamics.fit_tori(pot, J, tol=TOL, n_modes=N_MODES, progress=False)
    n = len(orbits)
    which = n + np.array([list(first).index(row["torus"]) for row in points])

    scale = np.sum(np.asarray(tori.Omega[:, :2]) * J[:, :2], axis=1)
    dE = np.abs(np.asarray(tori.E)[:n] - _columns(orbits, "E")[:, 0]) / scale[:n]
    Omega = _columns(orbits, "Omega_r", "Omega_z", "Omega_phi")
    dOmega = np.max(np.abs(np.asarray(tori.Omega)[:n] / Omega - 1.0), axis=1)
    x, v = (jnp.asarray(_columns(orbits, *names)) for names in (("x", "y", "z"), ("vx", "vy", "vz")))
    found = np.asarray(_actions(jax.tree.map(lambda leaf: leaf[:n], tori), x, v))
    dJ = np.max(np.abs(found - J[:n]), axis=1) / np.sum(J[:n, :2], axis=1)
    theta = jnp.asarray(_columns(points, "theta_r", "theta_z", "theta_phi"))
    expected = _columns(points, "x", "y", "z")
    at = np.asarray(_positions(jax.tree.map(lambda leaf: leaf[which], tori), theta))
    dx = np.linalg.norm(at - expected, axis=1) / np.linalg.norm(expected, axis=1)

    families, of_points = (np.array([row["family"] for row in rows]) for rows in (orbits, points))
    code, residual, there = (np.asarray(a) for a in (tori.code, tori.residual, np.isfinite(tori.E)))
    entries = []
    for family in dict.fromkeys(families):
        of = families == family
        here, of_x = np.flatnonzero(of & there[:n]), (of_points == family) & there[which]
        entries.append({
            "potential": name,
            "family": family,
            "orbits": np.sum(of),
            "not found": np.sum(of & ~there[:n]),
            "OK %": 100.0 * np.mean(code[:n][of] == Result.OK),
            "residual": _two(residual[here]),
            "E": _two(dE[here]),
            "Omega": _two(dOmega[here]),
            "J": _two(dJ[here]),
            "x": _two(dx[of_x]),
        })  # fmt: skip
    return entries


def main() -> list[dict[str, Any]]:
    """Rows of both potentials, a process each."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        return [entry for found in pool.map(rows, ("mw_potential_2014", "mcmillan_2017")) for entry in found]


if __name__ == "__main__":
    for entry in main():
        print(", ".join(f"{name}: {item}" for name, item in entry.items()), flush=True)
