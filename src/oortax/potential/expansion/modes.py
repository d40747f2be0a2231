"""Angular modes on a grid that is as fine at the plane as a disc needs."""

import functools
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from oortax.numerics.bspline import pieces
from oortax.potential.expansion.grid import Grid, angular_coordinate, angular_range


class Modes(NamedTuple):
    """The K angular modes of a grid, in numbers that depend on no parameter.

    Modes Y_k solve d/dmu (1 - mu^2) dY/dmu = -l(l+1) Y among the splines in tau, 0 <= mu <= 1, without slope
    in the plane and on the axis, and are orthonormal in mu = sin(latitude). They are Legendre polynomials of
    even l as long as these are resolved, and fine structure near the plane or the axis in place of those of
    high l.
    """

    mu: np.ndarray  # (Q,) quadrature nodes, and sqrt(1 - mu^2)
    cosine: np.ndarray
    project: np.ndarray  # (Q, K): f at the nodes -> int_0^1 f Y_k dmu
    coefficients: np.ndarray  # (K, n_theta + degree): of the splines
    l: np.ndarray  # (K,) multipole orders, not whole numbers at the high end
    Y_0: float  # the constant mode


@functools.cache
def modes(grid: Grid) -> Modes:
    """The modes of a grid by Galerkin's method."""
    n, degree = grid.n_theta, grid.degree
    low, high = angular_range()
    latitude = _latitudes(low + (high - low) * np.arange(n + 1) / n)
    x, w = np.polynomial.legendre.leggauss(degree)
    width = np.diff(latitude)[:, None]
    nodes = latitude[:-1, None] + 0.5 * width * (x + 1.0)
    mu, cosine = np.sin(nodes), np.cos(nodes)
    weight = 0.5 * width * w * cosine
    u = np.clip((_tau(nodes) - low) / (high - low) * n - np.arange(n)[:, None], 0.0, 1.0)
    # dtau/dmu by differences in the latitude: the coordinate is smooth on the scale of a cell.
    step = 1e-5 * width
    slope = (_tau(nodes + step) - _tau(nodes - step)) / (2.0 * step) * n / (high - low) / cosine
    value = np.zeros((n, degree, n + degree))
    derivative = np.zeros_like(value)
    for cell in range(n):
        place = slice(cell, cell + degree + 1)
        value[cell, :, place] = np.polynomial.polynomial.polyval(u[cell], pieces(degree).T).T
        derivative[cell, :, place] = np.polynomial.polynomial.polyval(u[cell], pieces(degree, 1).T).T
    value, derivative = (a.reshape(-1, n + degree) for a in (value, derivative))
    flat_weight, flat_slope, flat_cosine = weight.ravel(), slope.ravel(), cosine.ravel()
    mass = value.T @ (flat_weight[:, None] * value)
    stiffness = derivative.T @ ((flat_weight * (flat_cosine * flat_slope) ** 2)[:, None] * derivative)
    even = _without_slopes(n + degree, degree)
    eigenvalues, vectors = eigh(even.T @ stiffness @ even, even.T @ mass @ even)
    eigenvalues[0] = 0.0
    vectors = even @ vectors
    vectors[:, 0] = 1.0
    Y = value @ vectors
    return Modes(
        mu.ravel(),
        flat_cosine,
        flat_weight[:, None] * Y,
        np.ascontiguousarray(vectors.T),
        np.sqrt(0.25 + eigenvalues) - 0.5,
        1.0,
    )


def _without_slopes(size: int, degree: int) -> np.ndarray:
    """Basis of the splines whose slope vanishes at both ends, as potentials' does by symmetry."""
    slope = pieces(degree, 1)[:, 0]
    every = np.eye(size)
    # The first coefficient follows from the next ones, and the last from those before it.
    every[0, 1 : degree + 1] = -slope[1:] / slope[0]
    every[-1, -degree - 1 : -1] = (-slope[1:] / slope[0])[::-1]
    return every[:, 1:-1]


def _tau(latitude):
    return angular_coordinate(np.sin(latitude) ** 2, np.cos(latitude) ** 2, np)


def _latitudes(tau: np.ndarray) -> np.ndarray:
    """Latitudes where the coordinate has the given, increasing values from the plane to the axis."""
    low, high = np.zeros_like(tau), np.full_like(tau, 0.5 * np.pi)
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = _tau(middle) > tau
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    latitude = 0.5 * (low + high)
    latitude[0], latitude[-1] = 0.0, 0.5 * np.pi
    return latitude
