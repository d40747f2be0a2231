"""Selections as functions of a zero point: those that are folded anew, with their derivative, and cheaper."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, model, params, potential, stars, survey

FIELDS = {
    "parallax_zero_point": survey.AbsoluteMagnitude(min=0.0, max=1.6),
    "distance_modulus_zero_point": survey.DistanceModulus(min=9.0, max=12.0),
}
RANGE = (-0.08, 0.03)


def seen(field, moved=0.0):
    """A disc of giants near the pole, and the nodes of two of its stars."""
    errors = survey.Errors(V=0.01, parallax=0.03, distance_modulus=0.1, **{field: moved})
    cuts = (survey.AbsLatitude(min=70.0), survey.Magnitude(max=12.0), FIELDS[field])
    galaxy = model.Galaxy(
        potential.MiyamotoNagai(M=1e11, a=3.0, b=0.3),
        {
            "disc": model.Component(
                df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=8.0, H_d=0.3),
                stars.Gaussian(mean=0.8, sigma=0.3),
            )
        },
    )
    return galaxy, survey.Survey(selection=cuts, errors=errors)


@pytest.fixture(scope="module", params=FIELDS)
def laid_out(request):
    field = request.param
    galaxy, view = seen(field, -0.02)
    catalogue = model.Catalogue(
        l=[0.3, 2.0], b=[1.4, -1.3], mu_l=[1.0, -3.0], mu_b=[0.0, 2.0], v_los=[10.0, -5.0], V=[11.0, 10.5],
        distance_modulus=[10.2, 9.7], distance_modulus_error=[0.1, 0.1],
    )  # fmt: skip
    return field, galaxy, view, catalogue, model.make_nodes(catalogue, galaxy, view, 1)


def test_selections_are_those_that_are_folded(laid_out):
    field, galaxy, view, _, nodes = laid_out
    moving = model.with_moving_selection(nodes, galaxy, view, field, *RANGE).volume.moving
    l, b, s = nodes.volume.l, nodes.volume.b, nodes.volume.s

    def anew(zero_point):
        moved = eqx.tree_at(lambda v: getattr(v.errors, field), view, zero_point)
        return jax.vmap(lambda *at: moved.folded(galaxy.components["disc"].stars, *at))(l, b, s)

    def table(zero_point):
        return moving.at(eqx.tree_at(lambda v: getattr(v.errors, field), view, zero_point))["disc"]

    for zero_point in (-0.075, -0.0317, 0.0288):
        ours, slopes = jax.jvp(jax.jit(table), (zero_point,), (1.0,))
        true, expected = jax.jvp(jax.jit(anew), (zero_point,), (1.0,))
        # Polynomials are taken whose errors add up to 1e-6 of the sum: some nodes' are ten times as large.
        assert np.max(np.abs(ours - true)) < 1e-5
        assert np.max(np.abs(slopes - expected)) < 1e-3 * np.max(np.abs(expected))
        assert np.max(np.abs(expected)) > 0.1
    # Beyond the range along the tangents at its ends, and never negative.
    for end, away in zip(RANGE, (-0.02, 0.02), strict=True):
        at_end, slopes = jax.jvp(table, (end,), (1.0,))
        straight = np.maximum(np.asarray(at_end + away * slopes), 0.0)
        np.testing.assert_allclose(table(end + away), straight, atol=1e-12)
        assert np.min(table(end + away)) >= 0.0


def test_likelihood_and_its_gradient_are_those_of_folding_anew(laid_out):
    """In the Poisson form ln A counts as it is; the gradient is held against differences, too."""
    field, galaxy, view, catalogue, nodes = laid_out
    tabulated = model.with_moving_selection(nodes, galaxy, view, field, *RANGE)
    settings = model.Settings(form="poisson")
    tree = model.Model(galaxy, view)

    @eqx.filter_jit
    def both(zero_point, nodes, settings):
        def total(zero_point):
            moved = params.replace(tree, {f"survey.errors.{field}": zero_point})
            return model.log_likelihood(
                moved.galaxy, moved.survey, catalogue, nodes, settings=settings, log_number=jnp.log(1e3)
            )

        return jax.value_and_grad(total)(zero_point)

    at, h = jnp.asarray(-0.035), 1e-4
    ours = both(at, tabulated, settings)
    anew = both(at, nodes, dataclasses.replace(settings, fold=True))
    # ln A is right to 1e-6; N_all A, its part of ln L, is below a hundred.
    assert float(ours[0]) == pytest.approx(float(anew[0]), abs=1e-4)
    assert float(ours[1]) == pytest.approx(float(anew[1]), rel=1e-3)
    ends = [float(both(at + step, tabulated, settings)[0]) for step in (h, -h)]
    assert float(ours[1]) == pytest.approx((ends[0] - ends[1]) / (2.0 * h), rel=1e-6)
    # Where the selection stayed as it was, its part of the slope would be missing.
    still = both(at, nodes, settings)
    assert abs(float(still[1] - ours[1])) > 0.01 * abs(float(ours[1]))


def test_ranges_that_are_too_wide_have_no_table(laid_out):
    field, galaxy, view, _, nodes = laid_out
    assert model.with_moving_selection(nodes, galaxy, view, field, -4.0, 4.0) is None


def test_a_diagnosis_folds_where_the_zero_point_moves(laid_out):
    """Its finer nodes have no table: were they not folded anew the error would be the score itself."""
    field, galaxy, view, catalogue, nodes = laid_out
    tabulated = model.with_moving_selection(nodes, galaxy, view, field, *RANGE)
    path = f"survey.errors.{field}"
    error = model.diagnose(model.Model(galaxy, view), catalogue, tabulated, paths=(path,)).error_score[path]
    assert abs(error) < 0.1, error
