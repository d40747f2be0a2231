"""Potentials from and to gala (Price-Whelan 2017, JOSS 2, 388)."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np
from scipy.special import gamma as gamma_function

from oortax import potential
from oortax.constants import G
from oortax.io.parts import assemble, numbers, parts_of, signed
from oortax.potential import AbstractPotential

GM_UNIT = "kpc km2 / s2"


def from_gala(pot: Any) -> AbstractPotential:
    """A potential of gala as ours; a composite one as a `potential.Sum` under the same names.

    Parameters
    ----------
    pot : gala potential
        At the origin, not turned, axisymmetric about z, and with physical units.

    Returns
    -------
    AbstractPotential
        GM and with it forces are the same to rounding; masses in Msun follow our G. Zero points of
        logarithmic potentials differ.

    Raises
    ------
    ValueError
        Naming the component and the reason.

    Notes
    -----
    An MN3ExponentialDiskPotential (as in MilkyWayPotential2022) becomes its three Miyamoto-Nagai discs, the
    one of negative mass inside `potential.Negative`. gala flattens the potential of its NFW, not the
    density, so that an NFWPotential with c != 1 has no counterpart here.
    """
    return assemble(entry for name, part in _flatten(pot, "") for entry in _convert(name, part))


def _flatten(pot: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(pot, Mapping):
        for key, part in pot.items():
            yield from _flatten(part, f"{name}_{key}" if name else str(key))
    elif hasattr(pot, "parameters") and hasattr(pot, "units"):
        yield name, pot
    else:
        raise ValueError(f"from_gala: expected a potential of gala, got {pot!r}")


def _convert(name: str, pot: Any) -> Iterator[tuple[str, AbstractPotential]]:
    kind = type(pot).__name__
    label = f"{name} ({kind})" if name else kind
    if kind not in _READERS and kind != "MN3ExponentialDiskPotential":
        known = sorted([*_READERS, "MN3ExponentialDiskPotential"])
        remedy = ""
        if any(word in kind for word in ("SCF", "Multipole", "Spline", "EXP")):
            remedy = "; it holds coefficients only: build its density with oortax.potential, or tabulate it"
        raise ValueError(f"from_gala: {label} has no counterpart{remedy} (known: {', '.join(known)})")
    try:
        _check_place(pot)
        if kind == "MN3ExponentialDiskPotential":
            for i, disc in enumerate(pot.get_three_potentials().values(), 1):
                yield f"{name or 'disc'}_{i}", _miyamoto_nagai(_Values(disc))
        else:
            yield name, _READERS[kind](_Values(pot))
    except ValueError as error:
        raise ValueError(f"from_gala: {label}: {error}") from error


def _check_place(pot: Any) -> None:
    if pot.origin is not None and np.any(np.asarray(getattr(pot.origin, "value", pot.origin)) != 0.0):
        raise ValueError(f"its origin {pot.origin} is not the centre, where ours are")
    if pot.R is not None:
        raise ValueError("it is turned (R=...); ours are axisymmetric about z")
    if not pot.units["length"].is_equivalent("kpc"):
        raise ValueError("it has no physical units; give it gala.units.galactic")


class _Values:
    """A potential's parameters in kpc, km/s and Msun."""

    def __init__(self, pot: Any):
        self.parameters = pot.parameters
        if "m" in pot.parameters:
            units = pot.units
            amplitude = pot.parameters["m"].decompose(units).value * pot.G
            self.GM = (amplitude * units["length"] ** 3 / units["time"] ** 2).to_value(GM_UNIT)

    @property
    def M(self) -> float:
        return float(self.GM) / G

    def length(self, name: str) -> float:
        return float(self.parameters[name].to_value("kpc"))

    def speed(self, name: str) -> float:
        return float(self.parameters[name].to_value("km / s"))

    def number(self, name: str) -> float:
        value = self.parameters[name]
        return float(value.to_value("") if hasattr(value, "to_value") else value)


def _miyamoto_nagai(v: _Values) -> AbstractPotential:
    return signed(potential.MiyamotoNagai, "M", v.M, a=v.length("a"), b=v.length("b"))


def _nfw(v: _Values) -> AbstractPotential:
    axes = [v.number(axis) for axis in "abc"]
    if axes != [1.0, 1.0, 1.0]:
        raise ValueError(
            f"(a, b, c) = {tuple(axes)}: gala flattens the radius in the potential, not in the density; "
            "ours is potential.FlattenedNFW (q flattens the density), to be fitted to it by hand"
        )
    r_s = v.length("r_s")
    return signed(potential.NFW, "rho_s", v.M / (4.0 * np.pi * r_s**3), r_s=r_s)


