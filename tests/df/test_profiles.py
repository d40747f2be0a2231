"""Moments and marginal distributions against brute force, each other and what theory says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, params, potential

POT = potential.MiyamotoNagai(M=1.2e11, a=3.0, b=0.3)
FINDER = dynamics.StaeckelFudge(POT)
ORBITS = jax.jit(dynamics.circular_orbits)(POT)
THIN = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3, Sigma_0=8e8)
HALO = df.DoublePowerLaw(norm=1e10, J_0=500.0, slope_in=1.5, slope_out=4.3, rotation=0.4, J_phi0=300.0)
BOTH = df.Mixture({"thin": THIN, "halo": HALO}, {"thin": 0.8, "halo": 0.2})
SPHERE, ROUND = df.IsochroneSphere(M=1e11, b=3.0), potential.Isochrone(M=1e11, b=3.0)


@jax.jit
def _moments(f, R, z):
    return jax.vmap(lambda R, z: df.moments_with_error(f.bind(ORBITS), POT, FINDER, R, z))(R, z)


@jax.jit
def _brute_force(f, R, z, middle, width):
    """Trapezoidal sums over a box of velocities, 7 widths to all sides, 40 nodes an axis in half of it."""
    steps = jnp.linspace(-7.0, 7.0, 40)
    u = jnp.stack(jnp.meshgrid(steps, steps, steps[20:], indexing="ij"), axis=-1).reshape(-1, 3)
    v = middle + width * jnp.stack([u[:, 0], u[:, 1], u[:, 2]], axis=1)
    x = jnp.stack([R, 0.0, z])
    values = jnp.exp(jax.lax.map(lambda v: f.bind(ORBITS).log_f(FINDER.actions(x, v)), v, batch_size=2000))
    cell = 2.0 * jnp.prod(width) * (steps[1] - steps[0]) ** 3
    mean = values @ v[:, 1] / values.sum()
    off = v - jnp.array([0.0, mean, 0.0])
    return values.sum() * cell, mean, jnp.einsum("n,ni,nj->ij", values, off, off) / values.sum()


@pytest.mark.parametrize(("z", "middle", "width"), [(0.3, 200.0, 36.0), (3.0, 140.0, 44.0)])
def test_moments_of_a_disc_high_above_the_plane(z, middle, width):
    """Stars there lag and are hotter than those of the plane: a rule for the plane misses their tail."""
    found, error = jax.tree.map(lambda leaf: leaf[0], _moments(THIN, jnp.array([8.0]), jnp.array([z])))
    density, mean, dispersion = _brute_force(THIN, 8.0, z, jnp.array([0.0, middle, 0.0]), jnp.full(3, width))
    # The box's sums are good to 1e-4 and better; the rule cuts at 4.6 dispersions.
    assert float(found.density) == pytest.approx(float(density), rel=2e-3)
    assert float(found.mean[1]) == pytest.approx(float(mean), abs=0.1)
    sigma, expected = (np.sqrt(np.diag(np.asarray(part))) for part in (found.dispersion, dispersion))
    np.testing.assert_allclose(sigma, expected, rtol=5e-3)
    assert float(found.dispersion[0, 2]) == pytest.approx(float(dispersion[0, 2]), rel=0.02)
    # The difference of two rules tells the size of the error.
    assert 0.0 < float(error.density) < 5e-3 * float(density)


def test_a_mixture_is_the_sum_of_its_components():
    R, z = jnp.array([8.0, 5.0]), jnp.array([0.5, 4.0])
    both, _ = _moments(BOTH, R, z)

    @jax.jit
    def parts(R, z):
        f = BOTH.bind(ORBITS)
        return (
            jax.vmap(lambda R, z: df.component_moments(f, POT, FINDER, R, z, 1.5))(R, z),
            jax.vmap(lambda R, z: df.log_density(f, POT, FINDER, R, z, 1.5))(R, z),
        )

    each, log_density = parts(R, z)
    assert set(each) == {"thin", "halo"}
    density = each["thin"].density + each["halo"].density
    np.testing.assert_allclose(both.density, density, rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_density), density, rtol=1e-12)
    share = each["thin"].density / density
    mean = share * each["thin"].mean[:, 1] + (1.0 - share) * each["halo"].mean[:, 1]
    np.testing.assert_allclose(both.mean[:, 1], mean, rtol=1e-12)
    # Second moments about rest add up.
    second = lambda part: part.dispersion + part.mean[:, :, None] * part.mean[:, None, :]  # noqa: E731
    expected = share[:, None, None] * second(each["thin"]) + (1.0 - share)[:, None, None] * second(
        each["halo"]
    )
    np.testing.assert_allclose(second(both), expected, rtol=1e-10, atol=1e-8)
    assert share[0] > 0.9 and share[1] < 0.5
    with pytest.raises(ValueError, match="no components"):
        df.component_moments(HALO, POT, FINDER, 8.0, 0.0)


@pytest.mark.parametrize("along", ["R", "phi", "z", (0.5, -0.7, 0.4)])
def test_marginal_distributions_have_the_moments(along):
    v = jnp.linspace(-420.0, 420.0, 85)

    @jax.jit
    def both(f):
        f = f.bind(ORBITS)
        return df.velocity_distribution(f, POT, FINDER, 8.0, 0.8, v, along), df.moments(
            f, POT, FINDER, 8.0, 0.8, 1.5
        )

    p, found = both(THIN)
    direction = np.asarray(df.profiles.DIRECTIONS[along] if isinstance(along, str) else along, float)
    direction = direction / np.linalg.norm(direction)
    step = float(v[1] - v[0])
    # A smooth function that vanishes at the ends, spaced by a third of its width: sums are exact to 1e-4.
    density = float(p.sum()) * step
    mean = float(p @ v) * step / density
    variance = float(p @ (v - mean) ** 2) * step / density
    assert density == pytest.approx(float(found.density), rel=3e-3)
    assert mean == pytest.approx(float(direction @ found.mean), abs=0.2)
    assert variance == pytest.approx(float(direction @ found.dispersion @ direction), rel=1e-2)
    assert float(p.min()) >= 0.0


def test_an_isotropic_sphere():
    finder = dynamics.IsochroneFinder(ROUND)
    v = jnp.linspace(-400.0, 400.0, 41)

    @jax.jit
    def everything():
        each = [df.velocity_distribution(SPHERE, ROUND, finder, 2.0, 1.0, v, along) for along in "Rz"]
        each.append(df.velocity_distribution(SPHERE, ROUND, finder, 2.0, 1.0, v))
        beta = df.anisotropy(SPHERE, ROUND, finder, 2.0, 1.0, 2.0)
        return jnp.stack(each), beta, df.moments(SPHERE, ROUND, finder, 2.0, 1.0, 2.0)

    p, beta, found = everything()
    rho = float(potential.density(ROUND, jnp.array([2.0, 0.0, 1.0])))
    assert float(found.density) == pytest.approx(rho, rel=1e-3)
    # f is a function of E alone, smooth across L = 0: all directions agree, to the rules' accuracy.
    np.testing.assert_allclose(p[0], p[2], atol=2e-3 * float(p.max()))
    np.testing.assert_allclose(p[1], p[2], atol=2e-3 * float(p.max()))
    assert float(p[2].sum() * (v[1] - v[0])) == pytest.approx(rho, rel=3e-3)
    assert abs(float(beta)) < 5e-3


def test_columns_drift_and_tilt():
    @jax.jit
    def of(f):
        f = f.bind(ORBITS)
        z = jnp.linspace(0.0, 4.0, 41)
        density = jax.lax.map(lambda z: df.moments(f, POT, FINDER, 8.0, z).density, z)
        return (
            df.surface_density(f, POT, FINDER, 8.0, 4.0),
            density,
            df.asymmetric_drift(f, POT, FINDER, 8.0),
            df.tilt(f, POT, FINDER, 8.0, 1.0),
        )

    column, density, drift, tilt = of(THIN)
    weights = np.full(41, 2.0)
    weights[1::2], weights[[0, -1]] = 4.0, 1.0
    # Simpson's rule of 0.1 kpc is good to some 1e-3 where the density is cusped at the plane.
    assert float(column) == pytest.approx(2.0 * 0.1 / 3.0 * float(weights @ density), rel=3e-3)
    # Stroemberg's relation (Binney & Tremaine 2008, eq. 4.228), which leaves out terms of second order.
    scale = THIN.bind(ORBITS).velocity_scale(POT, jnp.asarray(8.0), jnp.asarray(0.0))
    expected = float(potential.circular_velocity(POT, 8.0) - scale.mean[1])
    assert float(drift) == pytest.approx(expected, rel=0.35) and drift > 3.0
    # Ellipsoids point between the plane's direction and the centre.
    assert 0.0 < float(tilt) < 1.1 * np.arctan(1.0 / 8.0)


def test_derivatives_of_moments():
    @jax.jit
    def local(sigma):
        f = params.replace(THIN, {"sigma_r0": sigma}).bind(ORBITS)
        found = df.moments(f, POT, FINDER, 8.0, 1.0, 1.5)
        return jnp.stack([jnp.log(found.density), found.mean[1], found.dispersion[0, 0]])

    slope, h = jax.jit(jax.jacfwd(local))(120.0), 0.5
    numeric = (local(120.0 + h) - local(120.0 - h)) / (2.0 * h)
    # Nodes are laid out without derivatives: they differ by what the rule's error changes.
    np.testing.assert_allclose(slope, numeric, rtol=1e-2)
    assert abs(float(slope[2])) > 5.0


def test_derivatives_of_columns_drift_anisotropy_and_tilt():
    def numbers(f, z):
        f, place = f.bind(ORBITS), (POT, FINDER, 8.0)
        return jnp.stack([
            jnp.log(df.surface_density(f, *place, 2.0, 1.5, n=8)),
            df.asymmetric_drift(f, *place, z, 1.5),
            10.0 * df.anisotropy(f, *place, z, 1.5),
            100.0 * df.tilt(f, *place, z, 1.5),
        ])  # fmt: skip

    def of(logs):
        sigma, H_d = jnp.array([120.0, 0.3]) * jnp.exp(logs)
        return numbers(params.replace(THIN, {"sigma_r0": sigma, "H_d": H_d}), 1.0)

    value = jax.jit(of)
    middle, slopes = value(jnp.zeros(2)), jax.jit(jax.jacfwd(of))(jnp.zeros(2))
    for column, step in enumerate(5e-3 * np.eye(2)):
        numeric = np.asarray(value(step) - value(-step)) / 1e-2
        # Nodes are laid out without derivatives: the rule's error, a few 1e-3, and 1e-2 of the tilt, has a
        # slope of its own.
        errors = np.array([3e-3, 3e-3, 3e-3, 1e-2]) * np.maximum(np.abs(middle), 1.0)
        allowed = 0.02 * np.abs(numeric) + errors
        assert np.all(np.abs(slopes[:, column] - numeric) < allowed)
        assert np.max(np.abs(numeric) / allowed) > 10.0
    # Hotter discs lag more, and each of the four depends on something.
    assert slopes[1, 0] < -5.0 or slopes[1, 0] > 5.0
    assert np.all(np.max(np.abs(slopes), axis=1) > 0.02)


@pytest.mark.parametrize("along", ["x", (0.0, 0.0, 0.0), (1.0, 2.0)])
def test_unknown_directions(along):
    with pytest.raises(ValueError, match="along"):
        df.velocity_distribution(SPHERE, ROUND, FINDER, 8.0, 0.0, jnp.zeros(1), along)


def test_derivatives_of_marginal_distributions():
    v = jnp.array([150.0, 200.0, 230.0])

    @jax.jit
    def log_p(sigma):
        f = params.replace(THIN, {"sigma_r0": sigma}).bind(ORBITS)
        return jnp.log(df.velocity_distribution(f, POT, FINDER, 8.0, 0.8, v))

    slope, h = jax.jit(jax.jacfwd(log_p))(120.0), 0.5
    numeric = (log_p(120.0 + h) - log_p(120.0 - h)) / (2.0 * h)
    # Nodes move with sigma: they change the sums by the rule's error, over 1 km/s.
    np.testing.assert_allclose(slope, numeric, atol=2e-4)
    assert np.max(np.abs(slope)) > 5e-3


def test_moments_on_the_axis():
    """R = 0, where the fudge's coordinates are singular: a round galaxy has no axis."""
    finder = dynamics.StaeckelFudge(ROUND)

    @jax.jit
    def local(M):
        found = df.moments(params.replace(SPHERE, {"M": M}), ROUND, finder, 0.0, 2.0, 2.0)
        return jnp.stack([jnp.log(found.density), found.dispersion[0, 0], found.dispersion[2, 2]])

    log_density, across, along = local(1e11)
    rho = float(potential.density(ROUND, jnp.array([0.0, 0.0, 2.0])))
    assert float(log_density) == pytest.approx(np.log(rho), abs=1e-3)
    assert float(across) == pytest.approx(float(along), rel=5e-3)
    slope, h = jax.jit(jax.jacfwd(local))(1e11), 1e8
    numeric = (local(1e11 + h) - local(1e11 - h)) / (2.0 * h)
    np.testing.assert_allclose(slope * 1e11, numeric * 1e11, rtol=1e-5, atol=1e-5)
    assert abs(float(slope[0]) * 1e11) > 0.1
