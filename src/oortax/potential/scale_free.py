"""Scale-free spheroids with discs: densities that are powers of the radius on every ray."""

import functools
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.constants import G
from oortax.numerics.partials import by_partials
from oortax.params import param
from oortax.potential.base import AbstractClosedForm, soften
from oortax.types import Scalar

# b/h: with this ln(1 + mu^2/b^2) is singular where sech^2[z/(h R)] has its first pole (see `_build`).
STRETCH = 0.5 * np.pi
# Below this |2 - gamma| the closed form of (r^p - 1)/p gives way to its series.
P_SMALL = 2e-3


@final
class ScaleFree(AbstractClosedForm):
    """A spheroid and a disc, both falling as r^-gamma (Dehnen & Binney 1996, eqs. 3 and 4).

        rho = rho_s [R^2 + (z/q)^2]^(-gamma/2) + rho_d R^-gamma sech^2[z/(h R)],  R and z in kpc.

    The disc's exponential scale height far from the plane is z_d = h R/2 (the paper: h = 0.06, z_d = 0.03 R).
    On every ray Phi is a power of r, and Poisson's equation becomes one for the angle alone:

        Phi = v_1^2 (r^p - 1)/p + 4 pi G r^p P(mu),  p = 2 - gamma,  mu = z/r,  P(0) = 0,
        d/dmu [(1 - mu^2) dP/dmu] + p (1 + p) P = r^gamma rho - D,  v_1^2 = 4 pi G D/(1 + p).

    D follows from the condition that P be regular on the axis. P is a polynomial of `n_nodes` coefficients
    in ln(1 + mu^2/b^2), b = pi h/2, found by collocation: this coordinate opens the disc, whose thickness
    would else call for a hundred multipoles. Under vmap coefficients are computed once, not per point; see
    `field` for code that should not rely on it.

    Zero point: Phi = 0 on the circle R = 1 kpc, z = 0, where the circular speed is v_1. So Phi is smooth
    through gamma = 2, where v_c(R) = v_1 R^(p/2) is flat. `limit` gives the constant Phi of the centre
    (gamma < 2, nothing ever escapes) or of infinity (gamma > 2); Phi - limit scales as r^p.

    Accuracy of the force (relative): in the paper's potential 4e-12 with 24 nodes, 2e-8 with 16 and 7e-6
    with 10. With 24 nodes it is 1e-8 or better for 0.01 < h < 0.4, 0.1 < q < 1.3 and any gamma > 0.2;
    outside that 7e-8 at q = 0.05, 2e-6 at q = 2 (prolate) and 1e-6 at h = 1, where 32 nodes give 7e-10,
    3e-8 and 3e-7.
    Second derivatives lose two digits. float32 keeps 3e-6 in Phi.

    >>> pot = ScaleFree(rho_s=5.6e8, rho_d=2.3e9, gamma=1.8, q=0.8, h=0.06)
    >>> round(float(pot.field().v_1), 1)
    165.8
    >>> bool(pot.Phi_Rz(0.0, 8.0) > pot.Phi_Rz(8.0, 0.0) > 0.0)
    True
    """

    rho_s: Scalar = param(constraints.positive, "Msun/kpc^3", "density of the spheroid at R = 1 kpc, z = 0")
    rho_d: Scalar = param(constraints.positive, "Msun/kpc^3", "density of the disc at R = 1 kpc, z = 0")
    gamma: Scalar = param(constraints.interval(0.0, 3.0), "", "slope of the density")
    q: Scalar = param(constraints.positive, "", "axis ratio of the spheroid's density, z to R")
    h: Scalar = param(constraints.positive, "", "height over radius of the disc, in sech^2[z/(h R)]")
    n_nodes: int = eqx.field(static=True, default=24)

    def __check_init__(self):
        if self.n_nodes < 6:
            raise ValueError(f"ScaleFree(n_nodes={self.n_nodes}): n_nodes must be at least 6")

    def Phi_of_squares(self, R2, z2):
        return self.field().Phi_of_squares(R2, z2)

    def field(self) -> "ScaleFreeField":
        """The same potential with Poisson's equation solved: build it once, evaluate it at many points."""
        return _build(self)

    def expanded(self, grid) -> "ScaleFreeField":
        """The same: it needs no grid."""
        return self.field()

    def rho(self, R, z) -> Scalar:
        """Density at cylindrical radius R and height z (kpc), in Msun/kpc^3: the formula, not Poisson's."""
        return self._density(soften(R * R), soften(z * z))

    def limit(self) -> Scalar:
        """Phi at the centre (gamma < 2) or at infinity (gamma > 2), in (km/s)^2; infinite at gamma = 2."""
        return self.field().limit()

    def _density(self, R2, z2):
        spheroid = self.rho_s * (R2 + z2 / (self.q * self.q)) ** (-0.5 * self.gamma)
        # sech^2 by an exponential that only underflows: on the axis it beats every power of R.
        decay = jnp.exp(-2.0 * jnp.sqrt(z2 / R2) / self.h)
        disc = self.rho_d * R2 ** (-0.5 * self.gamma) * 4.0 * decay / (1.0 + decay) ** 2
        return spheroid + disc


