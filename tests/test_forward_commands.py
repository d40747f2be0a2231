"""`oortax predict`, `oortax mock`: from a configuration without a catalogue to figures and files."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from oortax import cli, io

CONFIG = """
[survey]
selection = [{kind = "magnitude", band = "V", max = 14.0}, {kind = "abs_b", min = 40.0}]
errors = {V = 0.02, pm = 0.1, v_los = 2.0, parallax = 0.05}
[potential.galaxy]
kind = "KuzminKutuzov"
M = {prior = "LogNormal(log(1e11), 0.3)"}
a = 3.0
c = 2.0
[components.disc]
df = {kind = "QuasiIsothermal", R_d = 2.6, R_sigma = 8.0, sigma_r0 = 95.0, H_d = 0.3}
stars = {kind = "colour_magnitude_relation", stars = {kind = "gaussian", mean = 5.0, sigma = 1.0}, \
M = [1.0, 5.0, 9.0], mean = [0.3, 0.7, 1.3]}
[components.halo]
weight = 0.05
df = {kind = "DB96Halo", a = 1.2, b = 1.2, beta = 3.5, gamma = 1.8, A_0 = 500.0}
stars = {kind = "gaussian", mean = 4.5, sigma = 0.8}
[inference]
seed = 3
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "survey.toml").write_text(CONFIG)
    return tmp_path / "survey.toml"


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(a) for a in arguments])
    assert stopped.value.code == code


def test_mock_is_read_as_a_catalogue(config, capsys):
    run("mock", config, "--n", 300, "--out", "stars.parquet", "--missing-v-los", 0.2, "--json")
    summary = json.loads(capsys.readouterr().out)
    assert sum(summary["components"].values()) == summary["stars"] == 300
    columns, report = io.read_catalogue("stars.parquet")
    assert report.n_used + (np.asarray(columns["parallax"]) <= 0).sum() <= 300 < report.n_used + 40
    assert 0.1 < np.isnan(columns["v_los"]).mean() < 0.3
    file = pq.read_table("stars.parquet")
    true = {
        name: file[name].to_numpy(zero_copy_only=False) for name in file.column_names if name[:4] == "true"
    }
    assert set(true["true_component"]) <= {"disc", "halo"}
    # What was observed is the truth and noise: parallax errors of 0.05 mas.
    pull = (file["parallax"].to_numpy() - 1.0 / true["true_s"]) / 0.05
    assert abs(pull.mean()) < 4.0 / np.sqrt(300) and abs(pull.std() - 1.0) < 4.0 / np.sqrt(600)
    assert file.schema.field("true_s").metadata[b"unit"] == b"kpc"
    assert b"[potential.galaxy]" in file.schema.metadata[b"configuration"]
    assert np.all(np.abs(file["b"].to_numpy()) >= 40.0) and np.all(file["v"].to_numpy() <= 14.0)


def test_mock_is_reproducible_and_does_not_write_over(config, capsys):
    run("mock", config, "--n", 50, "--out", "one.parquet")
    run("mock", config, "--n", 50, "--out", "two.parquet")
    run("mock", config, "--n", 50, "--out", "other.parquet", "--seed", 4)
    one, two, other = (
        pq.read_table(f"{name}.parquet")["pm_b"].to_numpy() for name in ("one", "two", "other")
    )
    assert np.array_equal(one, two) and not np.any(np.isin(one, other))
    capsys.readouterr()
    run("mock", config, "--n", 50, "--out", "one.parquet", code=2)
    assert "--force" in capsys.readouterr().err
    run("mock", config, "--n", 50, "--out", "stars.csv", code=2)
    assert ".parquet" in capsys.readouterr().err


def test_predict_writes_tables_and_pictures(config, capsys, tmp_path):
    run("predict", config, "--n", 1024, "--out", "spd", "--json")
    summary = json.loads(capsys.readouterr().out)
    fractions = summary["fraction_of_catalogue"]
    assert sum(of["value"] for of in fractions.values()) == pytest.approx(1.0)
    low, middle, high = summary["quantiles_16_50_84"]["V"]["all"]
    assert low < middle < high <= 14.0
    rows = (tmp_path / "spd" / "distributions.csv").read_text().splitlines()
    assert rows[0].startswith("observable,low,high,all,all_error,disc,disc_error,halo")
    mu = np.array([[float(x) for x in row.split(",")[1:]] for row in rows if row.startswith("mu_l,")])
    # The range holds 99.8 % of the stars, and the parts make the whole.
    assert mu[:, 2].sum() == pytest.approx(0.998, abs=0.004)
    np.testing.assert_allclose(mu[:, 2], mu[:, 4] + mu[:, 6], atol=1e-6)
    pictures = {path.name for path in (tmp_path / "spd").glob("*.png")}
    assert {"V.png", "mu_l.png", "mu_l-mu_b.png", "v_los.png"} <= pictures
    run("predict", config, "--n", 1024, "--out", "spd", code=2)
    assert "not empty" in capsys.readouterr().err


