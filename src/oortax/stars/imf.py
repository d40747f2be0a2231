"""Initial mass functions: how many stars of which mass form.

`xi(m)` is per star formed, its integral over the range of masses is 1; divided by `mean_mass()` it is per
unit mass formed. Masses are initial masses in Msun. A new one is a final subclass with `limits`,
`log_shape` and `cumulative`, and a line in `IMFS`.
"""

from abc import abstractmethod
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.params import AbstractParametric, as_array, param
from oortax.types import Scalar

_QUANTILES = 4097


class AbstractIMF(AbstractParametric):
    """The distribution xi(m) = dN/dm of initial masses."""

    limits: eqx.AbstractVar[tuple[float, float]]

    @abstractmethod
    def log_shape(self, m) -> Scalar:
        """ln xi(m) up to a constant, finite for all m > 0."""

    @abstractmethod
    def cumulative(self, m, moment: int) -> Scalar:
        """Integral of m^moment exp(log_shape) from the lower limit to m, for moment 0 or 1."""

    def xi(self, m) -> Scalar:
        """Stars per unit mass, per star formed; 0 outside the limits (m in Msun)."""
        lo, hi = self.limits
        m = jnp.asarray(m)
        inside = (m >= lo) & (m <= hi)
        shape = jnp.exp(self.log_shape(jnp.where(inside, m, lo)))
        return jnp.where(inside, shape / self.cumulative(hi, 0), 0.0)

    def number(self, m_1, m_2) -> Scalar:
        """Stars born between two masses, per star formed."""
        lo, hi = self.limits
        upper, lower = (self.cumulative(jnp.clip(jnp.asarray(m), lo, hi), 0) for m in (m_2, m_1))
        return (upper - lower) / self.cumulative(hi, 0)

    def mean_mass(self) -> Scalar:
        """Mass formed per star, Msun."""
        hi = self.limits[1]
        return self.cumulative(hi, 1) / self.cumulative(hi, 0)

    def quantile(self, u) -> Scalar:
        """The mass below which a share u of the stars are born.

        From the cumulative distribution at 4097 masses, equidistant in ln m: the density within a step of
        0.2 % in mass is taken to be that of 1/m.
        """
        log_m = jnp.linspace(np.log(self.limits[0]), np.log(self.limits[1]), _QUANTILES)
        share = jax.vmap(lambda x: self.cumulative(jnp.exp(x), 0))(log_m.at[-1].set(np.log(self.limits[1])))
        return jnp.exp(jnp.interp(u, share / share[-1], log_m))

    def draw(self, key, n: int) -> Float[Array, " n"]:
        """n initial masses, Msun."""
        return jax.vmap(self.quantile)(jax.random.uniform(key, (n,), dtype=jnp.result_type(float)))


def _check_limits(name: str, breaks) -> tuple[float, ...]:
    masses = tuple(float(m) for m in breaks)
    if len(masses) < 2 or not np.all(np.isfinite(masses)) or masses[0] <= 0 or np.any(np.diff(masses) <= 0):
        raise ValueError(
            f"{name}: masses {list(masses)} must be positive, finite and increasing (Msun); "
            "raise the upper or lower the lower limit"
        )
    return masses


