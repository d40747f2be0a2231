"""Many tori at once: tolerance and padding, both families, refitting in another potential, bad input."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import constraints
from threadpoolctl import threadpool_info, threadpool_limits

from oortax import dynamics, params, potential
from oortax.dynamics.delta import focal_distance
from oortax.dynamics.torus import tori as fitting
from oortax.dynamics.torus.fit import LEAST
from oortax.dynamics.torus.separable import separable_torus
from oortax.results import Result

POT = potential.mw_potential_2014()
# Thin disc; retrograde halo; a box; a loop near the axis; J_phi = 0; negative J_z; what nothing binds.
J = np.array(
    [
        [30.0, 10.0, 1800.0],
        [400.0, 300.0, -800.0],
        [700.0, 100.0, 40.0],
        [300.0, 1000.0, -130.0],
        [600.0, 65.0, 0.0],
        [30.0, -1.0, 1800.0],
        [1e8, 1.0, 1e3],
    ]
)
TOL = 1e-4


@pytest.fixture(scope="module")
def tori():
    return dynamics.fit_tori(POT, J, tol=TOL, n_modes=(22, 45), progress=False)


def _one(tori, i):
    return jax.tree.map(lambda leaf: leaf[i], tori)


def test_linear_algebra_has_one_thread_while_tori_are_fitted(monkeypatch):
    """Beside other programs its threads would wait for each other; the caller's setting comes back."""

    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    def fit(*_):
        assert threads() == {1}
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "_fit_chunk", fit)
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        with pytest.raises(KeyboardInterrupt):
            dynamics.fit_tori(POT, J, progress=False)
        assert threads() == before == {2}


def test_a_torus_gets_the_terms_that_the_tolerance_needs(tori):
    codes = [Result.OK, Result.INACCURATE, Result.INACCURATE, Result.INACCURATE]
    assert tori.code[:4].tolist() == codes and tori.code[5] == Result.OUTSIDE
    assert tori.code[6] == Result.NOT_CONVERGED and np.isnan(tori.E[6])
    assert tori.S.shape == (7, 45)
    assert (tori.S[0, 22:] == 0.0).all() and (tori.S[1:4, 22:] != 0.0).all()
    # Measured with 45 terms 2.4e-4, 1.1e-2 (a box past a cusp), 7.5e-4: a margin of two.
    assert (np.asarray(tori.residual[:4]) < [1e-4, 5e-4, 2e-2, 1.5e-3]).all()
    assert np.isfinite(tori.E[:4]).all() and np.isnan(tori.E[5])


def test_slopes_of_damped_tori_are_smooth_whatever_the_damping():
    """Those of S_n follow no narrow resonance where S_n are damped; S_n themselves are damped by as much."""

    def fitted(damping):
        return dynamics.fit_tori(POT, J, tol=1.0, n_modes=(22,), damping=damping, progress=False)

    free, little, more = (fitted(damping) for damping in (LEAST, 1e-6, 1e-5))
    good = np.asarray((free.code == 0) & (little.code == 0) & (more.code == 0))
    largest = np.abs(free.dS_dJ).max(axis=(1, 2))[good]

    def apart(a, b):
        return np.abs(a.dS_dJ - b.dS_dJ).max(axis=(1, 2))[good] / largest

    assert good.sum() > 2 and (apart(little, more) < 0.02 * apart(free, little)).all()
    assert (apart(free, little) > 1e-5).all()


def test_derivatives_of_damped_tori():
    """Of E, Omega, S_n and their damped slopes by the potential, against differences: J_phi = 0, too."""
    rows = np.array([0, 1, 4])
    damped = dynamics.fit_tori(POT, J, tol=1.0, n_modes=(22,), damping=1e-5, progress=False)
    damped = jax.tree.map(lambda leaf: leaf[rows], damped)
    assert (damped.code == Result.OK).all() and damped.J[2, 2] == 0.0

    def numbers(b):
        pot = params.replace(POT, {"disc.b": b})
        moved = dynamics.refit_tori(pot, damped, steps=4, damping=1e-5, batch_size=1)
        return moved.E, moved.Omega, moved.S, moved.dS_dJ

    b, h = jnp.asarray(params.parameters(POT)["disc.b"].value), 1e-5
    values, slopes = jax.jit(numbers), jax.jit(jax.jacfwd(numbers))(b)
    for slope, above, below in zip(slopes, values(b + h), values(b - h), strict=True):
        difference = (above - below) / (2.0 * h)
        for i in range(len(rows)):
            largest = np.abs(difference[i]).max()
            assert largest > 0.0
            # Right to the order of the residual: 4e-5, 8e-4, and 4e-2 of the box at J_phi = 0.
            most = 1.5 * float(damped.residual[i]) * largest
            np.testing.assert_allclose(slope[i], difference[i], rtol=0.0, atol=most, err_msg=str(i))


