"""The survey: observables and the Sun's frame, selection, dust and measurement errors."""

from oortax.survey.combine import Complement, Intersection, Union
from oortax.survey.completeness import Completeness, CompletenessGrid, VelocityCompleteness
from oortax.survey.dust import BAND_COEFFICIENTS, EXTINCTIONS, DustDisc, DustMap, band_coefficient, dust_map
from oortax.survey.errors import ERRORS, AbstractErrors, Errors, GaiaErrors, TabulatedErrors
from oortax.survey.extinction import AbstractExtinction, DustLayer
from oortax.survey.fields import Fields
from oortax.survey.footprints import AbsLatitude, Cone, Declination, Latitude, Longitude, Polygon
from oortax.survey.frames import (
    Galactocentric,
    Observables,
    from_galactocentric,
    galactic_to_icrs,
    icrs_to_galactic,
    observe,
    phase_space,
    pole_motions,
    position,
    to_galactocentric,
)
from oortax.survey.healpix import HealpixMap
from oortax.survey.limits import (
    AbsoluteMagnitude,
    Colour,
    DistanceModulus,
    LineOfSightVelocity,
    Magnitude,
    Parallax,
    ParallaxSNR,
    ProperMotion,
)
from oortax.survey.registry import SELECTIONS
from oortax.survey.selection import BANDS, AbstractSelection
from oortax.survey.sun import Sun
from oortax.survey.survey import Acceptance, Survey

__all__ = [
    "BANDS",
    "BAND_COEFFICIENTS",
    "ERRORS",
    "EXTINCTIONS",
    "SELECTIONS",
    "AbsLatitude",
    "AbsoluteMagnitude",
    "AbstractErrors",
    "AbstractExtinction",
    "AbstractSelection",
    "Acceptance",
    "Colour",
    "Complement",
    "Completeness",
    "CompletenessGrid",
    "Cone",
    "Declination",
    "DistanceModulus",
    "DustDisc",
    "DustLayer",
    "DustMap",
    "Errors",
    "Fields",
    "GaiaErrors",
    "Galactocentric",
    "HealpixMap",
    "Intersection",
    "Latitude",
    "LineOfSightVelocity",
    "Longitude",
    "Magnitude",
    "Observables",
    "Parallax",
    "ParallaxSNR",
    "Polygon",
    "ProperMotion",
    "Sun",
    "Survey",
    "TabulatedErrors",
    "Union",
    "VelocityCompleteness",
    "band_coefficient",
    "dust_map",
    "from_galactocentric",
    "galactic_to_icrs",
    "icrs_to_galactic",
    "observe",
    "phase_space",
    "pole_motions",
    "position",
    "to_galactocentric",
]
