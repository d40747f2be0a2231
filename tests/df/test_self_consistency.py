"""Components that make their own potential: spheres stay themselves, galaxies settle; derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, params, potential

POINTS = [(0.1, 0.0), (1.0, 0.0), (3.0, 0.0), (0.0, 3.0), (10.0, 5.0), (50.0, 0.0)]
COARSE = df.DensityGrid(n_r=16, n_theta=4, r_min=0.03, r_max=300.0)
FLAT = df.DensityGrid(n_r=10, n_theta=5, r_min=0.1, r_max=60.0)


def test_an_isochrone_finds_itself():
    """From the potential of another: f alone says what it is."""
    sphere = df.IsochroneSphere(M=1e11, b=3.0)
    found = eqx.filter_jit(
        lambda f: df.self_consistent({"stars": f}, potential.Isochrone(M=1e11, b=2.0), grid=COARSE)
    )(sphere)
    assert bool(found.converged) and int(found.iterations) <= 10
    exact, ours = potential.Isochrone(M=1e11, b=3.0), potential.expand(found.potential)
    off = [float(ours.Phi_Rz(R, z) / exact.Phi_Rz(R, z)) - 1.0 for R, z in POINTS]
    assert np.max(np.abs(off)) < 1e-3, off
    first = potential.Isochrone(M=1e11, b=2.0).Phi_Rz(0.1, 0.0) / exact.Phi_Rz(0.1, 0.0)
    assert float(first) - 1.0 > 0.4


@pytest.fixture(scope="module")
def galaxy():
    """A disc and a rotating bulge in a fixed halo, of two of their parameters; and these."""
    disc = df.QuasiIsothermal(R_d=2.5, sigma_r0=140.0, R_sigma=6.0, H_d=0.4, Sigma_0=6e8)
    bulge = df.DoublePowerLaw(norm=2e10, J_0=150.0, slope_in=1.2, slope_out=6.0, rotation=0.5, J_phi0=100.0)
    halo = potential.NFW(rho_s=8e6, r_s=16.0)
    start = potential.Sum(disc=potential.MiyamotoNagai(M=3e10, a=2.5, b=0.3), halo=halo)

    def settled(numbers, tol=1e-4):
        components = {
            "disc": params.replace(disc, {"Sigma_0": numbers["Sigma_0"]}),
            "bulge": params.replace(bulge, {"J_0": numbers["J_0"]}),
        }
        return df.self_consistent(components, start, halo, grid=FLAT, tol=tol)

    return settled, {"Sigma_0": jnp.asarray(6e8), "J_0": jnp.asarray(150.0)}


@pytest.mark.slow
def test_a_galaxy_of_two_components_settles_and_its_derivatives_are_implicit(galaxy):
    settled, numbers = galaxy

    def v_c(numbers):
        found = settled(numbers)
        pot = potential.expand(found.potential)
        z = jnp.array([0.05, 1.0])
        rho = jax.vmap(lambda z: found.potential["bulge"].rho(1.0, z))(z)
        return potential.circular_velocity(pot, 6.0), (found.iterations, found.change, found.converged, rho)

    both = jax.jit(jax.value_and_grad(v_c, has_aux=True))
    (speed, (iterations, change, converged, rho)), slopes = both(numbers)
    assert bool(converged) and float(change) < 1e-4 and int(iterations) <= 12
    assert 150.0 < float(speed) < 260.0 and float(rho[0]) > 1.5 * float(rho[1])
    # Both parameters at once, by a share of themselves.
    ahead, behind = (both({k: (1.0 + h) * u for k, u in numbers.items()})[0][0] for h in (0.02, -0.02))
    slope, numeric = sum(float(slopes[k] * numbers[k]) for k in numbers), float(ahead - behind) / 0.04
    # Rounds end where densities stay to 1e-4: v_c to some 1e-5, of a difference of 2e-2.
    assert slope == pytest.approx(numeric, rel=1e-2)
    assert abs(numeric) > 30.0


@pytest.mark.parametrize(
    ("components", "grid", "message"),
    [
        ({}, None, "at least one component"),
        ({"external": df.IsochroneSphere(M=1e11, b=3.0)}, None, "otherwise"),
        ({"stars": df.IsochroneSphere(M=1e11, b=3.0)}, {"star": COARSE}, "grids are for"),
    ],
)
def test_bad_input(components, grid, message):
    with pytest.raises(ValueError, match=message):
        df.self_consistent(components, potential.Isochrone(M=1e11, b=3.0), grid=grid)


def test_bad_grids():
    with pytest.raises(ValueError, match="at least"):
        df.DensityGrid(n_r=3)
    with pytest.raises(ValueError, match="r_min < r_max"):
        df.DensityGrid(r_min=10.0, r_max=1.0)
