"""Potentials from and to galpy (Bovy 2015, ApJS 216, 29)."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from oortax import potential
from oortax.constants import G
from oortax.io.parts import assemble, numbers, parts_of, signed
from oortax.potential import AbstractPotential


class _Scales(NamedTuple):
    """galpy's units of length and velocity, and what follows from them."""

    ro: float  # kpc
    vo: float  # km/s

    @property
    def mass(self) -> float:
        return self.vo**2 * self.ro / G

    @property
    def density(self) -> float:
        return self.mass / self.ro**3


def from_galpy(pot: Any, ro: float | None = None, vo: float | None = None) -> AbstractPotential:
    """A potential of galpy, or a list or CompositePotential of them, as ours.

    Parameters
    ----------
    pot : galpy potential, or a list of them
        Axisymmetric, with a counterpart here (the error names them all).
    ro, vo : float, optional
        galpy's units of length (kpc) and velocity (km/s). If not given, those the potential was set up with,
        or else galpy's configured ones (8 kpc, 220 km/s).

    Returns
    -------
    AbstractPotential
        One potential for one, a `potential.Sum` for a list, its parts named by their kinds. GM and with it
        forces are the same to rounding; masses in Msun follow our G (galpy's differs by 3e-9). The zero
        point of a logarithmic potential is another one.

    Raises
    ------
    ValueError
        Naming the component if it is not axisymmetric, has no counterpart, or is in other units than ro, vo.

    Notes
    -----
    A TriaxialNFWPotential with b = 1 becomes a FlattenedNFW, an EinastoPotential an Einasto,
    TwoPower... and PerfectEllipsoid potentials a Spheroid, and an MN3ExponentialDiskPotential its three
    Miyamoto-Nagai discs, those of negative mass inside `potential.Negative`. Spheroids and exponential discs
    are expanded when they are evaluated (see `potential.Grid`). Expansions (SCF, DiskSCF, Multipole) do not
    say what they are expansions of: build that density here, e.g. `potential.mcmillan_2017()`.
    """
    components = list(_flatten(pot))
    if not components:
        raise ValueError("from_galpy: the list of potentials is empty")
    scales = _scales(components, ro, vo)
    return assemble(entry for c in components for entry in _convert(c, scales))


def _flatten(pot: Any) -> Iterator[Any]:
    inner = pot if isinstance(pot, list | tuple) else getattr(pot, "_potlist", None)
    if inner is None:
        if not hasattr(pot, "_amp"):
            raise ValueError(f"from_galpy: expected a potential of galpy or a list of them, got {pot!r}")
        yield pot
        return
    for part in inner:
        yield from _flatten(part)


def _scales(components: list[Any], ro: float | None, vo: float | None) -> _Scales:
    chosen = []
    for name, given, unit in (("ro", ro, "kpc"), ("vo", vo, "km/s")):
        own = {float(getattr(c, f"_{name}")) for c in components if getattr(c, f"_{name}Set")}
        if len(own) > 1:
            raise ValueError(f"from_galpy: the components have different {name}: {sorted(own)} {unit}")
        if given is not None and own and not np.isclose(float(given), *own, rtol=1e-10):
            raise ValueError(
                f"from_galpy({name}={given}): the potential was set up with {name} = {own.pop():g} {unit}; "
                f"leave {name} out"
            )
        value = own.pop() if own else getattr(components[0], f"_{name}") if given is None else given
        if not (np.isfinite(float(value)) and float(value) > 0.0):
            raise ValueError(f"from_galpy({name}={value}): {name} must be positive, in {unit}")
        chosen.append(float(value))
    return _Scales(*chosen)


def _convert(pot: Any, scales: _Scales) -> Iterator[tuple[str, AbstractPotential]]:
    kind = type(pot).__name__
    if kind == "MN3ExponentialDiskPotential":
        for i, disc in enumerate(pot._mn3, 1):
            yield (
                f"disc_{i}",
                signed(
                    potential.MiyamotoNagai,
                    "M",
                    float(pot._amp * disc._amp) * scales.mass,
                    a=float(disc._a) * scales.ro,
                    b=float(disc._b) * scales.ro,
                ),
            )
        return
    reader = _READERS.get(kind)
    if reader is None:
        remedy = ""
        if "SCF" in kind or "Multipole" in kind or "Interp" in kind:
            remedy = (
                "; it holds coefficients only: build its density with oortax.potential instead "
                "(galpy's McMillan17 is potential.mcmillan_2017())"
            )
        raise ValueError(
            f"from_galpy: {kind} has no counterpart{remedy} (known: {', '.join(sorted(_known()))})"
        )
    if pot.isNonAxi or not getattr(pot, "_aligned", True):
        raise ValueError(
            f"from_galpy: this {kind} is not axisymmetric about z (b != 1 or turned by zvec, pa); "
            "potentials here are"
        )
    try:
        yield kind.removesuffix("Potential").lower(), reader(pot, scales)
    except ValueError as error:
        raise ValueError(f"from_galpy: {kind}: {error}") from error


def _known() -> list[str]:
    return [*_READERS, "MN3ExponentialDiskPotential"]


