"""Physical constants in the package's units: kpc, km/s, Msun, radian, magnitude.

The unit of time is kpc/(km/s) = 0.97779 Gyr, of action kpc km/s, of frequency km/s/kpc.
"""

G = 4.300917270069976e-6
"""Newton's constant, kpc (km/s)^2 / Msun (CODATA 2018 G, IAU 2015 nominal GM_sun)."""

KAPPA = 4.740470463533349
"""km/s per (mas/yr x kpc): one astronomical unit per Julian year in km/s."""

KM_S_KPC_PER_RAD_GYR = 0.9777922216807893
"""Multiply a frequency in rad/Gyr by this to get km/s/kpc."""

MSUN_PC2 = 1e6
"""Msun/kpc^2 in one Msun/pc^2."""

MSUN_PC3 = 1e9
"""Msun/kpc^3 in one Msun/pc^3."""
