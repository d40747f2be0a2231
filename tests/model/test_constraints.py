"""Each direct constraint against independent formulae, its derivatives, and the conventions of its data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from oortax import model, params, potential, survey
from oortax.constants import G
from oortax.io.constraint_tables import STANDARD_SOLAR_MOTION

POT = potential.Sum(
    disc=potential.MiyamotoNagai(M=6.8e10, a=3.0, b=0.28), halo=potential.NFW(rho_s=8.5e6, r_s=16.0)
)
SUN = survey.Sun(R0=8.2, z0=0.02, U=10.0, V=13.0, W=7.0)
RNG = np.random.default_rng(2)
KAPPA = 4.740470463533349


def tree_with(pot=POT, sun=SUN, **constraints):
    return model.Model(model.Galaxy(pot), survey.Survey(sun), constraints=constraints)


_log_constraints = jax.jit(model.log_constraints)


def log_L(part, table, **changes) -> float:
    tables = {"it": {key: jnp.asarray(value) for key, value in table.items()}}
    return float(_log_constraints(tree_with(it=part, **changes), tables))


def v_c(R) -> np.ndarray:
    """Circular speeds from the analytic forces of the two parts, independent of the package's derivatives."""
    R = np.asarray(R, dtype=float)
    disc, halo = POT["disc"], POT["halo"]
    h = float(disc.a) + float(disc.b)
    x = R / float(halo.r_s)
    mass = 4 * np.pi * float(halo.rho_s) * float(halo.r_s) ** 3 * (np.log1p(x) - x / (1 + x))
    return np.sqrt(G * float(disc.M) * R**2 / (R**2 + h**2) ** 1.5 + G * mass / R)


def K_z(R, z) -> np.ndarray:
    """|K_z|/(2 pi G) in Msun/pc^2 of the same parts."""
    disc, halo = POT["disc"], POT["halo"]
    root = np.sqrt(z**2 + float(disc.b) ** 2)
    r = np.hypot(R, z)
    x = r / float(halo.r_s)
    mass = 4 * np.pi * float(halo.rho_s) * float(halo.r_s) ** 3 * (np.log1p(x) - x / (1 + x))
    of_disc = float(disc.M) * z * (float(disc.a) + root) / root / (R**2 + (float(disc.a) + root) ** 2) ** 1.5
    return (of_disc + mass * z / r**3) / (2 * np.pi) / 1e6


R_GRID = np.linspace(5.0, 24.0, 20)
CURVE = {
    "R": R_GRID,
    "v_c": v_c(R_GRID) + RNG.normal(0, 3, 20),
    "sigma_minus": np.full(20, 3.0),
    "sigma_plus": np.full(20, 3.0),
}


def test_a_curve_with_systematic_errors_is_the_dense_gaussian():
    part = model.CircularVelocity(
        systematic=0.01,
        common_fraction=0.02,
        common_offset=1.5,
        correlated_fraction=0.03,
        correlation_length=2.5,
    )
    v, R = CURVE["v_c"], CURVE["R"]
    smooth = 0.03**2 * np.outer(v, v) * np.exp(-0.5 * ((R[:, None] - R) / 2.5) ** 2)
    C = np.diag(9.0 + (0.01 * v) ** 2) + np.outer(0.02 * v, 0.02 * v) + 1.5**2 + smooth
    exact = multivariate_normal(v_c(R), C).logpdf(v)
    # The smooth part carries 1e-6 of its variance (45 (km/s)^2) as jitter beside 14 (km/s)^2 of noise.
    assert log_L(part, CURVE) == pytest.approx(exact, abs=1e-4)


def test_an_old_curve_keeps_its_numbers():
    """Independent Gaussian errors with the fraction in quadrature: the meaning of `systematic` since 0.1."""
    variance = 9.0 + (0.03 * CURVE["v_c"]) ** 2
    exact = norm(v_c(R_GRID), np.sqrt(variance)).logpdf(CURVE["v_c"]).sum()
    assert log_L(model.CircularVelocity(systematic=0.03), CURVE) == pytest.approx(exact, rel=1e-12)


