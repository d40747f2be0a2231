"""A warm disc's f(J) by orbits with weights, in the manner of Schwarzschild, and by tori: what tori save.

Run `python benchmarks/orbit_library.py`. The model is that of benchmarks/surface_density.py, f(J) of unit
mass in mw_potential_2014. Its mass and velocities in cells of R and |z| (1 kpc by 0.3 kpc) are those of 8192
tori. Orbits are launched on a grid of energy, L_z and I_3, prograde, integrated for 100 radial periods, and
weighted by non-negative least squares to the masses, or to these and velocity moments. "tori": J drawn from
f, 64 angles each, another seed. Errors: rms over cells with 0.25 % of the mass and more, of the mass and of
the dispersions relative, of the mean v_phi over 220 km/s; "numbers" are those that each orbit or torus is
kept by. One thread, compilation left out.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import time  # noqa: E402  (after the environment is set)
from typing import Any  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import oortax as ox  # noqa: E402
import surface_density  # noqa: E402
from oortax import dynamics  # noqa: E402

R_EDGES, Z_EDGES = jnp.linspace(3.0, 14.0, 12), jnp.linspace(0.0, 3.0, 11)
GRID = (np.linspace(3.5, 14.0, 24), np.linspace(0.55, 0.99, 8), (np.arange(8) + 0.5) ** 2 / 64.0)
ANGLES = 64


def by_tori(model, n: int, seed: int) -> tuple[dynamics.CellMoments, float, int]:
    """The model in cells from n tori, prograde; seconds; numbers of a torus."""
    rng = np.random.default_rng(seed)
    J = np.abs(model.draw(rng, n))
    begin = time.perf_counter()
    tori = dynamics.fit_tori(model.potential, J, tol=1e-3, n_modes=(22, 45), progress=False)
    seconds = time.perf_counter() - begin
    theta = jnp.asarray(rng.uniform(0.0, 2.0 * np.pi, (n, ANGLES, 3)))
    points = jax.jit(
        lambda tori, theta: jax.vmap(jax.vmap(dynamics.Torus.phase_point, (None, 0)))(tori, theta)
    )
    x, v = (part.reshape(-1, 3) for part in points(tori, theta))
    good = jnp.isfinite(x[:, 0])
    weight = jnp.where(good, 1.0 / jnp.sum(good), 0.0)
    cells = dynamics.points_in_cells(jnp.nan_to_num(x), jnp.nan_to_num(v), weight, R_EDGES, Z_EDGES)
    numbers = sum(leaf[0].size for leaf in jax.tree.leaves(tori))
    return cells, seconds, numbers


def errors(cells: dynamics.CellMoments, target: dynamics.CellMoments) -> dict[str, float]:
    """rms over full cells."""
    full = np.asarray(target.mass) > 0.0025 * float(jnp.sum(target.mass))
    rms = lambda off: float(np.sqrt(np.mean(np.asarray(off)[full] ** 2)))  # noqa: E731
    sigma = np.asarray(cells.dispersions / target.dispersions) - 1.0
    found = {"mass": rms(cells.mass / target.mass - 1.0)}
    found |= {name: rms(sigma[..., i]) for i, name in enumerate(("sigma_R", "sigma_z", "sigma_phi"))}
    return found | {"v_phi": rms((cells.means[..., 2] - target.means[..., 2]) / 220.0)}


def main() -> list[dict[str, Any]]:
    """All rows."""
    ox.enable_x64()
    model = surface_density.truth()
    pot = model.potential
    target, *_ = by_tori(model, 8192, 0)
    x, v = dynamics.launch_orbits(pot, *GRID)
    cells = {"R_edges": R_EDGES, "z_edges": Z_EDGES}
    dynamics.build_orbit_library(pot, x[:64], v[:64], **cells)
    begin = time.perf_counter()
    library = dynamics.build_orbit_library(pot, x, v, **cells)
    seconds = time.perf_counter() - begin
    unmixed = np.quantile(np.asarray(library.unmixed), [0.5, 0.9])
    print(f"{len(x)} orbits, {seconds:.0f} s, unmixed {unmixed}", flush=True)
    rows: list[dict[str, Any]] = []
    size = int(library.cells.sums[0].size)
    for label, options in (
        ("mass", {}),
        ("mass, smooth", {"smooth": 1e-4}),
        ("and v_R2, v_z2, v_phi, v_phi2", {"moments": ("v_R2", "v_z2", "v_phi", "v_phi2")}),
    ):
        begin = time.perf_counter()
        fit = dynamics.reweight(library, target, **options)
        taken = time.perf_counter() - begin
        rows.append(
            {"of": f"orbits, {label}", "number": len(x), "used": fit.used, "numbers": size}
            | {"s": seconds, "s weights": taken}
            | errors(fit.cells, target)
        )
        print(rows[-1], flush=True)
    for n in (256, 1024):
        by_tori(model, n, 1)
        cells_of, seconds, numbers = by_tori(model, n, 1)
        rows.append({"of": "tori", "number": n, "used": n, "numbers": numbers, "s": seconds})
        rows[-1] |= errors(cells_of, target)
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    main()
