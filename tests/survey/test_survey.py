"""The demonstration's survey against dense quadratures; dust; panel edges; bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr

from oortax import stars, survey

V_MAX, M_MIN, M_MAX = 10.5, 0.2, 1.6
KNOTS = np.linspace(0.0, 1.9, 9)
POPULATIONS = {
    "gaussian": stars.Gaussian(mean=0.8, sigma=0.25),
    "hard_edges": stars.Gaussian(mean=0.8, sigma=0.4, support=(0.1, 1.7)),
    "tabulated": stars.Tabulated(KNOTS, -1.5 * (KNOTS - 0.9) ** 2 + 0.4 * np.sin(3 * KNOTS)),
}
DUST = survey.DustLayer(k=0.7, h=0.12)


def demo(extinction=None, **errors):
    return survey.Survey(
        selection=(
            survey.Magnitude(max=V_MAX),
            survey.AbsoluteMagnitude(min=M_MIN, max=M_MAX),
            survey.AbsLatitude(min=25.0),
        ),
        errors=survey.Errors(**({"V": 0.01, "parallax": 0.02} | errors)),
        extinction=extinction,
    )


def nodes(edges, n):
    x, w = np.polynomial.legendre.leggauss(n)
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * x).ravel(), (half[:, None] * w).ravel()


def brute_force(F, s, noise, parallax_error, zero_point, extinction):
    """The probability in the other order: over the observed parallax, then over the true M, dense in both.

    Given the observed parallax every cut is an interval of observed V, so the noise in V is exact.
    """
    M, weights = nodes(np.linspace(*F.support, 1500), 6)
    weights = weights * np.exp(np.asarray(jax.vmap(F.log_F)(M)))
    V = M + 5 * np.log10(100 * s) + extinction
    centre = 1 / s + zero_point
    edges = np.linspace(centre - 8 * parallax_error, centre + 8 * parallax_error, 41)
    kinks = [100 * 10 ** ((M - V_MAX) / 5) for M in (M_MIN, M_MAX)]
    edges = np.sort(np.concatenate([edges, np.clip(kinks, edges[0], edges[-1])]))
    total = 0.0
    for p, w in zip(*nodes(edges, 12), strict=True):
        shift = 5 * np.log10(p / 100)
        lo, hi = M_MIN - shift, min(V_MAX, M_MAX - shift)
        if w > 0 and hi > lo:
            inside = ndtr((hi - V) / noise) - ndtr((lo - V) / noise)
            density = np.exp(-0.5 * ((p - centre) / parallax_error) ** 2) / (
                np.sqrt(2 * np.pi) * parallax_error
            )
            total += w * density * np.sum(weights * inside)
    return total


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_folded_agrees_with_a_dense_quadrature(name, noise):
    """To 1e-6 wherever S > 1e-3: at edges, where both cuts bite, and in the tail.

    The convolution of a spline with large noise is good to (noise / scale of ln F)^4 of its local value.
    """
    rtol = 1e-5 if name == "tabulated" and noise > 0.02 else 1e-6
    F, model = POPULATIONS[name], demo(DUST, V=noise, parallax_zero_point=-0.03)
    tested = 0
    for s in (0.05, 0.3, 0.603, 0.8, 1.0, 1.05, 1.1):
        dust = float(model.dust(0.3, 1.0, s))
        expected = brute_force(F, s, noise, 0.02, -0.03, dust)
        got = float(model.folded(F, 0.3, 1.0, s))
        assert got == pytest.approx(expected, rel=rtol if expected > 1e-3 else 0, abs=1e-9), s
        tested += expected > 1e-3
    assert tested >= 6


def test_folded_is_zero_off_the_survey():
    model, F = demo(), POPULATIONS["gaussian"]
    near, far = (float(s) for s in model.distance_range(F))
    assert near == 0 and 1.6 < far < 2.0
    assert float(model.folded(F, 0.3, np.radians(24.9), 0.5)) == 0
    assert float(model.folded(F, 0.3, 1.0, -1.0)) == 0
    assert float(model.folded(F, 0.3, 1.0, far * 1.001)) < 1e-12


@pytest.mark.parametrize("dust", [None, DUST], ids=["clear", "dust"])
@pytest.mark.parametrize("name", ["gaussian", "tabulated"])
def test_distance_edges_make_gauss_legendre_accurate(name, dust):
    """24 nodes a panel give int S s^2 ds to 1e-6: S is smooth between the edges."""
    F, model = POPULATIONS[name], demo(dust)
    folded = jax.jit(jax.vmap(lambda s: model.folded(F, 0.3, 1.0, s)))
    edges = np.asarray(model.distance_edges(F, 0.3, 1.0))
    assert np.all(np.diff(edges) >= 0)

    def volume(edges, n):
        s, w = nodes(edges, n)
        return float(np.sum(w * s**2 * np.asarray(folded(s))))

    fine = np.concatenate([np.linspace(a, b, 9)[:-1] for a, b in zip(edges[:-1], edges[1:], strict=True)])
    assert volume(edges, 24) == pytest.approx(volume(np.append(fine, edges[-1]), 24), rel=1e-6)


def test_gradients_of_the_demo_match_finite_differences():
    def value(zero_point, parallax_error, k, mean):
        errors = {"parallax_zero_point": zero_point, "parallax": parallax_error}
        F = stars.Gaussian(mean, 0.25, support=(-0.7, 2.3))
        return demo(survey.DustLayer(k, 0.12), **errors).folded(F, 0.3, 1.0, 0.9)

    point = (-0.03, 0.02, 0.7, 0.8)
    gradient = jax.grad(value, argnums=(0, 1, 2, 3))(*point)
    jitted = jax.jit(value)
    for i, got in enumerate(gradient):
        up, down = list(point), list(point)
        up[i] += 1e-5
        down[i] -= 1e-5
        assert float(got) == pytest.approx(float(jitted(*up) - jitted(*down)) / 2e-5, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("z0", [-0.05, 0.0, 0.02])
def test_dust_is_the_integral_along_the_line_of_sight(z0):
    sun = survey.Sun(z0=z0)
    for b in (-1.3, -0.02, -1e-9, 0.0, 1e-6, 0.3):
        for s in (1e-3, 0.4, 3.0):
            crossing = -z0 / np.sin(b) if b else -1.0
            points = [crossing] if 0 < crossing < s else None
            expected = quad(lambda t, b=b: np.exp(-abs(z0 + t * np.sin(b)) / 0.12), 0, s, points=points)[0]
            assert float(DUST.A(sun, 0.0, b, s)) == pytest.approx(0.7 * expected, rel=1e-8)
            gradient = jax.grad(lambda k, h, b, s: survey.DustLayer(k, h).A(sun, 0.0, b, s), (0, 1, 2, 3))
            assert np.all(np.isfinite(jnp.stack(gradient(0.7, 0.12, b, s))))


def test_accepts_counts_each_cut():
    columns = {
        "l": np.zeros(5),
        "b": np.radians([60.0, -60.0, 10.0, 60.0, 60.0]),
        "V": np.array([6.0, 11.0, 6.0, np.nan, 6.0]),
        "parallax": np.array([10.0, 1.0, 10.0, 10.0, -0.1]),
    }
    mask, failed = demo().accepts(columns)
    assert mask.tolist() == [True, False, False, False, False]
    assert failed == {"magnitude": 2, "absolute_magnitude": 2, "abs_b": 1}
    doubled = survey.Survey(
        selection=[survey.Colour(min=0.1, name="b_v"), survey.Colour(max=1.0, name="g_r")]
    )
    assert doubled.names == ("colour", "colour_2")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: survey.Magnitude(min=9.0, max=8.0), "min must be less than max"),
        (lambda: survey.Magnitude(), "give min, max or both"),
        (lambda: survey.Magnitude(max=float("nan")), "give min, max or both"),
        (lambda: survey.AbsLatitude(min=95.0), "between 0 and 90"),
        (lambda: survey.AbsLatitude(min=-5.0), "between 0 and 90"),
        (lambda: survey.Latitude(max=91.0), "between -90 and 90"),
        (lambda: survey.Longitude(min=10.0, max=400.0), "0..360"),
        (lambda: survey.ParallaxSNR(min=-1.0), "not be negative"),
        (lambda: survey.Completeness(1.2), "fraction must be"),
        (lambda: survey.Completeness([0.9, 0.5], V=[10.0, 9.0]), "increasing"),
        (lambda: survey.Completeness([0.9, 0.5]), "one number, or a table"),
        (lambda: survey.Errors(V=0.0), "V must be positive, in mag"),
        (lambda: survey.Errors(parallax=-0.1), "parallax must be"),
        (lambda: survey.DustLayer(k=-1.0, h=0.1), "k must be"),
        (lambda: survey.Survey(selection=("V < 10",)), "is not a selection"),
        (lambda: survey.Survey(selection=survey.AbsoluteMagnitude(max=1.0)), "Errors\\(parallax"),
        (
            lambda: survey.Survey(selection=[survey.Magnitude("V", 1), survey.Magnitude("G", 2)]),
            "several bands",
        ),
        (lambda: survey.Survey().distance_range(POPULATIONS["gaussian"]), "no faint limit"),
        (lambda: demo().accepts({"v": np.ones(2), "b": np.ones(2), "parallax": np.ones(2)}), "'V'"),
        (lambda: demo().accepts({"V": np.ones(2), "b": np.ones(3), "parallax": np.ones(2)}), "equally long"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
