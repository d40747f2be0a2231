"""A catalogue against a prediction: p-values are uniform if the model is right, small if it is not."""

import numpy as np
import pytest
from scipy.stats import kstest

from oortax import model

N, NODES = 400, 4000


def prediction(rng, nodes=NODES):
    """Weighted nodes of a normal distribution, proposed from a wider one."""
    x = 1.5 * rng.standard_normal(nodes)
    weight = np.exp(-0.5 * x**2 + 0.5 * (x / 1.5) ** 2)
    return model.SPD(
        {"v_los": x}, {}, weight / weight.sum(), np.zeros(nodes, int), ("disc",), np.arange(nodes)
    )


def test_p_values_are_uniform_for_a_right_model():
    """Of 300 pairs of catalogue and prediction; so few nodes that their noise is that of counting."""
    rng = np.random.default_rng(1)
    found = [model.against(prediction(rng), "v_los", rng.standard_normal(N)) for _ in range(300)]
    assert kstest([each.p for each in found], "uniform").pvalue > 1e-3
    pulls = np.array([each.pulls for each in found])
    # A cell holds a twelfth of the stars, whose number is given: 1 - 1/12 of the variance, and the nodes'.
    assert abs(np.std(pulls) - 1.0) < 0.1
    expected = np.array([each.expected for each in found])
    np.testing.assert_allclose(expected.sum(axis=1), N, rtol=1e-9)


def test_a_wrong_model_is_found_out_and_its_misfit_measured():
    """Stars that are shifted by 0.2 sigma: the misfit is that of the shares of the cells."""
    rng = np.random.default_rng(2)
    spd, shift, many = prediction(rng, 400_000), 0.2, 200_000
    found = model.against(spd, "v_los", shift + rng.standard_normal(many))
    assert found.p < 1e-10 and found.edges[0] == -np.inf and found.edges[-1] == np.inf
    relative = found.counted / found.expected - 1.0
    np.testing.assert_allclose(found.misfit, np.sqrt(np.mean(relative**2)), rtol=0.2)
    # Known to be that uncertain, it is no misfit.
    share = (found.counted - found.expected) / many
    aware = model.against(spd, "v_los", shift + rng.standard_normal(many), covariance=np.outer(share, share))
    assert aware.p > 1e-4


def test_stars_without_a_value_are_left_out_and_bad_requests_refused():
    rng = np.random.default_rng(3)
    spd, values = prediction(rng), rng.standard_normal(N)
    values[::4] = np.nan
    assert model.against(spd, "v_los", values, [0.0, 0.0, 0.5, 1.0][1:]).counted.sum() == 300
    with pytest.raises(ValueError, match="no observable 'mu_l'"):
        model.against(spd, "mu_l", values)
    with pytest.raises(ValueError, match="20 stars in 12 cells"):
        model.against(spd, "v_los", values[np.isfinite(values)][:20])
    with pytest.raises(ValueError, match="no star is expected from 40 to inf: take wider cells"):
        model.against(spd, "v_los", values, [-1.0, 0.0, 40.0, 50.0])
