"""A library of tori: fitted at the nodes of an adaptive grid in action space, interpolated in between.

Coordinates are q = (ln s, sqrt(J_r/s), sqrt(J_z/(J_z + |J_phi|))) with s = J_r + J_z + |J_phi|: what
describes a torus, in units of its actions, is smooth in them down to circular and planar orbits, and hardly
depends on s. A cell holds 4^3 Chebyshev-Lobatto nodes, which it shares with its neighbours, and is bisected
where its polynomials fail.
"""

from functools import partial
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from oortax.dynamics.torus.fit import LEAST
from oortax.dynamics.torus.mended import NODES, mend
from oortax.dynamics.torus.scaled import in_their_own_units, in_units, size
from oortax.dynamics.torus.tori import CHUNK, fit_tori, refit_tori
from oortax.dynamics.torus.torus import Torus, residual
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result
from oortax.types import Actions

# Powers of the place in a cell -> Lagrange's polynomials.
_LAGRANGE = np.linalg.inv(np.vander(NODES, increasing=True)).round(12)
_NAMES = ("total", "radial", "vertical")
_DEPTH = 24
# Of a cell's width: so far from its edge are actions that are moved into it.
_INSIDE = 0.01
# With stars: so many cells are cut at a time, and none that holds less than this share of the stars. An error
# counts for no more than _WORST, which is that of a cell where some nodes have no torus, times the share of
# those that have: where all orbits are resonant or chaotic nothing is gained by cutting, and regular cells
# around would wait for it.
_AT_ONCE, _FEWEST, _WORST = 8, 5e-4, 0.01


def to_grid(J: Actions) -> Float[Array, "3"]:
    """q of actions; what the sign of J_phi is does not matter."""
    L = J[1] + jnp.abs(J[2])
    s = J[0] + L
    # The derivative of a root at 0 is infinite: that of actions there is taken at a share of 1e-14.
    shares = jnp.stack([J[0] / s, J[1] / L])
    return jnp.concatenate([jnp.log(s)[None], jnp.sqrt(jnp.maximum(shares, 1e-14))])


def from_grid(q: np.ndarray) -> np.ndarray:
    """Actions of q, (n, 3), J_phi >= 0."""
    s, radial, vertical = np.exp(q[:, 0]), q[:, 1] ** 2, q[:, 2] ** 2
    L = s * (1.0 - radial)
    return np.stack([s * radial, L * vertical, L * (1.0 - vertical)], axis=1)


