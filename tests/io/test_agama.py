"""AGAMA's text form, without AGAMA: models, tables as its manual describes them, and errors."""

import warnings
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import legendre

from oortax import io, params, potential
from oortax.constants import G

_rng = np.random.default_rng(1)
R = np.exp(_rng.uniform(np.log(0.3), np.log(20.0), 30))
Z = R * np.tan(_rng.uniform(0.0, 1.2, 30))
Z[:5] = 0.02 * R[:5]


@eqx.filter_jit
def _forces(pot, x):
    return jax.vmap(lambda x: potential.acceleration(pot, x))(x)


def forces(pot):
    x = jnp.stack([jnp.asarray(R), jnp.zeros(len(R)), jnp.asarray(Z)], axis=1)
    return np.asarray(_forces(potential.expand(pot), x))


def difference(a, b):
    return np.max(np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1))


def assert_same(a, b, rtol=1e-12):
    assert type(a) is type(b)
    first, second = params.parameters(a), params.parameters(b)
    assert list(first) == list(second)
    for path, parameter in first.items():
        np.testing.assert_allclose(second[path].value, parameter.value, rtol=rtol, err_msg=path)


MCMILLAN = """
# best-fitting potential of McMillan (2017)
[Potential thin]
type = Disk
surfaceDensity = 8.95679e+08
scaleRadius = 2.49955
scaleHeight = 0.3
[Potential thick]
type = Disk
surfaceDensity = 1.83444e+08
scaleRadius = 3.02134
scaleHeight = 0.9
[Potential HI]
type = disk
Sigma0 = 5.31319e+07
rscale = 7
scaleRadius2 = -0.085
innerCutoffRadius = 4
[Potential H2]
type = Disk
surfaceDensity = 2.17995e+09
scaleRadius = 1.5
scaleHeight = -0.045 ; isothermal
innerCutoffRadius = 12
[Potential bulge]
type = Spheroid
densityNorm = 9.8351e+10
axisRatioZ = 0.5
gamma = 0
beta = 1.8
scaleRadius = 0.075
outerCutoffRadius = 2.1
[Potential halo]
type = Spheroid
rho0 = 8.53702e+06
gamma = 1
beta = 3
scaleRadius = 19.5725
[Other section]
something = else
"""

BOVY = """
[Potential bulge]
type = Spheroid
densityNorm = 2.22694e8
gamma = 1.8
beta = 1.8
outerCutoffRadius = 1.9
[Potential disk]
type = MiyamotoNagai
scaleRadius = 3.0
scaleHeight = 0.28
mass = 6.819386e10
[Potential halo]
type = Spheroid
densityNorm = 8.48683e6
gamma = 1.0
beta = 3.0
scaleRadius = 16
"""


def test_mcmillan_2017():
    assert_same(io.from_agama(MCMILLAN), potential.mcmillan_2017(), rtol=1e-15)


def test_spheroids_take_their_closed_forms():
    pot = io.from_agama(BOVY)
    kinds = [type(part).__name__ for part in pot.parts.values()]
    assert kinds == ["PowerLawCutoff", "MiyamotoNagai", "NFW"]
    # The amplitudes are rounded to six digits.
    assert difference(forces(pot), forces(potential.mw_potential_2014())) < 2e-6


def test_units():
    small = BOVY
    for old, new in (
        ("densityNorm = 2.22694e8", f"densityNorm = {2.22694e8 * 8.0**3}\nscaleRadius = 0.125"),
        ("outerCutoffRadius = 1.9", "outerCutoffRadius = 0.2375"),
        ("scaleRadius = 3.0", "scaleRadius = 0.375"),
        ("scaleHeight = 0.28", "scaleHeight = 0.035"),
        ("densityNorm = 8.48683e6", f"densityNorm = {8.48683e6 * 8.0**3}"),
        ("scaleRadius = 16", "scaleRadius = 2"),
    ):
        assert old in small
        small = small.replace(old, new)
    assert_same(io.from_agama(small, length=8.0), io.from_agama(BOVY))
    # G = 1: masses in units of length velocity^2/G.
    natural = io.from_agama({"type": "Plummer", "mass": 2}, length=0.5, velocity=10.0, mass=0.5 * 100.0 / G)
    assert abs(float(natural.Phi_Rz(0.0, 0.0)) / (-2.0 * 10.0**2) - 1.0) < 1e-14
    flat = io.from_agama({"type": "Logarithmic", "v0": 2, "q": 0.9}, length=0.5, velocity=100.0)
    assert_same(flat, potential.LogarithmicHalo(v_0=200.0, r_c=0.5, q=0.9))


