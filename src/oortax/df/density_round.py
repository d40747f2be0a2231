"""One round of self-consistency: the densities of components in a potential, on their grids."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from oortax.df.base import AbstractDF
from oortax.df.generated_density import FARTHEST, DensityGrid, GeneratedDensity
from oortax.df.mixture import populations
from oortax.df.velocity import VelocityRule, VelocityScale, disc_rule, spheroid_rule
from oortax.dynamics import circular_orbits
from oortax.potential import AbstractPotential, Sum, Tabulated, circular_velocity
from oortax.potential.expansion import Grid, solve
from oortax.types import Scalar

# ln f below which nothing is left, and the floor of ln rho under the largest of its shell: a disc is next to
# nothing towards the pole, and its logarithm there, which no mass depends on, should not fall without end.
_NO_F, _FLOOR = -700.0, -21.0
# A disc's velocities: spacing at refine = 1 and the ball of the nodes, in dispersions, as in `moments`.
_SPACING, _REACH = 1.1, (5.6, 2.6)
# At first nodes are spread this much wider than in the plane, but not beyond the escape speed.
_WIDER, _FASTEST, _LARGEST = 1.6, 0.6, 1.0 / 3.0
# How much the dispersions change in a round at most.
_SLOWLY = 2.5
# A spheroid's: speeds, directions. At this radius (kpc) stars count as unbound, as in the fudge.
_SPHEROID, _FAR = (12, 4, 5), FARTHEST
# Stars whose actions are found together.
_BATCH = 4096

Tables = tuple[Float[Array, "r theta"], ...]
Scales = tuple[VelocityScale | None, ...]


class Densities(NamedTuple):
    """ln rho of each component on its grid, and where the velocities of its populations are.

    A `VelocityScale` for each place of a flat population, (n, 3), and None for one that is not.
    """

    tables: Tables
    scales: Scales


class Setting(NamedTuple):
    """What no parameter changes: names, grids, the maker of finders, and the factor of velocity nodes."""

    names: tuple[str, ...]
    grids: tuple[DensityGrid, ...]
    finder: Callable[[AbstractPotential], Any]
    refine: float

    def potential(self, tables: Tables, external: AbstractPotential | None) -> Sum:
        """Of the densities and of what is fixed."""
        parts: dict[str, AbstractPotential] = {
            name: GeneratedDensity(table, grid)
            for name, table, grid in zip(self.names, tables, self.grids, strict=True)
        }
        return Sum(**parts) if external is None else Sum(**parts, external=external)

    def shares(self, tables: Tables) -> Tables:
        """Of each component's mass, by place."""
        return tuple(
            jax.nn.softmax((table + grid.log_volumes).ravel()).reshape(table.shape)
            for table, grid in zip(tables, self.grids, strict=True)
        )


def field(tables: Tables, grids: tuple[DensityGrid, ...]) -> Tabulated:
    """The potential of all densities."""
    each = enumerate(zip(tables, grids, strict=True))
    whole, grid = Sum(**{f"part_{k}": GeneratedDensity(*part) for k, part in each}), Grid()
    expansion = solve(whole.rho, grid)
    return Tabulated(**expansion._asdict(), r_min=grid.r_min, r_max=grid.r_max, error=0.0)


def first_scales(
    setting: Setting, own: Tabulated, external: AbstractPotential | None, components: Mapping[str, AbstractDF]
) -> Scales:
    """Where velocities are thought to be, before f has been seen: widely about those in the plane."""
    potential, found = _total(own, external), []
    for _, (R, z), _, part in _populations(setting, potential, components):
        scale = jax.vmap(lambda R, z, part=part: _planar(part, potential, R, z)) if part.flat else None
        found.append(None if scale is None else scale(R, z))
    return tuple(found)


def densities(
    setting: Setting,
    own: Tabulated,
    external: AbstractPotential | None,
    components: Mapping[str, AbstractDF],
    scales: Scales,
) -> Densities:
    """The densities in the potential `own` + `external`, whatever made it.

    `scales` are those of the round before, to which nodes are fitted. The actions of all nodes, places and
    components are found by one loop, so that a galaxy takes as long to compile as a sphere.
    """
    potential, rules, places = _total(own, external), [], []
    populations_ = _populations(setting, potential, components)
    scales = lax.stop_gradient(scales)
    for (_, (R, z), _, part), scale in zip(populations_, scales, strict=True):
        rule = jax.vmap(lambda R, z, s, part=part: _rule(part, potential, R, z, s, setting.refine))
        rules.append(rule(R, z, scale))
        places.append(jnp.stack([R, jnp.zeros_like(R), z], axis=1))
    actions = _actions(setting.finder(potential), places, rules)
    found = [
        _moments(part, amplitude, scale, rule, J)
        for (_, _, amplitude, part), scale, rule, J in zip(populations_, scales, rules, actions, strict=True)
    ]
    tables = []
    for name, grid in zip(setting.names, setting.grids, strict=True):
        mine = [log_rho for (of, *_), (log_rho, _) in zip(populations_, found, strict=True) if of == name]
        log_rho = jax.nn.logsumexp(jnp.stack(mine), axis=0).reshape(grid.n_r, grid.n_theta)
        tables.append(jnp.logaddexp(log_rho, jnp.max(log_rho, axis=1, keepdims=True) + _FLOOR))
    return Densities(tuple(tables), tuple(scale for _, scale in found))


