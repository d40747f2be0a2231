"""The configuration of a fit: one TOML file, checked key by key before anything is computed.

    [data]
    catalogue = "giants.parquet"
    columns   = {parallax = "plx", pm_l_cosb = {name = "pml", unit = "mas/yr"}, v_los = "rv"}
    [survey]
    selection = [{kind = "magnitude", band = "V", max = 10.5}, {kind = "abs_b", min = 25.0}]
    [potential.halo]
    kind  = "NFW"
    rho_s = {prior = "LogNormal(16.2, 0.5)"}
    r_s   = 16.0
    [components.thin]
    df    = {kind = "QuasiIsothermal", R_d = 2.6, ...}

    [constraints.circular_velocity]
    table = "eilers_2019"

[data], [survey], [components] and [outliers] describe stars and may be left out together where there are
[constraints], direct measurements of the potential (see `oortax.io.constraints`). Instead of [data], or
beside it, [binned.NAME] gives catalogues that are counted in cells (see `oortax.io.binned`).

A number is fixed; {prior = "...", start = ...} is free. The dotted path of a value in this file
(`potential.halo.rho_s`) is its name everywhere else.
"""

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from oortax.io import toml
from oortax.io.binned import KEYS, BinnedConfig, parse_binned
from oortax.io.constraints import ConstraintConfig, parse_constraint
from oortax.io.names import check_keys, nearest
from oortax.io.nodes import Free, Node, parse_free, parse_node
from oortax.io.records import parse_record
from oortax.io.tables import QUANTITIES, find_catalogue

SECTIONS = (
    "data", "survey", "binned", "potential", "components", "sun", "outliers", "constraints", "inference",
)  # fmt: skip
METHODS = ("maximum", "laplace", "nuts")
FROM_CATALOGUE = "from_catalogue"


@dataclasses.dataclass(frozen=True)
class Data:
    """[data]: the catalogue (a path or a bundled name) and its column mapping."""

    catalogue: str
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SurveyConfig:
    """[survey]: cuts that define the catalogue, errors where it has none, extinction."""

    selection: tuple[Node, ...]
    errors: Node
    extinction: Node | None = None


@dataclasses.dataclass(frozen=True)
class ComponentConfig:
    """[components.NAME]: f(J), absolute magnitudes, and weight (None: what the others leave)."""

    df: Node
    stars: Node
    weight: float | Free | None = None


@dataclasses.dataclass(frozen=True)
class Inference:
    """[inference]: method, action finder, random seed and sizes.

    Attributes
    ----------
    method : "maximum", "laplace" (maximum and covariance) or "nuts" (both, then Hamiltonian Monte Carlo)
    finder : kind of action finder, used for stars and normalisation alike; "TorusFinder" fits a library of
        tori where the fit starts, and again at its maximum
    tori : options of `dynamics.pilot_tori` for it, such as {max_tori = 2000, tol = 1e-3}
    likelihood : "conditional" (given the number of stars) or "poisson"
    seed : of every random draw
    chains, warmup, samples, target_accept, max_tree_depth : of NUTS
    stars : use at most this many stars, drawn at random; None uses all
    nodes_per_star : integration nodes per star
    steps : most steps of the maximiser
    settings : numbers handed to the likelihood unchanged
    """

    method: str = "nuts"
    finder: str = "StaeckelFudge"
    likelihood: str = "conditional"
    seed: int = 1
    chains: int = 2
    warmup: int = 300
    samples: int = 500
    target_accept: float = 0.8
    max_tree_depth: int = 8
    stars: int | None = None
    nodes_per_star: int = 3
    steps: int = 300
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tori: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Config:
    """A checked configuration; see the module's docstring and `load_config`."""

    data: Data | None
    survey: SurveyConfig
    potential: Mapping[str, Node]
    components: Mapping[str, ComponentConfig]
    sun: Node
    outliers: Node | None
    constraints: Mapping[str, ConstraintConfig]
    inference: Inference
    folder: Path = dataclasses.field(default=Path("."), compare=False)
    binned: Mapping[str, BinnedConfig] = dataclasses.field(default_factory=dict)

    def free(self) -> Iterator[tuple[str, Free]]:
        """Dotted path and description of every free parameter."""
        for node in self.potential.values():
            yield from node.free()
        for name, component in self.components.items():
            yield from component.df.free()
            yield from component.stars.free()
            if isinstance(component.weight, Free):
                yield f"components.{name}.weight", component.weight
        for node in (self.sun, self.outliers, *(part.node for part in self.constraints.values())):
            if node is not None:
                yield from node.free()

    def with_inference(self, **changes: Any) -> "Config":
        """A copy with some of [inference] replaced; None leaves a value as it is."""
        changes = {key: value for key, value in changes.items() if value is not None}
        table = dataclasses.asdict(self.inference) | changes
        inference = parse_record(Inference, {k: v for k, v in table.items() if v is not None}, "inference")
        return dataclasses.replace(self, inference=_check_inference(inference))

    def with_all_stars(self) -> "Config":
        """A copy that uses every star."""
        return dataclasses.replace(self, inference=dataclasses.replace(self.inference, stars=None))

    def as_dict(self) -> dict[str, Any]:
        """The configuration as nested plain types, with every default spelt out."""
        extinction = self.survey.extinction
        components = {}
        for name, part in self.components.items():
            weight = part.weight.resolved() if isinstance(part.weight, Free) else part.weight
            components[name] = {"weight": weight, "df": part.df.resolved(), "stars": part.stars.resolved()}
        stars: dict[str, Any] = {}
        if self.data is not None:
            catalogue = find_catalogue(self.data.catalogue, self.folder)
            bundled = not (self.folder / self.data.catalogue).is_file()
            stars["data"] = {
                "catalogue": self.data.catalogue if bundled else str(catalogue.resolve()),
                "columns": dict(self.data.columns),
            }
            stars["survey"] = {
                "selection": [node.resolved() for node in self.survey.selection],
                "errors": self.survey.errors.resolved(),
                "extinction": None if extinction is None else extinction.resolved(),
            }
        if self.binned:
            stars["binned"] = {name: part.resolved(self.folder) for name, part in self.binned.items()}
        return stars | {
            "potential": {name: node.resolved() for name, node in self.potential.items()},
            **({"components": components} if components else {}),
            "sun": self.sun.resolved(),
            "outliers": None if self.outliers is None else self.outliers.resolved(),
            **(
                {"constraints": {name: c.resolved(self.folder) for name, c in self.constraints.items()}}
                if self.constraints
                else {}
            ),
            "inference": dataclasses.asdict(self.inference),
        }

    def resolved_toml(self) -> str:
        """The configuration as TOML with every default spelt out; `load_config` reads it back."""
        return toml.dumps(self.as_dict())


