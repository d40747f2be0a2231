"""Pictures of fits: functions that take an Axes and return it, and the report that gathers them.

matplotlib is imported when the first name is used, not by `import oortax`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oortax.plots.actions import action_plane, recovered_actions
    from oortax.plots.calibration import coverage, forecast_widths, rank_histograms
    from oortax.plots.direct import direct_constraint
    from oortax.plots.hero import overview
    from oortax.plots.kinematics import velocity_ellipsoids, velocity_marginals, vertical_profiles
    from oortax.plots.literature import compare, measurements
    from oortax.plots.mass_models import (
        axis_ratios,
        equidensities,
        local_axis_ratios,
        vertical_force_over_R,
        vertical_force_over_z,
    )
    from oortax.plots.posterior import corner, joint, marginal, prior_posterior, trace
    from oortax.plots.potential import (
        equipotentials,
        local_quantities,
        potentials_at,
        rotation_curve,
        vertical_force,
    )
    from oortax.plots.predictive import compare_counts, heliocentric, histogram, predictive_grid
    from oortax.plots.report import Picture, parameter_rows, write_report
    from oortax.plots.spd import db96_figures, save_picture, spd_contours, spd_histogram
    from oortax.plots.style import STYLE, style
    from oortax.plots.tori import generating_function, surface_of_section, torus_accuracy, torus_and_orbit

_HOMES = {
    "actions": ("action_plane", "recovered_actions"),
    "calibration": ("coverage", "forecast_widths", "rank_histograms"),
    "direct": ("direct_constraint",),
    "hero": ("overview",),
    "kinematics": ("velocity_ellipsoids", "velocity_marginals", "vertical_profiles"),
    "literature": ("compare", "measurements"),
    "mass_models": (
        "axis_ratios",
        "equidensities",
        "local_axis_ratios",
        "vertical_force_over_R",
        "vertical_force_over_z",
    ),
    "posterior": ("corner", "joint", "marginal", "prior_posterior", "trace"),
    "potential": (
        "equipotentials",
        "local_quantities",
        "potentials_at",
        "rotation_curve",
        "vertical_force",
    ),
    "predictive": ("compare_counts", "heliocentric", "histogram", "predictive_grid"),
    "report": ("Picture", "parameter_rows", "write_report"),
    "spd": ("db96_figures", "save_picture", "spd_contours", "spd_histogram"),
    "style": ("STYLE", "style"),
    "tori": ("generating_function", "surface_of_section", "torus_accuracy", "torus_and_orbit"),
}

__all__ = [
    "STYLE",
    "Picture",
    "action_plane",
    "axis_ratios",
    "compare",
    "compare_counts",
    "corner",
    "coverage",
    "db96_figures",
    "direct_constraint",
    "equidensities",
    "equipotentials",
    "forecast_widths",
    "generating_function",
    "heliocentric",
    "histogram",
    "joint",
    "local_axis_ratios",
    "local_quantities",
    "marginal",
    "measurements",
    "overview",
    "parameter_rows",
    "potentials_at",
    "predictive_grid",
    "prior_posterior",
    "rank_histograms",
    "recovered_actions",
    "rotation_curve",
    "save_picture",
    "spd_contours",
    "spd_histogram",
    "style",
    "surface_of_section",
    "torus_accuracy",
    "torus_and_orbit",
    "trace",
    "velocity_ellipsoids",
    "velocity_marginals",
    "vertical_force",
    "vertical_force_over_R",
    "vertical_force_over_z",
    "vertical_profiles",
    "write_report",
]


def __getattr__(name: str):
    for home, names in _HOMES.items():
        if name == home:
            return importlib.import_module(f"oortax.plots.{home}")
        if name in names:
            return getattr(importlib.import_module(f"oortax.plots.{home}"), name)
    raise AttributeError(f"module 'oortax.plots' has no attribute {name!r}")


def __dir__():
    return sorted([*__all__, *_HOMES])
