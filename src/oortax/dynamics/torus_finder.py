"""Actions, angles and frequencies by tori: the torus of a library that passes through a point."""

from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions, require_float64
from oortax.dynamics.staeckel import StaeckelFudge
from oortax.dynamics.torus.library import TorusLibrary, at_actions, node_weights, refit_library
from oortax.dynamics.torus.linear import FirstOrderTori, LinearTori
from oortax.dynamics.torus.scaled import in_their_own_units, in_units, size
from oortax.dynamics.torus.torus import Torus
from oortax.numerics.batching import kept, recomputed
from oortax.numerics.implicit import moving_as
from oortax.numerics.nodes import mean_of_rows
from oortax.numerics.trigonometry import wrapped
from oortax.potential.base import AbstractPotential
from oortax.results import Result
from oortax.types import Actions, Angles, Frequencies, Scalar, Vec3

# No step makes J_r or J_z smaller than this share of itself.
_ROOM = 0.1
# Width of the zone, in shares of the library's range of q, over which the fudge takes over.
_BLEND = 0.02
_HEIGHT = 1e-8
# Step, in shares of J_r + J_z, by which it is seen how actions answer to the torus that is tried.
_PROBE, _TINY = 1e-4, 1e-30
# Actions are found with so many waves of dS_n/dJ: only what is wrong with the actions that were tried comes
# with it, and reading them from the library takes time. Angles are found with all.
_SLOPES = 76
# Any point off the axis.
_POINT = np.array([[8.0, 0.0, 0.1], [10.0, 200.0, 10.0]])


class _Passing(NamedTuple):
    """The torus through a point."""

    J: Actions
    theta: Angles
    Omega: Frequencies
    residual: Scalar
    share: Scalar


class _Acting(NamedTuple):
    """The actions of the torus through a point, and those of the last torus that was tried."""

    J: Actions
    residual: Scalar
    share: Scalar
    tried: Actions


class Added(NamedTuple):
    """What tori add to the fudge's actions, in all; their own, their residual and share."""

    J: Actions
    floor: Actions
    residual: Scalar
    share: Scalar


