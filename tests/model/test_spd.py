"""Survey probability distributions against each other, by routes that share no dynamics: in an isochrone by
exact actions, by tori, by rejection, and by the likelihood's own normalisation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from oortax import df, dynamics, model, potential, stars, survey
from oortax.model.likelihood import log_normalisation, points_of
from oortax.numerics.batching import chunked_map

POT = potential.Isochrone(M=1e11, b=3.0)
FINDER = dynamics.IsochroneFinder
SPHEROID = df.DoublePowerLaw(norm=1e10, J_0=500.0, slope_in=1.0, slope_out=6.0, rotation=0.6, J_phi0=300.0)
DISC = df.QuasiIsothermal(R_d=2.6, sigma_r0=100.0, R_sigma=8.0, H_d=0.3)
DWARFS = stars.ColourMagnitudeRelation(
    stars.Gaussian(6.5, 1.8, (2.0, 11.0)), np.linspace(2.0, 11.0, 5), np.linspace(0.2, 1.7, 5), scatter=0.06
)
GIANTS = stars.Gaussian(0.8, 0.4)
GALAXY = model.Galaxy(
    POT, {"disc": model.Component(DISC, DWARFS), "spheroid": model.Component(SPHEROID, GIANTS, 0.3)}
)
ERRORS = survey.Errors(V=0.02, pm=0.3, v_los=2.0, parallax=0.05)
SURVEYS = {
    "polar cap": (survey.Latitude(min=70.0), survey.Magnitude(min=10.0, max=16.0)),
    "low field": (
        survey.AbsLatitude(min=10.0, max=25.0),
        survey.Longitude(min=60.0, max=120.0),
        survey.Magnitude(max=14.0),
    ),
    "absolute magnitudes": (
        survey.AbsLatitude(min=30.0),
        survey.Magnitude(max=12.0),
        survey.AbsoluteMagnitude(min=0.0, max=5.0),
    ),
}
OBSERVABLES = ("l", "b", "V", "parallax", "mu_l", "mu_b", "v_los", "s")


def _survey(name):
    return survey.Survey(selection=SURVEYS[name], errors=ERRORS)


@pytest.fixture(scope="module")
def distributions():
    return {
        name: model.spd(GALAXY, _survey(name), jax.random.key(1), 8192, finder=FINDER) for name in SURVEYS
    }


def _chi2(one, other, observable, component=None, n=10):
    """Pearson's sum over the cells of equal shares, and their number."""
    marks = [one.quantile(observable, q, component) for q in np.linspace(0.0, 1.0, n + 1)[1:-1]]
    edges = np.concatenate([[-1e9], marks, [1e9]])
    a, b = (x.histogram(observable, edges, component) for x in (one, other))
    pulls = (a.values - b.values) / np.hypot(a.errors, b.errors)
    return float(np.sum(pulls**2)), n


@pytest.mark.slow
@pytest.mark.parametrize("name", SURVEYS)
def test_tori_and_quadrature_agree_in_every_observable(distributions, name):
    by_tori = model.spd_by_tori(
        GALAXY, _survey(name), jax.random.key(2), 512, 128, finder=FINDER, progress=False
    )
    by_nodes = distributions[name]
    for component in by_nodes.names:
        a, b = by_nodes.share(component), by_tori.share(component)
        assert abs(a.value - b.value) < 4.0 * np.hypot(a.error, b.error), component
        # Sharp enough to mean something: 512 tori give the share to 15 %.
        assert b.error < 0.15 * b.value, component
    for observable in OBSERVABLES:
        square, cells = _chi2(by_nodes, by_tori, observable)
        # Of 24 such sums one beyond 1e-4 of the distribution has a chance of 0.2 %. (Errors from some
        # hundred tori scatter themselves: the bound is on a sum with a tail a little wider.)
        assert chi2.sf(square, cells) > 1e-4, (observable, square)


@pytest.mark.parametrize("name", ["polar cap", "absolute magnitudes"])
def test_share_is_the_normalisation_of_the_likelihood(distributions, name):
    """A by a density grid and folded cuts, without any star."""
    A = _normalisation(GALAXY, _survey(name), FINDER, model.Settings(n_R=5, n_z=9, refine=1.5))
    share = distributions[name].share()
    # The grid's own error is below 1 %.
    assert abs(A - share.value) < 4.0 * share.error + 0.01 * share.value


def _normalisation(galaxy, s, finder, settings) -> float:
    drawn = model.predict(jax.random.key(3), galaxy, s, 400, finder=finder)
    names = model.Catalogue.__dataclass_fields__
    catalogue = model.Catalogue(**{k: v for k, v in drawn.columns.items() if k in names})
    nodes = model.make_nodes(catalogue, galaxy, s)

    @eqx.filter_jit
    def log_A(galaxy, nodes):
        points = points_of(galaxy.bound(), s, nodes, finder, settings)
        J = chunked_map(lambda at: points.finder.actions(*at), points.places, 2048)
        return log_normalisation(
            galaxy.bound(), s, nodes.volume, points.with_actions(galaxy, nodes, J, settings)
        )

    return float(jnp.exp(log_A(galaxy, nodes)))


