"""Draws from f: seconds for actions and for stars, and how far their means are from quadrature.

Run `python benchmarks/draws.py` (half an hour). Potential: mw_potential_2014. Thin: quasi-isothermal,
R_d = 2.6 kpc, sigma_r0 = 120 km/s, R_sigma = 6.5 kpc, H_d = 0.3 kpc. Halo: Dehnen & Binney (1996), slopes 1.8
and 3.5, A_0 = 500 kpc km/s, 4.5 % of which is beyond 1000 A_0. Actions: `draw_actions`, the envelope's making
included, after a first call that compiles; mass: its estimate over f.mass(), less one, and the standard error
in brackets. Stars: `draw_stars` with actions from 200 to 5000 kpc km/s and tol = 3e-3, with a library of
20,000 tori (made before: a row of its own, compilation included) or tori of their own; codes are shares in
per cent, "fitted" those that the library gave no good torus. sigma_R: at (R, z) = (8, 0.1) kpc, of velocities
by `draw_velocities` with the Staeckel fudge, over that of `df.moments` with three times the usual nodes per
axis, less one, and its standard error. galpy (if it is importable): `sampleV` of its quasiisothermaldf in
MWPotential2014 with actionAngleStaeckel in C, delta = 0.45 and hr = 1/3, sr = 0.2, sz = 0.1, hsr = hsz = 1 in
its units, at (1, 0.0125), over its own sigmaR2 by Gauss-Legendre quadrature of order 40. One thread.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time  # noqa: E402  (after the environment is set)
from typing import Any  # noqa: E402

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402

import actions  # noqa: E402
import oortax as ox  # noqa: E402
from oortax import df, dynamics, potential  # noqa: E402

TOTAL, TOL, VELOCITIES, GALPYS = (200.0, 5000.0), 3e-3, 100_000, 20_000


def seconds(program) -> tuple[Any, float]:
    """What it returns, and how long that takes."""
    start = time.perf_counter()
    found = program()
    return found, time.perf_counter() - start


def rows_of(
    name: str, f, pot, key, sizes: tuple[int, ...], stars_of: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Actions and stars of one distribution function."""
    df.draw_actions(f, key, 1000, progress=False)
    rows: list[dict[str, Any]] = []
    for n in sizes:
        drawn, took = seconds(lambda n=n: df.draw_actions(f, key, n, progress=False))
        mass = float(f.mass())
        rows.append({
            "f": name, "what": "J", "n": n, "s": took, "us each": 1e6 * took / n,
            "kept": drawn.acceptance, "above bound": drawn.exceedances,
            "mass or sigma_R": f"{drawn.mass / mass - 1.0:.1e} ({drawn.mass_error / mass:.1e})",
        })  # fmt: skip

    def stars(n, **options):
        return df.draw_stars(f, pot, key, n, total=TOTAL, tol=TOL, progress=False, **options)

    stars(256, library=False)
    made, took = seconds(lambda: stars(20_000, library=True, most_fitted=0))
    rows.append({"f": name, "what": "library", "n": len(made.library.tori.E), "s": took})
    for n, library in ((5_000, False), *((n, made.library) for n in stars_of)):
        drawn, took = seconds(lambda n=n, library=library: stars(n, library=library))
        shares = {code: 100.0 * share for code, share in drawn.shares().items()}
        what = "stars, library" if library is not False else "stars, own tori"
        rows.append({"f": name, "what": what, "n": n, "s": took, "us each": 1e6 * took / n, **shares})
    return rows


def local(name: str, f, pot, key) -> dict[str, Any]:
    """Velocities near the Sun."""
    finder, x = dynamics.StaeckelFudge(pot), np.tile([8.0, 0.0, 0.1], (VELOCITIES, 1))
    df.draw_velocities(f, pot, finder, x[:100], key, progress=False)
    drawn, took = seconds(lambda: df.draw_velocities(f, pot, finder, x, key, progress=False))
    moments = eqx.filter_jit(lambda f, R, z: df.moments(f, pot, finder, R, z, 3.0))(f, 8.0, 0.1)
    return {
        "f": name, "what": "v at x", "n": VELOCITIES, "s": took, "us each": 1e6 * took / VELOCITIES,
        "kept": drawn.acceptance, "above bound": drawn.exceedances,
        "mass or sigma_R": _ratio(drawn.v[:, 0], float(moments.dispersion[0, 0])),
    }  # fmt: skip


def _ratio(v_R, sigma2: float) -> str:
    """sigma over the expected one, less one, with its standard error."""
    error = 0.5 * np.std(v_R**2) / np.sqrt(len(v_R)) / sigma2
    return f"{np.sqrt(np.mean(v_R**2) / sigma2) - 1.0:.1e} ({error:.1e})"


def galpy_rows() -> list[dict[str, Any]]:
    """galpy's velocities near the Sun; none where it is not installed."""
    try:
        from galpy.actionAngle import actionAngleStaeckel
        from galpy.df import quasiisothermaldf
        from galpy.potential import MWPotential2014
    except ImportError:
        return []
    finder = actionAngleStaeckel(pot=MWPotential2014, delta=0.45, c=True)
    disc = quasiisothermaldf(1.0 / 3.0, 0.2, 0.1, 1.0, 1.0, pot=MWPotential2014, aA=finder, cutcounter=True)
    np.random.seed(1)  # noqa: NPY002 (galpy draws from NumPy's global generator)
    v, took = seconds(lambda: disc.sampleV(1.0, 0.0125, n=GALPYS))
    sigma2 = float(disc.sigmaR2(1.0, 0.0125, gl=True, ngl=40))
    return [{
        "f": "galpy's disc", "what": "v at x, galpy", "n": GALPYS, "s": took,
        "us each": 1e6 * took / GALPYS, "mass or sigma_R": _ratio(np.asarray(v)[:, 0], sigma2),
    }]  # fmt: skip


def main(sizes: tuple[int, ...] = (100_000, 1_000_000)) -> list[dict[str, Any]]:
    """All rows."""
    ox.enable_x64()
    pot, key = potential.mw_potential_2014(), jax.random.key(1)
    orbits = eqx.filter_jit(dynamics.circular_orbits)(pot)
    thin = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3, Sigma_0=8e8).bind(orbits)
    halo = df.DB96Halo(a=1.2, b=1.2, gamma=1.8, beta=3.5, A_0=500.0)
    rows = []
    for name, f, stars_of in (("thin", thin, sizes), ("halo", halo, sizes[:1])):
        rows += [*rows_of(name, f, pot, key, sizes, stars_of), local(name, f, pot, key)]
    rows += galpy_rows()
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column, "") for column in columns} for row in rows]


if __name__ == "__main__":
    print(actions.table(main()))
