"""Initial mass functions: normalisation, closed forms, derivatives, draws, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.integrate import quad

from oortax import params, stars

CASES = {
    "kroupa": stars.Kroupa(),
    "chabrier": stars.Chabrier(),
    "salpeter": stars.Salpeter(),
    "dehnen_binney_imf": stars.DehnenBinneyIMF(),
    "broken_power_law_imf": stars.BrokenPowerLaw([0.3, 1.0, 2.0, 2.7], breaks=(0.01, 0.08, 0.5, 1.0, 120.0)),
}
ALL = [pytest.param(imf, id=kind) for kind, imf in CASES.items()]


def test_every_kind_is_tested():
    assert set(CASES) == set(stars.IMFS)


@pytest.mark.parametrize("imf", ALL)
def test_closed_forms_are_integrals_of_xi(imf):
    """Number, mass and parts of them, against adaptive quadrature of xi alone (which is good to 1e-8)."""
    lo, hi = imf.limits
    xi = jax.jit(lambda m: imf.xi(m))
    breaks = [x for x in (*getattr(imf, "breaks", (1.0,)), 0.3) if lo < x < hi]

    def integral(f, a, b):
        edges = [a, *sorted(x for x in breaks if a < x < b), b]
        return sum(
            quad(lambda x: f(np.exp(x)) * np.exp(x), np.log(p), np.log(q), epsrel=1e-10)[0]
            for p, q in zip(edges, edges[1:], strict=False)
        )

    assert integral(lambda m: float(xi(m)), lo, hi) == pytest.approx(1.0, rel=1e-8)
    assert integral(lambda m: m * float(xi(m)), lo, hi) == pytest.approx(float(imf.mean_mass()), rel=1e-8)
    part = integral(lambda m: float(xi(m)), 0.2, 1.7)
    assert float(imf.number(0.2, 1.7)) == pytest.approx(part, rel=1e-8)
    assert float(xi(0.999 * lo)) == float(xi(1.001 * hi)) == 0.0
    assert float(imf.number(1e-3, 1e3)) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("imf", ALL)
def test_xi_is_continuous(imf):
    for edge in getattr(imf, "breaks", (0.0, 1.0, 0.0))[1:-1]:
        below, above = (float(imf.log_shape(edge * (1 + e))) for e in (-1e-9, 1e-9))
        assert below == pytest.approx(above, abs=1e-7)


def test_slopes_are_the_published_ones():
    """d ln xi / d ln m in each range."""

    def slope(imf, m):
        return float(m * jax.grad(imf.log_shape)(m))

    for m, kroupa, db96 in ((0.3, -1.3, -1.3), (0.6, -2.3, -1.3), (2.0, -2.3, -2.35)):
        assert slope(stars.Kroupa(), m) == pytest.approx(kroupa)
        assert slope(stars.DehnenBinneyIMF(), m) == pytest.approx(db96)
        assert slope(stars.Salpeter(), m) == pytest.approx(-2.35)
    assert slope(stars.Chabrier(), 3.0) == pytest.approx(-2.3)
    # The log-normal, per unit mass: -1 - ln(m/m_c) / (sigma ln 10)^2.
    assert slope(stars.Chabrier(), 0.3) == pytest.approx(-1 - np.log(0.3 / 0.08) / (0.69 * np.log(10)) ** 2)
    assert stars.DehnenBinneyIMF().limits[0] == 0.15


@pytest.mark.parametrize("imf", ALL)
def test_gradients_match_finite_differences(imf):
    for path in params.parameters(imf):

        def summary(value, path=path):
            other = params.replace(imf, {path: value})
            return other.number(0.2, 3.0) + other.mean_mass() + other.xi(0.7)

        # The differences themselves are good to 1e-6.
        check_grads(summary, (params.get(imf, path),), order=1, modes=["rev"], rtol=5e-6, atol=1e-8)


def test_exponents_at_which_integrals_are_logarithms():
    """alpha = 1 and 2: values and slopes go through the limit smoothly."""

    def mass(alpha):
        return stars.BrokenPowerLaw(jnp.stack([alpha, 2.0]), breaks=(0.1, 1.0, 100.0)).mean_mass()

    for alpha in (1.0, 2.0):
        values = [float(mass(jnp.asarray(alpha + e))) for e in (-2e-5, 0.0, 2e-5)]
        slope = float(jax.grad(mass)(jnp.asarray(alpha)))
        # Second differences of 4e-10 times f'' of order 1, and the quotient's truncation error of as much.
        assert values[1] == pytest.approx(0.5 * (values[0] + values[2]), rel=1e-8)
        assert slope == pytest.approx((values[2] - values[0]) / 4e-5, rel=1e-6)


@pytest.mark.parametrize("imf", ALL)
def test_draws_follow_the_cumulative_distribution(imf):
    m = np.asarray(imf.draw(jax.random.key(5), 40_000))
    assert imf.limits[0] <= m.min() and m.max() <= imf.limits[1] * (1 + 1e-12)
    u = np.sort(np.asarray(jax.vmap(lambda x: imf.number(imf.limits[0], x))(m)))
    # Kolmogorov-Smirnov: 1.95/sqrt(n) is exceeded once in a thousand times, for a given key never.
    assert np.max(np.abs(u - (np.arange(len(u)) + 0.5) / len(u))) < 1.95 / np.sqrt(len(u))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: stars.BrokenPowerLaw([1.3], breaks=(0.1, 0.5, 100.0)), "one for each"),
        (lambda: stars.BrokenPowerLaw([1.3, 2.3], breaks=(0.5, 0.1, 100.0)), "increasing"),
        (lambda: stars.Kroupa(lowest=0.6), "increasing"),
        (lambda: stars.Kroupa(alpha_2=np.nan), "alpha_2 must be a finite number"),
        (lambda: stars.Salpeter(lowest=-0.1), "positive"),
        (lambda: stars.Chabrier(sigma=-0.1), "sigma must be positive"),
        (lambda: stars.Chabrier(highest=0.5), "increasing"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
