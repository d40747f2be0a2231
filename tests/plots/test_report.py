"""The report is one valid, self-contained, escaped file, written at once; the overview fits on it."""

import base64
import os
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from oortax import plots
from oortax.plots.report import write_atomic

VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Collects tags, checks their nesting, and keeps every attribute that could load something."""

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.images, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "background", "poster", "data"):
                self.loads.append(value)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def simple_figure():
    fig = Figure(figsize=(2, 1.5))
    fig.add_subplot().plot([0, 1])
    return fig


@pytest.fixture
def written(tmp_path, draws, priors, units):
    pictures = [
        plots.Picture("first", simple_figure(), 'A caption with <b>markup</b> & "quotes"', "Potential"),
        plots.Picture("second", simple_figure(), section="Posterior"),
    ]
    path = plots.write_report(
        tmp_path / "out",
        pictures,
        title="<script>alert(1)</script>",
        introduction="One.\n\nTwo <three>.",
        parameters=plots.parameter_rows(draws, priors=priors, units=units, rhat={"sun.V": 1.0012}),
        derived=plots.compare({"q": np.linspace(0.8, 1.2, 11)}),
        verdict=(False, "R-hat of halo.q is 1.30 > 1.01"),
        diagnostics={"divergences": 3, "smallest ESS": 812.123456789},
        selection=[{"step": "|b| < 25 deg", "removed": 204844}],
        assumptions=["no dust & no binaries"],
        run={"seed": 1, "python": "3.11"},
        config='[survey]\nnote = "</pre><script>x</script>"',
    )
    return path, path.read_text(encoding="utf-8")


def test_page_is_well_formed_and_self_contained(written):
    path, source = written
    page = Page()
    page.feed(source)
    page.close()
    assert page.open == []
    assert all(value.startswith("data:") for value in page.loads)
    assert "url(" not in source and "@import" not in source and "http" not in source
    assert len(page.images) == 2


def test_images_inside_are_the_files_beside(written):
    path, source = written
    page = Page()
    page.feed(source)
    for image, name in zip(page.images, ("first", "second"), strict=True):
        png = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        assert png.startswith(b"\x89PNG")
        assert png == (path.parent / "figures" / f"{name}.png").read_bytes()
        assert int(image["width"]) > 50
    left_over = [p for p in path.parent.rglob("*") if p.is_file() and p.name.startswith(".")]
    assert left_over == []


def test_text_is_escaped_and_present(written):
    _, source = written
    assert "<script" not in source
    page = Page()
    page.feed(source)
    text = " ".join(page.text)
    for expected in (
        "<script>alert(1)</script>", "A caption with <b>markup</b> & \"quotes\"", "Two <three>.",
        "Not to be trusted", "R-hat of halo.q is 1.30 > 1.01", "potential.disc.M", "1.001", "204844",
        "no dust & no binaries", "Posti & Helmi 2019", "812.123", '</pre><script>x</script>', "seed",
    ):  # fmt: skip
        assert expected in text, expected


def test_parameter_rows_say_how_much_the_data_added(draws, priors, units):
    rows = plots.parameter_rows(draws, priors=priors, units=units, best={"sun.V": 12.3}, ess={"sun.V": 913.4})
    (row,) = [row for row in rows if row["parameter"] == "sun.V"]
    assert row["unit"] == "km/s" and row["ESS"] == "913" and row["maximum"] == "12.3"
    # log-normal scatter of 5% about 12.2 under a prior of width 2
    assert float(row["post./prior width"]) == pytest.approx(0.05 * 12.2 / 2.0, abs=0.03)
    disc = next(row for row in rows if row["parameter"] == "potential.disc.M")
    assert re.fullmatch(r"\(6\.\d+ ± 0\.\d+\)e10", disc["posterior"])


def test_bad_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="../escape"):
        plots.Picture("../escape", simple_figure())
    same = [plots.Picture("a", simple_figure()), plots.Picture("a", simple_figure())]
    with pytest.raises(ValueError, match="a occur twice"):
        plots.write_report(tmp_path, same)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_atomic(path, b"old")

    def broken(*_):
        raise OSError("disc full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disc full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_umask_decides_who_may_read(tmp_path):
    old = os.umask(0o022)
    try:
        assert stat.S_IMODE(write_atomic(tmp_path / "a", b"x").stat().st_mode) == 0o644
    finally:
        os.umask(old)


def test_overview_has_six_panels_without_clashing_text(
    pot, pots, draws, priors, observed, model, curve, units
):
    others = ["potential.disc.M", "potential.halo.rho_s"]
    axes = plots.overview(
        pot, pot, draws, priors, observed, model, curve=curve, curve_label="synthetic", others=others,
        units=units,
    )  # fmt: skip
    assert axes.shape == (2, 3)
    titles = [ax.get_title(loc="left") for ax in axes.ravel()]
    assert all(titles) and len(set(titles)) == 6
    fig = axes[0, 0].get_figure()
    fig.canvas.draw()
    everywhere = fig.axes
    labels = {ax.get_xlabel() for ax in everywhere} | {ax.get_ylabel() for ax in everywhere}
    assert {"$R$ [kpc]", "$z$ [kpc]", "$W$ [km s$^{-1}$]", "$q_{\\mathrm{halo}}$"} <= labels
    # Axis labels and titles, the texts whose room depends on the layout, must not overlap one another.
    texts = [t for ax in everywhere for t in (ax.xaxis.label, ax.yaxis.label, ax._left_title) if t.get_text()]
    shown = [t for t in texts if t.get_visible()]
    boxes = [t.get_window_extent() for t in shown]
    for i, one in enumerate(boxes):
        for j in range(i):
            assert not one.overlaps(boxes[j]), (shown[i].get_text(), shown[j].get_text())


def test_importing_the_package_does_not_import_matplotlib():
    code = "import sys, oortax; print('matplotlib' in sys.modules, 'corner' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_every_public_name_resolves():
    for name in plots.__all__:
        assert getattr(plots, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        plots.nothing  # noqa: B018
