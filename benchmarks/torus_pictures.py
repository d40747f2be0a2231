"""Pictures of tori for the README: `python benchmarks/torus_pictures.py` (three minutes) writes tori.png.

In MWPotential2014: a halo star's torus over its orbit and in a surface of section, the coefficients of its
generating function, and residuals of 1000 random tori of disc and halo with 22 terms.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

import oortax as ox
from oortax import dynamics, plots, potential
from tori import random_actions


def main() -> None:
    """Draw them."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ox.enable_x64()
    galaxy = potential.mw_potential_2014()
    halo = jnp.array([[250.0, 300.0, -950.0]])
    torus = jax.tree.map(lambda leaf: leaf[0], dynamics.fit_tori(galaxy, halo, tol=1e-4))
    J = np.concatenate([actions[:500] for actions in random_actions(1000).values()])
    tori = dynamics.fit_tori(galaxy, J, tol=1.0, n_modes=(22,))
    figure, axes = plt.subplots(2, 2, figsize=(9.0, 8.0), layout="constrained")
    plots.torus_and_orbit(galaxy, torus, axes[0, 0])
    plots.surface_of_section(galaxy, torus, axes[0, 1])
    plots.generating_function(torus, axes[1, 0])
    plots.torus_accuracy(tori, axes[1, 1])
    figure.savefig(Path(__file__).with_name("tori.png"), dpi=120)


if __name__ == "__main__":
    main()
