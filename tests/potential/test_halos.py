"""FlattenedNFW: the accuracy that its docstring states, and its limit q = 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import potential

R_S = 16.0
LATITUDES = np.linspace(0.0, 0.5 * np.pi, 13)
NEAR = np.geomspace(1e-3, 10.0, 30) * R_S
FAR = np.geomspace(10.0, 30.0, 8) * R_S


def with_nodes(n_nodes, f):
    """f(halo, x) as a compiled function of q and many R, z."""

    def at(q, R, z):
        return f(potential.FlattenedNFW(1e7, R_S, q, n_nodes=n_nodes), jnp.stack([R, 0.0 * R, z]))

    return jax.jit(jax.vmap(at, in_axes=(None, 0, 0)))


def Phi_and_force(halo, x):
    return jax.value_and_grad(halo.Phi)(x)


@pytest.fixture(scope="module")
def many():
    """Phi and force by 60 nodes: changed by 1e-13 with 90."""
    return with_nodes(60, Phi_and_force)


density = with_nodes(10, potential.density)


def grid(r):
    return np.outer(r, np.cos(LATITUDES)).ravel(), np.outer(r, np.sin(LATITUDES)).ravel()


def largest_errors(few, many, q, r):
    """Largest relative errors of Phi and force on a grid."""
    (Phi, force), (true_Phi, true_force) = few(q, *grid(r)), many(q, *grid(r))
    size = np.linalg.norm(true_force, axis=1)
    return np.max(np.abs(Phi / true_Phi - 1.0)), np.max(np.linalg.norm(force - true_force, axis=1) / size)


def largest_error_of_density(q, r):
    """By Poisson's equation, against the density that the halo is made for."""
    R, z = grid(r)
    m = np.sqrt(R**2 + z**2 / q**2) / R_S
    return np.max(np.abs(density(q, R, z) * m * (1.0 + m) ** 2 / 1e7 - 1.0))


def stated():
    """The docstring's table: {q: errors within 10 r_s and within 30 r_s}."""
    lines = (potential.FlattenedNFW.__doc__ or "").splitlines()
    rows = [line.split() for line in lines if line.strip()[:1].isdigit()]
    return {float(row[0]): [float(entry) for entry in row[1:]] for row in rows}


def test_accuracy_is_the_one_stated(many):
    table, default = stated(), with_nodes(10, Phi_and_force)
    assert potential.FlattenedNFW(1e7, R_S, 1.0).n_nodes == 10 and len(table) >= 8
    for q, errors in table.items():
        found = []
        for r in (NEAR, FAR):
            found += [*largest_errors(default, many, q, r), largest_error_of_density(q, r)]
        assert len(errors) == len(found) and np.all(np.array(found) <= errors), (q, found)
        # Stated errors are rounded up, not padded; below 1e-12 lies rounding.
        assert np.all((np.array(errors) < 3.0 * np.array(found)) | (np.array(errors) < 1e-12)), (q, found)


def test_seven_nodes_serve_the_demo(many):
    """The demo's configuration claims 1e-4 of the force for 0.4 < q < 1.6 within 10 r_s."""
    seven = with_nodes(7, Phi_and_force)
    errors = [largest_errors(seven, many, q, NEAR)[1] for q in np.linspace(0.4, 1.6, 13)]
    assert 1e-5 < max(errors) < 1e-4


def halo(q):
    return potential.FlattenedNFW(1e7, R_S, q)


POINTS = jnp.array([[0.0, 0.0, 3.0], [8.0, 0.0, 0.0], [5.0, 2.0, 1.0], [0.3, 0.0, 40.0]])


def test_derivatives_at_q_1():
    """The sphere is a regular point of the family: first and second derivatives in q are right there."""

    def f(q):
        return jax.vmap(lambda x: Phi_and_force(halo(q), x)[1])(POINTS)

    one, h = jnp.array(1.0), 1e-2
    slope = jax.jit(lambda q: jax.jvp(f, (q,), (jnp.array(1.0),))[1])
    curvature = jax.jit(jax.jacfwd(slope))(one)
    force = jax.jit(f)
    for exact, below in ((slope(one), force), (curvature, slope)):
        near, far = ([below(one + s * k * h) for s in (-1.0, 1.0)] for k in (1.0, 2.0))
        differences = (8.0 * (near[1] - near[0]) - (far[1] - far[0])) / (12.0 * h)
        # Of fourth order: h^4 = 1e-8 times the fifth derivative over 30.
        assert np.max(np.abs(exact - differences)) < 1e-7 * np.max(np.abs(exact))
        assert np.max(np.abs(exact)) > 0.1 * np.max(np.abs(force(one)))


def test_second_derivatives_at_q_1_are_those_of_the_sphere():
    found, true = (
        jax.jit(jax.vmap(jax.hessian(pot.Phi)))(POINTS) for pot in (halo(1.0), potential.NFW(1e7, R_S))
    )
    # Ten nodes leave 1e-11 of the density.
    size = np.max(np.abs(true), axis=(1, 2), keepdims=True)
    assert np.max(np.abs(found - true) / size) < 1e-10
