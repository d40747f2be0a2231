"""A survey without distances, fitted by counts in cells: the public mock of the Galactic pole.

Run `python benchmarks/binned.py --mocks DIR`, or set OORTAX_MOCKS to DIR, the folder that holds
ngp_catalogue.parquet and ngp_truth.json (see benchmarks/mocks.py): 20000 stars with b > 80 deg and 12 < V <
18, proper motions, magnitudes and colours only, of a quasi-isothermal disc and a halo of eq. (5), made with
another code (AGAMA, actions averaged along orbits). Counted in 8 x 8 x 4 x 5 cells of mu_0, mu_90, V and
colour; the potential is the mock's, f(J) of disc and halo and the halo's share of the stars are fitted.

One row a parameter: truth, maximum, standard deviation by Laplace's method, pull in the unconstrained
parameters. Then a row for all: joint chi-square of the pulls and its probability, the number of nodes, their
effective number a star, standard deviation of ln L between sets of as many random nodes, the share of the
stars in no cell of their own, gradients and seconds (compilation included).
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
import pyarrow.parquet as pq
from scipy.stats import chi2

import oortax as ox
from mocks import VARIABLE, folder_of_mocks
from oortax import df, inference, model, params, potential, stars, survey

CELLS = {
    "mu_0": [-50.0, -20.0, -10.0, -4.0, 0.0, 4.0, 10.0, 20.0, 50.0],
    "mu_90": [-70.0, -35.0, -20.0, -12.0, -7.0, -3.0, 0.0, 5.0, 30.0],
    "V": [12.0, 15.0, 16.5, 17.3, 18.0],
    "colour": [0.0, 0.42, 0.52, 0.65, 0.9, 1.8],
}
PRIORS = {
    "components.disc.df.sigma_r0": dist.LogNormal(np.log(120.0), 0.5),
    "components.disc.df.H_d": dist.LogNormal(np.log(0.3), 0.5),
    "components.disc.df.R_d": dist.LogNormal(np.log(2.6), 0.3),
    "components.halo.df.a": dist.LogNormal(np.log(1.2), 0.5),
    "components.halo.df.b": dist.LogNormal(np.log(1.2), 0.5),
    "components.halo.df.beta": dist.Uniform(3.05, 6.0),
    "components.halo.df.A_0": dist.LogNormal(np.log(500.0), 0.5),
    "components.halo.weight": dist.Beta(1.0, 1.0),
}


def true_model(truth: dict[str, Any]) -> model.Model:
    """Galaxy and survey of the truth file."""
    parts = {part["kind"]: part for part in truth["potential"]}
    disc, nfw = parts["disk"], parts["nfw"]
    pot = potential.Sum(
        disc=potential.ExponentialDisc(Sigma_0=disc["S"], R_d=disc["Rd"], z_d=disc["h"]),
        bulge=potential.Hernquist(M=parts["hernquist"]["M"], a=parts["hernquist"]["a"]),
        halo=potential.FlattenedNFW(rho_s=nfw["rho0"], r_s=nfw["a"], q=nfw["q"]),
    )
    of_disc, of_halo = truth["disc_df"], truth["halo_df"]
    warm = df.QuasiIsothermal(
        R_d=of_disc["Rdisk"], sigma_r0=of_disc["sigmar0"], R_sigma=of_disc["Rsigmar"],
        H_d=of_disc["Hdisk"], c_r=of_disc["coefJr"], c_z=of_disc["coefJz"],
    )  # fmt: skip
    halo = df.DB96Halo(
        a=of_halo["a"], b=of_halo["b"], beta=of_halo["beta"], gamma=of_halo["gamma"], A_0=of_halo["A0"]
    )
    local = truth["mixture"]["density_at_sun_unit_df"]
    ratio = truth["mixture"]["local_number_density_ratio_halo_over_disc_at_sun"]
    ratio *= local["disc"] / local["halo"]
    galaxy = model.Galaxy(
        pot,
        {
            "disc": model.Component(warm, _stars(truth, "disc")),
            "halo": model.Component(halo, _stars(truth, "halo"), ratio / (1.0 + ratio)),
        },
    )
    cuts, sun, errors = truth["selection"], truth["sun"], truth["errors"]
    selection = (
        survey.Latitude(min=cuts["b_min_deg"]),
        survey.Magnitude(min=cuts["V_obs_min"], max=cuts["V_obs_max"]),
    )
    place = survey.Sun(**{name: sun[name] for name in ("R0", "z0", "U", "V", "W")})
    seen = survey.Survey(place, selection=selection, errors=survey.Errors(V=errors["V"], pm=errors["pm"]))
    return model.Model(galaxy, seen)


def _stars(truth: dict[str, Any], name: str) -> stars.ColourMagnitudeRelation:
    mean, sigma, bright, faint = truth["luminosity"][name]
    c0, c1, M0, scatter = truth["colour"][name]
    M = np.linspace(bright, faint, 5)
    F = stars.Gaussian(mean, sigma, (bright, faint))
    return stars.ColourMagnitudeRelation(F, M, c0 + c1 * (M - M0), scatter=scatter)


def log_likelihood(tree, binned):
    """ln L of the counts."""
    return model.log_likelihood_binned(tree.galaxy, tree.survey, binned)


def main(folder: str | None = None, n: int = 65_536, seed: int = 3) -> list[dict[str, Any]]:
    """Rows of the fit."""
    ox.enable_x64()
    began, place = time.perf_counter(), folder_of_mocks(folder)
    truth = json.loads((Path(place) / "ngp_truth.json").read_text(encoding="utf-8"))
    file = pq.read_table(Path(place) / "ngp_catalogue.parquet")
    tree = true_model(truth)
    columns = {name: file[source].to_numpy() for name, source in (("V", "V"), ("colour", "BV"))}
    columns |= {name: np.radians(file[name].to_numpy()) for name in ("l", "b")}
    columns |= {"mu_l": file["pmlcosb"].to_numpy(), "mu_b": file["pmb"].to_numpy()}
    binned = model.bin_catalogue(
        tree.galaxy, tree.survey, columns, CELLS, jax.random.key(seed), n, colour_error=truth["errors"]["BV"]
    )
    noise = model.binned_noise(tree.galaxy, tree.survey, binned)
    posterior = inference.Posterior(tree, PRIORS, log_likelihood, binned)
    top = inference.maximise(posterior, progress=False)
    gaussian = inference.laplace(posterior, top)
    known = {path: float(params.get(tree, path)) for path in PRIORS}
    difference = np.asarray(gaussian.mean) - np.asarray(posterior.unconstrain(known))
    square = float(difference @ gaussian.precision @ difference)
    rows: list[dict[str, Any]] = [
        {
            "parameter": path,
            "truth": known[path],
            "maximum": gaussian.values[path],
            "sd": gaussian.sigma[path],
            "pull": float(d / np.sqrt(gaussian.covariance[i, i])),
        }
        for i, (path, d) in enumerate(zip(posterior.names, difference, strict=True))
    ]
    return [
        *rows,
        {
            "parameter": "all",
            "stars": int(binned.N),
            "chi2": square,
            "p": float(chi2.sf(square, posterior.dim)),
            "nodes": int(sum(binned.nodes.sizes)),
            "nodes a star": noise.nodes_per_star,
            "noise of ln L": noise.sigma,
            "elsewhere": noise.elsewhere,
            "gradients": top.n_gradients + gaussian.n_gradients,
            "seconds": time.perf_counter() - began,
        },
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mocks", help=f"folder of the catalogues (default: ${VARIABLE})")
    parser.add_argument("--nodes", type=int, default=65_536, help="of each component")
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    for entry in main(options.mocks, options.nodes, options.seed):
        print(", ".join(f"{name}: {item}" for name, item in entry.items()), flush=True)
