"""[constraints.NAME]: direct measurements of the potential, from a table to arrays.

    [constraints.circular_velocity]          # NAME is the kind ...
    table = "eilers_2019"                    # bundled, or a CSV file beside the configuration
    R_max = 20.0                             # cuts and options: of the kind's record
    systematic = 0.03                        # nuisance parameters: of the kind's class in oortax.model

    [constraints.co]                         # ... or any name, with the kind given
    kind  = "terminal_velocities"
    table = "co_clemens_1985_q1"
    sigma = {prior = "LogNormal(log(7), 0.3)"}                  # free: constraints.co.sigma

| kind | measures | table |
|---|---|---|
| circular_velocity | v_c(R) | R, v_c, errors |
| terminal_velocities | v_c(R0 sin l) by gas | l, v_lsr |
| masers | v_c(R) by young stars in 6-D | ra, dec, parallax, motions, v_lsr |
| vertical_force | K_z(R, z) | R, K_z, errors |
| enclosed_mass | M(<r) | r, M, errors |
| gas_layer | K_z near the plane | R, half-width, errors |
| surface_density | one column of matter | value and error in the configuration |
| density_ratio | rho of one part over that of another | value and error in the configuration |
| sgr_a_proper_motion | (v_c(R0) + V)/R0 | value and error in the configuration |

The keys of a kind are those of its record in `oortax.io.constraint_tables` (table, columns, cuts) and the
parameters of its class in `oortax.model.constraints`, which may be free.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oortax.io.constraint_tables import RECORDS, Arrays
from oortax.io.names import check_keys, nearest
from oortax.io.nodes import Node, parse_node
from oortax.io.records import parse_record
from oortax.io.rows import RowReport


@dataclasses.dataclass(frozen=True)
class ConstraintConfig:
    """[constraints.NAME]: its kind, where its data come from, and its nuisance parameters."""

    name: str
    kind: str
    record: Any
    node: Node

    def read(self, folder: Path, sun: Any) -> tuple[Arrays, RowReport, dict[str, str]]:
        """Arrays for the constraint's class, the count of rows, and the SHA-256 of each file.

        Raises ValueError naming the constraint for a missing column or value, an error that is not
        positive, or cuts that leave nothing.
        """
        where = f"constraints.{self.name}"
        try:
            return self.record.read(where, folder, sun)
        except ValueError as error:
            text = str(error)
            raise ValueError(text if text.startswith(where) else f"{where}: {text}") from error

    def build(self) -> Any:
        """The constraint with free parameters at their starts."""
        from oortax.model import CONSTRAINTS

        return self.node.build(CONSTRAINTS[self.kind])

    def resolved(self, folder: Path) -> dict[str, Any]:
        """The table that gives this constraint, with defaults spelt out and files by their full path."""
        values = dataclasses.asdict(self.record)
        if "table" in values:
            found = [str((folder / t).resolve()) if (folder / t).is_file() else t for t in self.record.tables]
            values["table"] = found[0] if isinstance(self.record.table, str) else found
        return {"kind": self.kind} | values | self.node.resolved()


def parse_constraint(name: str, table: Mapping[str, Any]) -> ConstraintConfig:
    """Check [constraints.NAME]; its kind is NAME unless it says otherwise.

    Raises ValueError for an unknown kind or key (suggesting the nearest), a missing table, or a value
    of the wrong type.
    """
    from oortax.model import CONSTRAINTS

    where = f"constraints.{name}"
    kind = table.get("kind", name)
    if kind not in CONSTRAINTS:
        remedy = "" if "kind" in table else f"; give a kind, or use its name{nearest(name, CONSTRAINTS)}"
        hint = nearest(str(kind), CONSTRAINTS) if "kind" in table else remedy
        raise ValueError(f"{where}: unknown kind {kind!r}{hint} (known: {', '.join(CONSTRAINTS)})")
    fields = [field.name for field in dataclasses.fields(RECORDS[kind])]
    parameters = [field.name for field in dataclasses.fields(CONSTRAINTS[kind])]
    check_keys(table, ["kind", *fields, *parameters], where)
    record = parse_record(RECORDS[kind], {k: v for k, v in table.items() if k in fields}, where)
    own = {k: v for k, v in table.items() if k in parameters}
    return ConstraintConfig(name, kind, record, parse_node(own, where, CONSTRAINTS[kind]))
