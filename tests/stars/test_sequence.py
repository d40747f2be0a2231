"""Observed relations: the dwarf sequence, standard candles, densities, derivatives, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from oortax import params, stars
from oortax.data import table

F = stars.Gaussian(mean=6.0, sigma=1.2, support=(3.0, 9.0))
DWARFS = stars.dwarf_sequence(F, scatter=0.06)


def test_the_sequence_passes_through_its_points_and_is_monotone():
    rows = table("dwarf_sequence")
    found = jax.jit(jax.vmap(DWARFS.mean_colour))(jnp.asarray(rows["m_v"]))
    np.testing.assert_allclose(found, rows["b_v"], atol=1e-12)
    fine = jax.jit(jax.vmap(DWARFS.mean_colour))(jnp.linspace(-6.0, 19.0, 1000))
    assert np.all(np.diff(fine) > -1e-12) and len(rows["m_v"]) == 80


def test_density_is_normalised_and_the_table_follows_it():
    M, c = np.linspace(3.0, 9.0, 241), np.linspace(0.0, 1.9, 381)
    exact = np.exp(jax.jit(jax.vmap(jax.vmap(DWARFS.log_density, (None, 0)), (0, None)))(M, c))
    assert np.trapezoid(np.trapezoid(exact, c), M) == pytest.approx(1.0, abs=1e-5)
    smooth = DWARFS.table(step=0.05, colour_step=0.01)
    found = jax.jit(jax.vmap(jax.vmap(smooth.density, (None, 0)), (0, None)))(M, c)
    # The kernel widens the sequence from 0.060 to hypot(0.06, 0.0082) mag, 1 %, and by 0.04 mag times its
    # slope.
    assert np.max(np.abs(found - exact)) < 0.06 * exact.max()


def test_draws_have_the_mean_and_scatter():
    M, c = DWARFS.draw(jax.random.key(1), 20_000)
    off = np.asarray(c - jax.vmap(DWARFS.mean_colour)(M))
    # Five standard errors.
    assert abs(off.mean()) < 5 * 0.06 / np.sqrt(2e4) and abs(off.std() - 0.06) < 5 * 0.06 / np.sqrt(4e4)
    assert abs(float(M.mean()) - 6.0) < 5 * 1.2 / np.sqrt(2e4)


def test_gradients_match_finite_differences():
    for path in params.parameters(DWARFS):

        def density(value, path=path):
            return params.replace(DWARFS, {path: value}).log_density(5.2, 0.75)

        # The scatter's density curves within 0.06 mag: differences are good to 4e-6.
        check_grads(density, (params.get(DWARFS, path),), order=1, modes=["rev"], rtol=1e-5, atol=1e-8)
    check_grads(DWARFS.mean_colour, (jnp.asarray(5.2),), order=1, modes=["rev"], rtol=1e-6)


def test_parsec_dwarfs_follow_the_observed_sequence():
    """Solar metallicity, 1 Gyr, 4.5 < M_V < 8: within 0.1 mag in B-V; fainter dwarfs are bluer by models."""
    iso = stars.Isochrones().at(1.0, 0.0)
    V, B = iso.magnitudes[1, :65], iso.magnitudes[0, :65]
    chosen = np.asarray((V > 4.5) & (V < 8.0))
    off = np.asarray(B - V - jax.vmap(DWARFS.mean_colour)(V))[chosen]
    assert chosen.sum() > 5 and np.max(np.abs(off)) < 0.1


def test_standard_candles():
    """RR Lyrae brighten by 0.23 mag per dex of metals; BHB stars of g - r = -0.14 have M_g = 0.48."""
    slope = stars.rr_lyrae(-1.0).mean - stars.rr_lyrae(-2.0).mean
    assert float(slope) == pytest.approx(0.23) and float(stars.rr_lyrae(-1.5).mean) == pytest.approx(0.59)
    assert float(stars.blue_horizontal_branch().mean) == pytest.approx(0.48, abs=0.01)
    assert float(stars.bhb_magnitude(-0.2)) > float(stars.bhb_magnitude(-0.1))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: stars.ColourMagnitudeRelation("dwarfs", [1, 2, 3], [0, 1, 2]), "distribution of magnitudes"),
        (lambda: stars.ColourMagnitudeRelation(F, [1, 3, 2], [0, 1, 2]), "increasing magnitudes"),
        (lambda: stars.ColourMagnitudeRelation(F, [1, 2, 3], [0, 1]), "mean colour for each"),
        (lambda: stars.dwarf_sequence(F, scatter=-0.1), "scatter must be positive"),
        (lambda: stars.blue_horizontal_branch(0.1), "holds for"),
        (lambda: stars.rr_lyrae(sigma=0.0), "sigma must be positive"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
