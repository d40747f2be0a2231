"""A catalogue against what a model predicts of it: counts in cells of one observable."""

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import chi2 as chi2_distribution

from oortax.model.spd import SPD

# Fewer stars than this a cell say nothing.
_LEAST = 5


class Against(NamedTuple):
    """Counted and expected stars in cells of an observable.

    Attributes
    ----------
    quantity : name of the observable
    edges : (k + 1,), of the cells; the first and the last cell are open (-inf, inf)
    counted, expected : (k,), stars
    error : (k,), of their difference: counting, the nodes of the prediction, and what else was given
    chi2 : for k - 1 degrees of freedom (the sum over cells is given)
    p : probability of a larger chi2 if the model is right
    misfit : relative misfit of a typical cell beyond the noise: sqrt(chi2/(k - 1) - 1) of its relative error
    """

    quantity: str
    edges: np.ndarray
    counted: np.ndarray
    expected: np.ndarray
    error: np.ndarray
    chi2: float
    p: float
    misfit: float

    @property
    def pulls(self) -> np.ndarray:
        """(counted - expected)/error."""
        return (self.counted - self.expected) / self.error

    @property
    def worst(self) -> int:
        """The cell with the largest pull."""
        return int(np.argmax(np.abs(self.pulls)))


def cells_of(spd: SPD, quantity: str, k: int = 12) -> np.ndarray:
    """Edges of k cells of equal expected shares; the first and the last are open."""
    marks = [spd.quantile(quantity, q) for q in np.linspace(0.0, 1.0, k + 1)[1:-1]]
    return np.array([-np.inf, *marks, np.inf])


def against(
    spd: SPD, quantity: str, values: Any, cells: Any = 12, *, covariance: np.ndarray | None = None
) -> Against:
    """Compare the stars of a catalogue with a prediction, in one observable.

    Parameters
    ----------
    spd : model.SPD of the survey that made the catalogue
    quantity : name of an observable
    values : (N,), the stars'; those that are not finite are left out (whether a star has a value must not
        depend on it)
    cells : number of cells of equal expected shares, or the edges of cells, of which the first and the last
        are taken to be open
    covariance : (k, k), of the shares of the cells, added to that of counting and of the nodes: that of the
        posterior, for one

    Only the distribution is compared, not the number of stars. Raises ValueError for unknown observables,
    edges that do not increase, fewer than five stars a cell, and cells in which none is expected.

    >>> found = against(prediction, "v_los", stars["v_los"])  # doctest: +SKIP
    >>> found.p, found.pulls  # doctest: +SKIP
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    edges = cells_of(spd, quantity, cells) if np.ndim(cells) == 0 else np.array(cells, dtype=float)
    edges[[0, -1]] = -np.inf, np.inf
    histogram, k, N = spd.histogram(quantity, edges), len(edges) - 1, len(values)
    if k < 2 or _LEAST * k > N:
        raise ValueError(
            f"against({quantity!r}): {N} stars in {k} cells; two cells or more are needed, and "
            f"{_LEAST} stars for each"
        )
    counted, share = np.histogram(values, edges)[0].astype(float), histogram.values
    expected, nodes = N * share, N * histogram.errors
    if not np.all(expected > 0.0):
        empty = int(np.argmin(expected))
        raise ValueError(
            f"against({quantity!r}): no star is expected from {edges[empty]:.4g} to {edges[empty + 1]:.4g}: "
            "take wider cells, or a number of them"
        )
    variance = np.diag(expected + nodes**2)
    if covariance is not None:
        variance = variance + N**2 * np.asarray(covariance)
    # The sum over cells is given: all but one tell all.
    off, multinomial = counted - expected, N * np.outer(share, share)
    square = float(off[:-1] @ np.linalg.solve((variance - multinomial)[:-1, :-1], off[:-1]))
    return Against(
        quantity,
        edges,
        counted,
        expected,
        np.sqrt(np.diag(variance)),
        square,
        float(chi2_distribution.sf(square, k - 1)),
        float(np.sqrt(max(square / (k - 1) - 1.0, 0.0) * np.mean(np.diag(variance) / expected**2))),
    )
