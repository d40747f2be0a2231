"""Galaxy, catalogue, nodes and the likelihood that joins them; mock catalogues."""

from oortax.model.catalogue import Catalogue
from oortax.model.constraints import CONSTRAINTS, log_circular_velocity
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
)
from oortax.model.nodes import Nodes, StarNodes, VolumeNodes, make_nodes
from oortax.model.predict import Mock, MockReport, predict

__all__ = [
    "CONSTRAINTS",
    "Catalogue",
    "Component",
    "DensityGrid",
    "Derived",
    "Diagnosis",
    "Galaxy",
    "Mock",
    "MockReport",
    "Model",
    "Nodes",
    "Outliers",
    "PerStar",
    "Settings",
    "StarNodes",
    "VolumeNodes",
    "density_grid",
    "derive",
    "diagnose",
    "evaluations",
    "log_circular_velocity",
    "log_likelihood",
    "log_normalisation",
    "make_nodes",
    "per_star",
    "predict",
]
