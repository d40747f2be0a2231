"""Gravitational potentials: Phi(x) at one point, sums, and what follows from them."""

from oortax.potential.base import AbstractClosedForm, AbstractPotential
from oortax.potential.composite import Sum, named_parts
from oortax.potential.dehnen_binney import dehnen_binney_1996
from oortax.potential.derived import (
    CircularFrequencies,
    acceleration,
    circular_velocity,
    density,
    effective_surface_density,
    escape_velocity,
    frequencies,
    vertical_force,
)
from oortax.potential.discs import KuzminKutuzov, MiyamotoNagai
from oortax.potential.expansion import Field, Grid
from oortax.potential.expansion_error import ExpansionError, check_density, expansion_error
from oortax.potential.exponential_discs import ExponentialDisc, Sech2Disc
from oortax.potential.from_density import AbstractDensity, FromDensity, expand
from oortax.potential.halos import FlattenedNFW
from oortax.potential.library import POTENTIALS, mw_potential_2014
from oortax.potential.logarithmic import LogarithmicHalo
from oortax.potential.milky_way import hunter_2024, mcmillan_2017, piffl_2014
from oortax.potential.negative import Negative
from oortax.potential.power_law import PowerLawCutoff
from oortax.potential.scale_free import ScaleFree, ScaleFreeField
from oortax.potential.similarity import Scaled, Scaling, rest_radius, scale_to, scaling
from oortax.potential.spheres import NFW, Hernquist, Isochrone, Plummer
from oortax.potential.spheroids import Einasto, Spheroid
from oortax.potential.tabulated import Tabulated, tabulate

__all__ = [
    "ExpansionError",
    "check_density",
    "expansion_error",
    "AbstractDensity",
    "FromDensity",
    "expand",
    "Field",
    "Grid",
    "ExponentialDisc",
    "Sech2Disc",
    "Einasto",
    "Spheroid",
    "hunter_2024",
    "mcmillan_2017",
    "piffl_2014",
    "NFW",
    "POTENTIALS",
    "AbstractClosedForm",
    "AbstractPotential",
    "CircularFrequencies",
    "FlattenedNFW",
    "Hernquist",
    "Isochrone",
    "KuzminKutuzov",
    "LogarithmicHalo",
    "MiyamotoNagai",
    "Negative",
    "Plummer",
    "PowerLawCutoff",
    "ScaleFree",
    "ScaleFreeField",
    "Scaled",
    "Scaling",
    "Sum",
    "Tabulated",
    "acceleration",
    "circular_velocity",
    "dehnen_binney_1996",
    "density",
    "effective_surface_density",
    "escape_velocity",
    "frequencies",
    "mw_potential_2014",
    "named_parts",
    "rest_radius",
    "scale_to",
    "scaling",
    "tabulate",
    "vertical_force",
]
