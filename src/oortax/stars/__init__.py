"""Stellar populations: the distributions of absolute magnitude and colour of their stars."""

from oortax.stars.grid_magnitudes import ColourMagnitude, GridMagnitudes
from oortax.stars.imf import (
    IMFS,
    AbstractBrokenPowerLaw,
    AbstractIMF,
    BrokenPowerLaw,
    Chabrier,
    DehnenBinneyIMF,
    Kroupa,
    Salpeter,
)
from oortax.stars.isochrones import BANDS, Isochrone, Isochrones
from oortax.stars.magnitudes import AbstractMagnitudes, Gaussian, Tabulated
from oortax.stars.metallicity import (
    METALLICITIES,
    AbstractMetallicity,
    AgeMetallicity,
    Enrichment,
    FixedMetallicity,
)
from oortax.stars.population import Population, Stars
from oortax.stars.sequence import (
    ColourMagnitudeRelation,
    bhb_magnitude,
    blue_horizontal_branch,
    dwarf_sequence,
    rr_lyrae,
)
from oortax.stars.star_formation import HISTORIES, AbstractStarFormation, Burst, Constant, ExponentialDecay

MAGNITUDES: dict[str, type[AbstractMagnitudes]] = {
    "gaussian": Gaussian,
    "tabulated": Tabulated,
    "population": Population,
    "colour_magnitude_relation": ColourMagnitudeRelation,
}
"""Absolute-magnitude distributions by the `kind` used in configuration files."""

STAR_PARTS = {**IMFS, **HISTORIES, **METALLICITIES}
"""What a population is made of, by the `kind` used in configuration files."""

__all__ = [
    "BANDS",
    "HISTORIES",
    "IMFS",
    "MAGNITUDES",
    "METALLICITIES",
    "STAR_PARTS",
    "AbstractBrokenPowerLaw",
    "AbstractIMF",
    "AbstractMagnitudes",
    "AbstractMetallicity",
    "AbstractStarFormation",
    "AgeMetallicity",
    "BrokenPowerLaw",
    "Burst",
    "Chabrier",
    "ColourMagnitude",
    "ColourMagnitudeRelation",
    "Constant",
    "DehnenBinneyIMF",
    "Enrichment",
    "ExponentialDecay",
    "FixedMetallicity",
    "Gaussian",
    "GridMagnitudes",
    "Isochrone",
    "Isochrones",
    "Kroupa",
    "Population",
    "Salpeter",
    "Stars",
    "Tabulated",
    "bhb_magnitude",
    "blue_horizontal_branch",
    "dwarf_sequence",
    "rr_lyrae",
]
