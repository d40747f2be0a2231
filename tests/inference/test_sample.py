"""Draws: right moments, the same chain whatever interrupts it, and an honest verdict."""

import json
import logging
import os
import subprocess
import sys
import textwrap

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from oortax.inference import Posterior, diagnose, laplace, maximise, sample
from oortax.inference.step_size import TARGET
from oortax.io.config import Inference

QUIET = {"progress": False, "chain_method": "sequential"}


@pytest.fixture(scope="module")
def correlated(toys):
    """Fourteen correlated parameters of condition 1e4, sampled from the Laplace fit."""
    toy = toys.gaussian(14, 1e4)
    fit = laplace(toy.posterior, maximise(toy.posterior, progress=False))
    draws = sample(toy.posterior, fit, key=jax.random.key(3), chains=4, warmup=150, samples=400, **QUIET)
    return toy, draws


def test_correlated_gaussian_has_the_right_moments(correlated):
    toy, draws = correlated
    flat = draws.u.reshape(-1, 14)
    inverse = np.linalg.inv(np.linalg.cholesky(toy.covariance))
    white = (flat - toy.mean) @ inverse.T
    # In whitened axes each mean scatters by 1/sqrt(ESS); 14 of them beyond 4.5 sigma: p = 1e-4.
    ess = np.array([float(az.ess(white[:, i].reshape(4, -1))) for i in range(14)])
    assert np.all(ess > 400)
    assert np.all(np.abs(white.mean(0)) < 4.5 / np.sqrt(ess))
    # A variance scatters by sqrt(2/ESS of the squares), at worst some 0.07 here.
    np.testing.assert_allclose(white.var(0), 1.0, atol=0.25)
    assert not draws.stats["diverging"].any()
    # The whitened target is round: few leapfrog steps a draw, however badly scaled the parameters are.
    assert draws.stats["n_steps"].mean() < 10
    assert draws.stats["accept_prob"].mean() == pytest.approx(0.9, abs=0.04)


def test_log_density_of_the_draws_is_the_posteriors(correlated):
    toy, draws = correlated
    again = jax.vmap(toy.posterior.log_density)(jnp.asarray(draws.u[0, :5]))
    np.testing.assert_allclose(draws.stats["log_density"][0, :5], again, rtol=1e-10)


def test_verdict_and_summary_of_a_good_run(correlated):
    toy, draws = correlated
    result = diagnose.assert_converged(draws)
    assert result.converged and result.sentence.startswith("Converged")
    # Gradients outnumber effective draws: some 7 a draw, and warm-up.
    assert 0.02 < result.ess_per_gradient < 1.0
    # For a Gaussian momentum is redrawn in full: successive energies are nearly independent.
    assert result.bfmi > 0.5
    rows = diagnose.summary(draws, toy.posterior)
    assert list(rows) == list(toy.posterior.names)
    row = rows["p03.x"]
    assert row["q3"] < row["q16"] < row["median"] < row["q84"] < row["q97"]
    sd = np.sqrt(np.diag(toy.covariance))
    assert row["sd"] == pytest.approx(sd[3], rel=0.15)
    assert row["contraction"] == pytest.approx(1 - (sd[3] / 3.0) ** 2, abs=0.02)
    assert row["mcse"] < 0.1 * row["sd"]


def test_netcdf_keeps_draws_statistics_and_provenance(correlated, tmp_path):
    _, draws = correlated
    data = diagnose.to_inference_data(draws, {"seed": 3, "config": {"method": "nuts"}})
    path = diagnose.write_netcdf(data, tmp_path / "posterior.nc")
    assert [p.name for p in tmp_path.iterdir()] == ["posterior.nc"]
    back = az.from_netcdf(str(path))
    np.testing.assert_array_equal(back["posterior"]["p05.x"].values, draws.values["p05.x"])
    assert set(back["sample_stats"]) >= {"lp", "energy", "diverging", "n_steps", "tree_depth", "step_size"}
    attrs = back["posterior"].attrs
    assert attrs["seed"] == 3 and json.loads(attrs["config"]) == {"method": "nuts"}
    assert json.loads(attrs["versions"])["jax"] == jax.__version__
    assert attrs["posterior"] == draws.settings["posterior"]
    back.close()


def test_summary_files(correlated, tmp_path):
    toy, draws = correlated
    rows = diagnose.summary(draws, toy.posterior)
    rows["p00.x"]["r_hat"] = float("nan")
    table, document = diagnose.write_summary(rows, tmp_path)
    assert table.read_text().splitlines()[0].startswith("parameter,mean,sd,")
    assert len(table.read_text().splitlines()) == 15
    loaded = json.loads(document.read_text())
    assert loaded["p01.x"]["mean"] == rows["p01.x"]["mean"] and loaded["p00.x"]["r_hat"] is None