def test_the_error_of_the_side_counts():
    """A measured speed below the model is off by its upper error, one above by its lower."""
    sides = CURVE | {"sigma_minus": np.full(20, 2.0), "sigma_plus": np.full(20, 6.0)}
    d = sides["v_c"] - v_c(R_GRID)
    assert (d < 0).any() and (d > 0).any()
    exact = np.sum(-0.5 * (d / np.where(d < 0, 6.0, 2.0)) ** 2) - 20 * np.log(np.sqrt(2 * np.pi) * 4.0)
    assert log_L(model.CircularVelocity(), sides) == pytest.approx(exact, rel=1e-12)


# --- Terminal velocities ---------------------------------------------------------------------------


def brute_force_terminal(l: float) -> float:
    """The extreme v_lsr along a line of sight, from gas on circles seen with `survey.frames`."""
    v_c0 = float(v_c(SUN.R0))

    def v_lsr(s):
        x = np.asarray(survey.position(SUN, l, 0.0, s))
        R = np.hypot(x[0], x[1])
        v = float(v_c(R)) * np.array([-x[1], x[0], 0.0]) / R
        assert x[0] * v[1] - x[1] * v[0] > 0, "the disc turns with positive J_phi"
        seen = survey.observe(
            survey.Sun(R0=SUN.R0, z0=0.0, U=SUN.U, V=SUN.V, W=SUN.W), v_c0, x * [1, 1, 0], v
        )
        U, V, W = STANDARD_SOLAR_MOTION
        return float(seen.v_los) + U * np.cos(l) + V * np.sin(l)

    s = np.linspace(0.5, 14.0, 2700)
    values = [v_lsr(d) for d in s[:: 60 if abs(np.sin(l)) > 2 else 30]]
    return max(values) if np.sin(l) > 0 else min(values)


@pytest.mark.parametrize("degrees", [35.0, 62.0, 320.0, 285.0])
def test_terminal_velocities_are_the_extreme_ones_along_the_line_of_sight(degrees):
    """Sign in both quadrants, the Sun's full motion taken out and the standard LSR's put back."""
    l = np.radians(degrees)
    table = {"l": np.array([l]), "v_lsr": np.zeros(1), "solar_motion": np.array(STANDARD_SOLAR_MOTION)}
    part = model.TerminalVelocities()
    fit = model.fits(tree_with(it=part), {"it": table})["it"]
    predicted = float(fit.prediction.predicted[0])
    assert np.sign(predicted) == (1 if degrees < 180 else -1)
    # A step of 0.15 kpc along the line misses the extreme by less than (0.075)^2/2 d^2v/ds^2 = 0.3 km/s.
    assert predicted == pytest.approx(brute_force_terminal(l), abs=0.3)
    # The Sun's peculiar motion matters through its difference from the standard one alone.
    standard = survey.Sun(R0=8.2, U=STANDARD_SOLAR_MOTION[0], V=STANDARD_SOLAR_MOTION[1])
    lsr = model.fits(tree_with(it=part, sun=standard), {"it": table})["it"].prediction.predicted[0]
    bare = np.sign(np.sin(l)) * v_c(8.2 * abs(np.sin(l))) - v_c(8.2) * np.sin(l)
    assert lsr == pytest.approx(bare, rel=1e-10)