@final
class TorusFinder(AbstractActionFinder):
    """Actions, angles and frequencies by tori, of any bound (x, v).

    The torus of some actions J_0 close by maps (x, v) to its own toy's angles and actions in closed form,
    and those to theta and J with the generating function (`Torus.angles_actions`). What is wrong with J_0
    enters J by its square only: from the Staeckel fudge's J_0, good to some 1e-2, `steps` = 2 leave the
    library's error; where the fudge's are in a cell without tori the closest cell with some serves first.
    J_r and J_z are then shifted along Omega J, the least change in their logarithms, to where the torus has
    the star's energy. Outside the library's range the fudge serves: from one to the other over 2 % of the
    range, a smooth function of q (see `TorusLibrary`), the same for stars and normalisation.

        J = J_fudge + share (J_torus - J_fudge)

    Parameters
    ----------
    potential : AbstractPotential
        Build the finder inside jit, from the potential of the moment.
    library : TorusLibrary
        Tori of the potential, or of one close by with `linear` or `refit`.
    linear : LinearTori or FirstOrderTori, optional
        How the library's tori answer to a change of the potential (`oortax.dynamics.torus.linear`): they
        become those of `potential` to first order in the change, which costs no torus, and derivatives in
        the potential are the tori's. Frequencies stay those of the library.
    steps : int
        Tori that are tried in turn; each squares the error.
    refit : int
        Newton's steps that make the tori those of `potential` (`refit_library`), which costs a millisecond a
        torus on a CPU: exact, derivatives in the potential too. Not with `linear`. Without either tori are
        no function of the potential: derivatives in it are the fudge's, and a likelihood's maximum is biased
        where the fudge is poor.

    Notes
    -----
    Accuracy, cost and what the fudge does in comparison are in benchmarks/RESULTS.md (actions). In
    mw_potential_2014 J_r + J_z of disc stars scatters along orbits by 1e-4 and less. `residual` is the
    library's where the torus is, infinite where only the fudge serves. The code is INACCURATE there, and
    where the residual is above the library's `tol`; for unbound stars and NaN it is the fudge's, J is NaN.

    Derivatives of J are those of the equations that the steps solve; those of angles and frequencies go
    through all steps. Raises ValueError for float32 and impossible options.

    >>> from oortax import potential
    >>> from oortax.dynamics import fit_library
    >>> pot = potential.mw_potential_2014()
    >>> ranges = {"total": (1500.0, 2000.0), "radial": (0.0, 0.1), "vertical": (0.0, 0.1)}
    >>> finder = TorusFinder(pot, fit_library(pot, **ranges))  # doctest: +SKIP
    >>> J = jax.jit(jax.vmap(finder.actions))(x, v)  # doctest: +SKIP
    """

    library: TorusLibrary
    fudge: StaeckelFudge
    table: Float[Array, "tori numbers"]
    rest: Float[Array, "tori slopes"]
    change: Float[Array, "tori numbers"] | None
    steps: int = eqx.field(static=True)
    moving: bool = eqx.field(static=True)

    def __init__(
        self,
        potential: AbstractPotential,
        library: TorusLibrary,
        *,
        linear: LinearTori | FirstOrderTori | None = None,
        steps: int = 2,
        refit: int = 0,
    ):
        if not isinstance(steps, int) or steps < 1:
            raise ValueError(f"steps = {steps!r}: a whole number >= 1 is needed, such as 2")
        if linear is not None and refit:
            raise ValueError("both linear and refit make the tori those of potential: leave out one")
        self.fudge = StaeckelFudge(potential)
        self.library = refit_library(self.fudge.potential, library, steps=refit) if refit > 0 else library
        tori = in_their_own_units(self.library.tori)
        self.table = _packed(_with_few_slopes(tori))
        self.rest = tori.dS_dJ[:, _SLOPES:].reshape(len(tori.E), -1)
        self.change = None
        if linear is not None:
            dS, dE = linear(self.fudge.potential)
            s = jax.vmap(size)(self.library.tori.J)[:, None]
            self.change = jnp.concatenate([dE[:, None], dS / s], axis=1)
        self.steps, self.moving = steps, refit > 0 or linear is not None

    @property
    def _of_tori(self) -> StaeckelFudge:
        """The fudge in the potential of the tori, as constant as these are."""
        return self.fudge if self.moving else lax.stop_gradient(self.fudge)

    def _at_tori(self, by_fudge, x: Vec3, v: Vec3):
        """What it finds."""
        if self.moving:
            return by_fudge
        fudge = self._of_tori
        angles = isinstance(by_fudge, ActionAngles)
        found: Any = (fudge.actions_angles_frequencies if angles else fudge.actions_and_code)(x, v)
        # The same numbers with other derivatives: nothing is computed twice where none are asked for.
        *numbers, residual, code = lax.stop_gradient(by_fudge)
        moving = (moving_as(a, b - a) for a, b in zip(numbers, found, strict=False))
        return type(by_fudge)(*moving, residual, code)

    @recomputed
    def actions_and_code(self, x: Vec3, v: Vec3) -> StarActions:
        """Actions with the torus's residual and a `Result` code."""
        require_float64("TorusFinder", x, v)
        by_fudge = self.fudge.actions_and_code(x, v)
        at_tori = self._at_tori(by_fudge, x, v)
        found = _acting(self, x, v, at_tori.J)
        J = self._joined_actions(by_fudge.J, at_tori.J, found)
        return StarActions(J, *judged(by_fudge, found.residual, found.share, self.library.tol))

    def added_actions(self, x: Vec3, v: Vec3) -> Added:
        """What tori add to the fudge's actions."""
        J = self.fudge.actions(x, v)
        found = _acting(self, x, v, J)
        return Added(_joined(jnp.zeros(3), found.J - J, found.share), found.J, found.residual, found.share)

    def actions_angles_frequencies(self, x: Vec3, v: Vec3) -> ActionAngles:
        """The same with angles and frequencies."""
        require_float64("TorusFinder", x, v)
        by_fudge = self.fudge.actions_angles_frequencies(x, v)
        at_tori = self._at_tori(by_fudge, x, v)
        found = self._passing(x, v, at_tori.J)
        J = self._joined_actions(by_fudge.J, at_tori.J, found)
        turn = wrapped(found.theta - at_tori.theta)
        theta = _joined(by_fudge.theta, turn, found.share) % (2.0 * jnp.pi)
        Omega = _joined(by_fudge.Omega, found.Omega - at_tori.Omega, found.share)
        return ActionAngles(J, theta, Omega, *judged(by_fudge, found.residual, found.share, self.library.tol))

    def torus_share(self, x: Vec3, v: Vec3) -> Scalar:
        """The weight of the torus in the result: 1 in the library, 0 where the fudge serves instead."""
        return _acting(self, x, v, self._of_tori.actions(x, v)).share

    def _joined_actions(self, J: Actions, at_tori: Actions, found: _Passing | _Acting) -> Actions:
        moved = _joined(J, found.J - at_tori, found.share)
        return jnp.concatenate([moved[:2], J[2:]])

    def _passing(self, x: Vec3, v: Vec3, J: Actions) -> _Passing:
        return _Passing(*_followed(self, x, v, J))

    def _asked(self, x: Vec3, v: Vec3, J: Actions):
        """The share of tori, the point that they are asked about, its energy, and the first actions."""
        share = self._share(J)
        # What the fudge finds may be where there are no tori, what the star has where there are.
        towards = self.library.towards_tori(lax.stop_gradient(J))
        start = jnp.where(share > 0.0, towards, self._somewhere())
        # A point of no torus, as on the axis, is not asked about: its derivatives would be NaN.
        x = jnp.where(share > 0.0, x, jnp.asarray(_POINT[0]))
        v = jnp.where(share > 0.0, v, jnp.asarray(_POINT[1]))
        # In the plane theta_z is anything: a height of which J_z notices 1e-15 makes it something.
        planar = (x[2] == 0.0) & (v[2] == 0.0)
        x = x + jnp.where(planar, _HEIGHT, 0.0) * jnp.array([0.0, 0.0, 1.0])
        E = 0.5 * (v @ v) + self._of_tori.potential.Phi(x)
        J_phi = jnp.where(share > 0.0, x[0] * v[1] - x[1] * v[0], start[2])
        return share, x, v, E, jnp.concatenate([start[:2], J_phi[None]])

    def _follow(self, x: Vec3, v: Vec3, J: Actions):
        share, x, v, E, J = self._asked(x, v, J)

        def step(J, _):
            torus = self._torus(J, with_angles=True)
            theta, found = torus.angles_actions(x, v)
            return self._at_energy(E, torus, found, J), (theta, torus.Omega, torus.residual)

        # One copy of a torus in the program: it is what takes time to compile.
        J, steps = lax.scan(step, J, length=self.steps)
        theta, Omega, residual = (of_step[-1] for of_step in steps)
        good = jnp.all(jnp.isfinite(J)) & jnp.isfinite(residual)
        return J, theta, Omega, residual, jnp.where(good, share, 0.0)

    def _act(self, x: Vec3, v: Vec3, J: Actions, answers: bool = False) -> Any:
        """The actions alone; and how they answer to those of the torus tried last, if asked.

        Exact tori would not let them answer at all.
        """
        share, x, v, E, J = self._asked(x, v, J)
        step = _PROBE * (J[0] + J[1] + _TINY)
        tried = [jnp.zeros(3)] * self.steps + [step * jnp.eye(3)[i] for i in range(3 if answers else 0)]

        def next_torus(state, way):
            k, aside = way
            J, last = state
            at = jnp.where(k < self.steps, J, last + aside)
            torus = self._torus(at)
            new = self._at_energy(E, torus, torus.angles_actions(x, v)[1], at)
            state = jax.tree.map(lambda a, b: jnp.where(k < self.steps, a, b), (new, at), state)
            return state, (torus.residual, (new - J) / step)

        # One copy of a torus in the program: it is what takes time to compile.
        ways = jnp.arange(len(tried)), jnp.stack(tried)
        (J, last), (residuals, changes) = lax.scan(next_torus, (J, J), ways)
        residual = residuals[self.steps - 1]
        good = jnp.all(jnp.isfinite(J)) & jnp.isfinite(residual)
        found = _Acting(J, residual, jnp.where(good, share, 0.0), last)
        return (found, changes[self.steps :].T) if answers else found

    def _last_step(self, x: Vec3, v: Vec3, J: Actions, tried: Actions) -> Actions:
        """The last of `_act`'s steps from what it tried, of a torus whose E and S alone can move."""
        _, x, v, E, _ = self._asked(x, v, lax.stop_gradient(J))
        moving = self._torus(lax.stop_gradient(tried))
        torus = eqx.tree_at(lambda t: (t.E, t.S), lax.stop_gradient(moving), (moving.E, moving.S))
        return self._at_energy(E, torus, torus.angles_actions(x, v)[1], torus.J)

    def _at_energy(self, E: Scalar, torus: Torus, J: Actions, last: Actions) -> Actions:
        """J_r and J_z shifted to where the torus has energy E, by its frequencies."""
        J = jnp.concatenate([jnp.maximum(J[:2], _ROOM * last[:2]), J[2:]])
        rates = lax.stop_gradient(torus.Omega[:2] * J[:2])
        lack = E - torus.E - torus.Omega @ (J - last)
        shift = rates / (rates @ lax.stop_gradient(torus.Omega[:2])) * lack
        return jnp.concatenate([jnp.maximum(J[:2] + shift, _ROOM * last[:2]), J[2:]])

    def _torus(self, J: Actions, with_angles: bool = False) -> Torus:
        _, cell, at = self.library.place(J)
        weights, s = node_weights(at), size(J)
        row = mean_of_rows(self.table, self.library.nodes, cell, weights)
        torus = _unpacked(row, _with_few_slopes(self.library.tori))
        if with_angles and self.rest.size:
            rest = mean_of_rows(self.rest, self.library.nodes, cell, weights).reshape(-1, 3)
            torus = eqx.tree_at(lambda t: t.dS_dJ, torus, jnp.concatenate([torus.dS_dJ, rest]))
        torus = at_actions(in_units(torus, s), J)
        if self.change is not None:
            moved = mean_of_rows(self.change, self.library.nodes, cell, weights)
            torus = eqx.tree_at(lambda t: (t.E, t.S), torus, (torus.E + moved[0], torus.S + s * moved[1:]))
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


