"""oortax: the Galaxy's potential and the distribution functions of its stars, with gradients.

>>> import oortax as ox
>>> ox.enable_x64()
>>> pot = ox.potential.mw_potential_2014()
>>> round(float(ox.potential.circular_velocity(pot, 8.0)), 3)
220.0
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oortax import (
        constants,
        data,
        df,
        dynamics,
        inference,
        io,
        model,
        numerics,
        params,
        plots,
        potential,
        results,
        stars,
        survey,
    )

__version__ = "0.1.0"

__all__ = [
    "constants",
    "data",
    "df",
    "dynamics",
    "enable_x64",
    "inference",
    "io",
    "model",
    "numerics",
    "params",
    "plots",
    "potential",
    "results",
    "stars",
    "survey",
]


def enable_x64() -> None:
    """Switch JAX to float64, which action finders, tori and fits need.

    Call it once, before arrays are made. Importing oortax changes no setting.
    """
    import jax

    jax.config.update("jax_enable_x64", True)


def __getattr__(name: str) -> Any:
    """Import a subpackage when it is first used, so that `oortax --help` need not wait for JAX."""
    if name in __all__:
        return importlib.import_module(f"oortax.{name}")
    raise AttributeError(f"module 'oortax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
