"""Star-formation histories and metallicities: distributions, derivatives, draws, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.integrate import quad

from oortax import params, stars

CASES = {
    "exponential_decay": stars.ExponentialDecay(onset=12.0, decay=12.0),
    "constant_rate": stars.Constant(onset=8.0),
    "burst": stars.Burst(age=10.0, width=1.5),
}
ALL = [pytest.param(history, id=kind) for kind, history in CASES.items()]
SHORT = pytest.param(stars.ExponentialDecay(onset=14.0, decay=0.01), id="short")


def test_every_kind_is_tested():
    assert set(CASES) == set(stars.HISTORIES)


@pytest.mark.parametrize("history", [*ALL, SHORT])
def test_cdf_and_quantile_are_inverse_and_finite(history):
    u = jnp.linspace(0.001, 0.999, 31)
    age = history.quantile(u)
    assert np.all(np.diff(age) > 0) and np.all(age > 0)
    np.testing.assert_allclose(history.cdf(age), u, rtol=1e-9)
    assert float(history.cdf(0.0)) == 0.0
    assert float(history.cdf(history.oldest())) == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize("history", ALL)
def test_density_is_normalised(history):
    density = jax.jit(lambda age: history.density(age))
    oldest = float(history.oldest())
    total = quad(lambda t: float(density(t)), 1e-9, oldest - 1e-9, epsrel=1e-9)[0]
    assert total == pytest.approx(float(history.cdf(oldest)), rel=1e-7)


def test_the_rate_of_db96_decays_from_its_onset():
    """psi(t) ~ exp(-t/decay), t the time since the onset: 12 and 12 Gyr, and 14 and 2."""
    for onset, decay in ((12.0, 12.0), (14.0, 2.0)):
        history = stars.ExponentialDecay(onset, decay)
        young, old = history.density(onset - 5.0), history.density(onset - 1.0)
        assert float(young / old) == pytest.approx(np.exp(-4.0 / decay), rel=1e-9)


@pytest.mark.parametrize("history", [*ALL, SHORT])
def test_edges_hold_all_stars_and_increase(history):
    edges = np.asarray(history.edges(40, 0.1))
    assert edges.shape == (41,) and np.all(np.diff(edges) >= 0) and edges[0] >= 0
    assert float(history.cdf(edges[-1]) - history.cdf(edges[0])) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("history", ALL)
def test_gradients_match_finite_differences(history):
    for path in params.parameters(history):

        def summary(value, path=path):
            other = params.replace(history, {path: value})
            return other.cdf(4.0) + other.quantile(0.3) + jnp.sum(other.edges(8, 0.1) ** 2)

        check_grads(summary, (params.get(history, path),), order=1, modes=["rev"], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("history", ALL)
def test_draws_follow_the_cumulative_distribution(history):
    age = np.asarray(history.draw(jax.random.key(2), 40_000))
    u = np.sort(np.asarray(history.cdf(age)))
    # Kolmogorov-Smirnov at 1e-3; the key is fixed.
    assert np.max(np.abs(u - (np.arange(len(u)) + 0.5) / len(u))) < 1.95 / np.sqrt(len(u))


def test_enrichment_goes_from_start_to_now():
    disc = stars.Enrichment(start=-2.18, now=0.42, onset=12.0, sigma=0.2)
    assert [float(disc.mean(t)) for t in (0.0, 12.0, 13.0)] == pytest.approx([0.42, -2.18, -2.18])
    # Exponential growth of Z: equal steps of age are equal ratios of Z.
    Z = 10 ** np.array([float(disc.mean(t)) for t in (3.0, 6.0, 9.0)])
    assert Z[0] / Z[1] == pytest.approx(Z[1] / Z[2])


def test_metallicities_are_drawn_about_their_mean():
    relation = stars.AgeMetallicity(lambda age: 0.2 - 0.05 * age, sigma=0.15)
    for metallicity in (relation, stars.FixedMetallicity(-1.5, 0.3), stars.Enrichment()):
        age = jnp.full(20_000, 4.0)
        drawn = np.asarray(metallicity.draw(jax.random.key(0), age))
        sigma = float(metallicity.sigma)
        # Five standard errors of a mean and of a standard deviation.
        assert abs(drawn.mean() - float(metallicity.mean(4.0))) < 5 * sigma / np.sqrt(20_000)
        assert abs(drawn.std() - sigma) < 5 * sigma / np.sqrt(40_000)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: stars.ExponentialDecay(12.0, -2.0), "decay must be positive"),
        (lambda: stars.ExponentialDecay(0.0, 2.0), "onset must be positive"),
        (lambda: stars.Constant(-1.0), "onset must be positive"),
        (lambda: stars.Burst(10.0, 0.0), "width must be positive"),
        (lambda: stars.FixedMetallicity(0.0, 0.0), "sigma must be positive"),
        (lambda: stars.Enrichment(sigma=-0.1), "sigma must be positive"),
        (lambda: stars.AgeMetallicity(0.3), "give a function"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
