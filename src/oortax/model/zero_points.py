"""Zero points of parallaxes and distance moduli that a fit may move, by what they change at fixed nodes."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from oortax.model.catalogue import Catalogue
from oortax.model.distances import LEAST, LEAST_MODULUS
from oortax.model.nodes import Nodes
from oortax.survey import Survey


def moved_zero_points(survey: Survey, catalogue: Catalogue, nodes: Nodes) -> Float[Array, " n"]:
    """ln of p(parallax, modulus | s) with the survey's zero points over that with the nodes' own.

    The nodes' weights hold the latter; 0 where the zero points are the same. The nodes stay, so
    that starts should be within an error of a star or so of the truth.
    """
    stars, errors = nodes.stars, survey.errors
    parallax, width = catalogue.parallax, catalogue.parallax_error
    modulus, spread = catalogue.distance_modulus, catalogue.distance_modulus_error
    return _moved(
        parallax - nodes.zero_points[0],
        jnp.maximum(width, LEAST * jnp.abs(parallax)),
        errors.parallax_zero_point - nodes.zero_points[0],
        stars.star,
        1.0 / stars.s,
    ) + _moved(
        modulus - nodes.zero_points[1],
        jnp.maximum(spread, LEAST_MODULUS),
        errors.distance_modulus_zero_point - nodes.zero_points[1],
        stars.star,
        5.0 * jnp.log10(100.0 * stars.s),
    )


def _moved(value, width, shift, star, expected):
    """ln N(value | expected + shift, width) - ln N(value | expected, width), 0 where not measured."""
    known = jnp.isfinite(value) & jnp.isfinite(width)
    value, width = jnp.where(known, value, 0.0), jnp.where(known, width, 1.0)
    away = (value[star] - expected) / width[star]
    step = shift / width[star]
    return jnp.where(known[star], step * (away - 0.5 * step), 0.0)
