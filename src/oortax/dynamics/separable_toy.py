"""A toy for orbits: two motions in closed form, whose angles and actions any loop orbit's points have.

Spheroidal coordinates R = rho cos(lat), z = (rho^2 + Delta^2)^(1/2) sin(lat), their latitude stretched to
lat' = lat + a sin(2 lat). In rho the toy is an isochrone with a barrier of its own, in lat' a particle on a
sphere. Any numbers (Delta^2, a, barrier, GM, b) make (theta, J) canonical; good ones make J vary little.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from oortax.numerics.trigonometry import sin_cos
from oortax.types import Scalar, Vec3

# Stretches, and b in mean radii, of which the best are taken.
_STRETCHES = np.linspace(-0.11, 0.45, 15)
_CORES = np.geomspace(0.003, 5.0, 24)
# No focal distance is taken only if variances are below this share of what they are with one: in potentials
# that nearly separate, modes that mix both motions then nearly vanish.
_BETTER = 0.5
# Golden sections of the interval in which the least is: to 1e-4 of it.
_GOLDEN, _SECTIONS = 0.5 * (np.sqrt(5.0) - 1.0), 20
# Keeps squares from the axis and from the circle, where the angles have no meaning.
_TINY = 1e-300


class Spheroidal(NamedTuple):
    """Points in spheroidal coordinates: p is the momentum of rho, p_lat that of lat."""

    rho: Scalar
    p: Scalar
    sine: Scalar
    cosine: Scalar
    p_lat: Scalar
    phi: Scalar


class Toy(NamedTuple):
    """The numbers that make a toy: kpc^2, -, kpc km/s, kpc km^2/s^2, kpc, and the orbit's L_z."""

    Delta2: Scalar
    a: Scalar
    barrier: Scalar
    G_M: Scalar
    b: Scalar
    L_z: Scalar


def spheroidal(x: Vec3, v: Vec3, Delta2: Scalar) -> Spheroidal:
    """One point."""
    R2, z = x[0] * x[0] + x[1] * x[1] + _TINY, x[2]
    A = R2 + z * z - Delta2
    root = jnp.sqrt(A * A + 4.0 * Delta2 * R2)
    rho2 = jnp.where(A > 0.0, 0.5 * (A + root), 2.0 * Delta2 * R2 / jnp.where(A > 0.0, 1.0, root - A))
    R, rho, height = jnp.sqrt(R2), jnp.sqrt(rho2), jnp.sqrt(rho2 + Delta2)
    sine, cosine, v_R = z / height, R / rho, (x[0] * v[0] + x[1] * v[1]) / R
    p = cosine * v_R + rho / height * sine * v[2]
    return Spheroidal(
        rho, p, sine, cosine, height * cosine * v[2] - rho * sine * v_R, jnp.arctan2(x[1], x[0])
    )


def fitted(
    x: Float[Array, "n 3"], v: Float[Array, "n 3"], w: Float[Array, " n"], Delta2: Scalar, L_z: Scalar
) -> Toy:
    """The toy with the focal distance given, or with none, whose actions vary least along an orbit.

    Means along it are taken with the weights w, of sum 1.
    """

    def with_focus(Delta2):
        at = jax.vmap(spheroidal, (0, 0, None))(x, v, Delta2)
        a = _least(lambda a: _variance(_latitude(at, a, L_z)[0], w), jnp.asarray(_STRETCHES))
        barrier = jnp.sqrt(w @ _latitude(at, a, L_z)[0] ** 2)
        toy = Toy(Delta2, a, barrier, *_isochrone(at, w, barrier), L_z)
        J = jax.vmap(lambda at: _angles_actions(toy, at)[1])(at)
        cost = _variance(J[:, 0], w) + _variance(J[:, 1], w)
        return toy, jnp.where(jnp.isfinite(cost), cost, jnp.inf)

    toys, costs = jax.vmap(with_focus)(jnp.stack([Delta2, jnp.zeros_like(Delta2)]))
    return jax.tree.map(lambda leaf: jnp.where(costs[1] < _BETTER * costs[0], leaf[1], leaf[0]), toys)


def angles_actions(toy: Toy, x: Vec3, v: Vec3) -> tuple[Vec3, Float[Array, "2"], Scalar]:
    """(theta_r, theta_z, theta_phi), each within a turn, (J_r, J_z), and how far theta_z runs ahead.

    theta_z follows the latitude and is fast at pericentre; with what it lacks there, a function of theta_r
    from the isochrone's own motion, it is nearly even in time, and can be followed from one time to the next.
    """
    return _angles_actions(toy, spheroidal(x, v, toy.Delta2))


def followed(theta: Float[Array, "n 3"], lag: Float[Array, " n"], L_z: Scalar) -> Float[Array, "n 3"]:
    """Angles along an orbit, even in time and without jumps: theta_z and theta_phi with the lag.

    What is added is a sum of sines of whole multiples of the toy's angles, as the difference between these
    and the true angles is.
    """
    turned = jnp.stack([jnp.zeros(()), jnp.ones(()), jnp.where(L_z < 0.0, -1.0, 1.0)])
    return jnp.unwrap(theta + lag[:, None] * turned, axis=0)


