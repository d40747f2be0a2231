"""Frames: ICRS and Galactic sky, heliocentric observables, and the dynamics frame.

The dynamics frame is left-handed: the Sun sits at (R0, 0, z0), the disc rotates towards +y, z
points to the north Galactic pole, and J_phi = x v_y - y v_x is positive for the disc. Written with
heliocentric Cartesians (X to l = 0, Y to l = 90 deg, Z to the pole) and their rates (u, v, w),

    x = (R0 - X, Y, Z + z0),    v = (-(u + U), v + v_c(R0) + V, w + W).

The plane is taken to contain the direction (l, b) = (0, 0) shifted down by z0: no tilt. Angles are
radians, proper motions mas/yr with mu_l = dl/dt cos b, distances kpc, velocities km/s. Every
function takes one star. All maps are differentiable; at the poles, where longitude is undefined, it
is set to zero and its derivatives vanish, so that no NaN arises.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.constants import KAPPA
from oortax.survey.sun import Sun
from oortax.types import Scalar, Vec3


class Observables(NamedTuple):
    """One star as seen from the Sun: rad, rad, kpc, mas/yr (with cos b), mas/yr, km/s."""

    l: Scalar
    b: Scalar
    s: Scalar
    mu_l: Scalar
    mu_b: Scalar
    v_los: Scalar


def _axis_rotation(degrees: float, axis: str) -> np.ndarray:
    """Matrix that turns the coordinate axes by an angle about x, y or z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = {
        "x": [[1, 0, 0], [0, c, s], [0, -s, c]],
        "y": [[c, 0, -s], [0, 1, 0], [s, 0, c]],
        "z": [[c, s, 0], [-s, c, 0], [0, 0, 1]],
    }[axis]
    return np.array(matrix, dtype=np.float64)


_MAS = 1.0 / 3.6e6
# ICRS -> FK5 (J2000): pole offsets xi_0 = 9.1, eta_0 = -19.9 and equinox offset -22.9 mas (Mignard 2000).
_ICRS_TO_FK5 = (
    _axis_rotation(19.9 * _MAS, "x") @ _axis_rotation(9.1 * _MAS, "y") @ _axis_rotation(-22.9 * _MAS, "z")
)
# FK5 (J2000) -> Galactic: the IAU 1958 pole and zero point precessed to J2000 (Reid & Brunthaler 2004).
_FK5_TO_GALACTIC = (
    _axis_rotation(180.0 - 122.9319185680026, "z")
    @ _axis_rotation(90.0 - 27.12825118085622, "y")
    @ _axis_rotation(192.8594812065348, "z")
)
ICRS_TO_GALACTIC = _FK5_TO_GALACTIC @ _ICRS_TO_FK5
"""Rotation matrix from ICRS to Galactic Cartesian components."""


def _radial(lon, lat) -> Vec3:
    return jnp.stack([jnp.cos(lat) * jnp.cos(lon), jnp.cos(lat) * jnp.sin(lon), jnp.sin(lat)])


def _tangents(lon, lat) -> tuple[Vec3, Vec3]:
    """Unit vectors along increasing longitude and latitude."""
    east = jnp.stack([-jnp.sin(lon), jnp.cos(lon), jnp.zeros_like(lon)])
    north = jnp.stack([-jnp.sin(lat) * jnp.cos(lon), -jnp.sin(lat) * jnp.sin(lon), jnp.cos(lat)])
    return east, north


def _angles(n: Vec3) -> tuple[Scalar, Scalar]:
    """Longitude in [0, 2 pi) and latitude of a vector, with zero instead of NaN derivatives at the poles."""
    rho2 = n[0] ** 2 + n[1] ** 2
    polar = rho2 == 0
    rho = jnp.where(polar, 0.0, jnp.sqrt(jnp.where(polar, 1.0, rho2)))
    lon = jnp.arctan2(jnp.where(polar, 0.0, n[1]), jnp.where(polar, 1.0, n[0]))
    return jnp.where(lon < 0, lon + 2 * jnp.pi, lon), jnp.arctan2(n[2], rho)


def _rotate_sky(matrix, lon, lat, pm_lon, pm_lat):
    lon, lat, pm_lon, pm_lat = (jnp.asarray(value) for value in (lon, lat, pm_lon, pm_lat))
    matrix = jnp.asarray(matrix, dtype=jnp.result_type(lon, lat))
    east, north = _tangents(lon, lat)
    new_lon, new_lat = _angles(matrix @ _radial(lon, lat))
    motion = matrix @ (pm_lon * east + pm_lat * north)
    new_east, new_north = _tangents(new_lon, new_lat)
    return new_lon, new_lat, motion @ new_east, motion @ new_north


