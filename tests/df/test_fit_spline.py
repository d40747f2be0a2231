"""f(J) from local velocities for a given Phi (Dehnen & Binney 1996, section 3), and how a wrong Phi shows.

2e4 stars near the Sun and those of a box of the same size 1 kpc above it, drawn from a warm disc and a halo
in a Miyamoto-Nagai disc and an NFW halo. In the wrong potential half of the disc's mass is in the halo; v_c
at the Sun is the same.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, potential


def _galaxy(M, rho_s):
    return potential.Sum(
        disc=potential.MiyamotoNagai(M=M, a=3.0, b=0.28), halo=potential.NFW(rho_s=rho_s, r_s=16.0)
    )


_v_c = jax.jit(potential.circular_velocity)
RIGHT = _galaxy(6.5e10, 8.5e6)
# v_c^2 is the sum of the disc's and the halo's, each in proportion to its mass.
_DISC, _HALO = (float(_v_c(_galaxy(*masses), 8.0)) ** 2 for masses in ((6.5e10, 1e-9), (1e-9, 8.5e6)))
WRONG = _galaxy(3.5e10, 8.5e6 * (1.0 + (1.0 - 3.5 / 6.5) * _DISC / _HALO))
TRUTH = df.Mixture(
    {
        "disc": df.QuasiIsothermal(R_d=2.8, sigma_r0=140.0, R_sigma=8.0, H_d=0.5),
        "halo": df.DoublePowerLaw(norm=1.0, J_0=600.0, slope_in=1.5, slope_out=4.5),
    },
    [0.85, 0.15],
).bind(jax.jit(dynamics.circular_orbits)(RIGHT))
SUN = df.Region(R=(7.95, 8.05), z=(-0.05, 0.05))
ABOVE = df.Region(R=(7.95, 8.05), z=(0.95, 1.05))
BLANK = df.SplineDF.blank((9, 8, 12), J_0=600.0, J_max=4000.0)
N, NODES = 20_000, 2**14


@jax.jit
def _log_truth(J):
    return jax.vmap(TRUTH.log_f)(J)


class Samples(NamedTuple):
    """One region and both, in either potential; the level of the truth's ln f in stars per (kpc km/s)^3."""

    right: df.LocalActions
    wrong: df.LocalActions
    both_right: df.LocalActions
    both_wrong: df.LocalActions
    level: float


@pytest.fixture(scope="module")
def samples():
    finder = dynamics.StaeckelFudge(RIGHT)
    near, high = (
        df.draw_in_region(TRUTH, RIGHT, finder, region, jax.random.key(k), N, progress=False)
        for k, region in ((1, SUN), (2, ABOVE))
    )
    # As many stars above as there are, with the scatter of a count.
    n = np.random.default_rng(3).poisson(N * high.mass / near.mass)
    stars = [df.LocalStars(SUN, near.x, near.v), df.LocalStars(ABOVE, high.x[:n], high.v[:n])]
    found = [
        df.local_actions(pot, dynamics.StaeckelFudge(pot), part, n_nodes=NODES)
        for part in (stars[:1], stars)
        for pot in (RIGHT, WRONG)
    ]
    return Samples(*found, level=float(np.log(N / near.mass)))


@pytest.fixture(scope="module")
def fits(samples):
    return {name: df.fit_spline(BLANK, getattr(samples, name)) for name in Samples._fields[:4]}


def test_the_potentials_differ_where_they_should():
    assert float(_v_c(WRONG, 8.0)) == pytest.approx(float(_v_c(RIGHT, 8.0)), rel=1e-6)
    forces = [float(potential.effective_surface_density(pot, 8.0, 1.1)) for pot in (RIGHT, WRONG)]
    assert 0.65 < forces[1] / forces[0] < 0.8


