"""Error models: published values, tables, and their use in the fold and in what is observed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import stars, survey
from oortax.survey import ERRORS, Errors, GaiaErrors, Survey, TabulatedErrors

KEYS = {"V", "parallax", "mu_l", "mu_b", "v_los", "v_los_total", "distance_modulus"}
MODELS = {
    "constant": Errors(V=0.02, parallax=0.03, v_los_jitter=1.0, distance_modulus=0.1),
    "gaia": GaiaErrors(v_los_jitter=1.0),
    "tabulated": TabulatedErrors([8, 12, 16], [0.02, 0.03, 0.2], [0.02, 0.04, 0.3], [0.3, 1.0, 9.0]),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_of_a_star(kind):
    model = MODELS[kind]
    assert type(model) is ERRORS[kind]
    G = jnp.linspace(4.0, 20.0, 33).reshape(3, 11)
    sigma = jax.jit(lambda G: model.at(G))(G)
    assert set(sigma) == KEYS
    for name, values in sigma.items():
        assert (
            values.shape == (3, 11) and np.all(np.isfinite(values)) and np.all(np.diff(values.ravel()) >= 0)
        )
        assert np.all(values > 0) or name == "distance_modulus"
    np.testing.assert_allclose(sigma["v_los_total"], np.hypot(sigma["v_los"], model.v_los_jitter), rtol=1e-12)
    assert model.vary == (kind != "constant")
    for name in ("V", "pm", "v_los", "v_los_total", "parallax", "distance_modulus", "parallax_zero_point"):
        assert np.shape(getattr(model, name)) == ()
    slope = jax.grad(lambda G: sum(model.at(G).values()))(11.0)
    assert np.isfinite(slope)


def test_gaia_agrees_with_published_values():
    """ESA's table of DR3 parallax errors (muas), with a floor at G = 13, and Katz et al.'s velocities."""
    sigma = GaiaErrors().at(jnp.array([5.0, 13.0, 15.0, 17.0, 20.0]))
    # sqrt(40 + 800 z + 30 z^2) worked out by hand: z = 0.158489, 1, 6.309573, 100.
    np.testing.assert_allclose(1e3 * sigma["parallax"], [12.94, 12.94, 29.50, 79.26, 616.47], rtol=1e-3)
    np.testing.assert_allclose(sigma["mu_l"] / sigma["parallax"], 0.96, rtol=1e-12)
    v_los = GaiaErrors(G_minus_GRVS=0.0).at(jnp.array([12.0, 14.0]))["v_los"]
    np.testing.assert_allclose(v_los, [1.3, 6.4], rtol=1e-3)
    late = GaiaErrors("dr5").at(15.0)
    assert float(late["parallax"]) == pytest.approx(0.527 * 0.0295, rel=1e-3)
    assert float(late["mu_l"]) == pytest.approx(0.27 * 0.527 * 0.0295, rel=1e-3)
    assert float(GaiaErrors(G=15.0, scale=1.1).parallax) == pytest.approx(1.1 * 0.0295, rel=1e-3)


def test_table_from_a_catalogue():
    """Medians of errors that follow a known law, with a third of the velocities missing."""
    rng = np.random.default_rng(0)
    V = rng.uniform(8, 12, 6000)
    law = 0.02 * np.exp(0.3 * (V - 8)) * rng.lognormal(0, 0.1, V.size)
    columns = {
        "V": V,
        "parallax_error": law,
        "mu_l_error": 2 * law,
        "mu_b_error": 3 * law,
        "v_los_error": np.where(rng.random(V.size) < 0.3, np.nan, 20 * law),
    }
    model = TabulatedErrors.from_catalogue(columns, bins=10)
    at = jnp.array([8.5, 10.0, 11.5])
    expected = 0.02 * np.exp(0.3 * (at - 8))
    # 600 stars a bin with 10 % scatter: 0.5 %; linear in the logarithm as the law is.
    np.testing.assert_allclose(model.at(at)["parallax"], expected, rtol=0.02)
    np.testing.assert_allclose(model.at(at)["mu_b"], np.sqrt(6.5) * expected, rtol=0.02)
    np.testing.assert_allclose(model.at(at)["v_los"], 20 * expected, rtol=0.02)
    assert model.typical == pytest.approx(10.0, abs=0.1)
    with pytest.raises(ValueError, match="no column v_los_error"):
        TabulatedErrors.from_catalogue({k: v for k, v in columns.items() if k != "v_los_error"})
    with pytest.raises(ValueError, match="use fewer bins"):
        TabulatedErrors.from_catalogue(
            columns | {"v_los_error": np.where(V < 11, columns["v_los_error"], np.nan)}
        )


def test_observed_stars_scatter_by_their_own_errors():
    """4e4 stars of two brightnesses: means and spreads within 5 sigma, and the weight of what is seen."""
    model = Survey(
        selection=survey.Magnitude("G", max=16.0) & survey.Parallax(min=0.9),
        errors=GaiaErrors(v_los_jitter=3.0, parallax_zero_point=-0.1, distance_modulus=0.2),
        extinction=survey.DustLayer(0.7, 0.1),
    )
    n = 40_000
    noise = np.random.default_rng(1).standard_normal((n, 6))
    truth = survey.Observables(*(jnp.asarray(q) for q in (0.3, 0.5, 1.0, 4.0, -3.0, 20.0)))
    for M in (1.0, 5.5):
        seen = jax.jit(jax.vmap(lambda e, M=M: model.observed(truth, M, e)))(noise)
        G = M + 10.0 + float(model.dust(0.3, 0.5, 1.0))
        sigma = model.errors.at(G)
        means = {"G": G, "parallax": 0.9, "mu_l": 4.0, "mu_b": -3.0, "v_los": 20.0, "distance_modulus": 10.0}
        for name, mean in means.items():
            width = float(sigma[{"G": "V", "v_los": "v_los_total"}.get(name, name)])
            assert np.mean(seen[name]) == pytest.approx(mean, abs=5 * width / np.sqrt(n))
            assert np.std(seen[name]) == pytest.approx(width, rel=5 / np.sqrt(2 * n))
        np.testing.assert_allclose(seen["parallax_error"], sigma["parallax"])
        # The expected parallax is the limit itself.
        assert np.mean(model.weight(seen)) == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(n))
    slope = jax.grad(lambda s: model.observed(truth._replace(s=s), 5.0, noise[0])["parallax"])(1.0)
    assert np.isfinite(slope)


def test_fold_uses_the_errors_of_each_magnitude():
    """A cut in parallax where the errors grow with magnitude: within 4 sigma of 4e5 draws, which a constant
    error of the typical star misses by far."""
    F = stars.Gaussian(mean=4.0, sigma=1.0)
    errors = TabulatedErrors([10, 16], [0.02, 0.6], [0.02, 0.6], [1.0, 2.0], typical=10.0, V=0.02)
    cut = survey.Parallax(min=0.8)
    n, s = 400_000, 1.5
    rng = np.random.default_rng(3)
    V = rng.normal(4.0, 1.0, n) + 5 * np.log10(100 * s)
    parallax = 1 / s + np.asarray(errors.at(V)["parallax"]) * rng.standard_normal(n)
    expected = np.mean(parallax >= 0.8)
    got = float(Survey(selection=cut, errors=errors).folded(F, 0.3, 1.0, s))
    assert got == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / n))
    constant = Survey(selection=cut, errors=Errors(V=0.02, parallax=float(errors.parallax)))
    assert abs(float(constant.folded(F, 0.3, 1.0, s)) - expected) > 0.05


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GaiaErrors("dr6"), "choose one of dr3, dr4, dr5"),
        (lambda: GaiaErrors(scale=-1.0), "scale must be positive"),
        (lambda: GaiaErrors(G=np.nan), "magnitude of a typical star"),
        (lambda: TabulatedErrors([9.0], [0.1], [0.1], [1.0]), "two or more increasing"),
        (lambda: TabulatedErrors([9, 10], [0.1, 0.0], [0.1, 0.1], [1, 1]), "parallax=.*positive error"),
        (lambda: TabulatedErrors([9, 10], [0.1, 0.1], [0.1], [1, 1]), "pm=.*positive error"),
    ],
)
def test_bad_errors_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
