"""Derived quantities: in spheres where they are known, against each other, and their derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, model, params, potential, stars
from oortax.survey import Sun

CLUMP = stars.Gaussian(mean=0.8, sigma=0.3)
M, B = 1e11, 3.0
ROUND = model.Galaxy(
    potential.Isochrone(M=M, b=B), {"all": model.Component(df.IsochroneSphere(M=M, b=B), CLUMP)}
)
THIN = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3)
HALO = df.DoublePowerLaw(norm=1e10, J_0=500.0, slope_in=1.5, slope_out=4.3, c_r_in=1.2, c_r_out=1.2)
FLAT = model.Galaxy(
    potential.Sum(
        disc=potential.MiyamotoNagai(M=6.8e10, a=3.0, b=0.28), halo=potential.NFW(rho_s=8.5e6, r_s=16.0)
    ),
    {"thin": model.Component(THIN, CLUMP, weight=0.9), "halo": model.Component(HALO, CLUMP)},
)
DISC = model.Galaxy(FLAT.potential, {"thin": model.Component(THIN, CLUMP)})
PATHS = ("potential.disc.M", "potential.halo.r_s", "components.thin.df.sigma_r0", "components.thin.weight")


@eqx.filter_jit
def of_sphere(galaxy):
    place = 2.0, 1.5
    return (
        model.kinematics(galaxy, *place, finder=dynamics.IsochroneFinder, amount=M, refine=2.0),
        model.flattening(galaxy, 4.0, finder=dynamics.IsochroneFinder),
        model.stars_within(galaxy, 5.0, finder=dynamics.IsochroneFinder, amount=M, refine=1.5),
    )


def test_an_isochrone():
    """Isotropic, round, of known mass and density; sigma from Jeans's equation."""
    local, q, within = of_sphere(ROUND)
    found = local.components["all"]
    r = np.hypot(2.0, 1.5)
    # The rules over velocities are good to some 1e-3.
    rho = float(potential.density(ROUND.potential, jnp.array([2.0, 0.0, 1.5])))
    assert float(found.density) == pytest.approx(rho, rel=1e-3)
    assert abs(float(found.beta)) < 2e-3
    assert abs(float(found.v_phi)) < 1e-6
    v_c = float(potential.circular_velocity(ROUND.potential, 2.0))
    assert float(found.asymmetric_drift) == pytest.approx(v_c, rel=1e-6)
    # rho sigma^2 = int_r^inf rho dPhi/dr dr, over ln r.
    s = jnp.exp(jnp.linspace(jnp.log(r), jnp.log(1e4 * r), 4001))
    density = jax.vmap(lambda s: ROUND.potential.rho(s, 0.0))(s)
    force = jax.vmap(jax.grad(lambda s: ROUND.potential.Phi_Rz(s, 0.0)))(s)
    pressure = np.trapezoid(np.asarray(density * force * s), np.log(np.asarray(s)))
    np.testing.assert_allclose(found.sigma, np.sqrt(pressure / rho), rtol=2e-3)
    for ours, others in zip(local.total, found, strict=True):
        np.testing.assert_allclose(ours, others, rtol=1e-12)
    assert float(q["all"]) == pytest.approx(1.0, abs=2e-3)
    mass = float(model.enclosed_mass(ROUND.potential, 5.0))
    assert float(within["all"]) == pytest.approx(mass, rel=2e-3)
    assert 0.2 * M < mass < 0.5 * M


def test_an_isochrone_s_derivatives():
    """In the potential and in f together: those of formulae."""

    @jax.jit
    def ln_density(b):
        both = {"potential.b": b, "components.all.df.b": b}
        galaxy = params.replace(ROUND, both)
        return jnp.log(model.kinematics(galaxy, 2.0, 1.5, finder=dynamics.IsochroneFinder).total.density)

    exact = jax.grad(lambda b: jnp.log(potential.Isochrone(M=M, b=b).rho(2.0, 1.5)))(B)
    assert float(jax.jit(jax.grad(ln_density))(B)) == pytest.approx(float(exact), rel=5e-3)
    assert float(exact) < -0.3


@eqx.filter_jit
def at_places(galaxy):
    """Numbers of all kinds."""
    local = model.kinematics(galaxy, 8.0, 1.0)
    return local, model.flattening(galaxy, 8.0)["halo"], model.masses_within(galaxy, 8.0)["disc"]


def numbers(galaxy):
    """Some of them as a vector; densities and masses as their logarithms."""
    local, q, mass = at_places(galaxy)
    thin, total = local.components["thin"], local.total
    return jnp.stack(
        [jnp.log(thin.density), thin.v_phi, thin.sigma[0], 100.0 * thin.tilt, 10.0 * total.beta]
        + [total.sigma[2], 100.0 * q, jnp.log(mass)]
    )


