"""Moments of f(J) against independently computed ones: what the quadrature and what the fudge leave.

Run `python benchmarks/moments.py` (five minutes). Potential mw_potential_2014; the three DFs and the places,
30 each, of tests/data/df_moments_reference.csv (see README.md there; R from 3 to 23, z to 8 kpc). AGAMA's
Delta: `df.moments` with refine = 2 and our fudge with AGAMA's rule for the focal distance, from closed orbits
in the meridional plane, against quasi-random velocities with AGAMA's fudge and against AGAMA's GalaxyModel
(relative tolerance 1e-3). Own Delta: the fudge as it is. Along orbits: our fudge averaged along the orbit of
each velocity, over 20 radial periods, at ten places for each DF: on the nodes of `velocity_rule`, times the
moments by our fudge with refine = 3 over those on the same nodes; against the reference's moments times its
factors for actions averaged along the orbits of 500 velocities. density, sigma: largest and median relative
difference; chi^2: mean of its square in units of the errors that the reference states (at least 1e-4: each is
the difference of two scramblings, which may vanish by chance). "of 500": the median error of sigma_phi that
500 random velocities leave, by our nodes; stated is that of the density, some 2e-4 for the disc, whose v_phi
has a tail.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys  # noqa: E402  (after the environment is set)
from pathlib import Path  # noqa: E402
from typing import Any, final  # noqa: E402

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import lax  # noqa: E402

import actions  # noqa: E402
import oortax as ox  # noqa: E402
from oortax import df, dynamics, potential  # noqa: E402
from oortax.dynamics.orbit import symplectic_step  # noqa: E402

DATA = Path(__file__).parents[1] / "tests" / "data"
TABLE = DATA / "shell_focal_distance.csv"
DFS = ("QuasiIsothermal", "DoublePowerLaw", "DB96Halo")
# Of the table: radii of circular orbits (kpc), and L_z over that of the circular orbit, which is sin(pi u/2).
RADII = np.geomspace(0.15, 300.0, 28)
CIRCULARITY = np.sin(0.5 * np.pi * np.linspace(0.0, 1.0, 21)).clip(0.01, 0.9995)
# Steps in half a period, and of bisections.
STEPS, HALVINGS = 300, 36
PERIODS, SAMPLES, BATCH, LEAST = 20.0, 401, 48, 1e-4


def returns(pot, R, E, L_z):
    """Radius where an orbit that is launched upwards at R in the plane comes back to it, kpc."""
    v_z = jnp.sqrt(jnp.maximum(2.0 * (E - pot.Phi_Rz(R, 0.0)) - (L_z / R) ** 2, 0.0))
    dt = 2.5 * R / jnp.hypot(v_z, L_z / R) / STEPS
    start = jnp.stack([R, 0.0, 0.0]), jnp.stack([0.0, L_z / R, v_z])

    def step(state):
        now, _, n = state
        return symplectic_step(pot, *now, dt), now, n + 1

    def above(state):
        return ((state[0][0][2] > 0.0) | (state[2] == 0)) & (state[2] < 20 * STEPS)

    last, before, _ = lax.while_loop(above, step, (start, start, 0))
    part = before[0][2] / (before[0][2] - last[0][2])
    for _ in range(3):
        x, v = symplectic_step(pot, *before, part * dt)
        part = part - x[2] / (v[2] * dt)
    x, _ = symplectic_step(pot, *before, part * dt)
    return jnp.hypot(x[0], x[1])


def shell_delta(pot, R_c, k):
    """Delta (kpc) of E of the circular orbit at R_c and of L_z = k L_c(E), by AGAMA's rule.

    R_s^2 (2 (E - Phi) - R_s Phi_R) / (R_s Phi_R - L_z^2/R_s^2) is its square, with R_s where the closed
    orbit in the meridional plane crosses z = 0, as in AGAMA's source (Vasiliev 2019, MNRAS 482, 1525).
    """

    def slope(R):
        return jax.grad(pot.Phi_Rz)(R, 0.0)

    E = pot.Phi_Rz(R_c, 0.0) + 0.5 * R_c * slope(R_c)
    L_z = k * R_c * jnp.sqrt(R_c * slope(R_c))

    def bisected(inside, ends):
        def halve(_, ends):
            middle = 0.5 * (ends[0] + ends[1])
            go = inside(middle)
            return jnp.where(go, middle, ends[0]), jnp.where(go, ends[1], middle)

        return lax.fori_loop(0, HALVINGS, halve, ends)[0]

    def allowed(R):
        return 2.0 * (E - pot.Phi_Rz(R, 0.0)) * R * R > L_z * L_z

    planar = bisected(allowed, (R_c, 1e-4 * R_c)), bisected(allowed, (R_c, 20.0 * R_c))
    R = bisected(lambda R: returns(pot, R, E, L_z) > R, planar)
    square = R * R * (2.0 * (E - pot.Phi_Rz(R, 0.0)) - R * slope(R)) / (R * slope(R) - (L_z / R) ** 2)
    return jnp.sqrt(jnp.maximum(square, LEAST))


@final
class ShellFocalDistance(eqx.Module):
    """Delta^2(E, L_z), linear in the table."""

    E: jax.Array
    log_L_c: jax.Array
    Delta2: jax.Array

    def __init__(self, pot, Delta):
        slope = jax.vmap(lambda R: jax.grad(pot.Phi_Rz)(R, 0.0))(jnp.asarray(RADII))
        self.E = jax.vmap(lambda R: pot.Phi_Rz(R, 0.0))(jnp.asarray(RADII)) + 0.5 * RADII * slope
        self.log_L_c = 0.5 * jnp.log(RADII**3 * slope)
        self.Delta2 = jnp.asarray(Delta) ** 2

    def __call__(self, E, L_z):
        """kpc^2."""
        row = jnp.interp(E, self.E, jnp.arange(float(len(RADII))))
        k = jnp.abs(L_z) * jnp.exp(-jnp.interp(E, self.E, self.log_L_c))
        column = jnp.arcsin(jnp.clip(k, 0.0, 1.0 - 1e-9)) * (2.0 / np.pi) * (len(CIRCULARITY) - 1)
        at = [row[None], column[None]]
        return jax.scipy.ndimage.map_coordinates(self.Delta2, at, order=1, mode="nearest")[0]


@eqx.filter_jit
def table(pot):
    """Delta (kpc) at RADII and CIRCULARITY."""
    by_k = jax.vmap(lambda R, k: shell_delta(pot, R, k), (None, 0))
    return jax.vmap(by_k, (0, None))(jnp.asarray(RADII), jnp.asarray(CIRCULARITY))


@eqx.filter_jit
def moments(f, pot, finder, R, z, refine):
    """(n, 4): density and the three variances at all places."""
    found = lax.map(lambda place: df.moments(f, pot, finder, *place, refine), (R, z))
    variances = jnp.diagonal(found.dispersion, axis1=1, axis2=2)
    return jnp.concatenate([found.density[:, None], variances], axis=1)


@eqx.filter_jit
def here_and_along_orbits(fudge, x, v):
    """J (n, 3) of the fudge at points, n a multiple of BATCH, and averaged along their orbits.

    The fudge's J oscillates about the action in the first order of its error; the mean is off in the second.
    """
    t = np.linspace(0.0, 1.0, SAMPLES)
    weight = np.exp(-0.25 / np.maximum(t * (1.0 - t), 1e-4))
    weight = jnp.asarray(weight / weight.sum())

    def one(star):
        local = fudge.actions_angles_frequencies(*star)
        times = PERIODS * 2.0 * jnp.pi / local.Omega[0] * t
        xs, vs, _ = dynamics.adaptive_orbit(fudge.potential, *star, times, rtol=1e-8, atol=1e-8)
        return local.J, weight @ jax.vmap(fudge.actions)(xs, vs)

    return lax.map(one, (x, v), batch_size=BATCH)


def node_moments(v, weights):
    """(4,): density and variances, and the terms of the variances over all of them, (n, 3)."""
    density = weights.sum()
    mean = np.array([0.0, weights @ v[:, 1] / density, 0.0])
    variances = weights @ (v - mean) ** 2 / density
    return np.concatenate([[density], variances]), (v - mean) ** 2 / variances - 1.0


def along_orbits(f, pot, fudge, R, z):
    """Moments (4,) by averaged actions over those by the fudge; error of 500 velocities in sigma_phi."""
    rule = f.velocity_rule(pot, jnp.asarray(R), jnp.asarray(z))
    v, w = np.asarray(rule.velocities), np.asarray(rule.weights)
    # Alike orbits take alike numbers of steps.
    order = np.argsort(np.sum(v**2, axis=1))
    rows = np.append(order, np.repeat(order[-1:], -len(v) % BATCH))
    x = np.broadcast_to([R, 0.0, z], (len(rows), 3))
    J = [np.empty_like(v), np.empty_like(v)]
    for k, found in enumerate(here_and_along_orbits(fudge, jnp.asarray(x), jnp.asarray(v[rows]))):
        J[k][rows] = found
    here, along = (w * np.exp(np.asarray(jax.vmap(f.log_f)(jnp.asarray(J_)))) for J_ in J)
    (by_fudge, terms), (by_orbits, averaged) = node_moments(v, here), node_moments(v, along)
    ratio = along / np.where(here > 0.0, here, 1.0) * by_fudge[0] / by_orbits[0]
    share = here / here.sum()
    left = np.sqrt(share @ (ratio[:, None] * averaged - terms) ** 2 / 500.0)
    return by_orbits / by_fudge, 0.5 * left[1]


def entry(name: str, actions_: str, against: str, found, expected, errors=None, **more) -> dict[str, Any]:
    """A row, of densities and variances (n, 4)."""
    off = found / expected - 1.0
    off[:, 1:] *= 0.5
    row: dict[str, Any] = {"f": name, "J": actions_, "against": against, "places": len(off)}
    columns = {"density": [0], "sigma_R, sigma_z": [1, 3], "sigma_phi": [2]}
    for what, which in columns.items():
        size = np.abs(off[:, which])
        row[what] = f"{size.max():.1e}, {np.median(size):.1e}"
        if errors is not None:
            chi2 = np.mean((off[:, which] / np.maximum(errors[:, which], LEAST)) ** 2)
            row[f"chi^2 {what}"] = f"{chi2:.1f}"
    return row | more


def columns(rows, density: str, *sigma: str) -> np.ndarray:
    """Density and variances of the reference."""
    return np.stack([rows[density], *(rows[name] ** 2 for name in sigma)], axis=1)


def main() -> list[dict[str, Any]]:
    """All rows."""
    ox.enable_x64()
    pot = eqx.filter_jit(potential.expand)(potential.mw_potential_2014())
    orbits = eqx.filter_jit(dynamics.circular_orbits)(pot)
    own = eqx.filter_jit(dynamics.StaeckelFudge)(pot)
    Delta = np.asarray(table(pot))
    if "table" in sys.argv:
        np.savetxt(TABLE, Delta, fmt="%.4g", delimiter=",")
    np.testing.assert_allclose(np.loadtxt(TABLE, delimiter=","), Delta, rtol=1e-3)
    theirs = eqx.tree_at(lambda fudge: fudge.focal, own, ShellFocalDistance(pot, Delta))
    disc = df.QuasiIsothermal(
        R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3, Sigma_0=8e8, c_r=1.0, c_z=0.25
    )  # fmt: skip
    spheroid = df.DoublePowerLaw(
        norm=1e10, J_0=500.0, slope_in=1.5, slope_out=4.3, steepness=1.2, c_r_in=1.3, c_z_in=0.9, c_r_out=1.1,
        c_z_out=0.95, rotation=0.3, J_phi0=300.0,
    )  # fmt: skip
    halo = df.DB96Halo(a=1.2, b=1.2, gamma=1.8, beta=3.5, A_0=500.0)
    reference = np.genfromtxt(DATA / "df_moments_reference.csv", delimiter=",", names=True)
    rows: list[dict[str, Any]] = []
    for number, (name, f) in enumerate(zip(DFS, (disc.bind(orbits), spheroid, halo), strict=True)):
        at = reference[reference["df"] == number]
        R, z = jnp.asarray(at["R"]), jnp.asarray(at["z"])
        quasi_random = columns(at, "rho", "sigma_R", "sigma_phi", "sigma_z")
        model = columns(at, "rho_agama", "sigR_agama", "sigphi_agama", "sigz_agama")
        errors = np.stack([at["rho_err_rel"], *[at["sigma_err_rel"]] * 3], axis=1)
        for which, finder in (("AGAMA's Delta", theirs), ("own Delta", own)):
            found = np.asarray(moments(f, pot, finder, R, z, 2.0))
            rows.append(entry(name, which, "quasi-random", found, quasi_random, errors))
            rows.append(entry(name, which, "GalaxyModel", found, model))
        some = np.isfinite(at["corr_rho"])
        factors = np.stack([at[f"corr_{what}"] for what in ("rho", "varR", "varphi", "varz")], axis=1)[some]
        of_factors = at["corr_rho_err"][some, None]
        # Half the errors of variances, twice those of the density.
        errors = np.hypot(errors[some], of_factors)
        here = jnp.asarray(at["R"][some]), jnp.asarray(at["z"][some])
        pairs = [along_orbits(f, pot, own, *place) for place in zip(*map(np.asarray, here), strict=True)]
        found = np.asarray(moments(f, pot, own, *here, 3.0)) * np.array([ratio for ratio, _ in pairs])
        of_500 = f"{np.median([left for _, left in pairs]):.1e}"
        expected = quasi_random[some] * factors
        rows.append(entry(name, "along orbits", "500 orbits", found, expected, errors, **{"of 500": of_500}))
    return rows


if __name__ == "__main__":
    print(actions.table(main()))
