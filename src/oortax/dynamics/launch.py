"""Launching orbits of given integrals: energy, angular momentum, and a place in the surface of section."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from oortax.dynamics.base import require_float64
from oortax.dynamics.circular import ring
from oortax.dynamics.delta import FocalDistance, focal_distance
from oortax.potential.base import AbstractPotential
from oortax.potential.derived import acceleration
from oortax.potential.from_density import expand
from oortax.types import Scalar, Vec3

# Halvings of the interval in ln R, of some 10, in which the shell orbit crosses the plane.
_HALVINGS = 45


def launch(potential: AbstractPotential, R_c, circularity, I_3) -> tuple[Vec3, Vec3]:
    """Where an orbit of three given integrals starts: x (kpc) and v (km/s).

    Parameters
    ----------
    R_c : kpc, the radius of the circular orbit of its energy
    circularity : L_z over the angular momentum of that circular orbit, -1 to 1
    I_3 : 0 to 1, the part of v_z^2 in v_R^2 + v_z^2 where it starts: 0 in the plane, 1 the shell orbit

    It starts upwards and outwards from the plane at the radius where the shell orbit of this E and L_z
    crosses it, which no other orbit's curve in the surface of section leaves out: each I_3 is another orbit,
    and (but for resonant islands that the line v_R > 0 at this radius misses) each orbit has its I_3. The
    shell orbit is that of the fudge. Traceable and vmappable, in float64; not meant for derivatives. NaN for
    integrals out of range.

    >>> from oortax import potential
    >>> pot = potential.mw_potential_2014()
    >>> x, v = launch(pot, 8.0, 0.8, 0.3)
    >>> round(float((x[0] * v[1]) / (8.0 * potential.circular_velocity(pot, 8.0))), 6)
    0.8
    >>> round(float(v[2] ** 2 / (v[0] ** 2 + v[2] ** 2)), 6)
    0.3
    """
    potential = expand(potential)
    return _launched(potential, focal_distance(potential), *(jnp.asarray(a) for a in (R_c, circularity, I_3)))


def launch_orbits(
    potential: AbstractPotential,
    R_c: Float[Array, " a"],
    circularity: Float[Array, " b"],
    I_3: Float[Array, " c"],
) -> tuple[Float[Array, "n 3"], Float[Array, "n 3"]]:
    """x and v of a grid of integrals: all a b c combinations, I_3 fastest (see `launch`).

    Raises ValueError for integrals out of range.
    """
    grid = [np.atleast_1d(np.asarray(part, float)) for part in (R_c, circularity, I_3)]
    for name, part, low, high in zip(
        ("R_c", "circularity", "I_3"), grid, (0, -1, 0), (np.inf, 1, 1), strict=True
    ):
        if part.ndim != 1 or not np.all(
            (part >= low) & (part <= high) & (part != 0 if name == "R_c" else True)
        ):
            raise ValueError(f"{name} = {part}: numbers between {low} and {high} are needed, in one axis")
    require_float64("launch_orbits", jnp.asarray(grid[0]))
    return _launched_all(potential, *(a.ravel() for a in np.meshgrid(*grid, indexing="ij")))


@eqx.filter_jit
def _launched_all(potential, R_c, circularity, I_3):
    potential = expand(potential)
    focal = focal_distance(potential)
    return jax.vmap(lambda *integrals: _launched(potential, focal, *integrals))(R_c, circularity, I_3)


def _launched(potential, focal: FocalDistance, R_c, circularity, I_3) -> tuple[Vec3, Vec3]:
    orbit = ring(potential, R_c)
    E, L_z = orbit.Phi + 0.5 * R_c * orbit.Phi_R, circularity * R_c * jnp.sqrt(R_c * orbit.Phi_R)
    R = R_c * jnp.exp(_shell(potential, E, L_z / R_c, focal(E, L_z) / (R_c * R_c), R_c))
    v_phi = L_z / R
    rest = 2.0 * (E - potential.Phi_of_squares(R * R, jnp.zeros_like(R))) - v_phi * v_phi
    # That of a circular orbit is 0 but for rounding.
    rest = jnp.where(jnp.abs(circularity) <= 1.0, jnp.maximum(rest, 0.0), jnp.nan)
    zero = jnp.zeros_like(R)
    return jnp.stack([R, zero, zero]), jnp.stack([jnp.sqrt(rest * (1.0 - I_3)), v_phi, jnp.sqrt(rest * I_3)])


def _shell(potential, E, L, Delta2, R_c) -> Scalar:
    """ln(R/R_c) where the fudge's shell orbit crosses the plane; L and Delta^2 in units of R_c.

    There p_u^2/2 = E R^2 - L_z^2 Delta^2/(2 R^2) - (R^2 + Delta^2) Phi - I_3 has its maximum over R. Its
    slope is positive at the pericentre of the orbit in the plane and negative at its apocentre.
    """

    def outwards(log_R):
        s = jnp.exp(log_R)
        x = jnp.stack([s * R_c, jnp.zeros_like(s), jnp.zeros_like(s)])
        pull = -R_c * acceleration(potential, x)[0]
        kinetic, turning = 2.0 * (E - potential.Phi(x)), L * L / (s * s)
        slope = s * kinetic + turning * Delta2 / s - (s * s + Delta2) * pull
        return jnp.where(kinetic > turning, slope, turning / s - pull) > 0.0

    def halve(_, ends):
        middle = 0.5 * (ends[0] + ends[1])
        out = outwards(middle)
        return jnp.where(out, middle, ends[0]), jnp.where(out, ends[1], middle)

    low = jnp.full_like(E, np.log(1e-4))
    low, high = lax.fori_loop(0, _HALVINGS, halve, (low, jnp.full_like(E, np.log(2.05))))
    return 0.5 * (low + high)
