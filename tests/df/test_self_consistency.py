"""Components that make their own potential: spheres stay themselves; bad input."""

import jax
import numpy as np
import pytest

from oortax import df, potential
from oortax.df.self_consistency import DensityGrid, self_consistent

POINTS = [(0.1, 0.0), (1.0, 0.0), (3.0, 0.0), (0.0, 3.0), (10.0, 5.0), (50.0, 0.0)]
COARSE = DensityGrid(n_r=16, n_theta=4, r_min=0.03, r_max=300.0)


@pytest.mark.slow
def test_an_isochrone_finds_itself():
    """From the potential of another: f alone says what it is, and how that changes with b."""

    def at(b):
        sphere = df.IsochroneSphere(M=1e11, b=b)
        found = self_consistent({"stars": sphere}, potential.Isochrone(M=1e11, b=2.0), grid=COARSE)
        ours = potential.expand(found.potential)
        return ours.Phi_Rz(3.0, 0.0), (found, [ours.Phi_Rz(*point) for point in POINTS])

    (_, (found, values)), slope = jax.jit(jax.value_and_grad(at, has_aux=True))(3.0)
    assert bool(found.converged) and int(found.iterations) <= 10
    exact = potential.Isochrone(M=1e11, b=3.0)
    off = [float(value / exact.Phi_Rz(*point)) - 1.0 for value, point in zip(values, POINTS, strict=True)]
    assert np.max(np.abs(off)) < 1e-3, off
    first = potential.Isochrone(M=1e11, b=2.0).Phi_Rz(0.1, 0.0) / exact.Phi_Rz(0.1, 0.0)
    assert float(first) - 1.0 > 0.4
    # Implicit, by linear systems solved to 1e-6, where densities stay to 1e-3.
    expected = jax.grad(lambda b: potential.Isochrone(M=1e11, b=b).Phi_Rz(3.0, 0.0))(3.0)
    assert float(slope) == pytest.approx(float(expected), rel=1e-3)


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
