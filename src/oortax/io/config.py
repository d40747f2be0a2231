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
beside it, [catalogues.NAME] gives catalogues with surveys of their own (see `oortax.io.catalogues`), and
[binned.NAME] such as are counted in cells (see `oortax.io.binned`).

A number is fixed; {prior = "...", start = ...} is free. The dotted path of a value in this file
(`potential.halo.rho_s`) is its name everywhere else.
"""

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from oortax.io import toml
from oortax.io.binned import BinnedConfig, parse_binned
from oortax.io.catalogues import (
    CatalogueConfig,
    check_components,
    check_files,
    parse_catalogue,
    parse_unmeasured,
)
from oortax.io.constraints import ConstraintConfig, parse_constraint
from oortax.io.names import check_keys, nearest
from oortax.io.nodes import Free, Node, parse_free, parse_node
from oortax.io.records import parse_record
from oortax.io.surveys import SurveyConfig, parse_survey, place_of
from oortax.io.tables import QUANTITIES

SECTIONS = (
    "data", "survey", "catalogues", "binned", "potential", "components", "sun", "outliers", "constraints",
    "inference",
)  # fmt: skip
METHODS = ("maximum", "laplace", "nuts")
FROM_CATALOGUE = "from_catalogue"


@dataclasses.dataclass(frozen=True)
class Data:
    """[data]: the catalogue (a path or a bundled name), its column mapping, what it does not give."""

    catalogue: str
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    unmeasured: list = dataclasses.field(default_factory=list)


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
    likelihood : "conditional" (given the number of stars), "poisson" (how the stars are shared out among
        the catalogues of this form counts, too, whatever their number in the Galaxy), or "kinematic" (given
        where each star is and how bright: of surveys whose selection is not known); catalogues may have
        forms of their own
    seed : of every random draw
    chains, warmup, samples, target_accept, max_tree_depth : of NUTS
    stars : use at most this many stars of a catalogue, drawn at random; None uses all
    nodes_per_star : integration nodes per star; catalogues may have numbers of their own
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
    target_accept: float = 0.9
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
    catalogues: Mapping[str, CatalogueConfig] = dataclasses.field(default_factory=dict)

    def star_catalogues(self) -> dict[str, CatalogueConfig]:
        """Every catalogue that is fitted star by star; that of [data] has the empty name."""
        if self.data is None:
            return dict(self.catalogues)
        data = self.data
        unnamed = CatalogueConfig(
            data.catalogue, self.survey, data.columns, tuple(data.unmeasured), self.outliers
        )
        return {"": unnamed, **self.catalogues}

    def free(self) -> Iterator[tuple[str, Free]]:
        """Dotted path and description of every free parameter."""
        for node in self.potential.values():
            yield from node.free()
        for name, component in self.components.items():
            yield from component.df.free()
            yield from component.stars.free()
            if isinstance(component.weight, Free):
                yield f"components.{name}.weight", component.weight
        yield from self.survey.free()
        for node in (self.sun, self.outliers, *(part.node for part in self.constraints.values())):
            if node is not None:
                yield from node.free()
        for catalogue in self.catalogues.values():
            yield from catalogue.free()

    def with_inference(self, **changes: Any) -> "Config":
        """A copy with some of [inference] replaced; None leaves a value as it is.

        A number of stars is then that of every catalogue.
        """
        changes = {key: value for key, value in changes.items() if value is not None}
        table = dataclasses.asdict(self.inference) | changes
        inference = parse_record(Inference, {k: v for k, v in table.items() if v is not None}, "inference")
        replaced = dataclasses.replace(self, inference=_check_inference(inference))
        return replaced._with_common_number() if "stars" in changes else replaced

    def with_all_stars(self) -> "Config":
        """A copy that uses every star."""
        every = dataclasses.replace(self, inference=dataclasses.replace(self.inference, stars=None))
        return every._with_common_number()

    def _with_common_number(self) -> "Config":
        """A copy whose catalogues have no numbers of stars of their own."""
        parts = {name: dataclasses.replace(part, n_stars=None) for name, part in self.catalogues.items()}
        return dataclasses.replace(self, catalogues=parts)

    def as_dict(self) -> dict[str, Any]:
        """The configuration as nested plain types, with every default spelt out."""
        components = {}
        for name, part in self.components.items():
            weight = part.weight.resolved() if isinstance(part.weight, Free) else part.weight
            components[name] = {"weight": weight, "df": part.df.resolved(), "stars": part.stars.resolved()}
        stars: dict[str, Any] = {}
        if self.data is not None:
            stars["data"] = {
                "catalogue": place_of(self.data.catalogue, self.folder),
                "columns": dict(self.data.columns),
                "unmeasured": list(self.data.unmeasured),
            }
            stars["survey"] = self.survey.resolved()
        if self.catalogues:
            stars["catalogues"] = {name: part.resolved(self.folder) for name, part in self.catalogues.items()}
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
        data=_parse_data(document["data"]) if "data" in document else None,
        survey=parse_survey(document.get("survey", {}), "survey"),
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
            name: parse_binned(name, _table(part, f"binned.{name}"), folder)
            for name, part in document.get("binned", {}).items()
        },
        catalogues={
            name: parse_catalogue(name, part, _star_kinds())
            for name, part in document.get("catalogues", {}).items()
        },
    )
    check_components(config.star_catalogues(), config.components, bool(config.binned))
    check_files(config.star_catalogues() if not forward else {}, folder)
    return config


def _check_sections(document: Mapping[str, Any], forward: bool) -> None:
    """Raise ValueError unless there are a potential and stars or constraints, and stars have components."""
    if not document.get("potential"):
        raise ValueError("the configuration has no [potential]")
    if forward or any(document.get(name) for name in ("data", "catalogues", "binned")):
        if not document.get("components"):
            raise ValueError("the configuration has no [components]")
        stray = [name for name in ("survey", "outliers") if document.get(name)]
        if document.get("catalogues") and not document.get("data") and stray and not forward:
            raise ValueError(
                f"[{stray[0]}] describes the catalogue of [data], which there is not: say it in "
                "[catalogues.NAME]"
            )
        return
    of_stars = [name for name in ("components", "survey", "outliers") if document.get(name)]
    if of_stars or not document.get("constraints"):
        reason = f"; [{of_stars[0]}] describes stars" if of_stars else " and no [constraints]"
        raise ValueError(f"the configuration has no [data] and no [catalogues]{reason}")


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"[{where}] must be a table, not {value!r}")
    return value


def _parse_data(table: Mapping[str, Any]) -> Data:
    data = parse_record(Data, table, "data")
    check_keys(data.columns, QUANTITIES, "data.columns")
    parse_unmeasured(data.unmeasured, "data")
    return data


def _parse_potential(table: Mapping[str, Any]) -> dict[str, Node]:
    from oortax.potential import POTENTIALS

    return {name: parse_node(part, f"potential.{name}", POTENTIALS) for name, part in table.items()}


def _parse_components(table: Mapping[str, Any]) -> dict[str, ComponentConfig]:
    from oortax.df import DFS

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
        stars = parse_node(part.get("stars", {"kind": FROM_CATALOGUE}), f"{where}.stars", _star_kinds())
        components[name] = ComponentConfig(parse_node(part["df"], f"{where}.df", DFS), stars, weight)
    rest = [name for name, part in components.items() if part.weight is None]
    if len(rest) != 1:
        raise ValueError(
            f"exactly one component must have no weight, to take what the others leave; "
            f"{len(rest)} have none{': ' + ', '.join(rest) if rest else ''}"
        )
    return components


def _star_kinds() -> dict[str, Any]:
    """Kinds of `stars` and of their parts."""
    from oortax.stars import MAGNITUDES, STAR_PARTS

    return {**MAGNITUDES, FROM_CATALOGUE: from_catalogue_options, **STAR_PARTS}


def from_catalogue_options(bins: int = 14, margin: float = 0.1) -> dict[str, Any]:
    """Keys of stars = {kind = "from_catalogue"}; see `oortax.io.luminosity.luminosity_function`."""
    return {"bins": bins, "margin": margin}


def _parse_constraints(table: Mapping[str, Any]) -> dict[str, ConstraintConfig]:
    return {name: parse_constraint(name, _table(part, f"constraints.{name}")) for name, part in table.items()}


def _check_inference(inference: Inference) -> Inference:
    """Raise ValueError for a choice or a size that makes no sense."""
    from oortax.dynamics import FINDERS, STAR_FINDERS
    from oortax.model import FORMS

    finders = (*FINDERS, *STAR_FINDERS)
    choices = {"method": METHODS, "likelihood": FORMS, "finder": finders}
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
