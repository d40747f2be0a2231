"""Velocities at given positions, and draws in regions, against moments with exact actions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import RectBivariateSpline

from oortax import df, dynamics, potential

# Actions are exact here, and cheap.
POT = potential.Isochrone(M=1e11, b=3.0)
FINDER = dynamics.IsochroneFinder(POT)
SPHEROID = df.DoublePowerLaw(norm=1e10, J_0=500.0, slope_in=1.0, slope_out=6.0, rotation=0.6, J_phi0=300.0)
ORBITS = jax.jit(dynamics.circular_orbits)(POT)
THICK = df.QuasiIsothermal(R_d=2.6, sigma_r0=150.0, R_sigma=8.0, H_d=0.6).bind(ORBITS)
KEY, N = jax.random.key(5), 20_000
REGION = df.Region(R=(4.0, 6.0), z=(-1.0, 1.5))


@jax.jit
def _moments(f, R, z):
    return df.moments(f, POT, FINDER, R, z, 3.0)


def _cylindrical(x, v):
    R = np.hypot(x[:, 0], x[:, 1])
    v_R = (x[:, 0] * v[:, 0] + x[:, 1] * v[:, 1]) / R
    return np.stack([v_R, (x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]) / R, v[:, 2]], axis=1)


def _pulls(w, mean, dispersion):
    """Of the means, the second moments and the tilt, by the scatter of the draws themselves."""
    delta = w - mean
    values = [*w.T, *(delta.T**2), delta[:, 0] * delta[:, 2]]
    expected = [*mean, *np.diag(dispersion), dispersion[0, 2]]
    return np.array(
        [(v.mean() - e) / (v.std() / np.sqrt(len(w))) for v, e in zip(values, expected, strict=True)]
    )


@pytest.mark.parametrize(
    "f, z", [(SPHEROID, 0.3), (SPHEROID, 3.0), (THICK, 0.5)], ids=["low", "high", "disc"]
)
def test_velocities_have_the_moments_of_f(f, z):
    phi = np.random.default_rng(1).uniform(0.0, 2.0 * np.pi, N)
    x = np.stack([5.0 * np.cos(phi), 5.0 * np.sin(phi), np.full(N, z)], axis=1)
    draws = df.draw_velocities(f, POT, FINDER, x, KEY, progress=False)
    local = _moments(f, 5.0, z)
    w = _cylindrical(x, draws.v)
    mean, dispersion = np.asarray(local.mean), np.asarray(local.dispersion)
    pulls = _pulls(w, mean, dispersion)
    assert np.abs(pulls).max() < 4.0, pulls
    # 20000 draws: dispersions to 0.5 % (0.6 % with heavier tails than a Gaussian's).
    assert np.std(w, axis=0) == pytest.approx(np.sqrt(np.diag(dispersion)), rel=0.015)
    np.testing.assert_allclose(draws.J[:, 2], x[:, 0] * draws.v[:, 1] - x[:, 1] * draws.v[:, 0], rtol=1e-9)
    assert draws.acceptance > 0.1


def test_velocities_at_many_places_follow_their_own_moments():
    """Scaled by the local mean and dispersions, they are of mean zero and unit variance in every quarter."""
    rng = np.random.default_rng(2)
    R, z = rng.uniform(0.5, 12.0, N), rng.uniform(-4.0, 4.0, N)
    x = np.stack([R, np.zeros(N), z], axis=1)
    w = df.draw_velocities(SPHEROID, POT, FINDER, x, KEY, progress=False).v
    # Moments on a grid, interpolated: they are smooth.
    nodes = np.linspace(0.4, 12.1, 40), np.linspace(0.0, 4.1, 12)
    at = jnp.asarray(np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, 2))
    local = jax.jit(
        lambda at: jax.lax.map(lambda a: df.moments(SPHEROID, POT, FINDER, *a, 2.0), at, batch_size=16)
    )(at)

    def there(values):
        return RectBivariateSpline(*nodes, np.asarray(values).reshape(40, 12)).ev(R, np.abs(z))

    mean = np.stack([np.zeros(N), there(local.mean[:, 1]), np.zeros(N)], axis=1)
    sigma = np.sqrt(np.stack([there(local.dispersion[:, i, i]) for i in range(3)], axis=1))
    scaled = (w - mean) / sigma
    for side in (R < 6.0, R >= 6.0):
        for half in (np.abs(z) < 2.0, np.abs(z) >= 2.0):
            some = scaled[side & half]
            error = np.std(some**2, axis=0) / np.sqrt(len(some))
            assert np.all(np.abs(some.mean(axis=0)) < 4.0 / np.sqrt(len(some)))
            assert np.all(np.abs(np.mean(some**2, axis=0) - 1.0) < 4.0 * error)


def _in_region(f, region):
    """Mass in the region, and means over it of R, |z|, v_phi and the second moments, by quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(6)
    R = region.R[0] + 0.5 * (nodes + 1.0) * np.diff(region.R)
    # Not across the plane, where the density has a cusp in z.
    sides = [region.z] if region.z[0] * region.z[1] >= 0.0 else [(region.z[0], 0.0), (0.0, region.z[1])]
    z = np.concatenate([low + 0.5 * (nodes + 1.0) * (high - low) for low, high in sides])
    w_z = np.concatenate([0.5 * weights * (high - low) for low, high in sides])
    at = np.stack(np.meshgrid(R, z, indexing="ij"), axis=-1).reshape(-1, 2)
    area = np.outer(0.5 * weights * np.diff(region.R), w_z).ravel() * at[:, 0] * np.diff(region.phi)
    local = jax.jit(
        lambda f, at: jax.lax.map(lambda a: df.moments(f, POT, FINDER, *a, 2.0), at, batch_size=12)
    )(f, jnp.asarray(at))
    mass = area * np.asarray(local.density)
    second = np.asarray(local.dispersion) + local.mean[:, :, None] * local.mean[:, None, :]
    values = [at[:, 0], np.abs(at[:, 1]), np.asarray(local.mean[:, 1]), *second[:, [0, 1, 2], [0, 1, 2]].T]
    return mass.sum(), [np.sum(mass * value) / mass.sum() for value in values]


