"""The angles of the fudge's torus, in closed form.

Its generating function int p_u du + int p_lat dlat separates, and with it what its true angles add to toy
angles:

    theta_i = theta^T_i + f_i(theta^T_r) + g_i(theta^T_z),   i = r, z, phi

A toy torus that is bent into a galaxy's has the right shape, but is passed at other rates: the modes of
dS_n/dJ that a few S_n come with could not tell how an eccentric orbit spends its time.
"""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from oortax.dynamics.torus.generating import Warp
from oortax.dynamics.torus.grid import Grid
from oortax.dynamics.torus.matching import (
    N_R,
    N_Z,
    cosines,
    radial_partial_action,
    vertical_partial_action,
    where_partial_actions_agree,
)
from oortax.dynamics.torus.separable import (
    Ends,
    SeparableMotion,
    radial_nodes,
    radial_speed,
    vertical_speed,
)
from oortax.dynamics.torus.series import sine_series, sine_waves, sines, sines_to_powers
from oortax.dynamics.torus.toy import oscillator_azimuth, sphere
from oortax.dynamics.torus.transformation import Transformation
from oortax.types import Actions

# Terms kept of the sine series in chi_r and 2 chi_z.
_KEPT_R, _KEPT_Z = 24, 12


class Shift(NamedTuple):
    """What is added to each of the angles, and its derivatives with respect to toy angles."""

    value: Float[Array, " i"]
    by_r: Float[Array, " i"]
    by_z: Float[Array, " i"]


@final
class FudgeAngles(eqx.Module):
    """f_i and g_i as sin(x) times powers of cos(x), x = chi_r and 2 chi_z: constants of a torus, made for J.

    They are the derivatives of the generating function with respect to J at fixed toy angles: it has a part
    (J - J_0) . (f + g), of which only derivatives are left on the torus itself.
    """

    J: Actions
    radial: Float[Array, "3 k"]
    vertical: Float[Array, "3 l"]

    def at(self, warp: Warp, chi: Float[Array, "2"], angles: int = 3) -> Shift:
        """At a pair of angles chi, for the first of theta_r, theta_z, theta_phi."""
        f, by_r = sine_series(self.radial[:angles], chi[0])
        g, by_z = sine_series(self.vertical[:angles], 2.0 * chi[1])
        return Shift(f + g, by_r / warp.radial(chi[0])[1], 2.0 * by_z / warp.vertical(chi[1])[1])

    def on(self, grid: Grid) -> tuple[Float[Array, "3 r"], Float[Array, "3 z"]]:
        """f_i and g_i at a grid's chi_r and chi_z."""
        (f, _), (g, _) = self._waves(grid)
        return self.radial @ f, self.vertical @ g

    def by_chi(self, grid: Grid) -> tuple[Float[Array, "3 r"], Float[Array, "3 z"]]:
        """Derivatives with respect to chi_r and chi_z, at a grid's."""
        (_, by_r), (_, by_z) = self._waves(grid)
        return self.radial @ by_r, self.vertical @ (2.0 * by_z)

    def _waves(self, grid: Grid):
        # Of angles that are known: one product of matrices, not a chain for each angle.
        of_r, of_z = (coefficients.shape[-1] for coefficients in (self.radial, self.vertical))
        return sine_waves(of_r, grid.chi_r), sine_waves(of_z, 2.0 * grid.chi_z)


