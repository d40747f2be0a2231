"""Direct measurements of the potential as terms of ln L: gas, masers, vertical forces, masses.

A constraint holds nuisance parameters and says what it predicts; its table is data. All terms of a model
are evaluated together, with one vectorised call for the circular speeds of all of them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from oortax.model.constraints.base import AbstractConstraint, Prediction, Table, View
from oortax.model.constraints.circular_velocity import CircularVelocity
from oortax.model.constraints.density_ratio import DensityRatio
from oortax.model.constraints.enclosed_mass import EnclosedMass, enclosed_mass
from oortax.model.constraints.errors import misfit, split_normal
from oortax.model.constraints.gas_layer import GasLayer, half_width
from oortax.model.constraints.masers import Masers, parallax_nodes
from oortax.model.constraints.sgr_a import SgrAProperMotion
from oortax.model.constraints.surface_density import SurfaceDensity, surface_density
from oortax.model.constraints.terminal_velocities import TerminalVelocities
from oortax.model.constraints.vertical_force import VerticalForce
from oortax.potential import circular_velocity, expand
from oortax.types import Scalar

CONSTRAINTS: dict[str, type[AbstractConstraint]] = {
    "circular_velocity": CircularVelocity,
    "terminal_velocities": TerminalVelocities,
    "masers": Masers,
    "vertical_force": VerticalForce,
    "enclosed_mass": EnclosedMass,
    "gas_layer": GasLayer,
    "surface_density": SurfaceDensity,
    "density_ratio": DensityRatio,
    "sgr_a_proper_motion": SgrAProperMotion,
}
"""Constraints by their kind in a configuration's [constraints]."""


class ConstraintFit(NamedTuple):
    """How a model meets one table: number of points, chi^2, ln L and the points themselves."""

    n: int
    chi2: float
    log_likelihood: float
    prediction: Prediction


def views(tree: Any, tables: Mapping[str, Table]) -> dict[str, View]:
    """What each constraint sees of the model (traceable): all circular speeds come from one vmap."""
    sun, pot = tree.survey.sun, expand(tree.galaxy.potential)
    for name in tables:
        tree.constraints[name].check(tree.galaxy.potential)
    wanted = {name: tree.constraints[name].radii(sun, tables[name]) for name in tables}
    R = jnp.concatenate([jnp.atleast_1d(sun.R0), *wanted.values()])
    v_c = jax.vmap(lambda R: circular_velocity(pot, R))(R)
    found, start = {}, 1
    for name, radii in wanted.items():
        found[name] = View(pot, sun, v_c[0], v_c[start : start + radii.size])
        start += radii.size
    return found


def log_constraints(tree: Any, tables: Mapping[str, Table]) -> Scalar:
    """Sum of ln L of the constraints whose tables are given; a pure function of model and tables.

    Parameters
    ----------
    tree : Model
        With a constraint of the same name in `tree.constraints` for every table.
    tables : mapping of name to arrays by quantity, as the constraint's class describes them
    """
    total = jnp.zeros(())
    for name, view in views(tree, tables).items():
        total = total + tree.constraints[name].log_likelihood(view, tables[name])
    return total


def fits(tree: Any, tables: Mapping[str, Table]) -> dict[str, ConstraintFit]:
    """How well a model meets each table (host side)."""
    arrays = {name: {key: jnp.asarray(v) for key, v in table.items()} for name, table in tables.items()}
    made = _fits(tree, arrays)
    found = {}
    for name in tables:
        chi2, log_L, p = made[name]
        points = Prediction(*(np.asarray(values) for values in p))
        found[name] = ConstraintFit(len(points.x), float(chi2), float(log_L), points)
    return found


@jax.jit
def _fits(tree, tables):
    found = {}
    for name, view in views(tree, tables).items():
        part, table = tree.constraints[name], tables[name]
        found[name] = part.chi2(view, table), part.log_likelihood(view, table), part.predict(view, table)
    return found


__all__ = [
    "CONSTRAINTS",
    "AbstractConstraint",
    "CircularVelocity",
    "ConstraintFit",
    "DensityRatio",
    "EnclosedMass",
    "GasLayer",
    "Masers",
    "Prediction",
    "SgrAProperMotion",
    "SurfaceDensity",
    "Table",
    "TerminalVelocities",
    "VerticalForce",
    "View",
    "enclosed_mass",
    "fits",
    "half_width",
    "log_constraints",
    "misfit",
    "parallax_nodes",
    "split_normal",
    "surface_density",
    "views",
]
