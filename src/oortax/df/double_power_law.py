"""The double power law in the actions: spheroids of any slope, flattening and rotation."""

from typing import final

import jax

from oortax.df.broken_power_law import AbstractBrokenPowerLaw
from oortax.types import Scalar


@final
class DoublePowerLaw(AbstractBrokenPowerLaw):
    r"""Double power law (Binney 2014, MNRAS 440, 787; Posti et al. 2015; in the form of Vasiliev 2019).

    With h = c_r_in J_r + c_z_in J_z + (3 - c_r_in - c_z_in) |J_phi|, g likewise with the outer
    weights, and e the steepness of the break,

        f = norm / (2 pi J_0)^3 [1 + (J_0/h)^e]^(slope_in/e) [1 + (g/J_0)^e]^(-slope_out/e)
            * exp[-(g/J_cut)^cut_strength] [1 + rotation tanh(J_phi/J_phi0)].

    The part even in J_phi does not depend on the rotation, nor does the mass.

    Attributes
    ----------
    norm : shape (), Msun, positive
        Amplitude; the mass is of this order but not equal to it (see `mass`).
    J_0 : shape (), kpc km/s, positive
        Action of the break.
    slope_in : shape (), between 0 and 3
        Inner slope of f in the actions.
    slope_out : shape (), positive
        Outer slope; greater than 3 where there is no cut-off, as else the mass is infinite.
    steepness : shape (), positive
        Sharpness e of the break.
    c_r_in, c_z_in, c_r_out, c_z_out : shape (), positive
        Weights of J_r and J_z inside and outside; c_r + c_z < 3.
    rotation : shape (), between -1 and 1
        Strength of the odd part.
    J_phi0 : shape (), kpc km/s, positive
        Width of the change of sign of the odd part.
    J_cut : shape (), kpc km/s, positive, or None
        Action of the outer cut-off; None for no cut-off.
    cut_strength : shape (), positive
        Sharpness of the cut-off.

    Raises ValueError for weights that leave |J_phi| none, and for an infinite mass.

    Notes
    -----
    log f is finite at J = 0: h is kept above the smallest normal number. Differentiable in J
    (one-sided at J_phi = 0) and every parameter. float32 keeps log f to 1e-6 relative.

    Examples
    --------
    >>> f = DoublePowerLaw(norm=1e10, J_0=500.0, slope_in=1.5, slope_out=4.3, steepness=1.2)
    >>> print(f"{f.mass():.3g} Msun")
    6.08e+09 Msun
    >>> f = DoublePowerLaw(norm=1e10, J_0=500.0, slope_in=1.5, slope_out=2.5, J_cut=2e4)
    >>> print(f"{f.mass():.3g} Msun")
    8.7e+10 Msun
    """

    def log_even(self, log_h: Scalar, log_g: Scalar) -> Scalar:
        """ln of the two power laws and the cut-off; softplus cannot overflow."""
        inner = self.slope_in / self.steepness * jax.nn.softplus(-self.steepness * log_h)
        return inner + self.log_outer(log_g)
