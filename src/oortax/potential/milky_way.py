"""Published mass models of the Milky Way."""

import math
from collections.abc import Callable

from oortax.potential.bar import sormani_2022_bar
from oortax.potential.base import AbstractPotential
from oortax.potential.composite import Sum
from oortax.potential.exponential_discs import ExponentialDisc, Sech2Disc
from oortax.potential.from_density import FromDensity
from oortax.potential.spheres import Plummer
from oortax.potential.spheroids import Einasto, Spheroid

# By type a potential's parameters are arrays; its constructor takes numbers as well.
exponential: Callable[..., AbstractPotential] = ExponentialDisc
isothermal: Callable[..., AbstractPotential] = Sech2Disc
spheroid: Callable[..., AbstractPotential] = Spheroid
einasto: Callable[..., AbstractPotential] = Einasto
plummer: Callable[..., AbstractPotential] = Plummer


def mcmillan_2017() -> Sum:
    """The best-fitting model of McMillan (2017, MNRAS 465, 76, table 3): R_0 = 8.21 kpc, v_0 = 233.1 km/s.

    A flattened bulge, thin and thick stellar discs, discs of H I and H2 with central holes, and an NFW halo.
    """
    return Sum(
        thin=exponential(Sigma_0=8.95679e8, R_d=2.49955, z_d=0.3),
        thick=exponential(Sigma_0=1.83444e8, R_d=3.02134, z_d=0.9),
        HI=isothermal(Sigma_0=5.31319e7, R_d=7.0, z_d=0.085, R_hole=4.0),
        H2=isothermal(Sigma_0=2.17995e9, R_d=1.5, z_d=0.045, R_hole=12.0),
        bulge=spheroid(rho_s=9.8351e10, r_s=0.075, q=0.5, gamma=0.0, beta=1.8, r_cut=2.1),
        halo=spheroid(rho_s=8.53702e6, r_s=19.5725),
    )


def piffl_2014() -> Sum:
    """The model of Piffl et al. (2014, MNRAS 445, 3133, table 1) with a spherical halo: R_0 = 8.3 kpc.

    A flattened bulge, thin and thick stellar discs, one gas disc with a central hole, and an NFW halo.
    """
    return Sum(
        thin=exponential(Sigma_0=5.707e8, R_d=2.68, z_d=0.2),
        thick=exponential(Sigma_0=2.51e8, R_d=2.68, z_d=0.7),
        gas=exponential(Sigma_0=9.45e7, R_d=5.36, z_d=0.04, R_hole=4.0),
        bulge=spheroid(rho_s=9.49e10, r_s=0.075, q=0.5, gamma=0.0, beta=1.8, r_cut=2.1),
        halo=spheroid(rho_s=1.816e7, r_s=14.4),
    )


def hunter_2024() -> Sum:
    """The Galaxy of Hunter et al. (2024, A&A 692, A216) with its bar axisymmetrised and no spiral arms.

    The black hole (softened by 1 pc), the nuclear star cluster (Chatzopoulos et al. 2015) and the nuclear
    stellar disc (Sormani et al. 2020, two parts), the azimuthal mean of the bar of Sormani et al. (2022),
    thin and thick stellar discs with central holes, discs of H I and H2, and an Einasto halo. Parameters
    are those of the authors' script for AGAMA (example_mw_potential_hunter24.py); with R_0 = 8.178 kpc they
    give v_0 = 228.8 km/s.

    The bar has edges sharper than the default grid: near 2.5 kpc the force is right to 2e-3, and to 5e-4 on
    `Grid.fine()`.
    """
    return Sum(
        black_hole=plummer(M=4.1e6, b=1e-3),
        # The density scale for a mass of 6.1e7 Msun.
        nuclear_cluster=spheroid(
            rho_s=9.04427819e13, r_s=0.0059, q=0.73, gamma=0.71, beta=4.0, r_cut=0.1, xi=2.0
        ),
        nuclear_disc=_einasto(rho_0=2.00583e12, h=0.00506, alpha=0.72, q=0.37),
        nuclear_disc_2=_einasto(rho_0=1.53e12, h=0.0246, alpha=0.79, q=0.37),
        bar=FromDensity(sormani_2022_bar, factor=1.0),
        thin=exponential(Sigma_0=1.332e9, R_d=2.0, z_d=0.3, R_hole=2.7),
        thick=exponential(Sigma_0=8.97e8, R_d=2.8, z_d=0.9, R_hole=2.7),
        HI=isothermal(Sigma_0=5.81e7, R_d=7.0, z_d=0.085, R_hole=4.0),
        H2=isothermal(Sigma_0=2.68e9, R_d=1.5, z_d=0.045, R_hole=12.0),
        halo=_einasto(rho_0=2.774e11, h=8.682e-6, alpha=0.1704, q=1.0),
    )


def _einasto(rho_0: float, h: float, alpha: float, q: float) -> AbstractPotential:
    """Einasto's profile written as rho_0 exp[-(m/h)^alpha]."""
    r_s = h * (2.0 / alpha) ** (1.0 / alpha)
    return einasto(rho_s=rho_0 * math.exp(-2.0 / alpha), r_s=r_s, alpha=alpha, q=q)