@final
class ScaleFreeField(AbstractClosedForm):
    """A `ScaleFree` potential with its angular part solved for (made by `ScaleFree.field`).

    It has no parameters of its own: derivatives with respect to those of `ScaleFree` flow through it.

    >>> pot = ScaleFree(rho_s=5.6e8, rho_d=2.3e9, gamma=1.8, q=0.8, h=0.06)
    >>> bool(pot.field().Phi_Rz(8.0, 1.0) == pot.Phi_Rz(8.0, 1.0))
    True
    """

    gamma: Float[Array, ""]
    b2: Float[Array, ""]
    v_1: Float[Array, ""]
    coefficients: Float[Array, " n"]

    def limit(self) -> Scalar:
        """Phi at the centre (gamma < 2) or at infinity (gamma > 2), in (km/s)^2; infinite at gamma = 2."""
        return -(self.v_1**2) / (2.0 - self.gamma)

    def Phi_of_squares(self, R2, z2):
        r2 = soften(R2 + z2)
        log_r, p = 0.5 * jnp.log(r2), 2.0 - self.gamma
        # y = 2 X - 1 of `_Rule`, from -1 in the plane to 1 on the axis.
        y = 1.0 + 2.0 * jnp.log((self.b2 + z2 / r2) / (1.0 + self.b2)) / jnp.log1p(1.0 / self.b2)
        angular = _polynomial(self.coefficients, y)
        return self.v_1 * self.v_1 * growth(log_r, p) + jnp.exp(p * log_r) * angular


def _integral_of_power(log_r, p):
    """(r^p - 1)/p with the limit ln r at p = 0, smooth in p."""
    y = p * log_r
    small = jnp.abs(p) < P_SMALL
    safe = jnp.where(small, 1.0, p)
    series = 1.0 + y / 9.0
    for k in range(8, 1, -1):
        series = 1.0 + y / k * series
    # exp - 1 and not expm1, whose derivative expm1 + 1 loses all digits where r^p is small.
    return jnp.where(small, log_r * series, (jnp.exp(safe * log_r) - 1.0) / safe)


growth = by_partials(_integral_of_power, known=(lambda log_r, p: jnp.exp(p * log_r),))
"""int_0^(ln r) exp(p t) dt = (r^p - 1)/p as a function of ln r and p."""


@jax.custom_jvp
def _polynomial(coefficients, y):
    """A polynomial, lowest coefficient first, whose derivatives are polynomials again."""
    return _horner(coefficients, y)


def _polynomial_jvp(primals, tangents):
    coefficients, y = primals
    moved, dy = tangents
    value = _polynomial(coefficients, y)
    change = jnp.zeros_like(value)
    if not isinstance(moved, SymbolicZero):
        change = change + _horner(moved, y)
    if not isinstance(dy, SymbolicZero):
        change = change + _polynomial(coefficients[1:] * np.arange(1, coefficients.shape[0]), y) * dy
    return value, change


