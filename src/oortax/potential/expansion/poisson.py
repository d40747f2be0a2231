"""Poisson's equation, mode by mode."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.constants import G
from oortax.numerics.bspline import interpolation_matrix
from oortax.potential.expansion.grid import Grid
from oortax.potential.expansion.modes import modes
from oortax.types import Scalar


class Expansion(NamedTuple):
    """The potential's spline coefficients and what continues it inside and outside the grid."""

    table: Float[Array, "m n"]
    inner_slope: Scalar  # dPhi/dln r at r_min
    inner_power: Scalar  # Phi - Phi(0) goes as this power of r within
    outer_slope: Scalar  # d(r Phi)/dln r at r_max, over r_max


class _Radial(NamedTuple):
    """Quadrature in ln r: Q nodes in each of n_r - 1 panels, and weights that know the kernel of a mode."""

    log_r: np.ndarray  # (n_r,)
    nodes: np.ndarray  # (n_r - 1, Q) in ln r
    up: np.ndarray  # (K, Q): int over a panel of exp[(l + 1)(xi' - end)] S, and
    down: np.ndarray  # (K, Q): of exp[-l (xi' - start)] S
    fade_in: np.ndarray  # (K,): exp[-(l + 1) h], exp[-l h]
    fade_out: np.ndarray


@functools.cache
def _radial(grid: Grid) -> _Radial:
    l, n_q = modes(grid).l, grid.degree - 1
    log_r = np.linspace(np.log(grid.r_min), np.log(grid.r_max), grid.n_r)
    h = log_r[1] - log_r[0]
    u = 0.5 * (np.polynomial.legendre.leggauss(n_q)[0] + 1.0)
    to_powers = np.linalg.inv(np.vander(u, n_q, increasing=True))

    def weights(rate, from_end):
        # Moments of exp(-rate s), s from the end where it is 1; nothing is left beyond rate s = 40.
        x, w = np.polynomial.legendre.leggauss(64)
        reach = np.minimum(1.0, 40.0 / np.maximum(rate, 1e-9))[:, None]
        s = 0.5 * (x + 1.0) * reach
        kernel = np.exp(-rate[:, None] * s) * 0.5 * w * reach
        place = 1.0 - s if from_end else s
        moments = np.stack([np.sum(kernel * place**k, axis=1) for k in range(n_q)], axis=1)
        return h * moments @ to_powers

    up, down = weights((l + 1.0) * h, True), weights(l * h, False)
    return _Radial(log_r, log_r[:-1, None] + h * u, up, down, np.exp(-(l + 1.0) * h), np.exp(-l * h))


def solve(rho: Callable[[Scalar, Scalar], Scalar], grid: Grid) -> Expansion:
    """The potential of the density rho(R, z), with Phi = 0 at infinity.

    With S_k the part of r^2 rho in the angular mode k of order l,

        Phi_k(r) = -4 pi G/(2 l + 1) [int_0^r (r'/r)^(l+1) S_k dln r' + int_r^inf (r/r')^l S_k dln r']

    (BT08 eq. 2.95). Within a panel of the radial grid S_k is a polynomial and the kernel is integrated
    exactly, so that modes of any order are right. Inside r_min and outside r_max the density goes on as the
    power law of its monopole. Differentiable in whatever rho depends on.
    """
    angular, radial = modes(grid), _radial(grid)
    r = jnp.exp(jnp.asarray(radial.nodes))
    on_nodes = jax.vmap(jax.vmap(jax.vmap(rho, in_axes=(0, 0)), in_axes=(0, 0)), in_axes=(0, 0))
    density = on_nodes(r[..., None] * angular.cosine, r[..., None] * angular.mu)
    S = (density * (r * r)[..., None]) @ jnp.asarray(angular.project)
    up = jnp.einsum("iqk,kq->ik", S, jnp.asarray(radial.up))
    down = jnp.einsum("iqk,kq->ik", S, jnp.asarray(radial.down))
    l = jnp.asarray(angular.l)
    inner = _power(S[0, 0, 0], S[0, -1, 0], radial.nodes[0], 2.0)
    outer = _power(S[-1, 0, 0], S[-1, -1, 0], radial.nodes[-1], -8.0)
    start = S[0, 0] * jnp.exp(inner * float(radial.log_r[0] - radial.nodes[0, 0])) / (l + 1.0 + inner)
    end = S[-1, -1] * jnp.exp(outer * float(radial.log_r[-1] - radial.nodes[-1, -1])) / (l - outer)
    within = _running(start, up, jnp.asarray(radial.fade_in))
    without = _running(end, down[::-1], jnp.asarray(radial.fade_out))[::-1]
    modal = -4.0 * jnp.pi * G / (2.0 * l + 1.0) * (within + without)
    splines = jnp.asarray(interpolation_matrix(grid.n_r, grid.degree)) @ modal
    return Expansion(
        splines @ jnp.asarray(angular.coefficients),
        4.0 * jnp.pi * G * within[0, 0],
        inner,
        -4.0 * jnp.pi * G * without[-1, 0],
    )


def _power(first, last, nodes, empty: float):
    """The power of r that the monopole of r^2 rho follows between two nodes; `empty` where there is none."""
    known = (first > 0.0) & (last > 0.0)
    # Not the logarithm of the ratio: its derivative divides by the square of what may be as small as 1e-300.
    log_ratio = jnp.log(jnp.where(known, last, 1.0)) - jnp.log(jnp.where(known, first, 1.0))
    return jnp.where(known, log_ratio / float(nodes[-1] - nodes[0]), empty)


def _running(start, steps, fade):
    """Sums total_i+1 = fade total_i + step_i, with total_0 = start."""

    def step(total, add):
        total = fade * total + add
        return total, total

    return jnp.concatenate([start[None], jax.lax.scan(step, start, steps)[1]])
