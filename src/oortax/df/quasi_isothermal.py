"""The quasi-isothermal disc: nearly isothermal velocities about each circular orbit."""

from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.df.base import AbstractDF, needs_circular_orbits, where_bound
from oortax.df.disc_scales import disc_velocity_scale, log_isothermal
from oortax.df.label_integral import over_log_L
from oortax.df.simplex import mean_exponential
from oortax.df.velocity import VelocityScale
from oortax.params import param
from oortax.potential import AbstractPotential
from oortax.types import Actions, Scalar


@final
class QuasiIsothermal(AbstractDF):
    r"""Quasi-isothermal DF of a disc (Binney 2010, MNRAS 401, 2318; in the form of Vasiliev 2019).

    With L = |J_phi| + c_r J_r + c_z J_z and R_c, Omega, kappa, nu of the circular orbit that has
    this angular momentum, and sigma_r = sigma_r0 exp(-R_c/R_sigma), sigma_z^2 = 2 nu^2 H_d^2,

        f = Sigma_0 / (2 pi^2) exp(-R_c/R_d) nu Omega / (kappa sigma_r^2 sigma_z^2)
            * exp(-[kappa J_r - min(0, 2 Omega J_phi)] / sigma_r^2 - nu J_z / sigma_z^2).

    It makes a disc of surface density close to Sigma_0 exp(-R/R_d) whose stars almost all rotate
    towards J_phi > 0. f is continuous at J_phi = 0, with a kink.

    The parameters know nothing of the potential: `f.bind(circular_orbits).log_f(J)` gives numbers.

    Attributes
    ----------
    R_d : shape (), kpc, positive
        Scale length of the surface density.
    sigma_r0 : shape (), km/s, positive
        Radial velocity dispersion at the centre.
    R_sigma : shape (), kpc, positive
        Scale length of the dispersion's fall.
    H_d : shape (), kpc, positive
        Scale height that sets the vertical dispersion.
    Sigma_0 : shape (), Msun/kpc^2, positive
        Central surface density; the amplitude of f.
    c_r, c_z : shape (), positive
        Weights of J_r and J_z in the angular momentum that labels the circular orbit.

    Notes
    -----
    Accuracy: that of the circular orbits; beyond the last tabulated one (250 kpc by default) its
    radius and frequencies are kept. float32 keeps log f to about 1e-5 of its terms.
    Differentiable in J (one-sided at J_phi = 0), in every parameter and in the potential's.

    Examples
    --------
    >>> import jax
    >>> from oortax import dynamics, potential
    >>> orbits = jax.jit(dynamics.circular_orbits)(potential.mw_potential_2014())
    >>> disc = QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3, Sigma_0=8e8)
    >>> f = disc.bind(orbits)
    >>> print(f"{f.log_f(jnp.array([10.5, 5.46, 2911.0])):.1f}, {f.mass():.3g} Msun")
    2.7, 3.39e+10 Msun
    """

    flat: ClassVar[bool] = True
    R_d: Float[Array, ""] = param(constraints.positive, "kpc", "scale length of the disc")
    sigma_r0: Float[Array, ""] = param(constraints.positive, "km/s", "central radial dispersion")
    R_sigma: Float[Array, ""] = param(constraints.positive, "kpc", "scale length of the dispersion")
    H_d: Float[Array, ""] = param(constraints.positive, "kpc", "scale height")
    Sigma_0: Float[Array, ""] = param(
        constraints.positive, "Msun/kpc^2", "central surface density", default=1.0
    )
    c_r: Float[Array, ""] = param(constraints.positive, "", "weight of J_r in the label", default=1.0)
    c_z: Float[Array, ""] = param(constraints.positive, "", "weight of J_z in the label", default=0.25)

    def bind(self, circular_orbits: Any) -> "BoundQuasiIsothermal":
        """The DF in the potential whose circular orbits these are (`dynamics.circular_orbits`)."""
        return BoundQuasiIsothermal(self, circular_orbits)

    def log_f(self, J: Actions) -> Scalar:
        """Raise ValueError: f depends on the potential's circular orbits."""
        raise needs_circular_orbits(self, "log_f(J)")

    def mass(self) -> Scalar:
        """Raise ValueError: the mass depends on the potential's circular orbits."""
        raise needs_circular_orbits(self, "mass()")


