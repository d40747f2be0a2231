"""`oortax calibrate`: are the posteriors of a model's fits what they claim? Mocks from the priors, fitted."""

import hashlib
import json as json_module
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oortax import inference, model, params, plots
from oortax.commands import session
from oortax.commands.info import versions
from oortax.commands.stars import Planned, key_of
from oortax.io.output import open_folder, start_log, write_json, write_text

log = logging.getLogger("oortax")

METHODS = ("laplace", "nuts")
DENSITY = "posterior density"
"""What is ranked beside the parameters: ln p at the truth among the draws (Modrak et al. 2023)."""

_WARMUP, _SAMPLES = 100, 400
# A step would gain so much in ln p: 0.14 sigma from the top, which draws with weights, or chains, make good.
_NEAR_ENOUGH = 1e-2
# The same goes for a Hessian from steps that are longer or shorter by a factor of 2.
_ROUNDNESS = 4.0


def calibrate(
    config: Path,
    *,
    mocks: int = 200,
    stars: int | None = None,
    method: str = "laplace",
    draws: int = 512,
    missing_v_los: float = 0.0,
    workers: int = 2,
    first: int = 0,
    records: Sequence[Path] = (),
    out: Path | None = None,
    force: bool = False,
    resume: bool = False,
    seed: int | None = None,
    json: bool = False,
) -> dict[str, Any]:
    """Draw truths from the priors and catalogues from the model, fit each, and judge ranks and coverage.

    Parameters as of the command line. Every mock follows from the seed and its own number, and is written
    when it is done: a run that was killed goes on with `resume`, also to more mocks, and gives the same
    digits. All are in the folder's records.jsonl, too, which other runs take as `records`: machines share the
    work, each from its own `first` mock on, and one of them sums up. Returns the summary.

    Raises ValueError for a configuration without free parameters or with data other than stars, for sizes
    that make no sense, and for records of another configuration.
    """
    console, began = session.console(json), time.perf_counter()
    planned = Planned.of(config, stars, seed)
    _check(planned, config, mocks=mocks, method=method, draws=draws, workers=workers, first=first)
    options = planned.config.inference
    head = f"# oortax calibrate --stars {options.stars} --seed {options.seed} --method {method}"
    head += f" --draws {draws} --missing-v-los {missing_v_los}\n"
    identity = head + config.read_text(encoding="utf-8")
    known = [record for file in records for record in _recorded(file, identity)]
    folder = open_folder(
        out, f"oortax-{config.stem}-calibrate", force=force, resume=resume, identity=identity
    )
    made = folder / "mocks"
    if force:
        shutil.rmtree(made, ignore_errors=True)
    made.mkdir(exist_ok=True)
    for record in known:
        write_json(_path(made, record["mock"]), record)
    start_log(folder)
    console.print(f"[bold]{folder}[/bold]")
    console.print(
        f"  {mocks} mocks of {options.stars:,} stars, {len(planned.priors)} free parameters; {method}"
    )
    bench = Bench(planned, method, draws, missing_v_los)
    # Mock 0, whose curvature all others start from, is everyone's.
    wanted = sorted({0, *range(first, mocks), *(record["mock"] for record in known)})
    done = _run(bench, made, wanted, workers, console)
    lines = [json_module.dumps(record) for record in ({"of": _mark(identity)}, *done)]
    write_text(folder / "records.jsonl", "\n".join(lines) + "\n")
    summary = summarise(done, bench.posterior.names) | {
        "stars": options.stars,
        "method": method,
        "missing_v_los": missing_v_los,
        "seed": options.seed,
        "finder": planned.stars.finder,
        "versions": versions(),
    }
    write_json(folder / "calibration.json", summary | {"seconds": time.perf_counter() - began})
    write_text(folder / "calibration.csv", _csv(summary["quantities"]))
    axes = plots.rank_histograms(
        {name: of["counts"] for name, of in summary["quantities"].items()},
        {name: of["p"] for name, of in summary["quantities"].items()},
    )
    plots.save_picture(axes[0, 0].figure, folder / "ranks.png")
    of_level = {name: _by_level(of["coverage"]) for name, of in summary["quantities"].items()}
    axes = plots.coverage(of_level, _by_level(summary["band"]))
    plots.save_picture(axes.figure, folder / "coverage.png")
    for line in [*_lines(summary), *summary["notes"], summary["verdict"]]:
        console.print(f"  {line}")
    log.info("finished: %s", summary["verdict"])
    if json:
        session.print_json(summary | {"folder": str(folder)})
    return summary


