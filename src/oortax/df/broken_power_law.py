"""What the double power laws in the actions share: labels, slopes, cut-off, rotation and mass."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.df.action_integral import RadialRule, cut_off, power_tails, ray_integral
from oortax.df.base import AbstractDF, where_bound
from oortax.df.rotation import log_odd
from oortax.params import param
from oortax.types import Actions, Scalar


class AbstractBrokenPowerLaw(AbstractDF):
    """A spheroid of two slopes in the actions: parameters, labels, cut-off, odd part and mass.

    A final subclass adds `log_even`, ln f of the part even in J_phi over its amplitude.
    """

    norm: Float[Array, ""] = param(constraints.positive, "Msun", "amplitude")
    J_0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "action of the break")
    slope_in: Float[Array, ""] = param(constraints.interval(0.0, 3.0), "", "inner slope")
    slope_out: Float[Array, ""] = param(constraints.positive, "", "outer slope")
    steepness: Float[Array, ""] = param(constraints.positive, "", "sharpness of the break", default=1.0)
    c_r_in: Float[Array, ""] = param(constraints.positive, "", "inner weight of J_r", default=1.0)
    c_z_in: Float[Array, ""] = param(constraints.positive, "", "inner weight of J_z", default=1.0)
    c_r_out: Float[Array, ""] = param(constraints.positive, "", "outer weight of J_r", default=1.0)
    c_z_out: Float[Array, ""] = param(constraints.positive, "", "outer weight of J_z", default=1.0)
    rotation: Float[Array, ""] = param(
        constraints.interval(-1.0, 1.0), "", "strength of the odd part", default=0.0
    )
    J_phi0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "width of the odd part", default=1.0)
    J_cut: Float[Array, ""] | None = param(
        constraints.positive, "kpc km/s", "action of the outer cut-off", default=None, optional=True
    )
    cut_strength: Float[Array, ""] = param(
        constraints.positive, "", "sharpness of the outer cut-off", default=2.0
    )

    def __check_init__(self):
        """What no single parameter's support can say: weights below 3, and a finite mass."""
        kind = type(self).__name__
        for where in ("in", "out"):
            c_r, c_z = _concrete(getattr(self, f"c_r_{where}"), getattr(self, f"c_z_{where}"))
            if bool(np.any(c_r + c_z >= 3.0)):
                raise ValueError(
                    f"{kind}(c_r_{where}={c_r}, c_z_{where}={c_z}): "
                    f"c_r_{where} + c_z_{where} must be less than 3, to leave |J_phi| a positive weight"
                )
        (slope_out,) = _concrete(self.slope_out)
        if self.J_cut is None and bool(np.any(slope_out <= 3.0)):
            raise ValueError(
                f"{kind}(slope_out={slope_out}): the mass is infinite unless slope_out is "
                "greater than 3 or there is an outer cut-off: give J_cut, in kpc km/s"
            )

    @abstractmethod
    def log_even(self, log_h: Scalar, log_g: Scalar) -> Scalar:
        """ln f of the even part over norm/(2 pi J_0)^3, at the logs of h/J_0 and g/J_0."""

    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J = (J_r, J_z, J_phi) in kpc km/s; -inf where there are no actions."""
        return where_bound(partial(self.log_f_from, self.log_even), J)

    def log_f_from(self, log_even: Callable[[Scalar, Scalar], Scalar], J: Actions) -> Scalar:
        """ln f of a bound star from that of its even part."""
        J_r, J_z, J_phi = J
        h, g = self._labels(J_r, J_z, jnp.abs(J_phi))
        tiny = jnp.finfo(h.dtype).tiny
        h, g = jnp.maximum(h / self.J_0, tiny), jnp.maximum(g / self.J_0, tiny)
        amplitude = jnp.log(self.norm) - 3.0 * jnp.log(2.0 * jnp.pi * self.J_0)
        even = amplitude + log_even(jnp.log(h), jnp.log(g))
        return even + log_odd(self.rotation, J_phi / self.J_phi0)

    def _labels(self, J_r, J_z, J_phi):
        inner = self.c_r_in * J_r + self.c_z_in * J_z + (3.0 - self.c_r_in - self.c_z_in) * J_phi
        outer = self.c_r_out * J_r + self.c_z_out * J_z + (3.0 - self.c_r_out - self.c_z_out) * J_phi
        return inner, outer

    def log_outer(self, log_g: Scalar) -> Scalar:
        """ln of the outer slope and the cut-off."""
        slope = -self.slope_out / self.steepness * jax.nn.softplus(self.steepness * log_g)
        if self.J_cut is None:
            return slope
        power = self.cut_strength * (log_g - jnp.log(self.J_cut / self.J_0))
        # Far beyond the cut-off f is zero in any case, and the power would overflow.
        limit = 0.9 * jnp.log(jnp.finfo(power.dtype).max)
        return slope - jnp.exp(jnp.minimum(power, limit))

    def radial_rule(self) -> RadialRule:
        """Nodes and weights for integrals over ln(action/J_0)."""
        if self.J_cut is None:
            return power_tails(jnp.result_type(self.J_0))
        return cut_off(jnp.log(self.J_cut / self.J_0), self.cut_strength)

    @eqx.filter_jit
    def mass(self) -> Scalar:
        r"""(2 pi)^3 times the integral of f over the actions (`df.action_integral`).

        Accuracy 1e-7 for weights within a factor of 7 of each other, slopes 0.1 or more from their limit
        3 and cut_strength up to 4 (2e-8 measured); differentiable. NaN where slope_out, without a cut-off,
        is not above 3: the mass is infinite.
        """
        return self.mass_from(self.log_even)

    def mass_from(self, log_even: Callable[[Scalar, Scalar], Scalar]) -> Scalar:
        """The mass of an even part."""

        def along_ray(u, log_y):
            h, g = self._labels(*u)
            return log_even(log_y + jnp.log(h), log_y + jnp.log(g))

        mass = 2.0 * self.norm * ray_integral(along_ray, self.radial_rule()).value
        return mass if self.J_cut is not None else jnp.where(self.slope_out > 3.0, mass, jnp.nan)


def _concrete(*values) -> list[np.ndarray]:
    """The values as NumPy arrays; NaN where there are none.

    Tracers cannot be judged, and transformations rebuild modules with placeholders.
    """
    known = all(isinstance(value, jax.Array) and not isinstance(value, Tracer) for value in values)
    return [np.asarray(value) if known else np.asarray(np.nan) for value in values]
