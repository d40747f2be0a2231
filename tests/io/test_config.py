"""Configurations: what is written is what is read, and every slip is named with its remedy."""

import copy
import math
import tomllib

import numpyro.distributions as dist
import pytest

from oortax import data, io, survey
from oortax.io.nodes import Free
from oortax.io.priors import PRIORS, check_support, parse_prior, start_of

DOCUMENT = """
[data]
catalogue = "gaia_giants"
[survey]
selection = [{kind = "magnitude", max = 10.5}, {kind = "absolute_magnitude", min = 0.2, max = 1.6}]
errors = {pm = 0.02}
[potential.disc]
kind = "MiyamotoNagai"
M = {prior = "LogNormal(log(6.5e10), 0.5)"}
a = 3
b = 0.3
[potential.halo]
kind = "FlattenedNFW"
rho_s = 8e6
r_s = 16.0
q = {prior = "Uniform(0.4, 1.6)", start = 0.9}
[components.thin]
weight = {prior = "Beta(8, 2)"}
[components.thin.df]
kind = "QuasiIsothermal"
R_d = 2.6
sigma_r0 = {prior = "LogNormal(4.6, 0.3)"}
R_sigma = 8.0
H_d = 0.3
[components.thick]
df = {kind = "QuasiIsothermal", R_d = 2.2, sigma_r0 = 160.0, R_sigma = 8.0, H_d = 0.8}
[sun]
V = {prior = "Normal(12.24, 2.0)"}
[constraints.circular_velocity]
table = "eilers_2019"
[inference]
seed = 3
"""


@pytest.fixture
def document():
    return copy.deepcopy(tomllib.loads(DOCUMENT))


def message(document) -> str:
    with pytest.raises(ValueError) as caught:
        io.parse_config(document)
    return str(caught.value)


def changed(document, path: str, value) -> dict:
    """The document with the entry at a dotted path set (None: removed)."""
    *parents, last = path.split(".")
    table = document
    for parent in parents:
        table = table.setdefault(parent, {})
    if value is None:
        del table[last]
    else:
        table[last] = value
    return document


def test_paths_of_free_parameters(document):
    assert [path for path, _ in io.parse_config(document).free()] == [
        "potential.disc.M",
        "potential.halo.q",
        "components.thin.df.sigma_r0",
        "components.thin.weight",
        "sun.V",
    ]


def test_the_resolved_configuration_reads_back_the_same(document, tmp_path):
    config = io.parse_config(document)
    (tmp_path / "config.toml").write_text(config.resolved_toml())
    again = io.load_config(tmp_path / "config.toml")
    assert again.as_dict() == config.as_dict() and again.resolved_toml() == config.resolved_toml()


def test_the_resolved_configuration_spells_out_defaults(document):
    resolved = tomllib.loads(io.parse_config(document).resolved_toml())
    assert resolved["sun"]["R0"] == 8.178 and resolved["inference"]["chains"] == 2
    assert resolved["components"]["thin"]["df"]["c_z"] == 0.25
    assert resolved["survey"]["errors"]["v_los"] == 0.5
    assert resolved["potential"]["disc"]["M"]["start"] == pytest.approx(6.5e10)
    assert "weight" not in resolved["components"]["thick"]


def test_a_relative_catalogue_becomes_absolute(document, tmp_path):
    (tmp_path / "giants.csv").write_text("ra\n1\n")
    config = io.parse_config(changed(document, "data.catalogue", "giants.csv"), tmp_path)
    assert config.as_dict()["data"]["catalogue"] == str((tmp_path / "giants.csv").resolve())


def test_the_command_line_changes_inference_only(document):
    config = io.parse_config(document)
    other = config.with_inference(chains=4, stars=100, method=None)
    assert (other.inference.chains, other.inference.stars, other.inference.method) == (4, 100, "nuts")
    assert other.with_all_stars().inference.stars is None and other.potential == config.potential
    with pytest.raises(ValueError, match="inference.chains = 0 must be at least 1"):
        config.with_inference(chains=0)


