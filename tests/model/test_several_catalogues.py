"""Catalogues of other observables: what is not measured is integrated over; several agree on one galaxy."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from oortax import df, inference, model, params, potential, stars, survey

BHB, DWARFS = stars.Gaussian(0.6, 0.2), stars.Gaussian(5.0, 0.2)
# Not v_0: it moves the Sun, and with few nodes ln L has kinks where a node's L_z is 0, a cusp of f.
FREE = {"potential.q": 0.9, "components.halo.df.a": 1.2}
N = {"bhb": 80, "dwarfs": 80}
TRUTH = model.Model(
    model.Galaxy(
        potential.LogarithmicHalo(v_0=220.0, r_c=1.0, q=0.9),
        {"halo": model.Component(df.DB96Halo(a=1.2, b=1.2, beta=3.5, gamma=1.8, A_0=500.0), BHB)},
    ),
    survey.Survey(),
    catalogues={
        "bhb": model.View(
            (survey.Magnitude(min=14.0, max=17.0), survey.AbsLatitude(min=30.0)),
            survey.Errors(V=0.02, v_los=5.0, distance_modulus=0.1),
        ),
        "dwarfs": model.View(
            (survey.Magnitude(min=13.0, max=17.0), survey.AbsLatitude(min=40.0)),
            survey.Errors(V=0.02, pm=0.3),
            stars={"halo": DWARFS},
        ),
    },
)
LOST = {"bhb": ("mu_l", "mu_b"), "dwarfs": ("v_los", "parallax", "distance_modulus")}


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
    results = {}
    u = None
    for use in (tuple(N), *((name,) for name in N)):
        data = {"stars": found, "weights": {name: jnp.asarray(float(name in use)) for name in N}}
        posterior = inference.Posterior(
            params.replace(TRUTH, {"potential.q": 1.0}), priors, log_likelihood, data
        )
        top = inference.maximise(posterior, *(() if u is None else (u,)), progress=False)
        assert top.converged
        u = top.u
        results[use] = inference.laplace(posterior, top)
    both = results[tuple(N)]
    for path, true in FREE.items():
        for gaussian in results.values():
            assert abs(gaussian.values[path] - true) < 3.0 * gaussian.sigma[path], path
        alone = [results[(name,)].values[path] for name in N]
        assert min(alone) < both.values[path] < max(alone), path
    # The curvature of ln L in q changes by a factor of two within an error of so few stars: sigma(q) at three
    # maxima cannot be compared.
    path = "components.halo.df.a"
    assert both.sigma[path] < min(results[(name,)].sigma[path] for name in N)


def per_star(name):
    galaxy, seen, _ = TRUTH.sight(name)
    return jax.jit(lambda catalogue, nodes: model.per_star(galaxy, seen, catalogue, nodes).log_L)


def test_a_missing_proper_motion_is_integrated_over(columns):
    """Against a fine sum over proper motions that are measured: other nodes, and no rule for motions."""
    galaxy, seen, _ = TRUTH.sight("bhb")
    log_L, k, n = per_star("bhb"), 4, 32
    some = {name: values[:k] for name, values in columns["bhb"].items()}
    some |= {"v_los_error": np.full(k, 1e-3), "distance_modulus_error": np.full(k, 1e-6)}
    without = model.Catalogue(**some)
    rules = [log_L(without, model.make_nodes(without, galaxy, seen, 1, seed=seed)) for seed in range(4)]
    # Every 50 km/s from -800 to 800: the dispersions are 130, about the Sun's reflex motion of at most 250.
    step = 50.0 / (4.740470463533349 * 10.0 ** (0.2 * some["distance_modulus"] - 2.0))
    at = np.stack(np.meshgrid(*2 * [np.arange(n) + 0.5 - n / 2], indexing="ij"), -1).reshape(-1, 2)
    many = {name: np.repeat(values, n * n) for name, values in some.items()}
    for i, name in enumerate(("mu_l", "mu_b")):
        many[name] = (step[:, None] * at[:, i]).ravel()
    each = model.Catalogue(**many)
    found = np.asarray(log_L(each, model.make_nodes(each, galaxy, seen, 1))).reshape(k, n * n)
    expected = np.log(np.exp(found).sum(axis=1) * step**2)
    # The rule's random phase scatters by 0.02 where f has its cusp at L_z = 0.
    np.testing.assert_allclose(np.mean(rules, axis=0), expected, atol=0.03)
    assert np.std(rules, axis=0).max() < 0.06