@pytest.mark.parametrize("length", [0.0625, None])
def test_correlated_gas_is_the_dense_gaussian(length):
    l = np.radians(np.concatenate([RNG.uniform(30, 80, 15), RNG.uniform(280, 330, 15)]))
    l[1] = l[0]  # two tables may hold the same direction
    table = {"l": l, "v_lsr": RNG.normal(0, 60, 30), "solar_motion": np.array(STANDARD_SOLAR_MOTION)}
    part = model.TerminalVelocities(sigma=6.0, correlation_length=length, noise=1.5, bias=2.0)
    s = np.sin(l)
    U, V, _ = STANDARD_SOLAR_MOTION
    mean = np.sign(s) * (v_c(8.2 * np.abs(s)) + 2.0) - (10.0 - U) * np.cos(l) - (v_c(8.2) + 13.0 - V) * s
    kernel = np.eye(30) if length is None else np.exp(-np.abs(s[:, None] - s) / length)
    C = 36.0 * kernel + 2.25 * np.eye(30)
    assert log_L(part, table) == pytest.approx(multivariate_normal(mean, C).logpdf(table["v_lsr"]), rel=1e-11)
    d = table["v_lsr"] - mean
    chi2 = model.fits(tree_with(it=part), {"it": table})["it"].chi2
    assert chi2 == pytest.approx(d @ np.linalg.solve(C, d), rel=1e-10)


# --- Masers ----------------------------------------------------------------------------------------


def mock_masers(n: int, *, seed: int, sigma: float, U_s: float, V_s: float, error: float = 0.02) -> dict:
    """Masers in a disc, from the dynamics frame to observables by `survey.observe`, with errors added."""
    rng = np.random.default_rng(seed)
    R, phi = rng.uniform(4.5, 12.0, n), rng.uniform(-1.2, 1.2, n)
    x = np.stack([R * np.cos(phi), R * np.sin(phi), rng.normal(0, 0.03, n)], axis=1)
    e_R = np.stack([np.cos(phi), np.sin(phi), np.zeros(n)], axis=1)
    e_phi = np.stack([-np.sin(phi), np.cos(phi), np.zeros(n)], axis=1)
    v = -U_s * e_R + (v_c(R) + V_s)[:, None] * e_phi + rng.normal(0, sigma, (n, 3))
    seen = jax.vmap(lambda x, v: survey.observe(SUN, v_c(8.2), x, v))(jnp.asarray(x), jnp.asarray(v))
    l, b, s, mu_l, mu_b, v_los = (np.asarray(q) for q in seen)
    U, V, W = STANDARD_SOLAR_MOTION
    v_lsr = v_los + (U * np.cos(l) + V * np.sin(l)) * np.cos(b) + W * np.sin(b)
    e_mu, e_v = 0.1, 3.0
    parallax = 1 / s + rng.normal(0, error, n)
    good = parallax > 0.05
    table = {
        "l": l, "b": b, "parallax": parallax, "parallax_error": np.full(n, error),
        "mu_l": mu_l + rng.normal(0, e_mu, n), "mu_b": mu_b + rng.normal(0, e_mu, n),
        "mu_ll": np.full(n, e_mu**2), "mu_bb": np.full(n, e_mu**2), "mu_lb": np.zeros(n),
        "v_lsr": v_lsr + rng.normal(0, e_v, n), "v_lsr_error": np.full(n, e_v),
    }  # fmt: skip
    table = {key: values[good] for key, values in table.items()}
    table["s"], table["log_w"] = model.parallax_nodes(table["parallax"], table["parallax_error"])
    return table | {"solar_motion": np.array(STANDARD_SOLAR_MOTION)}


