"""Actions by tori in a potential that has moved: the fudge's, corrected as the tori of a pilot tell."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions
from oortax.dynamics.staeckel import StaeckelFudge
from oortax.dynamics.torus.library import TorusLibrary
from oortax.dynamics.torus.linear import FirstOrderTori, LinearTori
from oortax.dynamics.torus_finder import Added, TorusFinder, judged
from oortax.numerics.batching import recomputed
from oortax.numerics.implicit import moving_as
from oortax.numerics.trigonometry import wrapped
from oortax.potential.base import AbstractPotential
from oortax.types import Actions, Scalar, Vec3

# No correction makes J_r or J_z smaller than this share of what fudge and tori find.
_ROOM = 0.1


@final
class MovedTorusFinder(AbstractActionFinder):
    """What `oortax.dynamics.PilotTori` makes for a potential close to that of its tori.

        J = J_fudge(x, v; potential) + (1 + D) [J_torus - J_fudge](x, v; pilot)

    D is the derivative along the change of the potential since the pilot. At the pilot J and its derivatives
    in the potential are those of tori, to the library's own errors; away from it J errs also by the product
    of the fudge's error with the square of the change. It costs several times what `TorusFinder` does, and
    what each torus of the library answers (`oortax.dynamics.torus.linear`) once for each potential: a product
    of matrices where the potential has few numbers, Phi on the grids of all tori where it has many.
    Angles and frequencies are the fudge's and what tori add to these at the pilot. In x and v, what D adds is
    held fixed. Residual and code are those of the pilot's tori, and the fudge's code where it finds no
    actions in this potential.

    Raises ValueError if the potential is not of the pilot's kind.
    """

    fudge: StaeckelFudge
    at_pilot: TorusFinder
    change: Any

    def __init__(
        self,
        potential: AbstractPotential,
        pilot: AbstractPotential,
        library: TorusLibrary,
        linear: LinearTori | FirstOrderTori,
    ):
        self.fudge = StaeckelFudge(potential)
        pilot, library, linear = lax.stop_gradient((pilot, library, linear))
        moved = _since(pilot, self.fudge.potential)

        def finder(pilot):
            return TorusFinder(pilot, library, linear=linear)

        self.at_pilot, change = eqx.filter_jvp(finder, (pilot,), (moved,))
        # What does not move is left out, not given a derivative of 0: the library's table is large.
        none = jax.tree.map(lambda _: None, change)
        what = lambda of: (of.fudge, of.change)  # noqa: E731
        self.change = eqx.tree_at(what, none, what(change), is_leaf=lambda leaf: leaf is None)

    @recomputed
    def actions_and_code(self, x: Vec3, v: Vec3) -> StarActions:
        """Actions with the torus's residual and a `Result` code."""
        by_fudge = self.fudge.actions_and_code(x, v)
        added, change = self._changing(x, v)
        # The same numbers, of which x and v ask: nothing is computed twice where they do not.
        of_point = self.at_pilot.added_actions(x, v)
        added = jax.tree.map(lambda a, b: moving_as(a, b - lax.stop_gradient(b)), added, of_point)
        J = self._moved(by_fudge.J, added, change)
        return StarActions(J, *judged(by_fudge, added.residual, added.share, self.at_pilot.library.tol))

    def actions_angles_frequencies(self, x: Vec3, v: Vec3) -> ActionAngles:
        """The same with angles and frequencies."""
        by_fudge = self.fudge.actions_angles_frequencies(x, v)
        pilot = self.at_pilot
        at_pilot = pilot.fudge.actions_angles_frequencies(x, v)
        by_tori = pilot.actions_angles_frequencies(x, v)
        share = pilot.torus_share(x, v)
        added = Added(by_tori.J - at_pilot.J, by_tori.J, by_tori.residual, share)
        J = self._moved(by_fudge.J, added, self._changing(x, v)[1])
        theta = by_fudge.theta + jnp.where(share > 0.0, wrapped(by_tori.theta - at_pilot.theta), 0.0)
        Omega = by_fudge.Omega + jnp.where(share > 0.0, by_tori.Omega - at_pilot.Omega, 0.0)
        return ActionAngles(
            J, theta % (2.0 * jnp.pi), Omega, *judged(by_fudge, by_tori.residual, share, pilot.library.tol)
        )

    def torus_share(self, x: Vec3, v: Vec3) -> Scalar:
        """The weight of the torus in the result: 1 in the library, 0 where the fudge serves instead."""
        return self.at_pilot.torus_share(x, v)

    def _changing(self, x: Vec3, v: Vec3) -> tuple[Added, Actions]:
        """What tori add at the pilot, and how that changes with the potential; x and v held fixed."""
        fixed = lax.stop_gradient((x, v))
        added, change = eqx.filter_jvp(
            lambda finder: finder.added_actions(*fixed), (self.at_pilot,), (self.change,)
        )
        return added, change.J

    def _moved(self, J: Actions, added: Added, change: Actions) -> Actions:
        # NaN, that the fudge found nothing at the pilot, has no share.
        served = added.share > 0.0
        moved = jnp.maximum(J + added.J + change, _ROOM * jnp.minimum(J, added.floor))
        return jnp.where(served, jnp.concatenate([moved[:2], J[2:]]), J)


def _since(pilot: AbstractPotential, potential: AbstractPotential):
    """The change of a potential's numbers, as a tangent of the pilot's."""
    if jax.tree.structure(pilot) != jax.tree.structure(potential):
        raise ValueError("the potential is of another kind than the pilot's: fit tori in one of its own kind")
    return jax.tree.map(lambda a, b: a - b if eqx.is_inexact_array(b) else None, potential, pilot)