def _sphere(kind, length: str, attribute: str, share: float = 1.0) -> Callable:
    """A reader for potentials of a mass, of which galpy's amplitude is `1/share`, and one length."""

    def read(p: Any, u: _Scales) -> AbstractPotential:
        return signed(
            kind, "M", share * float(p._amp) * u.mass, **{length: float(getattr(p, attribute)) * u.ro}
        )

    return read


def _miyamoto_nagai(p: Any, u: _Scales) -> AbstractPotential:
    a, b = float(p._a) * u.ro, float(p._b) * u.ro
    return signed(potential.MiyamotoNagai, "M", float(p._amp) * u.mass, a=a, b=b)


def _nfw(p: Any, u: _Scales) -> AbstractPotential:
    # galpy's amplitude is the mass 4 pi rho_s a^3.
    rho_s = float(p._amp) / (4.0 * np.pi * float(p.a) ** 3) * u.density
    return signed(potential.NFW, "rho_s", rho_s, r_s=float(p.a) * u.ro)


def _flattened_nfw(p: Any, u: _Scales) -> AbstractPotential:
    return signed(
        potential.FlattenedNFW,
        "rho_s",
        float(p._amp) * u.density,
        r_s=float(p.a) * u.ro,
        q=float(np.sqrt(p._c2)),
    )


def _cutoff(p: Any, u: _Scales) -> AbstractPotential:
    # Amplitude times r1^alpha, all in units of ro: the density at r = ro without the cut-off.
    return signed(
        potential.PowerLawCutoff,
        "rho_0",
        float(p._amp) * u.density,
        alpha=float(p.alpha),
        r_c=float(p.rc) * u.ro,
        r_0=u.ro,
    )


def _logarithmic(p: Any, u: _Scales) -> AbstractPotential:
    if not p._amp > 0.0:
        raise ValueError(f"its amplitude {float(p._amp):g} must be positive")
    v_0, r_c = float(np.sqrt(p._amp)) * u.vo, float(np.sqrt(p._core2)) * u.ro
    return potential.LogarithmicHalo(v_0, r_c, float(p._q))  # type: ignore[arg-type]


def _exponential(p: Any, u: _Scales) -> AbstractPotential:
    Sigma_0 = 2.0 * float(p._hz) * float(p._amp) * u.density * u.ro
    return signed(
        potential.ExponentialDisc, "Sigma_0", Sigma_0, R_d=float(p._hr) * u.ro, z_d=float(p._hz) * u.ro
    )


def _two_powers(p: Any, u: _Scales, gamma: float | None = None, beta: float | None = None):
    """Spherical forms hold the mass 4 pi rho_s a^3 as their amplitude, triaxial ones the density."""
    a = float(p.a)
    triaxial = hasattr(p, "_c2")
    rho_s = float(p._amp) if triaxial else float(p._amp) / (4.0 * np.pi * a**3)
    return signed(
        potential.Spheroid,
        "rho_s",
        rho_s * u.density,
        r_s=a * u.ro,
        q=float(np.sqrt(p._c2)) if triaxial else 1.0,
        gamma=float(p.alpha) if gamma is None else gamma,
        beta=float(p.beta) if beta is None else beta,
    )


def _perfect(p: Any, u: _Scales) -> AbstractPotential:
    # The stored amplitude is that of (a^2 + m^2)^-2.
    rho_s = float(p._amp) / float(p.a) ** 4 * u.density
    q, r_s = float(np.sqrt(p._c2)), float(p.a) * u.ro
    return signed(potential.Spheroid, "rho_s", rho_s, r_s=r_s, q=q, gamma=0.0, beta=4.0, alpha=2.0)


def _einasto(p: Any, u: _Scales) -> AbstractPotential:
    h, n = float(p.h), float(p.n)
    rho_s = float(p._amp) * float(np.exp(-2.0 * n)) * u.density
    return signed(potential.Einasto, "rho_s", rho_s, r_s=h * (2.0 * n) ** n * u.ro, alpha=1.0 / n)


_READERS: dict[str, Callable[[Any, _Scales], AbstractPotential]] = {
    "MiyamotoNagaiPotential": _miyamoto_nagai,
    "PlummerPotential": _sphere(potential.Plummer, "b", "_b"),
    "IsochronePotential": _sphere(potential.Isochrone, "b", "b"),
    "HernquistPotential": _sphere(potential.Hernquist, "a", "a", share=0.5),
    "NFWPotential": _nfw,
    "TriaxialNFWPotential": _flattened_nfw,
    "PowerSphericalPotentialwCutoff": _cutoff,
    "LogarithmicHaloPotential": _logarithmic,
    "DoubleExponentialDiskPotential": _exponential,
    "EinastoPotential": _einasto,
    "TwoPowerSphericalPotential": _two_powers,
    "TwoPowerTriaxialPotential": _two_powers,
    "DehnenSphericalPotential": lambda p, u: _two_powers(p, u, beta=4.0),
    "DehnenCoreSphericalPotential": lambda p, u: _two_powers(p, u, gamma=0.0, beta=4.0),
    "JaffePotential": lambda p, u: _two_powers(p, u, gamma=2.0, beta=4.0),
    "TriaxialHernquistPotential": lambda p, u: _two_powers(p, u, gamma=1.0, beta=4.0),
    "TriaxialJaffePotential": lambda p, u: _two_powers(p, u, gamma=2.0, beta=4.0),
    "PerfectEllipsoidPotential": _perfect,
}


