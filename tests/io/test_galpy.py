"""Potentials from and to galpy: the same forces."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import io, params, potential

gp = pytest.importorskip("galpy.potential")

RO, VO = 8.0, 220.0
_rng = np.random.default_rng(1)
R = np.exp(_rng.uniform(np.log(0.3), np.log(60.0), 30))
Z = R * np.tan(_rng.uniform(-1.2, 1.2, 30))
Z[:5] = 0.02 * R[:5]


@eqx.filter_jit
def _forces(pot, x):
    return jax.vmap(lambda x: potential.acceleration(pot, x))(x)


def ours(pot):
    x = jnp.stack([jnp.asarray(R), jnp.zeros(len(R)), jnp.asarray(Z)], axis=1)
    return np.asarray(_forces(potential.expand(pot), x))[:, [0, 2]]


def theirs(pot, ro=RO, vo=VO):
    points = [(r / ro, z / ro) for r, z in zip(R, Z, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a_R = [float(gp.evaluateRforces(pot, *at, use_physical=False)) for at in points]
        a_z = [float(gp.evaluatezforces(pot, *at, use_physical=False)) for at in points]
    return np.stack([a_R, a_z], axis=1) * vo**2 / ro


def difference(a, b):
    return np.max(np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1))


# Closed forms on both sides: rounding, cancelling by some 1e2 (1e3 in galpy's incomplete gamma functions).
EXACT = 1e-12
# FlattenedNFW's ten nodes are good to 1e-8 in the force at q = 0.7.
NODES = 1e-8
# Our expansion of a density on the default grid: its documented 4e-6 at worst.
EXPANDED = 4e-6
CASES = {
    "MWPotential2014": (lambda: gp.MWPotential2014, EXACT),
    "MiyamotoNagai": (lambda: gp.MiyamotoNagaiPotential(amp=0.6, a=0.4, b=0.03), EXACT),
    "NFW": (lambda: gp.NFWPotential(amp=3.0, a=2.0), EXACT),
    "NFW by mass": (lambda: gp.NFWPotential(conc=10.0, mvir=1.2, ro=RO, vo=VO), EXACT),
    "TriaxialNFW": (lambda: gp.TriaxialNFWPotential(amp=3.0, a=2.0, c=0.7, glorder=100), NODES),
    "Hernquist": (lambda: gp.HernquistPotential(amp=0.5, a=0.1), EXACT),
    "Plummer": (lambda: gp.PlummerPotential(amp=0.5, b=0.3), EXACT),
    "Isochrone": (lambda: gp.IsochronePotential(amp=1.0, b=0.4), EXACT),
    "logarithmic": (lambda: gp.LogarithmicHaloPotential(amp=1.1, core=0.1, q=0.8), EXACT),
    "cut-off": (lambda: gp.PowerSphericalPotentialwCutoff(amp=0.3, alpha=1.3, rc=0.4, r1=0.7), EXACT),
    "MN3": (lambda: gp.MN3ExponentialDiskPotential(amp=10.0, hr=0.33, hz=0.04), EXACT),
    "exponential": (lambda: gp.DoubleExponentialDiskPotential(amp=20.0, hr=0.33, hz=0.04), EXPANDED),
    "two powers": (lambda: gp.TwoPowerSphericalPotential(amp=1.0, a=2.0, alpha=1.3, beta=3.7), EXPANDED),
    "flattened": (
        lambda: gp.TwoPowerTriaxialPotential(amp=1.0, a=2.0, alpha=1.3, beta=3.7, c=0.8, glorder=100),
        EXPANDED,
    ),
    "Dehnen": (lambda: gp.DehnenSphericalPotential(amp=1.0, a=0.5, alpha=1.4), EXPANDED),
    "core": (lambda: gp.DehnenCoreSphericalPotential(amp=1.0, a=0.5), EXPANDED),
    "Jaffe": (lambda: gp.JaffePotential(amp=1.0, a=0.5), EXPANDED),
    "triaxial Jaffe": (lambda: gp.TriaxialJaffePotential(amp=1.0, a=0.4, c=0.7, glorder=100), EXPANDED),
    "triaxial Hernquist": (
        lambda: gp.TriaxialHernquistPotential(amp=1.0, a=0.4, c=0.7, glorder=100),
        EXPANDED,
    ),
    "Einasto": (lambda: gp.EinastoPotential(amp=0.1, h=0.3, n=3.0), EXPANDED),
    "perfect": (lambda: gp.PerfectEllipsoidPotential(amp=1.0, a=0.4, c=0.7), EXPANDED),
}


def build(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflows inside galpy's quadrature nodes
        return CASES[name][0]()


@pytest.mark.parametrize("name", CASES)
def test_forces_are_galpys(name):
    pot = build(name)
    assert difference(ours(io.from_galpy(pot)), theirs(pot)) < CASES[name][1]


@pytest.mark.parametrize("name", CASES)
def test_round_trip(name):
    there = io.from_galpy(build(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = io.from_galpy(io.to_galpy(there, ro=8.2, vo=233.0))
    assert type(back) is type(there)
    # Their parameters, apart from the names of the parts and r_0, which galpy absorbs into the amplitude.
    for a, b in zip(_shapes(there), _shapes(back), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12)


def _shapes(pot):
    for part in pot.parts.values() if isinstance(pot, potential.Sum) else [pot]:
        values = {name: float(p.value) for name, p in params.parameters(part).items()}
        if "r_0" in values:
            values["rho_0"] *= values.pop("r_0") ** values["alpha"]
        yield list(values.values())


def test_mw_potential_2014_is_the_one_we_name():
    ours_named, converted = potential.mw_potential_2014(), io.from_galpy(gp.MWPotential2014)
    # Both are normalised to v_c = 220 km/s at 8 kpc.
    assert difference(ours(converted), ours(ours_named)) < 1e-10
    np.testing.assert_allclose(
        sorted(float(p.value) for path, p in params.parameters(converted).items() if path.endswith("M")),
        [float(ours_named["disc"].M)],
        rtol=1e-10,
    )


def test_units():
    own = gp.MiyamotoNagaiPotential(amp=0.6, a=0.4, b=0.03, ro=8.2, vo=233.0)
    bare = gp.MiyamotoNagaiPotential(amp=0.6, a=0.4, b=0.03)
    assert difference(ours(io.from_galpy(own)), theirs(own, 8.2, 233.0)) < EXACT
    assert difference(ours(io.from_galpy(bare, ro=8.2, vo=233.0)), theirs(own, 8.2, 233.0)) < EXACT
    # A component without units of its own takes those of its neighbour.
    both = io.from_galpy([bare, own])
    assert float(both["miyamotonagai"].M) == float(both["miyamotonagai_2"].M)
    with pytest.raises(ValueError, match="set up with ro = 8.2 kpc"):
        io.from_galpy(own, ro=8.0)
    with pytest.raises(ValueError, match="different ro"):
        io.from_galpy([own, gp.PlummerPotential(ro=8.0, vo=220.0)])
    with pytest.raises(ValueError, match="vo must be positive"):
        io.from_galpy(bare, vo=-1.0)


def test_outputs_of_to_galpy_are_physical():
    disc = potential.MiyamotoNagai(M=6.8e10, a=3.0, b=0.28)
    v_c = gp.vcirc(io.to_galpy(disc, ro=8.2, vo=230.0), 8.0 / 8.2)
    assert abs(v_c / float(potential.circular_velocity(disc, 8.0)) - 1.0) < EXACT


def test_refusals():
    scf = gp.SCFPotential()
    with pytest.raises(ValueError, match="SCFPotential has no counterpart; it holds coefficients only"):
        io.from_galpy([gp.NFWPotential(), scf])
    with pytest.raises(ValueError, match="KeplerPotential has no counterpart .known: .*NFWPotential"):
        io.from_galpy(gp.KeplerPotential())
    with pytest.raises(ValueError, match="not axisymmetric"):
        io.from_galpy(gp.LogarithmicHaloPotential(q=0.9, b=0.8))
    with pytest.raises(ValueError, match="not axisymmetric"):
        io.from_galpy(gp.TriaxialNFWPotential(amp=1.0, a=2.0, c=0.7, zvec=[0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="expected a potential of galpy"):
        io.from_galpy(3)
    with pytest.raises(ValueError, match="empty"):
        io.from_galpy([])
    with pytest.raises(ValueError, match="gas = Sech2Disc has no counterpart"):
        io.to_galpy(potential.Sum(gas=potential.Sech2Disc(Sigma_0=1e8, R_d=3.0, z_d=0.1)))
