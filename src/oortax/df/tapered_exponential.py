"""A tapered exponential disc in the actions alone, which needs no potential."""

from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.df.base import AbstractDF, where_bound
from oortax.df.disc_scales import disc_velocity_scale, log_isothermal
from oortax.df.velocity import VelocityScale
from oortax.params import param
from oortax.potential import AbstractPotential, frequencies
from oortax.types import Actions, Scalar

# A double exponential rule: x = exp(t - exp(-t)) > 0, and u = x/(1 + x) on (0, 1) from t of both signs.
_T = np.linspace(-4.2, 6.2, 131)
_X = np.exp(_T - np.exp(-_T))
_X_WEIGHTS = (_T[1] - _T[0]) * _X * (1.0 + np.exp(-_T))
_S = np.linspace(-3.4, 3.4, 137)
_U = 0.5 * (1.0 + np.tanh(0.5 * np.pi * np.sinh(_S)))
_U_WEIGHTS = (_S[1] - _S[0]) * 0.25 * np.pi * np.cosh(_S) / np.cosh(0.5 * np.pi * np.sinh(_S)) ** 2


@final
class TaperedExponential(AbstractDF):
    r"""Disc f = f_phi(J_phi) f_r(J_r, J_phi) f_z(J_z, J_phi) after Binney & Vasiliev (2023, MNRAS 520, 1832).

    With J_v = sqrt(J_phi^2 + J_v0^2) and J_d = sqrt(J_phi^2 + J_d0^2),

        f_phi = norm/(2 pi)^3 J_d/J_phi0^2 exp(-J_d/J_phi0) {1 + tanh[(J_phi - J_taper)/J_trans]}/2,
        f_r = k_r/J_r0 exp(-k_r J_r/J_r0),  k_r = (J_v/J_phi0)^p_r,
        f_z = k_z/J_z0 exp(-k_z J_z/J_z0),  k_z = (J_v/J_phi0)^p_z.

    Under a flat circular speed v_c this is a disc of scale length J_phi0/v_c whose squared dispersions are
    about kappa J_r0/k_r and nu J_z0/k_z. f does not depend on the potential, and is smooth at J_phi = 0.

    The factors J_d, J_v and the exponentials are those of AGAMA's DF "Exponential" with
    coefJr = coefJz = 0 and p_r = p_z = 1: its Jr0^2 is J_r0 J_phi0, its Jz0^2 is J_z0 J_phi0, its addJden and
    addJvel are J_d0 and J_v0. Where AGAMA has a factor that suppresses retrograde stars by their energy, f
    has the taper. The powers p_r, p_z and the taper follow the papers of Binney & Vasiliev in kind; they
    were not compared with these papers' printed equations.

    Attributes
    ----------
    norm : shape (), Msun, positive
        Amplitude; the mass for J_d0, J_taper and J_trans far below J_phi0 (see `mass`).
    J_phi0 : shape (), kpc km/s, positive
        Scale of the decline with J_phi.
    J_r0, J_z0 : shape (), kpc km/s, positive
        Scales of J_r and J_z where J_v = J_phi0.
    J_v0, J_d0 : shape (), kpc km/s, positive
        Keep the dispersions and the density finite at small J_phi.
    J_taper, J_trans : shape (), kpc km/s, positive
        Where f is half of what it would be, and half the width over which it falls towards small J_phi.
    p_r, p_z : shape (), positive
        How fast the scales of J_r and J_z fall with J_v.

    Notes
    -----
    Exact but for rounding; smooth in J and differentiable in every parameter. float32 keeps log f to 1e-5.

    Examples
    --------
    >>> disc = TaperedExponential(
    ...     norm=4e10, J_phi0=600.0, J_r0=40.0, J_z0=8.0, J_v0=200.0, J_d0=20.0, J_taper=50.0, J_trans=30.0
    ... )
    >>> print(f"{disc.log_f(jnp.array([10.5, 5.46, 1500.0])):.2f}, {disc.mass():.3g} Msun")
    4.62, 3.99e+10 Msun
    """

    flat: ClassVar[bool] = True
    norm: Float[Array, ""] = param(constraints.positive, "Msun", "amplitude")
    J_phi0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "scale of J_phi")
    J_r0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "scale of J_r at J_phi0")
    J_z0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "scale of J_z at J_phi0")
    J_v0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "limits the dispersions")
    J_d0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "limits the density")
    J_taper: Float[Array, ""] = param(constraints.positive, "kpc km/s", "J_phi of the taper")
    J_trans: Float[Array, ""] = param(constraints.positive, "kpc km/s", "width of the taper")
    p_r: Float[Array, ""] = param(constraints.positive, "", "power of J_r's scale", default=1.0)
    p_z: Float[Array, ""] = param(constraints.positive, "", "power of J_z's scale", default=1.0)

    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J = (J_r, J_z, J_phi) in kpc km/s; -inf where there are no actions."""
        return where_bound(self._log_f, J)

    def _log_f(self, J: Actions) -> Scalar:
        J_r, J_z, J_phi = J
        log_k_r, log_k_z = self._log_rates(J_phi)
        log_planar = jnp.log(self.norm) - 3.0 * jnp.log(2.0 * jnp.pi) - 2.0 * jnp.log(self.J_phi0)
        log_warm = log_k_r + log_k_z - jnp.exp(log_k_r) * J_r - jnp.exp(log_k_z) * J_z
        return log_planar + self._log_phi(J_phi) + log_warm

    def _log_rates(self, J_phi):
        """ln of k_r/J_r0 and k_z/J_z0."""
        log_J_v = 0.5 * jnp.log(J_phi**2 + self.J_v0**2) - jnp.log(self.J_phi0)
        return self.p_r * log_J_v - jnp.log(self.J_r0), self.p_z * log_J_v - jnp.log(self.J_z0)

    def _log_phi(self, J_phi):
        """ln of J_d exp(-J_d/J_phi0) and the taper."""
        J_d = jnp.sqrt(J_phi**2 + self.J_d0**2)
        taper = jax.nn.log_sigmoid(2.0 * (J_phi - self.J_taper) / self.J_trans)
        return jnp.log(J_d) - J_d / self.J_phi0 + taper

    def velocity_scale(self, potential: AbstractPotential, R, z) -> VelocityScale:
        """Mean rotation behind v_c by the asymmetric drift, and the dispersions in the plane at R."""
        del z
        L, Omega, kappa, sigma_R, sigma_z = self._circular(potential, R)
        return disc_velocity_scale(R, Omega, kappa, sigma_R, sigma_z, L / self.J_phi0 + 1.0 + self.p_r)

    def log_density_scale(self, potential: AbstractPotential, R, z) -> Scalar:
        """Exponential in the angular momentum of the circular orbit at r, and isothermal in z."""
        L, _, _, _, sigma_z = self._circular(potential, jnp.hypot(R, z))
        return -L / self.J_phi0 + log_isothermal(potential, R, z, sigma_z)

    def _circular(self, potential, R):
        """L, Omega and kappa of the circular orbit at R, and the dispersions there."""
        Omega, kappa, nu = frequencies(potential, R)
        L = Omega * R * R
        log_k_r, log_k_z = self._log_rates(L)
        return L, Omega, kappa, jnp.sqrt(kappa * jnp.exp(-log_k_r)), jnp.sqrt(nu * jnp.exp(-log_k_z))

    @eqx.filter_jit
    def mass(self) -> Scalar:
        r"""(2 pi)^3 times the integral of f over the actions, both senses of rotation.

        J_r and J_z integrate to one; over J_phi a double exponential rule on each of J_phi < 0,
        0 to J_taper, and beyond, which the taper's poles and the bend at J_phi = 0 cannot harm. Accuracy
        1e-9; differentiable.
        """
        dtype = jnp.result_type(self.norm)
        x, x_weights = jnp.asarray(_X, dtype), jnp.asarray(_X_WEIGHTS, dtype)
        u, u_weights = jnp.asarray(_U, dtype), jnp.asarray(_U_WEIGHTS, dtype)
        below = x_weights @ jnp.exp(self._log_phi(-self.J_phi0 * x)) * self.J_phi0
        within = u_weights @ jnp.exp(self._log_phi(self.J_taper * u)) * self.J_taper
        beyond = x_weights @ jnp.exp(self._log_phi(self.J_taper + self.J_phi0 * x)) * self.J_phi0
        return self.norm / self.J_phi0**2 * (below + within + beyond)