def test_bad_input_is_one_sentence(config, capsys):
    text = config.read_text()
    config.write_text(text.replace('stars = {kind = "gaussian", mean = 4.5, sigma = 0.8}', ""))
    run("mock", config, "--n", 50, "--out", "a.parquet", code=2)
    assert "from_catalogue" in capsys.readouterr().err
    config.write_text(text)
    run("mock", config, "--n", 50, "--out", "a.parquet", "--finder", "Fudge", code=2)
    assert "StaeckelFudge" in capsys.readouterr().err
    config.write_text(text.replace(", max = 14.0", ", min = 5.0"))
    run("predict", config, code=2)
    assert "faint limit" in capsys.readouterr().err


@pytest.mark.slow
def test_fit_of_counts_recovers_the_mock(config, capsys, tmp_path):
    """The catalogue's own survey as [binned.NAME]: no distance is used, and the truth comes back."""
    run("mock", config, "--n", 4000, "--out", "stars.parquet")
    head, _, rest = CONFIG.partition("[potential.galaxy]")
    cuts = head.partition("[survey]\n")[2]
    cells = (
        "cells = {mu_l = [-30, -10, -3, 3, 10, 30], mu_b = [-30, -10, -3, 3, 10, 30], V = [8, 12, 13, 14]}"
    )
    text = f'[binned.cap]\ncatalogue = "stars.parquet"\nnodes = 4096\n{cells}\n{cuts}[potential.galaxy]{rest}'
    text = text.replace("sigma_r0 = 95.0", 'sigma_r0 = {prior = "LogNormal(log(95), 0.5)"}')
    (tmp_path / "counts.toml").write_text(text)
    capsys.readouterr()
    run("check", "counts.toml", "--json")
    checked = json.loads(capsys.readouterr().out)
    assert checked["numbers"]["cap: nodes_per_star"] > 0.5
    assert max(checked["gradient_error"].values()) < 1e-4
    run("fit", "counts.toml", "--method", "laplace", "--out", "fit", "--json")
    capsys.readouterr()
    summary = json.loads((tmp_path / "fit" / "summary.json").read_text())
    truth = {"potential.galaxy.M": 1e11, "components.disc.df.sigma_r0": 95.0}
    assert set(truth) == set(summary)
    for path, true in truth.items():
        row = summary[path]
        # The nodes add at most their share of the variance: 4 of the standard deviations with it.
        assert abs(row["median"] - true) < 4.0 * row["sd"] * np.sqrt(1.0 + 1.0 / 0.5), (path, row)
        assert row["sd"] < 0.5 * true, (path, row)
    assert (tmp_path / "fit" / "figures" / "cap_mu_l.png").exists()


def test_bad_cells_are_one_sentence(config, capsys):
    run("mock", config, "--n", 50, "--out", "stars.parquet")
    capsys.readouterr()
    for cells, word in (
        ("{mu = [0, 1]}", "mu_0"),
        ("{V = [14, 12]}", "increasing"),
        ("{}", "cells"),
        ("{colours = [0.0, 1.0]}", "colour"),
    ):
        rest = CONFIG.partition("[potential.galaxy]")[2]
        text = f'[binned.cap]\ncatalogue = "stars.parquet"\ncells = {cells}\n[potential.galaxy]{rest}'
        config.write_text(text)
        run("check", config, code=2)
        assert word in capsys.readouterr().err


def test_predictions_are_compared_with_the_stars_that_were_seen(config, capsys):
    """Stars drawn from the model agree with it; a Sun that moves by 10 km/s more in V does not."""
    run("mock", config, "--n", 4000, "--out", "stars.parquet", "--json")
    text = '[data]\ncatalogue = "stars.parquet"\n' + CONFIG
    (config.parent / "seen.toml").write_text(text)
    # The 2.4 km/s of V that 4000 stars tell are four times less.
    (config.parent / "moving.toml").write_text(text + "[sun]\nV = 22.24\n")
    for name in ("seen", "moving"):
        run("predict", f"{name}.toml", "--n", 8192, "--out", name, "--compare")
    seen, moving = (json.loads((config.parent / n / "summary.json").read_text()) for n in ("seen", "moving"))
    assert {"l", "b", "V", "mu_l", "mu_b", "mu_0", "mu_90", "v_los"} <= set(seen["compared"])
    for name, found in seen["compared"].items():
        # Negative parallaxes, some 2 % of all, are no data in a catalogue.
        if name != "parallax":
            assert found["p"] > 1e-3, name
        assert 3500 < found["stars"] <= 4000 and found["cells"] == 12
    assert moving["compared"]["mu_l"]["p"] < 1e-6 or moving["compared"]["mu_90"]["p"] < 1e-6
    assert moving["compared"]["b"]["p"] > 1e-3
    rows = (config.parent / "seen" / "compared.csv").read_text().splitlines()
    assert rows[0] == "observable,low,high,counted,expected,error,pull"
    cells = [row.split(",") for row in rows[1:] if row.startswith("v_los,")]
    assert len(cells) == 12 and cells[0][1] == "-inf" and cells[-1][2] == "inf"
    assert sum(float(cell[3]) for cell in cells) == seen["compared"]["v_los"]["stars"]
    capsys.readouterr()
    run("predict", config, "--n", 256, "--out", "none", "--compare", code=2)
    assert "[data]" in capsys.readouterr().err
