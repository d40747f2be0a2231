"""Potentials of densities: independent numbers, limits known in closed form, convergence, derivatives."""

import csv
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, params, potential
from oortax.constants import G
from oortax.potential.expansion.modes import modes

DATA = Path(__file__).parents[1] / "data"

MODELS = {
    "McMillan17": potential.mcmillan_2017(),
    "Piffl14": potential.piffl_2014(),
    "DoubleExponential": potential.ExponentialDisc(Sigma_0=8e8, R_d=2.6, z_d=0.3),
    "Sech2Exponential": potential.Sech2Disc(Sigma_0=8e8, R_d=2.6, z_d=0.15),
}
NFW = {"NFW_q0.7": 0.7, "NFW_q1.3": 1.3}


def _table(file, model):
    with open(DATA / file, encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row.pop("model") == model]
    assert len(rows) >= 40
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


@eqx.filter_jit
def fields(pot, R, z):
    """Phi, (a_R, a_z) and the Laplacian over 4 pi G at many points."""

    def at(R, z):
        x = jnp.stack([R, jnp.zeros_like(R), z])
        laplacian = jnp.trace(jax.hessian(pot.Phi)(x)) / (4.0 * jnp.pi * G)
        return pot.Phi(x), potential.acceleration(pot, x)[jnp.array([0, 2])], laplacian

    return jax.vmap(at)(jnp.asarray(R), jnp.asarray(z))


def errors(pot, table):
    """Force errors, and density errors relative to rho and a third of the mean density within r."""
    _, force, laplacian = fields(pot, table["R"], table["z"])
    size = np.hypot(table["a_R"], table["a_z"])
    mean = size / np.hypot(table["R"], table["z"]) / (4.0 * np.pi * G)
    force = np.hypot(force[:, 0] - table["a_R"], force[:, 1] - table["a_z"]) / size
    return force, np.abs(laplacian - table["rho"]) / (table["rho"] + mean)


# Twice what was measured: 5e-6 and 4e-7 at worst (discs at R = 24, Piffl's 40 pc gas layer), 3e-7 and 2e-8
# in the median. Targets: 1e-4 by default and 1e-6 on the finer grid.
@pytest.mark.parametrize(
    "grid, worst, median, density",
    [(potential.Grid(), 1e-5, 6e-7, 2e-5), (potential.Grid.fine(), 9e-7, 5e-8, 5e-6)],
    ids=["default", "fine"],
)
@pytest.mark.parametrize("model", MODELS)
def test_forces_of_the_reference_models(model, grid, worst, median, density):
    pot, table = MODELS[model], _table("mass_models_reference.csv", model)
    assert len(table["R"]) == 300
    found = potential.expand(pot, grid)
    force, laplacian = errors(found, table)
    assert force.max() < worst and np.median(force) < median
    assert np.median(laplacian) < density
    # The density itself is not expanded: 1e-8 is what the tables are good to.
    rho = np.asarray(jax.vmap(found.rho)(table["R"], table["z"]))
    np.testing.assert_allclose(rho, table["rho"], rtol=1e-8, atol=1e-12 * table["rho"].max())


@pytest.mark.parametrize("model", NFW)
def test_flattened_halos(model):
    table = _table("potentials_reference.csv", model)
    halo = potential.expand(potential.Spheroid(rho_s=1e7, r_s=16.0, q=NFW[model]))
    force, density = errors(halo, table)
    assert force.max() < 1e-6 and density.max() < 3e-4


@pytest.mark.parametrize("model", MODELS)
def test_frequencies_of_the_reference_models(model):
    pot, table = potential.expand(MODELS[model]), _table("circular_reference.csv", model)
    found = jax.jit(jax.vmap(lambda R: potential.frequencies(pot, R)))(table["R"])
    inner = table["R"] < 18.0  # beyond, 40 pc are less than two cells of the angular grid
    # First derivatives to the force's accuracy, second ones (in the plane, where discs bend Phi) to 3e-4.
    np.testing.assert_allclose(found.Omega, table["Omega"], rtol=5e-6)
    np.testing.assert_allclose(found.kappa[inner], table["kappa"][inner], rtol=3e-4)
    np.testing.assert_allclose(found.nu[inner], table["nu"][inner], rtol=2e-3)