def _cutoff(v: _Values) -> AbstractPotential:
    alpha, r_c = v.number("alpha"), v.length("r_c")
    # M = 2 pi rho_0 r_0^alpha r_c^(3 - alpha) Gamma((3 - alpha)/2), with r_0 = 1 kpc.
    rho_0 = v.M / (2.0 * np.pi * r_c ** (3.0 - alpha) * float(gamma_function(1.5 - 0.5 * alpha)))
    return signed(potential.PowerLawCutoff, "rho_0", rho_0, alpha=alpha, r_c=r_c)


def _logarithmic(v: _Values) -> AbstractPotential:
    q_1, q_2, q_3 = (v.number(f"q{i}") for i in (1, 2, 3))
    if q_1 != q_2:
        raise ValueError(f"q1 = {q_1:g} and q2 = {q_2:g} differ: it is not axisymmetric, and ours are")
    # v_c^2/2 ln(r_h^2 + R^2/q_1^2 + z^2/q_3^2), but for a constant, is the same with lengths times q_1.
    r_c = v.length("r_h") * q_1
    return potential.LogarithmicHalo(v.speed("v_c"), r_c, q_3 / q_1)  # type: ignore[arg-type]


def _jaffe(v: _Values) -> AbstractPotential:
    c = v.length("c")
    return signed(potential.Spheroid, "rho_s", v.M / (4.0 * np.pi * c**3), r_s=c, gamma=2.0, beta=4.0)


_READERS: dict[str, Callable[[_Values], AbstractPotential]] = {
    "MiyamotoNagaiPotential": _miyamoto_nagai,
    "HernquistPotential": lambda v: signed(potential.Hernquist, "M", v.M, a=v.length("c")),
    "PlummerPotential": lambda v: signed(potential.Plummer, "M", v.M, b=v.length("b")),
    "IsochronePotential": lambda v: signed(potential.Isochrone, "M", v.M, b=v.length("b")),
    "NFWPotential": _nfw,
    "PowerLawCutoffPotential": _cutoff,
    "LogarithmicPotential": _logarithmic,
    "JaffePotential": _jaffe,
}


def to_gala(pot: AbstractPotential) -> Any:
    """A potential of ours as one of gala in its galactic units; a Sum as a composite under the same names.

    Isochrone, Plummer, Hernquist, NFW, PowerLawCutoff, MiyamotoNagai and LogarithmicHalo have a counterpart.

    Raises ValueError naming the part that has none, and ModuleNotFoundError without gala.
    """
    # By name, so that type checks pass where gala is not installed.
    theirs, galactic = import_module("gala.potential"), import_module("gala.units").galactic

    built = {}
    for name, part, sign in parts_of(pot):
        known = _counterpart(part, sign)
        if known is None:
            raise ValueError(
                f"to_gala: {f'{name} = ' if name else ''}{type(part).__name__} has no counterpart in gala"
            )
        kind, arguments = known
        built[name] = getattr(theirs, kind)(**arguments, units=galactic)
    if not isinstance(pot, potential.Sum):
        return built[""]
    composite = theirs.CCompositePotential()
    for name, part in built.items():
        composite[name.replace(".", "_")] = part
    return composite


def _counterpart(part: AbstractPotential, sign: float) -> tuple[str, dict[str, Any]] | None:
    """gala's class and arguments; its G is astropy's."""
    import astropy.units as u
    from astropy import constants

    v = numbers(part)
    # The mass that has the same GM with gala's G.
    other = constants.G.to_value("kpc km2 / (Msun s2)")  # type: ignore[attr-defined]
    unit = sign * G / other * u.Msun
    kpc = u.kpc
    match part:
        case potential.MiyamotoNagai():
            shape = {"a": v["a"] * kpc, "b": v["b"] * kpc}
            return "MiyamotoNagaiPotential", {"m": v["M"] * unit, **shape}
        case potential.Hernquist():
            return "HernquistPotential", {"m": v["M"] * unit, "c": v["a"] * kpc}
        case potential.Plummer():
            return "PlummerPotential", {"m": v["M"] * unit, "b": v["b"] * kpc}
        case potential.Isochrone():
            return "IsochronePotential", {"m": v["M"] * unit, "b": v["b"] * kpc}
        case potential.NFW():
            M = 4.0 * np.pi * v["rho_s"] * v["r_s"] ** 3
            return "NFWPotential", {"m": M * unit, "r_s": v["r_s"] * kpc}
        case potential.PowerLawCutoff():
            rise = v["r_c"] ** (3.0 - v["alpha"]) * v["r_0"] ** v["alpha"]
            M = 2.0 * np.pi * v["rho_0"] * rise * float(gamma_function(1.5 - 0.5 * v["alpha"]))
            shape = {"alpha": v["alpha"], "r_c": v["r_c"] * kpc}
            return "PowerLawCutoffPotential", {"m": M * unit, **shape}
        case potential.LogarithmicHalo() if sign > 0.0:
            shape = {"r_h": v["r_c"] * kpc, "q1": 1.0, "q2": 1.0, "q3": v["q"]}
            return "LogarithmicPotential", {"v_c": v["v_0"] * u.km / u.s, **shape}
    return None
