"""Tori and libraries of them in a file: NumPy arrays by the names of their fields."""

import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oortax.dynamics.torus.angles import FudgeAngles
from oortax.dynamics.torus.generating import Warp
from oortax.dynamics.torus.library import TorusLibrary
from oortax.dynamics.torus.torus import Torus
from oortax.dynamics.torus.transformation import Transformation

_VERSION = 6  # cells without tori know the closest that have
# The fields, for the sake of their names.
_TORUS: Any = Torus(*[0] * 7, Transformation(*[0] * 9), Warp(0), FudgeAngles(0, 0, 0))  # type: ignore[arg-type]
_FORMS: tuple[Any, ...] = (_TORUS, TorusLibrary(*[0] * 10, _TORUS))  # type: ignore[arg-type]


def save_tori(path: str | Path, tori: Torus | TorusLibrary) -> None:
    """Write tori, or a library, to an .npz file (the name is taken as it is), to be read by `load_tori`.

    The potential is not in it: keep its config beside it, and `refit_tori` after loading if it has moved.
    """
    leaves: dict[str, Any] = {jax.tree_util.keystr(key): np.asarray(leaf) for key, leaf in _leaves(tori)}
    with open(path, "wb") as file:
        np.savez(file, version=_VERSION, **leaves)


def load_tori(path: str | Path) -> Torus | TorusLibrary:
    """The tori or the library that `save_tori` wrote, digit for digit.

    Raises ValueError where the file is no such file, or one of another version.

    >>> save_tori("tori.npz", tori)  # doctest: +SKIP
    >>> tori = load_tori("tori.npz")  # doctest: +SKIP
    """
    try:
        with np.load(path) as file:
            stored = dict(file)
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: not a file of tori, as save_tori writes them") from error
    version = stored.pop("version", None)
    for form in _FORMS:
        names = [jax.tree_util.keystr(key) for key, _ in _leaves(form)]
        if version is not None and int(version) == _VERSION and set(stored) == set(names):
            return jax.tree.unflatten(jax.tree.structure(form), [jnp.asarray(stored[name]) for name in names])
    raise ValueError(
        f"{path}: not a file of tori of version {_VERSION} (version: {version}): fit them again, or read "
        "it with the oortax that wrote it"
    )


def _leaves(tori):
    return jax.tree_util.tree_leaves_with_path(tori)
