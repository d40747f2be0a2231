"""A whole `oortax fit` on a likelihood that takes no time: the circular-speed curve alone."""

import json
import shutil

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import cli, data, dynamics, inference, io, params, potential
from oortax.commands import check as check_module
from oortax.commands import fit as fit_module
from oortax.commands import posterior as commands_posterior
from oortax.commands import report as report_module


def curve_log_likelihood(tree, curve):
    """Independent Gaussian errors of 3 % about the measured curve."""
    v_c = jax.vmap(lambda R: potential.circular_velocity(tree.galaxy.potential, R))(curve["R"])
    return -0.5 * jnp.sum(((v_c - curve["v_c"]) / (0.03 * curve["v_c"])) ** 2)


def curve_posterior(problem):
    curve = problem.constraints["circular_velocity"]
    return inference.Posterior(problem.model, problem.priors, curve_log_likelihood, curve)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The demo with two free parameters and few draws, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    for module in (fit_module, check_module):
        monkeypatch.setattr(module, "build_posterior", curve_posterior)
    monkeypatch.setattr(check_module, "numerical_checks", lambda *_: {"normalisation error": 0.0})
    monkeypatch.setattr(report_module, "numerical_checks", lambda *_: {"normalisation error": 0.0})
    monkeypatch.setattr(
        report_module,
        "predicted",
        lambda problem, *_: {k: v for k, v in problem.columns.items() if k != "ids"},
    )
    text = data.demo_config().read_text()
    head, _, tail = text.partition("[components.thin]")
    head = head.replace('b    = {prior = "LogNormal(log(0.3), 0.4)"}', "b = 0.3")
    head = head.replace('q     = {prior = "LogNormal(log(1.0), 0.3)"}', "q = 1.0")
    fixed = """
[components.only]
df = {kind = "QuasiIsothermal", R_d = 2.6, R_sigma = 8.0, sigma_r0 = 95.0, H_d = 0.3}
[constraints.circular_velocity]
table = "eilers_2019"
R_max = 20.0
[inference]
method = "laplace"
stars = 300
warmup = 40
samples = 60
"""
    assert "{prior" in tail
    (tmp_path / "curve.toml").write_text(head + fixed)
    return tmp_path / "curve.toml"


@pytest.fixture
def without_pictures(monkeypatch):
    monkeypatch.setattr(report_module, "write", lambda *_: {})


