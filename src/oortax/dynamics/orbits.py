"""Orbits of many stars, from the host: where they turn, what they conserve, their surfaces of section."""

from functools import cached_property
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from oortax.dynamics.base import require_float64
from oortax.dynamics.orbit import adaptive_orbit, force, integrate_orbit
from oortax.dynamics.path import at_times, crossings, extremes
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result

# Orbits that step together.
_BATCH = {"cpu": 64, "gpu": 16_384}
# Where a potential is asked whether it depends on R^2 and z^2 alone: R and z, kpc, and azimuths.
_RADII, _HEIGHTS, _AZIMUTHS = (0.5, 3.0, 8.0, 20.0), (-5.0, -0.3, 0.3, 5.0), (0.0, 0.7, 2.0, 4.0)


@final
class Orbit(eqx.Module):
    """Orbits at given times: of one star, or of n in leading axes (`orbit[i]` is one of them).

    Attributes
    ----------
    times : (n_t,), or (n, n_t) where stars have their own; kpc/(km/s) (0.978 Gyr)
    x, v, a : (..., n_t, 3), position (kpc), velocity (km/s) and acceleration ((km/s)^2/kpc)
    E : (..., n_t), energy, (km/s)^2
    code : (...), a `Result`: NONFINITE for input that is not finite, NOT_CONVERGED where the integrator did
        not reach all times (what it did not reach is NaN, and so is what is derived from it)

    Between two times the orbit is the polynomial of fifth degree with the x, v and a of both: at fifty times
    in a radial period extremes are right to 1e-9 (discs) to 1e-6 kpc (haloes). They are those within the
    times given.
    """

    times: Float[Array, "*#n t"]
    x: Float[Array, "*n t 3"]
    v: Float[Array, "*n t 3"]
    a: Float[Array, "*n t 3"]
    E: Float[Array, "*n t"]
    code: Int[Array, "*n"]

    def __getitem__(self, rows) -> "Orbit":
        """Some of many orbits."""
        if self.x.ndim == 2:
            raise ValueError("this is the orbit of one star: its points are orbit.x[i] and orbit.v[i]")
        times = self.times[rows] if self.times.ndim > 1 else self.times
        return Orbit(times, *(part[rows] for part in (self.x, self.v, self.a, self.E, self.code)))

    @property
    def R(self) -> Float[Array, "*n t"]:
        """Cylindrical radius, kpc."""
        return jnp.hypot(self.x[..., 0], self.x[..., 1])

    @property
    def r(self) -> Float[Array, "*n t"]:
        """Spherical radius, kpc."""
        return jnp.linalg.norm(self.x, axis=-1)

    @property
    def L_z(self) -> Float[Array, "*n t"]:
        """x v_y - y v_x, kpc km/s."""
        return self.x[..., 0] * self.v[..., 1] - self.x[..., 1] * self.v[..., 0]

    @property
    def energy_error(self) -> Float[Array, "*n"]:
        """The largest change of E since the first time, over the largest kinetic energy."""
        kinetic = 0.5 * jnp.max(jnp.sum(self.v * self.v, axis=-1), axis=-1)
        return jnp.max(jnp.abs(self.E - self.E[..., :1]), axis=-1) / kinetic

    @property
    def pericentre(self) -> Float[Array, "*n"]:
        """The least distance from the centre, kpc."""
        return self._extremes[..., 0]

    @property
    def apocentre(self) -> Float[Array, "*n"]:
        """The largest distance from the centre, kpc."""
        return self._extremes[..., 1]

    @property
    def z_max(self) -> Float[Array, "*n"]:
        """The largest |z|, kpc."""
        return self._extremes[..., 2]

    @property
    def eccentricity(self) -> Float[Array, "*n"]:
        """(apocentre - pericentre)/(apocentre + pericentre)."""
        return (self.apocentre - self.pericentre) / (self.apocentre + self.pericentre)

    @cached_property
    def _extremes(self) -> Float[Array, "*n 3"]:
        return extremes(*self._leaves)

    @property
    def _leaves(self):
        return jnp.broadcast_to(self.times, self.E.shape), self.x, self.v, self.a

    def at(self, t) -> tuple[Float[Array, "*n m 3"], Float[Array, "*n m 3"]]:
        """Positions and velocities at times t, a number or (m,), between those given; NaN beyond them."""
        t = jnp.asarray(t, float)
        x, v = at_times(*self._leaves, jnp.atleast_1d(t))
        return (x, v) if t.ndim else (x[..., 0, :], v[..., 0, :])

    def surface_of_section(self) -> tuple[Float[Array, "*n m"], Float[Array, "*n m"]]:
        """R (kpc) and v_R (km/s) at upward crossings of the plane z = 0, in order.

        Of many orbits, m is the most crossings that one has; NaN where one has fewer. Not within jit.
        """
        R, v_R = (np.asarray(part) for part in crossings(*self._leaves))
        crossed = np.isfinite(R)
        order = np.argsort(~crossed, axis=-1, kind="stable")[..., : crossed.sum(axis=-1).max()]
        return tuple(jnp.asarray(np.take_along_axis(part, order, axis=-1)) for part in (R, v_R))  # type: ignore


