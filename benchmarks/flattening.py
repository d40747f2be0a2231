"""The flattening of dehnen_binney_1996's spheroid from halo stars: posteriors with tori and with the fudge.

Run `python benchmarks/flattening.py`. Stars with exact positions and velocities, all that there are: ln L =
sum ln f(J), with f of unit mass whatever the potential, so that nothing but the action finder can be wrong. f
is a Gaussian in (ln s, sqrt(J_r/s), sqrt(J_z/(J_z + |J_phi|))), s = J_r + J_z + |J_phi|, about a halo's
shell; its six parameters, q and both densities of the potential are free. Stars are drawn by tori fitted to
their J, at random angles. Fits start from q = 0.7; the truth is 0.8. The tori of `pilot_tori`, made at the
start, answer to the potential of the moment to first order, and are fitted anew at each maximum until that
stays. "maximum q": where ln p is largest; q, sd: mean and standard deviation of the posterior of q, by 128
draws from Laplace's approximation weighted by the posterior (`inference.correct`), with the shape k of the
largest weights (trusted below 0.7); pull: (q - truth)/sd; "tori %": the share of the tori in the actions of
the stars; s: the whole fit, compilation, libraries and draws included. The last rows: the mean of the pulls
and their standard deviation; what in them is the finder's own error, and not that of ten times 2,000 stars,
benchmarks/scores.py says. Takes an hour of one core; with OORTAX_FLATTENING=DIR the rows of a mock are kept
in that folder, so that an interrupted run goes on, and `python benchmarks/flattening.py 0 1 2` in one process
and `3 4` in another share the work.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys  # noqa: E402  (after the environment is set)
import time  # noqa: E402
from typing import Any, final  # noqa: E402

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from jaxtyping import Array, Float  # noqa: E402
from numpyro.distributions import constraints  # noqa: E402

import oortax as ox  # noqa: E402
from kept import kept  # noqa: E402
from oortax import dynamics, inference, params, potential  # noqa: E402
from oortax.params import param  # noqa: E402

MOCKS, STARS, BATCH, DRAWS = 10, 2000, 512, 128
TORI: dict[str, Any] = {"tol": 1e-4, "n_modes": 162, "max_tori": 1000, "damping": 1e-3}
# Until q moves by less than this share of its standard deviation, at most so often.
STAYS, ROUNDS, START = 0.1, 6, {"potential.q": 0.7}


@final
class Shell(eqx.Module):
    """Halo stars: f(J) of unit mass, and the potential they move in."""

    potential: Any
    ln_s: Float[Array, ""] = param(constraints.real, "", "mean of ln(J_r + J_z + |J_phi|)")
    radial: Float[Array, ""] = param(constraints.positive, "", "mean of sqrt(J_r/s)")
    vertical: Float[Array, ""] = param(constraints.positive, "", "mean of sqrt(J_z/(J_z + |J_phi|))")
    sd_s: Float[Array, ""] = param(constraints.positive, "", "standard deviations")
    sd_radial: Float[Array, ""] = param(constraints.positive, "", "")
    sd_vertical: Float[Array, ""] = param(constraints.positive, "", "")

    def log_f(self, J):
        """ln f, half of the stars in each sense of rotation."""
        s = J[0] + J[1] + jnp.abs(J[2])
        r, z = J[0] / s, J[1] / (J[1] + jnp.abs(J[2]))
        off = [
            (jnp.log(s) - self.ln_s) / self.sd_s,
            (jnp.sqrt(r) - self.radial) / self.sd_radial,
            (jnp.sqrt(z) - self.vertical) / self.sd_vertical,
        ]
        # d3J = 4 s^3 (1 - r) sqrt(r z) d(ln s) d(sqrt r) d(sqrt z), and 2 pi for each angle.
        volume = jnp.log(4.0 * s**3 * (1.0 - r)) + 0.5 * jnp.log(r * z)
        widths = jnp.log(self.sd_s * self.sd_radial * self.sd_vertical)
        return -0.5 * sum(part * part for part in off) - widths - volume

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Actions of n stars."""
        means = [float(part) for part in (self.ln_s, self.radial, self.vertical)]
        widths = [float(part) for part in (self.sd_s, self.sd_radial, self.sd_vertical)]
        q = rng.normal(means, widths, (n, 3))
        s, r, z = np.exp(q[:, 0]), q[:, 1] ** 2, q[:, 2] ** 2
        L = s * (1.0 - r)
        return np.stack([s * r, L * z, L * (1.0 - z) * rng.choice([-1.0, 1.0], n)], axis=1)


def truth() -> Shell:
    """dehnen_binney_1996 and a shell of its halo."""
    numbers = [7.4, 0.35, 0.45, 0.25, 0.06, 0.06]
    return Shell(potential.dehnen_binney_1996(), *map(jnp.asarray, numbers))


PRIORS = {
    "potential.q": dist.LogNormal(jnp.log(0.8), 0.4),
    "potential.rho_s": dist.LogNormal(jnp.log(5.6e8), 1.0),
    "potential.rho_d": dist.LogNormal(jnp.log(2.3e9), 1.0),
    "ln_s": dist.Normal(7.4, 1.0),
    "radial": dist.LogNormal(jnp.log(0.35), 0.5),
    "vertical": dist.LogNormal(jnp.log(0.45), 0.5),
    "sd_s": dist.LogNormal(jnp.log(0.25), 0.5),
    "sd_radial": dist.LogNormal(jnp.log(0.06), 0.5),
    "sd_vertical": dist.LogNormal(jnp.log(0.06), 0.5),
}


