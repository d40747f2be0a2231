"""What a direct constraint on the potential is."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from oortax.model.constraints.errors import misfit, split_normal
from oortax.params import AbstractParametric
from oortax.potential import AbstractPotential
from oortax.survey import Sun
from oortax.types import Scalar

Table = Mapping[str, Any]
"""A measured table: arrays by quantity, each of shape (n,) unless the constraint says otherwise."""


class View(NamedTuple):
    """What a constraint sees of a model: the potential, the Sun, and circular speeds.

    v_c0 is the circular speed at R0, v_c those at the radii that the constraint asked for, shape (n,). The
    potential is expanded.
    """

    potential: AbstractPotential
    sun: Sun
    v_c0: Scalar
    v_c: Float[Array, " n"]


class Prediction(NamedTuple):
    """Measured and predicted values against an abscissa, with errors downwards and upwards, each (n,)."""

    x: Any
    measured: Any
    predicted: Any
    minus: Any
    plus: Any


class AbstractConstraint(AbstractParametric):
    """A direct measurement of the potential: its nuisance parameters and ln L of its table.

    A new constraint is one final subclass with parameters declared by `param`, one `predict` and one line in
    `CONSTRAINTS`; the table is an argument, never a part of it. Parameters that describe the errors (such as
    `systematic`) may be fixed or free as any other: their normalisation is part of ln L.
    """

    axes: ClassVar[tuple[str, str]]
    """The quantities of a picture's axes, with units."""

    log_axes: ClassVar[bool] = False
    """Whether a picture's axes are logarithmic."""

    def check(self, potential: AbstractPotential) -> None:
        """Raise ValueError if a potential lacks what is measured; it does not, by default."""

    def radii(self, sun: Sun, table: Table) -> Float[Array, " n"]:
        """Radii (kpc) whose circular speeds `View.v_c` shall hold; none by default."""
        return jnp.zeros(0, jnp.result_type(sun.R0))

    @abstractmethod
    def predict(self, view: View, table: Table) -> Prediction:
        """The measured and the predicted values."""

    def modes(self, view: View, table: Table) -> Float[Array, "n m"] | None:
        """What moves the points together, one column per independent cause (1 sigma); None: nothing."""
        return None

    def residual(self, view: View, table: Table) -> tuple[Array, Array, Array]:
        """Measured minus predicted, and the errors downwards and upwards, in which ln L is a split normal."""
        p = self.predict(view, table)
        return p.measured - p.predicted, p.minus, p.plus

    def log_likelihood(self, view: View, table: Table) -> Scalar:
        """ln L of the table."""
        return split_normal(*self.residual(view, table), self.modes(view, table))

    def chi2(self, view: View, table: Table) -> Scalar:
        """Sum of squared residuals in units of their errors, at the best amplitudes of common modes."""
        return misfit(*self.residual(view, table), self.modes(view, table))