def load_config(path: str | Path, *, forward: bool = False) -> Config:
    """Read and check a configuration file; `forward` ones, of predictions, need no [data].

    Raises
    ------
    FileNotFoundError
        If there is no such file, or no such catalogue.
    ValueError
        For TOML that cannot be parsed, an unknown key or kind (suggesting the nearest), a missing
        key, a value of the wrong type, or a prior that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        near = nearest(path.name, [p.name for p in path.parent.glob("*.toml")])
        raise FileNotFoundError(f"no configuration file {str(path)!r}{near}")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    try:
        return parse_config(document, path.parent, forward=forward)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_config(document: Mapping[str, Any], folder: Path = Path("."), *, forward: bool = False) -> Config:
    """Check a configuration given as nested mappings; relative paths start at `folder`."""
    from oortax import model, survey

    check_keys(document, SECTIONS, "the configuration")
    _check_sections(document, forward)
    for name in document:
        _table(document[name], name)
    config = Config(
        data=_parse_data(document["data"], folder) if "data" in document else None,
        survey=_parse_survey(document.get("survey", {})),
        potential=_parse_potential(document["potential"]),
        components=_parse_components(document["components"]) if "components" in document else {},
        sun=parse_node(document.get("sun", {}), "sun", survey.Sun),
        outliers=parse_node(document["outliers"], "outliers", model.Outliers)
        if "outliers" in document
        else None,
        constraints=_parse_constraints(document.get("constraints", {})),
        inference=_check_inference(parse_record(Inference, document.get("inference", {}), "inference")),
        folder=folder,
        binned={
            name: _parse_binned(name, _table(part, f"binned.{name}"), folder)
            for name, part in document.get("binned", {}).items()
        },
    )
    if config.data is not None:
        find_catalogue(config.data.catalogue, folder)
    return config


def _check_sections(document: Mapping[str, Any], forward: bool) -> None:
    """Raise ValueError unless there are a potential and stars or constraints, and stars have components."""
    if not document.get("potential"):
        raise ValueError("the configuration has no [potential]")
    if document.get("data") or document.get("binned") or forward:
        if not document.get("components"):
            raise ValueError("the configuration has no [components]")
        return
    of_stars = [name for name in ("components", "survey", "outliers") if document.get(name)]
    if of_stars or not document.get("constraints"):
        reason = f"; [{of_stars[0]}] describes stars" if of_stars else " and no [constraints]"
        raise ValueError(f"the configuration has no [data]{reason}")


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"[{where}] must be a table, not {value!r}")
    return value


def _parse_data(table: Mapping[str, Any], folder: Path) -> Data:
    data = parse_record(Data, table, "data")
    check_keys(data.columns, QUANTITIES, "data.columns")
    return data


def _parse_binned(name: str, table: Mapping[str, Any], folder: Path) -> BinnedConfig:
    check_keys(table, KEYS, f"binned.{name}")
    cuts = {key: table[key] for key in ("selection", "errors", "extinction") if key in table}
    try:
        survey = _parse_survey(cuts)
    except ValueError as error:
        raise ValueError(f"binned.{name}: {error}") from error
    return parse_binned(name, table, survey, folder)


def _parse_survey(table: Mapping[str, Any]) -> SurveyConfig:
    from oortax import survey
    from oortax.survey import ERRORS, EXTINCTIONS

    check_keys(table, ("selection", "errors", "extinction"), "survey")
    cuts = table.get("selection", [])
    if not isinstance(cuts, list):
        raise ValueError('survey.selection must be a list of tables such as [{kind = "abs_b", min = 25.0}]')
    errors = _table(table.get("errors", {}), "survey.errors")
    parsed = SurveyConfig(
        selection=tuple(
            parse_node(cut, f"survey.selection[{i}]", survey.SELECTIONS) for i, cut in enumerate(cuts)
        ),
        errors=parse_node(errors, "survey.errors", ERRORS if "kind" in errors else survey.Errors),
        extinction=(
            parse_node(table["extinction"], "survey.extinction", EXTINCTIONS)
            if "extinction" in table
            else None
        ),
    )
    for node in (*parsed.selection, parsed.errors, parsed.extinction):
        for path, _ in node.free() if node is not None else ():
            raise ValueError(f"{path} describes the survey and cannot be free: give a number")
    return parsed


def _parse_potential(table: Mapping[str, Any]) -> dict[str, Node]:
    from oortax.potential import POTENTIALS

    return {name: parse_node(part, f"potential.{name}", POTENTIALS) for name, part in table.items()}


def _parse_components(table: Mapping[str, Any]) -> dict[str, ComponentConfig]:
    from oortax.df import DFS
    from oortax.stars import MAGNITUDES, STAR_PARTS

    components = {}
    for name, part in table.items():
        where = f"components.{name}"
        check_keys(_table(part, where), ("weight", "df", "stars"), where)
        if "df" not in part:
            raise ValueError(f'{where} lacks df = {{kind = "...", ...}} (kinds: {", ".join(DFS)})')
        weight = part.get("weight")
        if isinstance(weight, Mapping):
            weight = parse_free(weight, f"{where}.weight")
        elif weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float)):
            raise ValueError(f"{where}.weight = {weight!r} must be a number or {{prior = ...}}")
        kinds = {**MAGNITUDES, FROM_CATALOGUE: from_catalogue_options, **STAR_PARTS}
        stars = parse_node(part.get("stars", {"kind": FROM_CATALOGUE}), f"{where}.stars", kinds)
        components[name] = ComponentConfig(parse_node(part["df"], f"{where}.df", DFS), stars, weight)
    rest = [name for name, part in components.items() if part.weight is None]
    if len(rest) != 1:
        raise ValueError(
            f"exactly one component must have no weight, to take what the others leave; "
            f"{len(rest)} have none{': ' + ', '.join(rest) if rest else ''}"
        )
    return components


def from_catalogue_options(bins: int = 14, margin: float = 0.1) -> dict[str, Any]:
    """Keys of stars = {kind = "from_catalogue"}; see `oortax.io.luminosity.luminosity_function`."""
    return {"bins": bins, "margin": margin}


def _parse_constraints(table: Mapping[str, Any]) -> dict[str, ConstraintConfig]:
    return {name: parse_constraint(name, _table(part, f"constraints.{name}")) for name, part in table.items()}


def _check_inference(inference: Inference) -> Inference:
    """Raise ValueError for a choice or a size that makes no sense."""
    from oortax.dynamics import FINDERS, STAR_FINDERS

    finders = (*FINDERS, *STAR_FINDERS)
    choices = {"method": METHODS, "likelihood": ("conditional", "poisson"), "finder": finders}
    for name, known in choices.items():
        chosen = getattr(inference, name)
        if chosen not in known:
            raise ValueError(
                f"inference.{name} = {chosen!r}{nearest(chosen, known)} (known: {', '.join(known)})"
            )
    for name in ("chains", "warmup", "samples", "stars", "nodes_per_star", "steps", "max_tree_depth"):
        size = getattr(inference, name)
        if size is not None and size < 1:
            raise ValueError(f"inference.{name} = {size} must be at least 1")
    if not 0 < inference.target_accept < 1:
        raise ValueError(f"inference.target_accept = {inference.target_accept:g} must lie between 0 and 1")
    return inference