CASES = {
    "Plummer": potential.Plummer(M=3e9, b=0.6),
    "Isochrone": potential.Isochrone(M=8e10, b=3.0),
    "Hernquist": potential.Hernquist(M=1e10, a=0.7),
    "NFW": potential.NFW(rho_s=1e7, r_s=16.0),
    "FlattenedNFW": potential.FlattenedNFW(rho_s=1e7, r_s=16.0, q=0.7),
    "MiyamotoNagai": potential.MiyamotoNagai(M=6.8e10, a=3.0, b=0.28),
    "LogarithmicHalo": potential.LogarithmicHalo(v_0=220.0, r_c=0.5, q=0.9),
    "PowerLawCutoff": potential.PowerLawCutoff(rho_0=4e8, alpha=1.8, r_c=1.9, r_0=2.0),
    "ExponentialDisc": potential.ExponentialDisc(Sigma_0=8e8, R_d=2.6, z_d=0.3),
    "Sech2Disc": potential.Sech2Disc(Sigma_0=5e7, R_d=7.0, z_d=0.2, R_hole=4.0),
    "Spheroid": potential.Spheroid(
        rho_s=1e7, r_s=16.0, q=0.6, gamma=1.2, beta=3.1, alpha=0.9, r_cut=300.0, xi=1.5
    ),
    "Einasto": potential.Einasto(rho_s=2e6, r_s=20.0, alpha=0.17, q=0.8),
    "negative": potential.Negative(potential.MiyamotoNagai(M=6.8e10, a=3.0, b=0.28)),
    "mcmillan": potential.mcmillan_2017(),
    "bovy": potential.mw_potential_2014(),
}


@pytest.mark.parametrize("name", CASES)
def test_round_trip(name, tmp_path):
    text = io.to_agama(CASES[name], tmp_path / "potential.ini")
    assert (tmp_path / "potential.ini").read_text() == text
    assert_same(io.from_agama(tmp_path / "potential.ini"), CASES[name])


# (keywords, the mass within 1e4 kpc): models that give the mass and not the density.
MASSES = [
    {"type": "Disk", "mass": 3e10, "scaleRadius": 2.5, "scaleHeight": 0.3},
    {"type": "Disk", "mass": 3e9, "scaleRadius": 2.5, "scaleHeight": -0.3, "innerCutoffRadius": 3},
    {"type": "Spheroid", "mass": 1e10, "scaleRadius": 1.5, "gamma": 0.5, "beta": 4.5, "q": 0.6},
    {"type": "Spheroid", "mass": 1e10, "gamma": 1.8, "beta": 1.8, "outerCutoffRadius": 1.9, "q": 0.7},
    {"type": "Spheroid", "mass": 1e10, "gamma": 0, "beta": 0, "outerCutoffRadius": 0.3, "xi": 0.5},
    {"type": "Dehnen", "mass": 1e10, "gamma": 1.5, "scaleRadius": 0.7, "axisRatioZ": 0.8},
    {"type": "PerfectEllipsoid", "mass": 1e10, "scaleRadius": 0.5, "axisRatioZ": 0.8},
]


@pytest.mark.parametrize("keys", MASSES, ids=lambda keys: f"{keys['type']}-{len(keys)}")
def test_masses(keys):
    pot = io.from_agama(keys)
    # GM/r^2 far away; of the slowest to converge, Dehnen's sphere, 2.5 a/r = 3e-4 of the mass lies outside.
    r = 3e3
    found = -float(potential.acceleration(potential.expand(pot), jnp.array([r, 0.0, 0.0]))[0]) * r**2 / G
    assert abs(found / keys["mass"] - 1.0) < 4e-4
    doubled = io.from_agama(keys | {"mass": 2.0 * keys["mass"]})
    assert abs(float(doubled.Phi_Rz(1.0, 1.0) / pot.Phi_Rz(1.0, 1.0)) - 2.0) < 1e-12


