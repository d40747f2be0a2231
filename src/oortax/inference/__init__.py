"""Inference: the posterior of a model, its maximum, its Gaussian approximation and its draws.

`posterior` -> `maximise` -> `laplace` -> `sample`; `oortax.inference.diagnose` judges the draws. It
is not imported here, because ArviZ takes seconds to import. `forecast` says what a planned survey would tell,
`correct` draws from a posterior near its Gaussian, and `judge` says whether posteriors are calibrated.
"""

from oortax.inference.calibration import Calibration, judge
from oortax.inference.forecast import Forecast, constraint_information, forecast
from oortax.inference.importance import K_HAT, WeightedDraws, correct
from oortax.inference.laplace import Laplace, laplace
from oortax.inference.optimise import Maximum, maximise
from oortax.inference.posterior import Posterior
from oortax.inference.sample import Ahead, Samples, Status, sample

__all__ = [
    "K_HAT",
    "Ahead",
    "Calibration",
    "Forecast",
    "Laplace",
    "Maximum",
    "Posterior",
    "Samples",
    "Status",
    "WeightedDraws",
    "constraint_information",
    "correct",
    "forecast",
    "judge",
    "laplace",
    "maximise",
    "sample",
]
