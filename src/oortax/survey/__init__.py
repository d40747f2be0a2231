"""The survey: observables and the Sun's frame, selection, dust and measurement errors."""

from oortax.survey.dust import BAND_COEFFICIENTS, EXTINCTIONS, DustDisc, DustMap, band_coefficient, dust_map
from oortax.survey.errors import Errors
from oortax.survey.extinction import AbstractExtinction, DustLayer
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
from oortax.survey.selection import (
    SELECTIONS,
    AbsLatitude,
    AbsoluteMagnitude,
    AbstractSelection,
    Colour,
    Completeness,
    Latitude,
    Longitude,
    Magnitude,
    ParallaxSNR,
)
from oortax.survey.sun import Sun
from oortax.survey.survey import Acceptance, Survey

__all__ = [
    "BAND_COEFFICIENTS",
    "EXTINCTIONS",
    "SELECTIONS",
    "AbsLatitude",
    "AbsoluteMagnitude",
    "AbstractExtinction",
    "AbstractSelection",
    "Acceptance",
    "Colour",
    "Completeness",
    "DustDisc",
    "DustLayer",
    "DustMap",
    "Errors",
    "Galactocentric",
    "Latitude",
    "Longitude",
    "Magnitude",
    "Observables",
    "ParallaxSNR",
    "Sun",
    "Survey",
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
