"""Integrals over action space, along rays from the origin: masses that have no closed form."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.types import Actions, Scalar

_SINH_RANGE = 6.5
_N_RADIAL = 161
_N_ANGLE = 12
# The coarser rule over directions from which the error is judged.
_FEWER = 4
# Actions beyond which a log_f of actions is not asked for: no bound orbit has them.
_LARGEST = 1e12


class RadialRule(NamedTuple):
    """Nodes in ln y along a ray, and weights of an integral over ln y; the number of nodes is odd."""

    log_y: Float[Array, " n"]
    weights: Float[Array, " n"]


def power_tails(dtype, n: int = _N_RADIAL) -> RadialRule:
    """For powers of y on either side of y = 1: the trapezoidal rule in t, ln y = sinh t.

    Exponential tails in ln y become doubly exponential in t, so that the rule converges geometrically even
    for slopes close to the limit 3. y reaches exp(+-330).
    """
    t, step = jnp.linspace(-_SINH_RANGE, _SINH_RANGE, n, dtype=dtype, retstep=True)
    return RadialRule(jnp.sinh(t), step * jnp.cosh(t))


def cut_off(log_cut: Scalar, strength: Scalar, n: int = _N_RADIAL) -> RadialRule:
    """For a break at y = 1 and a factor exp(-(y/y_cut)^strength): ln y = ln y_low + t - exp(-t).

    A power below the lower one of the two becomes doubly exponential in t; beyond it nodes are evenly spaced
    in ln y, up to where the factor is exp(-700).
    """
    log_low = -jnp.logaddexp(0.0, -log_cut)
    last = log_cut - log_low + math.log(700.0) / strength
    t, step = jnp.linspace(jnp.full_like(last, -math.log(330.0)), last, n, retstep=True)
    return RadialRule(log_low + t - jnp.exp(-t), step * (1.0 + jnp.exp(-t)))


class ActionIntegral(NamedTuple):
    """An integral over action space, and how much it differs from that of coarser rules."""

    value: Scalar
    error: Scalar


def action_integral(
    log_f: Callable[[Actions], Scalar],
    scale: Actions | Scalar | float,
    *,
    n_radial: int = _N_RADIAL,
    n_angle: int = _N_ANGLE,
) -> ActionIntegral:
    r"""(2 pi)^3 times the integral of f over J_r, J_z >= 0 and J_phi of both signs: the mass of f.

    With J = y (s_r u_r, s_z u_z, +-s_phi u_phi), u on the triangle u_r + u_z + u_phi = 1,

        (2 pi)^3 s_r s_z s_phi int d^2u int d(ln y) y^3 [f(J) + f(J mirrored)],

    by a product Gauss rule over the triangle and the trapezoidal rule in t, ln y = sinh t.

    Parameters
    ----------
    log_f : function of J (3,); -inf is allowed. It need not be smooth at J_phi = 0
    scale : shape () or (3,), kpc km/s
        Where f bends: about the action of a break or a cut-off. For three scales, how far f reaches along
        each action; the triangle is then stretched.
    n_radial, n_angle : nodes along a ray (odd), and per axis of the triangle

    Returns
    -------
    value, and an error: the changes when every second radial node, or a third of the angular ones, is left
    out. The rules converge geometrically, so that the error of the value is usually far smaller.

    Accuracy: 1e-6 for spheroids whose weights of the actions lie within a factor of 5, whose slopes are 0.1
    or more from their limit 3, and of which nothing lies beyond 1e12 kpc km/s. Cold discs, whose J_r and
    J_z lie in a layer that changes with J_phi, are not resolved: see `error`. Differentiable.

    >>> from oortax import df
    >>> halo = df.DB96Halo(a=1.2, b=1.1, gamma=1.0, beta=6.0, A_0=500.0)
    >>> mass, error = action_integral(halo.log_f, 500.0)
    >>> print(f"{mass:.6f}, {error < 1e-4}")
    1.000000, True
    """
    scale = jnp.broadcast_to(jnp.asarray(scale, jnp.result_type(float, scale)), (3,))
    log_largest = jnp.log(_LARGEST / jnp.max(scale))
    mirror = jnp.array([1.0, 1.0, -1.0], scale.dtype)

    def both_senses(u, log_y):
        inside = log_y < log_largest
        J = jnp.exp(jnp.where(inside, log_y, 0.0)) * scale * u
        both = jnp.logaddexp(log_f(J), log_f(J * mirror))
        return jnp.where(inside, both, -jnp.inf)

    integral = ray_integral(both_senses, power_tails(scale.dtype, n_radial), n_angle=n_angle)
    factor = (2.0 * jnp.pi) ** 3 * jnp.prod(scale)
    return ActionIntegral(factor * integral.value, factor * integral.error)


def ray_integral(
    log_f: Callable[[Float[Array, "3"], Scalar], Scalar], rule: RadialRule, *, n_angle: int = _N_ANGLE
) -> ActionIntegral:
    """The integral of exp(log_f(u, ln y)) y^3 over ln y and the triangle u_r + u_z + u_phi = 1.

    For an f that is known along rays in ln y, and so to any distance.
    """
    log_y, jacobian = rule
    if len(log_y) % 2 == 0 or len(log_y) < 5 or n_angle <= _FEWER:
        raise ValueError(
            f"n_radial = {len(log_y)}, n_angle = {n_angle}: the rule needs an odd number of radial nodes, at "
            f"least 5, and more than {_FEWER} angular ones"
        )

    def along_ray(u):
        log_values = jax.vmap(lambda log_y: log_f(u, log_y))(log_y) + 3.0 * log_y
        # f vanishes at the ends of the range; where it is -inf a derivative must not be NaN. NaN stays.
        some = log_values != -jnp.inf
        values = jnp.where(some, jnp.exp(jnp.where(some, log_values, 0.0)), 0.0) * jacobian
        return jnp.stack([jnp.sum(values), 2.0 * jnp.sum(values[::2])])

    def over_directions(n):
        u, weights = _triangle(n)
        fine, coarse = jnp.asarray(weights, log_y.dtype) @ jax.vmap(along_ray)(jnp.asarray(u, log_y.dtype))
        return fine, coarse

    value, fewer_radii = over_directions(n_angle)
    fewer_directions, _ = over_directions(n_angle - _FEWER)
    return ActionIntegral(value, jnp.abs(value - fewer_radii) + jnp.abs(value - fewer_directions))


def _triangle(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes u (n^2, 3), u_r + u_z + u_phi = 1, and weights in (u_r, u_z) of a product Gauss rule."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    nodes, weights = 0.5 * (nodes + 1.0), 0.5 * weights
    s, t = np.meshgrid(nodes, nodes, indexing="ij")
    u = np.stack([s * t, s * (1.0 - t), 1.0 - s], axis=-1).reshape(-1, 3)
    return u, (s * np.outer(weights, weights)).ravel()
