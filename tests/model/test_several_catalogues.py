"""Catalogues of other observables: what is not measured is integrated over; several agree on one galaxy."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import gammaln

from oortax import df, inference, model, params, potential, stars, survey

GIANTS, DWARFS = stars.Gaussian(0.6, 0.2), stars.Gaussian(5.0, 0.2)
# A disc: where stars of a halo pass from loops to boxes, at small L_z, the fudge's actions, and with few
# stars ln L, bend within a per cent of q.
FREE = {"potential.q": 0.8, "components.disc.df.sigma_r0": 120.0}
N = {"giants": 150, "dwarfs": 150}
TRUTH = model.Model(
    model.Galaxy(
        potential.LogarithmicHalo(v_0=220.0, r_c=2.0, q=0.8),
        {"disc": model.Component(df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=8.0, H_d=0.45), GIANTS)},
    ),
    survey.Survey(),
    catalogues={
        "giants": model.View(
            (survey.Magnitude(max=12.5), survey.AbsLatitude(min=40.0)),
            survey.Errors(V=0.02, v_los=2.0, distance_modulus=0.1),
        ),
        "dwarfs": model.View(
            (survey.Magnitude(max=15.5), survey.AbsLatitude(min=40.0)),
            survey.Errors(V=0.02, pm=0.3),
            stars={"disc": DWARFS},
        ),
    },
)
LOST = {"giants": ("mu_l", "mu_b"), "dwarfs": ("v_los", "parallax", "distance_modulus")}


def observed(name, n, seed, lost=True):
    """A mock catalogue without what the survey does not measure."""
    sight = TRUTH.sight(name)
    drawn = model.predict(jax.random.key(seed), sight.galaxy, sight.survey, n)
    assert not lost or not set(drawn.columns) & {"parallax"}
    columns = {k: v for k, v in drawn.columns.items() if k in model.Catalogue.__dataclass_fields__}
    for column in LOST[name] if lost else ():
        columns = {k: v for k, v in columns.items() if k.removesuffix("_error") != column}
    return columns


@pytest.fixture(scope="module")
def columns():
    return {name: observed(name, n, seed) for seed, (name, n) in enumerate(N.items(), 1)}


@pytest.fixture(scope="module")
def found(columns):
    """Catalogues and nodes."""
    laid = {}
    for name, of_stars in columns.items():
        galaxy, seen, _ = TRUTH.sight(name)
        catalogue = model.Catalogue(**of_stars)
        laid[name] = catalogue, model.make_nodes(catalogue, galaxy, seen, 1)
    return laid


def log_likelihood(tree, data):
    """ln L of either catalogue times a weight: one program for each alone and for both."""
    settings = model.Settings()
    several = {
        name: model.Observed(tree.sight(name), *parts, settings) for name, parts in data["stars"].items()
    }
    per_star = model.per_star_jointly(tree.galaxy, several)
    return sum(data["weights"][name] * jnp.sum(one.log_L) for name, one in per_star.items())


def test_catalogues_agree_and_add_up(found):
    """v_los and distances of one, proper motions of the other: truth within 3 sigma of each and of both."""
    priors = {path: dist.LogNormal(float(np.log(true)), 0.3) for path, true in FREE.items()}
    tops, precision, joint = {}, {}, None
    for use in (tuple(N), *((name,) for name in N)):
        data = {"stars": found, "weights": {name: jnp.asarray(float(name in use)) for name in N}}
        posterior = inference.Posterior(
            params.replace(TRUTH, {"potential.q": 0.9}), priors, log_likelihood, data
        )
        top = inference.maximise(posterior, *(() if joint is None else (joint.u,)), progress=False)
        assert top.converged
        joint = top if joint is None else joint
        tops[use] = inference.laplace(posterior, top)
        precision[use] = inference.laplace(posterior, joint, strict=False).precision
    for path, true in FREE.items():
        for gaussian in tops.values():
            assert abs(gaussian.values[path] - true) < 3.0 * gaussian.sigma[path], path
        alone = [tops[(name,)].values[path] for name in N]
        assert min(alone) < tops[tuple(N)].values[path] < max(alone), path
    # At one point; the prior, of 0.3 in ln, counts once. Differences of gradients over 0.2 sigma, which are
    # not the same for the three, err by the third derivative: some per cent with so few stars.
    sum_of_both = sum(precision[(name,)] for name in N) - np.eye(len(FREE)) / 0.3**2
    np.testing.assert_allclose(precision[tuple(N)], sum_of_both, atol=0.05 * np.max(sum_of_both))
    assert np.all(np.diag(precision[tuple(N)]) > [np.diag(precision[(name,)]) for name in N])


def test_poisson_form_shares_stars_out_among_catalogues(found):
    """An integral over the number of stars; a view of a part of the populations lists its part of them."""

    @jax.jit
    def forms(data, log_number):
        sights = {name: TRUTH.sight(name) for name in N}
        found = []
        for form in ("conditional", "poisson"):
            settings = model.Settings(form=form)
            several = {name: model.Observed(sights[name], *data[name], settings) for name in N}
            found.append(model.log_likelihood_jointly(TRUTH.galaxy, several))
            one = {"giants": several["giants"]}
            found.append(model.log_likelihood_jointly(TRUTH.galaxy, one))
        given = jax.vmap(lambda x: model.log_likelihood_jointly(TRUTH.galaxy, several, log_number=x))
        log_A = [part.log_A for part in model.per_star_jointly(TRUTH.galaxy, several).values()]
        return found, given(log_number), jnp.stack(log_A)

    x = np.linspace(2.0, 40.0, 7601)
    (both, one, shared, alone), of_number, log_A = forms(found, jnp.asarray(x))
    assert float(one) == pytest.approx(float(alone), abs=1e-9)
    # The trapezium rule of a smooth peak is exact; ln Gamma of the number of all stars is left out.
    n = sum(N.values())
    peak = float(of_number.max())
    integral = peak + np.log(np.sum(np.exp(np.asarray(of_number) - peak)) * (x[1] - x[0])) - gammaln(n)
    assert float(shared) == pytest.approx(integral, abs=1e-6)
    share = log_A - np.logaddexp(*np.asarray(log_A))
    assert float(shared - both) == pytest.approx(float(np.array(list(N.values())) @ share), abs=1e-6)


def test_a_survey_of_a_part_of_the_populations_lists_its_part(found):
    """Of two discs that differ in nothing a survey that shows one lists its weight's share."""
    disc = TRUTH.galaxy.components["disc"]
    twins = {"a": model.Component(disc.df, disc.stars, 0.3), "b": model.Component(disc.df, disc.stars)}
    view = TRUTH.catalogues["giants"]
    of = {"all": (), "a": ("a",)}
    views = {
        name: model.View(view.selection, view.errors, components=components)
        for name, components in of.items()
    }
    tree = model.Model(model.Galaxy(TRUTH.galaxy.potential, twins), catalogues=views)

    catalogue, _ = found["giants"]
    data = {
        name: (catalogue, model.make_nodes(catalogue, sight.galaxy, sight.survey, 1))
        for name, sight in ((name, tree.sight(name)) for name in of)
    }

    @jax.jit
    @jax.value_and_grad
    def shared(w, data):
        """What the Poisson form adds, of a weight."""
        at = params.replace(tree, {"components.a.weight": w})
        several = {
            form: {
                name: model.Observed(at.sight(name), *data[name], model.Settings(form=form)) for name in of
            }
            for form in ("conditional", "poisson")
        }
        conditional, poisson = (model.log_likelihood_jointly(at.galaxy, each) for each in several.values())
        return poisson - conditional

    # Where the other twin is all but gone, too.
    for w in (0.3, 1e-6, 1.0 - 1e-9):
        value, slope = shared(w, data)
        assert float(value) == pytest.approx(N["giants"] * np.log(w / (1.0 + w) ** 2), rel=1e-8)
        assert float(slope) == pytest.approx(N["giants"] * (1.0 / w - 2.0 / (1.0 + w)), rel=1e-6, abs=1e-5)
    high, low = (float(shared(0.3 + h, data)[0]) for h in (1e-4, -1e-4))
    assert float(shared(0.3, data)[1]) == pytest.approx((high - low) / 2e-4, rel=1e-6)