def test_kinds_are_found_in_any_case(document):
    document["survey"]["selection"].append({"kind": "AbsB", "min": 25})
    assert io.parse_config(document).survey.selection[-1].kind == "abs_b"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("potentail", {}, ("unknown key 'potentail'", "did you mean 'potential'")),
        ("data", None, ("no [data]",)),
        ("data.catalog", "x", ("data: unknown key 'catalog'", "'catalogue'")),
        ("data.columns", {"paralax": "plx"}, ("data.columns", "'paralax'", "'parallax'")),
        ("data.catalogue", 3, ("data.catalogue = 3 must be of type str",)),
        ("survey.errors", {"vlos": 1.0}, ("survey.errors", "'vlos'", "'v_los'")),
        ("survey.errors", {"pm": {"prior": "HalfNormal(1)"}}, ("survey.errors.pm", "cannot be free")),
        ("survey.selection", [{"kind": "magnitud"}], ("survey.selection[0]", "did you mean 'magnitude'")),
        ("survey.selection", [{"max": 10.5}], ("survey.selection[0] has no kind", "magnitude")),
        ("survey.selection", {"kind": "abs_b"}, ("must be a list of tables",)),
        ("potential.halo.kind", "FlatNFW", ("potential.halo", "'FlattenedNFW'")),
        ("potential.halo.qq", 1.0, ("potential.halo: unknown key 'qq'", "rho_s, r_s, q")),
        ("potential.halo.r_s", None, ("potential.halo (FlattenedNFW) lacks r_s",)),
        ("potential.halo.q", {"start": 1.0}, ("potential.halo.q", "{prior")),
        ("potential.halo.q", {"prior": "Uniform(0, 1)", "star": 1}, ("potential.halo.q", "'start'")),
        ("potential.halo.q", {"prior": "Uniform(0, 1)", "start": 2}, ("start = 2 is not inside",)),
        ("potential.halo.q", {"prior": 3}, ("must be a string",)),
        ("potential.halo", 3, ("potential.halo = 3", "expected a table")),
        ("components.thin.dff", {}, ("components.thin", "'df'")),
        ("components.thin.df", None, ("components.thin lacks df", "QuasiIsothermal")),
        ("components.thin.weight", None, ("exactly one component must have no weight", "thin, thick")),
        ("components.thick.weight", 0.2, ("0 have none",)),
        ("components.thin.weight", "half", ("components.thin.weight = 'half'",)),
        ("sun.v", 12.0, ("sun: unknown key 'v'", "'V'")),
        ("constraints.circular_speed", {}, ("constraints", "'circular_velocity'")),
        ("constraints.circular_velocity.table", None, ("[constraints.circular_velocity] lacks table",)),
        ("inference.method", "nutz", ("inference.method = 'nutz'", "did you mean 'nuts'")),
        ("inference.sead", 1, ("inference: unknown key 'sead'", "'seed'")),
        ("inference.seed", 1.5, ("inference.seed = 1.5 must be of type int",)),
        ("inference.seed", True, ("inference.seed = True must be of type int",)),
        ("inference.stars", 0, ("inference.stars = 0 must be at least 1",)),
        ("inference.target_accept", 1.2, ("between 0 and 1",)),
        ("inference", 3, ("[inference] must be a table",)),
    ],
)
def test_every_slip_is_named(document, path, value, words):
    text = message(changed(document, path, value))
    for word in words:
        assert word in text, text


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="no configuration file"):
        io.load_config(tmp_path / "fit.toml")
    (tmp_path / "fit.toml").write_text("[data\n")
    with pytest.raises(ValueError, match=r"fit\.toml is not valid TOML.*line 1"):
        io.load_config(tmp_path / "fit.toml")
    (tmp_path / "fit.toml").write_text(DOCUMENT.replace("gaia_giants", "gaia_gaints"))
    with pytest.raises(FileNotFoundError, match="did you mean 'gaia_giants'"):
        io.load_config(tmp_path / "fit.toml")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Normal(12.24, 2)", dist.Normal(12.24, 2.0)),
        ("LogNormal(log(9e6), 0.5)", dist.LogNormal(math.log(9e6), 0.5)),
        ("Uniform(-1 + 0.5, 2*3)", dist.Uniform(-0.5, 6.0)),
        ("Gamma(concentration=2, rate=1/3)", dist.Gamma(2.0, 1 / 3)),
        ("TruncatedNormal(1, 0.2, low=0)", dist.TruncatedNormal(1.0, 0.2, low=0.0)),
        ("TruncatedNormal(1, 0.2, 0.5, 1.5)", dist.TruncatedNormal(1.0, 0.2, low=0.5, high=1.5)),
        ("StudentT(4, 0, 10**2)", dist.StudentT(4.0, 0.0, 100.0)),
    ],
)
def test_priors_are_numpyros(text, same):
    ours = parse_prior(text)
    for x in (0.6, 1.2):
        assert float(ours.log_prob(x)) == pytest.approx(float(same.log_prob(x)), rel=1e-12)


