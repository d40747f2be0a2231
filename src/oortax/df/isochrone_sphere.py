"""The isochrone sphere: an exact, isotropic f(J) in closed form."""

from typing import final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.constants import G
from oortax.df.base import AbstractDF, where_bound
from oortax.df.rotation import log_odd
from oortax.params import param
from oortax.types import Actions, Scalar

# arcsin(sqrt e)/sqrt(e (1 - e)) = sum_n a_n e^n, a_n = a_{n-1} 2 n/(2 n + 1); with it the bracket of f loses
# its two lowest powers of e, which at small e cancel. Below e = 0.1 the rest of the series is 1e-19.
_SERIES_BELOW = 0.1
_SERIES_TERMS = 18


def _series() -> np.ndarray:
    """Coefficients of (bracket of f)/e^2 in powers of e."""
    a = np.cumprod(np.concatenate([[1.0], 2.0 * np.arange(1, 40) / (2.0 * np.arange(1, 40) + 1.0)]))
    bracket = np.zeros(_SERIES_TERMS + 2)
    bracket[:5] = [27.0, -66.0, 320.0, -240.0, 64.0]
    for power, factor in ((0, -27.0), (1, 84.0), (2, 48.0)):
        bracket[power:] += factor * a[: len(bracket) - power]
    return bracket[2:]


@final
class IsochroneSphere(AbstractDF):
    r"""Isotropic f of the isochrone sphere (Henon 1960; Binney & Tremaine 2008, eq. 4.54).

    With D = J_r + [L + sqrt(L^2 + 4 G M b)]/2, L = J_z + |J_phi|, the energy in the isochrone potential is
    H = -(G M/D)^2/2 (eq. 3.226), so that e = -H b/(G M) = G M b/(2 D^2) and

        f = M / [sqrt(2) (2 pi)^3 (G M b)^(3/2)] sqrt(e) / [2 (1 - e)]^4
            * {27 - 66 e + 320 e^2 - 240 e^3 + 64 e^4
               + 3 (16 e^2 + 28 e - 9) arcsin(sqrt e) / sqrt[e (1 - e)]}
            * [1 + rotation tanh(J_phi/J_phi0)].

    In the potential `Isochrone(M, b)` without rotation it makes the isochrone's own density, which falls as
    r^-4; in another potential it is what adiabatic growth of that potential would make of it.

    Attributes
    ----------
    M : shape (), Msun, positive
        Mass, of both senses of rotation.
    b : shape (), kpc, positive
        Scale length of the isochrone.
    rotation : shape (), between -1 and 1
        Strength of the odd part; it changes neither the density nor the mass.
    J_phi0 : shape (), kpc km/s, positive
        Width of the change of sign of the odd part.

    Notes
    -----
    Accuracy: rounding, 1e-14 of f, in float64. float32 keeps log f to 1e-5. Smooth in J_r, J_z and in
    |J_phi|, finite at J = 0; differentiable in every parameter.

    Examples
    --------
    >>> f = IsochroneSphere(M=5e10, b=2.0)
    >>> print(f"{f.log_f(jnp.array([100.0, 50.0, -300.0])):.3f}, {f.mass():.3g} Msun")
    -0.054, 5e+10 Msun
    """

    M: Float[Array, ""] = param(constraints.positive, "Msun", "mass")
    b: Float[Array, ""] = param(constraints.positive, "kpc", "scale length")
    rotation: Float[Array, ""] = param(
        constraints.interval(-1.0, 1.0), "", "strength of the odd part", default=0.0
    )
    J_phi0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "width of the odd part", default=1.0)

    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J = (J_r, J_z, J_phi) in kpc km/s; -inf where there are no actions."""
        return where_bound(self._log_f, J)

    def _log_f(self, J: Actions) -> Scalar:
        J_r, J_z, J_phi = J
        GMb = G * self.M * self.b
        L = J_z + jnp.abs(J_phi)
        D = J_r + 0.5 * (L + jnp.sqrt(L * L + 4.0 * GMb))
        log_e = jnp.log(0.5 * GMb) - 2.0 * jnp.log(D)
        # Rounding must not lift e above that of a star at rest in the centre.
        e = jnp.minimum(jnp.exp(log_e), 0.5)
        amplitude = jnp.log(self.M) - 0.5 * jnp.log(2.0) - 3.0 * jnp.log(2.0 * jnp.pi) - 1.5 * jnp.log(GMb)
        even = amplitude + 2.5 * log_e - 4.0 * jnp.log(2.0 * (1.0 - e)) + jnp.log(_bracket_over_e2(e))
        return even + log_odd(self.rotation, J_phi / self.J_phi0)

    def mass(self) -> Scalar:
        """M, exactly."""
        return self.M


def _bracket_over_e2(e: Scalar) -> Scalar:
    """The braces of f over e^2, for 0 <= e <= 1/2, without cancellation at small e."""
    small = e < _SERIES_BELOW
    series = jnp.polyval(jnp.asarray(_series()[::-1], e.dtype), jnp.where(small, e, 0.0))
    e = jnp.where(small, 0.5, e)
    polynomial = 27.0 + e * (-66.0 + e * (320.0 + e * (-240.0 + e * 64.0)))
    arc = jnp.arcsin(jnp.sqrt(e)) / jnp.sqrt(e * (1.0 - e))
    closed = polynomial + 3.0 * (e * (16.0 * e + 28.0) - 9.0) * arc
    return jnp.where(small, series, closed / (e * e))
