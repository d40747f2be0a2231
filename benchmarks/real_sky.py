"""Surveys of the real sky against a Galaxy in which nothing is fitted: what was seen, what is predicted.

Run `OORTAX_SKY=DIR python benchmarks/real_sky.py`; DIR holds the catalogues that the configuration,
benchmarks/real_sky/sky.toml, names (five minutes). Potential, old and thick disc are about those that `oortax
demo` starts from; a thin disc of young stars is added, and populations (PARSEC, Kroupa) of assumed ages and
metallicities. "north", "south": all stars of 9 < V < 10.5 within 30 degrees of the poles (Gaia DR3);
"hipparcos": dwarfs of V < 7.5 by their proper motions alone.

One row a window of B - V, and one for the whole survey, seen / predicted: share of the survey's stars;
median, and half of the width of 68 % of the stars, of proper motions (mas/yr; mu_0 and mu_90 at the poles,
mu_l and mu_b of "hipparcos") and v_los (km/s). "p > 1e-3": observables that do not reject the model in twelve
cells of equal expected shares; "misfits" of the others: relative misfit of a cell beyond noise
(`model.against`); "largest pull": of a cell. Then halo stars: rms v_los in the Galaxy's rest frame (km/s) of
SEGUE's blue horizontal-branch stars (Barbosa et al. 2022; 5 kpc and more from the plane) by distance, seen /
predicted at the stars' places by the halo's f(J) of Dehnen & Binney (1996) in the same potential; and what
that predicts of M giants 20 kpc towards the south Galactic pole (Flynn & Freeman 1993).
"""

import os
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.csv as pc

import oortax as ox
from oortax import dynamics, io, model, potential
from oortax.df import DB96Halo, moments
from oortax.io.problem import forward_model, observed_stars
from oortax.survey import Sun, observe, position

CONFIG = Path(__file__).parent / "real_sky" / "sky.toml"
VARIABLE, NODES = "OORTAX_SKY", 16_384
POLES = (0.4, 0.6, 0.8, 1.1, 1.4)
WINDOWS = {"north": POLES, "south": POLES, "hipparcos": (0.4, 0.5, 0.6, 0.8)}
QUANTITIES = {
    "north": ("mu_0", "mu_90", "v_los"),
    "south": ("mu_0", "mu_90", "v_los"),
    "hipparcos": ("mu_l", "mu_b"),
}
COMPARED = ("l", "b", "V", "colour", "parallax")
BHB, CERTAIN = Path("segue_bhb") / "segue_bhb_barbosa2022.csv", 90.0
# Heliocentric distances of halo stars, kpc; and their least height.
DISTANCES, HEIGHT = (5.0, 10.0, 15.0, 20.0, 30.0, 50.0), 5.0


def config_of(folder: Path) -> io.Config:
    """The configuration, with its catalogues in a folder."""
    return io.parse_config(tomllib.loads(CONFIG.read_text(encoding="utf-8")), folder, forward=True)


def rows_of(config: io.Config, name: str) -> list[dict[str, Any]]:
    """One survey: windows of colour, and the whole."""
    sight, stars = forward_model(config, name), observed_stars(config, name).columns
    spd = model.spd(sight.galaxy, sight.survey, jax.random.key(1), NODES)
    seen = {q: model.quantity_of(stars, q) for q in (*COMPARED, *QUANTITIES[name])}
    rows = [window(name, spd, seen, *ends) for ends in pairwise(WINDOWS[name])]
    found = [model.against(spd, q, values) for q, values in seen.items()]
    worst = max(found, key=lambda each: each.misfit)
    whole = window(name, spd, seen, WINDOWS[name][0], WINDOWS[name][-1]) | {
        "p > 1e-3": ", ".join(each.quantity for each in found if each.p > 1e-3),
        "misfits": ", ".join(f"{each.quantity} {each.misfit:.2f}" for each in found if each.p <= 1e-3),
        "largest pull": f"{worst.pulls[worst.worst]:+.0f} of {worst.quantity}",
    }
    return [*rows, whole]


