"""From a configuration to the objects of a fit: model, priors and the stars that pass the selection."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from oortax import params
from oortax.io.binned import BinnedTable, read_binned
from oortax.io.catalogues import CatalogueConfig
from oortax.io.config import FROM_CATALOGUE, Config
from oortax.io.luminosity import luminosity_function
from oortax.io.names import nearest
from oortax.io.nodes import Free, Node
from oortax.io.output import sha256
from oortax.io.priors import check_support, parse_prior
from oortax.io.rows import RowReport
from oortax.io.surveys import SurveyConfig, built_errors, cut
from oortax.io.tables import find_catalogue, missing_velocities, read_catalogue


@dataclasses.dataclass(frozen=True)
class StarTable:
    """Arrays of `model.Catalogue` (and ids) of one catalogue's stars, and the count of its rows."""

    columns: Mapping[str, np.ndarray]
    report: RowReport
    sha256: str


@dataclasses.dataclass(frozen=True)
class Problem:
    """Everything a fit needs.

    Attributes
    ----------
    config : the configuration it came from
    model : model.Model with fixed parameters at their values and free ones at their start
    priors : NumPyro distribution by dotted path
    start : starting value by dotted path
    stars : catalogues by name, with the rows used and why others are not; that of [data] has the empty name
    constraints : measured tables by name, as arrays ("circular_velocity": R, v_c, sigma_minus, sigma_plus)
    tables : the same count of rows for each of them
    binned : catalogues that are counted in cells, by name
    data_sha256 : of the catalogue of [data] if there is no other, or of all catalogues or tables together
    """

    config: Config
    model: Any
    priors: Mapping[str, Any]
    start: Mapping[str, float]
    stars: Mapping[str, StarTable]
    constraints: Mapping[str, Mapping[str, np.ndarray]]
    data_sha256: str
    tables: Mapping[str, RowReport] = dataclasses.field(default_factory=dict)
    binned: Mapping[str, BinnedTable] = dataclasses.field(default_factory=dict)

    @property
    def columns(self) -> Mapping[str, np.ndarray]:
        """Arrays of the catalogue of [data]; empty without one."""
        return self.stars[""].columns if "" in self.stars else {}

    @property
    def report(self) -> RowReport | None:
        """Rows of the catalogue of [data]; None without one."""
        return self.stars[""].report if "" in self.stars else None

    @property
    def title(self) -> str:
        """What is fitted, in a few words."""
        named = [name for name in self.stars if name]
        if self.report is None:
            return ", ".join([*named, *self.binned, *self.constraints])
        return ", ".join([self.report.source, *named])

    def counted(self) -> dict[str, RowReport]:
        """Rows of all catalogues and tables but that of [data], by name."""
        stars = {name: part.report for name, part in self.stars.items() if name}
        return stars | {name: part.report for name, part in self.binned.items()} | dict(self.tables)

    def sentences(self) -> list[str]:
        """The rows of catalogues and tables in words, one sentence per line."""
        lines = [] if self.report is None else self.report.sentences()
        for name, table in self.counted().items():
            lines += [f"{name}: {line}" for line in table.sentences()]
        return lines


def build(config: Config) -> Problem:
    """Read the catalogues and the tables, apply the selections, and build the model and its priors.

    Raises
    ------
    ValueError
        If no star or no point of a table is left, a parameter lies outside its range, a prior reaches
        beyond its parameter's support, or a free value is not a parameter.
    """
    seen = {name: _selected(config, part) for name, part in config.star_catalogues().items()}
    model = _build_model(config, seen)
    priors, start = _priors(config, model)
    stars = {name: _used(config, part) for name, part in seen.items()}
    _check_numbers(config, {name: (len(part.columns["l"]), stars[name]) for name, part in seen.items()})
    for name, part in model.constraints.items():
        try:
            part.check(model.galaxy.potential)
        except ValueError as error:
            raise ValueError(f"constraints.{name}.{error}") from error
    read = {name: part.read(config.folder, model.survey.sun) for name, part in config.constraints.items()}
    binned = {
        name: read_binned(part, config.folder, model.survey.sun) for name, part in config.binned.items()
    }
    return Problem(
        config=config,
        model=model,
        priors=priors,
        start=start,
        stars=stars,
        constraints={name: arrays for name, (arrays, _, _) in read.items()},
        tables={name: counted for name, (_, counted, _) in read.items()},
        binned=binned,
        data_sha256=_hash(stars, binned, {name: each for name, (_, _, each) in read.items()}),
    )


