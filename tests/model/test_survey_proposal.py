"""The proposal for a survey's stars covers all that the survey does, and knows its own density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import stars, survey
from oortax.model.survey_proposal import DIMENSIONS, sky_of, survey_proposal


def _cap(degrees):
    return 2.0 * np.pi * (1.0 - np.cos(np.radians(degrees)))


FOOTPRINTS = {
    "all": ((), 4.0 * np.pi),
    "polar cap": ((survey.Latitude(min=85.0),), _cap(5.0)),
    "two caps": ((survey.AbsLatitude(min=60.0),), 2.0 * _cap(30.0)),
    "through l = 0": (
        (survey.Longitude(min=350.0, max=10.0), survey.AbsLatitude(max=5.0)),
        np.radians(20.0) * 2.0 * np.sin(np.radians(5.0)),
    ),
    # Between the points of any coarse grid.
    "small cone": ((survey.Cone(l=123.0, b=-20.0, radius=0.15),), _cap(0.15)),
    "near the pole": ((survey.Cone(l=20.0, b=86.0, radius=0.3),), _cap(0.3)),
    "about the pole": ((survey.Cone(l=200.0, b=89.9, radius=1.0),), _cap(1.0)),
    "two fields": (
        (survey.Cone(l=20.0, b=86.0, radius=0.5) | survey.Cone(l=200.0, b=-40.0, radius=0.5),),
        2.0 * _cap(0.5),
    ),
}


@pytest.mark.parametrize("name", FOOTPRINTS)
def test_the_whole_footprint_is_covered(name):
    cuts, area = FOOTPRINTS[name]
    seen = survey.Survey(selection=(*cuts, survey.Magnitude(max=12.0)))
    sky = sky_of(seen)
    rng, n = np.random.default_rng(0), 100_000
    row = rng.integers(0, len(sky.shares), n)
    at = sky.low[row] + sky.width[row] * rng.random((n, 2))
    inside = np.asarray(jax.jit(jax.vmap(seen.sky))(jnp.asarray(at[:, 1]), jnp.asarray(np.arcsin(at[:, 0]))))
    terms = len(sky.shares) * inside * np.prod(sky.width[row], axis=1)
    error = terms.std() / np.sqrt(n)
    # Four standard errors; where cells are those of the footprint itself there is none, but rounding.
    assert abs(terms.mean() - area) < 4.0 * error + 1e-9 * area
    assert error < 0.01 * area


def _place(l, b, s):
    x, y = 8.2 - s * np.cos(b) * np.cos(l), s * np.cos(b) * np.sin(l)
    return np.hypot(x, y), s * np.sin(b)


@pytest.mark.parametrize("adapted", [False, True])
def test_density_is_that_of_the_draws(adapted):
    """Integrals of known functions over sky, distance, magnitude, colour and velocity."""
    dwarfs = stars.ColourMagnitudeRelation(
        stars.Gaussian(5.0, 1.0, (2.0, 8.0)), [2.0, 5.0, 8.0], [0.3, 0.7, 1.2], scatter=0.08
    )
    seen = survey.Survey(selection=(survey.AbsLatitude(min=40.0), survey.Magnitude(max=14.0)))
    proposal = survey_proposal(sky_of(seen), seen, dwarfs, 220.0)
    n = 200_000
    rng = np.random.default_rng(1)

    def draw(proposal, n):
        return proposal.draw(rng.random((n, DIMENSIONS)), lambda l, b, s: np.zeros(len(s)), _place)

    if adapted:
        # To stars of a disc: fewer with R and with |z|, and slow; densities and velocities by zone.
        pilot = draw(proposal, 20_000)
        weights = np.exp(
            -pilot.R / 2.0 - np.abs(pilot.z) - np.sum((pilot.u / 60.0) ** 2, axis=1) - pilot.log_q
        )
        proposal = proposal.adapted(pilot, weights * pilot.s**2, _place, 220.0)
        assert len(proposal.local.means) > 10 and np.ptp(proposal.rows / proposal.sky.shares) > 1.0
    drawn = draw(proposal, n)
    assert np.all(drawn.M + 5.0 * np.log10(100.0 * drawn.s) < 14.0 + 6.1 * 0.01)
    sigma = 60.0
    log_u = -0.5 * np.sum((drawn.u / sigma) ** 2, axis=1) - 1.5 * np.log(2.0 * np.pi * sigma**2)
    log_p = np.asarray(jax.jit(jax.vmap(dwarfs.log_density))(jnp.asarray(drawn.M), jnp.asarray(drawn.colour)))
    inside = np.asarray(jax.jit(jax.vmap(seen.sky))(jnp.asarray(drawn.l), jnp.asarray(drawn.b)))
    s = np.linspace(0.0, float(proposal.edges[-1]), 20_001)[1:]
    F = np.asarray(jax.jit(jax.vmap(lambda M: jnp.exp(dwarfs.stars.log_F(M))))(np.linspace(2.0, 8.0, 6001)))
    below = np.interp(14.06 - 5.0 * np.log10(100.0 * s), np.linspace(2.0, 8.0, 6001), np.cumsum(F) / F.sum())
    for power in (0, 2):
        terms = inside * np.exp(log_u + log_p - drawn.log_q) * drawn.s**power
        exact = 4.0 * np.pi * (1.0 - np.sin(np.radians(40.0))) * np.sum(s**power * below) * (s[1] - s[0])
        error = terms.std() / np.sqrt(n)
        # The bins of the cumulative F are 1e-3 mag wide.
        assert abs(terms.mean() - exact) < 4.0 * error + 2e-3 * exact
        assert error < 0.03 * exact
