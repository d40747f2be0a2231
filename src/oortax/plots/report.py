"""The self-contained report of a fit: one HTML file with its figures inside, and figures/*.png beside it.

Nothing in the file is loaded from elsewhere, all text is escaped, and every file appears only when complete.
"""

import base64
import html
import io
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oortax.plots.literature import plus_minus
from oortax.plots.posterior import centre_and_width, prior_samples
from oortax.plots.style import figure_of, style

DPI = 150


@dataclass(frozen=True)
class Picture:
    """A figure of the report: its file name, what was drawn (Axes, array of Axes or Figure), its caption."""

    name: str
    drawn: Any
    caption: str = ""
    section: str = "Figures"

    def __post_init__(self):
        if not self.name or not all(c.isalnum() or c in "-_." for c in self.name) or self.name[0] == ".":
            raise ValueError(f"Picture(name={self.name!r}): use letters, digits, '-', '_' and '.' only")


Row = Mapping[str, Any]


def write_report(
    folder: str | os.PathLike,
    pictures: Sequence[Picture] = (),
    *,
    title: str = "oortax fit",
    introduction: str = "",
    parameters: Sequence[Row] = (),
    derived: Sequence[Row] = (),
    verdict: tuple[bool, str] | None = None,
    constraints: Sequence[Row] = (),
    diagnostics: Mapping[str, Any] | Sequence[Row] = (),
    selection: Mapping[str, Any] | Sequence[Row] = (),
    assumptions: Sequence[str] = (),
    run: Mapping[str, Any] | None = None,
    config: str = "",
    close: bool = True,
) -> Path:
    """Write `folder`/report.html and `folder`/figures/*.png; returns the path of report.html.

    Parameters
    ----------
    pictures : figures in order, grouped by their `section`.
    parameters : rows as of `parameter_rows`; derived : rows as of `literature.compare`.
    verdict : whether the chains can be trusted, and the sentence that says why.
    constraints : rows on how the maximum meets each direct constraint.
    diagnostics, selection, run : tables, as mappings (two columns) or rows with the same keys.
    assumptions : sentences on what was assumed, one list item each.
    config : the resolved configuration's text.
    close : release each figure after it is saved.
    """
    names = [picture.name for picture in pictures]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"pictures: {', '.join(twice)} occur twice; every picture needs its own name")
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    images = {}
    for picture in pictures:
        images[picture.name] = _png(picture, close)
        write_atomic(folder / "figures" / f"{picture.name}.png", images[picture.name])
    parts = [f"<header><h1>{_text(title)}</h1>", _paragraphs(introduction), "</header>"]
    if verdict is not None:
        parts.append(_verdict(*verdict))
    tables = [
        ("Derived quantities and the literature", _table(derived), _DAGGER),
        ("Parameters", _table(parameters), _WIDTHS),
        ("Direct constraints at the maximum", _table(constraints), _CHI2),
    ]
    parts += [_section(heading, body + note) for heading, body, note in tables if body]
    for section in dict.fromkeys(picture.section for picture in pictures):
        body = [_figure(p, images[p.name]) for p in pictures if p.section == section]
        parts.append(_section(section, "".join(body)))
    closing = {
        "Data": _table(selection),
        "Assumptions": _list(assumptions),
        "Diagnostics": _table(diagnostics),
        "Reproducing this": _table(run or {}),
        "Configuration": f"<pre>{_text(config.strip())}</pre>" if config.strip() else "",
    }
    parts += [_section(heading, body) for heading, body in closing.items() if body]
    page = _PAGE.format(title=_text(title), css=_CSS, body="\n".join(part for part in parts if part))
    return write_atomic(folder / "report.html", page.encode())


def parameter_rows(
    draws: Mapping[str, Any],
    *,
    priors: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None,
    best: Mapping[str, float] | None = None,
    rhat: Mapping[str, float] | None = None,
    ess: Mapping[str, float] | None = None,
) -> list[dict[str, str]]:
    """Rows of the parameter table: unit, prior, posterior, their ratio of widths, R-hat and ESS.

    Values are medians, errors half the central 68% intervals. Columns without any entry are left out.
    """
    rows = []
    for path, values in draws.items():
        middle, width = centre_and_width(values)
        row = {"parameter": path, "unit": (units or {}).get(path, ""), "posterior": plus_minus(middle, width)}
        if best is not None:
            row["maximum"] = f"{float(best[path]):.4g}" if path in best else ""
        if priors is not None:
            row["prior"] = row["post./prior width"] = ""
            if path in priors:
                centre, spread = centre_and_width(prior_samples(priors[path]))
                row["prior"] = plus_minus(centre, spread)
                row["post./prior width"] = f"{width / spread:.2f}" if spread > 0 else ""
        if rhat is not None:
            row["R-hat"] = f"{rhat[path]:.3f}" if path in rhat else ""
        if ess is not None:
            row["ESS"] = f"{ess[path]:.0f}" if path in ess else ""
        rows.append(row)
    return rows


