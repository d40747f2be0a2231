"""Catalogues of stars in a configuration: one without a name, and any number of others beside it.

    [catalogues.bhb]
    catalogue  = "bhb.parquet"
    unmeasured = ["proper_motion"]                     # integrated over
    selection  = [{kind = "magnitude", min = 14.0, max = 18.5}, {kind = "abs_b", min = 20.0}]
    errors     = {v_los = 5.0, distance_modulus_zero_point = {prior = "Normal(0, 0.1)"}}
    components = ["halo"]                              # whose stars it holds; all if not said
    likelihood = "kinematic"                           # of the velocities, given where the stars are
    stars      = {halo = {kind = "gaussian", mean = 0.6, sigma = 0.25}}
    outliers   = {fraction = 0.02, sigma = 200.0}

[data], [survey] and [outliers] are together the catalogue without a name. All share the potential, f(J) and
weights of the components, and the Sun.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from oortax.io.names import check_keys, nearest
from oortax.io.nodes import Free, Node, parse_node
from oortax.io.surveys import KEYS as SURVEY_KEYS
from oortax.io.surveys import SurveyConfig, parse_survey, place_of
from oortax.io.tables import QUANTITIES, UNMEASURED, find_catalogue

KEYS = (
    "catalogue", "columns", "unmeasured", *SURVEY_KEYS, "outliers", "components", "stars", "nodes_per_star",
    "n_stars", "own_populations", "likelihood",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class CatalogueConfig:
    """A catalogue that is fitted star by star.

    Attributes
    ----------
    catalogue, columns : a path or a bundled name, and the column mapping
    unmeasured : what it does not give for all stars, of "proper_motion", "distance", "V" and "v_los"
    survey : the cuts that made it, errors where it has none, extinction
    outliers : stars of no component
    components : names of those whose stars it holds; empty: all
    stars : absolute magnitudes by component, where its stars are of another kind than the component's own
    nodes_per_star, n_stars : instead of `nodes_per_star` and `stars` of [inference]
    own_populations : its components are in no other catalogue, and that is meant
    likelihood : instead of that of [inference], of `model.FORMS`
    """

    catalogue: str
    survey: SurveyConfig
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    unmeasured: tuple[str, ...] = ()
    outliers: Node | None = None
    components: tuple[str, ...] = ()
    stars: Mapping[str, Node] = dataclasses.field(default_factory=dict)
    nodes_per_star: int | None = None
    n_stars: int | None = None
    own_populations: bool = False
    likelihood: str | None = None

    def free(self) -> Iterator[tuple[str, Free]]:
        """Dotted path and description of its free parameters."""
        yield from self.survey.free()
        for node in (self.outliers, *self.stars.values()):
            if node is not None:
                yield from node.free()

    def sees(self, component: str) -> bool:
        """Whether it holds stars of a component."""
        return not self.components or component in self.components

    def resolved(self, folder: Path) -> dict[str, Any]:
        """The table that gives this catalogue, with defaults spelt out."""
        return {
            "catalogue": place_of(self.catalogue, folder),
            "columns": dict(self.columns),
            "unmeasured": list(self.unmeasured),
            **self.survey.resolved(),
            "outliers": None if self.outliers is None else self.outliers.resolved(),
            "components": list(self.components),
            "stars": {name: node.resolved() for name, node in self.stars.items()},
            "nodes_per_star": self.nodes_per_star,
            "n_stars": self.n_stars,
            "own_populations": self.own_populations,
            "likelihood": self.likelihood,
        }


def parse_catalogue(name: str, table: Any, magnitudes: Mapping[str, Any]) -> CatalogueConfig:
    """Check [catalogues.NAME]; `magnitudes` are the kinds of `stars`.

    Raises ValueError for unknown keys and kinds, names that cannot be part of a path, sizes without sense.
    """
    from oortax import model

    where = f"catalogues.{name}"
    if not re.fullmatch(r"[A-Za-z]\w*", name):
        raise ValueError(f"[{where}]: a name is letters, digits and _, and begins with a letter")
    if not isinstance(table, Mapping):
        raise ValueError(f"[{where}] must be a table, not {table!r}")
    check_keys(table, KEYS, where)
    if not isinstance(table.get("catalogue"), str):
        raise ValueError(f'{where} lacks catalogue = "FILE": a path or the name of a bundled data set')
    check_keys(table.get("columns", {}), QUANTITIES, f"{where}.columns")
    for key in ("nodes_per_star", "n_stars"):
        value = table.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{where}.{key} = {value!r} must be a whole number, 1 or more")
    own = table.get("own_populations", False)
    if not isinstance(own, bool):
        raise ValueError(f"{where}.own_populations = {own!r} must be true or false")
    form = table.get("likelihood")
    if form is not None and form not in model.FORMS:
        meant = nearest(str(form), model.FORMS)
        raise ValueError(f"{where}.likelihood = {form!r}{meant} (known: {', '.join(model.FORMS)})")
    stars = table.get("stars", {})
    if not isinstance(stars, Mapping):
        raise ValueError(f'{where}.stars must be a table such as {{halo = {{kind = "gaussian", ...}}}}')
    outliers = table.get("outliers")
    return CatalogueConfig(
        table["catalogue"],
        parse_survey({key: table[key] for key in SURVEY_KEYS if key in table}, where),
        dict(table.get("columns", {})),
        parse_unmeasured(table.get("unmeasured", []), where),
        None if outliers is None else parse_node(outliers, f"{where}.outliers", model.Outliers),
        tuple(_names(table.get("components", []), f"{where}.components")),
        {name: parse_node(node, f"{where}.stars.{name}", magnitudes) for name, node in stars.items()},
        table.get("nodes_per_star"),
        table.get("n_stars"),
        own,
        form,
    )


def parse_unmeasured(given: Any, where: str) -> tuple[str, ...]:
    """What a catalogue does not give for all stars. ValueError for what no fit can do without."""
    names = _names(given, f"{where}.unmeasured")
    check_keys(names, UNMEASURED, f"{where}.unmeasured")
    if {"proper_motion", "v_los"} <= set(names):
        raise ValueError(f"{where}.unmeasured: a star needs a velocity; leave proper_motion or v_los out")
    if {"distance", "V"} <= set(names):
        raise ValueError(f"{where}.unmeasured: a star needs a distance; leave distance or V out")
    return tuple(names)


def _names(given: Any, where: str) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ValueError(f'{where} = {given!r} must be a list of names, such as ["halo"]')
    return given


def check_components(
    catalogues: Mapping[str, CatalogueConfig], components: Mapping[str, Any], counted: bool
) -> None:
    """Raise ValueError unless the catalogues and the components of a configuration belong together.

    Every component must be seen by a catalogue, and catalogues must be linked by common components:
    weights of populations that no catalogue has together are measured by nothing. `counted` are catalogues in
    cells, which see every component.
    """
    for name, part in catalogues.items():
        for key, names in (("components", part.components), ("stars", part.stars)):
            for each in names:
                if each not in components:
                    raise ValueError(
                        f"catalogues.{name}.{key}: there is no component {each!r}{nearest(each, components)} "
                        f"(there are {', '.join(components)})"
                    )
                if not part.sees(each):
                    raise ValueError(
                        f"catalogues.{name}.stars.{each}: {each} is not among catalogues.{name}.components; "
                        "add it there or leave it out here"
                    )
    if counted or not catalogues:
        return
    unseen = [each for each in components if not any(part.sees(each) for part in catalogues.values())]
    if unseen:
        raise ValueError(
            f"components.{unseen[0]} is in no catalogue, so that nothing measures it: name it in the "
            f"components of {', '.join(f'catalogues.{name}' for name in catalogues)}, or remove it"
        )
    groups: list[tuple[list[str], set[str]]] = []
    for name, part in catalogues.items():
        linked, seen = [name], set(part.components or components)
        for other in [group for group in groups if group[1] & seen]:
            groups.remove(other)
            linked, seen = [*other[0], *linked], seen | other[1]
        groups.append((linked, seen))
    meant = [all(name and catalogues[name].own_populations for name in group[0]) for group in groups]
    apart = [group for group, alone in zip(groups, meant, strict=True) if not alone]
    if len(apart) > 1:
        (first, of_first), (second, of_second) = apart[:2]
        words = [", ".join(name or "[data]" for name in names) for names in (first, second)]
        raise ValueError(
            f"the catalogues {words[0]} and {words[1]} share no population, they hold stars of "
            f"{', '.join(sorted(of_first))} and of {', '.join(sorted(of_second))}: give their components one "
            "in common, or, if they shall share the potential and the Sun alone, say "
            f"catalogues.{second[-1]}.own_populations = true"
        )


def check_files(catalogues: Mapping[str, CatalogueConfig], folder: Path) -> None:
    """Raise FileNotFoundError for a catalogue that is not there."""
    for part in catalogues.values():
        find_catalogue(part.catalogue, folder)
