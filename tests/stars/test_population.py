"""Populations: number of living stars, table, marginals, derivatives, draws, options, bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import params, stars
from oortax.stars import remnants

SMALL = {"n_ages": 24, "n_metallicities": 8}


def population(**changes):
    parts = {
        "imf": stars.Kroupa(),
        "history": stars.ExponentialDecay(onset=11.0, decay=7.0),
        "metallicity": stars.Enrichment(start=-0.8, now=0.1, onset=11.0, sigma=0.2),
        "support": (-2.0, 9.0),
    }
    return stars.Population(**(parts | SMALL | changes))


@eqx.filter_jit
def log_F(distribution, M):
    return jax.vmap(distribution.log_F)(M)


@eqx.filter_jit
def density(table, M, colour):
    return jax.vmap(lambda m: jax.vmap(lambda c: table.density(m, c))(colour))(M)


def test_number_of_living_stars():
    """Every star from 0.1 Msun to the heaviest alive, by the IMF's closed form and the isochrones' ends.

    A burst of one age and metallicity: the answer follows from one isochrone.
    """
    imf = stars.Salpeter()
    for age, mh in ((10.0, -1.0), (2.0, 0.0)):
        burst = population(
            imf=imf,
            history=stars.Burst(age=age, width=1e-4),
            metallicity=stars.FixedMetallicity(mh, 1e-4),
        )
        heaviest = float(stars.Isochrones().at(age, mh).m[-1])
        expected = float(imf.number(0.1, heaviest) / imf.mean_mass())
        # The mass of the last point moves by 1e-4 of itself over the burst's width.
        assert float(burst.number_per_mass()) == pytest.approx(expected, rel=1e-4)


def test_the_luminosity_function_integrates_to_the_number_of_living_stars():
    """Over all magnitudes and colours the table holds every star that lives, whatever the quadrature."""
    everything = population(support=None, step=0.25, colour_step=0.1)
    table = everything.table()
    assert float(table.number) == pytest.approx(float(everything.number_per_mass()), rel=1e-9)
    # Its density is normalised (trapezium on knots and middles is exact to 1e-3 for cubic pieces this
    # smooth).
    M, c = (
        np.linspace(*ends, 2 * n + 1)
        for ends, n in zip((table.M_range, table.colour_range), table.cells, strict=False)
    )
    p = density(table, M, c)
    assert float(np.trapezoid(np.trapezoid(p, c), M)) == pytest.approx(1.0, rel=1e-3)
    assert np.all(np.asarray(p) >= 0)
    # A part of it: brighter than M = 4 by the narrower table, and by integrating the whole one.
    part = population(support=(-2.0, 4.0), step=0.25, colour_step=0.1).table()
    share = np.trapezoid(np.trapezoid(p, c)[(M >= -2) & (M <= 4)], M[(M >= -2) & (M <= 4)])
    assert float(part.number / table.number) == pytest.approx(float(share), rel=2e-3)


def test_the_magnitudes_are_the_table_s():
    """F(M) without a window is the table's integral over colour, and with one that over the window."""
    whole = population(colour_range=(-0.5, 2.0))
    table, F = whole.table(), whole.bind()
    M = jnp.linspace(-1.5, 8.5, 41)
    np.testing.assert_allclose(log_F(table.magnitudes(), M), log_F(F, M), rtol=0, atol=1e-3)
    window = population(colour_window=(0.9, 1.25), colour_error=0.02).bind()
    c = np.linspace(0.9, 1.25, 71)
    inside = np.trapezoid(density(table, M, jnp.asarray(c)), c)
    ratio = np.exp(log_F(window, M)) / np.maximum(inside, 1e-12)
    dense = inside > 0.02 * inside.max()
    # The same up to a constant; stars are spread by 0.02 mag in colour by the table, by as much by the error.
    assert np.std(ratio[dense]) / np.mean(ratio[dense]) < 0.1


def test_more_nodes_change_little():
    """The docstring's 0.5 % of the largest F with the default quadrature."""
    M = jnp.linspace(-2.0, 9.0, 221)
    F, finer = (
        np.exp(log_F(population(**nodes).bind(), M))
        for nodes in (
            {"n_ages": 48, "n_metallicities": 12},
            {"n_ages": 120, "n_metallicities": 24},
        )
    )
    assert np.max(np.abs(F - finer)) < 0.006 * finer.max()


def test_an_old_population_has_no_young_stars():
    old = population(history=stars.Burst(age=10.0, width=0.5), support=(-3.0, 12.0)).bind()
    young = population(history=stars.Burst(age=1.0, width=0.1), support=(-3.0, 12.0)).bind()
    # At M_V = 2 there are dwarfs of 1.6 Msun if young, and only red giants that pass through if old.
    assert float(young.log_F(2.0) - old.log_F(2.0)) > 2.0
    # Both have the same dwarfs of small mass.
    ratio = float(jnp.exp(young.log_F(9.0) - old.log_F(9.0)))
    assert 0.8 < ratio < 1.2


