"""oortax: the Galaxy's potential and the distribution functions of its stars, with gradients.

>>> import oortax as ox
>>> ox.enable_x64()
>>> pot = ox.potential.mw_potential_2014()
>>> round(float(ox.potential.circular_velocity(pot, 8.0)), 3)
220.0
"""

from oortax import constants, dynamics, df, inference, io, model, params, plots, potential, results, stars, survey

__version__ = "0.1.0"


def enable_x64() -> None:
    """Switch JAX to float64, which action finders, tori and fits need.

    Call it once, before arrays are made. Importing oortax changes no setting.
    """
    import jax

    jax.config.update("jax_enable_x64", True)


__all__ = [
    "constants",
    "df",
    "dynamics",
    "enable_x64",
    "inference",
    "io",
    "model",
    "params",
    "plots",
    "potential",
    "results",
    "stars",
    "survey",
]