def to_galpy(pot: AbstractPotential, ro: float = 8.0, vo: float = 220.0) -> Any:
    """A potential of ours as one of galpy; a Sum as a list of them.

    Parameters
    ----------
    pot : AbstractPotential
        With a counterpart in galpy: Isochrone, Plummer, Hernquist, NFW, FlattenedNFW, PowerLawCutoff,
        MiyamotoNagai, LogarithmicHalo, ExponentialDisc without a hole, spherical Einasto, and Spheroid
        without a cut-off if alpha = 1 or if (gamma, beta, alpha) = (0, 4, 2).
    ro, vo : float
        Units of length (kpc) and velocity (km/s) to set it up with; its outputs are then physical.

    Raises
    ------
    ValueError
        Naming the part that galpy has no counterpart of; ModuleNotFoundError without galpy.
    """
    # By name, so that type checks pass where galpy is not installed.
    theirs = import_module("galpy.potential")

    scales = _Scales(float(ro), float(vo))
    built = []
    for name, part, sign in parts_of(pot):
        known = _counterpart(part, scales)
        if known is None:
            raise ValueError(
                f"to_galpy: {f'{name} = ' if name else ''}{type(part).__name__} has no counterpart in galpy "
                f"with these parameters: {numbers(part)}"
            )
        kind, amp, shape = known
        built.append(getattr(theirs, kind)(amp=sign * amp, **shape, ro=ro, vo=vo))
    return built if isinstance(pot, potential.Sum) else built[0]


def _counterpart(part: AbstractPotential, u: _Scales) -> tuple[str, float, dict[str, float]] | None:
    """galpy's class, amplitude and other arguments in its own units."""
    v = numbers(part)
    match part:
        case potential.MiyamotoNagai():
            return "MiyamotoNagaiPotential", v["M"] / u.mass, {"a": v["a"] / u.ro, "b": v["b"] / u.ro}
        case potential.Plummer():
            return "PlummerPotential", v["M"] / u.mass, {"b": v["b"] / u.ro}
        case potential.Isochrone():
            return "IsochronePotential", v["M"] / u.mass, {"b": v["b"] / u.ro}
        case potential.Hernquist():
            return "HernquistPotential", 2.0 * v["M"] / u.mass, {"a": v["a"] / u.ro}
        case potential.NFW():
            return "NFWPotential", _scale_mass(v) / u.mass, {"a": v["r_s"] / u.ro}
        case potential.FlattenedNFW():
            shape = {"a": v["r_s"] / u.ro, "b": 1.0, "c": v["q"]}
            return "TriaxialNFWPotential", _scale_mass(v) / u.mass, shape
        case potential.PowerLawCutoff():
            shape = {"alpha": v["alpha"], "rc": v["r_c"] / u.ro, "r1": v["r_0"] / u.ro}
            return "PowerSphericalPotentialwCutoff", v["rho_0"] / u.density, shape
        case potential.LogarithmicHalo():
            return "LogarithmicHaloPotential", (v["v_0"] / u.vo) ** 2, {"core": v["r_c"] / u.ro, "q": v["q"]}
        case potential.ExponentialDisc() if not v.get("R_hole"):
            amp = v["Sigma_0"] / (2.0 * v["z_d"]) / u.density
            return "DoubleExponentialDiskPotential", amp, {"hr": v["R_d"] / u.ro, "hz": v["z_d"] / u.ro}
        case potential.Einasto() if v["q"] == 1.0:
            n = 1.0 / v["alpha"]
            shape = {"h": v["r_s"] / (2.0 * n) ** n / u.ro, "n": n}
            return "EinastoPotential", v["rho_s"] * float(np.exp(2.0 * n)) / u.density, shape
        case potential.Spheroid() if v["alpha"] == 1.0 and "r_cut" not in v:
            shape = {"a": v["r_s"] / u.ro, "alpha": v["gamma"], "beta": v["beta"]}
            if v["q"] == 1.0:
                return "TwoPowerSphericalPotential", _scale_mass(v) / u.mass, shape
            return "TwoPowerTriaxialPotential", _scale_mass(v) / u.mass, shape | {"b": 1.0, "c": v["q"]}
        case potential.Spheroid() if _slopes(v) == (0.0, 4.0, 2.0) and "r_cut" not in v:
            M = 0.25 * np.pi * v["q"] * _scale_mass(v)
            return "PerfectEllipsoidPotential", M / u.mass, {"a": v["r_s"] / u.ro, "b": 1.0, "c": v["q"]}
    return None


def _slopes(v: dict[str, float]) -> tuple[float, float, float]:
    return v["gamma"], v["beta"], v["alpha"]


def _scale_mass(v: dict[str, float]) -> float:
    return 4.0 * np.pi * v["rho_s"] * v["r_s"] ** 3
