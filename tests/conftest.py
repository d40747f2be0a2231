"""Test session: float64, one compilation cache, few XLA threads so that `-n 2` shares two cores."""

import os
import tempfile
from pathlib import Path

_CACHE = os.environ.get("OORTAX_TEST_CACHE", str(Path(tempfile.gettempdir()) / "oortax-jax-cache"))
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE)
os.environ.setdefault("MPLBACKEND", "Agg")

import oortax as ox  # noqa: E402  (after the environment is set)

ox.enable_x64()


def pytest_collection_modifyitems(items):
    """The longest tests first: at the end of a run one worker would wait for the other."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
