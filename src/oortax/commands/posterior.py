"""From a `Problem` to a posterior: the one place where the commands meet the model's likelihood."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from oortax import dynamics, inference, model, potential
from oortax.io.problem import Problem


@dataclasses.dataclass(frozen=True)
class LogLikelihood:
    """ln L(model, data) with the choices that are compiled in; equal choices compile once.

    `data` holds the catalogue and its nodes, or None for both without stars, the surveys and counts of
    catalogues in cells, the measured tables, and what makes the action finder where it takes arrays (tori),
    else None.
    """

    finder: str
    likelihood: str
    settings: tuple[tuple[str, Any], ...] = ()

    def settings_for(self, catalogue: Any) -> model.Settings:
        """The settings that suit a catalogue's number of stars, with the configuration's own."""
        return model.Settings.for_stars(len(catalogue), form=self.likelihood, **dict(self.settings))

    def __call__(self, tree: Any, data: Mapping[str, Any]) -> Any:
        # Once for stars and tables: where the potential is made of densities, its expansion costs something.
        pot = potential.expand(tree.galaxy.potential)
        tree = eqx.tree_at(lambda node: node.galaxy.potential, tree, pot)
        total = model.log_constraints(tree, data["curves"])
        finder = self.finder if data.get("finder") is None else data["finder"]
        for survey, binned in data.get("binned", {}).values():
            survey = eqx.tree_at(lambda node: node.sun, survey, tree.survey.sun)
            total = total + model.log_likelihood_binned(tree.galaxy, survey, binned, finder=finder)
        if data["catalogue"] is None:
            return total
        return total + model.log_likelihood(
            tree.galaxy,
            tree.survey,
            data["catalogue"],
            data["nodes"],
            outliers=tree.outliers,
            finder=finder,
            settings=self.settings_for(data["catalogue"]),
        )


def catalogue_of(problem: Problem) -> Any:
    """The stars as `model.Catalogue`."""
    columns = {key: values for key, values in problem.columns.items() if key != "ids"}
    return model.Catalogue(**columns)


def build_posterior(problem: Problem) -> inference.Posterior:
    """The posterior of a problem's free parameters."""
    options = problem.config.inference
    catalogue = nodes = tori = None
    if problem.columns:
        catalogue = catalogue_of(problem)
        nodes = model.make_nodes(
            catalogue, problem.model.galaxy, problem.model.survey, options.nodes_per_star, seed=options.seed
        )
        tori = pilot(problem, nodes) if options.finder in dynamics.STAR_FINDERS else None
    # Where a population's magnitudes move, so does the share of its stars that the survey lists.
    moving = {"fold": True} if any(".stars." in path for path in problem.priors) else {}
    settings = tuple(sorted((moving | dict(options.settings)).items()))
    log_likelihood = LogLikelihood(options.finder, options.likelihood, settings)
    data = {"catalogue": catalogue, "nodes": nodes, "curves": problem.constraints, "finder": tori}
    data["binned"] = counted(problem, options.finder if tori is None else tori)
    return inference.Posterior(problem.model, problem.priors, log_likelihood, data)


def counted(problem: Problem, finder: Any) -> dict[str, tuple[Any, model.BinnedCatalogue]]:
    """Surveys and counts of the catalogues that are counted in cells, by name."""
    key = jax.random.key(problem.config.inference.seed)
    found = {}
    for i, (name, table) in enumerate(problem.binned.items()):
        part = problem.config.binned[name]
        counts = model.bin_catalogue(
            problem.model.galaxy,
            table.survey,
            table.columns,
            table.cells,
            jax.random.fold_in(key, i),
            part.nodes,
            finder=finder,
            colour_error=part.colour_error,
        )
        found[name] = (table.survey, counts)
    return found


def pilot(problem: Problem, nodes: Any) -> dynamics.PilotTori:
    """Tori in the potential where the fit starts, of all actions that the stars may have."""
    start, options = problem.model, problem.config.inference
    pot = potential.expand(start.galaxy.potential)
    x, v = jax.jit(model.star_points)(pot, start.survey, nodes.stars)
    make = dynamics.STAR_FINDERS[options.finder]
    return make(pot, x, v, progress=sys.stderr.isatty(), **options.tori)


def with_tori_at(posterior: inference.Posterior, tree: Any) -> inference.Posterior | None:
    """The posterior with its tori in the potential of a model that was found; None where it has none."""
    data: Any = posterior.data
    if not isinstance(data, Mapping) or data.get("finder") is None:
        return None
    moved = data["finder"].moved_to(tree.galaxy.potential)
    return eqx.tree_at(lambda p: p.data["finder"], posterior, moved)


def numerical_checks(problem: Problem, posterior: inference.Posterior, tree: Any) -> dict[str, Any]:
    """Errors of the numbers behind ln L at a model: effective nodes per star and the normalisation.

    The normalisation's error is what a finer rule changes in ln L; it matters when it varies by
    more than a fraction of one across the posterior. Of counts in cells: what their nodes' number does to ln
    L, and the share of the stars in no cell. Direct constraints have no such errors.
    """
    data: Any = posterior.data
    log_likelihood: Any = posterior.log_likelihood
    counts: dict[str, Any] = {}
    for name, (survey, binned) in data.get("binned", {}).items():
        survey = eqx.tree_at(lambda node: node.sun, survey, tree.survey.sun)
        finder = log_likelihood.finder if data.get("finder") is None else data["finder"]
        noise = model.binned_noise(tree.galaxy, survey, binned, finder)
        counts |= {f"{name}: {key}": value for key, value in noise._asdict().items()}
    if data["catalogue"] is None:
        return counts
    tori, stars = data.get("finder"), (data["catalogue"], data["nodes"])
    settings = log_likelihood.settings_for(data["catalogue"])
    finder = log_likelihood.finder if tori is None else tori
    report = model.diagnose(tree, *stars, paths=tuple(problem.priors), finder=finder, settings=settings)
    if tori is None:
        return counts | report.as_dict()
    return counts | report.as_dict() | model.coverage(tree, *stars, finder=tori, settings=settings).as_dict()


def predicted(problem: Problem, tree: Any, n: int, seed: int) -> dict[str, np.ndarray]:
    """n stars as the model expects the survey to observe them: columns as of the catalogue."""
    lost = float(np.mean(np.isnan(problem.columns["v_los"])))
    # Where tori were fitted, the fudge is enough for a picture.
    finder: Any = dynamics.FINDERS.get(problem.config.inference.finder, dynamics.StaeckelFudge)
    mock = model.predict(
        jax.random.key(seed),
        tree.galaxy,
        tree.survey,
        n,
        finder=finder,
        outliers=tree.outliers,
        missing_v_los=lost,
    )
    return mock.columns


def constraint_rows(problem: Problem, tree: Any) -> list[dict[str, Any]]:
    """How a model meets each direct constraint: kind, tables, points, chi^2 and ln L."""
    found = model.fits(tree, problem.constraints)
    return [
        {
            "constraint": name,
            "kind": problem.config.constraints[name].kind,
            "data": problem.tables[name].source,
            "points": fit.n,
            "chi2": fit.chi2,
            "ln L": fit.log_likelihood,
        }
        for name, fit in found.items()
    ]
