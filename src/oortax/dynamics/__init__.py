"""Orbits: circular orbits, integration, action finders (x, v) -> J and tori J -> (x, v)."""

from collections.abc import Callable

from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions
from oortax.dynamics.circular import CircularOrbit, CircularOrbits, circular_orbits
from oortax.dynamics.orbit import integrate_orbit, symplectic_step
from oortax.dynamics.pilot import PilotTori, pilot_tori
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
from oortax.dynamics.torus_finder import TorusFinder

FINDERS: dict[str, type[AbstractActionFinder]] = {"StaeckelFudge": StaeckelFudge}
"""Action finders by the name that a config's `finder` key uses: made from a potential alone."""

STAR_FINDERS: dict[str, Callable[..., PilotTori]] = {"TorusFinder": pilot_tori}
"""Those prepared for stars: functions of potential, x, v that make one for any potential close by."""

__all__ = [
    "FINDERS",
    "STAR_FINDERS",
    "AbstractActionFinder",
    "ActionAngles",
    "CircularOrbit",
    "CircularOrbits",
    "PilotTori",
    "StaeckelFudge",
    "StarActions",
    "Torus",
    "TorusFinder",
    "TorusLibrary",
    "circular_orbits",
    "fit_library",
    "fit_tori",
    "fit_torus",
    "integrate_orbit",
    "load_tori",
    "pilot_tori",
    "refit_library",
    "refit_tori",
    "refit_torus",
    "save_tori",
    "symplectic_step",
]
