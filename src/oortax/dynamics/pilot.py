"""Tori for a fit: the library of a pilot potential, around the stars that are fitted."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from oortax.dynamics.base import require_float64
from oortax.dynamics.moved_finder import MovedTorusFinder
from oortax.dynamics.staeckel import StaeckelFudge
from oortax.dynamics.torus.fit import LEAST
from oortax.dynamics.torus.library import TorusLibrary, fit_library, moved_library, to_grid
from oortax.dynamics.torus.linear import FirstOrderTori, LinearTori, first_order, linear, numbers_of
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand

# What the range of a library leaves out of the stars on either side, and what it adds in ln(total) and in
# shares.
_TAIL, _MARGIN_TOTAL, _MARGIN = 5e-4, 0.15, 0.04
# Of a potential: a table of derivatives by more of them (densities on grids) is larger than the tori.
_MOST_NUMBERS = 32
# Beyond these shares orbits pass the axis or the centre.
_MOST_RADIAL, _MOST_VERTICAL = 0.85, 0.9


@final
class PilotTori(eqx.Module):
    """Makes a `MovedTorusFinder` for any potential close to that of the library (build with `pilot_tori`).

    Give it to `oortax.model.log_likelihood` as `finder`, as an argument of what is jitted: it is a tree of
    arrays, of the same shapes after `moved_to`.

    Attributes
    ----------
    potential : that of the tori
    library : its tori
    linear : how they answer to a change of the potential, or to that of its numbers where these are few
    """

    potential: AbstractPotential
    library: TorusLibrary
    linear: LinearTori | FirstOrderTori

    def __init__(self, potential: AbstractPotential, library: TorusLibrary):
        self.potential, self.library = expand(potential), library
        answers = linear(self.potential, library.tori)
        few = numbers_of(self.potential).size <= _MOST_NUMBERS
        self.linear = first_order(answers, self.potential) if few else answers

    def __call__(self, potential: AbstractPotential) -> MovedTorusFinder:
        """The finder in a potential, as tori answer to the change from the pilot's."""
        return MovedTorusFinder(potential, self.potential, self.library, self.linear)

    def moved_to(self, potential: AbstractPotential) -> "PilotTori":
        """The same tori in another potential (`moved_library`), such as that of a first maximum."""
        return PilotTori(potential, moved_library(potential, self.library))


def pilot_tori(
    potential: AbstractPotential,
    x: Float[Array, "n 3"],
    v: Float[Array, "n 3"],
    *,
    tol: float = 3e-4,
    n_modes: int = 22,
    max_tori: int = 4000,
    damping: float = LEAST,
    batch_size: int | None = None,
    progress: bool = True,
) -> PilotTori:
    """The tori among which stars move, as a finder for fits in potentials close by.

    Parameters
    ----------
    potential : the pilot: where the fit starts
    x, v : (n, 3), kpc and km/s: the stars, or nodes of their errors
    tol, n_modes, max_tori, damping, batch_size, progress : as for `fit_library`

    The library's range of ln(J_r + J_z + |J_phi|) and of the shares is that of all but 0.1 % of the stars, by
    the fudge, with some margin, and down to circular and planar orbits; beyond, the fudge serves. Its tori
    are where the stars are (`stars` of `fit_library`). Raises ValueError for stars of the wrong shape or if
    none is bound.

    >>> tori = pilot_tori(pot, x, v)  # doctest: +SKIP
    >>> value = model.log_likelihood(galaxy, survey, catalogue, nodes, finder=tori)  # doctest: +SKIP
    """
    x, v = jnp.asarray(x), jnp.asarray(v)
    if x.ndim != 2 or x.shape != v.shape or x.shape[1] != 3:
        raise ValueError(f"x, v have shapes {x.shape}, {v.shape}: (n, 3) each is needed")
    require_float64("pilot_tori", x, v)
    potential = expand(potential)
    J = np.asarray(_actions(potential, x, v))
    J = J[np.all(np.isfinite(J), axis=1)]
    if len(J) == 0:
        raise ValueError("no star is bound in this potential: give one in which the stars are orbits")
    low, high = np.quantile(np.asarray(jax.vmap(to_grid)(jnp.asarray(J))), [_TAIL, 1.0 - _TAIL], axis=0)
    share = np.minimum((high[1:] + _MARGIN) ** 2, (_MOST_RADIAL, _MOST_VERTICAL))
    library = fit_library(
        potential,
        total=(float(np.exp(low[0] - _MARGIN_TOTAL)), float(np.exp(high[0] + _MARGIN_TOTAL))),
        radial=(0.0, float(share[0])),
        vertical=(0.0, float(share[1])),
        tol=tol,
        n_modes=n_modes,
        max_tori=max_tori,
        damping=damping,
        stars=jnp.asarray(J),
        batch_size=batch_size,
        progress=progress,
    )
    return PilotTori(potential, library)


@eqx.filter_jit
def _actions(potential, x, v) -> Float[Array, "n 3"]:
    fudge = StaeckelFudge(potential)
    return lax.map(lambda star: fudge.actions(*star), (x, v), batch_size=2048)
