"""A galaxy: one potential and the stellar populations that live in it."""

from collections.abc import Mapping
from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.df import AbstractDF
from oortax.model.constraints import AbstractConstraint
from oortax.params import AbstractParametric, children, param
from oortax.potential import AbstractPotential
from oortax.stars import AbstractMagnitudes
from oortax.survey import Survey


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
class Model(AbstractParametric):
    """Everything a fit can vary: galaxy, survey (with the Sun), outliers and constraints, in one tree.

    Paths read `potential.halo.q`, `components.thin.df.sigma_r0`, `sun.V`, `outliers.fraction`,
    `constraints.masers.V_s`. A constraint holds the nuisance parameters of one measured table, under a
    name of the user's; the tables are data and are handed to `log_constraints` beside the model.
    """

    galaxy: Galaxy = children()
    survey: Survey = children(default_factory=Survey)
    outliers: Outliers | None = eqx.field(default=None)
    constraints: dict[str, AbstractConstraint] = eqx.field(default_factory=dict)
