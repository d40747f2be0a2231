"""Public mock catalogues with known truth, made with other codes, fitted by `oortax fit`'s own machinery.

Run `python benchmarks/mocks.py --mocks DIR [halo] [disc]`, or set OORTAX_MOCKS to DIR, the folder that
holds the catalogues (`halo_catalogue.parquet`, `halo_truth.json`, ...). The configurations are
benchmarks/mocks/*.toml; copied beside its catalogue each runs as it is: `oortax fit halo.toml`. Halo: 20000
giants with distance moduli, half of them without v_los, from the founding paper's f(J), eq. (5). Disc: 10000
stars with parallaxes, from a quasi-isothermal f. All stars are used. The mocks' f was sampled in AGAMA with
actions averaged along orbits; the fits use the Staeckel fudge in numerator and normalisation.

One row a parameter: truth, maximum, standard deviation by Laplace's method, pull = (maximum - truth) / sd in
the unconstrained parameters. Then one row a catalogue: the joint chi-square d C^-1 d of all pulls and its
probability; the score at the truth, g C g; the selected share A of all stars at the truth beside the one
counted when the catalogue was made; the largest shift of a parameter, in sd, by what a finer rule changes in
the normalisation's slope; nodes, least and median effective number of nodes of a star, gradients, seconds.
"""

import argparse
import json
import os
import time
import tomllib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.stats import chi2

import oortax as ox
from oortax import inference, io, model, params
from oortax.commands.posterior import build_posterior, catalogue_of

HERE = Path(__file__).parent
MOCKS = ("halo", "disc")
VARIABLE = "OORTAX_MOCKS"


def truths(kind: str, truth: dict[str, Any]) -> dict[str, float]:
    """The truth file's numbers by the paths of our parameters; those that a fit may free."""
    parts = {part["kind"]: part for part in truth["potential"]}
    f = truth["df"]
    values = {
        "potential.bulge.M": parts["hernquist"]["M"],
        "potential.bulge.a": parts["hernquist"]["a"],
        "potential.halo.rho_s": parts["nfw"]["rho0"],
        "potential.halo.r_s": parts["nfw"]["a"],
        "potential.halo.q": parts["nfw"]["q"],
    }
    if kind == "halo":
        disc = parts["mn"]
        values |= {f"potential.disc.{name}": disc[name] for name in ("M", "a", "b")}
        names = {"a": "a", "b": "b", "beta": "beta", "gamma": "gamma", "A_0": "A0"}
    else:
        disc = parts["disk"]
        values |= {
            "potential.disc.Sigma_0": disc["S"],
            "potential.disc.R_d": disc["Rd"],
            "potential.disc.z_d": disc["h"],
        }
        names = {
            "R_d": "Rdisk", "H_d": "Hdisk", "sigma_r0": "sigmar0", "R_sigma": "Rsigmar",
            "c_r": "coefJr", "c_z": "coefJz",
        }  # fmt: skip
    return values | {f"components.{kind}.df.{ours}": f[theirs] for ours, theirs in names.items()}


def load(kind: str, folder: Path, stars: int | None = None) -> tuple[io.Problem, dict[str, Any]]:
    """The problem of benchmarks/mocks/KIND.toml on the catalogue in a folder, and the truth file."""
    document = tomllib.loads((HERE / "mocks" / f"{kind}.toml").read_text(encoding="utf-8"))
    if stars is not None:
        document["inference"]["stars"] = stars
    truth = json.loads((folder / f"{kind}_truth.json").read_text(encoding="utf-8"))
    return io.build(io.parse_config(document, folder)), truth


def _fixed_to_truth(problem: io.Problem, truth: dict[str, float]) -> None:
    """Raise if a fixed parameter of the configuration is not the mock's: it would bias the others."""
    for path, value in truth.items():
        if path in problem.priors or path not in params.parameters(problem.model):
            continue
        if not np.isclose(float(params.get(problem.model, path)), value, rtol=1e-6):
            raise ValueError(f"{path} is fixed at {params.get(problem.model, path)}, the truth is {value}")


def fit(kind: str, folder: Path, stars: int | None = None) -> list[dict[str, Any]]:
    """Fit one mock: a row for every free parameter and one for all of them together."""
    began = time.perf_counter()
    problem, file = load(kind, folder, stars)
    known = truths(kind, file)
    _fixed_to_truth(problem, known)
    truth = {path: known[path] for path in problem.priors}
    posterior = build_posterior(problem)
    top = inference.maximise(posterior, progress=False)
    gaussian = inference.laplace(posterior, top)
    seconds = time.perf_counter() - began
    u = np.asarray(posterior.unconstrain(truth))
    difference = np.asarray(gaussian.mean) - u
    square = float(difference @ gaussian.precision @ difference)
    at_truth = params.replace(problem.model, truth)
    stars, settings = (
        posterior.data["stars"][""],
        posterior.log_likelihood.settings_for(catalogue_of(problem)),
    )
    found = model.diagnose(at_truth, *stars, paths=posterior.names, settings=settings)
    _, slope = posterior.value_and_grad(jnp.asarray(u))
    score = float(np.asarray(slope) @ gaussian.covariance @ np.asarray(slope))
    shifts = [abs(found.error_score[path]) * gaussian.sigma[path] for path in posterior.names]
    rows: list[dict[str, Any]] = [
        {
            "mock": kind,
            "parameter": path,
            "truth": truth[path],
            "maximum": gaussian.values[path],
            "sd": gaussian.sigma[path],
            "pull": float(d / np.sqrt(gaussian.covariance[i, i])),
        }
        for i, (path, d) in enumerate(zip(posterior.names, difference, strict=True))
    ]
    counted = file["selected_fraction"]
    rows.append(
        {
            "mock": kind,
            "parameter": "all",
            "stars": len(problem.columns["l"]),
            "chi2": square,
            "p": float(chi2.sf(square, posterior.dim)),
            "score chi2 at truth": score,
            "A at truth": float(np.exp(found.log_A)),
            "A counted": counted["value_fudge_df"],
            "its error": counted["mc_error"],
            "largest error of a score, sd": max(shifts),
            "nodes": nodes.n_star_nodes,
            "least ESS": found.least_ess,
            "median ESS": found.median_ess,
            "lost": found.lost,
            "gradients": top.n_gradients + gaussian.n_gradients,
            "seconds": seconds,
        }
    )
    return rows


def folder_of_mocks(given: str | None = None) -> Path:
    """The folder with the catalogues, from the argument or the environment."""
    name = given or os.environ.get(VARIABLE)
    if not name or not Path(name).is_dir():
        raise SystemExit(
            f"the mock catalogues are not at hand: give --mocks DIR or set {VARIABLE} (now {name!r})"
        )
    return Path(name)


def main(
    kinds: tuple[str, ...] = MOCKS, folder: str | None = None, stars: int | None = None
) -> list[dict[str, Any]]:
    """Rows of all mocks."""
    ox.enable_x64()
    place = folder_of_mocks(folder)
    return [row for kind in kinds for row in fit(kind, place, stars)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(MOCKS), choices=MOCKS)
    parser.add_argument("--mocks", help=f"folder of the catalogues (default: ${VARIABLE})")
    parser.add_argument("--stars", type=int, help="use fewer stars, to try things out")
    options = parser.parse_args()
    for entry in main(tuple(options.kinds), options.mocks, options.stars):
        print(", ".join(f"{name}: {item}" for name, item in entry.items()), flush=True)
