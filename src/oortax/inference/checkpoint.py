"""A run of the sampler on disc: one small file per block of draws, written whole or not at all.

A folder holds `run.json`, the settings, and `block-00000.npz`, `block-00001.npz`, ...: the draws of
each block together with the sampler's state after it, so that any set of complete files is a
consistent run. No pickles: NumPy arrays and JSON only.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS = "run.json"


class Checkpoint:
    """The folder of one run."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    @property
    def blocks(self) -> list[Path]:
        """The complete blocks, in order, up to the first gap."""
        found = []
        while (path := self._path(len(found))).exists():
            found.append(path)
        return found

    def start(self, settings: Mapping[str, Any]) -> None:
        """Begin a run; ValueError if the folder already holds one."""
        if self.blocks:
            raise ValueError(
                f"{self.folder} already holds a run of {len(self.blocks)} blocks: "
                "continue it with resume=True, or give another folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        _atomically(self.folder / SETTINGS, lambda file: file.write(json.dumps(settings, indent=2).encode()))

    def settings(self) -> dict[str, Any]:
        """The settings the run was started with."""
        path = self.folder / SETTINGS
        try:
            return json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise ValueError(f"cannot resume: {path} is missing or damaged ({error}); start afresh") from None

    def write(self, index: int, draws: Mapping[str, np.ndarray], state: list[np.ndarray]) -> None:
        """Add block `index`: its draws (chains, n, ...) and the sampler's state after it."""
        arrays = {f"draws.{name}": value for name, value in draws.items()}
        arrays |= {f"state.{i}": np.asarray(leaf) for i, leaf in enumerate(state)}
        _atomically(self._path(index), lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]

    def read(self) -> tuple[list[dict[str, np.ndarray]], list[np.ndarray]]:
        """The draws of every block, and the state after the last."""
        draws, state = [], []
        for path in self.blocks:
            try:
                with np.load(path, allow_pickle=False) as file:
                    arrays = dict(file)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                raise ValueError(
                    f"cannot resume: {path} is damaged ({error}); delete it and those after it"
                ) from None
            draws.append({name[6:]: value for name, value in arrays.items() if name.startswith("draws.")})
            count = sum(name.startswith("state.") for name in arrays)
            state = [arrays[f"state.{i}"] for i in range(count)]
        return draws, state

    def _path(self, index: int) -> Path:
        return self.folder / f"block-{index:05d}.npz"


def _atomically(path: Path, write) -> None:
    """Write beside the target, flush to disc, then rename over it: readers see all or nothing."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
