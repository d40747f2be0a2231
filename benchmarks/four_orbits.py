"""Sanders & Binney's four orbits: their tori against integrations of 50 radial periods.

Run `python benchmarks/four_orbits.py` (ten minutes). The orbits of Sanders & Binney (2016, MNRAS 457, 2107,
section 4) in Piffl et al.'s (2014) potential. J are those of their surfaces of section (integrated with
DOP853 at 1e-12), without torus or fudge; tori are fitted to them with four numbers of terms. The residual
is the rms of H over angles that the fit has not seen, over Omega_r J_r + Omega_z J_z. "J there": |dJ|/(J_r +
J_z) of `Torus.angles_actions` at the published point. "dtheta", in rad, and "dJ", over J_r + J_z: |theta -
theta_0 - Omega t| and |J - J_0| at most, along the integrated orbits of eight points of the torus for 50
radial periods; median and largest of the eight. ms: one torus of 16 in a batch, one thread, without
compilation. AGAMA's mapper in the same potential (the project's own measurements on another machine, tol =
0.003): 2.7, 7.8, 20 and 6.8 ms.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from typing import Any  # noqa: E402  (after the environment is set)

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import oortax as ox  # noqa: E402
from oortax import dynamics, potential  # noqa: E402
from tori import drifts, seconds_of  # noqa: E402

# x (kpc), v (km/s), J_r, J_z (kpc km/s).
ORBITS = {
    "thin": ((8.29, 0.1, 0.1), (30.22, 211.1, 19.22), 29.3716, 2.9153),
    "thick": ((8.29, 0.1, 0.1), (50.22, 187.1, 54.22), 75.9416, 29.2606),
    "halo": ((8.29, 0.1, 0.1), (100.22, 109.1, 101.22), 299.727, 163.119),
    "stream": ((26.0, 0.1, 0.1), (0.1, 141.8, 83.1), 317.096, 558.087),
}
TERMS, STARTS = (22, 45, 76, 162, 280), 8


def pair(values: np.ndarray) -> str:
    """Median and largest."""
    return f"{np.median(values):.2g}, {np.max(values):.2g}"


def main() -> list[dict[str, Any]]:
    """A row for each orbit and number of terms."""
    ox.enable_x64()
    pot = potential.expand(potential.piffl_2014())
    x, v = (jnp.array([orbit[k] for orbit in ORBITS.values()]) for k in (0, 1))
    J = np.array([(J_r, J_z, x[0] * v[1] - x[1] * v[0]) for x, v, J_r, J_z in ORBITS.values()])
    at = eqx.filter_jit(jax.vmap(lambda torus, x, v: torus.angles_actions(x, v)[1]))
    entries = []
    for terms in TERMS:

        def fit(J, terms=terms):
            return dynamics.fit_tori(pot, J, tol=1.0, n_modes=(terms,), batch_size=16, progress=False)

        tori = fit(J)
        there = np.abs(np.asarray(at(tori, x, v)) - J).max(axis=1) / J[:, :2].sum(axis=1)
        off, moved = (a.reshape(len(J), STARTS) for a in drifts(pot, fit(np.repeat(J, STARTS, axis=0))))
        for i, name in enumerate(ORBITS):
            entries.append({
                "orbit": name,
                "J": ", ".join(f"{component:.2f}" for component in J[i]),
                "terms": terms,
                "residual": float(tori.residual[i]),
                "J there": there[i],
                "dtheta": pair(off[i]),
                "dJ": pair(moved[i]),
                "ms": 1e3 * seconds_of(fit, np.repeat(J[i : i + 1], 16, axis=0)) / 16.0,
            })  # fmt: skip
    return entries


if __name__ == "__main__":
    for entry in main():
        print(", ".join(f"{name}: {item}" for name, item in entry.items()), flush=True)
