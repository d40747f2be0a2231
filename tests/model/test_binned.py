"""The binned likelihood: its slope against differences, and what it recovers from a catalogue of its own."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from oortax import df, dynamics, inference, model, params, potential, stars, survey

POT = potential.Isochrone(M=1e11, b=3.0)
FINDER = dynamics.IsochroneFinder
DISC = df.QuasiIsothermal(R_d=2.6, sigma_r0=100.0, R_sigma=8.0, H_d=0.3)
SPHEROID = df.DoublePowerLaw(norm=1e10, J_0=500.0, slope_in=1.0, slope_out=6.0)
GALAXY = model.Galaxy(
    POT,
    {
        "disc": model.Component(DISC, stars.Gaussian(6.5, 1.2, (3.0, 10.0))),
        "spheroid": model.Component(SPHEROID, stars.Gaussian(5.5, 1.2, (2.0, 9.0)), 0.4),
    },
)
SURVEY = survey.Survey(
    selection=(survey.Latitude(min=75.0), survey.Magnitude(min=12.0, max=18.0)), errors=survey.Errors(pm=0.3)
)
CELLS = {
    "mu_0": [-40.0, -12.0, -4.0, 0.0, 4.0, 12.0, 40.0],
    "mu_90": [-60.0, -20.0, -12.0, -6.0, -2.0, 2.0, 20.0],
    "V": [12.0, 15.0, 17.0, 18.0],
}
PATHS = {
    "components.disc.df.sigma_r0": dist.LogNormal(np.log(100.0), 0.5),
    "components.disc.df.H_d": dist.LogNormal(np.log(0.3), 0.5),
    "components.spheroid.weight": dist.Beta(1.0, 1.0),
    "potential.M": dist.LogNormal(np.log(1e11), 0.5),
    "sun.V": dist.Normal(12.24, 20.0),
}


def log_likelihood(tree, binned):
    return model.log_likelihood_binned(tree.galaxy, tree.survey, binned, finder=FINDER)


@pytest.fixture(scope="module")
def tree():
    return model.Model(GALAXY, SURVEY)


@pytest.fixture(scope="module")
def binned():
    drawn = model.predict(jax.random.key(1), GALAXY, SURVEY, 5000, finder=FINDER)
    return model.bin_catalogue(GALAXY, SURVEY, drawn.columns, CELLS, jax.random.key(2), 8192, finder=FINDER)


def test_every_star_and_every_node_is_counted_once(binned):
    assert float(binned.N) == 5000
    per_node = np.bincount(np.asarray(binned.row), np.asarray(binned.share), len(binned.nodes.s))
    listed = np.asarray(binned.nodes.accepted) > 0
    # Shares below 1e-7 of a kernel are dropped.
    np.testing.assert_allclose(per_node[listed], 1.0, atol=1e-4)
    assert np.all(per_node[~listed] == 0)
    noise = model.binned_noise(GALAXY, SURVEY, binned, FINDER)
    assert noise.elsewhere < 0.15 and noise.nodes_per_star > 0.5
    # Six cells in each motion, three in V: most of them hold enough nodes to count on their own.
    assert np.sum(np.asarray(binned.served)) > 60


def test_counts_are_as_the_model_expects_at_the_truth(binned):
    found = eqx.filter_jit(model.binned_expected)(GALAXY, SURVEY, binned, FINDER)
    shares = np.asarray(found.shares)
    mu = float(binned.N) * shares / shares.sum()
    counts = np.asarray(binned.counts)
    large = mu > 5
    w = np.exp(np.asarray(found.log_w)) * np.asarray(binned.nodes.accepted)
    part = w[np.asarray(binned.row)] * np.asarray(binned.share)
    spread = np.bincount(np.asarray(binned.cell), part**2, len(mu)) * (float(binned.N) / shares.sum()) ** 2
    square = np.sum((counts - mu)[large] ** 2 / (mu + spread)[large])
    n = large.sum()
    # chi^2 of n cells within four of its standard deviations.
    assert abs(square - n) < 4.0 * np.sqrt(2.0 * n), (square, n)


def test_slope_is_that_of_differences(tree, binned):
    posterior = inference.Posterior(tree, PATHS, log_likelihood, binned)
    u = np.asarray(posterior.unconstrain({path: float(params.get(tree, path)) for path in PATHS}))
    u = u + 0.05
    _, slope = posterior.value_and_grad(jnp.asarray(u))
    for i, path in enumerate(posterior.names):
        step = 1e-5 * np.eye(len(u))[i]
        up, down = (float(posterior.value_and_grad(jnp.asarray(u + s))[0]) for s in (step, -step))
        # Central differences of a sum of 1e4: rounding 1e-12 x 1e4 / 1e-5, and the third derivative.
        assert (up - down) / 2e-5 == pytest.approx(float(slope[i]), rel=1e-6, abs=1e-2), path


SINGULAR = {
    # l, b (rad), s (kpc), v (km/s) in the Galaxy, cylindrical about the star's own azimuth.
    "circular": (0.0, 0.5 * np.pi, 1e-3, (0.0, None, 0.0)),
    "planar": (1.0, 0.0, 2.0, (30.0, 200.0, 0.0)),
    "no J_phi": (0.5, 1.0, 3.0, (50.0, 0.0, 40.0)),
    "at rest": (0.5, 1.0, 3.0, (0.0, 0.0, 0.0)),
    "retrograde": (0.5, 1.0, 3.0, (20.0, -150.0, 10.0)),
    "on the axis": (0.0, 0.3, float(SURVEY.sun.R0) / np.cos(0.3), (30.0, 20.0, 60.0)),
    "unbound": (2.0, 1.0, 3.0, (900.0, 0.0, 0.0)),
}
FREE = [*PATHS, "components.disc.stars.mean", "potential.b", "sun.R0", "sun.z0", "components.spheroid.df.J_0"]


def _node(l, b, s, v, M=5.0):
    """One node of either component at a place of phase space."""
    x = survey.position(SURVEY.sun, l, b, s)
    v_c0 = potential.circular_velocity(POT, SURVEY.sun.R0)
    R, phi = jnp.hypot(x[0], x[1]), jnp.arctan2(x[1], x[0])
    v_phi = potential.circular_velocity(POT, R) if v[1] is None else v[1]
    c, d = jnp.cos(phi), jnp.sin(phi)
    v = jnp.stack([v[0] * c - v_phi * d, v[0] * d + v_phi * c, jnp.asarray(v[2])])
    seen = survey.observe(SURVEY.sun, v_c0, x, v)
    both = {
        name: jnp.full(2, value)
        for name, value in {
            "l": l, "b": b, "s": s, "mu_l": seen.mu_l, "mu_b": seen.mu_b, "v_los": seen.v_los,
            "M": M, "colour": np.nan, "log_q": 0.0, "accepted": 1.0,
        }.items()
    }  # fmt: skip
    return model.SurveyNodes(**both, observed={}, names=("disc", "spheroid"), sizes=(1, 1))


@pytest.mark.parametrize("place", SINGULAR)
def test_weights_have_slopes_at_singular_places(tree, place):
    """What the counts sum: finite slopes in every parameter, and those of differences where f is smooth."""
    nodes = _node(*SINGULAR[place])
    values = {path: jnp.asarray(float(params.get(tree, path))) for path in FREE}

    @jax.jit
    def weights(values):
        moved = params.replace(tree, values)
        log_w = model.node_weights(moved.galaxy, moved.survey, nodes, FINDER).log_w
        return jnp.exp(jnp.maximum(log_w, -200.0))

    slopes = jax.jit(jax.jacobian(weights))(values)
    assert all(np.all(np.isfinite(slope)) for slope in jax.tree.leaves(slopes)), slopes
    here = np.asarray(weights(values))
    if place == "unbound":
        assert np.all(here < 1e-80)
        return
    # The Sun's place and the potential move a star off where J_r, J_z or |J_phi| has its least value or its
    # kink; the others leave it there.
    smooth = [path for path in FREE if not path.startswith(("sun", "potential"))]
    for path in FREE if place == "retrograde" else smooth:
        step = 1e-5 * max(abs(float(values[path])), 1.0)
        up, down = (np.asarray(weights(values | {path: values[path] + side * step})) for side in (1, -1))
        # A weight is right to some 1e-11 of itself, a difference to as much over the step.
        rounding = 3e-11 * here.max() / step
        np.testing.assert_allclose(slopes[path], (up - down) / (2.0 * step), rtol=2e-5, atol=rounding)


def test_recovers_what_made_the_catalogue(tree, binned):
    posterior = inference.Posterior(tree, PATHS, log_likelihood, binned)
    top = inference.maximise(posterior, progress=False)
    gaussian = inference.laplace(posterior, top)
    u = np.asarray(posterior.unconstrain({path: float(params.get(tree, path)) for path in PATHS}))
    difference = np.asarray(gaussian.mean) - u
    noise = model.binned_noise(GALAXY, SURVEY, binned, FINDER)
    # Nodes drawn anew would move the estimate by 1 / nodes_per_star of its variance.
    square = float(difference @ gaussian.precision @ difference) / (1.0 + 1.0 / noise.nodes_per_star)
    # chi^2 of 5 parameters: 20.5 is exceeded once in a thousand.
    assert square < 20.5
    assert gaussian.sigma["components.disc.df.sigma_r0"] < 10.0
    assert gaussian.sigma["components.spheroid.weight"] < 0.05


def test_poisson_form_knows_the_number(tree, binned):
    share = float(
        np.sum(np.asarray(eqx.filter_jit(model.binned_expected)(GALAXY, SURVEY, binned, FINDER).shares))
    )
    true = np.log(5000 / share)
    values = [
        float(
            model.log_likelihood_binned(
                GALAXY, SURVEY, binned, finder=FINDER, form="poisson", log_number=jnp.asarray(true + d)
            )
        )
        for d in (-0.1, 0.0, 0.1)
    ]
    # N ln(1 + x) - N x, N = 5000, about its maximum.
    assert values[0] < values[1] > values[2]
    assert values[2] - values[1] == pytest.approx(5000 * (0.1 - np.expm1(0.1)), rel=1e-6)


def test_bad_requests_say_what_to_do(binned):
    columns = {"l": np.zeros(3), "b": np.full(3, 1.4), "V": np.full(3, 15.0)}
    with pytest.raises(ValueError, match="increasing"):
        model.bin_catalogue(GALAXY, SURVEY, columns, {"V": [15.0, 14.0]}, jax.random.key(0), 256)
    with pytest.raises(ValueError, match="no observable 'magnitude'.*V"):
        model.bin_catalogue(
            GALAXY, SURVEY, columns, {"magnitude": [12.0, 18.0]}, jax.random.key(0), 256, finder=FINDER
        )
    with pytest.raises(ValueError, match="log_number"):
        model.log_likelihood_binned(GALAXY, SURVEY, binned, form="poisson")
    with pytest.raises(ValueError, match="'conditional' or 'poisson'"):
        model.log_likelihood_binned(GALAXY, SURVEY, binned, form="gauss")
