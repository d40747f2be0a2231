"""The waves that least squares neglects: those near a resonance.

A torus is as good as the actions of its points are constant. Of what is left of H, a wave of true angles,

    H = E + 2 sum_m c_m cos(m.theta),

makes J oscillate by 2 m c_m / (m.Omega), so that it moves a torus most where its divisor m.Omega is least;
but there it is little of H, and a fit that makes H constant hardly sees it. Sanders & Binney's halo orbit
(2016, MNRAS 457, 2107) has (5 Omega_r - 6 Omega_z) = 0.11 Omega_r: a wave of 7e-6 of Omega.J moves its mean
action by 7e-4, and its angles by 0.05 rad in 50 radial periods.

Such waves are removed: the last step is that of least squares under the condition that their c_m vanish, as
those of dS/dJ are by which Omega gets constant. benchmarks/four_orbits.py shows what is left.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from oortax.dynamics.torus.angles import FudgeAngles
from oortax.dynamics.torus.generating import Warp
from oortax.dynamics.torus.grid import Field, Grid
from oortax.dynamics.torus.normal import Normal
from oortax.numerics.positive import cholesky, solve
from oortax.types import Actions, Scalar

# One wave in so many terms: more of them are not made by the terms that there are, and cost H. None with few
# terms, which make them badly: such tori are interpolated (`fit_library`), and S_n must follow J smoothly.
_TERMS, _FEW = 20, 45
# Of |m|.Omega: a wave with a larger divisor is left to least squares.
_NEAR = 0.05
# Of Omega.J: where more than this is left of H there is no torus, or one that has not enough terms.
_ROUGH = 3e-3
# Added to what a wave takes from S_n for c_m = 1, times its divisor: 1/2 where the terms can make the wave.
_RIDGE = 1e-4


def waves_with(n_modes: int) -> int:
    """How many waves are removed from tori of n_modes terms."""
    return n_modes // _TERMS if n_modes > _FEW else 0


class Passage(NamedTuple):
    """How a torus is passed: theta_r and theta_z, and shares of it, on the grid; frequencies."""

    theta: Float[Array, "2 r z"]
    weight: Field
    Omega: Float[Array, " i"]


class NearResonance(NamedTuple):
    """The waves of the true angles, on the grid, with the least divisors for their size.

    `waves` are cos(m.theta) times `weight`, shares of the torus; the larger `damping`, the more of a wave
    stays.
    """

    weight: Field
    waves: Float[Array, "k r z"]
    damping: Float[Array, " k"]

    @classmethod
    def of(cls, grid: Grid, torus: Passage, least: Scalar | float, H: Field, J: Actions) -> "NearResonance":
        """From how the torus is passed, the least damping of its fit, and what is left of H.

        Within a resonance there is no such torus, and no step to it. Its width is that of a pendulum, whose
        slope d(m.Omega)/d(action) is of the order of |m| |m|.Omega / J: m.Omega counts where its square is
        well above 4 |c_m| times this.
        """
        n = jnp.asarray(grid.n)
        divisor, size = n @ torus.Omega[:2], jnp.abs(n) @ jnp.abs(torus.Omega[:2])
        _, which = lax.top_k(-jnp.abs(divisor / size), waves_with(len(grid.n)))
        m, divisor, size = n[which], divisor[which], size[which]
        phase = m[:, 0, None, None] * torus.theta[0] + m[:, 1, None, None] * torus.theta[1]
        waves = torus.weight * jnp.cos(phase)
        H = H - jnp.sum(torus.weight * H)
        c = jnp.einsum("krz,rz->k", waves, H)
        bend = jnp.max(jnp.abs(m), axis=1) * size / jnp.maximum(J[0] + J[1], 1e-30)
        square = jnp.maximum(divisor**2, 1e-20 * size**2)
        within = (4.0 * jnp.abs(c) * bend / square) ** 2 + least * size**2 / square
        far = (divisor / (_NEAR * size)) ** 4
        rough = jnp.mean(H**2) / (_ROUGH * jnp.abs(torus.Omega[:2]) @ J[:2]) ** 2
        return cls(torus.weight, waves, 0.5 * within + far + rough**2 + _RIDGE)

    def step(self, grid: Grid, normal: Normal, matrix, factor) -> Float[Array, "m k"]:
        """What each c_m takes from S_n, by the normal equations and the factor of their matrix."""
        by_S = self.weight.size * jax.vmap(lambda wave: normal.project(grid, wave))(self.waves)
        answer = solve(matrix, by_S.T, factor)
        among = by_S @ answer + jnp.diag(self.damping)
        return -solve(among, answer.T, cholesky(among)).T

    def of_field(self, field: Field) -> Float[Array, " k"]:
        """c_m of a field."""
        return jnp.einsum("krz,rz->k", self.waves, field - jnp.sum(self.weight * field))


def true_angles(
    warp: Warp, angles: FudgeAngles, grid: Grid, dS_dJ: Float[Array, "m i"]
) -> Float[Array, "2 r z"]:
    """theta_r and theta_z on the grid."""
    f, g = angles.on(grid)
    r = (warp.radial(grid.chi_r)[0] + f[0])[:, None] + g[0] + 2.0 * grid.sum_of_sines(dS_dJ[:, 0])
    z = f[1][:, None] + warp.vertical(grid.chi_z)[0] + g[1] + 2.0 * grid.sum_of_sines(dS_dJ[:, 1])
    return jnp.stack([r, z])


def angle_density(warp: Warp, angles: FudgeAngles, grid: Grid, dS_dJ: Float[Array, "m i"]) -> Field:
    """d2(theta)/d2(chi) on the grid, of the true angles."""
    _, by_chi_r = warp.radial(grid.chi_r)
    _, by_chi_z = warp.vertical(grid.chi_z)
    angles_r, angles_z = angles.by_chi(grid)
    n_r, n_z = grid.n[:, 0], grid.n[:, 1]

    def slopes(i):
        by_r = ((by_chi_r if i == 0 else 0.0) + angles_r[i])[:, None] + 2.0 * grid.sum(n_r * dS_dJ[:, i])
        by_z = (by_chi_z if i == 1 else 0.0) + angles_z[i] + 2.0 * grid.sum(n_z * dS_dJ[:, i])
        return by_r, by_z

    (rr, rz), (zr, zz) = slopes(0), slopes(1)
    return jnp.abs(rr * zz - rz * zr)
