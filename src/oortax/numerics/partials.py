"""Derivatives of functions of a few scalars, taken forwards once per argument."""

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

    def alone(g: Callable) -> Callable:
        return lambda _, *scalars: (g(*scalars),)

    values = all_by_partials(alone(f), [None if partial is None else alone(partial) for partial in known])
    return functools.wraps(f)(lambda *scalars: values(None, *scalars)[0])


def all_by_partials(f: Callable, known: Sequence[Callable | None] = ()) -> Callable:
    """The same for a function f(given, *scalars) of several values, a tuple of scalars.

    `given`, a pytree of anything, is differentiated as it is in f; scalars by partial derivatives. Worth it
    for fields of points that move with few numbers each, such as H on a torus with the toy's actions.

    >>> both = all_by_partials(lambda k, a, b: (k * a * b, a * a))
    >>> by_k, by_a = jax.grad(lambda k, a: sum(both(k, a, 2.0)), (0, 1))(3.0, 5.0)
    >>> float(by_k), float(by_a)
    (10.0, 16.0)
    """

    # Jitted, here and as a whole: what is used in many places of a program is traced and differentiated once.
    f = jax.jit(f)

    @jax.custom_jvp
    def values(given, *scalars):
        return f(given, *scalars)

    def rule(primals, tangents):
        given, *scalars = primals
        out = values(*primals)
        total = [jnp.zeros_like(value) for value in out]
        for index, tangent in enumerate(tangents[1:]):
            if not isinstance(tangent, SymbolicZero):
                formula = known[index] if index < len(known) else None
                partials = all_by_partials(_partial(f, index)) if formula is None else formula
                slopes = partials(given, *scalars)
                total = [so_far + slope * tangent for so_far, slope in zip(total, slopes, strict=True)]
        leaves, tree = jax.tree.flatten(given)
        along = jax.tree.leaves(tangents[0], is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
        moving = [i for i, tangent in enumerate(along) if not isinstance(tangent, SymbolicZero)]
        if moving:

            def of(*moved):
                at = dict(zip(moving, moved, strict=True))
                return f(tree.unflatten([at.get(i, leaf) for i, leaf in enumerate(leaves)]), *scalars)

            change = jax.jvp(of, tuple(leaves[i] for i in moving), tuple(along[i] for i in moving))[1]
            total = [so_far + new for so_far, new in zip(total, change, strict=True)]
        return out, tuple(total)

    values.defjvp(rule, symbolic_zeros=True)
    return jax.jit(values)


def _partial(f: Callable, index: int) -> Callable:
    """The partial derivatives of f with respect to one scalar, by forward mode."""

    def derivatives(given, *scalars):
        def along(a):
            return f(given, *scalars[:index], a, *scalars[index + 1 :])

        return jax.jvp(along, (scalars[index],), (jnp.ones_like(scalars[index]),))[1]

    return derivatives
