"""Several catalogues in one configuration: the sum of what they say alone, compiled once; what is refused."""

import copy
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import data, io, params
from oortax.commands import posterior as commands
from oortax.io.tables import read_table

CONFIG = """
[catalogues.north]
catalogue = "stars.parquet"
selection = [
  {kind = "magnitude", max = 10.0}, {kind = "latitude", min = 30.0},
  {kind = "absolute_magnitude", min = 0.2, max = 1.6},
]
errors = {parallax = 0.02, parallax_zero_point = {prior = "Normal(-0.03, 0.02)", start = -0.025}}
outliers = {fraction = {prior = "Beta(1, 50)", start = 0.02}}
nodes_per_star = 2
n_stars = 30
[catalogues.south]
catalogue = "stars.parquet"
selection = [
  {kind = "magnitude", max = 9.5}, {kind = "latitude", max = -35.0},
  {kind = "absolute_magnitude", min = 0.2, max = 1.6},
]
errors = {parallax = 0.03, parallax_zero_point = -0.03}
n_stars = 20
components = ["disc"]
stars = {disc = {kind = "gaussian", mean = 0.8, sigma = 0.4, support = [0.0, 1.8]}}
[potential.disc]
kind = "MiyamotoNagai"
M = {prior = "LogNormal(log(6.5e10), 0.5)", start = 7e10}
a = 3.0
b = 0.3
[potential.halo]
kind = "NFW"
rho_s = 8e6
r_s = 16.0
[components.disc]
df = {kind = "QuasiIsothermal", R_d = 2.6, sigma_r0 = 110.0, R_sigma = 8.0, H_d = 0.3}
[sun]
V = {prior = "Normal(12.24, 2.0)"}
[inference]
nodes_per_star = 1
"""
NAMES = ("north", "south")
OWN = "catalogues.north.errors.parallax_zero_point", "catalogues.north.outliers.fraction"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """2000 of the bundled stars."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("catalogues")
    columns = {k: np.array(v[::15][:2000]) for k, v in read_table(data.path("gaia_giants")).columns.items()}
    pq.write_table(pa.table(columns), folder / "stars.parquet")
    return folder


@pytest.fixture
def document():
    return copy.deepcopy(tomllib.loads(CONFIG))


def build(document, folder):
    return io.build(io.parse_config(document, folder))


@pytest.fixture(scope="module")
def problem(folder):
    return build(tomllib.loads(CONFIG), folder)


@pytest.fixture(scope="module")
def posterior(problem):
    return commands.build_posterior(problem)


def test_each_catalogue_has_its_own_survey_rows_and_nodes(problem, posterior):
    stars = problem.stars
    assert list(stars) == list(NAMES) and problem.report is None and problem.columns == {}
    assert [len(part.columns["l"]) for part in stars.values()] == [30, 20]
    assert np.all(stars["north"].columns["b"] > 0.5) and np.all(stars["south"].columns["b"] < -0.6)
    text = problem.sentences()
    assert any(line.startswith("north: stars.parquet: 2,000 rows read") for line in text)
    assert any(line.startswith("south: 20 of the") for line in text)
    assert set(problem.priors) == {*OWN, "potential.disc.M", "sun.V"} <= set(params.parameters(problem.model))
    north, south = (posterior.data["stars"][name][1] for name in NAMES)
    # One node for the south's stars, two for the north's, and those without v_los have more.
    assert north.n_star_nodes >= 60 and south.n_star_nodes >= 20
    assert float(north.zero_points[0]) == -0.025 and float(south.zero_points[0]) == -0.03
    # The zero point moves the north's selection by absolute magnitude.
    assert posterior.log_likelihood.folded == ("north",)
    again = io.parse_config(tomllib.loads(problem.config.resolved_toml()), problem.config.folder)
    assert again.resolved_toml() == problem.config.resolved_toml() and set(dict(again.free())) == set(
        problem.priors
    )


def test_together_they_say_what_they_say_alone(document, folder, problem, posterior):
    """ln L is the sum of the single fits': selections are disjoint, and nothing of one enters the other."""
    calls = []

    @jax.jit
    def log_L(tree, data):
        calls.append(1)
        return posterior.log_likelihood(tree, data)

    tree = params.replace(problem.model, {"potential.disc.M": 6.3e10, OWN[0]: -0.02})
    alone = []
    for name in NAMES:
        document["catalogues"] = {name: tomllib.loads(CONFIG)["catalogues"][name]}
        single = commands.build_posterior(build(document, folder))
        at = {path: params.get(tree, path) for path in single.names}
        alone.append(float(log_L(params.replace(single.model, at), single.data)))
    assert len(calls) == 2
    together = float(log_L(tree, posterior.data))
    # Sums in another order.
    assert together == pytest.approx(sum(alone), rel=1e-12) and np.isfinite(together)
    # Other values of any parameter are arguments of the same program.
    moved = float(log_L(params.replace(tree, {"potential.disc.M": 6.9e10, "sun.V": 11.0}), posterior.data))
    assert len(calls) == 3 and moved != together


def test_gradients_match_differences_in_common_and_own_parameters(posterior):
    u = np.asarray(posterior.start)
    _, gradient = posterior.value_and_grad(jnp.asarray(u))
    scale = posterior.prior_scale()[1]
    for i, path in enumerate(posterior.names):
        step = 1e-3 * scale * (np.arange(len(u)) == i)
        high, low = (float(posterior.value_and_grad(jnp.asarray(u + s))[0]) for s in (step, -step))
        # Per prior width; the differences err by 1e-6 of a third derivative of order 1 to 100 there.
        assert (high - low) / 2e-3 == pytest.approx(float(gradient[i]) * scale[i], rel=2e-4, abs=1e-3), path
        assert abs(gradient[i] * scale[i]) > 1e-3, f"{path} does nothing"
