"""Output folders: numbered, never overwritten by accident, written atomically."""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder that replaces `path` when the block ends without error.

    A reader sees the old file or the new one, never a part; a killed process leaves the old one.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; results are as readable as any other new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | Path, value: Mapping[str, Any]) -> Path:
    """Write a JSON file atomically; NaN and infinity become null."""
    return write_text(path, json.dumps(jsonable(value), indent=2, allow_nan=False) + "\n")


def jsonable(value: Any) -> Any:
    """Nested mappings, sequences and array scalars as JSON types.

    >>> import numpy as np
    >>> jsonable({"a": np.float64(1.5), "b": (1, float("nan"))})
    {'a': 1.5, 'b': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not (value - value == 0.0):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def numbered_folder(stem: str, parent: str | Path = ".") -> Path:
    """The first of stem-1, stem-2, ... that does not exist, created.

    Creation is the test, so that two processes never share a folder.
    """
    number = 1
    while True:
        folder = Path(parent) / f"{stem}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder


def open_folder(
    out: str | Path | None, stem: str, *, force: bool = False, resume: bool = False, identity: str = ""
) -> Path:
    """The folder a run writes to.

    Parameters
    ----------
    out : the folder; None takes the next number of `stem`, or with `resume` the latest
    force : an existing folder may be written over
    resume : an existing folder is continued, if it holds the same `identity`
    identity : text that a continued run must share (its resolved configuration)

    Raises
    ------
    ValueError
        If the folder holds anything and neither `force` nor `resume` is given, if `resume` finds
        a different configuration, or nothing to resume.
    """
    if force and resume:
        raise ValueError("--force and --resume exclude each other: write over, or continue")
    folder = latest_folder(stem) if out is None and resume else None if out is None else Path(out)
    if folder is None:
        if resume:
            raise ValueError(f"nothing to resume: there is no folder {stem}-1; run once without --resume")
        folder = numbered_folder(stem)
    elif folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, not a folder: choose another --out")
    elif resume:
        _check_same(folder, identity)
    elif folder.is_dir() and any(folder.iterdir()) and not force:
        raise ValueError(
            f"{folder} exists and is not empty: --resume continues it, --force writes over it, --out "
            "chooses another"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if identity and not resume:
        write_text(folder / "config.toml", identity)
    return folder


def latest_folder(stem: str, parent: str | Path = ".") -> Path | None:
    """The highest-numbered folder stem-N, or None."""
    found = [p for p in Path(parent).glob(f"{stem}-*") if p.is_dir() and p.name[len(stem) + 1 :].isdigit()]
    return max(found, key=lambda p: int(p.name[len(stem) + 1 :]), default=None)


def _check_same(folder: Path, identity: str) -> None:
    saved = folder / "config.toml"
    if not saved.is_file():
        raise ValueError(f"nothing to resume in {folder}: it holds no config.toml")
    if identity and saved.read_text(encoding="utf-8") != identity:
        raise ValueError(
            f"{folder} was made with another configuration than this one (compare {saved}): run with the "
            "same options, or choose another --out"
        )


def start_log(folder: Path) -> logging.Logger:
    """Append every message of the package to folder/run.log, with the time."""
    logger = logging.getLogger("oortax")
    logger.setLevel(logging.INFO)
    stop_log()
    handler = logging.FileHandler(folder / "run.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    return logger


def stop_log() -> None:
    """Close the log file of this process, if one is open."""
    logger = logging.getLogger("oortax")
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            logger.removeHandler(handler)
            handler.close()
