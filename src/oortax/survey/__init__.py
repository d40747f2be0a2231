"""The survey: observables and the Sun's frame, selection, dust and measurement errors."""

from oortax.survey.errors import Errors
from oortax.survey.extinction import EXTINCTIONS, AbstractExtinction, DustLayer
from oortax.survey.frames import (
    Galactocentric,
    Observables,
    from_galactocentric,
    galactic_to_icrs,
    icrs_to_galactic,
    observe,
    phase_space,
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
    "EXTINCTIONS",
    "SELECTIONS",
    "AbsLatitude",
    "AbsoluteMagnitude",
    "AbstractExtinction",
    "AbstractSelection",
    "Acceptance",
    "Colour",
    "Completeness",
    "DustLayer",
    "Errors",
    "Galactocentric",
    "Latitude",
    "Longitude",
    "Magnitude",
    "Observables",
    "ParallaxSNR",
    "Sun",
    "Survey",
    "from_galactocentric",
    "galactic_to_icrs",
    "icrs_to_galactic",
    "observe",
    "phase_space",
    "position",
    "to_galactocentric",
]
