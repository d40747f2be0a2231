"""Orbits: circular orbits, integration, action finders (x, v) -> J and tori J -> (x, v)."""

from collections.abc import Callable

from oortax.dynamics.averaged import OrbitAveraged
from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions
from oortax.dynamics.circular import CircularOrbit, CircularOrbits, circular_orbits
from oortax.dynamics.frequencies import FundamentalFrequencies, fundamental_frequencies
from oortax.dynamics.interpolated import InterpolatedFudge
from oortax.dynamics.isochrone import IsochroneFinder
from oortax.dynamics.launch import launch, launch_orbits
from oortax.dynamics.oort_lindblad import OortLindblad
from oortax.dynamics.orbit import adaptive_orbit, integrate_orbit, symplectic_step
from oortax.dynamics.orbit_cells import CellMoments, points_in_cells
from oortax.dynamics.orbit_library import OrbitLibrary, build_orbit_library
from oortax.dynamics.orbits import Orbit, integrate_orbits
from oortax.dynamics.pilot import PilotTori, pilot_tori
from oortax.dynamics.reweighting import Reweighted, reweight
from oortax.dynamics.spherical import SphericalFinder
from oortax.dynamics.staeckel import StaeckelFudge
from oortax.dynamics.torus import (
    Torus,
    TorusLibrary,
    fit_library,
    fit_tori,
    fit_torus,
    load_tori,
    moved_library,
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
    "CellMoments",
    "CircularOrbit",
    "CircularOrbits",
    "FundamentalFrequencies",
    "InterpolatedFudge",
    "IsochroneFinder",
    "OortLindblad",
    "Orbit",
    "OrbitAveraged",
    "OrbitLibrary",
    "PilotTori",
    "Reweighted",
    "SphericalFinder",
    "StaeckelFudge",
    "StarActions",
    "Torus",
    "TorusFinder",
    "TorusLibrary",
    "adaptive_orbit",
    "build_orbit_library",
    "circular_orbits",
    "fit_library",
    "fit_tori",
    "fit_torus",
    "fundamental_frequencies",
    "integrate_orbit",
    "integrate_orbits",
    "launch",
    "launch_orbits",
    "load_tori",
    "moved_library",
    "pilot_tori",
    "points_in_cells",
    "refit_library",
    "refit_tori",
    "refit_torus",
    "reweight",
    "save_tori",
    "symplectic_step",
]
