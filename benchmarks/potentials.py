"""Potentials: nanoseconds per force beside the force's error, and milliseconds to build an expansion.

Run `python benchmarks/potentials.py`. Forces at 98,304 points (half in a disc, 1 < R < 16 kpc with heights of
0.3 kpc, half log-uniform in radius, 0.3 < r < 60 kpc), on one thread, in chunks of 4096; medians of repeats.
value is Phi alone, force its three components, gradient the derivative of the sum of Phi in every parameter,
the expansion's own included. Errors are |a - a_ref|/|a_ref| at the reference points of tests/data
(quadrature, good to 1e-8). galpy and gala run on the same points if they are installed (in galpy one call for
each of the two forces). AGAMA's figures are those of its version 1.0.159 (g++ -O2 -march=native) on one core
of an AMD EPYC, its errors those stored with the reference.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import csv  # noqa: E402  (after the environment is set)
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import actions  # noqa: E402
import oortax as ox  # noqa: E402
from oortax import potential  # noqa: E402

DATA = Path(__file__).parents[1] / "tests" / "data"
N, CHUNK, REPEATS = 98304, 4096, 9

MODELS: dict[str, tuple[Callable, str, str]] = {
    "MWPotential2014": (potential.mw_potential_2014, "potentials_reference.csv", "MWPotential2014"),
    "McMillan 2017": (potential.mcmillan_2017, "mass_models_reference.csv", "McMillan17"),
    "Piffl 2014": (potential.piffl_2014, "mass_models_reference.csv", "Piffl14"),
    "exponential disc": (
        lambda: potential.ExponentialDisc(Sigma_0=8e8, R_d=2.6, z_d=0.3),
        "mass_models_reference.csv",
        "DoubleExponential",
    ),
    "Dehnen & Binney 1996": (
        potential.dehnen_binney_1996,
        "potentials_reference.csv",
        "DehnenBinney1996",
    ),
}
AGAMA_NS = {"MWPotential2014": 137.0, "McMillan 2017": 368.0}
AGAMA_BUILD_MS = {"McMillan 2017": 13.0}


def points(n: int) -> np.ndarray:
    """n points, half in a disc and half in a sphere, shape (n, 3)."""
    rng = np.random.default_rng(0)
    half = n // 2
    phi = rng.uniform(0.0, 2.0 * np.pi, n)
    R, z = rng.uniform(1.0, 16.0, half), rng.laplace(0.0, 0.3, half)
    r, mu = 0.3 * 200.0 ** rng.random(half), rng.uniform(-1.0, 1.0, half)
    R, z = np.concatenate([R, r * np.sqrt(1.0 - mu**2)]), np.concatenate([z, r * mu])
    return np.stack([R * np.cos(phi), R * np.sin(phi), z], axis=1)[rng.permutation(n)]


def median(call: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Median seconds of a few calls, after one that compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def reference(file: str, model: str) -> dict[str, np.ndarray]:
    """The reference rows of a model."""
    with open(DATA / file, encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row.pop("model") == model]
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def errors(force: np.ndarray, table: dict[str, np.ndarray]) -> dict[str, float]:
    """Median and largest relative error of (a_R, a_z) rows."""
    size = np.hypot(table["a_R"], table["a_z"])
    error = np.hypot(force[:, 0] - table["a_R"], force[:, 1] - table["a_z"]) / size
    return {"error_median": float(np.median(error)), "error_worst": float(error.max())}


@jax.jit
def _values(pot, x):
    return jax.lax.map(jax.vmap(pot.Phi), x)


@jax.jit
def _forces(pot, x):
    return jax.lax.map(jax.vmap(lambda x: potential.acceleration(pot, x)), x)


def ours(name: str, grid: potential.Grid, label: str) -> dict[str, Any]:
    """One row of ours: times per point, of the build and of its gradient, and errors."""
    make, file, model = MODELS[name]
    pot, table = make(), reference(file, model)
    x = jnp.asarray(points(N).reshape(-1, CHUNK, 3))

    @jax.jit
    def build(pot):
        return potential.expand(pot, grid)

    @jax.jit
    def gradient(pot, x):
        def total(pot):
            made = jax.lax.optimization_barrier(potential.expand(pot, grid))
            return jnp.sum(jax.lax.map(jax.vmap(made.Phi), x))

        return jax.grad(total)(pot)

    @jax.jit
    def build_gradient(pot):
        made, pull = jax.vjp(lambda pot: jax.tree.leaves(potential.expand(pot, grid)), pot)
        return pull([jnp.ones_like(leaf) for leaf in made])

    expanded = build(pot)
    built = jax.tree.leaves(expanded) != jax.tree.leaves(pot)
    at = jnp.stack([table["R"], 0.0 * table["R"], table["z"]], axis=1)
    force = np.asarray(jax.jit(jax.vmap(lambda x: potential.acceleration(expanded, x)))(at))[:, [0, 2]]
    row: dict[str, Any] = {"model": name, "method": label}
    row["ns_value"] = 1e9 * median(lambda: _values(expanded, x)) / N
    row["ns_force"] = 1e9 * median(lambda: _forces(expanded, x)) / N
    row["ns_gradient"] = 1e9 * median(lambda: gradient(pot, x)) / N
    if built:
        row["build_ms"] = 1e3 * median(lambda: build(pot))
        row["build_gradient_ms"] = 1e3 * median(lambda: build_gradient(pot))
    return row | errors(force, table)


def galpy_rows() -> list[dict[str, Any]]:
    """galpy's forces in MWPotential2014, its only one of these without an expansion of its own."""
    try:
        from galpy.potential import MWPotential2014, evaluateRforces, evaluatezforces
    except ImportError:
        return []
    x = points(N)
    R, z = np.hypot(x[:, 0], x[:, 1]) / 8.0, x[:, 2] / 8.0

    def both(R, z):
        parts = [f(MWPotential2014, R, z, use_physical=False) for f in (evaluateRforces, evaluatezforces)]
        return np.stack(parts, axis=1)

    table = reference("potentials_reference.csv", "MWPotential2014")
    force = both(table["R"] / 8.0, table["z"] / 8.0) * 220.0**2 / 8.0
    seconds = median(lambda: both(R, z), 3)
    return [
        {"model": "MWPotential2014", "method": "galpy", "ns_force": 1e9 * seconds / N} | errors(force, table)
    ]


