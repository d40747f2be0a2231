"""`oortax compare`: which of several models of the same stars would predict other stars best."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from oortax import inference, params
from oortax.commands import session
from oortax.commands.posterior import build_posterior
from oortax.commands.state import read_record
from oortax.io.config import load_config
from oortax.io.output import write_json
from oortax.io.problem import Problem, build


class Candidate(NamedTuple):
    """A finished fit: some draws by path, (chains, draws), and ln L_k - ln A of every star at each."""

    name: str
    problem: Problem
    draws: dict[str, np.ndarray]
    log_L: np.ndarray


def compare(
    folders: tuple[Path, ...], *, draws: int = 400, out: Path | None = None, json: bool = False
) -> dict[str, Any]:
    """Compare fits by the expected ln density of a star that they have not seen; returns the table.

    PSIS-LOO (Vehtari, Gelman & Gabry 2017, Stat. Comput. 27, 1413) over the stars of all catalogues: elpd is
    the sum over stars of ln p(star | the others), by `draws` draws of each fit's posterior (`posterior.nc`,
    or else the Gaussian of `laplace.json`). A difference of elpd counts beside its own error, which has the
    pairs of stars in it. Counts in cells and direct constraints enter through the posteriors alone.

    Raises ValueError for fewer than two folders, folders without a finished fit, and fits of different stars.
    """
    console = session.console(json)
    if len(folders) < 2:
        raise ValueError("compare needs at least two folders of `oortax fit`")
    for folder in folders:
        if not (folder / "config.toml").is_file():
            raise ValueError(f"{folder} holds no fit: there is no config.toml")
    found = [candidate(name, folder, draws) for name, folder in zip(_names(folders), folders, strict=True)]
    _check_same_stars(found)
    _check_finite(found)
    rows = inference.leave_one_out({each.name: (each.draws, each.log_L) for each in found})
    for row in rows:
        console.print(
            f"{row.name}: elpd = {row.elpd:.1f}, {row.difference:.1f} +- {row.error:.1f} below the best; "
            f"{row.effective:.1f} effective parameters; weight {row.weight:.2f}"
        )
        if row.influential:
            console.print(
                f"  {row.influential} stars have too much influence on this posterior to be left out by "
                "weights (Pareto k > 0.7): take the difference with care"
            )
    result = {
        "stars": int(found[0].log_L.shape[-1]),
        "draws": draws,
        "fits": [row._asdict() for row in rows],
    }
    if out is not None:
        write_json(out, result)
    if json:
        session.print_json(result)
    return result


def _names(folders: tuple[Path, ...]) -> list[str]:
    """Short names that tell the folders apart."""
    short = [folder.name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def candidate(name: str, folder: Path, draws: int) -> Candidate:
    """A finished fit with the terms of its stars."""
    problem = build(load_config(folder / "config.toml"))
    if not problem.stars:
        raise ValueError(f"{folder}: this fit has no star: only models of stars can be compared")
    posterior = build_posterior(problem)
    values = _draws(folder, posterior, draws)
    return Candidate(name, problem, values, terms(posterior, problem, values))


def _draws(folder: Path, posterior: inference.Posterior, n: int) -> dict[str, np.ndarray]:
    """Parameter values by path, (chains, draws / chains), of the chains or of the Gaussian."""
    sampled, gaussian = folder / "posterior.nc", folder / "laplace.json"
    if sampled.is_file():
        values = inference.read_draws(sampled, posterior.names)
        chains, length = values[posterior.names[0]].shape
        kept = np.unique(np.linspace(0, length - 1, max(n // chains, 1)).round().astype(int))
        return {path: value[:, kept] for path, value in values.items()}
    if not gaussian.is_file():
        raise ValueError(
            f"{folder} holds neither posterior.nc nor laplace.json: finish the fit with --resume"
        )
    record = read_record(gaussian, inference.Laplace)
    u = record.sample(jax.random.key(0), n)
    return {path: np.asarray(value)[None] for path, value in posterior.constrain(u).items()}


def terms(posterior: inference.Posterior, problem: Problem, draws: Mapping[str, np.ndarray]) -> np.ndarray:
    """ln L_k - ln A of every star of all catalogues, (chains, draws, N)."""
    log_likelihood: Any = posterior.log_likelihood

    @jax.jit
    def at(values, model, data):
        found = log_likelihood.per_star(params.replace(model, values), data)
        return jnp.concatenate([found[name].log_L for name in problem.stars])

    shape = next(iter(draws.values())).shape
    flat = {path: jnp.asarray(value).reshape(-1) for path, value in draws.items()}
    rows = [
        np.asarray(at({path: value[i] for path, value in flat.items()}, posterior.model, posterior.data))
        for i in range(int(np.prod(shape)))
    ]
    return np.stack(rows).reshape(*shape, -1)


def _check_finite(found: list[Candidate]) -> None:
    """Raise ValueError for stars that a model cannot show at some of its draws."""
    for each in found:
        lost = ~np.isfinite(each.log_L).all(axis=(0, 1))
        if lost.any():
            stars = np.concatenate([np.asarray(part.columns["ids"]) for part in each.problem.stars.values()])
            raise ValueError(
                f"{each.name}: {int(lost.sum())} stars (id {stars[lost][0]} ...) have no likelihood at some "
                "draws: give the fit an outlier component"
            )


def _check_same_stars(found: list[Candidate]) -> None:
    """Raise ValueError unless all fits are of the same stars."""
    first = found[0]
    for each in found[1:]:
        same = set(each.problem.stars) == set(first.problem.stars) and all(
            np.array_equal(part.columns["ids"], each.problem.stars[name].columns["ids"])
            for name, part in first.problem.stars.items()
        )
        if not same:
            raise ValueError(
                f"{first.name} and {each.name} are fits of different stars: compare models of the same "
                "catalogues, selections, inference.stars and inference.seed"
            )
