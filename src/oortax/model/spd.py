"""Survey probability distributions: what a model predicts that a survey sees, in any of its observables."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int

from oortax.model.galaxy import Galaxy
from oortax.model.likelihood import FinderLike
from oortax.model.survey_nodes import (
    DerivedGalaxy,
    SurveyNodes,
    derive_galaxy,
    node_weights,
    survey_nodes,
    with_tables,
)
from oortax.survey import Survey


class Share(NamedTuple):
    """Share of all stars of the Galaxy that the survey lists, and its Monte Carlo error."""

    value: float
    error: float


class Histogram(NamedTuple):
    """Expected shares of a catalogue in cells of observables, and their Monte Carlo errors.

    Attributes
    ----------
    quantities : names of the observables, one an axis
    edges : of the cells along each axis
    values, errors : shares of the stars of the catalogue, in cells
    """

    quantities: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    values: np.ndarray
    errors: np.ndarray


class SPD(NamedTuple):
    """The survey probability distribution of a galaxy: weighted stars as the survey observes them.

    Attributes
    ----------
    observed : by name, arrays (n,): l, b (rad), V and colour (mag), parallax (mas), distance_modulus
        (mag; either where the survey has its error), mu_l, mu_b, mu_0, mu_90 (mas/yr), v_los (km/s), with
        the survey's errors in them; and these errors, as mu_l_error ...
    truth : by name: s (kpc), M (mag), x (n, 3), v (n, 3), J (n, 3)
    weight : (n,), share of the Galaxy's stars that the star stands for and that the survey lists
    component : (n,), index into `names`
    names : components
    group : (n,), stars of one number are not independent of each other (they share a torus)
    """

    observed: Mapping[str, np.ndarray]
    truth: Mapping[str, np.ndarray]
    weight: Float[np.ndarray, " n"]
    component: Int[np.ndarray, " n"]
    names: tuple[str, ...]
    group: Int[np.ndarray, " n"]

    def of(self, component: str | None) -> np.ndarray:
        """Which stars belong to a component (None: to any); ValueError for an unknown name."""
        if component is None:
            return np.ones(len(self.weight), bool)
        if component not in self.names:
            raise ValueError(f"there is no component {component!r}; there are {', '.join(self.names)}")
        return self.component == self.names.index(component)

    def share(self, component: str | None = None) -> Share:
        """Share of all stars that are of a component and in the survey."""
        w = np.where(self.of(component), self.weight, 0.0)
        return Share(float(w.sum()), float(self._error(w[:, None])[0]))

    def fraction(self, component: str) -> Share:
        """Share of the catalogue's stars that belong to a component."""
        return self.mean(self.of(component).astype(float))

    def effective(self, component: str | None = None) -> float:
        """Effective number of stars, (sum w)^2 / sum w^2 over groups."""
        sums = np.bincount(self.group, np.where(self.of(component), self.weight, 0.0))
        return float(sums.sum() ** 2 / np.sum(sums**2))

    def mean(self, values: np.ndarray, component: str | None = None) -> Share:
        """Mean over the catalogue's stars of any quantity (n,), and its Monte Carlo error."""
        w = np.where(self.of(component), self.weight, 0.0)
        # Stars that the survey cannot list may have no value at all.
        values = np.where(w > 0, values, 0.0)
        mean = float(w @ values / w.sum())
        return Share(mean, float(self._error((w * (values - mean))[:, None])[0] / w.sum()))

    def quantile(self, quantity: str, q: float, component: str | None = None) -> float:
        """The q-quantile of an observable over the catalogue's stars."""
        values, w = self._values(quantity), np.where(self.of(component), self.weight, 0.0)
        order = np.argsort(values)
        cumulative = np.cumsum(w[order])
        return float(np.interp(q * cumulative[-1], cumulative - 0.5 * w[order], values[order]))

    def histogram(
        self,
        quantities: str | Sequence[str],
        edges: Any,
        component: str | None = None,
    ) -> Histogram:
        """Shares of the catalogue (of all components) in cells, those of one component where it is named.

        Parameters
        ----------
        quantities : name of an observable or of `s` and `M` of the truth, or several
        edges : increasing edges of the cells, one sequence for each quantity
        component : count its stars only

        Stars in no cell count in the whole. ValueError for unknown names and edges that do not increase.
        """
        names = (quantities,) if isinstance(quantities, str) else tuple(quantities)
        given = (edges,) if isinstance(quantities, str) else tuple(edges)
        if len(names) != len(given):
            raise ValueError(f"{len(names)} quantities need as many sequences of edges, not {len(given)}")
        cells = tuple(_edges(e, name) for e, name in zip(given, names, strict=True))
        shape = tuple(len(e) - 1 for e in cells)
        at, inside = np.zeros(len(self.weight), int), self.of(component) & (self.weight > 0)
        for name, e, n in zip(names, cells, shape, strict=True):
            values = self._values(name)
            i = np.searchsorted(e, values, side="right") - 1
            i = np.where(values == e[-1], n - 1, i)
            inside = inside & (i >= 0) & (i < n)
            at = at * n + np.clip(i, 0, n - 1)
        n_cells, total = int(np.prod(shape)), self.weight.sum()
        w = np.where(inside, self.weight, 0.0)
        values = np.bincount(at, w, n_cells) / total
        # Over groups: the variance of a ratio, in which a cell's share moves with the whole.
        squares = self._cell_squares(at, w, n_cells)
        cross = self._cell_cross(at, w, n_cells)
        whole = np.sum(np.bincount(self.group, self.weight) ** 2)
        variance = (squares - 2.0 * values * cross + values**2 * whole) / total**2
        errors = np.sqrt(np.maximum(variance, 0.0))
        return Histogram(names, cells, values.reshape(shape), errors.reshape(shape))

    def density(
        self, quantities: Sequence[str], at: Sequence[Any], component: str | None = None, width: float = 1.0
    ) -> np.ndarray:
        """Smooth density of the catalogue's stars on the product grid of two observables.

        The stars' weights are spread by a Gaussian kernel of Scott's rule times `width`. Per unit of both
        quantities; normalised to the component's stars (None: to all).
        """
        if len(quantities) != 2 or len(at) != 2:
            raise ValueError("density(quantities, at): give two quantities and a grid for each")
        w = np.where(self.of(component), self.weight, 0.0)
        keep = w > 0
        w = w[keep] / w[keep].sum()
        scale = width * self.effective(component) ** (-1.0 / 6.0)
        factors = []
        for name, grid in zip(quantities, at, strict=True):
            values = self._values(name)[keep]
            # From quantiles: wings must not widen the kernel.
            order = np.argsort(values)
            marks = np.interp([0.16, 0.84], np.cumsum(w[order]), values[order])
            h = max(scale * 0.5 * float(marks[1] - marks[0]), 1e-12)
            t = (np.asarray(grid, float)[:, None] - values) / h
            factors.append(np.exp(-0.5 * t**2) / (h * np.sqrt(2.0 * np.pi)))
        return (factors[0] * w) @ factors[1].T

    def _values(self, name: str) -> np.ndarray:
        source = self.observed if name in self.observed else self.truth
        if name not in source or np.ndim(source[name]) != 1:
            known = [*self.observed, *(k for k, v in self.truth.items() if np.ndim(v) == 1)]
            raise ValueError(f"there is no observable {name!r}; there are {', '.join(known)}")
        return np.asarray(source[name])

    def _error(self, terms: np.ndarray) -> np.ndarray:
        """Standard errors of the sums of terms (n, k) over independent groups."""
        sums = np.stack([np.bincount(self.group, column) for column in terms.T])
        return np.sqrt(np.sum(sums**2, axis=1))

    def _cell_squares(self, at, w, n_cells: int) -> np.ndarray:
        """Sum over groups of the squared weight of a group in a cell."""
        key = at + n_cells * self.group.astype(np.int64)
        unique, place = np.unique(key, return_inverse=True)
        return np.bincount(unique % n_cells, np.bincount(place, w) ** 2, n_cells)

    def _cell_cross(self, at, w, n_cells: int) -> np.ndarray:
        """Sum over groups of the product of a group's weight in a cell and in the whole."""
        whole = np.bincount(self.group, self.weight)
        return np.bincount(at, w * whole[self.group], n_cells)


