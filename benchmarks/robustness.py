"""What a fit makes of q, Sigma_1.1 and rho_DM where its assumptions are wrong (after Trick, Bovy & Rix 2016).

Run `python benchmarks/robustness.py`, with OORTAX_ROBUSTNESS_MOCKS mocks a test (4), and names of tests for
these alone. The model is benchmarks/robustness/galaxy.toml: a disc and a halo of giants, |b| > 20 deg, out to
some 5 kpc, 3000 stars a mock, twelve free parameters. Each test draws mocks of a galaxy, or spoils them, in a
way that the fit knows nothing of. Tests that spoil the catalogue use the mocks of "none", star by star.

q: axis ratio of the equipotential of the halo's potential through (R_0, 0); Sigma: column of all matter
within 1.1 kpc at R_0; rho: dark matter's density at the Sun. Of the posterior (Laplace's, with 128 draws
weighted by `inference.correct`): mean less truth in units of the posterior's sd, mean over the mocks, whose
error is 1/sqrt(mocks) where the fit is right; for spoiled catalogues "less none": the mean difference from
the same mock's unspoiled fit, in the same units, with its standard error. sd: the posterior's, relative for
Sigma and rho. k: largest Pareto shape of the weights (trusted below 0.7). Bias by the action finder in
dehnen_binney_1996, where the fudge is worst, is measured by benchmarks/flattening.py. Some 80 seconds of one
core a mock and test; with OORTAX_ROBUSTNESS=DIR what was found of each mock is kept in that folder, so that
an interrupted run goes on and several processes, each with tests of its own, can share the work.
"""

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kept import kept
from oortax import inference, model, potential
from oortax.commands import session
from oortax.commands.stars import Planned, key_of
from oortax.model.constraints import surface_density
from oortax.survey import observe

HERE = Path(__file__).parent
MOCKS, DRAWS, R_0 = 4, 128, 8.2
QUANTITIES = ("q", "Sigma", "rho")
# Far brighter than the survey's limit everything is seen; 15 % of the stars are missing at the limit.
EDGE, BRIGHTER, LOST = 14.0, 1.5, 0.15
STREAM, V_STREAM, SIGMA_STREAM = 0.05, (0.0, 150.0, -250.0), 15.0

POWER_LAW = (
    'df     = {kind = "DB96Halo", a = {prior = "LogNormal(log(1.3), 0.3)"}, '
    'b = {prior = "LogNormal(log(1.2), 0.3)"}, '
    'beta = {prior = "TruncatedNormal(3.8, 0.4, 3.0, 6.0)"}, gamma = 1.8, A_0 = 500.0}',
    'df     = {kind = "DoublePowerLaw", norm = 1.0, J_0 = 800.0, slope_in = 1.5, steepness = 1.0, '
    'slope_out = {prior = "LogNormal(log(4.5), 0.2)"}, c_r_in = 1.4, c_z_in = 0.9, '
    'c_r_out = {prior = "LogNormal(log(1.1), 0.2)"}, c_z_out = {prior = "LogNormal(log(0.95), 0.2)"}}',
)
OTHER_POTENTIAL = (
    'kind = "LogarithmicHalo"\nv_0  = {prior = "LogNormal(log(170), 0.3)"}\nr_c  = 3.0\n'
    'q    = {prior = "LogNormal(log(0.85), 0.3)"}',
    'kind = "FlattenedNFW"\nrho_s = 9e6\nr_s = 16.0\nq = 0.7\n'
    '[potential.bulge]\nkind = "Hernquist"\nM = 1e10\na = 0.5',
)
OTHER_DISC = ("LogNormal(log(6.5e10), 0.5)", "LogNormal(log(5.5e10), 0.5)")
WORSE = (
    "errors = {V = 0.02, pm = 0.05, v_los = 2.0, distance_modulus = 0.1}",
    "errors = {V = 0.02, pm = 0.1, v_los = 4.0, distance_modulus = 0.2}",
)
SECOND_DISC = (
    "[components.halo]\n",
    "[components.thick]\nweight = 0.2\n"
    'df = {kind = "QuasiIsothermal", R_d = 2.2, R_sigma = 8.0, sigma_r0 = 170.0, H_d = 0.9}\n'
    'stars = {kind = "gaussian", mean = 0.8, sigma = 0.5}\n\n[components.halo]\n',
)
MOCK_WEIGHT = ('weight = {prior = "Beta(3, 7)"}', "weight = 0.3")