def maser_by_quadrature(table, i: int, part, power: float = 0.0) -> float:
    """ln of the same integral over distance by scipy, velocities rotated with `survey.phase_space`."""
    row = {key: float(np.ravel(values)[i]) for key, values in table.items() if np.ndim(values) == 1}
    l, b = row["l"], row["b"]
    U, V, W = STANDARD_SOLAR_MOTION
    v_los = row["v_lsr"] - (U * np.cos(l) + V * np.sin(l)) * np.cos(b) - W * np.sin(b)
    v_c0 = float(v_c(8.2))
    to_space = jax.jit(lambda s, ml, mb, vl: survey.phase_space(SUN, v_c0, l, b, s, ml, mb, vl))

    def integrand(s):
        x, v = (np.asarray(q) for q in to_space(s, row["mu_l"], row["mu_b"], v_los))
        axes = [to_space(s, *e) for e in np.eye(3)]
        origin = np.asarray(to_space(s, 0.0, 0.0, 0.0)[1])
        A = np.stack([np.asarray(v) - origin for _, v in axes], axis=1)  # dv/d(mu_l, mu_b, v_los)
        R = np.hypot(x[0], x[1])
        e_R, e_phi = np.array([x[0], x[1], 0]) / R, np.array([-x[1], x[0], 0]) / R
        mean = -float(part.U_s) * e_R + (float(v_c(R)) + float(part.V_s)) * e_phi
        sigma = float(part.sigma)
        sigma_phi, sigma_z = (sigma if q is None else float(q) for q in (part.sigma_phi, part.sigma_z))
        D = sigma**2 * np.outer(e_R, e_R) + sigma_phi**2 * np.outer(e_phi, e_phi)
        D[2, 2] = sigma_z**2
        E = np.array(
            [
                [row["mu_ll"], row["mu_lb"], 0],
                [row["mu_lb"], row["mu_bb"], 0],
                [0, 0, row["v_lsr_error"] ** 2],
            ]
        )
        errors = A @ E @ A.T
        p = multivariate_normal(mean, D + errors).pdf(v)
        if part.outlier_fraction is not None:
            f = float(part.outlier_fraction)
            wide = multivariate_normal(mean, float(part.outlier_sigma) ** 2 * np.eye(3) + errors).pdf(v)
            p = (1 - f) * p + f * wide
        # dv = |det A| d(mu_l, mu_b, v_los).
        return p * abs(np.linalg.det(A)) * s**power * norm(1 / s, row["parallax_error"]).pdf(row["parallax"])

    # In the true parallax, as wide as the nodes reach.
    q, e = row["parallax"], row["parallax_error"]
    low, high = max(q - 4 * e, 1 / 25), q + 4 * e
    value = quad(lambda t: integrand(1 / t) / t**2, low, high, epsrel=1e-6, epsabs=0, limit=60, points=[q])[0]
    return float(np.log(value))


@pytest.mark.parametrize(
    "part",
    [
        model.Masers(sigma=9.0, U_s=4.0, V_s=-3.0),
        model.Masers(sigma=9.0, sigma_phi=6.0, sigma_z=4.0, outlier_fraction=0.1, outlier_sigma=40.0),
    ],
    ids=["isotropic", "anisotropic with outliers"],
)
def test_masers_by_quadrature(part):
    """Fixed nodes against adaptive quadrature in a frame that knows nothing of them."""
    table = mock_masers(3, seed=4, sigma=9.0, U_s=4.0, V_s=-3.0)
    exact = sum(maser_by_quadrature(table, i, part) for i in range(len(table["l"])))
    # 21 nodes, 0.4 errors of the parallax apart: the trapezium rule's 1e-4 per source at these scatters.
    assert log_L(part, table) == pytest.approx(exact, abs=2e-3)


def test_twice_the_nodes_give_the_same_masers():
    table = mock_masers(150, seed=8, sigma=7.0, U_s=0.0, V_s=0.0, error=0.03)
    part = model.Masers(sigma=7.0, outlier_fraction=0.02)
    fine = dict(table)
    fine["s"], fine["log_w"] = model.parallax_nodes(table["parallax"], table["parallax_error"], 41)
    # ln L moves by less than a tenth over the whole sample, whose own spread is sqrt(3N/2) = 15.
    assert log_L(part, table) == pytest.approx(log_L(part, fine), abs=0.1)


def test_a_maser_on_a_circle_is_expected_where_it_is_seen():
    """The prediction of v_lsr agrees with `survey.observe` for sources that move exactly as the model."""
    table = mock_masers(40, seed=3, sigma=1e-6, U_s=5.0, V_s=-4.0, error=1e-4)
    # Errors of the mock: 3 km/s in v_lsr (100 of it would show a wrong LSR, sign or rotation).
    p = model.fits(tree_with(it=model.Masers(U_s=5.0, V_s=-4.0, sigma=3.0)), {"it": table})["it"].prediction
    d = p.measured - p.predicted
    assert np.std(d) == pytest.approx(3.0, rel=0.35) and abs(np.mean(d)) < 3 * 3.0 / np.sqrt(40)


