"""Action finders, one row each: microseconds per star beside the scatter of J along orbits.

Run `python benchmarks/finders.py` (long, most of it fits of tori). Scatter: the standard deviation of
J_r and J_z along an orbit, over the mean of J_r + J_z; the root of the sum of squares, median over a family
of orbits. "tot" is that of J_r + J_z alone. Families are those of benchmarks/actions.py (1000 orbits each,
200 in dehnen_binney_1996, 48 points of 40 radial periods); the four orbits are Sanders & Binney's (2016).
Orbits with a point that has no actions are left out; "missing" is the largest share of such points.
"regular halo": the halo orbits in dehnen_binney_1996 on whose actions the averages of three orbits, started
from points far apart on it, agree to 1e-3; what is trapped or chaotic has no actions that any finder could
find. Tori of the halo in dehnen_binney_1996 are followed for three steps, others for two. "true J": the
largest |dJ| over J_r + J_z from actions by surfaces of section (tests/data/actions_reference.csv), median and
largest of twenty orbits a family. Microseconds on one
thread, medians of repeats without compilation, of thick disc stars, of halo stars for the library of halo
tori: actions; with angles and frequencies; actions with the derivative of their sum in every parameter of
the potential (tori: as those of a pilot answer to the potential, `PilotTori`; what the library answers once
is in the price of 8192 stars). The pilot libraries hold the tori of the two disc families, and of halo and
stream; "build s" is their fit, with compilation; "tori %" the least share of a family's points that they
serve. OrbitAveraged: eight orbits a family, six points each. galpy: its Staeckel C code. AGAMA: quoted from
the project's own measurements on another machine.
With OORTAX_FINDERS=DIR the rows of a potential are kept in that folder, so that an interrupted run goes on.
"""

import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
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
from kept import kept  # noqa: E402
from oortax import dynamics, potential  # noqa: E402

ORBITS, OUTPUTS, BATCH, STARS = 1000, 48, 2048, 8192
TORI = {
    "disc": {"tol": 3e-5, "n_modes": 45, "max_tori": 12000},
    "halo": {"tol": 3e-4, "n_modes": 76, "max_tori": 12000, "damping": 1e-4},
}
TORI_DB96 = {
    "disc": {"tol": 2e-5, "n_modes": 115, "max_tori": 6000},
    "halo": {"tol": 1e-4, "n_modes": 280, "max_tori": 9000, "damping": 1e-5},
}
# Tori tried for a star: where the fudge errs by 3e-2 one more.
STEPS_DB96 = {"disc": 2, "halo": 3}
REGULAR = 1e-3
REFERENCE = Path(__file__).parents[1] / "tests" / "data" / "actions_reference.csv"
LIBRARY = {"thin": "disc", "thick": "disc", "halo": "halo", "stream": "halo"}


def _all(method):
    """Of many stars, some at a time."""
    return eqx.filter_jit(
        lambda finder, x, v: jax.lax.map(lambda star: method(finder, *star), (x, v), batch_size=BATCH)
    )


ACTIONS = _all(lambda finder, x, v: finder.actions(x, v))
SHARES = _all(lambda finder, x, v: finder.torus_share(x, v))
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
    if len(J) == 0 or not good.any():
        return np.nan, np.nan, missing
    size = np.mean(J[good, :, 0] + J[good, :, 1], axis=1)
    both = np.hypot(*np.std(J[good][..., :2], axis=1).T) / size
    return (
        float(np.median(both)),
        float(np.median(np.std(J[good, :, 0] + J[good, :, 1], axis=1) / size)),
        missing,
    )


