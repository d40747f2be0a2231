"""Frequency analysis: the fundamental frequencies of orbits from their points, and how far they drift."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from oortax.dynamics.base import require_float64
from oortax.dynamics.orbits import Orbit
from oortax.types import Frequencies, Scalar

# The spectrum in which a line is found first is so many times finer than the series is long.
_PADDED = 4
_NEWTON = 6


class FundamentalFrequencies(NamedTuple):
    """Of one orbit, or of n in a leading axis.

    Attributes
    ----------
    Omega : (..., 3), (Omega_r, Omega_z, Omega_phi), km/s/kpc
    drift : (...), the largest |change| of one of them from the first half of the orbit to the second, over
        itself: what is left on a regular orbit is the error of half as long a series; on a chaotic one it
        does not fall with more points
    """

    Omega: Float[Array, "*n 3"]
    drift: Float[Array, "*n"]


def fundamental_frequencies(orbit: Orbit) -> FundamentalFrequencies:
    """The strongest lines of ln R(t), z(t) and exp(i phi(t)) (Laskar 1993, Physica D 67, 257).

    A line's frequency is where |sum_k w_k f(t_k) exp(-i omega t_k)| is largest, by Newton's method from a
    Fourier transform, with the window w = exp(-1/(s (1 - s))), s from 0 to 1 along the orbit: what other
    lines add falls faster than any power of the number of periods. After 40 radial periods frequencies of
    regular orbits are right to 3e-7, or 3e-5 where another line is less than some ten cycles away
    (tests/dynamics/test_frequencies.py).

    The times must be the same distance apart, with ten of them or more in the shortest period. Of orbits near
    a shell the strongest line of ln R is that of 2 Omega_z; of boxes exp(i phi) turns at no single rate.
    NaN for orbits that are. Raises ValueError for fewer than 32 times, or unequal ones.

    >>> from oortax import potential
    >>> from oortax.dynamics import integrate_orbits
    >>> pot = potential.mw_potential_2014()
    >>> times = jnp.linspace(0.0, 5.0, 1001)
    >>> orbit = integrate_orbits(pot, jnp.array([8.0, 0.0, 0.3]), jnp.array([30.0, 220.0, 10.0]), times)
    >>> Omega, drift = fundamental_frequencies(orbit)
    >>> bool(1.2 < Omega[0] / Omega[2] < 1.5), bool(drift < 1e-4)
    (True, True)
    """
    require_float64("fundamental_frequencies", orbit.x)
    times = np.asarray(orbit.times)
    if times.shape[-1] < 32:
        raise ValueError(f"{times.shape[-1]} times: at least 32 are needed, ten or more in a period")
    steps = np.diff(times, axis=-1)
    if not np.allclose(steps, steps[..., :1], rtol=1e-6, atol=0.0):
        raise ValueError("the times must be the same distance apart, such as of jnp.linspace")
    x, dt = orbit.x, jnp.asarray(steps[..., 0])
    if x.ndim == 2:
        return _analysed(x, dt)
    return _all(x, jnp.broadcast_to(dt, x.shape[:1]))


@eqx.filter_jit
def _all(x, dt) -> FundamentalFrequencies:
    return lax.map(lambda of: _analysed(*of), (x, dt), batch_size=64)


def _analysed(x: Float[Array, "t 3"], dt: Scalar) -> FundamentalFrequencies:
    half = x.shape[0] // 2
    Omega, first, second = (_fundamental(part) / dt for part in (x, x[:half], x[half:]))
    return FundamentalFrequencies(Omega, jnp.max(jnp.abs((second - first) / Omega)))


def _fundamental(x: Float[Array, "t 3"]) -> Frequencies:
    """Per step."""
    log_R = 0.5 * jnp.log(x[:, 0] ** 2 + x[:, 1] ** 2)
    R = jnp.exp(log_R)
    turn = lax.complex(x[:, 0] / R, x[:, 1] / R)
    radial, vertical = (lax.complex(f, jnp.zeros_like(f)) for f in (log_R, x[:, 2]))
    return jnp.stack([leading_line(radial, False), leading_line(vertical, False), leading_line(turn, True)])


def leading_line(f: Complex[Array, " t"], signed: bool) -> Scalar:
    """The frequency, in radians per step, of the strongest line of a series without its mean.

    signed (static): negative frequencies are looked at, too, and the mean is kept.
    """
    n = f.shape[0]
    s = (np.arange(n) + 0.5) / n
    window = np.exp(-1.0 / (s * (1.0 - s)))
    window = jnp.asarray(window / window.sum())
    k = np.arange(n) - 0.5 * (n - 1)
    f = f if signed else f - jnp.sum(window * f)
    spectrum = jnp.abs(jnp.fft.fft(window * f, _PADDED * n))
    rates = 2.0 * np.pi * np.fft.fftfreq(_PADDED * n)
    spectrum = spectrum if signed else jnp.where(jnp.asarray(rates) > 0.0, spectrum, 0.0)
    start = jnp.asarray(rates)[jnp.argmax(spectrum)]

    def step(omega, _):
        wave = window * f * jnp.exp(lax.complex(jnp.zeros(n), -omega * k))
        F, F_1, F_2 = jnp.sum(wave), jnp.sum(-1j * k * wave), jnp.sum(-k * k * wave)
        slope = (jnp.conj(F) * F_1).real
        bend = (jnp.conj(F) * F_2).real + (jnp.conj(F_1) * F_1).real
        # Towards the maximum, whatever the bend, by no more than the spectrum's own spacing.
        most = 2.0 * np.pi / (_PADDED * n)
        return omega + jnp.clip(slope / jnp.maximum(-bend, 1e-30), -most, most), None

    return lax.scan(step, start, length=_NEWTON)[0]
