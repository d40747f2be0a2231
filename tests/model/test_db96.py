"""Figures 1 and 2 of Dehnen & Binney (1996): what their text says of them, and numbers of a reconstruction.

The numbers were had with a fudge of one focal length a point and a crude luminosity function: orders of
magnitude. Bounds are wide where the text leaves choices open.
"""

import jax
import numpy as np
import pytest

from oortax import model, plots

N = 8192


@pytest.fixture(scope="module")
def galaxy():
    return model.db96_galaxy()


@pytest.fixture(scope="module")
def bright(galaxy):
    return model.spd(galaxy, model.db96_survey(14.0, 18.0), jax.random.key(1), N)


@pytest.fixture(scope="module")
def faint(galaxy):
    return model.spd(galaxy, model.db96_survey(18.0, 22.0), jax.random.key(1), N)


def _width(found, quantity, component):
    """Half the width of the middle 68 %."""
    low, high = (found.quantile(quantity, q, component) for q in (0.16, 0.84))
    return 0.5 * (high - low)


def _median(found, quantity, component, keep):
    values, w = found.observed[quantity], np.where(found.of(component) & keep, found.weight, 0.0)
    order = np.argsort(values)
    return np.interp(0.5 * w.sum(), np.cumsum(w[order]), values[order])


@pytest.mark.slow
def test_disc_of_figure_1(bright):
    assert bright.quantile("mu_90", 0.5, "disc") == pytest.approx(-13.0, abs=1.5)
    assert _width(bright, "mu_90", "disc") == pytest.approx(13.5, abs=3.0)
    # The Sun's own motion towards the centre, 9 km/s.
    assert bright.quantile("mu_0", 0.5, "disc") == pytest.approx(-3.0, abs=1.5)
    # "The steady downward shift in the centres of contours with increasing dispersion (contour size)".
    grid = np.linspace(-90.0, 60.0, 301)
    density = bright.density(("mu_0", "mu_90"), (grid, grid), "disc", 2.0)
    centres = []
    for below in (0.2, 0.6, 1.0, 1.4):
        inside = density > density.max() * 10.0**-below
        centres.append(grid[np.nonzero(inside)[1]].mean())
    assert np.all(np.diff(centres) < -0.3), centres
    # Near stars move faster: the mean motion, 4.74 mu s, is the asymmetric drift and the Sun's 12 km/s.
    near = bright.truth["s"] < 0.64
    assert _median(bright, "mu_90", "disc", near) < _median(bright, "mu_90", "disc", ~near) - 2.0


@pytest.mark.slow
def test_halo_of_figure_1(bright):
    # "Peaks near zero proper motion ... the few nearby halo stars create the tail at mu_90 < 0".
    grid = np.linspace(-60.0, 30.0, 361)
    density = bright.density(("mu_0", "mu_90"), (grid, grid), "halo")
    at_0, at_90 = np.unravel_index(np.argmax(density), density.shape)
    assert -6.5 < grid[at_90] < -1.0 and abs(grid[at_0]) < 2.0
    low, middle, high = (bright.quantile("mu_90", q, "halo") for q in (0.05, 0.5, 0.95))
    assert middle == pytest.approx(-9.0, abs=2.5)
    assert middle - low > 2.5 * (high - middle)
    near = bright.truth["s"] < 4.7
    assert _median(bright, "mu_90", "halo", near) == pytest.approx(-16.0, abs=1.5)
    assert _median(bright, "mu_90", "halo", ~near) == pytest.approx(-5.0, abs=1.5)


@pytest.mark.slow
def test_figure_2(bright, faint):
    # Fainter, more halo; how much of it at 14 < B < 18 is a matter of the luminosity function (0.19 to 0.7).
    of_bright, of_faint = bright.fraction("halo"), faint.fraction("halo")
    assert 0.15 < of_bright.value < 0.75 and of_faint.value == pytest.approx(0.92, abs=0.04)
    assert of_faint.value > of_bright.value + 10.0 * np.hypot(of_faint.error, of_bright.error)
    assert faint.quantile("mu_90", 0.5, "halo") == pytest.approx(-5.0, abs=0.8)
    assert _width(faint, "mu_90", "halo") == pytest.approx(5.0, abs=1.2)
    # "There are hardly disk stars in the colour-magnitude range B > 12 + 10 (B - V)".
    for found in (bright, faint):
        free = found.observed["V"] > 12.0 + 10.0 * found.observed["colour"]
        assert found.mean(free.astype(float), "disc").value < 0.01
        assert found.mean(free.astype(float), "halo").value > 0.5


@pytest.mark.slow
def test_luminosity_function_decides_the_share_of_the_halo(bright):
    """The same mass in stars as rich in metals as the disc's are fainter: fewer of the halo's are listed."""
    rich = model.db96_galaxy(halo_metallicities=(0.2, 0.42))
    found = model.spd(rich, model.db96_survey(14.0, 18.0), jax.random.key(1), N)
    assert found.fraction("halo").value < bright.fraction("halo").value - 0.1


@pytest.mark.slow
def test_figures_are_drawn(bright, faint):
    first, second = plots.db96_figures(bright, faint)
    for figure in (first, second):
        assert len(figure.axes) == 2 and all(ax.collections for ax in figure.axes)
    # The dashed contours of the disc alone.
    assert len(second.axes[0].collections) == 2


def test_bad_requests_say_what_to_do():
    with pytest.raises(ValueError, match="'number' or 'mass'"):
        model.db96_galaxy(normalised_by="light")
    with pytest.raises(ValueError, match="halo_to_disc"):
        model.db96_galaxy(halo_to_disc=0.0)
    with pytest.raises(ValueError, match="radius"):
        model.db96_survey(radius=0.0)
