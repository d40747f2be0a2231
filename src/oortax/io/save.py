"""Saving models: any tree of modules in one readable JSON file, without pickle.

The file names the class of every module and holds its fields; numbers are written so that they
come back bit for bit.
"""

import dataclasses
import importlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from oortax.io.names import nearest
from oortax.io.output import write_text

FORMAT = 1
"""Version of the file's layout."""


def save(path: str | Path, tree: Any) -> Path:
    """Write a Galaxy, potential, DF or any other tree of modules to one file, atomically.

    Raises ValueError naming the field if something in the tree is no number, string or module.

    >>> import tempfile
    >>> from oortax import potential
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = save(Path(folder) / "halo.json", potential.NFW(rho_s=1e7, r_s=16.0))
    ...     float(load(file).r_s)
    16.0
    """
    from oortax import __version__

    document = {"format": FORMAT, "oortax": __version__, "tree": _encode(tree, "tree")}
    return write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def load(path: str | Path) -> Any:
    """Read back what `save` wrote.

    Arrays of float64 become float32 unless `oortax.enable_x64()` was called. A user's own classes
    must have been imported before: no module outside oortax is imported by reading a file.

    Raises FileNotFoundError, and ValueError for a file that is not ours, an unknown class, fields
    that do not match the class, or parameters outside their support.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version, tree = document["format"], document["tree"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a file written by oortax.io.save") from error
    if version != FORMAT:
        raise ValueError(
            f"{path} has layout {version}, written by oortax {document.get('oortax')}; this version "
            f"reads {FORMAT}"
        )
    try:
        return _decode(tree)
    except ValueError as error:
        raise ValueError(f"{path} (oortax {document.get('oortax')}): {error}") from error


def _encode(node: Any, where: str) -> Any:
    if node is None or isinstance(node, bool | str):
        return node
    if isinstance(node, jax.Array | np.ndarray | np.generic):
        return _encode_array(np.asarray(node), where)
    if isinstance(node, int | float):
        return node if isinstance(node, int) or math.isfinite(node) else {"float": str(node)}
    if isinstance(node, eqx.Module):
        fields = {
            field.name: _encode(getattr(node, field.name), f"{where}.{field.name}")
            for field in dataclasses.fields(node)  # type: ignore[arg-type]
        }
        return {"class": _class_name(type(node)), "fields": fields}
    if isinstance(node, tuple):
        return {"tuple": [_encode(item, f"{where}[{i}]") for i, item in enumerate(node)]}
    if isinstance(node, list):
        return [_encode(item, f"{where}[{i}]") for i, item in enumerate(node)]
    if isinstance(node, dict) and all(isinstance(key, str) for key in node):
        return {"dict": {key: _encode(item, f"{where}.{key}") for key, item in node.items()}}
    raise ValueError(f"{where} is a {type(node).__name__}, which cannot be saved")


def _encode_array(array: np.ndarray, where: str) -> dict[str, Any]:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where} is an array of {array.dtype}, which cannot be saved")
    flat = array.ravel().tolist()
    flat = [str(v) if isinstance(v, float) and not math.isfinite(v) else v for v in flat]
    return {"array": flat, "shape": list(array.shape), "dtype": array.dtype.name}


def _class_name(cls: type) -> str:
    """The shortest public name: oortax.potential.NFW rather than the file it is written in."""
    room = ".".join(cls.__module__.split(".")[:2])
    public = getattr(sys.modules.get(room), cls.__qualname__, None) is cls
    return f"{room if public else cls.__module__}.{cls.__qualname__}"


def _find_class(name: str) -> type:
    module_name, _, class_name = name.rpartition(".")
    if module_name.split(".")[0] == "oortax":
        try:
            importlib.import_module(module_name)
        except ModuleNotFoundError:
            pass
    module = sys.modules.get(module_name)
    cls = getattr(module, class_name, None)
    if not (isinstance(cls, type) and issubclass(cls, eqx.Module)):
        hint = nearest(class_name, vars(module)) if module else f"; import {module_name or name} first"
        raise ValueError(f"unknown class {name!r}{hint}")
    return cls


def _decode(node: Any) -> Any:
    if isinstance(node, list):
        return [_decode(item) for item in node]
    if not isinstance(node, dict):
        return node
    match node:
        case {"class": str(name), "fields": dict(fields)}:
            return _decode_module(_find_class(name), fields)
        case {"array": list(flat), "shape": list(shape), "dtype": str(dtype)}:
            values = np.asarray(flat, dtype=dtype).reshape(shape)
            return jnp.asarray(values, dtype=jax.dtypes.canonicalize_dtype(values.dtype))
        case {"tuple": list(items)}:
            return tuple(_decode(item) for item in items)
        case {"dict": dict(items)}:
            return {key: _decode(item) for key, item in items.items()}
        case {"float": str(text)}:
            return float(text)
    raise ValueError(f"cannot be read: {str(node)[:80]}")


def _decode_module(cls: type, saved: dict[str, Any]) -> Any:
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    if set(known) != set(saved):
        raise ValueError(
            f"{cls.__name__} has the fields {', '.join(known)}, the file has {', '.join(saved)}: "
            "it was written by a version with another definition"
        )
    # Constructors may take other arguments than the fields; like jax's unflattening, go around them.
    module = object.__new__(cls)
    for name in known:
        object.__setattr__(module, name, _decode(saved[name]))
    for base in reversed(cls.__mro__):
        if "__check_init__" in vars(base):
            vars(base)["__check_init__"](module)
    return module
