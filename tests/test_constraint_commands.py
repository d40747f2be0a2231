"""`oortax fit` and `oortax check` of direct constraints alone, through the real command line."""

import json

import numpy as np
import pytest

from oortax import cli, io, model

CONFIG = """
[potential.disc]
kind = "MiyamotoNagai"
M = {prior = "LogNormal(log(6.5e10), 0.5)"}
a = 3.0
b = 0.3
[potential.halo]
kind = "NFW"
rho_s = {prior = "LogNormal(log(8.5e6), 0.5)"}
r_s = 16.0
[sun]
R0 = {prior = "Normal(8.178, 0.026)"}
[constraints.circular_velocity]
table = "eilers_2019"
R_max = 20.0
systematic = 0.01
common_fraction = 0.02
[constraints.vertical_force]
table = "bovy_rix_2013_table3"
R0_table = 8.0
[constraints.sgr_a_proper_motion]
error = 0.1
[constraints.gas]
kind = "terminal_velocities"
table = "co_clemens_1985_q1"
l_min = 40.0
bias = {prior = "Normal(0, 5)"}
[inference]
method = "laplace"
warmup = 60
samples = 60
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    (tmp_path / "gas.toml").write_text(CONFIG)
    return tmp_path / "gas.toml"


def run(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_check_says_what_is_used_and_how_well_it_is_met(config, capsys):
    code, out, err = run(capsys, "check", config, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["rows"] is None and result["numbers"] == {}
    assert result["tables"]["vertical_force"]["used"] == 43
    # Smooth functions: central differences agree to their own error, 1e-8.
    assert all(error < 1e-6 for error in result["gradient_error"].values())
    by_name = {row["constraint"]: row for row in result["constraints"]}
    assert by_name["gas"]["kind"] == "terminal_velocities" and by_name["vertical_force"]["points"] == 43
    assert set(result["start"]) == {
        "potential.disc.M", "potential.halo.rho_s", "sun.R0", "constraints.gas.bias",
    }  # fmt: skip
    assert "constraints.gas.bias" in run(capsys, "check", config)[1]


@pytest.mark.slow
def test_a_fit_without_stars_writes_everything(config, capsys):
    code, out, err = run(capsys, "fit", config, "--json", "--out", "run")
    assert code == 0, err
    result = json.loads(out)
    folder = config.parent / "run"
    assert result["converged"] and result["rows"] is None and result["run"]["stars"] == 0
    assert "constraints.gas.bias" in result["parameters"]
    drawn = {path.stem for path in (folder / "figures").iterdir()}
    assert {"rotation_curve", "constraint_gas", "constraint_vertical_force", "corner"} <= drawn
    assert not drawn & {"predictive", "overview"}
    page = (folder / "report.html").read_text()
    assert "Direct constraints at the maximum" in page and "Gas at the tangent points" in page
    assert "Measurement errors where the catalogue" not in page
    # The curve pins v_c(R0) at 229 +- 2 % and the forces the column at Bovy & Rix's 68 +- 4 Msun/pc^2.
    assert result["derived"]["v_c"]["median"] == pytest.approx(229, abs=8)
    assert result["derived"]["K_z_1.1"]["median"] == pytest.approx(66, abs=8)
    best = io.load(folder / "best.json")
    tables = io.build(io.load_config(folder / "config.toml")).constraints
    found = model.fits(best, tables)
    assert isinstance(best.constraints["gas"], model.TerminalVelocities)
    # 43 points with formal errors: chi^2 within 4 sigma of its expectation, and not absurdly small.
    assert 15 < found["vertical_force"].chi2 < 43 + 4 * np.sqrt(86)


@pytest.mark.slow
def test_nuts_without_stars(config, capsys, monkeypatch):
    from oortax.commands import report

    monkeypatch.setattr(report, "write", lambda *_: {})
    code, _, err = run(capsys, "fit", config, "--method", "nuts", "--chains", "1", "--out", "run")
    assert code == 0, err
    import arviz

    posterior = arviz.from_netcdf(config.parent / "run" / "posterior.nc").posterior
    assert posterior["constraints.gas.bias"].shape == (1, 60)
    assert posterior.attrs["catalogue"] == "none"


def test_bad_constraints_give_one_sentence(config, capsys):
    config.write_text(CONFIG.replace('table = "co_clemens_1985_q1"', 'table = "co_clemens"'))
    code, _, err = run(capsys, "check", config)
    assert code == 2 and "co_clemens_1985_q1" in err and "Traceback" not in err


def test_stars_and_constraints_add_up(config, monkeypatch):
    """With a catalogue, ln L is the stars' plus the tables' at the same model."""
    from oortax.commands import posterior

    problem = io.build(io.load_config(config))
    seen = []

    def stars(galaxy, catalogues, **options):
        seen.extend((name, each.catalogue, each.nodes) for name, each in catalogues.items())
        return 5.0

    monkeypatch.setattr(posterior.model, "log_likelihood_jointly", stars)
    log_likelihood = posterior.LogLikelihood("StaeckelFudge", "conditional")
    data = {"stars": {"": ([1, 2, 3], "nodes")}, "curves": problem.constraints}
    together = float(log_likelihood(problem.model, data))
    assert seen == [("", [1, 2, 3], "nodes")]
    alone = float(log_likelihood(problem.model, data | {"stars": {}}))
    assert together == pytest.approx(alone + 5.0, rel=1e-12) and len(seen) == 1
