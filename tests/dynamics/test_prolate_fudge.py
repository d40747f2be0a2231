"""The Staeckel fudge for Delta^2 < 0: exact in a prolate Staeckel potential, for both of its families."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from oortax import params, potential
from oortax.dynamics import StaeckelFudge
from oortax.dynamics.spheroidal import crossing_kinetic, spheroidal, vertical_kinetic
from oortax.dynamics.turning import turning_points
from oortax.results import Result

# Elongated along the axis; separates in coordinates with a focal ring of radius sqrt(8) kpc.
POT = potential.KuzminKutuzov(M=1e11, a=1.0, c=3.0)
DELTA2, STARS, TIMES = -8.0, 96, 24
POLE = 1.7 * np.sqrt(8.0)


def finder(pot=POT, n=24):
    return StaeckelFudge(pot, n_r=n, n_z=n, Delta2=DELTA2)


def ends_of(found, x, v):
    star = spheroidal(found.potential, found.focal, x, v)
    return turning_points(found.potential, star), crossing_kinetic(found.potential, star)


def sample():
    rng = np.random.default_rng(3)
    return jnp.asarray(rng.normal(size=(STARS, 3)) * [2, 2, 3]), jnp.asarray(
        rng.normal(size=(STARS, 3)) * [60, 60, 80]
    )


@eqx.filter_jit
def orbit(pot, x, v, step, per_output=60):
    """(TIMES, 6), by the classical Runge-Kutta method: energies hold to 1e-10 here."""

    def rate(y):
        return jnp.concatenate([y[3:], potential.acceleration(pot, y[:3])])

    def once(y, _):
        h = step / per_output
        a = rate(y)
        b = rate(y + 0.5 * h * a)
        c = rate(y + 0.5 * h * b)
        return y + h / 6.0 * (a + 2.0 * b + 2.0 * c + rate(y + h * c)), None

    def output(y, _):
        return lax.scan(once, y, length=per_output)[0], y

    return lax.scan(output, jnp.concatenate([x, v]), length=TIMES)[1]


@pytest.fixture(scope="module", name="seen")
def _seen():
    """Actions, angles and frequencies along orbits of both families, and which cross the disc in the ring."""
    x, v = sample()
    found = finder()
    paths = jax.vmap(lambda x, v: orbit(POT, x, v, 0.004))(x, v)
    at = jax.vmap(jax.vmap(lambda y: found.actions_angles_frequencies(y[:3], y[3:])))
    ends, kinetic = jax.jit(jax.vmap(lambda x, v: ends_of(found, x, v)))(x, v)
    # Next to the separatrix series of a smooth integrand converge slowly.
    clear = np.abs(np.asarray(kinetic)) > 3e-3 * np.max(np.abs(np.asarray(kinetic)))
    assert 5 <= np.sum(clear & ~np.asarray(ends.crosses)) and 40 <= np.sum(clear & np.asarray(ends.crosses))
    return jax.jit(at)(paths), np.asarray(ends.crosses), np.asarray(ends.lowest), clear, np.asarray(paths)


def test_both_families_conserve_their_actions(seen):
    found, crosses, lowest, _, _ = seen
    assert np.all(np.asarray(found.code) == Result.OK)
    # In a separable potential what crosses the disc does not reach the plane outside of it.
    np.testing.assert_array_equal(crosses, lowest > 0.0)
    J = np.asarray(found.J)
    assert np.max(np.std(J, axis=1)[:, :2] / J.mean(axis=1)[:, :2].sum(axis=1)[:, None]) < 1e-7
    Omega = np.asarray(found.Omega)
    assert np.max(np.std(Omega, axis=1) / np.abs(Omega.mean(axis=1))) < 1e-4


def test_angles_are_linear_in_time(seen):
    """theta_z of orbits that cross the disc jumps by pi where z changes sign."""
    found, crosses, _, clear, paths = seen
    theta, Omega = np.asarray(found.theta), np.asarray(found.Omega)[:, :1]
    assert np.any(np.diff(np.sign(paths[crosses, :, 2]), axis=1) != 0.0)
    turns = np.where(crosses[:, None], [2 * np.pi, np.pi, 2 * np.pi], 2 * np.pi)[:, None]
    off = theta - theta[:, :1] - Omega * 0.004 * np.arange(TIMES)[:, None]
    off = np.abs((off + 0.5 * turns) % turns - 0.5 * turns).max(axis=1)
    assert np.median(off) < 1e-7 and np.max(off[clear]) < 1e-3, off[clear].max(axis=0)


@pytest.mark.parametrize("a, c", [(3.0, 1.0), (1.0, 3.0)])
def test_canonical_brackets(a, c):
    """{theta_i, J_j} = delta_ij, {J_i, J_j} = 0; with the halves and doubles of what crosses it, too."""
    x, v = sample()
    found = StaeckelFudge(potential.KuzminKutuzov(M=1e11, a=a, c=c), n_r=24, n_z=24, Delta2=a * a - c * c)

    def jacobian(x, v):
        def q(y):
            both = found.actions_angles_frequencies(y[:3], y[3:])
            return jnp.concatenate([both.theta, both.J])

        return jax.jacfwd(q)(jnp.concatenate([x, v]))

    A = np.asarray(jax.jit(jax.vmap(jacobian))(x, v))
    symplectic = np.block([[np.zeros((3, 3)), np.eye(3)], [-np.eye(3), np.zeros((3, 3))]])
    off = np.max(np.abs(A @ symplectic @ A.transpose(0, 2, 1) - symplectic), axis=(1, 2))
    # Next to the separatrix and to L_z = 0 the series have not converged.
    assert np.median(off) < 1e-7 and np.quantile(off, 0.85) < 1e-3, np.quantile(off, [0.5, 0.85, 0.9])


@pytest.mark.parametrize("kind", ["crosses", "encloses"])
def test_derivatives_match_differences(kind, seen):
    _, crosses, _, clear, _ = seen
    x, v = sample()
    i = np.flatnonzero(clear & (crosses if kind == "crosses" else ~crosses))[1]

    @jax.jit
    def J(p):
        # In other potentials of the family the focal ring is no longer theirs: the fudge at work.
        return finder(params.replace(POT, {"M": 1e11 * p[6], "c": p[7]})).actions(p[:3], p[3:6])

    at = jnp.concatenate([x[i], v[i], jnp.array([1.0, 3.1])])
    exact = np.asarray(jax.jit(jax.jacrev(J))(at))
    for k in range(8):
        h = 1e-4 * max(abs(float(at[k])), 0.1)
        side = jnp.zeros(8).at[k].set(h)
        difference = np.asarray(J(at + side) - J(at - side)) / (2.0 * h)
        scale = np.max(np.abs(difference)) + 1e-3 * np.max(np.abs(exact))
        np.testing.assert_allclose(exact[:, k], difference, rtol=1e-4, atol=2e-5 * scale)


def test_continuous_through_the_separatrix():
    """From orbits around the ring to those through it, at one latitude, in small steps of speed."""
    found = finder()
    speeds = np.linspace(20.0, 260.0, 481)
    x = jnp.asarray(np.tile([2.2, 0.0, 1.5], (len(speeds), 1)))
    v = jnp.stack([jnp.full(481, 30.0), jnp.asarray(speeds), jnp.full(481, 60.0)], axis=1)
    crosses = np.asarray(jax.jit(jax.vmap(lambda x, v: ends_of(found, x, v)[0].crosses))(x, v))
    assert np.any(crosses) and not np.all(crosses)
    J = np.asarray(jax.jit(jax.vmap(found.actions))(x, v))
    bend = np.abs(np.diff(J[:, :2], 2, axis=0))
    # The slope has a logarithmic singularity there, and the rule in v an error of .4 % next to it.
    assert np.max(bend) < 4e-3 * np.max(J[:, :2]), np.max(bend, axis=0)
    assert np.median(bend) < 1e-4 * np.max(J[:, :2])


def test_singular_places_have_actions_and_slopes():
    """In the disc within the ring, at the ring, on the axis, at rest, in the plane, near Delta^2 = 0."""
    points = {
        "in the disc": ([1.0, 0.0, 0.0], [10.0, 80.0, 90.0]),
        "above the disc": ([1.0, 0.0, 1e-7], [10.0, 80.0, 90.0]),
        "at the ring": ([np.sqrt(8.0), 0.0, 0.0], [20.0, 100.0, 60.0]),
        "planar": ([4.0, 0.0, 0.0], [5.0, 200.0, 0.0]),
        "on the axis": ([0.0, 0.0, 2.0], [30.0, 0.0, 60.0]),
        "along the axis": ([0.0, 0.0, POLE], [0.0, 0.0, 60.0]),
        "no L_z": ([1.0, 0.0, 2.0], [50.0, 0.0, 60.0]),
        "at rest": ([1.0, 0.0, 2.0], [0.0, 0.0, 0.0]),
    }
    x, v = (jnp.asarray([point[k] for point in points.values()]) for k in (0, 1))
    found = finder()
    J = jax.jit(jax.vmap(found.actions_and_code))(x, v)
    assert np.all(np.asarray(J.code) == Result.OK), dict(zip(points, np.asarray(J.code), strict=True))
    assert np.all(np.asarray(J.J)[:, :2] > -1e-6)
    planar = list(points).index("planar")
    assert abs(float(J.J[planar, 1])) < 1e-4
    np.testing.assert_allclose(J.J[0], J.J[1], rtol=1e-5)

    def of_mass(x, v, M):
        return finder(params.replace(POT, {"M": M})).actions(x, v)

    by_mass = jax.jit(jax.vmap(jax.jacfwd(of_mass, 2), (0, 0, None)))(x, v, jnp.asarray(1e11))
    assert np.all(np.isfinite(np.asarray(by_mass)))


def test_planar_orbits_about_the_ring_are_radial_motions():
    """Whatever the focal distance, in value and slope: rounding must not send them through the disc."""
    rng = np.random.default_rng(5)
    R, v_R, k = rng.uniform(8.0, 20.0, 40), rng.normal(0.0, 30.0, 40), rng.uniform(0.8, 1.1, 40)
    pot = potential.mw_potential_2014()

    def J_r(Delta2):
        found = StaeckelFudge(pot, Delta2=Delta2, n_r=16)
        v_phi = k * jax.vmap(lambda R: potential.circular_velocity(pot, R))(R)
        zero = jnp.zeros_like(R)
        stars = jnp.stack([R, zero, zero], axis=1), jnp.stack([v_R, v_phi, zero], axis=1)
        return jax.vmap(found.actions)(*stars)[:, 0]

    both = jax.jit(lambda Delta2: jax.jvp(J_r, (Delta2,), (1.0,)))
    radial = both(0.25)[0]
    assert np.min(radial) < 5.0 and np.max(radial) > 100.0
    for Delta2 in (-0.5, -2.0, -5.0, -13.0):
        J, slope = both(Delta2)
        np.testing.assert_allclose(J, radial, rtol=1e-6)
        assert np.max(np.abs(slope)) < 1e-5


def test_either_sign_meets_at_none():
    """Delta^2 = +-1e-5 kpc^2 give one answer, and 0 gives it, too."""
    x, v = sample()
    sphere = potential.Isochrone(M=1e11, b=2.0)
    plus, minus, none = (
        np.asarray(jax.jit(jax.vmap(StaeckelFudge(sphere, Delta2=d).actions))(x, v))
        for d in (1e-5, -1e-5, 0.0)
    )
    scale = plus[:, :2].sum(axis=1)[:, None]
    assert np.max(np.abs(plus - minus)[:, :2] / scale) < 1e-3
    assert np.max(np.abs(0.5 * (plus + minus) - none)[:, :2] / scale) < 1e-4
    with pytest.raises(ValueError, match="not both"):
        StaeckelFudge(sphere, Delta=1.0, Delta2=1.0)


class Floored(eqx.Module):
    """The focal distance that stops at 0."""

    focal: eqx.Module

    def signed(self, E, L_z):
        return self.focal(E, L_z)


def scatter(found, paths):
    """Of the actions along orbits, over J_r + J_z."""
    J = jax.vmap(jax.vmap(lambda y: found.actions(y[:3], y[3:])))(paths)[..., :2]
    return jnp.sqrt(jnp.sum(jnp.nanstd(J, axis=1) ** 2, axis=-1)) / jnp.nanmean(J.sum(axis=-1), axis=1)


def test_halves_the_scatter_in_a_prolate_halo():
    pot = potential.LogarithmicHalo(v_0=200.0, r_c=3.0, q=1.15)
    rng = np.random.default_rng(4)
    x = rng.normal(size=(64, 3))
    x *= rng.uniform(3.0, 15.0, (64, 1)) / np.linalg.norm(x, axis=1, keepdims=True)
    paths = jax.vmap(lambda x, v: orbit(pot, x, v, 0.06))(x, jnp.asarray(rng.normal(size=(64, 3)) * 110.0))
    signed = StaeckelFudge(pot)
    floored = eqx.tree_at(lambda found: found.focal, signed, Floored(signed.focal))
    new, old = (np.asarray(eqx.filter_jit(scatter)(found, paths)) for found in (signed, floored))
    # Measured: .047 and .166.
    assert np.median(new) < 0.5 * np.median(old), (np.median(new), np.median(old))


def test_about_a_disc_the_focal_ring_is_not_used():
    """Where the potential is prolate outside and oblate at the ring, Delta^2 stops near 0."""
    halo = potential.LogarithmicHalo(v_0=170.0, r_c=3.0, q=1.2)
    focal = StaeckelFudge(
        potential.Sum(disc=potential.MiyamotoNagai(M=6.5e10, a=3.0, b=0.3), halo=halo)
    ).focal
    R, E, L_c = np.sqrt(np.asarray(focal.table[:, 6])), focal.E, focal.table[:, 5]
    told = np.asarray(jax.vmap(focal.prolate)(E, 0.2 * L_c))
    signed, floored = (np.asarray(jax.vmap(f)(E, 0.2 * L_c)) for f in (focal.signed, focal))
    near, far = told & (R < 20.0), told & (R > 60.0)
    assert np.any(near) and np.any(far)
    assert np.all((signed[near] < 0.0) & (signed[near] > -1e-3 * R[near] ** 2))
    assert np.all(signed[far] < -0.2 * R[far] ** 2) and np.all(floored > 0.0)
    alone = StaeckelFudge(halo).focal
    inside = np.asarray(jax.vmap(alone.signed)(alone.E[4:28], 0.2 * alone.table[4:28, 5]))
    assert np.all(inside < 0.0)


@pytest.mark.parametrize("disc", [0.0, 6.5e10])
def test_derivatives_by_the_flattening(disc):
    """Of Delta^2 of either sign and of J, in q, E and L_z: oblate, prolate, about a disc, from L_z = 0.

    With nodes enough that the slope of the rule is that of the integral, at L_z = 0 in oblate cores, too.
    """
    pot = potential.Sum(
        disc=potential.MiyamotoNagai(M=disc + 1.0, a=3.0, b=0.3),
        halo=potential.LogarithmicHalo(v_0=170.0, r_c=3.0, q=1.0),
    )
    v = jnp.asarray([[40.0, 150.0, 90.0], [60.0, 0.0, 140.0]])
    x = jnp.asarray([12.0, 0.0, 8.0])

    @jax.jit
    def both(at):
        found = StaeckelFudge(params.replace(pot, {"halo.q": at[0]}), n_r=60, n_z=60)
        E = jax.vmap(lambda v: found.potential.Phi(x) + 0.5 * (v @ v))(v)
        Delta2 = found.focal.signed(E[0] + at[1], jnp.abs(x[0] * v[0, 1] + at[2]))
        return jnp.concatenate([Delta2[None], jax.vmap(lambda v: found.actions(x, v))(v)[:, :2].ravel()])

    slope = jax.jit(jax.jacfwd(both))
    for q in (0.9, 1.02, 1.15):
        at = jnp.array([q, 0.0, 0.0])
        exact = np.asarray(slope(at))
        assert np.all(np.isfinite(exact))
        for k, h in enumerate((1e-5, 1.0, 0.1)):
            side = jnp.zeros(3).at[k].set(h)
            difference = np.asarray(both(at + side) - both(at - side)) / (2.0 * h)
            least = 1e-5 * np.abs(difference).max()
            np.testing.assert_allclose(exact[:, k], difference, rtol=2e-4, atol=least)


def disc_and_halo(q):
    """A disc in a halo that is prolate by a little: together neither, at middle radii."""
    return potential.Sum(
        bulge=potential.Hernquist(M=5e9, a=0.3),
        disc=potential.MiyamotoNagai(M=6.5e10, a=3.0, b=0.3),
        halo=potential.FlattenedNFW(rho_s=8.5e6, r_s=17.0, q=q, n_nodes=7),
    )


def test_wells_with_a_barrier_between_count_together():
    """As the halo is stretched the barrier goes, and J_z must not know when.

    With many nodes, whose sums hardly notice that p_v^2 is 0 in the barrier; the largest step is where the
    second well opens, with the slope of a square root.
    """
    x, v = jnp.array([20.483, 0.0, 15.688]), jnp.array([1.4, -0.7, -1.6])
    y = jnp.linspace(0.0, 0.999, 400)

    @jax.jit
    def at(q):
        pot = disc_and_halo(q)
        found = StaeckelFudge(pot, n_z=24)
        star = spheroidal(pot, found.focal, x, v)
        ends = turning_points(pot, star)
        K = jax.vmap(lambda y: vertical_kinetic(pot, star, y))(y)
        return found.actions_angles_frequencies(x, v), ends, K

    found, ends, K = jax.lax.map(at, jnp.arange(1.05, 1.08, 5e-4))
    inside = np.asarray(y) < np.asarray(ends.cos2_v)[:, None]
    barrier = np.any((np.asarray(K) < 0.0) & inside, axis=1)
    # No second well at first, then a barrier, then one motion.
    assert not barrier[0] and not barrier[-1] and np.sum(barrier) > 10
    assert np.asarray(ends.cos2_v)[0] < 0.4 < 0.99 < np.asarray(ends.cos2_v)[-1]
    J, Omega = np.asarray(found.J), np.asarray(found.Omega)
    assert np.max(np.abs(np.diff(J[:, 1]))) < 4e-3 * (J[0, 0] + J[0, 1])
    # Time goes by in the wells alone: all but for ever next to the separatrix.
    assert np.all(Omega[:, :2] > 0.3 * Omega[0, :2]) and np.all(Omega[:, :2] < 3.0 * Omega[0, :2])


def test_derivatives_where_two_wells_count():
    """By q, of the sum with both of its ends moving; at L_z = 0, where nothing ends the upper one, too."""
    x, h = jnp.array([20.483, 0.0, 15.688]), 1e-7

    def J_z(q, v_phi):
        return StaeckelFudge(disc_and_halo(q), n_z=24).actions(x, jnp.array([1.4, v_phi, -1.6]))[1]

    # A barrier between the wells, and none; two speeds, and two next to each other.
    q, v_phi = np.repeat([1.062, 1.076], 3), np.tile([-0.7, 0.0, 1e-4], 2)
    at = jax.jit(lambda q, v: jax.lax.map(lambda each: jax.value_and_grad(J_z)(*each), (q, v)))
    values, slopes = at(np.concatenate([q, q + h, q - h]), np.tile(v_phi, 3))
    here, above, below = np.asarray(values).reshape(3, 6)
    # Rounding of 300 leaves 1e-13 over 2h: 1e-9 of the slopes, which are thousands; 1e-7 measured.
    np.testing.assert_allclose(np.asarray(slopes)[:6], (above - below) / (2.0 * h), rtol=1e-6)
    # L_z = 2e-3: J_z changes by as much.
    np.testing.assert_allclose(here[1::3], here[2::3], atol=5e-3)
