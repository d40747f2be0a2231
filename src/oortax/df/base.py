"""The interface of a distribution function: log f at one set of actions."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from oortax.df.velocity import VelocityRule, VelocityScale, disc_rule, spheroid_rule
from oortax.params import AbstractParametric
from oortax.potential import AbstractPotential, circular_velocity
from oortax.types import Actions, Scalar

LARGEST_ACTION = 1e12
"""kpc km/s: a larger |J_r| + |J_z| + |J_phi| belongs to no bound orbit of a galaxy."""

# kpc: stars that reach it count as unbound in the default rule over velocities.
_FAR = 1000.0


class AbstractDF(AbstractParametric):
    """A distribution function f(J) of a population in equilibrium (Jeans' theorem).

    f is the number (or mass) of stars per d^3x d^3v, so that (2 pi)^3 f(J) is their density in action
    space. A new DF is one final subclass with parameters declared by `oortax.params.param`, one
    `log_f`, one `mass`, and one line in `oortax.df.DFS`. A DF that needs the circular orbits of the
    potential also defines `bind`; its own `log_f` and `mass` then say so.

    Your own in ten lines, here f = N exp[-(J_r + J_z + |J_phi|)^2/(2 J_0^2)]. Its mass, where no formula
    gives it, is a quadrature along rays, scaled by the action where f bends, whose `error` says whether f is
    resolved. The last line makes it known to configurations:

    >>> import jax
    >>> from oortax import df
    >>> from oortax.params import param
    >>> from numpyro.distributions import constraints
    >>> class GaussianSphere(df.AbstractDF):
    ...     N: jnp.ndarray = param(constraints.positive, "Msun/(kpc km/s)^3", "f at J = 0")
    ...     J_0: jnp.ndarray = param(constraints.positive, "kpc km/s", "width")
    ...
    ...     def log_f(self, J):
    ...         return df.where_bound(lambda J: jnp.log(self.N) - 0.5 * (jnp.abs(J).sum() / self.J_0) ** 2, J)
    ...
    ...     def mass(self):
    ...         return df.action_integral(self.log_f, self.J_0).value
    >>> f = GaussianSphere(N=1.0, J_0=300.0)
    >>> print(f"{f.mass():.5g}, {(2 * np.pi) ** 3 * np.sqrt(np.pi / 2) * 300.0**3:.5g}")
    8.3939e+09, 8.3939e+09
    >>> print(f"{jax.grad(lambda f: f.mass())(f).J_0 * f.J_0 / f.mass():.5f}")
    3.00000
    >>> df.DFS["GaussianSphere"] = GaussianSphere  # doctest: +SKIP

    `flat` says whether the density follows the plane, so that it is smooth in (R, z), or the distance from
    the centre, over which it falls as a power. A flat DF defines `velocity_scale`; `centre` is the spacing of
    velocities at its mean over that elsewhere (`oortax.df.velocity.disc_rule`).
    """

    flat: ClassVar[bool] = False
    centre: ClassVar[float] = 1.0

    @abstractmethod
    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J = (J_r, J_z, J_phi) in kpc km/s; -inf where there are no actions."""

    @abstractmethod
    def mass(self) -> Scalar:
        """All stars of both senses of rotation: (2 pi)^3 times the integral of f over the actions."""

    def bind(self, circular_orbits: Any) -> "AbstractDF":
        """The DF in one potential, given its circular orbits; most DFs do not depend on it."""
        del circular_orbits
        return self

    def velocity_rule(self, potential: AbstractPotential, R, z, refine: float = 1.0) -> VelocityRule:
        """Quadrature over the velocities at (R, z) that f fills; `refine` multiplies the nodes per axis.

        A disc's are about the mean rotation, scaled to the dispersions in the plane; others are all that do
        not reach 1000 kpc.
        """
        if self.flat:
            (_, v_phi, _), (sigma_R, sigma_phi, sigma_z) = self.velocity_scale(potential, R, z)
            spacing = 1.1 / refine
            return disc_rule(sigma_R, sigma_z, sigma_phi, v_phi, spacing=spacing, centre=self.centre)
        far = jnp.full_like(R, _FAR)
        v_max = jnp.sqrt(2.0 * (potential.Phi_Rz(far, jnp.zeros_like(R)) - potential.Phi_Rz(R, z)))
        n_speed, n_eta, n_psi = (round(n * refine) for n in (10, 4, 5))
        return spheroid_rule(v_max, R, z, n_speed=n_speed, n_eta=n_eta, n_psi=n_psi)

    def log_density_scale(self, potential: AbstractPotential, R, z) -> Scalar:
        """Roughly, ln of the density at (R, z) up to a constant: for laying out nodes. By default r^-3."""
        del potential
        return -1.5 * jnp.log(R * R + z * z + 1.0)

    def velocity_scale(self, potential: AbstractPotential, R, z) -> VelocityScale:
        """Roughly, mean and dispersions of (v_R, v_phi, v_z) at (R, z), km/s: for laying out nodes.

        The default, for pressure-supported systems: at rest, with v_c / sqrt(3) along each axis, right for
        an isotropic density r^-3 under a flat circular speed.
        """
        sigma = circular_velocity(potential, jnp.hypot(R, z)) / np.sqrt(3.0)
        return VelocityScale(jnp.zeros(3, sigma.dtype), jnp.full(3, sigma))


def where_bound(formula: Callable[[Actions], Scalar], J: Actions) -> Scalar:
    """`formula(J)` where the star has actions, else -inf with a zero derivative.

    Unbound stars have no actions: finders give NaN, and f vanishes there. So it does beyond
    `LARGEST_ACTION`, where the formulae would overflow. Both the value and the argument are switched,
    so that no NaN reaches the derivatives of the other stars.

    >>> J = jnp.array([jnp.nan, 1.0, 1.0])
    >>> float(where_bound(lambda J: -J.sum(), J))
    -inf
    """
    bound = jnp.sum(jnp.abs(J)) < LARGEST_ACTION
    return jnp.where(bound, formula(jnp.where(bound, J, jnp.ones_like(J))), -jnp.inf)


def needs_circular_orbits(f: AbstractDF, method: str) -> ValueError:
    """The error of a DF that was asked for numbers before it knew the potential."""
    return ValueError(
        f"{type(f).__name__}.{method} depends on the potential's circular orbits: use "
        f"f.bind(dynamics.circular_orbits(potential)).{method}"
    )
