"""The disc's surface density from disc stars, with actions of Oort-Lindblad, of the fudge and of tori.

Run `python benchmarks/surface_density.py`. Stars of a warm disc in mw_potential_2014, with exact positions
and velocities, all that there are (the likelihood is that of benchmarks/flattening.py), drawn by tori. Free:
the mass and thickness of the disc, the density of the halo, and the six parameters of f. Sigma: the disc's
column at 8 kpc, at the maximum, over the truth; its standard deviation by Laplace's method; v_c at 8 kpc
likewise. gamma = 0 are the integrals of Dehnen & Binney (1996, eqs. 1, 2), to each other unknown; gamma = 1
lets the vertical motion push against the radial one. With tori the library is that of the start, then of the
maxima, until the disc's mass stays.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import time  # noqa: E402  (after the environment is set)
from typing import Any  # noqa: E402

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro.distributions as dist  # noqa: E402

import flattening  # noqa: E402
import oortax as ox  # noqa: E402
from oortax import dynamics, inference, params, potential  # noqa: E402

STARS, MOCKS = 2000, 3
TORI: dict[str, Any] = {"tol": 3e-4, "n_modes": 22, "max_tori": 4000}
FREE = ("potential.disc.M", "potential.disc.b", "potential.halo.rho_s")


def truth() -> flattening.Shell:
    """mw_potential_2014 and a warm disc: J_r about 70, J_z about 30 kpc km/s, L_z 1700."""
    numbers = [7.49, 0.2, 0.13, 0.2, 0.05, 0.035]
    return flattening.Shell(potential.mw_potential_2014(), *map(jnp.asarray, numbers))


def priors(model: flattening.Shell) -> dict[str, Any]:
    """Wide about the truth."""
    of_potential = {path: dist.LogNormal(jnp.log(params.get(model, path)), 0.7) for path in FREE}
    names = ("ln_s", "radial", "vertical", "sd_s", "sd_radial", "sd_vertical")
    return of_potential | {
        name: dist.Normal(7.5, 1.0)
        if name == "ln_s"
        else dist.LogNormal(jnp.log(float(getattr(model, name))), 0.5)
        for name in names
    }


class BySeparation(eqx.Module):
    """Makes the finder of Oort and Lindblad."""

    gamma: float = eqx.field(static=True)

    def __call__(self, pot) -> dynamics.OortLindblad:
        return dynamics.OortLindblad(pot, gamma=self.gamma)


MAKERS = {
    "Oort-Lindblad, gamma = 0": BySeparation(0.0),
    "Oort-Lindblad, gamma = 1": BySeparation(1.0),
    "fudge": flattening.ByFudge(),
}


def column(pot, R: float = 8.0) -> float:
    """The disc's, Msun/kpc^2, to 5 kpc on both sides."""
    z, w = np.polynomial.legendre.leggauss(64)
    z, w = 2.5 * (z + 1.0), 2.5 * w
    rho = jax.vmap(lambda z: pot["disc"].rho(R, z))(jnp.asarray(z))
    return float(2.0 * jnp.sum(jnp.asarray(w) * rho))


def fitted(name: str, x, v) -> tuple[inference.Posterior, inference.Maximum]:
    """The maximum with one kind of actions."""
    start = truth()
    make = MAKERS.get(name) or dynamics.pilot_tori(start.potential, x, v, progress=False, **TORI)
    return flattening.fitted(start, priors(start), x, v, make, stays=FREE[0])


def main() -> list[dict[str, Any]]:
    """A row for each kind of actions: means over the mocks."""
    ox.enable_x64()
    true = truth()
    Sigma, v_c = column(true.potential), float(potential.circular_velocity(true.potential, 8.0))
    found: dict[str, list] = {}
    for mock in range(MOCKS):
        x, v = flattening.stars(true, mock, STARS)
        for name in (*MAKERS, "tori"):
            begin = time.perf_counter()
            posterior, maximum = fitted(name, x, v)
            gaussian = inference.laplace(posterior, maximum)
            draws = posterior.constrain(gaussian.sample(jax.random.key(0), 100))
            pots = [
                params.replace(true, {path: values[i] for path, values in draws.items()}).potential
                for i in range(100)
            ]
            best = params.replace(true, maximum.values).potential
            numbers = [column(best) / Sigma, float(np.std([column(pot) for pot in pots])) / Sigma]
            numbers.append(float(potential.circular_velocity(best, 8.0)) / v_c)
            found.setdefault(name, []).append([*numbers, time.perf_counter() - begin])
            print(mock, name, found[name][-1], flush=True)
    rows = []
    for name, of_mocks in found.items():
        Sigmas, sds, speeds, seconds = np.array(of_mocks).T
        each = ", ".join(f"{part:.3f}" for part in Sigmas)
        rows.append({"actions": name, "Sigma / truth": f"{Sigmas.mean():.3f} ({each})"})
        rows[-1] |= {"sd": float(sds.mean()), "v_c / truth": float(speeds.mean())}
        rows[-1] |= {"s a fit": float(np.median(seconds))}
    return rows


if __name__ == "__main__":
    for entry in main():
        print(entry)