def integrate_orbits(
    potential: AbstractPotential,
    x: Float[Array, "*n 3"],
    v: Float[Array, "*n 3"],
    times: Float[Array, "*#n t"],
    *,
    method: str = "dop853",
    rtol: float = 1e-10,
    atol: float = 1e-10,
    steps: int | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> Orbit:
    """The orbits of one star or many in a static potential, axisymmetric or not.

    Parameters
    ----------
    potential : anything with Phi(x); which symmetry it has is found out
    x, v : (3,) or (n, 3), at the first time, kpc and km/s
    times : (n_t,), or (n, n_t), rising or falling, kpc/(km/s) (0.978 Gyr)
    method : "dop853" for steps as tolerances need them (`adaptive_orbit`), "symplectic" for steps of one
        length (`integrate_orbit`)
    rtol, atol : tolerances of "dop853"; atol in kpc and 100 km/s
    steps : of "dop853" at most so many (100 000); of "symplectic" between one time and the next (16)
    batch_size : orbits that step together (64 on a CPU, 16384 on a GPU); all as often as the slowest, so that
        they are sorted by energy first
    progress : show a bar

    For use from the host: `adaptive_orbit` and `integrate_orbit` are the traceable forms for one star. With
    the tolerances given here E keeps to 1e-9 of the largest kinetic energy over ten radial periods
    (tests/dynamics/test_orbits.py). Raises ValueError for arguments of the wrong shape or type.

    >>> from oortax import potential
    >>> pot = potential.mw_potential_2014()
    >>> x, v = jnp.array([8.0, 0.0, 0.02]), jnp.array([11.0, 232.0, 7.0])
    >>> orbit = integrate_orbits(pot, x, v, jnp.linspace(0.0, 1.0, 300))
    >>> tuple(round(float(part), 3) for part in (orbit.pericentre, orbit.apocentre, orbit.z_max))
    (7.919, 9.143, 0.105)
    """
    potential, axisymmetric = _checked_potential(potential)
    shape, stars = _checked_stars(x, v)
    moments = _checked_times(times, shape)
    how = _checked_method(method, rtol, atol, steps, batch_size)
    n, n_t = len(stars), moments.shape[-1]
    of_each = np.broadcast_to(moments, (n, n_t))
    finite = np.asarray(np.isfinite(stars).all(axis=(1, 2)))
    rows_by_energy = np.argsort(np.asarray(_energies(potential, stars)), kind="stable")
    rows_by_energy = rows_by_energy[finite[rows_by_energy]]
    size = min(batch_size or _BATCH.get(jax.default_backend(), _BATCH["cpu"]), n)
    found = [np.full((n, n_t, *more), np.nan) for more in ((3,), (3,), (3,), ())]
    reached = np.zeros(n, dtype=bool)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(), TimeRemainingColumn(), disable=not progress,
    )  # fmt: skip
    with bar:
        task = bar.add_task("orbits", total=len(rows_by_energy))
        for rows in (rows_by_energy[i : i + size] for i in range(0, len(rows_by_energy), size)):
            # The last row is repeated: one shape, one compilation.
            padded = np.concatenate([rows, np.full(size - len(rows), rows[-1])])
            parts = _integrated(potential, stars[padded], of_each[padded], *how, axisymmetric)
            for whole, part in zip([*found, reached], parts, strict=True):
                whole[rows] = np.asarray(part)[: len(rows)]
            bar.advance(task, len(rows))
    code = np.where(finite, np.where(reached, Result.OK, Result.NOT_CONVERGED), Result.NONFINITE)
    leaves = [jnp.asarray(part.reshape(shape + part.shape[1:])) for part in (*found, code.astype(np.int32))]
    return Orbit(jnp.asarray(moments), *leaves)


