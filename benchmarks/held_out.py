"""A held-out half of the sky: the demo's model fitted to giants of the northern cap predicts the southern.

Run `python benchmarks/held_out.py` (ten minutes). The demo's configuration (`oortax demo`) with its giants at
b > 25 deg only, 4000 of them, method laplace; then the survey of b < -25 deg with the same limits, of which
the fit has seen nothing, by weighted nodes (`model.spd`). One row an observable: its distribution over the
southern stars in twelve cells of equal expected shares; N: stars; "largest pull": of a cell, (counted -
expected)/sqrt(variance), and where the cell is; chi2 for eleven, with the variance of counting, of the nodes
and of the parameters (16 draws of the Gaussian posterior); p. "rms misfit": sqrt(chi2/11 - 1) times the
typical relative error, the relative misfit of a cell beyond noise. The last row: southern over northern
stars, counted and expected. The model is symmetric about plane and axis and in a steady state; the Sun's
height is fixed. What fails here is what these assumptions, two quasi-isothermal discs and a survey without
dust leave out, not the statistics.
"""

import tempfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

import oortax as ox
from oortax import data, inference, io, model, params
from oortax.commands.posterior import build_posterior

STARS, NODES, DRAWS, CELLS = 4000, 65_536, 16, 12
OBSERVABLES = ("l", "b", "V", "parallax", "mu_l", "mu_b", "v_los")


def problem(b: str, folder: Path) -> io.Problem:
    """The demo at latitudes min = ... or max = ..."""
    text = data.demo_config().read_text(encoding="utf-8")
    whole = '{kind = "abs_b", min = 25.0}'
    if text.count(whole) != 1:
        raise RuntimeError(f"the demo's configuration has no {whole}")
    path = folder / "cap.toml"
    path.write_text(text.replace(whole, f'{{kind = "latitude", {b}}}'), encoding="utf-8")
    return io.build(io.load_config(path).with_all_stars())


def fitted(north: io.Problem) -> tuple[inference.Posterior, inference.Laplace]:
    """The Gaussian posterior of some of the northern stars."""
    some = io.build(north.config.with_inference(stars=STARS))
    posterior = build_posterior(some)
    return posterior, inference.laplace(posterior, inference.maximise(posterior, progress=False))


def shares(spd: model.SPD, edges: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Shares of a catalogue in cells of each observable."""
    found = {}
    for name, at in edges.items():
        counted = np.histogram(spd.observed[name], at, weights=spd.weight)[0]
        found[name] = counted / spd.weight.sum()
    return found


def at_sun_of(survey, tree):
    """A survey from where a model has the Sun, and with its errors."""
    return eqx.tree_at(lambda s: (s.sun, s.errors), survey, (tree.survey.sun, tree.survey.errors))


def main() -> list[dict[str, Any]]:
    """One row an observable, and one for the numbers of stars."""
    ox.enable_x64()
    with tempfile.TemporaryDirectory() as folder:
        north, south = (problem(b, Path(folder)) for b in ("min = 25.0", "max = -25.0"))
        posterior, gaussian = fitted(north)
    u = [gaussian.mean, *np.asarray(gaussian.sample(jax.random.key(7), DRAWS))]
    trees = [params.replace(north.model, posterior.constrain(each)) for each in u]
    nodes = [
        model.survey_nodes(trees[0].galaxy, at_sun_of(part.model.survey, trees[0]), jax.random.key(i), NODES)
        for i, part in enumerate((north, south))
    ]
    spds = [
        [model.spd_of_nodes(t.galaxy, at_sun_of(part.model.survey, t), n) for t in trees]
        for part, n in zip((north, south), nodes, strict=True)
    ]
    best = spds[1][0]
    edges = {name: model.cells_of(best, name, CELLS) for name in OBSERVABLES}
    of_draws = [shares(spd, edges) for spd in spds[1]]
    return [row(name, edges[name], south, best, of_draws) for name in OBSERVABLES] + [
        ratio(north, south, spds)
    ]


def row(name: str, edges: np.ndarray, south: io.Problem, best: model.SPD, of_draws) -> dict[str, Any]:
    """One observable: counted against expected."""
    spread = np.array([each[name] - of_draws[0][name] for each in of_draws[1:]])
    found = model.against(best, name, south.columns[name], edges, covariance=spread.T @ spread / DRAWS)
    worst = found.worst
    return {
        "observable": name,
        "N": int(found.counted.sum()),
        "largest pull": float(found.pulls[worst]),
        "in": f"{found.edges[worst]:.3g} to {found.edges[worst + 1]:.3g}",
        "chi2": found.chi2,
        "p": found.p,
        "rms misfit": found.misfit,
    }


def ratio(north: io.Problem, south: io.Problem, spds) -> dict[str, Any]:
    """Southern over northern stars."""
    counts = [len(part.columns["l"]) for part in (north, south)]
    counted = counts[1] / counts[0]
    expected = [b.share().value / a.share().value for a, b in zip(*spds, strict=True)]
    nodes = np.hypot(*(part[0].share().error / part[0].share().value for part in spds))
    sigma = np.sqrt(
        counted**2 * (1 / counts[0] + 1 / counts[1]) + np.var(expected[1:]) + (expected[0] * nodes) ** 2
    )
    return {
        "observable": f"south/north: {counted:.3f}, expected {expected[0]:.3f} +- {sigma:.3f}",
        "N": sum(counts),
        "largest pull": (counted - expected[0]) / sigma,
        "rms misfit": abs(counted / expected[0] - 1.0),
    }


if __name__ == "__main__":
    for entry in main():
        print(", ".join(f"{name}: {item}" for name, item in entry.items()), flush=True)