def test_list_of_keywords_and_references(tmp_path):
    discs = [{"type": "MiyamotoNagai", "mass": m, "scaleRadius": 3, "scaleHeight": 0.3} for m in (-1e9, 3e10)]
    pot = io.from_agama(discs)
    assert list(pot.parts) == ["miyamotonagai", "miyamotonagai_2"]
    assert isinstance(pot["miyamotonagai"], potential.Negative)
    (tmp_path / "halo.ini").write_text("[Potential halo]\ntype=NFW\nmass=1e12\nscaleRadius=20\n")
    (tmp_path / "all.ini").write_text("[Potential disc]\ntype=Plummer\n[Potential 2]\nfile=halo.ini\n")
    assert list(io.from_agama(tmp_path / "all.ini").parts) == ["disc", "halo"]
    # An expansion of a density is that density's own potential.
    own = io.from_agama({"type": "Multipole", "density": "Dehnen", "mass": 1e10, "lmax": 8, "gridSizeR": 30})
    assert_same(own, potential.Hernquist(M=1e10, a=1.0))


ERRORS = {
    "unknown key 'densitynrm'.*did you mean 'densityNorm'": {"type": "Spheroid", "densitynrm": 1},
    "unknown key 'scaleHeight' of Plummer": {"type": "Plummer", "scaleHeight": 1},
    "unknown type 'Spheriod'; did you mean 'Spheroid'": {"type": "Spheriod"},
    "has no type": {"mass": 1},
    "type = Sersic is a projected profile": {"type": "Sersic", "mass": 1},
    "type = LongMurali is a bar": {"type": "LongMurali"},
    "axisRatioY = 0.8: it is not axisymmetric": {"type": "Spheroid", "p": 0.8, "mass": 1},
    "rotation = '40' moves, turns or scales": {"type": "Plummer", "rotation": 40},
    "mass is infinite": {"type": "Spheroid", "beta": 3, "mass": 1},
    "exclude each other": {"type": "Spheroid", "densityNorm": 1, "mass": 1},
    "razor-thin": {"type": "Disk", "surfaceDensity": 1, "scaleHeight": 0},
    "sersicIndex = 2": {"type": "Disk", "surfaceDensity": 1, "sersicIndex": 2},
    "mass = 'many' must be a number": {"type": "Plummer", "mass": "many"},
    "b must be positive": {"type": "Plummer", "scaleRadius": -1},
    "is given twice": {"type": "Spheroid", "q": 0.8, "axisRatioZ": 0.7},
    "needs Coefficients": {"type": "Multipole"},
    "is a snapshot": {"type": "Multipole", "file": "snapshot.nemo"},
    "expected a path": 3,
    "no section": "[Density]\ntype=Plummer\n",
    "expected key = value": "[Potential]\ntype Plummer\n",
    "before any section": "type=Plummer\nmass=1\n",
}


@pytest.mark.parametrize("match", ERRORS)
def test_errors_name_the_slip(match):
    with pytest.raises(ValueError, match=match):
        io.from_agama(ERRORS[match])


def test_errors_of_the_call():
    with pytest.raises(ValueError, match="length must be positive"):
        io.from_agama(BOVY, length=0.0)
    with pytest.raises(FileNotFoundError):
        io.from_agama("nowhere.ini")
    with pytest.raises(ValueError, match="dark = ScaleFree has no model in AGAMA"):
        io.to_agama(potential.Sum(dark=potential.dehnen_binney_1996()))
    assert io.from_agama({"type": "Plummer", "center": "0,0,0", "scale": "1 1"})