def test_the_share_of_a_catalogue_has_its_derivatives(found):
    """In the flattening, which moves stars in and out of the surveys' cones: against differences."""

    @jax.jit
    def shared(q, data):
        def value(q):
            tree = params.replace(TRUTH, {"potential.q": q})
            several = {
                form: {
                    name: model.Observed(tree.sight(name), *data[name], model.Settings(form=form))
                    for name in N
                }
                for form in ("conditional", "poisson")
            }
            forms = [model.log_likelihood_jointly(tree.galaxy, each) for each in several.values()]
            return forms[1] - forms[0]

        return jax.jvp(value, (q,), (jnp.ones(()),))

    slope, (high, low) = shared(0.8, found)[1], (shared(0.8 + h, found)[0] for h in (1e-4, -1e-4))
    assert abs(float(slope)) > 1.0
    assert float(slope) == pytest.approx(float(high - low) / 2e-4, rel=1e-4)


def per_star(name):
    galaxy, seen, _ = TRUTH.sight(name)
    return jax.jit(lambda catalogue, nodes: model.per_star(galaxy, seen, catalogue, nodes).log_L)


def test_a_missing_proper_motion_is_integrated_over(columns):
    """Against a fine sum over proper motions that are measured: other nodes, and no rule for motions."""
    galaxy, seen, _ = TRUTH.sight("giants")
    log_L, k, n = per_star("giants"), 4, 48
    some = {name: values[:k] for name, values in columns["giants"].items()}
    some |= {"v_los_error": np.full(k, 1e-3), "distance_modulus_error": np.full(k, 1e-6)}
    without = model.Catalogue(**some)
    rules = [log_L(without, model.make_nodes(without, galaxy, seen, 1, seed=seed)) for seed in range(4)]
    # Every 12 km/s from -288 to 288: the dispersions are 30 to 50, about a drift of as much.
    step = 12.0 / (4.740470463533349 * 10.0 ** (0.2 * some["distance_modulus"] - 2.0))
    at = np.stack(np.meshgrid(*2 * [np.arange(n) + 0.5 - n / 2], indexing="ij"), -1).reshape(-1, 2)
    many = {name: np.repeat(values, n * n) for name, values in some.items()}
    for i, name in enumerate(("mu_l", "mu_b")):
        many[name] = (step[:, None] * at[:, i]).ravel()
    each = model.Catalogue(**many)
    found = np.asarray(log_L(each, model.make_nodes(each, galaxy, seen, 1))).reshape(k, n * n)
    expected = np.log(np.exp(found).sum(axis=1) * step**2)
    # The rule's steps are 1.2 dispersions, of a random phase: 0.02 where f is no Gaussian.
    np.testing.assert_allclose(np.mean(rules, axis=0), expected, atol=0.03)
    assert np.std(rules, axis=0).max() < 0.06
