"""One restrained look for every picture: colours, type, ticks and labels with units.

`STYLE` is applied through `style()` only, never globally: importing or calling oortax changes no
setting of the user's matplotlib. Colours are those of Okabe & Ito (2008), which stay distinct under
all common kinds of colour blindness; where curves might be confused they differ in dashing too.

>>> label("potential.halo.q")
'$q_{\\\\mathrm{halo}}$'
>>> label("components.thin.df.sigma_r0", "km/s")
'$\\\\sigma_{r0,\\\\mathrm{thin}}$ [km s$^{-1}$]'
"""

import functools
import re
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

MODEL = "#0072B2"
DATA = "#1a1a1a"
LITERATURE = "#D55E00"
PRIOR = "#8a8a8a"
TRUTH = "#009E73"
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), "-")

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#333333",
    "axes.labelcolor": "#1a1a1a",
    "axes.labelsize": 10.5,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "serif",
    "font.serif": ["STIXGeneral", "DejaVu Serif"],
    "font.size": 10.5,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.4,
    "mathtext.fontset": "stix",
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
    "xtick.direction": "in",
    "xtick.labelsize": 9.5,
    "xtick.minor.visible": True,
    "xtick.top": True,
    "ytick.direction": "in",
    "ytick.labelsize": 9.5,
    "ytick.minor.visible": True,
    "ytick.right": True,
}
"""Overrides of matplotlib's rcParams inside `style()`."""

SYMBOLS = {
    "rho_s": r"\rho_{s}",
    "r_s": "r_{s}",
    "R_d": "R_{d}",
    "H_d": "H_{d}",
    "v_0": "v_{0}",
    "r_c": "r_{c}",
    "sigma_r0": r"\sigma_{r0}",
    "R_sigma": r"R_{\sigma}",
    "Sigma_0": r"\Sigma_{0}",
    "sigma": r"\sigma",
    "alpha": r"\alpha",
    "beta": r"\beta",
    "gamma": r"\gamma",
    "R0": "R_{0}",
    "z0": "z_{0}",
    "v_c": "v_{c}",
    "rho_DM": r"\rho_{\mathrm{DM}}",
    "Sigma_1.1": r"\Sigma_{1.1}",
    "K_z_1.1": r"|K_{z,1.1}|/2\pi G",
    "weight": r"w",
    "fraction": r"\epsilon",
}
"""Mathematical symbols of parameter and quantity names; a single letter stands for itself."""

_UNITS = {"Msun": r"M$_\odot$"}
_SILENT = ("potential", "components", "df", "stars", "survey", "errors", "constraints")


@contextmanager
def style():
    """Apply `STYLE` on top of the user's own settings, for the duration of a `with` block."""
    with mpl.rc_context(STYLE):
        yield


def styled(function):
    """Run a plot function inside `style()`."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        with style():
            return function(*args, **kwargs)

    return wrapper


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (5.2, 3.9)) -> Axes:
    """The given Axes, or those of a new figure of `size` inches."""
    if ax is not None:
        return ax
    return plt.figure(figsize=size, layout="constrained").add_subplot()


def mark_sun(ax: Axes, R0: float) -> None:
    """A dot and the word Sun at (R0, 0), above whatever is drawn in the meridional plane."""
    ax.plot(R0, 0.0, marker="o", ms=5, mfc="#E69F00", mec=DATA, mew=0.7, clip_on=False, zorder=5)
    ax.annotate(
        "Sun", (R0, 0.0), xytext=(4, 5), textcoords="offset points", fontsize=9, zorder=6,
        path_effects=[withStroke(linewidth=2.0, foreground="white")],
    )  # fmt: skip


def touching(fig: Figure) -> None:
    """Let stacked panels of a constrained layout touch: gaps come from the outer grid's spacing only."""
    engine = fig.get_layout_engine()
    if engine is not None:
        engine.set(h_pad=0.0, w_pad=0.04)  # type: ignore[call-arg]


def figure_of(ax) -> Figure:
    """The top-level Figure that holds an Axes, an array of Axes, or is given itself."""
    if isinstance(ax, Figure):
        return ax
    first = next(a for a in np.ravel(np.asarray(ax, dtype=object)) if a is not None)
    return first.get_figure(root=True)


def unit_label(unit: str) -> str:
    """A unit such as "Msun/kpc^3" with typeset powers.

    >>> unit_label("Msun/kpc^3"), unit_label("km/s/kpc"), unit_label("")
    ('M$_\\\\odot$ kpc$^{-3}$', 'km s$^{-1}$ kpc$^{-1}$', '')
    """
    words = []
    for position, factor in enumerate(unit.replace(" ", "").split("/")):
        for word in filter(None, factor.split("*")):
            name, _, power = word.partition("^")
            power = float(power or 1) * (1 if position == 0 else -1)
            name = _UNITS.get(name, name)
            words.append(name if power == 1 else f"{name}$^{{{power:g}}}$")
    return " ".join(words)


def with_unit(text: str, unit: str = "", exponent: int = 0) -> str:
    """`text [10^exponent unit]`, without brackets when there is nothing to put into them."""
    ten = f"$10^{{{exponent}}}$" if exponent else ""
    inside = " ".join(part for part in (ten, unit_label(unit)) if part)
    return f"{text} [{inside}]" if inside else text


def symbol(path: str) -> str:
    """The mathematical symbol of a dotted path, with its owner as subscript: a string in dollars.

    Containers ("potential", "components", "df") are left out of the subscript.
    """
    if path in SYMBOLS:
        return f"${SYMBOLS[path]}$"
    *owners, name = path.split(".")
    owner = " ".join(o.replace("_", " ") for o in owners if o not in _SILENT)
    owner = {"sun": r"\odot"}.get(owner, owner and r"\mathrm{" + owner.replace(" ", r"\ ") + "}")
    base = SYMBOLS.get(name)
    if base is None:
        base = name if len(name) == 1 else _spelled(name)
    if not owner:
        return f"${base}$"
    match = re.fullmatch(r"(.*)_\{(.*)\}", base)
    if match is None:
        return f"${base}_{{{owner}}}$"
    return f"${match[1]}_{{{match[2]},{owner}}}$"


def _spelled(name: str) -> str:
    """An unknown name in upright letters, "a_b" as a with subscript b."""
    head, _, tail = name.partition("_")
    head = head if len(head) == 1 else r"\mathrm{" + head + "}"
    tail = tail.replace("_", r"\ ")
    return head + (r"_{\mathrm{" + tail + "}}" if tail else "")


def label(path: str, unit: str = "", exponent: int = 0) -> str:
    """An axis label for a parameter's dotted path: its symbol and its unit."""
    return with_unit(symbol(path), unit, exponent)


def exponent_of(values) -> int:
    """Power of ten to take out of an axis: 0 unless the values are awkwardly large or small."""
    values = np.asarray(values, dtype=float)
    typical = np.median(np.abs(values[np.isfinite(values)])) if np.isfinite(values).any() else 0.0
    if typical == 0.0 or 1e-2 <= typical < 1e4:
        return 0
    return int(np.floor(np.log10(typical)))