def row(
    name: str,
    makers: dict[str, Any],
    pot,
    paths,
    timed: str,
    *,
    gradient: bool = True,
    stars: int = STARS,
    steps: dict[str, int] | None = None,
) -> dict[str, Any]:
    """One finder: `makers` by library, or one for all under ""; steps of tori by library, 2 if not given."""
    entry: dict[str, Any] = {"finder": name}
    # Programs of finders that are done with: Linux gives a process 65,530 memory maps, XLA takes them all.
    jax.clear_caches()
    movable, many = makers, steps or {}
    makers = {key: _fixed(make, many.get(key, 2)) for key, make in makers.items()}
    built = {key: eqx.filter_jit(lambda make, pot: make(pot))(make, pot) for key, make in makers.items()}
    x, v = (jnp.asarray(a) for a in actions.family(timed, pot, stars, seed=1))
    key = _key(timed, makers)
    repeats = 5 if stars > 1000 else 2
    for column, f, args in (
        ("us", ACTIONS, (built[key], x, v)),
        ("us angles", ANGLES, (built[key], x, v)),
        ("us gradient", _gradient, (movable[key], pot, x, v)),
    ):
        if column != "us gradient" or gradient:
            jax.block_until_ready(f(*args))
            entry[column] = actions.microseconds(f, *args, n=stars, repeats=repeats)
    missing, served = [], []
    for family, (path_x, path_v) in paths.items():
        finder = built[_key(family, makers)]
        at = path_x.reshape(-1, 3), path_v.reshape(-1, 3)
        both, total, lost = scatter(np.asarray(ACTIONS(finder, *at)).reshape(path_x.shape))
        entry[family] = f"{both:.1e}" if "orbit" in family else f"{both:.1e} (tot {total:.1e})"
        missing.append(lost)
        if isinstance(finder, dynamics.TorusFinder):
            served.append(float(np.mean(SHARES(finder, *at))))
    return (
        entry
        | {"missing %": 100.0 * max(missing, default=0.0)}
        | ({"tori %": 100.0 * min(served)} if served else {})
    )


class Fixed(eqx.Module):
    """Makes a finder of a pilot's tori where they were fitted."""

    library: dynamics.TorusLibrary
    steps: int = eqx.field(static=True, default=2)

    def __call__(self, pot) -> dynamics.TorusFinder:
        return dynamics.TorusFinder(pot, self.library, steps=self.steps)


def _fixed(make, steps: int = 2):
    return Fixed(make.library, steps) if isinstance(make, dynamics.PilotTori) else make


def _key(family: str, makers: dict[str, Any]) -> str:
    library = LIBRARY[family.split()[-1]]
    return library if library in makers else ""


def true_actions(makers: dict[str, Any], pot) -> dict[str, str]:
    """How far a finder is from actions by surfaces of section."""
    with REFERENCE.open() as lines:
        rows = list(csv.DictReader(lines))
    columns = lambda *names: np.array([[float(r[name]) for name in names] for r in rows])  # noqa: E731
    x, v, J = columns("x", "y", "z"), columns("vx", "vy", "vz"), columns("J_r", "J_z", "J_phi")
    found = []
    for i, family in enumerate(actions.FAMILIES):
        rows_of = slice(20 * i, 20 * (i + 1))
        make = _fixed(makers[_key(family, makers)])
        finder = eqx.filter_jit(lambda make, pot: make(pot))(make, pot)
        ours = np.asarray(ACTIONS(finder, jnp.asarray(x[rows_of]), jnp.asarray(v[rows_of])))
        off = np.abs(ours - J[rows_of])[:, :2].max(axis=1) / np.sum(J[rows_of, :2], axis=1)
        found.append(f"{np.nanmedian(off):.0e}, {np.nanmax(off):.0e}")
    return {"true J": "; ".join(found)}


def all_paths(pot, n: int = ORBITS, with_four: bool = True) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Points along the orbits of each family, and along the four orbits."""
    found = {}
    for name in actions.FAMILIES:
        found[name] = actions.orbits(pot, *actions.family(name, pot, n), outputs=OUTPUTS)
    for name, (x, v, *_) in four_orbits.ORBITS.items() if with_four else ():
        found[f"orbit {name}"] = actions.orbits(pot, np.array([x], float), np.array([v], float), outputs=240)
    return found


def regular(pot, path: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Which orbits have actions: averages along three of each agree."""
    x, v = (jnp.asarray(each[:, [0, 20, 40]].reshape(-1, 3)) for each in path)
    J = np.asarray(ACTIONS(dynamics.OrbitAveraged(pot), x, v)).reshape(-1, 3, 3)
    size = np.mean(J[..., 0] + J[..., 1], axis=1)
    return np.hypot(*np.std(J[..., :2], axis=1).T) < REGULAR * size


