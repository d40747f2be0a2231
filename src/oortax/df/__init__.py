"""Distribution functions f(J): discs, spheroids and their mixtures."""

from oortax.df.base import AbstractDF
from oortax.df.db96 import DB96Halo
from oortax.df.double_power_law import DoublePowerLaw
from oortax.df.draw_actions import ActionDraws, draw_actions, sample_actions
from oortax.df.draw_in_region import Region, RegionDraws, draw_in_region
from oortax.df.draw_stars import Stars, draw_stars
from oortax.df.draw_velocities import VelocityDraws, draw_velocities
from oortax.df.mixture import BoundMixture, Mixture
from oortax.df.moments import Moments, log_density, moments
from oortax.df.quasi_isothermal import BoundQuasiIsothermal, QuasiIsothermal
from oortax.df.velocity import VelocityRule

DFS: dict[str, type[AbstractDF]] = {
    "QuasiIsothermal": QuasiIsothermal,
    "DoublePowerLaw": DoublePowerLaw,
    "DB96Halo": DB96Halo,
}
"""Kinds of DF that a configuration file may name; every contract test runs over them."""

__all__ = [
    "DFS",
    "AbstractDF",
    "ActionDraws",
    "BoundMixture",
    "BoundQuasiIsothermal",
    "DB96Halo",
    "DoublePowerLaw",
    "Mixture",
    "Moments",
    "QuasiIsothermal",
    "Region",
    "RegionDraws",
    "Stars",
    "VelocityDraws",
    "VelocityRule",
    "draw_actions",
    "draw_in_region",
    "draw_stars",
    "draw_velocities",
    "log_density",
    "moments",
    "sample_actions",
]
