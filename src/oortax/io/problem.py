"""From a configuration to the objects of a fit: model, priors and the stars that pass the selection."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from oortax import params
from oortax.io.binned import BinnedTable, built_errors, cut, read_binned
from oortax.io.config import FROM_CATALOGUE, ComponentConfig, Config
from oortax.io.luminosity import luminosity_function
from oortax.io.names import nearest
from oortax.io.nodes import Free, Node
from oortax.io.output import sha256
from oortax.io.priors import check_support, parse_prior
from oortax.io.rows import RowReport
from oortax.io.tables import find_catalogue, missing_velocities, read_catalogue


@dataclasses.dataclass(frozen=True)
class Problem:
    """Everything a fit needs.

    Attributes
    ----------
    config : the configuration it came from
    model : model.Model with fixed parameters at their values and free ones at their start
    priors : NumPyro distribution by dotted path
    start : starting value by dotted path
    columns : arrays of `model.Catalogue` and ids, of the stars used; empty without a catalogue
    report : rows of the catalogue read, excluded and used, and why; None without a catalogue
    constraints : measured tables by name, as arrays ("circular_velocity": R, v_c, sigma_minus, sigma_plus)
    tables : the same count of rows for each of them
    binned : catalogues that are counted in cells, by name
    data_sha256 : of the catalogue file, or of all tables together without one
    """

    config: Config
    model: Any
    priors: Mapping[str, Any]
    start: Mapping[str, float]
    columns: Mapping[str, np.ndarray]
    report: RowReport | None
    constraints: Mapping[str, Mapping[str, np.ndarray]]
    data_sha256: str
    tables: Mapping[str, RowReport] = dataclasses.field(default_factory=dict)
    binned: Mapping[str, BinnedTable] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """What is fitted, in a few words."""
        return ", ".join([*self.binned, *self.constraints]) if self.report is None else self.report.source

    def sentences(self) -> list[str]:
        """The rows of catalogue and tables in words, one sentence per line."""
        lines = [] if self.report is None else self.report.sentences()
        counted = {name: part.report for name, part in self.binned.items()} | dict(self.tables)
        for name, table in counted.items():
            lines += [f"{name}: {line}" for line in table.sentences()]
        return lines


def build(config: Config) -> Problem:
    """Read the catalogue and the tables, apply the selection, and build the model and its priors.

    Raises
    ------
    ValueError
        If no star or no point of a table is left, a parameter lies outside its range, a prior reaches
        beyond its parameter's support, or a free value is not a parameter.
    """
    if config.data is None:
        magnitudes = {name: _magnitudes(part, config, {}) for name, part in config.components.items()}
        model = _build_model(config, [], None, magnitudes)
        priors, start = _priors(config, model)
        columns, report = {}, None
    else:
        model, priors, start, columns, report = _stars(config)
    for name, part in model.constraints.items():
        try:
            part.check(model.galaxy.potential)
        except ValueError as error:
            raise ValueError(f"constraints.{name}.{error}") from error
    read = {name: part.read(config.folder, model.survey.sun) for name, part in config.constraints.items()}
    binned = {
        name: read_binned(part, config.folder, model.survey.sun) for name, part in config.binned.items()
    }
    hashes = {name: each for name, (_, _, each) in read.items()}
    hashes |= {f"binned.{name}": {"catalogue": part.sha256} for name, part in binned.items()}
    return Problem(
        config=config,
        model=model,
        priors=priors,
        start=start,
        columns=columns,
        report=report,
        constraints={name: arrays for name, (arrays, _, _) in read.items()},
        tables={name: counted for name, (_, counted, _) in read.items()},
        binned=binned,
        data_sha256=_hash(config, hashes),
    )


def _hash(config: Config, tables: Mapping[str, Mapping[str, str]]) -> str:
    """SHA-256 of the catalogue, or of the tables' own."""
    if config.data is not None:
        return sha256(find_catalogue(config.data.catalogue, config.folder))
    return hashlib.sha256(repr({k: dict(v) for k, v in tables.items()}).encode()).hexdigest()


def _stars(config: Config) -> tuple[Any, dict[str, Any], dict[str, float], dict[str, np.ndarray], RowReport]:
    """Model, priors, starts, columns and the count of rows of a fit with a catalogue."""
    from oortax import survey

    selection = [node.build(survey.SELECTIONS) for node in config.survey.selection]
    columns, report = _selected(config, selection)
    errors, notes = _survey_errors(config, columns)
    report = report.with_notes(notes)
    magnitudes = {
        name: _magnitudes(component, config, columns) for name, component in config.components.items()
    }
    model = _build_model(config, selection, errors, magnitudes)
    priors, start = _priors(config, model)
    columns, notes = _subset(columns, config)
    columns, report = _assume_errors(
        columns, errors, report.with_notes([*notes, *missing_velocities(columns)])
    )
    return model, priors, start, columns, report