def fudge_angles(
    motion: SeparableMotion,
    ends: Ends,
    J: Actions,
    transformation: Transformation,
    warp: Warp,
    found: Bool[Array, ""],
) -> FudgeAngles:
    """The series for the torus of a separable motion, if it was found; else none are added.

    theta_i = dW/dJ_i of W(E, I, J_phi) at given coordinates, with E and I as functions of J.
    """
    t_r, t_z = jnp.asarray(radial_nodes(N_R)), 0.5 * jnp.asarray(radial_nodes(N_Z))
    speed_r = jax.vmap(lambda t: radial_speed(motion, ends, t))(t_r)
    speed_z = jax.vmap(lambda t: vertical_speed(motion, ends, t))(t_z)

    # d(p du/dt)/d(E, I, J_phi) at the nodes: (du/dt)^2 over p du/dt.
    rho2 = jnp.exp(2.0 * (ends.middle - ends.half * jnp.cos(t_r)))
    Delta2, L_z = motion.Delta2, motion.J_phi
    by_r = (rho2 / (rho2 + Delta2)) * (ends.half * jnp.sin(t_r)) ** 2 / speed_r
    rates_r = by_r * jnp.stack([rho2 + Delta2, -jnp.ones_like(rho2), -L_z * Delta2 / rho2])
    largest = jnp.arctan(ends.tangent)
    sine2 = jnp.sin(largest * jnp.sin(t_z)) ** 2
    by_z = (largest * jnp.cos(t_z)) ** 2 / speed_z
    rates_z = by_z * jnp.stack([-Delta2 * sine2, jnp.ones_like(sine2), -L_z / (1.0 - sine2)])

    # d(E, I)/dJ_i, from d(J_r, J_z)/d(E, I, J_phi).
    slopes = jnp.stack([jnp.mean(rates_r, axis=1), jnp.mean(rates_z, axis=1)])
    (a, b), (c, d) = slopes[:, :2]
    inverse = jnp.array([[d, -b], [-c, a]]) / (a * d - b * c)
    of_J = jnp.concatenate([inverse.T, -(inverse @ slopes[:, 2])[None]])
    of_J = jnp.concatenate([of_J, jnp.array([[0.0], [0.0], [1.0]])], axis=1)

    box = transformation.box
    of_radius, of_latitude = transformation.barriers(jnp.abs(J[2]))
    chi_r, chi_z = radial_nodes(N_R), 0.5 * radial_nodes(N_Z)
    theta_r, theta_z = warp.radial(jnp.asarray(chi_r))[0], warp.vertical(jnp.asarray(chi_z))[0]
    t = where_partial_actions_agree(speed_r, 1, radial_partial_action(theta_r, J[0], of_radius) / J[0], t_r)
    f = _integrals(of_J @ rates_r, 1, t) - jnp.array([1.0, 0.0, 0.0])[:, None] * theta_r
    azimuth = jax.vmap(lambda theta: oscillator_azimuth(of_radius, theta, J[0]).angle)(theta_r)
    f = f.at[2].add(jnp.where(box, azimuth, 0.0))

    t = where_partial_actions_agree(
        speed_z, 2, vertical_partial_action(theta_z, J[1], of_latitude) / J[1], t_z
    )
    g = _integrals(of_J @ rates_z, 2, t) - jnp.array([0.0, 1.0, 0.0])[:, None] * theta_z
    azimuth = jax.vmap(lambda theta: sphere(theta, J[1], of_latitude).azimuth.angle)(theta_z)
    g = g.at[2].add(jnp.where(box, 0.0, azimuth))

    sign = jnp.where(J[2] < 0.0, -1.0, 1.0)
    turned = jnp.stack([jnp.ones_like(sign), jnp.ones_like(sign), sign])[:, None]

    def series(values, chi, step, kept):
        sines = np.sin(step * chi[:, None] * np.arange(1, kept + 1)) * 2.0 / len(chi)
        coefficients = turned * (values @ jnp.asarray(sines))
        good = found & jnp.all(jnp.isfinite(coefficients))
        return jnp.where(good, coefficients @ jnp.asarray(sines_to_powers(kept)), 0.0)

    return FudgeAngles(J, series(f, chi_r, 1, _KEPT_R), series(g, chi_z, 2, _KEPT_Z))


def _integrals(rates: Float[Array, "3 n"], step: int, t: Float[Array, " m"]) -> Float[Array, "3 m"]:
    """int_0^t of functions given at the nodes of t."""
    n = rates.shape[1]
    a = jnp.asarray(cosines(n, step)) @ rates.T
    integrals = a[1:] / (step * np.arange(1.0, n))[:, None]
    return a[0][:, None] * t + jax.vmap(lambda t: sines(integrals, step * t)[0], out_axes=1)(t)
