"""Does a forecast tell the spread of the maxima that fits of mocks have?

Run `python benchmarks/forecast.py`, with OORTAX_FORECAST_MOCKS mocks (60). The model of `oortax forecast
calibration`: nine free parameters, 500 stars a catalogue. F is N <s s^T> of 20,000 stars drawn from the model
at its start values; all mocks are drawn there, too, and fitted (maximum of stars and priors). With the
priors' curvature P the maxima should scatter with the covariance (F + P)^-1 F (F + P)^-1 about a mean close
to the truth, which is the priors' centre for most.

One row a parameter: sigma by the stars alone, its Monte Carlo error, sigma with priors, the scatter expected
of the maxima and the one found, their ratio (its error is 1/sqrt(2 mocks)), and the mean score of the 20,000
stars in its standard error. Then a row for all: the mean of d^T C^-1 d over mocks, which should be the
number of parameters, the probability of a larger chi^2 of the mean scores, gradients and seconds a mock.
"""

import os
import time
from typing import Any

import numpy as np

from oortax import data, inference, model
from oortax.commands import session
from oortax.commands.stars import Planned, key_of

MOCKS, DRAWN = 60, 20_000


def main() -> list[dict[str, Any]]:
    """One row a parameter, and one for all."""
    session.prepare()
    planned = Planned.of(data.config("calibration"), None, None)
    mocks = int(os.environ.get("OORTAX_FORECAST_MOCKS", MOCKS))
    N = planned.config.inference.stars or 0
    volume = model.whole_volume(planned.tree.galaxy, planned.tree.survey)

    def seen(key: Any, n: int) -> dict[str, Any]:
        catalogue = planned.draw(planned.tree, key, n, 0.0)
        return {"catalogue": catalogue, "nodes": planned.nodes(catalogue, volume)}

    blank = planned.posterior()
    found = inference.forecast(blank, planned.stars.per_star, seen(key_of(1), DRAWN), N)
    both = found.covariance()
    expected = both @ found.of_stars @ both
    truth, maxima, gradients, began = np.asarray(blank.start), [], [], time.perf_counter()
    for mock in range(mocks):
        posterior = planned.posterior(seen(key_of(2, mock), N))
        top = inference.maximise(posterior, precision=np.linalg.inv(both), progress=False)
        maxima.append(top.u)
        gradients.append(top.n_gradients)
    seconds = (time.perf_counter() - began) / mocks
    miss = np.array(maxima) - truth
    spread, scores = miss.std(axis=0, ddof=1), found.mean_score()
    alone, error, with_prior = found.sigma(prior=False), found.sigma_error(prior=False), found.sigma()
    rows: list[dict[str, Any]] = []
    for i, path in enumerate(found.names):
        scale = abs(found.slope[i])
        rows.append(
            {
                "parameter": path,
                "sigma, stars": alone[path],
                "its error": error[path],
                "sigma": with_prior[path],
                "scatter expected": scale * expected[i, i] ** 0.5,
                "found": scale * spread[i],
                "ratio": spread[i] / expected[i, i] ** 0.5,
                "mean score": scores[0][path],
            }
        )
    square = np.einsum("mi,ij,mj->m", miss, np.linalg.inv(expected), miss)
    rows.append(
        {
            "parameter": "all",
            "mocks": mocks,
            "chi2 a mock": square.mean(),
            "its error ": square.std(ddof=1) / np.sqrt(mocks),
            "p of scores": scores[1],
            "gradients": float(np.mean(gradients)),
            "seconds a mock": seconds,
        }
    )
    return rows


if __name__ == "__main__":
    for entry in main():
        print(", ".join(f"{name}: {item}" for name, item in entry.items()))
