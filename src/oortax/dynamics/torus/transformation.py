"""Point transformations from the toy's radius and latitude to spheroidal coordinates."""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from oortax.dynamics.torus.series import chebyshev
from oortax.dynamics.torus.toy import Latitude, Radial
from oortax.types import Scalar


class Meridional(NamedTuple):
    """A point in (rho, lat) with R = rho cos(lat), z = sqrt(rho^2 + Delta^2) sin(lat), and its momenta.

    p_u is conjugate to u = asinh(rho/Delta) and p_lat to the latitude.
    """

    rho2: Scalar
    sine: Scalar
    cosine: Scalar
    p_u: Scalar
    p_lat: Scalar


@final
class Transformation(eqx.Module):
    """rho as a function of the toy radius and the latitude as one of the toy latitude; constants of a torus.

    ln(rho/r) is a Chebyshev series in ln(r^2 + soft2), and ln(tan(lat)/tan(lat_toy)) one in sin^2(lat_toy),
    so that the plane and the pole stay where they are. Each depends on one coordinate, and momenta are
    divided by the derivative: the map is canonical whatever the coefficients. Series are continued beyond
    the range [middle - half, middle + half] of the torus they were made for.

    Attributes
    ----------
    Delta2 : kpc^2
    box : whether the axis is avoided by the radial toy's barrier |J_phi| (else by that of the latitude)
    barrier : kpc km/s, of the other toy
    soft2 : kpc km/s
    middle, half : of ln(r^2 + soft2)/2 on the torus
    sine2 : the largest sin^2(lat_toy) on the torus
    radial, latitude : coefficients
    """

    Delta2: Scalar
    box: Bool[Array, ""]
    barrier: Scalar
    soft2: Scalar
    middle: Scalar
    half: Scalar
    sine2: Scalar
    radial: Float[Array, " k"]
    latitude: Float[Array, " l"]

    def barriers(self, J_phi: Scalar) -> tuple[Scalar, Scalar]:
        """The angular momenta of the radial toy and of the latitude's."""
        # Unlike that of abs, the derivative at J_phi = 0 is the limit from above, and so is Omega_phi.
        L_z = jnp.where(J_phi < 0.0, -J_phi, J_phi)
        return jnp.where(self.box, L_z, self.barrier), jnp.where(self.box, self.barrier, L_z)

    def __call__(self, radial: Radial, latitude: Latitude) -> Meridional:
        """The point and its momenta."""
        r2 = jnp.exp(2.0 * radial.log_r)
        softened = r2 + self.soft2
        shift, slope = _value_slope(self.radial, (0.5 * jnp.log(softened) - self.middle) / self.half)
        rho2 = r2 * jnp.exp(2.0 * shift)
        stretch = 1.0 + slope / self.half * r2 / softened
        p_u = radial.p / stretch * jnp.sqrt(1.0 + self.Delta2 / rho2)
        sine2, cosine2 = latitude.sine**2, latitude.cosine**2
        log_f, slope = _value_slope(self.latitude, 2.0 * sine2 / self.sine2 - 1.0)
        f = jnp.exp(log_f)
        # tan(lat) = f tan(lat_toy); d(sin^2)/d(lat_toy) = 2 sin cos.
        norm2 = cosine2 + f * f * sine2
        stretch = f * (1.0 + 4.0 * slope / self.sine2 * sine2 * cosine2) / norm2
        norm = jnp.sqrt(norm2)
        return Meridional(rho2, f * latitude.sine / norm, latitude.cosine / norm, p_u, latitude.p / stretch)


def _value_slope(coefficients: Float[Array, " k"], x: Scalar) -> tuple[Scalar, Scalar]:
    """A Chebyshev series and its derivative."""
    return jax.jvp(lambda x: chebyshev(coefficients, x), (x,), (jnp.ones_like(x),))
