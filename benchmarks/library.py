"""Libraries of tori: what they cost, and how far interpolated tori are from tori of constant energy.

Run `python benchmarks/library.py` (five minutes). Ranges: disc, J_r + J_z + |J_phi| from 1000 to 3000 kpc
km/s, J_r below 0.3 of it, J_z below 0.3 of J_z + |J_phi|; halo, 500 to 5000, below 0.6 and 0.7. Residuals are
those of 1024 random actions in the range, uniform in the grid's coordinates, half of them retrograde: rms of
H over the torus over Omega_r J_r + Omega_z J_z. "above its cell's": share whose residual is above 1.5 times
what the library says. "inaccurate", "not converged": by their codes. us/torus: reading one from the library,
and with `phase_point` at one angle; refit: all nodes in another potential by two Newton steps. One thread.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time  # noqa: E402  (after the environment is set)
from typing import Any  # noqa: E402

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import actions  # noqa: E402
import oortax as ox  # noqa: E402
from oortax import dynamics, potential  # noqa: E402
from oortax.dynamics.torus.library import from_grid  # noqa: E402
from oortax.dynamics.torus.torus import residual  # noqa: E402
from oortax.results import Result  # noqa: E402

RANGES = {
    "disc": {"total": (1000.0, 3000.0), "radial": (0.0, 0.3), "vertical": (0.0, 0.3)},
    "halo": {"total": (500.0, 5000.0), "radial": (0.0, 0.6), "vertical": (0.0, 0.7)},
}
N, TOL, MAX_TORI = 1024, 1e-3, 3000


def _timed(program, *args) -> float:
    """Median seconds of five calls after the first."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        jax.block_until_ready(program(*args))
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def row(name: str, of: str) -> dict[str, Any]:
    """One potential and range."""
    pot = potential.expand(getattr(potential, name)())
    start = time.perf_counter()
    library = dynamics.fit_library(pot, **RANGES[of], tol=TOL, max_tori=MAX_TORI, progress=False)
    seconds = time.perf_counter() - start

    u = np.random.default_rng(5).uniform(size=(N, 3))
    J = from_grid(np.asarray(library.lower[0] + u * (library.upper[0] - library.lower[0])))
    J[::2, 2] *= -1.0
    J, theta = jnp.asarray(J), jnp.asarray(np.random.default_rng(6).uniform(0.0, 2.0 * np.pi, (N, 3)))
    read = eqx.filter_jit(lambda library, J: jax.lax.map(library, J, batch_size=64))
    points = eqx.filter_jit(
        lambda library, J, theta: jax.lax.map(
            lambda a: library(a[0]).phase_point(a[1]), (J, theta), batch_size=64
        )
    )
    errors = eqx.filter_jit(lambda tori: jax.lax.map(lambda t: residual(pot, t), tori, batch_size=64))
    refit = eqx.filter_jit(lambda library: dynamics.refit_library(pot, library))
    tori = read(library, J)
    found, code = np.asarray(errors(tori)), np.asarray(tori.code)
    good = np.isfinite(found)
    return {
        "potential": name,
        "range": of,
        "tori": len(library.tori.E),
        "cells": int(library.leaves().sum()),
        **{f"residual {q}%": np.quantile(found[good], q / 100) for q in (50, 90, 99)},
        "above its cell's %": 100.0 * np.mean(found[good] > 1.5 * np.asarray(tori.residual)[good]),
        "inaccurate %": 100.0 * np.mean(code == Result.INACCURATE),
        "not converged %": 100.0 * np.mean(code == Result.NOT_CONVERGED),
        "us/torus": 1e6 * _timed(read, library, J) / N,
        "with a point": 1e6 * _timed(points, library, J, theta) / N,
        "build s": seconds,
        "refit s": _timed(refit, library),
    }


def main(names: tuple[str, ...] = ("mw_potential_2014", "dehnen_binney_1996")) -> list[dict[str, Any]]:
    """Rows for each potential and range."""
    ox.enable_x64()
    return [row(name, of) for name in names for of in RANGES]


if __name__ == "__main__":
    print(actions.table(main()))
