"""Proposals of velocities at a point: Gaussians about what a DF fills there, with wings up to escape."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.df.base import AbstractDF
from oortax.df.mixture import BoundMixture
from oortax.dynamics import AbstractActionFinder
from oortax.potential import AbstractPotential
from oortax.types import Actions, Scalar, Vec3

# A core a little wider than the DF's own scale; a wing that lags behind by so many of its dispersions; and a
# part at half the mean that reaches the escape speed (to 1000 kpc) within three dispersions.
_SHARES = np.array([0.72, 0.22, 0.06])
_CORE, _WING, _LAG, _FAR = 1.15, 2.2, 0.7, 1000.0
_LEAST_RADIUS = 1e-6


class Weighed(NamedTuple):
    """A proposed star: velocity, actions and ln(f/q), q the density of proposals per (km/s)^3."""

    v: Vec3
    J: Actions
    log_ratio: Scalar


def _populations(f: AbstractDF) -> tuple[AbstractDF, ...]:
    """The components of a mixture, of mixtures within it, too; or f itself."""
    if isinstance(f, BoundMixture):
        return tuple(part for component in f.bound for part in _populations(component))
    return (f,)


def _gaussians(f: AbstractDF, potential: AbstractPotential, R, z):
    """Means and dispersions (3, 3) of the proposals for one population at (R, z)."""
    # On the axis itself scales may have no value.
    R = jnp.maximum(R, _LEAST_RADIUS)
    mean, sigma = f.velocity_scale(potential, R, z)
    far = jnp.stack([jnp.full_like(R, _FAR), jnp.zeros_like(R), jnp.zeros_like(R)])
    here = jnp.stack([R, jnp.zeros_like(R), z])
    escape = jnp.sqrt(2.0 * jnp.maximum(potential.Phi(far) - potential.Phi(here), 0.0))
    sigma = jnp.maximum(sigma, 1e-3 * escape)
    lag = jnp.array([0.0, 1.0, 0.0]) * jnp.sign(mean[1]) * _LAG * sigma
    means = jnp.stack([mean, mean - lag, 0.5 * mean])
    return means, jnp.stack([_CORE * sigma, _WING * sigma, jnp.maximum(escape / 3.0, 1.5 * sigma)])


@eqx.filter_jit
def propose_velocities(
    f: AbstractDF,
    potential: AbstractPotential,
    finder: AbstractActionFinder,
    x: Float[Array, "n 3"],
    u: Float[Array, "n 4"],
) -> Weighed:
    """Proposed velocities at positions x, from numbers u: one uniform in [0, 1) and three normal for each.

    Of a mixture, each component is proposed as often.
    """
    populations = _populations(f)
    shares = np.tile(_SHARES, len(populations)) / len(populations)

    def one(at):
        x, u = at
        R = jnp.hypot(x[0], x[1])
        each = [_gaussians(of, potential, R, x[2]) for of in populations]
        means, sigmas = (jnp.concatenate(parts) for parts in zip(*each, strict=True))
        which = jnp.searchsorted(jnp.asarray(np.cumsum(shares))[:-1], u[0], side="right")
        w = means[which] + sigmas[which] * u[1:]
        terms = -0.5 * jnp.sum(((w - means) / sigmas) ** 2, axis=1) - jnp.sum(jnp.log(sigmas), axis=1)
        log_q = jax.nn.logsumexp(terms, b=jnp.asarray(shares)) - 1.5 * jnp.log(2.0 * jnp.pi)
        # On the axis, any direction serves as that of R.
        on_axis = R < _LEAST_RADIUS
        c, s = (jnp.where(on_axis, k, a / jnp.where(on_axis, 1.0, R)) for k, a in ((1.0, x[0]), (0.0, x[1])))
        v = jnp.stack([w[0] * c - w[1] * s, w[0] * s + w[1] * c, w[2]])
        J = finder.actions(x, v)
        return Weighed(v, J, f.log_f(J) - log_q)

    return jax.lax.map(one, (x, u), batch_size=1024)


class Proposals:
    """Proposals at many positions, in batches of one size so that nothing is compiled twice."""

    def __init__(self, f, potential, finder, batch_size: int):
        self.of = (f, potential, finder)
        self.batch_size = batch_size

    def __call__(self, rng: np.random.Generator, x: np.ndarray) -> Weighed:
        """One proposal at each of the positions (n, 3)."""
        return self.at(x, np.concatenate([rng.random((len(x), 1)), rng.standard_normal((len(x), 3))], axis=1))

    def at(self, x: np.ndarray, u: np.ndarray) -> Weighed:
        """Those of given numbers u (n, 4)."""
        n = len(x)
        found = Weighed(np.empty((n, 3)), np.empty((n, 3)), np.empty(n))
        for start in range(0, n, self.batch_size):
            rows = np.minimum(np.arange(start, start + self.batch_size), n - 1)
            some = propose_velocities(*self.of, jnp.asarray(x[rows]), jnp.asarray(u[rows]))
            for whole, part in zip(found, some, strict=True):
                whole[start : start + self.batch_size] = np.asarray(part)[: n - start]
        if np.any(np.isnan(found.log_ratio)):
            at = x[np.flatnonzero(np.isnan(found.log_ratio))[0]]
            raise ValueError(
                f"f is NaN at x = {at} kpc: check that DF, potential and finder hold for this place"
            )
        return found
