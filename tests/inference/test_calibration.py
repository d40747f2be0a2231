"""Ranks of truths: of posteriors known in closed form, and what makes them uneven."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import binom, gamma, norm

from oortax import inference, potential
from oortax.commands.calibrate import ranked_by_laplace, ranked_by_nuts

SHAPE = 6.0


def log_likelihood(pot, counts):
    """Counts of a Poisson process of rate b."""
    return counts * jnp.log(pot.b) - pot.b


def posterior_of(counts):
    """With a Gamma(SHAPE, 1) prior the posterior of b is Gamma(SHAPE + counts, 2): skew on the real line."""
    pot = potential.Plummer(M=1e10, b=5.0)
    return inference.Posterior(pot, {"b": dist.Gamma(SHAPE, 1.0)}, log_likelihood, jnp.asarray(float(counts)))


def corrected(counts, **options):
    posterior = posterior_of(counts)
    fit = inference.laplace(posterior, inference.maximise(posterior, progress=False))
    return posterior, fit, inference.correct(posterior, fit, **options)


def test_importance_sampling_corrects_the_gaussian():
    posterior, fit, draws = corrected(0, n=256)
    exact = gamma(SHAPE, scale=0.5)
    assert draws.k_hat < inference.K_HAT and draws.ess > 100.0
    for level in (0.05, 0.5, 0.95):
        u = np.asarray(posterior.unconstrain({"b": exact.ppf(level)}))
        # 256 even points with weights that vary by tens of per cent.
        assert draws.below(u)[0] == pytest.approx(level, abs=0.01)
    assert np.exp(draws.mean[0]) < exact.mean()
    # The Gaussian alone puts the lower tail elsewhere.
    u = float(np.asarray(posterior.unconstrain({"b": exact.ppf(0.05)}))[0])
    assert abs(norm.cdf((u - fit.mean[0]) / fit.covariance[0, 0] ** 0.5) - 0.05) > 0.01


def test_a_wrong_gaussian_is_found_out_and_replaced():
    posterior = posterior_of(4)
    fit = inference.laplace(posterior, inference.maximise(posterior, progress=False))
    narrow = fit._replace(covariance=fit.covariance * 0.04, mean=fit.mean + 3.0 * fit.covariance[0] ** 0.5)
    once = inference.correct(posterior, narrow, n=256, rounds=1)
    again = inference.correct(posterior, narrow, n=256, rounds=6)
    assert once.k_hat > inference.K_HAT > again.k_hat
    u = np.asarray(posterior.unconstrain({"b": gamma(SHAPE + 4, scale=0.5).median()}))
    assert again.below(u)[0] == pytest.approx(0.5, abs=0.02)


def test_ranks_of_poisson_rates_are_flat():
    """A whole calibration where the answer is known: rates from the prior, counts, ranks."""
    rng = np.random.default_rng(3)
    truth = rng.gamma(SHAPE, 1.0, 120)
    counts = rng.poisson(truth)
    known = {n: corrected(n, n=64)[::2] for n in np.unique(counts)}
    ranks, pulls = [], []
    for b, n in zip(truth, counts, strict=True):
        posterior, draws = known[n]
        u = np.asarray(posterior.unconstrain({"b": b}))
        ranks.append(draws.below(u)[0])
        pulls.append((u - draws.mean)[0] / draws.covariance[0, 0] ** 0.5)
        # Against the exact distribution function; 64 points.
        assert ranks[-1] == pytest.approx(gamma(SHAPE + n, scale=0.5).cdf(b), abs=0.03)
    found = inference.judge({"b": np.array(ranks)}, {"b": np.array(pulls)})
    assert found.flat and not found.outside() and "flat" in found.sentence
    assert abs(found.pull_mean["b"]) < 4.0 / np.sqrt(120) and abs(found.pull_sd["b"] - 1.0) < 4.0 / np.sqrt(
        240
    )


def test_ranks_by_nuts_and_by_weights_agree():
    posterior = posterior_of(4)
    fit = inference.laplace(posterior, inference.maximise(posterior, progress=False))
    u = np.asarray(posterior.unconstrain({"b": 6.0}))
    log_p = float(posterior.value_and_grad(jnp.asarray(u))[0])
    exact = gamma(SHAPE + 4, scale=0.5)
    # b has the same ln p (on the real line) as 6 at the other end of an interval; what lies outside is lower.
    rate = np.linspace(0.5, 6.0, 20_000)
    on_line = exact.logpdf(rate) + np.log(rate)
    other = rate[np.argmax(on_line > exact.logpdf(6.0) + np.log(6.0))]
    expected = [exact.cdf(6.0), exact.cdf(other) + exact.sf(6.0)]
    by_nuts = ranked_by_nuts(posterior, fit, jax.random.key(2), u, log_p)
    by_weights = ranked_by_laplace(posterior, fit, 256, 2, u, log_p)
    # 800 correlated draws, of which some hundreds count; 256 even points.
    np.testing.assert_allclose(by_nuts["ranks"], expected, atol=0.1)
    np.testing.assert_allclose(by_weights["ranks"], expected, atol=0.03)
    assert by_nuts["ess"] > 100.0


def test_errors_too_small_and_biases_are_told():
    uniform = np.random.default_rng(2).random(800)
    # sd too small by a fifth moves ranks outwards; a bias of 0.3 sd makes them lean.
    narrow, leaning = norm.cdf(1.25 * norm.ppf(uniform)), norm.cdf(norm.ppf(uniform) + 0.3)
    good = inference.judge({"q": uniform})
    assert good.flat and not good.outside() and sum(good.counts["q"]) == 800 and len(good.counts["q"]) == 20
    for ranks in (narrow, leaning):
        found = inference.judge({"q": ranks})
        assert not found.flat and "not flat" in found.sentence
    outside = inference.judge({"q": narrow, "p": uniform}).outside()
    assert {name for name, *_ in outside} == {"q"} and all(share < level for _, level, share in outside)
    low, high = good.band[0.68]
    assert binom.cdf(round(800 * high), 800, 0.68) - binom.cdf(round(800 * low) - 1, 800, 0.68) >= 0.99


def test_what_is_no_rank_is_refused():
    with pytest.raises(ValueError, match="no ranks"):
        inference.judge({})
    with pytest.raises(ValueError, match="between 0 and 1"):
        inference.judge({"q": np.array([0.5, 1.5])})
