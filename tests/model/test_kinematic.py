"""The likelihood given places: exact with exact data, right whatever selected the stars by place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from oortax import df, dynamics, model, params, potential, stars, survey

N = 1500
FREE = {
    "potential.disc.M": 6.5e10,
    "potential.halo.v_0": 170.0,
    "potential.halo.q": 0.85,
    "components.disc.df.sigma_r0": 120.0,
    "components.halo.df.b": 1.2,
    "components.halo.weight": 0.3,
    "sun.V": 12.24,
    "outliers.fraction": 0.02,
}


@pytest.fixture(scope="module", name="truth")
def _truth() -> model.Model:
    pot = potential.Sum(
        disc=potential.MiyamotoNagai(M=6.5e10, a=3.0, b=0.3),
        halo=potential.LogarithmicHalo(v_0=170.0, r_c=3.0, q=0.85),
    )
    clump = stars.Gaussian(mean=0.8, sigma=0.2)
    disc = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=8.0, H_d=0.5)
    halo = df.DB96Halo(a=1.2, b=1.2, beta=3.5, gamma=1.8, A_0=500.0)
    galaxy = model.Galaxy(
        pot, {"disc": model.Component(disc, clump), "halo": model.Component(halo, clump, 0.3)}
    )
    cuts = (survey.Magnitude(max=13.5), survey.AbsLatitude(min=30.0))
    errors = survey.Errors(V=0.02, pm=0.03, v_los=2.0, distance_modulus=0.1)
    return model.Model(galaxy, survey.Survey(selection=cuts, errors=errors), model.Outliers(fraction=0.02))


@pytest.fixture(scope="module", name="problem")
def _problem(truth):
    """Stars of which most that are far away, in the north or at l > 180 deg are missing."""
    found = model.predict(jax.random.key(5), truth.galaxy, truth.survey, 6 * N, outliers=truth.outliers)
    known = model.Catalogue.__dataclass_fields__
    columns = {name: np.array(values) for name, values in found.columns.items() if name in known}
    share = np.exp(-found.truth["s"] / 2.0) * np.where(columns["b"] > 0.0, 0.3, 1.0)
    share *= np.where(columns["l"] > np.pi, 0.5, 1.0)
    rng = np.random.default_rng(1)
    kept = np.flatnonzero(rng.random(6 * N) < share)
    rows = rng.permutation(kept)[:N] if len(kept) >= N else kept
    assert len(rows) > 0.6 * N
    columns["v_los"][rows[:: len(rows) // 100]] = np.nan
    catalogue = model.Catalogue(**{name: values[rows] for name, values in columns.items()})
    return catalogue, model.make_nodes(catalogue, truth.galaxy, truth.survey, 3)


@pytest.fixture(scope="module", name="log_L")
def _log_L():
    """(form, model, catalogue and nodes, u) -> ln L_k of every star."""
    compiled = {}

    def values(form, truth, problem, u):
        def at(truth, problem, u):
            tree = params.replace(truth, dict(zip(FREE, u, strict=True)))
            settings = model.Settings(form=form, n_R=4, n_z=7)
            sight = tree.galaxy, tree.survey, *problem
            return model.per_star(*sight, outliers=tree.outliers, settings=settings).log_L

        run = compiled.setdefault(form, jax.jit(at))
        return np.asarray(run(truth, problem, jnp.asarray(u)))

    return values


def scores(log_L, form, truth, problem):
    """d ln L_k / d ln theta by central differences, (N, parameters)."""
    u = np.array(list(FREE.values()))
    columns = []
    for k in range(len(u)):
        step = np.where(np.arange(len(u)) == k, 1e-3 * u, 0.0)
        columns.append((log_L(form, truth, problem, u + step) - log_L(form, truth, problem, u - step)) / 2e-3)
    return np.stack(columns, axis=1)


def chance(g) -> float:
    """Probability of scores whose mean is farther from 0 than that of these."""
    total = g.sum(axis=0)
    return float(chi2.sf(total @ np.linalg.solve(np.cov(g.T) * len(g), total), g.shape[1]))


@pytest.mark.slow
def test_a_selection_by_place_that_is_not_known_does_no_harm(truth, problem, log_L):
    """Scores at the truth have mean 0 though most stars are missing; by the survey's own selection not."""
    assert 1e-3 < chance(scores(log_L, "kinematic", truth, problem)) < 0.999
    # Rounding makes the mock another one on another machine: chi^2 is some 100 +- 20, for p = 1e-6 it is 42.
    assert chance(scores(log_L, "conditional", truth, problem)) < 1e-6


@pytest.mark.slow
def test_replicated_velocities_are_those_of_the_likelihood(truth, problem, log_L):
    """Catalogues drawn at the same places have scores of mean 0, too; what was not measured stays so."""
    catalogue, nodes = problem
    drawn = model.replicate(jax.random.key(2), truth.sight(""), catalogue, nodes)
    missing = ~np.isfinite(np.asarray(catalogue.v_los))
    assert 50 < missing.sum() < 300
    np.testing.assert_array_equal(missing, ~np.isfinite(np.asarray(drawn.v_los)))
    np.testing.assert_array_equal(catalogue.distance_modulus, drawn.distance_modulus)
    moved = np.asarray(drawn.mu_l) - np.asarray(catalogue.mu_l)
    assert np.median(np.abs(moved)) > 1.0
    again = drawn, model.make_nodes(drawn, truth.galaxy, truth.survey, 3)
    assert 1e-3 < chance(scores(log_L, "kinematic", truth, again)) < 0.999


