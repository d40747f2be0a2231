"""Fisher information from scores, against what is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from oortax import inference, model, potential
from oortax.model.constraints import CircularVelocity

PRIORS = {"M": dist.LogNormal(np.log(1e10), 0.3), "b": dist.LogNormal(0.0, 2.0)}
SIGMA_M, SIGMA_B = 0.2, 0.1
N_DRAWN = 20_000


def per_star(pot, data):
    """Stars that measure ln M and ln b with correlated Gaussian errors: the sum of both more poorly."""
    d, shift = data["y"] - jnp.stack([jnp.log(pot.M / 1e10), jnp.log(pot.b)]), data["shift"]
    z = jnp.stack([d[:, 0] / SIGMA_M, (d[:, 1] - 0.4 * d[:, 0]) / SIGMA_B], axis=1)
    return -0.5 * jnp.sum(z * z, axis=1) + shift * jnp.log(pot.b)


def drawn(n=N_DRAWN, shift=0.0):
    z = np.random.default_rng(5).standard_normal((n, 2))
    y = np.stack([SIGMA_M * z[:, 0], SIGMA_B * z[:, 1] + 0.4 * SIGMA_M * z[:, 0]], axis=1)
    return {"y": jnp.asarray(y), "shift": jnp.asarray(shift)}


@pytest.fixture
def posterior():
    pot = potential.Plummer(M=1e10, b=1.0)
    return inference.Posterior(pot, PRIORS, lambda pot, data: jnp.zeros(()))


def test_information_is_that_of_the_gaussian(posterior):
    found = inference.forecast(posterior, per_star, drawn(), N=400)
    sd_b = np.hypot(SIGMA_B, 0.4 * SIGMA_M)
    # Four times the relative error of a standard deviation from n draws, 1/sqrt(2 n).
    close = 4.0 / np.sqrt(2.0 * N_DRAWN)
    alone = found.sigma(prior=False)
    assert alone["M"] == pytest.approx(1e10 * SIGMA_M / 20.0, rel=close)
    assert alone["b"] == pytest.approx(sd_b / 20.0, rel=close)
    assert found.correlation(prior=False)[0, 1] == pytest.approx(0.4 * SIGMA_M / sd_b, abs=close)
    assert found.correlation()[0, 0] == pytest.approx(1.0)
    # The prior's 0.3 beside 0.01 by the data, and its share in F.
    assert found.sigma()["M"] < alone["M"] and found.of_prior[0, 0] == pytest.approx(0.3**-2)
    error = found.sigma_error(prior=False)["b"] / alone["b"]
    assert 0.5 < error * np.sqrt(2.0 * N_DRAWN) < 2.0
    # Twice the precision takes four times the stars.
    assert found.stars_for("b", 0.5 * alone["b"]) == pytest.approx(1600.0)


def test_mean_scores_tell_a_density_that_is_not_normalised(posterior):
    z, p = inference.forecast(posterior, per_star, drawn(), N=100).mean_score()
    assert p > 0.01 and all(abs(value) < 4.0 for value in z.values())
    # As if ln A were wrong by a slope of 0.5 in ln b, a tenth of a star's information: 7 standard errors.
    z, p = inference.forecast(posterior, per_star, drawn(shift=0.5), N=100).mean_score()
    assert p < 1e-6 and z["b"] > 4.0


def test_what_cannot_be_forecast_is_named(posterior):
    with pytest.raises(ValueError, match="must be positive"):
        inference.forecast(posterior, per_star, drawn(), N=0)
    with pytest.raises(ValueError, match="too few"):
        inference.forecast(posterior, per_star, drawn(12), N=100)


def test_stars_that_say_nothing_leave_the_prior(posterior):
    found = inference.forecast(posterior, lambda pot, data: 0.0 * per_star(pot, data), drawn(1000), N=1e3)
    assert np.all(np.isinf(np.diag(found.covariance(prior=False))))
    assert found.sigma()["b"] == pytest.approx(2.0) and found.sigma()["M"] == pytest.approx(0.3e10)


def test_constraints_inform_by_their_curvature():
    """Where predictions and measurements agree, J^T C^-1 J is the Hessian of -ln L."""
    tree = model.Model(
        model.Galaxy(potential.Sum(disc=potential.MiyamotoNagai(M=8e10, a=3.0, b=0.3))),
        constraints={"curve": CircularVelocity(systematic=0.0)},
    )
    R = jnp.array([5.0, 8.0, 12.0, 16.0])
    v_c = jax.vmap(lambda R: potential.circular_velocity(tree.galaxy.potential, R))(R)
    error = 0.02 * v_c
    tables = {"curve": {"R": R, "v_c": v_c, "sigma_minus": error, "sigma_plus": error}}
    priors = {"potential.disc.M": dist.LogNormal(25.0, 1.0), "potential.disc.a": dist.LogNormal(1.0, 1.0)}
    posterior = inference.Posterior(tree, priors, lambda tree, data: jnp.zeros(()))
    found, left_out = inference.constraint_information(posterior, tables)
    hessian = jax.hessian(lambda u: model.log_constraints(posterior.model_at(u), tables))(posterior.start)
    assert left_out == ()
    np.testing.assert_allclose(found, -np.asarray(hessian), rtol=1e-6, atol=1e-8 * np.abs(hessian).max())
    # v_c is the square root of M: 2 % at four radii are 2 % in M if nothing else is free.
    assert found[0, 0] ** -0.5 == pytest.approx(0.02, rel=1e-6)
