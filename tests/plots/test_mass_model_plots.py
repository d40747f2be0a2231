"""Pictures of mass models show the physics they claim to."""

import time

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from oortax import plots, potential
from oortax.constants import MSUN_PC2, G


def labels_of(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line_named(ax, name: str):
    return next(line for line in ax.get_lines() if line.get_label() == name)


def test_equidensities_of_a_spheroid_are_similar_ellipses():
    halo = potential.FlattenedNFW(rho_s=1e7, r_s=16.0, q=0.6)
    ax = plots.equidensities(halo, R_max=12.0, z_max=8.0, Phi=False)
    assert ax.get_xlabel() == "$R$ [kpc]" and ax.get_ylabel() == "$z$ [kpc]"
    (lines,) = ax.collections
    seen = 0
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        R, z = path.vertices.T
        m = np.hypot(R, z / 0.6)
        if len(m) < 20 or m.max() < 1.0:
            continue
        # Linear interpolation on 120 x 120 points, finest in the plane.
        assert np.ptp(m) < 0.02 * m.mean()
        x = m.mean() / 16.0
        assert np.log10(1e7 / (x * (1 + x) ** 2) / 1e9) == pytest.approx(level, abs=0.01)
        seen += 1
    assert seen >= 4


def test_equipotentials_are_drawn_beside_and_are_rounder():
    ax = plots.equidensities(potential.FlattenedNFW(rho_s=1e7, r_s=16.0, q=0.6), R_max=12.0, z_max=12.0)
    assert labels_of(ax) == ["$\\rho$ [M$_\\odot$ pc$^{-3}$]", "$\\Phi$"]
    matter, Phi = ax.collections
    shapes = []
    for lines in (matter, Phi):
        whole = [p.vertices for p in lines.get_paths() if len(p.vertices) and p.vertices[:, 1].min() < 0.01]
        closed = [v for v in whole if v[:, 0].min() < 0.01 and v[:, 0].max() > 3.0]
        shapes.append(np.median([v[:, 1].max() / v[:, 0].max() for v in closed]))
    assert shapes[0] == pytest.approx(0.6, abs=0.01)
    assert 0.75 < shapes[1] < 0.9


def test_decades_of_density_are_labelled():
    ax = plots.equidensities(potential.mw_potential_2014(), Phi=False)
    texts = {text.get_text() for text in ax.texts}
    assert {"$10^{-2}$", "$10^{-1}$"} <= texts


def test_forces_over_R_and_over_z_are_those_of_the_potential(pot):
    over_R = plots.vertical_force_over_R(pot, z=(0.3, 1.1), R=[4.0, 6.0, 9.0])
    over_z = plots.vertical_force_over_z(pot, R=(6.0, 9.0), z=[0.0, 0.3, 1.1])
    assert over_R.get_yscale() == "log"
    assert "pc$^{-2}$" in over_R.get_ylabel() and over_R.get_ylabel() == over_z.get_ylabel()
    unit = 2.0 * np.pi * G * MSUN_PC2
    for radius, column in ((6.0, 1), (9.0, 2)):
        rising = line_named(over_z, f"$R = {radius:.3g}$ kpc").get_ydata()
        assert rising[0] == pytest.approx(0.0, abs=1e-2)
        for height, row in ((0.3, 1), (1.1, 2)):
            exact = -float(potential.vertical_force(pot, radius, height)) / unit
            falling = line_named(over_R, f"$z = {height:.3g}$ kpc").get_ydata()
            assert falling[column] == pytest.approx(exact, rel=1e-9)
            assert rising[row] == pytest.approx(exact, rel=1e-9)
    assert "Bovy & Rix 2013, 1.1 kpc" in labels_of(over_R)
    assert "Bovy & Rix 2013, 1.1 kpc" not in labels_of(plots.vertical_force_over_R(pot, z=(0.5,)))


@pytest.mark.parametrize("q", [0.5, 1.0, 1.4])
def test_axis_ratio_of_a_logarithmic_potential(q):
    Phi, _ = plots.local_axis_ratios(potential.LogarithmicHalo(v_0=220.0, r_c=0.5, q=q), [0.3, 3.0, 30.0])
    np.testing.assert_allclose(Phi, q, rtol=1e-3)


def test_axis_ratio_of_a_disc_in_closed_form():
    """Miyamoto & Nagai: a + sqrt(z^2 + b^2) = sqrt(R^2 + (a + b)^2)."""
    R, a, b = np.geomspace(0.5, 50.0, 20), 3.0, 0.28
    z = np.sqrt((np.sqrt(R**2 + (a + b) ** 2) - a) ** 2 - b**2)
    Phi, rho = plots.local_axis_ratios(potential.MiyamotoNagai(M=6e10, a=a, b=b), R)
    np.testing.assert_allclose(Phi[0], z / R, rtol=1e-3)
    assert np.all(rho < Phi)


def test_axis_ratios_of_the_scale_free_galaxy():
    """rho = rho_s (z/q)^-gamma on the axis and (rho_s + rho_d) R^-gamma in the plane; Phi is so as well."""
    Phi, rho = plots.local_axis_ratios(potential.dehnen_binney_1996(), [0.5, 8.0, 40.0])
    np.testing.assert_allclose(rho, 0.8 * (1.0 + 5.8 / 1.4) ** (-1.0 / 1.8), rtol=1e-3)
    assert np.ptp(Phi) < 1e-3 and 0.7 < Phi.mean() < 0.85


def test_a_density_that_vanishes_on_the_axis_leaves_a_gap():
    gas = potential.Sech2Disc(Sigma_0=5.3e7, R_d=7.0, z_d=0.2, R_hole=4.0)
    R = np.array([2.0, 8.0, 60.0])
    Phi, rho = plots.local_axis_ratios(gas, R)
    assert np.all(np.isnan(rho))
    # Within the ring of gas Phi is lower than anywhere on the axis; far out it is that of a flat mass.
    assert np.all(np.isnan(Phi[0, :2])) and 0.9 < Phi[0, 2] < 1.0
    ax = plots.axis_ratios(gas, R=R)
    assert np.all(np.isnan(line_named(ax, "$\\rho$").get_ydata()))


def test_axis_ratios_of_a_posterior_have_bands(pots):
    ax = plots.axis_ratios(pots)
    assert ax.get_xscale() == "log" and ax.get_ylabel() == "axis ratio $q$"
    assert labels_of(ax) == ["$\\Phi$", "$\\rho$"]
    assert len([c for c in ax.collections if isinstance(c, PolyCollection)]) == 4
    R, middle = line_named(ax, "$\\rho$").get_data()
    values = plots.local_axis_ratios(pots, R)[1]
    assert values.shape == (50, len(R))
    np.testing.assert_allclose(middle, np.median(values, axis=0))
    # Each draw is itself: the curve of one alone is among them.
    np.testing.assert_allclose(plots.local_axis_ratios(pots[7], R)[1][0], values[7], rtol=1e-9)


def test_rotation_curve_of_a_galaxy_of_densities_takes_seconds():
    start = time.process_time()
    ax = plots.rotation_curve(potential.mcmillan_2017(), R=np.linspace(7.0, 25.0, 20))
    # 6 s of compilation on a quiet core; it was 30 s with a program for each part.
    assert time.process_time() - start < 25.0
    names = ["thin", "thick", "HI", "H2", "bulge", "halo"]
    assert labels_of(ax) == [*names, "model"]
    looks = {(line_named(ax, name).get_color(), line_named(ax, name).get_linestyle()) for name in names}
    assert len(looks) == 6
    parts = np.stack([line_named(ax, name).get_ydata() for name in names])
    # Seven expansions, each right to 1e-4 at worst.
    total = line_named(ax, "model").get_ydata()
    np.testing.assert_allclose(np.sqrt(np.sum(parts**2, axis=0)), total, rtol=1e-4)
