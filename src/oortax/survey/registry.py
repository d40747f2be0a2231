"""The selections that configuration files know."""

from oortax.survey.combine import Complement, Intersection, Union
from oortax.survey.completeness import Completeness, CompletenessGrid, VelocityCompleteness
from oortax.survey.fields import Fields
from oortax.survey.footprints import AbsLatitude, Cone, Declination, Latitude, Longitude, Polygon
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
from oortax.survey.selection import AbstractSelection

SELECTIONS: dict[str, type[AbstractSelection]] = {
    cls.kind: cls
    for cls in (
        Magnitude,
        AbsoluteMagnitude,
        Colour,
        Parallax,
        ParallaxSNR,
        DistanceModulus,
        ProperMotion,
        LineOfSightVelocity,
        AbsLatitude,
        Latitude,
        Longitude,
        Cone,
        Declination,
        Polygon,
        HealpixMap,
        Fields,
        Completeness,
        CompletenessGrid,
        VelocityCompleteness,
        Intersection,
        Union,
        Complement,
    )
}
"""Selections by the `kind` used in configuration files."""
