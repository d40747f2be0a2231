"""Circular orbits: reference radii and frequencies, derivatives in the potential, table ends."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import dynamics, params, potential

REFERENCE = Path(__file__).parents[1] / "data" / "circular_reference.csv"
POT = potential.mw_potential_2014()


def reference():
    with REFERENCE.open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["model"] == "MWPotential2014"]
    table = {key: np.array([float(row[key]) for row in rows]) for key in rows[0] if key != "model"}
    # The default table reaches from 0.02 to 250 kpc.
    inside = (table["R"] > 0.1) & (table["R"] < 200.0)
    return {key: column[inside] for key, column in table.items()}


@jax.jit
def orbits_at(pot, L):
    """The circular orbits of many angular momenta."""
    return jax.vmap(dynamics.circular_orbits(pot).at)(L)


def test_radius_and_frequencies_against_reference():
    table = reference()
    assert len(table["R"]) > 10
    orbit = orbits_at(POT, jnp.asarray(table["R"] * table["v_c"]))
    np.testing.assert_allclose(orbit.R, table["R"], rtol=1e-6)
    for name in ("Omega", "kappa", "nu"):
        np.testing.assert_allclose(getattr(orbit, name), table[name], rtol=2e-6, err_msg=name)


def test_derivatives_in_every_parameter():
    L = jnp.array([300.0, 1700.0, 4000.0])
    declared = params.parameters(POT)

    def logs(changes):
        values = {path: declared[path].value * (1.0 + d) for path, d in changes.items()}
        return jnp.log(jnp.stack(orbits_at(params.replace(POT, values), L)))

    still = dict.fromkeys(declared, jnp.array(0.0))
    exact, value = jax.jit(jax.jacfwd(logs))(still), jax.jit(logs)
    for path in declared:
        h = 1e-4
        differences = (value({**still, path: jnp.array(h)}) - value({**still, path: jnp.array(-h)})) / (2 * h)
        # Truncation h^2 = 1e-8 times the third derivative, of order one to ten.
        np.testing.assert_allclose(exact[path], differences, rtol=1e-6, atol=2e-7, err_msg=path)


def test_smooth_in_L_and_finite_at_zero():
    orbits = jax.jit(dynamics.circular_orbits)(POT)
    slope = jax.jit(jax.grad(lambda L: orbits.at(L).R))
    h = 1e-2
    differences = (orbits.at(1500.0 + h).R - orbits.at(1500.0 - h).R) / (2 * h)
    assert slope(1500.0) == pytest.approx(float(differences), rel=1e-7)
    assert np.all(np.isfinite(np.array(orbits.at(0.0)))) and np.isfinite(slope(0.0))
    assert orbits.at(1e9).R == pytest.approx(250.0, rel=1e-6)


def test_bad_range_is_named():
    with pytest.raises(ValueError, match="0 < R_min < R_max"):
        dynamics.circular_orbits(POT, R_min=2.0, R_max=1.0)
