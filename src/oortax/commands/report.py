"""The pictures and tables of a fit, as report.html and figures/*.png."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from oortax import inference, model, params, plots
from oortax.commands.posterior import constraint_rows, numerical_checks, predicted, prolate_note
from oortax.io.nodes import Free
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
    pots = many = best.galaxy.potential
    if _moves(found) and any(path.startswith("potential.") for path in found.draws):
        pots = plots.potentials_at(pots, found.draws, POTENTIALS_DRAWN)
        many = plots.potentials_at(many, found.draws, QUANTITIES_DRAWN)
    derived = plots.local_quantities(many, R0=_R0_of(found, many, R0))
    diagnostics = dict(numerical_checks(problem, posterior, best))
    diagnostics |= shifts(found.draws, diagnostics)
    if judged is not None:
        diagnostics |= {key: value for key, value in judged._asdict().items() if key != "sentence"}
    column = {
        name: {path: row[name] for path, row in rows.items() if name in row} for name in ("r_hat", "ess_bulk")
    }
    plots.write_report(
        folder,
        _pictures(problem, found, best, pots, units, column["r_hat"], R0),
        title=f"oortax: {problem.title}",
        introduction=" ".join(_introduction(problem)),
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
        constraints=_table_of(constraint_rows(problem, best)),
        selection=_excluded(problem),
        assumptions=[*_notes(problem), *prolate_note(diagnostics), *_assumptions(problem)],
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


def _R0_of(found: Any, pots: Any, R0: float) -> Any:
    """R0 of the same draws as `plots.potentials_at` takes, if it is free."""
    if not isinstance(pots, list) or "sun.R0" not in found.draws:
        return R0
    values = np.ravel(found.draws["sun.R0"])
    return values[np.unique(np.linspace(0, values.size - 1, min(len(pots), values.size)).round().astype(int))]


def shifts(draws: Mapping[str, np.ndarray], checks: Mapping[str, Any]) -> dict[str, float]:
    """How far the normalisation's error moves the parameters: of all the largest, in posterior sigma.

    An error g of d ln L/d theta moves the maximum by C g, C being the covariance of the posterior's draws;
    errors of several catalogues add up. Empty without draws to tell it.

    >>> draws = {"a": np.array([0.0, 2.0, 0.0, 2.0]), "b": np.array([0.0, 0.0, 4.0, 4.0])}
    >>> found = shifts(draws, {"error of d ln L/d a": 0.05, "cap: error of d ln L/d b": -0.2})
    >>> {name: round(value, 2) for name, value in found.items()}
    {'shift of b by the error of ln A (largest; in sigma)': 0.46}
    """
    values = np.array([np.asarray(value, float).ravel() for value in draws.values()])
    errors = np.array(
        [
            sum(float(e) for name, e in checks.items() if name.endswith(f"error of d ln L/d {path}"))
            for path in draws
        ]
    )
    if values.shape[1:] < (2,) or not errors.any():
        return {}
    covariance = np.atleast_2d(np.cov(values))
    sigma = np.sqrt(np.diag(covariance))
    moved = np.abs(covariance @ errors) / np.where(sigma > 0.0, sigma, np.inf)
    worst = int(np.argmax(moved))
    name = f"shift of {list(draws)[worst]} by the error of ln A (largest; in sigma)"
    return {name: float(moved[worst])}


def _introduction(problem: Problem) -> list[str]:
    """The rows of each catalogue, or of the first table."""
    stars = [f"{name}: {part.report.sentences()[0]}." for name, part in problem.stars.items() if name]
    return [*problem.sentences()[:1], *stars] if problem.report else stars or problem.sentences()[:1]


def _notes(problem: Problem) -> list[str]:
    """What was assumed for the stars of each catalogue."""
    notes = [(name, note) for name, part in problem.stars.items() for note in part.report.notes]
    return [f"{name}: {note}" if name else note for name, note in notes]


def _excluded(problem: Problem) -> dict[str, int]:
    """Rows left out, by reason; those of all but [data] under their name."""
    counts = {} if problem.report is None else dict(problem.report.excluded)
    for name, table in problem.counted().items():
        counts |= {f"{name}: {reason}": count for reason, count in table.excluded.items()}
    return counts


def _table_of(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The constraints' table, with chi^2 to a decimal."""
    return [row | {"points": f"{row['points']:,}", "chi2": f"{row['chi2']:.1f}", "ln L": f"{row['ln L']:.1f}"}
            for row in rows]  # fmt: skip


def _curve_of(problem: Problem) -> Any:
    """The first circular-speed curve among the constraints, or None."""
    parts = problem.config.constraints
    return next((problem.constraints[n] for n in parts if parts[n].kind == "circular_velocity"), None)


