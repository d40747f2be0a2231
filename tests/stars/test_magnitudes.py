"""Absolute-magnitude distributions: normalisation, convolution, the estimator, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from oortax import params, stars
from oortax.stars import MAGNITUDES

KNOTS = np.linspace(-0.4, 2.2, 9)
CASES = {
    "colour_magnitude_relation": [
        stars.ColourMagnitudeRelation(
            stars.Gaussian(mean=0.8, sigma=0.4, support=(0.1, 1.5)), [0.0, 1.0, 2.0], [0.9, 1.0, 1.2]
        )
    ],
    "gaussian": [
        stars.Gaussian(mean=0.8, sigma=0.25),
        stars.Gaussian(mean=0.8, sigma=0.4, support=(0.1, 1.5)),
    ],
    "population": [
        stars.Population(
            support=(-0.5, 2.0), n_ages=12, n_metallicities=4, metallicity=stars.FixedMetallicity(-0.1)
        )
    ],
    "tabulated": [stars.Tabulated(KNOTS, -1.5 * (KNOTS - 0.9) ** 2 + 0.4 * np.sin(3 * KNOTS))],
}
ALL = [pytest.param(F, id=f"{kind}{i}") for kind, group in CASES.items() for i, F in enumerate(group)]


def integral(function, lo, hi, panels=3000):
    """Composite Gauss-Legendre, far denser than anything in the package."""
    x, w = np.polynomial.legendre.leggauss(4)
    edges = np.linspace(lo, hi, panels + 1)
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    points = (middle[:, None] + half[:, None] * x).ravel()
    return float(np.sum((half[:, None] * w).ravel() * np.asarray(jax.vmap(function)(points))))


def test_every_kind_is_tested():
    assert set(CASES) == set(MAGNITUDES)


@pytest.mark.parametrize("F", ALL)
def test_normalised_on_the_support(F):
    F = F.bind()
    assert integral(lambda M: jnp.exp(F.log_F(M)), *F.support) == pytest.approx(1.0, abs=1e-10)
    assert F.log_F(F.support[0] - 1e-6) == -np.inf
    assert F.log_F(F.support[1] + 1e-6) == -np.inf


@pytest.mark.parametrize("sigma", [0.01, 0.05])
@pytest.mark.parametrize("F", ALL)
def test_blurred_is_the_convolution(F, sigma):
    """Against a dense integral, inside and across the edges of the support (largest F is about 1)."""
    F = F.bind()
    lo, hi = F.support
    for m in (lo - sigma, lo + 0.5 * sigma, 0.35, 0.8, 1.3, hi - sigma, hi + 0.3 * sigma):
        a, b = max(lo, m - 9 * sigma), min(hi, m + 9 * sigma)

        def integrand(M, m=m):
            return jnp.exp(F.log_F(M) - 0.5 * ((m - M) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)

        tolerance = 1e-9 if isinstance(F, stars.Gaussian) else 0.3 * sigma**3 + 1e-9
        if isinstance(F, stars.GridMagnitudes):
            # Third derivatives step at its knots, 0.1 mag apart: see its docstring.
            tolerance = 2e-4 if sigma < 0.02 else 1e-3
        assert float(F.blurred(m, sigma)) == pytest.approx(integral(integrand, a, b), abs=tolerance)


@pytest.mark.parametrize("F", ALL)
def test_gradients_match_finite_differences(F):
    for path in params.parameters(F):
        value = params.get(F, path)

        def density(value, path=path):
            G = params.replace(F, {path: value})
            return jnp.exp(G.log_F(0.7)) + G.blurred(0.9, 0.02)

        # A population's points cross knots of splines: differences are less good.
        rtol = 1e-5 if isinstance(F, stars.Population) else 1e-6
        check_grads(density, (value,), order=1, modes=["rev"], rtol=rtol, atol=1e-8)
    outside = jax.grad(lambda M: jnp.exp(F.log_F(M)))(F.support[1] + 1.0)
    assert float(outside) == 0.0


def test_spline_passes_through_its_knots_and_forgets_a_constant():
    values = np.array([0.0, 1.0, 1.5, 0.3, -1.0])
    M = np.array([-1.0, 0.0, 0.4, 1.0, 2.0])
    F, shifted = stars.Tabulated(M, values), stars.Tabulated(M, values + 5.0)
    np.testing.assert_allclose(jax.vmap(F.log_shape)(M), values, atol=1e-12)
    np.testing.assert_allclose(jax.vmap(F.log_F)(M), jax.vmap(shifted.log_F)(M), atol=1e-12)


def test_from_sample_recovers_the_density():
    """50,000 stars: within five standard errors of a bin a knot spacing wide, everywhere in the range."""
    rng = np.random.default_rng(3)
    sample = np.concatenate([rng.normal(0.85, 0.2, 25_000), rng.uniform(-0.5, 2.5, 25_000)])
    F = stars.Tabulated.from_sample(sample, 0.0, 1.9, n_knots=14)

    def truth(M):
        return jnp.exp(-0.5 * ((M - 0.85) / 0.2) ** 2) / (np.sqrt(2 * np.pi) * 0.2) + 1 / 3.0

    M = np.linspace(0.05, 1.85, 40)
    density = truth(M) / integral(truth, 0.0, 1.9)
    error = np.sqrt(density / (np.sum((sample > 0) & (sample < 1.9)) * 1.9 / 13))
    pull = (np.exp(jax.vmap(F.log_F)(M)) - density) / error
    assert np.max(np.abs(pull)) < 5 and np.mean(pull**2) < 2


def test_from_sample_uses_weights():
    """Weights that undo a bright-biased sampling give the unbiased density back."""
    rng = np.random.default_rng(4)
    M = rng.uniform(0.0, 2.0, 200_000)
    kept = M[rng.uniform(size=M.size) < 10 ** (-0.6 * M)]
    F = stars.Tabulated.from_sample(kept, 0.0, 2.0, 6, weights=10 ** (0.6 * kept))
    np.testing.assert_allclose(jax.vmap(F.log_F)(np.linspace(0.1, 1.9, 10)), np.log(0.5), atol=0.08)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: stars.Gaussian(0.8, -0.2), "sigma must be positive"),
        (lambda: stars.Gaussian(0.8, 0.2, support=(2.0, 1.0)), "below the faint end"),
        (lambda: stars.Gaussian(0.8, 0.2, support=3.0), "two magnitudes"),
        (lambda: stars.Tabulated([0.0, 1.0, 1.0, 2.0], np.zeros(4)), "increasing"),
        (lambda: stars.Tabulated([0.0, 1.0, 2.0, 3.0], np.zeros(3)), "one value per magnitude"),
        (lambda: stars.Tabulated([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, np.nan, 0.0]), "log_density"),
        (lambda: stars.Tabulated.from_sample(np.zeros(20), 0.0, 1.0, 8), "ten stars"),
        (lambda: stars.Tabulated.from_sample(np.zeros(20), 1.0, 0.0, 8), "below the faint end"),
        (lambda: stars.Tabulated.from_sample(np.zeros(90), -1.0, 1.0, 4, weights=-np.ones(90)), "one weight"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
