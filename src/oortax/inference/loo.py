"""Which of several models predicts stars best that it has not seen: leave-one-out by importance sampling."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from oortax.inference.importance import K_HAT


class Predicted(NamedTuple):
    """How well one model of several predicts stars left out.

    `elpd` is the sum over stars of ln p(star | the others), `difference` how far that is below the best
    model's, `error` the standard error of the difference, from the scatter over stars. `effective` is the
    effective number of parameters, `weight` the model's in the mixture that would predict best (stacking).
    `influential` stars have weights with a Pareto shape above 0.7: what leaving them out would do to the
    posterior is not known from these draws.
    """

    name: str
    elpd: float
    difference: float
    error: float
    effective: float
    weight: float
    influential: int


def leave_one_out(
    models: Mapping[str, tuple[Mapping[str, np.ndarray], Float[np.ndarray, "chain draw N"]]],
) -> list[Predicted]:
    """PSIS-LOO (Vehtari, Gelman & Gabry 2017, Stat. Comput. 27, 1413) of models of the same stars.

    Of each model, by name: draws of its parameters by path, (chains, draws), and ln p of every star at each
    draw. At least two models; the best comes first.

    >>> rng = np.random.default_rng(1)
    >>> stars, mean = rng.standard_normal(200), 0.07 * rng.standard_normal((1, 1000))
    >>> def of(sigma):
    ...     return {"mean": mean}, -0.5 * ((stars - mean[..., None]) / sigma) ** 2 - np.log(sigma)
    >>> [row.name for row in leave_one_out({"wide": of(2.0), "right": of(1.0)})]
    ['right', 'wide']
    """
    from oortax.inference.diagnose import az

    data: dict[str, Any] = {
        name: az.from_dict(posterior=dict(draws), log_likelihood={"stars": log_p})
        for name, (draws, log_p) in models.items()
    }
    table = az.compare(data, ic="loo", method="stacking")
    rows = []
    for name in table.index:
        line, k = table.loc[name], np.asarray(az.loo(data[name], pointwise=True).pareto_k)
        rows.append(
            Predicted(
                name=str(name),
                elpd=float(line["elpd_loo"]),
                difference=float(line["elpd_diff"]),
                error=float(line["dse"]),
                effective=float(line["p_loo"]),
                weight=float(line["weight"]),
                influential=int(np.sum(k > K_HAT)),
            )
        )
    return rows


def read_draws(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Draws of parameters by path, (chains, draws), from a file that a fit has written (posterior.nc)."""
    from oortax.inference.diagnose import az

    found: Any = az.from_netcdf(path)
    return {name: np.asarray(found.posterior[name]) for name in names}
