"""The process a command runs in: JAX's devices and precision, the console, errors in one sentence."""

import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOST_DEVICES = "JAX_NUM_CPU_DEVICES"
INTERRUPTED = 130
BAD_INPUT = 2


def chains_of(config: str | Path, default: int = 2) -> int:
    """inference.chains of a configuration, read without importing JAX; `default` if it cannot be read.

    The full check of the file comes later, with messages; this only sizes the set of devices.
    """
    try:
        chains = tomllib.loads(Path(config).read_text(encoding="utf-8"))["inference"]["chains"]
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return default
    return chains if isinstance(chains, int) and not isinstance(chains, bool) and chains > 0 else default


def prepare(chains: int = 1) -> None:
    """Give JAX one host device per chain, so that chains run side by side, float64, and one thread of BLAS.

    The number of devices is read when JAX's backend starts, so this comes first in a process. A
    count set by the user stays. Compiled programs are kept in the user's cache folder, so that the second
    run of a fit need not compile again (JAX_COMPILATION_CACHE_DIR sets another place).
    """
    if chains > 1:
        os.environ.setdefault(HOST_DEVICES, str(chains))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "oortax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("MPLBACKEND", "Agg")
    # Read when SciPy is imported. Threads of its OpenBLAS, which XLA's decompositions call, wait for each
    # other by spinning; `fit_tori` limits them itself, compiled functions cannot.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import oortax

    oortax.enable_x64()


def console(json: bool = False) -> Any:
    """Where a command talks to people: stdout, or stderr if stdout carries JSON."""
    from rich.console import Console

    return Console(stderr=json, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    import json

    from oortax.io.output import jsonable

    sys.stdout.write(json.dumps(jsonable(value), indent=2, allow_nan=False) + "\n")


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; bad input gives one sentence on stderr and exit code 2, without a traceback.

    The traceback goes to the log file of the run, if it has one. Errors that are not about input
    are bugs and keep their traceback.
    """
    import logging

    try:
        command()
    except (ValueError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        logging.getLogger("oortax").debug("stopped", exc_info=error)
        print(f"oortax: {sentence(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("oortax: interrupted; the same command with --resume goes on", file=sys.stderr)
        return INTERRUPTED
    finally:
        if "oortax.io.output" in sys.modules:
            sys.modules["oortax.io.output"].stop_log()
    return 0


def sentence(error: BaseException) -> str:
    """An exception as one line.

    >>> sentence(FileNotFoundError(2, "No such file or directory", "stars.csv"))
    'stars.csv: No such file or directory'
    """
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