def test_verdict_of_bad_runs(correlated):
    _, draws = correlated
    apart = {**draws.values, "p02.x": draws.values["p02.x"] + np.arange(4)[:, None] * 10.0}
    with pytest.raises(ValueError, match=r"R-hat of p02.x is .*fewer than 200.*draw more samples"):
        diagnose.assert_converged(draws._replace(values=apart))
    stuck = {**draws.values, "p02.x": np.zeros_like(draws.values["p02.x"])}
    assert "stuck" in diagnose.verdict(draws._replace(values=stuck)).sentence
    diverging = np.zeros_like(draws.stats["diverging"])
    diverging[0, :3] = True
    result = diagnose.verdict(draws._replace(stats={**draws.stats, "diverging": diverging}))
    assert not result.converged and "3 of 1600 transitions diverged" in result.sentence
    assert "target_accept" in result.sentence


def test_bounded_parameters_recover_their_priors(toys):
    # No data: every parameter's draws must follow its prior, which tests bijection and Jacobian at once.
    posterior = toys.bounded()
    fit = laplace(posterior, maximise(posterior, progress=False))
    draws = sample(posterior, fit, key=jax.random.key(5), chains=4, warmup=150, samples=500, **QUIET)
    for path, prior in toys.bounded_priors().items():
        x = draws.values[path]
        ess = float(az.ess(x))
        assert ess > 300
        error = float(np.sqrt(prior.variance / ess))
        assert x.mean() == pytest.approx(float(prior.mean), abs=4.5 * error), path
        assert x.std() == pytest.approx(float(np.sqrt(prior.variance)), rel=0.15), path
    assert draws.values["flattening"].min() > 0.4 and draws.values["flattening"].max() < 1.6


class Killed(Exception):
    pass


def _short(toy, **kwargs):
    fit = laplace(toy.posterior, maximise(toy.posterior, progress=False))
    settings = {"chains": 2, "warmup": 40, "samples": 30, "block_seconds": 1e-9} | QUIET
    return sample(toy.posterior, fit, key=jax.random.key(7), **(settings | kwargs))


def test_interrupted_run_is_the_same_chain_bit_for_bit(toys, tmp_path):
    toy = toys.gaussian(3, 10.0)
    whole = _short(toy, samples=40, block_seconds=60.0)

    def kill(status):
        if status.done >= 17:  # in warm-up
            raise Killed

    with pytest.raises(Killed):
        _short(toy, folder=tmp_path, resume=True, callback=kill)
    # A kill while a block is being written leaves a partial file, which is not read.
    (tmp_path / "block-00099.npz.partial").write_bytes(b"half")
    assert len(list(tmp_path.glob("block-*.npz"))) == 17
    resumed = _short(toy, folder=tmp_path, resume=True, block_seconds=60.0)
    np.testing.assert_array_equal(resumed.u, whole.u[:, :30])

    # A finished run can be drawn out, and is still the chain that was never cut.
    longer = _short(toy, folder=tmp_path, resume=True, samples=40)
    np.testing.assert_array_equal(longer.u, whole.u)
    for name, value in whole.stats.items():
        np.testing.assert_array_equal(longer.stats[name], value, err_msg=name)
    assert longer.n_gradients == whole.n_gradients
    assert np.all(np.ptp(whole.u, axis=1) > 0)

    with pytest.raises(ValueError, match="already holds a run of .* resume=True"):
        _short(toy, folder=tmp_path)
    with pytest.raises(ValueError, match=r"cannot resume: target_accept changed \(it was 0.9, now 0.8\)"):
        _short(toy, folder=tmp_path, resume=True, target_accept=0.8)
    with pytest.raises(ValueError, match="cannot resume: the model, priors or data changed"):
        _short(toys.gaussian(3, 10.0, seed=1), folder=tmp_path, resume=True)
    (tmp_path / "block-00001.npz").write_bytes(b"not a block")
    with pytest.raises(ValueError, match=r"block-00001.npz is damaged"):
        _short(toy, folder=tmp_path, resume=True)


