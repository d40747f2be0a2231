"""One orbit by numerical integration: with fixed symplectic steps, or with steps as accuracy needs them."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from oortax.dynamics.base import require_float64
from oortax.potential import acceleration
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.types import Scalar, Vec3

# Forest & Ruth (1990, Physica D 43, 105): three leapfrogs, of which the middle one goes back.
_CUBE = 2.0 ** (1.0 / 3.0)
_PARTS = np.array([1.0, -_CUBE, 1.0]) / (2.0 - _CUBE)
# Velocities are measured in this (km/s) where errors in x and v are compared.
_SPEED = 100.0
# No adaptive step is shorter than this share of the whole time.
_LEAST_STEP = 1e-12


def force(potential: AbstractPotential, x: Vec3, axisymmetric: bool = True) -> Vec3:
    """-grad Phi in (km/s)^2/kpc: of a potential of R^2 and z^2 in the faster way, unless told otherwise."""
    return acceleration(potential, x) if axisymmetric else -jax.grad(potential.Phi)(x)


def symplectic_step(
    potential: AbstractPotential, x: Vec3, v: Vec3, dt: Scalar, axisymmetric: bool = True
) -> tuple[Vec3, Vec3]:
    """One step of the fourth-order integrator of Forest & Ruth: three forces.

    axisymmetric=False (static) takes them from Phi(x) whatever its symmetry.

    >>> from oortax.potential import Plummer
    >>> x, v = symplectic_step(Plummer(M=1e10, b=1.0), jnp.array([1.0, 0.0, 0.0]), jnp.zeros(3), 0.001)
    >>> bool(v[0] < 0.0)
    True
    """

    def part(state, w):
        x, v = state
        x = x + 0.5 * w * dt * v
        v = v + w * dt * force(potential, x, axisymmetric)
        return (x + 0.5 * w * dt * v, v), None

    return lax.scan(part, (x, v), jnp.asarray(_PARTS))[0]


def integrate_orbit(
    potential: AbstractPotential,
    x: Vec3,
    v: Vec3,
    times: Float[Array, " n"],
    steps: int = 16,
    axisymmetric: bool = True,
) -> tuple[Float[Array, "n 3"], Float[Array, "n 3"]]:
    """Positions (kpc) and velocities (km/s) of an orbit at given times.

    Parameters
    ----------
    x, v : where it is at times[0], kpc and km/s
    times : kpc/(km/s) (0.978 Gyr), in order; may fall
    steps : static; steps of equal length between one time and the next
    axisymmetric : static; False for a potential that depends on azimuth, or on the sign of z

    Fixed steps of a fourth-order symplectic integrator: traceable, vmappable, differentiable in both
    directions, and energies do not drift. The error falls as steps^-4; 500 steps in a radial period keep E to
    1e-8 of itself for a disc orbit (tests/dynamics/test_orbit.py). Raises ValueError for steps < 1 and for
    float32.

    >>> from oortax import potential
    >>> pot = potential.mw_potential_2014()
    >>> x, v = jnp.array([8.0, 0.0, 0.0]), jnp.array([0.0, 220.0, 0.0])
    >>> x, v = integrate_orbit(pot, x, v, jnp.linspace(0.0, 0.2, 50))
    >>> bool(abs(jnp.linalg.norm(x[-1]) - 8.0) < 1e-3)
    True
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps = {steps!r}: a whole number >= 1 is needed")
    require_float64("integrate_orbit", x)
    potential = expand(potential)

    def advance(state, dt):
        def step(state, _):
            return symplectic_step(potential, state[0], state[1], dt / steps, axisymmetric), None

        state, _ = lax.scan(step, state, length=steps)
        return state, state

    start = (jnp.asarray(x), jnp.asarray(v))
    _, (xs, vs) = lax.scan(advance, start, jnp.diff(times))
    return jnp.concatenate([start[0][None], xs]), jnp.concatenate([start[1][None], vs])


def adaptive_orbit(
    potential: AbstractPotential,
    x: Vec3,
    v: Vec3,
    times: Float[Array, " n"],
    *,
    rtol=1e-10,
    atol=1e-10,
    max_steps: int = 100_000,
    axisymmetric: bool = True,
) -> tuple[Float[Array, "n 3"], Float[Array, "n 3"], Bool[Array, ""]]:
    """Positions (kpc) and velocities (km/s) at given times, and whether all were reached.

    Parameters
    ----------
    x, v : where it is at times[0], kpc and km/s
    times : kpc/(km/s), in order; may fall
    rtol, atol : errors of a step in each of x and v, relative and absolute (kpc, and 100 km/s)
    max_steps : static; at most so many
    axisymmetric : static; False for a potential that depends on azimuth, or on the sign of z

    Steps of the eighth-order pair of Prince & Dormand (1981), as long as the tolerances let them be
    (`diffrax.Dopri8`). With those given here E keeps to some 1e-9 of the largest kinetic energy over ten
    radial periods, in between steps too, whatever the orbit's shape: closest approaches take as many steps as
    they need. Traceable and vmappable (a batch takes as many steps as the slowest of it); differentiable in
    reverse. Where not all times were reached, those that were not are NaN. Raises ValueError for float32.

    >>> from oortax import potential
    >>> pot = potential.mw_potential_2014()
    >>> x, v = jnp.array([8.0, 0.0, 0.0]), jnp.array([0.0, 220.0, 0.0])
    >>> x, v, reached = adaptive_orbit(pot, x, v, jnp.linspace(0.0, 0.2, 5))
    >>> bool(abs(jnp.linalg.norm(x[-1]) - 8.0) < 1e-6), bool(reached)
    (True, True)
    """
    require_float64("adaptive_orbit", x)
    potential = expand(potential)

    def slope(_, state, potential):
        x, v = state
        return v * _SPEED, force(potential, x, axisymmetric) / _SPEED

    found = diffrax.diffeqsolve(
        diffrax.ODETerm(slope),
        diffrax.Dopri8(),
        times[0],
        times[-1],
        None,
        (jnp.asarray(x), jnp.asarray(v) / _SPEED),
        args=potential,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(
            rtol, atol, dtmin=_LEAST_STEP * jnp.abs(times[-1] - times[0]), force_dtmin=False
        ),
        max_steps=max_steps,
        throw=False,
    )
    assert found.ys is not None
    xs, vs = (jnp.where(jnp.isfinite(part), part, jnp.nan) for part in found.ys)
    return xs, vs * _SPEED, found.result == diffrax.RESULTS.successful