def test_a_known_f_is_recovered_with_its_uncertainty(samples, fits):
    fit, J = fits["right"], samples.right.J[:2000]
    got, sigma = fit.log_f(J)
    off = got - np.asarray(_log_truth(jnp.asarray(J))) - samples.level
    # Where the stars are f is known to a few per cent.
    assert np.median(sigma) < 0.04 and np.sqrt(np.mean(off**2)) < 0.08
    assert 30 < fit.n_effective < 120
    # 60 or so numbers are determined: rms pulls scatter by 1/sqrt(120) for a Gaussian about the truth. A
    # little smoothing where f bends most adds to it (these stars: 1.21).
    pulls = off / sigma
    assert 0.7 < np.sqrt(np.mean(pulls**2)) < 1.45, np.sqrt(np.mean(pulls**2))


def test_along_lines_in_action_space(samples, fits):
    """Over J_r, J_z and J_phi through the disc: within the errors, which grow where there are no stars."""
    steps = np.linspace(0.0, 1.0, 12)
    lines = {
        "J_r": np.stack([150.0 * steps, 5.0 + 0.0 * steps, 1650.0 + 0.0 * steps], axis=1),
        "J_z": np.stack([20.0 + 0.0 * steps, 100.0 * steps, 1650.0 + 0.0 * steps], axis=1),
        "J_phi": np.stack([40.0 + 0.0 * steps, 10.0 + 0.0 * steps, 1300.0 + 600.0 * steps], axis=1),
    }
    for name, J in lines.items():
        got, sigma = fits["right"].log_f(J)
        off = got - np.asarray(_log_truth(jnp.asarray(J))) - samples.level
        assert np.abs(off / sigma).max() < 4.0, name
        assert np.ptp(got) > 0.1 and sigma.max() < 0.5, name
    # Orbits that never come near: the outer disc, and a counter-rotating one.
    nowhere = np.array([[10.0, 5.0, 4500.0], [5.0, 5.0, -1700.0]])
    assert np.all(fits["right"].log_f(nowhere)[1] > 0.5)


def test_one_volume_is_fitted_in_any_potential(fits):
    """For any guess of Phi f is determined: 2e4 stars near the Sun hardly tell a wrong potential."""
    right, wrong = fits["right"], fits["wrong"]
    # Of a ln L of -1.2e5, where the disc has lost half of its mass.
    assert abs(wrong.log_likelihood - right.log_likelihood) < 20.0
    assert abs(wrong.log_evidence - right.log_evidence) < 25.0


def test_a_second_volume_tells(samples, fits):
    right, wrong = fits["both_right"], fits["both_wrong"]
    assert wrong.log_evidence - right.log_evidence < -100.0
    assert wrong.log_likelihood - right.log_likelihood < -100.0


def _pulls(a, b):
    return {
        "number": (a.number - b.number) / np.hypot(a.number_error, b.number_error),
        "v_phi": (a.mean[:, 1] - b.mean[:, 1]) / np.hypot(a.mean_error[:, 1], b.mean_error[:, 1]),
        "sigma": (a.dispersion - b.dispersion) / np.hypot(a.dispersion_error, b.dispersion_error),
    }


def test_what_the_first_volume_says_of_the_second(samples, fits):
    """Predictions from the Sun for 1 kpc above it: right in the right Phi, 10 sigma off in the wrong one."""
    observed = df.observed_moments(samples.both_right)
    pulls = _pulls(fits["right"].predict(samples.both_right, jax.random.key(5)), observed)
    assert all(np.abs(each).max() < 3.5 for each in pulls.values()), pulls
    wrong = fits["wrong"].predict(samples.both_wrong, jax.random.key(5))
    pulls = _pulls(wrong, observed)
    # At the Sun itself all is as observed.
    assert all(np.abs(each[0]).max() < 3.5 for each in pulls.values()), pulls
    # The weaker disc lets a third more stars reach 1 kpc.
    assert pulls["number"][1] > 10.0 and 1.2 < wrong.number[1] / observed.number[1] < 1.4


