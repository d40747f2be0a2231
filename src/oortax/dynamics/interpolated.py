"""The Staeckel fudge, interpolated: actions of catalogues of a million stars and more."""

from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp

from oortax.dynamics.base import AbstractActionFinder, ActionAngles, StarActions, require_float64
from oortax.dynamics.delta import focal_distance
from oortax.dynamics.fudge_table import (
    _NEAR_CIRCULAR,
    _NEAR_PLANE,
    MOST,
    FudgeTable,
    excess,
    fudge_table,
    slowness,
    stretched,
)
from oortax.dynamics.spheroidal import confocal
from oortax.dynamics.staeckel import StaeckelFudge
from oortax.numerics.batching import recomputed
from oortax.numerics.bspline import basis
from oortax.numerics.once import once
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result
from oortax.types import Scalar, Vec3

_DEGREE = 2


class _Orbit(NamedTuple):
    """What depends on E and L_z alone."""

    L_c: Scalar
    S: Scalar
    R2: Scalar
    u: Scalar
    y: Scalar
    Delta2: Scalar
    rho2: Scalar
    w: Scalar
    shell: Scalar


def _cell(size: int, u: Scalar):
    i = jnp.clip(jnp.floor(u), 0.0, size - _DEGREE - 1.0)
    return i.astype(jnp.int32), u - i


def _read(table, *at: Scalar) -> Any:
    """A spline of two or three variables, in cells, at one point."""
    places = [_cell(size, u) for size, u in zip(table.shape, at, strict=True)]
    cells, weights = [i for i, _ in places], [basis(_DEGREE, 0, s) for _, s in places]
    flat = table.reshape(-1)

    def along(axis, start):
        start = start * table.shape[axis] + cells[axis]
        sums = 0.0
        for k, weight in enumerate(weights[axis]):
            if axis + 1 == table.ndim:
                value = flat.at[start + k].get(mode="promise_in_bounds")
            else:
                value = along(axis + 1, start + k)
            sums = sums + weight * value
        return sums

    value: Any = along(0, jnp.int32(0))
    # Else XLA reads the table again for the imaginary part.
    return value / jnp.where(at[0] < -jnp.inf, 0.5, 1.0)


