"""The double power law in the actions: spheroids of any slope, flattening and rotation."""

from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.df.base import AbstractDF, where_bound
from oortax.params import param
from oortax.types import Actions, Scalar

# ln(action) = sinh(t): exponential tails in ln(action) become doubly exponential in t, so that the
# trapezoidal rule converges exponentially even for slopes close to the limit 3.
_SINH_RANGE = 6.5
_N_SINH = 161
_N_TRIANGLE = 12


def _triangle() -> tuple[np.ndarray, np.ndarray]:
    """Nodes (n, 2) and weights of a product Gauss rule on the triangle u, v >= 0, u + v <= 1."""
    nodes, weights = np.polynomial.legendre.leggauss(_N_TRIANGLE)
    nodes, weights = 0.5 * (nodes + 1.0), 0.5 * weights
    s, t = np.meshgrid(nodes, nodes, indexing="ij")
    points = np.stack([s * t, s * (1.0 - t)], axis=-1).reshape(-1, 2)
    return points, (s * np.outer(weights, weights)).ravel()


@final
class DoublePowerLaw(AbstractDF):
    r"""Double power law (Binney 2014, MNRAS 440, 787; Posti et al. 2015; in the form of Vasiliev 2019).

    With h = c_r_in J_r + c_z_in J_z + (3 - c_r_in - c_z_in) |J_phi|, g likewise with the outer
    weights, and e the steepness of the break,

        f = norm / (2 pi J_0)^3 [1 + (J_0/h)^e]^(slope_in/e) [1 + (g/J_0)^e]^(-slope_out/e)
            * [1 + rotation tanh(J_phi/J_phi0)].

    The part even in J_phi does not depend on the rotation, nor does the mass.

    Attributes
    ----------
    norm : shape (), Msun, positive
        Amplitude; the mass is of this order but not equal to it (see `mass`).
    J_0 : shape (), kpc km/s, positive
        Action of the break.
    slope_in : shape (), between 0 and 3
        Inner slope of f in the actions.
    slope_out : shape (), greater than 3
        Outer slope.
    steepness : shape (), positive
        Sharpness e of the break.
    c_r_in, c_z_in, c_r_out, c_z_out : shape (), positive
        Weights of J_r and J_z inside and outside; c_r + c_z < 3.
    rotation : shape (), between -1 and 1
        Strength of the odd part.
    J_phi0 : shape (), kpc km/s, positive
        Width of the change of sign of the odd part.

    Notes
    -----
    log f is finite at J = 0: h is kept above the smallest normal number. Differentiable in J
    (one-sided at J_phi = 0) and every parameter. float32 keeps log f to 1e-6 relative.

    Examples
    --------
    >>> f = DoublePowerLaw(norm=1e10, J_0=500.0, slope_in=1.5, slope_out=4.3, steepness=1.2)
    >>> print(f"{f.mass():.3g} Msun")
    6.08e+09 Msun
    """

    norm: Float[Array, ""] = param(constraints.positive, "Msun", "amplitude")
    J_0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "action of the break")
    slope_in: Float[Array, ""] = param(constraints.interval(0.0, 3.0), "", "inner slope")
    slope_out: Float[Array, ""] = param(constraints.greater_than(3.0), "", "outer slope")
    steepness: Float[Array, ""] = param(constraints.positive, "", "sharpness of the break", default=1.0)
    c_r_in: Float[Array, ""] = param(constraints.positive, "", "inner weight of J_r", default=1.0)
    c_z_in: Float[Array, ""] = param(constraints.positive, "", "inner weight of J_z", default=1.0)
    c_r_out: Float[Array, ""] = param(constraints.positive, "", "outer weight of J_r", default=1.0)
    c_z_out: Float[Array, ""] = param(constraints.positive, "", "outer weight of J_z", default=1.0)
    rotation: Float[Array, ""] = param(
        constraints.interval(-1.0, 1.0), "", "strength of the odd part", default=0.0
    )
    J_phi0: Float[Array, ""] = param(constraints.positive, "kpc km/s", "width of the odd part", default=1.0)

    def __check_init__(self):
        """The weight of |J_phi| is what the other two leave of 3, and must be positive."""
        for where in ("in", "out"):
            c_r, c_z = getattr(self, f"c_r_{where}"), getattr(self, f"c_z_{where}")
            # Tracers cannot be judged, and transformations rebuild modules with placeholders.
            if not all(isinstance(c, jax.Array) and not isinstance(c, Tracer) for c in (c_r, c_z)):
                continue
            if bool(np.any(c_r + c_z >= 3.0)):
                raise ValueError(
                    f"DoublePowerLaw(c_r_{where}={np.asarray(c_r)}, c_z_{where}={np.asarray(c_z)}): "
                    f"c_r_{where} + c_z_{where} must be less than 3, to leave |J_phi| a positive weight"
                )

    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J = (J_r, J_z, J_phi) in kpc km/s; -inf where there are no actions."""
        return where_bound(self._log_f, J)

    def _log_f(self, J: Actions) -> Scalar:
        J_r, J_z, J_phi = J
        h, g = self._labels(J_r, J_z, jnp.abs(J_phi))
        tiny = jnp.finfo(h.dtype).tiny
        h, g = jnp.maximum(h / self.J_0, tiny), jnp.maximum(g / self.J_0, tiny)
        amplitude = jnp.log(self.norm) - 3.0 * jnp.log(2.0 * jnp.pi * self.J_0)
        return amplitude + self._log_slopes(jnp.log(h), jnp.log(g)) + self._log_odd(J_phi / self.J_phi0)

    def _log_odd(self, x):
        """ln(1 + rotation tanh x), which stays finite deep in the empty side of rotation = 1."""
        towards, against = jnp.log1p(self.rotation) + x, jnp.log1p(-self.rotation) - x
        return jnp.logaddexp(towards, against) - jnp.logaddexp(x, -x)

    def _labels(self, J_r, J_z, J_phi):
        inner = self.c_r_in * J_r + self.c_z_in * J_z + (3.0 - self.c_r_in - self.c_z_in) * J_phi
        outer = self.c_r_out * J_r + self.c_z_out * J_z + (3.0 - self.c_r_out - self.c_z_out) * J_phi
        return inner, outer

    def _log_slopes(self, log_h, log_g):
        """Log of the two power laws, with h and g in units of J_0; softplus cannot overflow."""
        e = self.steepness
        inner = self.slope_in / e * jax.nn.softplus(-e * log_h)
        return inner - self.slope_out / e * jax.nn.softplus(e * log_g)

    def mass(self) -> Scalar:
        r"""(2 pi)^3 times the integral of f over the actions.

        h and g are homogeneous of degree one, so that J = J_0 y u with u on the triangle
        u_r + u_z + u_phi = 1 leaves a smooth integral over u (a 12 x 12 Gauss rule) and a radial one
        over y. Accuracy 1e-6 for weights within a factor of 5 of each other and slopes 0.1 or more
        from their limit 3; differentiable.
        """
        points, weights = _triangle()
        dtype = jnp.result_type(self.J_0)
        points, weights = jnp.asarray(points, dtype), jnp.asarray(weights, dtype)
        t, step = jnp.linspace(-_SINH_RANGE, _SINH_RANGE, _N_SINH, dtype=dtype, retstep=True)
        log_y, jacobian = jnp.sinh(t), jnp.cosh(t)

        def along_ray(point):
            u_r, u_z = point
            h, g = self._labels(u_r, u_z, 1.0 - u_r - u_z)
            log_f = self._log_slopes(log_y + jnp.log(h), log_y + jnp.log(g))
            return step * jnp.sum(jacobian * jnp.exp(log_f + 3.0 * log_y))

        return 2.0 * self.norm * jnp.sum(weights * jax.vmap(along_ray)(points))
