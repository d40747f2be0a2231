"""Components that make their own potential: spheres stay themselves; bad input."""

import equinox as eqx
import numpy as np
import pytest

from oortax import df, potential
from oortax.df.self_consistency import DensityGrid, self_consistent

POINTS = [(0.1, 0.0), (1.0, 0.0), (3.0, 0.0), (0.0, 3.0), (10.0, 5.0), (50.0, 0.0)]
COARSE = DensityGrid(n_r=16, n_theta=4, r_min=0.03, r_max=300.0)


@pytest.mark.slow
def test_an_isochrone_finds_itself():
    """From the potential of another: f alone says what it is."""
    sphere = df.IsochroneSphere(M=1e11, b=3.0)
    found = eqx.filter_jit(
        lambda f: self_consistent({"stars": f}, potential.Isochrone(M=1e11, b=2.0), grid=COARSE)
    )(sphere)
    assert bool(found.converged) and int(found.iterations) <= 10
    exact, ours = potential.Isochrone(M=1e11, b=3.0), potential.expand(found.potential)
    off = [float(ours.Phi_Rz(R, z) / exact.Phi_Rz(R, z)) - 1.0 for R, z in POINTS]
    assert np.max(np.abs(off)) < 1e-3, off
    first = potential.Isochrone(M=1e11, b=2.0).Phi_Rz(0.1, 0.0) / exact.Phi_Rz(0.1, 0.0)
    assert float(first) - 1.0 > 0.4


@pytest.mark.parametrize(
    ("components", "grid", "message"),
    [
        ({}, None, "at least one component"),
        ({"external": df.IsochroneSphere(M=1e11, b=3.0)}, None, "otherwise"),
        ({"stars": df.IsochroneSphere(M=1e11, b=3.0)}, {"star": COARSE}, "grids are for"),
    ],
)
def test_bad_input(components, grid, message):
    with pytest.raises(ValueError, match=message):
        self_consistent(components, potential.Isochrone(M=1e11, b=3.0), grid=grid)


def test_bad_grids():
    with pytest.raises(ValueError, match="at least"):
        DensityGrid(n_r=3)
    with pytest.raises(ValueError, match="r_min < r_max"):
        DensityGrid(r_min=10.0, r_max=1.0)
