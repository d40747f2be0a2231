"""Henon's isochrone, whose actions, angles and frequencies are known in closed form, both ways.

Binney & Tremaine (2008, section 3.5.2). With a = sqrt(r^2 + b^2), A = G M/(-2 E) and k = sqrt(-2 E),

    a = A - B cos(eta),   r p_r = k B sin(eta),   theta_r = eta - (B/A) sin(eta),

B^2 = (A - b)^2 - (L/k)^2: here c e of the book is B. The orbital plane serves every spherical potential.
"""

from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from oortax.constants import G
from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions, require_float64
from oortax.numerics.once import once
from oortax.numerics.trigonometry import sin_cos, wrapped
from oortax.potential.spheres import Isochrone
from oortax.results import Result
from oortax.types import Actions, Angles, Frequencies, Scalar, Vec3

# Newton's steps in Kepler's equation: the start is good to 1e-3 of itself.
_KEPLER = 3
# Sine of half the eccentric anomaly at pericentre, where r may vanish and p_r must not.
_LEAST = 1e-150


class OrbitalPlane(NamedTuple):
    """The plane of an orbit in a spherical potential.

    L is the whole angular momentum, J_z = L - |L_z|, `psi` the angle along the orbit since the ascending
    node, whose azimuth is `node`. In the equatorial plane node = 0.
    """

    L: Scalar
    J_z: Scalar
    L_z: Scalar
    psi: Scalar
    node: Scalar

    def angles(self, theta_r: Scalar, ahead: Scalar) -> Angles:
        """theta (0 to 2 pi), where `ahead` is theta_z - psi."""
        theta_z = self.psi + ahead
        return jnp.stack([theta_r, theta_z, self.node + _sign(self.L_z) * theta_z]) % (2.0 * np.pi)

    def frequencies(self, Omega_r: Scalar, Omega_L: Scalar) -> Frequencies:
        """Omega from dH/dJ_r and dH/dL."""
        return jnp.stack([Omega_r, Omega_L, _sign(self.L_z) * Omega_L])


def orbital_plane(x: Vec3, v: Vec3) -> OrbitalPlane:
    """The orbital plane of a point, with finite derivatives at L = 0 and L_z = 0 too."""
    # The sign of L_z is one for all, even where rounding decides it.
    L_x, L_y, L_z = once(jnp.cross(x, v))
    across2 = L_x * L_x + L_y * L_y
    L = root(across2 + L_z * L_z)
    planar = across2 == 0.0
    # L - |L_z| without cancellation.
    J_z = across2 / jnp.where(planar, 1.0, L + magnitude(L_z))
    along = jnp.where(planar, x[0], x[1] * L_x - x[0] * L_y)
    psi = angle(jnp.where(planar, _sign(L_z) * x[1], x[2] * L), along)
    return OrbitalPlane(L, J_z, L_z, psi, angle(jnp.where(planar, 0.0, L_x), jnp.where(planar, 1.0, -L_y)))


def root(square: Scalar) -> Scalar:
    """sqrt(square), and 0 without derivatives at 0 and below."""
    return jnp.where(square > 0.0, jnp.sqrt(jnp.where(square > 0.0, square, 1.0)), 0.0)


def angle(sine: Scalar, cosine: Scalar) -> Scalar:
    """arctan2 of sine and cosine that need not be normalised; 0 without derivatives where both vanish."""
    nowhere = (sine == 0.0) & (cosine == 0.0)
    return jnp.arctan2(sine, jnp.where(nowhere, 1.0, cosine))


def magnitude(L_z: Scalar) -> Scalar:
    """|L_z|, whose derivative at 0 is the mean of both sides'."""
    return jnp.sign(L_z) * L_z


def _sign(L_z: Scalar) -> Scalar:
    return jnp.where(L_z < 0.0, -1.0, 1.0)


