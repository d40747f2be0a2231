"""The stellar halo of Dehnen & Binney (1996), the founding paper of the torus programme."""

from typing import final

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.df.base import AbstractDF, where_bound
from oortax.df.rotation import log_odd
from oortax.params import param
from oortax.types import Actions, Scalar


@final
class DB96Halo(AbstractDF):
    r"""Stellar halo of Dehnen & Binney (1996), eq. (5), normalised to one star.

        f = N A^[-(6 - gamma)/(4 - gamma)] (A + A_0)^[2 (gamma - beta)/(4 - gamma)]
            * [1 + rotation tanh(J_phi/J_phi0)],
        A = a J_r + b J_z + |J_phi|,

    where N makes (2 pi)^3 times the integral of f over the actions, both senses of rotation, one:

        1/N = (2 pi)^3 / (a b) A_0^(3 - e_1 - e_2) B(3 - e_1, e_1 + e_2 - 3),
        e_1 = (6 - gamma)/(4 - gamma), e_2 = 2 (beta - gamma)/(4 - gamma).

    In a potential of density slope gamma the star density falls as r^-gamma well inside the radius
    where a circular orbit has J_phi = A_0, and as r^-beta well outside. The paper's halo does not
    rotate. f has a kink at J_phi = 0: |J_phi| is not smoothed, as it does not depend on the potential.

    Attributes
    ----------
    a, b : shape (), positive
        Weights of J_r and J_z in A; a = 1.66, b = 1.16 make f nearly isotropic in the paper's potential.
    beta : shape (), greater than 3
        Outer slope of the density; the mass converges only above 3.
    gamma : shape (), between 0 and 2
        Inner slope of the density.
    A_0 : shape (), kpc km/s, positive
        Action of the break (the paper: that of the circular orbit at 1 kpc).
    rotation : shape (), between -1 and 1
        Strength of the odd part; it changes neither the density nor the mass.
    J_phi0 : shape (), kpc km/s, positive
        Width of the change of sign of the odd part.

    Notes
    -----
    log f is finite at J = 0, where f has an integrable singularity: A is kept above the smallest
    normal number. The mass converges as slowly as A^(3 - e_1 - e_2): 4.5 % of it lies beyond
    1000 A_0 for beta = 3.5, gamma = 1.8. float32 keeps log f to 1e-6 relative.
    Differentiable in J (one-sided at J_phi = 0) and every parameter.

    Examples
    --------
    >>> halo = DB96Halo(a=1.2, b=1.2, beta=3.5, gamma=1.8, A_0=500.0)
    >>> print(f"{halo.log_f(jnp.array([144.7, 35.05, 1652.9])):.2f}")
    -29.45
    """

    a: Float[Array, ""] = param(constraints.positive, "", "weight of J_r")
    b: Float[Array, ""] = param(constraints.positive, "", "weight of J_z")
    beta: Float[Array, ""] = param(constraints.greater_than(3.0), "", "outer slope of the density")
    gamma: Float[Array, ""] = param(constraints.interval(0.0, 2.0), "", "inner slope of the density")
    A_0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "action of the break")
    rotation: Float[Array, ""] = param(
        constraints.interval(-1.0, 1.0), "", "strength of the odd part", default=0.0
    )
    J_phi0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "width of the odd part", default=1.0)

    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J = (J_r, J_z, J_phi) in kpc km/s; -inf where there are no actions."""
        return where_bound(self._log_f, J)

    def _log_f(self, J: Actions) -> Scalar:
        J_r, J_z, J_phi = J
        e_1, e_2 = self._exponents()
        A = self.a * J_r + self.b * J_z + jnp.abs(J_phi)
        A = jnp.maximum(A, jnp.finfo(A.dtype).tiny)
        log_B = gammaln(3.0 - e_1) + gammaln(e_1 + e_2 - 3.0) - gammaln(e_2)
        log_N = (
            jnp.log(self.a * self.b)
            - 3.0 * jnp.log(2.0 * jnp.pi)
            + (e_1 + e_2 - 3.0) * jnp.log(self.A_0)
            - log_B
        )
        even = log_N - e_1 * jnp.log(A) - e_2 * jnp.log(A + self.A_0)
        return even + log_odd(self.rotation, J_phi / self.J_phi0)

    def _exponents(self):
        return (6.0 - self.gamma) / (4.0 - self.gamma), 2.0 * (self.beta - self.gamma) / (4.0 - self.gamma)

    def mass(self) -> Scalar:
        """One, by construction of N."""
        return jnp.ones_like(self.a)