def _selected(config: Config, selection: list[Any]) -> tuple[dict[str, np.ndarray], RowReport]:
    """The rows of the catalogue that pass every cut, and the count of those that do not."""
    assert config.data is not None
    columns, report = read_catalogue(config.data.catalogue, config.data.columns, folder=config.folder)
    return cut(columns, report, config.survey.selection, selection)


def _survey_errors(config: Config, columns: Mapping[str, np.ndarray]) -> tuple[Any, list[str]]:
    """The survey's errors; those of parallax and distance modulus that are not given are the medians.

    The normalisation folds cuts on the observed parallax over its error; predictions need both.
    """
    from oortax import survey

    node, notes = config.survey.errors, []
    if node.kind not in (None, "constant"):
        return node.build(survey.ERRORS), notes
    for name in ("parallax", "distance_modulus"):
        known = columns[f"{name}_error"][np.isfinite(columns[f"{name}_error"])]
        if node.values.get(name) is not None or len(known) == 0:
            continue
        median = float(np.median(known))
        node = dataclasses.replace(node, values={**node.values, name: median})
        if name == "parallax":
            notes.append(
                f"the selection is folded over the catalogue's median parallax error, {median:g} mas"
            )
    return node.build(survey.Errors if node.kind is None else survey.ERRORS), notes


def _subset(columns: Mapping[str, np.ndarray], config: Config) -> tuple[dict[str, np.ndarray], list[str]]:
    """At most `inference.stars` stars, drawn at random without replacement, in catalogue order."""
    n, wanted = len(columns["l"]), config.inference.stars
    if wanted is None or wanted >= n:
        return dict(columns), []
    chosen = np.sort(np.random.default_rng(config.inference.seed).choice(n, wanted, replace=False))
    seed = config.inference.seed
    note = f"{wanted:,} of the {n:,} drawn at random (seed {seed}); inference.stars sets how many"
    return {key: values[chosen] for key, values in columns.items()}, [note]


def _assume_errors(
    columns: dict[str, np.ndarray], errors: Any, report: RowReport
) -> tuple[dict[str, np.ndarray], RowReport]:
    """Fill errors the catalogue does not state with the survey's, and say so."""
    notes = []
    of_star = {name: np.asarray(sigma) for name, sigma in errors.at(columns["V"]).items()}
    for keys, sigma, unit in (
        (("mu_l_error", "mu_b_error"), of_star["mu_l"], "mas/yr"),
        (("v_los_error",), of_star["v_los"], "km/s"),
        (("parallax_error",), of_star["parallax"], "mas"),
        (("distance_modulus_error",), of_star["distance_modulus"], "mag"),
    ):
        known = columns[keys[0].removesuffix("_error")]
        missing = np.isfinite(known) & ~np.isfinite(columns[keys[0]])
        if not missing.any():
            continue
        if not np.all(sigma[missing] > 0):
            raise ValueError(
                f"{report.source}: {keys[0]} is missing for {int(missing.sum()):,} stars: map a column to "
                f"it or give survey.errors = {{{keys[0].removesuffix('_error')} = ...}}"
            )
        for key in keys:
            columns[key] = np.where(missing, sigma, columns[key])
        assumed = float(np.median(sigma[missing]))
        notes.append(f"{' and '.join(keys)} of {assumed:g} {unit} assumed for {int(missing.sum()):,} stars")
    columns["mu_lb_corr"] = np.where(np.isfinite(columns["mu_lb_corr"]), columns["mu_lb_corr"], 0.0)
    return columns, report.with_notes(notes)


def forward_model(config: Config) -> Any:
    """The model.Model of a configuration for predictions, with its start values and its populations' colours.

    Without [data] every component needs `stars` of its own, and the survey's errors are those given. Raises
    ValueError for what `build` refuses.
    """
    from oortax import survey

    selection = [node.build(survey.SELECTIONS) for node in config.survey.selection]
    columns: dict[str, np.ndarray] = {}
    errors = built_errors(config.survey.errors)
    if config.data is not None:
        columns, _ = _selected(config, selection)
        errors, _ = _survey_errors(config, columns)
    stars = {
        name: _magnitudes(part, config, columns, bound=False) for name, part in config.components.items()
    }
    return _build_model(config, selection, errors, stars)