def test_derivatives_match_finite_differences():
    """Every parameter, of F, the number of stars and the table: metals, IMF, history, binaries."""
    base = population(binary_fraction=0.3, support=(-2.0, 5.0), n_ages=10, n_metallicities=4)
    start = {path: jnp.asarray(params.get(base, path)) for path in params.parameters(base)}

    @jax.jit
    def summary(values):
        changed = params.replace(base, values)
        F, table = changed.bind(), changed.table()
        return F.log_F(0.8) + F.log_F(3.9) + jnp.log(table.number) + table.log_density(3.6, 0.55)

    slopes = jax.jit(jax.grad(summary))(start)
    for path, value in start.items():
        step = 1e-5 * max(1.0, abs(float(value)))
        up, down = (float(summary(start | {path: value + s * step})) for s in (1, -1))
        # Points cross knots of splines with continuous second derivatives: differences are good to 1e-5.
        assert float(slopes[path]) == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-5), path
        assert abs(float(slopes[path])) > 1e-6, path


@pytest.mark.parametrize("fraction", [None, 0.4])
def test_draws_follow_the_table(fraction):
    """Stars drawn one by one, spread by the table's kernel, fill cells as the table says (chi-square)."""
    n = 12_000
    whole = population(
        binary_fraction=fraction, n_ages=48, n_metallicities=16, imf=stars.Kroupa(lowest=0.5 - 1e-9)
    )
    drawn = whole.draw(jax.random.key(7), n)
    if fraction is None:
        some = int(np.flatnonzero(np.asarray(drawn.age) > 0.1)[0])
        one = stars.Isochrones().at(drawn.age[some], drawn.mh[some])
        expected = float(one.magnitude("V", one.phase_of(drawn.mass[some])))
        assert float(drawn.M[some]) == pytest.approx(expected, abs=0.01)
    rng = np.random.default_rng(0)
    step = (11.0 / 110, 0.025)
    # A kernel of two B-splines: the sum of eight uniform numbers.
    M, c = (
        np.asarray(x) + h * (rng.random((8, n)) - 0.5).sum(axis=0)
        for x, h in zip((drawn.M, drawn.colour), step, strict=False)
    )
    table = whole.table()
    edges = np.linspace(-2.0, 9.0, 23), np.linspace(0.0, 2.0, 11)
    counts = np.histogram2d(M, c, bins=edges)[0]
    x, y = (np.linspace(e[0], e[-1], 10 * (len(e) - 1) + 1) for e in edges)
    x, y = 0.5 * (x[1:] + x[:-1]), 0.5 * (y[1:] + y[:-1])
    p = np.asarray(density(table, x, y))
    share = p.reshape(22, 10, 10, 10).sum(axis=(1, 3)) * (x[1] - x[0]) * (y[1] - y[0])
    expected = share * float(table.number / whole.number_per_mass()) * n
    full = expected > 10
    chi2 = np.sum((counts - expected)[full] ** 2 / expected[full])
    assert full.sum() > 30
    # Five standard deviations of chi-square above its mean.
    assert chi2 < full.sum() + 5 * np.sqrt(2 * full.sum())


def test_draws_are_reproducible():
    one, two, other = (population().draw(jax.random.key(k), 600) for k in (1, 1, 2))
    np.testing.assert_array_equal(one.M, two.M)
    assert not np.array_equal(one.M, other.M) and one.mass.shape == (600,)


def test_draws_from_the_table():
    table = population(support=(-1.0, 6.0)).table()
    M, c = table.draw(jax.random.key(3), 40_000)
    F = table.magnitudes()
    edges = np.linspace(-1.0, 6.0, 29)
    x = np.linspace(-1.0, 6.0, 2801)
    cdf = np.concatenate([[0], np.cumsum(np.exp(jax.vmap(F.log_F)(0.5 * (x[1:] + x[:-1]))))]) * (x[1] - x[0])
    expected = 40_000 * np.diff(np.interp(edges, x, cdf))
    counts = np.histogram(M, edges)[0]
    assert np.sum((counts - expected) ** 2 / expected) < 28 + 5 * np.sqrt(56)
    assert np.all((c >= table.colour_range[0]) & (c <= table.colour_range[1]))


def test_binaries_are_brighter_and_redder_than_their_primaries():
    """Twins are 2.5 log 2 = 0.753 mag brighter; nothing is brighter than that."""
    single, double = population(), population(binary_fraction=1.0)
    a, b = single.draw(jax.random.key(4), 700), double.draw(jax.random.key(4), 700)
    same = np.asarray(a.mass == b.mass)
    assert same.mean() > 0.9
    gain = np.asarray(a.M - b.M)[same]
    assert gain.min() >= 0 and 0.5 < gain.max() <= 2.5 * np.log10(2) + 1e-9
    assert float(double.number_per_mass()) == pytest.approx(float(single.number_per_mass()), rel=1e-12)


