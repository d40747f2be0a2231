"""Self-consistent models: seconds per round, rounds, and the error of the potential.

Run `python benchmarks/self_consistency.py` (four minutes). `df.self_consistent` on one thread with tol =
1e-3 and its default nodes over velocities. Isochrone and Hernquist's sphere (M = 1e11 Msun, b = 3 and a =
2 kpc, exact isotropic f) begin in the potentials of b = 2 and a = 1.5, with `dynamics.SphericalFinder`;
grids of 20 radii from 0.01 to 400 kpc times 4 latitudes. Phi: its largest relative error at six places
from 0.1 to 60 kpc. Galaxy: a tapered exponential disc (norm = 2.5e10 Msun, J_phi0 = 700, J_r0 = 80, J_z0
= 20 kpc km/s) and a rotating double-power-law bulge (2.1e10 Msun) in a fixed NFW halo, from a Miyamoto-
Nagai disc and a Hernquist bulge, with the Staeckel fudge; coarse: 14 radii from 0.1 (bulge: 12 from 0.03)
to 60 kpc times 9 (6) latitudes; fine: 24 from 0.05 (24 from 0.03) times 12 (8). There Phi is v_c at 0.5,
2, 4, 8 and 20 kpc of the coarse one against the fine one. Mass: that of the densities over f's, less one,
of each component. Rounds: evaluations of all densities, three in the first potential included where there
is a disc. Again: rounds from what was found, with the first component's mass up by 2 %, and these are
what is timed: "first s" is the first call, compilation included. Gradient (of the isochrone): seconds of
v_c(8 kpc) and its derivatives in three parameters, after compilation, by `df.self_consistent_near`
without further rounds, and seconds of the first call less these.
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
from oortax import df, dynamics, potential  # noqa: E402

PLACES = ((0.1, 0.0), (0.0, 0.4), (2.0, 0.0), (0.0, 6.0), (20.0, 10.0), (60.0, 0.0))
RADII = (0.5, 2.0, 4.0, 8.0, 20.0)
TOL = 1e-3


def seconds(program) -> tuple[Any, float]:
    """What it returns, and how long that takes."""
    start = time.perf_counter()
    found = jax.block_until_ready(program())
    return found, time.perf_counter() - start


def row(name: str, components, changed, start, external, grid, error, finder, slopes: bool) -> dict[str, Any]:
    """One model, and again from there."""

    def find(components, start):
        return df.self_consistent(
            components, start, external, grid=grid, finder=finder, tol=TOL, progress=False
        )

    found, first = seconds(lambda: find(components, start))
    again, took = seconds(lambda: find(changed, found))
    masses = {part: float(mass / components[part].mass()) - 1.0 for part, mass in found.masses.items()}
    entry = {
        "model": name, "first s": first, "rounds": found.iterations, "change": found.change,
        "Phi": error(found), "mass": ", ".join(f"{miss:.1e}" for miss in masses.values()),
        "again": again.iterations, "s per round": took / again.iterations,
    }  # fmt: skip
    return entry | (gradient(found, components, external) if slopes else {})


def gradient(found, components, external) -> dict[str, float]:
    """v_c(8 kpc) with derivatives in the parameters of the first component."""
    name = next(iter(components))
    paths = list(ox.params.parameters(components[name]))[:3]

    @jax.jit
    def slopes(values):
        def v_c(values):
            part = ox.params.replace(components[name], dict(zip(paths, values, strict=True)))
            near = df.self_consistent_near(found, components | {name: part}, external, rounds=0)
            return potential.circular_velocity(near, 8.0)

        return jax.value_and_grad(v_c)(values)

    values = [jnp.asarray(ox.params.get(components[name], path)) for path in paths]
    _, first = seconds(lambda: slopes(values))
    _, took = seconds(lambda: slopes(values))
    return {"gradient s": took, "its compile s": first - took}


def sphere_error(exact):
    """Of Phi, against the exact one."""

    def largest(found) -> float:
        R, z = jnp.asarray(PLACES).T
        at = eqx.filter_jit(jax.vmap(lambda pot, R, z: pot.Phi_Rz(R, z), (None, 0, 0)))
        return float(np.max(np.abs(at(potential.expand(found.potential), R, z) / at(exact, R, z) - 1.0)))

    return largest


@eqx.filter_jit
def speeds(pot):
    """v_c at RADII."""
    return jax.vmap(lambda R: potential.circular_velocity(pot, R))(jnp.asarray(RADII))


def galaxy(norm: float) -> dict[str, df.AbstractDF]:
    """A disc and a bulge."""
    disc = df.TaperedExponential(
        norm=norm, J_phi0=700.0, J_r0=80.0, J_z0=20.0, J_v0=200.0, J_d0=20.0, J_taper=50.0, J_trans=30.0
    )
    bulge = df.DoublePowerLaw(
        norm=8e10, J_0=500.0, slope_in=1.5, slope_out=5.0, rotation=0.5, J_phi0=100.0
    )  # fmt: skip
    return {"disc": disc, "bulge": bulge}


def main() -> list[dict[str, Any]]:
    """All rows."""
    ox.enable_x64()
    ball = df.DensityGrid(n_r=20, n_theta=4, r_min=0.01, r_max=400.0)
    rows = []
    for name, f, pot, start in (
        ("isochrone", lambda M: df.IsochroneSphere(M=M, b=3.0), potential.Isochrone(M=1e11, b=3.0),
         potential.Isochrone(M=1e11, b=2.0)),
        ("Hernquist", lambda M: df.HernquistSphere(M=M, a=2.0), potential.Hernquist(M=1e11, a=2.0),
         potential.Hernquist(M=1e11, a=1.5)),
    ):  # fmt: skip
        before, after = {"stars": f(1e11)}, {"stars": f(1.02e11)}
        error, finder = sphere_error(pot), dynamics.SphericalFinder
        rows.append(row(name, before, after, start, None, ball, error, finder, name == "isochrone"))
    # Made here: float64 is switched on by now.
    halo = potential.NFW(rho_s=8.5e6, r_s=16.0)
    start = potential.Sum(
        disc=potential.MiyamotoNagai(M=2.5e10, a=3.0, b=0.5),
        bulge=potential.Hernquist(M=2e10, a=1.0),
        halo=halo,
    )
    best: list[jax.Array] = []

    def against_best(found) -> float:
        best.append(speeds(found.potential))
        return float(jnp.max(jnp.abs(best[-1] / best[0] - 1.0)))

    fine = {"disc": df.DensityGrid(24, 12, 0.05, 60.0), "bulge": df.DensityGrid(24, 8, 0.03, 60.0)}
    coarse = {"disc": df.DensityGrid(14, 9, 0.1, 60.0), "bulge": df.DensityGrid(12, 6, 0.03, 60.0)}
    for name, grid in (("galaxy, fine", fine), ("galaxy, coarse", coarse)):
        before, after, finder = galaxy(2.5e10), galaxy(2.55e10), dynamics.StaeckelFudge
        rows.append(row(name, before, after, start, halo, grid, against_best, finder, False))
    rows[-2]["Phi"] = ""
    return rows


if __name__ == "__main__":
    print(actions.table(main()))
