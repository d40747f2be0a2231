"""The command line: figures on stdout, one sentence on stderr, exit codes 0 and 2."""

import json
import os
import subprocess
import sys

import pytest

from oortax import cli
from oortax.commands import session


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The session of the tests has started JAX already: its flags stay as they are.
    monkeypatch.setenv(session.HOST_DEVICES, "1")


def test_help_names_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0 and all(name in out for name in ("demo", "fit", "check", "info"))


@pytest.mark.parametrize("command", ["demo", "fit", "check", "forecast", "calibrate", "compare", "info"])
def test_each_command_has_help_and_json(capsys, command):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0 and "--json" in out


def test_fit_has_the_promised_flags(capsys):
    _, out, _ = run(capsys, "demo", "--help")
    flags = ("--out", "--force", "--resume", "--json", "--all-stars", "--stars", "--method", "--seed")
    assert all(flag in out for flag in (*flags, "--chains", "--samples"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fot"], "fit"),
        (["fit"], "CONFIG"),
        (["demo", "--star", "10"], "--stars"),
        (["demo", "--stars", "few"], "--stars"),
        (["demo", "--stars", "10", "--all-stars"], "exclude each other"),
        (["demo", "--method", "nutz"], "did you mean 'nuts'"),
        (["demo", "--stars", "0"], "inference.stars = 0 must be at least 1"),
        (["fit", "nowhere.toml"], "nowhere.toml"),
        (["check", "nowhere.toml"], "nowhere.toml"),
        (["forecast", "nowhere.toml", "--n", "100"], "nowhere.toml"),
        (["calibrate", "nowhere.toml"], "nowhere.toml"),
        (["compare", "nowhere"], "at least two folders"),
        (["compare", "nowhere", "elsewhere"], "nowhere holds no fit"),
        (["info", "--site"], "--cite"),
    ],
)
def test_bad_input_gives_one_sentence_and_exit_code_2(capsys, arguments, words):
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == ""
    assert words in err and err.startswith("oortax: ") and len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    assert not os.listdir(), "a refused command leaves no folder behind"


def test_a_bad_configuration_is_named_with_its_file(capsys, tmp_path):
    (tmp_path / "fit.toml").write_text("[dat]\n")
    code, _, err = run(capsys, "fit", "fit.toml")
    assert code == 2 and "fit.toml" in err and "did you mean 'data'" in err


def test_bugs_keep_their_traceback():
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        session.guarded(broken)


def test_interruption_says_how_to_go_on(capsys):
    def interrupted():
        raise KeyboardInterrupt

    assert session.guarded(interrupted) == 130
    assert "--resume" in capsys.readouterr().err


def test_info_names_versions_and_devices(capsys):
    code, out, _ = run(capsys, "info", "--json")
    value = json.loads(out)
    assert code == 0 and {"oortax", "jax", "numpyro", "python"} <= set(value["versions"])
    assert value["devices"][0]["platform"] in ("cpu", "gpu", "tpu")


def test_info_cite_gives_papers_credit_and_licences(capsys):
    _, text, _ = run(capsys, "info", "--cite")
    for words in (
        "Dehnen & Binney 1996",
        "Binney 2012",
        "Sanders & Binney",
        "Eilers",
        "ESA",
        "DPAC",
        "BSD-3",
    ):
        assert words in text
    _, out, _ = run(capsys, "info", "--cite", "--json")
    value = json.loads(out)
    assert value["papers"]["data"] and "45,156" in value["provenance"]


def test_chains_are_read_without_jax(tmp_path):
    (tmp_path / "a.toml").write_text("[inference]\nchains = 3\n")
    assert session.chains_of(tmp_path / "a.toml") == 3
    for text in ("", "[inference]\nchains = true\n", "[inference]\nchains = -1\n", "inference = 1\n", "[\n"):
        (tmp_path / "a.toml").write_text(text)
        assert session.chains_of(tmp_path / "a.toml") == 2
    assert session.chains_of(tmp_path / "none.toml", default=1) == 1


def test_the_tool_gives_jax_a_device_per_chain_float64_and_one_thread_of_blas():
    program = (
        "from oortax.commands import session\n"
        "session.prepare(3)\n"
        "import jax, jax.numpy as jnp\n"
        "from threadpoolctl import threadpool_info\n"
        "blas = {pool['num_threads'] for pool in threadpool_info() if pool['user_api'] == 'blas'}\n"
        "print(len(jax.devices('cpu')), jnp.ones(1).dtype, *blas)\n"
    )
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    for users_own in ("JAX_NUM_CPU_DEVICES", "OPENBLAS_NUM_THREADS"):  # which would stay
        environment.pop(users_own, None)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["3", "float64", "1"]
