"""Priors written as text, such as "LogNormal(16.2, 0.5)", to NumPyro distributions.

The text is parsed, never evaluated: one call of a known distribution whose arguments are numbers,
sums, products and powers of numbers, or `log`, `log10`, `exp` and `sqrt` of them.
"""

import ast
import math
import operator
from typing import Any, NamedTuple

from oortax.io.names import nearest


class Prior(NamedTuple):
    """A distribution's name in NumPyro and the order of its arguments."""

    arguments: tuple[str, ...]
    keyword_only: tuple[str, ...] = ()


PRIORS: dict[str, Prior] = {
    "Normal": Prior(("loc", "scale")),
    "LogNormal": Prior(("loc", "scale")),
    "Uniform": Prior(("low", "high")),
    "LogUniform": Prior(("low", "high")),
    "Beta": Prior(("concentration1", "concentration0")),
    "Gamma": Prior(("concentration", "rate")),
    "InverseGamma": Prior(("concentration", "rate")),
    "Exponential": Prior(("rate",)),
    "HalfNormal": Prior(("scale",)),
    "HalfCauchy": Prior(("scale",)),
    "StudentT": Prior(("df", "loc", "scale")),
    "TruncatedNormal": Prior(("loc", "scale", "low", "high"), ("low", "high")),
}
"""The distributions a configuration may name, with the order of their arguments."""

_BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_UNARY = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_FUNCTIONS = {"log": math.log, "log10": math.log10, "exp": math.exp, "sqrt": math.sqrt}


def _number(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_number(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_number(left), _number(right))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_number(argument))
    raise ValueError(f"{ast.unparse(node)!r} is not a number")


def parse_prior(text: str, where: str = "prior") -> Any:
    """The NumPyro distribution of a prior written as text.

    Parameters
    ----------
    text : for example "Normal(12.24, 2)", "LogNormal(log(9e6), 0.5)", "TruncatedNormal(1, 0.2, low=0)";
        arguments by position or by NumPyro's names
    where : what the message of a ValueError calls it

    Examples
    --------
    >>> prior = parse_prior("Uniform(0.4, 1.6)")
    >>> float(prior.low), float(prior.high)
    (0.4, 1.6)
    >>> parse_prior("Lognormal(0, 1)")
    Traceback (most recent call last):
    ...
    ValueError: prior: unknown distribution 'Lognormal'; did you mean 'LogNormal'? (known: ...)
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f'{where}: {text!r} is not of the form "Normal(0, 1)"') from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(f'{where}: {text!r} is not of the form "Normal(0, 1)"')
    name = call.func.id
    if name not in PRIORS:
        known = ", ".join(PRIORS)
        raise ValueError(f"{where}: unknown distribution {name!r}{nearest(name, PRIORS)} (known: {known})")
    return _construct(name, _arguments(call, PRIORS[name], where), where, text)


def _arguments(call: ast.Call, prior: Prior, where: str) -> dict[str, float]:
    signature = f"({', '.join(prior.arguments)})"
    if len(call.args) > len(prior.arguments):
        raise ValueError(f"{where}: {ast.unparse(call)} has too many arguments; they are {signature}")
    values = {}
    try:
        for key, node in zip(prior.arguments, call.args, strict=False):
            values[key] = _number(node)
        for keyword in call.keywords:
            if keyword.arg not in prior.arguments or keyword.arg in values:
                raise ValueError(f"{keyword.arg!r} is unknown or given twice; the arguments are {signature}")
            values[keyword.arg] = _number(keyword.value)
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"{where}: in {ast.unparse(call)}, {error}") from error
    missing = [key for key in prior.arguments if key not in values and key not in prior.keyword_only]
    if missing:
        raise ValueError(f"{where}: {ast.unparse(call)} lacks {', '.join(missing)}; arguments: {signature}")
    return values


def _construct(name: str, values: dict[str, float], where: str, text: str) -> Any:
    import numpyro.distributions as dist

    low, high = values.get("low", -math.inf), values.get("high", math.inf)
    if not low < high:
        raise ValueError(f"{where}: {text} is empty: low = {low:g} is not below high = {high:g}")
    try:
        return getattr(dist, name)(**values, validate_args=True)
    except ValueError as error:
        raise ValueError(f"{where}: {text} is no distribution: {error}") from error


def bounds(support: Any) -> tuple[float, float]:
    """Lower and upper end of the values a constraint allows.

    >>> from numpyro.distributions import constraints
    >>> bounds(constraints.positive), bounds(constraints.unit_interval), bounds(constraints.real)
    ((0.0, inf), (0.0, 1.0), (-inf, inf))
    """
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    return (-math.inf if low is None else float(low), math.inf if high is None else float(high))


OUTSIDE_MASS = 1e-6
"""A prior may put this much of its mass where its parameter may not be."""


def check_support(prior: Any, support: Any, where: str, text: str) -> None:
    """Raise ValueError if a prior puts mass on values that its parameter may not take."""
    low, high = bounds(prior.support)
    allowed_low, allowed_high = bounds(support)
    try:
        outside = float(prior.cdf(allowed_low)) if low < allowed_low else 0.0
        outside += 1.0 - float(prior.cdf(allowed_high)) if high > allowed_high else 0.0
    except NotImplementedError:
        outside = 1.0
    if outside > OUTSIDE_MASS:
        from oortax.params import describe

        remedy = (
            "LogNormal or TruncatedNormal" if math.isinf(allowed_high) else "Beta, Uniform or TruncatedNormal"
        )
        raise ValueError(
            f"{where}: the prior {text} puts {outside:.2g} of its mass on values that are not "
            f"{describe(support)}; use {remedy}"
        )


def start_of(prior: Any) -> float:
    """Where a fit starts if the configuration does not say: the prior's median, or else its mean.

    >>> start_of(parse_prior("LogNormal(log(6.5e10), 0.5)"))
    65000000000.0
    """
    import numpyro.distributions as dist

    low, high = bounds(prior.support)
    if isinstance(prior, dist.LogNormal):
        value = math.exp(float(prior.loc))
    elif isinstance(prior, dist.LogUniform):
        value = math.sqrt(low * high)
    else:
        try:
            value = float(prior.icdf(0.5))
        except (NotImplementedError, ImportError):  # NumPyro takes some from a package we do not need
            value = float(prior.mean)
    # Rounded, so that the resolved configuration is fit to be read.
    return float(f"{value:.10g}")