def test_modes_are_legendre_polynomials_where_they_are_resolved():
    found = modes(potential.Grid())
    l = np.arange(0, 16, 2)
    np.testing.assert_allclose(found.l[:8], l, atol=1e-4)
    for k in range(5):
        legendre = np.polynomial.legendre.Legendre.basis(2 * k)(found.mu) * np.sqrt(4 * k + 1)
        Y = np.linalg.lstsq(found.project / found.project[:, :1], legendre, rcond=None)[0]
        assert abs(abs(Y[k]) - 1.0) < 1e-6 and np.sum(np.abs(np.delete(Y, k))) < 1e-4


@pytest.mark.parametrize("gamma", [0.0, 1.0, 1.9999, 2.0, 2.0001, 2.4])
def test_power_law_cusps(gamma):
    cusp = potential.expand(potential.Spheroid(rho_s=1e9, r_s=1.0, gamma=gamma, beta=gamma, r_cut=1.9))
    exact = potential.PowerLawCutoff(rho_0=1e9, alpha=gamma, r_c=1.9)
    # Down to r_min/7 and up to 30 r_max: the power laws that go on beyond the grid.
    r = np.geomspace(1.5e-5, 3e5, 40)
    force, closed = (np.asarray(fields(p, r / np.sqrt(2), r / np.sqrt(2))[1]) for p in (cusp, exact))
    on_grid = (r > 1e-3) & (r < 1e4)
    error = np.abs(force / closed - 1.0).max(axis=1)
    assert error[on_grid].max() < 3e-5 and error.max() < 2e-3


def test_masses_far_away():
    disc = potential.ExponentialDisc(Sigma_0=8e8, R_d=2.6, z_d=0.3)
    bulge = potential.Spheroid(rho_s=1e9, r_s=1.0, q=2.0, gamma=1.0, beta=4.0)
    for pot, mass in ((disc, 2.0 * np.pi * 8e8 * 2.6**2), (bulge, 2.0 * np.pi * 1e9 * 2.0)):
        force = potential.acceleration(potential.expand(pot), jnp.array([0.0, 0.0, 3e4]))[2]
        # Hernquist's next term is 2 a/r = 7e-5.
        np.testing.assert_allclose(-force * 3e4**2 / G, mass, rtol=1e-4)


def test_a_density_without_parameters():
    pot = potential.FromDensity(lambda R, z: 1e8 * (1.0 + R * R + z * z) ** -2.5)
    exact = potential.Plummer(M=1e8 * 4.0 * np.pi / 3.0, b=1.0)
    np.testing.assert_allclose(pot.Phi_Rz(2.0, 1.0), exact.Phi_Rz(2.0, 1.0), rtol=1e-6)


def test_a_sum_is_one_table():
    pot = potential.Sum(
        disc=potential.ExponentialDisc(Sigma_0=8e8, R_d=2.6, z_d=0.3),
        halo=potential.Spheroid(rho_s=1e7, r_s=16.0),
        core=potential.Plummer(M=1e9, b=0.3),
    )
    found = potential.expand(pot)
    assert sorted(found.parts) == ["core", "disc+halo"]
    apart = sum(potential.expand(part).Phi_Rz(8.0, 0.5) for part in pot.parts.values())
    np.testing.assert_allclose(found.Phi_Rz(8.0, 0.5), apart, rtol=1e-12)
    np.testing.assert_allclose(pot.Phi_Rz(8.0, 0.5), apart, rtol=1e-12)
    assert potential.expand(found).parts["disc+halo"] is found.parts["disc+halo"]


