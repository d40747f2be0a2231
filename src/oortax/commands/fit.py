"""`oortax fit` and `oortax demo`: from a configuration to a folder of results."""

import logging
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oortax import inference, params
from oortax.commands import report, session
from oortax.commands.info import devices, versions
from oortax.commands.posterior import build_posterior, with_tori_at
from oortax.commands.state import stage
from oortax.io.config import load_config
from oortax.io.output import open_folder, start_log, write_json
from oortax.io.problem import Problem, build
from oortax.io.save import save

log = logging.getLogger("oortax")

LAPLACE_DRAWS = 2000


class Fit(NamedTuple):
    """What a fit found: stages that the method left out are None.

    `draws` are parameter values by path, (chains, draws): of NUTS, of the Gaussian approximation,
    or the maximum alone.
    """

    maximum: inference.Maximum
    laplace: inference.Laplace | None
    samples: inference.Samples | None
    draws: dict[str, np.ndarray]


def fit(
    config: Path,
    *,
    stem: str,
    out: Path | None = None,
    force: bool = False,
    resume: bool = False,
    json: bool = False,
    all_stars: bool = False,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Run a fit and write its folder; returns the folder.

    Parameters
    ----------
    config : TOML file
    stem : name of the numbered folders if `out` is not given
    changes : entries of [inference] given on the command line (None: as in the file)
    """
    began = time.perf_counter()
    settings = load_config(config).with_inference(**(changes or {}))
    settings = settings.with_all_stars() if all_stars else settings
    problem = build(settings)
    identity = settings.resolved_toml()
    folder = open_folder(out, stem, force=force, resume=resume, identity=identity)
    if force:
        _clear(folder)
    start_log(folder)
    console = session.console(json)
    log.info("%s %s, configuration %s", " ".join(_words(versions())), _words(devices()), config)
    console.print(f"[bold]{folder}[/bold]")
    for line in problem.sentences():
        log.info(line)
        console.print(f"  {line}")
    console.print(f"  {len(problem.priors)} free parameters; {settings.inference.method}")
    posterior = build_posterior(problem)
    posterior, found = infer(problem, posterior, folder, resume=resume, progress=console.is_terminal)
    summary = write_results(problem, posterior, found, folder, began)
    console.print(f"  {summary['verdict']}")
    console.print(f"  report: {folder / 'report.html'}")
    if json:
        session.print_json(summary)
    return folder


def infer(
    problem: Problem, posterior: inference.Posterior, folder: Path, *, resume: bool, progress: bool
) -> tuple[inference.Posterior, Fit]:
    """Maximise, fit a Gaussian and sample, as far as the method goes; every stage is written.

    Where actions are those of tori, these are fitted again at the maximum, and the posterior with them comes
    back, too.
    """
    import jax

    options = problem.config.inference
    shared: dict[str, Any] = {
        "chains": options.chains,
        "warmup": options.warmup,
        "target_accept": options.target_accept,
        "max_tree_depth": options.max_tree_depth,
    }
    ahead = inference.Ahead(posterior, **shared) if options.method == "nuts" else None
    maximum = stage(
        folder / "maximum.json",
        inference.Maximum,
        lambda: inference.maximise(posterior, steps=options.steps, progress=progress),
        resume=resume,
    )
    log.info("maximum: ln p = %.3f after %d gradients", maximum.log_density, maximum.n_gradients)
    moved = with_tori_at(posterior, params.replace(problem.model, maximum.values))
    if moved is not None:
        posterior, first = moved, maximum
        maximum = stage(
            folder / "maximum_of_tori.json",
            inference.Maximum,
            lambda: inference.maximise(moved, first.u, steps=options.steps, progress=progress),
            resume=resume,
        )
        log.info("with tori fitted there: ln p = %.3f", maximum.log_density)
    if not maximum.converged:
        log.warning("the maximiser stopped early: %s", maximum.message)
    if options.method == "maximum":
        alone = {path: np.array([[v]]) for path, v in maximum.values.items()}
        return posterior, Fit(maximum, None, None, alone)
    gaussian = stage(
        folder / "laplace.json",
        inference.Laplace,
        lambda: inference.laplace(posterior, maximum),
        resume=resume,
    )
    key_laplace, key_nuts = jax.random.split(jax.random.key(options.seed))
    if options.method == "laplace":
        u = gaussian.sample(key_laplace, LAPLACE_DRAWS)
        draws = {path: np.asarray(values)[None] for path, values in posterior.constrain(u).items()}
        return posterior, Fit(maximum, gaussian, None, draws)
    samples = inference.sample(
        posterior,
        gaussian,
        key=key_nuts,
        samples=options.samples,
        ahead=ahead,
        **shared,
        folder=folder / "chains",
        resume=resume,
        progress=progress,
    )
    return posterior, Fit(maximum, gaussian, samples, samples.values)


def write_results(
    problem: Problem, posterior: inference.Posterior, found: Fit, folder: Path, began: float
) -> dict[str, Any]:
    """posterior.nc, summary.csv and .json, best.json, figures and report.html; returns the summary.

    `began` is the clock's reading when the fit did.
    """
    attributes = provenance(problem, time.perf_counter() - began)
    best = params.replace(problem.model, found.maximum.values)
    save(folder / "best.json", best)
    judged = None
    if found.samples is not None:
        from oortax.inference import diagnose

        judged = diagnose.verdict(found.samples)
        diagnose.write_netcdf(diagnose.to_inference_data(found.samples, attributes), folder / "posterior.nc")
        rows = diagnose.summary(found.samples, posterior)
    else:
        rows = _plain_rows(found)
    from oortax.inference.diagnose import write_summary

    write_summary(rows, folder)
    sentence = judged.sentence if judged else _without_chains(found)
    summary = {
        "folder": str(folder),
        "method": problem.config.inference.method,
        "verdict": sentence,
        "converged": judged.converged if judged else found.maximum.converged,
        "log_density": found.maximum.log_density,
        "parameters": rows,
        "rows": None if problem.report is None else problem.report.as_dict(),
        "tables": {name: table.as_dict() for name, table in problem.counted().items()},
    }
    derived = report.write(problem, posterior, found, best, rows, judged, attributes, folder)
    summary["derived"] = derived
    # The report and posterior.nc hold the time until they were written, this the whole.
    summary["run"] = attributes | {"seconds": round(time.perf_counter() - began, 1)}
    write_json(folder / "result.json", summary)
    log.info("finished: %s", sentence)
    return summary


def provenance(problem: Problem, seconds: float) -> dict[str, Any]:
    """What a result came from: versions, devices, seed, data and their hash."""
    catalogues = problem.config.star_catalogues().values()
    return {
        "versions": versions(),
        "devices": [f"{d['platform']}:{d['id']}" for d in devices()],
        "seed": problem.config.inference.seed,
        "catalogue": ", ".join(part.catalogue for part in catalogues) or "none",
        "data_sha256": problem.data_sha256,
        "stars": sum(len(part.columns["l"]) for part in problem.stars.values()),
        "seconds": round(seconds, 1),
    }


def _plain_rows(found: Fit) -> dict[str, dict[str, float]]:
    """Summary rows without chains: the maximum, and the Gaussian's spread if there is one."""
    rows = {}
    for path, value in found.maximum.values.items():
        rows[path] = {"maximum": float(value)}
        if found.laplace is not None:
            of_draws = np.quantile(found.draws[path], [0.03, 0.16, 0.5, 0.84, 0.97])
            q3, q16, median, q84, q97 = (float(q) for q in of_draws)
            rows[path] |= {"sd": float(found.laplace.sigma[path])}
            rows[path] |= {"q3": q3, "q16": q16, "median": median, "q84": q84, "q97": q97}
    return rows


def _without_chains(found: Fit) -> str:
    kind = "the maximum alone" if found.laplace is None else "a Gaussian approximation at the maximum"
    return f"{kind}, {'converged' if found.maximum.converged else 'not converged'} ({found.maximum.message})"


def _clear(folder: Path) -> None:
    """Remove an older run's own files, and nothing else, before writing over it."""
    for name in ("chains", "figures"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (
        "maximum.json", "maximum_of_tori.json", "laplace.json", "posterior.nc", "summary.csv", "summary.json",
        "best.json", "result.json", "report.html", "run.log",
    ):  # fmt: skip
        (folder / name).unlink(missing_ok=True)


def _words(value: Any) -> Any:
    """Versions or devices as short text for the log."""
    if isinstance(value, dict):
        return [f"{name} {version}" for name, version in value.items()]
    return ", ".join(f"{d['platform']}:{d['id']}" for d in value)