def libraries(pot, paths, options=TORI) -> tuple[dict[str, Any], float]:
    """Pilots for disc and halo, and the seconds of both."""
    start = time.perf_counter()
    found = {}
    for name, families in (("disc", ("thin", "thick")), ("halo", ("halo", "orbit stream"))):
        known = [paths[f] for f in families if f in paths]
        x, v = (np.concatenate([path[i].reshape(-1, 3)[::4] for path in known]) for i in (0, 1))
        found[name] = dynamics.pilot_tori(pot, x, v, progress=False, **options[name])
    return found, time.perf_counter() - start


def of_milky_way() -> list[dict[str, Any]]:
    """All finders in mw_potential_2014."""
    rows: list[dict[str, Any]] = []
    pot = eqx.filter_jit(potential.mw_potential_2014)()
    paths = all_paths(pot)
    for name, make in dynamics.FINDERS.items():
        rows.append(row(name, {"": make}, pot, paths, "thick") | true_actions({"": make}, pot))
    pilots, seconds = libraries(pot, paths)
    of_disc = row("TorusFinder, disc", pilots, pot, paths, "thick") | {"build s": seconds}
    rows.append(of_disc | true_actions(pilots, pot))
    rows.append(row("TorusFinder, halo", pilots, pot, {}, "halo"))
    few = {name: (x[:8, ::8], v[:8, ::8]) for name, (x, v) in paths.items() if "orbit" not in name}
    referee = {"": dynamics.OrbitAveraged}
    entry = row("OrbitAveraged", referee, pot, few, "thick", gradient=False, stars=64)
    rows.append(entry | true_actions(referee, pot))
    for entry in actions.galpy_rows({name: paths[name] for name in actions.FAMILIES}):
        if "own" in entry["method"] or "median" in entry["method"]:
            name = entry["family"]
            if not rows[-1]["finder"].startswith("galpy"):
                rows.append({"finder": "galpy Staeckel C", "us": entry["us_per_star"]})
            rows[-1][name] = f"{entry['scatter_both_median']:.1e}"
    quoted = {name: f"{median:.1e}" for name, (_, median, _) in actions.AGAMA.items()}
    rows.append({"finder": "AGAMA fudge (quoted)", "us": 6.6, "us angles": 24.0} | quoted)
    rows.append({"finder": "AGAMA interpolated (quoted)", "us": 0.75})
    return [{"potential": "mw_potential_2014"} | entry for entry in rows]


def of_dehnen_binney() -> list[dict[str, Any]]:
    """Fudge and tori in dehnen_binney_1996, where the fudge is poor."""
    pot = eqx.filter_jit(lambda: potential.expand(potential.dehnen_binney_1996()))()
    paths = all_paths(pot, 200, with_four=False)
    has_actions = regular(pot, paths["halo"])
    path_x, path_v = paths["halo"]
    some = paths | {"regular halo": (path_x[has_actions], path_v[has_actions])}
    rows = [row("StaeckelFudge", {"": dynamics.StaeckelFudge}, pot, some, "thick")]
    pilots, seconds = libraries(pot, paths, TORI_DB96)
    of_disc = row("TorusFinder, disc", pilots, pot, some, "thick", steps=STEPS_DB96) | {"build s": seconds}
    of_halo = row("TorusFinder, halo", pilots, pot, {}, "halo", steps=STEPS_DB96, gradient=False)
    for entry in (*rows, of_disc):
        entry["regular halo"] += f" of {np.sum(has_actions)}"
    rows += [of_disc, of_halo]
    return [{"potential": "dehnen_binney_1996"} | entry for entry in rows]


PARTS = {"mw_potential_2014": of_milky_way, "dehnen_binney_1996": of_dehnen_binney}


def part(name: str) -> list[dict[str, Any]]:
    """The rows of one potential, kept in the folder that OORTAX_FINDERS names."""
    return kept("OORTAX_FINDERS", name, PARTS[name])


def main(names: Sequence[str] = tuple(PARTS)) -> list[dict[str, Any]]:
    """All rows, or those of some potentials."""
    ox.enable_x64()
    return [row for name in names for row in part(name)]


if __name__ == "__main__":
    print(actions.table(main(sys.argv[1:] or tuple(PARTS))))
