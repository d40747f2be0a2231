"""The pictures and tables of a fit, as report.html and figures/*.png."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oortax import inference, params, plots
from oortax.commands.posterior import numerical_checks, predicted
from oortax.io.problem import Problem
from oortax.plots import literature
from oortax.plots.report import Picture

POTENTIALS_DRAWN, QUANTITIES_DRAWN = 60, 1000
PREDICTED_PER_STAR = 4


def write(
    problem: Problem,
    posterior: inference.Posterior,
    found: Any,
    best: Any,
    rows: Mapping[str, Mapping[str, float]],
    judged: Any,
    run: Mapping[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Write the report; returns the derived quantities (median, q16, q84)."""
    R0 = float(best.survey.sun.R0)
    units = {path: parameter.unit for path, parameter in params.parameters(problem.model).items()}
    pots = (
        plots.potentials_at(best.galaxy.potential, found.draws, POTENTIALS_DRAWN)
        if _moves(found)
        else best.galaxy.potential
    )
    many = (
        plots.potentials_at(best.galaxy.potential, found.draws, QUANTITIES_DRAWN) if _moves(found) else pots
    )
    derived = plots.local_quantities(many, R0=R0)
    diagnostics = dict(numerical_checks(problem, posterior, best))
    if judged is not None:
        diagnostics |= {key: value for key, value in judged._asdict().items() if key != "sentence"}
    column = {
        name: {path: row[name] for path, row in rows.items() if name in row} for name in ("r_hat", "ess_bulk")
    }
    plots.write_report(
        folder,
        _pictures(problem, found, best, pots, units, column["r_hat"], R0),
        title=f"oortax: {problem.report.source}",
        introduction=" ".join(problem.report.sentences()[:1]),
        parameters=plots.parameter_rows(
            found.draws,
            priors=problem.priors,
            units=units,
            best=found.maximum.values,
            rhat=column["r_hat"] or None,
            ess=column["ess_bulk"] or None,
        ),
        derived=literature.compare(derived),
        verdict=None if judged is None else (judged.converged, judged.sentence),
        diagnostics=diagnostics,
        selection={reason: count for reason, count in problem.report.excluded.items()},
        assumptions=[*problem.report.notes, *_assumptions(problem)],
        run={key: str(value) for key, value in run.items()},
        config=problem.config.resolved_toml(),
    )
    return {
        key: dict(zip(("q16", "median", "q84"), np.quantile(v, [0.16, 0.5, 0.84]), strict=True))
        for key, v in derived.items()
    }


def _moves(found: Any) -> bool:
    """Whether there are draws to show, and not the maximum alone."""
    return next(iter(found.draws.values())).size > 1


def _pictures(problem, found, best, pots, units, rhat, R0: float) -> list[Picture]:
    """The figures in the order of the report."""
    curve = problem.constraints.get("circular_velocity")
    # Colours only select: the model has no distribution of them to compare.
    observed = plots.heliocentric({k: v for k, v in problem.columns.items() if k not in ("ids", "colour")})
    n = PREDICTED_PER_STAR * len(problem.columns["l"])
    model = plots.heliocentric(predicted(problem, best, n, problem.config.inference.seed))
    pictures = [
        Picture(
            "rotation_curve", plots.rotation_curve(pots, data=curve, R0=R0), "Circular speed.", "Potential"
        ),
        Picture(
            "vertical_force", plots.vertical_force(pots, R0=R0), "Vertical force at the Sun.", "Potential"
        ),
        Picture(
            "equipotentials",
            plots.equipotentials(best.galaxy.potential, R0=R0),
            "Phi and density.",
            "Potential",
        ),
        Picture(
            "predictive",
            plots.predictive_grid(observed, model),
            "Stars and model.",
            "Stars against the model",
        ),
    ]
    if not _moves(found):
        return pictures
    q = "potential.halo.q"
    if q in found.draws:
        axes = plots.overview(
            best.galaxy.potential,
            pots,
            found.draws,
            problem.priors,
            observed,
            model,
            curve=curve,
            units=units,
            R0=R0,
        )
        pictures.insert(0, Picture("overview", axes, "The fit at a glance.", "Overview"))
    pictures += [
        Picture("prior_posterior", plots.prior_posterior(found.draws, problem.priors), section="Posterior"),
        Picture("corner", plots.corner(found.draws, units=units, priors=problem.priors), section="Posterior"),
    ]
    if found.samples is not None:
        diverging = found.samples.stats["diverging"]
        pictures.append(
            Picture(
                "trace",
                plots.trace(found.draws, units=units, diverging=diverging, rhat=rhat),
                section="Posterior",
            )
        )
    return pictures


def _assumptions(problem: Problem) -> list[str]:
    """What the configuration assumes of the survey, in sentences."""
    errors = problem.config.survey.errors.values
    stated = ", ".join(f"{key} = {value}" for key, value in errors.items() if value is not None)
    lines = [f"Measurement errors where the catalogue has none: {stated} (mag, mas/yr, km/s, mas)."]
    if problem.config.survey.extinction is None:
        lines.append("Magnitudes are not corrected for dust and no dust is modelled.")
    lines.append(
        "The potential is axisymmetric and symmetric about the plane, and the stars are in a steady state."
    )
    return lines
