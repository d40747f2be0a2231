"""The mass model of Dehnen & Binney (1996)."""

import jax.numpy as jnp

from oortax.constants import MSUN_PC3
from oortax.potential.scale_free import ScaleFree


def dehnen_binney_1996(calibrated: bool = False) -> ScaleFree:
    """The scale-free Galaxy of Dehnen & Binney (1996, ASP Conf. Ser. 92, 391), eq. (3).

    gamma = 1.8, a spheroid of axis ratio 0.8 and a disc sech^2[z/(0.06 R)], with prefactors of 1.4e5 and
    5.8e5 Msun/pc^3 for lengths in pc. As printed these give, at R_0 = 8 kpc, v_c = 203.9 km/s,
    |K_z|(1.1 kpc)/(2 pi G) = 74.3 Msun/pc^2, local densities of 0.0132 and 0.0547 Msun/pc^3, z_d = 240 pc.

    Parameters
    ----------
    calibrated : bool
        Take prefactors of 1.326e5 and 5.913e5 instead, with which v_c and K_z are the values that the paper
        states, 200 km/s and 74 Msun/pc^2 (local densities 0.0125 and 0.0557); those are not rounded forms of
        the printed ones.

    >>> from oortax import potential
    >>> pot, exact = dehnen_binney_1996(), dehnen_binney_1996(calibrated=True)
    >>> [round(float(potential.circular_velocity(p, 8.0)), 1) for p in (pot, exact)]
    [203.9, 200.0]
    >>> [round(float(potential.effective_surface_density(p, 8.0, 1.1)) / 1e6, 1) for p in (pot, exact)]
    [74.3, 74.0]
    """
    gamma = 1.8
    spheroid, disc = (1.326e5, 5.913e5) if calibrated else (1.4e5, 5.8e5)
    unit = MSUN_PC3 * 1000.0**-gamma
    rho_s, rho_d, gamma, q, h = jnp.array([spheroid * unit, disc * unit, gamma, 0.8, 0.06])
    return ScaleFree(rho_s, rho_d, gamma, q, h)
