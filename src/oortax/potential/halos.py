"""Flattened halos."""

import functools
from collections.abc import Callable
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array
from numpyro.distributions import constraints

from oortax.constants import G
from oortax.numerics.partials import by_partials
from oortax.params import param
from oortax.potential.base import AbstractClosedForm, soften
from oortax.types import Scalar

# Nodes crowd towards the centre as (e^(k u) - 1)/(e^k - 1): this k balances radii r < 10 r_s against q.
CROWDING = 2.25


@final
class FlattenedNFW(AbstractClosedForm):
    """A halo with density rho_s / [(m/r_s) (1 + m/r_s)^2], m^2 = R^2 + z^2/q^2: q < 1 oblate, q > 1 prolate.

    A spheroid's potential is an integral over homoeoids (Chandrasekhar 1969; BT08 eq. 2.140), which the
    NFW density shortens to

        Phi = -4 pi G q rho_s r_s^2 int_0^1 dt / {sqrt(1 - e^2 t^2) [1 + m(t)/r_s]},
        m(t)^2 = t^2 [R^2 + z^2/(1 - e^2 t^2)],  e^2 = 1 - q^2.

    With t = (1 + c) h/(1 + c h^2), c = (1 - q)/(1 + q), the roots of the integrand's coefficients vanish
    for any q, and a Gauss rule of `n_nodes` nodes in ln(h + 0.12) leaves an algebraic Phi: no table, and
    derivatives in x and in every parameter are those of the sum itself. Nodes are found once, not per point.

    Largest relative errors with 10 nodes, for r/r_s from 0.001 to 10 and from 10 to 30:

        q     Phi     force   density   Phi     force   density
        0.2   8e-7    6e-5    3e-4      2e-5    9e-5    4e-2
        0.3   7e-8    6e-6    3e-5      7e-6    6e-5    1e-2
        0.5   9e-10   8e-8    4e-7      3e-6    3e-5    2e-3
        0.7   2e-11   2e-9    5e-9      1e-6    1e-5    4e-4
        1.0   1e-13   9e-13   2e-11     3e-7    3e-6    6e-5
        1.4   3e-10   8e-9    4e-8      5e-8    7e-7    2e-5
        2.0   3e-8    7e-7    3e-6      2e-8    2e-7    4e-6
        3.0   8e-7    3e-5    8e-5      5e-7    6e-6    8e-5

    Beyond, raise `n_nodes`.

    >>> halo, round_halo = FlattenedNFW(rho_s=1e7, r_s=16.0, q=0.7), FlattenedNFW(rho_s=1e7, r_s=16.0, q=1.0)
    >>> bool(halo.Phi_Rz(0.0, 8.0) > round_halo.Phi_Rz(0.0, 8.0))
    True
    """

    rho_s: Scalar = param(constraints.positive, "Msun/kpc^3", "density scale")
    r_s: Scalar = param(constraints.positive, "kpc", "scale radius in the plane")
    q: Scalar = param(constraints.positive, "", "axis ratio of the density, z to R")
    n_nodes: int = eqx.field(static=True, default=10)

    def Phi_of_squares(self, R2, z2):
        scale = 4.0 * jnp.pi * G * self.rho_s * self.r_s**2
        unit = 1.0 / (self.r_s * self.r_s)
        return -scale * _integral(self.n_nodes)(soften(R2) * unit, z2 * unit, self.q)


@functools.cache
def _rule(n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes h in (0, 1) and weights over h."""
    u, weight = np.polynomial.legendre.leggauss(n_nodes)
    u, weight = 0.5 * (1.0 + u), 0.5 * weight
    h = np.expm1(CROWDING * u) / np.expm1(CROWDING)
    return h, weight * CROWDING * np.exp(CROWDING * u) / np.expm1(CROWDING) / h


class _Homoeoids(NamedTuple):
    """Coefficients of the sum over nodes, q int = sum_i c_i / (1 + sqrt(a_i R^2 + b_i z^2)), shape (n,)."""

    a: Array
    b: Array
    c: Array


def _coefficients(n_nodes: int, q) -> _Homoeoids:
    h, weight = (jnp.asarray(array, dtype=jnp.result_type(q)) for array in _rule(n_nodes))
    flat = (1.0 - q) / (1.0 + q)
    stretch = 2.0 / (1.0 + q)
    t = stretch * h / (1.0 + flat * h**2)
    slant = stretch * h / (1.0 - flat * h**2)
    return _Homoeoids(t * t, slant * slant, q * t * weight)


@functools.cache
def _integral(n_nodes: int) -> Callable:
    """q times the integral as a function of (R/r_s)^2, (z/r_s)^2 and q."""
    return _sum_of_profiles(0, lambda q: _coefficients(n_nodes, q).c, n_nodes)


def _profile(order: int, S):
    """Derivatives of g(S) = 1/(1 + sqrt(S))."""
    m = jnp.sqrt(S)
    if order == 0:
        return 1.0 / (1.0 + m)
    inverse = 1.0 / (m * (1.0 + m))
    if order == 1:
        return -0.5 * m * inverse * inverse
    if order == 2:
        return (0.25 + 0.75 * m) * inverse**3
    if order == 3:
        return -(0.375 + m * (1.5 + 1.875 * m)) * inverse**4 / m
    return jax.grad(lambda S: _profile(order - 1, S))(S)


def _sum_of_profiles(order: int, weights: Callable, n_nodes: int) -> Callable:
    """sum_i w_i(q) g^(order)(a_i R2 + b_i z2) as a function of (R2, z2, q), and so are its partials.

    Each derivative is another such sum, so that none is longer than the first.
    """

    def at(R2, z2, q):
        a, b, _ = _coefficients(n_nodes, q)

        def add(total, row):
            w, a, b = row
            return total + w * _profile(order, a * R2 + b * z2), None

        zero = jnp.zeros(jnp.shape(R2), dtype=jnp.result_type(R2, z2, q))
        # Unrolled: XLA fuses all nodes into one vectorised loop over points.
        return lax.scan(add, zero, (weights(q), a, b), unroll=n_nodes)[0]

    def next_order(factor):
        return _sum_of_profiles(order + 1, lambda q: weights(q) * factor(q), n_nodes)

    def slope(f):
        return lambda q: jax.jvp(f, (q,), (jnp.ones_like(q),))[1]

    def a(q):
        return _coefficients(n_nodes, q).a

    def b(q):
        return _coefficients(n_nodes, q).b

    def by_R2(R2, z2, q):
        return next_order(a)(R2, z2, q)

    def by_z2(R2, z2, q):
        return next_order(b)(R2, z2, q)

    def by_q(R2, z2, q):
        stretched = R2 * next_order(slope(a))(R2, z2, q) + z2 * next_order(slope(b))(R2, z2, q)
        return _sum_of_profiles(order, slope(weights), n_nodes)(R2, z2, q) + stretched

    return by_partials(at, known=(by_R2, by_z2, by_q))
