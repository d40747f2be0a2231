"""Pictures of f(J) in space: velocity ellipsoids, vertical profiles, distributions of velocities."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from oortax.df import AbstractDF, Moments, moments, velocity_distribution
from oortax.dynamics import AbstractActionFinder
from oortax.plots.style import CYCLE, DASHES, DATA, MODEL, PRIOR, axes_or_new, styled, with_unit
from oortax.potential import AbstractPotential

_SYMBOLS = {"R": "v_R", "phi": r"v_\phi", "z": "v_z"}


@eqx.filter_jit
def _moments(f, potential, finder, places, refine):
    return jax.lax.map(lambda at: moments(f, potential, finder, at[0], at[1], refine), places)


def _at(f, potential, finder, R, z, refine) -> Moments:
    """Moments at places, as NumPy arrays."""
    places = jnp.stack([jnp.asarray(a, float) for a in np.broadcast_arrays(R, z)], axis=-1)
    return jax.tree.map(np.asarray, _moments(f, potential, finder, places, refine))


@styled
def velocity_ellipsoids(
    f: AbstractDF,
    potential: AbstractPotential,
    finder: AbstractActionFinder,
    ax: Axes | None = None,
    *,
    R: Sequence[float] = (4.0, 6.0, 8.0, 10.0, 12.0),
    z: Sequence[float] = (0.0, 1.0, 2.0, 3.0, 4.0),
    size: float = 0.9,
    refine: float = 1.0,
) -> Axes:
    """Ellipses of the dispersions of (v_R, v_z) in the (R, z) plane, and the direction of the centre.

    Parameters
    ----------
    f : bound; a mixture's ellipsoids are those of all its stars.
    R, z : kpc, of the grid.
    size : kpc, the length of the longest axis.

    The colour is that of sigma_phi/sigma_R; an ellipsoid that points to the centre lies along its line.

    >>> from oortax import df, dynamics, potential
    >>> pot = potential.Isochrone(M=1e11, b=3.0)
    >>> f, finder = df.IsochroneSphere(M=1e11, b=3.0), dynamics.IsochroneFinder(pot)
    >>> ax = velocity_ellipsoids(f, pot, finder, R=(4.0, 8.0), z=(0.0, 2.0))
    >>> len(ax.patches)
    4
    """
    ax = axes_or_new(ax, (5.8, 3.6))
    R_grid, z_grid = (a.ravel() for a in np.meshgrid(R, z))
    tensors = _at(f, potential, finder, R_grid, z_grid, refine).dispersion
    longest = np.sqrt(np.max(np.linalg.eigvalsh(tensors[:, ::2, ::2])))
    ratio = np.sqrt(tensors[:, 1, 1] / tensors[:, 0, 0])
    shades = plt.get_cmap("cividis")
    scale = plt.Normalize(min(0.9, ratio.min()), max(1.0, ratio.max()))
    for at_R, at_z, tensor, shade in zip(R_grid, z_grid, tensors, shades(scale(ratio)), strict=True):
        squares, vectors = np.linalg.eigh(tensor[::2, ::2])
        width, height = size * np.sqrt(squares[::-1]) / longest
        angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
        reach = 0.65 * size / np.hypot(at_R, at_z) * np.array([-1.0, 1.0])
        ax.plot(at_R * (1.0 + reach), at_z * (1.0 + reach), lw=0.7, color=PRIOR, zorder=0)
        ax.add_patch(Ellipse((at_R, at_z), width, height, angle=angle, fc=shade, ec=DATA, lw=0.6))
    ax.figure.colorbar(plt.cm.ScalarMappable(scale, shades), ax=ax, label=r"$\sigma_\phi/\sigma_R$")
    room = 0.7 * size
    ax.set(xlim=(min(R) - room, max(R) + room), ylim=(min(z) - room, max(z) + room), aspect="equal")
    ax.set_xlabel(with_unit("$R$", "kpc"))
    ax.set_ylabel(with_unit("$z$", "kpc"))
    return ax


@styled
def vertical_profiles(
    f: AbstractDF,
    potential: AbstractPotential,
    finder: AbstractActionFinder,
    axes=None,
    *,
    R: float = 8.0,
    z=None,
    data: Mapping[str, Any] | None = None,
    refine: float = 1.0,
) -> np.ndarray:
    """Over z at R: density relative to the plane, mean rotation, and the three dispersions; three Axes.

    Parameters
    ----------
    f : bound.
    z : kpc; by default 20 heights up to 3 kpc.
    data : columns z, and any of density (relative to the plane), v_phi, sigma_R, sigma_phi, sigma_z, each
        with its error as NAME_error if there is one.

    Raises ValueError for data without z, or with a column that is none of these.

    >>> from oortax import df, dynamics, potential
    >>> pot = potential.Isochrone(M=1e11, b=3.0)
    >>> f, finder = df.IsochroneSphere(M=1e11, b=3.0), dynamics.IsochroneFinder(pot)
    >>> data = {"z": [1.0], "sigma_z": [150.0]}
    >>> axes = vertical_profiles(f, pot, finder, R=3.0, z=[0.0, 1.0, 2.0], data=data)
    >>> axes[0].get_ylabel()
    '$\\\\rho(z)/\\\\rho(0)$'
    """
    if axes is None:
        axes = plt.figure(figsize=(9.6, 3.3), layout="constrained").subplots(1, 3)
    z = np.linspace(0.0, 3.0, 20) if z is None else np.asarray(z, float)
    # The plane comes first, whatever z begins with.
    found = _at(f, potential, finder, R, np.concatenate([[0.0], z]), refine)
    sigma = np.sqrt(np.diagonal(found.dispersion, axis1=1, axis2=2))
    panel = {"density": 0, "v_phi": 1, "sigma_R": 2, "sigma_phi": 2, "sigma_z": 2}
    colour = {"sigma_R": CYCLE[0], "sigma_phi": CYCLE[1], "sigma_z": CYCLE[2]}
    axes[0].semilogy(z, found.density[1:] / found.density[0], color=MODEL)
    axes[1].plot(z, found.mean[1:, 1], color=MODEL)
    for i, name in enumerate(("R", "phi", "z")):
        text = {"R": r"$\sigma_R$", "phi": r"$\sigma_\phi$", "z": r"$\sigma_z$"}[name]
        axes[2].plot(z, sigma[1:, i], color=colour[f"sigma_{name}"], ls=("-", *DASHES)[i], label=text)
    if data is not None:
        known = {"z", *panel, *(f"{name}_error" for name in panel)}
        wrong = [name for name in data if name not in known]
        if "z" not in data or wrong:
            raise ValueError(f"data has {list(data)}: z is needed, and any of {', '.join(panel)} [_error]")
        for name in panel.keys() & data.keys():
            axes[panel[name]].errorbar(
                data["z"], data[name], data.get(f"{name}_error"), fmt="o", ms=3.5, lw=1.0,
                color=colour.get(name, DATA),
            )  # fmt: skip
    axes[0].set_ylabel(r"$\rho(z)/\rho(0)$")
    axes[1].set_ylabel(with_unit(r"$\langle v_\phi\rangle$", "km/s"))
    axes[2].set_ylabel(with_unit(r"$\sigma$", "km/s"))
    axes[2].legend()
    for ax in axes:
        ax.set_xlabel(with_unit("$z$", "kpc"))
    return np.asarray(axes)


@eqx.filter_jit
def _distribution(f, potential, finder, R, z, v, along: str):
    return velocity_distribution(f, potential, finder, R, z, v, along)


@styled
def velocity_marginals(
    f: AbstractDF,
    potential: AbstractPotential,
    finder: AbstractActionFinder,
    axes=None,
    *,
    R: float = 8.0,
    z: float = 0.0,
    data=None,
    v_max: float = 200.0,
    n: int = 81,
    bins: int = 40,
) -> np.ndarray:
    """Distributions of v_R, v_phi and v_z at (R, z), normalised, over histograms of stars; three Axes.

    Parameters
    ----------
    f : bound.
    data : (n, 3), (v_R, v_phi, v_z) of stars near (R, z), km/s, drawn with Poisson's errors; or None.
    v_max : km/s, to either side of rest, for v_phi of the mean rotation.
    n : velocities along each axis.

    The scale is logarithmic: wings and cores show alike.

    >>> from oortax import df, dynamics, potential
    >>> pot = potential.Isochrone(M=1e11, b=3.0)
    >>> f, finder = df.IsochroneSphere(M=1e11, b=3.0), dynamics.IsochroneFinder(pot)
    >>> axes = velocity_marginals(f, pot, finder, R=3.0, v_max=300.0, n=21)
    >>> [len(ax.lines) for ax in axes]
    [1, 1, 1]
    """
    if axes is None:
        axes = plt.figure(figsize=(9.6, 3.3), layout="constrained").subplots(1, 3, sharey=True)
    if data is not None:
        data = np.asarray(data, float)
        if data.ndim != 2 or data.shape[1] != 3 or len(data) == 0:
            raise ValueError(f"data has shape {data.shape}: (n, 3), v_R, v_phi and v_z of stars, is needed")
    found = _at(f, potential, finder, np.array([R]), np.array([z]), 1.0)
    top = 0.0
    for i, (name, ax) in enumerate(zip(_SYMBOLS, axes, strict=True)):
        middle = float(found.mean[0, i])
        v = np.linspace(middle - v_max, middle + v_max, n)
        p = np.asarray(_distribution(f, potential, finder, R, z, jnp.asarray(v), name)) / found.density[0]
        top = max(top, float(p.max()))
        if data is not None:
            counts, edges = np.histogram(data[:, i], bins, (v[0], v[-1]))
            norm = 1.0 / (len(data) * np.diff(edges))
            some = counts > 0
            ax.errorbar(
                0.5 * (edges[1:] + edges[:-1])[some], (counts * norm)[some], (np.sqrt(counts) * norm)[some],
                fmt="o", ms=2.5, lw=0.9, color=DATA, label="stars",
            )  # fmt: skip
        ax.plot(v, p, color=MODEL, label="$f(J)$")
        ax.set(yscale="log", xlim=(v[0], v[-1]))
        ax.set_xlabel(with_unit(f"${_SYMBOLS[name]}$", "km/s"))
    axes[0].set(ylim=(2e-4 * top, 2.0 * top), ylabel=with_unit("density", "km^-1*s"))
    axes[-1].legend()
    return np.asarray(axes)