def _pictures(problem, found, best, pots, units, rhat, R0: float) -> list[Picture]:
    """The figures in the order of the report."""
    curve = _curve_of(problem)
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
    ]
    for name, fit in model.fits(best, problem.constraints).items():
        if fit.n > 1:
            part = best.constraints[name]
            caption = f"{name}: {problem.tables[name].source}; chi2 = {fit.chi2:.1f} of {fit.n} points."
            axes = plots.direct_constraint(fit.prediction, part.axes, log=part.log_axes)
            pictures.append(Picture(f"constraint_{name}", axes, caption, "Direct constraints"))
    observed = expected = None
    for name, table in problem.stars.items():
        seen = _against_model(problem, best, name, table.columns)
        if name == "":
            observed, expected = seen
        grid = plots.predictive_grid(*seen)
        picture, caption = (f"{name}_predictive", f"{name}: stars and model.") if name else _UNNAMED
        pictures.append(Picture(picture, grid, caption, "Stars against the model"))
    for name, table in problem.binned.items():
        part = problem.config.binned[name]
        survey = eqx.tree_at(lambda node: node.sun, table.survey, best.survey.sun)
        key = jax.random.key(problem.config.inference.seed)
        seen = model.spd(best.galaxy, survey, key, part.nodes, colour_error=part.colour_error)
        for quantity, edges in table.cells.items():
            values = model.quantity_of(table.columns, quantity)
            axes = plots.spd_histogram(seen, quantity, edges, observed=values)
            picture = Picture(f"{name}_{quantity}", axes, f"{name}: counts.", "Counts against the model")
            pictures.append(picture)
    if not _moves(found):
        return pictures
    q = "potential.halo.q"
    if q in found.draws and observed is not None and expected is not None:
        axes = plots.overview(
            best.galaxy.potential,
            pots,
            found.draws,
            problem.priors,
            observed,
            expected,
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


_UNNAMED = "predictive", "Stars and model."


def _against_model(problem: Problem, best: Any, name: str, stars: Mapping[str, Any]) -> tuple[Any, Any]:
    """What a catalogue's stars and the model show of the same quantities."""
    n = PREDICTED_PER_STAR * len(stars["l"])
    columns = predicted(problem, best, n, problem.config.inference.seed, name)
    # Colours only select: the model has no distribution of them to compare.
    absent = [key for key in ("V", "parallax", "distance_modulus", "mu_l", "v_los") if _is_empty(stars, key)]
    lost = {"ids", "colour", *absent} | ({"mu_b"} if "mu_l" in absent else set())
    observed, expected = (
        plots.heliocentric({k: v for k, v in each.items() if k.removesuffix("_error") not in lost})
        for each in (stars, columns)
    )
    return observed, expected


def _is_empty(stars: Mapping[str, Any], name: str) -> bool:
    return name not in stars or not np.any(np.isfinite(stars[name]))


def _assumptions(problem: Problem) -> list[str]:
    """What the configuration assumes of the surveys, in sentences."""
    symmetric = "The potential is axisymmetric and symmetric about the plane"
    if not problem.stars:
        return [f"{symmetric}.", *_of_constraints(problem)]
    lines = []
    for name, part in problem.config.star_catalogues().items():
        at = f"{name}: " if name else ""
        values = {key: value for key, value in part.survey.errors.values.items() if value is not None}
        stated = ", ".join(f"{k} = {v.value if isinstance(v, Free) else v}" for k, v in values.items())
        lines.append(
            f"{at}Measurement errors where the catalogue has none: {stated} (mag, mas/yr, km/s, mas)."
        )
        if (part.likelihood or problem.config.inference.likelihood) == "kinematic":
            lines.append(
                f"{at}Velocities given places and magnitudes: nothing is assumed of their selection."
            )
        if part.survey.extinction is None:
            lines.append(f"{at}Magnitudes are not corrected for dust and no dust is modelled.")
    if len(problem.stars) > 1:
        lines.append("The catalogues are independent: no star is in two of them.")
    lines.append(f"{symmetric}, and the stars are in a steady state.")
    return [*lines, *_of_constraints(problem)]


_ASSUMED = {
    "circular_velocity": "Circular-speed curves count as measured, whatever model of stars they rest on.",
    "terminal_velocities": "Gas at the tangent points moves on circles, but for the scatter allowed for.",
    "masers": "Masers move on circles but for a mean motion common to all and a Gaussian scatter; "
    "their selection in distance is not modelled.",
    "gas_layer": "The gas layer is isothermal and in hydrostatic equilibrium.",
    "sgr_a_proper_motion": "Sgr A* rests at the Galaxy's centre.",
}


def _of_constraints(problem: Problem) -> list[str]:
    """What each kind of constraint takes for granted."""
    kinds = dict.fromkeys(part.kind for part in problem.config.constraints.values())
    return [_ASSUMED[kind] for kind in kinds if kind in _ASSUMED]