def judged(by_fudge: StarActions | ActionAngles, residual: Scalar, share: Scalar, tol: Scalar):
    """Residual and code of a star."""
    accurate = (share == 1.0) & (residual <= tol)
    code = jnp.where(accurate, Result.OK, Result.INACCURATE)
    code = jnp.where(by_fudge.code == Result.OK, code, by_fudge.code)
    return jnp.where(share > 0.0, residual, jnp.inf), code


@eqx.filter_custom_jvp
def _followed(finder: TorusFinder, x: Vec3, v: Vec3, J: Actions):
    """What tori say of a point; without derivatives where they say nothing, which would be NaN."""
    return finder._follow(x, v, J)


@_followed.def_jvp
def _(primals, tangents):
    finder, x, v, J = primals
    found = finder._follow(x, v, J)
    good = found[-1] > 0.0
    # NaN actions have no share: then nothing is asked.
    known = jnp.where(good, J, jnp.nan)
    moved = eqx.filter_jvp(lambda *of: of[0]._follow(*of[1:]), (finder, x, v, known), tangents)[1]
    return found, tuple(None if change is None else jnp.where(good, change, 0.0) for change in moved)


@eqx.filter_custom_jvp
def _acting(finder: TorusFinder, x: Vec3, v: Vec3, J: Actions) -> _Acting:
    """Actions of the torus through a point.

    What is wrong with the torus that was tried last enters them by its square only: derivatives are those of
    one step from it, held fixed, but for the little by which fitted and interpolated tori let them answer to
    it.
    """
    return finder._act(x, v, J)


