"""Test session: float64, one compilation cache, few XLA threads so that `-n 2` shares two cores."""

import os
import tempfile
from pathlib import Path

_CACHE = os.environ.get("OORTAX_TEST_CACHE", str(Path(tempfile.gettempdir()) / "oortax-jax-cache"))
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE)
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest  # noqa: E402  (after the environment is set)

import oortax as ox  # noqa: E402

ox.enable_x64()


def pytest_collection_modifyitems(items):
    """The longest tests first: at the end of a run one worker would wait for the other."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


# Files whose programs take long to compile: what one worker has compiled no other should compile again.
_TOGETHER = (
    "dynamics/test_exact_tori.py",
    "dynamics/test_library.py",
    "dynamics/test_tori.py",
    "dynamics/test_torus.py",
    "dynamics/test_torus_finder.py",
    "test_torus_plots.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests go to whichever worker is free, those of some files to one."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::", 1)[0]
            return file if file.endswith(_TOGETHER) else nodeid

    return Scheduling(config, log)
