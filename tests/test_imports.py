"""Imports go one way, and heavy libraries stay in their rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import oortax

ROOT = Path(oortax.__file__).parent
BASE = {"constants", "types", "params", "results"}
UP_TO_DF = BASE | {"numerics", "potential", "dynamics", "df"}

# What each room may import, besides itself. `io`, `plots` and `commands` may import any but the cli.
ALLOWED = {
    "constants": set(),
    "types": {"constants"},
    "results": {"constants", "types"},
    "params": {"constants", "types", "results"},
    "numerics": BASE,
    "potential": BASE | {"numerics"},
    "dynamics": BASE | {"numerics", "potential"},
    "df": BASE | {"numerics", "potential", "dynamics"},
    "stars": BASE | {"numerics", "data"},
    "survey": BASE | {"numerics"},
    "model": UP_TO_DF | {"stars", "survey"},
    "inference": UP_TO_DF | {"stars", "survey", "model"},
    "data": set(),
}
ANY = UP_TO_DF | {"stars", "survey", "model", "inference", "io", "plots", "data"}
ALLOWED |= {"io": ANY, "plots": ANY, "commands": ANY, "cli": ANY | {"commands"}}

# Libraries that only some files may import (module prefixes).
HEAVY = {
    "astropy": ("io",),
    "matplotlib": ("plots",),
    "arviz": ("inference.diagnose",),
    "corner": ("plots",),
    "galpy": ("io.galpy",),
    "agama": (),
    "gala": ("io.gala",),
}

FILES = sorted(ROOT.rglob("*.py"))


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path):
    """Absolute names of the modules that a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            if node.module == "oortax":
                yield from (f"oortax.{alias.name}" for alias in node.names)
            elif node.module:
                yield node.module


def violations(name: str, imported) -> list[str]:
    """The imports of a module that its room does not allow."""
    room = name.split(".")[0]
    wrong = []
    for target in imported:
        parts = target.split(".")
        if parts[0] == "oortax" and len(parts) > 1:
            inside = (ROOT / parts[1]).is_dir() or (ROOT / f"{parts[1]}.py").is_file()
            if inside and parts[1] != room and parts[1] not in ALLOWED.get(room, set()):
                wrong.append(target)
        elif parts[0] in HEAVY and not any(name.startswith(home) for home in HEAVY[parts[0]]):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports_go_one_way(path):
    name = module(path)
    if name:
        assert not violations(name, imports(path))


def test_every_room_is_known():
    rooms = {module(path).split(".")[0] for path in FILES} - {""}
    assert rooms <= set(ALLOWED), f"say in ALLOWED what {rooms - set(ALLOWED)} may import"
    assert len(FILES) > 30


def test_the_check_can_fail():
    assert violations("potential.discs", ["oortax.dynamics"]) == ["oortax.dynamics"]
    assert violations("survey.sun", ["oortax.stars", "oortax.params"]) == ["oortax.stars"]
    assert violations("df.base", ["matplotlib.pyplot", "jax"]) == ["matplotlib.pyplot"]
    assert violations("io.tables", ["oortax.cli", "astropy.units"]) == ["oortax.cli"]


def test_no_file_is_long():
    long = {module(path): n for path in FILES if (n := len(path.read_text().splitlines())) > 500}
    assert not long


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["--version"]])
def test_help_imports_no_jax(arguments):
    """--help answers at once: neither JAX nor matplotlib nor astropy is imported for it."""
    program = (
        "import sys\n"
        "from oortax.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "heavy = {'jax', 'numpyro', 'matplotlib', 'astropy', 'arviz'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_changes_no_setting():
    program = (
        "import os\n"
        "before = dict(os.environ)\n"
        "import oortax\n"
        "oortax.potential.NFW\n"
        "import jax\n"
        "assert not jax.config.jax_enable_x64 and dict(os.environ) == before\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