@final
class BoundQuasiIsothermal(AbstractDF):
    """A quasi-isothermal disc together with the circular orbits of one potential.

    Made by `QuasiIsothermal.bind` once per likelihood evaluation, and never stored in a model.
    `circular_orbits.at(L)` must give a record with fields R, Omega, kappa, nu.
    """

    flat: ClassVar[bool] = True
    disc: QuasiIsothermal
    circular_orbits: Any

    def bind(self, circular_orbits: Any) -> "BoundQuasiIsothermal":
        """The same parameters in another potential."""
        return self.disc.bind(circular_orbits)

    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J = (J_r, J_z, J_phi) in kpc km/s; -inf where there are no actions."""
        return where_bound(self._log_f, J)

    def _log_f(self, J: Actions) -> Scalar:
        J_r, J_z, J_phi = J
        f = self.disc
        L = jnp.abs(J_phi) + f.c_r * J_r + f.c_z * J_z
        log_amplitude, per_J_r, per_J_z, per_retrograde = self._exponents(L)
        retrograde = jnp.maximum(-J_phi, 0.0)
        return log_amplitude - per_J_r * J_r - per_J_z * J_z - per_retrograde * retrograde

    def _exponents(self, L):
        """Log amplitude of f at label L, and its decay rates in J_r, J_z and -J_phi."""
        f = self.disc
        R, Omega, kappa, nu = self._orbit(L)
        log_var_r = 2.0 * (jnp.log(f.sigma_r0) - R / f.R_sigma)
        log_var_z = jnp.log(2.0) + 2.0 * (jnp.log(nu) + jnp.log(f.H_d))
        log_amplitude = (
            jnp.log(f.Sigma_0)
            - jnp.log(2.0 * jnp.pi**2)
            - R / f.R_d
            + jnp.log(nu * Omega / kappa)
            - log_var_r
            - log_var_z
        )
        # Far outside sigma_r -> 0 and its inverse overflows; any J_r > 0 has f = 0 long before.
        limit = 0.5 * jnp.log(jnp.finfo(log_var_r.dtype).max)
        inverse_var_r = jnp.exp(jnp.minimum(-log_var_r, limit))
        return log_amplitude, kappa * inverse_var_r, nu * jnp.exp(-log_var_z), 2.0 * Omega * inverse_var_r

    def _orbit(self, L):
        orbit = self.circular_orbits.at(L)
        return orbit.R, orbit.Omega, orbit.kappa, orbit.nu

    def velocity_scale(self, potential: AbstractPotential, R, z) -> VelocityScale:
        """Mean rotation behind v_c by the asymmetric drift, and the dispersions in the plane at R."""
        del potential, z
        f = self.disc
        # Scales need no precision: the orbits at hand save second derivatives of Phi.
        orbit = self.circular_orbits.near(R)
        sigma_R = f.sigma_r0 * jnp.exp(-R / f.R_sigma)
        sigma_z = jnp.sqrt(2.0) * orbit.nu * f.H_d
        fall = R / f.R_d + 2.0 * R / f.R_sigma
        return disc_velocity_scale(R, orbit.Omega, orbit.kappa, sigma_R, sigma_z, fall)

    def log_density_scale(self, potential: AbstractPotential, R, z) -> Scalar:
        """Exponential in r, and isothermal in the potential's own z with the sigma_z of the plane at r.

        At the radius r, because the orbits high above the centre do not belong to it.
        """
        f = self.disc
        r = jnp.hypot(R, z)
        sigma_z = jnp.sqrt(2.0) * self.circular_orbits.near(r).nu * f.H_d
        return -r / f.R_d + log_isothermal(potential, R, z, sigma_z)

    @eqx.filter_jit
    def mass(self) -> Scalar:
        r"""(2 pi)^3 times the integral of f over the actions, both senses of rotation.

        At a fixed label L, |J_phi| = L - c_r J_r - c_z J_z and f is an exponential of a linear
        function of (J_r, J_z) on a triangle, whose integral is a divided difference of exp; the
        integral over ln L is a sum over 162 fixed nodes. Accuracy 1e-6, set by the table of
        circular orbits (the rule itself is good to 1e-9); differentiable.
        """
        f = self.disc

        def integrand(L):
            log_amplitude, per_J_r, per_J_z, per_retrograde = self._exponents(L)
            x_r, x_z = L * per_J_r / f.c_r, L * per_J_z / f.c_z
            prograde = mean_exponential(jnp.stack([x_r, x_z, jnp.zeros_like(L)]))
            retrograde = mean_exponential(jnp.stack([x_r, x_z, L * per_retrograde]))
            return jnp.exp(log_amplitude + 3.0 * jnp.log(L)) * (prograde + retrograde) / (f.c_r * f.c_z)

        return (2.0 * jnp.pi) ** 3 * over_log_L(integrand, jnp.result_type(f.R_d))
