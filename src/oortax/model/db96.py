"""The model of Dehnen & Binney (1996), section 4: their Galaxy, and their survey of the Galactic pole."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from oortax.df import DB96Disc, DB96Halo, moments
from oortax.dynamics import StaeckelFudge, circular_orbits
from oortax.model.galaxy import Component, Galaxy
from oortax.potential import circular_velocity, dehnen_binney_1996, expand
from oortax.stars import DehnenBinneyIMF, Enrichment, ExponentialDecay, Population
from oortax.survey import Errors, Latitude, Magnitude, Sun, Survey

SUN: dict[str, Any] = {"R0": 8.0, "z0": 0.007, "U": 9.0, "V": 12.0, "W": 7.0}
"""The Sun of DB96: at their R0, 7 pc above the plane, moving by (9, 12, 7) km/s."""


def db96_galaxy(
    *,
    R_d: Any = 3.0,
    sigma_r0: Any = 126.3,
    sigma_l0: Any = 66.7,
    a: Any = 1.2,
    b: Any = 1.2,
    beta: Any = 3.5,
    gamma: Any = 1.8,
    A_0: Any = None,
    halo_to_disc: float = 0.01,
    normalised_by: str = "number",
    onsets: tuple[Any, Any] = (12.0, 14.0),
    decays: tuple[Any, Any] = (12.0, 2.0),
    metallicities: tuple[float, float] = (-2.18, 0.42),
    halo_metallicities: tuple[float, float] | None = None,
    sigma_mh: float = 0.2,
    imf: Any = None,
    calibrated: bool = False,
    support: tuple[float, float] = (-3.0, 16.0),
    **population: Any,
) -> Galaxy:
    """Disc and halo of Dehnen & Binney (1996) in their scale-free potential, with their populations.

    The disc's f is their eq. (9) with the frequencies of circular orbits, the halo's their eq. (5).

    Parameters
    ----------
    R_d : kpc. NOT STATED by the paper
    sigma_r0, sigma_l0 : km/s, central dispersions: with R_d = 3 kpc they give the paper's sigma_u = 36 and
        sigma_w = 19 km/s at R0 = 8 kpc (see `oortax.df.DB96Disc`)
    a, b, beta, gamma : of the halo, the paper's
    A_0 : kpc km/s; None: the angular momentum of the circular orbit at 1 kpc, the paper's
    halo_to_disc : ratio of their densities at the Sun, the paper's 100 rho_halo = rho_disk
    normalised_by : "number" of living stars or "mass" of all stars formed: what that ratio is of. NOT STATED
    onsets, decays : Gyr, of star formation in disc and halo, the paper's
    metallicities : mean [M/H] at the onset and now: the paper's Z = 1e-4 and 0.04
    halo_metallicities : those of the halo; None: NOT STATED whether disc and halo share a clock; here each
        reaches today's metallicity today, from its own onset
    sigma_mh : dex, NOT STATED; a Gaussian in [M/H], not in Z
    imf : None: the paper's, x = 1.35 above and 0.3 below 0.8 Msun, cut at 0.15
    calibrated : see `potential.dehnen_binney_1996`
    support : absolute magnitudes B of the stars
    population : further arguments of `stars.Population`, such as binary_fraction = 0.5 (none) or
        with_white_dwarfs = True (none)

    Isochrones are PARSEC's instead of Renzini & Voli's and Maeder's; their oldest stand for older stars, and
    their most metal-poor for poorer ones. No extinction.

    >>> galaxy = db96_galaxy()  # doctest: +SKIP
    """
    if normalised_by not in ("number", "mass"):
        raise ValueError(f"db96_galaxy(normalised_by={normalised_by!r}): give 'number' or 'mass'")
    if not halo_to_disc > 0:
        raise ValueError(f"db96_galaxy(halo_to_disc={halo_to_disc}): must be positive")
    potential = dehnen_binney_1996(calibrated)
    if A_0 is None:
        A_0 = float(circular_velocity(potential, 1.0))
    disc: Any = DB96Disc(M_d=jnp.asarray(4e10), R_d=R_d, sigma_r0=sigma_r0, sigma_l0=sigma_l0)
    halo = DB96Halo(a=a, b=b, beta=beta, gamma=gamma, A_0=A_0)
    imf = DehnenBinneyIMF() if imf is None else imf
    of_halo = metallicities if halo_metallicities is None else halo_metallicities
    disc_stars, halo_stars = (
        Population(
            imf=imf,
            history=ExponentialDecay(onset=onset, decay=decay),
            metallicity=Enrichment(start=mh[0], now=mh[1], onset=onset, sigma=sigma_mh),
            band="B",
            colour="B-V",
            support=support,
            outside="nearest",
            **population,
        )
        for onset, decay, mh in zip(onsets, decays, (metallicities, of_halo), strict=True)
    )
    rho = _local_densities(potential, disc, halo)
    ratio = halo_to_disc * float(rho[0] / rho[1])
    if normalised_by == "mass":
        numbers = [float(stars.number_per_mass()) for stars in (disc_stars, halo_stars)]
        ratio *= numbers[1] / numbers[0]
    share: Any = ratio / (1.0 + ratio)
    return Galaxy(
        potential, {"disc": Component(disc, disc_stars), "halo": Component(halo, halo_stars, share)}
    )


@eqx.filter_jit
def _local_densities(potential, disc, halo) -> jax.Array:
    """Stars per kpc^3 at the Sun of the two components, of one star each."""
    smooth = expand(potential)
    orbits = circular_orbits(smooth)
    finder = StaeckelFudge(smooth)
    bound = disc.bind(orbits), halo.bind(orbits)
    at = SUN["R0"], SUN["z0"]
    return jnp.stack([moments(f, smooth, finder, *at).density / f.mass() for f in bound])


def db96_survey(bright: float = 14.0, faint: float = 18.0, *, radius: float = 5.0, pm: float = 0.1) -> Survey:
    """The survey of the north Galactic pole in the paper's Figures 1 and 2.

    Parameters
    ----------
    bright, faint : limits in B, mag; the paper's are 14 to 18 and 18 to 22
    radius : deg, of the field about the pole. NOT STATED
    pm : mas/yr, error of the proper motions. NOT STATED, and no matter

    >>> [cut.kind for cut in db96_survey(18.0, 22.0).selection]
    ['latitude', 'magnitude']
    """
    if not 0 < radius <= 90:
        raise ValueError(f"db96_survey(radius={radius}): must lie between 0 and 90 deg")
    cuts: list[Any] = [Latitude(min=90.0 - radius), Magnitude(band="B", min=bright, max=faint)]
    return Survey(Sun(**SUN), selection=cuts, errors=Errors(V=0.02, pm=pm))
