"""Writing TOML (the standard library only reads it)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_OF_NAMES = ("potential", "components", "constraints", "catalogues", "binned")


def dumps(document: Mapping[str, Any]) -> str:
    """A TOML document of nested mappings, numbers, strings, booleans and lists; None is left out.

    A mapping that holds a mapping is written as a section, any other inside a section as an
    inline table.

    >>> print(dumps({"sun": {"V": {"prior": "Normal(12.24, 2)"}, "U": 11.1}}))
    [sun]
    V = {prior = "Normal(12.24, 2)"}
    U = 11.1
    <BLANKLINE>
    """
    lines: list[str] = []
    for name, table in document.items():
        if isinstance(table, Mapping):
            _section(lines, [name], table, depth=2 if name in _OF_NAMES else 1)
        elif table is not None:
            lines.insert(0, f"{_key(name)} = {value(table)}")
    return "\n".join(lines) + "\n"


def _section(lines: list[str], path: list[str], table: Mapping[str, Any], depth: int) -> None:
    inner = {k: v for k, v in table.items() if depth > 1 and isinstance(v, Mapping)}
    plain = {k: v for k, v in table.items() if k not in inner and v is not None}
    if plain or not inner:
        if lines:
            lines.append("")
        lines.append(f"[{'.'.join(_key(part) for part in path)}]")
        lines.extend(f"{_key(k)} = {value(v)}" for k, v in plain.items())
    for name, child in inner.items():
        _section(lines, [*path, name], child, depth - 1)


def _key(name: str) -> str:
    bare = name and all(c.isascii() and (c.isalnum() or c in "_-") for c in name)
    return name if bare else _string(name)


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped)
    return f'"{escaped}"'


def value(item: Any) -> str:
    """One TOML value on one line.

    >>> value({"kind": "abs_b", "min": 25.0, "band": None}), value(float("inf")), value([1, True])
    ('{kind = "abs_b", min = 25.0}', 'inf', '[1, true]')
    """
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int):
        return str(item)
    if isinstance(item, float):
        return repr(item) if math.isfinite(item) else {"nan": "nan", "inf": "inf", "-inf": "-inf"}[str(item)]
    if isinstance(item, str):
        return _string(item)
    if isinstance(item, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {value(v)}" for k, v in item.items() if v is not None) + "}"
    if isinstance(item, Sequence):
        return "[" + ", ".join(value(v) for v in item) + "]"
    raise ValueError(f"{item!r} cannot be written as TOML")
