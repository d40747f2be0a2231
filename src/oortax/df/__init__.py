"""Distribution functions f(J): discs, spheroids and their mixtures."""

from oortax.df.action_integral import ActionIntegral, action_integral
from oortax.df.aged_disc import AgedDisc, BoundAgedDisc
from oortax.df.base import AbstractDF, where_bound
from oortax.df.cored_halo import BoundCoredHalo, CoredHalo
from oortax.df.db96_disc import BoundDB96Disc, DB96Disc
from oortax.df.db96_halo import DB96Halo
from oortax.df.double_power_law import DoublePowerLaw
from oortax.df.draw_actions import ActionDraws, draw_actions, sample_actions
from oortax.df.draw_in_region import Region, RegionDraws, draw_in_region
from oortax.df.draw_stars import Stars, draw_stars
from oortax.df.draw_velocities import VelocityDraws, draw_velocities
from oortax.df.fit_spline import LocalMoments, SplineFit, fit_spline, observed_moments
from oortax.df.generated_density import DensityGrid, GeneratedDensity
from oortax.df.hernquist_sphere import HernquistSphere
from oortax.df.isochrone_sphere import IsochroneSphere
from oortax.df.local_actions import LocalActions, LocalStars, local_actions
from oortax.df.mixture import BoundMixture, Mixture
from oortax.df.moments import Moments, component_moments, log_density, moments, moments_with_error
from oortax.df.profiles import (
    anisotropy,
    asymmetric_drift,
    surface_density,
    tilt,
    velocity_distribution,
)
from oortax.df.quasi_isothermal import BoundQuasiIsothermal, QuasiIsothermal
from oortax.df.self_consistency import SelfConsistent, self_consistent, self_consistent_near
from oortax.df.smoothness import SmoothnessPrior
from oortax.df.spline_df import SplineDF
from oortax.df.tapered_exponential import TaperedExponential
from oortax.df.velocity import VelocityRule

DFS: dict[str, type[AbstractDF]] = {
    "QuasiIsothermal": QuasiIsothermal,
    "AgedDisc": AgedDisc,
    "TaperedExponential": TaperedExponential,
    "DoublePowerLaw": DoublePowerLaw,
    "DB96Disc": DB96Disc,
    "DB96Halo": DB96Halo,
    "CoredHalo": CoredHalo,
    "IsochroneSphere": IsochroneSphere,
    "SplineDF": SplineDF,
    "HernquistSphere": HernquistSphere,
}
"""Kinds of DF that a configuration file may name; every contract test runs over them."""

__all__ = [
    "DFS",
    "AbstractDF",
    "ActionDraws",
    "ActionIntegral",
    "AgedDisc",
    "BoundAgedDisc",
    "BoundCoredHalo",
    "BoundDB96Disc",
    "BoundMixture",
    "BoundQuasiIsothermal",
    "CoredHalo",
    "DB96Disc",
    "DB96Halo",
    "DensityGrid",
    "DoublePowerLaw",
    "GeneratedDensity",
    "HernquistSphere",
    "IsochroneSphere",
    "LocalActions",
    "LocalMoments",
    "LocalStars",
    "Mixture",
    "Moments",
    "QuasiIsothermal",
    "Region",
    "RegionDraws",
    "SelfConsistent",
    "SmoothnessPrior",
    "SplineDF",
    "SplineFit",
    "Stars",
    "TaperedExponential",
    "VelocityDraws",
    "VelocityRule",
    "action_integral",
    "anisotropy",
    "asymmetric_drift",
    "component_moments",
    "draw_actions",
    "draw_in_region",
    "draw_stars",
    "draw_velocities",
    "fit_spline",
    "local_actions",
    "log_density",
    "moments",
    "moments_with_error",
    "observed_moments",
    "sample_actions",
    "self_consistent",
    "self_consistent_near",
    "surface_density",
    "tilt",
    "velocity_distribution",
    "where_bound",
]
