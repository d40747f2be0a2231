"""Pictures of f(J): what is drawn is what DF, fit and moments say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, plots, potential

# Actions are exact here, and cheap.
POT = potential.Isochrone(M=1e11, b=3.0)
FINDER = dynamics.IsochroneFinder(POT)
F = df.IsochroneSphere(M=1e11, b=3.0, rotation=0.5, J_phi0=200.0)
REGION = df.Region(R=(3.0, 4.0), z=(-0.5, 0.5))


@pytest.fixture(scope="module")
def stars():
    return df.draw_in_region(F, POT, FINDER, REGION, jax.random.key(1), 2000, progress=False)


def _line(ax, name):
    return next(line for line in ax.get_lines() if line.get_label() == name)


def test_contours_of_f_are_level():
    ax = plots.action_plane(F, at=300.0, limits=((0.0, 600.0), (0.0, 400.0)))
    assert ax.get_xlabel() == "$J_r$ [kpc km s$^{-1}$]" and ax.get_ylabel() == "$J_z$ [kpc km s$^{-1}$]"
    lines = ax.collections[1]
    top = float(F.log_f(jnp.array([0.0, 0.0, 300.0])))
    found = 0
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        if len(path.vertices) > 5 and level < 0.0:
            J = jnp.asarray(np.column_stack([path.vertices, np.full(len(path.vertices), 300.0)]))
            log_f = (np.asarray(jax.vmap(F.log_f)(J)) - top) / np.log(10.0)
            # Linear interpolation on a grid of 80: (600/80)^2 times the curvature.
            np.testing.assert_allclose(log_f, level, atol=3e-3)
            found += 1
    assert found >= 2


def test_the_plane_of_rotation_shows_it():
    limits = ((-1000.0, 1000.0), (0.0, 300.0))
    ax = plots.action_plane(F, across="J_phi", up="J_r", at=50.0, limits=limits, data=[[10.0, 50.0, 500.0]])
    assert ax.get_xlim() == limits[0]
    (point,) = ax.get_lines()
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (500.0, 10.0)
    with pytest.raises(ValueError, match="two different ones"):
        plots.action_plane(F, across="J_r", up="J_r")
    with pytest.raises(ValueError, match="two different ones"):
        plots.action_plane(F, across="L_z")


def test_a_recovered_f_beside_the_truth(stars):
    data = df.local_actions(POT, FINDER, [df.LocalStars(REGION, stars.x, stars.v)], n_nodes=4096)
    blank = df.SplineDF.blank((6, 5, 6), J_0=300.0, J_max=3000.0)
    fit = df.fit_spline(blank, data, strengths=(1.0, 1.0, 1.0))
    limits = ((0.0, 400.0), (0.0, 300.0))
    level = float(np.log(2000 / stars.mass))
    axes = plots.recovered_actions(fit, F, level=level, at=500.0, limits=limits, data=data.J)
    assert [ax.get_title(loc="left") for ax in axes] == ["truth", "recovered", "uncertainty"]
    # Both have the same contours of f, in the same colours.
    truth, recovered = (ax.collections[1] for ax in axes[:2])
    np.testing.assert_array_equal(truth.levels, recovered.levels)
    lengths = [[len(path.vertices) for path in lines.get_paths()] for lines in (truth, recovered)]
    assert np.count_nonzero(lengths[0]) >= 2 and np.count_nonzero(lengths[1]) >= 2
    assert axes[1].get_ylabel() == "" and axes[0].get_ylabel().startswith("$J_z$")


def test_ellipsoids_of_an_isotropic_sphere_are_circles():
    sphere = df.IsochroneSphere(M=1e11, b=3.0)
    ax = plots.velocity_ellipsoids(sphere, POT, FINDER, R=(3.0, 8.0), z=(0.0, 2.0), size=1.0)
    sizes = np.array([[patch.width, patch.height] for patch in ax.patches])
    np.testing.assert_allclose(sizes[:, 0], sizes[:, 1], rtol=2e-3)
    assert sizes.max() == pytest.approx(1.0) and ax.patches[0].center == (3.0, 0.0)
    # sigma falls outwards: that at R = 8 kpc in the plane over that at 3.
    sigma = [float(jnp.sqrt(df.moments(sphere, POT, FINDER, R, 0.0).dispersion[0, 0])) for R in (3.0, 8.0)]
    assert sizes[1, 0] / sizes[0, 0] == pytest.approx(sigma[1] / sigma[0], rel=1e-6)


def test_ellipsoids_of_a_radial_halo_point_to_the_centre():
    halo = df.DoublePowerLaw(
        norm=1e10, J_0=500.0, slope_in=1.0, slope_out=6.0, c_r_in=0.6, c_z_in=1.2, c_r_out=0.6, c_z_out=1.2
    )
    ax = plots.velocity_ellipsoids(halo, POT, FINDER, R=(4.0, 6.0), z=(2.0, 4.0), refine=2.0)
    for patch in ax.patches:
        assert patch.width > 1.1 * patch.height
        R, z = patch.center
        # Spherical but for the node's error: the direction of the centre to a degree or so.
        assert (patch.angle - np.degrees(np.arctan2(z, R)) + 90.0) % 180.0 - 90.0 == pytest.approx(
            0.0, abs=2.0
        )


def test_vertical_profiles():
    z = np.array([0.5, 1.0, 2.0])
    data = {"z": [1.0, 2.0], "sigma_z": [150.0, 140.0], "sigma_z_error": [5.0, 5.0], "density": [0.8, 0.5]}
    axes = plots.vertical_profiles(F, POT, FINDER, R=4.0, z=z, data=data)
    rho = [float(potential.density(POT, jnp.array([4.0, 0.0, h]))) for h in (0.0, *z)]
    # f makes the isochrone's own density; the spheroid's rule is good to 1e-3.
    np.testing.assert_allclose(axes[0].get_lines()[0].get_ydata(), np.array(rho[1:]) / rho[0], rtol=3e-3)
    local = df.moments(F, POT, FINDER, 4.0, 1.0)
    assert axes[1].get_lines()[0].get_ydata()[1] == pytest.approx(float(local.mean[1]), rel=1e-9)
    found = _line(axes[2], r"$\sigma_\phi$").get_ydata()[1]
    assert found == pytest.approx(float(jnp.sqrt(local.dispersion[1, 1])), rel=1e-9)
    assert len(axes[0].containers) == 1 and len(axes[2].containers) == 1 and not axes[1].containers
    with pytest.raises(ValueError, match="z is needed"):
        plots.vertical_profiles(F, POT, FINDER, R=4.0, z=z, data={"sigma_z": [1.0]})
    with pytest.raises(ValueError, match="z is needed"):
        plots.vertical_profiles(F, POT, FINDER, R=4.0, z=z, data={"z": [1.0], "sigma": [1.0]})


def test_marginal_distributions_beside_stars(stars):
    R = np.hypot(stars.x[:, 0], stars.x[:, 1])
    c, s = stars.x[:, 0] / R, stars.x[:, 1] / R
    v = np.stack(
        [stars.v[:, 0] * c + stars.v[:, 1] * s, stars.v[:, 1] * c - stars.v[:, 0] * s, stars.v[:, 2]], axis=1
    )
    axes = plots.velocity_marginals(F, POT, FINDER, R=3.5, data=v, v_max=400.0, bins=20)
    for ax in axes:
        u, p = _line(ax, "$f(J)$").get_data()
        # All velocities up to escape, 360 km/s, are within v_max.
        assert np.trapezoid(p, u) == pytest.approx(1.0, abs=0.02)
        at, density = ax.containers[0].lines[0].get_data()
        expected = np.interp(at, u, p) * 2000 * (800.0 / 20)
        # Poisson pulls of well-filled bins; the region is small, not a point.
        pulls = (density * 2000 * 40.0 - expected) / np.sqrt(expected)
        full = expected > 20
        assert full.sum() > 8 and np.abs(pulls[full]).max() < 4.0
    with pytest.raises(ValueError, match=r"\(n, 3\)"):
        plots.velocity_marginals(F, POT, FINDER, R=3.5, data=v[:, 0])
