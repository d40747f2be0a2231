"""Inference: the posterior of a model, its maximum, its Gaussian approximation and its draws.

`posterior` -> `maximise` -> `laplace` -> `sample`; `oortax.inference.diagnose` judges the draws. It
is not imported here, because ArviZ takes seconds to import.
"""

from oortax.inference.laplace import Laplace, laplace
from oortax.inference.optimise import Maximum, maximise
from oortax.inference.posterior import Posterior
from oortax.inference.sample import Ahead, Samples, Status, sample

__all__ = ["Ahead", "Laplace", "Maximum", "Posterior", "Samples", "Status", "laplace", "maximise", "sample"]
