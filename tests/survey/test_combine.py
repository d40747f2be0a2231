"""Intersections, unions and complements: on rows, as weights, and folded over a population."""

import jax.numpy as jnp
import numpy as np
import pytest

from oortax import stars, survey
from oortax.survey import (
    AbsLatitude,
    AbsoluteMagnitude,
    Colour,
    Completeness,
    Cone,
    Latitude,
    Longitude,
    Magnitude,
    Parallax,
    Survey,
)

CLUMP = stars.Gaussian(mean=0.9, sigma=0.4)
ERRORS = survey.Errors(V=0.03, parallax=0.03)
A, B, C = Magnitude(max=9.0), Latitude(min=20.0), Completeness([0.9, 0.3], V=[7.0, 11.0])


def folded(cut, l, b, s):
    return float(Survey(selection=cut, errors=ERRORS).folded(CLUMP, l, b, s))


PLACES = [(l, b, s) for l in (0.2, 3.0) for b in (-0.8, 0.1, 0.6) for s in (0.2, 0.43, 0.8)]


@pytest.mark.parametrize(
    "first, second", [(A, B), (B, Magnitude(min=8.0)), (A, C), (Cone(30.0, l=10.0, b=30.0), C)]
)
def test_folded_probabilities_add_up(first, second):
    """P(a | b) = P(a) + P(b) - P(a & b) and P(~a) = 1 - P(a), which no route through products assumes."""
    seen = set()
    for place in PLACES:
        a, b, both, either = (folded(cut, *place) for cut in (first, second, first & second, first | second))
        # The fold's own error, from each of four integrals.
        assert either == pytest.approx(a + b - both, abs=2e-7)
        assert folded(~first, *place) == pytest.approx(1.0 - a, abs=1e-7)
        assert folded(~(first & second), *place) == pytest.approx(1.0 - both, abs=1e-7)
        seen |= {round(a, 3), round(b, 3)}
    assert len(seen) > 2


def test_double_complements_and_de_morgan():
    rng = np.random.default_rng(0)
    columns = {
        "l": rng.uniform(0, 6.28, 300),
        "b": rng.uniform(-1.5, 1.5, 300),
        "V": rng.uniform(5, 12, 300),
        "parallax": rng.uniform(-0.5, 5, 300),
        "colour": rng.uniform(0, 2, 300),
    }
    cuts = [Parallax(min=1.0), Colour(max=1.0), C, B, AbsoluteMagnitude(min=0.0)]
    for a in cuts:
        np.testing.assert_allclose((~~a).weight(columns), a.weight(columns), atol=1e-15)
        for b in cuts:
            np.testing.assert_allclose((~(a | b)).weight(columns), (~a & ~b).weight(columns), atol=1e-15)
            np.testing.assert_allclose((a & b).weight(columns), a.weight(columns) * b.weight(columns))
    assert (A & B & C).columns == ("V", "b") and (~A).accepts({"V": [8.0, 10.0, np.nan]}).tolist() == [
        False,
        True,
        False,
    ]


def test_a_survey_takes_an_intersection_for_its_parts():
    model = Survey(selection=A & (B & ~AbsLatitude(max=60.0)))
    assert model.names == ("magnitude", "latitude", "complement")
    assert model.band == "V" and Survey(selection=Magnitude("G", max=9.0) | B).band == "G"
    assert model.edges_b()[1:-1] == pytest.approx(np.radians([-60.0, 0.0, 20.0, 60.0]))


def test_limits_of_combinations():
    """One-sided limits have complements, which bound a survey's volume."""
    assert (~Magnitude(min=9.0)).magnitude_limits() == (-np.inf, 9.0)
    assert (~Magnitude(min=8.0, max=9.0)).magnitude_limits() == (-np.inf, np.inf)
    assert (~Magnitude(min=8.0, max=9.0)).magnitude_steps() == (8.0, 9.0)
    both = Survey(selection=Magnitude(max=8.0) | (B & Magnitude(max=10.0)))
    far = both.distance_range(CLUMP)[1]
    assert float(far) == pytest.approx(float(Survey(selection=Magnitude(max=10.0)).distance_range(CLUMP)[1]))
    assert len(both.distance_edges(CLUMP)) == 6
    sky = Longitude(min=0.0, max=90.0) | Longitude(min=180.0, max=270.0)
    assert [float(sky.sky(np.radians(l), 0.0)) for l in (45.0, 135.0, 225.0)] == [1.0, 0.0, 1.0]


def test_weight_of_a_survey_knows_one_magnitude():
    model = Survey(selection=(Magnitude("G", max=9.0), C))
    by_band, by_V = model.weight({"G": jnp.array([8.0, 10.0])}), model.weight({"V": jnp.array([8.0, 10.0])})
    assert by_band.tolist() == by_V.tolist() and by_band[0] > 0 == by_band[1]
    assert Survey().weight({"l": jnp.zeros((3, 1)), "b": jnp.zeros(4)}).shape == (3, 4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: survey.Union([A]), "two or more parts, not 1"),
        (lambda: survey.Intersection([A, "b > 20"]), "is not a selection"),
        (lambda: survey.Complement(3.0), "is not a selection"),
        (lambda: A & Magnitude(min=9.5), "keeps nothing.*above 9.5 and below 9"),
        (lambda: Survey(selection=(A, Magnitude(min=9.5))), "keeps nothing.*above 9.5 and below 9"),
        (lambda: A | Magnitude("G", max=8.0), "several bands \\(G, V\\)"),
        (lambda: folded(A | Parallax(min=1.0), 0.0, 0.5, 0.5), "parallax is not a cut on direction and"),
        (lambda: folded(~Colour(max=1.0), 0.0, 0.5, 0.5), "colour is not a cut on direction and"),
        (lambda: folded(A & ~Parallax(min=1.0), 0.0, 0.5, 0.5), "'complement' cannot be folded"),
        (lambda: folded(A | survey.LineOfSightVelocity(max=1.0), 0.0, 0.5, 0.5), "Survey.weight"),
        (lambda: Magnitude("Q", max=9.0), "unknown band 'Q'.*known: U, B, V"),
        (lambda: AbsoluteMagnitude(max=1.0, band="Vt"), "unknown band 'Vt'; did you mean 'V'"),
        (lambda: Parallax(), "give min, max or both, in mas"),
        (lambda: survey.ProperMotion(max=0.0), "keeps nothing"),
        (lambda: survey.ProperMotion(max=5.0, component="pm"), "choose one of total"),
        (lambda: survey.LineOfSightVelocity(min=5.0, max=3.0), "km/s"),
        (lambda: Parallax(min=1.0).weight({"l": jnp.zeros(2)}), "needs the column 'parallax'"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
