"""Lynden-Bell's method recovers a luminosity function from which a magnitude limit has taken stars."""

import numpy as np
import pytest

from oortax.io import luminosity_function


def sample(rng, n, faint):
    """F(M) rising as exp(M) over [0, 2], distances uniform in a sphere of 1.5 kpc, V < faint."""
    M = np.log1p(rng.uniform(size=n) * np.expm1(2.0))
    s = 1.5 * rng.uniform(size=n) ** (1 / 3)
    V = M + 5 * np.log10(s * 100)
    seen = faint >= V
    return V[seen], 1 / s[seen], M[seen]


def test_recovers_the_slope_where_the_histogram_is_wrong():
    V, parallax, M = sample(np.random.default_rng(3), 100_000, faint=11.0)
    M_grid, log_F = luminosity_function(V, parallax, faint=11.0, low=0.0, high=2.0, bins=10)
    slope = np.polyfit(M_grid[1:-1], log_F[1:-1], 1)[0]
    biased = np.polyfit(M_grid[1:-1], np.log(np.histogram(M, np.linspace(0, 2, 11))[0]), 1)[0]
    # Some 3e4 stars: the slope is good to about 1 / sqrt(3e4) / 0.58 = 0.01.
    assert slope == pytest.approx(1.0, abs=0.04)
    assert abs(biased - 1) > 0.2, "the test must be able to fail"


def test_margins_continue_flat_and_the_whole_is_normalised():
    V, parallax, _ = sample(np.random.default_rng(4), 50_000, faint=11.0)
    M_grid, log_F = luminosity_function(V, parallax, faint=11.0, low=0.0, high=2.0, bins=8, margin=0.2)
    assert M_grid[0] == pytest.approx(-0.2) and M_grid[-1] == pytest.approx(2.2)
    assert log_F[0] == log_F[1] and log_F[-1] == log_F[-2]
    assert np.trapezoid(np.exp(log_F), M_grid) == pytest.approx(1.0, rel=1e-12)


def test_too_few_stars_and_gaps_are_refused():
    V, parallax, _ = sample(np.random.default_rng(5), 200, faint=11.0)
    with pytest.raises(ValueError, match="too few"):
        luminosity_function(V, parallax, faint=11.0, low=0.0, high=2.0, bins=40)
    M = np.concatenate([np.full(200, 0.05), np.full(200, 1.95)])
    with pytest.raises(ValueError, match="no star bridges"):
        luminosity_function(M, np.full(400, 100.0), faint=11.0, low=0.0, high=2.0, bins=10)
