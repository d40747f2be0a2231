"""A double power law with a core: f is finite at J = 0, and the mass is what it was."""

from functools import partial
from typing import Any, final

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.df.base import AbstractDF, where_bound
from oortax.df.broken_power_law import AbstractBrokenPowerLaw
from oortax.numerics.implicit import moving_as
from oortax.params import param
from oortax.types import Actions, Scalar

# beta lies in (0, 2): at 2 the factor of the core has a pole at h = J_core.
_LARGEST_BETA = 2.0 - 1e-3
_BISECTIONS = 50


@final
class CoredHalo(AbstractBrokenPowerLaw):
    r"""Double power law with a core in action space (Cole & Binney 2017, MNRAS 465, 798).

    `DoublePowerLaw` times a factor that makes f constant at J = 0, as in a halo that has been stirred,

        [(J_core/h)^2 - beta J_core/h + 1]^(-slope_in/2)

    (the paper: slope_in = 5/3, so -5/6). beta follows from the other parameters: what the core takes from
    h < J_core it adds around it, so that the mass stays the same,

        int h^2 f_1(h) {[(J_core/h)^2 - beta J_core/h + 1]^(-slope_in/2) - 1} dh = 0,

    with f_1 the double power law of equal labels g = h, cut-off included; where the inner and outer weights
    differ the mass changes a little (`mass` is exact).

    Attributes
    ----------
    J_core : shape (), kpc km/s, positive
        Action of the core.
    others : those of `DoublePowerLaw`.

    Raises ValueError for what `DoublePowerLaw` refuses.

    Notes
    -----
    beta lies between 0 and 1.999; where the core is so large that no such beta keeps the mass, log f and the
    mass are NaN. `bind` finds beta once; an unbound halo finds it in every call of `log_f`. log f is
    differentiable in J (one-sided at J_phi = 0) and once in every parameter. Accuracy of the mass 1e-9
    (measured for beta up to 1.65, weights within a factor of 7). float32 keeps log f to 1e-6 relative.

    Examples
    --------
    >>> from oortax.df import DoublePowerLaw
    >>> shape = dict(norm=1e12, J_0=8000.0, slope_in=5 / 3, slope_out=4.0, c_r_in=1.2, c_z_in=0.9)
    >>> halo, cusp = CoredHalo(J_core=300.0, **shape), DoublePowerLaw(**shape)
    >>> print(f"beta = {halo.beta():.3f}, {halo.log_f(jnp.zeros(3)):.2f}")
    beta = 0.394, 0.63
    >>> print(f"{halo.mass() / cusp.mass():.3f}")
    1.000
    """

    J_core: Float[Array, ""] = param(constraints.positive, "kpc km/s", "action of the core", kw_only=True)

    def beta(self) -> Scalar:
        """The coefficient that keeps the mass; NaN where there is none below 1.999."""
        fixed = lax.stop_gradient(self)

        def halve(_, bracket):
            low, high = bracket
            middle = 0.5 * (low + high)
            gained = fixed._gain(middle) > 0.0
            return jnp.where(gained, low, middle), jnp.where(gained, middle, high)

        low = jnp.zeros_like(fixed.J_core)
        low, high = lax.fori_loop(0, _BISECTIONS, halve, (low, low + _LARGEST_BETA))
        found = 0.5 * (low + high)
        # Bisection gives no derivatives: those of the root are a Newton step's.
        slope = lax.stop_gradient(jax.grad(fixed._gain)(found))
        solution = moving_as(found, -self._gain(found) / slope)
        return jnp.where(found < _LARGEST_BETA - 1e-6, solution, jnp.nan)

    def _gain(self, beta: Scalar) -> Scalar:
        """The mass gained by the core, by the labels alone, over norm/2."""
        log_s, weights = self.radial_rule()
        inner = self.slope_in / self.steepness * jax.nn.softplus(-self.steepness * log_s)
        mass = jnp.exp(3.0 * log_s + inner + self.log_outer(log_s))
        log_factor = -0.5 * self.slope_in * (self._log_quadratic(log_s, beta) - 2.0 * log_s)
        return weights @ (mass * jnp.expm1(log_factor))

    def _log_quadratic(self, log_h: Scalar, beta: Scalar) -> Scalar:
        """ln of (J_core^2 - beta J_core h + h^2)/J_0^2 at ln(h/J_0), for any h."""
        log_core = jnp.log(self.J_core / self.J_0)
        near = jnp.exp(-jnp.abs(log_h - log_core))
        return 2.0 * jnp.maximum(log_h, log_core) + jnp.log1p(near * (near - beta))

    def log_even(self, log_h: Scalar, log_g: Scalar) -> Scalar:
        """ln f of the even part over norm/(2 pi J_0)^3, at the logs of h/J_0 and g/J_0."""
        return self.log_even_with(self.beta(), log_h, log_g)

    def log_even_with(self, beta: Scalar, log_h: Scalar, log_g: Scalar) -> Scalar:
        """The same for a beta that is known; the inner slope and the core's h^slope_in are taken together."""
        inner = jax.nn.softplus(self.steepness * log_h) / self.steepness
        return self.slope_in * (inner - 0.5 * self._log_quadratic(log_h, beta)) + self.log_outer(log_g)

    def bind(self, circular_orbits: Any) -> "BoundCoredHalo":
        """The halo with its beta found once; it depends on no potential."""
        del circular_orbits
        return BoundCoredHalo(self, self.beta())


@final
class BoundCoredHalo(AbstractDF):
    """A cored halo together with its beta, shape (); made by `CoredHalo.bind`."""

    halo: CoredHalo
    beta: Float[Array, ""]

    def bind(self, circular_orbits: Any) -> "BoundCoredHalo":
        """The same halo."""
        return self.halo.bind(circular_orbits)

    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J = (J_r, J_z, J_phi) in kpc km/s; -inf where there are no actions."""
        return where_bound(partial(self.halo.log_f_from, partial(self.halo.log_even_with, self.beta)), J)

    def mass(self) -> Scalar:
        """As `CoredHalo.mass`."""
        return self.halo.mass_from(partial(self.halo.log_even_with, self.beta))