def _total(own: Tabulated, external: AbstractPotential | None) -> AbstractPotential:
    return own if external is None else Sum(own=own, external=external)


def _populations(setting: Setting, potential: AbstractPotential, components: Mapping[str, AbstractDF]):
    """(name of the component, its places, ln of the amplitude, f) of all populations, of mixtures, too."""
    orbits, found = circular_orbits(potential), []
    for name, grid in zip(setting.names, setting.grids, strict=True):
        at = tuple(jnp.asarray(a.ravel()) for a in grid.places)
        found += [(name, at, *part) for part in populations(components[name].bind(orbits))]
    return found


def _v_max(potential, R, z) -> Scalar:
    far = jnp.full_like(R, _FAR)
    return jnp.sqrt(2.0 * (potential.Phi_Rz(far, jnp.zeros_like(R)) - potential.Phi_Rz(R, z)))


def _planar(part: AbstractDF, potential, R, z) -> VelocityScale:
    """Velocities of a flat population in the plane, more widely."""
    mean, sigma = part.velocity_scale(potential, R, z)
    v_max = _v_max(potential, R, z)
    right = jnp.isfinite(mean[1]) & jnp.all(jnp.isfinite(sigma)) & jnp.all(sigma > 0.0)
    # The formulae are those of a cold disc: near the centre such stars would be unbound.
    v_phi = jnp.where(right, jnp.clip(mean[1], -_FASTEST * v_max, _FASTEST * v_max), 0.0)
    sigma = jnp.where(right, jnp.minimum(_WIDER * sigma, _LARGEST * v_max), _LARGEST * v_max)
    return VelocityScale(jnp.zeros(3).at[1].set(v_phi), sigma)


def _rule(part: AbstractDF, potential, R, z, scale: VelocityScale | None, refine: float) -> VelocityRule:
    """Velocities at one place."""
    if scale is None:
        # f changes over the speeds that the potential gives within r, which near a centre are slow.
        slow = circular_velocity(potential, jnp.hypot(R, z))
        n_speed, n_eta, n_psi = (round(n * refine) for n in _SPHEROID)
        nodes = {"n_speed": n_speed, "n_eta": n_eta, "n_psi": n_psi}
        return spheroid_rule(_v_max(potential, R, z), R, z, v_slow=slow, **nodes)
    (_, v_phi, _), (sigma_R, sigma_phi, sigma_z) = scale
    options = {"spacing": _SPACING / refine, "centre": part.centre, "reach": _REACH}
    return disc_rule(sigma_R, sigma_z, sigma_phi, v_phi, **options)


def _actions(finder, places, rules: list[VelocityRule]) -> list[Float[Array, "n v 3"]]:
    """J at all nodes (n places, v velocities)."""
    shapes = [rule.velocities.shape for rule in rules]
    x = [jnp.broadcast_to(x[:, None], shape).reshape(-1, 3) for x, shape in zip(places, shapes, strict=True)]
    v = [rule.velocities.reshape(-1, 3) for rule in rules]
    x, v = jnp.concatenate(x), jnp.concatenate(v)
    n = len(x)
    # Whole batches, so that no remainder is compiled apart.
    rows = jnp.minimum(jnp.arange(-(-n // _BATCH) * _BATCH), n - 1).reshape(-1, _BATCH)
    one = jax.checkpoint(jax.vmap(finder.actions))
    J = lax.map(lambda rows: one(x[rows], v[rows]), rows).reshape(-1, 3)
    found, start = [], 0
    for shape in shapes:
        end = start + shape[0] * shape[1]
        found.append(J[start:end].reshape(shape))
        start = end
    return found


def _moments(part: AbstractDF, amplitude, scale: VelocityScale | None, rule: VelocityRule, J):
    """ln rho at each place, and the velocities' scale there."""
    # The logarithm of nothing has no derivative; NaN stays.
    log_f = jnp.maximum(jax.vmap(jax.vmap(part.log_f))(J), _NO_F)
    log_rho = jax.nn.logsumexp(log_f, b=rule.weights, axis=1)
    if scale is None:
        return amplitude + log_rho, None
    share = rule.weights * jnp.exp(log_f - log_rho[:, None])
    v_phi = jnp.einsum("nv,nv->n", share, rule.velocities[..., 1])
    mean = jnp.zeros_like(scale.mean).at[:, 1].set(v_phi)
    sigma = jnp.sqrt(jnp.einsum("nv,nvi->ni", share, (rule.velocities - mean[:, None]) ** 2))
    # Where f is far from what was thought the nodes follow by steps.
    sigma = jnp.clip(sigma, scale.sigma / _SLOWLY, scale.sigma * _SLOWLY)
    return amplitude + log_rho, lax.stop_gradient(VelocityScale(mean, sigma))
