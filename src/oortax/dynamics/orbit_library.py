"""A library of orbits in the manner of Schwarzschild (1979) and Zhao (1996): what tori are compared with.

Orbits are integrated for many periods; where they are and how fast is summed over time in cells of R and |z|.
Each needs thousands of steps, and velocities are known to the size of a cell; a torus (`fit_torus`) is a few
hundred numbers that give them at any point.
"""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from oortax.dynamics.base import require_float64
from oortax.dynamics.circular import ring
from oortax.dynamics.orbit import symplectic_step
from oortax.dynamics.orbit_cells import CellMoments, Passage, counted
from oortax.dynamics.staeckel import StaeckelFudge
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result

# Orbits that step together.
_BATCH = {"cpu": 64, "gpu": 16_384}
# Times in each half of an orbit at which E and the fudge's actions are asked for.
_SAMPLES = 50
# Radii of circular orbits (kpc) whose periods are the units of time.
_R_MIN, _R_MAX, _KNOTS = 1e-3, 300.0, 96


@final
class OrbitLibrary(eqx.Module):
    """Orbits, their labels, and what they do in cells of R and |z| (build with `build_orbit_library`).

    Attributes
    ----------
    E, L_z : (n,), energy ((km/s)^2) and angular momentum (kpc km/s)
    J : (n, 3), the fudge's actions, averaged along the orbit (kpc km/s)
    J_scatter : (n, 2), standard deviations of J_r and J_z along it
    period : (n,), unit of its time: radial period of the circular orbit of energy E, kpc/(km/s)
    energy_error : (n,), the largest change of E over the largest kinetic energy
    unmixed : (n,), share of the time that the second half of the orbit spends in other cells than the first:
        large for orbits near a resonance, which fill their tori slowly, and where there were too few periods
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
    unmixed: Float[Array, "*n"]
    code: Int[Array, "*n"]
    cells: CellMoments

    def __getitem__(self, rows) -> "OrbitLibrary":
        cells = self.cells.with_sums(self.cells.sums[rows])
        return OrbitLibrary(*(part[rows] for part in self._labels()), cells=cells)  # type: ignore

    def _labels(self):
        return (
            self.E, self.L_z, self.J, self.J_scatter, self.period, self.energy_error, self.unmixed, self.code
        )  # fmt: skip

    def passes(self, R, z) -> Passage:
        """Whether and how fast each orbit passes (R, z), kpc: for all, or for one by `library[i].passes`."""
        return self.cells.at(R, z)

    def mirrored(self) -> "OrbitLibrary":
        """These orbits in the other sense of rotation."""
        cells = self.cells.with_sums(self.cells.sums * jnp.ones(8).at[3].set(-1.0))
        J = self.J * jnp.array([1.0, 1.0, -1.0])
        return eqx.tree_at(lambda o: (o.L_z, o.J, o.cells), self, (-self.L_z, J, cells))


def build_orbit_library(
    potential: AbstractPotential,
    x: Float[Array, "n 3"],
    v: Float[Array, "n 3"],
    *,
    R_edges: Float[Array, " r"],
    z_edges: Float[Array, " z"],
    periods: float = 100.0,
    steps_per_period: int = 200,
    tol: float = 1e-4,
    batch_size: int | None = None,
    progress: bool = False,
) -> OrbitLibrary:
    """Integrate orbits and sum what they do in cells of R and |z|.

    Parameters
    ----------
    potential : axisymmetric, even in z
    x, v : (n, 3), where they start, kpc and km/s: such as of `launch_orbits`
    R_edges, z_edges : kpc, rising, the latter from 0 unless the plane is left out
    periods : radial periods of the circular orbit of its energy that each is followed
    steps_per_period : of the fourth-order symplectic integrator
    tol : change of E, over the largest kinetic energy, above which the code is INACCURATE
    batch_size : orbits that step together (64 on a CPU, 16384 on a GPU)
    progress : show a bar

    A cell's fraction of time errs by the steps that are taken there, about their number to the power -1, and
    by what the orbit has not filled (`unmixed`). Raises ValueError for what is not (n, 3), edges that do not
    rise, and float32.

    >>> from oortax import potential
    >>> pot = potential.MiyamotoNagai(M=1e11, a=3.0, b=0.5)
    >>> from oortax.dynamics import launch_orbits
    >>> start = launch_orbits(pot, 8.0, 0.9, [0.2, 0.8])
    >>> edges = {"R_edges": jnp.linspace(0.0, 20.0, 11), "z_edges": jnp.linspace(0.0, 8.0, 5)}
    >>> library = build_orbit_library(pot, *start, **edges, periods=20.0, batch_size=2)
    >>> library.code.tolist(), library.cells.mass.sum(axis=(1, 2)).round(6).tolist()
    ([0, 0], [1.0, 1.0])
    """
    x, v = jnp.asarray(x), jnp.asarray(v)
    if x.ndim != 2 or x.shape != v.shape or x.shape[1] != 3 or len(x) == 0:
        raise ValueError(f"x, v have shapes {x.shape}, {v.shape}: (n, 3) each is needed, n > 0")
    require_float64("build_orbit_library", x, v)
    edges = [np.asarray(each, float) for each in (R_edges, z_edges)]
    for name, each in zip(("R_edges", "z_edges"), edges, strict=True):
        if each.ndim != 1 or len(each) < 2 or not np.all(np.diff(each) > 0.0) or each[0] < 0.0:
            raise ValueError(f"{name} = {each}: two or more rising numbers >= 0 are needed")
    if not periods > 0.0 or not isinstance(steps_per_period, int) or steps_per_period < 8:
        raise ValueError(
            f"periods = {periods!r}, steps_per_period = {steps_per_period!r}: periods > 0 and a whole number "
            ">= 8 of steps are needed"
        )
    n, of_sample = len(x), max(1, round(periods * steps_per_period / (2 * _SAMPLES)))
    size = min(batch_size or _BATCH.get(jax.default_backend(), _BATCH["cpu"]), n)
    share = periods / (2 * _SAMPLES * of_sample)
    bar = Progress(
        TextColumn("orbits"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(), TimeRemainingColumn(), disable=not progress,
    )  # fmt: skip
    R, z = (jnp.asarray(each) for each in edges)
    parts = []
    with bar:
        task = bar.add_task("", total=n)
        for first in range(0, n, size):
            # Filled up to one shape: one program.
            rows = np.minimum(np.arange(first, first + size), n - 1)
            part = _followed(potential, x[rows], v[rows], R, z, of_sample, share, tol)
            parts.append(jax.tree.map(np.asarray, part[: n - first]))
            bar.update(task, completed=min(first + size, n))
    labels = zip(*(part._labels() for part in parts), strict=True)
    sums = jnp.concatenate([part.cells.sums for part in parts])
    cells = CellMoments(R, z, sums)
    return OrbitLibrary(*(jnp.concatenate(list(label)) for label in labels), cells=cells)  # type: ignore


@eqx.filter_jit
def _followed(potential, x, v, R_edges, z_edges, of_sample: int, share, tol) -> OrbitLibrary:
    """A batch of orbits; `share` of a period is one step."""
    potential = expand(potential)
    fudge = StaeckelFudge(potential)
    radii = jnp.geomspace(_R_MIN, _R_MAX, _KNOTS)
    rings = jax.vmap(lambda R: ring(potential, R))(radii)
    E_ring = rings.Phi + 0.5 * radii * rings.Phi_R
    log_kappa = 0.5 * jnp.log(rings.Phi_RR + 3.0 * rings.Phi_R / radii)
    n_cells = (len(R_edges) - 1) * (len(z_edges) - 1)

    def energy(x, v):
        return 0.5 * (v @ v) + potential.Phi(x)

    def one(x, v):
        E = energy(x, v)
        period = 2.0 * jnp.pi * jnp.exp(-jnp.interp(E, E_ring, log_kappa))
        inside = (E > E_ring[0]) & (E < E_ring[-1])
        dt = share * period

        def step(state, _):
            x, v, sums = state
            x, v = symplectic_step(potential, x, v, dt)
            cell, values = counted(R_edges, z_edges, x, v)
            return (x, v, sums.at[cell].add(values)), None

        def sample(state, _):
            x, v, sums = lax.scan(step, state, length=of_sample)[0]
            return (x, v, sums), (energy(x, v), 0.5 * (v @ v), fudge.actions(x, v))

        def half(state, _):
            x, v = state
            # The last row is all that is beyond the cells.
            (x, v, sums), samples = lax.scan(sample, (x, v, jnp.zeros((n_cells + 1, 8))), length=_SAMPLES)
            return (x, v), (sums / (_SAMPLES * of_sample), samples)

        sums, samples = lax.scan(half, (x, v), length=2)[1]
        E_along, kinetic, J = (part.reshape(2 * _SAMPLES, *part.shape[2:]) for part in samples)
        error = jnp.max(jnp.abs(E_along - E)) / jnp.max(kinetic)
        unmixed = 0.5 * jnp.sum(jnp.abs(sums[1, :, 0] - sums[0, :, 0]))
        known = jnp.isfinite(J[:, 0])
        count = jnp.sum(known)
        J_mean = jnp.sum(jnp.where(known[:, None], J, 0.0), axis=0) / count
        off = jnp.where(known[:, None], J - J_mean, 0.0)[:, :2]
        code = jnp.where(error <= tol, Result.OK, Result.INACCURATE)
        code = jnp.where(inside, code, Result.OUTSIDE)
        code = jnp.where(jnp.isfinite(E), code, Result.NONFINITE)
        good = (code == Result.OK) | (code == Result.INACCURATE)
        numbers = (
            E, x[0] * v[1] - x[1] * v[0], J_mean, jnp.sqrt(jnp.sum(off * off, axis=0) / count), period, error,
            unmixed,
        )  # fmt: skip
        numbers = (jnp.where(good, number, jnp.nan) for number in numbers)
        sums = jnp.where(good, jnp.mean(sums, axis=0)[:-1], jnp.nan)
        cells = CellMoments(R_edges, z_edges, sums.reshape(len(R_edges) - 1, len(z_edges) - 1, 8))
        return OrbitLibrary(*numbers, code=code, cells=cells)  # type: ignore

    return jax.vmap(one)(x, v)