# --- Forces, masses, layers ------------------------------------------------------------------------


def test_vertical_forces():
    R = np.array([5.0, 8.0, 10.0])
    table = {
        "R": R, "z": np.full(3, 1.1), "K_z": np.array([130.0, 70.0, 45.0]),
        "sigma_minus": np.array([9.0, 5, 4]), "sigma_plus": np.array([12.0, 5, 6]), "shift": np.zeros(3),
        "R0_table": np.full(3, 8.0),
    }  # fmt: skip
    d = table["K_z"] - K_z(R, 1.1)
    side = np.where(d < 0, table["sigma_plus"], table["sigma_minus"])
    mean = 0.5 * (table["sigma_plus"] + table["sigma_minus"])
    exact = np.sum(-0.5 * (d / side) ** 2 - np.log(np.sqrt(2 * np.pi) * mean))
    assert log_L(model.VerticalForce(), table) == pytest.approx(exact, rel=1e-10)
    # Radii measured from the Sun for R0 = 8 lie 0.2 kpc further out when R0 = 8.2.
    moved = model.fits(tree_with(it=model.VerticalForce()), {"it": table | {"shift": np.ones(3)}})["it"]
    np.testing.assert_allclose(moved.prediction.predicted, K_z(R + 0.2, 1.1), rtol=1e-10)


