"""Action finders, one row each: microseconds per star beside the scatter of J along orbits.

Run `python benchmarks/finders.py` (half an hour, most of it fits of tori). Scatter: the standard deviation of
J_r and J_z along an orbit, over the mean of J_r + J_z; the root of the sum of squares, median over a family
of orbits. "tot" is that of J_r + J_z alone. Families are those of benchmarks/actions.py, in
mw_potential_2014 (1000 orbits each, 48 points of 40 radial periods); the four orbits are Sanders & Binney's
(2016). Orbits that leave a finder's range or have no actions there count with those that it has; "missing"
is the share of points without. Microseconds on one thread, medians of repeats without compilation, of thick
disc stars, of halo stars for the library of halo tori: actions; with angles and frequencies; actions with the
derivative of their sum in every parameter of the potential (tori: from the pilot's, see `TorusFinder`). The
pilot libraries hold the tori of the two disc families, and of halo and stream; "build s" is their fit, with
compilation. galpy: its Staeckel C code. AGAMA: quoted from the project's own measurements on another machine.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time  # noqa: E402  (after the environment is set)
from typing import Any  # noqa: E402

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import actions  # noqa: E402
import four_orbits  # noqa: E402
import oortax as ox  # noqa: E402
from oortax import dynamics, potential  # noqa: E402

ORBITS, OUTPUTS, BATCH, STARS = 1000, 48, 2048, 8192
TORI = {
    "disc": {"tol": 3e-5, "n_modes": 45, "max_tori": 12000},
    "halo": {"tol": 3e-4, "n_modes": 45, "max_tori": 12000},
}
LIBRARY = {"thin": "disc", "thick": "disc", "halo": "halo", "stream": "halo"}


def _all(method):
    """Of many stars, some at a time."""
    return eqx.filter_jit(
        lambda finder, x, v: jax.lax.map(lambda star: method(finder, *star), (x, v), batch_size=BATCH)
    )


ACTIONS = _all(lambda finder, x, v: finder.actions(x, v))
ANGLES = _all(lambda finder, x, v: finder.actions_angles_frequencies(x, v))


@eqx.filter_jit
def _gradient(make, pot, x, v):
    def total(pot):
        finder = make(pot)
        J = jax.lax.map(lambda star: finder.actions(*star), (x, v), batch_size=BATCH)
        return jnp.sum(jnp.where(jnp.isfinite(J), J, 0.0))

    return eqx.filter_value_and_grad(total)(pot)


def scatter(J: np.ndarray) -> tuple[float, float, float]:
    """Median scatter of both actions and of their sum, and the share of points without."""
    good = np.isfinite(J[..., 0]).all(axis=1)
    missing = float(np.mean(~np.isfinite(J[..., 0])))
    if not good.any():
        return np.nan, np.nan, missing
    size = np.mean(J[good, :, 0] + J[good, :, 1], axis=1)
    both = np.hypot(*np.std(J[good][..., :2], axis=1).T) / size
    return (
        float(np.median(both)),
        float(np.median(np.std(J[good, :, 0] + J[good, :, 1], axis=1) / size)),
        missing,
    )


def row(name: str, makers: dict[str, Any], pot, paths, timed: str, angles: bool = True) -> dict[str, Any]:
    """One finder: `makers` by library, or one for all under ""."""
    entry: dict[str, Any] = {"finder": name}
    built = {key: eqx.filter_jit(lambda make, pot: make(pot))(make, pot) for key, make in makers.items()}
    x, v = (jnp.asarray(a) for a in actions.family(timed, pot, STARS, seed=1))
    key = LIBRARY[timed] if LIBRARY[timed] in makers else ""
    for column, f, args in (
        ("us", ACTIONS, (built[key], x, v)),
        ("us angles", ANGLES, (built[key], x, v)),
        ("us gradient", _gradient, (makers[key], pot, x, v)),
    ):
        if column != "us angles" or angles:
            jax.block_until_ready(f(*args))
            entry[column] = actions.microseconds(f, *args, n=STARS, repeats=5)
    missing = []
    for family, (path_x, path_v) in paths.items():
        key = LIBRARY[family.split()[-1]] if LIBRARY[family.split()[-1]] in makers else ""
        J = np.asarray(ACTIONS(built[key], path_x.reshape(-1, 3), path_v.reshape(-1, 3)))
        both, total, lost = scatter(J.reshape(path_x.shape))
        entry[family] = f"{both:.1e}" if "orbit" in family else f"{both:.1e} (tot {total:.1e})"
        missing.append(lost)
    entry["missing %"] = 100.0 * max(missing)
    return entry


def all_paths(pot) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Points along the orbits of each family, and along the four orbits."""
    found = {}
    for name in actions.FAMILIES:
        start = actions.family(name, pot, ORBITS)
        found[name] = actions.orbits(pot, *start, outputs=OUTPUTS)
    for name, (x, v, *_) in four_orbits.ORBITS.items():
        found[f"orbit {name}"] = actions.orbits(pot, np.array([x], float), np.array([v], float), outputs=240)
    return found


def libraries(pot, paths) -> tuple[dict[str, Any], float]:
    """Pilots for disc and halo, and the seconds of both."""
    start = time.perf_counter()
    found = {}
    for name, families in (("disc", ("thin", "thick")), ("halo", ("halo", "orbit stream"))):
        x, v = (np.concatenate([paths[f][i].reshape(-1, 3)[::4] for f in families]) for i in (0, 1))
        found[name] = dynamics.pilot_tori(pot, x, v, progress=False, **TORI[name])
    return found, time.perf_counter() - start


def main() -> list[dict[str, Any]]:
    """All rows."""
    ox.enable_x64()
    rows: list[dict[str, Any]] = []
    pot = eqx.filter_jit(potential.mw_potential_2014)()
    paths = all_paths(pot)
    for name, make in dynamics.FINDERS.items():
        rows.append(row(name, {"": make}, pot, paths, "thick"))
    pilots, seconds = libraries(pot, paths)
    rows.append(row("TorusFinder, disc", pilots, pot, paths, "thick") | {"build s": seconds})
    rows.append(row("TorusFinder, halo", pilots, pot, paths, "halo"))
    for entry in actions.galpy_rows({name: paths[name] for name in actions.FAMILIES}):
        if "own" in entry["method"] or "median" in entry["method"]:
            name = entry["family"]
            if not rows[-1]["finder"].startswith("galpy"):
                rows.append({"finder": "galpy Staeckel C", "us": entry["us_per_star"]})
            rows[-1][name] = f"{entry['scatter_both_median']:.1e}"
    quoted = {name: f"{median:.1e}" for name, (_, median, _) in actions.AGAMA.items()}
    rows.append({"finder": "AGAMA fudge (quoted)", "us": 6.6, "us angles": 24.0} | quoted)
    rows.append({"finder": "AGAMA interpolated (quoted)", "us": 0.75})
    return rows


if __name__ == "__main__":
    print(actions.table(main()))
