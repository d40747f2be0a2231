"""README says what is so: its commands, examples, files, options and published values."""

import doctest
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from oortax import cli, io
from oortax.plots import literature

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def marked(marker: str) -> str:
    """The code block that follows a marker."""
    found = re.search(rf"^<!-- {marker} -->\n```\w+\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no code block after <!-- {marker} -->"
    return found[1].strip()


def test_two_commands_are_all_the_set_up():
    assert [block.strip() for block in fenced("bash")] == [marked("ci:demo"), marked("ci:test")]
    assert marked("ci:demo") == "pip install . && oortax demo"
    assert marked("ci:test") == 'pip install -e ".[test]" && python -m pytest -n 2'


def test_first_screen_shows_both_commands():
    screen = "\n".join(TEXT.splitlines()[:25])
    assert "ci:demo" in screen and "ci:test" in screen and "![" in screen


@pytest.mark.slow
def test_python_examples_print_what_they_show():
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    found = doctest.testfile(str(README), module_relative=False, optionflags=options, encoding="utf-8")
    assert found.attempted > 10 and found.failed == 0


def test_configuration_is_complete(tmp_path):
    for name in ("giants", "bhb", "dwarfs"):
        (tmp_path / f"{name}.parquet").touch()
    blocks = fenced("toml")
    assert blocks and marked("example:config") in [block.strip() for block in blocks]
    for block in blocks:
        config = io.parse_config(tomllib.loads(block), tmp_path)
        assert "potential.halo.q" in dict(config.free())


def test_files_exist():
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    named = re.findall(r"`((?:src|tests|benchmarks|notebooks|\.ci)/[\w./-]*)`", TEXT)
    assert len(links) > 4
    missing = [name for name in [*links, *named] if "://" not in name and not (ROOT / name).exists()]
    assert not missing


def test_commands_and_options_exist():
    commands = set(re.findall(r"`oortax ([a-z0-9]+)", TEXT))
    known = ("demo", "fit", "check", "predict", "mock", "forecast", "calibrate", "compare", "db96", "info")
    assert commands == set(known)
    options = {
        option
        for name in known
        for argument in cli.app[name].assemble_argument_collection()
        for option in argument.names
    }
    mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT))
    assert mentioned - {"--help"} <= options, mentioned - options


@pytest.mark.parametrize("quantity", literature.QUANTITIES, ids=lambda q: q.key)
def test_published_values_are_those_of_the_report(quantity):
    for entry in literature.measurements(quantity.key):
        value = "0.0126 q^-0.89" if entry.reference == "Piffl+ 2014" else str(entry)
        rows = [line for line in TEXT.splitlines() if entry.name in line and line.startswith("|")]
        assert any(re.search(rf"\| {re.escape(value)}\b", row) for row in rows), (entry, rows)


def test_the_demos_figures_have_their_place():
    between = TEXT.partition("<!-- demo:begin -->")[2].partition("<!-- demo:end -->")[0]
    assert "`oortax demo`" in between and "R-hat" in between
    for quantity in ("v_c(R0)", "K_z", "surface density", "dark matter", "axis ratio q"):
        row = next(line for line in between.splitlines() if line.startswith("|") and quantity in line)
        assert re.search(r"\| \d+\.\d+ \(\+\d+\.\d+ -\d+\.\d+\)", row), row


def test_the_demos_table_is_what_its_benchmark_writes():
    """`benchmarks/demo.py` writes this block: all but the fit's own figures is the same."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "benchmarks" / "demo.py")
    assert spec and spec.loader
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    keys = ("v_c", "K_z_1.1", "Sigma_1.1", "rho_DM", "q")
    result = {
        "method": "nuts",
        "converged": True,
        "verdict": "Converged",
        "derived": {key: {"q16": 1.0, "median": 2.0, "q84": 3.5} for key in keys},
        "parameters": {"a": {"r_hat": 1.001, "ess_bulk": 500.4}, "b": {"r_hat": 1.0, "ess_bulk": 700.0}},
        "run": {"seconds": 90.0},
    }
    written = demo.block(result)
    assert "2.0 (+1.5 -1.0)" in written and "took 1.5 minutes" in written and "size 500" in written
    between = TEXT.partition(demo.BEGIN)[2].partition(demo.END)[0]
    figures = r"\d+\.\d+ \(\+\d+\.\d+ -\d+\.\d+\)(?=,| \|)|R-hat is [\d.]+|size \d+|took [\d.]+"
    assert re.sub(figures, "#", written) == re.sub(figures, "#", between)
    with pytest.raises(ValueError, match="not a result for README: laplace"):
        demo.block(result | {"method": "laplace"})
