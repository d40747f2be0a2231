"""Components of potentials on their way from and to other packages."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from oortax.potential import AbstractPotential, Negative, Sum


class Part(NamedTuple):
    """One component: its dotted name ("" alone), itself, and -1 where its sign is turned."""

    name: str
    potential: AbstractPotential
    sign: float


def parts_of(pot: AbstractPotential, name: str = "", sign: float = 1.0) -> Iterator[Part]:
    """The components of a potential, with sums and signs opened.

    >>> from oortax import potential
    >>> disc = potential.MiyamotoNagai(M=1e10, a=3.0, b=0.3)
    >>> [(part.name, part.sign) for part in parts_of(potential.Sum(disc=disc, hole=potential.Negative(disc)))]
    [('disc', 1.0), ('hole', -1.0)]
    """
    if isinstance(pot, Sum):
        for inner, part in pot.parts.items():
            yield from parts_of(part, f"{name}.{inner}" if name else inner, sign)
    elif isinstance(pot, Negative):
        yield from parts_of(pot.part, name, -sign)
    else:
        yield Part(name, pot, sign)


def assemble(parts: Iterable[tuple[str, AbstractPotential]]) -> AbstractPotential:
    """One potential as it is, several as a Sum under names that fit into paths and are different.

    >>> from oortax import potential
    >>> halo = potential.NFW(rho_s=1e7, r_s=16.0)
    >>> list(assemble([("dark halo", halo), ("dark halo", halo), ("2", halo)]).parts)
    ['dark_halo', 'dark_halo_2', 'part_2']
    """
    parts = list(parts)
    if len(parts) == 1:
        return parts[0][1]
    named: dict[str, AbstractPotential] = {}
    for name, part in parts:
        base = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "part"
        base = base if base[0].isalpha() else f"part_{base}"
        known, count = base, 1
        while known in named:
            count += 1
            known = f"{base}_{count}"
        named[known] = part
    return Sum(**named)


def signed(kind, amplitude: str, value: float, **shape: float | None) -> AbstractPotential:
    """A potential of the given kind, or minus one where its amplitude is negative."""
    part = kind(**{amplitude: abs(value)}, **shape)
    return Negative(part) if value < 0.0 else part


def numbers(part: AbstractPotential) -> dict[str, float]:
    """The values of a potential's own parameters, as floats.

    Raises ValueError for what is not one number (inside jit, or a batch).
    """
    from oortax.params import parameters

    try:
        return {name: float(np.asarray(p.value)) for name, p in parameters(part).items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{type(part).__name__}: its parameters must be concrete numbers") from error
