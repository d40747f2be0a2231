"""Stars of f in phase space by tori: the galaxy they make, against moments with exact actions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, potential
from oortax.results import Result

pytestmark = pytest.mark.slow

POT = potential.Isochrone(M=1e11, b=3.0)
FINDER = dynamics.IsochroneFinder(POT)
SPHEROID = df.DoublePowerLaw(norm=1e10, J_0=500.0, slope_in=1.0, slope_out=6.0, rotation=0.6, J_phi0=300.0)
KEY, N, TOL = jax.random.key(5), 25_000, 3e-3
# Bounds of R and |z|, kpc.
CELLS = [(1.0, 4.0, 0.0, 2.0), (3.0, 7.0, 0.0, 2.0), (1.0, 6.0, 1.0, 4.0), (4.0, 12.0, 0.0, 5.0)]


@pytest.fixture(scope="module")
def stars():
    return df.draw_stars(
        SPHEROID, POT, KEY, N, total=(20.0, 1e4), tol=TOL, library=True, max_tori=1000, progress=False
    )  # fmt: skip


def test_every_star_is_accounted_for(stars):
    shares = stars.shares()
    assert sum(share for name, share in shares.items() if name != "fitted") == pytest.approx(1.0)
    assert 0.0 < shares["fitted"] < 0.6
    assert shares["OK"] > 0.95 and stars.placed.mean() > 0.995
    good = stars.code == Result.OK
    assert np.all(stars.residual[good] <= TOL) and np.all(np.isfinite(stars.x[good]))
    assert np.array_equal(stars.placed, np.isin(stars.code, [Result.OK, Result.INACCURATE]))
    assert np.all(np.isfinite(stars.J)) and np.all(np.isfinite(stars.theta))


def test_stars_are_where_their_actions_and_angles_say(stars):
    rows = np.flatnonzero(stars.code == Result.OK)[:4096]
    at = (jnp.asarray(a[rows]) for a in (stars.x, stars.v))
    found = jax.jit(jax.vmap(FINDER.actions_angles_frequencies))(*at)
    off = np.abs(np.asarray(found.J) - stars.J[rows]).max(axis=1) / np.abs(stars.J[rows]).sum(axis=1)
    # J errs by the residual, in units of Omega J.
    assert np.quantile(off, 0.99) < 2.0 * TOL
    apart = np.abs((np.asarray(found.theta) - stars.theta[rows] + np.pi) % (2.0 * np.pi) - np.pi).max(axis=1)
    assert np.median(apart) < 0.01


def test_stars_make_the_galaxy_of_f(stars):
    """Masses and second moments in cells, to the errors of 5000 stars: 1 % in dispersions."""
    mass_of_all = df.draw_actions(SPHEROID, KEY, 100_000, total=(20.0, 1e4), progress=False)
    x, v = stars.x[stars.placed], stars.v[stars.placed]
    R, z = np.hypot(x[:, 0], x[:, 1]), np.abs(x[:, 2])
    v_R = (x[:, 0] * v[:, 0] + x[:, 1] * v[:, 1]) / R
    v_phi = (x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]) / R
    nodes, weights = np.polynomial.legendre.leggauss(6)
    at = jax.jit(jax.vmap(lambda R, z: df.moments(SPHEROID, POT, FINDER, R, z, 3.0)))
    pulls, errors = [], []
    for R_low, R_high, z_low, z_high in CELLS:
        inside = (R > R_low) & (R < R_high) & (z > z_low) & (z < z_high)
        R_at = np.repeat(0.5 * (R_low + R_high + (R_high - R_low) * nodes), 6)
        z_at = np.tile(0.5 * (z_low + z_high + (z_high - z_low) * nodes), 6)
        area = (R_high - R_low) * (z_high - z_low) * 0.25 * np.repeat(weights, 6) * np.tile(weights, 6)
        local = at(jnp.asarray(R_at), jnp.asarray(z_at))
        mass = 4.0 * np.pi * R_at * area * local.density
        second = np.asarray(local.dispersion) + local.mean[:, :, None] * local.mean[:, None, :]
        share, n = np.sum(mass) / mass_of_all.mass, inside.sum()
        # Actions outside the range are those of 1 % of the stars, within 0.5 kpc, and of 0.05 %, far out.
        pulls.append(
            (n / N - share) / np.hypot(np.sqrt(share / N), share * mass_of_all.mass_error / mass_of_all.mass)
        )
        errors.append(n / N / share - 1.0)
        squares = (v_R**2, v_phi**2, v[:, 2] ** 2)
        moments = (local.mean[:, 1], *(second[:, i, i] for i in range(3)))
        for values, moment in zip((v_phi, *squares), moments, strict=True):
            values, expected = values[inside], np.sum(mass * moment) / np.sum(mass)
            pulls.append((values.mean() - expected) / (values.std() / np.sqrt(n)))
            errors.append(np.sqrt(np.mean(values) / expected) - 1.0)
    assert np.abs(pulls).max() < 4.0 and np.sqrt(np.mean(np.square(pulls))) < 1.7
    assert np.abs(errors).max() < 0.05


def test_few_stars_have_their_own_tori_and_the_key_decides():
    draw = lambda key: df.draw_stars(SPHEROID, POT, key, 64, tol=TOL, progress=False)  # noqa: E731
    first, again, other = draw(KEY), draw(KEY), draw(jax.random.key(6))
    assert first.library is None and first.fitted.all() and (first.code == Result.OK).mean() > 0.8
    assert np.array_equal(first.x, again.x, equal_nan=True) and not np.any(first.J == other.J)
    x, v = (jnp.asarray(a) for a in (first.x, first.v))
    J = np.asarray(jax.jit(jax.vmap(FINDER.actions))(x, v))
    good = first.code == Result.OK
    off = np.abs(J - first.J).max(axis=1) / np.abs(first.J).sum(axis=1)
    assert np.quantile(off[good], 0.95) < 2.0 * TOL


def test_the_library_serves_again(stars):
    more = df.draw_stars(
        SPHEROID, POT, jax.random.key(9), 1000, total=(20.0, 1e4), tol=TOL, library=stars.library,
        most_fitted=0, progress=False,
    )  # fmt: skip
    assert more.library is stars.library and not more.fitted.any()
    # A library this small leaves a tenth of the range to cells in which there is no torus.
    assert (more.code == Result.OK).mean() > 0.3 and more.placed.mean() > 0.8


def test_what_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        df.draw_stars(SPHEROID, POT, KEY, 0, progress=False)
    with pytest.raises(ValueError, match="most_fitted"):
        df.draw_stars(SPHEROID, POT, KEY, 10, most_fitted=-1, progress=False)
    with pytest.raises(ValueError, match="library is a str"):
        df.draw_stars(SPHEROID, POT, KEY, 10, library="mine", progress=False)
    unbound = df.QuasiIsothermal(R_d=2.6, sigma_r0=150.0, R_sigma=8.0, H_d=0.6)
    with pytest.raises(ValueError, match="circular_orbits"):
        df.draw_stars(unbound, POT, KEY, 10, progress=False)
    with pytest.raises(ValueError, match="narrower range"):
        df.draw_stars(SPHEROID, POT, KEY, 10, total=(1e-9, 1e-8), library=True, progress=False)