@cache
def multipole(name, l_max, m_1=0.0):
    """The exported form of a potential's multipoles at 25 radii."""
    pot, r = TABLES[name], np.geomspace(1e-3, 1e3, 25)
    mu, weight = legendre.leggauss(64)
    at_R, at_z = r[:, None] * np.sqrt(1.0 - mu**2), r[:, None] * mu

    def value_and_slope(R, z, r):
        return jax.jvp(pot.Phi_Rz, (R, z), (R / r, z / r))

    on_grid = jax.jit(jax.vmap(jax.vmap(value_and_slope, (0, 0, None))))
    lines = ["[Potential]", "type=Multipole", "gridSizeR=25", f"lmax={l_max}", "symmetry=Axisymmetric"]
    lines += ["Coefficients"]
    terms = [(l, m) for l in range(l_max + 1) for m in range(-l, l + 1)]
    P = legendre.legvander(mu, l_max)
    for title, values in zip(("#Phi", "#dPhi/dr"), on_grid(at_R, at_z, r), strict=True):
        lines += [title, "#radius" + "".join(f"\tl={l},m={m}" for l, m in terms)]
        for i, row in enumerate(np.asarray(values)):
            coefficients = 0.5 * (row * weight) @ P * np.sqrt(2.0 * np.arange(l_max + 1) + 1.0)
            cells = [coefficients[l] * (m == 0 and l % 2 == 0) for l, m in terms]
            if l_max > 0:
                cells[1] = m_1 * coefficients[0]
            lines.append("\t".join([f"{r[i]:.15g}", *(f"{c:.15g}" if c else "0" for c in cells)]))
        lines.append("")
    return "\n".join(lines)


def cyl_spline(name, slopes=True, mirrored=False, m_2=0.0):
    """The exported form of a potential on a rectangle."""
    pot = TABLES[name]
    r = np.concatenate([[0.0], np.geomspace(0.1, 200.0, 26)])
    z = np.concatenate([[0.0], np.geomspace(0.05, 200.0, 26)])
    z = np.concatenate([-z[:0:-1], z]) if mirrored else z
    f = jax.jit(jax.vmap(jax.vmap(jax.value_and_grad(pot.Phi_Rz, argnums=(0, 1)), (None, 0)), (0, None)))
    Phi, (by_R, by_z) = f(jnp.asarray(r), jnp.asarray(z))
    lines = ["[Potential]", "type=CylSpline", f"gridSizeR={len(r)}", f"gridSizez={len(z)}"]
    lines += ["mmax=2", "symmetry=Axisymmetric", "Coefficients"]
    blocks = [("#Phi", Phi), ("#dPhi/dR", by_R), ("#dPhi/dz", by_z)]
    for title, table in blocks if slopes else blocks[:1]:
        lines.append(title)
        for m, factor in ((0, 1.0), (2, m_2)):
            if m and not factor:
                continue
            lines += [f"{m}\t#m", "\t".join(["#R(row)\\z(col)", *(f"{v:.15g}" for v in z)])]
            for at, row in zip(r, factor * np.asarray(table), strict=True):
                lines.append("\t".join(f"{v:.15g}" for v in (at, *row)))
        lines.append("")
    return "\n".join(lines)


TABLES = {
    "NFW": potential.NFW(rho_s=1e7, r_s=16.0),
    "Plummer": potential.Plummer(M=1e10, b=1.0),
    "flattened": potential.FlattenedNFW(rho_s=1e7, r_s=16.0, q=0.7),
    "disc": potential.MiyamotoNagai(M=6e10, a=3.0, b=0.5),
}


# Nodes a factor of 1.78 apart, as AGAMA's default, leave h^6 f^(6)/720 of the potential: most where the
# logarithmic slope turns quickly, as in Plummer's sphere. The flattened halo ends at l = 12, with 1e-6 left.
@pytest.mark.parametrize(
    ("name", "l_max", "accuracy"), [("NFW", 0, 1e-6), ("Plummer", 0, 3e-5), ("flattened", 12, 3e-6)]
)
def test_multipole(name, l_max, accuracy):
    pot = io.from_agama(multipole(name, l_max))
    assert isinstance(pot, potential.Tabulated) and pot.error < accuracy
    assert difference(forces(pot), forces(TABLES[name])) < accuracy
    # Beyond the file's 1e-3 and 1e3 kpc its power laws go on: to a per cent in the outer halo.
    for x in ([2e-4, 0.0, 1e-4], [2e4, 0.0, 1e4]):
        a, b = (np.asarray(potential.acceleration(p, jnp.array(x))) for p in (pot, TABLES[name]))
        assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(b)
    # Poisson's equation: two derivatives of the spline.
    rho = [np.asarray(jax.vmap(p.rho)(jnp.asarray(R), jnp.asarray(Z))) for p in (pot, TABLES[name])]
    mean = np.linalg.norm(forces(pot), axis=1) / np.hypot(R, Z) / (4.0 * np.pi * G)
    assert np.max(np.abs(rho[0] - rho[1]) / (rho[1] + mean)) < 30.0 * accuracy