def test_exact_data_give_f_over_rho():
    """Against the density by `df.log_density`, which has velocity nodes of its own and no grid."""
    clump = stars.Gaussian(mean=0.8, sigma=0.2)
    halo = df.DoublePowerLaw(norm=1.0, J_0=800.0, slope_in=1.5, slope_out=4.5)
    cuts = (survey.DistanceModulus(min=10.0, max=16.5), survey.AbsLatitude(min=20.0))
    seen = survey.Survey(selection=cuts, errors=survey.Errors(distance_modulus=1e-5))
    rng = np.random.default_rng(3)
    l, b, modulus = rng.uniform(0.0, 6.0, 20), rng.uniform(0.4, 1.4, 20), rng.uniform(11.0, 14.0, 20)
    # The last on the Galactic axis.
    l[-1], modulus[-1] = 0.0, 5.0 * np.log10(100.0 * float(seen.sun.R0) / np.cos(b[-1]))
    columns = {
        "l": l,
        "b": b,
        "distance_modulus": modulus,
        "mu_l": rng.normal(-3.0, 3.0, 20),
        "mu_b": rng.normal(-3.0, 3.0, 20),
        "v_los": rng.normal(0.0, 100.0, 20),
    }
    catalogue = model.Catalogue(**columns, distance_modulus_error=np.full(20, 1e-5))

    def galaxy(v_0, q):
        pot = potential.LogarithmicHalo(v_0=v_0, r_c=3.0, q=q)
        return model.Galaxy(pot, {"halo": model.Component(halo, clump)})

    nodes = model.make_nodes(catalogue, galaxy(200.0, 0.9), seen, 1)
    settings = model.Settings(form="kinematic", n_R=8, n_z=12, refine=2.0)

    @jax.jit
    def ours(v_0, q):
        return model.per_star(galaxy(v_0, q), seen, catalogue, nodes, settings=settings).log_L

    @jax.jit
    def direct(v_0, q):
        pot = galaxy(v_0, q).potential
        finder = dynamics.StaeckelFudge(pot)
        x, v = model.star_points(pot, seen, nodes.stars)
        log_f = jax.vmap(lambda x, v: halo.log_f(finder.actions(x, v)))(x, v)
        at = jnp.hypot(x[:, 0], x[:, 1]), x[:, 2]
        log_rho = jax.lax.map(lambda place: df.log_density(halo, pot, finder, *place, 2.5), at)
        return log_f - log_rho

    slopes = np.stack(jax.jacfwd(ours, (0, 1))(200.0, 0.9), axis=1)
    # Box orbits are next to a separatrix, over which larger steps in q carry some of the velocity nodes.
    steps = np.array([0.02, 1e-5])
    differences = [(ours(200.0 + s, 0.9 + t) - ours(200.0 - s, 0.9 - t)) for s, t in np.diag(steps)]
    off = np.abs(slopes - np.stack(differences, axis=1) / (2.0 * steps))
    # One star is itself next to the separatrix, where the fudge's own slopes are good to 1e-3 of J.
    assert np.max(off[:, 0]) < 1e-5 and np.median(off[:, 1]) < 5e-4 and np.max(off[:, 1]) < 1e-2

    # The Jacobian of proper motions is the same in both models.
    ours, direct = (np.asarray(run(215.0, 0.8) - run(190.0, 0.95)) for run in (ours, direct))
    # All nodes of a star, whose data are exact, are at one place.
    direct = direct[np.searchsorted(np.asarray(nodes.stars.star), np.arange(20))]
    assert np.std(direct) > 0.3
    # What the grid's polynomials and the two rules leave; on the axis the grid is continued beyond its box.
    np.testing.assert_allclose(ours[:-1], direct[:-1], atol=1e-3)
    assert abs(ours[-1] - direct[-1]) < 0.02


def test_places_weigh_the_same_however_much_of_a_velocity_is_known(truth, problem):
    """ln of the summed weights of a star's places: with v_los, without, and filled up."""
    catalogue, nodes = problem
    columns = {name: np.array(getattr(catalogue, name)) for name in catalogue.__dataclass_fields__}
    columns["v_los"][:] = np.nan
    without = model.make_nodes(model.Catalogue(**columns), truth.galaxy, truth.survey, 3)
    assert without.n_star_nodes > 2 * nodes.n_star_nodes

    def sums(stars):
        return np.bincount(np.asarray(stars.star), np.exp(np.asarray(stars.log_place)))

    # How many nodes a distance has depends on v_los, too: the rules differ, their first moments do not.
    np.testing.assert_allclose(sums(without.stars) / sums(nodes.stars), 1.0, rtol=2e-2)
    full = model.filled(nodes)
    assert full.n_star_nodes > nodes.n_star_nodes
    np.testing.assert_allclose(sums(full.stars), sums(nodes.stars))


def test_the_report_measures_its_density(truth, problem):
    """`diagnose` compares the stars' own normalisations with a finer grid's."""
    settings = model.Settings(form="kinematic")
    found = model.diagnose(truth, *problem, paths=("potential.halo.q",), settings=settings)
    assert found.lost == 0 and 0.0 < abs(found.error_log_A) < 0.05
    assert 0.0 < abs(found.error_score["potential.halo.q"]) < 20.0


def test_unknown_forms_are_said():
    with pytest.raises(ValueError, match="'conditional', 'poisson', 'kinematic'"):
        model.Settings(form="kinematik")
