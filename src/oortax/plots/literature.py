"""Published values that the Solar neighbourhood's mass model is compared with.

Every entry names its paper. `recalled` marks a number that was not checked against the paper's own
text; pictures and tables show it with a dagger.

>>> [m.reference for m in measurements("q")]
['Posti & Helmi 2019', 'Hattori+ 2021', 'Wegg+ 2019']
>>> "Piffl+ 2014" in [m.reference for m in measurements("rho_DM", q=1.0)]
True
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Quantity:
    """What a derived number is: its key, meaning in words, and unit."""

    key: str
    meaning: str
    unit: str


@dataclass(frozen=True)
class Measurement:
    """One published number: value and 1-sigma error, or a lower limit when `limit` is true."""

    key: str
    value: float
    error: float | None
    reference: str
    arxiv: str
    note: str = ""
    limit: bool = False
    recalled: bool = False

    @property
    def name(self) -> str:
        """The reference, with a dagger when its number is recalled rather than checked."""
        return self.reference + ("\u2020" if self.recalled else "")

    def __str__(self) -> str:
        if self.limit:
            return f"> {self.value:g}"
        return f"{self.value:g}" + (f" \u00b1 {self.error:g}" if self.error is not None else "")


QUANTITIES = (
    Quantity("v_c", "circular speed v_c(R0)", "km/s"),
    Quantity("K_z_1.1", "vertical force at 1.1 kpc, |K_z|/(2πG)", "Msun/pc^2"),
    Quantity("Sigma_1.1", "surface density within 1.1 kpc of the plane", "Msun/pc^2"),
    Quantity("rho_DM", "density of dark matter at the Sun", "Msun/pc^3"),
    Quantity("q", "axis ratio q of the halo's density", ""),
)
"""The quantities compared, in the order of report and pictures."""

_TABLE = (
    Measurement("v_c", 229.0, 6.0, "Eilers+ 2019", "1810.09466", "error: the 2-3% systematic"),
    Measurement("K_z_1.1", 67.0, 6.0, "Bovy & Rix 2013", "1309.0809", "16 269 SEGUE G dwarfs, f(J) fits"),
    Measurement("Sigma_1.1", 68.0, 4.0, "Bovy & Rix 2013", "1309.0809", "16 269 SEGUE G dwarfs, f(J) fits"),
    Measurement(
        "rho_DM", 0.00901, None, "Hattori+ 2021", "2012.03908", "published as 0.342 GeV/cm^3; RR Lyrae"
    ),
    Measurement("q", 1.30, 0.25, "Posti & Helmi 2019", "1805.01408", "globular clusters"),
    Measurement(
        "q", 0.963, None, "Hattori+ 2021", "2012.03908", "99% limit; the prior allowed q <= 1", limit=True
    ),
    Measurement("q", 1.00, 0.09, "Wegg+ 2019", "1806.09635", "RR Lyrae, Jeans equations", recalled=True),
)


def piffl_rho_DM(q: float) -> float:
    """Dark density at the Sun as a function of the halo's axis ratio, in Msun/pc^3.

    rho_DM = 0.0126 q^-0.89 (Piffl et al. 2014, 200 000 RAVE giants), uncertain by 15%.
    """
    return 0.0126 * q**-0.89


def measurements(key: str, q: float = 1.0) -> list[Measurement]:
    """Published values of one quantity; `q` is the axis ratio at which Piffl's density is taken."""
    found = [entry for entry in _TABLE if entry.key == key]
    if key == "rho_DM":
        value = float(f"{piffl_rho_DM(q):.3g}")
        note = f"0.0126 q^-0.89 at q = {q:.2f}; error: the 15% systematic"
        error = float(f"{0.15 * value:.2g}")
        found.insert(0, Measurement(key, value, error, "Piffl+ 2014", "1406.4130", note))
    return found


def compare(derived: Mapping[str, np.ndarray]) -> list[dict[str, str]]:
    """Rows of a table of derived quantities beside published values.

    Columns: quantity, unit, this fit, literature, reference, note. Keys of `derived` are those of
    `QUANTITIES`, each with an array of posterior draws.
    """
    known = {quantity.key for quantity in QUANTITIES}
    for key in derived:
        if key not in known:
            raise ValueError(f"derived[{key!r}]: unknown quantity; use one of {', '.join(sorted(known))}")
    q = float(np.median(derived["q"])) if "q" in derived else 1.0
    rows = []
    for quantity in QUANTITIES:
        if quantity.key not in derived:
            continue
        ours = interval(derived[quantity.key])
        for index, entry in enumerate(measurements(quantity.key, q)):
            rows.append(
                {
                    "quantity": quantity.meaning if index == 0 else "",
                    "unit": quantity.unit if index == 0 else "",
                    "this fit": ours if index == 0 else "",
                    "literature": str(entry),
                    "reference": entry.name,
                    "note": entry.note,
                }
            )
    return rows


def interval(draws) -> str:
    """Median and half the central 68% interval, rounded to two digits of the error.

    >>> interval([66.0, 67.0, 68.0])
    '67.00 \u00b1 0.68'
    """
    low, middle, high = np.quantile(np.ravel(np.asarray(draws, dtype=float)), [0.16, 0.5, 0.84])
    return plus_minus(middle, 0.5 * (high - low))


def plus_minus(value: float, error: float) -> str:
    """`value ± error` with the error to two digits, in powers of ten when that reads better.

    >>> plus_minus(6.83e10, 2.1e9), plus_minus(229.01, 0.83)
    ('(6.83 \u00b1 0.21)e10', '229.01 \u00b1 0.83')
    """
    if not (np.isfinite(value) and np.isfinite(error)):
        return f"{value:g}"
    if error <= 0.0:
        return f"{value:.6g}"
    largest = max(abs(value), error)
    power = int(np.floor(np.log10(largest)))
    power = power if power >= 5 or power < -4 else 0
    value, error = value / 10.0**power, error / 10.0**power
    decimals = max(0, 1 - int(np.floor(np.log10(error))))
    text = f"{value:.{decimals}f} \u00b1 {error:.{decimals}f}"
    return f"({text})e{power}" if power else text