def test_every_prior_offered_exists_and_starts_inside_itself():
    arguments = {"StudentT": "4, 0, 1", "Uniform": "0.5, 2", "LogUniform": "0.5, 2"}
    for name, prior in PRIORS.items():
        n = len(prior.arguments) - len(prior.keyword_only)
        made = parse_prior(f"{name}({arguments.get(name, ', '.join(['2.0'] * n))})")
        assert isinstance(made, dist.Distribution)
        assert math.isfinite(float(made.log_prob(start_of(made)))), name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Lognormal(0, 1)", "unknown distribution 'Lognormal'; did you mean 'LogNormal'"),
        ("Normal(0)", "lacks scale"),
        ("Normal(0, 1, 2)", "too many arguments"),
        ("Normal(0, sigma=1)", "'sigma' is unknown"),
        ("Normal(0, 1, loc=2)", "given twice"),
        ("Normal(0, -1)", "is no distribution"),
        ("Uniform(2, 1)", "is empty"),
        ("Normal(x, 1)", "'x' is not a number"),
        ("Normal(1/0, 1)", "division by zero"),
        ("Normal", "not of the form"),
        ("3.0", "not of the form"),
        ("Normal(0, 1", "not of the form"),
        ("__import__('os').system('true')", "not of the form"),
        ("Normal(__import__('os').getpid(), 1)", "is not a number"),
        ("Normal(open('x'), 1)", "is not a number"),
        ("Normal([1, 2], 1)", "is not a number"),
    ],
)
def test_bad_priors_are_named_and_never_run(text, words):
    with pytest.raises(ValueError) as caught:
        parse_prior(text, "sun.V")
    assert words in str(caught.value) and str(caught.value).startswith("sun.V: ")


def test_a_prior_may_not_reach_where_its_parameter_cannot_be():
    positive = dist.constraints.positive
    with pytest.raises(ValueError, match=r"sun\.R0: the prior Normal\(1, 1\).*not positive; use LogNormal"):
        check_support(parse_prior("Normal(1, 1)"), positive, "sun.R0", "Normal(1, 1)")
    with pytest.raises(ValueError, match="between 0 and 1; use Beta"):
        check_support(parse_prior("HalfNormal(1)"), dist.constraints.unit_interval, "w", "HalfNormal(1)")
    check_support(parse_prior("Normal(8.178, 0.03)"), positive, "sun.R0", "")
    check_support(parse_prior("LogNormal(0, 1)"), positive, "sun.R0", "")


def test_starts_default_to_the_median():
    assert Free("LogNormal(log(3), 1)").value == 3.0
    assert Free("LogUniform(1, 100)").value == pytest.approx(10.0)
    assert Free("Beta(2, 2)").value == pytest.approx(0.5)
    assert Free("Uniform(0, 1)", 0.25).value == 0.25


def test_the_demo_frees_ten_parameters_or_more():
    document = tomllib.loads(data.demo_config().read_text())
    outliers = document.pop("outliers")
    free = dict(io.parse_config(document).free())
    assert len(free) + ("prior" in outliers["fraction"]) >= 10
    assert {"potential.disc.M", "potential.disc.b", "potential.halo.rho_s", "potential.halo.q"} <= set(free)
    assert {"sun.U", "sun.V", "sun.W"} <= set(free)


def test_errors_may_have_a_kind(document):
    document["survey"]["errors"] = {"kind": "gaia", "release": "dr4", "scale": 1.1}
    node = io.parse_config(document).survey.errors
    assert node.kind == "gaia" and node.build(survey.ERRORS).release == "dr4"
    document["survey"]["errors"] = {"kind": "gaja"}
    assert "survey.errors: unknown kind 'gaja'; did you mean 'gaia'" in message(document)
