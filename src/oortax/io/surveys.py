"""What a configuration says of a survey: the cuts that made a catalogue, its errors, the dust in front.

[survey], [binned.NAME] and [catalogues.NAME] are read here.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oortax.io.names import check_keys
from oortax.io.nodes import Free, Node, parse_node
from oortax.io.rows import RowFilter, RowReport
from oortax.io.tables import find_catalogue
from oortax.io.toml import value as toml_value

KEYS = ("selection", "errors", "extinction")
# Nodes stay where they are when these move; all else of a survey is built into them.
ZERO_POINTS = ("parallax_zero_point", "distance_modulus_zero_point")


@dataclasses.dataclass(frozen=True)
class SurveyConfig:
    """Cuts that define a catalogue, errors where it has none, extinction."""

    selection: tuple[Node, ...]
    errors: Node
    extinction: Node | None = None

    def cuts(self) -> list[Any]:
        """The cuts as objects."""
        from oortax import survey

        return [node.build(survey.SELECTIONS) for node in self.selection]

    def dust(self) -> Any:
        """The extinction, or None."""
        from oortax import survey

        return None if self.extinction is None else self.extinction.build(survey.EXTINCTIONS)

    def build(self, sun: Any, errors: Any = None) -> Any:
        """The `survey.Survey`, seen from a Sun; with its own errors unless others are given."""
        from oortax import survey

        errors = built_errors(self.errors) if errors is None else errors
        return survey.Survey(sun, selection=self.cuts(), errors=errors, extinction=self.dust())

    def free(self) -> Iterator[tuple[str, Free]]:
        """Dotted path and description of its free parameters."""
        yield from self.errors.free()

    def resolved(self) -> dict[str, Any]:
        """The tables that give it, with defaults spelt out."""
        return {
            "selection": [node.resolved() for node in self.selection],
            "errors": self.errors.resolved(),
            "extinction": None if self.extinction is None else self.extinction.resolved(),
        }


def parse_survey(
    table: Mapping[str, Any], where: str, movable: tuple[str, ...] = ZERO_POINTS
) -> SurveyConfig:
    """Check selection, errors and extinction of a table at `where`.

    Raises ValueError for unknown keys and kinds, and for free parameters other than the `movable` errors.
    """
    from oortax import survey
    from oortax.survey import ERRORS, EXTINCTIONS

    check_keys(table, KEYS, where)
    cuts = table.get("selection", [])
    if not isinstance(cuts, list):
        raise ValueError(
            f'{where}.selection must be a list of tables such as [{{kind = "abs_b", min = 25.0}}]'
        )
    errors = table.get("errors", {})
    if not isinstance(errors, Mapping):
        raise ValueError(f"[{where}.errors] must be a table, not {errors!r}")
    parsed = SurveyConfig(
        selection=tuple(
            parse_node(cut, f"{where}.selection[{i}]", survey.SELECTIONS) for i, cut in enumerate(cuts)
        ),
        errors=parse_node(errors, f"{where}.errors", ERRORS if "kind" in errors else survey.Errors),
        extinction=(
            parse_node(table["extinction"], f"{where}.extinction", EXTINCTIONS)
            if "extinction" in table
            else None
        ),
    )
    may = [f"{where}.errors.{name}" for name in movable]
    for node in (*parsed.selection, parsed.errors, parsed.extinction):
        for path, _ in node.free() if node is not None else ():
            if path not in may:
                other = f" (what can be: {', '.join(may)})" if may else ""
                raise ValueError(f"{path} describes the survey and cannot be free: give a number{other}")
    return parsed


def built_errors(node: Node) -> Any:
    """The survey's errors: a kind of `survey.ERRORS`, or constants."""
    from oortax import survey

    return node.build(survey.ERRORS if node.kind is not None else survey.Errors)


def place_of(catalogue: str, folder: Path) -> str:
    """A catalogue as a resolved configuration names it: its full path, or the name of a bundled one."""
    bundled = not (folder / catalogue).is_file()
    return catalogue if bundled else str(find_catalogue(catalogue, folder).resolve())


def cut(
    columns: Mapping[str, np.ndarray], report: RowReport, survey: SurveyConfig
) -> tuple[dict[str, np.ndarray], RowReport]:
    """The rows that pass every cut, and the count of those that do not, by cut.

    Raises ValueError if no row is left.
    """
    nodes, selection = survey.selection, survey.cuts()
    rows = RowFilter(report.source, len(columns["l"]))
    # One apparent magnitude: whatever band the cuts name, it is the column mapped to V.
    observed = {**columns, **{each.band: columns["V"] for each in selection if hasattr(each, "band")}}
    for node, each in zip(nodes, selection, strict=True):
        accepted = np.asarray(each.accepts(observed), dtype=bool)
        rows.drop(~accepted, f"outside {toml_value(node.resolved())}")
    report = dataclasses.replace(report, notes=()).followed_by(rows.report())
    if not rows.keep.any():
        where = survey.errors.where.removesuffix(".errors")
        absent = [key for key in ("V", "colour") if not np.isfinite(columns[key]).any()]
        hint = (
            f" The catalogue gives no {' and no '.join(absent)}: map columns.{absent[0]}." if absent else ""
        )
        raise ValueError(
            f"no star is left ({'; '.join(report.sentences())}).{hint} Check {where}.selection and "
            "the columns' units."
        )
    return {key: values[rows.keep] for key, values in columns.items()}, report
