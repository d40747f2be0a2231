"""Scaling relations of a scale-free potential: one energy stands for all."""

from typing import NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from oortax.params import as_array
from oortax.potential.scale_free import P_SMALL, ScaleFree, ScaleFreeField, growth
from oortax.types import Actions, Scalar, Vec3


@final
class Scaling(eqx.Module):
    """The similarity x -> lambda x that turns orbits of a scale-free potential into orbits (`scaling`).

    With p = 2 - gamma: v -> lambda^(p/2) v, t -> lambda^(gamma/2) t, J -> lambda^[(4 - gamma)/2] J, while
    differences of Phi and of E grow by lambda^p (Dehnen & Binney 1996, section 4.1). So the action A of, say,
    a circular orbit goes as the energy above `limit` to the power (4 - gamma)/[2 (2 - gamma)].

    Attributes
    ----------
    factor : shape (), positive
        lambda.
    gamma : shape ()
        Slope of the density.
    v_1 : shape (), km/s
        Circular speed at R = 1 kpc, which fixes the zero point of E.

    >>> from oortax import potential
    >>> pot = potential.dehnen_binney_1996()
    >>> twice = scaling(pot, 2.0)
    >>> v_c = potential.circular_velocity(pot, 8.0)
    >>> bool(jnp.isclose(twice.velocities(v_c), potential.circular_velocity(pot, 16.0)))
    True
    >>> bool(jnp.isclose(twice.actions(8.0 * v_c), 16.0 * potential.circular_velocity(pot, 16.0)))
    True
    """

    factor: Float[Array, ""]
    gamma: Float[Array, ""]
    v_1: Float[Array, ""]

    def positions(self, x):
        """Positions or other lengths, in kpc."""
        return x * self.factor

    def velocities(self, v):
        """Velocities, in km/s."""
        return v * self.factor ** (1.0 - 0.5 * self.gamma)

    def times(self, t):
        """Times; frequencies go the other way."""
        return t * self.factor ** (0.5 * self.gamma)

    def frequencies(self, Omega):
        """Frequencies, in km/s/kpc."""
        return Omega * self.factor ** (-0.5 * self.gamma)

    def actions(self, J: Actions) -> Actions:
        """Actions, in kpc km/s."""
        return J * self.factor ** (2.0 - 0.5 * self.gamma)

    def energies(self, E):
        """Energies with the potential's own zero point, in (km/s)^2."""
        log_R = _log_radius(E / self.v_1**2, 2.0 - self.gamma) + jnp.log(self.factor)
        return self.v_1**2 * growth(log_R, 2.0 - self.gamma)

    def inverse(self) -> "Scaling":
        """The similarity by 1/lambda."""
        return Scaling(1.0 / self.factor, self.gamma, self.v_1)


class Scaled(NamedTuple):
    """A phase-space point moved to a reference energy, and the `Scaling` that took it there."""

    x: Vec3
    v: Vec3
    scaling: Scaling


def scaling(pot: ScaleFree | ScaleFreeField, factor) -> Scaling:
    """The similarity by `factor` > 0 in a scale-free potential."""
    field = _built(pot)
    return Scaling(jnp.asarray(factor, dtype=field.v_1.dtype), field.gamma, field.v_1)


def rest_radius(pot: ScaleFree | ScaleFreeField, E) -> Scalar:
    """The radius (kpc) at which Phi in the plane equals E: no orbit of that energy goes further there.

    NaN where there is none: E below Phi of the centre (gamma < 2) or unbound (gamma > 2). A circular orbit
    of radius R has its energy's rest radius at R (1 + p/2)^(1/p), p = 2 - gamma.

    >>> from oortax import potential
    >>> pot = potential.dehnen_binney_1996()
    >>> round(float(rest_radius(pot, pot.Phi_Rz(8.0, 0.0))), 9)
    8.0
    """
    field = _built(pot)
    return jnp.exp(_log_radius(as_array(E) / field.v_1**2, 2.0 - field.gamma))


def scale_to(pot: ScaleFree | ScaleFreeField, x: Vec3, v: Vec3, radius=1.0) -> Scaled:
    """Move the point (x in kpc, v in km/s) to the energy whose `rest_radius` is `radius` (kpc).

    Actions, frequencies or orbits need then be known at one energy only: what holds at the scaled point
    is taken back by `scaling.inverse()`.

    >>> from oortax import potential
    >>> pot = potential.dehnen_binney_1996()
    >>> x, v = jnp.array([8.0, 0.0, 1.0]), jnp.array([50.0, 200.0, 20.0])
    >>> there = scale_to(pot, x, v, radius=3.0)
    >>> L_z = there.x[0] * there.v[1]
    >>> round(float(there.scaling.inverse().actions(L_z)), 6)
    1600.0
    """
    x, v, field = as_array(x), as_array(v), _built(pot)
    there = scaling(field, radius / rest_radius(field, 0.5 * v @ v + field.Phi(x)))
    return Scaled(there.positions(x), there.velocities(v), there)


def _built(pot) -> ScaleFreeField:
    return pot.field() if isinstance(pot, ScaleFree) else pot


def _log_radius(e, p):
    """ln r at which (r^p - 1)/p = e, smooth through p = 0."""
    small = jnp.abs(p) < P_SMALL
    safe = jnp.where(small, 1.0, p)
    series = 1.0 / 9.0
    for k in range(8, 0, -1):
        series = 1.0 / k - p * e * series
    return jnp.where(small, e * series, jnp.log1p(safe * e) / safe)