def test_a_galaxy_s_quantities_are_those_of_its_parts():
    @eqx.filter_jit
    def separately(pot):
        thin, halo = (part.bind(dynamics.circular_orbits(pot)) for part in (THIN, HALO))
        at = pot, dynamics.StaeckelFudge(pot), 8.0, 1.0
        both = df.Mixture({"thin": thin, "halo": halo}, [0.9, 0.1])
        return df.tilt(thin, *at), df.anisotropy(both, *at), df.moments(both, *at)

    tilt, beta, mixed = separately(FLAT.potential)
    local, _, _ = at_places(FLAT)
    thin, total = local.components["thin"], local.total
    assert float(thin.tilt) == pytest.approx(float(tilt), rel=1e-9)
    assert float(total.beta) == pytest.approx(float(beta), rel=1e-9)
    assert float(total.density) == pytest.approx(float(mixed.density), rel=1e-9)
    np.testing.assert_allclose(total.sigma**2, np.diag(mixed.dispersion), rtol=1e-9)
    v_c = float(potential.circular_velocity(FLAT.potential, 8.0))
    assert float(total.asymmetric_drift) == pytest.approx(v_c - float(mixed.mean[1]), rel=1e-9)
    # The ellipsoid of the disc points to between the plane's direction and the centre.
    assert 0.0 < thin.tilt < 1.1 * np.arctan(1.0 / 8.0)


def test_the_halo_s_flattening_is_where_densities_agree():
    _, q, _ = at_places(FLAT)

    @eqx.filter_jit
    def log_densities(pot, R, z):
        finder = dynamics.StaeckelFudge(pot)
        return jax.lax.map(lambda place: df.log_density(HALO, pot, finder, *place), (R, z))

    on_axis, in_plane = log_densities(FLAT.potential, jnp.array([0.0, 8.0]), jnp.stack([8.0 * q, 0.0 * q]))
    # c_z = c_phi, in a disc's potential: somewhat flattened.
    assert 0.5 < float(q) < 0.95
    # A parabola is followed to the root.
    assert float(on_axis) == pytest.approx(float(in_plane), abs=1e-5)


def test_stars_of_a_disc_within_a_radius():
    """Nearly all of them within 40 kpc, and of a cold one the shares of its surface density."""
    cold = params.replace(DISC, {"components.thin.df.sigma_r0": 30.0, "components.thin.df.H_d": 0.2})

    @eqx.filter_jit
    def within(galaxy, r):
        return model.stars_within(galaxy, r, amount=1e10)["thin"]

    assert float(within(cold, jnp.asarray(40.0))) == pytest.approx(1e10, rel=3e-3)
    x = 8.0 / 2.6
    # f's rings are of guiding centres: corrections of order (sigma/v_c)^2 R/R_d.
    share = 1.0 - (1.0 + x) * np.exp(-x)
    assert float(within(cold, jnp.asarray(8.0))) == pytest.approx(share * 1e10, rel=0.01)


def test_the_velocity_ellipsoid_of_a_cold_disc():
    """sigma_r0 exp(-R/R_sigma), sigma_phi/sigma_R = kappa/2 Omega, and Stroemberg's drift."""
    cold = params.replace(DISC, {"components.thin.df.sigma_r0": 40.0, "components.thin.df.H_d": 0.1})

    @eqx.filter_jit
    def of(galaxy):
        return model.kinematics(galaxy, 8.0, 0.0, refine=1.5).components["thin"]

    found = of(cold)
    expected = 40.0 * np.exp(-8.0 / 6.5)
    Omega, kappa, _ = (float(part) for part in potential.frequencies(FLAT.potential, 8.0))
    # All to first order in (sigma_R/v_c)^2 = 3e-3, times R/R_d + 2 R/R_sigma = 5.5.
    assert float(found.sigma[0]) == pytest.approx(expected, rel=0.02)
    assert float(found.sigma[1] / found.sigma[0]) == pytest.approx(0.5 * kappa / Omega, rel=0.02)
    fall = 8.0 / 2.6 + 2.0 * 8.0 / 6.5
    drift = expected**2 / (2.0 * Omega * 8.0) * (0.25 * (kappa / Omega) ** 2 - 1.0 + fall)
    assert float(found.asymmetric_drift) == pytest.approx(drift, rel=0.05)
    # In the plane the ellipsoid lies along R.
    assert abs(float(found.tilt)) < 1e-12


@pytest.mark.slow
def test_derivatives():
    values = {path: float(params.get(FLAT, path)) for path in PATHS}

    @eqx.filter_jit
    def slopes(logs):
        at = {path: value * jnp.exp(log) for (path, value), log in zip(values.items(), logs, strict=True)}
        return numbers(params.replace(FLAT, at))

    exact, middle = np.asarray(jax.jit(jax.jacfwd(slopes))(jnp.zeros(len(PATHS)))), np.asarray(numbers(FLAT))
    for column, (path, value) in enumerate(values.items()):
        high, low = (
            np.asarray(numbers(params.replace(FLAT, {path: value * np.exp(h)}))) for h in (1e-3, -1e-3)
        )
        numeric = (high - low) / 2e-3
        # A disc's nodes move with the parameters, but not in the derivative, so that the rule's error, some
        # 5e-3 of a dispersion, has a slope of its own.
        size = np.maximum(np.abs(middle), 1.0)
        assert np.all(np.abs(exact[:, column] - numeric) < 0.02 * np.abs(numeric) + 3e-3 * size), path
        assert np.max(np.abs(numeric) / size) > 0.1, path