def _mark(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()


def _recorded(file: Path, identity: str) -> list[dict[str, Any]]:
    """Mocks that another run of the same configuration has made."""
    try:
        head, *found = [json_module.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        mark, _ = head["of"], [record["mock"] for record in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not the records.jsonl of a calibration ({error})") from None
    if mark != _mark(identity):
        raise ValueError(
            f"{file}: mocks of another configuration, or other stars, seed, method, draws or missing_v_los"
        )
    return found


def _check(
    planned: Planned, config: Path, *, mocks: int, method: str, draws: int, workers: int, first: int
) -> None:
    """Raise ValueError for what cannot be calibrated, and for sizes that make no sense."""
    other = [f"constraints.{name}" for name in planned.config.constraints]
    other += [f"binned.{name}" for name in planned.config.binned]
    if other:
        raise ValueError(
            f"{config}: calibrate draws stars only, not {', '.join(other)}: leave these tables out"
        )
    if method not in METHODS:
        raise ValueError(f"method = {method!r} is not one of {', '.join(METHODS)}")
    if not 0 <= first < mocks:
        raise ValueError(f"first = {first} must lie between 0 and mocks - 1 = {mocks - 1}")
    for name, value, least in (("mocks", mocks, 1), ("draws", draws, 32), ("workers", workers, 1)):
        if value < least:
            raise ValueError(f"{name} = {value} must be at least {least}")


class Bench:
    """Makes one mock after another, with one compiled likelihood for all."""

    def __init__(self, planned: Planned, method: str, draws: int, missing_v_los: float):
        self.planned, self.method, self.draws = planned, method, draws
        self.missing = missing_v_los
        self.posterior = planned.posterior()
        self.volume = model.whole_volume(planned.tree.galaxy, planned.tree.survey)
        self.precision: np.ndarray | None = None

    def learn(self, record: Mapping[str, Any]) -> None:
        """Start all further maximisations with the curvature that the first mock was found to have."""
        known = record.get("precision")
        self.precision = None if known is None else np.asarray(known)

    def truth(self, mock: int) -> dict[str, float]:
        """Parameters drawn from their priors, by path."""
        seed = self.planned.config.inference.seed
        return {
            path: float(np.asarray(prior.sample(key_of(seed, mock, 0, i))))
            for i, (path, prior) in enumerate(self.posterior.priors.items())
        }

    def __call__(self, mock: int) -> dict[str, Any]:
        """The record of one mock: truth, ranks, mean and sd on the real line, and how the fit went."""
        began, truth = time.perf_counter(), self.truth(mock)
        try:
            record = self._fitted(mock, truth)
        except ValueError as error:
            log.warning("mock %d: %s", mock, error)
            record = {"error": session.sentence(error)}
        return {"mock": mock, "truth": truth} | record | {"seconds": time.perf_counter() - began}

    def _fitted(self, mock: int, truth: dict[str, float]) -> dict[str, Any]:
        options, seed = self.planned.config.inference, self.planned.config.inference.seed
        at = params.replace(self.planned.tree, truth)
        catalogue = self.planned.draw(at, key_of(seed, mock, 1), int(options.stars or 0), self.missing)
        nodes = self.planned.nodes(catalogue, self.volume)
        posterior = self.planned.posterior({"catalogue": catalogue, "nodes": nodes})
        curvature = self.precision if mock else None
        maximum = inference.maximise(
            posterior,
            steps=options.steps,
            tolerance=_NEAR_ENOUGH,
            precision=curvature,
            progress=False,
        )
        gaussian = inference.laplace(posterior, maximum, strict=False, roundness=_ROUNDNESS)
        u = np.asarray(posterior.unconstrain(truth))
        log_p = float(posterior.value_and_grad(jnp.asarray(u))[0])
        if self.method == "nuts":
            found = ranked_by_nuts(posterior, gaussian, key_of(seed, mock, 2), u, log_p)
        else:
            found = ranked_by_laplace(posterior, gaussian, self.draws, [seed, mock], u, log_p)
        # Only the first mock's is used, so that the digits of the others depend on it alone.
        first = {"precision": gaussian.precision} if mock == 0 and gaussian.positive_definite else {}
        return (
            first
            | found
            | {
                "u": u,
                "gradients": maximum.n_gradients + gaussian.n_gradients,
                "converged": maximum.converged,
                "star_nodes": nodes.n_star_nodes,
            }
        )


def ranked_by_laplace(
    posterior, gaussian, draws: int, seed: Any, u: np.ndarray, log_p: float
) -> dict[str, Any]:
    """Ranks of a truth u with ln p there, mean and sd, from the Gaussian's draws and their weights."""
    drawn = inference.correct(posterior, gaussian, draws, seed=seed)
    return {
        "ranks": [*drawn.below(u), float(drawn.weights @ (drawn.log_density < log_p))],
        "mean": drawn.mean,
        "sd": np.sqrt(np.diag(drawn.covariance)),
        "k_hat": drawn.k_hat,
        "ess": drawn.ess,
    }


def ranked_by_nuts(posterior, gaussian, key: Any, u: np.ndarray, log_p: float) -> dict[str, Any]:
    """The same from two chains of 400 draws."""
    from oortax.inference.diagnose import verdict

    samples = inference.sample(
        posterior,
        gaussian,
        key=key,
        chains=2,
        warmup=_WARMUP,
        samples=_SAMPLES,
        chain_method="sequential",
        progress=False,
    )
    flat = samples.u.reshape(-1, len(u))
    return {
        "ranks": [*(flat < u).mean(axis=0), float((samples.stats["log_density"] < log_p).mean())],
        "mean": flat.mean(axis=0),
        "sd": flat.std(axis=0, ddof=1),
        "ess": verdict(samples).ess_bulk,
    }


def _run(bench: Bench, folder: Path, mocks: Sequence[int], workers: int, console: Any) -> list:
    """All records, those on disc read, the others made and written one by one."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    missing = [mock for mock in mocks if not _path(folder, mock).is_file()]
    columns = (TextColumn("mocks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("mocks", total=len(mocks), completed=len(mocks) - len(missing))
        # The first alone: all others start from its curvature, and nothing is compiled twice.
        for some in ([mock for mock in missing if mock == 0], [mock for mock in missing if mock > 0]):
            for record in _made(bench, some, workers):
                write_json(_path(folder, record["mock"]), record)
                bar.advance(task)
            bench.learn(_read(folder, 0))
    return [_read(folder, mock) for mock in mocks]


def _made(bench: Callable[[int], dict[str, Any]], mocks: list[int], workers: int) -> Iterator[dict]:
    """Records as they are done."""
    x64 = bool(jax.config.read("jax_enable_x64"))

    def one(mock: int) -> dict[str, Any]:
        # A thread has settings of its own.
        with jax.enable_x64(x64):
            return bench(mock)

    with ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(one, mock) for mock in mocks}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _path(folder: Path, mock: int) -> Path:
    return folder / f"{mock:05d}.json"


def _read(folder: Path, mock: int) -> dict[str, Any]:
    return json_module.loads(_path(folder, mock).read_text(encoding="utf-8"))


def summarise(records: list[Mapping[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    """Ranks, coverage, pulls and verdict of the mocks that could be fitted.

    Raises ValueError, with the first reason, if none could.
    """
    good = [record for record in records if "error" not in record]
    failed = [record for record in records if "error" in record]
    if not good:
        raise ValueError(f"none of {len(records)} mocks could be fitted; the first: {failed[0]['error']}")
    ranks = np.array([record["ranks"] for record in good])
    u, mean, sd = (np.array([record[key] for record in good]) for key in ("u", "mean", "sd"))
    pulls = dict(zip(names, ((u - mean) / sd).T, strict=True))
    found = inference.judge(dict(zip((*names, DENSITY), ranks.T, strict=True)), pulls)
    k_hat = np.array([record.get("k_hat", 0.0) for record in good])
    notes = []
    if failed:
        notes.append(f"{len(failed)} mocks could not be drawn or fitted; the first: {failed[0]['error']}")
    rough = int(np.sum(k_hat > inference.K_HAT))
    if rough:
        notes.append(
            f"{rough} posteriors are far from Gaussian (k_hat > {inference.K_HAT}): try --method nuts"
        )
    late = sum(not record["converged"] for record in good)
    if late:
        notes.append(f"{late} maximisations stopped early")
    quantities = {
        name: {
            "coverage": {str(level): share for level, share in of.items()},
            "p": found.p[name],
            "pull_mean": found.pull_mean.get(name, np.nan),
            "pull_sd": found.pull_sd.get(name, np.nan),
            "counts": found.counts[name].tolist(),
        }
        for name, of in found.coverage.items()
    }
    seconds = float(np.mean([record["seconds"] for record in good]))
    return {
        "mocks": len(good),
        "failed": len(failed),
        "flat": found.flat,
        "outside": [{"quantity": q, "level": level, "coverage": c} for q, level, c in found.outside()],
        "verdict": found.sentence[0].upper() + found.sentence[1:],
        "quantities": quantities,
        "band": {str(level): ends for level, ends in found.band.items()},
        "median_ess": float(np.median([record["ess"] for record in good])),
        "far_from_gaussian": rough,
        "gradients": float(np.mean([record["gradients"] for record in good])),
        "seconds_per_mock": seconds,
        "notes": notes,
    }


def _by_level(of: Mapping[str, Any]) -> dict[float, Any]:
    return {float(level): value for level, value in of.items()}


def _csv(quantities: Mapping[str, Mapping[str, Any]]) -> str:
    levels = list(next(iter(quantities.values()))["coverage"])
    lines = [",".join(["quantity", *(f"coverage_{level}" for level in levels), "p", "pull_mean", "pull_sd"])]
    for name, of in quantities.items():
        numbers = [*of["coverage"].values(), of["p"], of["pull_mean"], of["pull_sd"]]
        lines.append(",".join([name, *(repr(float(x)) for x in numbers)]))
    return "\n".join(lines) + "\n"


def _lines(summary: Mapping[str, Any]) -> list[str]:
    """The table in lines of text; coverages outside their bands have a mark."""
    quantities, band = summary["quantities"], summary["band"]
    width = max(len(name) for name in quantities)
    head = [f"{100 * float(level):.0f} %" for level in band]
    lines = [f"{'':{width}}" + "".join(f"{name:>15}" for name in (*head, "p of ranks", "pull"))]
    ends = [f"{low:.3f}-{high:.3f}" for low, high in band.values()]
    lines.append(f"{'(99 % bands)':{width}}" + "".join(f"{text:>15}" for text in ends))
    for name, of in quantities.items():
        cells = [
            ("! " if not band[level][0] <= share <= band[level][1] else "") + f"{share:.3f}"
            for level, share in of["coverage"].items()
        ]
        cells.append(f"{of['p']:.2g}")
        if not np.isnan(of["pull_mean"]):
            cells.append(f"{of['pull_mean']:+.2f} ({of['pull_sd']:.2f})")
        lines.append(f"{name:{width}}" + "".join(f"{cell:>15}" for cell in cells))
    return lines
