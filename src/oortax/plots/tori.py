"""Pictures of tori: beside integrated orbits, their generating functions, and how accurate they are."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from oortax.dynamics import Torus, integrate_orbit
from oortax.dynamics.torus.generating import modes
from oortax.plots.style import DATA, LITERATURE, MODEL, PRIOR, axes_or_new, styled, with_unit
from oortax.potential.base import AbstractPotential
from oortax.results import Result

_STEPS = 300


def _one(torus: Torus) -> Torus:
    if torus.S.ndim != 1:
        raise ValueError(
            f"a single torus is needed, not {torus.S.shape[0]}: take jax.tree.map(lambda leaf: leaf[i], tori)"
        )
    if not bool(jnp.isfinite(torus.E)):
        raise ValueError(f"the torus was not found: {Result(int(torus.code)).sentence}")
    return torus


@eqx.filter_jit
def _orbit(potential, torus: Torus, periods: int):
    """An orbit from the torus's pericentre in the plane, at 300 times a radial period."""
    x, v = torus.phase_point(jnp.zeros(3))
    times = jnp.arange(periods * _STEPS) * (2.0 * jnp.pi / torus.Omega[0] / _STEPS)
    return integrate_orbit(potential, x, v, times, 4)


def _radial(x, v):
    """R and v_R of points."""
    R = np.hypot(x[:, 0], x[:, 1])
    return R, (x[:, 0] * v[:, 0] + x[:, 1] * v[:, 1]) / R


@styled
def torus_and_orbit(
    potential: AbstractPotential, torus: Torus, ax: Axes | None = None, *, periods: int = 30
) -> Axes:
    """A torus in the meridional plane (lines of constant theta_r and theta_z) over an integrated orbit.

    Raises ValueError for a batch of tori, or one that was not found.
    """
    ax = axes_or_new(ax)
    torus = _one(torus)
    x, _ = _orbit(potential, torus, periods)
    ax.plot(np.hypot(x[:, 0], x[:, 1]), x[:, 2], lw=0.3, color=PRIOR, label="orbit")
    lines, along = np.meshgrid(np.linspace(0.0, 2.0 * np.pi, 13)[:-1], np.linspace(0.0, 2.0 * np.pi, 200))
    points = eqx.filter_jit(jax.vmap(jax.vmap(lambda theta: torus.phase_point(theta)[0])))
    for pair in ((lines, along), (along, lines)):
        at = points(jnp.stack([*map(jnp.asarray, pair), jnp.zeros(lines.shape)], axis=-1))
        ax.plot(jnp.hypot(at[..., 0], at[..., 1]), at[..., 2], lw=0.7, color=MODEL)
    ax.plot([], [], lw=0.7, color=MODEL, label="torus")
    ax.set(xlabel=with_unit("$R$", "kpc"), ylabel=with_unit("$z$", "kpc"), aspect="equal")
    ax.legend()
    return ax


@styled
def surface_of_section(
    potential: AbstractPotential, torus: Torus, ax: Axes | None = None, *, periods: int = 100
) -> Axes:
    """The torus's curve in (R, v_R) at upward crossings of the plane, and those of an integrated orbit.

    Raises ValueError for a batch of tori, or one that was not found.
    """
    ax = axes_or_new(ax)
    torus = _one(torus)
    x, v = (np.asarray(a) for a in _orbit(potential, torus, periods))
    crossing = np.flatnonzero((x[:-1, 2] < 0.0) & (x[1:, 2] >= 0.0))
    share = x[crossing, 2] / (x[crossing, 2] - x[crossing + 1, 2])
    for_each = [a[crossing] + share * (a[crossing + 1] - a[crossing]) for a in _radial(x, v)]
    ax.plot(*for_each, ".", ms=3, color=DATA, label="orbit")
    chi = jnp.linspace(0.0, 2.0 * np.pi, 300)
    at = eqx.filter_jit(jax.vmap(lambda chi: torus.phase_point_toy(jnp.stack([chi, 0.0 * chi, 0.0 * chi]))))
    ax.plot(*_radial(*at(chi)[:2]), color=MODEL, label="torus")
    ax.set(xlabel=with_unit("$R$", "kpc"), ylabel=with_unit("$v_R$", "km/s"))
    ax.legend()
    return ax


@styled
def generating_function(torus: Torus, ax: Axes | None = None) -> Axes:
    """log10 |S_n| over J_r + J_z, a square for each mode (n_r, n_z).

    Raises ValueError for a batch of tori, or one that was not found.
    """
    ax = axes_or_new(ax)
    torus = _one(torus)
    n = modes(torus.S.shape[0])
    size = np.abs(np.asarray(torus.S)) / float(torus.J[0] + torus.J[1])
    picture = ax.scatter(
        n[:, 0], n[:, 1], c=np.log10(np.maximum(size, 1e-16)), marker="s", s=30, cmap="cividis", vmin=-10
    )
    ax.figure.colorbar(picture, ax=ax, label="$\\log_{10}|S_n|/(J_r+J_z)$")
    ax.set(xlabel="$n_r$", ylabel="$n_z$")
    return ax


@styled
def torus_accuracy(tori: Torus, ax: Axes | None = None) -> Axes:
    """Residuals of many tori over the shape of their orbits; crosses where none was found.

    Across, J_phi over the sum of the actions (planar and circular at both ends, polar in the middle); up, J_r
    over J_r + J_z (shells below, eccentric above).
    """
    ax = axes_or_new(ax)
    J, residual = np.asarray(tori.J), np.asarray(tori.residual)
    across, up = J[:, 2] / np.sum(np.abs(J), axis=1), J[:, 0] / (J[:, 0] + J[:, 1])
    found = np.isfinite(np.asarray(tori.E))
    picture = ax.scatter(
        across[found], up[found], c=np.log10(residual[found]), s=8, cmap="cividis", vmin=-6, vmax=-1
    )
    ax.plot(across[~found], up[~found], "x", ms=5, color=LITERATURE, label="not found")
    ax.figure.colorbar(picture, ax=ax, label="$\\log_{10}$ residual")
    ax.set(xlabel=r"$J_\phi/(J_r+J_z+|J_\phi|)$", ylabel="$J_r/(J_r+J_z)$", xlim=(-1, 1), ylim=(0, 1))
    if not found.all():
        ax.legend()
    return ax
