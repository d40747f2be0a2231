"""Orbits: circular orbits, integration, action finders (x, v) -> J and tori J -> (x, v)."""

from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions
from oortax.dynamics.circular import CircularOrbit, CircularOrbits, circular_orbits
from oortax.dynamics.orbit import integrate_orbit, symplectic_step
from oortax.dynamics.staeckel import StaeckelFudge
from oortax.dynamics.torus import (
    Torus,
    TorusLibrary,
    fit_library,
    fit_tori,
    fit_torus,
    load_tori,
    refit_library,
    refit_tori,
    refit_torus,
    save_tori,
)

FINDERS: dict[str, type[AbstractActionFinder]] = {"StaeckelFudge": StaeckelFudge}
"""Action finders by the name that a config's `finder` key uses."""

__all__ = [
    "FINDERS",
    "AbstractActionFinder",
    "ActionAngles",
    "CircularOrbit",
    "CircularOrbits",
    "StaeckelFudge",
    "StarActions",
    "Torus",
    "TorusLibrary",
    "circular_orbits",
    "fit_library",
    "fit_tori",
    "fit_torus",
    "integrate_orbit",
    "load_tori",
    "refit_library",
    "refit_tori",
    "refit_torus",
    "save_tori",
    "symplectic_step",
]
