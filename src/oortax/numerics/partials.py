"""Derivatives of a scalar function of a few scalars, taken forwards once per argument."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero


def by_partials(f: Callable, known: Sequence[Callable | None] = ()) -> Callable:
    """The same function of scalars, differentiated through its partial derivatives.

    Reverse mode of a point function that expands its parameters into many coefficients (a polynomial,
    a quadrature) costs one sum over all points for each coefficient, and keeps every intermediate in
    memory. Here each partial derivative df/da_i is one number per point, computed forwards in the same
    fused loop as f, so that reverse mode sums once per argument. Derivatives of any order, vmap and
    jit work as for f; partials with respect to arguments that are not differentiated are not computed.
    `known` gives, by the argument's position, partial derivatives that have a formula of their own.

    >>> square = by_partials(lambda a, b: a * a * b)
    >>> float(jax.grad(square)(3.0, 2.0)), float(jax.grad(jax.grad(square))(3.0, 2.0))
    (12.0, 4.0)
    """

    @jax.custom_jvp
    @functools.wraps(f)
    def value(*args):
        return f(*args)

    def rule(primals, tangents):
        out = value(*primals)
        total = jnp.zeros_like(out)
        for index, tangent in enumerate(tangents):
            if not isinstance(tangent, SymbolicZero):
                given = known[index] if index < len(known) else None
                partial = by_partials(_partial(f, index)) if given is None else given
                total = total + partial(*primals) * tangent
        return out, total

    value.defjvp(rule, symbolic_zeros=True)
    return value


def _partial(f: Callable, index: int) -> Callable:
    """The partial derivative of f with respect to one argument, by forward mode."""

    def derivative(*args):
        def along(a):
            return f(*args[:index], a, *args[index + 1 :])

        return jax.jvp(along, (args[index],), (jnp.ones_like(args[index]),))[1]

    return derivative
