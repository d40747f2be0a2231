"""Nodes of a library at which no torus was found: the smoothest values that those around them leave.

Where many orbits are resonant a few of a cell's 64 fits fail, by chance more than by place, and without them
the cell would have no tori at all. A cell's values are cubic along each axis; at the failed nodes they are
those with the least integral of squared second derivatives along all lines through the nodes. What such a
cell is worth is measured as for any other: H on the tori between its nodes.
"""

import equinox as eqx
import jax
import numpy as np

from oortax.dynamics.torus.scaled import in_their_own_units, in_units, size
from oortax.dynamics.torus.torus import Torus
from oortax.results import Result

NODES = -np.cos(np.arange(4) * np.pi / 3.0)
"""Nodes of a cell along an axis."""

# Of a cell's 64 nodes so many must have tori.
_LEAST = 40


def mend(tori: Torus, nodes: np.ndarray) -> Torus:
    """Tori in which failed ones have the values that the cells with them, `nodes` (cells, 64), leave.

    From the host. Failed nodes of cells with more than 24 of them stay as they are; of two cells that share
    one the first has its way. Their code becomes OK, their residual is infinite.
    """
    good = np.asarray(tori.code) == Result.OK
    if good[np.asarray(nodes)].all():
        return tori
    leaves, tree = jax.tree.flatten(in_their_own_units(tori))
    leaves = [np.array(leaf) for leaf in leaves]
    smooth = [leaf for leaf in leaves if np.issubdtype(leaf.dtype, np.floating)]
    mended = np.zeros(len(good), bool)
    for cell in np.asarray(nodes):
        found = good[cell]
        wanted = ~found & ~mended[cell]
        if not wanted.any() or found.sum() < _LEAST:
            continue
        weights = _weights(found)[np.isin(np.flatnonzero(~found), np.flatnonzero(wanted))]
        for leaf in smooth:
            leaf[cell[wanted]] = np.tensordot(weights, leaf[cell[found]], 1)
        for leaf in leaves:
            if not np.issubdtype(leaf.dtype, np.floating):
                leaf[cell[wanted]] = leaf[cell[np.flatnonzero(found)[0]]]
        mended[cell[wanted]] = True
    J, residual = np.asarray(tori.J), np.asarray(tori.residual)
    scaled: Torus = jax.tree.unflatten(tree, leaves)
    filled = jax.vmap(lambda torus, J: in_units(torus, size(J)))(scaled, J)
    filled = eqx.tree_at(lambda t: (t.J, t.residual), filled, (J, np.where(mended, np.inf, residual)))
    # Those that were there stay as they are, to the last digit.
    return jax.tree.map(lambda old, new: np.where(_along(mended, new), new, old), tori, filled)


def _along(flags: np.ndarray, leaf) -> np.ndarray:
    return flags.reshape(-1, *[1] * (np.ndim(leaf) - 1))


def _weights(found: np.ndarray) -> np.ndarray:
    """Weights of the nodes that are known for those that are not, (64 - k, k)."""
    rough = _ROUGHNESS[np.ix_(~found, ~found)]
    # A little of the smallest values keeps what no curvature fixes.
    rough = rough + 1e-9 * np.trace(_ROUGHNESS) / 64.0 * np.eye(len(rough))
    return -np.linalg.solve(rough, _ROUGHNESS[np.ix_(~found, found)])


def _roughness() -> np.ndarray:
    """f.K.f: the integral of f''^2 along every line of a cell's nodes, in the order of their indices."""
    powers = np.linalg.inv(np.vander(NODES, increasing=True))
    second = np.stack([2.0 * powers[2] - 6.0 * powers[3], 2.0 * powers[2] + 6.0 * powers[3]])
    # Linear functions of x: the integral of their products by their ends.
    low, high = second
    line = (np.outer(low, low) + np.outer(high, high)) * (2.0 / 3.0)
    line = line + (np.outer(low, high) + np.outer(high, low)) / 3.0
    one = np.eye(4)
    along = (line, one, one), (one, line, one), (one, one, line)
    return np.sum([np.kron(np.kron(a, b), c) for a, b, c in along], axis=0)


_ROUGHNESS = _roughness()