@final
class TorusLibrary(eqx.Module):
    """Tori of all actions in a range (build with `fit_library`); call it with actions.

    Attributes
    ----------
    lower, upper : the corners of each cell in q; parts of other cells, too
    axis, cut, child : the tree: along which coordinate and where a cell is cut, and its two parts (-1: it is
        a leaf)
    nodes : (cells, 64), which tori are a cell's nodes (those of a leaf)
    residual : of interpolated tori: the least of the largest ones along each axis of a leaf, and what the
        others have more; infinite where not all nodes were found, or are of two families
    closest : the cell itself, or, if it is a leaf without tori, the leaf with tori that is closest
    tol, damping : what was asked for
    tori : the nodes' tori
    """

    lower: Float[Array, "cells 3"]
    upper: Float[Array, "cells 3"]
    axis: Int[Array, " cells"]
    cut: Float[Array, " cells"]
    child: Int[Array, "cells 2"]
    nodes: Int[Array, "cells nodes"]
    residual: Float[Array, " cells"]
    closest: Int[Array, " cells"]
    tol: Float[Array, ""]
    damping: Float[Array, ""]
    tori: Torus

    def __call__(self, J: Actions) -> Torus:
        """The torus of actions J: traceable, vmappable, and differentiable in J.

        Its `residual` is the one measured for its cell, its code INACCURATE where that is above `tol`.
        OUTSIDE beyond the library's range, NOT_CONVERGED where nodes are missing or belong to two families,
        NONFINITE for NaN: then numbers are NaN.
        """
        q, cell, x = self.place(J)
        torus = _interpolated(self.tori, self.nodes[cell], x, J)
        slack = 1e-9 * (self.upper[0] - self.lower[0])
        inside = jnp.all((q >= self.lower[0] - slack) & (q <= self.upper[0] + slack)) & jnp.all(J[:2] >= 0.0)
        return self.coded(torus, cell, inside)

    def coded(self, torus: Torus, cell, inside) -> Torus:
        """An interpolated torus with its residual and code, and NaN for numbers where there is none."""
        error, J = self.residual[cell], torus.J
        code = jnp.where(error <= self.tol, Result.OK, Result.INACCURATE)
        code = jnp.where(jnp.isfinite(error), code, Result.NOT_CONVERGED)
        code = jnp.where(inside, code, Result.OUTSIDE)
        code = jnp.where(jnp.all(jnp.isfinite(J)), code, Result.NONFINITE)
        good = (code == Result.OK) | (code == Result.INACCURATE)
        numbers = (torus.E, torus.Omega, torus.S, torus.dS_dJ)
        numbers = jax.tree.map(lambda a: jnp.where(good, a, jnp.nan), numbers)
        return eqx.tree_at(
            lambda t: (t.E, t.Omega, t.S, t.dS_dJ, t.residual, t.code), torus, (*numbers, error, code)
        )

    def place(self, J: Actions):
        """q of actions, the cell they lie in, and the place there, in [-1, 1]^3."""
        q = to_grid(J)
        cell = self._cell(lax.stop_gradient(q))
        return q, cell, 2.0 * (q - self.lower[cell]) / (self.upper[cell] - self.lower[cell]) - 1.0

    def towards_tori(self, J: Actions) -> Actions:
        """Actions of the same J_phi in the closest cell with tori; J itself if its own cell has some."""
        q, cell, _ = self.place(J)
        other = self.closest[cell]
        lower, upper = self.lower[other, 1:], self.upper[other, 1:]
        inside = _INSIDE * (upper - lower)
        r, z = jnp.clip(q[1:], lower + inside, upper - inside) ** 2
        J_z = z / (1.0 - z) * jnp.abs(J[2])
        return jnp.where(other == cell, J, jnp.stack([r / (1.0 - r) * (J_z + jnp.abs(J[2])), J_z, J[2]]))

    def leaves(self) -> Bool[Array, " cells"]:
        """Which cells are not cut."""
        return self.child[:, 0] < 0

    def _cell(self, q) -> Int[Array, ""]:
        def down(_, cell):
            below = self.child[cell, jnp.where(q[self.axis[cell]] > self.cut[cell], 1, 0)]
            return jnp.where(below < 0, cell, below)

        return lax.fori_loop(0, _DEPTH, down, jnp.asarray(0))


def _interpolated(tori: Torus, nodes, x, J) -> Torus:
    """The torus at x in [-1, 1]^3 of a cell."""
    weight = node_weights(x)

    def mean(leaf):
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.tensordot(weight, leaf, 1) if floating else leaf[0]

    at_nodes = in_their_own_units(jax.tree.map(lambda leaf: leaf[nodes], tori))
    return at_actions(in_units(jax.tree.map(mean, at_nodes), size(J)), J)


def node_weights(x: Float[Array, "3"]) -> Float[Array, " nodes"]:
    """Weights of a cell's nodes at x in [-1, 1]^3, Lagrange's along each axis."""
    share = jnp.stack([jnp.ones_like(x), x, x * x, x * x * x], axis=1) @ jnp.asarray(_LAGRANGE)
    return (share[0][:, None, None] * share[1][:, None] * share[2]).ravel()


def at_actions(torus: Torus, J: Actions) -> Torus:
    """A mean of nodes' tori as the torus of actions J, whose J_phi may be negative."""
    torus = _mirrored(torus, jnp.where(J[2] < 0.0, -1.0, 1.0))
    return eqx.tree_at(lambda t: (t.J, t.angles.J), torus, (J, J))


def _mirrored(torus: Torus, sign) -> Torus:
    """A torus of J_phi >= 0, or that of -J_phi."""
    signs = jnp.stack([jnp.ones_like(sign), jnp.ones_like(sign), sign])

    def parts(t):
        return t.Omega, t.dS_dJ, t.angles.radial, t.angles.vertical

    Omega, dS_dJ, radial, vertical = parts(torus)
    turned = (Omega * signs, dS_dJ * signs, radial * signs[:, None], vertical * signs[:, None])
    return eqx.tree_at(parts, torus, turned)


