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
from oortax.io.output import sha256
from oortax.io.rows import RowReport
from oortax.io.surveys import KEYS as SURVEY_KEYS
from oortax.io.surveys import SurveyConfig, cut, parse_survey, place_of
from oortax.io.tables import QUANTITIES, find_catalogue, read_catalogue

KEYS = ("catalogue", "columns", "cells", *SURVEY_KEYS, "colour_error", "nodes")
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
    survey : selection, errors and extinction
    colour_error : mag
    nodes : of each component; a power of two
    """

    catalogue: str
    cells: Mapping[str, tuple[float, ...]]
    survey: SurveyConfig
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    colour_error: float = 0.02
    nodes: int = 65_536

    def resolved(self, folder: Path) -> dict[str, Any]:
        """The table that gives this part, with defaults spelt out."""
        return {
            "catalogue": place_of(self.catalogue, folder),
            "columns": dict(self.columns),
            "cells": {name: list(edges) for name, edges in self.cells.items()},
            **self.survey.resolved(),
            "colour_error": self.colour_error,
            "nodes": self.nodes,
        }


def parse_binned(name: str, table: Any, folder: Path) -> BinnedConfig:
    """Check one table.

    Raises ValueError for unknown keys and observables, edges that do not increase, and sizes without sense;
    FileNotFoundError for a catalogue that is not there.
    """
    where = f"binned.{name}"
    check_keys(table, KEYS, where)
    # Errors are drawn once for the nodes: none of them can move.
    survey = parse_survey({key: table[key] for key in SURVEY_KEYS if key in table}, where, movable=())
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
    columns, report = read_catalogue(config.catalogue, config.columns, folder=folder, unmeasured=["distance"])
    columns, report = cut(columns, report, config.survey)
    built = config.survey.build(sun)
    cells = {
        name: np.radians(edges) if name in _IN_DEGREES else np.asarray(edges)
        for name, edges in config.cells.items()
    }
    for name in cells:
        if name in columns and not np.any(np.isfinite(columns[name])):
            raise ValueError(f"{report.source} gives no {name}: map columns.{name}, or count without it")
    return BinnedTable(built, columns, cells, report, sha256(find_catalogue(config.catalogue, folder)))