def window(name: str, spd: model.SPD, seen: dict[str, np.ndarray], low: float, high: float) -> dict[str, Any]:
    """Stars of one window of colour."""
    mine, theirs = ((of["colour"] >= low) & (of["colour"] <= high) for of in (seen, spd.observed))
    part = spd._replace(weight=np.where(theirs, spd.weight, 0.0))
    row: dict[str, Any] = {
        "sample": f"{name}, B-V {low} to {high}",
        "stars": int(mine.sum()),
        "share": f"{mine.mean():.3f} / {part.weight.sum() / spd.weight.sum():.3f}",
    }
    for i, quantity in enumerate(QUANTITIES[name]):
        values = seen[quantity][mine]
        counted = np.quantile(values[np.isfinite(values)], (0.16, 0.5, 0.84))
        predicted = [part.quantile(quantity, q) for q in (0.16, 0.5, 0.84)]
        title = ("mu_0, mu_l", "mu_90, mu_b", "v_los")[i]
        row[title] = f"{counted[1]:.1f} / {predicted[1]:.1f}"
        row[f"width of {title}"] = (
            f"{0.5 * (counted[2] - counted[0]):.1f} / {0.5 * (predicted[2] - predicted[0]):.1f}"
        )
    return row


@eqx.filter_jit
def expected_rms(pot, halo, sun: Sun, x):
    """rms of v_los in the Galaxy's rest frame, of the halo's stars at places x (n, 3)."""
    smooth = potential.expand(pot)
    finder, bound = dynamics.StaeckelFudge(smooth), halo.bind(dynamics.circular_orbits(smooth))
    here = position(sun, 0.0, 0.0, 0.0)

    def one(x):
        R = jnp.hypot(x[0], x[1])
        found = moments(bound, smooth, finder, R, x[2])
        n = (x - here) / jnp.linalg.norm(x - here)
        along = jnp.stack([n[0] * x[0] + n[1] * x[1], n[1] * x[0] - n[0] * x[1], n[2] * R]) / R
        return jnp.sqrt(along @ (found.dispersion + jnp.outer(found.mean, found.mean)) @ along)

    return jax.lax.map(one, x, batch_size=16)


@eqx.filter_jit
def rest_frame(sun: Sun, v_c0, x, v_los):
    """v_los as from the Galaxy's centre of rest."""
    at_rest = jax.vmap(lambda x: observe(sun, v_c0, x, jnp.zeros(3)).v_los)(x)
    return v_los - at_rest


def halo_rows(pot, folder: Path) -> list[dict[str, Any]]:
    """Blue horizontal-branch stars by distance, and M giants that are not at hand."""
    table = pc.read_csv(folder / BHB).to_pydict()
    c = {name: np.asarray(table[name], float) for name in ("l", "b", "dist_gr", "p_bhb_percent")}
    v_los = np.asarray(table["radial_velocity"], float)
    sun, s = Sun(), c["dist_gr"] / 1e3
    x = jax.vmap(lambda l, b, s: position(sun, l, b, s))(np.radians(c["l"]), np.radians(c["b"]), s)
    v = np.asarray(rest_frame(sun, potential.circular_velocity(pot, sun.R0), x, jnp.asarray(v_los)))
    halo = DB96Halo(a=1.2, b=1.2, beta=3.5, gamma=1.8, A_0=float(potential.circular_velocity(pot, 1.0)))
    # Beyond 500 km/s nothing is bound there: bad spectra.
    kept = (c["p_bhb_percent"] > CERTAIN) & (np.abs(x[:, 2]) > HEIGHT) & (np.abs(v) < 500.0)
    predicted, rows = np.asarray(expected_rms(pot, halo, sun, x)), []
    for low, high in pairwise(DISTANCES):
        mine = kept & (s >= low) & (s < high)
        counted, error = np.sqrt(np.mean(v[mine] ** 2)), np.std(v[mine] ** 2) / np.sqrt(mine.sum())
        rows.append(
            {
                "sample": f"halo, {low:g} to {high:g} kpc",
                "stars": int(mine.sum()),
                "rms v_los": f"{counted:.0f} +- {error / (2.0 * counted):.0f} / "
                f"{np.sqrt(np.mean(predicted[mine] ** 2)):.0f}",
            }
        )
    giants = expected_rms(pot, halo, sun, jnp.array([[float(sun.R0), 0.0, -20.0]]))
    return [
        *rows,
        {"sample": "M giants, 20 kpc to the SGP", "rms v_los": f"not at hand / {float(giants[0]):.0f}"},
    ]


def main() -> list[dict[str, Any]]:
    """Rows of three surveys, and of halo stars."""
    ox.enable_x64()
    if VARIABLE not in os.environ:
        raise SystemExit(f"say where the catalogues of {CONFIG} are: {VARIABLE}=DIR")
    folder = Path(os.environ[VARIABLE])
    config = config_of(folder)
    rows = [row for name in WINDOWS for row in rows_of(config, name)]
    pot = forward_model(config, "north").galaxy.potential
    return rows + halo_rows(pot, folder)


if __name__ == "__main__":
    for entry in main():
        print(", ".join(f"{name}: {item}" for name, item in entry.items()), flush=True)