class _Orbit(NamedTuple):
    """Constants of a radial motion; `core` is sqrt(L^2 + 4 G M b)."""

    k: Scalar
    A: Scalar
    B: Scalar
    L: Scalar
    core: Scalar

    @property
    def Omega_r(self) -> Scalar:
        return self.k / self.A

    @property
    def ratio(self) -> Scalar:
        """Omega_L/Omega_r."""
        return 0.5 * (1.0 + self.L / self.core)

    def ahead(self, b: Scalar, theta_r: Scalar, half: tuple[Scalar, Scalar]) -> Scalar:
        """theta_z - psi, by theta_r (-pi to pi) and by sine and cosine of eta/2."""
        sine, cosine = half
        inner = angle((self.A - b + self.B) * sine, self.L / self.k * cosine)
        outer = angle((self.A + b + self.B) * sine, self.core / self.k * cosine)
        return self.ratio * theta_r - inner - self.L / self.core * outer


@final
class IsochroneFinder(AbstractActionFinder):
    """Exact actions, angles and frequencies in Henon's isochrone, and the way back.

    Parameters
    ----------
    potential : oortax.potential.Isochrone

    Notes
    -----
    Binney & Tremaine (2008, eqs. 3.225-3.241), in forms that do not cancel: exact to rounding (some 1e-15 of
    J_r + J_z + |J_phi|), for circular, planar and radial orbits too. Differentiable any number of times in
    x, v, M and b; angles not where they are undefined, J not across the cusp at L_z = 0. The residual is 0.
    Needs float64.

    >>> from oortax import potential
    >>> finder = IsochroneFinder(potential.Isochrone(M=8e10, b=3.0))
    >>> x, v = jnp.array([8.0, 0.0, 1.0]), jnp.array([30.0, 150.0, 15.0])
    >>> found = finder.actions_angles_frequencies(x, v)
    >>> found.J.round(3)
    Array([  31.881,   12.683, 1200.   ], dtype=float64)
    >>> finder.phase_point(found.J, found.theta)[0].round(9) + 0.0
    Array([8., 0., 1.], dtype=float64)
    """

    potential: Isochrone

    def __init__(self, potential: Isochrone):
        if not isinstance(potential, Isochrone):
            raise ValueError(
                f"IsochroneFinder needs an Isochrone, got {type(potential).__name__}: use SphericalFinder "
                "for other spherical potentials"
            )
        require_float64("IsochroneFinder", potential.M, potential.b)
        self.potential = potential

    def actions_and_code(self, x: Vec3, v: Vec3) -> StarActions:
        """Actions with a `Result` code."""
        return StarActions(*self._found(x, v)[0])

    def actions_angles_frequencies(self, x: Vec3, v: Vec3) -> ActionAngles:
        """The same with angles and frequencies.

        On a circular orbit theta_r = 0, on one in the plane theta_z - theta_r Omega_z/Omega_r is phi.
        """
        (J, residual, code), plane, orbit, p, q = self._found(x, v)
        eta = angle(p, q)
        theta_r = eta - p / orbit.A
        ahead = orbit.ahead(self.potential.b, theta_r, sin_cos(0.5 * eta))
        theta = plane.angles(theta_r, ahead)
        Omega = plane.frequencies(orbit.Omega_r, orbit.Omega_r * orbit.ratio)
        good = code == Result.OK
        return ActionAngles(
            J, jnp.where(good, theta, jnp.nan), jnp.where(good, Omega, jnp.nan), residual, code
        )

    def phase_point(self, J: Actions, theta: Angles) -> tuple[Vec3, Vec3]:
        """Position (kpc) and velocity (km/s) at actions (kpc km/s) and angles; NaN for J_r < 0 or J_z < 0.

        Differentiable in M and b everywhere, in J where J_r, J_z and J_phi are not 0: positions go as the
        roots of J_r and J_z.
        """
        require_float64("IsochroneFinder", J, theta)
        G_M, b = G * self.potential.M, self.potential.b
        J_r, J_z, J_phi = J
        barrier = magnitude(J_phi)
        L = J_z + barrier
        core = jnp.sqrt(L * L + 4.0 * G_M * b)
        circular = 0.5 * (L + core)
        N = J_r + circular
        k, A = G_M / N, N * N / G_M
        # k^2 B^2 = (kc - L)(kc + L) with kc = k (A - b), neither of which cancels near the centre.
        excess = J_r * (1.0 + G_M * b / (N * circular))
        kc = L + excess
        B = root(excess * (kc + L)) / k
        orbit = _Orbit(k, A, B, L, core)

        theta_r = wrapped(theta[0])
        eta = _eccentric_anomaly(theta_r, B / A)
        sine, cosine = sin_cos(0.5 * eta)
        sine = jnp.where(sine == 0.0, _LEAST, sine)
        psi = theta[1] - orbit.ahead(b, theta_r, (sine, cosine))
        # a - b, where A - b - B would cancel.
        above = (L / k) ** 2 / _nonzero(kc / k + B) + 2.0 * B * sine * sine
        r = root(above * (above + 2.0 * b))
        p_r, p_t = 2.0 * k * B * sine * cosine / _nonzero(r), L / _nonzero(r)

        L_ = _nonzero(L)
        sine_i = root(J_z * (J_z + 2.0 * barrier)) / L_
        cosine_i = jnp.where(L == 0.0, 1.0, J_phi / L_)
        (sin_node, cos_node), (sin, cos) = sin_cos(theta[2] - _sign(J_phi) * theta[1]), sin_cos(psi)
        towards = jnp.stack([cos_node, sin_node, jnp.zeros_like(cos_node)])
        onwards = jnp.stack([-cosine_i * sin_node, cosine_i * cos_node, sine_i])
        outward, forward = cos * towards + sin * onwards, cos * onwards - sin * towards
        valid = (J_r >= 0.0) & (J_z >= 0.0)
        x, v = r * outward, p_r * outward + p_t * forward
        return jnp.where(valid, x, jnp.nan), jnp.where(valid, v, jnp.nan)

    def _found(self, x: Vec3, v: Vec3):
        """J with residual and code, the plane, the orbit, and B times sine and cosine of eta."""
        require_float64("IsochroneFinder", x, v)
        G_M, b = G * self.potential.M, self.potential.b
        plane = orbital_plane(x, v)
        L = plane.L
        a = jnp.sqrt(x @ x + b * b)
        E = 0.5 * (v @ v) - G_M / (b + a)
        bound = E < 0.0
        k = jnp.sqrt(jnp.where(bound, -2.0 * E, 1.0))
        N = G_M / k
        A = N / k
        # A - a and A - b without cancellation.
        above = (x @ x) / (a + b)
        p, q = (x @ v) / k, A * (a * (v @ v) / G_M - above / (a + b))
        core = jnp.sqrt(L * L + 4.0 * G_M * b)
        circular = 0.5 * (L + core)
        # N - circular from B^2, without cancellation.
        B2 = p * p + q * q
        J_r = B2 * k * k / _nonzero((k * (q + above) + L) * (1.0 + G_M * b / (N * circular)))
        finite = jnp.isfinite(E + a)
        code = jnp.where(finite, jnp.where(bound, Result.OK, Result.UNBOUND), Result.NONFINITE)
        J = jnp.where(code == Result.OK, jnp.stack([J_r, plane.J_z, plane.L_z]), jnp.nan)
        return (J, jnp.zeros_like(E), code), plane, _Orbit(k, A, root(B2), L, core), p, q


