"""Tori: J -> (x, v)."""

from oortax.dynamics.torus.library import TorusLibrary, fit_library, moved_library, refit_library
from oortax.dynamics.torus.stored import load_tori, save_tori
from oortax.dynamics.torus.tori import fit_tori, refit_tori
from oortax.dynamics.torus.torus import Torus, fit_torus, refit_torus

__all__ = [
    "Torus",
    "TorusLibrary",
    "fit_library",
    "fit_tori",
    "fit_torus",
    "load_tori",
    "moved_library",
    "refit_library",
    "refit_tori",
    "refit_torus",
    "save_tori",
]
