"""Parts of a model as a configuration describes them: a kind, and numbers that are fixed or free.

Kinds come from the registries of the packages (`potential.POTENTIALS`, `df.DFS`, ...) and the keys of
a kind from the signature of its class, so that a new class needs no change here.
"""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from oortax.io.names import check_keys, nearest
from oortax.io.priors import parse_prior, start_of

Registry = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Free:
    """A free parameter: its prior as text, and where the fit starts (None: the prior's median)."""

    prior: str
    start: float | None = None

    @property
    def value(self) -> float:
        """The starting value."""
        return start_of(parse_prior(self.prior)) if self.start is None else self.start

    def resolved(self) -> dict[str, Any]:
        """The table that gives this parameter, with its start spelt out."""
        return {"prior": self.prior, "start": self.value}


@dataclasses.dataclass(frozen=True)
class Node:
    """One part of a model.

    Attributes
    ----------
    where : dotted path of the part, for messages
    kind : name in its registry; None for parts that have only one class
    values : by key: a number, a string, a list, a `Free`, another `Node` or a list of nodes
    """

    where: str
    kind: str | None
    values: Mapping[str, Any]

    def build(self, registry: Registry | type) -> Any:
        """The object described, with free parameters at their starting values.

        Raises ValueError (from the class) naming the parameter, its value and the allowed range.
        """
        cls = registry if self.kind is None else registry[self.kind]  # type: ignore[index]
        arguments = {key: _built(value, registry) for key, value in self.values.items() if value is not None}
        try:
            return cls(**arguments)  # type: ignore[operator]
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.where}: {error}") from error

    def free(self) -> Iterator[tuple[str, Free]]:
        """Dotted paths and descriptions of the free parameters, in order."""
        for key, value in self.values.items():
            if isinstance(value, Free):
                yield f"{self.where}.{key}", value
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Node):
                    yield from part.free()

    def resolved(self) -> dict[str, Any]:
        """The table that gives this part, with defaults spelt out."""
        head = {} if self.kind is None else {"kind": self.kind}
        return head | {key: _resolved(value) for key, value in self.values.items() if value is not None}


def _resolved(value: Any) -> Any:
    if isinstance(value, list):
        return [_resolved(part) for part in value]
    return value.resolved() if isinstance(value, Free | Node) else value


def _built(value: Any, registry: Registry | type) -> Any:
    if isinstance(value, Free):
        return value.value
    if isinstance(value, list):
        return [_built(part, registry) for part in value]
    return value.build(registry) if isinstance(value, Node) else value


def parse_node(table: Any, where: str, registry: Registry | type, skip: tuple[str, ...] = ()) -> Node:
    """Check a table of the configuration against the class it names.

    Parameters
    ----------
    table : the table; with a `kind` if `registry` is a mapping
    where : its dotted path
    registry : kinds by name, or the one class
    skip : keys of the class that are not taken from this table

    Raises ValueError for an unknown kind or key (suggesting the nearest), a missing key, or a value
    that is neither a number nor {prior = ..., start = ...}.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} = {table!r}: expected a table such as {{kind = ..., ...}}")
    kind = None
    values = dict(table)
    if isinstance(registry, Mapping):
        kind = values.pop("kind", None)
        known = ", ".join(registry)
        if kind is None:
            raise ValueError(f"{where} has no kind (known: {known})")
        kind = next((k for k in registry if _folded(k) == _folded(kind)), kind)
        if kind not in registry:
            raise ValueError(f"{where}: unknown kind {kind!r}{nearest(kind, registry)} (known: {known})")
        cls = registry[kind]
    else:
        cls = registry
    defaults, required, open_ended = _signature(cls, skip)
    if not open_ended:
        check_keys(values, [*required, *defaults], where)
    missing = [key for key in required if key not in values]
    if missing:
        name = f" ({kind})" if kind else ""
        raise ValueError(f"{where}{name} lacks {', '.join(missing)}: give a number or {{prior = ...}}")
    parsed = {key: _parse_value(value, f"{where}.{key}", registry) for key, value in values.items()}
    order = [*required, *defaults, *(key for key in parsed if key not in defaults and key not in required)]
    full = defaults | parsed
    return Node(where, kind, {key: full[key] for key in order})


def _folded(kind: Any) -> str:
    """Kinds are told apart by their letters alone: DustLayer is dust_layer."""
    return str(kind).replace("_", "").lower()


def _signature(cls: Any, skip: tuple[str, ...]) -> tuple[dict[str, Any], list[str], bool]:
    """Defaults, required keys and whether any key is allowed, from a constructor's signature."""
    defaults: dict[str, Any] = {}
    required: list[str] = []
    open_ended = False
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind is parameter.VAR_POSITIONAL or name in skip:
            continue
        elif parameter.default is parameter.empty:
            required.append(name)
        else:
            defaults[name] = _plain(parameter.default)
    return defaults, required, open_ended


def _plain(default: Any) -> Any:
    """A default as TOML can hold it."""
    if default is None or isinstance(default, bool | int | float | str):
        return default
    if isinstance(default, tuple | list):
        return [_plain(item) for item in default]
    if getattr(default, "ndim", None) == 0:
        return float(default)
    if hasattr(default, "tolist"):
        return default.tolist()
    return None


def _parse_value(value: Any, where: str, registry: Registry | type) -> Any:
    """A number, string, boolean, list, free parameter or nested part."""
    if isinstance(value, Mapping):
        if "prior" in value:
            return parse_free(value, where)
        if "kind" in value and isinstance(registry, Mapping):
            return parse_node(value, where, registry)
        raise ValueError(
            f"{where} = {dict(value)!r}: give a number (fixed) or "
            '{prior = "Normal(0, 1)", start = 0.0} (free)'
        )
    if isinstance(value, list):
        parts = (
            _parse_value(p, f"{where}[{i}]", registry) if isinstance(p, Mapping) else p
            for i, p in enumerate(value)
        )
        return list(parts)
    if isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{where} = {value!r}: expected a number")


def parse_free(table: Mapping[str, Any], where: str) -> Free:
    """A free parameter from {prior = "...", start = ...}; its start must lie inside the prior's support."""
    check_keys(table, ("prior", "start"), where)
    if not isinstance(table["prior"], str):
        raise ValueError(f'{where}: prior = {table["prior"]!r} must be a string such as "LogNormal(0, 1)"')
    prior = parse_prior(table["prior"], where)
    start = table.get("start")
    if start is None:
        return Free(table["prior"])
    if isinstance(start, bool) or not isinstance(start, int | float):
        raise ValueError(f"{where}: start = {start!r} must be a number")
    from oortax.io.priors import bounds

    low, high = bounds(prior.support)
    if not low < start < high:
        raise ValueError(
            f"{where}: start = {start:g} is not inside the prior {table['prior']}, ({low:g}, {high:g})"
        )
    return Free(table["prior"], float(start))