def _nonzero(divisor: Scalar) -> Scalar:
    return jnp.where(divisor == 0.0, 1.0, divisor)


@jax.custom_jvp
def _eccentric_anomaly(theta: Scalar, e: Scalar) -> Scalar:
    """eta of theta = eta - e sin(eta), |theta| <= pi: Newton's method from a cubic's root (Markley 1995)."""
    alpha = (3.0 * np.pi**2 + 1.6 * np.pi * (np.pi - jnp.abs(theta)) / (1.0 + e)) / (np.pi**2 - 6.0)
    d = 3.0 * (1.0 - e) + alpha * e
    r = 3.0 * alpha * d * (d - 1.0 + e) * theta + theta**3
    q = 2.0 * alpha * d * (1.0 - e) - theta * theta
    w = jnp.cbrt(jnp.abs(r) + jnp.sqrt(q**3 + r * r)) ** 2
    eta = (2.0 * r * w / _nonzero(w * w + w * q + q * q) + theta) / d
    for _ in range(_KEPLER):
        sine, cosine = sin_cos(eta)
        eta = eta - (eta - e * sine - theta) / (1.0 - e * cosine)
    return eta


@_eccentric_anomaly.defjvp
def _(primals, tangents):
    eta = _eccentric_anomaly(*primals)
    sine, cosine = sin_cos(eta)
    return eta, (tangents[0] + sine * tangents[1]) / (1.0 - primals[1] * cosine)