def icrs_to_galactic(ra, dec, pm_ra=0.0, pm_dec=0.0) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """Galactic (l, b, mu_l, mu_b) from ICRS (rad; proper motions with cos dec and cos b).

    Accuracy: rounding (astropy's chain ICRS -> FK5 -> Galactic is reproduced to 1e-14 rad).

    >>> import numpy as np
    >>> l, b, mu_l, mu_b = icrs_to_galactic(np.radians(266.4051), np.radians(-28.936175), 1.0, 0.0)
    >>> bool(abs(b) < 1e-4), round(float(mu_l**2 + mu_b**2), 6)
    (True, 1.0)
    """
    return _rotate_sky(ICRS_TO_GALACTIC, ra, dec, pm_ra, pm_dec)


def galactic_to_icrs(l, b, mu_l=0.0, mu_b=0.0) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """ICRS (ra, dec, mu_ra, mu_dec) from Galactic: the inverse of `icrs_to_galactic`."""
    return _rotate_sky(ICRS_TO_GALACTIC.T, l, b, mu_l, mu_b)


def position(sun: Sun, l, b, s) -> Vec3:
    """Position (kpc) in the dynamics frame of a star at Galactic (l, b) and distance s.

    >>> [round(float(c), 3) for c in position(Sun(R0=8.0, z0=0.02), 0.0, 0.0, 1.0)]
    [7.0, 0.0, 0.02]
    """
    l, b, s = jnp.asarray(l), jnp.asarray(b), jnp.asarray(s)
    X = s * _radial(l, b)
    return jnp.stack([sun.R0 - X[0], X[1], X[2] + sun.z0])


def phase_space(sun: Sun, v_c0, l, b, s, mu_l, mu_b, v_los) -> tuple[Vec3, Vec3]:
    """Position (kpc) and velocity (km/s) in the dynamics frame from heliocentric observables.

    Parameters
    ----------
    sun : Sun
        The Sun's place and peculiar motion.
    v_c0 : shape (), km/s
        Circular speed at R0, to which `sun.V` adds.
    l, b, s, mu_l, mu_b, v_los : shape ()
        Galactic longitude and latitude (rad), distance (kpc), proper motions (mas/yr, mu_l with
        cos b) and line-of-sight velocity (km/s).

    >>> x, v = phase_space(Sun(R0=8.0, z0=0.0), 220.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    >>> [round(float(c), 2) for c in v], float(x[0] * v[1] - x[1] * v[0]) > 0
    ([-11.1, 232.24, 7.25], True)
    """
    l, b, s = jnp.asarray(l), jnp.asarray(b), jnp.asarray(s)
    east, north = _tangents(l, b)
    u = v_los * _radial(l, b) + KAPPA * s * (mu_l * east + mu_b * north)
    v = jnp.stack([-(u[0] + sun.U), u[1] + v_c0 + sun.V, u[2] + sun.W])
    return position(sun, l, b, s), v


def _heliocentric(sun: Sun, v_c0, x: Vec3, v: Vec3) -> tuple[Vec3, Vec3]:
    """Heliocentric Galactic Cartesian position (kpc) and velocity relative to the Sun (km/s)."""
    X = jnp.stack([sun.R0 - x[0], x[1], x[2] - sun.z0])
    u = jnp.stack([-v[0] - sun.U, v[1] - v_c0 - sun.V, v[2] - sun.W])
    return X, u


def observe(sun: Sun, v_c0, x: Vec3, v: Vec3) -> Observables:
    """Heliocentric observables of a star at (x, v): the inverse of `phase_space`.

    A star exactly at the Sun's place has no direction: it gets l = b = 0 and NaN proper motions.

    >>> sun = Sun()
    >>> x, v = phase_space(sun, 230.0, 1.0, -0.5, 2.0, 3.0, -4.0, 50.0)
    >>> [round(float(q), 9) for q in observe(sun, 230.0, x, v)]
    [1.0, -0.5, 2.0, 3.0, -4.0, 50.0]
    """
    X, u = _heliocentric(sun, v_c0, jnp.asarray(x), jnp.asarray(v))
    s2 = X @ X
    here = s2 == 0
    s = jnp.where(here, 0.0, jnp.sqrt(jnp.where(here, 1.0, s2)))
    l, b = _angles(X)
    east, north = _tangents(l, b)
    scale = jnp.where(here, jnp.nan, 1.0 / (KAPPA * jnp.where(here, 1.0, s)))
    return Observables(l, b, s, scale * (u @ east), scale * (u @ north), u @ _radial(l, b))


