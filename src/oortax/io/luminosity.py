"""The absolute-magnitude distribution of a magnitude-limited catalogue, free of its bias to bright stars."""

import numpy as np


def luminosity_function(
    V: np.ndarray,
    parallax: np.ndarray,
    *,
    faint: float,
    low: float,
    high: float,
    bins: int,
    margin: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """ln F(M) on a grid of absolute magnitudes, by Lynden-Bell's (1971) C^- method.

    Bright stars are seen to greater distance than faint ones, so that counts in M are biased. If M
    is independent of distance, then among the stars near enough to be seen at the magnitude M the
    counts are fair, and those samples, one per bin edge, chain into the cumulative distribution:

        F(< M_{j+1}) / F(< M_j) = n(M < M_{j+1}, m - M <= faint - M_{j+1}) / n(M < M_j, same).

    Parameters
    ----------
    V, parallax : shape (N,), mag and mas
        M = V + 5 log10(parallax / 100); rows outside [low, high) or fainter than `faint` are left out.
    faint : mag
        The catalogue's faint limit in V (infinity: no limit).
    low, high : mag
        Range of M that the catalogue holds.
    bins : number of bins
    margin : mag
        The result is continued flat by this much on either side, because true magnitudes
        scatter across cuts on observed ones.

    Returns
    -------
    M, log_F : shape (bins + 2,)
        Bin centres between the two ends, low - margin and high + margin, and ln F there, with
        trapezium sum 1.

    Raises ValueError if a bin is empty or too few stars overlap.

    Accuracy: Poisson noise of the counts; extinction and parallax errors are not corrected.

    >>> rng = np.random.default_rng(1)
    >>> parallax, M = 1 / rng.uniform(0.2, 1.5, 20000) ** (1 / 3), rng.uniform(0.0, 1.0, 20000)
    >>> V = M - 5 * np.log10(parallax / 100)
    >>> _, log_F = luminosity_function(V, parallax, faint=10.5, low=0.0, high=1.0, bins=4)
    >>> bool(np.all(np.abs(log_F) < 0.1))  # F = 1
    True
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        modulus = -5 * np.log10(parallax / 100)
    M = V - modulus
    use = np.isfinite(M) & (M >= low) & (M < high) & (V <= faint)
    M, modulus = M[use], modulus[use]
    if len(M) < 10 * bins:
        raise ValueError(
            f"{len(M)} stars with {low:g} < M < {high:g} are too few for a luminosity function in {bins} "
            'bins; give stars = {kind = "Gaussian", ...} or fewer bins'
        )
    edges = np.linspace(low, high, bins + 1)
    log_cumulative = np.zeros(bins + 1)
    for j in range(1, bins):
        near = modulus <= faint - edges[j + 1]
        brighter, all_ = (np.count_nonzero(near & (M < edge)) for edge in (edges[j], edges[j + 1]))
        if brighter == 0 or all_ == brighter:
            raise ValueError(
                f"no star bridges M = {edges[j]:.2f} to {edges[j + 1]:.2f} within the distance to which both "
                "are seen: use fewer bins, a narrower range of M or a given distribution"
            )
        log_cumulative[j + 1] = log_cumulative[j] + np.log(all_ / brighter)
    cumulative = np.exp(log_cumulative - log_cumulative[-1])
    cumulative[0] = 0.0
    centres = 0.5 * (edges[1:] + edges[:-1])
    density = np.diff(cumulative) / np.diff(edges)
    knots = np.concatenate([[low - margin], centres, [high + margin]])
    density = np.concatenate([density[:1], density, density[-1:]])
    return knots, np.log(density / np.trapezoid(density, knots))