def test_white_dwarfs_are_the_dead():
    """Their number is that of stars heavier than the living, up to 8 Msun."""
    burst = {"history": stars.Burst(10.0, 1e-3), "metallicity": stars.FixedMetallicity(0.0, 1e-3)}
    living, all_ = population(**burst), population(with_white_dwarfs=True, support=(5.0, 18.0), **burst)
    heaviest = float(stars.Isochrones().at(10.0, 0.0).m[-1])
    expected = float(living.imf.number(heaviest, 8.0) / living.imf.mean_mass())
    found = float(all_.number_per_mass() - living.number_per_mass())
    assert found == pytest.approx(expected, rel=1e-3)
    # A white dwarf of 0.6 Msun after 1 Gyr: M_V 12.5 (DA models of Bergeron, 8,500 K: M_V 12.6, B-V 0.2 to
    # 0.3).
    assert float(remnants.magnitude("V", 0.6, 1.0)) == pytest.approx(12.6, abs=0.3)
    faint = [float(remnants.magnitude("V", 0.6, t)) for t in (0.1, 1.0, 5.0, 10.0)]
    assert faint == sorted(faint)


def test_gaia_bands():
    """The red clump of an old population near the Sun is at M_G = 0.4 to 0.6, where F peaks among giants."""
    F = population(band="G", colour="BP-RP", support=(-1.0, 2.5), step=0.05).bind()
    M = np.linspace(-0.5, 1.5, 201)
    assert M[np.argmax(jax.vmap(F.log_F)(M))] == pytest.approx(0.5, abs=0.25)


def test_db96_needs_the_nearest_isochrone_for_its_halo():
    """DB96's halo began 14 Gyr ago, the isochrones end at 12.6."""
    halo = {
        "imf": stars.DehnenBinneyIMF(),
        "history": stars.ExponentialDecay(onset=14.0, decay=2.0),
        "metallicity": stars.Enrichment(onset=14.0),
    }
    with pytest.raises(ValueError, match='age.*outside the isochrones.*outside="nearest"'):
        population(**halo)
    F = population(outside="nearest", **halo).bind()
    assert np.all(np.isfinite(jax.vmap(F.log_F)(jnp.linspace(-2, 9, 12))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imf": "kroupa"}, "expected IMF"),
        ({"history": stars.Kroupa()}, "expected StarFormation"),
        ({"band": "J"}, "unknown band 'J'"),
        ({"colour": "V-K"}, "unknown band 'K'"),
        ({"isochrones": "padova"}, "no isochrones 'padova'"),
        ({"support": (3.0, 1.0)}, "below the faint end"),
        ({"colour_window": (1.0, 0.5)}, "blue end"),
        ({"binary_fraction": 1.5}, "binary_fraction must be between 0 and 1"),
        ({"n_ages": 1}, "at least 4"),
        ({"step": 0.0}, "must be positive"),
        ({"outside": "maybe"}, "error, nearest"),
        ({"metallicity": stars.FixedMetallicity(-3.0, 0.2)}, "M/H.*outside the isochrones"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        population(**changes)


def test_table_from_a_file(tmp_path):
    """A user's table comes back as its own smoothed self, and what is wrong with it is named."""
    M, c = np.meshgrid(np.linspace(0.0, 5.0, 26), np.linspace(0.2, 1.4, 25), indexing="ij")
    p = np.exp(-0.5 * ((M - 2.5) / 0.8) ** 2 - 0.5 * ((c - 0.8) / 0.2) ** 2)
    file = tmp_path / "cmd.csv"

    def write(rows, header="M,colour,density"):
        np.savetxt(file, rows, delimiter=",", header=header, comments="")

    rows = np.stack([M.ravel(), c.ravel(), p.ravel()], axis=1)
    write(rows)
    table = stars.ColourMagnitude.from_file(file)
    # Variances add: the kernel's is 2/3 of the square of the file's step.
    spread = np.hypot(0.8, 0.2 * np.sqrt(2 / 3)), np.hypot(0.2, 0.05 * np.sqrt(2 / 3))
    peak = 1 / (2 * np.pi * spread[0] * spread[1])
    assert float(table.density(2.5, 0.8)) == pytest.approx(peak, rel=0.01)
    for wrong, message in (
        (rows[:-1], "points"),
        (np.abs(rows) * [1, 1, -1], "not negative"),
        (rows * [1, 1, 0], "somewhere positive"),
        (rows[rows[:, 0] < 0.5], "four or more"),
    ):
        write(wrong)
        with pytest.raises(ValueError, match=message):
            stars.ColourMagnitude.from_file(file)
    write(rows, "M,colour,counts")
    with pytest.raises(ValueError, match="lacks the columns density"):
        stars.ColourMagnitude.from_file(file)
