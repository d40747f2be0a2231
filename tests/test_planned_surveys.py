"""`oortax forecast` and `oortax calibrate`, on a disc in a flattened halo."""

import json
import shutil

import jax
import numpy as np
import pytest

from oortax import cli, data, inference, io, model
from oortax.commands.stars import Planned, Stars, key_of

CONFIG = """
[survey]
selection = [{kind = "magnitude", band = "V", max = 12.5}, {kind = "abs_b", min = 40.0}]
errors = {V = 0.02, pm = 0.05, v_los = 2.0, distance_modulus = 0.1}
[potential.halo]
kind = "LogarithmicHalo"
v_0 = {prior = "LogNormal(log(220), 0.2)"}
r_c = 2.0
q = {prior = "LogNormal(log(0.9), 0.2)"}
[components.disc]
df = {kind = "QuasiIsothermal", R_d = 2.6, R_sigma = 8.0, sigma_r0 = {prior = "LogNormal(log(120), 0.3)"}, \
H_d = 0.45}
stars = {kind = "gaussian", mean = 0.8, sigma = 0.15}
[inference]
seed = 3
nodes_per_star = 2
"""
PATHS = {"potential.halo.v_0", "potential.halo.q", "components.disc.df.sigma_r0"}
STARS = DRAWN = 2000


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "survey.toml").write_text(CONFIG)
    return tmp_path / "survey.toml"


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(a) for a in arguments])
    assert stopped.value.code == code


@pytest.fixture(scope="module")
def forecast(tmp_path_factory):
    """The summary of a forecast, and its folder."""
    folder = tmp_path_factory.mktemp("forecast")
    (folder / "survey.toml").write_text(CONFIG)
    run("forecast", folder / "survey.toml", "--n", STARS, "--draws", DRAWN, "--out", folder / "out")
    return json.loads((folder / "out" / "forecast.json").read_text()), folder


def test_forecast_writes_table_and_pictures(forecast):
    summary, folder = forecast
    assert summary["stars"] == STARS and summary["drawn"] == DRAWN and summary["lost"] == 0
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {"forecast.json", "forecast.csv", "config.toml", "widths.png", "corner.png"}
    rows = (folder / "out" / "forecast.csv").read_text().splitlines()
    assert rows[0].startswith("parameter,value,prior_width,sigma_data") and len(rows) == 4
    assert set(summary["parameters"]) == PATHS
    for path, row in summary["parameters"].items():
        assert 0.0 < row["sigma"] < min(row["sigma_data"], row["prior_width"])
        assert summary["correlation"][path][path] == pytest.approx(1.0)
        # sigma falls as 1/sqrt(N).
        stars = STARS * (row["sigma_data"] / (0.1 * row["value"])) ** 2
        assert row["stars_for_precision"] == pytest.approx(stars)
        # For Gaussian scores of independent parameters the error of a sigma is 1/sqrt(2 n); where parameters
        # are degenerate, as potential and anisotropy are, some times that.
        assert 0.5 < row["sigma_data_error"] / row["sigma_data"] * np.sqrt(2.0 * DRAWN) < 6.0


def test_mean_scores_are_zero(forecast):
    """The stars are drawn without any normalisation: that of ln L is right, in all parameters."""
    summary, _ = forecast
    assert summary["mean_score"]["p"] > 1e-3
    assert all(abs(z) < 4.0 for z in summary["mean_score"]["z"].values())


def test_a_fit_of_a_mock_has_the_errors_that_were_forecast(forecast):
    summary, folder = forecast
    planned = Planned.of(folder / "survey.toml", DRAWN, None)
    # Other stars than the forecast's, as many as it drew: the compiled programs are shared.
    catalogue = planned.draw(planned.tree, key_of(77), DRAWN, 0.0)
    volume = model.whole_volume(planned.tree.galaxy, planned.tree.survey)
    posterior = planned.posterior({"catalogue": catalogue, "nodes": planned.nodes(catalogue, volume)})
    maximum = inference.maximise(posterior, progress=False)
    # The observed information at the truth, of which the forecast is the expectation: at the maximum, some
    # sigma away, the information itself is another.
    fit = inference.laplace(posterior, maximum._replace(u=np.asarray(posterior.start)))
    for path, row in summary["parameters"].items():
        # As many stars as were drawn for the forecast: their information scatters about as much.
        close = 4.0 * np.sqrt(2.0) * row["sigma_error"] / row["sigma"]
        assert close < 0.4 and fit.sigma[path] == pytest.approx(row["sigma"], rel=close), path
        pull = (maximum.values[path] - row["value"]) / row["sigma"]
        assert abs(pull) < 4.0, path


def records(folder):
    """Mocks on disc, without the time they took."""
    found = [json.loads(path.read_text()) for path in sorted((folder / "mocks").glob("*.json"))]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in found]


