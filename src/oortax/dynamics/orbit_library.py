"""A library of orbits in the manner of Schwarzschild (1979) and Zhao (1996): what tori are compared with.

Orbits are integrated for many periods; where they are and how fast is summed over time in cells of R and |z|.
Each needs thousands of steps, and velocities are known to the size of a cell; a torus (`fit_torus`) is a few
hundred numbers that give them at any point.
"""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from oortax.dynamics.base import require_float64
from oortax.dynamics.circular import ring
from oortax.dynamics.delta import FocalDistance, focal_distance
from oortax.potential.base import AbstractPotential
from oortax.potential.derived import acceleration
from oortax.potential.from_density import expand
from oortax.types import Scalar, Vec3

# Orbits that step together.
_BATCH = {"cpu": 64, "gpu": 16_384}
# Times along an orbit at which E and the fudge's actions are asked for.
_SAMPLES = 100
# Halvings of the interval in ln R, of some 10, in which the shell orbit crosses the plane.
_HALVINGS = 45
# Radii of circular orbits (kpc) whose periods are the units of time.
_R_MIN, _R_MAX, _KNOTS = 1e-3, 300.0, 96


class Passage(NamedTuple):
    """How an orbit passes a point: what it does in the point's cell of R and |z|.

    Attributes
    ----------
    fraction : of the time spent there; 0: it never passes
    v_R, v_z : rms speeds along R and z, km/s; NaN where it never passes
    v_phi : mean azimuthal velocity, km/s
    tilt : mean of v_R v_z above the plane, (km/s)^2
    """

    fraction: Float[Array, "*n"]
    v_R: Float[Array, "*n"]
    v_z: Float[Array, "*n"]
    v_phi: Float[Array, "*n"]
    tilt: Float[Array, "*n"]


@final
class CellMoments(eqx.Module):
    """Mass and velocities in cells of R and |z|: of one model, or of n orbits in a leading axis.

    Attributes
    ----------
    R_edges, z_edges : kpc, rising; z_edges from 0 unless the plane is left out
    sums : (..., n_R, n_z, 8), mass in a cell, and its products with the means of v_R, v_z, v_phi, v_R^2,
        v_z^2, v_phi^2 and v_R v_z (km/s); below the plane v_z is counted towards it, as above
    """

    R_edges: Float[Array, " r"]
    z_edges: Float[Array, " z"]
    sums: Float[Array, "*n R Z 8"]

    @property
    def mass(self) -> Float[Array, "*n R Z"]:
        """Mass, or the fraction of an orbit's time."""
        return self.sums[..., 0]

    @property
    def means(self) -> Float[Array, "*n R Z 7"]:
        """Means of v_R, v_z, v_phi, v_R^2, v_z^2, v_phi^2, v_R v_z; NaN in empty cells."""
        mass = self.mass[..., None]
        return jnp.where(mass > 0.0, self.sums[..., 1:] / jnp.where(mass > 0.0, mass, 1.0), jnp.nan)

    @property
    def dispersions(self) -> Float[Array, "*n R Z 3"]:
        """Dispersions of v_R and v_z about 0 and of v_phi about its mean, km/s."""
        means = self.means
        return jnp.sqrt(jnp.maximum(means[..., 3:6].at[..., 2].add(-(means[..., 2] ** 2)), 0.0))

    def at(self, R, z) -> Passage:
        """What happens in the cell of (R, z); NaN beyond the cells."""
        n_z = len(self.z_edges) - 1
        cell = _cell(self.R_edges, self.z_edges, jnp.asarray(R), jnp.asarray(z))
        known = cell < (len(self.R_edges) - 1) * n_z
        i, j = jnp.divmod(jnp.where(known, cell, 0), n_z)
        fraction = jnp.where(known, self.mass[..., i, j], jnp.nan)
        means = jnp.where(known, self.means[..., i, j, :], jnp.nan)
        return Passage(
            fraction, jnp.sqrt(means[..., 3]), jnp.sqrt(means[..., 4]), means[..., 2], means[..., 6]
        )