def gala_rows() -> list[dict[str, Any]]:
    """gala's accelerations in its BovyMWPotential2014 (its own G: errors are dominated by that)."""
    try:
        import astropy.units as u
        from gala.potential import BovyMWPotential2014
        from gala.units import UnitSystem
    except ImportError:
        return []
    pot = BovyMWPotential2014(units=UnitSystem(u.kpc, u.Gyr, u.Msun, u.radian))
    x = np.ascontiguousarray(points(N).T)
    table = reference("potentials_reference.csv", "MWPotential2014")
    at = np.stack([table["R"], 0.0 * table["R"], table["z"]])
    force = pot.acceleration(at).to_value(u.km**2 / u.s**2 / u.kpc)[[0, 2]].T
    seconds = median(lambda: pot.acceleration(x).value, 3)
    return [
        {"model": "MWPotential2014", "method": "gala", "ns_force": 1e9 * seconds / N} | errors(force, table)
    ]


def agama_rows() -> list[dict[str, Any]]:
    """AGAMA's figures and the errors of its default expansions."""
    rows = []
    for name, (_, file, model) in MODELS.items():
        table = reference(file, model)
        if "agama_da_rel" not in table:
            continue
        row: dict[str, Any] = {"model": name, "method": "AGAMA (quoted)"}
        row |= {"ns_force": AGAMA_NS[name]} if name in AGAMA_NS else {}
        row |= {"build_ms": AGAMA_BUILD_MS[name]} if name in AGAMA_BUILD_MS else {}
        row["error_median"] = float(np.median(table["agama_da_rel"]))
        rows.append(row | {"error_worst": float(table["agama_da_rel"].max())})
    quoted = {"model": "MWPotential2014", "method": "AGAMA (quoted)", "ns_force": AGAMA_NS["MWPotential2014"]}
    return [quoted, *rows]


def main() -> list[dict[str, Any]]:
    """All rows, model by model."""
    ox.enable_x64()
    rows = [ours(name, potential.Grid(), "oortax") for name in MODELS]
    rows.append(ours("McMillan 2017", potential.Grid.fine(), "oortax, Grid.fine()"))
    rows += galpy_rows() + gala_rows() + agama_rows()
    return sorted(rows, key=lambda row: list(MODELS).index(row["model"]))


if __name__ == "__main__":
    print(actions.table(main()))
