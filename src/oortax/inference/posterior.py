"""The posterior density of a model's free parameters, on the real line.

A `Posterior` joins a model (any tree with parameters, see `oortax.params`), priors on some of its
parameters and a log-likelihood. Everything that optimises or samples sees only a vector u of real
numbers, one per free parameter; the bijection from u to the parameters is NumPyro's `biject_to` of
the prior's support, and its Jacobian is part of the density.
"""

import difflib
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, biject_to, constraints

from oortax import params
from oortax.types import Scalar

OUTSIDE_MASS = 1e-6
"""A prior may put this much of its mass outside the parameter's own support: it is cut off there."""


@final
class _Prior(eqx.Module):
    """A distribution whose leaves come in the order of their names.

    NumPyro flattens its distributions in the order of a set of strings, which changes from one process to the
    next: programs would not be found in the compilation cache, nor fingerprints agree.
    """

    leaves: tuple[Array, ...]
    order: tuple[int, ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)

    def __init__(self, distribution: Distribution):
        leaves, self.structure = jax.tree.flatten(distribution)
        names = list(_leaf_names(distribution))
        self.order = tuple(sorted(range(len(names)), key=names.__getitem__))
        self.leaves = tuple(leaves[i] for i in self.order)

    @property
    def distribution(self) -> Distribution:
        leaves: list[Any] = [None] * len(self.leaves)
        for i, leaf in zip(self.order, self.leaves, strict=True):
            leaves[i] = leaf
        return jax.tree.unflatten(self.structure, leaves)


def _leaf_names(node: Any, name: str = "") -> Iterator[str]:
    """Names of the leaves of a distribution, in the order in which NumPyro flattens it."""
    if isinstance(node, Distribution):
        for field in type(node).gather_pytree_data_fields():
            yield from _leaf_names(node.__dict__.get(field), f"{name}.{field}")
    else:
        yield from (f"{name}[{i:03d}]" for i in range(len(jax.tree.leaves(node))))


