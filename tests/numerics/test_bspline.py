"""Spline surfaces: values and derivatives by SciPy, those by the table, too, and differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BSpline

from oortax.numerics.bspline import surface

DEGREE, SHAPE = 5, (11, 9)
TABLE = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE))
# In a cell, on the border of two in one and in both variables, and at the corners of the table.
POINTS = [(2.3, 1.7), (3.0, 1.7), (2.0, 2.0), (0.0, 0.0), (6.0, 4.0), (0.0, 4.0)]
value = partial(surface, DEGREE, (0, 0))


def by_scipy(u, v, orders=(0, 0)):
    """The same sum over SciPy's B-splines, on knots a cell apart."""
    along = []
    for size, at, order in zip(SHAPE, (u, v), orders, strict=True):
        knots = np.arange(size + DEGREE + 1.0) - DEGREE
        one = [BSpline(knots, np.eye(size)[k], DEGREE).derivative(order) for k in range(size)]
        along.append([float(spline(at)) for spline in one])
    return np.asarray(along[0]) @ np.asarray(TABLE) @ np.asarray(along[1])


@pytest.mark.parametrize("at", POINTS)
def test_value_slopes_and_curvature(at):
    """One evaluation with both slopes, and its own derivatives: all by SciPy, to rounding."""
    u, v = map(jnp.asarray, at)
    found, slopes = jax.value_and_grad(value, (1, 2))(TABLE, u, v)
    curvature = jax.hessian(value, (1, 2))(TABLE, u, v)
    close = partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-11)
    close(found, by_scipy(*at))
    close(value(TABLE, u, v), by_scipy(*at))
    close(slopes, [by_scipy(*at, orders=(1, 0)), by_scipy(*at, orders=(0, 1))])
    mixed = by_scipy(*at, orders=(1, 1))
    close(curvature, [[by_scipy(*at, orders=(2, 0)), mixed], [mixed, by_scipy(*at, orders=(0, 2))]])
    # Along one variable alone there is no such evaluation.
    close(jax.grad(value, 1)(TABLE, u, v), slopes[0])
    close(jax.grad(value, 2)(TABLE, u, v), slopes[1])


@pytest.mark.parametrize("at", POINTS)
def test_derivatives_by_the_table(at):
    """Values and slopes are linear in the table: what a direction in it changes is that direction's own."""
    u, v = map(jnp.asarray, at)
    way = jnp.asarray(np.random.default_rng(2).normal(size=SHAPE))

    def slopes(table, u, v):
        return jnp.stack(jax.grad(value, (1, 2))(table, u, v))

    close = partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-11)
    close(jnp.sum(jax.grad(value)(TABLE, u, v) * way), value(way, u, v))
    close(jax.jvp(lambda table: slopes(table, u, v), (TABLE,), (way,))[1], slopes(way, u, v))
    close(jnp.einsum("iab,ab->i", jax.jacrev(slopes)(TABLE, u, v), way), slopes(way, u, v))


def test_third_derivatives_against_differences():
    """Those of the curvature, which a torus's derivatives in J by a potential parameter need."""
    u, v, h = jnp.asarray(2.3), jnp.asarray(1.7), 1e-4
    curvature = jax.jit(lambda u, v: jnp.array(jax.hessian(value, (1, 2))(TABLE, u, v)))
    for i, way in enumerate(((h, 0.0), (0.0, h))):
        numeric = (curvature(u + way[0], v + way[1]) - curvature(u - way[0], v - way[1])) / (2.0 * h)
        np.testing.assert_allclose(jax.jacfwd(curvature, i)(u, v), numeric, rtol=1e-6, atol=1e-6)