def pole_motions(l, b, mu_l, mu_b) -> tuple[Scalar, Scalar]:
    """Proper motion towards l = 0 and towards l = 90 deg (mas/yr), the components DB96 use at the pole.

    They are the Cartesian X and Y components of the motion on the sky; at the poles, where longitude turns
    within any field, nothing is lost: mu_0^2 + mu_90^2 = mu_l^2 + mu_b^2 there.

    >>> mu_0, mu_90 = pole_motions(np.pi / 2, np.pi / 2, 3.0, 1.0)
    >>> round(float(mu_0), 9), round(float(mu_90), 9)
    (-3.0, -1.0)
    """
    east, north = _tangents(jnp.asarray(l), jnp.asarray(b))
    mu = mu_l * east + mu_b * north
    return mu[0], mu[1]


class Galactocentric(NamedTuple):
    """Parameters of astropy's right-handed, tilted Galactocentric frame (defaults: its v4.0 set).

    `ra`, `dec` (deg) point at the Galactic centre, `distance` and `z_sun` are kpc, `v_sun` is the
    Sun's velocity in that frame (km/s).
    """

    distance: float = 8.122
    z_sun: float = 0.0208
    v_sun: tuple[float, float, float] = (12.9, 245.6, 7.78)
    ra: float = 266.4051
    dec: float = -28.936175


# Roll that aligns the frame's z with the Galactic pole, as astropy fixes it to this many digits.
_ROLL = 58.5986320306


def _icrs_to_galactocentric(frame: Galactocentric) -> tuple[np.ndarray, np.ndarray]:
    """Rotation of ICRS components into the frame, and the Sun-to-centre shift (kpc) to subtract."""
    aim = _axis_rotation(_ROLL, "x") @ _axis_rotation(-frame.dec, "y") @ _axis_rotation(frame.ra, "z")
    tilt = _axis_rotation(-np.degrees(np.arcsin(frame.z_sun / frame.distance)), "y")
    return tilt @ aim, tilt @ np.array([frame.distance, 0.0, 0.0])


def to_galactocentric(
    sun: Sun, v_c0, x: Vec3, v: Vec3, frame: Galactocentric = Galactocentric()
) -> tuple[Vec3, Vec3]:
    """Position and velocity in astropy's Galactocentric frame from the dynamics frame.

    The two agree on what is seen from the Sun, not on where the Sun is: the map goes through
    heliocentric coordinates, so `sun` and `frame` may differ in R0, z0 and solar motion.

    >>> x, v = phase_space(Sun(), 230.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    >>> xg, vg = to_galactocentric(Sun(), 230.0, x, v)
    >>> [round(float(c), 3) for c in xg], [round(float(c), 3) for c in vg]
    ([-8.122, 0.0, 0.021], [12.9, 245.6, 7.78])
    """
    X, u = _heliocentric(sun, v_c0, jnp.asarray(x), jnp.asarray(v))
    rotation, shift = _icrs_to_galactocentric(frame)
    matrix = jnp.asarray(rotation @ ICRS_TO_GALACTIC.T, dtype=X.dtype)
    return matrix @ X - jnp.asarray(shift, X.dtype), matrix @ u + jnp.asarray(frame.v_sun, X.dtype)


def from_galactocentric(
    sun: Sun, v_c0, xg: Float[Array, "3"], vg: Float[Array, "3"], frame: Galactocentric = Galactocentric()
) -> tuple[Vec3, Vec3]:
    """Position and velocity in the dynamics frame from astropy's: the inverse of `to_galactocentric`."""
    xg, vg = jnp.asarray(xg), jnp.asarray(vg)
    rotation, shift = _icrs_to_galactocentric(frame)
    matrix = jnp.asarray(ICRS_TO_GALACTIC @ rotation.T, dtype=xg.dtype)
    X = matrix @ (xg + jnp.asarray(shift, xg.dtype))
    u = matrix @ (vg - jnp.asarray(frame.v_sun, xg.dtype))
    x = jnp.stack([sun.R0 - X[0], X[1], X[2] + sun.z0])
    return x, jnp.stack([-(u[0] + sun.U), u[1] + v_c0 + sun.V, u[2] + sun.W])