@pytest.mark.parametrize("kind", ["disc", "spheroid"])
def test_normalisation_of_a_survey_of_the_whole_disc(kind):
    """Giants to 17 kpc: each component has a box of its own, and a finer grid than near the Sun."""
    # In the isochrone's core f of the disc has a tenth of such a survey's stars at small J_phi, high above
    # the plane and nearly at rest, where no nodes about the mean rotation look for them.
    pot = potential.Sum(
        bulge=potential.Hernquist(M=4.8e9, a=0.3),
        disc=potential.MiyamotoNagai(M=6.8e10, a=3.0, b=0.28),
        halo=potential.NFW(rho_s=8.5e6, r_s=16.0),
    )
    alone = model.Galaxy(pot, {kind: model.Component(GALAXY.components[kind].df, GIANTS)})
    deep = survey.Survey(selection=(survey.AbsLatitude(min=15.0), survey.Magnitude(max=17.0)), errors=ERRORS)
    share = model.spd(alone, deep, jax.random.key(5), 32_768).share()
    assert share.error < 0.01 * share.value
    A = _normalisation(alone, deep, dynamics.StaeckelFudge, model.Settings())
    assert abs(A - share.value) < 3.0 * share.error, (A, share)


@pytest.mark.parametrize("name", SURVEYS)
def test_weights_and_rejection_give_one_distribution(distributions, name):
    n = 4000
    drawn = model.predict(jax.random.key(4), GALAXY, _survey(name), n, finder=FINDER)
    found = distributions[name]
    fraction = found.fraction("spheroid")
    mine = np.mean(drawn.truth["component"] == drawn.names.index("spheroid"))
    assert abs(mine - fraction.value) < 4.0 * np.hypot(fraction.error, np.sqrt(0.25 / n))
    for observable in ("V", "mu_l", "mu_b", "v_los", "b", "parallax"):
        marks = [found.quantile(observable, q) for q in np.linspace(0.0, 1.0, 11)[1:-1]]
        edges = np.concatenate([[-1e9], marks, [1e9]])
        expected = found.histogram(observable, edges)
        counts = np.histogram(drawn.columns[observable], edges)[0] / n
        error = np.hypot(expected.errors, np.sqrt(expected.values / n))
        assert chi2.sf(np.sum(((counts - expected.values) / error) ** 2), 9) > 1e-4, observable


def test_errors_are_those_of_repeated_draws():
    s = _survey("polar cap")
    many = [model.spd(GALAXY, s, jax.random.key(10 + i), 1024, finder=FINDER) for i in range(12)]
    means = np.array([m.mean(m.observed["mu_b"]).value for m in many])
    stated = np.mean([m.mean(m.observed["mu_b"]).error for m in many])
    # Sobol numbers may do better than stated, not worse: 12 draws give the scatter to 20 %.
    assert 0.1 < np.std(means, ddof=1) / stated < 1.6


def test_nodes_answer_for_other_parameters(distributions):
    """Weights at parameters away from those the nodes were made for, against nodes made there."""
    moved = eqx.tree_at(lambda g: g.components["disc"].df.sigma_r0, GALAXY, jnp.asarray(60.0))
    s = _survey("polar cap")
    nodes = model.survey_nodes(GALAXY, s, jax.random.key(5), 8192, finder=FINDER)
    there = model.spd_of_nodes(moved, s, nodes, finder=FINDER)
    anew = model.spd(moved, s, jax.random.key(6), 8192, finder=FINDER)
    for component in ("disc", "spheroid"):
        a, b = there.share(component), anew.share(component)
        assert abs(a.value - b.value) < 4.0 * np.hypot(a.error, b.error)
    before = distributions["polar cap"].share("disc")
    assert abs(there.share("disc").value - before.value) > 5.0 * before.error


def test_density_and_histogram_are_of_the_same_stars(distributions):
    found = distributions["polar cap"]
    at = np.linspace(-100.0, 100.0, 401)
    density = found.density(("mu_0", "mu_90"), (at, at))
    step = at[1] - at[0]
    inside = (np.abs(found.observed["mu_0"]) < 100) & (np.abs(found.observed["mu_90"]) < 100)
    assert density.sum() * step**2 == pytest.approx(found.mean(inside.astype(float)).value, abs=5e-3)
    histogram = found.histogram(("mu_0", "mu_90"), ([-1e9, -10.0, 1e9], [-1e9, 0.0, 1e9]))
    assert histogram.values.sum() == pytest.approx(1.0)
    # Away from the peak, which the kernel spreads.
    assert histogram.values[0].sum() == pytest.approx(density[at < -10.0].sum() * step**2, abs=0.02)


def test_colours_are_those_of_the_population(distributions):
    found = distributions["polar cap"]
    mine = found.of("disc") & (found.weight > 0)
    apart = found.observed["colour"][mine] - np.asarray(
        jax.vmap(DWARFS.mean_colour)(jnp.asarray(found.truth["M"][mine]))
    )
    w = found.weight[mine] / found.weight[mine].sum()
    # Scatter 0.06 and an error of 0.02 mag.
    assert np.sqrt(w @ apart**2) == pytest.approx(np.hypot(0.06, 0.02), rel=0.05)
    assert np.all(np.isnan(found.observed["colour"][found.of("spheroid")]))


def test_bad_requests_say_what_to_do(distributions):
    key, found = jax.random.key(0), distributions["polar cap"]
    empty = survey.Survey(selection=(survey.Latitude(min=60.0), survey.Latitude(max=-60.0)))
    with pytest.raises(ValueError, match="nothing of the sky"):
        model.spd(GALAXY, empty, key, 256)
    with pytest.raises(ValueError, match="faint limit"):
        model.spd(GALAXY, survey.Survey(selection=survey.Latitude(min=60.0)), key, 256)
    with pytest.raises(ValueError, match="256 nodes"):
        model.spd(GALAXY, _survey("polar cap"), key, 10)
    with pytest.raises(ValueError, match="no observable 'colours'.*colour"):
        found.histogram("colours", [0.0, 1.0])
    with pytest.raises(ValueError, match="increasing"):
        found.histogram("V", [1.0, 0.0])
    with pytest.raises(ValueError, match="no component 'bulge'.*disc"):
        found.share("bulge")
