"""A galaxy: one potential and the stellar populations that live in it; and how surveys see it."""

from collections.abc import Mapping
from typing import Any, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.df import AbstractDF
from oortax.model.constraints import AbstractConstraint
from oortax.params import AbstractParametric, children, param
from oortax.potential import AbstractPotential
from oortax.stars import AbstractMagnitudes
from oortax.survey import AbstractErrors, AbstractExtinction, AbstractSelection, Errors, Sun, Survey


@final
class Component(AbstractParametric):
    """A stellar population: f(J), the absolute magnitudes of its stars, its share of all stars.

    Attributes
    ----------
    df : AbstractDF
        Divided by its own mass wherever it is used, so that its amplitude does not matter.
    stars : AbstractMagnitudes
        Distribution F(M) of absolute magnitudes.
    weight : shape (), between 0 and 1, or None
        Share of the Galaxy's stars; None: what the other components leave.
    """

    df: AbstractDF
    stars: AbstractMagnitudes
    weight: Float[Array, ""] | None = param(
        constraints.unit_interval, "", "share of all stars", optional=True, default=None
    )


@final
class Galaxy(AbstractParametric):
    """A potential and named components; parameters only, nothing derived from them.

    Without components it serves direct constraints on the potential, but no likelihood of stars.

    >>> from oortax import df, potential, stars
    >>> disc = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=8.0, H_d=0.3)
    >>> clump = stars.Gaussian(mean=0.8, sigma=0.3)
    >>> galaxy = Galaxy(potential.mw_potential_2014(), {"disc": Component(disc, clump)})
    >>> galaxy.names
    ('disc',)
    """

    potential: AbstractPotential
    components: dict[str, Component]

    def __init__(self, potential: AbstractPotential, components: Mapping[str, Component] | None = None):
        if not isinstance(potential, AbstractPotential):
            raise ValueError(f"Galaxy(potential={potential!r}): expected a potential")
        components = {} if components is None else components
        for name, component in components.items():
            if not isinstance(component, Component):
                raise ValueError(f"Galaxy(components[{name!r}]={component!r}): expected model.Component(...)")
        without = [name for name, component in components.items() if component.weight is None]
        if len(without) > 1:
            raise ValueError(f"only one component may be without a weight, not {', '.join(without)}")
        self.potential = potential
        # JAX sorts the keys of mappings: so does everything that goes through the components in order.
        self.components = {name: components[name] for name in sorted(components)}

    @property
    def names(self) -> tuple[str, ...]:
        """The components' names in the order used everywhere."""
        return tuple(sorted(self.components))

    def bound(self) -> "Galaxy":
        """The galaxy with its populations' magnitudes tabulated (see `AbstractMagnitudes.bind`)."""
        tables = {name: part.stars.bind() for name, part in self.components.items()}
        if all(tables[name] is part.stars for name, part in self.components.items()):
            return self
        parts = {
            name: Component(part.df, tables[name], part.weight) for name, part in self.components.items()
        }
        return Galaxy(self.potential, parts)

    def seen(self, names: tuple[str, ...] = (), stars: Mapping[str, AbstractMagnitudes] | None = None):
        """The galaxy of some components alone (none named: of all), some with other magnitudes.

        Shares stay in proportion. ValueError for a component that there is not.
        """
        stars = {} if stars is None else stars
        for name in (*names, *stars):
            if name not in self.components:
                raise ValueError(f"no component {name!r} (there are {', '.join(self.names)})")
        if not names or set(names) == set(self.names):
            if not stars:
                return self
            shares: dict[str, Any] = {name: self.components[name].weight for name in self.names}
        else:
            every = dict(zip(self.names, jnp.exp(self.log_weights()), strict=True))
            # A share of nothing stays positive, so that no derivative is NaN.
            tiny = float(jnp.finfo(jnp.result_type(*every.values())).tiny)
            shares = {name: jnp.maximum(every[name], tiny) for name in names}
        parts = {name: self.components[name] for name in shares}
        return Galaxy(
            self.potential,
            {name: Component(p.df, stars.get(name, p.stars), shares[name]) for name, p in parts.items()},
        )

    def log_weights(self) -> Float[Array, " n"]:
        """ln of each component's share, in the order of `names`; -inf if the others leave nothing."""
        if not self.components:
            raise ValueError("Galaxy(components={}): a likelihood of stars needs at least one component")
        given = [self.components[name].weight for name in self.names]
        total = jnp.asarray(sum(w for w in given if w is not None))
        rest = jnp.where(total < 1.0, 1.0 - total, 0.0)
        weights = jnp.stack([rest if w is None else w for w in given])
        if all(w is not None for w in given):
            return jnp.log(weights / total)
        tiny = jnp.finfo(weights.dtype).tiny
        return jnp.where(rest > 0.0, jnp.log(jnp.maximum(weights, tiny)), -jnp.inf)


