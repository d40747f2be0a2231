"""A torus's numbers in units of its actions: what is interpolated between tori varies slowly then."""

import equinox as eqx
import jax
import jax.numpy as jnp

from oortax.dynamics.torus.torus import Torus
from oortax.types import Actions, Scalar


def size(J: Actions) -> Scalar:
    """s = J_r + J_z + |J_phi|, kpc km/s."""
    return J[0] + J[1] + jnp.abs(J[2])


def in_own_units(torus: Torus) -> Torus:
    """S_n/s, s Omega, and the transformation's barriers and Delta^2 over s and s^2.

    Where v_c is constant tori of the same shape differ in these not at all, however large they are.
    """
    return _times(torus, 1.0 / size(torus.J))


def in_units(torus: Torus, s: Scalar) -> Torus:
    """Back to kpc and km/s, with the s of the actions that are asked for."""
    return _times(torus, s)


in_their_own_units = jax.vmap(in_own_units)


def _times(torus: Torus, s: Scalar) -> Torus:
    def lengths(t: Torus):
        of = t.transformation
        return t.S, of.barrier, of.soft2, of.Delta2, t.Omega

    S, barrier, soft2, Delta2, Omega = lengths(torus)
    return eqx.tree_at(lengths, torus, (S * s, barrier * s, soft2 * s, Delta2 * s * s, Omega / s))
