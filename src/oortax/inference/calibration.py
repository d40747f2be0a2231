"""Whether a fit's posteriors are calibrated: ranks and coverage over mock catalogues.

Where a truth is drawn from the prior, data from the model at that truth, and the posterior found from the
data, the posterior probability of the parameter to lie below its truth is uniform between 0 and 1 (Cook,
Gelman & Rubin 2006, J. Comp. Graph. Stat. 15, 675; Talts et al. 2018, arXiv:1804.06788). A histogram that is
high at both ends means errors claimed too small, one that leans a bias.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import binom, chi2

LEVELS = (0.5, 0.68, 0.95)
"""Central intervals whose coverage is counted."""

BAND = 0.99
"""Probability of the binomial bands."""

SIGNIFICANT = 0.01
"""Ranks are not flat where chi^2 has a smaller probability, times the number of parameters."""

_BINS, _LEAST_IN_BIN = 20, 10
# Sums of normalised weights may be so much above 1.
_ROUNDING = 1e-9


class Calibration(NamedTuple):
    """What M mocks say, by quantity (the free parameters, and what else was ranked).

    `counts` are histograms of ranks in equal bins, `p` the probability of a larger chi^2 if they are
    flat. `coverage` maps a level to the share of the truths inside that central interval, `band` a level to
    the ends of the binomial 99 % band. `pull_mean` and `pull_sd`, with standard errors
    pull_sd / sqrt(M) and pull_sd / sqrt(2 M), are of (truth - posterior mean) / posterior sd on the
    real line: near 0 and 1 where posteriors are Gaussian, but only ranks are exact.
    """

    mocks: int
    counts: dict[str, np.ndarray]
    p: dict[str, float]
    coverage: dict[str, dict[float, float]]
    band: dict[float, tuple[float, float]]
    pull_mean: dict[str, float]
    pull_sd: dict[str, float]

    @property
    def flat(self) -> bool:
        """Whether all ranks are flat: the smallest p, times the number of quantities, is at least 0.01."""
        return min(self.p.values()) * len(self.p) >= SIGNIFICANT

    def outside(self) -> list[tuple[str, float, float]]:
        """Quantity, level and coverage of what lies outside its binomial band."""
        return [
            (name, level, share)
            for name, of in self.coverage.items()
            for level, share in of.items()
            if not self.band[level][0] <= share <= self.band[level][1]
        ]

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        worst = min(self.p, key=lambda name: self.p[name])
        ranks = f"ranks are {'flat' if self.flat else 'not flat'} (smallest p {self.p[worst]:.2g}, {worst})"
        outside, cells = self.outside(), len(self.coverage) * len(LEVELS)
        if not outside:
            return f"{ranks}; all {cells} coverages lie inside their binomial 99 % bands."
        names = ", ".join(f"{name} {100 * level:.0f} % ({share:.3f})" for name, level, share in outside)
        expected = (1.0 - BAND) * cells
        return (
            f"{ranks}; {len(outside)} of {cells} coverages lie outside their binomial 99 % bands, where "
            f"{expected:.1f} are expected: {names}."
        )


def judge(
    ranks: dict[str, np.ndarray], pulls: dict[str, np.ndarray] | None = None, *, bins: int | None = None
) -> Calibration:
    """Judge ranks, by quantity: arrays (M,) of posterior probabilities below the truth.

    Parameters
    ----------
    pulls : arrays (M,) by quantity, of (truth - mean) / sd
    bins : of the histograms; by default 20, and fewer where there were less than 10 mocks in a bin

    Raises
    ------
    ValueError
        If there are no ranks, or one is not between 0 and 1.

    >>> uniform = np.random.default_rng(1).random(1000)
    >>> good, narrow = judge({"q": uniform}), judge({"q": 0.5 + 0.6 * (uniform - 0.5)})
    >>> good.flat, narrow.flat, round(good.coverage["q"][0.68], 2)
    (True, False, 0.69)
    """
    M = len(next(iter(ranks.values()))) if ranks else 0
    if M == 0:
        raise ValueError("there are no ranks to judge")
    for name, values in ranks.items():
        if values.shape != (M,) or not np.all((values >= -_ROUNDING) & (values <= 1.0 + _ROUNDING)):
            raise ValueError(f"ranks[{name!r}] must be {M} numbers between 0 and 1")
    ranks = {name: np.clip(values, 0.0, 1.0) for name, values in ranks.items()}
    bins = max(2, min(_BINS, M // _LEAST_IN_BIN)) if bins is None else bins
    counts = {
        name: np.histogram(values, np.linspace(0.0, 1.0, bins + 1))[0] for name, values in ranks.items()
    }
    expected = M / bins
    return Calibration(
        mocks=M,
        counts=counts,
        p={
            name: float(chi2.sf(np.sum((found - expected) ** 2) / expected, bins - 1))
            for name, found in counts.items()
        },
        coverage={
            name: {level: float(np.mean(np.abs(2.0 * values - 1.0) <= level)) for level in LEVELS}
            for name, values in ranks.items()
        },
        band={level: _band(M, level) for level in LEVELS},
        pull_mean={name: float(np.mean(values)) for name, values in (pulls or {}).items()},
        pull_sd={
            name: float(np.std(values, ddof=1)) if M > 1 else math.nan
            for name, values in (pulls or {}).items()
        },
    )


def _band(M: int, level: float) -> tuple[float, float]:
    low, high = binom.interval(BAND, M, level)
    return float(low) / M, float(high) / M
