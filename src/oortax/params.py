"""Parameters: array fields declared with a support and a unit, addressed by dotted paths.

A model is a tree of frozen equinox modules. A field declared with `param` is a parameter: its
value is checked on construction, its bijection to the real line is looked up from its support
(NumPyro's `biject_to`), and its dotted path is the same in Python, TOML and the posterior file.

>>> from oortax import potential
>>> pot = potential.Sum(halo=potential.NFW(rho_s=1e7, r_s=16.0))
>>> sorted(parameters(pot))
['halo.r_s', 'halo.rho_s']
>>> float(get(replace(pot, {"halo.r_s": 20.0}), "halo.r_s"))
20.0
"""

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


class Parameter(NamedTuple):
    """One parameter of a model: its value, support (a NumPyro constraint), unit and meaning."""

    value: Any
    support: Any
    unit: str
    doc: str


def as_array(value):
    """Convert to a strongly typed floating array; weak types would make every jit retrace.

    Tracers and non-numeric placeholders pass unchanged; floating arrays keep their dtype.
    """
    if isinstance(value, Tracer):
        return value
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        dtype = value.dtype if jnp.issubdtype(value.dtype, jnp.floating) else jnp.result_type(float)
        return jnp.asarray(value, dtype=jax.dtypes.canonicalize_dtype(dtype))
    if isinstance(value, int | float | list | tuple) and not isinstance(value, bool):
        return jnp.asarray(value, dtype=jnp.result_type(float))
    return value


def param(support, unit: str = "", doc: str = "", *, optional: bool = False, **kwargs) -> Any:
    """Declare a parameter field of an `AbstractParametric` module.

    `support` is a NumPyro constraint, `unit` a string such as "kpc", "km/s" or "Msun". An optional
    parameter may be None, and is then none of the model's parameters. Keyword arguments (such as
    `default`) go to `equinox.field`.
    """
    metadata = {"support": support, "unit": unit, "doc": doc, "optional": optional}
    return eqx.field(converter=as_array, metadata=metadata, **kwargs)


def children(
    *, support=None, unit: str = "", doc: str = "", only: tuple[str, ...] | None = None, **kwargs
) -> Any:
    """Declare a field whose entries appear in paths as if they were the module's own.

    With `support`, `unit` and `doc`, the entries of a mapping are parameters themselves. With `only`, these
    entries do, and the others stay under the field's name.
    """
    declared = {} if support is None else {"support": support, "unit": unit, "doc": doc, "optional": False}
    return eqx.field(metadata={"transparent": True, "only": only, **declared}, **kwargs)


class AbstractParametric(eqx.Module):
    """A module whose `param` fields are checked against their support on construction."""

    def __check_init__(self):
        """Raise ValueError naming the parameter, its value and the allowed range."""
        for field in dataclasses.fields(self):
            support = field.metadata.get("support")
            value = getattr(self, field.name)
            if support is None or isinstance(value, Tracer):
                continue
            if value is None and field.metadata["optional"]:
                continue
            if not isinstance(value, jax.Array | np.ndarray):
                # Transformations rebuild modules with placeholders; only plain strings are a user's slip.
                if isinstance(value, str) or value is None:
                    raise ValueError(
                        f"{type(self).__name__}({field.name}={value!r}): {field.name} must be a number"
                    )
                continue
            # Inside jit operations on constants, too, are traced unless told otherwise.
            with jax.ensure_compile_time_eval():
                allowed = bool(np.all(np.isfinite(value))) and bool(np.all(support(value)))
            if not allowed:
                unit = field.metadata["unit"]
                raise ValueError(
                    f"{type(self).__name__}({field.name}={np.asarray(value)}): {field.name} must be "
                    f"{describe(support)}{f', in {unit}' if unit else ''}"
                )


def describe(support) -> str:
    """A constraint in words, for error messages.

    >>> from numpyro.distributions import constraints
    >>> describe(constraints.positive), describe(constraints.interval(0.0, 2.0))
    ('positive', 'between 0 and 2')
    """
    lower = getattr(support, "lower_bound", None)
    upper = getattr(support, "upper_bound", None)
    name = type(support).__name__.strip("_").lower()
    if lower is not None and upper is not None:
        return f"between {float(lower):g} and {float(upper):g}"
    if lower is not None:
        return "positive" if float(lower) == 0 else f"greater than {float(lower):g}"
    if upper is not None:
        return f"less than {float(upper):g}"
    return {"real": "a finite number"}.get(name, name)


def _entries(node) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, child, field metadata) of a module or mapping, opening transparent fields."""
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield str(name), child, {}
    elif isinstance(node, tuple | list):
        for index, child in enumerate(node):
            yield str(index), child, {}
    elif isinstance(node, eqx.Module) and dataclasses.is_dataclass(node):
        for field in dataclasses.fields(node):
            child = getattr(node, field.name, None)
            if field.metadata.get("transparent"):
                # Entries of a mapping that is itself declared with a support are parameters.
                own = field.metadata if "support" in field.metadata else None
                entries = [(name, entry, own or metadata) for name, entry, metadata in _entries(child)]
                only = field.metadata["only"]
                yield from (entry for entry in entries if only is None or entry[0] in only)
                if only is not None:
                    yield field.name, {entry[0]: entry[1] for entry in entries if entry[0] not in only}, {}
            else:
                yield field.name, child, field.metadata


def parameters(tree) -> dict[str, Parameter]:
    """All parameters of a model by dotted path, in the order in which they are declared."""
    found: dict[str, Parameter] = {}

    def walk(node, prefix: str):
        for name, child, metadata in _entries(node):
            path = f"{prefix}{name}"
            if "support" in metadata:
                if child is None:
                    continue
                found[path] = Parameter(child, metadata["support"], metadata["unit"], metadata["doc"])
            else:
                walk(child, f"{path}.")

    walk(tree, "")
    return found


def get(tree, path: str):
    """The value at a dotted path; raises ValueError naming the nearest path if there is none."""
    node = tree
    for name in path.split("."):
        for entry, child, _ in _entries(node):
            if entry == name:
                node = child
                break
        else:
            raise ValueError(_unknown(path, parameters(tree)))
    return node


def replace(tree, values: Mapping[str, Any]):
    """A copy of the model with the values at some dotted paths replaced (traceable).

    Values are not checked against their supports: inside jit they come from bijections.
    """
    known = parameters(tree)
    for path in values:
        if path not in known:
            raise ValueError(_unknown(path, known))
    paths = list(values)
    if not paths:
        return tree
    new = [jnp.asarray(values[path], dtype=jnp.result_type(known[path].value)) for path in paths]
    return eqx.tree_at(lambda node: [get(node, path) for path in paths], tree, new)


def _unknown(path: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(path, list(known), n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no parameter {path!r}{hint} (known: {', '.join(known) or 'none'})"
