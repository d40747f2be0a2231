"""Named potentials of the Milky Way, and the registry of kinds."""

from collections.abc import Callable

from oortax.params import replace
from oortax.potential.base import AbstractPotential
from oortax.potential.composite import Sum
from oortax.potential.derived import circular_velocity
from oortax.potential.discs import KuzminKutuzov, MiyamotoNagai
from oortax.potential.exponential_discs import ExponentialDisc, Sech2Disc
from oortax.potential.halos import FlattenedNFW
from oortax.potential.logarithmic import LogarithmicHalo
from oortax.potential.power_law import PowerLawCutoff
from oortax.potential.scale_free import ScaleFree
from oortax.potential.spheres import NFW, Hernquist, Isochrone, Plummer
from oortax.potential.spheroids import Einasto, Spheroid

POTENTIALS: dict[str, type[AbstractPotential]] = {
    kind.__name__: kind
    for kind in (
        Isochrone,
        Plummer,
        Hernquist,
        NFW,
        FlattenedNFW,
        PowerLawCutoff,
        MiyamotoNagai,
        KuzminKutuzov,
        LogarithmicHalo,
        ScaleFree,
        ExponentialDisc,
        Sech2Disc,
        Spheroid,
        Einasto,
    )
}
"""Potentials by the name that configuration files use for their kind."""


def _with_speed(
    kind: Callable[..., AbstractPotential], amplitude: str, R_0: float, v_c: float, **shape: float
):
    """The potential of the given kind and shape, its amplitude such that v_c(R_0) has the given value."""
    part = kind(**{amplitude: 1.0}, **shape)
    return replace(part, {amplitude: (v_c / circular_velocity(part, R_0)) ** 2})


def mw_potential_2014() -> Sum:
    """The Milky Way of Bovy (2015, ApJS 216, 29, table 1): v_c = 220 km/s at R_0 = 8 kpc.

    A bulge of slope 1.8 with cut-off at 1.9 kpc, a Miyamoto-Nagai disc (a = 3, b = 0.28 kpc) and an
    NFW halo of scale 16 kpc give 5, 60 and 35 per cent of v_c^2 at R_0.

    >>> pot = mw_potential_2014()
    >>> f"{float(pot['disc'].M):.3e}"
    '6.819e+10'
    """
    R_0, v_0 = 8.0, 220.0
    return Sum(
        bulge=_with_speed(PowerLawCutoff, "rho_0", R_0, v_0 * 0.05**0.5, alpha=1.8, r_c=1.9),
        disc=_with_speed(MiyamotoNagai, "M", R_0, v_0 * 0.60**0.5, a=3.0, b=0.28),
        halo=_with_speed(NFW, "rho_s", R_0, v_0 * 0.35**0.5, r_s=16.0),
    )
