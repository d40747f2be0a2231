"""Potentials from and to AGAMA's text form (Vasiliev 2019, MNRAS 482, 1525), without AGAMA."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import quad
from scipy.special import beta as beta_function
from scipy.special import kv

from oortax import potential
from oortax.io.agama_tables import read_table
from oortax.io.agama_text import TABLES, Section, parse, section
from oortax.io.names import nearest
from oortax.io.output import write_text
from oortax.io.parts import assemble, numbers, parts_of, signed
from oortax.potential import AbstractPotential, Negative, Spheroid
from oortax.potential.from_density import AbstractDensity


class _Units(NamedTuple):
    """What the numbers of a file are in, in kpc, km/s and Msun."""

    length: float
    velocity: float
    mass: float

    @property
    def density(self) -> float:
        return self.mass / self.length**3

    @property
    def surface_density(self) -> float:
        return self.mass / self.length**2


def from_agama(
    source: str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    length: float = 1.0,
    velocity: float = 1.0,
    mass: float = 1.0,
    symmetrise: bool = False,
) -> AbstractPotential:
    """A potential from AGAMA's files or keywords; AGAMA itself is not needed.

    Parameters
    ----------
    source : path, text, dict or list of dicts
        An INI file of sections [Potential...] (also one with coefficients of Multipole or CylSpline, as
        written by agama.Potential(...).export(file)), its text, or the keywords of agama.Potential(...).
    length, velocity, mass : float
        What the numbers are in: kpc, km/s and Msun, like agama.setUnits. For G = 1, AGAMA's own default,
        give mass = length * velocity**2 / 4.30092e-6.
    symmetrise : bool
        Keep the axisymmetric part, even in z, of tables that have others, instead of refusing them.

    Returns
    -------
    AbstractPotential
        One section gives one potential, more give a `potential.Sum` under the sections' names. Components of
        negative mass are inside `potential.Negative`. A Spheroid that has a closed form here (NFW,
        Hernquist, Plummer, a power law with a Gaussian cut-off) becomes that, unless others in the file must
        be expanded anyway and share their table with it. `type=Multipole density=...` gives the density's
        own potential, without AGAMA's error of expanding it. Tables become a `potential.Tabulated`, whose
        `error` says what resampling cost.

    Raises
    ------
    ValueError
        Naming the section and the key: unknown ones (with the nearest known), models without a counterpart,
        and what is not static, axisymmetric and even in z. FileNotFoundError.

    >>> galaxy = from_agama('''
    ... [Potential disc]
    ... type = MiyamotoNagai
    ... mass = 6.8e10
    ... scaleRadius = 3
    ... scaleHeight = 0.28
    ... [Potential dark halo]
    ... type = Spheroid
    ... densityNorm = 8.5e6
    ... gamma = 1
    ... beta = 3
    ... scaleRadius = 16
    ... ''')
    >>> [(name, type(part).__name__) for name, part in galaxy.parts.items()]
    [('disc', 'MiyamotoNagai'), ('dark_halo', 'NFW')]
    >>> from_agama({"type": "Dehnen", "mass": 1e10, "gama": 1.5})
    Traceback (most recent call last):
        ...
    ValueError: [Potential]: unknown key 'gama' of Dehnen; did you mean 'gamma'? (known: mass, ...
    """
    for name, value in (("length", length), ("velocity", velocity), ("mass", mass)):
        if not (np.isfinite(value) and value > 0.0):
            raise ValueError(f"from_agama({name}={value}): {name} must be positive")
    units = _Units(float(length), float(velocity), float(mass))
    parts = []
    for entry in _sections(source):
        entry.check()
        try:
            parts.append((entry.name or entry.type.lower(), _build(entry, units, symmetrise)))
        except ValueError as error:
            text = str(error)
            raise ValueError(text if text.startswith(entry.label) else f"{entry.label}: {text}") from error
    return assemble(_in_closed_form(parts))


def _sections(source: Any, folder: Path | None = None, depth: int = 0) -> Iterator[Section]:
    """All sections, those of files that they name included."""
    if depth > 8:
        raise ValueError(f"{source}: files that name each other")
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("[")):
        found = parse(source)
    elif isinstance(source, str | Path):
        path = Path(folder or "", source)
        try:
            found = parse(path.read_text(encoding="utf-8"), path.parent)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    elif isinstance(source, Mapping):
        found = [section("", source)]
    elif isinstance(source, Sequence) and source and all(isinstance(item, Mapping) for item in source):
        found = [section("", item) for item in source]
    else:
        raise ValueError(
            f"from_agama: expected a path, the text of a file, a dict of keywords or a list of them, got "
            f"{type(source).__name__}"
        )
    for entry in found:
        file = entry.values.get("file")
        if file is None:
            yield entry
        elif entry.type:
            raise ValueError(
                f"{entry.label}: file = {file!r} with a type is a snapshot of particles; not read"
            )
        else:
            yield from _sections(Path(file), entry.folder, depth + 1)


def _build(entry: Section, units: _Units, symmetrise: bool) -> AbstractPotential:
    if entry.type in TABLES:
        if entry.coefficients is None:
            raise ValueError(
                f"{entry.label}: {entry.type} needs Coefficients (of an exported file) or density = ..."
            )
        return read_table(entry, units.length, units.velocity, symmetrise)
    y = entry.number("axisRatioY", 1.0)
    if y != 1.0:
        raise ValueError(f"axisRatioY = {y:g}: it is not axisymmetric, and potentials here are")
    return _READERS[entry.type](entry, units)


def _scale_radius(entry: Section, units: _Units) -> float:
    return entry.number("scaleRadius", 1.0) * units.length


def _mass(entry: Section, units: _Units) -> float:
    value = entry.number("mass", 1.0) * units.mass
    if value == 0.0 or not np.isfinite(value):
        raise ValueError(f"mass = {entry.values.get('mass')} must be a number other than 0")
    return value


def _disk(entry: Section, units: _Units) -> AbstractPotential:
    R_d, height = _scale_radius(entry, units), entry.number("scaleHeight", 1.0) * units.length
    hole = entry.number("innerCutoffRadius", 0.0) * units.length
    for key, only in (("sersicIndex", 1.0), ("modulationAmplitude", 0.0)):
        if entry.number(key, only) != only:
            raise ValueError(
                f"{key} = {entry.values[key]}: only {only:g} has a counterpart (exponential discs)"
            )
    if height == 0.0:
        raise ValueError("scaleHeight = 0 is a razor-thin disc; give it a height of 0.01 scaleRadius or more")
    Sigma_0 = entry.number("surfaceDensity", np.nan) * units.surface_density
    if "surfaceDensity" not in entry.values:
        Sigma_0 = _mass(entry, units) / disc_area(R_d, hole)
    kind = potential.ExponentialDisc if height > 0.0 else potential.Sech2Disc
    return signed(kind, "Sigma_0", Sigma_0, R_d=R_d, z_d=abs(height), R_hole=hole or None)


def disc_area(R_d: float, R_hole: float = 0.0) -> float:
    """Mass of a disc over its Sigma_0: 2 pi int exp(-R/R_d - R_hole/R) R dR, in kpc^2.

    >>> round(disc_area(2.0) / (8.0 * np.pi), 12)
    1.0
    """
    if R_hole == 0.0:
        return 2.0 * np.pi * R_d**2
    return 4.0 * np.pi * R_d * R_hole * float(kv(2, 2.0 * np.sqrt(R_hole / R_d)))


def _spheroid(entry: Section, units: _Units) -> AbstractPotential:
    shape: dict[str, float] = {
        "r_s": _scale_radius(entry, units),
        "q": entry.number("axisRatioZ", 1.0),
        "gamma": entry.number("gamma", 1.0),
        "beta": entry.number("beta", 4.0),
        "alpha": entry.number("alpha", 1.0),
    }
    r_cut, xi = entry.number("outerCutoffRadius", np.inf) * units.length, entry.number("cutoffStrength", 2.0)
    if np.isfinite(r_cut) and r_cut > 0.0:
        shape |= {"r_cut": r_cut} | ({} if xi == 2.0 else {"xi": xi})
    if "densityNorm" in entry.values and "mass" in entry.values:
        raise ValueError("mass and densityNorm exclude each other; give one")
    if "densityNorm" in entry.values:
        rho_s = entry.number("densityNorm", np.nan) * units.density
    else:
        # Sizes are checked before the mass is integrated.
        Spheroid(rho_s=1.0, **shape)  # type: ignore[arg-type]
        rho_s = _mass(entry, units) / spheroid_volume(**shape)
    if shape["gamma"] == 0.0 == shape["beta"] and "r_cut" in shape:
        # exp[-(m/r_cut)^xi] is Einasto's profile.
        r_s, rho_s = r_cut * (2.0 / xi) ** (1.0 / xi), rho_s * float(np.exp(-2.0 / xi))
        return signed(potential.Einasto, "rho_s", rho_s, r_s=r_s, alpha=xi, q=shape["q"])
    return signed(Spheroid, "rho_s", rho_s, **shape)


def spheroid_volume(
    r_s: float, q: float, gamma: float, beta: float, alpha: float, r_cut: float = np.inf, xi: float = 2.0
) -> float:
    """Mass of a `potential.Spheroid` over its rho_s, in kpc^3, to 1e-10.

    4 pi q int rho m^2 dm / rho_s; without a cut-off by Euler's integral B[(3 - gamma)/alpha, (beta -
    3)/alpha]/alpha. Raises ValueError where it is infinite.

    >>> volume = spheroid_volume(2.0, 1.0, gamma=1.0, beta=4.0, alpha=1.0)
    >>> round(volume / (2.0 * np.pi * 2.0**3), 12)
    1.0
    """
    if gamma >= 3.0 or (beta <= 3.0 and not np.isfinite(r_cut)):
        raise ValueError(
            f"its mass is infinite (gamma = {gamma:g}, beta = {beta:g}); give densityNorm instead of mass"
        )
    scale = 4.0 * np.pi * q * r_s**3
    if not np.isfinite(r_cut):
        return scale * float(beta_function((3.0 - gamma) / alpha, (beta - 3.0) / alpha)) / alpha

    def shell(log_x):
        turn = (gamma - beta) / alpha * np.logaddexp(0.0, alpha * log_x)
        return np.exp((3.0 - gamma) * log_x + turn - np.exp(xi * (log_x + np.log(r_s / r_cut))))

    edge = float(np.log(r_cut / r_s))
    low, high = min(0.0, edge) - 40.0 / (3.0 - gamma), edge + np.log(750.0) / xi
    breaks = sorted({low, *(b for b in (0.0, edge) if low < b < high), high})
    pieces = (
        quad(shell, a, b, epsabs=0.0, epsrel=1e-12, limit=400)[0]
        for a, b in zip(breaks, breaks[1:], strict=False)
    )
    return scale * float(sum(pieces))


def _dehnen(entry: Section, units: _Units) -> AbstractPotential:
    M, a = _mass(entry, units), _scale_radius(entry, units)
    gamma, q = entry.number("gamma", 1.0), entry.number("axisRatioZ", 1.0)
    if not 0.0 <= gamma <= 2.0:
        raise ValueError(f"gamma = {gamma:g} must lie between 0 and 2")
    if gamma == q == 1.0:
        return signed(potential.Hernquist, "M", M, a=a)
    rho_s = M * (3.0 - gamma) / (4.0 * np.pi * q * a**3)
    return signed(Spheroid, "rho_s", rho_s, r_s=a, q=q, gamma=gamma, beta=4.0)


def _nfw(entry: Section, units: _Units) -> AbstractPotential:
    r_s = _scale_radius(entry, units)
    return signed(potential.NFW, "rho_s", _mass(entry, units) / (4.0 * np.pi * r_s**3), r_s=r_s)


def _perfect(entry: Section, units: _Units) -> AbstractPotential:
    a, q = _scale_radius(entry, units), entry.number("axisRatioZ", 1.0)
    rho_s = _mass(entry, units) / (np.pi**2 * q * a**3)
    return signed(Spheroid, "rho_s", rho_s, r_s=a, q=q, gamma=0.0, beta=4.0, alpha=2.0)


def _miyamoto_nagai(entry: Section, units: _Units) -> AbstractPotential:
    b = entry.number("scaleHeight", 1.0) * units.length
    return signed(potential.MiyamotoNagai, "M", _mass(entry, units), a=_scale_radius(entry, units), b=b)


def _sphere(kind) -> Callable[[Section, _Units], AbstractPotential]:
    return lambda entry, units: signed(kind, "M", _mass(entry, units), b=_scale_radius(entry, units))


def _logarithmic(entry: Section, units: _Units) -> AbstractPotential:
    v_0, q = entry.number("v0", 1.0) * units.velocity, entry.number("axisRatioZ", 1.0)
    return potential.LogarithmicHalo(v_0, _scale_radius(entry, units), q)  # type: ignore[arg-type]


_READERS: dict[str, Callable[[Section, _Units], AbstractPotential]] = {
    "Disk": _disk,
    "Spheroid": _spheroid,
    "Dehnen": _dehnen,
    "NFW": _nfw,
    "MiyamotoNagai": _miyamoto_nagai,
    "Plummer": _sphere(potential.Plummer),
    "Isochrone": _sphere(potential.Isochrone),
    "PerfectEllipsoid": _perfect,
    "Logarithmic": _logarithmic,
}


def _in_closed_form(parts: list[tuple[str, AbstractPotential]]) -> list[tuple[str, AbstractPotential]]:
    """Spheroids as what they are in closed form, if that spares the expansion altogether."""
    simple = [(name, _closed(part)) for name, part in parts]
    if any(isinstance(p.potential, AbstractDensity) for _, part in simple for p in parts_of(part)):
        return parts
    return simple


def _closed(part: AbstractPotential) -> AbstractPotential:
    if isinstance(part, Negative):
        return Negative(_closed(part.part))
    if not isinstance(part, Spheroid):
        return part
    v = numbers(part)
    slopes, round_ = (v["gamma"], v["beta"], v["alpha"]), v["q"] == 1.0
    rho_s, r_s = part.rho_s, part.r_s
    if "r_cut" in v:
        if round_ and v["gamma"] == v["beta"] and v.get("xi", 2.0) == 2.0:
            return potential.PowerLawCutoff(rho_s, part.gamma, part.r_cut, r_s)  # type: ignore[arg-type]
        return part
    if slopes == (1.0, 3.0, 1.0):
        return potential.NFW(rho_s, r_s) if round_ else potential.FlattenedNFW(rho_s, r_s, part.q)
    if round_ and slopes == (1.0, 4.0, 1.0):
        return potential.Hernquist(2.0 * np.pi * rho_s * r_s**3, r_s)
    if round_ and slopes == (0.0, 5.0, 2.0):
        return potential.Plummer(4.0 / 3.0 * np.pi * rho_s * r_s**3, r_s)
    return part


def to_agama(pot: AbstractPotential, path: str | Path | None = None) -> str:
    """AGAMA's INI text of a potential, one section a component, in kpc, km/s and Msun.

    Read it with agama.setUnits(length=1, velocity=1, mass=1); agama.Potential(file).

    Parameters
    ----------
    pot : AbstractPotential
        Of Isochrone, Plummer, Hernquist, NFW, FlattenedNFW, PowerLawCutoff, MiyamotoNagai, LogarithmicHalo,
        ExponentialDisc, Sech2Disc, Spheroid, Einasto, Negative ones, and sums of them.
    path : path, optional
        Where to write the text as well.

    Raises
    ------
    ValueError
        Naming a part that AGAMA has no model of.

    >>> from oortax import potential
    >>> print(to_agama(potential.Sum(disc=potential.MiyamotoNagai(M=2.0**36, a=3.0, b=0.25))))
    [Potential disc]
    type = MiyamotoNagai
    mass = 68719476736.0
    scaleRadius = 3.0
    scaleHeight = 0.25
    <BLANKLINE>
    """
    blocks = []
    for name, part, sign in parts_of(pot):
        keys = _keys(part, sign)
        if keys is None:
            known = [k for k in potential.POTENTIALS if k not in ("ScaleFree", "KuzminKutuzov")]
            raise ValueError(
                f"to_agama: {f'{name} = ' if name else ''}{type(part).__name__} has no model in AGAMA"
                f"{nearest(type(part).__name__, known)} (known: {', '.join(known)})"
            )
        head = f"[Potential {name}]" if name else "[Potential]"
        lines = [f"{key} = {value}" for key, value in keys.items() if value is not None]
        blocks.append("\n".join([head, *lines]) + "\n")
    text = "\n".join(blocks)
    if path is not None:
        write_text(path, text)
    return text


def _keys(part: AbstractPotential, sign: float) -> dict[str, Any] | None:
    """The keys of a part's section."""
    v = numbers(part)
    match part:
        case potential.Plummer() | potential.Isochrone():
            return {"type": type(part).__name__, "mass": sign * v["M"], "scaleRadius": v["b"]}
        case potential.Hernquist():
            return {"type": "Dehnen", "mass": sign * v["M"], "scaleRadius": v["a"], "gamma": 1.0}
        case potential.NFW():
            M = 4.0 * np.pi * v["rho_s"] * v["r_s"] ** 3
            return {"type": "NFW", "mass": sign * M, "scaleRadius": v["r_s"]}
        case potential.MiyamotoNagai():
            shape = {"scaleRadius": v["a"], "scaleHeight": v["b"]}
            return {"type": "MiyamotoNagai", "mass": sign * v["M"], **shape}
        case potential.LogarithmicHalo() if sign > 0.0:
            return {"type": "Logarithmic", "v0": v["v_0"], "scaleRadius": v["r_c"], "axisRatioZ": v["q"]}
        case potential.ExponentialDisc() | potential.Sech2Disc():
            height = v["z_d"] if isinstance(part, potential.ExponentialDisc) else -v["z_d"]
            disc = {"type": "Disk", "surfaceDensity": sign * v["Sigma_0"], "scaleRadius": v["R_d"]}
            return disc | {"scaleHeight": height, "innerCutoffRadius": v.get("R_hole") or None}
        case potential.FlattenedNFW():
            return _spheroid_keys(sign * v["rho_s"], v["r_s"], 1.0, 3.0, q=v["q"])
        case potential.PowerLawCutoff():
            keys = _spheroid_keys(sign * v["rho_0"], v["r_0"], v["alpha"], v["alpha"])
            return keys | {"outerCutoffRadius": v["r_c"], "cutoffStrength": 2.0}
        case potential.Spheroid():
            keys = _spheroid_keys(sign * v["rho_s"], v["r_s"], v["gamma"], v["beta"], v["alpha"], v["q"])
            cut = (
                {"outerCutoffRadius": v["r_cut"], "cutoffStrength": v.get("xi", 2.0)} if "r_cut" in v else {}
            )
            return keys | cut
        case potential.Einasto():
            n = 1.0 / v["alpha"]
            rho_0 = sign * v["rho_s"] * float(np.exp(2.0 * n))
            keys = _spheroid_keys(rho_0, v["r_s"], 0.0, 0.0, q=v["q"])
            return keys | {"outerCutoffRadius": v["r_s"] / (2.0 * n) ** n, "cutoffStrength": v["alpha"]}
    return None


def _spheroid_keys(rho_s, r_s, gamma, beta, alpha: float = 1.0, q: float = 1.0) -> dict[str, Any]:
    shape = {"gamma": gamma, "beta": beta, "alpha": alpha, "scaleRadius": r_s, "axisRatioZ": q}
    return {"type": "Spheroid", "densityNorm": rho_s, **shape}
