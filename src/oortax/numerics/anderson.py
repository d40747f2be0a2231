"""Anderson's method for fixed points x = F(x): what the last evaluations say about the next one."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# The ridge of the least squares, of its trace.
_RIDGE = 1e-10


class Memory(NamedTuple):
    """The last points and how far F took each, newest first; rows not used yet are 0."""

    x: Float[Array, "m n"]
    miss: Float[Array, "m n"]
    count: Int[Array, ""]

    @classmethod
    def empty(cls, size: int, steps: int, dtype) -> "Memory":
        """For the differences of `steps` evaluations to those before."""
        none = jnp.zeros((steps + 1, size), dtype)
        return cls(none, none, jnp.asarray(0))

    def after(self, x, image) -> "Memory":
        """With one more evaluation, image = F(x)."""
        xs, misses = (
            jnp.roll(old, 1, 0).at[0].set(new)
            for old, new in ((self.x, x), (self.miss, image - x))
        )  # fmt: skip
        return Memory(xs, misses, self.count + 1)

    def next(self, weight: Float[Array, " n"] | float = 1.0) -> Float[Array, " n"]:
        """Where x = F(x) if F is linear in what is remembered, in weighted least squares.

        Walker & Ni (2011, SIAM J. Numer. Anal. 49, 1715), with a small ridge. At first it is F(x).

        >>> memory = Memory.empty(2, 2, float)
        >>> matrix, x = jnp.array([[0.5, 0.2], [-0.3, 0.1]]), jnp.zeros(2)
        >>> for _ in range(4):
        ...     memory = memory.after(x, matrix @ x + 1.0)
        ...     x = memory.next()
        >>> bool(jnp.max(jnp.abs(x - jnp.linalg.solve(jnp.eye(2) - matrix, jnp.ones(2)))) < 1e-8)
        True
        """
        steps = len(self.x) - 1
        known = (jnp.arange(1, steps + 1) < self.count)[:, None]
        dx, dmiss = (jnp.where(known, old[0] - old[1:], 0.0) for old in (self.x, self.miss))
        weighted = dmiss * weight
        gram = weighted @ weighted.T
        # All zero at first, and where F has been solved exactly.
        ridge = _RIDGE * jnp.trace(gram) + jnp.finfo(gram.dtype).tiny
        gamma = jnp.linalg.solve(gram + ridge * jnp.eye(steps), weighted @ (weight * self.miss[0]))
        return self.x[0] + self.miss[0] - gamma @ (dx + dmiss)
