"""The maximum in few gradients, and the Gaussian fitted there."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from oortax.inference import Posterior, laplace, maximise


def whitened(covariance, exact):
    """L^-1 C L^-T with exact = L L^T: the unit matrix if C is exact, in every direction alike."""
    inverse = np.linalg.inv(np.linalg.cholesky(exact))
    return inverse @ covariance @ inverse.T


def test_badly_scaled_gaussian_is_solved_in_few_gradients(toys):
    toy = toys.gaussian(15, 1e6)
    top = maximise(toy.posterior, progress=False)
    assert top.converged, top.message
    # Symmetric rank-one updates are exact on a quadratic after P steps in independent directions.
    assert top.n_gradients <= 30
    offset = top.u - toy.mean
    # The tolerance of 1e-4 in ln p is 0.014 sigma.
    assert np.sqrt(offset @ np.linalg.solve(toy.covariance, offset)) < 0.02
    assert len(top.history) == top.n_gradients and np.all(np.diff(top.history) >= 0)


def test_the_curvature_of_a_like_posterior_saves_gradients(toys):
    toy = toys.gaussian(15, 1e6)
    plain = maximise(toy.posterior, progress=False)
    known = maximise(toy.posterior, precision=np.linalg.inv(1.5 * toy.covariance), progress=False)
    assert known.converged and known.n_gradients < 0.5 * plain.n_gradients
    assert known.log_density == pytest.approx(plain.log_density, abs=2e-4)


@pytest.mark.parametrize(("seed", "offset"), [(0, 0.5), (1, 1.0), (2, 2.0)])
def test_disc_is_found_from_far_off(toys, seed, offset):
    toy = toys.disc(seed=seed, offset=offset)
    top = maximise(toy.posterior, progress=False)
    assert top.converged and top.n_gradients <= 60
    fit = laplace(toy.posterior, top)
    # The true Hessian agrees that nothing is left to gain.
    assert fit.expected_gain < 1e-3
    # The mock's truth is a plausible draw: chi^2 of 12 degrees of freedom beyond 40 has p = 7e-5.
    miss = top.u - toy.truth
    assert miss @ fit.precision @ miss < 40.0
    assert top.n_gradients + fit.n_gradients <= 110


def test_lbfgs_finds_the_same_maximum(toys):
    toy = toys.disc()
    trust, lbfgs = (maximise(toy.posterior, method=method, progress=False) for method in ("trust", "lbfgs"))
    assert lbfgs.converged
    assert lbfgs.log_density == pytest.approx(trust.log_density, abs=2e-3)


def _log_likelihood_gamma(model, data):
    x = model.parts["p00"].x
    return 1000.0 * (jnp.log(x) - x)


def test_steps_into_regions_that_cannot_be_evaluated_are_taken_back(toys):
    posterior = Posterior(toys.vector([3.0]), {"p00.x": dist.Normal(0.0, 10.0)}, _log_likelihood_gamma, None)
    # The first step is one prior width downhill: to x = -7, where ln x is NaN.
    assert float(posterior.log_density(jnp.asarray([-7.0]))) == -np.inf
    for method in ("trust", "lbfgs"):
        top = maximise(posterior, method=method, progress=False)
        assert top.converged, (method, top.message)
        # d/dx: 1000 (1/x - 1) = x/100 -> x = 1 - 1e-5; sigma is 0.03, the tolerance 0.014 of that.
        assert top.values["p00.x"] == pytest.approx(1.0, abs=1e-3)


def test_out_of_steps_is_said(toys):
    top = maximise(toys.disc().posterior, steps=5, progress=False)
    assert not top.converged and "allow more steps" in top.message and top.n_gradients == 5


def test_callback_sees_the_climb_and_bad_method_is_named(toys, capsys):
    seen = []
    maximise(toys.gaussian(3, 10.0).posterior, callback=lambda *args: seen.append(args), progress=True)
    assert seen[-1][1] > seen[0][1] and seen[-1][2] < 1e-4
    assert "ln p" in capsys.readouterr().out
    with pytest.raises(ValueError, match="choose one of trust, lbfgs"):
        maximise(toys.gaussian(3, 10.0).posterior, method="newton")


@pytest.mark.parametrize(("n", "condition"), [(3, 1.0), (15, 1e6), (14, 1e8)])
def test_laplace_is_exact_for_gaussians(toys, n, condition):
    toy = toys.gaussian(n, condition)
    fit = laplace(toy.posterior, maximise(toy.posterior, progress=False))
    assert fit.positive_definite
    # Central differences of a linear gradient are exact to rounding, condition x epsilon at worst.
    np.testing.assert_allclose(whitened(fit.covariance, toy.covariance), np.eye(n), atol=1e-4)
    top = fit.mean + fit.newton_step
    np.testing.assert_allclose(top, toy.mean, atol=1e-6)


def test_laplace_evidence_of_a_gaussian(toys):
    toy = toys.gaussian(4, 1e2, narrowest=0.1)
    fit = laplace(toy.posterior, maximise(toy.posterior, progress=False))
    # ∫ exp(-r^T H r / 2) N(x; 0, 9) dx is sqrt((2 pi)^4 / det H) N(centre; 0, H^-1 + 9).
    precision, centre = np.asarray(toy.posterior.data["precision"]), np.asarray(toy.posterior.data["mean"])
    total = np.linalg.inv(precision) + 9.0 * np.eye(4)
    expected = -0.5 * np.linalg.slogdet(precision)[1] - 0.5 * np.linalg.slogdet(total)[1]
    expected -= 0.5 * centre @ np.linalg.solve(total, centre)
    assert fit.log_evidence == pytest.approx(expected, abs=1e-4)


def test_laplace_sigma_by_the_delta_method(toys):
    # The prior alone: ln scale ~ N(1, 0.4), so at the maximum scale = e with sigma 0.4 e.
    posterior = toys.bounded()
    fit = laplace(posterior, maximise(posterior, progress=False))
    assert fit.values["scale"] == pytest.approx(np.e, rel=1e-2)
    assert fit.sigma["scale"] == pytest.approx(0.4 * fit.values["scale"], rel=1e-6)
    assert fit.sigma["velocity"] == pytest.approx(2.0, rel=1e-6)


def test_laplace_draws_have_its_covariance(toys):
    toy = toys.gaussian(6, 1e4)
    fit = laplace(toy.posterior, maximise(toy.posterior, progress=False))
    n = 20_000
    draws = np.asarray(fit.sample(jax.random.key(0), n))
    # Entries of the whitened sample covariance scatter by sqrt(2/n) at most: 5 sigma is 0.05.
    np.testing.assert_allclose(whitened(np.cov(draws.T), toy.covariance), np.eye(6), atol=0.05)
    assert np.all(np.abs(np.diag(fit.correlation) - 1) < 1e-12)


def _log_likelihood_two_wells(model, data):
    x = model.parts["p01"].x
    return -50.0 * (x**2 - 1.0) ** 2


def test_saddle_is_named_with_the_remedy(toys):
    priors = {f"p{i:02d}.x": dist.Normal(0.0, 1.0) for i in range(3)}
    posterior = Posterior(toys.vector(np.zeros(3)), priors, _log_likelihood_two_wells, None)
    top = maximise(posterior, progress=False)  # the gradient is exactly zero at the start
    with pytest.raises(ValueError, match=r"not positive definite: .* [+-]1 p01.x .*start elsewhere"):
        laplace(posterior, top)
    fit = laplace(posterior, top, strict=False)
    assert not fit.positive_definite and np.all(np.linalg.eigvalsh(fit.covariance) > 0)


def _log_likelihood_edge(model, data):
    x = model.parts["p00"].x
    return jnp.where(x < 1.0, 10.0 * x, jnp.nan)


def test_maximum_on_an_edge_is_named(toys):
    posterior = Posterior(toys.vector([0.999]), {"p00.x": dist.Normal(0.0, 1.0)}, _log_likelihood_edge, None)
    top = maximise(posterior, progress=False)
    assert top.u[0] < 1.0
    with pytest.raises(ValueError, match=r"not finite 0.2 sigma from the maximum along [+-]1 p00.x"):
        laplace(posterior, top)