def _magnitudes(
    component: ComponentConfig, config: Config, columns: Mapping[str, np.ndarray], bound: bool = True
) -> Any:
    """The absolute-magnitude distribution of a component, from its own table or from the stars."""
    from oortax.stars import MAGNITUDES, STAR_PARTS, AbstractMagnitudes, Tabulated

    node = component.stars
    if node.kind != FROM_CATALOGUE:
        built = node.build({**MAGNITUDES, **STAR_PARTS})
        if not isinstance(built, AbstractMagnitudes):
            raise ValueError(
                f'{node.where}: kind = "{node.kind}" is a part of stars = {{kind = "population", ...}} '
                f"(known: {', '.join(MAGNITUDES)})"
            )
        if not bound or any(True for _ in node.free()):
            return built
        # A population without free parameters is tabulated once for all, with its colours where they count.
        colours = built.colour_magnitude() if config.binned else None
        return built.bind() if colours is None else colours
    if not columns:
        raise ValueError(
            f'{node.where}: kind = "{FROM_CATALOGUE}" needs the catalogue of [data]; give '
            '{kind = "population"} or {kind = "gaussian", mean = ..., sigma = ...}'
        )
    limits = {cut.kind: cut.values for cut in config.survey.selection}
    apparent, absolute = limits.get("magnitude", {}), limits.get("absolute_magnitude", {})
    low, high = absolute.get("min"), absolute.get("max")
    if low is None or high is None:
        raise ValueError(
            f'{node.where}: kind = "{FROM_CATALOGUE}" needs a cut {{kind = "absolute_magnitude", min = ..., '
            'max = ...} in survey.selection; else give {kind = "gaussian", mean = ..., sigma = ...}'
        )
    if apparent.get("min") is not None and math.isfinite(apparent["min"]):
        raise ValueError(
            f"{node.where}: the luminosity function of a survey with a bright limit must be given"
        )
    faint = apparent.get("max")
    M, log_F = luminosity_function(
        columns["V"],
        columns["parallax"],
        faint=math.inf if faint is None else faint,
        low=low,
        high=high,
        bins=node.values["bins"],
        margin=node.values["margin"],
    )
    return Tabulated(M, log_F)


def _build_model(config: Config, selection: list[Any], errors: Any, magnitudes: Mapping[str, Any]) -> Any:
    """The model.Model of the configuration at its starting values."""
    from oortax import model, survey
    from oortax.df import DFS
    from oortax.potential import POTENTIALS, Sum
    from oortax.survey import EXTINCTIONS

    _check_weights(config)
    extinction = config.survey.extinction
    components = {}
    for name, part in config.components.items():
        weight = part.weight.value if isinstance(part.weight, Free) else part.weight
        share: Any = weight
        components[name] = model.Component(part.df.build(DFS), magnitudes[name], share)
    return model.Model(
        model.Galaxy(
            Sum(**{name: node.build(POTENTIALS) for name, node in config.potential.items()}), components
        ),
        survey.Survey(
            config.sun.build(survey.Sun),
            selection=selection,
            errors=errors,
            extinction=None if extinction is None else extinction.build(EXTINCTIONS),
        ),
        _outliers(config.outliers),
        {name: part.build() for name, part in config.constraints.items()},
    )


def _outliers(node: Node | None) -> Any:
    from oortax import model

    return None if node is None else node.build(model.Outliers)


def _check_weights(config: Config) -> None:
    """Raise ValueError if the starting weights leave nothing for the component without one."""
    weights = {
        f"components.{name}.weight": part.weight.value if isinstance(part.weight, Free) else part.weight
        for name, part in config.components.items()
        if part.weight is not None
    }
    for path, weight in weights.items():
        if not 0 < weight < 1:
            raise ValueError(f"{path} = {weight:g} must be between 0 and 1")
    if weights and sum(weights.values()) >= 1:
        raise ValueError(
            f"the weights {', '.join(f'{path} = {w:g}' for path, w in weights.items())} add up to "
            f"{sum(weights.values()):g} and leave nothing for the component without one"
        )


def _priors(config: Config, model: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """Distribution and start of every free parameter, checked against the parameter's support."""
    known = params.parameters(model)
    priors, start = {}, {}
    for path, free in config.free():
        if path not in known:
            raise ValueError(
                f"{path} cannot be free: it is a setting, not a parameter{nearest(path, known)}; "
                "give a number"
            )
        prior = parse_prior(free.prior, path)
        check_support(prior, known[path].support, path, free.prior)
        priors[path], start[path] = prior, free.value
    return priors, start


def forward_problem(config: Config) -> tuple[Any, dict[str, Any], dict[str, float]]:
    """The model of predictions (`forward_model`), and prior and start of every free parameter, by path."""
    model = forward_model(config)
    return model, *_priors(config, model)
