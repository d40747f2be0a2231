"""Orbits: circular orbits and action finders (x, v) -> J."""

from oortax.dynamics.base import AbstractActionFinder
from oortax.dynamics.circular import CircularOrbit, CircularOrbits, circular_orbits
from oortax.dynamics.staeckel import StaeckelFudge, StarActions

FINDERS: dict[str, type[AbstractActionFinder]] = {"StaeckelFudge": StaeckelFudge}
"""Action finders by the name that a config's `finder` key uses."""

__all__ = [
    "FINDERS",
    "AbstractActionFinder",
    "CircularOrbit",
    "CircularOrbits",
    "StaeckelFudge",
    "StarActions",
    "circular_orbits",
]
