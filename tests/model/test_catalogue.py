"""A catalogue says which column, and which row, it cannot use."""

import numpy as np
import pytest

from oortax import model

COLUMNS = {
    "l": [0.1, 2.0, 4.0],
    "b": [0.6, -0.7, 1.0],
    "parallax": [2.0, 1.5, 3.0],
    "parallax_error": [0.02, 0.03, 0.0],
    "mu_l": [1.0, -5.0, 3.0],
    "mu_b": [0.5, 2.0, -4.0],
    "V": [9.0, 10.0, 8.0],
    "mu_l_error": [0.02, 0.02, 0.02],
    "mu_b_error": [0.02, 0.02, 0.02],
    "v_los": [10.0, np.nan, -30.0],
    "v_los_error": [0.5, np.nan, 0.5],
}


def catalogue(**changes) -> model.Catalogue:
    return model.Catalogue(**{name: np.array(values) for name, values in (COLUMNS | changes).items()})


def test_an_error_of_zero_and_none_without_a_velocity_are_good():
    stars = catalogue()
    assert len(stars) == 3 and stars.has_v_los.tolist() == [True, False, True]
    assert np.all(np.asarray(catalogue(v_los_error=[0.5, -1.0, 0.5]).has_v_los) == stars.has_v_los)


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf])
@pytest.mark.parametrize("name", ["mu_l_error", "mu_b_error", "v_los_error"])
def test_errors_that_are_negative_or_missing_are_named(name, bad):
    values = [*COLUMNS[name][:2], bad]
    with pytest.raises(ValueError, match=rf"column {name} is negative or not finite in 1 rows \(first 2\)"):
        catalogue(**{name: values})


def test_errors_of_parallax():
    with pytest.raises(ValueError, match=r"column parallax_error is negative .* in 2 rows \(first 0\)"):
        catalogue(parallax_error=[-0.02, 0.03, -1.0])
    with pytest.raises(
        ValueError,
        match=r"column parallax_error is negative or not finite in 1 rows \(first 1\); give an error",
    ):
        catalogue(parallax_error=[0.02, np.nan, 0.03])
