"""Catalogues that a fit counts in cells of observables instead of star by star.

    [binned.pole]
    catalogue = "pole.parquet"
    selection = [{kind = "latitude", min = 80.0}, {kind = "magnitude", band = "V", min = 12.0, max = 18.0}]
    errors    = {V = 0.02, pm = 0.3}
    cells     = {mu_0 = [-50, -20, -10, 0, 10, 20, 50], mu_90 = [-70, -20, -10, 0, 30], V = [12, 15, 17, 18]}

Each has its own survey; potential, components and Sun are those of the configuration. Catalogues need no
distances. See `oortax.model.bin_catalogue`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oortax.io.names import check_keys
from oortax.io.nodes import Node
from oortax.io.output import sha256
from oortax.io.rows import RowFilter, RowReport
from oortax.io.tables import QUANTITIES, find_catalogue, read_catalogue
from oortax.io.toml import value as toml_value

KEYS = ("catalogue", "columns", "cells", "selection", "errors", "extinction", "colour_error", "nodes")
OBSERVABLES = (
    "mu_0", "mu_90", "mu_l", "mu_b", "v_los", "V", "colour", "parallax", "distance_modulus", "l", "b",
)  # fmt: skip
_IN_DEGREES = ("l", "b")


@dataclasses.dataclass(frozen=True)
class BinnedConfig:
    """[binned.NAME]: a catalogue, the cuts that made it, and the cells in which it is counted.

    Attributes
    ----------
    catalogue, columns : as of [data]; no parallax is needed
    cells : increasing edges by observable (mu_0, mu_90, mu_l, mu_b, v_los, V, colour, parallax,
        distance_modulus; l and b in deg)
    survey : `SurveyConfig` of selection, errors and extinction
    colour_error : mag
    nodes : of each component; a power of two
    """

    catalogue: str
    cells: Mapping[str, tuple[float, ...]]
    survey: Any
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    colour_error: float = 0.02
    nodes: int = 65_536

    def resolved(self, folder: Path) -> dict[str, Any]:
        """The table that gives this part, with defaults spelt out."""
        extinction = self.survey.extinction
        bundled = not (folder / self.catalogue).is_file()
        place = self.catalogue if bundled else str(find_catalogue(self.catalogue, folder).resolve())
        return {
            "catalogue": place,
            "columns": dict(self.columns),
            "cells": {name: list(edges) for name, edges in self.cells.items()},
            "selection": [node.resolved() for node in self.survey.selection],
            "errors": self.survey.errors.resolved(),
            **({} if extinction is None else {"extinction": extinction.resolved()}),
            "colour_error": self.colour_error,
            "nodes": self.nodes,
        }


def parse_binned(name: str, table: Any, survey: Any, folder: Path) -> BinnedConfig:
    """Check one table; `survey` is its parsed selection, errors and extinction.

    Raises ValueError for unknown keys and observables, edges that do not increase, and sizes without sense;
    FileNotFoundError for a catalogue that is not there.
    """
    where = f"binned.{name}"
    for key in ("catalogue", "cells"):
        if key not in table:
            raise ValueError(f"{where} lacks {key}")
    check_keys(table.get("columns", {}), QUANTITIES, f"{where}.columns")
    cells = table["cells"]
    if not isinstance(cells, Mapping) or not cells:
        raise ValueError(f"{where}.cells must be a table such as {{mu_l = [-20, 0, 20], V = [12, 15, 18]}}")
    check_keys(cells, OBSERVABLES, f"{where}.cells")
    edges = {}
    for quantity, given in cells.items():
        numbers = isinstance(given, list) and all(
            isinstance(x, int | float) and not isinstance(x, bool) for x in given
        )
        if not numbers or len(given) < 2 or not np.all(np.diff(given) > 0):
            raise ValueError(f"{where}.cells.{quantity} = {given!r}: give two or more increasing edges")
        edges[quantity] = tuple(float(x) for x in given)
    nodes, colour_error = table.get("nodes", 65_536), table.get("colour_error", 0.02)
    if isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 256:
        raise ValueError(f"{where}.nodes = {nodes!r} must be a whole number, 256 or more")
    if isinstance(colour_error, bool) or not isinstance(colour_error, int | float) or not colour_error > 0:
        raise ValueError(f"{where}.colour_error = {colour_error!r} must be positive, in mag")
    find_catalogue(table["catalogue"], folder)
    return BinnedConfig(
        table["catalogue"], edges, survey, dict(table.get("columns", {})), float(colour_error), nodes
    )


@dataclasses.dataclass(frozen=True)
class BinnedTable:
    """A catalogue read: its survey (of the Sun at the start), columns and the count of rows."""

    survey: Any
    columns: Mapping[str, np.ndarray]
    cells: Mapping[str, np.ndarray]
    report: RowReport
    sha256: str


def read_binned(config: BinnedConfig, folder: Path, sun: Any) -> BinnedTable:
    """Read a catalogue and keep the rows that pass its cuts. Raises ValueError if none does."""
    from oortax import survey

    selection = [node.build(survey.SELECTIONS) for node in config.survey.selection]
    columns, report = read_catalogue(config.catalogue, config.columns, folder=folder, distances=False)
    columns, report = cut(columns, report, config.survey.selection, selection)
    extinction = config.survey.extinction
    built = survey.Survey(
        sun,
        selection=selection,
        errors=built_errors(config.survey.errors),
        extinction=None if extinction is None else extinction.build(survey.EXTINCTIONS),
    )
    cells = {
        name: np.radians(edges) if name in _IN_DEGREES else np.asarray(edges)
        for name, edges in config.cells.items()
    }
    for name in cells:
        if name in columns and not np.any(np.isfinite(columns[name])):
            raise ValueError(f"{report.source} gives no {name}: map columns.{name}, or count without it")
    return BinnedTable(built, columns, cells, report, sha256(find_catalogue(config.catalogue, folder)))


def built_errors(node: Node) -> Any:
    """The survey's errors: a kind of `survey.ERRORS`, or constants."""
    from oortax import survey

    return node.build(survey.ERRORS if node.kind is not None else survey.Errors)


def cut(
    columns: Mapping[str, np.ndarray], report: RowReport, nodes: tuple[Node, ...], selection: list[Any]
) -> tuple[dict[str, np.ndarray], RowReport]:
    """The rows that pass every cut, and the count of those that do not, by cut."""
    rows = RowFilter(report.source, len(columns["l"]))
    # One apparent magnitude: whatever band the cuts name, it is the column mapped to V.
    observed = {**columns, **{each.band: columns["V"] for each in selection if hasattr(each, "band")}}
    for node, each in zip(nodes, selection, strict=True):
        accepted = np.asarray(each.accepts(observed), dtype=bool)
        rows.drop(~accepted, f"outside {toml_value(node.resolved())}")
    report = dataclasses.replace(report, notes=()).followed_by(rows.report())
    if not rows.keep.any():
        absent = [key for key in ("V", "colour") if not np.isfinite(columns[key]).any()]
        hint = (
            f" The catalogue gives no {' and no '.join(absent)}: map columns.{absent[0]}." if absent else ""
        )
        raise ValueError(
            f"no star is left ({'; '.join(report.sentences())}).{hint} Check survey.selection and "
            "the columns' units."
        )
    return {key: values[rows.keep] for key, values in columns.items()}, report
