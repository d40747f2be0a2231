"""Equatorial to Galactic coordinates on the host, in float64 whatever JAX's setting.

Catalogues are converted once, when they are read, with the rotation of `oortax.survey.frames`, which
does the same inside jitted functions but in JAX's default precision.
"""

import numpy as np

from oortax.survey.frames import ICRS_TO_GALACTIC


def _triad(lon, lat) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors towards a point, towards increasing longitude and towards increasing latitude, (3, N)."""
    sin_lon, cos_lon, sin_lat, cos_lat = np.sin(lon), np.cos(lon), np.sin(lat), np.cos(lat)
    radial = np.array([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat])
    east = np.array([-sin_lon, cos_lon, np.zeros_like(lon)])
    north = np.array([-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat])
    return radial, east, north


def galactic_position(ra, dec) -> tuple[np.ndarray, np.ndarray]:
    """Galactic l in [0, 2 pi) and b from ICRS ra, dec (all in rad)."""
    ra, dec = np.asarray(ra, dtype=float), np.asarray(dec, dtype=float)
    u = ICRS_TO_GALACTIC @ _triad(ra, dec)[0]
    return np.arctan2(u[1], u[0]) % (2 * np.pi), np.arctan2(u[2], np.hypot(u[0], u[1]))


def position_angle(ra, dec) -> np.ndarray:
    """The angle psi (rad) by which proper motions turn from equatorial to Galactic.

    mu_l cos b = cos(psi) mu_ra cos dec + sin(psi) mu_dec;  mu_b = -sin(psi) mu_ra cos dec + cos(psi) mu_dec.
    """
    ra, dec = np.asarray(ra, dtype=float), np.asarray(dec, dtype=float)
    l, b = galactic_position(ra, dec)
    _, east, north = _triad(ra, dec)
    galactic_east = _triad(l, b)[1]
    return np.arctan2(
        np.sum(galactic_east * (ICRS_TO_GALACTIC @ north), axis=0),
        np.sum(galactic_east * (ICRS_TO_GALACTIC @ east), axis=0),
    )


def rotate_motion(psi, mu_1, mu_2) -> tuple[np.ndarray, np.ndarray]:
    """Proper-motion components turned by psi (see `position_angle`)."""
    c, s = np.cos(psi), np.sin(psi)
    return c * mu_1 + s * mu_2, -s * mu_1 + c * mu_2


def rotate_errors(psi, sigma_1, sigma_2, corr) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard errors and correlation of proper motions turned by psi."""
    c, s = np.cos(psi), np.sin(psi)
    covariance = corr * sigma_1 * sigma_2
    var_1 = c**2 * sigma_1**2 + s**2 * sigma_2**2 + 2 * c * s * covariance
    var_2 = s**2 * sigma_1**2 + c**2 * sigma_2**2 - 2 * c * s * covariance
    cross = c * s * (sigma_2**2 - sigma_1**2) + (c**2 - s**2) * covariance
    rotated_1, rotated_2 = np.sqrt(var_1), np.sqrt(var_2)
    return rotated_1, rotated_2, cross / (rotated_1 * rotated_2)
