"""Distribution functions: nanoseconds per star, moments at 100 places, masses; accuracy beside speed.

Run `python benchmarks/dfs.py` (three minutes). Potential mw_potential_2014, one thread, chunks of 4096;
medians of repeats, compilation apart. ns: ln f at 98,304 given actions, thin-disc-like (J_r, J_z
exponential with 30 and 10 kpc km/s, J_phi of 1800 +- 300) or halo-like (400, 300, 0 +- 900); gradient:
with the derivatives in J. Those of f(J(x,v)): the fudge included, at stars of a thin disc
(`benchmarks/actions.py`). Moments: density, <v_phi> and the dispersion tensor at 100 places (R from 4 to
12 kpc, z to 2 kpc) with the fudge, of a quasi-isothermal disc (R_d = 2.6 kpc, sigma_R, sigma_z = 35, 20
km/s at 8 kpc, R_sigma = 5.2 kpc) plus a double power law (J_0 = 3000 kpc km/s, slopes 1.3 and 4, cut-off
3e4) of 6 % of its mass; errors: the largest, and the median, difference of the density and of sigma_R
from those of twice the nodes per axis. Mass: seconds of f.mass(), binding included, and its error
against 97^3 double-exponential nodes over actions. The time of a self-consistent round is in
`self_consistency`, those of draws in `draws`. galpy (if it is importable): quasiisothermaldf with hr =
1/3, sr = 35/220, sz = 20/220, hsr = hsz = 0.65 in its units, Staeckel in C with delta = 0.45; its moments
are density, sigma_R^2, sigma_z^2 and sigma_T^2 with their default orders at three places, times 100/3,
errors those against Gauss-Legendre rules of order 30. AGAMA's figures are those of its version 1.0.159
(g++ -O2 -march=native) on one core of an AMD EPYC; of its moments with and without interpolated actions
40.5 s and 7 s, which differ by 1.1 % in the median.
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

N, CHUNK, REPEATS = 98_304, 4096, 3
AGAMA = [
    {"what": "f(J)", "f": "QuasiIsothermal, AGAMA (quoted)", "ns": 218.0, "ns, gradient": 268.0},
    {"what": "f(J)", "f": "DoublePowerLaw, AGAMA (quoted)", "ns": 74.0, "ns, gradient": 90.0},
    {"what": "f(J(x,v))", "f": "disc + halo, AGAMA (quoted)", "ns": 6250.0},
    {"what": "f(J(x,v))", "f": "the same, interpolated (quoted)", "ns": 1030.0},
    {"what": "moments, 100 places", "f": "disc + halo, AGAMA (quoted)", "s": 40.5},
    {"what": "moments, 100 places", "f": "the same, interpolated (quoted)", "s": 7.0,
     "error of density": "1.1e-02 in the median"},
    {"what": "mass", "f": "QuasiIsothermal, AGAMA (quoted)", "s": 0.103, "error of mass": -4e-7},
    {"what": "mass", "f": "DoublePowerLaw, AGAMA (quoted)", "s": 0.0035, "error of mass": -8e-9},
]  # fmt: skip


def median_seconds(program, *arguments, repeats: int = REPEATS) -> float:
    """After a first call that compiles."""
    jax.block_until_ready(program(*arguments))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def stars_of(rng, kind: str) -> jax.Array:
    """Actions (N, 3)."""
    J_r, J_z, J_phi, spread = (30.0, 10.0, 1800.0, 300.0) if kind == "disc" else (400.0, 300.0, 0.0, 900.0)
    J = [rng.exponential(J_r, N), rng.exponential(J_z, N), rng.normal(J_phi, spread, N)]
    return jnp.asarray(np.stack(J, axis=1))


@eqx.filter_jit
def log_f(f, J):
    """ln f at (N, 3) actions."""
    return jax.lax.map(jax.vmap(f.log_f), J.reshape(-1, CHUNK, 3))


@eqx.filter_jit
def log_f_and_gradient(f, J):
    """With the derivatives in J."""
    return jax.lax.map(jax.vmap(jax.value_and_grad(f.log_f)), J.reshape(-1, CHUNK, 3))


@eqx.filter_jit
def log_f_of_stars(f, finder, x, v):
    """ln f at positions and velocities (n, 3), n a multiple of CHUNK."""
    return jax.lax.map(
        jax.vmap(lambda star: f.log_f(finder.actions(*star))),
        (x.reshape(-1, CHUNK, 3), v.reshape(-1, CHUNK, 3)),
    )


@eqx.filter_jit
def moments(f, pot, finder, R, z, refine):
    """Moments at all places."""
    return jax.lax.map(lambda place: df.moments(f, pot, finder, *place, refine), (R, z))


@eqx.filter_jit
def mass(f, orbits):
    """Of a DF that is bound first."""
    return f.bind(orbits).mass()


def brute_force(f, step: float = 0.16) -> float:
    """(2 pi)^3 times the integral of f over both senses of rotation, by J = exp(t - exp(-t))."""
    t = np.arange(-4.0, 11.5, step)
    J = np.exp(t - np.exp(-t))
    weight = step * J * (1.0 + np.exp(-t))
    grid = np.stack(np.meshgrid(J, J, J, indexing="ij"), axis=-1).reshape(-1, 3)
    pad = -len(grid) % CHUNK
    total = 0.0
    for sign in (1.0, -1.0):
        J = np.concatenate([grid, np.ones((pad, 3))]) * np.array([1.0, 1.0, sign])
        cube = np.exp(np.asarray(log_f(f, jnp.asarray(J))).ravel()[: len(grid)]).reshape((len(t),) * 3)
        total += np.einsum("ijk,i,j,k", cube, weight, weight, weight)
    return (2.0 * np.pi) ** 3 * total


def main() -> list[dict[str, Any]]:
    """All rows."""
    ox.enable_x64()
    rng, pot = np.random.default_rng(1), potential.mw_potential_2014()
    orbits = eqx.filter_jit(dynamics.circular_orbits)(pot)
    finder = eqx.filter_jit(dynamics.StaeckelFudge)(pot)
    nu = float(potential.frequencies(pot, 8.0).nu)
    thin = df.QuasiIsothermal(
        R_d=2.6, sigma_r0=35.0 * np.exp(8.0 / 5.2), R_sigma=5.2, H_d=20.0 / (np.sqrt(2.0) * nu), Sigma_0=9e8
    )
    spheroid = df.DoublePowerLaw(
        norm=1e10, J_0=3000.0, slope_in=1.3, slope_out=4.0, J_cut=3e4, cut_strength=2.0
    )
    kinds = {
        "disc": (
            thin,
            df.DB96Disc(M_d=4e10, R_d=2.8, sigma_r0=140.0, sigma_l0=75.0),
            df.TaperedExponential(
                norm=2.5e10, J_phi0=700.0, J_r0=80.0, J_z0=20.0, J_v0=200.0, J_d0=20.0, J_taper=50.0,
                J_trans=30.0,
            ),
        ),
        "halo": (
            spheroid,
            df.DB96Halo(a=1.2, b=1.2, gamma=1.8, beta=3.5, A_0=500.0),
            df.IsochroneSphere(M=1e11, b=3.0),
            df.HernquistSphere(M=1e11, a=2.0),
        ),
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    for kind, dfs in kinds.items():
        J = stars_of(rng, kind)
        for f in dfs:
            bound = eqx.filter_jit(lambda f: f.bind(orbits))(f)
            each = [1e9 / N * median_seconds(program, bound, J) for program in (log_f, log_f_and_gradient)]
            rows.append({"what": "f(J)", "f": type(f).__name__, "ns": each[0], "ns, gradient": each[1]})
    both = eqx.filter_jit(lambda f: f.bind(orbits))(
        df.Mixture({"disc": thin, "halo": spheroid}, {"disc": 3.4e10, "halo": 2e9})
    )
    x, v = (jnp.asarray(part) for part in actions.family("thin", pot, 4 * CHUNK))
    took = median_seconds(log_f_of_stars, both, finder, x, v)
    rows.append({"what": "f(J(x,v))", "f": "disc + halo", "ns": 1e9 * took / len(x)})
    R, z = (part.ravel() for part in np.meshgrid(np.linspace(4.0, 12.0, 10), np.linspace(0.05, 2.0, 10)))
    places = jnp.asarray(R), jnp.asarray(z)
    found, best = (moments(both, pot, finder, *places, refine) for refine in (1.0, 2.0))
    took = median_seconds(moments, both, pot, finder, *places, 1.0, repeats=3)
    errors = {
        "error of density": found.density / best.density - 1.0,
        "error of sigma_R": jnp.sqrt(found.dispersion[:, 0, 0] / best.dispersion[:, 0, 0]) - 1.0,
    }
    rows.append(
        {"what": "moments, 100 places", "f": "disc + halo", "s": took}
        | {name: f"{np.max(np.abs(e)):.1e}, {np.median(np.abs(e)):.1e}" for name, e in errors.items()}
    )
    for f in (thin, spheroid):
        bound = eqx.filter_jit(lambda f: f.bind(orbits))(f)
        rows.append({
            "what": "mass", "f": type(f).__name__, "s": median_seconds(mass, f, orbits),
            "error of mass": float(mass(f, orbits)) / brute_force(bound) - 1.0,
        })  # fmt: skip
    return rows + galpy_rows() + AGAMA


def galpy_rows() -> list[dict[str, Any]]:
    """galpy's quasi-isothermal disc; none where it is not installed."""
    try:
        from galpy.actionAngle import actionAngleStaeckel
        from galpy.df import quasiisothermaldf
        from galpy.potential import MWPotential2014
    except ImportError:
        return []
    finder = actionAngleStaeckel(pot=MWPotential2014, delta=0.45, c=True)
    scales = 1.0 / 3.0, 35.0 / 220.0, 20.0 / 220.0, 0.65, 0.65
    disc = quasiisothermaldf(*scales, pot=MWPotential2014, aA=finder, cutcounter=True)
    rng, n = np.random.default_rng(2), 2000
    R, z = rng.uniform(0.5, 1.5, n), rng.laplace(0.0, 0.03, n)
    v = rng.normal(0.0, [[0.15], [0.1], [0.08]], (3, n))
    start = time.perf_counter()
    disc(R, v[0], 1.0 + v[1], z, v[2], log=True)
    rows: list[dict[str, Any]] = [
        {"what": "f(J(x,v))", "f": "galpy's disc", "ns": 1e9 * (time.perf_counter() - start) / n}
    ]
    places = ((0.6, 0.02), (1.0, 0.05), (1.4, 0.15))
    methods = (disc.density, disc.sigmaR2, disc.sigmaz2, disc.sigmaT2)
    start = time.perf_counter()
    found = [[float(method(*place)) for method in methods] for place in places]
    took = time.perf_counter() - start
    best = [[float(method(*place, ngl=30)) for method in methods[:2]] for place in places]
    density, variance = np.abs(np.array(found)[:, :2] / np.array(best) - 1.0).T
    rows.append({
        "what": "moments, 100 places", "f": "galpy's disc", "s": took * 100.0 / len(places),
        "error of density": f"{density.max():.1e}, {np.median(density):.1e}",
        "error of sigma_R": f"{0.5 * variance.max():.1e}, {0.5 * np.median(variance):.1e}",
    })  # fmt: skip
    return rows


if __name__ == "__main__":
    print(actions.table(main()))