def test_reverse_derivatives_and_draws():
    def drift(galaxy):
        return model.kinematics(galaxy, 8.0).components["thin"].asymmetric_drift

    sigma_r0 = "components.thin.df.sigma_r0"
    each = model.over_draws(drift, DISC, {sigma_r0: np.array([119.0, 120.0, 121.0])})
    assert each.shape == (3,)
    value, gradient = eqx.filter_jit(eqx.filter_value_and_grad(drift))(DISC)
    assert float(each[1]) == pytest.approx(float(value), rel=1e-9)
    leaves = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
    assert np.all(np.isfinite(leaves)) and np.sum(leaves != 0.0) > 6
    # As above; 0.2 km/s per km/s.
    numeric = 0.5 * float(each[2] - each[0])
    assert float(params.get(gradient, sigma_r0)) == pytest.approx(numeric, rel=0.02) and numeric > 0.1


@pytest.mark.parametrize(
    "draws", [{}, {"potential.disc.M": 1.0}, {"potential.disc.M": [1.0], "potential.disc.a": [1.0, 2.0]}]
)
def test_draws_of_no_or_of_different_length(draws):
    with pytest.raises(ValueError, match="one value per draw"):
        model.over_draws(lambda galaxy: 0.0, FLAT, draws)
    with pytest.raises(ValueError, match="no parameter"):
        model.over_draws(lambda galaxy: 0.0, FLAT, {"potential.disk.M": [1.0]})


def test_at_the_sun():
    sun = Sun(R0=8.0, z0=0.1)
    found = eqx.filter_jit(lambda galaxy: model.at_the_sun(galaxy, sun, 1.1, amount=1e10))(DISC)
    pot = DISC.potential
    assert float(found["v_c"]) == pytest.approx(float(potential.circular_velocity(pot, 8.0)))
    rho = float(potential.density(pot, jnp.array([8.0, 0.0, 0.1])))
    assert float(found["rho"]) == pytest.approx(rho, rel=1e-12)
    assert float(found["rho.disc"] + found["rho.halo"]) == pytest.approx(rho, rel=1e-12)
    assert found["rho.disc"] > found["rho.halo"] > 0.0
    # The disc's column by its own density, and the halo's, which hardly changes with height.
    z = np.linspace(0.0, 1.1, 1101)
    column = 2.0 * np.trapezoid(np.asarray(jax.vmap(lambda z: pot.rho(8.0, z))(jnp.asarray(z))), z)
    assert float(found["Sigma"]) == pytest.approx(column, rel=1e-5)
    assert float(found["K_z"]) == pytest.approx(-2.0 * np.pi * 4.30091727e-6 * float(found["K_z_over_2piG"]))
    assert {f"thin.{name}" for name in ("density", "v_phi", "asymmetric_drift", "tilt", "beta")} < set(found)
    # sigma_r0 exp(-R/R_sigma) and kappa/(2 Omega) times it: a warm disc, whose sigma_phi is 14 % higher.
    sigma = [float(found[f"thin.sigma_{axis}"]) for axis in ("R", "phi", "z")]
    np.testing.assert_allclose(sigma[:2], 120.0 * np.exp(-8.0 / 6.5) * np.array([1.0, 0.68]), rtol=0.2)
    assert 15.0 < sigma[2] < 30.0
    # The exponential disc's surface density, Gaussian in z with sigma_z/nu = 2^0.5 H_d as in a harmonic
    # potential: to 10 %, that is not so harmonic.
    column, width = 1e10 / (2.0 * np.pi * 2.6**2) * np.exp(-8.0 / 2.6), np.sqrt(2.0) * 0.3
    gaussian = np.exp(-0.5 * (0.1 / width) ** 2) / (np.sqrt(2.0 * np.pi) * width)
    assert float(found["thin.density"]) == pytest.approx(column * gaussian, rel=0.15)
    assert all(np.shape(value) == () for value in found.values())
    # Without stars, the potential's part alone.
    bare = model.at_the_sun(model.Galaxy(potential.NFW(rho_s=1e7, r_s=16.0)), sun)
    assert set(bare) == {"v_c", "K_z", "K_z_over_2piG", "Sigma", "rho"}


def test_masses_within_add_up():
    each = model.masses_within(FLAT, 10.0)
    total = float(model.enclosed_mass(FLAT.potential, 10.0))
    assert float(each["disc"] + each["halo"]) == pytest.approx(total, rel=1e-12)
    x = 10.0 / 16.0
    assert float(each["halo"]) == pytest.approx(
        4 * np.pi * 8.5e6 * 16.0**3 * (np.log1p(x) - x / (1 + x)), rel=1e-9
    )
