"""One synthetic posterior, drawn once, for all pictures."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402  (after the backend is chosen)
from numpyro import distributions as dist  # noqa: E402

from oortax import params, potential  # noqa: E402

TRUTH = {
    "potential.disc.M": 6.2e10,
    "potential.disc.b": 0.28,
    "potential.halo.rho_s": 1.1e7,
    "potential.halo.q": 0.95,
    "components.thin.df.sigma_r0": 86.0,
    "components.thin.weight": 0.82,
    "sun.V": 12.2,
}
SPREAD = {
    "potential.disc.M": 0.05,
    "potential.disc.b": 0.1,
    "potential.halo.rho_s": 0.09,
    "potential.halo.q": 0.16,
    "components.thin.df.sigma_r0": 0.02,
    "components.thin.weight": 0.03,
    "sun.V": 0.05,
}
PRIORS = {
    "potential.disc.M": dist.LogNormal(24.8, 0.3),
    "potential.disc.b": dist.LogNormal(-1.2, 0.4),
    "potential.halo.rho_s": dist.LogNormal(16.2, 0.5),
    "potential.halo.q": dist.Uniform(0.4, 1.6),
    "components.thin.df.sigma_r0": dist.LogNormal(4.4, 0.3),
    "components.thin.weight": dist.Uniform(0.5, 1.0),
    "sun.V": dist.Normal(12.24, 2.0),
}


def galaxy():
    """A disc, a bulge and a flattened halo with v_c(R0) near 229 km/s."""
    return potential.Sum(
        bulge=potential.Hernquist(M=9e9, a=0.4),
        disc=potential.MiyamotoNagai(M=TRUTH["potential.disc.M"], a=3.0, b=TRUTH["potential.disc.b"]),
        halo=potential.FlattenedNFW(rho_s=TRUTH["potential.halo.rho_s"], r_s=16.0, q=0.95),
    )


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def draws():
    rng = np.random.default_rng(1)
    shape = (4, 250)
    disc = rng.normal(size=shape)
    scores = {path: rng.normal(size=shape) for path in TRUTH}
    scores["potential.disc.M"] = disc
    # Disc against halo, and the flattening against the halo's density: the degeneracies of a real fit.
    scores["potential.halo.rho_s"] = -0.8 * disc + 0.6 * scores["potential.halo.rho_s"]
    scores["potential.halo.q"] = -0.5 * scores["potential.halo.rho_s"] + 0.85 * scores["potential.halo.q"]
    made = {path: TRUTH[path] * np.exp(SPREAD[path] * scores[path]) for path in TRUTH}
    made["components.thin.weight"] = np.minimum(made["components.thin.weight"], 0.99)
    return made


@pytest.fixture(scope="session")
def pot():
    return galaxy()


@pytest.fixture(scope="session")
def pots(draws, pot):
    from oortax.plots import potentials_at

    return potentials_at(pot, draws, 50)


@pytest.fixture(scope="session")
def units(pot):
    own = {f"potential.{path}": p.unit for path, p in params.parameters(pot).items()}
    return own | {"components.thin.df.sigma_r0": "km/s", "sun.V": "km/s"}


@pytest.fixture(scope="session")
def priors():
    return dict(PRIORS)


def stars(rng, n: int, lag: float = 0.0) -> dict[str, np.ndarray]:
    """A crude catalogue of nearby giants: l, b, parallax, proper motions, v_los, V, colour."""
    s = 0.95 * rng.uniform(size=n) ** (1 / 3)
    l = rng.uniform(0, 2 * np.pi, n)
    b = np.arcsin(rng.uniform(np.sin(np.radians(25)), 1, n)) * rng.choice([-1, 1], n)
    U, V, W = rng.normal(-9, 36, n), rng.normal(-22 - lag, 24, n), rng.normal(-7, 18, n)
    away = U * np.cos(l) + V * np.sin(l)
    return {
        "l": l,
        "b": b,
        "parallax": 1 / s + rng.normal(0, 0.03, n),
        "mu_l": (-U * np.sin(l) + V * np.cos(l)) / (4.74047 * s),
        "mu_b": (W * np.cos(b) - away * np.sin(b)) / (4.74047 * s),
        "v_los": np.where(rng.uniform(size=n) < 0.02, np.nan, away * np.cos(b) + W * np.sin(b)),
        "V": 5 * np.log10(100 * s) + rng.normal(0.9, 0.25, n),
        "colour": rng.normal(1.07, 0.07, n),
    }


@pytest.fixture(scope="session")
def observed():
    from oortax.plots import heliocentric

    return heliocentric(stars(np.random.default_rng(2), 2000))


@pytest.fixture(scope="session")
def model():
    """Twenty replicates of the data's size from the same model."""
    from oortax.plots import heliocentric

    tables = [heliocentric(stars(np.random.default_rng(100 + k), 2000)) for k in range(20)]
    return {name: np.stack([table[name] for table in tables]) for name in tables[0]}


@pytest.fixture(scope="session")
def curve(pot):
    """Circular speeds with errors, scattered about the synthetic galaxy."""
    from oortax.plots.potential import curves

    rng = np.random.default_rng(3)
    R = np.linspace(5.3, 24.8, 38)
    sigma = 1.2 + 0.02 * (R - 5) ** 2
    v_c = curves(potential.circular_velocity, pot, R)[0] + sigma * rng.normal(size=R.size)
    return {"r_kpc": R, "v_c": v_c, "sigma_minus": sigma, "sigma_plus": 1.1 * sigma}
