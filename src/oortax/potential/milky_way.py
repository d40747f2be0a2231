"""Published mass models of the Milky Way."""

from oortax.potential.composite import Sum
from oortax.potential.exponential_discs import ExponentialDisc, Sech2Disc
from oortax.potential.spheroids import Spheroid


def mcmillan_2017() -> Sum:
    """The best-fitting model of McMillan (2017, MNRAS 465, 76, table 3): R_0 = 8.21 kpc, v_0 = 233.1 km/s.

    A flattened bulge, thin and thick stellar discs, discs of H I and H2 with central holes, and an NFW halo.
    """
    return Sum(
        thin=ExponentialDisc(Sigma_0=8.95679e8, R_d=2.49955, z_d=0.3),
        thick=ExponentialDisc(Sigma_0=1.83444e8, R_d=3.02134, z_d=0.9),
        HI=Sech2Disc(Sigma_0=5.31319e7, R_d=7.0, z_d=0.085, R_hole=4.0),
        H2=Sech2Disc(Sigma_0=2.17995e9, R_d=1.5, z_d=0.045, R_hole=12.0),
        bulge=Spheroid(rho_s=9.8351e10, r_s=0.075, q=0.5, gamma=0.0, beta=1.8, r_cut=2.1),
        halo=Spheroid(rho_s=8.53702e6, r_s=19.5725),
    )


def piffl_2014() -> Sum:
    """The model of Piffl et al. (2014, MNRAS 445, 3133, table 1) with a spherical halo: R_0 = 8.3 kpc.

    A flattened bulge, thin and thick stellar discs, one gas disc with a central hole, and an NFW halo.
    """
    return Sum(
        thin=ExponentialDisc(Sigma_0=5.707e8, R_d=2.68, z_d=0.2),
        thick=ExponentialDisc(Sigma_0=2.51e8, R_d=2.68, z_d=0.7),
        gas=ExponentialDisc(Sigma_0=9.45e7, R_d=5.36, z_d=0.04, R_hole=4.0),
        bulge=Spheroid(rho_s=9.49e10, r_s=0.075, q=0.5, gamma=0.0, beta=1.8, r_cut=2.1),
        halo=Spheroid(rho_s=1.816e7, r_s=14.4),
    )
