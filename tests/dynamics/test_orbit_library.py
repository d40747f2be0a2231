"""Orbits in cells: shares of time that theory gives, integrals they start with, models by their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from oortax import dynamics, potential
from oortax.results import Result

SPHERE = potential.Isochrone(M=1e11, b=2.0)
DISC = potential.MiyamotoNagai(M=1e11, a=3.0, b=0.5)
R_EDGES, Z_EDGES = jnp.linspace(0.0, 20.0, 9), jnp.array([0.0, 1.0, 2.0, 4.0, 20.0])


def build(pot, x, v, **options):
    """One shape, so that a potential's program is compiled once."""
    options = {"periods": 100.0, "batch_size": 48} | options
    return dynamics.build_orbit_library(pot, x, v, R_edges=R_EDGES, z_edges=Z_EDGES, **options)


@pytest.fixture(scope="module")
def grid():
    x, v = dynamics.launch_orbits(DISC, [5.0, 8.0, 11.0], [0.3, 0.6, 0.8, 0.95], [0.05, 0.3, 0.6, 0.9])
    return x, v, build(DISC, x, v)


def test_orbits_start_with_their_integrals(grid):
    x, v, library = grid
    at = iter(range(48))
    for R_c in (5.0, 8.0, 11.0):
        v_c = float(potential.circular_velocity(DISC, R_c))
        E = 0.5 * v_c**2 + float(DISC.Phi_Rz(R_c, 0.0))
        for circularity in (0.3, 0.6, 0.8, 0.95):
            for I_3 in (0.05, 0.3, 0.6, 0.9):
                i = next(at)
                assert library.E[i] == pytest.approx(E, rel=1e-9)
                assert library.L_z[i] == pytest.approx(circularity * R_c * v_c, rel=1e-9)
                assert float(v[i, 2] ** 2 / (v[i, 0] ** 2 + v[i, 2] ** 2)) == pytest.approx(I_3, rel=1e-6)
    # J_z rises with I_3, and J_r falls.
    J = np.asarray(library.J).reshape(12, 4, 3)
    assert (np.diff(J[..., 1]) > 0.0).all() and (np.diff(J[..., 0]) < 0.0).all()
    # Two of the most eccentric pass the centre too fast for 200 steps a period.
    good = np.asarray(library.energy_error) <= 1e-4
    assert (library.code == np.where(good, Result.OK, Result.INACCURATE)).all() and good.sum() > 44
    # One goes beyond the cells.
    inside = np.asarray(library.cells.mass.sum(axis=(1, 2)))
    assert (np.abs(inside - 1.0) < 1e-9).sum() == 47 and 0.9 < inside.min() < 1.0


def test_shares_of_time():
    """A planar eccentric orbit by quadrature of dR/v_R, a tilted circle by the arc below a height."""
    R, L = 8.0, 8.0 * 150.0
    v_c = float(potential.circular_velocity(SPHERE, R))
    tilt = np.radians(40.0)
    x = jnp.array([[R, 0.0, 0.0], [R, 0.0, 0.0]])
    v = jnp.array([[60.0, L / R, 0.0], [0.0, v_c * np.cos(tilt), v_c * np.sin(tilt)]])
    library = build(SPHERE, x, v)
    E = float(library.E[0])

    def v_R2(R):
        return 2.0 * (E - float(SPHERE.Phi_Rz(R, 0.0))) - (L / R) ** 2

    grid = np.linspace(0.5, 20.0, 4000)
    inside = grid[[v_R2(R) > 0.0 for R in grid]]
    low, high = inside[0] - 2e-3, inside[-1] + 2e-3

    def share(a, b):
        """In R from a to b: R = middle - half cos(t) takes the ends' roots away."""
        middle, half = 0.5 * (low + high), 0.5 * (high - low)
        t = np.arccos(np.clip((middle - np.array([a, b])) / half, -1.0, 1.0))
        of = lambda t: half * np.sin(t) / np.sqrt(max(v_R2(middle - half * np.cos(t)), 1e-3))  # noqa: E731
        return quad(of, *t, limit=200)[0]

    expected = np.array([share(a, b) for a, b in zip(R_EDGES[:-1], R_EDGES[1:], strict=True)])
    found = np.asarray(library.cells.mass[0]).sum(axis=1)
    # 20,000 steps; the ends, to 2e-3 kpc, are worth 1 % of a time.
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.012)
    assert (found > 0.05).sum() > 2

    heights = np.minimum(np.asarray(Z_EDGES) / (R * np.sin(tilt)), 1.0)
    arcs = np.diff(np.arcsin(heights)) * 2.0 / np.pi
    np.testing.assert_allclose(np.asarray(library.cells.mass[1]).sum(axis=0), arcs, atol=3e-3)
    # On a circle of a sphere v_z^2 = v_c^2 sin^2(tilt) cos^2(psi), and speeds add up everywhere.
    speed2 = np.asarray(library.cells.means[1, ..., 3:6]).sum(axis=-1)
    np.testing.assert_allclose(speed2[np.isfinite(speed2)], v_c**2, rtol=1e-3)
    with pytest.raises(ValueError, match="moments"):
        dynamics.reweight(library, library.cells, moments=("v_x",))


