"""Pictures of tori: the orbit lies on the torus, and what is drawn is what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, plots, potential

POT = potential.KuzminKutuzov(M=1e11, a=3.0, c=1.0)


@pytest.fixture(scope="module")
def tori():
    J = np.array([[100.0, 60.0, 800.0], [400.0, 200.0, -500.0], [100.0, -1.0, 800.0]])
    # As many as tests/dynamics/test_exact_tori.py has: the same program.
    tori = dynamics.fit_tori(POT, np.resize(J, (128, 3)), n_modes=(22,), batch_size=16, progress=False)
    return jax.tree.map(lambda leaf: leaf[:3], tori)


@pytest.fixture(scope="module")
def torus(tori):
    return jax.tree.map(lambda leaf: leaf[0], tori)


def _line(ax, name):
    return next(line for line in ax.get_lines() if line.get_label() == name)


def test_the_section_of_the_orbit_lies_on_that_of_the_torus(torus):
    ax = plots.surface_of_section(POT, torus, periods=20)
    R, v_R = _line(ax, "orbit").get_data()
    assert len(R) > 15
    curve = np.stack(_line(ax, "torus").get_data())
    size = np.ptp(curve, axis=1)[:, None]
    distance = np.min(
        np.linalg.norm((curve[:, :, None] - np.stack([R, v_R])[:, None]) / size[:, :, None], axis=0), axis=0
    )
    # The torus's curve is drawn in 300 steps, and crossings are interpolated.
    assert distance.max() < 0.02
    assert ax.get_xlabel() == "$R$ [kpc]" and ax.get_ylabel() == "$v_R$ [km s$^{-1}$]"


def test_the_torus_in_the_meridional_plane(torus):
    ax = plots.torus_and_orbit(POT, torus, periods=20)
    R, z = _line(ax, "orbit").get_data()
    drawn = [line for line in ax.get_lines() if line.get_label().startswith("_")]
    assert len(drawn) == 24
    outline = np.concatenate([np.stack(line.get_data()) for line in drawn], axis=1)
    np.testing.assert_allclose(
        [R.min(), R.max(), z.max()], [*(f(outline[0]) for f in (np.min, np.max)), outline[1].max()], rtol=0.02
    )


def test_the_generating_function_and_the_map_of_residuals(tori, torus):
    ax = plots.generating_function(torus)
    assert len(ax.collections[0].get_offsets()) == 22
    ax = plots.torus_accuracy(tori)
    assert len(ax.collections[0].get_offsets()) == 2
    assert len(_line(ax, "not found").get_xdata()) == 1
    assert ax.get_ylabel() == "$J_r/(J_r+J_z)$"


def test_what_is_no_torus_is_refused(tori):
    with pytest.raises(ValueError, match="single torus"):
        plots.surface_of_section(POT, tori)
    failed = jax.tree.map(lambda leaf: leaf[2], tori)
    with pytest.raises(ValueError, match="not found"):
        plots.torus_and_orbit(POT, failed)
    assert jnp.isnan(failed.E)
