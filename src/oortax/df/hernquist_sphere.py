"""Hernquist's sphere: an exact, isotropic f(J) whose energy is found from the actions."""

from typing import NamedTuple, final

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.constants import G
from oortax.df.base import AbstractDF, where_bound
from oortax.df.rotation import log_odd
from oortax.numerics.implicit import moving_as
from oortax.params import param
from oortax.types import Actions, Scalar

# J_r + L, in units of sqrt(G M a), beyond which f is its own power law: to 5e-4 for radial orbits, else 1e-7.
_FAR = 1e4
# Nodes of J_r(E, L), and Newton's steps from a start that is good to some per cent.
_N, _STEPS = 48, 6
# The braces of f over q^5 by its series below this q^2.
_SERIES_BELOW = 0.1
_SERIES_TERMS = 24


@final
class HernquistSphere(AbstractDF):
    r"""Isotropic f of the sphere of Hernquist (1990, ApJ 356, 359, eq. 17).

    With q^2 = -a E/(G M), v_g^2 = G M/a and E the energy that a star of these actions has in the potential
    `Hernquist(M, a)`,

        f = M / [8 sqrt(2) pi^3 a^3 v_g^3] (1 - q^2)^(-5/2)
            * {3 arcsin(q) + q sqrt(1 - q^2) (1 - 2 q^2) (8 q^4 - 8 q^2 - 3)}
            * [1 + rotation tanh(J_phi/J_phi0)].

    E(J_r, L), L = J_z + |J_phi|, solves J_r(E, L) = J_r by Newton's method; the turning points are roots of a
    cubic, and the integral between them is the midpoint rule in t, ln r = middle - half cos(t).
    In its own potential and without rotation f makes Hernquist's density, which goes as 1/r in the centre and
    r^-4 outside; in another one it is what adiabatic growth of that potential would make of it.

    Attributes
    ----------
    M : shape (), Msun, positive
        Mass, of both senses of rotation.
    a : shape (), kpc, positive
        Scale length.
    rotation : shape (), between -1 and 1
        Strength of the odd part; it changes neither the density nor the mass.
    J_phi0 : shape (), kpc km/s, positive
        Width of the change of sign of the odd part.

    Notes
    -----
    Accuracy: E to 3e-12 of itself over random orbits, nearly radial ones included, in float64; float32 keeps
    log f to 1e-4. At J = 0, where f diverges as J^(-5/3), log f is that of J_r = 5e-32 sqrt(G M a) (1e-14 in
    float32). Differentiable once in J and every parameter.

    Examples
    --------
    >>> f = HernquistSphere(M=5e10, a=2.0)
    >>> print(f"{f.log_f(jnp.array([100.0, 50.0, -300.0])):.3f}, {f.mass():.3g} Msun")
    -0.165, 5e+10 Msun
    """

    M: Float[Array, ""] = param(constraints.positive, "Msun", "mass")
    a: Float[Array, ""] = param(constraints.positive, "kpc", "scale length")
    rotation: Float[Array, ""] = param(
        constraints.interval(-1.0, 1.0), "", "strength of the odd part", default=0.0
    )
    J_phi0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "width of the odd part", default=1.0)

    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J = (J_r, J_z, J_phi) in kpc km/s; -inf where there are no actions."""
        return where_bound(self._log_f, J)

    def _log_f(self, J: Actions) -> Scalar:
        J_r, J_z, J_phi = J
        unit = jnp.sqrt(G * self.M * self.a)
        L = J_z + jnp.abs(J_phi)
        # Far out all goes as a power, f as J^-5, and single precision would overflow.
        beyond = jnp.maximum((J_r + L) / (unit * _FAR), 1.0)
        log_r = _log_circular_radius(J_r / (unit * beyond), L / (unit * beyond))
        q2, deep = _depth(log_r)
        amplitude = jnp.log(self.M) - 3.0 * jnp.log(unit) - jnp.log(8.0 * jnp.sqrt(2.0) * jnp.pi**3)
        even = amplitude - 2.5 * jnp.log(deep) + 2.5 * jnp.log(q2) + jnp.log(_braces_over_q5(q2, deep))
        even = even - 5.0 * jnp.log(beyond)
        return even + log_odd(self.rotation, J_phi / self.J_phi0)

    def mass(self) -> Scalar:
        """M, exactly."""
        return self.M


def _depth(log_r: Scalar) -> tuple[Scalar, Scalar]:
    """-E and 1 + E of the circular orbit, for G = M = a = 1, neither by a difference."""
    r = jnp.exp(log_r)
    return 0.5 * (r + 2.0) / (1.0 + r) ** 2, 0.5 * r * (2.0 * r + 3.0) / (1.0 + r) ** 2


def _braces_over_q5(q2: Scalar, deep: Scalar) -> Scalar:
    """The braces of f over q^5, for 0 <= q^2 <= 1, without cancellation at small q."""
    small = q2 < _SERIES_BELOW
    series = jnp.polyval(jnp.asarray(_series()[::-1], q2.dtype), jnp.where(small, q2, 0.0))
    q2, deep = jnp.where(small, 0.5, q2), jnp.where(small, 0.5, deep)
    root, q = jnp.sqrt(deep), jnp.sqrt(q2)
    closed = 3.0 * jnp.arctan2(q, root) + q * root * (1.0 - 2.0 * q2) * (8.0 * q2 * q2 - 8.0 * q2 - 3.0)
    return jnp.where(small, series, closed / (q2 * q2 * q))


def _series() -> np.ndarray:
    """Coefficients in powers of q^2; those of q and q^3 vanish."""
    n = np.arange(_SERIES_TERMS + 2.0)
    # arcsin q = sum c_n q^(2n+1)/(2n+1), with c_n those of (1 - q^2)^(-1/2); the root's are c_n/(1 - 2n).
    c = np.cumprod(np.concatenate([[1.0], (2.0 * n[1:] - 1.0) / (2.0 * n[1:])]))
    root = c / (1.0 - 2.0 * n)
    factor = np.polymul([8.0, -8.0, -3.0], [-2.0, 1.0])[::-1]
    braces = 3.0 * c / (2.0 * n + 1.0) + np.convolve(root, factor)[: len(n)]
    return braces[2:]


def _log_circular_radius(J_r: Scalar, L: Scalar) -> Scalar:
    """ln r of the circular orbit with the energy of a star of these actions, for G = M = a = 1."""
    tiny = jnp.finfo(J_r.dtype).eps ** 2
    fixed_J, fixed_L = lax.stop_gradient((jnp.maximum(J_r, 0.0) + tiny, jnp.maximum(L, 0.0)))
    least = _invert(fixed_L + tiny)

    def step(_, log_r):
        # ln(J_r + L/2) is nearly linear in ln r.
        found = _radial(log_r, fixed_L)
        whole = found.J_r + 0.5 * fixed_L
        change = jnp.log((fixed_J + 0.5 * fixed_L) / whole) * whole / found.by_log_r
        return jnp.maximum(log_r + change, least)

    log_r = lax.fori_loop(0, _STEPS, step, _invert(fixed_L + 0.7 * fixed_J))
    found = _radial(log_r, fixed_L)
    # dJ_r = dJ_r/dln(r) dln(r) + dJ_r/dL dL. Below J_r = 0, where there is no orbit, on along the slope.
    below = lax.stop_gradient(jnp.minimum(J_r, 0.0))
    return moving_as(log_r + below / found.by_log_r, (J_r - found.by_L * L) / found.by_log_r)


class _Radial(NamedTuple):
    """J_r of an energy and an angular momentum, and its derivatives."""

    J_r: Scalar
    by_log_r: Scalar
    by_L: Scalar


def _radial(log_r: Scalar, L: Scalar) -> _Radial:
    """J_r(E, L), E being that of the circular orbit of radius r."""
    r_c = jnp.exp(log_r)
    energy, deep = _depth(log_r)
    L_c = r_c**1.5 / (1.0 + r_c)
    held = jnp.clip(L, L_c * jnp.finfo(L_c.dtype).eps ** (1.0 / 3.0), L_c)
    # p_r^2 = 0 at 0 = x^3 - x^2 + b x + c, x = r/scale: two turning points and a negative root.
    scale = deep / energy
    b = 0.5 * (held / scale) ** 2 / energy
    c = b / scale
    s = jnp.sqrt(1.0 / 9.0 - b / 3.0)
    # Not by arccos, which would lose half of the digits at either end.
    discriminant = b * b * (1.0 - 4.0 * b) / 108.0 + c / 27.0 - c * (b / 6.0 + c / 4.0)
    third = jnp.arctan2(jnp.sqrt(jnp.maximum(discriminant, 0.0)), 1.0 / 27.0 - b / 6.0 - c / 2.0) / 3.0
    high = 1.0 / 3.0 + 2.0 * s * jnp.cos(third)
    low = jnp.minimum(1.0 / 3.0 + 2.0 * s * jnp.cos(third - 2.0 * np.pi / 3.0), high)
    middle = scale * jnp.sqrt(high * low)
    half = 0.5 * jnp.log(high / low)
    other = scale * c / (high * low)
    t = (np.arange(_N) + 0.5) * np.pi / _N
    sine, cosine = (a.astype(half.dtype) for a in (np.sin(t), np.cos(t)))
    r = middle * jnp.exp(-half * cosine)
    # (r_high - r)(r - r_low) = 4 r middle sinh sinh; r p_r = half sin(t) Q.
    ends = _sinhc(0.5 * half * (1.0 + cosine)) * _sinhc(0.5 * half * (1.0 - cosine))
    Q = jnp.sqrt(2.0 * energy * r * middle * ends * (r + other) / (r + 1.0))
    J_r = half**2 * jnp.mean(sine**2 * Q) + 0.5 * (held - L)
    by_E, by_L = jnp.mean(r * r / Q), -held * jnp.mean(1.0 / Q)
    return _Radial(J_r, by_E * 0.5 * r_c * (r_c + 3.0) / (1.0 + r_c) ** 3, by_L)


def _sinhc(y):
    small = jnp.abs(y) < 1e-3
    return jnp.where(small, 1.0 + y * y / 6.0, jnp.sinh(y) / jnp.where(small, 1.0, y))


def _invert(N: Scalar) -> Scalar:
    """ln r of the circular orbit of angular momentum N: N = r^(3/2)/(1 + r)."""
    log_N = jnp.log(N)
    log_r = jnp.logaddexp(2.0 / 3.0 * log_N, 2.0 * log_N)

    def step(_, log_r):
        share = jnp.exp(log_r - jnp.logaddexp(0.0, log_r))
        return log_r - (1.5 * log_r - jnp.logaddexp(0.0, log_r) - log_N) / (1.5 - share)

    return lax.fori_loop(0, 6, step, log_r)