@_acting.def_jvp
def _(primals, tangents):
    finder, x, v, J = primals
    found, answers = kept(finder._act(*primals[1:], answers=True))
    good = found.share > 0.0
    # NaN actions have no share: then nothing is asked.
    known = jnp.where(good, J, jnp.nan)
    tried = jnp.where(good, found.tried, finder._somewhere())
    answers = jnp.where(good, answers, 0.0)
    by_point = eqx.filter_jvp(
        lambda finder, x, v: finder._last_step(x, v, known, tried), primals[:3], tangents[:3]
    )[1]
    moved: Any = None
    if by_point is not None:
        moved = jnp.where(good, by_point + lax.stop_gradient(answers) @ by_point, 0.0)
    share: Any = None
    if tangents[3] is not None:
        share = jnp.where(good, eqx.filter_jvp(lambda J: finder._share(J), (known,), tangents[3:])[1], 0.0)
    none: Any = None
    return found, _Acting(moved, none, share, none)


def _joined(by_fudge, added, share: Scalar):
    """share = 0 also where what is added is NaN."""
    return by_fudge + jnp.where(share > 0.0, share * jnp.where(share > 0.0, added, 0.0), 0.0)


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


def _with_few_slopes(tori: Torus) -> Torus:
    return eqx.tree_at(lambda t: t.dS_dJ, tori, tori.dS_dJ[:, :_SLOPES])


def _numbers(tori: Torus) -> Torus:
    """Without codes, which are not interpolated."""
    return eqx.tree_at(lambda t: t.code, tori, jnp.zeros(tori.code.shape))