@pytest.mark.parametrize("f", [SPHEROID, THICK], ids=["spheroid", "disc"])
def test_draws_in_a_region_have_its_mass_and_moments(f):
    draws = df.draw_in_region(f, POT, FINDER, REGION, KEY, N, progress=False)
    mass, expected = _in_region(f, REGION)
    assert draws.mass_error < 0.02 * draws.mass
    assert abs(draws.mass - mass) < 4.0 * draws.mass_error
    w, R = _cylindrical(draws.x, draws.v), np.hypot(draws.x[:, 0], draws.x[:, 1])
    assert R.min() > 4.0 and R.max() < 6.0 and draws.x[:, 2].min() > -1.0 and draws.x[:, 2].max() < 1.5
    values = [R, np.abs(draws.x[:, 2]), w[:, 1], *(w.T**2)]
    pulls = [(v.mean() - e) / (v.std() / np.sqrt(N)) for v, e in zip(values, expected, strict=True)]
    assert np.abs(pulls).max() < 4.0, pulls


def test_a_region_of_another_shape_is_that_part_of_the_box():
    inside = lambda x: np.sum((x - [5.0, 0.0, 0.2]) ** 2, axis=1) < 0.25  # noqa: E731
    box = df.Region(R=(4.4, 5.6), z=(-0.3, 0.7), phi=(-0.12, 0.12))
    ball = df.draw_in_region(SPHEROID, POT, FINDER, box._replace(inside=inside), KEY, N, progress=False)
    whole = df.draw_in_region(SPHEROID, POT, FINDER, box, jax.random.key(6), N, progress=False)
    there = inside(whole.x)
    assert inside(ball.x).all() and 0.2 < there.mean() < 0.8
    share = ball.mass / whole.mass
    error = share * np.hypot(ball.mass_error / ball.mass, whole.mass_error / whole.mass)
    assert abs(share - there.mean()) < 4.0 * np.hypot(error, np.sqrt(share * (1.0 - share) / N))
    for of in (lambda d: d.x[:, 0], lambda d: d.x[:, 2], lambda d: d.v[:, 1], lambda d: d.v[:, 0] ** 2):
        a, b = of(ball), of(whole)[there]
        assert abs(a.mean() - b.mean()) < 4.0 * np.sqrt(a.var() / len(a) + b.var() / len(b))


