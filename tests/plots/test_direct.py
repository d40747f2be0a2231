"""Pictures of direct constraints: every point, the model, residuals in units of the right errors."""

import numpy as np
import pytest

from oortax import plots
from oortax.model.constraints import Prediction


@pytest.fixture
def prediction():
    x = np.array([3.0, 1.0, 2.0])
    return Prediction(
        x, np.array([10.0, 20.0, 30.0]), np.array([12.0, 18.0, 30.0]), np.ones(3), 4 * np.ones(3)
    )


def test_residuals_use_the_error_of_their_side(prediction):
    upper, lower = plots.direct_constraint(prediction, ("x [kpc]", "y [km/s]"))
    points = lower.lines[0]
    # Measured below the model: the upper error, 4; above it: the lower, 1.
    np.testing.assert_allclose(points.get_ydata(), [-0.5, 2.0, 0.0])
    assert upper.get_ylabel() == "y [km/s]" and lower.get_xlabel() == "x [kpc]"
    assert upper.get_xscale() == "linear"


def test_logarithmic_axes(prediction):
    upper, _ = plots.direct_constraint(prediction, ("r [kpc]", "M [Msun]"), log=True)
    assert upper.get_xscale() == upper.get_yscale() == "log"


def test_local_quantities_at_each_draws_own_radius():
    from oortax import potential

    pots = [potential.LogarithmicHalo(v_0=v, r_c=1.0, q=1.0) for v in (200.0, 220.0)]
    R = np.array([8.0, 9.0])
    both = plots.local_quantities(pots, R0=R)["v_c"]
    for i in range(2):
        alone = plots.local_quantities(pots[i], R0=float(R[i]))["v_c"][0]
        assert both[i] == pytest.approx(alone, rel=1e-12)
    assert both[0] == pytest.approx(200.0 * 8 / np.sqrt(65), rel=1e-12)
    with pytest.raises(ValueError, match="R0 has shape"):
        plots.local_quantities(pots, R0=np.array([8.0, 8.1, 8.2]))
