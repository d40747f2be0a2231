"""The text form of AGAMA's potentials: sections of keys and values, some with tables of coefficients."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oortax.io.names import nearest

SYNONYMS = {
    "sigma0": "surfaceDensity",
    "rho0": "densityNorm",
    "rscale": "scaleRadius",
    "scaleradius2": "scaleHeight",
    "p": "axisRatioY",
    "q": "axisRatioZ",
    "xi": "cutoffStrength",
}
"""AGAMA's other names of some keys, in lower case."""

# Keys that steer how AGAMA expands a density, which we do in our own way.
EXPANSION = (
    "density gridSizeR gridSizez lmax mmax nmax rmin rmax zmin zmax smoothing eta r0 fixOrder symmetry"
).split()
MODIFIERS = ("center", "orientation", "rotation", "scale")
SHAPES = {
    "Disk": "mass surfaceDensity scaleRadius scaleHeight innerCutoffRadius sersicIndex modulationAmplitude",
    "Spheroid": "mass densityNorm scaleRadius axisRatioY axisRatioZ alpha beta gamma outerCutoffRadius "
    "cutoffStrength",
    "Dehnen": "mass scaleRadius gamma axisRatioY axisRatioZ",
    "NFW": "mass scaleRadius",
    "MiyamotoNagai": "mass scaleRadius scaleHeight",
    "Plummer": "mass scaleRadius",
    "Isochrone": "mass scaleRadius",
    "PerfectEllipsoid": "mass scaleRadius axisRatioZ",
    "Logarithmic": "v0 scaleRadius axisRatioY axisRatioZ",
}
"""Keys of the models that have a counterpart here."""

OTHERS = {
    "Sersic": "a projected profile, which needs a deprojection; fit a potential.Spheroid to it",
    "Nuker": "a projected profile, which needs a deprojection; fit a potential.Spheroid to it",
    "King": "a lowered isothermal sphere; write its density as a potential.FromDensity",
    "Ferrers": "a density with an edge; write it as a potential.FromDensity",
    "LongMurali": "a bar, and not axisymmetric",
    "Harmonic": "an infinite homogeneous ellipsoid",
    "KeplerBinary": "a point mass or a binary",
    "UniformAcceleration": "time-dependent",
    "Evolving": "time-dependent",
    "BasisSet": "a basis-set expansion; export it from AGAMA as Multipole (density=..., type='Multipole')",
    "DensitySphericalHarmonic": "a density; export the potential of it as Multipole",
    "DensityAzimuthalHarmonic": "a density; export the potential of it as CylSpline",
}
"""AGAMA's models that have none, and why."""

TABLES = ("Multipole", "CylSpline")


@dataclasses.dataclass
class Section:
    """One component: its name, its keys in AGAMA's spelling, and the lines after "Coefficients"."""

    name: str
    values: dict[str, str]
    coefficients: list[str] | None = None
    folder: Path = dataclasses.field(default_factory=Path)

    @property
    def label(self) -> str:
        return f"[Potential {self.name}]" if self.name else "[Potential]"

    @property
    def type(self) -> str:
        """The model in AGAMA's spelling, that of the density inside an expansion of one."""
        return self._model("density") or self._model("type")

    def _model(self, key: str) -> str:
        given = self.values.get(key, "")
        known = {name.lower(): name for name in (*SHAPES, *OTHERS, *TABLES)}
        return known.get(given.lower(), given)

    def number(self, key: str, default: float) -> float:
        """The value of a key.

        Raises ValueError naming the section and the key if it is no number.
        """
        if key not in self.values:
            return default
        try:
            return float(self.values[key])
        except ValueError as error:
            raise ValueError(f"{self.label}: {key} = {self.values[key]!r} must be a number") from error

    def check(self) -> None:
        """Raise ValueError for a type or a key that we or AGAMA do not know."""
        kind = self.type
        if not kind:
            raise ValueError(f"{self.label} has no type (known: {', '.join([*SHAPES, *TABLES])})")
        if kind in OTHERS:
            raise ValueError(
                f"{self.label}: type = {kind} is {OTHERS[kind]} (known: {', '.join([*SHAPES, *TABLES])})"
            )
        if kind not in SHAPES and kind not in TABLES:
            raise ValueError(
                f"{self.label}: unknown type {kind!r}{nearest(kind, [*SHAPES, *TABLES, *OTHERS])} "
                f"(known: {', '.join([*SHAPES, *TABLES])})"
            )
        known = ["type", *SHAPES.get(kind, "").split(), *EXPANSION, *MODIFIERS]
        for key, value in self.values.items():
            if key not in known:
                raise ValueError(
                    f"{self.label}: unknown key {key!r} of {kind}{nearest(key, known)} "
                    f"(known: {', '.join(SHAPES.get(kind, '').split() or EXPANSION)})"
                )
            if key in MODIFIERS and not _trivial(key, value):
                raise ValueError(
                    f"{self.label}: {key} = {value!r} moves, turns or scales it; potentials here are "
                    "centred, axisymmetric about z and static"
                )


def _trivial(key: str, value: str) -> bool:
    """Whether a modifier leaves the potential as it is."""
    try:
        entries = {float(entry) for entry in re.split(r"[\s,;\[\]()]+", value) if entry}
    except ValueError:
        return False
    return entries <= ({1.0} if key == "scale" else {0.0})


def section(name: str, values: Mapping[str, Any], folder: Path | None = None) -> Section:
    """A section from keywords, as of agama.Potential(...); keys in any case, synonyms resolved."""
    spelling = {
        key.lower(): key
        for key in (
            "type",
            "file",
            *EXPANSION,
            *MODIFIERS,
            *(key for keys in SHAPES.values() for key in keys.split()),
        )
    }
    found: dict[str, str] = {}
    for key, value in values.items():
        lower = str(key).strip().lower()
        proper = SYNONYMS.get(lower, spelling.get(lower, str(key).strip()))
        if proper in found:
            raise ValueError(f"[Potential {name}]: {proper} is given twice")
        found[proper] = str(value).strip()
    return Section(name, found, None, folder or Path())


def parse(text: str, folder: Path | None = None) -> list[Section]:
    """The sections [Potential...] of a file; other sections are left out.

    >>> [halo] = parse("[Potential dark halo]\\ntype = NFW\\nmass=1e12 # Msun\\nrscale=20\\n")
    >>> halo.name, halo.values
    ('dark halo', {'type': 'NFW', 'mass': '1e12', 'scaleRadius': '20'})
    """
    sections: list[Section] = []
    raw: list[tuple[str, dict[str, str], list[str] | None]] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("[") and "]" in stripped:
            raw.append((stripped[1 : stripped.index("]")].strip(), {}, None))
            continue
        if not raw:
            if stripped and stripped[0] not in "#;":
                raise ValueError(f"line {number}: {stripped!r} stands before any section [Potential]")
            continue
        name, values, coefficients = raw[-1]
        if coefficients is not None:
            coefficients.append(stripped)
        elif stripped == "Coefficients":
            raw[-1] = (name, values, [])
        elif stripped and stripped[0] not in "#;":
            key, equals, value = re.split(r"\s[#;]", stripped)[0].partition("=")
            if not equals:
                if name.lower().startswith("potential"):
                    raise ValueError(f"line {number}: expected key = value, got {stripped!r}")
                continue
            values[key.strip()] = value.strip()
    for name, values, coefficients in raw:
        if name.lower().startswith("potential"):
            found = section(name[len("potential") :].strip(), values, folder)
            sections.append(dataclasses.replace(found, coefficients=coefficients))
    if not sections:
        raise ValueError("no section [Potential...] in it")
    return sections
