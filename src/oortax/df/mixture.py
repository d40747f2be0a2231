"""Weighted sums of distribution functions, each normalised by its own mass."""

from collections.abc import Mapping
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.df.base import AbstractDF
from oortax.params import children, param
from oortax.types import Actions, Scalar


@final
class Mixture(AbstractDF):
    """A sum of populations: f = sum_i w_i f_i / mass(f_i), of mass sum_i w_i.

    The amplitude of a component does not matter: its weight is its mass in the sum.

    Parameters
    ----------
    components : mapping of name to AbstractDF
        Their names become the first part of the parameters' paths.
    weights : mapping of name to float, or an array in the order of the components; positive
        Mass, or share, of each component.

    Notes
    -----
    `bind` computes the masses once, and outside jit raises ValueError naming a component whose mass is not
    finite and positive (inside jit log f is NaN). An unbound mixture computes them at every call of `log_f`,
    and raises what its components raise if they need circular orbits.

    Examples
    --------
    >>> from oortax.df import DB96Halo
    >>> shape = dict(a=1.2, b=1.2, gamma=1.8, A_0=500.0)
    >>> f = Mixture({"inner": DB96Halo(beta=4.5, **shape), "outer": DB96Halo(beta=3.5, **shape)}, [0.7, 0.3])
    >>> print(f"{f.mass():.1f} {f.bind(None).log_f(jnp.array([100.0, 50.0, -800.0])):.2f}")
    1.0 -27.37
    """

    components: dict[str, AbstractDF] = children()
    weights: Float[Array, " n"] = param(constraints.positive, "", "mass or share of each component")
    # JAX returns mappings with sorted keys; the weights keep the order in which they were given.
    names: tuple[str, ...] = eqx.field(static=True, default=())

    def __init__(self, components: Mapping[str, AbstractDF], weights: Mapping[str, Any] | Any):
        if not components:
            raise ValueError("Mixture needs at least one component: Mixture({'disc': ...}, [1.0])")
        for name, component in components.items():
            if not isinstance(component, AbstractDF):
                raise ValueError(f"Mixture component {name!r} is a {type(component).__name__}, not a DF")
        if isinstance(weights, Mapping):
            if set(weights) != set(components):
                raise ValueError(
                    f"Mixture weights are for {sorted(weights)}, its components are {sorted(components)}"
                )
            weights = jnp.stack([jnp.asarray(weights[name], jnp.result_type(float)) for name in components])
        elif len(weights) != len(components):
            raise ValueError(
                f"Mixture has {len(components)} components but {len(weights)} weights: give one for each"
            )
        self.components = dict(components)
        self.names = tuple(components)
        self.weights = weights

    def bind(self, circular_orbits: Any) -> "BoundMixture":
        """The mixture in one potential, with its components' masses computed once."""
        bound = tuple(self.components[name].bind(circular_orbits) for name in self.names)
        return BoundMixture(self, bound, self._log_scales(bound))

    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J; raises if a component needs circular orbits."""
        components = tuple(self.components[name] for name in self.names)
        return _log_sum(components, self._log_scales(components), J)

    def mass(self) -> Scalar:
        """The sum of the weights."""
        return jnp.sum(self.weights)

    def _log_scales(self, components: tuple[AbstractDF, ...]) -> Array:
        masses = [component.mass() for component in components]
        for name, mass in zip(self.names, masses, strict=True):
            if not isinstance(mass, Tracer) and not 0.0 < float(mass) < np.inf:
                raise ValueError(
                    f"Mixture component {name!r} cannot be normalised: its mass() is {mass}, and must be "
                    "finite and positive; change its parameters or leave it out"
                )
        return jnp.log(self.weights) - jnp.log(jnp.stack(masses))


@final
class BoundMixture(AbstractDF):
    """A mixture together with its components bound to one potential and their amplitudes."""

    mixture: Mixture
    bound: tuple[AbstractDF, ...]
    log_scales: Float[Array, " n"]

    def bind(self, circular_orbits: Any) -> "BoundMixture":
        """The same mixture in another potential."""
        return self.mixture.bind(circular_orbits)

    def log_f(self, J: Actions) -> Scalar:
        """Natural log of f at J = (J_r, J_z, J_phi) in kpc km/s; -inf where there are no actions."""
        return _log_sum(self.bound, self.log_scales, J)

    def mass(self) -> Scalar:
        """The sum of the weights."""
        return self.mixture.mass()


def with_masses(mixture: Mixture) -> BoundMixture:
    """A mixture whose components need no potential, or have theirs, with their masses computed once."""
    components = tuple(mixture.components[name] for name in mixture.names)
    bound = tuple(with_masses(part) if isinstance(part, Mixture) else part for part in components)
    return BoundMixture(mixture, bound, mixture._log_scales(bound))


def _log_sum(components: tuple[AbstractDF, ...], log_scales, J: Actions) -> Scalar:
    """ln sum_i exp(log_scale_i + ln f_i); where all f_i vanish -inf, with a zero derivative."""
    terms = log_scales + jnp.stack([component.log_f(J) for component in components])
    some = jnp.any(terms > -jnp.inf)
    return jnp.where(some, logsumexp(jnp.where(some, terms, 0.0)), -jnp.inf)


def populations(f: AbstractDF) -> list[tuple[Scalar, AbstractDF]]:
    """The DFs that a mixture is made of, of mixtures within it, too, with the logs of their amplitudes."""
    if isinstance(f, Mixture):
        f = with_masses(f)
    if not isinstance(f, BoundMixture):
        return [(jnp.zeros(()), f)]
    return [
        (log_scale + inner, part)
        for log_scale, component in zip(f.log_scales, f.bound, strict=True)
        for inner, part in populations(component)
    ]