def test_a_mixture_has_both_its_components():
    """Cold disc and hot halo at one place: the share of retrograde stars is that of the halo's."""
    f = df.Mixture({"disc": THICK.disc, "halo": SPHEROID}, [0.8, 0.2]).bind(ORBITS)
    x = np.tile([5.0, 0.0, 0.5], (N, 1))
    draws = df.draw_velocities(f, POT, FINDER, x, KEY, progress=False)
    disc, halo = (_moments(g, 5.0, 0.5) for g in (THICK, SPHEROID))
    rho = np.array([0.8 * disc.density / THICK.mass(), 0.2 * halo.density / SPHEROID.mass()])
    share = rho / rho.sum()
    assert 0.02 < share[1] < 0.9
    expected = share @ np.array([disc.mean[1], halo.mean[1]])
    assert abs(draws.v[:, 1].mean() - expected) < 4.0 * draws.v[:, 1].std() / np.sqrt(N)


def test_the_key_decides_and_batches_do_not():
    x = np.random.default_rng(0).normal(0.0, 3.0, (300, 3))
    draw = lambda key, **how: df.draw_velocities(SPHEROID, POT, FINDER, x, key, progress=False, **how)  # noqa: E731
    first, again, other = draw(KEY), draw(KEY, batch_size=4096), draw(jax.random.key(6))
    np.testing.assert_allclose(first.v, again.v, rtol=1e-12)
    assert not np.any(first.v == other.v)
    draw = lambda key, **how: df.draw_in_region(  # noqa: E731
        SPHEROID, POT, FINDER, REGION, key, 300, progress=False, **how
    )
    first, again, other = draw(KEY), draw(KEY, batch_size=4096), draw(jax.random.key(6))
    np.testing.assert_allclose(first.x, again.x, rtol=1e-12)
    assert not np.any(first.x == other.x)


def test_on_the_axis_and_at_the_centre():
    x = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]] * 4)
    draws = df.draw_velocities(SPHEROID, POT, FINDER, x, KEY, progress=False)
    assert np.all(np.isfinite(draws.v)) and np.all(draws.J[:, 2] == 0.0)


def test_what_is_refused():
    x = np.ones((5, 3))
    how = {"progress": False}
    with pytest.raises(ValueError, match="shape"):
        df.draw_velocities(SPHEROID, POT, FINDER, x[0], KEY, **how)
    with pytest.raises(ValueError, match="finite"):
        df.draw_velocities(SPHEROID, POT, FINDER, x * np.nan, KEY, **how)
    unbound = df.QuasiIsothermal(R_d=2.6, sigma_r0=150.0, R_sigma=8.0, H_d=0.6)
    with pytest.raises(ValueError, match="circular_orbits"):
        df.draw_velocities(unbound, POT, FINDER, x, KEY, **how)
    with pytest.raises(ValueError, match="circular_orbits"):
        df.draw_in_region(unbound, POT, FINDER, REGION, KEY, 10, **how)
    with pytest.raises(ValueError, match="at least 1"):
        df.draw_in_region(SPHEROID, POT, FINDER, REGION, KEY, 0, **how)
    with pytest.raises(ValueError, match="rising pair"):
        df.draw_in_region(SPHEROID, POT, FINDER, df.Region(R=(4.0, 2.0), z=(0.0, 1.0)), KEY, 10, **how)
    with pytest.raises(ValueError, match="2 pi"):
        df.draw_in_region(
            SPHEROID, POT, FINDER, df.Region((4.0, 5.0), (0.0, 1.0), (0.0, 9.0)), KEY, 10, **how
        )
    with pytest.raises(ValueError, match="region is a tuple"):
        df.draw_in_region(SPHEROID, POT, FINDER, (4.0, 5.0), KEY, 10, **how)
    nowhere = REGION._replace(inside=lambda x: np.zeros(len(x), bool))
    with pytest.raises(ValueError, match="none of"):
        df.draw_in_region(SPHEROID, POT, FINDER, nowhere, KEY, 10, **how)