def _edges(edges: Any, name: str) -> np.ndarray:
    e = np.asarray(edges, dtype=float)
    if e.ndim != 1 or len(e) < 2 or not np.all(np.diff(e) > 0):
        raise ValueError(f"the edges of {name!r} must be two or more increasing numbers")
    return e


_derive, _weigh = eqx.filter_jit(derive_galaxy), eqx.filter_jit(node_weights)


def spd(
    galaxy: Galaxy,
    survey: Survey,
    key: Array,
    n: int = 65_536,
    *,
    finder: FinderLike = "StaeckelFudge",
    colour_error: float = 0.02,
) -> SPD:
    """What a survey would see of a galaxy, by quadrature over the space of observables.

    Parameters
    ----------
    galaxy, survey : the survey needs a faint limit
    key : JAX random key; everything follows from it
    n : nodes of each component; errors shrink as 1/sqrt(n)
    finder : name in `dynamics.FINDERS`, or a function potential -> action finder
    colour_error : mag, of observed colours

    Accuracy: unbiased up to the finder's; the errors stated by `SPD` are those of independent nodes, which
    Sobol numbers undercut. `spd_by_tori` is the same by tori, whose numbers owe nothing to an action finder.

    Outliers are no component and not in it. Raises ValueError where `survey_nodes` does.
    """
    derived = _derive(galaxy, survey, finder)
    nodes = survey_nodes(galaxy, survey, key, n, colour_error=colour_error, derived=derived)
    return spd_of_nodes(galaxy, survey, nodes, derived=derived)


def spd_of_nodes(
    galaxy: Galaxy,
    survey: Survey,
    nodes: SurveyNodes,
    *,
    finder: FinderLike = "StaeckelFudge",
    derived: DerivedGalaxy | None = None,
) -> SPD:
    """The distribution on given nodes, such as those of a fit, for any parameters of the galaxy."""
    known = _derive(galaxy, survey, finder) if derived is None else derived
    weighted = _weigh(with_tables(galaxy), survey, nodes, derived=known)
    w = np.exp(np.asarray(weighted.log_w)) * np.asarray(nodes.accepted)
    truth = {"s": nodes.s, "M": nodes.M, "x": weighted.x, "v": weighted.v, "J": weighted.J}
    return SPD(
        jax.tree.map(np.asarray, dict(nodes.observed)),
        jax.tree.map(np.asarray, truth),
        np.where(np.isfinite(w), w, 0.0),
        nodes.component(),
        nodes.names,
        np.arange(len(w)),
    )
