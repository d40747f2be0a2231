"""Ten mock catalogues drawn from the model, fitted: are the truths recovered within the errors claimed?

Run `python benchmarks/recovery.py`. Each catalogue has 5000 stars with the demo's selection and errors,
drawn by `model.predict`, which shares neither density nor normalisation with the likelihood; truths differ.
Priors are the demo's; the circular-speed curve is drawn from the truth with the demo's errors. Reported: the
pulls of all free parameters in unconstrained space, the joint chi-square and its probability. The truths
are closer to the priors' centres than draws from the priors would be, so that a pull's variance is not 1 but
the share of its information that the stars bring, 1 - (posterior/prior variance), plus the small bias
towards the prior; "expected width" is the root of the mean share.
"""

from typing import Any

import jax
import numpy as np
from scipy.stats import chi2

import oortax as ox
from oortax import data, inference, io, model, params, potential
from oortax.commands.posterior import LogLikelihood

MOCKS, STARS, MISSING = 10, 5000, 0.02


def truths(problem: io.Problem, mock: int) -> dict[str, float]:
    """The demo's starting values, moved by up to 10 per cent (the Sun's motion by 1 km/s)."""
    rng = np.random.default_rng([2026, mock])
    moved = {}
    for path, start in problem.start.items():
        shift = rng.uniform(-1.0, 1.0)
        moved[path] = start + shift if path.startswith("sun.") else start * (1.0 + 0.1 * shift)
    return moved


def fit(problem: io.Problem, mock: int) -> dict[str, Any]:
    """Draw one catalogue, fit it, compare with its truth."""
    truth = truths(problem, mock)
    tree = params.replace(problem.model, truth)
    drawn = model.predict(jax.random.key(mock), tree.galaxy, tree.survey, STARS, outliers=tree.outliers)
    names = model.Catalogue.__dataclass_fields__
    columns = {k: np.array(v) for k, v in drawn.columns.items() if k in names}
    # Always as many, so that all catalogues share one compiled likelihood.
    rng = np.random.default_rng([11, mock])
    columns["v_los"][rng.choice(STARS, int(MISSING * STARS), replace=False)] = np.nan
    catalogue = model.Catalogue(**columns)
    curve = dict(problem.constraints["circular_velocity"])
    v_c = np.asarray(jax.vmap(lambda R: potential.circular_velocity(tree.galaxy.potential, R))(curve["R"]))
    systematic = float(tree.constraints["circular_velocity"].systematic)
    sigma = np.hypot(curve["sigma_plus"], systematic * v_c)
    curve |= {"v_c": v_c + sigma * np.random.default_rng([7, mock]).standard_normal(len(v_c))}
    per_star = problem.config.inference.nodes_per_star
    nodes = model.make_nodes(catalogue, problem.model.galaxy, problem.model.survey, per_star)
    posterior = inference.Posterior(
        problem.model,
        problem.priors,
        LogLikelihood("StaeckelFudge", "conditional"),
        {"stars": {"": (catalogue, nodes)}, "curves": {"circular_velocity": curve}},
    )
    gaussian = inference.laplace(posterior, inference.maximise(posterior, progress=False))
    difference = np.asarray(posterior.unconstrain(truth)) - np.asarray(gaussian.mean)
    covariance = np.asarray(gaussian.covariance)
    square = float(difference @ np.linalg.solve(covariance, difference))
    pulls = difference / np.sqrt(np.diag(covariance))
    return {
        "mock": mock,
        "chi2": square,
        "p": float(chi2.sf(square, posterior.dim)),
        "largest pull": float(np.max(np.abs(pulls))),
        "pulls": pulls,
        "shares": 1.0 - np.diag(covariance) / posterior.prior_scale()[1] ** 2,
    }


def main() -> list[dict[str, Any]]:
    """One row a mock, and one for all pulls together."""
    ox.enable_x64()
    problem = io.build(io.load_config(data.demo_config()).with_inference(stars=STARS))
    rows = [fit(problem, mock) for mock in range(MOCKS)]
    pulls = np.concatenate([row.pop("pulls") for row in rows])
    shares = np.clip(np.concatenate([row.pop("shares") for row in rows]), 0.0, 1.0)
    n = len(pulls)
    rows.append(
        {
            "mock": "all",
            "mean pull": float(pulls.mean()),
            "error of mean": float(pulls.std() / np.sqrt(n)),
            "width of pulls": float(pulls.std()),
            "error of width": float(pulls.std() / np.sqrt(2.0 * n)),
            "expected width": float(np.sqrt(shares.mean())),
        }
    )
    return rows


if __name__ == "__main__":
    for entry in main():
        print(", ".join(f"{name}: {item}" for name, item in entry.items()))
