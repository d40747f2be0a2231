"""Delta^2(E, L_z): smoothness, derivatives, positivity, and the value in a Staeckel potential."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import params, potential
from oortax.dynamics import StaeckelFudge
from oortax.dynamics.circular import ring
from oortax.dynamics.delta import focal_distance, local_focal_distance2
from oortax.results import Result

POT = potential.mw_potential_2014()
# Flat rotation curves make energies of -1.5e5 to -2e4 (km/s)^2 the disc and the halo.
ENERGIES = jnp.linspace(-1.4e5, -3e4, 301)


@pytest.fixture(scope="module", name="focal")
def _focal():
    return jax.jit(focal_distance)(POT)


def test_smooth_in_energy_and_angular_momentum(focal):
    along_E = jax.vmap(lambda E: focal(E, 900.0))(ENERGIES)
    assert np.all(along_E > 0.0)
    slope = jax.vmap(jax.grad(lambda E: focal(E, 900.0)))(ENERGIES)
    # Cumulated slopes give back the function: no jump hides between neighbours.
    step = float(ENERGIES[1] - ENERGIES[0])
    jumps = jnp.diff(along_E) - 0.5 * step * (slope[1:] + slope[:-1])
    assert np.max(np.abs(jumps)) < 2e-3 * np.max(along_E)
    assert np.all(np.isfinite(np.array([focal(E, L) for E in (-1e9, 0.0, 1e9) for L in (0.0, 1e9)])))


def test_derivatives_match_differences(focal):
    for E in (-1.2e5, -7e4):
        for L in (200.0, 1500.0):
            exact = jax.grad(focal, argnums=(0, 1))(E, L)
            for index, h in ((0, 10.0), (1, 0.1)):
                up = [E + h * (index == 0), L + h * (index == 1)]
                down = [E - h * (index == 0), L - h * (index == 1)]
                difference = (focal(*up) - focal(*down)) / (2.0 * h)
                assert exact[index] == pytest.approx(float(difference), rel=1e-5, abs=1e-12)


def test_derivative_in_the_disc_height():
    def value(b):
        return focal_distance(params.replace(POT, {"disc.b": b}))(-1e5, 800.0)

    value_at, b, h = jax.jit(value), 0.28, 1e-4
    difference = (value_at(b + h) - value_at(b - h)) / (2.0 * h)
    assert jax.jit(jax.jacfwd(value))(b) == pytest.approx(float(difference), rel=1e-6)


def test_spherical_potentials_have_none():
    sphere = potential.Isochrone(M=8e10, b=3.0)
    assert abs(local_focal_distance2(sphere, jnp.array(5.0), jnp.array(2.0))) < 1e-8
    orbit = ring(sphere, jnp.array(5.0))
    E = orbit.Phi + 2.5 * orbit.Phi_R
    assert 0.0 < focal_distance(sphere)(E, 100.0) < 1e-2 * 25.0


def test_positive_beyond_a_thin_disc():
    """Where Delta^2 turns from 23 to -69 kpc^2 between two knots, and polynomials through it overshoot."""
    pot = potential.Sum(
        bulge=potential.Hernquist(M=1e10, a=0.5),
        disc=potential.ExponentialDisc(Sigma_0=7.5e8, R_d=2.8, z_d=0.3),
        halo=potential.NFW(rho_s=8e6, r_s=18.0),
    )
    finder = eqx.filter_jit(lambda pot: StaeckelFudge(pot))(pot)
    assert local_focal_distance2(finder.potential, 20.0, 2.0) < -10.0
    E, L_z = jnp.meshgrid(jnp.linspace(-1.4e5, -6e4, 400), jnp.linspace(0.0, 3000.0, 20))
    assert np.all(jax.vmap(finder.focal)(E.ravel(), L_z.ravel()) > 0.0)
    # Nearly radial, at E = -1.004e5, where the table's polynomials reach -0.26 kpc^2.
    x, v = jnp.array([0.97263438, 0.0, 7.98112155]), jnp.array([0.0, 10.86606004, 270.95552673])
    found = eqx.filter_jit(finder.actions_and_code)(x, v)
    assert found.code == Result.OK and np.all(np.isfinite(found.J))
    assert np.all(np.isfinite(eqx.filter_jit(jax.jacrev(lambda x: finder.actions(x, v)))(x)))


@pytest.mark.parametrize(("q", "prolate"), [(0.8, False), (1.3, True)])
def test_prolate_potentials_are_told(q, prolate):
    """A halo alone is one or the other for all orbits; in either case Delta^2 is positive."""
    focal = focal_distance(potential.LogarithmicHalo(v_0=170.0, r_c=3.0, q=q))
    E, L_z = focal.E[8:24, None], jnp.array([0.0, 0.4, 0.8]) * focal.table[8:24, 5:6]
    told = jax.vmap(jax.vmap(focal.prolate, (None, 0)), (0, 0))(E[:, 0], L_z)
    assert np.all(np.asarray(told) == prolate)
    assert np.all(np.asarray(jax.vmap(jax.vmap(focal, (None, 0)), (0, 0))(E[:, 0], L_z)) > 0.0)
