"""Actions, angles and frequencies by tori: the torus of a library that passes through a point."""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions, require_float64
from oortax.dynamics.staeckel import StaeckelFudge
from oortax.dynamics.torus.library import TorusLibrary, at_actions, node_weights, refit_library
from oortax.dynamics.torus.torus import Torus
from oortax.numerics.nodes import mean_of_rows
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result
from oortax.types import Actions, Angles, Scalar, Vec3

# No step makes J_r or J_z smaller than this share of itself.
_ROOM = 0.1
# Width of the zone, in shares of the library's range of q, over which the fudge takes over.
_BLEND = 0.02


class _Passing(NamedTuple):
    """The torus through a point, as it was found."""

    J: Actions
    theta: Angles
    torus: Torus
    moved: Scalar
    share: Scalar


@final
class TorusFinder(AbstractActionFinder):
    potential: AbstractPotential
    library: TorusLibrary
    fudge: StaeckelFudge
    table: Float[Array, "tori numbers"]
    steps: int = eqx.field(static=True)

    def __init__(self, potential, library: TorusLibrary, *, steps: int = 2, refit: int = 0):
        self.potential = expand(potential)
        self.library = refit_library(self.potential, library, steps=refit) if refit else library
        self.fudge = StaeckelFudge(self.potential)
        self.table = _packed(self.library.tori)
        self.steps = steps

    def actions_and_code(self, x: Vec3, v: Vec3) -> StarActions:
        """Actions with the torus's residual and a `Result` code."""
        require_float64("TorusFinder", x, v)
        by_fudge = self.fudge.actions_and_code(x, v)
        found = self._passing(x, v, by_fudge.J)
        return StarActions(*self._joined(by_fudge, found, (by_fudge.J,), (found.J,)))

    def actions_angles_frequencies(self, x: Vec3, v: Vec3) -> ActionAngles:
        """The same with angles and frequencies."""
        require_float64("TorusFinder", x, v)
        by_fudge = self.fudge.actions_angles_frequencies(x, v)
        found = self._passing(x, v, by_fudge.J)
        turn = (found.theta - by_fudge.theta + jnp.pi) % (2.0 * jnp.pi) - jnp.pi
        J, theta, Omega, residual, code = self._joined(
            by_fudge,
            found,
            (by_fudge.J, by_fudge.theta, by_fudge.Omega),
            (found.J, by_fudge.theta + turn, found.torus.Omega),
        )
        return ActionAngles(J, theta % (2.0 * jnp.pi), Omega, residual, code)

    def torus_share(self, x: Vec3, v: Vec3) -> Scalar:
        """The weight of the torus in the result: 1 in the library, 0 where the fudge serves instead."""
        return self._passing(x, v, self.fudge.actions(x, v)).share

    def _joined(self, by_fudge, found: _Passing, one, other):
        """Of the fudge's numbers and the torus's: with residual and code."""
        share = found.share
        mean = jax.tree.map(lambda a, b: jnp.where(share > 0.0, a + share * (b - a), a), one, other)
        known = by_fudge.code == Result.OK
        accurate = (share == 1.0) & (found.torus.residual <= self.library.tol)
        residual = jnp.where(share > 0.0, found.torus.residual, jnp.inf)
        code = jnp.where(known, jnp.where(accurate, Result.OK, Result.INACCURATE), by_fudge.code)
        return *mean, residual, code

    def _passing(self, x: Vec3, v: Vec3, J: Actions) -> _Passing:
        """From the fudge's actions, by steps of which each squares the error."""
        share = self._share(J)
        J = jnp.where(share > 0.0, lax.stop_gradient(J), self._somewhere())
        J = jnp.concatenate([J[:2], jnp.where(share > 0.0, x[0] * v[1] - x[1] * v[0], J[2])[None]])
        for _ in range(self.steps):
            last = J
            torus = self._torus(last)
            theta, J = torus.angles_actions(x, v)
            J = jnp.concatenate([jnp.maximum(J[:2], _ROOM * last[:2]), J[2:]])
        moved = jnp.max(jnp.abs(J - last)[:2]) / (J[0] + J[1])
        good = jnp.all(jnp.isfinite(J)) & jnp.isfinite(torus.residual)
        return _Passing(J, theta, torus, moved, jnp.where(good, share, 0.0))

    def _torus(self, J: Actions) -> Torus:
        _, cell, at = self.library.place(J)
        row = mean_of_rows(self.table, self.library.nodes, cell, node_weights(at))
        torus = at_actions(_unpacked(row, self.library.tori), J)
        return eqx.tree_at(lambda t: t.residual, torus, self.library.residual[cell])

    def _share(self, J: Actions) -> Scalar:
        """1 well inside the library, 0 outside; smooth."""
        lower, upper = self.library.lower[0], self.library.upper[0]
        q, _, _ = self.library.place(jnp.where(jnp.isfinite(J), J, 1.0))
        width = _BLEND * (upper - lower)
        # No torus lies beyond circular and planar orbits.
        above = jnp.where(lower > jnp.array([-jnp.inf, 1e-6, 1e-6]), (q - lower) / width, 1.0)
        below = jnp.where(upper < jnp.array([jnp.inf, 1.0, 1.0]), (upper - q) / width, 1.0)
        t = jnp.clip(jnp.stack([above, below]), 0.0, 1.0)
        share = jnp.prod(t * t * (3.0 - 2.0 * t))
        return jnp.where(jnp.all(jnp.isfinite(J)), share, 0.0)

    def _somewhere(self) -> Actions:
        """Actions in the library, for what is computed and not used."""
        q = 0.5 * (self.library.lower[0] + self.library.upper[0])
        s, r, z = jnp.exp(q[0]), q[1] ** 2, q[2] ** 2
        L = s * (1.0 - r)
        return jnp.stack([s * r, L * z, L * (1.0 - z)])


def _packed(tori: Torus) -> Float[Array, "tori numbers"]:
    """All numbers of each torus in a row."""
    leaves = [jnp.asarray(leaf, float) for leaf in jax.tree.leaves(_numbers(tori))]
    return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def _unpacked(row: Float[Array, " numbers"], tori: Torus) -> Torus:
    """A torus from a row, made as those that were packed."""
    leaves, tree = jax.tree.flatten(_numbers(tori))
    sizes = [int(np.prod(leaf.shape[1:])) for leaf in leaves]
    parts = jnp.split(row, np.cumsum(sizes)[:-1])
    parts = [
        (part > 0.5 if leaf.dtype == bool else part).reshape(leaf.shape[1:])
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, parts)


def _numbers(tori: Torus) -> Torus:
    """Without codes, which are not interpolated."""
    return eqx.tree_at(lambda t: t.code, tori, jnp.zeros(tori.code.shape))
