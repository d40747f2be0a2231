"""Stellar populations: the distribution of absolute magnitude of their stars."""

from oortax.stars.magnitudes import MAGNITUDES, AbstractMagnitudes, Gaussian, Tabulated

__all__ = ["MAGNITUDES", "AbstractMagnitudes", "Gaussian", "Tabulated"]
