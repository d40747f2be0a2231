"""Action finders: microseconds per star beside the scatter of J along orbits, in mw_potential_2014().

Run `python benchmarks/actions.py`. Three families of orbits (thin disc, thick disc, halo) are integrated by
scipy's DOP853; J is constant along an orbit, so that the standard deviation of J_r (J_z) along it, over the
orbit's mean J_r + J_z, measures a finder's error, except for a constant bias. "both" is the root of the sum
of squares. Times are medians of repeats on one thread, compilation apart. If galpy is importable (extra
`bench`), its Staeckel C code runs on the same points, with delta = 0.45 R_0 and with each orbit's median of
`estimateDeltaStaeckel`; the latter needs the whole orbit, and its time leaves the estimate out.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time  # noqa: E402  (after the environment is set)
from typing import Any  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from scipy.integrate import solve_ivp  # noqa: E402

import oortax as ox  # noqa: E402
from oortax import dynamics, potential  # noqa: E402

FAMILIES = ("thin", "thick", "halo")
ORBITS, OUTPUTS, REPEATS = 60, 100, 9
BATCH = 4096
DISCS = {"thin": (0.25, 35.0, 18.0, 3.0), "thick": (0.8, 60.0, 50.0, 40.0)}
"""Height (kpc), radial and vertical dispersion and lag of the mean rotation (km/s)."""

# AGAMA 1.0.159 (g++ -O2 -march=native), ActionFinder without interpolation, on 100 orbits of each family over
# 50 radial periods with 501 outputs; measured on one core of an AMD EPYC: other hardware, other orbits.
AGAMA = {"thin": (6.56, 1.4e-3, 2.6e-3), "thick": (6.77, 2.6e-3, 6.9e-3), "halo": (6.87, 5.6e-3, 5.3e-2)}


def family(name: str, pot, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities of n stars of a family, as (n, 3) arrays."""
    rng = np.random.default_rng([seed, FAMILIES.index(name)])
    if name == "halo":
        return _halo(rng, pot, n)
    height, sigma_R, sigma_z, lag = DISCS[name]
    R, phi = rng.uniform(4.0, 12.0, n), rng.uniform(0.0, 2.0 * np.pi, n)
    speed = np.asarray(jax.vmap(lambda R: potential.circular_velocity(pot, R))(jnp.asarray(R)))
    v_R, v_z = rng.normal(0.0, sigma_R, n), rng.normal(0.0, sigma_z, n)
    v_phi = speed - lag + rng.normal(0.0, sigma_R / np.sqrt(2.0), n)
    cos, sin = np.cos(phi), np.sin(phi)
    x = np.stack([R * cos, R * sin, rng.laplace(0.0, height, n)], axis=1)
    return x, np.stack([v_R * cos - v_phi * sin, v_R * sin + v_phi * cos, v_z], axis=1)


