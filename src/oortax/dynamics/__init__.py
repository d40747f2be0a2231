"""Orbits: circular orbits, integration, action finders (x, v) -> J and tori J -> (x, v)."""

from collections.abc import Callable

from oortax.dynamics.averaged import OrbitAveraged
from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions
from oortax.dynamics.circular import CircularOrbit, CircularOrbits, circular_orbits
from oortax.dynamics.interpolated import InterpolatedFudge
from oortax.dynamics.isochrone import IsochroneFinder
from oortax.dynamics.oort_lindblad import OortLindblad
from oortax.dynamics.orbit import adaptive_orbit, integrate_orbit, symplectic_step
from oortax.dynamics.orbits import Orbit, integrate_orbits
from oortax.dynamics.pilot import PilotTori, pilot_tori
from oortax.dynamics.spherical import SphericalFinder
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

FINDERS: dict[str, type[AbstractActionFinder]] = {
    "StaeckelFudge": StaeckelFudge,
    "InterpolatedFudge": InterpolatedFudge,
    "OortLindblad": OortLindblad,
}
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
    "InterpolatedFudge",
    "IsochroneFinder",
    "OortLindblad",
    "Orbit",
    "OrbitAveraged",
    "PilotTori",
    "SphericalFinder",
    "StaeckelFudge",
    "StarActions",
    "Torus",
    "TorusFinder",
    "TorusLibrary",
    "adaptive_orbit",
    "circular_orbits",
    "fit_library",
    "fit_tori",
    "fit_torus",
    "integrate_orbit",
    "integrate_orbits",
    "load_tori",
    "pilot_tori",
    "refit_library",
    "refit_tori",
    "refit_torus",
    "save_tori",
    "symplectic_step",
]