# Where shape parameters act differently: near the centre, in the plane, on the axis, anywhere.
PLACES = np.array([[0.05, 0.02], [8.0, 0.0], [0.0, 3.0], [5.0, 2.0]])
DIFFERENTIATED = {
    "disc": potential.ExponentialDisc(Sigma_0=8e8, R_d=2.6, z_d=0.3, R_hole=1.0),
    "isothermal": potential.Sech2Disc(Sigma_0=8e8, R_d=2.6, z_d=0.3, R_hole=1.0),
    "cusp": potential.Spheroid(rho_s=1e8, r_s=5.0, q=1.0, gamma=2.0, beta=3.0, alpha=1.0, r_cut=50.0, xi=2.0),
    "flat": potential.Spheroid(rho_s=1e8, r_s=5.0, q=0.2, gamma=1.0, beta=3.0, alpha=1.5),
    "Einasto": potential.Einasto(rho_s=2e6, r_s=20.0, alpha=0.2, q=0.8),
}


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_every_parameter_s_derivative(name):
    pot = DIFFERENTIATED[name]
    declared = params.parameters(pot)

    grid = potential.Grid(n_r=48, n_theta=16)

    @jax.jit
    def numbers(changes):
        moved = params.replace(pot, {path: p.value + changes[path] for path, p in declared.items()})
        Phi, force, _ = fields(potential.expand(moved, grid), PLACES[:, 0], PLACES[:, 1])
        return jnp.concatenate([Phi, force.ravel()])

    still = {path: jnp.zeros_like(p.value) for path, p in declared.items()}
    values, pull = jax.vjp(numbers, still)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=values.size)) / jnp.abs(values).max()
    pulled = pull(weights)[0]
    for path, p in declared.items():
        h = 2e-3 * max(float(p.value), 0.1)
        direction = {**jax.tree.map(jnp.zeros_like, still), path: jnp.ones_like(p.value)}
        gradient = np.asarray(jax.jvp(numbers, (still,), (direction,))[1])

        def slope(h, path=path):
            up, down = (numbers({**still, path: jnp.asarray(step)}) for step in (h, -h))
            return (up - down) / (2.0 * h)

        differences = np.asarray((4.0 * slope(0.5 * h) - slope(h)) / 3.0)
        # Truncation (2e-3)^4 times the higher derivatives; rounding 2e-12 of the splines' values over h.
        allowed = 1e-6 * np.abs(gradient) + 2e-12 * np.abs(values) / h
        assert np.all(np.abs(gradient - differences) <= allowed), path
        np.testing.assert_allclose(pulled[path], gradient @ weights, rtol=1e-8)
        assert np.max(np.abs(gradient) / np.abs(values).max()) > 1e-9


def test_actions_in_an_expanded_potential_and_their_gradient():
    """One compilation for all parameters, and derivatives through the table and the fudge."""
    traces = []
    x, v = jnp.array([8.0, 0.0, 0.4]), jnp.array([30.0, 200.0, 20.0])

    @eqx.filter_jit
    def J_z(R_d, q):
        traces.append(1)
        pot = params.replace(potential.mcmillan_2017(), {"thin.R_d": R_d, "halo.q": q})
        return dynamics.StaeckelFudge(pot).actions(x, v)[1]

    at = jnp.array(2.5), jnp.array(1.0)
    gradient = eqx.filter_jit(jax.grad(J_z, argnums=(0, 1)))(*at)
    for i, h in enumerate((1e-3, 1e-3)):
        ends = [J_z(*(a + s * h * (i == k) for k, a in enumerate(at))) for s in (1.0, -1.0)]
        # The quadrature's derivative against the derivative's quadrature: see test_finders.
        np.testing.assert_allclose(gradient[i], (ends[0] - ends[1]) / (2.0 * h), rtol=1e-4)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("q", "gamma", "largest"), [(0.2, 1.0, 1e-6), (2.0, 1.0, 1e-6), (2.0, 2.0, 1e-6), (3.0, 2.0, 2e-5)]
)
def test_flattened_and_prolate_halos_are_as_accurate_as_stated(q, gamma, largest):
    found = potential.expansion_error(potential.Spheroid(rho_s=1e7, r_s=16.0, q=q, gamma=gamma))
    assert 0.0 < found.force < largest
    assert found.median_force < 1e-7


