"""White dwarfs: a simple cooling sequence.

A star of initial mass m_i that outlived the isochrones by t leaves a white dwarf with

    m_f = 0.109 m_i + 0.394                                    Msun (Kalirai et al. 2008, ApJ 676, 594)
    t   = 8.8 Myr m_f^(5/7) (L/Lsun)^(-5/7)                    (Mestel's law; Iben & Tutukov 1984)
    R   = 0.0112 sqrt((1.433/m_f)^(2/3) - (m_f/1.433)^(2/3))   Rsun (Nauenberg 1972, ApJ 175, 417)

and shines as a black body: its magnitudes are the Sun's, scaled by radius and by Planck's function at the
band's effective wavelength. Colours are good to about 0.1 mag, magnitudes to 0.3 mag as far as 10 Gyr; the
envelope's composition, crystallisation and residual burning are not in it.
"""

import jax
import jax.numpy as jnp
import numpy as np

HEAVIEST = 8.0
"""Initial mass (Msun) above which stars leave no white dwarf."""

# Effective wavelength in micrometres, and the Sun's absolute magnitude (Willmer 2018, ApJS 236, 47; BP - RP
# 0.82).
BANDS = {"B": (0.436, 5.44), "V": (0.545, 4.81), "G": (0.622, 4.67), "BP": (0.511, 5.00), "RP": (0.777, 4.18)}

_T_SUN = 5772.0
_HC_OVER_K = 14387.77
_DEATHS = 24
# A lower bound on cooling times, Gyr: the law makes newborn white dwarfs as bright as giants.
_SHORTEST = 1e-3


def final_mass(m_i):
    """Mass of the white dwarf, Msun."""
    return 0.109 * m_i + 0.394


def cooled(m_f, t):
    """Luminosity (Lsun) and temperature (K) of a white dwarf of mass m_f (Msun), t Gyr old."""
    t = jnp.maximum(t, _SHORTEST)
    L = m_f * (t / 8.8e-3) ** (-7.0 / 5.0)
    x = (m_f / 1.433) ** (2.0 / 3.0)
    R = 0.0112 * jnp.sqrt(1.0 / x - x)
    return L, _T_SUN * (L / R**2) ** 0.25


def magnitude(band: str, m_f, t):
    """Absolute magnitude of a white dwarf of mass m_f (Msun) at cooling time t (Gyr).

    >>> round(float(magnitude("V", 0.6, 1.0)), 1)
    12.6
    """
    wavelength, sun = BANDS[band]
    L, T = cooled(m_f, t)
    x, x_sun = _HC_OVER_K / (wavelength * T), _HC_OVER_K / (wavelength * _T_SUN)
    R_squared = L * (_T_SUN / T) ** 4
    return sun - 2.5 * jnp.log10(R_squared * np.expm1(x_sun) / jnp.expm1(x))


def white_dwarfs(imf, heaviest_alive, bands, ages, mh, shares):
    """Magnitudes (len(bands), .) and number per star formed of points that stand for the white dwarfs.

    Parameters
    ----------
    imf : AbstractIMF
    heaviest_alive : callable
        Initial mass (Msun) of the most massive living star of an age (Gyr) and [M/H].
    bands : tuple of str
    ages, mh, shares : shape (n,)
        Nodes of a population's quadrature.
    """

    def one(age, mh, share):
        # Ages at which the progenitors died, from 0.1 Gyr (and all the heavier ones at once) to the present
        # age.
        first = jnp.minimum(0.1, 0.5 * age)
        died = first * jnp.exp(jnp.log(age / first) * jnp.linspace(0.0, 1.0, _DEATHS + 1))
        m = jax.vmap(lambda t: heaviest_alive(t, mh))(died)
        m = jnp.minimum(jnp.concatenate([jnp.full_like(m[:1], HEAVIEST), m]), HEAVIEST)
        died = jnp.concatenate([0.5 * died[:1], died])
        number = share * imf.number(m[1:], m[:-1])
        m_f, t = final_mass(0.5 * (m[1:] + m[:-1])), age - 0.5 * (died[1:] + died[:-1])
        return jnp.stack([magnitude(band, m_f, t) for band in bands]), number

    magnitudes, number = jax.vmap(one)(ages, mh, shares)
    return jnp.moveaxis(magnitudes, 1, 0).reshape(len(bands), -1), number.ravel()