@final
class OrbitLibrary(eqx.Module):
    """Orbits, their labels, and what they do in cells of R and |z|; what integrates them is not written.

    Attributes
    ----------
    E, L_z : (n,), energy ((km/s)^2) and angular momentum (kpc km/s)
    J : (n, 3), the fudge's actions, averaged along the orbit (kpc km/s)
    J_scatter : (n, 2), standard deviations of J_r and J_z along it
    period : (n,), unit of its time: radial period of the circular orbit of energy E, kpc/(km/s)
    energy_error : (n,), the largest change of E over the largest kinetic energy
    code : (n,), a `Result`: INACCURATE where the energy changed by more than `tol`, OUTSIDE where E is that
        of no circular orbit between 1e-3 and 300 kpc, NONFINITE; with the last two numbers are NaN
    cells : fractions of time, and velocities; an orbit's fractions add to less than 1 if it leaves the cells

    `library[i]` is one orbit, or some.
    """

    E: Float[Array, "*n"]
    L_z: Float[Array, "*n"]
    J: Float[Array, "*n 3"]
    J_scatter: Float[Array, "*n 2"]
    period: Float[Array, "*n"]
    energy_error: Float[Array, "*n"]
    code: Int[Array, "*n"]
    cells: CellMoments

    def __getitem__(self, rows) -> "OrbitLibrary":
        cells = CellMoments(self.cells.R_edges, self.cells.z_edges, self.cells.sums[rows])
        labels = (self.E, self.L_z, self.J, self.J_scatter, self.period, self.energy_error, self.code)
        E, L_z, J, J_scatter, period, energy_error, code = (part[rows] for part in labels)
        return OrbitLibrary(E, L_z, J, J_scatter, period, energy_error, code, cells)

    def passes(self, R, z) -> Passage:
        """Whether and how fast each orbit passes (R, z), kpc: for all, or for one by `library[i].passes`."""
        return self.cells.at(R, z)

    def mirrored(self) -> "OrbitLibrary":
        """These orbits in the other sense of rotation."""
        cells = CellMoments(
            self.cells.R_edges, self.cells.z_edges, self.cells.sums * jnp.ones(8).at[3].set(-1.0)
        )
        J = self.J * jnp.array([1.0, 1.0, -1.0])
        return eqx.tree_at(lambda o: (o.L_z, o.J, o.cells), self, (-self.L_z, J, cells))


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


def points_in_cells(
    x: Float[Array, "n 3"], v: Float[Array, "n 3"], weight: Float[Array, " n"], R_edges, z_edges
) -> CellMoments:
    """Weighted points in cells of R and |z|: stars, or points drawn from tori.

    >>> x, v = jnp.array([[8.0, 0.0, -0.3]]), jnp.array([[10.0, 220.0, -5.0]])
    >>> cells = points_in_cells(x, v, jnp.ones(1), jnp.array([7.0, 9.0]), jnp.array([0.0, 1.0]))
    >>> cells.at(8.5, 0.5).tilt
    Array(50., dtype=float64)
    """
    R_edges, z_edges = jnp.asarray(R_edges, float), jnp.asarray(z_edges, float)
    n_R, n_z = len(R_edges) - 1, len(z_edges) - 1
    cell, values = jax.vmap(lambda x, v: _counted(R_edges, z_edges, x, v))(x, v)
    sums = jnp.zeros((n_R * n_z, 8)).at[cell].add(weight[:, None] * values, mode="drop")
    return CellMoments(R_edges, z_edges, sums.reshape(n_R, n_z, 8))


def _cell(R_edges, z_edges, R, z) -> Int[Array, ""]:
    """The cell's number; that of none is the number of cells."""
    n_R, n_z = len(R_edges) - 1, len(z_edges) - 1
    i = jnp.searchsorted(R_edges, R, side="right", method="compare_all") - 1
    j = jnp.searchsorted(z_edges, jnp.abs(z), side="right", method="compare_all") - 1
    inside = (i >= 0) & (i < n_R) & (j >= 0) & (j < n_z)
    return jnp.where(inside, i * n_z + j, n_R * n_z)


def _counted(R_edges, z_edges, x: Vec3, v: Vec3) -> tuple[Int[Array, ""], Float[Array, "8"]]:
    """A point's cell, and what is summed there."""
    R = jnp.maximum(jnp.hypot(x[0], x[1]), 1e-150)
    v_R, v_phi = (x[0] * v[0] + x[1] * v[1]) / R, (x[0] * v[1] - x[1] * v[0]) / R
    v_z = jnp.where(x[2] < 0.0, -v[2], v[2])
    one = jnp.ones_like(R)
    values = jnp.stack([one, v_R, v_z, v_phi, v_R * v_R, v_z * v_z, v_phi * v_phi, v_R * v_z])
    return _cell(R_edges, z_edges, R, x[2]), values
