"""Stages of a fit on disc, so that `--resume` goes on after the last one that was finished."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from oortax.io.output import write_json

Record = TypeVar("Record", bound=NamedTuple)  # type: ignore[type-var]
log = logging.getLogger("oortax")


def stage(path: Path, cls: type[Record], make: Callable[[], Record], *, resume: bool) -> Record:
    """The record at `path` if resuming and it is there, else a new one, written there.

    `cls` is a NamedTuple of numbers, strings, arrays and mappings of them.
    """
    if resume and path.is_file():
        log.info("%s read from %s", cls.__name__, path.name)
        return read_record(path, cls)
    record = make()
    write_json(path, record._asdict())  # type: ignore[attr-defined]
    return record


def read_record(path: Path, cls: type[Record]) -> Record:
    """A NamedTuple written by `stage`; ValueError if the file is not one."""
    import json

    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{name: _restored(cls, name, value) for name, value in fields.items()})  # type: ignore[call-arg]
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it and resume again") from error


def _restored(cls: type, name: str, value: Any) -> Any:
    """JSON lists as what the field's annotation says: arrays or tuples."""
    if not isinstance(value, list):
        return np.nan if value is None else value
    return np.asarray(value, dtype=float) if cls.__annotations__[name] is np.ndarray else tuple(value)
