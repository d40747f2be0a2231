"""Data-against-model histograms: correct counts, errors and chi^2, and the picture of them."""

import numpy as np
import pytest

from oortax import plots
from oortax.constants import KAPPA
from oortax.plots.predictive import compare_counts, poisson_interval


def test_chi2_is_calibrated_when_the_model_is_true():
    rng = np.random.default_rng(0)
    p_values = [
        compare_counts(rng.normal(size=1500), rng.normal(size=(10, 1500))).p_value for _ in range(120)
    ]
    # Uniform p values: mean 0.5 with sd 0.026; binning by the data's own quantiles raises them a little.
    assert 0.42 < np.mean(p_values) < 0.62
    assert np.mean(np.array(p_values) < 0.05) < 0.12


def test_a_wrong_model_is_seen():
    rng = np.random.default_rng(1)
    result = compare_counts(rng.normal(0.0, 1.0, 2000), rng.normal(0.3, 1.0, (10, 2000)))
    assert result.p_value < 1e-6
    assert result.chi2 > 3 * result.n_bins


def test_posterior_scatter_of_replicates_widens_the_band():
    rng = np.random.default_rng(2)
    data = rng.normal(size=4000)
    same = rng.normal(size=(40, 4000))
    wandering = same + rng.normal(0.0, 0.3, (40, 1))
    narrow, wide = compare_counts(data, same), compare_counts(data, wandering)
    assert narrow.observed.sum() == wide.observed.sum() == 3960  # the central 99%
    assert np.median(wide.model_sd / narrow.model_sd) > 3
    # Shift by 0.3 sigma: on the flank, counts change by 0.3 |x| of themselves.
    flank = np.argmin(abs(0.5 * (wide.edges[1:] + wide.edges[:-1]) - 1.0))
    assert wide.model_sd[flank] == pytest.approx(0.3 * wide.expected[flank], rel=0.4)


def test_poisson_bars_follow_garwood():
    lower, upper = poisson_interval(np.array([0.0, 1.0, 100.0]))
    assert lower[0] == 0.0
    assert upper[0] == pytest.approx(-np.log(0.1587), rel=1e-6)
    assert (lower[2], upper[2]) == pytest.approx((9.98, 11.02), abs=0.05)


def test_missing_values_are_left_out(observed, model):
    missing = np.isnan(observed["v_los"])
    assert 10 < missing.sum() < 100
    edges = np.linspace(-300, 300, 31)
    assert compare_counts(observed["v_los"], model["v_los"], edges).observed.sum() == (~missing).sum()
    with pytest.raises(ValueError, match="0 and model"):
        compare_counts(np.full(5, np.nan), np.ones(5))


def test_heliocentric_velocities_invert_the_projection():
    rng = np.random.default_rng(4)
    l, b, s = rng.uniform(0, 6, 50), rng.uniform(-1.5, 1.5, 50), rng.uniform(0.1, 2, 50)
    velocity = rng.normal(0, 30, (50, 3))
    e_s = np.stack([np.cos(b) * np.cos(l), np.cos(b) * np.sin(l), np.sin(b)], axis=-1)
    e_l = np.stack([-np.sin(l), np.cos(l), 0 * l], axis=-1)
    e_b = np.cross(e_s, e_l)
    v_s, v_l, v_b = (np.sum(velocity * e, axis=-1) for e in (e_s, e_l, e_b))
    table = {
        "l": l,
        "b": b,
        "parallax": 1 / s,
        "mu_l": v_l / (KAPPA * s),
        "mu_b": v_b / (KAPPA * s),
        "v_los": v_s,
    }
    found = plots.heliocentric(table | {"V": np.full(50, 10.0)})
    np.testing.assert_allclose(
        np.stack([found["v_U"], found["v_V"], found["v_W"]], axis=-1), velocity, atol=1e-10
    )
    np.testing.assert_allclose(found["z"], s * np.sin(b), rtol=1e-12)
    np.testing.assert_allclose(found["M_V"], 10.0 - 5 * np.log10(100 * s), rtol=1e-12)
    by_modulus = {name: values for name, values in table.items() if name != "parallax"}
    by_modulus["distance_modulus"] = 5 * np.log10(100 * s)
    np.testing.assert_allclose(plots.heliocentric(by_modulus)["v_U"], velocity[:, 0], atol=1e-10)
    negative = plots.heliocentric({"l": l[:1], "b": b[:1], "parallax": np.array([-0.2])})
    assert np.isnan(negative["distance"][0])
    assert set(plots.heliocentric({"l": l, "b": b})) == {"l", "b"}
    with pytest.raises(ValueError, match="no column 'b'"):
        plots.heliocentric({"l": l})


def test_histogram_labels_points_and_pulls(observed, model):
    from matplotlib import pyplot as plt

    fig, (top, below) = plt.subplots(2, 1, sharex=True)
    ax = plots.histogram(observed["v_W"], model["v_W"], name="v_W", bins=20, pulls=below, ax=top)
    assert ax is top
    assert below.get_xlabel() == "$W$ [km s$^{-1}$]" and top.get_ylabel() == "stars per bin"
    assert {t.get_text() for t in top.get_legend().get_texts()} == {"model", "data"}
    result = compare_counts(observed["v_W"], model["v_W"], 20)
    assert f"{result.chi2:.0f}/{result.n_bins}" in top.texts[0].get_text()
    points = top.containers[0].lines[0].get_ydata()
    np.testing.assert_array_equal(points, result.observed)
    alone = plots.histogram(observed["V"], model["V"], name="V", log=True)
    assert alone.get_yscale() == "log" and alone.get_xlabel() == "apparent magnitude $V$ [mag]"
    own = plots.histogram(observed["V"], model["V"], text="own", unit="kpc")
    assert own.get_xlabel() == "own [kpc]"


def test_grid_has_one_panel_for_each_observable(observed, model):
    names = ["distance", "z", "v_U", "V"]
    axes = plots.predictive_grid(observed, model, names=names, n_columns=3, bins=15)
    assert axes.shape == (4,)
    fig = axes[0].get_figure()
    assert len(fig.axes) == 8
    assert {ax.get_xlabel() for ax in fig.axes} - {""} == {
        "distance [kpc]", "$z$ [kpc]", "$U$ [km s$^{-1}$]", "apparent magnitude $V$ [mag]",
    }  # fmt: skip
    with pytest.raises(ValueError, match="age"):
        plots.predictive_grid(observed, model, names=["age"])
