"""Tori: J -> (x, v)."""

from oortax.dynamics.torus.torus import Torus, fit_torus

__all__ = ["Torus", "fit_torus"]