def test_passages_and_the_other_sense(grid):
    _, _, library = grid
    there = library.passes(8.1, 0.5)
    i, j = np.searchsorted(R_EDGES, 8.1) - 1, np.searchsorted(Z_EDGES, 0.5) - 1
    np.testing.assert_array_equal(there.fraction, library.cells.mass[:, i, j])
    passing = np.asarray(there.fraction) > 0.0
    assert 0 < passing.sum() <= 48 and np.isfinite(there.v_R[passing]).all()
    back = library.mirrored()
    np.testing.assert_array_equal(back.passes(8.1, 0.5).v_phi[passing], -there.v_phi[passing])
    np.testing.assert_array_equal(back.passes(8.1, 0.5).v_R, there.v_R)
    one = library[3]
    assert one.J.shape == (3,) and one.passes(8.1, 0.5).fraction == there.fraction[3]
    assert np.isnan(library.passes(30.0, 0.0).fraction).all()


def test_points_in_cells_are_what_orbits_sum(grid):
    """The time average of an orbit is that of its integrated points."""
    x, v, library = grid
    times = jnp.linspace(0.0, 100.0 * float(library.period[20]), 20_001)
    along = jax.jit(lambda x, v, t: dynamics.integrate_orbit(DISC, x, v, t, steps=1))(x[20], v[20], times)
    cells = dynamics.points_in_cells(*(a[1:] for a in along), jnp.full(20_000, 5e-5), R_EDGES, Z_EDGES)
    np.testing.assert_allclose(cells.mass, library.cells.mass[20], atol=2e-4)
    np.testing.assert_allclose(cells.dispersions, library.cells.dispersions[20], rtol=0.05, equal_nan=True)


def test_weights_make_a_model_of_the_same_orbits(grid):
    """Of known weights: masses and moments come back, of fewer orbits without a penalty."""
    _, _, library = grid
    weights = np.random.default_rng(3).exponential(1.0, 48)
    target = library.cells.with_sums(jnp.tensordot(jnp.asarray(weights), library.cells.sums, 1))
    by_mass = dynamics.reweight(library, target)
    assert by_mass.rms < 0.1 and (by_mass.weights >= 0.0).all() and by_mass.used < 40
    spread = dynamics.reweight(library, target, smooth=1e-2)
    assert spread.used > by_mass.used
    whole = dynamics.reweight(library, target, moments=("v_R2", "v_z2", "v_phi"))
    full = np.asarray(target.mass) > 0.01 * float(jnp.sum(target.mass))
    np.testing.assert_allclose(whole.cells.mass[full], target.mass[full], rtol=1e-2)
    off = [np.abs(of.cells.dispersions / target.dispersions - 1.0)[full].max() for of in (by_mass, whole)]
    assert off[1] < 0.01 < off[0], "masses alone leave velocities open"


def test_reasons():
    x = jnp.array([[8.0, 0.0, 1.0], [8.0, np.nan, 1.0], [8.0, 0.0, 0.5], [0.02, 0.0, 0.01]])
    v = jnp.array([[0.0, 1500.0, 0.0], [0.0, 200.0, 0.0], [20.0, 150.0, 30.0], [300.0, 5.0, 200.0]])
    library = build(DISC, x, v, periods=10.0, steps_per_period=20)
    assert library.code.tolist()[:2] == [Result.OUTSIDE, Result.NONFINITE]
    assert library.code[3] == Result.INACCURATE and library.energy_error[3] > 1e-4
    assert np.isnan(library.J[:2]).all() and np.isfinite(library.J[2:]).all()
    with pytest.raises(ValueError, match="R_edges"):
        dynamics.build_orbit_library(DISC, x, v, R_edges=[1.0, 0.0], z_edges=Z_EDGES)
    with pytest.raises(ValueError, match=r"\(n, 3\)"):
        dynamics.build_orbit_library(DISC, x[0], v[0], R_edges=R_EDGES, z_edges=Z_EDGES)
    with pytest.raises(ValueError, match="circularity"):
        dynamics.launch_orbits(DISC, 8.0, 1.2, 0.5)
    other = dynamics.points_in_cells(x[2:], v[2:], jnp.ones(2), R_EDGES[:-1], Z_EDGES)
    with pytest.raises(ValueError, match="other cells"):
        dynamics.reweight(library, other)
