"""The disc of Dehnen & Binney (1996): exponential, and warm by the frequencies of its orbits."""

from collections.abc import Callable
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.df.base import AbstractDF, needs_circular_orbits, where_bound
from oortax.df.disc_scales import disc_velocity_scale, log_isothermal
from oortax.df.label_integral import over_log_L
from oortax.df.velocity import VelocityScale
from oortax.params import param
from oortax.potential import AbstractPotential
from oortax.types import Actions, Scalar

# Nodes in J_r and J_z, in units of their exponential scales for circular frequencies, x = exp(t - exp(-t)):
# 36 up to x = 1000. Where frequencies fall with the actions f falls more slowly than exp(-x).
_T = np.linspace(-2.5, np.log(1000.0), 36)
_X = np.exp(_T - np.exp(-_T))
_X_WEIGHTS = (_T[1] - _T[0]) * _X * (1.0 + np.exp(-_T))


@final
class DB96Disc(AbstractDF):
    r"""Disc of Dehnen & Binney (1996), eqs. (7) to (9), normalised to its mass M_d.

    With R the radius of the circular orbit of angular momentum |J_phi|,

        f = N M_d / [(2 pi)^3 R_d^2 sigma_r0^2 sigma_l0^2] Omega_r Omega_l (dR/dJ_phi)_circ R
            * exp{R/R_d - [J_r Omega_r/sigma_r0^2 + J_z Omega_l/sigma_l0^2] exp(R/R_d)}
            * exp[min(0, 2 Omega J_phi)/sigma_r^2],      sigma_r^2 = sigma_r0^2 exp(-R/R_d):

    a surface density exp(-R/R_d), and dispersions of which the squares fall as fast. (The paper's text has
    (2 pi)^-3 f for the density in action space; eq. (7) has the right (2 pi)^3 f.)

    The paper's disc has no star with J_phi < 0. The last factor, that of `QuasiIsothermal`, replaces this
    step, of which log f would be -inf and without a slope; Omega is that of the circular orbit.

    The paper does not say how Omega_r and Omega_l are had. Two forms:

    - `bind(circular_orbits)`: the epicycle and vertical frequency of the circular orbit, kappa and nu. Then
      the integrals over J_r and J_z are exact, stars with J_phi > 0 have the mass M_d of eq. (7), and N
      takes away only what the retrograde ones add.
    - `bind_frequencies(circular_orbits, frequencies)`: those of the orbit J, as of a `dynamics.TorusLibrary`
      in the same potential. They fall with the actions, so that eq. (9) alone gives a mass above M_d, and N
      is found by quadrature. Measured with R_d = 3 kpc in `mw_potential_2014` and 1445 tori: 5 % too much for
      sigma_r0, sigma_l0 = 60, 30 km/s, 24 % for 126, 67 km/s, which at 8 kpc are the paper's 36, 19 km/s.

    Attributes
    ----------
    M_d : shape (), Msun, positive
        Mass, of both senses of rotation.
    R_d : shape (), kpc, positive
        Scale length of the surface density, and of the squares of the dispersions.
    sigma_r0, sigma_l0 : shape (), km/s, positive
        Radial and vertical dispersion at the centre.

    Notes
    -----
    Accuracy: that of the circular orbits (2e-6), below the first tabulated one (R = 0.02 kpc by default) its
    radius and frequencies are kept. float32 keeps log f to about 1e-5 of its terms. Differentiable in J
    (one-sided at J_phi = 0), in every parameter and in the potential's.

    Examples
    --------
    >>> from oortax import dynamics, potential
    >>> orbits = jax.jit(dynamics.circular_orbits)(potential.mw_potential_2014())
    >>> f = DB96Disc(M_d=4e10, R_d=2.8, sigma_r0=140.0, sigma_l0=75.0).bind(orbits)
    >>> print(f"{f.log_f(jnp.array([10.5, 5.46, 1500.0])):.2f}, {f.mass():.3g} Msun")
    4.36, 4e+10 Msun
    """

    flat: ClassVar[bool] = True
    M_d: Float[Array, ""] = param(constraints.positive, "Msun", "mass")
    R_d: Float[Array, ""] = param(constraints.positive, "kpc", "scale length of the disc")
    sigma_r0: Float[Array, ""] = param(constraints.positive, "km/s", "central radial dispersion")
    sigma_l0: Float[Array, ""] = param(constraints.positive, "km/s", "central vertical dispersion")

    def bind(self, circular_orbits: Any) -> "BoundDB96Disc":
        """The disc with the frequencies of circular orbits, those of `dynamics.circular_orbits`."""
        return _normalised(BoundDB96Disc(self, circular_orbits, None, jnp.zeros_like(self.M_d)))

    def bind_frequencies(
        self, circular_orbits: Any, frequencies: Callable[[Actions], Any]
    ) -> "BoundDB96Disc":
        """The disc with the frequencies of its orbits.

        Parameters
        ----------
        circular_orbits : dynamics.CircularOrbits of the potential
        frequencies : a pytree that is called with J and gives a record with Omega = (Omega_r, Omega_z,
            Omega_phi), as a `dynamics.TorusLibrary` does. Where Omega_r or Omega_z is not finite, as outside
            a library's range, those of the circular orbit are taken, and f jumps.

        The range must hold the disc and end before nearly unbound orbits: where there is an escape speed,
        J_r Omega_r falls again towards it, and eq. (9) has no cut-off there. (In an isochrone of 1e11 Msun
        and 2 kpc, at J_phi = 1500 kpc km/s, such orbits would add 0.6 to 0.9 of the mass that eq. (7) puts
        there.) The paper's potential has no escape speed.

        The mass is integrated over J_r and J_z to 1000 times their exponential scales, by 36 nodes each and
        162 in J_phi: 210,000 frequencies. Accuracy 1e-7 where frequencies do not depend on J_r and J_z; 1e-4
        where f jumps inside the disc.

        >>> library = dynamics.fit_library(pot, total=(50.0, 2e4))  # doctest: +SKIP
        >>> f = disc.bind_frequencies(dynamics.circular_orbits(pot), library)  # doctest: +SKIP
        """
        return _normalised(BoundDB96Disc(self, circular_orbits, frequencies, jnp.zeros_like(self.M_d)))

    def log_f(self, J: Actions) -> Scalar:
        """Raise ValueError: f depends on the potential's circular orbits."""
        raise needs_circular_orbits(self, "log_f(J)")

    def mass(self) -> Scalar:
        """M_d, in every potential."""
        return self.M_d