@dataclasses.dataclass(frozen=True)
class Test:
    """Changes of the text of the galaxy that is drawn, and of the model that is fitted, and what spoils."""

    truth: tuple[tuple[str, str], ...] = ()
    fitted: tuple[tuple[str, str], ...] = ()
    spoil: Callable[[np.random.Generator, dict, Any, Any], dict] | None = None


def farther(rng, columns, x, tree) -> dict[str, np.ndarray]:
    """Distances too large by 10 %."""
    return columns | {"distance_modulus": columns["distance_modulus"] + 5.0 * np.log10(1.1)}


def claimed(rng, columns, x, tree) -> dict[str, np.ndarray]:
    """Errors half as large as they are."""
    names = ("distance_modulus_error", "mu_l_error", "mu_b_error", "v_los_error")
    return columns | {name: 0.5 * columns[name] for name in names}


def incomplete(rng, columns, x, tree) -> dict[str, np.ndarray]:
    """Without up to 15 % of the faint stars."""
    lost = LOST * np.clip((columns["V"] - (EDGE - BRIGHTER)) / BRIGHTER, 0.0, 1.0)
    kept = rng.random(len(lost)) >= lost
    return {name: values[kept] for name, values in columns.items()}


def streaming(rng, columns, x, tree) -> dict[str, np.ndarray]:
    """One star in twenty is of a stream like that of Helmi et al. (1999), half of it falling, half rising."""
    n = len(columns["l"])
    which = np.flatnonzero(rng.random(n) < STREAM)
    v_R, v_phi, v_z = rng.normal(V_STREAM, SIGMA_STREAM, (len(which), 3)).T
    v_z = v_z * rng.choice([-1.0, 1.0], len(which), p=[1 / 3, 2 / 3])
    phi = np.arctan2(x[which, 1], x[which, 0])
    c, s = np.cos(phi), np.sin(phi)
    v = np.stack([c * v_R - s * v_phi, s * v_R + c * v_phi, v_z], axis=1)
    v_c0 = potential.circular_velocity(tree.galaxy.potential, tree.survey.sun.R0)
    see = jax.vmap(lambda x, v: observe(tree.survey.sun, v_c0, x, v))
    seen = see(jnp.asarray(x[which]), jnp.asarray(v))
    changed = {name: columns[name].copy() for name in ("mu_l", "mu_b", "v_los")}
    for name, values in changed.items():
        error = columns[f"{name}_error"][which]
        values[which] = np.asarray(getattr(seen, name)) + error * rng.normal(size=len(which))
    return columns | changed


TESTS = {
    "none": Test(),
    "potential: flattened NFW, bulge": Test(truth=(OTHER_POTENTIAL, OTHER_DISC)),
    "f: double power law, fitted as DB96's halo": Test(truth=(POWER_LAW,)),
    "f: DB96's halo, fitted as double power law": Test(fitted=(POWER_LAW,)),
    "f: a second disc": Test(truth=(MOCK_WEIGHT, SECOND_DISC)),
    "distances 10 % too large": Test(spoil=farther),
    "errors twice as large as claimed": Test(truth=(WORSE,), spoil=claimed),
    "15 % of the faintest missing": Test(spoil=incomplete),
    "5 % in a stream": Test(spoil=streaming),
}


def planned(changes: tuple[tuple[str, str], ...], folder: Path, name: str) -> Planned:
    """The model of the galaxy's text with changes."""
    text = (HERE / "robustness" / "galaxy.toml").read_text(encoding="utf-8")
    for old, new in changes:
        if text.count(old) != 1:
            raise RuntimeError(f"the configuration has no {old}")
        text = text.replace(old, new)
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return Planned.of(path, None, None)


def quantities(tree) -> jax.Array:
    """q, Sigma in Msun/kpc^2, rho in Msun/kpc^3 of a model."""
    whole = tree.galaxy.potential
    halo = whole["halo"]

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        inside = halo.Phi_Rz(0.0, middle * R_0) < halo.Phi_Rz(R_0, 0.0)
        return jnp.where(inside, middle, low), jnp.where(inside, high, middle)

    low, high = jax.lax.fori_loop(0, 40, halve, (jnp.asarray(0.2), jnp.asarray(3.0)))
    return jnp.stack([0.5 * (low + high), surface_density(whole, R_0, 1.1), halo.rho(R_0, 0.0)])