def test_cores_holes_and_the_fine_grid_are_as_accurate_as_stated():
    core = potential.Spheroid(rho_s=1e7, r_s=16.0, q=2.5, gamma=0.0)
    assert 1e-6 < potential.expansion_error(core).force < 2e-5
    hole = potential.Sech2Disc(Sigma_0=2.2e9, R_d=1.5, z_d=0.045, R_hole=12.0)
    assert 1e-5 < potential.expansion_error(hole).force < 1e-4
    layer = potential.ExponentialDisc(Sigma_0=8e8, R_d=2.6, z_d=0.04)
    found = potential.expansion_error(layer, potential.Grid.fine())
    assert found.force < 1e-6 and found.median_force < 5e-8


@pytest.mark.parametrize(("z_d", "largest"), [(0.3, 4e-6), (0.04, 1e-5), (0.02, 5e-5)])
def test_thin_discs_are_as_accurate_as_stated(z_d, largest):
    found = potential.expansion_error(potential.ExponentialDisc(Sigma_0=8e8, R_d=2.6, z_d=z_d))
    assert 0.0 < found.force < largest
    assert found.median_force < 4e-7


def test_expansion_error_and_its_advice():
    layer = potential.Sum(
        gas=potential.Sech2Disc(Sigma_0=5e7, R_d=7.0, z_d=0.01), halo=potential.NFW(rho_s=1e7, r_s=16.0)
    )
    found = potential.expansion_error(layer)
    assert found.part == "gas" and found.force > 1e-5
    with pytest.raises(ValueError, match=r"expansion of gas has not converged: force error .* raise n_theta"):
        potential.expansion_error(layer, tolerance=1e-6)
    finer = potential.expansion_error(layer, potential.Grid(n_theta=96))
    assert finer.force < 0.1 * found.force


def test_the_error_that_is_reported_is_the_error():
    table = _table("mass_models_reference.csv", "DoubleExponential")
    coarse = potential.Grid(n_r=48, n_theta=16)
    disc = MODELS["DoubleExponential"]
    force, _ = errors(potential.expand(disc, coarse), table)
    reported = potential.expansion_error(disc, coarse)
    assert 0.3 < reported.force / force.max() < 3.0
    assert 0.3 < reported.median_force / np.median(force) < 3.0


def _shell(R, z, sign):
    return sign * jnp.exp(-jnp.sqrt(R * R + z * z))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: potential.FromDensity(_shell, sign=-1.0), "density is negative at R"),
        (lambda: potential.FromDensity(_shell, sign=0.0), "density vanishes"),
        (lambda: potential.FromDensity(lambda R, z: jnp.log(R - 1.0)), "density is NaN"),
        (lambda: potential.FromDensity(lambda R, z: R + 1.0), r"has an infinite potential"),
        (lambda: potential.Spheroid(rho_s=1e7, r_s=16.0, beta=1.9), r"rho ~ r\^-1\.90 at 10000 kpc"),
        (
            lambda: potential.FromDensity(lambda R, z: R**-3.2 * jnp.exp(-R)),
            "at the centre has infinite mass",
        ),
    ],
)
def test_densities_without_a_potential(make, message):
    with pytest.raises(ValueError, match=message):
        potential.check_density(make())
    with pytest.raises(ValueError, match="galaxy.part|part \\("):
        potential.check_density(potential.Sum(part=make()))


@pytest.mark.parametrize(
    "keywords", [{"n_r": 4}, {"n_theta": 2}, {"degree": 4}, {"r_min": 0.0}, {"r_min": 2.0, "r_max": 1.0}]
)
def test_grids_that_are_none(keywords):
    with pytest.raises(ValueError, match=next(iter(keywords))):
        potential.Grid(**keywords)
