"""Galaxy, catalogue, nodes and the likelihood that joins them; direct constraints; mock catalogues."""

from oortax.model.binned import BinnedCatalogue, bin_catalogue, binned_noise, log_likelihood_binned
from oortax.model.binned import expected as binned_expected
from oortax.model.catalogue import Catalogue
from oortax.model.constraints import (
    CONSTRAINTS,
    AbstractConstraint,
    CircularVelocity,
    ConstraintFit,
    DensityRatio,
    EnclosedMass,
    GasLayer,
    Masers,
    SgrAProperMotion,
    SurfaceDensity,
    TerminalVelocities,
    VerticalForce,
    enclosed_mass,
    fits,
    half_width,
    log_constraints,
    parallax_nodes,
    surface_density,
)
from oortax.model.coverage import Coverage, coverage
from oortax.model.db96 import db96_galaxy, db96_survey
from oortax.model.density import DensityGrid, density_grid
from oortax.model.diagnose import Diagnosis, diagnose, evaluations
from oortax.model.galaxy import Component, Galaxy, Model, Outliers
from oortax.model.likelihood import (
    Derived,
    PerStar,
    Settings,
    derive,
    log_likelihood,
    log_normalisation,
    per_star,
    star_points,
)
from oortax.model.nodes import Nodes, StarNodes, VolumeNodes, make_nodes
from oortax.model.predict import Mock, MockReport, predict
from oortax.model.spd import SPD, spd, spd_of_nodes
from oortax.model.survey_nodes import SurveyNodes, node_weights, survey_nodes
from oortax.model.torus_spd import spd_by_tori

__all__ = [
    "CONSTRAINTS",
    "AbstractConstraint",
    "BinnedCatalogue",
    "Catalogue",
    "CircularVelocity",
    "Component",
    "ConstraintFit",
    "Coverage",
    "DensityGrid",
    "DensityRatio",
    "Derived",
    "Diagnosis",
    "EnclosedMass",
    "Galaxy",
    "GasLayer",
    "Masers",
    "Mock",
    "MockReport",
    "Model",
    "Nodes",
    "Outliers",
    "PerStar",
    "SPD",
    "Settings",
    "SgrAProperMotion",
    "StarNodes",
    "SurveyNodes",
    "SurfaceDensity",
    "TerminalVelocities",
    "VerticalForce",
    "VolumeNodes",
    "bin_catalogue",
    "binned_expected",
    "binned_noise",
    "coverage",
    "db96_galaxy",
    "db96_survey",
    "density_grid",
    "derive",
    "diagnose",
    "enclosed_mass",
    "evaluations",
    "fits",
    "half_width",
    "log_constraints",
    "log_likelihood",
    "log_likelihood_binned",
    "log_normalisation",
    "make_nodes",
    "node_weights",
    "parallax_nodes",
    "per_star",
    "predict",
    "spd",
    "spd_by_tori",
    "spd_of_nodes",
    "star_points",
    "surface_density",
    "survey_nodes",
]