class AbstractBrokenPowerLaw(AbstractIMF):
    """xi ~ m^-alpha_i between breaks, continuous across them."""

    breaks: eqx.AbstractVar[tuple[float, ...]]

    @property
    @abstractmethod
    def slopes(self) -> tuple[Any, ...]:
        """The exponents alpha_i = x_i + 1, one for each interval between breaks."""

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest mass, Msun."""
        return self.breaks[0], self.breaks[-1]

    def _levels(self):
        """ln xi at the lower end of each interval, up to a constant."""
        levels = [jnp.zeros((), jnp.result_type(float))]
        for alpha, lo, hi in zip(self.slopes[:-1], self.breaks, self.breaks[1:-1], strict=False):
            levels.append(levels[-1] - alpha * np.log(hi / lo))
        return levels

    def log_shape(self, m) -> Scalar:
        """Piecewise linear in ln m."""
        x = jnp.log(m)
        value = -self.slopes[0] * (x - np.log(self.breaks[0]))
        for before, after, edge in zip(self.slopes, self.slopes[1:], self.breaks[1:-1], strict=False):
            value = value - (after - before) * jnp.maximum(x - np.log(edge), 0.0)
        return value

    def cumulative(self, m, moment: int) -> Scalar:
        """Closed form, smooth through exponents at which it is a logarithm."""
        total: Any = 0.0
        for level, alpha, lo, hi in zip(
            self._levels(), self.slopes, self.breaks, self.breaks[1:], strict=False
        ):
            top = jnp.clip(jnp.asarray(m), lo, hi)
            # int_lo^top m^moment (m/lo)^-alpha dm = lo^(moment + 1) t (e^p - 1)/p, t = ln(top/lo).
            t = jnp.log(top / lo)
            p = (moment + 1 - alpha) * t
            total = total + jnp.exp(level) * lo ** (moment + 1) * t * _relative_growth(p)
        return total


def _relative_growth(p):
    """(exp(p) - 1) / p, with its series near p = 0 for the sake of derivatives."""
    small = jnp.abs(p) < 1e-3
    safe = jnp.where(small, 1.0, p)
    series = 1.0 + p / 2.0 + p**2 / 6.0 + p**3 / 24.0 + p**4 / 120.0
    return jnp.where(small, series, jnp.expm1(safe) / safe)


@final
class BrokenPowerLaw(AbstractBrokenPowerLaw):
    """xi ~ m^-alpha_i, with any number of breaks.

    Attributes
    ----------
    exponents : shape (k,)
        alpha_i; a slope x per logarithm of mass is alpha = x + 1.
    breaks : k + 1 increasing masses, Msun, static
        Lower limit, breaks, upper limit.

    >>> imf = BrokenPowerLaw([1.3, 2.3], breaks=(0.08, 0.5, 100.0))
    >>> round(float(imf.mean_mass()), 3), round(float(imf.xi(0.6) / Kroupa().xi(0.6)), 6)
    (0.574, 1.0)
    """

    exponents: Float[Array, " k"] = param(constraints.real, "", "exponents alpha_i")
    breaks: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, exponents, breaks):
        values: Any = as_array(exponents)
        self.exponents = values
        self.breaks = _check_limits("BrokenPowerLaw", breaks)
        if jnp.shape(self.exponents) != (len(self.breaks) - 1,):
            raise ValueError(
                f"BrokenPowerLaw: {len(self.breaks)} masses bound {len(self.breaks) - 1} intervals, "
                f"but exponents has shape {jnp.shape(self.exponents)}; give one for each"
            )

    @property
    def slopes(self) -> tuple[Any, ...]:
        """The exponents."""
        return tuple(self.exponents[i] for i in range(len(self.breaks) - 1))


@final
class Salpeter(AbstractBrokenPowerLaw):
    """xi ~ m^-alpha (Salpeter 1955, ApJ 121, 161: alpha = 2.35).

    Attributes
    ----------
    alpha : shape ()
    lowest, highest : Msun, static

    >>> round(float(Salpeter().mean_mass()), 4)
    0.3514
    """

    alpha: Float[Array, ""] = param(constraints.real, "", "exponent")
    breaks: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, alpha: Any = 2.35, lowest: float = 0.1, highest: float = 100.0):
        self.alpha = alpha
        self.breaks = _check_limits("Salpeter", (lowest, highest))

    @property
    def slopes(self) -> tuple[Any, ...]:
        """alpha."""
        return (self.alpha,)


@final
class Kroupa(AbstractBrokenPowerLaw):
    """xi ~ m^-alpha_1 from 0.08 to 0.5 Msun and m^-alpha_2 above (Kroupa 2001, MNRAS 322, 231).

    Brown dwarfs, below 0.08 Msun, are left out.

    Attributes
    ----------
    alpha_1, alpha_2 : shape ()
        1.3 and 2.3.
    lowest, highest : Msun, static
        The lower limit must be below the break at 0.5 Msun.

    >>> round(float(Kroupa().number(0.08, 0.5)), 3)
    0.761
    """

    alpha_1: Float[Array, ""] = param(constraints.real, "", "exponent below 0.5 Msun")
    alpha_2: Float[Array, ""] = param(constraints.real, "", "exponent above 0.5 Msun")
    breaks: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, alpha_1: Any = 1.3, alpha_2: Any = 2.3, lowest: float = 0.08, highest: float = 100.0):
        self.alpha_1, self.alpha_2 = alpha_1, alpha_2
        self.breaks = _check_limits("Kroupa", (lowest, 0.5, highest))

    @property
    def slopes(self) -> tuple[Any, ...]:
        """Both exponents."""
        return self.alpha_1, self.alpha_2


@final
class DehnenBinneyIMF(AbstractBrokenPowerLaw):
    """xi ~ m^-(x + 1), x = 0.3 below 0.8 Msun and 1.35 above, from 0.15 Msun.

    The IMF of Dehnen & Binney (1996, sec. 4.4). The paper names no upper limit; it is taken to be 100 Msun,
    and xi to be continuous at 0.8 Msun.

    Attributes
    ----------
    x_low, x_high : shape ()
    lowest, highest : Msun, static

    >>> round(float(DehnenBinneyIMF().mean_mass()), 3)
    0.91
    """

    x_low: Float[Array, ""] = param(constraints.real, "", "slope below 0.8 Msun")
    x_high: Float[Array, ""] = param(constraints.real, "", "slope above 0.8 Msun")
    breaks: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, x_low: Any = 0.3, x_high: Any = 1.35, lowest: float = 0.15, highest: float = 100.0):
        self.x_low, self.x_high = x_low, x_high
        self.breaks = _check_limits("DehnenBinneyIMF", (lowest, 0.8, highest))

    @property
    def slopes(self) -> tuple[Any, ...]:
        """Both slopes plus one."""
        return self.x_low + 1.0, self.x_high + 1.0


@final
class Chabrier(AbstractIMF):
    """Log-normal below 1 Msun, a power law above (Chabrier 2003, PASP 115, 763, table 1: single disc stars).

        dN/dlog m ~ exp(-(log m - log m_c)^2 / (2 sigma^2)),  m < 1;    ~ m^-x,  m > 1, continuous at 1.

    Attributes
    ----------
    m_c : shape (), Msun, positive
        0.08.
    sigma : shape (), dex, positive
        0.69.
    x : shape ()
        1.3.
    lowest, highest : Msun, static
        The lower limit must be below 1 Msun.

    >>> round(float(Chabrier().mean_mass()), 3)
    0.607
    """

    m_c: Float[Array, ""] = param(constraints.positive, "Msun", "centre of the log-normal")
    sigma: Float[Array, ""] = param(constraints.positive, "dex", "width of the log-normal")
    x: Float[Array, ""] = param(constraints.real, "", "slope above 1 Msun")
    limits: tuple[float, float] = eqx.field(static=True)

    def __init__(
        self, m_c: Any = 0.08, sigma: Any = 0.69, x: Any = 1.3, lowest: float = 0.08, highest: float = 100.0
    ):
        self.m_c, self.sigma, self.x = m_c, sigma, x
        lo, _, hi = _check_limits("Chabrier", (lowest, 1.0, highest))
        self.limits = lo, hi

    def log_shape(self, m) -> Scalar:
        """ln(dN/dlog m) - ln m."""
        y = jnp.log10(m)
        c = jnp.log10(self.m_c)
        below = -0.5 * ((jnp.minimum(y, 0.0) - c) / self.sigma) ** 2
        return below - self.x * jnp.maximum(jnp.log(m), 0.0) - jnp.log(m)

    def cumulative(self, m, moment: int) -> Scalar:
        """Closed form: normal integrals and a power law."""
        lo, hi = self.limits
        ln_c, s = jnp.log(self.m_c), self.sigma * np.log(10.0)
        centre = ln_c + moment * s**2
        m = jnp.asarray(m)
        y = jnp.log(jnp.clip(m, lo, 1.0))
        amplitude = jnp.exp(moment * ln_c + 0.5 * (moment * s) ** 2) * s * np.sqrt(2 * np.pi)
        below = amplitude * (ndtr((y - centre) / s) - ndtr((np.log(lo) - centre) / s))
        t = jnp.log(jnp.clip(m, 1.0, hi))
        level = jnp.exp(-0.5 * (ln_c / s) ** 2)
        return below + level * t * _relative_growth((moment - self.x) * t)


IMFS: dict[str, type[AbstractIMF]] = {
    "kroupa": Kroupa,
    "chabrier": Chabrier,
    "salpeter": Salpeter,
    "dehnen_binney_imf": DehnenBinneyIMF,
    "broken_power_law_imf": BrokenPowerLaw,
}
"""Initial mass functions by the `kind` used in configuration files."""
