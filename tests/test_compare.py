"""`oortax compare`: models of the same stars by leave-one-out, on a density that has a closed form of it."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from oortax import cli, data, inference, io, model
from oortax.commands import compare as compare_module
from oortax.io.output import write_json

STARS = 300


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """v_los of stars about -sun.V, with the dispersion components.only.df.sigma_r0."""

    def per_star(self, tree, v):
        sigma = tree.galaxy.components["only"].df.sigma_r0
        log_L = -0.5 * ((v + tree.survey.sun.V) / sigma) ** 2 - jnp.log(sigma * np.sqrt(2.0 * np.pi))
        return {"": model.PerStar(log_L, jnp.ones_like(v), jnp.zeros(()))}

    def __call__(self, tree, v):
        return jnp.sum(self.per_star(tree, v)[""].log_L)


def velocities(problem) -> np.ndarray:
    return np.nan_to_num(np.asarray(problem.columns["v_los"]))


def gaussian_posterior(problem):
    return inference.Posterior(problem.model, problem.priors, Gaussian(), jnp.asarray(velocities(problem)))


@pytest.fixture
def fits(tmp_path, monkeypatch):
    """A function of a dispersion, and a seed for the stars, that writes a finished fit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare_module, "build_posterior", gaussian_posterior)
    head, _, _ = data.demo_config().read_text().partition("[potential.disc]")

    def write(sigma: float, seed: int = 1, gaussian: bool = True):
        name = f"sigma-{sigma:g}-{seed}"
        text = f"""{head}
[components.only]
df = {{kind = "QuasiIsothermal", R_d = 2.6, R_sigma = 8.0, sigma_r0 = {sigma}, H_d = 0.3}}
[sun]
V = {{prior = "Normal(0, 100)"}}
[inference]
method = "laplace"
stars = {STARS}
seed = {seed}
"""
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.toml").write_text(text)
        problem = io.build(io.load_config(folder / "config.toml"))
        posterior = gaussian_posterior(problem)
        if gaussian:
            found = inference.laplace(posterior, inference.maximise(posterior, progress=False))
            write_json(folder / "laplace.json", found._asdict())
        return name, velocities(problem)

    return write


def run(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def left_out(v: np.ndarray, sigma: float) -> np.ndarray:
    """ln of the density of each star by the others, for a flat prior of the mean."""
    others = (v.sum() - v) / (len(v) - 1)
    wide = sigma * np.sqrt(1.0 + 1.0 / (len(v) - 1))
    return -0.5 * ((v - others) / wide) ** 2 - np.log(wide * np.sqrt(2.0 * np.pi))


def test_the_difference_is_that_of_stars_left_out(fits, capsys):
    (good, v), (bad, _) = fits(30.0), fits(45.0)
    code, out, err = run(capsys, "compare", bad, good, "--json", "--draws", 1000)
    assert code == 0, err
    table = {row["name"]: row for row in json.loads(out)["fits"]}
    expected = left_out(v, 30.0) - left_out(v, 45.0)
    assert abs(expected.sum()) > 10.0, "the models must differ for this to mean something"
    best, worst = (good, bad) if expected.sum() > 0.0 else (bad, good)
    assert table[best]["difference"] == 0.0
    # 1000 draws leave p_loo, which is 1 here, uncertain by some hundredths.
    assert table[worst]["difference"] == pytest.approx(abs(expected.sum()), abs=0.1)
    assert table[worst]["error"] == pytest.approx(np.sqrt(STARS) * expected.std(), rel=0.01)
    assert table[good]["elpd"] == pytest.approx(left_out(v, 30.0).sum(), abs=0.3)
    assert all(row["influential"] == 0 for row in table.values())
    # Of one mean: the variance of the stars over the one assumed.
    for name, sigma in ((good, 30.0), (bad, 45.0)):
        assert table[name]["effective"] == pytest.approx(v.var() / sigma**2, rel=0.15)


def test_fits_that_cannot_be_compared(fits, capsys):
    (one, _), (other, _), (half, _) = fits(30.0), fits(30.0, seed=2), fits(40.0, gaussian=False)
    for folders, message in (
        ((one,), "at least two folders"),
        ((one, other), "fits of different stars"),
        ((one, half), "neither posterior.nc nor laplace.json"),
        ((one, "nowhere"), "nowhere holds no fit"),
    ):
        code, _, err = run(capsys, "compare", *folders)
        assert code == 2 and message in err, err