@final
class BoundDB96Disc(AbstractDF):
    """A disc of Dehnen & Binney (1996) in one potential; made by `DB96Disc.bind` or `.bind_frequencies`.

    Attributes
    ----------
    disc, circular_orbits, frequencies : what it was made of; without frequencies, circular orbits have them
    log_N : shape (), ln of the factor N that makes the mass M_d; without it log f is eq. (9) as printed
    """

    flat: ClassVar[bool] = True
    disc: DB96Disc
    circular_orbits: Any
    frequencies: Any
    log_N: Float[Array, ""]

    def bind(self, circular_orbits: Any) -> "BoundDB96Disc":
        """The same parameters in another potential; ValueError where frequencies belong to this one."""
        if self.frequencies is not None:
            raise ValueError(
                "the frequencies of this DB96Disc belong to one potential: bind the disc itself, "
                "disc.bind_frequencies(circular_orbits, frequencies), and do not bind it again"
            )
        return self.disc.bind(circular_orbits)

    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J = (J_r, J_z, J_phi) in kpc km/s; -inf where there are no actions."""
        return where_bound(self._log_f, J)

    def _log_f(self, J: Actions) -> Scalar:
        f, (J_r, J_z, J_phi) = self.disc, J
        orbit = self.circular_orbits.at(jnp.abs(J_phi))
        Omega_r, Omega_z = self.frequencies_at(J, orbit)
        # Far outside exp(R/R_d) overflows; any J_r > 0 has f = 0 long before.
        scale = jnp.minimum(orbit.R / f.R_d, 0.5 * jnp.log(jnp.finfo(J_r.dtype).max))
        retrograde = 2.0 * orbit.Omega * jnp.maximum(-J_phi, 0.0)
        cost_r = (J_r * Omega_r + retrograde) / f.sigma_r0**2
        cost_z = J_z * Omega_z / f.sigma_l0**2
        log_amplitude = jnp.log(f.M_d) - 3.0 * jnp.log(2.0 * jnp.pi) - 2.0 * jnp.log(f.R_d)
        log_warmth = jnp.log(Omega_r * Omega_z) - 2.0 * jnp.log(f.sigma_r0 * f.sigma_l0)
        # R dR/dJ_phi on circular orbits, as dJ_phi/dR = R kappa^2/(2 Omega).
        log_ring = jnp.log(2.0 * orbit.Omega) - 2.0 * jnp.log(orbit.kappa)
        log_density = log_amplitude + log_warmth + log_ring + orbit.R / f.R_d
        return self.log_N + log_density - (cost_r + cost_z) * jnp.exp(scale)

    def frequencies_at(self, J: Actions, orbit):
        """Omega_r and Omega_z of eq. (9), given the circular orbit of |J_phi|."""
        if self.frequencies is None:
            return orbit.kappa, orbit.nu
        Omega_r, Omega_z, _ = self.frequencies(J).Omega
        known = jnp.isfinite(Omega_r) & jnp.isfinite(Omega_z)
        return jnp.where(known, Omega_r, orbit.kappa), jnp.where(known, Omega_z, orbit.nu)

    def velocity_scale(self, potential: AbstractPotential, R, z) -> VelocityScale:
        """Mean rotation behind v_c by the asymmetric drift, and the dispersions in the plane at R."""
        del potential, z
        f, orbit = self.disc, self.circular_orbits.near(R)
        fall = jnp.exp(-0.5 * R / f.R_d)
        sigma_R, sigma_z = f.sigma_r0 * fall, f.sigma_l0 * fall
        return disc_velocity_scale(R, orbit.Omega, orbit.kappa, sigma_R, sigma_z, 2.0 * R / f.R_d)

    def log_density_scale(self, potential: AbstractPotential, R, z) -> Scalar:
        """Exponential in r, and isothermal in the potential's own z."""
        r = jnp.hypot(R, z)
        sigma_z = self.disc.sigma_l0 * jnp.exp(-0.5 * r / self.disc.R_d)
        return -r / self.disc.R_d + log_isothermal(potential, R, z, sigma_z)

    def mass(self) -> Scalar:
        """M_d, by construction of N."""
        return self.disc.M_d


