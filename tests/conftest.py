"""Test session: float64, one compilation cache, few XLA threads so that `-n 2` shares two cores."""

import ctypes
import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_CACHE = os.environ.get("OORTAX_TEST_CACHE", str(Path(tempfile.gettempdir()) / "oortax-jax-cache"))
# The tests' time is that of compiling: programs are compiled without LLVM's optimisations, far
# sooner; nearly all then run on small batches. benchmarks/ runs, and measures, optimised ones.
_QUICK_TO_COMPILE = (
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_backend_optimization_level=0",
    # XLA's checks of its own work after each step, and two steps that find nothing here.
    "--xla_disable_hlo_passes=hlo-verifier,tree_reduction_rewriter,zero_sized_hlo_elimination",
)


def _known(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Those that this XLA knows: it aborts on others, and versions drop some."""

    def runs(*some: str) -> bool:
        environment = os.environ | {"XLA_FLAGS": " ".join(some)}
        command = [sys.executable, "-c", "import jax; jax.devices()"]
        return subprocess.run(command, env=environment, capture_output=True).returncode == 0

    return flags if runs(*flags) else tuple(flag for flag in flags if runs(flag))


# Workers find what the first process has set.
if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = " ".join(_known(_QUICK_TO_COMPILE))
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE)
os.environ.setdefault("MPLBACKEND", "Agg")
# No Python lines in programs: they are sooner traced and lowered.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# Threads of two workers' linear algebra (SciPy's) wait for each other on two cores: ten times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax  # noqa: E402  (after the environment is set)
import pytest  # noqa: E402

import oortax as ox  # noqa: E402

ox.enable_x64()

# Tracing makes objects by the million: collections of garbage at Python's usual pace walk through them again
# and again, a quarter of its time. What is left over goes when programs are forgotten, see below.
gc.freeze()
gc.set_threshold(200_000, 20, 100)


def pytest_collection_modifyitems(items):
    """The longest tests first: at the end of a run one worker would wait for the other."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


# Files whose tests share nothing and take minutes each.
_APART = ("test_notebook.py", "test_readme.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests go to one worker: what it has traced, compiled and prepared no other makes again."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::", 1)[0]
            return nodeid if file.endswith(_APART) else file

    # In their order, the longest first, and not by the number of tests.
    config.option.loadscopereorder = False
    return Scheduling(config, log)


# A compiled program holds memory and maps of it. Past the 65,530 maps of a Linux process XLA aborts.
_MOST_MAPS, _MOST_BYTES = 25_000, 3 << 30
# Within a file, whose tests share programs, nothing is forgotten before this many times as much.
_WITHIN = 2


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Forget compiled programs where there are many, between files rather than within."""
    more = _WITHIN if nextitem is not None and nextitem.path == item.path else 1
    maps, memory = Path("/proc/self/maps"), Path("/proc/self/statm")
    if not maps.exists():
        return
    held = int(memory.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if held > more * _MOST_BYTES or maps.read_bytes().count(b"\n") > more * _MOST_MAPS:
        jax.clear_caches()
        gc.collect()
        # What glibc keeps of freed memory, most of it, goes back to the system.
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