def test_the_maximum_is_one(samples, fits):
    """From another start, and with another weight of the prior, the same convex problem."""
    strengths = fits["right"].prior.strengths
    again = df.fit_spline(BLANK, samples.right, strengths=strengths)
    start = df.SplineDF(
        np.asarray(again.f.coefficients)
        + np.random.default_rng(1).normal(0.0, 1.0, BLANK.coefficients.shape),
        J_0=600.0,
        J_max=4000.0,
    )
    other = df.fit_spline(start, samples.right, strengths=strengths)
    J = samples.right.J[:200]
    # Newton stops when what is left to gain in ln p is 1e-6, that is 1e-3 standard deviations.
    np.testing.assert_allclose(other.log_f(J)[0], again.log_f(J)[0], atol=1e-4)
    assert other.log_evidence == pytest.approx(again.log_evidence, abs=1e-3)
    # f has as many stars as there are, but for the pull of the prior on its level.
    number = np.sum(again.predict(samples.right, jax.random.key(0), n=2).number)
    assert number == pytest.approx(N, abs=10.0)


def test_the_strengths_have_the_largest_evidence(samples, fits):
    best = fits["right"]
    for axis, factor in ((1, 0.2), (1, 5.0), (2, 0.2), (2, 5.0)):
        strengths = np.asarray(best.prior.strengths).copy()
        strengths[axis] *= factor
        other = df.fit_spline(best.f, samples.right, strengths=strengths)
        # The fixed point stops where strengths change by 10 %, and leaves out how f moves with them.
        assert other.log_evidence < best.log_evidence + 0.3, (axis, factor)


def test_nodes_count_the_stars_of_a_known_density():
    """An isochrone sphere: the number in a region of any shape, by its exact density."""
    pot, f = potential.Isochrone(M=1e11, b=3.0), df.IsochroneSphere(M=1e11, b=3.0)
    region = df.Region(R=(2.0, 3.0), z=(-0.5, 1.0), phi=(0.2, 1.5), inside=lambda x: x[:, 0] > 1.0)
    rng = np.random.default_rng(0)
    R = np.sqrt(rng.uniform(4.0, 9.0, 400_000))
    phi, z = rng.uniform(0.2, 1.5, len(R)), rng.uniform(-0.5, 1.0, len(R))
    there = R * np.cos(phi) > 1.0
    rho = jax.vmap(lambda x: potential.density(pot, x))(jnp.stack([R, 0 * R, z], axis=1))
    exact = np.mean(np.where(there, np.asarray(rho), 0.0)) * 0.5 * 5.0 * 1.3 * 1.5
    x = np.stack([R * np.cos(phi), R * np.sin(phi), z], axis=1)[there][:100]
    v = rng.normal(0.0, 80.0, (100, 3))
    data = df.local_actions(pot, dynamics.IsochroneFinder(pot), [df.LocalStars(region, x, v)], n_nodes=NODES)
    number = data.weights @ np.exp(jax.vmap(f.log_f)(jnp.asarray(data.node_J)))
    # 4e5 draws of the density: 1e-3.
    assert float(number) == pytest.approx(exact, rel=5e-3)


def test_what_is_refused(samples):
    finder = dynamics.StaeckelFudge(RIGHT)
    x, v = np.tile([8.0, 0.0, 0.0], (30, 1)), np.tile([10.0, 200.0, 5.0], (30, 1))
    with pytest.raises(ValueError, match="at least one"):
        df.local_actions(RIGHT, finder, [])
    with pytest.raises(ValueError, match="n of 20"):
        df.local_actions(RIGHT, finder, [df.LocalStars(SUN, x[:5], v[:5])])
    with pytest.raises(ValueError, match="outside"):
        df.local_actions(RIGHT, finder, [df.LocalStars(ABOVE, x, v)])
    with pytest.raises(ValueError, match="30 stars of region 0 have no actions"):
        df.local_actions(RIGHT, finder, [df.LocalStars(SUN, x, 100.0 * v)])
    with pytest.raises(ValueError, match="SplineDF is needed"):
        df.fit_spline(TRUTH, samples.right)
    with pytest.raises(ValueError, match="positive numbers"):
        df.fit_spline(BLANK, samples.right, strengths=(1.0, -1.0, 1.0))
