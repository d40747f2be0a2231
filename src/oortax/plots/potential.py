"""Pictures of a potential and of its posterior: circular speed, vertical force, equipotentials.

Wherever one potential is asked for, a sequence of posterior draws may be given as well: a single one is
drawn as a line, a sequence as its median with 68% and 95% bands. All draws share one compiled function.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from oortax import params
from oortax.constants import MSUN_PC2, MSUN_PC3
from oortax.model.constraints import surface_density
from oortax.plots import literature
from oortax.plots.style import (
    CYCLE,
    DASHES,
    DATA,
    LITERATURE,
    MODEL,
    axes_or_new,
    mark_sun,
    styled,
    with_unit,
)
from oortax.potential import (
    Field,
    Plummer,
    Sum,
    circular_velocity,
    density,
    effective_surface_density,
    expand,
)
from oortax.potential.base import AbstractPotential

Potentials = AbstractPotential | Sequence[AbstractPotential]
"""One potential, or some 50 draws from a posterior."""


def potentials_at(pot: AbstractPotential, draws: Mapping[str, Any], n: int = 50, prefix: str = "potential."):
    """A list of `n` potentials with the parameters of evenly spaced posterior draws.

    `draws` maps dotted paths to arrays of shape (chain, draw); those starting with `prefix` are set
    in `pot`, the others ignored.

    >>> from oortax.potential import Sum, NFW
    >>> pot = Sum(halo=NFW(rho_s=1e7, r_s=16.0))
    >>> pots = potentials_at(pot, {"potential.halo.r_s": [[15.0, 16.0, 17.0]]}, 3)
    >>> [float(params.get(p, "halo.r_s")) for p in pots]
    [15.0, 16.0, 17.0]
    """
    own = {path.removeprefix(prefix): np.ravel(v) for path, v in draws.items() if path.startswith(prefix)}
    if not own:
        raise ValueError(f"draws: no path starts with {prefix!r} (paths: {', '.join(draws) or 'none'})")
    size = len(next(iter(own.values())))
    chosen = np.unique(np.linspace(0, size - 1, min(n, size)).round().astype(int))
    return [params.replace(pot, {path: values[i] for path, values in own.items()}) for i in chosen]


def _as_list(pots: Potentials) -> list[AbstractPotential]:
    draws = [pots] if isinstance(pots, AbstractPotential) else list(pots)
    if not draws:
        raise ValueError("potentials: the sequence is empty; give one potential or some posterior draws")
    return draws


def _stack(pots: Potentials) -> AbstractPotential:
    """All draws as one potential whose leaves have a leading axis."""
    draws = _as_list(pots)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *draws)


def _bare(pot: AbstractPotential) -> AbstractPotential:
    """The potential expanded and, if it becomes one table, without the densities that it comes from.

    Models of whatever kind then share one compiled program for what follows from Phi.
    """
    made = expand(pot)
    if isinstance(made, Field):
        return eqx.tree_at(lambda field: field.source, made, Plummer(jnp.ones(()), jnp.ones(())))
    return made


@eqx.filter_jit
def _for_Phi(stacked: AbstractPotential) -> AbstractPotential:
    """All draws ready for Phi: one after the other, since solving for a density takes much memory."""
    return jax.lax.map(_bare, stacked)


@eqx.filter_jit
def _over_draws(function: Callable, stacked: AbstractPotential, grid) -> Any:
    """function(pot, point) for every draw (leading axis) and every point of the grid."""
    return jax.vmap(lambda pot: jax.vmap(lambda point: function(pot, point))(grid))(stacked)


def curves(function: Callable, pots: Potentials, grid) -> np.ndarray:
    """`function(pot, point)` for all draws and grid points: shape (n_draw, n_grid), one compilation.

    `function` must be a module-level function: it keys the compilation cache.
    """
    return np.asarray(_over_draws(function, _stack(pots), jnp.asarray(grid)))


def curves_of_Phi(function: Callable, pots: Potentials, grid) -> np.ndarray:
    """As `curves`, for functions of Phi and its derivatives alone: densities are expanded beforehand."""
    return np.asarray(_over_draws(function, _for_Phi(_stack(pots)), jnp.asarray(grid)))


def band(ax: Axes, x, values, *, color=MODEL, label: str | None = None, **line) -> None:
    """Draw the median of `values` (n_draw, n_x), with its 68% and 95% ranges if there are draws."""
    if len(values) > 1:
        low2, low, middle, high, high2 = np.quantile(values, [0.025, 0.16, 0.5, 0.84, 0.975], axis=0)
        ax.fill_between(x, low2, high2, color=color, alpha=0.16, lw=0)
        ax.fill_between(x, low, high, color=color, alpha=0.30, lw=0)
    else:
        middle = values[0]
    ax.plot(x, middle, color=color, label=label, **line)


def _part(pots: Potentials, name: str) -> list[AbstractPotential]:
    """The part called `name` of every draw."""
    return [pot[name] for pot in _as_list(pots) if isinstance(pot, Sum)]


def _part_names(pots: Potentials) -> list[str]:
    first = _as_list(pots)[0]
    return list(first.parts) if isinstance(first, Sum) and len(first.parts) > 1 else []


def _column(table: Mapping[str, Any], *names: str) -> np.ndarray:
    for name in names:
        if name in table:
            return np.asarray(table[name], dtype=float)
    raise ValueError(f"data: no column {' or '.join(map(repr, names))} (columns: {', '.join(table)})")


def _columns_of_curve(data: Mapping[str, Any]):
    """R, v_c and the errors (lower, upper) of a table of circular speeds."""
    R, v_c = _column(data, "R", "r_kpc"), _column(data, "v_c")
    low = _column(data, "sigma_minus", "sigma", "v_c_error")
    high = _column(data, "sigma_plus", "sigma", "v_c_error")
    return R, v_c, np.stack([low, high])


@styled
def rotation_curve(
    pots: Potentials,
    *,
    data: Mapping[str, Any] | None = None,
    components: bool = True,
    R=None,
    R0: float | None = 8.178,
    data_label: str = "data",
    ax: Axes | None = None,
) -> Axes:
    """Circular speed v_c(R) with its parts, v_c^2 = sum_i v_{c,i}^2, and measured points.

    Parameters
    ----------
    pots : one potential or posterior draws.
    data : table with columns R or r_kpc [kpc], v_c, and sigma or sigma_minus, sigma_plus [km/s].
    components : draw each part of a `Sum` (median of the draws) under its own name.
    R : radii in kpc; by default 0.5 to 25 kpc or to the end of the data.
    R0 : the Sun's radius in kpc, marked on the axis; None for no mark.
    """
    ax = axes_or_new(ax)
    table = None if data is None else _columns_of_curve(data)
    if R is None:
        R = np.linspace(0.5, 25.0 if table is None else 1.03 * float(table[0].max()), 120)
    if components:
        for index, name in enumerate(_part_names(pots)):
            part = np.median(curves_of_Phi(circular_velocity, _part(pots, name), R), axis=0)
            color = CYCLE[1:][index % 5]
            ax.plot(R, part, color=color, ls=DASHES[index % 6], lw=1.2, label=name.replace("_", " "))
    total = curves_of_Phi(circular_velocity, pots, R)
    band(ax, R, total, label="model", lw=1.8, zorder=3)
    top = float(np.nanmax(total))
    if table is not None:
        radius, speed, errors = table
        ax.errorbar(radius, speed, errors, fmt="o", color=DATA, ms=2.8, lw=0.8, label=data_label, zorder=4)
        top = max(top, float((speed + errors[1])[np.isfinite(speed)].max()))
    if R0 is not None:
        ax.axvline(R0, ymax=0.82, color="0.75", lw=0.8, zorder=0)
        ax.annotate(
            r"$R_0$", (R0, 0.015), xycoords=("data", "axes fraction"), xytext=(3, 0),
            textcoords="offset points", color="0.45", fontsize=9, va="bottom",
        )  # fmt: skip
    ax.set(xlim=(0, float(np.max(R))), ylim=(0, 1.32 * top))
    ax.set_xlabel(with_unit("$R$", "kpc"))
    ax.set_ylabel(with_unit("$v_c$", "km/s"))
    ax.legend(loc="upper right", ncols=3, columnspacing=1.2)
    return ax


def _force_at(pot: AbstractPotential, Rz):
    """|K_z|/(2 pi G) in Msun/pc^2 at (R, z)."""
    return effective_surface_density(pot, Rz[0], Rz[1]) / MSUN_PC2


@styled
def vertical_force(
    pots: Potentials,
    *,
    R0: float = 8.178,
    z_max: float = 2.0,
    components: bool = True,
    data: Mapping[str, Any] | None = None,
    compare: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """|K_z|(z)/(2 pi G) at R0 in Msun/pc^2, K_z = -dPhi/dz, with the published value at 1.1 kpc.

    `data` may hold further points: z [kpc], K_z, sigma [Msun/pc^2, already over 2 pi G].
    """
    ax = axes_or_new(ax)
    z = np.linspace(0.0, z_max, 80)
    # K_z is an odd function: start a hair above the plane, where every potential is smooth.
    grid = np.stack([np.full_like(z, R0), np.maximum(z, 1e-6)], axis=-1)
    if components:
        for index, name in enumerate(_part_names(pots)):
            part = np.median(curves_of_Phi(_force_at, _part(pots, name), grid), axis=0)
            color = CYCLE[1:][index % 5]
            ax.plot(z, part, color=color, ls=DASHES[index % 6], lw=1.2, label=name.replace("_", " "))
    total = curves_of_Phi(_force_at, pots, grid)
    band(ax, z, total, label="model", lw=1.8, zorder=3)
    if data is not None:
        points = (_column(data, "z"), _column(data, "K_z"), _column(data, "sigma"))
        ax.errorbar(*points, fmt="o", color=DATA, ms=3, lw=0.8, label="data", zorder=4)
    if compare and z_max >= 1.1:
        for entry in literature.measurements("K_z_1.1"):
            ax.errorbar(
                1.1, entry.value, entry.error, fmt="s", color=LITERATURE, ms=5, mfc="white", lw=1.3,
                capsize=3, label=entry.name, zorder=5,
            )  # fmt: skip
    ax.set(xlim=(0, z_max), ylim=(0, 1.38 * float(np.nanmax(total))))
    ax.set_xlabel(with_unit("$z$", "kpc"))
    ax.set_ylabel(with_unit(r"$|K_z|\,/\,2\pi G$", "Msun/pc^2"))
    ax.legend(loc="upper left", ncols=2, columnspacing=1.2)
    return ax


def _Phi_at(pot: AbstractPotential, Rz):
    return pot.Phi_Rz(Rz[0], Rz[1])


def _log_density_at(pot: AbstractPotential, Rz):
    rho = density(pot, jnp.stack([Rz[0], jnp.zeros_like(Rz[0]), Rz[1]]))
    return jnp.log10(jnp.where(rho > 0.0, rho, jnp.nan) / MSUN_PC3)


@styled
def equipotentials(
    pot: AbstractPotential,
    *,
    R_max: float = 20.0,
    z_max: float = 15.0,
    levels: int = 12,
    n_grid: int = 90,
    R0: float | None = 8.178,
    ax: Axes | None = None,
) -> Axes:
    """Contours of Phi(R, z) over the density of its matter (filled, one level per factor of ten)."""
    ax = axes_or_new(ax, (5.6, 3.9))
    # Finer towards the centre and the plane; not quite zero, where the densities of some models diverge.
    R, z = (np.maximum(np.linspace(0, 1, n_grid) ** 2, 1e-4) * largest for largest in (R_max, z_max))
    grid = np.stack(np.meshgrid(R, z), axis=-1).reshape(-1, 2)
    Phi = curves_of_Phi(_Phi_at, pot, grid)[0].reshape(n_grid, n_grid)
    log_rho = curves(_log_density_at, pot, grid)[0].reshape(n_grid, n_grid)
    finite = log_rho[np.isfinite(log_rho)]
    # The cusp in the centre would use up the colours: the highest level holds the top 2%.
    low, high = np.floor(np.min(finite) * 2) / 2, np.ceil(np.quantile(finite, 0.98) * 2) / 2
    filled = ax.contourf(
        R, z, log_rho, np.arange(low, high + 0.25, 0.5), cmap="Blues", extend="max", alpha=0.8
    )
    figure = ax.get_figure(root=False)
    assert figure is not None
    bar = figure.colorbar(filled, cax=ax.inset_axes((1.03, 0.0, 0.035, 1.0)))
    bar.set_label(with_unit(r"$\log_{10}\rho$", "Msun/pc^3"))
    bar.ax.minorticks_off()
    # Levels at equal steps along the plane, so that lines crowd where the force is large but stay legible.
    along = np.interp(np.linspace(0.05, 1.15, levels) * R_max, R, Phi[0])
    ax.contour(R, z, Phi, np.unique(along), colors=DATA, linewidths=0.9, linestyles="solid")
    if R0 is not None:
        mark_sun(ax, R0)
    ax.set(xlim=(0, R_max), ylim=(0, z_max), aspect="equal")
    ax.set_xlabel(with_unit("$R$", "kpc"))
    ax.set_ylabel(with_unit("$z$", "kpc"))
    return ax


def _local(pot: AbstractPotential, R) -> dict:
    """v_c, |K_z|/(2 pi G) and surface density within 1.1 kpc at R."""
    h = jnp.asarray(1.1)
    return {
        "v_c": circular_velocity(pot, R),
        "K_z_1.1": effective_surface_density(pot, R, h) / MSUN_PC2,
        "Sigma_1.1": surface_density(pot, R, h) / MSUN_PC2,
    }


def _density_in_plane(pot: AbstractPotential, R):
    return density(pot, jnp.stack([R, jnp.zeros_like(R), jnp.zeros_like(R)])) / MSUN_PC3


@eqx.filter_jit
def _at_own(function: Callable, stacked: AbstractPotential, R) -> Any:
    """function(pot, R) for every draw at its own radius."""
    return jax.vmap(lambda pot, R: function(pot, R))(stacked, R)


def local_quantities(
    pots: Potentials, *, R0: float | np.ndarray = 8.178, dark: str = "halo"
) -> dict[str, np.ndarray]:
    """What is compared with the literature, for every draw: arrays of shape (n_draw,).

    v_c(R0) [km/s], |K_z|(1.1 kpc)/(2 pi G) and Sigma_1.1 [Msun/pc^2] and, if there is a part named
    `dark`, its density at (R0, 0) [Msun/pc^3], and its axis ratio q if it has one. R0 may be one number or
    one for each draw.

    >>> from oortax.potential import NFW, MiyamotoNagai
    >>> pot = Sum(disc=MiyamotoNagai(M=6.8e10, a=3.0, b=0.28), halo=NFW(rho_s=8.5e6, r_s=16.0))
    >>> [f"{key} {value[0]:.4g}" for key, value in local_quantities(pot, R0=8.0).items()]
    ['v_c ...', 'K_z_1.1 ...', 'Sigma_1.1 ...', 'rho_DM 0.007556']
    """
    n = len(_as_list(pots))
    if np.ndim(R0) and np.shape(R0) != (n,):
        raise ValueError(f"R0 has shape {np.shape(R0)}: give one number or one for each of {n} potentials")
    here = jnp.broadcast_to(jnp.asarray(R0, dtype=jnp.result_type(float)), (n,))
    made = _at_own(_local, _for_Phi(_stack(pots)), here)
    found = {key: np.asarray(made[key]) for key in ("v_c", "K_z_1.1", "Sigma_1.1")}
    if dark in _part_names(pots):
        halos = _part(pots, dark)
        found["rho_DM"] = np.asarray(_at_own(_density_in_plane, _stack(halos), here))
        if "q" in params.parameters(halos[0]):
            found["q"] = np.array([float(params.parameters(part)["q"].value) for part in halos])
    return found
