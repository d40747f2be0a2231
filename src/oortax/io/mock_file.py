"""Mock catalogues as files, with the columns of real ones and the truth in columns of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oortax.io.output import atomic

# Column, unit and factor from the unit inside, by name inside.
_COLUMNS: dict[str, tuple[str, str, float]] = {
    "l": ("l", "deg", 180.0 / np.pi),
    "b": ("b", "deg", 180.0 / np.pi),
    "parallax": ("parallax", "mas", 1.0),
    "parallax_error": ("parallax_error", "mas", 1.0),
    "distance_modulus": ("distance_modulus", "mag", 1.0),
    "distance_modulus_error": ("distance_modulus_error", "mag", 1.0),
    "mu_l": ("pm_l_cosb", "mas/yr", 1.0),
    "mu_b": ("pm_b", "mas/yr", 1.0),
    "mu_l_error": ("pm_l_cosb_error", "mas/yr", 1.0),
    "mu_b_error": ("pm_b_error", "mas/yr", 1.0),
    "v_los": ("v_los", "km/s", 1.0),
    "v_los_error": ("v_los_error", "km/s", 1.0),
    "V": ("v", "mag", 1.0),
    "colour": ("colour", "mag", 1.0),
}
_VECTORS = {"x": (("x", "y", "z"), "kpc"), "v": (("v_x", "v_y", "v_z"), "km/s")}
_ACTIONS = (("J_r", "J_z", "J_phi"), "kpc km/s")


def write_mock(
    path: str | Path,
    columns: Mapping[str, Any],
    truth: Mapping[str, Any],
    names: Sequence[str],
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write a mock catalogue (`model.predict`) to a Parquet file that `oortax fit` reads.

    Columns: id, l, b (deg), pm_l_cosb, pm_b (mas/yr), v_los (km/s), v and colour (mag), parallax (mas) or
    distance_modulus (mag), and errors; the truth is in true_component, true_x ... true_v_z, true_J_r ...,
    true_s (kpc) and true_M, which no reader takes for data. Units are in the columns' metadata, `facts` in
    the file's. Columns without a number are left out. Raises ValueError for a path that does not end in
    .parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if path.suffix not in (".parquet", ".pq"):
        raise ValueError(f"{path}: mock catalogues are Parquet files; let the name end in .parquet")
    n = len(columns["l"])
    fields, arrays = [pa.field("id", pa.int64())], [pa.array(np.arange(1, n + 1))]

    def add(name: str, values, unit: str) -> None:
        values = np.asarray(values, dtype=np.float64)
        if not np.any(np.isfinite(values)):
            return
        fields.append(pa.field(name, pa.float64(), metadata={"unit": unit} if unit else None))
        arrays.append(pa.array(values))

    for name, (column, unit, factor) in _COLUMNS.items():
        if name in columns:
            add(column, factor * np.asarray(columns[name]), unit)
    labels = np.array([*names, "outlier"])
    fields.append(pa.field("true_component", pa.dictionary(pa.int8(), pa.string())))
    arrays.append(pa.array(labels[np.asarray(truth["component"])]).dictionary_encode().cast(fields[-1].type))
    add("true_s", truth["s"], "kpc")
    add("true_M", truth["M"], "mag")
    for source, (parts, unit) in (_VECTORS | {"J": _ACTIONS}).items():
        for i, part in enumerate(parts):
            add(f"true_{part}", np.asarray(truth[source])[:, i], unit)
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=dict(facts or {})))
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return path