@eqx.filter_jit
def _energies(potential, stars):
    return jax.vmap(lambda star: 0.5 * star[1] @ star[1] + potential.Phi(star[0]))(stars)


@eqx.filter_jit
def _integrated(potential, stars, times, adaptive: bool, rtol, atol, steps: int, axisymmetric: bool):
    """Positions, velocities, accelerations and energies of a batch, and which have reached all times."""

    def one(star, times):
        x, v = star
        if adaptive:
            options = {"rtol": rtol, "atol": atol, "max_steps": steps, "axisymmetric": axisymmetric}
            xs, vs, reached = adaptive_orbit(potential, x, v, times, **options)
        else:
            xs, vs = integrate_orbit(potential, x, v, times, steps, axisymmetric)
            reached = jnp.all(jnp.isfinite(xs))
        a = jax.vmap(lambda x: force(potential, x, axisymmetric))(xs)
        E = jax.vmap(lambda x, v: 0.5 * v @ v + potential.Phi(x))(xs, vs)
        return xs, vs, a, E, reached

    return jax.vmap(one)(stars, times)


def _checked_potential(potential) -> tuple[AbstractPotential, bool]:
    """Expanded, and whether it depends on R^2 and z^2 alone."""
    if not isinstance(potential, AbstractPotential):
        raise ValueError(
            f"potential is a {type(potential).__name__}: one of oortax.potential is needed, or a subclass of "
            "AbstractPotential with Phi(x) (oortax.io has from_galpy, from_gala and from_agama)"
        )
    potential = expand(potential)
    R, z, phi = (a.ravel() for a in np.meshgrid(_RADII, _HEIGHTS, _AZIMUTHS, indexing="ij"))
    x = np.stack([R * np.cos(phi), R * np.sin(phi), z], axis=1)
    by_x, by_squares = (np.asarray(part) for part in _both(potential, x))
    return potential, bool(np.max(np.abs(by_x - by_squares)) <= 1e-9 * np.ptp(by_squares))


@eqx.filter_jit
def _both(potential, x):
    by_squares = jax.vmap(lambda x: potential.Phi_of_squares(x[0] * x[0] + x[1] * x[1], x[2] * x[2]))(x)
    return jax.vmap(potential.Phi)(x), by_squares


def _checked_stars(x, v) -> tuple[tuple[int, ...], np.ndarray]:
    """The shape of the list of stars, () for one, and their x and v, (n, 2, 3)."""
    for name, part in (("x", x), ("v", v)):
        require_float64(f"integrate_orbits ({name})", part)
    x, v = np.asarray(x, float), np.asarray(v, float)
    if x.shape != v.shape or x.ndim not in (1, 2) or x.shape[-1] != 3 or x.size == 0:
        raise ValueError(
            f"x has shape {x.shape} and v {v.shape}: (3,) for one star or (n, 3) for many are needed"
        )
    return x.shape[:-1], np.stack([x.reshape(-1, 3), v.reshape(-1, 3)], axis=1)


def _checked_times(times, stars: tuple[int, ...]) -> np.ndarray:
    times = np.asarray(times, float)
    if times.shape[:-1] not in ((), stars) or times.shape[-1:] < (2,):
        raise ValueError(
            f"times has shape {times.shape}: (n_t,) with n_t > 1 is needed, or {(*stars, 'n_t')} for times "
            "of each star's own"
        )
    steps = np.diff(times)
    if not (np.all(steps > 0.0, axis=-1) | np.all(steps < 0.0, axis=-1)).all():
        raise ValueError("times must all rise or all fall, from the time at which the star is at x")
    return times


def _checked_method(method, rtol, atol, steps, batch_size) -> tuple[bool, Array, Array, int]:
    if method not in ("dop853", "symplectic"):
        raise ValueError(f'method = {method!r}: "dop853" (adaptive) or "symplectic" (fixed steps) is needed')
    if not (0.0 < rtol < 1.0 and 0.0 < atol < 1.0):
        raise ValueError(f"rtol = {rtol!r} and atol = {atol!r}: numbers between 0 and 1 such as 1e-10")
    for name, number in (("steps", steps), ("batch_size", batch_size)):
        if number is not None and (not isinstance(number, int) or number < 1):
            raise ValueError(f"{name} = {number!r}: a whole number >= 1 is needed, or None")
    adaptive = method == "dop853"
    return adaptive, jnp.asarray(rtol), jnp.asarray(atol), steps or (100_000 if adaptive else 16)
