"""The isochrone sphere: its f(J) makes the density that its potential says."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, potential
from oortax.constants import G
from oortax.df.isochrone_sphere import _bracket_over_e2

M, B = 5e10, 2.0
SPHERE = df.IsochroneSphere(M=M, b=B)
POT = potential.Isochrone(M=M, b=B)


def test_f_is_a_function_of_the_energy_alone():
    finder = dynamics.IsochroneFinder(POT)
    v = jnp.array([[60.0, 80.0, 30.0], [0.0, 0.0, np.sqrt(60.0**2 + 80.0**2 + 30.0**2)]])
    x = jnp.array([3.0, 0.0, 1.0])
    one, other = (finder.actions(x, v_k) for v_k in v)
    assert np.max(np.abs(one - other)) > 10.0
    # The finder's actions are good to rounding, 1e-13.
    assert float(SPHERE.log_f(one)) == pytest.approx(float(SPHERE.log_f(other)), abs=1e-11)


@pytest.mark.parametrize("r", [0.05, 1.0, 6.0, 40.0])
def test_density_is_the_potential_s(r):
    # rho = 4 pi int f v^2 dv at fixed r, of radial and circular velocities alike; v = v_esc sin(t).
    finder = dynamics.IsochroneFinder(POT)
    x = jnp.array([r, 0.0, 0.0])
    v_esc = jnp.sqrt(-2.0 * POT.Phi(x))
    nodes, weights = np.polynomial.legendre.leggauss(60)
    t, weights = 0.25 * np.pi * (nodes + 1.0), 0.25 * np.pi * weights
    v = v_esc * np.sin(t)

    @jax.jit
    def f(v):
        return jnp.exp(jax.vmap(lambda v: SPHERE.log_f(finder.actions(x, v * jnp.array([0.6, 0.0, 0.8]))))(v))

    rho = 4.0 * np.pi * np.sum(weights * f(v) * v**2 * v_esc * np.cos(t))
    # 60 Gauss nodes of an integrand that is smooth in t.
    assert float(rho) == pytest.approx(float(potential.density(POT, x)), rel=1e-9)


def test_mass_by_quadrature():
    got = df.action_integral(SPHERE.log_f, float(jnp.sqrt(G * M * B)))
    # f falls as D^-5, (1e3/1e12)^2 beyond the last action; the label is curved, so that the rule over
    # directions converges more slowly than for double power laws.
    assert float(got.value) == pytest.approx(M, rel=1e-7)
    assert float(SPHERE.mass()) == M


def test_centre_and_edge():
    # At J = 0: e = 1/2, braces 27 - 33 + 80 - 30 + 4 + 3 (4 + 14 - 9) pi/2.
    braces = 48.0 + 13.5 * np.pi
    expected = M / (np.sqrt(2.0) * (2 * np.pi) ** 3 * (G * M * B) ** 1.5) * np.sqrt(0.5) * braces
    assert float(jnp.exp(SPHERE.log_f(jnp.zeros(3)))) == pytest.approx(expected, rel=1e-12)
    # Far out f goes as e^(5/2) or D^-5.
    slope = jax.grad(lambda s: SPHERE.log_f(jnp.exp(s) * jnp.array([1.0, 1.0, 1.0])))(jnp.log(1e9))
    assert float(slope) == pytest.approx(-5.0, rel=1e-5)


def test_series_joins_the_closed_form():
    below, above = _bracket_over_e2(jnp.array(0.1 - 1e-12)), _bracket_over_e2(jnp.array(0.1 + 1e-12))
    # At the join the closed form has lost a digit: 27/4 of its rounding.
    assert float(below) == pytest.approx(float(above), rel=1e-11)
    assert float(_bracket_over_e2(jnp.array(0.0))) == pytest.approx(409.6, rel=1e-14)


def test_moments_of_the_sphere():
    # The velocity dispersion of the isotropic isochrone by the Jeans equation: int_r^inf rho dPhi/dr dr/rho.
    r = 4.0
    s = np.exp(np.linspace(np.log(r), np.log(1e5), 20001))
    x = jnp.asarray(np.stack([s, 0 * s, 0 * s], axis=1))
    rho = np.asarray(jax.vmap(lambda x: potential.density(POT, x))(x))
    force = -np.asarray(jax.vmap(lambda x: potential.acceleration(POT, x)[0])(x))
    jeans = np.trapezoid(rho * force * s, np.log(s)) / rho[0]
    local = df.moments(SPHERE, POT, dynamics.IsochroneFinder(POT), 0.6 * r, 0.8 * r, refine=2.0)
    # The default rule over velocities at twice its nodes.
    assert float(local.density) == pytest.approx(rho[0], rel=2e-3)
    np.testing.assert_allclose(np.diag(local.dispersion), jeans, rtol=5e-3)


def test_points_and_parameters_share_one_program():
    """Outside jit, too: at another place, and of another mass, nothing is traced again."""
    traces = []

    class Counted(eqx.Module):
        finder: dynamics.IsochroneFinder

        def actions(self, x, v):
            traces.append(1)
            return self.finder.actions(x, v)

    def at(R, M):
        pot, sphere = potential.Isochrone(M=M, b=B), df.IsochroneSphere(M=M, b=B)
        finder = Counted(dynamics.IsochroneFinder(pot))
        found = df.moments(sphere, pot, finder, R, 1.0), df.log_density(sphere, pot, finder, R, 1.0)
        return float(found[0].density), float(found[1])

    density, log_density = at(3.0, M)
    once = len(traces)
    assert once > 0 and log_density == pytest.approx(np.log(density), abs=1e-9)
    assert at(2.0, M)[0] > density and at(3, 2.0 * M)[0] == pytest.approx(2.0 * density, rel=1e-9)
    assert len(traces) == once
