"""Potentials from and to gala: the same forces."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import io, params, potential

gp = pytest.importorskip("gala.potential")
import astropy.units as u  # noqa: E402
from gala.units import UnitSystem, galactic  # noqa: E402

_rng = np.random.default_rng(1)
_R = np.exp(_rng.uniform(np.log(0.3), np.log(60.0), 30))
_z = _R * np.tan(_rng.uniform(-1.2, 1.2, 30))
_z[:5] = 0.02 * _R[:5]
POINTS = np.stack([0.6 * _R, 0.8 * _R, _z], axis=1)
M, KPC, KMS = 1e10 * u.Msun, 1.0 * u.kpc, u.km / u.s
PARSECS = UnitSystem(u.pc, u.Myr, u.Msun, u.radian)


@eqx.filter_jit
def _forces(pot, x):
    return jax.vmap(lambda x: potential.acceleration(pot, x))(x)


def ours(pot):
    return np.asarray(_forces(potential.expand(pot), jnp.asarray(POINTS)))


def theirs(pot):
    return pot.acceleration(POINTS.T * u.kpc).to_value(KMS**2 / u.kpc).T


def difference(a, b):
    return np.max(np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1))


def _named(name, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a change of names to come
        return getattr(gp, name)(**options)


CASES = {
    "MilkyWayPotential": lambda: _named("MilkyWayPotential"),
    "MilkyWayPotential2022": lambda: _named("MilkyWayPotential2022"),
    "BovyMWPotential2014": lambda: _named("BovyMWPotential2014"),
    "MiyamotoNagai": lambda: gp.MiyamotoNagaiPotential(m=M, a=3 * KPC, b=0.3 * KPC, units=galactic),
    "in parsecs": lambda: gp.MiyamotoNagaiPotential(m=M, a=3 * KPC, b=0.3 * KPC, units=PARSECS),
    "Hernquist": lambda: gp.HernquistPotential(m=M, c=KPC, units=galactic),
    "Plummer": lambda: gp.PlummerPotential(m=M, b=KPC, units=galactic),
    "Isochrone": lambda: gp.IsochronePotential(m=M, b=KPC, units=galactic),
    "NFW": lambda: gp.NFWPotential(m=M, r_s=9 * KPC, units=galactic),
    "cut-off": lambda: gp.PowerLawCutoffPotential(m=M, alpha=1.3, r_c=2 * KPC, units=galactic),
    "logarithmic": lambda: gp.LogarithmicPotential(
        v_c=200 * KMS, r_h=0.5 * KPC, q1=1.2, q2=1.2, q3=0.8, units=galactic
    ),
    "MN3": lambda: gp.MN3ExponentialDiskPotential(m=M, h_R=3 * KPC, h_z=0.3 * KPC, units=galactic),
}


@pytest.mark.parametrize("name", CASES)
def test_forces_are_galas(name):
    pot = CASES[name]()
    # Closed forms on both sides: rounding, cancelling by some 1e2 to 1e3.
    assert difference(ours(io.from_gala(pot)), theirs(pot)) < 1e-12


def test_expanded_forces_are_galas():
    pot = gp.JaffePotential(m=M, c=KPC, units=galactic)
    # The expansion's documented accuracy.
    assert difference(ours(io.from_gala(pot)), theirs(pot)) < 4e-6


@pytest.mark.parametrize("name", CASES)
def test_round_trip(name):
    there = io.from_gala(CASES[name]())
    other = io.to_gala(there)
    assert difference(theirs(other), theirs(CASES[name]())) < 1e-12
    a, b = params.parameters(there), params.parameters(io.from_gala(other))
    assert list(a) == list(b)
    for path, parameter in a.items():
        np.testing.assert_allclose(b[path].value, parameter.value, rtol=1e-12)


def test_names_are_kept():
    pot = io.from_gala(CASES["MilkyWayPotential2022"]())
    assert list(pot.parts) == ["disk_1", "disk_2", "disk_3", "bulge", "nucleus", "halo"]
    assert sum(isinstance(part, potential.Negative) for part in pot.parts.values()) == 1


def test_refusals():
    shape = {"m": M, "c": KPC}
    bad = {
        "flattens the radius": gp.NFWPotential(m=M, r_s=9 * KPC, c=0.8, units=galactic),
        "q1 = 1 and q2 = 0.9": gp.LogarithmicPotential(
            v_c=200 * KMS, r_h=KPC, q1=1.0, q2=0.9, q3=1.0, units=galactic
        ),
        "is not the centre": gp.HernquistPotential(**shape, units=galactic, origin=[1, 0, 0] * u.kpc),
        "it is turned": gp.HernquistPotential(**shape, units=galactic, R=np.eye(3)[::-1]),
        "no physical units": gp.HernquistPotential(m=1.0, c=1.0),
        "KeplerPotential has no counterpart": gp.KeplerPotential(m=M, units=galactic),
        "expected a potential": 3,
    }
    for match, pot in bad.items():
        with pytest.raises(ValueError, match=match):
            io.from_gala(pot)
    with pytest.raises(ValueError, match="halo = FlattenedNFW has no counterpart"):
        io.to_gala(potential.Sum(halo=potential.FlattenedNFW(rho_s=1e7, r_s=16.0, q=0.7)))