def catalogue_of(test: Test, truth: Planned, mock: int) -> model.Catalogue:
    """One mock, spoiled."""
    key = key_of(2016, mock)
    drawn = model.predict(
        key,
        truth.tree.galaxy,
        truth.tree.survey,
        int(truth.config.inference.stars or 0),
        finder=truth.stars.finder,
        outliers=truth.tree.outliers,
        progress=False,
    )
    known = model.Catalogue.__dataclass_fields__
    columns = {name: np.array(values) for name, values in drawn.columns.items() if name in known}
    if test.spoil is not None:
        columns = test.spoil(np.random.default_rng([2016, mock]), columns, drawn.truth["x"], truth.tree)
    return model.Catalogue(**columns)


def fitted(fit: Planned, catalogue: model.Catalogue, volume) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and sd of the quantities, and the shape of the weights."""
    posterior = fit.posterior({"catalogue": catalogue, "nodes": fit.nodes(catalogue, volume)})
    maximum = inference.maximise(posterior, progress=False)
    gaussian = inference.laplace(posterior, maximum, strict=False)
    drawn = inference.correct(posterior, gaussian, DRAWS)
    values = model.over_draws(quantities, fit.tree, posterior.constrain(jnp.asarray(drawn.u)))
    mean = drawn.weights @ np.asarray(values)
    sd = np.sqrt(drawn.weights @ (np.asarray(values) - mean) ** 2)
    return mean, sd, drawn.k_hat


def found_of(test: Test, truth: Planned, fit: Planned, mock: int) -> dict[str, Any]:
    """What the fit of a mock found, and the seconds that it took."""
    began = time.perf_counter()
    volume = model.whole_volume(fit.tree.galaxy, fit.tree.survey)
    mean, sd, k = fitted(fit, catalogue_of(test, truth, mock), volume)
    return {"mean": mean.tolist(), "sd": sd.tolist(), "k": float(k), "s": time.perf_counter() - began}


def main(names: tuple[str, ...] = (), mocks: int | None = None) -> list[dict[str, Any]]:
    """A row for each test."""
    session.prepare()
    mocks = mocks or int(os.environ.get("OORTAX_ROBUSTNESS_MOCKS", MOCKS))
    chosen = [name for name in TESTS if not names or any(part in name for part in names)]
    if any(TESTS[name].spoil for name in chosen):
        chosen = ["none", *(name for name in chosen if name != "none")]
    rows, unspoiled = [], None
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            i, test = list(TESTS).index(name), TESTS[name]
            truth = planned(test.truth, Path(folder), f"truth-{i}")
            fit = planned(test.fitted, Path(folder), f"fit-{i}")
            true = np.asarray(jax.jit(quantities)(truth.tree))
            found = [
                kept("OORTAX_ROBUSTNESS", f"{i}-{mock}", partial(found_of, test, truth, fit, mock))
                for mock in range(mocks)
            ]
            if name == "none":
                unspoiled = found
            rows.append(row(name, true, found, unspoiled if test.spoil else None))
            print(rows[-1], flush=True)
            jax.clear_caches()
    return rows


def row(
    name: str, true: np.ndarray, found: list[dict[str, Any]], unspoiled: list[dict[str, Any]] | None
) -> dict[str, Any]:
    """Biases in the posterior's sd."""
    mean, sd = (np.array([each[k] for each in found]) for k in ("mean", "sd"))
    off = (mean - true) / sd
    entry: dict[str, Any] = {"wrong": name}
    for j, what in enumerate(QUANTITIES):
        entry[what] = f"{off[:, j].mean():+.2f}"
        if unspoiled is not None:
            less = (mean - np.array([each["mean"] for each in unspoiled]))[:, j] / sd[:, j]
            error = less.std(ddof=1) / np.sqrt(len(less)) if len(less) > 1 else np.nan
            entry[f"{what} less none"] = f"{less.mean():+.2f} +- {error:.2f}"
        else:
            entry[f"{what} less none"] = ""
    entry |= {"true q": true[0], "fitted q": mean[:, 0].mean()}
    entry |= {f"{what} / truth": (mean / true)[:, j].mean() for j, what in enumerate(QUANTITIES) if j}
    entry |= {"sd q": sd[:, 0].mean()}
    entry |= {f"sd {what}": (sd / true)[:, j].mean() for j, what in enumerate(QUANTITIES) if j}
    return entry | {"k": max(each["k"] for each in found), "s a fit": np.mean([each["s"] for each in found])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tests", nargs="*", help="parts of the names of tests")
    parser.add_argument("--mocks", type=int)
    options = parser.parse_args()
    for entry in main(tuple(options.tests), options.mocks):
        print(", ".join(f"{name}: {item}" for name, item in entry.items()))
