"""Pictures of the potential show the physics they claim to, in the units on their axes."""

import time

import numpy as np
import pytest
from matplotlib.axes import Axes

from oortax import plots, potential
from oortax.constants import MSUN_PC2, G
from oortax.plots.potential import curves


def labels_of(ax) -> set[str]:
    return {text.get_text() for text in ax.get_legend().get_texts()}


def line_named(ax, name: str):
    return next(line for line in ax.get_lines() if line.get_label() == name)


def test_rotation_curve_draws_model_parts_and_data(pot, curve):
    ax = plots.rotation_curve(pot, data=curve, data_label="synthetic")
    assert isinstance(ax, Axes)
    assert ax.get_xlabel() == "$R$ [kpc]"
    assert ax.get_ylabel() == "$v_c$ [km s$^{-1}$]"
    assert labels_of(ax) == {"bulge", "disc", "halo", "model", "synthetic"}
    # Parts add in quadrature to the whole.
    R, total = line_named(ax, "model").get_data()
    parts = np.stack([line_named(ax, name).get_ydata() for name in ("bulge", "disc", "halo")])
    np.testing.assert_allclose(np.sqrt(np.sum(parts**2, axis=0)), total, rtol=1e-12)
    at_sun = float(potential.circular_velocity(pot, 8.0))
    assert np.interp(8.0, R, total) == pytest.approx(at_sun, rel=1e-3)  # linear between 0.2 kpc steps


def test_a_given_axes_is_used_and_rc_params_stay(pot):
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    before = dict(mpl.rcParams)
    _, mine = plt.subplots()
    open_figures = plt.get_fignums()
    assert plots.vertical_force(pot, ax=mine) is mine
    assert plt.get_fignums() == open_figures
    assert dict(mpl.rcParams) == before


def test_vertical_force_shows_the_published_point(pot, pots):
    ax = plots.vertical_force(pots, components=False)
    assert ax.get_xlabel() == "$z$ [kpc]"
    assert "pc$^{-2}$" in ax.get_ylabel()
    assert "Bovy & Rix 2013" in labels_of(ax)
    z, force = line_named(plots.vertical_force(pot, R0=8.0, components=False), "model").get_data()
    exact = abs(float(potential.vertical_force(pot, 8.0, 1.1))) / (2 * np.pi * G * MSUN_PC2)
    assert np.interp(1.1, z, force) == pytest.approx(exact, rel=1e-3)
    assert force[0] == pytest.approx(0.0, abs=1e-3)


def test_bands_hold_the_draws_they_claim(pots):
    ax = plots.rotation_curve(pots, components=False)
    R, middle = line_named(ax, "model").get_data()
    values = curves(potential.circular_velocity, pots, R)
    assert values.shape == (50, len(R))
    np.testing.assert_allclose(middle, np.median(values, axis=0), rtol=1e-12)
    edge = ax.collections[1].get_paths()[0].vertices
    at_end = edge[np.isclose(edge[:, 0], R[-1]), 1]
    inside = np.mean((values[:, -1] >= at_end.min()) & (values[:, -1] <= at_end.max()))
    assert inside == pytest.approx(0.68, abs=0.05)


def test_equipotentials_are_level_and_positive_where_there_is_mass(pot):
    ax = plots.equipotentials(pot)
    assert ax.get_xlabel() == "$R$ [kpc]" and ax.get_ylabel() == "$z$ [kpc]"
    lines = [c for c in ax.collections if not c.get_facecolor().size]
    assert len(lines) == 1
    paths = [path for path in lines[0].get_paths() if len(path.vertices) > 10]
    assert len(paths) >= 8
    # The vertices of all lines at once: one shape, one compilation.
    Phi = curves(Phi_at, pot, np.concatenate([path.vertices for path in paths]))[0]
    ends = np.cumsum([len(path.vertices) for path in paths])[:-1]
    # Linear interpolation on a 90 x 90 grid: small against the 1.4e5 (km/s)^2 the panel spans.
    assert max(np.ptp(one) for one in np.split(Phi, ends)) < 1.5e3


def density_at(pot, x):
    return potential.density(pot, x)


def Phi_at(pot, Rz):
    return pot.Phi_Rz(Rz[0], Rz[1])


def test_equipotentials_of_a_sphere_are_round():
    ax = plots.equipotentials(potential.NFW(rho_s=1e7, r_s=16.0), R_max=10.0, z_max=10.0, R0=None)
    (lines,) = [c for c in ax.collections if not c.get_facecolor().size]
    path = max(lines.get_paths(), key=lambda p: len(p.vertices))
    r = np.hypot(*path.vertices.T)
    assert np.ptp(r) < 0.02 * r.mean()


def test_local_quantities_of_the_posterior(pots, draws):
    found = plots.local_quantities(pots)
    assert set(found) == {"v_c", "K_z_1.1", "Sigma_1.1", "rho_DM", "q"}
    assert all(values.shape == (50,) for values in found.values())
    assert found["q"][0] == draws["potential.halo.q"][0, 0]
    # A flatter halo of the same rho_s is denser in the plane nowhere: rho depends on R/r_s alone there.
    m = 8.178 / 16.0
    rho_s = np.array([float(pot["halo"].rho_s) for pot in pots])
    np.testing.assert_allclose(found["rho_DM"], rho_s / (m * (1 + m) ** 2) / 1e9, rtol=1e-5)


def test_surface_density_against_brute_force():
    """Sigma_1.1 by Poisson's equation against an integral of the density, for a very thin disc."""
    thin = potential.Sum(
        halo=potential.NFW(rho_s=1e7, r_s=16.0), disc=potential.MiyamotoNagai(M=6e10, a=3.0, b=0.1)
    )
    z = np.linspace(0.0, 1.1, 1101)
    rho = curves(density_at, thin, np.stack([np.full_like(z, 8.178), 0 * z, z], axis=-1))[0]
    direct = 2 * np.trapezoid(rho, z) / MSUN_PC2
    # Trapezoidal error: (dz^2/12) rho'/int rho, 1e-6 here.
    assert plots.local_quantities(thin)["Sigma_1.1"][0] == pytest.approx(direct, rel=1e-5)


def test_fifty_curves_take_seconds_with_compilation(pots):
    def never_compiled(pot, R):
        return potential.circular_velocity(pot, R)

    start = time.process_time()
    assert curves(never_compiled, pots, np.linspace(0.5, 25.0, 120)).shape == (50, 120)
    assert time.process_time() - start < 5.0


def test_potentials_at_takes_evenly_spaced_draws(pot, draws):
    made = plots.potentials_at(pot, draws, 5)
    M = np.ravel(draws["potential.disc.M"])
    assert [float(p["disc"].M) for p in made] == pytest.approx(M[[0, 250, 500, 749, 999]], rel=1e-12)
    with pytest.raises(ValueError, match="no path starts with"):
        plots.potentials_at(pot, {"sun.V": draws["sun.V"]})


def test_bad_input_names_what_is_wrong(pot):
    with pytest.raises(ValueError, match="'R' or 'r_kpc'"):
        plots.rotation_curve(pot, data={"v_c": [1.0]})
    with pytest.raises(ValueError, match="empty"):
        plots.vertical_force([])
