"""A toy for orbits: two motions in closed form, whose angles and actions any loop orbit's points have.

Spheroidal coordinates R = rho cos(lat), z = (rho^2 + Delta^2)^(1/2) sin(lat), with their latitude stretched to
lat' = lat + a sin(2 lat). In rho the toy is an isochrone with a barrier of its own, in lat' a particle on a
sphere. Any numbers (Delta^2, a, barrier, GM, b) make (theta, J) canonical; good ones make J vary little.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.numerics.trigonometry import sin_cos
from oortax.types import Scalar, Vec3

# Stretches, and b in mean radii, of which the best are taken.
_STRETCHES = np.linspace(-0.08, 0.40, 17)
_CORES = np.geomspace(0.01, 5.0, 32)
# Keeps squares from the axis and from the circle, where the angles have no meaning.
_TINY = 1e-300


class Spheroidal(NamedTuple):
    """Points in spheroidal coordinates: ln(rho) is not needed, p is the momentum of rho, p_lat that of lat."""

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


def fitted(x: Float[Array, "n 3"], v: Float[Array, "n 3"], Delta2: Scalar, L_z: Scalar) -> Toy:
    """The toy with the focal distance given, or with none, whose actions vary least along an orbit."""

    def with_focus(Delta2):
        at = jax.vmap(spheroidal, (0, 0, None))(x, v, Delta2)
        varied = jax.vmap(lambda a: jnp.var(_latitude(at, a, L_z)[0]))(jnp.asarray(_STRETCHES))
        a = jnp.asarray(_STRETCHES)[jnp.argmin(varied)]
        barrier = jnp.sqrt(jnp.mean(_latitude(at, a, L_z)[0] ** 2))
        toy = Toy(Delta2, a, barrier, *_isochrone(at, barrier), L_z)
        J = jax.vmap(lambda at: _angles_actions(toy, at)[1])(at)
        cost = jnp.sum(jnp.var(J, axis=0))
        return toy, jnp.where(jnp.isfinite(cost), cost, jnp.inf)

    toys, costs = jax.vmap(with_focus)(jnp.stack([Delta2, jnp.zeros_like(Delta2)]))
    return jax.tree.map(lambda leaf: leaf[jnp.argmin(costs)], toys)


def angles_actions(toy: Toy, x: Vec3, v: Vec3) -> tuple[Vec3, Float[Array, "2"]]:
    """(theta_r, theta_z, theta_phi), each within a turn, and (J_r, J_z) of one point."""
    return _angles_actions(toy, spheroidal(x, v, toy.Delta2))


def _angles_actions(toy: Toy, at: Spheroidal) -> tuple[Vec3, Float[Array, "2"]]:
    L, lat_sine, lat_cosine, p_lat = _latitude(at, toy.a, toy.L_z)
    L_z = jnp.abs(toy.L_z)
    # L - |L_z| without cancellation in the plane.
    J_z = (p_lat * p_lat + (L_z * lat_sine / lat_cosine) ** 2) / (L + L_z + _TINY)
    theta_z = jnp.arctan2(L * lat_sine, p_lat * lat_cosine)
    azimuth = jnp.arctan2(L_z * lat_sine, p_lat * lat_cosine)
    theta_phi = at.phi + jnp.where(toy.L_z < 0.0, -1.0, 1.0) * (theta_z - azimuth)
    theta_r, J_r = _radial(toy, at)
    return jnp.stack([theta_r, theta_z, theta_phi]), jnp.stack([J_r, J_z])


def _radial(toy: Toy, at: Spheroidal) -> tuple[Scalar, Scalar]:
    """theta_r and J_r of the isochrone (Binney & Tremaine 2008, eqs. 3.224-3.240); NaN where unbound.

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
    J_r = jnp.sqrt(G_M * sum_of) - 0.5 * (L + jnp.sqrt(L * L + 4.0 * G_M * b))
    return jnp.arctan2(e_sin, e_cos) - e_sin * c / sum_of, J_r


def _latitude(at: Spheroidal, a, L_z):
    """Angular momentum of the particle on a sphere, sine and cosine of lat', and its momentum."""
    twice, difference = 2.0 * at.sine * at.cosine, at.cosine * at.cosine - at.sine * at.sine
    sin, cos = sin_cos(a * twice)
    sine, cosine = at.sine * cos + at.cosine * sin, at.cosine * cos - at.sine * sin
    cosine = jnp.maximum(cosine, 1e-150)
    p_lat = at.p_lat / (1.0 + 2.0 * a * difference)
    return jnp.sqrt(p_lat * p_lat + (L_z / cosine) ** 2), sine, cosine, p_lat


def _isochrone(at: Spheroidal, barrier) -> tuple[Scalar, Scalar]:
    """GM and b for which the isochrone's H varies least along an orbit, and the virial theorem holds."""
    kinetic = 0.5 * (at.p**2 + (barrier / at.rho) ** 2)
    twice, kinetic = 2.0 * jnp.mean(kinetic), kinetic - jnp.mean(kinetic)

    def with_core(b):
        root = jnp.sqrt(b * b + at.rho**2)
        depth = 1.0 / (b + root)
        virial = jnp.mean(at.rho**2 * depth**2 / root)
        depth = depth - jnp.mean(depth)
        G_M = (jnp.mean(kinetic * depth) + twice * virial) / (jnp.mean(depth**2) + virial**2)
        return G_M, jnp.mean((kinetic - G_M * depth) ** 2) + (twice - G_M * virial) ** 2

    cores = jnp.mean(at.rho) * jnp.asarray(_CORES)
    G_M, miss = jax.vmap(with_core)(cores)
    best = jnp.argmin(miss)
    return G_M[best], cores[best]