def run(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.mark.slow
def test_laplace_writes_everything(config, capsys):
    code, out, err = run(capsys, "fit", config, "--json")
    assert code == 0, err
    result = json.loads(out)
    folder = config.parent / "oortax-curve-1"
    names = {p.name for p in folder.iterdir()}
    assert {
        "config.toml",
        "run.log",
        "summary.csv",
        "summary.json",
        "best.json",
        "report.html",
        "figures",
    } <= names
    assert result["converged"] and set(result["parameters"]) == {"potential.disc.M", "potential.halo.rho_s"}
    rows = (folder / "summary.csv").read_text().splitlines()
    assert rows[0].startswith("parameter,maximum,sd,q3,q16,median")
    for row in rows[1:]:
        assert all(np.isfinite(float(number)) for number in row.split(",")[1:])
    # The curve's 34 points at 3 % fix v_c(R0) to about 3 % / sqrt(34) of 229 km/s, and the fit follows it.
    assert result["derived"]["v_c"]["median"] == pytest.approx(228, abs=5)
    assert (
        result["run"]["data_sha256"] == io.sha256(data.path("gaia_giants"))
        and result["rows"]["used"] == 45156
    )
    best = io.load(folder / "best.json")
    v_c = float(potential.circular_velocity(best.galaxy.potential, 8.178))
    assert v_c == pytest.approx(result["derived"]["v_c"]["median"], abs=2)
    assert "300 of the 45,156 drawn at random" in (folder / "run.log").read_text()
    assert (folder / "report.html").stat().st_size > 50_000


def test_nuts_resumes_where_it_stopped_with_the_same_draws(config, capsys, without_pictures):
    code, _, err = run(capsys, "fit", config, "--method", "nuts", "--out", "whole")
    assert code == 0, err
    whole = config.parent / "whole"
    code, _, err = run(capsys, "fit", config, "--method", "nuts", "--out", "whole")
    assert code == 2 and "--resume continues it" in err
    # As if killed half-way: later blocks and all results are gone.
    cut = shutil.copytree(whole, config.parent / "cut")
    blocks = sorted((cut / "chains").glob("block-*"))
    for block in blocks[len(blocks) // 2 :]:
        block.unlink()
    for name in ("posterior.nc", "summary.csv", "summary.json"):
        (cut / name).unlink()
    code, _, err = run(capsys, "fit", config, "--method", "nuts", "--out", "cut", "--resume")
    assert code == 0, err
    import arviz

    a, b = (arviz.from_netcdf(folder / "posterior.nc") for folder in (whole, cut))
    for path in ("potential.disc.M", "potential.halo.rho_s"):
        assert a.posterior[path].shape == (2, 60)
        np.testing.assert_array_equal(a.posterior[path].values, b.posterior[path].values)
    assert a.posterior.attrs["data_sha256"] == io.sha256(data.path("gaia_giants"))
    assert int(a.posterior.attrs["seed"]) == 1 and "jax" in a.posterior.attrs["versions"]
    code, _, err = run(capsys, "fit", config, "--method", "nuts", "--out", "cut", "--resume", "--seed", "2")
    assert code == 2 and "another configuration" in err


def test_folders_are_numbered_and_force_starts_afresh(config, capsys, without_pictures):
    (config.parent / "out").mkdir()
    (config.parent / "out" / "notes.txt").write_text("mine")
    for number in (1, 2):
        assert run(capsys, "fit", config, "--method", "maximum")[0] == 0
        assert (config.parent / f"oortax-curve-{number}").is_dir()
    assert run(capsys, "fit", config, "--method", "maximum", "--out", "out")[0] == 2
    assert run(capsys, "fit", config, "--method", "maximum", "--out", "out", "--force")[0] == 0
    assert (config.parent / "out" / "notes.txt").read_text() == "mine"
    assert run(capsys, "fit", config, "--method", "maximum", "--out", "out", "--force", "--seed", "2")[0] == 0
    assert "seed = 2" in (config.parent / "out" / "config.toml").read_text()


def test_check_counts_rows_and_compares_gradients(config, capsys):
    code, out, err = run(capsys, "check", config, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["rows"]["read"] == 45156 and all(e < 1e-6 for e in result["gradient_error"].values())
    code, out, _ = run(capsys, "check", config)
    assert code == 0 and "45,156 rows read" in out and "ln p at the start" in out


def wrong_gradient(tree, curve):
    """A likelihood whose derivative with respect to M is lost."""
    disc = jax.lax.stop_gradient(tree.galaxy.potential["disc"].M)
    return curve_log_likelihood(tree, curve) - 10 * (disc / 6.5e10) ** 2


def test_check_finds_a_wrong_gradient(config, capsys, monkeypatch):
    monkeypatch.setattr(
        check_module,
        "build_posterior",
        lambda p: inference.Posterior(p.model, p.priors, wrong_gradient, p.constraints["circular_velocity"]),
    )
    code, _, err = run(capsys, "check", config)
    assert code == 2 and "potential.disc.M differs from a finite difference" in err


class Prepared(eqx.Module):
    """Stands for `PilotTori`, which takes a minute to make: remembers where it was made and moved to."""

    potential: object
    stars: int
    moves: int

    def __call__(self, pot):
        return dynamics.StaeckelFudge(pot)

    def moved_to(self, pot):
        return Prepared(pot, self.stars, self.moves + 1)


def test_a_finder_that_is_prepared_for_the_stars(config, monkeypatch):
    """Made of the start's potential and the stars' nodes, moved to the maximum, handed on as data."""
    options = {}

    def prepare(pot, x, v, **given):
        options.update(given)
        return Prepared(pot, len(x), 0)

    monkeypatch.setitem(dynamics.STAR_FINDERS, "TorusFinder", prepare)
    text = config.read_text().replace(
        "[inference]", '[inference]\nfinder = "TorusFinder"\ntori = {max_tori = 64}'
    )
    config.write_text(text)
    problem = io.build(io.load_config(config))
    posterior = commands_posterior.build_posterior(problem)
    finder = posterior.data["finder"]
    assert finder.stars == posterior.data["stars"][""][1].n_star_nodes and options["max_tori"] == 64
    moved_to = params.replace(problem.model, {"potential.disc.M": 7e10})
    moved = commands_posterior.with_tori_at(posterior, moved_to)
    assert moved.data["finder"].moves == 1 and moved.data["finder"].potential["disc"].M == 7e10
    assert moved.names == posterior.names
    seen = {}
    monkeypatch.setattr(
        commands_posterior.model, "log_likelihood_jointly", lambda *_, **given: seen.update(given) or 0.0
    )
    moved.log_likelihood(problem.model, moved.data)
    assert seen["finder"] is moved.data["finder"]
    plain = dict(moved.data) | {"finder": None}
    assert commands_posterior.with_tori_at(eqx.tree_at(lambda p: p.data, posterior, plain), moved_to) is None


def test_an_unknown_finder_is_named(config, capsys):
    config.write_text(config.read_text().replace("[inference]", '[inference]\nfinder = "TorusFinders"'))
    code, _, err = run(capsys, "check", config)
    assert code == 2 and "did you mean" in err and "TorusFinder" in err