def _hash(
    stars: Mapping[str, StarTable], binned: Mapping[str, BinnedTable], tables: Mapping[str, Any]
) -> str:
    """SHA-256 of the catalogue of [data] alone, or of those of all catalogues, or of the tables' own."""
    if list(stars) == [""]:
        return stars[""].sha256
    hashes = {name: dict(each) for name, each in tables.items()}
    hashes |= {f"catalogues.{name}": {"catalogue": part.sha256} for name, part in stars.items()}
    hashes |= {f"binned.{name}": {"catalogue": part.sha256} for name, part in binned.items()}
    return hashlib.sha256(repr(hashes).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class _Selected:
    """A catalogue's rows that pass its cuts, and its survey's errors."""

    config: CatalogueConfig
    columns: Mapping[str, np.ndarray]
    report: RowReport
    errors: Any


def _selected(config: Config, part: CatalogueConfig) -> _Selected:
    """Read one catalogue and apply its cuts."""
    read = read_catalogue(part.catalogue, part.columns, folder=config.folder, unmeasured=part.unmeasured)
    columns, report = cut(*read, part.survey)
    errors, notes = _survey_errors(part.survey, columns)
    return _Selected(part, columns, report.with_notes(notes), errors)


def _used(config: Config, part: _Selected) -> StarTable:
    """The stars that a fit uses, with an error for everything that is measured."""
    wanted = part.config.n_stars or config.inference.stars
    columns, notes = _subset(part.columns, wanted, config.inference.seed)
    report = part.report.with_notes([*notes, *missing_velocities(columns)])
    columns, report = _assume_errors(columns, part.errors, report, part.config.survey)
    return StarTable(columns, report, sha256(find_catalogue(part.config.catalogue, config.folder)))


def _check_numbers(config: Config, of: Mapping[str, tuple[int, StarTable]]) -> None:
    """Raise ValueError where the numbers of stars are to count and a part of them is left out."""
    parts = config.star_catalogues()
    counted = [name for name in of if (parts[name].likelihood or config.inference.likelihood) == "poisson"]
    for name in counted if len(counted) > 1 else ():
        n, used = of[name][0], len(of[name][1].columns["l"])
        if used < n:
            where = f"catalogues.{name}" if name else "[data]"
            raise ValueError(
                f'{where}: likelihood = "poisson" compares the catalogues\' numbers of stars, and '
                f"{used:,} of {n:,} are drawn at random: remove stars and n_stars"
            )


def _survey_errors(survey: SurveyConfig, columns: Mapping[str, np.ndarray]) -> tuple[Any, list[str]]:
    """The survey's errors; those of parallax and distance modulus that are not given are the medians.

    The normalisation folds cuts on the observed parallax over its error; predictions need both.
    """
    node, notes = survey.errors, []
    if node.kind not in (None, "constant"):
        return built_errors(node), notes
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
    return built_errors(node), notes


def _subset(
    columns: Mapping[str, np.ndarray], wanted: int | None, seed: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """At most so many stars, drawn at random without replacement, in catalogue order."""
    n = len(columns["l"])
    if wanted is None or wanted >= n:
        return dict(columns), []
    chosen = np.sort(np.random.default_rng(seed).choice(n, wanted, replace=False))
    how = f"(seed {seed}); inference.stars, or the catalogue's n_stars, sets how many"
    note = f"{wanted:,} of the {n:,} drawn at random {how}"
    return {key: values[chosen] for key, values in columns.items()}, [note]


def _assume_errors(
    columns: dict[str, np.ndarray], errors: Any, report: RowReport, survey: SurveyConfig
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
                f"it or give {survey.errors.where} = {{{keys[0].removesuffix('_error')} = ...}}"
            )
        for key in keys:
            columns[key] = np.where(missing, sigma, columns[key])
        assumed = float(np.median(sigma[missing]))
        notes.append(f"{' and '.join(keys)} of {assumed:g} {unit} assumed for {int(missing.sum()):,} stars")
    columns["mu_lb_corr"] = np.where(np.isfinite(columns["mu_lb_corr"]), columns["mu_lb_corr"], 0.0)
    return columns, report.with_notes(notes)


def forward_model(config: Config, name: str = "") -> Any:
    """The `model.Sight` of one catalogue of a configuration, for predictions, at its start values.

    The populations' colours are there. Without the catalogue's file every component needs `stars` of its own,
    and the survey's errors are those given. Raises ValueError for what `build` refuses, and for a catalogue
    that there is not.
    """
    if name and name not in config.catalogues:
        known = ", ".join(config.catalogues) or "none"
        raise ValueError(f"no [catalogues.{name}]{nearest(name, config.catalogues)} (there are: {known})")
    if not name and config.catalogues and config.data is None and not config.survey.selection:
        raise ValueError(
            f"which survey? Say --catalogue NAME, of {', '.join(config.catalogues)}; [survey] has no cuts"
        )
    return _forward(config).sight(name)


def observed_stars(config: Config, name: str = "") -> StarTable:
    """All stars of a catalogue that pass its cuts, whatever is not measured of them.

    Raises ValueError where there is no such catalogue, FileNotFoundError where its file is missing.
    """
    every = config.star_catalogues()
    if name not in every:
        raise ValueError(
            f"there is no [catalogues.{name}]{nearest(name, every)}"
            if name
            else 'there are no stars: give [data] with catalogue = "..."'
        )
    found = _selected(config, every[name])
    return StarTable(
        found.columns, found.report, sha256(find_catalogue(every[name].catalogue, config.folder))
    )


def forward_problem(config: Config) -> tuple[Any, dict[str, Any], dict[str, float]]:
    """The model.Model behind `forward_model`, and prior and start of every free parameter, by path."""
    model = _forward(config)
    return model, *_priors(config, model)


def _forward(config: Config) -> Any:
    every = config.star_catalogues()
    there = {key: part for key, part in every.items() if not key or _is_there(part, config)}
    # A survey to be seen through that has no stars yet has the errors that are given.
    seen = {key: _selected(config, part) for key, part in there.items()}
    return _build_model(config, seen, bound=False)


def _is_there(part: CatalogueConfig, config: Config) -> bool:
    try:
        return find_catalogue(part.catalogue, config.folder).is_file()
    except FileNotFoundError:
        return False


def _magnitudes(node: Node, config: Config, measured: _Selected | None, bound: bool) -> Any:
    """A distribution of absolute magnitudes, from its own table or from the stars of a catalogue."""
    from oortax.stars import MAGNITUDES, STAR_PARTS, AbstractMagnitudes

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
    if measured is None:
        raise ValueError(
            f'{node.where}: kind = "{FROM_CATALOGUE}" needs a catalogue to measure it from; give '
            '{kind = "population"} or {kind = "gaussian", mean = ..., sigma = ...}'
        )
    return _measured(node, measured)


def _measured(node: Node, part: _Selected) -> Any:
    """The luminosity function of a catalogue's own stars."""
    from oortax.stars import Tabulated

    columns, where = part.columns, part.config.survey.errors.where.removesuffix(".errors")
    limits = {each.kind: each.values for each in part.config.survey.selection}
    apparent, absolute = limits.get("magnitude", {}), limits.get("absolute_magnitude", {})
    low, high = absolute.get("min"), absolute.get("max")
    if low is None or high is None:
        raise ValueError(
            f'{node.where}: kind = "{FROM_CATALOGUE}" needs a cut {{kind = "absolute_magnitude", min = ..., '
            f'max = ...}} in {where}.selection; else give {{kind = "gaussian", mean = ..., sigma = ...}}'
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


def _build_model(config: Config, seen: Mapping[str, _Selected], bound: bool = True) -> Any:
    """The model.Model of the configuration at its starting values."""
    from oortax import model
    from oortax.df import DFS
    from oortax.potential import POTENTIALS, Sum
    from oortax.survey import Sun

    _check_weights(config)
    components = {}
    for name, part in config.components.items():
        weight = part.weight.value if isinstance(part.weight, Free) else part.weight
        share: Any = weight
        stars = _common_magnitudes(name, config, seen, bound)
        components[name] = model.Component(part.df.build(DFS), stars, share)
    potential = Sum(**{name: node.build(POTENTIALS) for name, node in config.potential.items()})
    unnamed = seen.get("")
    survey = config.survey.build(config.sun.build(Sun), None if unnamed is None else unnamed.errors)
    return model.Model(
        model.Galaxy(potential, components),
        survey,
        _outliers(config.outliers),
        {name: part.build() for name, part in config.constraints.items()},
        {name: _view(part, config, seen.get(name), bound) for name, part in config.catalogues.items()},
    )


def _common_magnitudes(name: str, config: Config, seen: Mapping[str, _Selected], bound: bool) -> Any:
    """The magnitudes of a component's own stars.

    Those that come from a catalogue come from the first that sees the component and has no other kind of its
    stars. Where all have others, the first of these stands in.
    """
    node, every = config.components[name].stars, config.star_catalogues()
    of_views = [part.stars[name] for part in every.values() if name in part.stars]
    plain = [key for key, part in every.items() if part.sees(name) and name not in part.stars]
    if node.kind == FROM_CATALOGUE and not plain and of_views:
        node, plain = of_views[0], [key for key, part in every.items() if name in part.stars]
    first = next((seen[key] for key in plain if key in seen), None)
    return _magnitudes(node, config, first, bound)


def _view(part: CatalogueConfig, config: Config, seen: _Selected | None, bound: bool) -> Any:
    """The model.View of a catalogue: what is measured from a catalogue is measured from it."""
    from oortax import model

    stars = {}
    for name, component in config.components.items():
        node = part.stars.get(name, component.stars)
        if part.sees(name) and (name in part.stars or node.kind == FROM_CATALOGUE):
            stars[name] = _magnitudes(node, config, seen, bound)
    errors = built_errors(part.survey.errors) if seen is None else seen.errors
    return model.View(
        part.survey.cuts(), errors, part.survey.dust(), _outliers(part.outliers), part.components, stars
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