def _halo(rng, pot, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Radii log-uniform in 2-40 kpc, 150 km/s on each axis, bound within 150 kpc."""
    direction = rng.normal(size=(8 * n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    x = 2.0 * 20.0 ** rng.random((8 * n, 1)) * direction
    v = rng.normal(0.0, 150.0, (8 * n, 3))
    energy = np.asarray(jax.vmap(pot.Phi)(jnp.asarray(x))) + 0.5 * np.sum(v * v, axis=1)
    kept = energy < float(pot.Phi(jnp.array([150.0, 0.0, 0.0])))
    return x[kept][:n], v[kept][:n]


def orbits(pot, x, v, *, turns: float = 40.0, outputs: int = OUTPUTS) -> tuple[np.ndarray, np.ndarray]:
    """Points (orbits, outputs, 3) along orbits of some `turns` local radial periods."""
    R = jnp.linalg.norm(jnp.asarray(x), axis=1)
    period = 2.0 * np.pi / np.asarray(jax.vmap(lambda R: potential.frequencies(pot, R)[1])(R))
    force = jax.jit(jax.vmap(lambda x: potential.acceleration(pot, x)))

    # All orbits in one system, each in its own unit of time, so that one call integrates them.
    def right_side(_, state):
        x, v = state.reshape(2, -1, 3)
        return np.stack([v * period[:, None], np.asarray(force(x)) * period[:, None]]).ravel()

    start = np.stack([x, v]).ravel()
    times = np.linspace(0.0, turns, outputs)
    scale = np.stack([np.full(x.shape, 1.0), np.full(v.shape, 200.0)]).ravel()
    path = solve_ivp(right_side, (0.0, turns), start, "DOP853", times, rtol=1e-9, atol=1e-9 * scale)
    if not path.success:
        raise RuntimeError(f"orbit integration failed: {path.message}")
    points = np.moveaxis(path.y.reshape(2, -1, 3, outputs), -1, 2)
    return points[0], points[1]


def scatter(J: np.ndarray) -> dict[str, float]:
    """Median and 95th percentile over orbits of std(J)/mean(J_r + J_z), from J (orbits, outputs, 3)."""
    size = np.mean(J[..., 0] + J[..., 1], axis=1)
    relative = np.std(J[..., :2], axis=1) / size[:, None]
    both = np.hypot(relative[:, 0], relative[:, 1])
    named = {"scatter_Jr": relative[:, 0], "scatter_Jz": relative[:, 1], "scatter_both": both}
    return {
        f"{name}_{tag}": float(np.quantile(values, level))
        for name, values in named.items()
        for tag, level in (("median", 0.5), ("p95", 0.95))
    }


def microseconds(f, *args, n: int, repeats: int = REPEATS) -> float:
    """Median time of one call over n stars, us per star."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(f(*args))
        times.append(time.perf_counter() - start)
    return float(np.median(times)) / n * 1e6


def compiled(f, *args) -> tuple[Any, float]:
    """The compiled function and the seconds that tracing and compiling took."""
    start = time.perf_counter()
    program = jax.jit(f)
    jax.block_until_ready(program(*args))
    return program, time.perf_counter() - start


def fudge(pot, x, v, **nodes):
    """Staeckel-fudge actions of a batch of stars; the finder is built inside."""
    return jax.vmap(dynamics.StaeckelFudge(pot, **nodes).actions)(x, v)


def sum_and_gradient(pot, x, v):
    """Sum of all actions and its gradient in the stars and in every parameter of the potential."""
    return jax.value_and_grad(lambda *args: jnp.sum(fudge(*args)), argnums=(0, 1, 2))(pot, x, v)


def oortax_rows(pot, stars, paths) -> list[dict[str, Any]]:
    """Time, scatter and quadrature error of our fudge, family by family."""
    x, v = stars["thin"]
    value, seconds = compiled(fudge, pot, x, v)
    both, seconds_gradient = compiled(sum_and_gradient, pot, x, v)
    fine = jax.jit(lambda pot, x, v: fudge(pot, x, v, n_r=200, n_z=200))
    rows = []
    for name in FAMILIES:
        x, v = stars[name]
        J, J_fine = np.asarray(value(pot, x, v)), np.asarray(fine(pot, x, v))
        error = np.abs(J - J_fine)[:, :2] / np.sum(J_fine[:, :2], axis=1, keepdims=True)
        path_x, path_v = paths[name]
        along = np.asarray(jax.jit(fudge)(pot, path_x.reshape(-1, 3), path_v.reshape(-1, 3)))
        rows.append(
            {
                "method": "oortax StaeckelFudge",
                "family": name,
                "us_per_star": microseconds(value, pot, x, v, n=len(x)),
                "us_per_star_gradient": microseconds(both, pot, x, v, n=len(x)),
                "compile_s": seconds,
                "compile_gradient_s": seconds_gradient,
                **scatter(along.reshape(path_x.shape)),
                "quadrature_error_p99": float(np.nanquantile(np.max(error, axis=1), 0.99)),
                "nonfinite": int(np.sum(~np.isfinite(J[:, 0]))),
            }
        )
    return rows


def galpy_rows(paths, R_0: float = 8.0, v_0: float = 220.0) -> list[dict[str, Any]]:
    """The same for galpy's Staeckel C code; an empty list where galpy is not installed."""
    try:
        from galpy.actionAngle import actionAngleStaeckel, estimateDeltaStaeckel
        from galpy.potential import MWPotential2014
    except ImportError:
        return []

    def actions(R, v_R, v_phi, z, v_z, delta):
        finder = actionAngleStaeckel(pot=MWPotential2014, delta=delta, c=True)
        J_r, L_z, J_z = finder(R, v_R, v_phi, z, v_z)
        return np.stack([J_r, J_z, L_z], axis=-1) * R_0 * v_0

    rows = []
    for name in FAMILIES:
        x, v = paths[name]
        R = np.hypot(x[..., 0], x[..., 1])
        v_R = (x[..., 0] * v[..., 0] + x[..., 1] * v[..., 1]) / R
        v_phi = (x[..., 0] * v[..., 1] - x[..., 1] * v[..., 0]) / R
        args = (R / R_0, v_R / v_0, v_phi / v_0, x[..., 2] / R_0, v[..., 2] / v_0)
        own = [
            float(np.median(estimateDeltaStaeckel(MWPotential2014, r, z, no_median=True)))
            for r, z in zip(args[0], args[3], strict=True)
        ]
        for label, deltas in (("delta = 0.45 R_0", [0.45] * len(R)), ("median delta of each orbit", own)):
            start = time.perf_counter()
            J = np.stack(
                [
                    actions(*(a[i] for a in args), delta)  # one orbit, one delta
                    for i, delta in enumerate(deltas)
                ]
            )
            us = (time.perf_counter() - start) / R.size * 1e6
            rows.append(
                {"method": f"galpy Staeckel C, {label}", "family": name, "us_per_star": us, **scatter(J)}
            )
    return rows


def main() -> list[dict[str, Any]]:
    """All rows: ours, AGAMA's published figures, galpy's if it is installed."""
    ox.enable_x64()
    pot = jax.jit(potential.mw_potential_2014)()
    stars = {name: family(name, pot, BATCH, seed=1) for name in FAMILIES}
    paths = {name: orbits(pot, *family(name, pot, ORBITS)) for name in FAMILIES}
    rows = oortax_rows(pot, stars, paths)
    for name, (us, median, p95) in AGAMA.items():
        quoted = {"scatter_both_median": median, "scatter_both_p95": p95}
        rows.append({"method": "AGAMA 1.0 (quoted)", "family": name, "us_per_star": us, **quoted})
    return rows + galpy_rows(paths)


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table, one column for each key that occurs."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns)]
    for row in rows:
        cells = [row.get(column, "") for column in columns]
        lines.append([f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    print(table(main()))