def write_atomic(path: Path, content: bytes) -> Path:
    """Write a file so that it is either absent (or old) or complete, never half written."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files private; reports are meant to be shared, as the user's umask allows.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _png(picture: Picture, close: bool) -> bytes:
    fig = figure_of(picture.drawn)
    stream = io.BytesIO()
    # Some settings are only looked up when ticks are made at drawing time, hence the style here too.
    with style():
        fig.savefig(stream, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.08)
    if close:
        from matplotlib import pyplot as plt

        plt.close(fig)
    return stream.getvalue()


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if math.isfinite(value) else "not finite"
    return html.escape(str(value), quote=True)


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_text(part)}</p>" for part in text.split("\n\n") if part.strip())


def _verdict(good: bool, sentence: str) -> str:
    kind, word = ("good", "Converged") if good else ("bad", "Not to be trusted")
    return f'<p class="verdict {kind}"><strong>{word}.</strong> {_text(sentence)}</p>'


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in items) + "</ul>" if items else ""


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{_text(heading)}</h2>{body}</section>"


def _figure(picture: Picture, png: bytes) -> str:
    # PNG keeps width and height as big-endian integers at bytes 16 to 24.
    width = int.from_bytes(png[16:20], "big")
    height = int.from_bytes(png[20:24], "big")
    code = base64.b64encode(png).decode("ascii")
    shown_w, shown_h = round(width * 100 / DPI), round(height * 100 / DPI)
    alternative = _text(picture.caption or picture.name)
    caption = f"<figcaption>{_text(picture.caption)}</figcaption>" if picture.caption else ""
    return (
        f'<figure id="{_text(picture.name)}"><img width="{shown_w}" height="{shown_h}" alt="{alternative}" '
        f'src="data:image/png;base64,{code}">{caption}</figure>'
    )


def _is_number(text: str) -> bool:
    """Whether a cell should be aligned as a number."""
    return text[:1] in "-+(>0123456789" and text != ""


def _table(rows: Mapping[str, Any] | Sequence[Row]) -> str:
    if isinstance(rows, Mapping):
        cells = (f"<tr><th>{_text(key)}</th><td>{_text(value)}</td></tr>" for key, value in rows.items())
        return f'<div class="wide"><table class="pairs">{"".join(cells)}</table></div>' if rows else ""
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [key for key in columns if any(str(row.get(key, "")) for row in rows)]
    lines = ["<tr>" + "".join(f"<th>{_text(key)}</th>" for key in columns) + "</tr>"]
    for row in rows:
        cells = []
        for key in columns:
            text = _text(row.get(key, ""))
            cells.append(f'<td class="n">{text}</td>' if _is_number(text) else f"<td>{text}</td>")
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return f'<div class="wide"><table>{lines[0]}{"".join(lines[1:])}</table></div>'


_DAGGER = (
    '<p class="note">Medians and half the central 68% intervals. \u2020: number recalled, not checked '
    "against the paper's text.</p>"
)
_WIDTHS = (
    '<p class="note">Medians and half the central 68% intervals. A ratio of widths near 1 means that the '
    "data said nothing about this parameter.</p>"
)
_CHI2 = (
    '<p class="note">chi2 is at the best amplitudes of common errors; without them, it is the sum of squared '
    "residuals over errors.</p>"
)
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
_CSS = """
:root { color-scheme: light; }
body { margin: 0; background: #f6f6f4; color: #1a1a1a; font: 16px/1.5 Georgia, "Times New Roman", serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 2.2rem 4rem; background: #fff; }
h1 { font-size: 1.7rem; margin: 0 0 .6rem; font-weight: 600; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .8rem; padding-bottom: .25rem; border-bottom: 1px solid #ccc; }
p { max-width: 46rem; margin: .5rem 0; }
.note { color: #666; font-size: .85rem; }
.verdict { padding: .6rem .9rem; border-left: 4px solid; max-width: none; }
.good { border-color: #009e73; background: #eef8f4; }
.bad { border-color: #d55e00; background: #fdf1ea; }
.wide { overflow-x: auto; }
td:first-child { min-width: 9rem; }
table { border-collapse: collapse; font: .85rem/1.35 ui-sans-serif, system-ui, sans-serif; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #eee; }
th { color: #555; font-weight: 600; }
tr:first-child th { border-bottom-color: #aaa; white-space: nowrap; }
table.pairs tr:first-child th { border-bottom-color: #eee; }
.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1.2rem 0 1.8rem; }
img { max-width: 100%; height: auto; display: block; }
figcaption { color: #444; font-size: .88rem; max-width: 46rem; margin-top: .4rem; }
pre { background: #f6f6f4; padding: .9rem 1rem; overflow-x: auto;
      font: .8rem/1.4 ui-monospace, Menlo, monospace; }
@media print { body { background: #fff; } main { padding: 0; } figure, tr { break-inside: avoid; } }
"""
