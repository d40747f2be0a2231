"""The density on the real line: Jacobians, bijections, compilation, and what it says of bad input."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.test_util import check_grads

from oortax.inference import Posterior, maximise
from oortax.params import replace


def test_density_is_likelihood_times_prior(toys):
    toy = toys.gaussian(5, 1e2)
    u = jnp.asarray(np.random.default_rng(1).normal(size=5))
    r = np.asarray(u) - np.asarray(toy.posterior.data["mean"])
    expected = -0.5 * r @ np.asarray(toy.posterior.data["precision"]) @ r
    expected += np.sum(-0.5 * (np.asarray(u) / 3.0) ** 2 - np.log(3.0 * np.sqrt(2 * np.pi)))
    assert float(toy.posterior.log_density(u)) == pytest.approx(expected, rel=1e-13)


def test_prior_density_integrates_to_one_on_the_real_line(toys):
    # With a wrong or missing Jacobian it would not: the trapezium rule is exact to rounding here.
    posterior = toys.bounded()
    for i in range(posterior.dim):
        grid = jnp.linspace(-40.0, 40.0, 4001)

        def along(t, i=i):
            return posterior._prior_terms(posterior.start.at[i].set(t))[posterior.names[i]]

        log_prior, log_jacobian = jax.vmap(along)(grid)
        total = float(jnp.sum(jnp.exp(log_prior + log_jacobian)) * (grid[1] - grid[0]))
        assert total == pytest.approx(1.0, abs=1e-6), posterior.names[i]


def test_round_trip_keeps_batch_axes_and_supports(toys):
    posterior = toys.bounded()
    u = jax.random.normal(jax.random.key(0), (2, 7, posterior.dim)) * 3.0
    values = posterior.constrain(u)
    assert values["scale"].shape == (2, 7) and bool(jnp.all(values["scale"] > 0))
    assert bool(jnp.all((values["flattening"] > 0.4) & (values["flattening"] < 1.6)))
    np.testing.assert_allclose(posterior.unconstrain(values), u, atol=1e-9)
    model = posterior.model_at(u[0, 0])
    assert float(model.fraction) == pytest.approx(float(values["fraction"][0, 0]), rel=1e-14)
    assert model.fraction.shape == ()


def test_start_is_the_models_own_values(toys):
    posterior = toys.bounded()
    assert float(posterior.constrain(posterior.start)["flattening"]) == pytest.approx(0.9, rel=1e-12)


def test_gradient_against_finite_differences(toys):
    posterior = toys.bounded()
    check_grads(posterior.log_density, (posterior.start,), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)
    value, gradient = posterior.value_and_grad(posterior.start)
    np.testing.assert_allclose(gradient, jax.grad(posterior.log_density)(posterior.start), rtol=1e-12)
    assert float(value) == pytest.approx(float(posterior.log_density(posterior.start)), rel=1e-13)


def test_prior_scale_is_that_of_the_bijected_prior(toys):
    # ln of LogNormal(1, 0.4) is N(1, 0.4); the logit of a uniform deviate has quantiles logit(q).
    middle, width = toys.bounded().prior_scale()
    order = list(toys.bounded().names)
    scale, flattening = order.index("scale"), order.index("flattening")
    assert middle[scale] == pytest.approx(1.0, rel=1e-6) and width[scale] == pytest.approx(0.4, rel=1e-3)
    assert width[flattening] == pytest.approx(np.log(0.8413 / 0.1587), rel=1e-6)
    # Beta(8, 2) has median 0.8203; its quantiles come from 4096 draws, good to 2% of a width.
    fraction = order.index("fraction")
    assert middle[fraction] == pytest.approx(np.log(0.8203 / 0.1797), abs=0.1)


def test_one_trace_whatever_the_values(toys):
    traces = []

    def log_likelihood(model, data):
        traces.append(1)
        return -0.5 * jnp.sum((data - model.velocity) ** 2)

    def build(sd, shift, start):
        model = toys.Bounded(scale=3.0, fraction=0.7, flattening=0.9, velocity=start)
        return Posterior(model, {"velocity": dist.Normal(0.0, sd)}, log_likelihood, jnp.arange(4.0) + shift)

    values = {
        float(build(sd, shift, 1.0).value_and_grad(jnp.asarray([0.5]))[0]) for sd, shift in [(1, 0), (2.0, 3)]
    }
    maximise(build(3.0, 1, -4.0), progress=False)
    assert len(values) == 2, "the values must be used, not compiled in"
    assert len(traces) == 1


def test_nan_counts_as_minus_infinity_for_the_sampler(toys):
    posterior = Posterior(toys.vector([4.0]), {"p00.x": dist.Normal(0.0, 3.0)}, _log_likelihood_sqrt, None)
    assert float(posterior.log_density(jnp.asarray([-1.0]))) == -np.inf
    assert float(posterior.value_and_grad(jnp.asarray([-1.0]))[0]) == -np.inf


def _log_likelihood_sqrt(model, data):
    return -jnp.sqrt(model.parts["p00"].x)


def test_check_start_names_the_term(toys):
    priors = {"p00.x": dist.Normal(0.0, 3.0)}
    with pytest.raises(ValueError, match=r"log likelihood is nan while every prior is finite, at p00.x = -4"):
        Posterior(toys.vector([-4.0]), priors, _log_likelihood_sqrt, None).check_start()
    with pytest.raises(ValueError, match=r"gradient is not finite in p00.x"):
        Posterior(toys.vector([0.0]), priors, _log_likelihood_sqrt, None).check_start()
    posterior = toys.bounded()
    outside = replace(posterior.model, {"flattening": 1.7})
    with pytest.raises(ValueError, match=r"flattening = 1.7 is not inside .*\(0.4, 1.6\)"):
        Posterior(outside, toys.bounded_priors(), toys.flat_log_likelihood, None).check_start()
    with pytest.raises(ValueError, match=r"shape \(2,\), not \(4,\)"):
        posterior.check_start(jnp.zeros(2))


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ({}, "priors is empty"),
        ({"scal": dist.LogNormal(0.0, 1.0)}, "did you mean 'scale'"),
        ({"scale": 3.0}, "give a NumPyro distribution"),
        ({"velocity": dist.Poisson(3.0)}, "continuous"),
        ({"velocity": dist.Normal(jnp.zeros(2), 1.0)}, "scalar"),
        ({"scale": dist.Normal(1.0, 1.0)}, "puts 0.16 of its mass where scale may not be"),
        ({"fraction": dist.StudentT(3.0, 0.5, 0.1)}, "fraction"),
    ],
)
def test_bad_priors_are_refused_with_the_remedy(toys, priors, message):
    with pytest.raises(ValueError, match=message):
        Posterior(toys.bounded().model, priors, toys.flat_log_likelihood, None)


def test_a_narrow_normal_prior_may_reach_over_an_edge_it_never_feels(toys):
    # R0 = 8.178 +- 0.026 kpc is a natural prior on a positive length, 300 sigma from 0.
    priors = {"scale": dist.Normal(8.178, 0.026)}
    posterior = Posterior(toys.bounded().model, priors, toys.flat_log_likelihood, None)
    assert posterior.bounds == ((0.0, np.inf),)


def test_float32_is_refused_with_the_remedy(toys):
    model = toys.Bounded(scale=np.float32(3.0), fraction=0.7, flattening=0.9, velocity=1.0)
    posterior = Posterior(model, {"scale": dist.LogNormal(0.0, 1.0)}, toys.flat_log_likelihood, None)
    with pytest.raises(ValueError, match="enable_x64"):
        maximise(posterior, progress=False)


def test_fingerprint_follows_the_data(toys):
    first, again, other = toys.gaussian(3, 10.0), toys.gaussian(3, 10.0), toys.gaussian(3, 10.0, seed=1)
    assert first.posterior.fingerprint() == again.posterior.fingerprint() != other.posterior.fingerprint()


def test_unconstrain_wants_every_free_parameter(toys):
    posterior = toys.bounded()
    with pytest.raises(ValueError, match="no value for"):
        posterior.unconstrain({"scale": 1.0})
    with pytest.raises(ValueError, match="did you mean 'scale'"):
        posterior.unconstrain({"scales": 1.0})


def test_another_process_finds_the_same_posterior():
    """Python's hashes of strings differ from one process to the next; fingerprints and programs must not."""
    program = (
        "import oortax as ox; ox.enable_x64()\n"
        "import jax, hashlib, numpyro.distributions as dist\n"
        "from oortax.inference.posterior import Posterior, _value_and_grad\n"
        "def log_likelihood(pot, data): return -0.5 * (pot.b - data) ** 2\n"
        "priors = {'b': dist.LogNormal(0.1, 1.3), 'M': dist.TruncatedNormal(2e10, 1e10, low=0.0)}\n"
        "p = Posterior(ox.potential.Plummer(M=1e10, b=1.0), priors, log_likelihood, 1.0)\n"
        "text = _value_and_grad.lower(p, p.start).as_text()\n"
        "print(p.fingerprint(), hashlib.sha256(text.encode()).hexdigest())\n"
    )
    seen = set()
    for seed in "012":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
        )
        seen.add(done.stdout)
    assert len(seen) == 1 and len(seen.pop().split()) == 2
