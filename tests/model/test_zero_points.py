"""Zero points that move: at fixed nodes the likelihood of each datum is as with the new one, and smooth."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from oortax import model, survey
from oortax.model.zero_points import moved_zero_points

CATALOGUE = model.Catalogue(
    l=np.zeros(3), b=np.zeros(3), mu_l=np.zeros(3), mu_b=np.zeros(3), V=np.full(3, 12.0),
    parallax=np.array([0.5, np.nan, 0.8]), parallax_error=np.array([0.05, np.nan, 0.03]),
    distance_modulus=np.array([np.nan, 11.0, 10.6]), distance_modulus_error=np.array([np.nan, 0.1, 0.2]),
)  # fmt: skip
STAR, S = np.array([0, 0, 1, 1, 2, 2]), np.array([1.8, 2.1, 1.5, 1.7, 1.2, 1.4])
LAID = np.array([-0.03, 0.02])
NODES = SimpleNamespace(
    stars=SimpleNamespace(star=jnp.asarray(STAR), s=jnp.asarray(S)), zero_points=jnp.asarray(LAID)
)


def found(zero_points):
    errors = survey.Errors(parallax_zero_point=zero_points[0], distance_modulus_zero_point=zero_points[1])
    return moved_zero_points(survey.Survey(errors=errors), CATALOGUE, NODES)


def test_weights_are_those_of_the_new_zero_points():
    new = np.array([0.01, -0.1])

    def log_p(zero_points):
        total = np.zeros(len(S))
        for name, expected, zero in (
            ("parallax", 1.0 / S, zero_points[0]),
            ("distance_modulus", 5.0 * np.log10(100.0 * S), zero_points[1]),
        ):
            value, sigma = (np.asarray(getattr(CATALOGUE, f"{name}{end}"))[STAR] for end in ("", "_error"))
            total += np.nan_to_num(norm.logpdf(value, expected + zero, sigma))
        return total

    expected = log_p(new) - log_p(LAID)
    assert np.abs(expected).min() > 0.1
    np.testing.assert_allclose(found(jnp.asarray(new)), expected, rtol=1e-10)
    np.testing.assert_array_equal(found(jnp.asarray(LAID)), 0.0)


def test_derivatives_at_the_nodes_own_zero_points_and_away():
    """Finite for what is not measured, too."""
    h = 1e-5
    for at in (LAID, np.array([0.01, -0.1])):
        slope = np.asarray(jax.jacfwd(found)(jnp.asarray(at)))
        for i in range(2):
            step = h * (np.arange(2) == i)
            numeric = (found(jnp.asarray(at + step)) - found(jnp.asarray(at - step))) / (2.0 * h)
            np.testing.assert_allclose(slope[:, i], numeric, rtol=1e-7, atol=1e-6)
