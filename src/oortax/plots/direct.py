"""Pictures of direct constraints: measured and predicted values, and what is left between them."""

import numpy as np

from oortax.model.constraints import Prediction
from oortax.plots.style import DATA, MODEL, styled


@styled
def direct_constraint(prediction: Prediction, labels: tuple[str, str], *, log: bool = False, figure=None):
    """Measured points and the model above, residuals in units of the errors below; returns both Axes.

    Parameters
    ----------
    prediction : as of `model.fits(...)[name].prediction`.
    labels : of the abscissa and the ordinate, with units.
    log : logarithmic axes.
    figure : a matplotlib Figure to draw into; by default a new one.
    """
    from matplotlib import pyplot as plt

    x, y, model, minus, plus = (np.asarray(values, dtype=float) for values in prediction)
    figure = plt.figure(figsize=(5.6, 4.4)) if figure is None else figure
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1), gridspec_kw={"hspace": 0.05})
    order = np.argsort(x)
    upper.errorbar(x, y, (minus, plus), fmt="o", color=DATA, ms=2.6, lw=0.7, label="measured", zorder=2)
    upper.plot(x[order], model[order], "x", color=MODEL, ms=4.0, mew=1.2, label="model", zorder=3)
    d = y - model
    lower.plot(x, d / np.where(d < 0, plus, minus), "o", color=DATA, ms=2.6)
    lower.axhline(0.0, color=MODEL, lw=1.0)
    if log:
        upper.set(xscale="log", yscale="log")
    upper.set_ylabel(labels[1])
    upper.legend(loc="best")
    lower.set(xlabel=labels[0], ylabel="residual / error")
    return np.array([upper, lower])
