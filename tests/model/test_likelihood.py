"""The likelihood against mock stars drawn by another route, and its derivatives against differences.

The survey has hard edges (magnitude, latitude, absolute magnitude from the observed parallax), which is where
derivatives of a normalisation go wrong.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, model, params, potential, stars, survey

N = 400
FREE = {
    "potential.disc.M": 6.5e10,
    "potential.disc.b": 0.3,
    "potential.halo.rho_s": 8.5e6,
    "potential.halo.q": 0.9,
    "components.thin.df.sigma_r0": 95.0,
    "components.thin.df.H_d": 0.3,
    "components.thick.df.sigma_r0": 160.0,
    "components.thin.weight": 0.7,
    "sun.R0": 8.178,
    "sun.z0": 0.0208,
    "sun.U": 11.1,
    "sun.V": 12.24,
    "sun.W": 7.25,
    "outliers.fraction": 0.02,
}


@pytest.fixture(scope="module")
def truth() -> model.Model:
    pot = potential.Sum(
        bulge=potential.Hernquist(M=4.8e9, a=0.3),
        disc=potential.MiyamotoNagai(M=6.5e10, a=3.0, b=0.3),
        halo=potential.FlattenedNFW(rho_s=8.5e6, r_s=16.0, q=0.9),
    )
    clump = stars.Gaussian(mean=0.8, sigma=0.3)
    thin = df.QuasiIsothermal(R_d=2.6, sigma_r0=95.0, R_sigma=8.0, H_d=0.3)
    thick = df.QuasiIsothermal(R_d=2.2, sigma_r0=160.0, R_sigma=8.0, H_d=0.8)
    galaxy = model.Galaxy(
        pot, {"thin": model.Component(thin, clump, 0.7), "thick": model.Component(thick, clump)}
    )
    cuts = (
        survey.Magnitude(max=10.5),
        survey.AbsoluteMagnitude(min=0.2, max=1.6),
        survey.AbsLatitude(min=25.0),
    )
    errors = survey.Errors(V=0.01, parallax=0.02, v_los_jitter=1.0)
    return model.Model(galaxy, survey.Survey(selection=cuts, errors=errors), model.Outliers(fraction=0.02))


@pytest.fixture(scope="module")
def problem(truth):
    mock = model.predict(
        jax.random.key(3), truth.galaxy, truth.survey, N, outliers=truth.outliers, missing_v_los=0.05
    )
    catalogue = model.Catalogue(**{k: v for k, v in mock.columns.items() if k != "G"})
    return catalogue, model.make_nodes(catalogue, truth.galaxy, truth.survey)


def _values(truth, problem, u):
    tree = params.replace(truth, dict(zip(FREE, u, strict=True)))
    return model.per_star(tree.galaxy, tree.survey, *problem, outliers=tree.outliers)


@pytest.fixture(scope="module")
def log_L(truth, problem):
    """A function of the free parameters -> ln L_k of every star, compiled once."""
    compiled = jax.jit(lambda truth, problem, u: _values(truth, problem, u).log_L)
    return lambda u: np.asarray(compiled(truth, problem, jnp.asarray(u)))


@pytest.fixture(scope="module")
def scores(log_L):
    """d ln L_k / d ln theta of every star by central differences, shape (N, parameters)."""
    u = np.array(list(FREE.values()))
    columns = []
    for i in range(len(u)):
        # 1e-4 balances the h^2 error of differences with the rounding of ln f ~ 1e2.
        step = 1e-4 * u * (np.arange(len(u)) == i)
        high, low = (log_L(u + s) for s in (step, -step))
        columns.append((high - low) / 2e-4)
    return np.stack(columns, axis=1)


def test_scores_of_mock_stars_average_to_zero(scores):
    """At the truth the expected score vanishes: Jacobians, selection and normalisation agree.

    `model.predict` shares neither density, normalisation nor folded selection with the likelihood. Of 14
    pulls the largest exceeds 4 in one of 1000 catalogues.
    """
    assert np.all(np.isfinite(scores))
    pulls = scores.sum(axis=0) / np.sqrt((scores**2).sum(axis=0))
    assert np.all(np.abs(pulls) < 4.0), dict(zip(FREE, pulls.round(2), strict=True))
    assert np.all((scores**2).sum(axis=0) > 0.0)


def test_gradient_matches_differences_at_hard_edges(truth, problem, scores):
    def total(u):
        tree = params.replace(truth, dict(zip(FREE, u, strict=True)))
        return model.log_likelihood(tree.galaxy, tree.survey, *problem, outliers=tree.outliers)

    u = jnp.array(list(FREE.values()))
    gradient = np.asarray(jax.jit(jax.grad(total))(u) * u)
    differences = scores.sum(axis=0)
    # In units of each parameter's own information. Actions are differentiated at fixed turning points, which
    # is the derivative of the integral and not of its quadrature; here the two differ by 9e-4, all of it from
    # one nearly unbound star (number 88, J_r = 27,000 kpc km/s): see the next test.
    scale = np.sqrt((scores**2).sum(axis=0))
    np.testing.assert_allclose(gradient / scale, differences / scale, atol=2e-3)


def test_derivatives_match_differences_where_quadratures_converge(truth, problem):
    """With more nodes for the actions AD and differences agree fifty times better, to 2e-6 of an error.

    Forward mode, so that one program serves the derivatives and the differences; for the potential's
    parameters, where the default nodes leave most.
    """

    def log_L(u):
        tree = params.replace(truth, dict(zip(FREE, u, strict=True)))
        galaxy, outliers = tree.galaxy, tree.outliers
        return model.per_star(galaxy, tree.survey, *problem, outliers=outliers, finder=_converged).log_L

    along = jax.jit(lambda u, t: jax.jvp(log_L, (u,), (t,)))
    u = np.array(list(FREE.values()))
    for i, path in enumerate(FREE):
        if not path.startswith("potential."):
            continue
        t = u * (np.arange(len(u)) == i)
        exact, high, low = along(u, t)[1], along(u + 1e-4 * t, t)[0], along(u - 1e-4 * t, t)[0]
        error = np.asarray(exact - (high - low) / 2e-4)
        scale = np.sqrt(np.sum(np.asarray(exact) ** 2))
        # For the sum, and for every star alone.
        assert abs(error.sum()) < 5e-6 * scale and np.all(np.abs(error) < 5e-6 * scale), (path, error.sum())


def _converged(pot):
    return dynamics.StaeckelFudge(pot, n_r=24, n_z=12)


def test_poisson_form(truth, problem, log_L):
    """The Poisson form is the conditional one plus N ln Lambda - Lambda, Lambda the expected number."""
    settings = model.Settings(form="poisson")

    @jax.jit
    def poisson(truth, problem, log_number):
        return model.log_likelihood(
            truth.galaxy,
            truth.survey,
            *problem,
            outliers=truth.outliers,
            settings=settings,
            log_number=log_number,
        )

    conditional = log_L(list(FREE.values())).sum()
    x = np.array([10.0, 10.5, 11.0])
    extra = np.array([float(poisson(truth, problem, at)) - conditional for at in x])
    # Lambda is proportional to the number: the second difference of N x - Lambda(x) gives Lambda.
    Lambda = -(extra[2] - 2.0 * extra[1] + extra[0]) / (2.0 * np.cosh(0.5) - 2.0)
    assert extra[1] == pytest.approx(N * np.log(Lambda) - Lambda, rel=1e-6)


def test_bad_input(problem, truth):
    catalogue, nodes = problem
    with pytest.raises(ValueError, match="finder = 'Torus' is not one of"):
        model.log_likelihood(truth.galaxy, truth.survey, catalogue, nodes, finder="Torus")
    with pytest.raises(ValueError, match="pilot_tori"):
        model.log_likelihood(truth.galaxy, truth.survey, catalogue, nodes, finder="TorusFinder")
    with pytest.raises(ValueError, match="form = 'binned'"):
        model.Settings(form="binned")
    with pytest.raises(ValueError, match="missing column parallax_error"):
        columns = {k: np.asarray(getattr(catalogue, k)) for k in ("l", "b", "parallax", "mu_l", "mu_b", "V")}
        model.Catalogue(**columns)
    with pytest.raises(ValueError, match="one component may be without a weight"):
        part = truth.galaxy.components["thick"]
        model.Galaxy(truth.galaxy.potential, {"a": part, "b": part})


def test_diagnosis_finds_the_numbers_sound(truth, problem, scores):
    """Numerical errors of the normalisation are a small part of the statistical ones of 400 stars."""
    catalogue, nodes = problem
    paths = ("potential.disc.b", "components.thin.df.H_d", "components.thick.df.sigma_r0")
    found = model.diagnose(truth, catalogue, nodes, paths=paths)
    assert found.lost == 0 and found.prolate == 0.0 and 1.0 <= found.least_ess <= found.median_ess
    assert found.evaluations > nodes.n_star_nodes > N
    assert 0.0 < abs(found.error_log_A) < 1e-3
    for path in paths:
        i = list(FREE).index(path)
        # Error of the score times theta over the root of the information in ln theta: in units of its sigma.
        shift = found.error_score[path] * FREE[path] / np.sqrt((scores[:, i] ** 2).sum())
        assert 0.0 < abs(shift) < 0.1, (path, shift)
    assert "error of d ln L/d potential.disc.b" in found.as_dict()


class _SomeTori(eqx.Module):
    """The fudge, of which three quarters are said to be tori up to 0.4 kpc from the plane."""

    fudge: dynamics.StaeckelFudge

    def actions(self, x, v):
        return self.fudge.actions(x, v)

    def torus_share(self, x, v):
        return jnp.where(jnp.abs(x[2]) > 0.4, 0.0, 0.75)


def test_how_much_the_fudge_serves_beyond_tori(truth, problem):
    catalogue, nodes = problem

    def make(pot):
        return _SomeTori(dynamics.StaeckelFudge(pot))

    found = model.coverage(truth, catalogue, nodes, finder=make)
    high = np.abs(np.sin(np.asarray(catalogue.b)) / np.asarray(catalogue.parallax)) > 0.4
    assert 0.05 < high.mean() < 0.95, np.abs(np.asarray(catalogue.b)).max()
    # Parallaxes are good to 1e-2, so that few stars are on another side of 0.4 kpc than their nodes.
    assert found.stars == pytest.approx(0.25 + 0.75 * high.mean(), abs=0.02)
    # Of the model's stars at the points of the grid, which reach from the plane to far beyond.
    assert 0.3 < found.normalisation < 0.9
    assert list(found.as_dict().values()) == list(found)
    with pytest.raises(ValueError, match="finders of tori"):
        model.coverage(truth, catalogue, nodes, finder="StaeckelFudge")


def test_gradient_through_dust_folded_selection_and_the_expected_number(truth, problem):
    """Where the survey's own parameters are free the selection is folded anew, through its hard edges."""
    catalogue, nodes = problem
    dusty = survey.DustLayer(k=0.7, h=0.1)
    behind = survey.Survey(selection=truth.survey.selection, errors=truth.survey.errors, extinction=dusty)
    tree = model.Model(truth.galaxy, behind, truth.outliers)
    paths = [path for path in params.parameters(tree) if path.endswith((".k", ".h"))]
    assert len(paths) == 2
    start = np.array([0.7, 0.1, 12.0])
    settings = model.Settings(form="poisson", fold=True)

    @jax.jit
    @jax.value_and_grad
    def total(u, tree, problem):
        at = params.replace(tree, dict(zip(paths, u[:2], strict=True)))
        return model.log_likelihood(
            at.galaxy, at.survey, *problem, outliers=at.outliers, settings=settings, log_number=u[2]
        )

    gradient = np.asarray(total(jnp.asarray(start), tree, problem)[1])
    for i, slope in enumerate(gradient):
        step = 1e-4 * start * (np.arange(3) == i)
        high, low = (float(total(jnp.asarray(start + s), tree, problem)[0]) for s in (step, -step))
        assert slope == pytest.approx((high - low) / (2e-4 * start[i]), rel=1e-5), (i, slope)
        assert abs(slope) > 1.0
