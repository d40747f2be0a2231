"""Inference: the posterior of a model, its maximum, its Gaussian approximation and its draws.

`posterior` -> `maximise` -> `laplace` -> `sample`; `oortax.inference.diagnose` judges the draws. It
is not imported here, because ArviZ takes seconds to import. `forecast` says what a planned survey would tell,
`correct` draws from a posterior near its Gaussian, `judge` says whether posteriors are calibrated, and
`leave_one_out` which of several models predicts best.
"""

from oortax.inference.calibration import Calibration, judge
from oortax.inference.forecast import Forecast, constraint_information, forecast
from oortax.inference.importance import K_HAT, WeightedDraws, correct
from oortax.inference.laplace import Laplace, laplace
from oortax.inference.loo import Predicted, leave_one_out, read_draws
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
    "Predicted",
    "Samples",
    "Status",
    "WeightedDraws",
    "constraint_information",
    "correct",
    "forecast",
    "judge",
    "laplace",
    "leave_one_out",
    "maximise",
    "read_draws",
    "sample",
]
