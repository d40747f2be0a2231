"""From a `Problem` to a posterior: the one place where the commands meet the model's likelihood."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from oortax import dynamics, inference, model, potential
from oortax.io.catalogues import CatalogueConfig
from oortax.io.problem import Problem
from oortax.io.surveys import ZERO_POINTS

# Share of the stars' nodes from which a prolate potential is worth a word.
_PROLATE = 0.01
# A zero point's prior leaves so much of its probability out of a table's range on either side.
_BEYOND = 1e-6


@dataclasses.dataclass(frozen=True)
class LogLikelihood:
    """ln L(model, data) with the choices that are compiled in; equal choices compile once.

    `data` holds the catalogues and their nodes by name (of [data]: the empty name), the surveys and counts of
    catalogues in cells, the measured tables, and what makes the action finder where it takes arrays (tori),
    else None. `folded` are those whose selection must be folded anew for every set of parameters (a zero
    point alone has a table instead), `forms` those of catalogues that have another than `likelihood`.
    """

    finder: str
    likelihood: str
    settings: tuple[tuple[str, Any], ...] = ()
    folded: tuple[str, ...] = ()
    forms: tuple[tuple[str, str], ...] = ()

    def settings_for(self, catalogue: Any, name: str = "") -> model.Settings:
        """The settings that suit a catalogue's number of stars, with the configuration's own."""
        given = {"fold": name in self.folded} | dict(self.settings)
        form = dict(self.forms).get(name, self.likelihood)
        return model.Settings.for_stars(len(catalogue), form=form, **given)

    def __call__(self, tree: Any, data: Mapping[str, Any]) -> Any:
        # Once for stars and tables: where the potential is made of densities, its expansion costs something.
        tree = _in_tables(tree)
        total = model.log_constraints(tree, data["curves"])
        finder = self.finder_in(data)
        for survey, binned in data.get("binned", {}).values():
            survey = eqx.tree_at(lambda node: node.sun, survey, tree.survey.sun)
            total = total + model.log_likelihood_binned(tree.galaxy, survey, binned, finder=finder)
        if not data["stars"]:
            return total
        return total + model.log_likelihood_jointly(*self._stars(tree, data), finder=finder)

    def per_star(self, tree: Any, data: Mapping[str, Any]) -> dict[str, model.PerStar]:
        """ln L_k - ln A of every star of each catalogue, by its name."""
        return model.per_star_jointly(*self._stars(_in_tables(tree), data), finder=self.finder_in(data))

    def finder_in(self, data: Mapping[str, Any]) -> Any:
        """What makes the action finder: by name, or prepared for these stars."""
        return self.finder if data.get("finder") is None else data["finder"]

    def _stars(self, tree: Any, data: Mapping[str, Any]) -> tuple[model.Galaxy, dict[str, model.Observed]]:
        # Populations are tabulated once for the catalogues that share them.
        tree = eqx.tree_at(lambda node: node.galaxy, tree, tree.galaxy.bound())
        return tree.galaxy, {
            name: model.Observed(tree.sight(name), catalogue, nodes, self.settings_for(catalogue, name))
            for name, (catalogue, nodes) in data["stars"].items()
        }


def _in_tables(tree: Any) -> Any:
    """A model whose potential is expanded."""
    return eqx.tree_at(lambda node: node.galaxy.potential, tree, potential.expand(tree.galaxy.potential))


def catalogue_of(problem: Problem, name: str = "") -> Any:
    """The stars of a catalogue as `model.Catalogue`."""
    columns = {key: values for key, values in problem.stars[name].columns.items() if key != "ids"}
    return model.Catalogue(**columns)


def build_posterior(problem: Problem) -> inference.Posterior:
    """The posterior of a problem's free parameters."""
    options = problem.config.inference
    stars = {name: _with_nodes(problem, name) for name in problem.stars}
    tori = pilot(problem, stars) if stars and options.finder in dynamics.STAR_FINDERS else None
    settings = tuple(sorted(options.settings.items()))
    folded = tuple(
        name
        for name, (_, nodes) in stars.items()
        if nodes.volume.moving is None and _moves_selection(problem, name)
    )
    own = {name: part.likelihood for name, part in problem.config.star_catalogues().items()}
    forms = tuple((name, form) for name, form in own.items() if form is not None)
    log_likelihood = LogLikelihood(options.finder, options.likelihood, settings, folded, forms)
    data = {"stars": stars, "curves": problem.constraints, "finder": tori}
    data["binned"] = counted(problem, options.finder if tori is None else tori)
    return inference.Posterior(problem.model, problem.priors, log_likelihood, data)


def _with_nodes(problem: Problem, name: str) -> tuple[Any, Any]:
    """A catalogue and its nodes. ValueError with its name for stars that it cannot hold."""
    options, sight = problem.config.inference, problem.model.sight(name)
    number = problem.config.star_catalogues()[name].nodes_per_star or options.nodes_per_star
    catalogue = catalogue_of(problem, name)
    try:
        nodes = model.make_nodes(catalogue, sight.galaxy, sight.survey, number, seed=options.seed)
        model.check_seen(catalogue, nodes, sight, problem.stars[name].columns["ids"])
    except ValueError as error:
        raise ValueError(f"catalogues.{name}: {error}" if name else str(error)) from error
    return catalogue, _with_table(problem, name, nodes)