@pytest.mark.slow
def test_calibrate_compiles_once_and_resumes_with_the_same_digits(config, capsys, monkeypatch):
    traced, plain = [], Stars.__call__
    monkeypatch.setattr(Stars, "__call__", lambda *given: (traced.append(1), plain(*given))[1])
    options = ("--stars", 60, "--draws", 32, "--missing-v-los", 0.25)
    run("calibrate", config, "--mocks", 3, *options, "--out", "whole", "--workers", 1, "--json")
    summary = json.loads(capsys.readouterr().out)
    assert summary["mocks"] == 3 and summary["failed"] == 0
    assert set(summary["quantities"]) == PATHS | {"posterior density"}
    whole = config.parent / "whole"
    assert {"calibration.json", "calibration.csv", "ranks.png", "coverage.png", "run.log", "config.toml"} <= {
        path.name for path in whole.iterdir()
    }
    made = records(whole)
    # ln L is traced for its gradient and for values of it, whatever the number of mocks; more only where
    # the stars of another mock need so many more nodes that they fill another size.
    sizes = {record["star_nodes"] for record in made}
    assert 0 < len(traced) <= 2 * len(sizes) and len(sizes) <= 2
    assert len({json.dumps(record["truth"]) for record in made}) == 3
    assert all(0.0 <= rank <= 1.0 for record in made for rank in record["ranks"])
    # As if killed in the second: the same command goes on, with other workers, too.
    cut = shutil.copytree(whole, config.parent / "cut")
    for name in ("mocks/00001.json", "calibration.json"):
        (cut / name).unlink()
    run("calibrate", config, "--mocks", 3, *options, "--out", "cut", code=2)
    assert "--resume continues it" in capsys.readouterr().err
    run("calibrate", config, "--mocks", 3, *options, "--out", "cut", "--resume")
    assert records(cut) == made
    capsys.readouterr()
    run("calibrate", config, "--mocks", 3, "--stars", 61, "--out", "cut", "--resume", code=2)
    assert "another configuration" in capsys.readouterr().err
    # Another machine's first two mocks are not made again.
    kept, other = config.parent / "kept.jsonl", config.parent / "other"
    kept.write_text("\n".join((whole / "records.jsonl").read_text().splitlines()[:-1]) + "\n")
    run("calibrate", config, "--mocks", 3, "--first", 2, *options, "--out", "other", "--records", kept)
    assert records(other) == made
    assert (other / "calibration.csv").read_text() == (whole / "calibration.csv").read_text()
    run("calibrate", config, "--mocks", 3, "--stars", 61, "--out", "odd", "--records", kept, code=2)
    assert "mocks of another configuration" in capsys.readouterr().err
    run("calibrate", config, "--mocks", 3, *options, "--out", "odd", "--records", config, code=2)
    assert "records.jsonl" in capsys.readouterr().err
    run("calibrate", config, "--mocks", 3, "--first", 3, *options, "--out", "odd", code=2)
    assert "first = 3" in capsys.readouterr().err


def test_bad_input_is_one_sentence(config, capsys):
    run("forecast", config, code=2)
    assert "how many stars" in capsys.readouterr().err
    run("forecast", config, "--n", 100, "--draws", 5, code=2)
    assert "draws" in capsys.readouterr().err
    run("calibrate", config, "--stars", 50, "--method", "maximum", code=2)
    assert "laplace, nuts" in capsys.readouterr().err
    run("calibrate", "gas", "--stars", 50, code=2)
    assert "components" in capsys.readouterr().err
    config.write_text(f'{CONFIG}[constraints.circular_velocity]\ntable = "eilers_2019"\n')
    run("calibrate", config, "--stars", 50, code=2)
    assert "constraints.circular_velocity" in capsys.readouterr().err
    config.write_text(f'{CONFIG}[catalogues.other]\ncatalogue = "other.parquet"\n')
    run("forecast", config, "--n", 100, code=2)
    assert "leave out [catalogues.other]" in capsys.readouterr().err
    fixed = CONFIG.replace('{prior = "LogNormal(log(220), 0.2)"}', "220.0")
    fixed = fixed.replace('{prior = "LogNormal(log(0.9), 0.2)"}', "0.9")
    config.write_text(fixed.replace('{prior = "LogNormal(log(120), 0.3)"}', "120.0"))
    run("calibrate", config, "--stars", 50, code=2)
    assert "no parameter is free" in capsys.readouterr().err


def test_filled_nodes_leave_the_likelihood_as_it_is(config):
    planned = Planned.of(config, 60, None)
    catalogue = planned.draw(planned.tree, key_of(5), 60, 0.0)
    volume = model.whole_volume(planned.tree.galaxy, planned.tree.survey)
    nodes = model.make_nodes(catalogue, planned.tree.galaxy, planned.tree.survey, 2, volume=volume)
    more = model.filled(nodes, nodes.n_star_nodes + 7)
    plain, padded = (
        jax.jit(planned.stars.per_star)(planned.tree, {"catalogue": catalogue, "nodes": n})
        for n in (nodes, more)
    )
    # But for rounding, where sums of one star's nodes are grouped otherwise.
    np.testing.assert_allclose(plain, padded, rtol=1e-11)
    with pytest.raises(ValueError, match="star nodes already"):
        model.filled(more, nodes.n_star_nodes)


def test_the_bundled_model_is_complete():
    """A flattened halo's potential, disc and halo populations, outliers and Sun are free, and sane."""
    settings = io.load_config(data.config("calibration"), forward=True)
    paths = dict(settings.free())
    assert {"potential.halo.q", "components.halo.weight", "outliers.fraction", "sun.V"} <= set(paths)
    planned = Planned.of(data.config("calibration"), None, None)
    for path, prior in planned.priors.items():
        draws = np.asarray(prior.sample(jax.random.key(0), (1000,)))
        assert np.all(np.isfinite(draws)), path
    weight = planned.priors["components.halo.weight"]
    assert np.max(np.asarray(weight.sample(jax.random.key(0), (10_000,)))) < 1.0
