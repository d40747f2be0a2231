"""Several catalogues in one configuration: the sum of what they say alone, compiled once; what is refused."""

import copy
import tomllib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import data, io, model, params, stars
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
GAUSSIAN = {"kind": "gaussian", "mean": 0.6, "sigma": 0.2}
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
    read = problem.stars
    assert list(read) == list(NAMES) and problem.report is None and problem.columns == {}
    assert [len(part.columns["l"]) for part in read.values()] == [30, 20]
    assert np.all(read["north"].columns["b"] > 0.5) and np.all(read["south"].columns["b"] < -0.6)
    text = problem.sentences()
    assert any(line.startswith("north: stars.parquet: 2,000 rows read") for line in text)
    assert any(line.startswith("south: 20 of the") for line in text)
    assert set(problem.priors) == {*OWN, "potential.disc.M", "sun.V"} <= set(params.parameters(problem.model))
    north, south = (posterior.data["stars"][name][1] for name in NAMES)
    # One node for the south's stars, two for the north's, and those without v_los have more.
    assert north.n_star_nodes >= 60 and south.n_star_nodes >= 20
    assert float(north.zero_points[0]) == -0.025 and float(south.zero_points[0]) == -0.03
    # The zero point moves the north's selection by absolute magnitude.
    assert north.volume.moving.field == "parallax_zero_point" and south.volume.moving is None
    assert posterior.log_likelihood.folded == ()
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


def test_a_catalogue_has_a_form_of_its_own(document, folder):
    """Its velocities given places: ln A is a star's own, and what is predicted are its stars again."""
    document["catalogues"]["south"]["likelihood"] = "kinematic"
    problem = build(document, folder)
    posterior = commands.build_posterior(problem)
    log_likelihood = posterior.log_likelihood
    forms = [log_likelihood.settings_for(posterior.data["stars"][name][0], name).form for name in NAMES]
    assert forms == ["conditional", "kinematic"]
    found = log_likelihood.per_star(problem.model, posterior.data)
    assert np.all(np.isfinite(found["south"].log_L)) and float(found["south"].log_A) != 0.0
    total = sum(float(jnp.sum(found[name].log_L)) for name in NAMES)
    assert float(log_likelihood(problem.model, posterior.data)) == pytest.approx(total, rel=1e-9)
    stars, again = problem.stars["south"].columns, commands.predicted(problem, problem.model, 40, 1, "south")
    np.testing.assert_allclose(again["l"], np.tile(stars["l"], 2))
    assert np.median(np.abs(again["mu_l"] - np.tile(stars["mu_l"], 2))) > 1.0


def test_a_selection_moves_only_where_it_counts(document, folder, problem):
    """Given their places and magnitudes, velocities do not depend on it: no table, no folding."""
    assert commands._moves_selection(problem, "north") == ["catalogues.north.errors.parallax_zero_point"]
    assert commands._moves_selection(problem, "south") == []
    document["catalogues"]["north"]["likelihood"] = "kinematic"
    assert commands._moves_selection(build(document, folder), "north") == []


def test_a_zero_point_of_unknown_range_is_folded(document, folder):
    """NumPyro gives no quantiles of Student's t without a package that is not needed."""
    zero_point = {"prior": "StudentT(4, -0.03, 0.02)", "start": -0.025}
    document["catalogues"]["north"]["errors"]["parallax_zero_point"] = zero_point
    posterior = commands.build_posterior(build(document, folder))
    assert posterior.data["stars"]["north"][1].volume.moving is None
    assert posterior.log_likelihood.folded == ("north",)


def test_numbers_of_stars_count_only_where_none_is_left_out(document, folder):
    """Of a random part of the stars ln A says nothing; of all of them the configuration's form does."""
    document["inference"]["likelihood"] = "poisson"
    with pytest.raises(ValueError, match=r'catalogues\.north: likelihood = "poisson".*30 of \d+ are drawn'):
        build(document, folder)
    document["catalogues"]["south"]["likelihood"] = "conditional"
    assert len(build(document, folder).stars["north"].columns["l"]) == 30


def two_components(document):
    """The document with a halo beside the disc."""
    document["components"]["disc"]["weight"] = 0.9
    halo = {"kind": "DB96Halo", "a": 1.2, "b": 1.2, "beta": 3.5, "gamma": 1.8, "A_0": 500.0}
    document["components"]["halo"] = {"df": halo, "stars": GAUSSIAN}
    return document["catalogues"]