def _with_table(problem: Problem, name: str, nodes: model.Nodes) -> model.Nodes:
    """Nodes with the selection as a function of what moves it, if that is one zero point of known range."""
    moving = _moves_selection(problem, name)
    field = moving[0].rpartition(".")[2] if len(moving) == 1 else ""
    if field not in ZERO_POINTS:
        return nodes
    try:
        low, high = np.asarray(problem.priors[moving[0]].icdf(jnp.asarray([_BEYOND, 1.0 - _BEYOND])))
    except (NotImplementedError, ImportError):  # NumPyro takes some from a package we do not need
        return nodes
    sight = problem.model.sight(name)
    found = model.with_moving_selection(nodes, sight.galaxy, sight.survey, field, float(low), float(high))
    return nodes if found is None else found


def _moves_selection(problem: Problem, name: str) -> list[str]:
    """The free parameters that move the share of stars that a catalogue's survey lists, where that counts.

    Magnitudes of its populations do, and so do zero points where the cuts use them.
    """
    part, where = problem.config.star_catalogues()[name], f"catalogues.{name}" if name else "survey"
    if (part.likelihood or problem.config.inference.likelihood) == "kinematic":
        return []
    moving = [f"{where}.stars."]
    moving += [f"components.{each}.stars." for each in problem.config.components if _common(part, each)]
    cuts = problem.model.sight(name).survey.selection
    if any(cut.uses_parallax or "distance_modulus" in cut.columns for cut in cuts):
        moving += [f"{where}.errors.{each}" for each in ZERO_POINTS]
    return [path for path in problem.priors if path.startswith(tuple(moving))]


def _common(part: CatalogueConfig, component: str) -> bool:
    """Whether a catalogue sees a component, and its stars with the component's own magnitudes."""
    return part.sees(component) and component not in part.stars


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


def pilot(problem: Problem, stars: Mapping[str, tuple[Any, Any]]) -> dynamics.PilotTori:
    """Tori in the potential where the fit starts, of all actions that stars of any catalogue may have."""
    start, options = problem.model, problem.config.inference
    pot = potential.expand(start.galaxy.potential)
    points = [
        jax.jit(model.star_points)(pot, start.sight(name).survey, nodes.stars)
        for name, (_, nodes) in stars.items()
    ]
    x, v = (jnp.concatenate(parts) for parts in zip(*points, strict=True))
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
    tori = data.get("finder")
    finder = log_likelihood.finder if tori is None else tori
    for name, stars in data["stars"].items():
        settings = log_likelihood.settings_for(stars[0], name)
        options: dict[str, Any] = {"finder": finder, "settings": settings, "name": name}
        found = model.diagnose(tree, *stars, paths=tuple(problem.priors), **options).as_dict()
        if tori is not None:
            found |= model.coverage(tree, *stars, **options).as_dict()
        counts |= {f"{name}: {key}" if name else key: value for key, value in found.items()}
    return counts


def prolate_note(numbers: Mapping[str, Any]) -> list[str]:
    """A warning where the Staeckel fudge is at its limits."""
    shares = [value for name, value in numbers.items() if name.split(": ")[-1] == "prolate"]
    if max(shares, default=0.0) <= _PROLATE:
        return []
    return [
        f"the potential is prolate for {100.0 * max(shares):.0f} % of the stars' orbits, where actions "
        "by the fudge scatter by some per cent, by its tables (InterpolatedFudge) more, and ln L is not "
        "smooth: start the fit on either side of q = 1, and compare"
    ]


def predicted(problem: Problem, tree: Any, n: int, seed: int, name: str = "") -> dict[str, np.ndarray]:
    """n stars as the model expects a catalogue's survey to observe them: columns as of the catalogue.

    Of a catalogue in the "kinematic" form its own stars, as often as they go into n, with the model's
    velocities.
    """
    sight, lost = tree.sight(name), float(np.mean(np.isnan(problem.stars[name].columns["v_los"])))
    # Where tori were fitted, the fudge is enough for a picture.
    finder: Any = dynamics.FINDERS.get(problem.config.inference.finder, dynamics.StaeckelFudge)
    form = problem.config.star_catalogues()[name].likelihood or problem.config.inference.likelihood
    if form == "kinematic":
        stars = _with_nodes(problem, name)
        settings = model.Settings.for_stars(n, form=form, **problem.config.inference.settings)
        drawn = [
            model.replicate(
                jax.random.fold_in(jax.random.key(seed), i),
                sight,
                *stars,
                finder=finder,
                settings=settings,
            )
            for i in range(max(1, n // len(stars[0])))
        ]
        known = model.Catalogue.__dataclass_fields__
        return {key: np.concatenate([getattr(each, key) for each in drawn]) for key in known}
    mock = model.predict(
        jax.random.key(seed),
        sight.galaxy,
        sight.survey,
        n,
        finder=finder,
        outliers=sight.outliers,
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
