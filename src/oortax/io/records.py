"""Tables of plain values (numbers, strings, lists) as dataclasses, with keys and types checked."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from oortax.io.names import check_keys


def parse_record(cls: type, table: Mapping[str, Any], where: str) -> Any:
    """A dataclass of plain values from a table of the configuration.

    Raises ValueError for an unknown key (suggesting the nearest), a missing one or a wrong type.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    check_keys(table, fields, where)
    hints = typing.get_type_hints(cls)
    for name, field in fields.items():
        no_default = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if name not in table and no_default:
            raise ValueError(f"[{where}] lacks {name}")
    return cls(**{name: _typed(value, hints[name], f"{where}.{name}") for name, value in table.items()})


def _typed(value: Any, hint: Any, where: str) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    allowed = tuple(typing.get_origin(option) or option for option in options)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) and bool not in allowed or not isinstance(value, allowed):
        words = " or ".join(option.__name__ for option in allowed if option is not types.NoneType)
        raise ValueError(f"{where} = {value!r} must be of type {words}")
    return value