@pytest.mark.parametrize("wrong", [1.0, 6.0, 1 / 6.0])
def test_step_is_found_in_a_short_warm_up(toys, wrong):
    """Steps of about 0.6 widths: 7 of them go round a trajectory once; also from a poor mass matrix."""
    toy = toys.gaussian(13, 10.0)
    fit = laplace(toy.posterior, maximise(toy.posterior, progress=False))
    fit = fit._replace(covariance=fit.covariance * wrong**2)
    settings = {"chains": 2, "warmup": 60, "samples": 300} | QUIET
    draws = sample(toy.posterior, fit, key=jax.random.key(11), **settings)
    steps = draws.stats["step_size"]
    assert np.ptp(steps, axis=1).max() == 0.0, "the step is fixed after warm-up"
    assert not np.any(steps[:, 0] == draws.warmup_stats["step_size"][:, -2]), "and is a mean"
    if wrong == 1.0:
        # The mean acceptance of 300 transitions scatters by 0.01 about what the step was adapted to in 60.
        assert draws.stats["accept_prob"].mean() == pytest.approx(0.9, abs=0.04)
        assert draws.stats["n_steps"].mean() < 7.5
        assert draws.warmup_stats["n_steps"].mean() < 8.0
        least = min(float(az.ess(draws.u[..., i])) for i in range(13))
        assert least > 400, "of 600; more than one a draw in most directions"
    else:
        # A guess wrong by a factor 6 is halfway mended at least; no transition is stuck.
        assert abs(np.log(steps[:, 0] * wrong / 0.6)).max() < 0.5 * np.log(6.0)
        assert draws.stats["accept_prob"].mean() > 0.7


def _log_likelihood_half_line(model, data):
    x = model.parts["p00"].x
    return 0.0 * jnp.sqrt(x)


def test_regions_that_cannot_be_evaluated_are_never_entered(toys, capsys):
    traces = []

    def log_likelihood(model, data):
        traces.append(1)
        return _log_likelihood_half_line(model, data)

    posterior = Posterior(toys.vector([0.5]), {"p00.x": dist.Normal(0.0, 1.0)}, log_likelihood, None)
    settings = {"chains": 2, "warmup": 300, "samples": 1000, "chain_method": "vectorized"}
    draws = sample(posterior, jnp.asarray([0.5]), key=jax.random.key(2), progress=True, **settings)
    x = draws.values["p00.x"]
    assert np.all(np.isfinite(x)) and x.min() > 0
    # A normal cut at 0: mean sqrt(2/pi), variance 1 - 2/pi.
    error = np.sqrt((1 - 2 / np.pi) / float(az.ess(x)))
    assert x.mean() == pytest.approx(np.sqrt(2 / np.pi), abs=4.5 * error)
    # The wall shows up as divergences, and the verdict says so.
    assert draws.stats["diverging"].any() and not diagnose.verdict(draws).converged
    assert len(traces) <= 2, "one for value_and_grad, one for the sampler"
    assert "sampling" in capsys.readouterr().out


def test_bad_settings_are_named(toys):
    toy = toys.gaussian(3, 10.0)
    with pytest.raises(ValueError, match="choose one of parallel, vectorized, sequential"):
        sample(toy.posterior, key=jax.random.key(0), chain_method="pmap", progress=False)
    with pytest.raises(ValueError, match="samples=0: must be at least 1"):
        sample(toy.posterior, key=jax.random.key(0), samples=0, progress=False)


def test_parallel_falls_back_with_a_log_line(toys, caplog):
    # Seven chains fit no smaller number of devices than seven.
    with caplog.at_level(logging.INFO, logger="oortax.inference"):
        from oortax.inference.chains import _placement

        method, mesh = _placement("parallel", 7) if len(jax.devices()) < 7 else ("sequential", None)
    assert method in ("sequential", "vectorized") and mesh is None
    assert len(jax.devices()) >= 7 or "7 chains cannot be spread" in caplog.text


PARALLEL = """
import jax, jax.numpy as jnp, numpy as np, numpyro.distributions as dist
import oortax as ox
from numpyro.distributions import constraints
from oortax.inference import Posterior, sample
from oortax.params import AbstractParametric, param

ox.enable_x64()

class Line(AbstractParametric):
    x: jax.Array = param(constraints.real)

priors = {"x": dist.Normal(0.0, 1.0)}
posterior = Posterior(Line(1.0), priors, lambda m, d: -jnp.cosh(m.x - d), jnp.asarray(0.5))
run = lambda method: sample(
    posterior, key=jax.random.key(1), chains=2, warmup=20, samples=20, chain_method=method, progress=False
)
assert len(jax.devices()) == 2
parallel, sequential = run("parallel"), run("sequential")
assert np.ptp(parallel.u) > 0
print("largest difference", np.abs(parallel.u - sequential.u).max())
"""


def test_parallel_chains_over_two_devices_are_the_sequential_ones():
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", textwrap.dedent(PARALLEL)]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    # The same arithmetic on each device; compiled differently it might differ in the last digits.
    assert float(result.stdout.split()[-1]) < 1e-9


def test_configurations_ask_for_the_same_acceptance():
    assert Inference().target_accept == TARGET