@final
class Outliers(AbstractParametric):
    """Stars that belong to no component: same places and magnitudes, other velocities.

    Their density in the survey is that of all stars times an isotropic Gaussian of velocities about the
    Galaxy's rest frame, so that they are normalised over the same selected space by construction.

    Attributes
    ----------
    fraction : shape (), between 0 and 1
        Share of the catalogue.
    sigma : shape (), km/s, positive
        Dispersion of each velocity component.
    """

    fraction: Float[Array, ""] = param(constraints.unit_interval, "", "share of the catalogue", default=0.01)
    sigma: Float[Array, ""] = param(constraints.positive, "km/s", "velocity dispersion", default=150.0)


@final
class View(AbstractParametric):
    """How one catalogue among several sees the Galaxy; potential, f(J) and Sun are those of the `Model`.

    Attributes
    ----------
    selection, errors, extinction
        As of `survey.Survey`.
    outliers : Outliers or None
        Of this catalogue.
    components : tuple of str, static
        Those that it holds stars of; empty: all.
    stars : dict of AbstractMagnitudes
        F(M) of the components whose stars are of another kind here.
    """

    selection: tuple[AbstractSelection, ...]
    errors: AbstractErrors
    extinction: AbstractExtinction | None
    outliers: Outliers | None
    components: tuple[str, ...] = eqx.field(static=True)
    stars: dict[str, AbstractMagnitudes]

    def __init__(
        self,
        selection=(),
        errors: AbstractErrors | None = None,
        extinction: AbstractExtinction | None = None,
        outliers: Outliers | None = None,
        components: tuple[str, ...] = (),
        stars: Mapping[str, AbstractMagnitudes] | None = None,
    ):
        self.selection = (selection,) if isinstance(selection, AbstractSelection) else tuple(selection)
        self.errors = Errors() if errors is None else errors
        self.extinction, self.outliers = extinction, outliers
        self.components = tuple(sorted(components))
        self.stars = {} if stars is None else dict(stars)
        foreign = sorted(set(self.stars) - set(self.components))
        if self.components and foreign:
            raise ValueError(
                f"View(stars=...): {', '.join(foreign)} is not among its components "
                f"({', '.join(self.components)})"
            )

    def survey(self, sun: Sun) -> Survey:
        """The survey, seen from a Sun."""
        return Survey(sun, self.selection, self.errors, self.extinction)


class Sight(NamedTuple):
    """What one catalogue shows: the galaxy of its components, its survey and its outliers."""

    galaxy: Galaxy
    survey: Survey
    outliers: Outliers | None


@final
class Model(AbstractParametric):
    """Everything a fit can vary: galaxy, surveys (with the Sun), outliers and constraints, in one tree.

    Paths read `potential.halo.q`, `components.thin.df.sigma_r0`, `sun.V`, `outliers.fraction`,
    `survey.errors.parallax_zero_point`, `constraints.masers.V_s`, `catalogues.bhb.outliers.fraction`. A
    constraint holds the nuisance parameters of one measured table, under a name of the user's; the tables
    are data and are handed to `log_constraints` beside the model.

    `survey` and `outliers` are of the catalogue without a name, `catalogues` of all others.
    """

    galaxy: Galaxy = children()
    survey: Survey = children(only=("sun",), default_factory=Survey)
    outliers: Outliers | None = eqx.field(default=None)
    constraints: dict[str, AbstractConstraint] = eqx.field(default_factory=dict)
    catalogues: dict[str, View] = eqx.field(default_factory=dict)

    def sight(self, name: str = "") -> Sight:
        """How a catalogue sees the Galaxy, by its name. ValueError if there is none of this name.

        >>> from oortax import df, potential, stars
        >>> disc = df.QuasiIsothermal(R_d=2.6, sigma_r0=120.0, R_sigma=8.0, H_d=0.3)
        >>> halo = df.DB96Halo(a=1.2, b=1.2, beta=3.5, gamma=1.8, A_0=500.0)
        >>> parts = {"disc": Component(disc, stars.Gaussian(0.8, 0.3), 0.9),
        ...          "halo": Component(halo, stars.Gaussian(0.8, 0.3))}
        >>> galaxy = Galaxy(potential.mw_potential_2014(), parts)
        >>> bhb = View(components=("halo",), stars={"halo": stars.Gaussian(0.6, 0.2)})
        >>> seen = Model(galaxy, catalogues={"bhb": bhb}).sight("bhb").galaxy
        >>> seen.names, float(seen.components["halo"].stars.mean)
        (('halo',), 0.6)
        """
        if not name:
            return Sight(self.galaxy, self.survey, self.outliers)
        if name not in self.catalogues:
            raise ValueError(f"no catalogue {name!r} (there are {', '.join(self.catalogues) or 'none'})")
        view = self.catalogues[name]
        galaxy = self.galaxy.seen(view.components, view.stars)
        return Sight(galaxy, view.survey(self.survey.sun), view.outliers)