def fit_library(
    potential: AbstractPotential,
    *,
    total: tuple[float, float] = (50.0, 2e4),
    radial: tuple[float, float] = (0.0, 0.8),
    vertical: tuple[float, float] = (0.0, 0.9),
    tol: float = 1e-3,
    n_modes: int = 22,
    max_tori: int = 20000,
    damping: float = LEAST,
    stars: Float[Array, "n 3"] | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> TorusLibrary:
    """Tori of all actions in a range, as a function of J that costs microseconds.

    Cells are bisected, along the coordinate in which they fail most, until interpolated tori have residuals
    (those of `fit_torus`, at angles and actions that no fit has seen) below tol, or twice those of most
    of the fitted tori around them, or until `max_tori` are fitted. What was reached is in
    `TorusLibrary.residual` and in each torus's code.

    Parameters
    ----------
    potential : an axisymmetric potential
    total : range of J_r + J_z + |J_phi|, kpc km/s
    radial : range of J_r over that sum
    vertical : range of J_z/(J_z + |J_phi|); orbits near 1 pass the axis and are hard
    tol : residual of interpolated tori to aim at
    n_modes : terms of each torus
    max_tori : no cell is cut that would need more
    damping : as for `fit_tori`; where many orbits are resonant 1e-5 with many terms and small cells, 1e-3
        with few, and compare `residual`. Above its default dS/dJ are smoothed more than S
    stars : (n, 3) actions of stars that the library is to serve; cells are then cut in the order of what
        their stars stand to gain, and not at all where there are hardly any: of a wide range, parts of which
        have no tori, all of `max_tori` may be needed elsewhere
    batch_size : as for `fit_tori`
    progress : show the number of tori

    Raises ValueError for empty or impossible ranges, for stars of another shape, and for what `fit_tori`
    refuses.

    >>> library = fit_library(pot, total=(1000.0, 3000.0))  # doctest: +SKIP
    >>> x, v = library(jnp.array([30.0, 10.0, 1800.0])).phase_point(theta)  # doctest: +SKIP
    """
    lower, upper = _range(total, radial, vertical)
    if not tol > 0.0 or not isinstance(max_tori, int) or max_tori < 64:
        raise ValueError(f"tol = {tol!r}, max_tori = {max_tori!r}: tol > 0 and at least 64 tori are needed")
    grid = _Grid(expand(potential), n_modes, batch_size, tol, damping, _places(stars))
    bar = Progress(
        SpinnerColumn(),
        TextColumn("library of tori: {task.completed} tori, {task.fields[cells]} cells"),
        TimeElapsedColumn(),
        disable=not progress,
    )
    with bar:
        task = bar.add_task("", total=None, cells=1)
        grid.add(lower[None], upper[None])
        while len(poor := grid.to_cut(max_tori)):
            grid.cut(poor)
            bar.update(task, completed=len(grid.q), cells=len(grid.lower))
    return grid.library()


def _places(stars: Any) -> np.ndarray | None:
    """q of stars, those that are not finite left out."""
    if stars is None:
        return None
    stars = jnp.asarray(stars)
    if stars.ndim != 2 or stars.shape[1] != 3:
        raise ValueError(f"stars have shape {stars.shape}: actions (n, 3) are needed")
    q = np.asarray(jax.vmap(to_grid)(stars))
    q = q[np.all(np.isfinite(q), axis=1)]
    if len(q) == 0:
        raise ValueError(
            "none of the stars has finite actions: leave stars out for a library of its whole range"
        )
    return q


def refit_library(potential: AbstractPotential, library: TorusLibrary, *, steps: int = 2) -> TorusLibrary:
    """The library in another potential, close by: its nodes by `refit_tori`, its errors measured anew.

    Traceable: the grid stays, a fixed number of Newton steps moves the tori.
    """
    potential = expand(potential)
    tori = refit_tori(potential, library.tori, steps=steps, damping=library.damping)
    errors = _errors(potential, tori, library.nodes, library.lower, library.upper)
    worst = jnp.where(library.leaves(), _whole(errors), jnp.inf)
    return eqx.tree_at(lambda l: (l.tori, l.residual), library, (tori, lax.stop_gradient(worst)))


def moved_library(
    potential: AbstractPotential, library: TorusLibrary, *, batch_size: int | None = None
) -> TorusLibrary:
    """The library in another potential, however far: its nodes fitted from scratch, its errors measured anew.

    The grid stays. From the host; `refit_library` is the traceable form for small steps, which loses tori on
    large ones.

    >>> library = moved_library(params.replace(pot, {"disc.b": 0.5}), library)  # doctest: +SKIP
    """
    potential, J = expand(potential), np.asarray(library.tori.J)
    tori = fit_tori(
        potential,
        jnp.asarray(np.resize(J, (-(-len(J) // CHUNK) * CHUNK, 3))),
        tol=1.0,
        n_modes=(library.tori.S.shape[1],),
        damping=float(library.damping),
        batch_size=batch_size,
        progress=False,
    )
    tori = mend(jax.tree.map(lambda leaf: leaf[: len(J)], tori), np.asarray(library.nodes[library.leaves()]))
    tori = jax.tree.map(jnp.asarray, tori)
    errors = _errors(potential, tori, library.nodes, library.lower, library.upper)
    worst = jnp.where(library.leaves(), _whole(errors), jnp.inf)
    closest = jnp.asarray(_closest(*map(np.asarray, (library.lower, library.upper, worst))))
    return eqx.tree_at(lambda l: (l.tori, l.residual, l.closest), library, (tori, worst, closest))


def _range(*ranges: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    for name, (low, high), most in zip(_NAMES, ranges, (np.inf, 1.0, 1.0), strict=True):
        least = 0.0 if name != "total" else 1e-3
        if not (least <= low < high <= most) or not np.isfinite(high) or (name == "radial" and high >= 1.0):
            raise ValueError(
                f"{name} = {(low, high)}: a rising pair is needed, of kpc km/s above 0 for total, of shares "
                "from 0 to 1 (radial below 1) for the others"
            )
    corners = np.array(ranges, dtype=float).T
    corners[:, 0] = np.log(corners[:, 0])
    corners[:, 1:] = np.sqrt(corners[:, 1:])
    return corners[0], corners[1]


# In each cell, tori between nodes along one axis and at nodes along the others: what is wrong there is
# due to that axis.
_PROBES = np.array([
    [np.roll([x, y, z], axis) for x in (-0.8, 0.0, 0.8) for y, z in ((-0.5, 0.5), (0.5, -0.5))]
    for axis in range(3)
])  # fmt: skip


@eqx.filter_jit
def _errors(potential, tori: Torus, nodes, lower, upper) -> Float[Array, "cells 3"]:
    """The largest residual of interpolated tori for each cell and axis; infinite where nodes are bad."""

    def of_cell(cell):
        nodes, low, high = cell

        def at(x):
            q = low + 0.5 * (x + 1.0) * (high - low)
            s, r, z = jnp.exp(q[0]), q[1] ** 2, q[2] ** 2
            L = s * (1.0 - r)
            J = jnp.stack([s * r, L * z, L * (1.0 - z)])
            return residual(potential, _interpolated(tori, nodes, x, J))

        found = jnp.max(jax.vmap(jax.vmap(at))(jnp.asarray(_PROBES)), axis=1)
        one_family = jnp.all(tori.transformation.box[nodes] == tori.transformation.box[nodes[0]])
        good = one_family & jnp.all(tori.code[nodes] == Result.OK)
        return jnp.where(good & jnp.isfinite(found), found, jnp.inf)

    return lax.map(of_cell, (nodes, lower, upper), batch_size=4)


def _whole(errors: Float[Array, "cells 3"]) -> Float[Array, " cells"]:
    """The error of each cell: the least along an axis, which the fits have anyway, and what others add."""
    whole = jnp.sum(errors, axis=1) - 2.0 * jnp.min(errors, axis=1)
    return jnp.where(jnp.all(jnp.isfinite(errors), axis=1), whole, jnp.inf)


def _closest(lower: np.ndarray, upper: np.ndarray, worst: np.ndarray) -> np.ndarray:
    """For each cell itself if it has tori, else the closest one that has; itself if none has."""
    cells = np.arange(len(worst))
    good = np.flatnonzero(np.isfinite(worst))
    if len(good) == 0:
        return cells
    size = upper[0] - lower[0]
    apart = np.maximum(lower[good] - upper[:, None], lower[:, None] - upper[good]) / size
    centres = (lower[good] + upper[good] - lower[:, None] - upper[:, None]) / size
    # Many touch: of these the one whose centre is closest.
    far = np.sum(np.maximum(apart, 0.0) ** 2 + 1e-3 * centres**2, axis=2)
    return np.where(np.isfinite(worst), cells, good[np.argmin(far, axis=1)])


class _Grid:
    """The grid while it grows, on the host."""

    def __init__(
        self,
        potential,
        n_modes: int,
        batch_size: int | None,
        tol: float,
        damping: float,
        stars: np.ndarray | None = None,
    ):
        options = {"damping": damping, "batch_size": batch_size, "progress": False}
        self.fit = partial(fit_tori, potential, tol=1.0, n_modes=(n_modes,), **options)
        self.potential, self.tol, self.damping, self.stars = potential, tol, damping, stars
        self.places: dict[tuple, int] = {}
        self.q: list[np.ndarray] = []
        self.tori: Torus | None = None
        self.lower, self.upper = np.zeros((0, 3)), np.zeros((0, 3))
        self.nodes, self.errors = np.zeros((0, 64), int), np.zeros((0, 3))
        self.axis, self.where, self.child = np.zeros(0, int), np.zeros(0), np.zeros((0, 2), int)

    def add(self, lower: np.ndarray, upper: np.ndarray) -> None:
        """Cells with their tori and errors."""
        x = np.stack(np.meshgrid(NODES, NODES, NODES, indexing="ij"), axis=-1).reshape(-1, 3)
        q = lower[:, None] + 0.5 * (x + 1.0) * (upper - lower)[:, None]
        nodes, new = np.zeros(q.shape[:2], int), []
        for place in np.ndindex(*nodes.shape):
            key = tuple(np.round(q[place], 9))
            if key not in self.places:
                self.places[key] = len(self.q)
                self.q.append(q[place])
                new.append(q[place])
            nodes[place] = self.places[key]
        if new:
            # Filled up to whole chunks: each length would be compiled anew.
            filled = np.resize(from_grid(np.array(new)), (-(-len(new) // CHUNK) * CHUNK, 3))
            tori = jax.tree.map(lambda leaf: np.asarray(leaf)[: len(new)], self.fit(jnp.asarray(filled)))
            together = (self.tori, tori) if self.tori is not None else (tori,)
            self.tori = jax.tree.map(lambda *leaves: np.concatenate(leaves), *together)
        self.lower, self.upper = np.concatenate([self.lower, lower]), np.concatenate([self.upper, upper])
        self.nodes = np.concatenate([self.nodes, nodes])
        n = len(lower)
        self.axis, self.where = np.append(self.axis, np.zeros(n, int)), np.append(self.where, np.zeros(n))
        self.child = np.concatenate([self.child, np.full((n, 2), -1)])
        self.errors = np.concatenate([self.errors, self._measured(nodes, lower, upper)])

    def _measured(self, nodes, lower, upper) -> np.ndarray:
        """Errors, a fixed number of cells at a time with their own tori: one compilation."""
        size, found = 16, []
        for k in range(0, len(nodes), size):
            rows = np.resize(np.arange(k, min(k + size, len(nodes))), size)
            own = jax.tree.map(lambda leaf, rows=rows: leaf[nodes[rows].ravel()], self.tori)
            index = np.arange(size * 64).reshape(size, 64)
            own = mend(own, index)
            errors = _errors(
                self.potential, own, jnp.asarray(index), jnp.asarray(lower[rows]), jnp.asarray(upper[rows])
            )
            found.append(np.asarray(errors)[: len(nodes) - k])
        return np.concatenate(found)

    def to_cut(self, max_tori: int) -> np.ndarray:
        """The leaves that fail, worst first, as far as tori may be added."""
        assert self.tori is not None
        leaf = self.child[:, 0] < 0
        fitted = np.where(np.isfinite(self.tori.residual), self.tori.residual, np.inf)[self.nodes]
        # Not the largest: a face of shells or planar orbits may be worse than all inside.
        fitted = np.sort(fitted, axis=1)[:, 44]
        worst = np.asarray(_whole(jnp.asarray(self.errors)))
        aim = np.where(np.isfinite(fitted), np.maximum(self.tol, 2.0 * fitted), self.tol)
        deep = np.min((self.upper - self.lower) / (self.upper[0] - self.lower[0]), axis=1) < 2.0**-6
        poor = np.flatnonzero(leaf & (worst > aim) & ~deep)
        # Two new cells of 64 nodes, a quarter to a half of them shared.
        room = max((max_tori - len(self.q)) // 96, 0)
        if self.stars is None:
            return poor[np.argsort(-worst[poor], kind="stable")][:room]
        held, tori = self._shares(poor), np.mean(self.tori.code[self.nodes[poor]] == Result.OK, axis=1)
        loss = np.minimum(worst[poor], np.where(np.isfinite(worst[poor]), _WORST, _WORST * tori))
        wanted = np.argsort(-held * loss, kind="stable")[: min(room, _AT_ONCE)]
        return poor[wanted[held[wanted] >= _FEWEST]]

    def _shares(self, cells: np.ndarray) -> np.ndarray:
        """The share of the stars in each of some cells."""
        assert self.stars is not None
        inside = [
            np.all((self.stars >= self.lower[cell]) & (self.stars < self.upper[cell]), axis=1)
            for cell in cells
        ]
        return np.array([np.mean(each) for each in inside])

    def cut(self, cells: np.ndarray) -> None:
        """Bisect cells, each along the axis in which it fails most."""
        errors = self.errors[cells]
        # Where there is no telling: along which most tori fail or change their family, else the widest.
        width = (self.upper - self.lower)[cells] / (self.upper[0] - self.lower[0])
        untold = np.where(np.isfinite(errors), 0.0, 1.0 + self._changes(cells) + 0.1 * width)
        axis = np.where(np.isfinite(errors).all(axis=1), errors.argmax(axis=1), untold.argmax(axis=1))
        rows = np.arange(len(cells))
        middle = 0.5 * (self.lower + self.upper)[cells, axis]
        upper, lower = self.upper[cells].copy(), self.lower[cells].copy()
        upper[rows, axis], lower[rows, axis] = middle, middle
        self.axis[cells], self.where[cells] = axis, middle
        self.child[cells] = len(self.lower) + np.stack([rows, rows + len(cells)], axis=1)
        self.add(np.concatenate([self.lower[cells], lower]), np.concatenate([upper, self.upper[cells]]))

    def _changes(self, cells: np.ndarray) -> np.ndarray:
        """How many pairs of neighbours along each axis differ in whether there is a torus, or which."""
        assert self.tori is not None
        good, box = self.tori.code == Result.OK, self.tori.transformation.box
        kind = np.asarray(np.where(good, np.where(box, 2, 1), 0))[self.nodes[cells]].reshape(-1, 4, 4, 4)
        differ = [np.diff(kind, axis=1 + axis) != 0 for axis in range(3)]
        return np.stack([each.sum(axis=(1, 2, 3)) for each in differ], axis=1)

    def library(self) -> TorusLibrary:
        """What was built: each leaf mends nodes without tori for itself."""
        assert self.tori is not None
        leaf = self.child[:, 0] < 0
        worst = jnp.where(leaf, _whole(jnp.asarray(self.errors)), jnp.inf)
        mended = leaf & np.isfinite(worst)
        cells, which = np.nonzero(mended[:, None] & (self.tori.code[self.nodes] != Result.OK))
        tori = jax.tree.map(lambda each: np.concatenate([each, each[self.nodes[cells, which]]]), self.tori)
        nodes = self.nodes.copy()
        nodes[cells, which] = len(self.q) + np.arange(len(cells))
        tori = mend(tori, nodes[mended])
        closest = _closest(self.lower, self.upper, np.asarray(worst))
        return TorusLibrary(
            lower=jnp.asarray(self.lower),
            upper=jnp.asarray(self.upper),
            axis=jnp.asarray(self.axis),
            cut=jnp.asarray(self.where),
            child=jnp.asarray(self.child),
            nodes=jnp.asarray(nodes),
            residual=worst,
            closest=jnp.asarray(closest),
            tol=jnp.asarray(self.tol),
            damping=jnp.asarray(self.damping),
            tori=jax.tree.map(jnp.asarray, tori),
        )