def test_families(tori):
    assert tori.transformation.box.tolist()[:5] == [False, False, True, False, True]
    limit = _one(tori, 4)
    assert limit.residual < 0.1
    x, v = limit.phase_point(jnp.array([2.0, 1.0, 0.3]))
    # Without J_phi the orbit stays in a plane through the axis.
    assert abs(x[0] * v[1] - x[1] * v[0]) < 1e-9 and np.isfinite(x).all()
    # The azimuth of a box grows by pi in a radial period, at J_phi = 0 too.
    assert limit.Omega[2] == pytest.approx(float(0.5 * limit.Omega[0]), rel=float(limit.residual))


def test_angles_are_those_that_were_asked_for(tori):
    """Of points at 256 angles of each torus; of a halo's, whose true angles are far from the toy's, too.

    Newton's last step leaves less than a tenth of the square of 3e-4. The box is left out: its residual is
    1e-2, and the way back errs where the toy's own angles turn over.
    """
    theta = jnp.asarray(np.random.default_rng(6).uniform(0.0, 2.0 * np.pi, (256, 3)))

    @jax.jit
    def back(tori):
        def one(torus, theta):
            return torus.angles_actions(*torus.phase_point(theta))[0]

        return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(tori, theta)

    some = jax.tree.map(lambda leaf: leaf[jnp.array([0, 1, 3])], tori)
    apart = np.abs(np.asarray(back(some) - theta + np.pi) % (2.0 * np.pi) - np.pi)
    assert 0.0 < apart.max() < 2e-7


@pytest.mark.parametrize(("i", "largest"), [(1, 1.2e-2), (2, 0.15), (3, 4e-2)])
def test_orbits_stay_on_their_tori(tori, i, largest):
    """x(theta_0 + Omega t) against an integration over a radial period: energy, angles, both families.

    Angles err by the residual of dH/dJ, which is above that of H. With 45 terms they are off by 8e-3, 0.12
    (of a box whose H is off by 1e-2) and 2.9e-2 of the largest radius; the bounds are 1.3 to 1.5 times that.
    A wrong azimuth or frequency would be off by the radius itself.
    """
    torus = _one(tori, i)
    theta, n = jnp.array([1.1, 0.4, 0.2]), 2000
    T = 2.0 * jnp.pi / torus.Omega[0]

    @jax.jit
    def orbit(x, v):
        def step(state, _):
            x, v = state
            x = x + 0.5 * T / n * v
            v = v + T / n * potential.acceleration(POT, x)
            return (x + 0.5 * T / n * v, v), x

        return jax.lax.scan(step, (x, v), length=n)[1]

    x, v = torus.phase_point(theta)
    t = np.arange(0, n, 100) * T / n
    expected, _ = jax.jit(jax.vmap(torus.phase_point))(theta + t[:, None] * torus.Omega)
    distance = jnp.linalg.norm(orbit(x, v)[::100] - expected, axis=1)
    assert distance.max() < largest * jnp.linalg.norm(expected, axis=1).max()
    assert distance.max() > 0.0