def _normalised(bound: BoundDB96Disc) -> BoundDB96Disc:
    """The disc with the N that makes its mass M_d."""
    f = bound.disc
    log_limit = 0.5 * jnp.log(jnp.finfo(jnp.result_type(f.R_d)).max)

    def share(L):
        """Mass at |J_phi| = L per ln L, over M_d."""
        orbit = bound.circular_orbits.at(L)
        grown = jnp.exp(jnp.minimum(orbit.R / f.R_d, log_limit))
        retrograde = jnp.exp(-2.0 * orbit.Omega * L / f.sigma_r0**2 * grown)
        ring = 2.0 * orbit.Omega / (f.R_d * orbit.kappa) ** 2 * jnp.exp(-orbit.R / f.R_d)
        return L * ring * (1.0 + retrograde) * _warm(bound, L, orbit, grown)

    total = over_log_L(share, jnp.result_type(f.R_d), at_once=bound.frequencies is None)
    return BoundDB96Disc(f, bound.circular_orbits, bound.frequencies, -jnp.log(total))


def _warm(bound: BoundDB96Disc, L: Scalar, orbit, grown: Scalar) -> Scalar:
    """The integral of eq. (8) over J_r and J_z; 1 for frequencies that do not depend on them."""
    if bound.frequencies is None:
        return jnp.ones_like(L)
    per_J_r, per_J_z = grown / bound.disc.sigma_r0**2, grown / bound.disc.sigma_l0**2
    x, weights = jnp.asarray(_X, L.dtype), jnp.asarray(_X_WEIGHTS, L.dtype)

    def at(x_r, x_z):
        J = jnp.stack([x_r / (orbit.kappa * per_J_r), x_z / (orbit.nu * per_J_z), L])
        Omega_r, Omega_z = bound.frequencies_at(J, orbit)
        warm = jnp.exp(-J[0] * Omega_r * per_J_r - J[1] * Omega_z * per_J_z)
        return Omega_r / orbit.kappa * Omega_z / orbit.nu * warm

    return weights @ jax.vmap(lambda x_r: jax.vmap(lambda x_z: at(x_r, x_z))(x))(x) @ weights