@final
class ByFudge(eqx.Module):
    """Makes the fudge of a potential, as `PilotTori` does its finder."""

    def __call__(self, pot) -> dynamics.StaeckelFudge:
        return dynamics.StaeckelFudge(pot)


def log_likelihood(model: Shell, data):
    """sum ln f(J), with the actions of a finder that is made of the potential."""
    x, v, make = data
    finder = make(potential.expand(model.potential))

    def of_star(star):
        J = finder.actions(*star)
        # An orbit that this potential does not bind, or makes planar, has next to no stars.
        good = jnp.all(jnp.isfinite(J)) & (jnp.min(J[:2]) > 0.0)
        log_f = model.log_f(jnp.where(good, J, jnp.array([100.0, 100.0, 1000.0])))
        return jnp.where(good, log_f, -100.0)

    return jnp.sum(jax.lax.map(of_star, (x, v), batch_size=BATCH))


@eqx.filter_jit
def share_of_tori(tori, x, v):
    """In the actions of stars, in the potential of the tori."""
    finder = tori(tori.potential)
    return jnp.mean(jax.lax.map(lambda star: finder.torus_share(*star), (x, v), batch_size=BATCH))


def stars(model: Shell, seed: int, n: int = STARS) -> tuple[Array, Array]:
    """Drawn by tori."""
    rng = np.random.default_rng([96, seed])
    J = model.draw(rng, n)
    tori = dynamics.fit_tori(model.potential, J, tol=1e-4, n_modes=(45, 162), progress=False)
    theta = jnp.asarray(rng.uniform(0.0, 2.0 * np.pi, (n, 3)))
    x, v = jax.jit(jax.vmap(dynamics.Torus.phase_point))(tori, theta)
    found = np.asarray(tori.residual)
    print(f"mock {seed}: residuals of the stars' tori {np.nanquantile(found, [0.5, 0.9, 0.99])}", flush=True)
    good = np.isfinite(np.asarray(x)).all(axis=1)
    assert good.mean() > 0.99
    return x[good], v[good]


def fitted(start: Shell, priors, x, v, make, stays: str = "potential.q"):
    """The posterior and its maximum, with tori fitted there: until a parameter stays."""
    posterior, u, last = inference.Posterior(start, priors, log_likelihood, (x, v, make)), None, jnp.inf
    for _ in range(ROUNDS):
        maximum = inference.maximise(posterior, u, progress=False)
        if not isinstance(make, dynamics.PilotTori):
            break
        found = float(maximum.values[stays])
        sd = float(inference.laplace(posterior, maximum).sigma[stays])
        print(f"    {stays} = {found:.4g} +- {sd:.2g}", flush=True)
        if abs(found - last) < STAYS * sd:
            break
        make = make.moved_to(params.replace(start, maximum.values).potential)
        posterior = inference.Posterior(start, priors, log_likelihood, (x, v, make))
        u, last = maximum.u, found
    return posterior, maximum


def row(mock: int, x, v, with_tori: bool) -> dict[str, Any]:
    """One posterior."""
    begin = time.perf_counter()
    start, make = params.replace(truth(), START), ByFudge()
    if with_tori:
        make = dynamics.pilot_tori(start.potential, x, v, progress=False, **TORI)
    posterior, maximum = fitted(start, PRIORS, x, v, make)
    share = float(share_of_tori(posterior.data[2], x, v)) if with_tori else 0.0
    gaussian = inference.laplace(posterior, maximum)
    draws = inference.correct(posterior, gaussian, DRAWS, seed=mock)
    of_draws = np.asarray(posterior.constrain(jnp.asarray(draws.u))["potential.q"])
    q = float(draws.weights @ of_draws)
    sd = float(np.sqrt(draws.weights @ (of_draws - q) ** 2))
    entry: dict[str, Any] = {"mock": mock, "stars": len(x), "actions": "tori" if with_tori else "fudge"}
    entry |= {"maximum q": float(maximum.values["potential.q"]), "q": q, "sd": sd, "k": draws.k_hat}
    entry |= {"pull": (q - float(truth().potential.q)) / sd, "tori %": 100.0 * share}
    return entry | {"s": time.perf_counter() - begin}


def rows_of(mock: int) -> list[dict[str, Any]]:
    """Two rows, those on disc if there are any."""
    return kept("OORTAX_FLATTENING", str(mock), lambda: _measured(mock))


def _measured(mock: int) -> list[dict[str, Any]]:
    x, v = stars(truth(), mock)
    rows = []
    for with_tori in (False, True):
        rows.append(row(mock, x, v, with_tori))
        print(rows[-1], flush=True)
        # Linux gives a process 65,530 memory maps, and compiled programs take them.
        jax.clear_caches()
    return rows


def main() -> list[dict[str, Any]]:
    """Two rows a mock."""
    ox.enable_x64()
    rows = [entry for mock in range(MOCKS) for entry in rows_of(mock)]
    for actions in ("tori", "fudge"):
        pulls = np.array([entry["pull"] for entry in rows if entry["actions"] == actions])
        rows.append(
            {"mock": "all", "actions": actions, "pull": pulls.mean(), "sd of pulls": pulls.std(ddof=1)}
        )
    return rows


if __name__ == "__main__":
    if sys.argv[1:]:
        ox.enable_x64()
        for number in sys.argv[1:]:
            rows_of(int(number))
    else:
        main()