def test_refitting_follows_the_potential(tori):
    """E of refitted tori, against tori fitted anew, and its derivative against differences."""
    good = jax.tree.map(lambda leaf: leaf[:4], tori)
    traces = 0

    @eqx.filter_jit
    def refit(b):
        nonlocal traces
        traces += 1
        return dynamics.refit_tori(params.replace(POT, {"disc.b": b}), good, batch_size=4)

    b = params.parameters(POT)["disc.b"].value
    same, moved = refit(jnp.asarray(b)), refit(jnp.asarray(1.1 * b))
    assert traces == 1
    scale = np.sum(np.asarray(good.Omega[:, :2] * good.J[:, :2]), axis=1)
    # The third, a box past a cusp, has a soft minimum: 1e-4 less of rms(H) is 2.3e-2 of the residual in E.
    assert (np.abs(same.E - good.E) < np.array([1e-2, 1e-2, 5e-2, 1e-2]) * good.residual * scale).all()
    anew = dynamics.fit_tori(
        params.replace(POT, {"disc.b": 1.1 * b}),
        J[:4],
        tol=TOL,
        n_modes=(22, 45),
        progress=False,
    )
    assert (np.abs(moved.E - good.E)[:2] > good.residual[:2] * scale[:2]).all(), "it moved"
    assert (np.abs(moved.E - anew.E) < (moved.residual + anew.residual) * scale).all()
    assert (moved.residual < 3.0 * anew.residual + 1e-4).all()

    failed = dynamics.refit_tori(POT, jax.tree.map(lambda leaf: leaf[5:6], tori), batch_size=1)
    assert failed.code[0] == Result.OUTSIDE and np.isnan(failed.E[0])


@pytest.mark.parametrize(("name", "least"), [("mw_potential_2014", 392), ("dehnen_binney_1996", 385)])
def test_the_fudge_s_torus_is_found(name, least):
    """Of random halo actions, J_phi from -2000 to 2000, boxes among them: nearly all, by their residual."""
    key = np.random.default_rng(1)
    J = np.stack([key.exponential(400.0, 400), key.exponential(300.0, 400), key.normal(0.0, 900.0, 400)], 1)

    @jax.jit
    def misses(pot, J):
        orbits, focal = dynamics.circular_orbits(pot), focal_distance(pot)
        return jax.lax.map(lambda J: separable_torus(pot, orbits, focal, J)[2], J, batch_size=16)

    found = np.asarray(misses(potential.expand(getattr(potential, name)()), jnp.asarray(J))) < 1e-6
    # In the flattened potential of Dehnen & Binney, 389 of 400; S_n start from the others, too.
    assert found.sum() >= least


BAD = {
    "one torus": ({"J": J[0]}, "fit_torus"),
    "no torus": ({"J": J[:0]}, r"\(n, 3\)"),
    "float32": ({"J": J.astype(np.float32)}, "float64"),
    "tol": ({"tol": 0.0}, "tol"),
    "damping": ({"damping": 1.0}, "damping"),
    "modes fall": ({"n_modes": (45, 22)}, "rising"),
    "no modes": ({"n_modes": ()}, "rising"),
    "batch": ({"batch_size": 0}, "batch_size"),
}


@final
class _Barred(potential.AbstractPotential):
    """A logarithmic potential, longer along x."""

    q: jax.Array = params.param(constraints.positive, "", "axis ratio")

    def Phi(self, x):
        return 0.5 * 220.0**2 * jnp.log(x[0] ** 2 + (x[1] / self.q) ** 2 + x[2] ** 2 / 0.64 + 0.04)


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused(case):
    wrong, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        dynamics.fit_tori(POT, **{"J": J, "progress": False, **wrong})


def test_only_axisymmetric_potentials_have_tori():
    with pytest.raises(ValueError, match="azimuth"):
        dynamics.fit_tori(_Barred(q=0.9), J, progress=False)
    with pytest.raises(ValueError, match="from_galpy"):
        dynamics.fit_tori(lambda x: 0.0, J, progress=False)


def test_a_potential_that_binds_nothing_is_refused():
    with pytest.raises(ValueError, match="no circular orbits"):
        dynamics.fit_tori(potential.Negative(POT), J[:1], progress=False)
    with pytest.raises(ValueError, match="steps"):
        dynamics.refit_torus(POT, None, -1)


def test_a_bar_is_shown(capsys):
    dynamics.fit_tori(POT, J, n_modes=(22,), tol=1.0)
    assert "tori, 22 terms" in capsys.readouterr().out


def test_tori_are_saved_and_loaded(tori, tmp_path):
    path = tmp_path / "library.npz"
    dynamics.save_tori(path, tori)
    jax.tree.map(np.testing.assert_array_equal, dynamics.load_tori(path), tori)
    assert jax.tree.structure(dynamics.load_tori(path)) == jax.tree.structure(tori)

    (tmp_path / "text.npz").write_text("J_r,J_z")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.savez(tmp_path / "later.npz", **dict(np.load(path)) | {"version": 99})
    for name in ("text", "other", "later"):
        with pytest.raises(ValueError, match="not a file of tori"):
            dynamics.load_tori(tmp_path / f"{name}.npz")