_polynomial.defjvp(_polynomial_jvp, symbolic_zeros=True)


@jax.jit
def _horner(coefficients, y):
    """Unrolled, so that one loop over points fuses; jitted, so that calls outside jit compile it once."""
    start = coefficients[-1] + jnp.zeros_like(y)
    rest = coefficients[:-1]
    return lax.scan(
        lambda total, c: (total * y + c, None), start, rest, reverse=True, unroll=max(len(rest), 1)
    )[0]


class _Rule(NamedTuple):
    """Collocation in X = ln(1 + mu^2/b^2) / ln(1 + 1/b^2), 0 <= X <= 1: all that no parameter moves."""

    X: np.ndarray  # (n,) Gauss-Chebyshev nodes
    values: np.ndarray  # (n, n): Chebyshev coefficients in 2 X - 1 -> values at the nodes
    slopes: np.ndarray  # (n, n): -> derivatives with respect to X
    curvatures: np.ndarray  # (n, n): -> second derivatives
    in_plane: np.ndarray  # (n,): -> the value at X = 0
    to_monomials: np.ndarray  # (n, n): -> powers of 2 X - 1


@functools.cache
def _rule(n: int) -> _Rule:
    chebyshev = np.polynomial.chebyshev
    y = -np.cos((np.arange(n) + 0.5) * np.pi / n)
    unit = np.eye(n)

    def derivatives(order):
        return 2.0**order * chebyshev.chebval(y, chebyshev.chebder(unit, order)).T

    monomials = np.zeros((n, n))
    for degree in range(n):
        monomials[: degree + 1, degree] = chebyshev.cheb2poly(unit[degree, : degree + 1])
    return _Rule(
        0.5 * (1.0 + y),
        chebyshev.chebvander(y, n - 1),
        derivatives(1),
        derivatives(2),
        (-1.0) ** np.arange(n),
        monomials,
    )


@jax.jit
def _build(pot: ScaleFree) -> ScaleFreeField:
    """Solve Poisson's equation for the angular part by collocation.

    With s = mu^2 = b^2 (e^xi - 1) it reads

        4 s (1 - s)/(b^2 + s)^2 (P'' - P') + (2 - 6 s)/(b^2 + s) P' + p (1 + p) P + D = r^gamma rho,

    primes meaning d/dxi: regular at both ends, so that no boundary condition is needed. All singularities
    of a disc (z/r = i pi h/2, ...) and of an oblate spheroid lie on |Im xi| = pi, which is why one polynomial
    serves thick and thin. Besides the n equations, P(0) = 0; the unknown D keeps the system regular at
    gamma = 2, where a constant would else be free.
    """
    dtype = jnp.result_type(pot.rho_s, pot.rho_d, pot.gamma, pot.q, pot.h)
    rule = [jnp.asarray(array, dtype=dtype) for array in _rule(pot.n_nodes)]
    X, values, slopes, curvatures, in_plane, to_monomials = rule
    p = 2.0 - pot.gamma
    b2 = (STRETCH * pot.h) ** 2
    span = jnp.log1p(1.0 / b2)
    s = b2 * jnp.expm1(span * X)
    rest = -(1.0 + b2) * jnp.expm1(span * (X - 1.0))  # 1 - s, to full precision
    w = b2 + s
    first, second = slopes / span, curvatures / span**2
    operator = (
        (4.0 * s * rest / w)[:, None] * (second - first)
        + (2.0 - 6.0 * s)[:, None] * first
        + (p * (1.0 + p) * w)[:, None] * values
    )
    matrix = jnp.block([[operator, w[:, None]], [in_plane[None, :], jnp.zeros((1, 1), dtype=dtype)]])
    source = jnp.append(w * pot._density(rest, s), 0.0)
    solution = jnp.linalg.solve(matrix, source)
    v_1 = jnp.sqrt(4.0 * jnp.pi * G * solution[-1] / (1.0 + p))
    # Two products and not one matrix: large entries of the second meet small coefficients only.
    return ScaleFreeField(pot.gamma, b2, v_1, 4.0 * jnp.pi * G * (to_monomials @ solution[:-1]))
