"""Point transformations from the toy's radius and latitude to spheroidal coordinates."""

from typing import NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from oortax.dynamics.spheroidal import confocal
from oortax.dynamics.torus.series import derived, polynomial
from oortax.dynamics.torus.toy import Latitude, Radial
from oortax.types import Scalar, Vec3

_NEWTON = 8


class Meridional(NamedTuple):
    """A point in (rho, lat) with R = rho cos(lat), z = sqrt(rho^2 + Delta^2) sin(lat), and its momenta.

    p_u is conjugate to u = asinh(rho/Delta) and p_lat to the latitude.
    """

    rho2: Scalar
    sine: Scalar
    cosine: Scalar
    p_u: Scalar
    p_lat: Scalar

    @classmethod
    def of(cls, x: Vec3, v: Vec3, Delta2: Scalar) -> "Meridional":
        """Of a position (kpc) and velocity (km/s)."""
        R2 = x[0] * x[0] + x[1] * x[1]
        rho2, cosine2 = confocal(R2, x[2] * x[2], Delta2)
        rho, height, cosine = jnp.sqrt(rho2), jnp.sqrt(rho2 + Delta2), jnp.sqrt(cosine2)
        sine = x[2] / height
        # R v_R, which stays finite on the axis.
        R_vR = x[0] * v[0] + x[1] * v[1]
        p_u = height / rho * R_vR + rho * sine * v[2]
        return cls(rho2, sine, cosine, p_u, height * cosine * v[2] - sine / cosine * R_vR)


@final
class Transformation(eqx.Module):
    """rho as a function of the toy radius and the latitude as one of the toy latitude; constants of a torus.

    ln(rho/r) is a polynomial in ln(r^2 + soft2), and ln(tan(lat)/tan(lat_toy)) one in |tan(lat_toy/2)|: the
    plane and the pole stay where they are. Each depends on one coordinate, and momenta are divided by the
    derivative: the map is canonical whatever the coefficients. Both variables are scaled to run from -1 to 1
    on the torus that they were made for; polynomials go on beyond.

    Not in sin^2(lat_toy): the force of an exponential disc has a kink in |z|, which makes such a series
    converge as k^-4, too slowly for derivatives beyond the torus's largest latitude, where neighbours reach.
    Series in |sin(lat_toy)| in turn are slow for orbits that come close to the axis.

    Attributes
    ----------
    Delta2 : kpc^2
    box : whether the axis is avoided by the radial toy's barrier |J_phi| (else by that of the latitude)
    barrier : kpc km/s, of the other toy
    soft2 : kpc km/s
    middle, half : of ln(r^2 + soft2)/2 on the torus
    largest : tan(lat_toy/2) on the torus
    radial, latitude : coefficients of powers
    """

    Delta2: Scalar
    box: Bool[Array, ""]
    barrier: Scalar
    soft2: Scalar
    middle: Scalar
    half: Scalar
    largest: Scalar
    radial: Float[Array, " k"]
    latitude: Float[Array, " l"]

    def barriers(self, J_phi: Scalar) -> tuple[Scalar, Scalar]:
        """The angular momenta of the radial toy and of the latitude's."""
        # Unlike that of abs, the derivative at J_phi = 0 is the limit from above, and so is Omega_phi.
        L_z = jnp.where(J_phi < 0.0, -J_phi, J_phi)
        return jnp.where(self.box, L_z, self.barrier), jnp.where(self.box, self.barrier, L_z)

    def __call__(self, radial: Radial, latitude: Latitude) -> Meridional:
        """The point and its momenta."""
        (rho2, p_u), (sine, cosine, p_lat) = self.of_radius(radial), self.of_latitude(latitude)
        return Meridional(rho2, sine, cosine, p_u, p_lat)

    def of_radius(self, toy: Radial) -> tuple[Scalar, Scalar]:
        """rho^2 and p_u."""
        softened = toy.r2 + self.soft2
        shift, slope = _value_slope(self.radial, (0.5 * jnp.log(softened) - self.middle) / self.half)
        rho2 = toy.r2 * jnp.exp(2.0 * shift)
        stretch = 1.0 + slope / self.half * toy.r2 / softened
        return rho2, toy.p / stretch * jnp.sqrt(1.0 + self.Delta2 / rho2)

    def of_latitude(self, toy: Latitude) -> tuple[Scalar, Scalar, Scalar]:
        """Sine and cosine of the latitude, and p_lat."""
        sine2, cosine2 = toy.sine**2, toy.cosine**2
        log_f, stretch = self._in_latitude(jnp.abs(toy.sine), toy.cosine)
        f = jnp.exp(log_f)
        # tan(lat) = f tan(lat_toy).
        norm2 = cosine2 + f * f * sine2
        stretch = f * stretch / norm2
        norm = jnp.sqrt(norm2)
        return f * toy.sine / norm, toy.cosine / norm, toy.p / stretch

    def _in_latitude(self, sine: Scalar, cosine: Scalar) -> tuple[Scalar, Scalar]:
        """ln f, f = tan(lat)/tan(lat_toy), and dln(tan(lat))/dln(tan(lat_toy)), sine not negative."""
        half = sine / (1.0 + cosine)
        log_f, slope = _value_slope(self.latitude, 2.0 * half / self.largest - 1.0)
        # d(lat_toy) = 2 d(half)/(1 + half^2).
        return log_f, 1.0 + slope / self.largest * (1.0 + half * half) * sine * cosine

    def inverse(self, at: Meridional) -> tuple[Radial, Scalar, Scalar]:
        """The toy's radial motion, tangent of the latitude and its momentum: by Newton's method.

        Right near the torus it was made for, where both maps rise.
        """
        log_rho, tangent = 0.5 * jnp.log(at.rho2), at.sine / at.cosine

        def radius(log_r):
            softened = jnp.exp(2.0 * log_r) + self.soft2
            shift, slope = _value_slope(self.radial, (0.5 * jnp.log(softened) - self.middle) / self.half)
            return log_r + shift, 1.0 + slope / self.half * (1.0 - self.soft2 / softened)

        def latitude(toy):
            cosine = 1.0 / jnp.sqrt(1.0 + toy * toy)
            log_f, stretch = self._in_latitude(jnp.abs(toy) * cosine, cosine)
            return jnp.exp(log_f), stretch

        def step(state, _):
            log_r, toy = state
            value, slope = radius(log_r)
            f, stretch = latitude(toy)
            log_r = log_r - jnp.clip((value - log_rho) / slope, -1.0, 1.0)
            return (log_r, toy - (toy * f - tangent) / (f * stretch)), None

        shift = _value_slope(self.radial, jnp.clip((log_rho - self.middle) / self.half, -1.0, 1.0))[0]
        start = (log_rho - jnp.where(self.box, 0.0, shift), tangent / latitude(tangent)[0])
        (log_r, toy), _ = lax.scan(step, start, length=_NEWTON)
        stretch = radius(log_r)[1]
        p = at.p_u * stretch / jnp.sqrt(1.0 + self.Delta2 / at.rho2)
        f, stretch = latitude(toy)
        # d(lat)/d(lat_toy) = f stretch cos^2(lat)/cos^2(lat_toy).
        p_lat = at.p_lat * f * stretch * at.cosine**2 * (1.0 + toy * toy)
        return Radial(jnp.exp(2.0 * log_r), p), toy, p_lat


def _value_slope(coefficients: Float[Array, " k"], x: Scalar) -> tuple[Scalar, Scalar]:
    """A polynomial and its derivative."""
    return polynomial(coefficients, x), polynomial(derived(coefficients), x)