@final
class InterpolatedFudge(AbstractActionFinder):
    """Actions of the Staeckel fudge from tables, for catalogues of a million stars and more.

    J_z is that of the fudge at the star's own spheroid: a third integral A = (L_x^2 + L_y^2 + Delta^2
    v_z^2)/2 + (rho^2 + Delta^2) [Phi(x) - Phi(rho, 0)] of two potentials is carried to the radius of the
    shell orbit at constant J_z by one table, and J_z read in another, over E, L_z and A. J_r is the radial
    action for the mean of A over the radial motion at this J_z: it varies less along orbits than the plain
    fudge's, whose A is the star's own.

    Parameters
    ----------
    potential : AbstractPotential
        Build the finder inside jit, once per potential: the tables take 0.1 s.
    R_min, R_max : radii of circular orbits (kpc) between whose energies actions are known
    cells : of the tables in ln R_c(E), L_z and the third integral

    Notes
    -----
    In mw_potential_2014 the median scatter of J_r and J_z over J_r + J_z along orbits is 2e-4 and 1e-4
    (thin disc), 1e-3 and 8e-4 (thick disc), 2e-3 and 2e-3 (halo). J_r and J_z differ from the plain fudge's
    by 1e-2 and 5e-4 of J_r + J_z at most in 99 % of disc stars, in the halo's tail by 0.1. The tables know no
    prolate spheroids: where Delta^2 < 0 they take 0, and what carries A from radius to radius is kept within
    what oblate galaxies have; near the axis J is rough there. Codes: OUTSIDE for energies beyond the tables',
    UNBOUND, NONFINITE; then J is NaN. Angles and frequencies are those of `StaeckelFudge`, as slow as these.
    Raises ValueError for float32. Derivatives, in the potential's parameters too, are those of the values
    (tests/dynamics/test_fudge_slopes.py).

    >>> from oortax import potential
    >>> @jax.jit
    ... def actions(pot, x, v):
    ...     return InterpolatedFudge(pot).actions(x, v)
    >>> pot = potential.MiyamotoNagai(M=1e11, a=3.0, b=0.5)
    >>> J = actions(pot, jnp.array([8.0, 0.0, 0.1]), jnp.array([20.0, 190.0, 10.0]))  # doctest: +SKIP
    """

    potential: AbstractPotential
    table: FudgeTable
    fudge: StaeckelFudge

    def __init__(
        self,
        potential: AbstractPotential,
        *,
        R_min: float = 0.01,
        R_max: float = 300.0,
        cells: tuple[int, int, int] = (40, 12, 12),
    ):
        require_float64("InterpolatedFudge", *jax.tree.leaves(eqx.filter(potential, eqx.is_array)))
        self.potential = expand(potential)
        focal = focal_distance(self.potential, R_min=R_min, R_max=R_max)
        self.table = fudge_table(self.potential, focal, R_min=R_min, R_max=R_max, cells=cells, n_r=8, n_z=6)
        self.fudge = StaeckelFudge(self.potential)

    def _orbit(self, E: Scalar, L_z: Scalar) -> _Orbit:
        knots = self.table.knots
        i = jnp.clip(jnp.sum(E > knots[:, 0], dtype=jnp.int32) - 1, 0, len(knots) - 2)
        flat = knots.reshape(-1)

        def ends(column):
            return (flat.at[6 * (i + k) + column].get(mode="promise_in_bounds") for k in (0, 1))

        (E_0, E_1), (L_0, L_1), (d_0, d_1), (b_0, b_1), (R2_0, R2_1), (x_0, x_1) = map(ends, range(6))
        h = E_1 - E_0
        t = jnp.clip((E - E_0) / h, 0.0, 1.0)
        s = 1.0 - t
        t2, s2 = t * t, s * s
        # Quintic: value, slope and bend at both ends.
        L_c = (
            s2 * s * (L_0 * (1.0 + 3.0 * t + 6.0 * t2) + h * t * (d_0 * (1.0 + 3.0 * t) + 0.5 * h * t * b_0))
        )
        L_c += (
            t2 * t * (L_1 * (1.0 + 3.0 * s + 6.0 * s2) - h * s * (d_1 * (1.0 + 3.0 * s) - 0.5 * h * s * b_1))
        )
        n_x, n_y = self.table.plane.shape
        step = jnp.log(knots[1, 4] / knots[0, 4]) * 0.5
        low, high = s2 * (1.0 + 2.0 * t), t2 * (3.0 - 2.0 * t)
        u = once(i + high + t * s * h / step * (s * x_0 - t * x_1))
        R2 = low * R2_0 + high * R2_1 + 2.0 * t * s * h * (s * x_0 * R2_0 - t * x_1 * R2_1)
        L_c = once(L_c)
        S = L_c - jnp.abs(L_z)
        y = once(stretched(jnp.clip(S / L_c, 0.0, 1.0), _NEAR_CIRCULAR) * (n_y - _DEGREE))
        spheroids = _read(self.table.spheroids, u, y)
        Delta2 = once(jnp.maximum(spheroids.real, 1e-8) * R2)
        rho2 = once(jnp.maximum(spheroids.imag, 1e-5) * R2)
        A_shell = _read(self.table.plane, u, y) * L_c
        w = once(slowness(A_shell * jnp.maximum(S, 0.0), L_z, Delta2, rho2))
        shell = once(excess(A_shell * jnp.maximum(S, 1e-12 * L_c), w))
        return _Orbit(L_c, jnp.maximum(S, 1e-12 * L_c), R2, u, y, Delta2, rho2, w, shell)

    def _t(self, orbit: _Orbit, lam):
        n = self.table.shift.shape[2] - _DEGREE
        return stretched(jnp.clip(lam / orbit.shell, 0.0, 1.0), _NEAR_PLANE) * n

    def _of_integrals(self, orbit: _Orbit, A: Scalar):
        """J_r, J_z of A at the shell's radius."""
        lam = once(excess(A, orbit.w))
        g = _read(self.table.actions, orbit.u, orbit.y, once(self._t(orbit, lam)))
        J_z = lam * orbit.S / orbit.shell
        return jnp.maximum(orbit.S - J_z, 0.0) * g.real, J_z * g.imag

    def _integrals(self, x: Vec3, v: Vec3):
        R2, z2 = x[0] * x[0] + x[1] * x[1], x[2] * x[2]
        L_x, L_y, L_z = x[1] * v[2] - x[2] * v[1], x[2] * v[0] - x[0] * v[2], x[0] * v[1] - x[1] * v[0]
        Phi = once(self.potential.Phi_of_squares(R2, z2))
        E = once(0.5 * (v @ v) + Phi)
        orbit = self._orbit(E, L_z)
        rho2 = once(confocal(R2, z2, orbit.Delta2)[0])
        Phi_0 = self.potential.Phi_of_squares(rho2, jnp.zeros_like(rho2))
        A = 0.5 * (L_x * L_x + L_y * L_y + orbit.Delta2 * v[2] * v[2]) + (rho2 + orbit.Delta2) * (Phi - Phi_0)
        A = once(jnp.maximum(A, 0.0))
        r = (rho2 - orbit.rho2) / (rho2 + orbit.rho2)
        c = _read(self.table.shift, orbit.u, orbit.y, once(self._t(orbit, excess(A, orbit.w))))
        rise = jnp.clip(r * (c.real + r * c.imag), -MOST, MOST)
        return E, L_z, orbit, once(A * jnp.exp(rise))

    def actions_and_code(self, x: Vec3, v: Vec3) -> StarActions:
        """Actions with a `Result` code."""
        require_float64("InterpolatedFudge", x, v)
        return self._actions(x, v)

    @recomputed
    def _actions(self, x: Vec3, v: Vec3) -> StarActions:
        E, L_z, orbit, A = self._integrals(x, v)
        J_r, J_z = self._of_integrals(orbit, A)
        E_knots = self.table.knots[:, 0]
        code = jnp.where((E_knots[0] <= E) & (E <= E_knots[-1]), Result.OK, Result.OUTSIDE)
        code = jnp.where(E > self.table.E_far, Result.UNBOUND, code)
        code = jnp.where(jnp.isfinite(E), code, Result.NONFINITE)
        good = code == Result.OK
        J = jnp.stack([jnp.where(good, each, jnp.nan) for each in (once(J_r), once(J_z), L_z)])
        beyond = excess(A, orbit.w) / orbit.shell - 1.0
        return StarActions(J, jnp.maximum(beyond, 0.0), code)

    def actions_angles_frequencies(self, x: Vec3, v: Vec3) -> ActionAngles:
        """J of the tables, theta and Omega of the plain fudge."""
        found = self.actions_and_code(x, v)
        fudge = self.fudge.actions_angles_frequencies(x, v)
        good = (found.code == Result.OK) & (fudge.code == Result.OK)
        theta, Omega = (jnp.where(good, part, jnp.nan) for part in (fudge.theta, fudge.Omega))
        return ActionAngles(found.J, theta, Omega, found.residual, found.code)