def test_enclosed_mass_is_the_integral_of_the_density():
    """Gauss' law against a direct integral of rho over the sphere, for a disc of b/a = 0.1."""
    disc = POT["disc"]
    rho = jax.jit(jax.vmap(lambda R, z: potential.density(disc, jnp.array([R, 0.0, z]))))
    t, w = np.polynomial.legendre.leggauss(400)
    t, w = (t + 1) / 2, w / 2
    r, wr = np.polynomial.legendre.leggauss(200)
    r, wr = 4 * (r + 1), 4 * wr
    mu = t**3
    total = sum(
        weight * 4 * np.pi * s**2 * np.sum(3 * t**2 * w * np.asarray(rho(s * np.sqrt(1 - mu**2), s * mu)))
        for s, weight in zip(r, wr, strict=True)
    )
    assert float(model.enclosed_mass(disc, 8.0)) == pytest.approx(total, rel=1e-9)
    halo = POT["halo"]
    x = 50.0 / 16.0
    exact = 4 * np.pi * 8.5e6 * 16.0**3 * (np.log1p(x) - x / (1 + x))
    assert float(model.enclosed_mass(halo, 50.0)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("log", [False, True])
def test_enclosed_masses_compare_as_they_are_or_in_logarithms(log):
    table = {
        "r": np.array([20.0, 50.0]), "M": np.array([2.2e11, 4.5e11]), "sigma_minus": np.array([3e10, 5e10]),
        "sigma_plus": np.array([5e10, 2e11]),
    }  # fmt: skip
    M = np.array([float(model.enclosed_mass(POT, r)) for r in table["r"]])
    d, minus, plus = table["M"] - M, table["sigma_minus"], table["sigma_plus"]
    if log:
        d = np.log(table["M"] / M)
        minus, plus = np.log(table["M"] / (table["M"] - minus)), np.log((table["M"] + plus) / table["M"])
    exact = np.sum(
        -0.5 * (d / np.where(d < 0, plus, minus)) ** 2 - np.log(np.sqrt(np.pi / 2) * (minus + plus))
    )
    assert log_L(model.EnclosedMass(log=log), table) == pytest.approx(exact, rel=1e-12)


def test_the_half_width_of_a_gas_layer():
    """Against a bracketing root of the closed-form potential; it grows with sigma_g and outwards."""
    disc, halo = POT["disc"], POT["halo"]

    def Phi(R, z):
        r = np.hypot(R, z)
        height = float(disc.a) + np.sqrt(z**2 + float(disc.b) ** 2)
        of_halo = (
            -4 * np.pi * G * float(halo.rho_s) * float(halo.r_s) ** 3 * np.log1p(r / float(halo.r_s)) / r
        )
        return -G * float(disc.M) / np.hypot(R, height) + of_halo

    def excess(z, R, sigma):
        return Phi(R, z) - Phi(R, 0.0) - sigma**2 * np.log(2)

    for R, sigma in ((4.0, 7.0), (8.2, 8.0), (20.0, 10.0)):
        exact = brentq(excess, 1e-6, 9.0, args=(R, sigma), xtol=1e-14)
        assert float(model.half_width(POT, R, sigma)) == pytest.approx(exact, rel=1e-9)
    assert np.isnan(float(model.half_width(POT, 8.0, 900.0))), "no such layer below 10 kpc"


def test_surface_density_is_the_integral_of_the_density():
    rho = jax.jit(lambda z: potential.density(POT, jnp.array([8.2, 0.0, z])))
    exact = 2 * quad(lambda z: float(rho(z)), 0.0, 1.1, epsrel=1e-10)[0] / 1e6
    assert float(model.surface_density(POT, 8.2, 1.1)) / 1e6 == pytest.approx(exact, rel=1e-8)
    table = {"Sigma": np.array([70.0]), "sigma": np.array([4.0]), "z": np.array([1.1]), "R": np.zeros(1)}
    expected = norm(exact, 4.0).logpdf(70.0)
    assert log_L(model.SurfaceDensity(), table) == pytest.approx(expected, rel=1e-8)


def test_sgr_a_moves_against_rotation():
    table = {"mu": np.array([-6.41]), "sigma": np.array([0.01])}
    mu = -(v_c(8.2) + 13.0) / (KAPPA * 8.2)
    assert log_L(model.SgrAProperMotion(), table) == pytest.approx(norm(mu, 0.01).logpdf(-6.41), rel=1e-10)
    # The same as what a source at rest in the centre shows.
    seen = survey.observe(
        survey.Sun(R0=8.2, z0=0.0, U=10.0, V=13.0, W=7.0), v_c(8.2), jnp.zeros(3), jnp.zeros(3)
    )
    assert float(seen.mu_l) == pytest.approx(mu, rel=1e-12)


# --- All of them -----------------------------------------------------------------------------------


def test_two_parts_share_the_matter_as_their_closed_forms_say():
    def rho_disc(R):
        disc = POT["disc"]
        a, b, M = float(disc.a), float(disc.b), float(disc.M)
        h = a + b
        return b**2 * M / (4 * np.pi) * (a * R**2 + (a + 3 * b) * h**2) / (R**2 + h**2) ** 2.5 / b**3

    def rho_halo(R):
        x = R / float(POT["halo"].r_s)
        return float(POT["halo"].rho_s) / (x * (1 + x) ** 2)

    part = model.DensityRatio(part="disc", to="halo")
    for R in (5.0, 0.0):
        at = R or float(SUN.R0)
        table = {"ratio": np.array([7.0]), "sigma": np.array([2.0]), "R": np.array([R])}
        exact = norm(7.0, 2.0).logpdf(rho_disc(at) / rho_halo(at))
        assert log_L(part, table) == pytest.approx(exact, rel=1e-10)


def test_the_ratio_of_parts_that_share_one_table():
    def discs(grid=None):
        parts = {
            "thin": potential.ExponentialDisc(Sigma_0=9e8, R_d=2.5, z_d=0.3),
            "thick": potential.ExponentialDisc(Sigma_0=1.8e8, R_d=3.0, z_d=0.9),
            "bulge": POT["disc"],
        }
        return potential.expand(potential.Sum(**parts), grid) if grid else potential.Sum(**parts)

    table = {"ratio": np.array([0.1]), "sigma": np.array([0.01]), "R": np.zeros(1)}
    R0 = float(SUN.R0)
    exact = norm(0.1, 0.01).logpdf(1.8 / 9.0 * 0.3 / 0.9 * np.exp(R0 / 2.5 - R0 / 3.0))
    part = model.DensityRatio(part="thick", to="thin")
    for pot in (discs(), discs(potential.Grid())):
        assert log_L(part, table, pot=pot) == pytest.approx(exact, rel=1e-10)


def test_a_ratio_of_parts_that_are_not_there():
    table = {"ratio": np.array([7.0]), "sigma": np.array([2.0]), "R": np.array([8.0])}
    with pytest.raises(ValueError, match=r"part = 'thick' is not a part .* \(it has disc, halo\)"):
        log_L(model.DensityRatio(part="thick", to="halo"), table)
    with pytest.raises(ValueError, match="make it a Sum"):
        log_L(model.DensityRatio(part="disc", to="halo"), table, pot=POT["disc"])


def everything() -> tuple[dict, dict]:
    """A constraint of every kind with its table, nuisance parameters away from their defaults."""
    l = np.radians(np.concatenate([np.arange(35.0, 80.0, 3.0), np.arange(285.0, 325.0, 3.0)]))
    one = np.ones(3)
    parts = {
        "curve": model.CircularVelocity(
            systematic=0.01, common_fraction=0.02, common_offset=1.0, correlated_fraction=0.02
        ),
        "gas": model.TerminalVelocities(bias=1.0),
        "masers": model.Masers(U_s=2.0, V_s=-3.0, sigma_z=5.0, outlier_fraction=0.05),
        "force": model.VerticalForce(systematic=0.03, common_fraction=0.05),
        "mass": model.EnclosedMass(log=True, systematic=0.1),
        "layer": model.GasLayer(sigma_g=9.0),
        "column": model.SurfaceDensity(),
        "discs": model.DensityRatio(part="disc", to="halo"),
        "centre": model.SgrAProperMotion(),
    }
    tables = {
        "curve": CURVE | {"sigma_plus": CURVE["sigma_plus"] * 1.3},
        "gas": {"l": l, "v_lsr": RNG.normal(0, 60, l.size), "solar_motion": np.array(STANDARD_SOLAR_MOTION)},
        "masers": mock_masers(25, seed=6, sigma=9.0, U_s=4.0, V_s=-3.0),
        "force": {
            "R": np.array([6.0, 8.0, 10.0]), "z": 1.1 * one, "K_z": np.array([120.0, 70.0, 45.0]),
            "sigma_minus": 5.0 * one, "sigma_plus": 8.0 * one, "shift": one, "R0_table": 8.0 * one,
        },
        "mass": {
            "r": np.array([20.0, 50.0, 80.0]), "M": np.array([2.2e11, 4.5e11, 6e11]),
            "sigma_minus": 4e10 * one, "sigma_plus": 9e10 * one,
        },
        "layer": {
            "R": np.array([5.0, 8.0, 12.0]), "hwhm": np.array([0.12, 0.2, 0.4]), "sigma_minus": 0.02 * one,
            "sigma_plus": 0.03 * one,
        },
        "column": {
            "Sigma": np.array([70.0]), "sigma": np.array([4.0]), "z": np.array([1.1]), "R": np.zeros(1)
        },
        "discs": {"ratio": np.array([9.0]), "sigma": np.array([2.0]), "R": np.zeros(1)},
        "centre": {"mu": np.array([-6.41]), "sigma": np.array([0.05])},
    }  # fmt: skip
    return parts, tables


@pytest.fixture(scope="module")
def all_parts():
    return everything()


def test_every_kind_is_here(all_parts):
    assert {type(part) for part in all_parts[0].values()} == set(model.CONSTRAINTS.values())


def test_together_they_are_their_sum(all_parts):
    """One vmap of circular speeds serves all: each term finds its own among them."""
    parts, tables = all_parts
    total = float(_log_constraints(tree_with(**parts), jax.tree.map(jnp.asarray, tables)))
    alone = {name: log_L(parts[name], tables[name]) for name in parts}
    assert total == pytest.approx(sum(alone.values()), rel=1e-12)
    found = model.fits(tree_with(**parts), tables)
    assert {name: found[name].log_likelihood for name in parts} == pytest.approx(alone, rel=1e-10)


def test_gradients_in_every_parameter(all_parts):
    """Potential, Sun and nuisance parameters against central differences."""
    parts, tables = all_parts
    tree, tables = tree_with(**parts), jax.tree.map(jnp.asarray, tables)
    known = params.parameters(tree)
    paths = [p for p in known if p.startswith(("potential.", "sun.", "constraints."))]
    assert len(paths) > 25 and "constraints.masers.V_s" in paths
    at = jnp.array([float(known[p].value) for p in paths])
    step = 1e-4 * jnp.maximum(jnp.abs(at), 0.1)

    @jax.jit
    def value(x):
        return model.log_constraints(params.replace(tree, dict(zip(paths, x, strict=True))), tables)

    gradient = np.asarray(jax.jit(jax.grad(value))(at)) * np.asarray(step)
    offsets = np.eye(len(paths)) * np.asarray(step)
    difference = np.array([float(value(at + e) - value(at - e)) / 2.0 for e in offsets])
    silent = {"sun.z0"}  # masers alone see it, by less than rounding of the sum
    for path, g, d in zip(paths, gradient, difference, strict=True):
        # Differences: rounding of a sum of order 1e4 is 1e-11, and the third-order term 1e-6 of the first.
        assert g == pytest.approx(d, rel=3e-5, abs=1e-9), path
        assert path in silent or g != 0.0 or path.endswith(("correlation_length", "offset")), path


def test_one_trace_serves_every_value(all_parts):
    parts, tables = all_parts
    tables = jax.tree.map(jnp.asarray, tables)
    traces = []

    @jax.jit
    def value(tree):
        traces.append(1)
        return model.log_constraints(tree, tables)

    tree = tree_with(**parts)
    value(tree)
    value(params.replace(tree, {"potential.disc.M": 5e10, "constraints.gas.bias": -2.0}))
    assert len(traces) == 1


def test_mock_data_have_the_chi2_they_should():
    """Tables drawn from the model's own potential and errors: chi^2 within 3.5 sigma of its mean, n."""
    rng = np.random.default_rng(17)
    n = 40
    R = np.linspace(4, 20, n)
    s, common = np.full(n, 3.0), 0.03
    curve = {
        "R": R, "v_c": v_c(R) * (1 + common * rng.normal()) + rng.normal(0, 3, n), "sigma_minus": s,
        "sigma_plus": s,
    }  # fmt: skip
    r = np.geomspace(5, 150, n)
    M = np.array([float(m) for m in jax.vmap(lambda r: model.enclosed_mass(POT, r))(jnp.asarray(r))])
    e = 0.1 * M
    mass = {"r": r, "M": M + rng.normal(0, 1, n) * e, "sigma_minus": e, "sigma_plus": e}
    masers = mock_masers(150, seed=23, sigma=9.0, U_s=4.0, V_s=-3.0)
    parts = {
        "curve": model.CircularVelocity(common_fraction=common),
        "mass": model.EnclosedMass(),
        "masers": model.Masers(sigma=9.0, U_s=4.0, V_s=-3.0),
    }
    found = model.fits(tree_with(**parts), {"curve": curve, "mass": mass, "masers": masers})
    for name in ("curve", "mass"):
        assert abs(found[name].chi2 - n) < 3.5 * np.sqrt(2 * n), name
    # v_lsr at the distance that the source itself prefers: closer to the model than drawn, never by much.
    k = len(masers["l"])
    assert 0.4 * k < found["masers"].chi2 < k + 3.5 * np.sqrt(2 * k)
    wrong = model.fits(tree_with(**parts, sun=survey.Sun(R0=8.2, V=40.0)), {"masers": masers})
    assert wrong["masers"].log_likelihood < found["masers"].log_likelihood - 100