# With slopes splines are quintic and leave 1e-5 (a disc) at 1.36 between nodes; without, cubic.
@pytest.mark.parametrize(
    ("name", "slopes", "accuracy"), [("disc", True, 1e-4), ("disc", False, 2e-2), ("Plummer", True, 3e-5)]
)
def test_cyl_spline(name, slopes, accuracy):
    pot = io.from_agama(cyl_spline(name, slopes))
    assert pot.error < 1e-3
    error = np.linalg.norm(forces(pot) - forces(TABLES[name]), axis=1) / np.linalg.norm(
        forces(TABLES[name]), axis=1
    )
    assert np.max(error) < accuracy and np.median(error) < 0.2 * accuracy


def test_tables_in_other_units_and_halves():
    pot = io.from_agama(cyl_spline("Plummer"))
    assert difference(forces(io.from_agama(cyl_spline("Plummer", mirrored=True))), forces(pot)) < 1e-9
    # x2 in length and x3 in velocity: the same potential at twice the radius, nine times as deep.
    scaled = io.from_agama(multipole("NFW", 0), length=2.0, velocity=3.0)
    same = io.from_agama(multipole("NFW", 0))
    assert abs(float(scaled.Phi_Rz(16.0, 0.0) / same.Phi_Rz(8.0, 0.0)) - 9.0) < 1e-5
    # The amplitude is a parameter like any other.
    assert list(params.parameters(same)) == ["amplitude"]
    assert float(params.replace(same, {"amplitude": 2.0}).Phi_Rz(8.0, 0.0) / same.Phi_Rz(8.0, 0.0)) == 2.0


def test_tables_can_be_saved(tmp_path):
    pot = io.from_agama(multipole("NFW", 0))
    again = io.load(io.save(tmp_path / "halo.json", pot))
    assert float(again.Phi_Rz(8.0, 1.0)) == float(pot.Phi_Rz(8.0, 1.0))


def test_other_symmetries():
    for text in (multipole("flattened", 4, m_1=1e-3), cyl_spline("Plummer", m_2=1e-3)):
        with pytest.raises(ValueError, match="not axisymmetric and even in z: .*symmetrise=True"):
            io.from_agama(text)
    kept = io.from_agama(multipole("flattened", 4, m_1=1e-3), symmetrise=True)
    assert difference(forces(kept), forces(io.from_agama(multipole("flattened", 4)))) < 1e-12


def test_broken_tables():
    text = multipole("NFW", 0)
    for broken, match in (
        (text.replace("gridSizeR=25", "gridSizeR=26"), "expected 2 numbers"),
        (text.replace("lmax=0", "lmax=1"), "expected 5 numbers"),
        (text.replace("gridSizeR=25\n", ""), "needs gridSizeR"),
        (text.replace("#dPhi/dr", "#other"), "no complete block #dPhi/dr"),
        (cyl_spline("Plummer").replace("gridSizez=27", "gridSizez=26"), "incomplete table"),
    ):
        with pytest.raises(ValueError, match=match):
            io.from_agama(broken)


def test_noise_is_warned_of():
    rng = np.random.default_rng(2)
    lines = cyl_spline("disc", slopes=False).split("\n")
    start = lines.index("#Phi") + 3
    for i in range(start, start + 27):
        at, *row = lines[i].split("\t")
        lines[i] = "\t".join([at, *(f"{float(v) * (1.0 + 0.1 * rng.normal()):.15g}" for v in row)])
    with pytest.warns(UserWarning, match="r dPhi/dr of the CylSpline changes"):
        io.from_agama("\n".join(lines))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        io.from_agama(cyl_spline("disc"))