def _angles_actions(toy: Toy, at: Spheroidal) -> tuple[Vec3, Float[Array, "2"], Scalar]:
    L, lat_sine, lat_cosine, p_lat = _latitude(at, toy.a, toy.L_z)
    L_z = jnp.abs(toy.L_z)
    # L - |L_z| without cancellation in the plane.
    J_z = (p_lat * p_lat + (L_z * lat_sine / lat_cosine) ** 2) / (L + L_z + _TINY)
    theta_z = jnp.arctan2(L * lat_sine, p_lat * lat_cosine)
    azimuth = jnp.arctan2(L_z * lat_sine, p_lat * lat_cosine)
    theta_phi = at.phi + jnp.where(toy.L_z < 0.0, -1.0, 1.0) * (theta_z - azimuth)
    theta_r, J_r, lag = _radial(toy, at)
    return jnp.stack([theta_r, theta_z, theta_phi]), jnp.stack([J_r, J_z]), lag


def _radial(toy: Toy, at: Spheroidal) -> tuple[Scalar, Scalar, Scalar]:
    """theta_r, J_r and the lag of the isochrone (Binney & Tremaine 2008, eqs. 3.224-3.241), or NaN.

    With s = 1 + (1 + rho^2/b^2)^(1/2) = 2 + (c/b) (1 - e cos eta) and c = GM/(-2H) - b, it is rho p =
    c (GM/(b + c))^(1/2) e sin(eta), and theta_r = eta - e c/(b + c) sin(eta).
    """
    G_M, b, L = toy.G_M, toy.b, toy.barrier
    rho2 = at.rho * at.rho
    root = jnp.sqrt(b * b + rho2)
    H = 0.5 * (at.p * at.p + L * L / rho2) - G_M / (b + root)
    sum_of = G_M / (-2.0 * H)
    c = sum_of - b
    # e cos(eta), with s - 2 = rho^2/(b (b + root)) without cancellation.
    e_cos = 1.0 - rho2 / (c * (b + root))
    e_sin = at.rho * at.p / c * jnp.sqrt(sum_of / G_M)
    core, k = jnp.sqrt(L * L + 4.0 * G_M * b), jnp.sqrt(-2.0 * H)
    J_r = jnp.sqrt(G_M * sum_of) - 0.5 * (L + core)
    eta = jnp.arctan2(e_sin, e_cos)
    theta_r = eta - e_sin * c / sum_of
    sine, cosine = sin_cos(0.5 * eta)
    apo = c * (1.0 + jnp.hypot(e_sin, e_cos))
    inner = jnp.arctan2(k * apo * sine, L * cosine)
    outer = jnp.arctan2(k * (apo + 2.0 * b) * sine, core * cosine)
    return theta_r, J_r, 0.5 * (1.0 + L / core) * theta_r - inner - L / core * outer


def _latitude(at: Spheroidal, a, L_z):
    """Angular momentum of the particle on a sphere, sine and cosine of lat', and its momentum."""
    twice, difference = 2.0 * at.sine * at.cosine, at.cosine * at.cosine - at.sine * at.sine
    sin, cos = sin_cos(a * twice)
    sine, cosine = at.sine * cos + at.cosine * sin, at.cosine * cos - at.sine * sin
    cosine = jnp.maximum(cosine, 1e-150)
    p_lat = at.p_lat / (1.0 + 2.0 * a * difference)
    return jnp.sqrt(p_lat * p_lat + (L_z / cosine) ** 2), sine, cosine, p_lat


def _isochrone(at: Spheroidal, w, barrier) -> tuple[Scalar, Scalar]:
    """GM and b for which the isochrone's J_r varies least along an orbit, and the virial theorem holds."""
    rho2 = at.rho * at.rho
    kinetic = 0.5 * (at.p * at.p + barrier * barrier / rho2)
    twice, low, high = 2.0 * (w @ kinetic), jnp.argmin(at.rho), jnp.argmax(at.rho)
    varied = kinetic - 0.5 * twice

    def masses(log_b):
        """Two of GM, and what is wrong with each: by least squares in H, and with H the same at both ends."""
        b = jnp.exp(log_b)
        root = jnp.sqrt(b * b + rho2)
        depth = 1.0 / (b + root)
        virial = w @ (rho2 * depth**2 / root)
        varies = depth - w @ depth
        of_all = (w @ (varied * varies) + twice * virial) / (w @ varies**2 + virial**2)
        of_ends = (kinetic[low] - kinetic[high]) / (depth[low] - depth[high] + _TINY)
        G_M = jnp.stack([of_all, of_ends])
        k2 = 2.0 * (G_M[:, None] * depth - kinetic)
        J = G_M[:, None] / jnp.sqrt(k2)
        # An error of the energy over the frequency is one of the action.
        miss = jax.vmap(_variance, (0, None))(J, w) + ((twice - G_M * virial) * ((J / k2) @ w)) ** 2
        return G_M, jnp.where(jnp.isfinite(miss), miss, jnp.inf)

    log_b = _least(lambda log_b: jnp.min(masses(log_b)[1]), jnp.log(w @ at.rho) + jnp.log(_CORES))
    G_M, miss = masses(log_b)
    return G_M[jnp.argmin(miss)], jnp.exp(log_b)


def _variance(values, w) -> Scalar:
    return w @ (values - w @ values) ** 2


def _least(f, at: Float[Array, " n"]) -> Scalar:
    """Where f is least: the best of evenly spaced points, and golden sections of the intervals beside it."""
    step = at[1] - at[0]
    middle = at[jnp.argmin(jax.vmap(f)(at))]

    def section(_, ends):
        low, high = ends
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        falls = f(right) < f(left)
        return jnp.where(falls, left, low), jnp.where(falls, high, right)

    low, high = lax.fori_loop(0, _SECTIONS, section, (middle - step, middle + step))
    return 0.5 * (low + high)
