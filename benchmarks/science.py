"""What real catalogues say of the potential, by the bundled configurations: priors beside posteriors.

Run `python benchmarks/science.py`, with the names of some for these alone: globular_clusters, segue_bhb,
giants_and_gas, milky_way (minutes each). The maximum is looked for from the configuration's start and
from q = 1.4; the posterior is Laplace's Gaussian, corrected by 256 draws with Pareto-smoothed importance
weights (k: their shape, trusted below 0.7).

One row a free parameter: half the central 68 % of the prior, mean and standard deviation of the posterior,
both on the real line (logarithms of positive numbers), and the ratio of the two widths: 1 is a parameter of
which the data say nothing. Then rows of derived quantities: M(< 20 kpc) in 10^11 Msun, v_c(20 kpc) in km/s,
of all matter the column within 1.1 kpc in Msun/pc^2 and of dark matter the density in Msun/pc^3 at R = 8.2
kpc, beside published values: Posti & Helmi (2019) for clusters; Bovy & Rix (2013), 68 +- 4 at 8 kpc.
"""

import sys
import time
from typing import Any

import jax.numpy as jnp
import numpy as np

from oortax import data, inference, io, model, potential
from oortax.commands import session
from oortax.commands.posterior import build_posterior
from oortax.model.constraints import enclosed_mass, surface_density

CONFIGS = ("globular_clusters", "segue_bhb", "giants_and_gas", "milky_way")
DRAWS, R_0, OTHER_Q = 256, 8.2, 1.4
PUBLISHED = {"M(< 20 kpc)": "1.91 +- 0.18", "q": "1.30 +- 0.25", "Sigma(1.1 kpc)": "68 +- 4"}


def derived(tree: Any) -> dict[str, Any]:
    """Quantities of a model."""
    whole = potential.expand(tree.galaxy.potential)
    return {
        "q": tree.galaxy.potential["halo"].q,
        "M(< 20 kpc)": enclosed_mass(whole, 20.0) / 1e11,
        "v_c(20 kpc)": potential.circular_velocity(whole, 20.0),
        "Sigma(1.1 kpc)": surface_density(whole, R_0, 1.1) / 1e6,
        "rho_DM": tree.galaxy.potential["halo"].rho(R_0, 0.0) / 1e9,
    }


def rows_of(name: str) -> list[dict[str, Any]]:
    """All rows of one configuration."""
    began, file = time.perf_counter(), data.config(name)
    assert file is not None
    problem = io.build(io.load_config(file))
    posterior = build_posterior(problem)
    first = inference.maximise(posterior, progress=False)
    other = posterior.unconstrain(dict(first.values) | {"potential.halo.q": OTHER_Q})
    second = inference.maximise(posterior, jnp.asarray(other), progress=False)
    best = max(first, second, key=lambda found: found.log_density)
    gaussian = inference.laplace(posterior, best, strict=False)
    drawn = inference.correct(posterior, gaussian, DRAWS)
    widths, sd = posterior.prior_scale()[1], np.sqrt(np.diag(drawn.covariance))
    rows: list[dict[str, Any]] = [
        {"fit": name, "quantity": path, "prior": prior, "mean": mean, "sd": after, "sd/prior": after / prior}
        for path, prior, mean, after in zip(posterior.names, widths, drawn.mean, sd, strict=True)
    ]
    values = model.over_draws(derived, problem.model, posterior.constrain(jnp.asarray(drawn.u)))
    for what, each in values.items():
        mean = float(drawn.weights @ np.asarray(each))
        spread = float(np.sqrt(drawn.weights @ (np.asarray(each) - mean) ** 2))
        rows.append({"fit": name, "quantity": what, "mean": mean, "sd": spread})
        rows[-1]["published"] = PUBLISHED.get(what, "")
    stars = sum(len(part.columns["l"]) for part in problem.stars.values())
    starts = f"ln p = {first.log_density:.2f} at q = {first.values['potential.halo.q']:.3f}"
    starts += f", {second.log_density:.2f} at {second.values['potential.halo.q']:.3f}"
    rows.append({"fit": name, "quantity": "all", "starts": starts, "stars": stars, "k": drawn.k_hat})
    return [*rows[:-1], rows[-1] | {"effective draws": drawn.ess, "s": time.perf_counter() - began}]


def main(names: tuple[str, ...] = CONFIGS) -> list[dict[str, Any]]:
    """All rows."""
    session.prepare()
    return [row for name in names for row in rows_of(name)]


if __name__ == "__main__":
    for entry in main(tuple(sys.argv[1:]) or CONFIGS):
        print(", ".join(f"{key}: {value}" for key, value in entry.items()))