def test_catalogues_that_share_no_population(document, folder):
    north, south = two_components(document).values()
    north["components"] = ["halo"]
    with pytest.raises(ValueError, match=r"north and south share no population.*halo and of disc.*in common"):
        io.parse_config(document, folder)
    south["own_populations"] = True
    assert io.parse_config(document, folder).catalogues["south"].own_populations
    # A third one links them; one component alone is nowhere.
    south["own_populations"] = False
    document["catalogues"]["all"] = south | {"components": ["disc", "halo"]}
    io.parse_config(document, folder)
    del document["catalogues"]["all"], document["catalogues"]["north"]
    with pytest.raises(ValueError, match=r"components\.halo is in no catalogue.*name it.*catalogues\.south"):
        io.parse_config(document, folder)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("components", ["disk"], ("catalogues.south.components", "'disk'", "did you mean 'disc'")),
        ("components", "disc", ("catalogues.south.components = 'disc' must be a list",)),
        (
            "stars",
            {"hallo": GAUSSIAN},
            ("no component 'hallo'", "halo"),
        ),
        ("stars", {"halo": GAUSSIAN}, ("not among", "components")),
        ("stars", {"disc": {"kind": "gausian"}}, ("catalogues.south.stars.disc", "did you mean 'gaussian'")),
        ("selction", [], ("catalogues.south", "'selction'", "'selection'")),
        ("errors", {"pm": {"prior": "HalfNormal(1)"}}, ("catalogues.south.errors.pm", "cannot be free")),
        ("unmeasured", ["motion"], ("catalogues.south.unmeasured", "proper_motion")),
        ("unmeasured", ["proper_motion", "v_los"], ("needs a velocity", "leave")),
        ("unmeasured", ["distance", "V"], ("needs a distance", "leave")),
        ("likelihood", "kinematik", ("catalogues.south.likelihood", "did you mean 'kinematic'", "poisson")),
        ("n_stars", 0, ("catalogues.south.n_stars = 0 must be a whole number, 1 or more",)),
        ("catalogue", None, ("catalogues.south lacks catalogue",)),
    ],
)
def test_every_slip_is_named(document, folder, key, value, words):
    south = two_components(document)["south"]
    south[key] = value
    if value is None:
        del south[key]
    with pytest.raises(ValueError) as caught:
        io.parse_config(document, folder)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_survey_without_its_catalogue_and_a_file_that_is_not_there(document, folder):
    with pytest.raises(ValueError, match=r"\[survey\] describes the catalogue of \[data\]"):
        io.parse_config(document | {"survey": {"errors": {"pm": 0.1}}}, folder)
    document["catalogues"]["south"]["catalogue"] = "star.parquet"
    with pytest.raises(FileNotFoundError, match=r"did you mean 'stars\.parquet'"):
        io.parse_config(document, folder)
    # To predict what a survey will see it need not be there.
    assert "south" in io.parse_config(document, folder, forward=True).catalogues
    with pytest.raises(ValueError, match=r"catalogues\.2mass.*begins with a letter"):
        io.parse_config(document | {"catalogues": {"2mass": {"catalogue": "stars.parquet"}}}, folder)


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (
            {"parallax_zero_point": {"prior": "Normal(0, -1)"}},
            "errors.*zero_point.*is no distribution",
        ),
        ({"kind": "gaia", "scale": {"prior": "Normal(1, 0.1)"}}, "errors.scale.*what can be"),
    ],
)
def test_priors_of_a_survey(document, folder, errors, words):
    document["catalogues"]["south"]["errors"] = errors
    with pytest.raises(ValueError, match=f"catalogues.south.{words}"):
        io.parse_config(document, folder)


def test_a_prior_outside_a_parameters_support(document, folder):
    document["catalogues"]["north"]["outliers"] = {"sigma": {"prior": "Normal(100, 60)"}}
    with pytest.raises(ValueError, match=r"catalogues\.north\.outliers\.sigma: the prior.*not positive; use"):
        build(document, folder)


def test_stars_that_the_survey_cannot_have_listed(problem, posterior):
    """Rows that fail a cut never come so far from a file; a catalogue made by hand may."""
    catalogue, nodes = posterior.data["stars"]["north"]
    sight, ids = problem.model.sight("north"), problem.stars["north"].columns["ids"]
    model.check_seen(catalogue, nodes, sight, ids)
    V = np.array(catalogue.V)
    V[3] = 10.5
    faint = eqx.tree_at(lambda c: c.V, catalogue, jnp.asarray(V))
    with pytest.raises(ValueError, match=rf"1 stars \(id {ids[3]}\) fail the cut 'magnitude': S = 0.*drop"):
        model.check_seen(faint, nodes, sight, ids)
    # No component has stars so bright.
    narrow = model.Galaxy(
        sight.galaxy.potential,
        {"disc": model.Component(sight.galaxy.components["disc"].df, stars.Gaussian(-9.0, 0.1))},
    )
    with pytest.raises(ValueError, match=r"30 stars .* 25 more\) have a V that no component shows.*F\(M\)"):
        model.check_seen(catalogue, nodes, sight._replace(galaxy=narrow), ids)


def test_what_is_not_measured_must_be_said(document, folder):
    """A file without proper motions, and one without distances."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "stars.parquet")
    motions = [name for name in table.column_names if name.startswith("pm")]
    pq.write_table(table.drop_columns(motions), folder / "still.parquet")
    pq.write_table(table.drop_columns(["parallax", "parallax_error"]), folder / "flat.parquet")
    south = document["catalogues"].pop("south")
    del document["catalogues"]["north"]
    south["n_stars"] = None
    for name, lacks, cuts in (("still", "proper_motion", 3), ("flat", "distance", 2)):
        part = {k: v for k, v in south.items() if v is not None} | {"catalogue": f"{name}.parquet"}
        part["selection"] = part["selection"][:cuts]
        document["catalogues"] = {"south": part}
        with pytest.raises(ValueError, match=f'unmeasured = ."{lacks}".'):
            build(document, folder)
        part["unmeasured"] = [lacks]
        made = build(document, folder)
        table_of = made.stars["south"]
        lost = table_of.columns["mu_l" if lacks == "proper_motion" else "parallax"]
        assert len(lost) > 20 and np.all(np.isnan(lost))
        if lacks == "proper_motion":
            assert np.all(np.isfinite(table_of.columns["v_los"]))
            assert table_of.report.excluded["proper motion and v_los are missing or NaN"] > 0
            assert any("the proper motion is missing" in line for line in made.sentences())
