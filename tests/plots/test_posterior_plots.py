"""Pictures of the posterior: the right parameters, readable labels, priors and truths where they belong."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from oortax import plots
from oortax.plots import literature
from oortax.plots.style import exponent_of, figure_of, label, symbol, unit_label

SOME = ("potential.disc.M", "potential.halo.q", "sun.V")


def test_labels_from_dotted_paths():
    assert label("potential.disc.M", "Msun") == r"$M_{\mathrm{disc}}$ [M$_\odot$]"
    assert label("potential.halo.rho_s", "Msun/kpc^3", 7) == (
        r"$\rho_{s,\mathrm{halo}}$ [$10^{7}$ M$_\odot$ kpc$^{-3}$]"
    )
    assert symbol("sun.V") == r"$V_{\odot}$"
    assert symbol("components.thick_disc.weight") == r"$w_{\mathrm{thick\ disc}}$"
    assert symbol("some.new_name") == r"$\mathrm{new}_{\mathrm{name},\mathrm{some}}$"
    assert unit_label("mas/yr") == "mas yr$^{-1}$"
    assert exponent_of([6.1e10, 6.3e10]) == 10 and exponent_of([0.5, 229.0]) == 0


def test_corner_overlays_truths_and_priors(draws, units, priors):
    truths = {"potential.disc.M": 6.2e10, "sun.V": 30.0}
    axes = plots.corner(draws, paths=SOME, units=units, truths=truths, priors=priors)
    assert axes.shape == (3, 3)
    assert [ax.get_xlabel() for ax in axes[-1]] == [
        "$M_{\\mathrm{disc}}$\n[$10^{10}$ M$_\\odot$]",
        "$q_{\\mathrm{halo}}$",
        "$V_{\\odot}$\n[km s$^{-1}$]",
    ]
    # A truth far outside the draws must be visible, not cut off.
    low, high = axes[2, 2].get_xlim()
    assert low < 30.0 <= high
    # Equal areas: the prior over the whole of its support holds as many draws as the histogram.
    prior = next(line for line in axes[1, 1].get_lines() if line.get_linestyle() == "--")
    x, y = prior.get_data()
    q = np.ravel(draws["potential.halo.q"])
    assert y[np.argmin(abs(x - 1.0))] == pytest.approx(q.size * np.ptp(q) / 24 / (1.6 - 0.4), rel=1e-9)
    legend = {text.get_text() for text in figure_of(axes).legends[0].get_texts()}
    assert legend == {"posterior", "prior", "truth"}


def test_corner_refuses_what_it_cannot_draw(draws):
    with pytest.raises(ValueError, match=r"no parameter 'potential.halo.p'"):
        plots.corner(draws, paths=["potential.halo.p"])
    with pytest.raises(ValueError, match="b never changes"):
        plots.corner({"a": draws["sun.V"], "b": np.ones((4, 250))})
    with pytest.raises(ValueError, match="1 not finite"):
        plots.corner({"a": np.array([[1.0, np.nan, 2.0]])})
    with pytest.raises(ValueError, match="too few"):
        plots.corner({"a": np.array([[1.0, 2.0]]), "b": np.array([[1.0, 2.0]])})


def test_trace_keeps_chains_apart(draws, units):
    diverging = np.zeros((4, 250), bool)
    diverging[2, 17] = True
    axes = plots.trace(draws, paths=SOME, units=units, diverging=diverging, rhat={"sun.V": 1.0042})
    assert axes.shape == (3, 2)
    right = axes[2, 1]
    chains = [line for line in right.get_lines() if len(line.get_xdata()) == 250]
    assert len(chains) == 4
    np.testing.assert_array_equal(chains[3].get_ydata(), draws["sun.V"][3])
    (mark,) = [line for line in right.get_lines() if len(line.get_xdata()) == 1]
    assert mark.get_xydata().tolist() == [[17.0, draws["sun.V"][2, 17]]]
    assert any("1.004" in text.get_text() for text in right.texts)
    assert axes[2, 1].get_xlabel() == "draw"


def test_prior_posterior_in_units_of_the_prior():
    from numpyro import distributions as dist

    rng = np.random.default_rng(5)
    # Posterior N(13.24, 0.5) under the prior N(12.24, 2): centre 0.5, width ratio 0.25.
    draws = {"sun.V": rng.normal(13.24, 0.5, (4, 2000)), "potential.halo.q": rng.uniform(0.4, 1.6, (4, 2000))}
    priors = {"sun.V": dist.Normal(12.24, 2.0), "potential.halo.q": rng.uniform(0.4, 1.6, 20000)}
    ax = plots.prior_posterior(draws, priors)
    assert isinstance(ax, Axes)
    centre = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "o"]
    assert centre == pytest.approx([0.5, 0.0], abs=0.05)  # the prior's median is known to 2/sqrt(4000)
    ratios = [float(text.get_text()) for text in ax.texts if text.get_text()[:1].isdigit()]
    assert ratios == pytest.approx([0.25, 1.0], abs=0.03)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["$V_{\\odot}$", "$q_{\\mathrm{halo}}$"]
    with pytest.raises(ValueError, match="none for the parameters"):
        plots.prior_posterior(draws, {})


def test_joint_and_marginal(draws, units, priors):
    ax = plots.joint(draws, "potential.halo.q", "potential.disc.M", units=units)
    assert ax.get_xlabel() == "$q_{\\mathrm{halo}}$"
    assert ax.get_ylabel() == "$M_{\\mathrm{disc}}$ [$10^{10}$ M$_\\odot$]"
    M = "potential.disc.M"
    ax = plots.marginal(draws, M, prior=priors[M], units=units, truth=6.2e10)
    prior = next(line for line in ax.get_lines() if line.get_label() == "prior")
    x, y = prior.get_data()
    # 1% of the prior lies beyond the panel.
    assert np.trapezoid(y, x) == pytest.approx(0.99, abs=0.01)
    posterior = ax.patches[0].get_path().vertices
    assert posterior[:, 0].min() == pytest.approx(np.min(draws[M]) / 1e10)


def test_literature_is_what_the_papers_say():
    (k_z,) = literature.measurements("K_z_1.1")
    assert (k_z.value, k_z.error, k_z.reference) == (67.0, 6.0, "Bovy & Rix 2013")
    assert literature.piffl_rho_DM(0.8) == pytest.approx(0.0126 * 0.8**-0.89)
    # A rounder halo holds less dark matter at the Sun for the same force.
    assert literature.piffl_rho_DM(0.8) > literature.piffl_rho_DM(1.0)
    recalled = [
        m.reference for q in literature.QUANTITIES for m in literature.measurements(q.key) if m.recalled
    ]
    assert recalled == ["Wegg+ 2019"]
    rows = literature.compare({"q": np.linspace(0.8, 1.2, 101), "v_c": np.full(3, 229.0)})
    assert [row["literature"] for row in rows] == [
        "229 \u00b1 6",
        "1.3 \u00b1 0.25",
        "> 0.963",
        "1 \u00b1 0.09",
    ]
    assert rows[1]["this fit"] == "1.00 ± 0.14"
    with pytest.raises(ValueError, match="rho_dm"):
        literature.compare({"rho_dm": np.ones(3)})