@final
class Posterior(eqx.Module):
    r"""The density p(u) of the unconstrained parameters u, up to a constant.

    ln p(u) = ln L(model(u), data) + sum_i ln pi_i(x_i) + sum_i ln \|dx_i/du_i\|,

    where x_i = T_i(u_i) is the bijection of the real line on the support of prior i.

    The model, the priors and the data are array leaves of this tree: they are arguments of the
    compiled functions, so a second data set of the same shape costs no second compilation.

    Parameters
    ----------
    model : tree with parameters
        Parameters without a prior keep the values they have here; those with one start from them.
    priors : dict of path to NumPyro distribution
        Scalar, continuous distributions on an interval of the real line, by dotted path.
    log_likelihood : callable (model, data) -> shape ()
        A pure, traceable function. Its identity is part of the compilation key: pass the same
        function object again, not a new lambda.
    data : tree of arrays
        Handed to `log_likelihood`; arrays and floats are traced, other leaves are part of the
        compilation key.

    Raises
    ------
    ValueError
        If a path is unknown, a parameter is not a scalar, or a prior is discrete, has a shape, or
        puts more than 1e-6 of its mass where the parameter may not be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpyro.distributions as dist
    >>> from oortax import potential
    >>> pot = potential.Plummer(M=1e10, b=1.0)
    >>> def log_likelihood(pot, data):
    ...     return -0.5 * ((pot.b - data) / 0.1) ** 2
    >>> posterior = Posterior(pot, {"b": dist.LogNormal(0.0, 1.0)}, log_likelihood, jnp.asarray(1.0))
    >>> posterior.names, posterior.dim
    (('b',), 1)
    >>> value, gradient = posterior.value_and_grad(posterior.start)
    >>> gradient.shape
    (1,)
    """

    model: Any
    ordered_priors: dict[str, "_Prior"]
    data: Any
    log_likelihood: Callable[[Any, Any], Scalar] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    bounds: tuple[tuple[float, float], ...] = eqx.field(static=True)

    def __init__(
        self,
        model: Any,
        priors: Mapping[str, Distribution],
        log_likelihood: Callable[[Any, Any], Scalar],
        data: Any = None,
    ):
        known = params.parameters(model)
        if not priors:
            raise ValueError(
                "priors is empty: give at least one parameter a prior, or there is nothing to fit"
            )
        for path in priors:
            if path not in known:
                raise ValueError(f"priors: {_unknown(path, known)}")
        self.names = tuple(path for path in known if path in priors)
        self.bounds = tuple(_bounds(path, priors[path], known[path]) for path in self.names)
        self.model = jax.tree.map(_traced, model)
        # Distributions keep Python floats as leaves: as arrays they are traced, not compiled in.
        arrays = {path: jax.tree.map(params.as_array, priors[path]) for path in self.names}
        self.ordered_priors = {path: _Prior(prior) for path, prior in arrays.items()}
        self.data = jax.tree.map(_traced, data)
        self.log_likelihood = log_likelihood

    @property
    def priors(self) -> dict[str, Distribution]:
        """The prior of every free parameter, by path."""
        return {path: self.ordered_priors[path].distribution for path in self.names}

    @property
    def dim(self) -> int:
        """Number of free parameters P."""
        return len(self.names)

    @property
    def start(self) -> Float[Array, "P"]:
        """The model's own parameter values on the real line."""
        return self.unconstrain({path: params.get(self.model, path) for path in self.names})

    def unconstrain(self, values: Mapping[str, Any]) -> Float[Array, "*batch P"]:
        """u of parameter values by path; leading axes are kept.

        A value outside its prior's support gives NaN or infinity, which `check_start` names.
        """
        for path in values:
            if path not in self.names:
                raise ValueError(f"unconstrain: {_unknown(path, self.names)}")
        missing = [path for path in self.names if path not in values]
        if missing:
            raise ValueError(f"unconstrain: no value for {', '.join(missing)}")
        arrays = [jnp.asarray(values[path], dtype=self._dtype(path)) for path in self.names]
        transforms = self._transforms()
        return jnp.stack([t._inverse(x) for t, x in zip(transforms, arrays, strict=True)], axis=-1)

    def constrain(self, u: Float[Array, "*batch P"]) -> dict[str, Float[Array, "*batch"]]:
        """Parameter values by path of u; leading axes (draws, chains) are kept."""
        return {
            path: t(u[..., i]) for i, (path, t) in enumerate(zip(self.names, self._transforms(), strict=True))
        }

    def model_at(self, u: Float[Array, "P"]) -> Any:
        """The model with its free parameters at u (traceable)."""
        return params.replace(self.model, self.constrain(u))

    def log_prior(self, u: Float[Array, "P"]) -> Scalar:
        """Log prior density of u, with the Jacobian of the bijection: integrates to 1 over u."""
        return sum(sum(terms) for terms in self._prior_terms(u).values())  # type: ignore[return-value]

    def log_density(self, u: Float[Array, "P"]) -> Scalar:
        """ln p(u), where NaN and +inf count as -inf: what cannot be evaluated is never accepted."""
        value = self._log_density(u)
        return jnp.where(value < jnp.inf, value, -jnp.inf)

    def value_and_grad(self, u: Float[Array, "P"]) -> tuple[Scalar, Float[Array, "P"]]:
        """ln p(u) and its gradient, compiled once for all posteriors of the same shapes.

        NaN and +inf count as -inf, as in `log_density`; the gradient there is whatever it is.
        """
        value, gradient = _value_and_grad(self, jnp.asarray(u))
        return jnp.where(value < jnp.inf, value, -jnp.inf), gradient

    def prior_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Median and half the central 68% range of each prior on the real line, each shape (P,).

        Exact where the prior has an inverse distribution function; else from 4096 draws with a fixed
        key, good to a few per cent, which is all that scaling an optimiser needs.
        """
        quantiles = [_quantiles(prior) for prior in self.priors.values()]
        clipped = [np.clip(q, *bounds) for q, bounds in zip(quantiles, self.bounds, strict=True)]
        low, middle, high = np.asarray(self.unconstrain(dict(zip(self.names, clipped, strict=True))))
        return middle, 0.5 * np.abs(high - low)

    def check_start(self, u: Float[Array, "P"] | None = None) -> Float[Array, "P"]:
        """Return u (default: the model's values) if ln p and its gradient are finite there.

        Raises
        ------
        ValueError
            Naming the term that is not finite (a parameter's prior or bijection, or the
            likelihood), or the parameters whose derivative is not.
        """
        u = self.start if u is None else jnp.asarray(u)
        if u.shape != (self.dim,):
            raise ValueError(f"start has shape {u.shape}, not ({self.dim},), one number per parameter")
        values = {path: float(value) for path, value in self.constrain(u).items()}
        at = ", ".join(f"{path} = {value:.6g}" for path, value in values.items())
        for i, (path, (log_prior, log_jacobian)) in enumerate(self._prior_terms(u).items()):
            if not (math.isfinite(u[i]) and jnp.isfinite(log_jacobian)):
                low, high = self.bounds[i]
                given = params.get(self.model, path) if not math.isfinite(u[i]) else values[path]
                raise ValueError(
                    f"start: {path} = {float(given):.6g} is not inside its prior's support "
                    f"({low:g}, {high:g}): move the start away from the edge, or widen the prior"
                )
            if not jnp.isfinite(log_prior):
                raise ValueError(f"start: log prior of {path} is {float(log_prior)} at {values[path]:.6g}")
        value, gradient = _value_and_grad(self, u)
        if not jnp.isfinite(value):
            raise ValueError(
                f"start: the log likelihood is {float(value)} while every prior is finite, at {at}: "
                "start elsewhere, or look for data the model cannot produce there"
            )
        bad = [path for path, g in zip(self.names, np.asarray(gradient), strict=True) if not np.isfinite(g)]
        if bad:
            raise ValueError(f"start: the gradient is not finite in {', '.join(bad)}, at {at}")
        return u

    def fingerprint(self) -> str:
        """SHA-256 of the free paths, the priors and every array of model and data, in hexadecimal."""
        digest = hashlib.sha256(repr((self.names, self.bounds)).encode())
        digest.update(repr([type(prior).__name__ for prior in self.priors.values()]).encode())
        for leaf in jax.tree.leaves((self.model, self.ordered_priors, self.data)):
            if eqx.is_array(leaf):
                array = np.ascontiguousarray(leaf)
                digest.update(repr((array.shape, array.dtype.str)).encode())
                digest.update(array.tobytes())
        return digest.hexdigest()

    def _transforms(self) -> list[Any]:
        return [biject_to(_interval(*bounds)) for bounds in self.bounds]

    def _dtype(self, path: str):
        return jnp.result_type(params.get(self.model, path))

    def _prior_terms(self, u) -> dict[str, tuple[Scalar, Scalar]]:
        """Log prior and log Jacobian of each parameter."""
        terms = {}
        for i, (path, t) in enumerate(zip(self.names, self._transforms(), strict=True)):
            x = t(u[i])
            terms[path] = (self.priors[path].log_prob(x), t.log_abs_det_jacobian(u[i], x))
        return terms

    def _log_density(self, u):
        return self.log_likelihood(self.model_at(u), self.data) + self.log_prior(u)


@eqx.filter_jit
def _value_and_grad(posterior: Posterior, u):
    return jax.value_and_grad(posterior._log_density)(u)


def require_float64(posterior: Posterior, who: str) -> None:
    """Raise ValueError unless the parameters are float64.

    Hessians by differences and log-likelihoods of many stars lose their meaning in float32.
    """
    dtype = jnp.result_type(*[params.get(posterior.model, path) for path in posterior.names])
    if dtype != jnp.float64:
        raise ValueError(f"{who} needs float64, the model is {dtype}: first call oortax.enable_x64()")


def _traced(leaf):
    """NumPy arrays and Python floats as JAX arrays, which are arguments and not constants of a jit."""
    return jnp.asarray(leaf) if isinstance(leaf, np.ndarray | np.generic | float) else leaf


def _quantiles(prior: Distribution) -> np.ndarray:
    """The prior's 15.87%, 50% and 84.13% quantiles."""
    levels = np.array([0.1587, 0.5, 0.8413])
    try:
        return np.asarray(prior.icdf(jnp.asarray(levels)))
    except (NotImplementedError, ImportError):  # some need an optional package for theirs
        return np.quantile(prior.sample(jax.random.key(0), (4096,)), levels)


def _interval(low: float, high: float):
    """The constraint of an open interval of the real line."""
    if math.isfinite(low) and math.isfinite(high):
        return constraints.interval(low, high)
    if math.isfinite(low):
        return constraints.greater_than(low)
    if math.isfinite(high):
        return constraints.less_than(high)
    return constraints.real


def _bounds(path: str, prior: Distribution, parameter: params.Parameter) -> tuple[float, float]:
    """The interval on which both the prior and the parameter live."""
    kind = type(prior).__name__
    if not isinstance(prior, Distribution):
        raise ValueError(f"priors[{path!r}] is a {kind}: give a NumPyro distribution such as Normal(0, 1)")
    if jnp.ndim(parameter.value) != 0:
        raise ValueError(f"priors[{path!r}]: only scalar parameters can be free, not an array")
    if prior.is_discrete or prior.batch_shape or prior.event_shape:
        raise ValueError(f"priors[{path!r}]: {kind} must be a scalar, continuous distribution")
    low, high = _ends(prior.support)
    if (low, high) == (-math.inf, math.inf) and prior.support is not constraints.real:
        raise ValueError(f"priors[{path!r}]: the support of {kind} is not an interval of the real line")
    own_low, own_high = _ends(parameter.support)
    if low < own_low or high > own_high:
        outside = _mass_outside(path, prior, own_low, own_high)
        if outside > OUTSIDE_MASS:
            raise ValueError(
                f"priors[{path!r}]: {kind} puts {outside:.2g} of its mass where {path} may not be (must be "
                f"{params.describe(parameter.support)}): use LogNormal, TruncatedNormal or Uniform there"
            )
    return max(low, own_low), min(high, own_high)


def _ends(support) -> tuple[float, float]:
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))


def _mass_outside(path: str, prior: Distribution, low: float, high: float) -> float:
    try:
        below = float(prior.cdf(low)) if math.isfinite(low) else 0.0
        above = 1.0 - float(prior.cdf(high)) if math.isfinite(high) else 0.0
    except NotImplementedError:
        raise ValueError(
            f"priors[{path!r}]: {type(prior).__name__} reaches beyond ({low:g}, {high:g}), where {path} "
            "must lie: use a distribution on that interval"
        ) from None
    return below + above


def _unknown(path: str, known) -> str:
    near = difflib.get_close_matches(path, list(known), n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no parameter {path!r}{hint} (known: {', '.join(known)})"
