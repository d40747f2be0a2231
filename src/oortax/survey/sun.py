"""The Sun's place and motion in the Galaxy."""

from typing import final

from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.params import AbstractParametric, param


@final
class Sun(AbstractParametric):
    """Where the Sun is and how it moves relative to the circular orbit at R0.

    Attributes
    ----------
    R0 : shape (), kpc, positive
        Distance to the Galactic centre (GRAVITY Collaboration 2019, A&A 625, L10).
    z0 : shape (), kpc
        Height above the plane (Bennett & Bovy 2019, MNRAS 482, 1417).
    U, V, W : shape (), km/s
        Motion relative to the local circular orbit: towards the centre, along rotation, towards the
        north Galactic pole (Schoenrich, Binney & Dehnen 2010, MNRAS 403, 1829).

    The full azimuthal velocity is v_c(R0) + V. The two are all but degenerate in data on nearby
    stars, so that at least one of them needs a prior or a rotation curve.

    >>> sun = Sun(R0=8.2)
    >>> float(sun.R0), float(sun.V)
    (8.2, 12.24)
    """

    R0: Float[Array, ""] = param(constraints.positive, "kpc", "distance to the centre", default=8.178)
    z0: Float[Array, ""] = param(constraints.real, "kpc", "height above the plane", default=0.0208)
    U: Float[Array, ""] = param(constraints.real, "km/s", "motion towards the centre", default=11.1)
    V: Float[Array, ""] = param(constraints.real, "km/s", "motion along rotation", default=12.24)
    W: Float[Array, ""] = param(constraints.real, "km/s", "motion towards the north pole", default=7.25)
