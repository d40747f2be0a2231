"""The same figures on an accelerator: fudge, tori, and likelihood, value and gradient.

Run `python benchmarks/gpu.py` where JAX sees a GPU; elsewhere it says so and stops.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import oortax as ox
from actions import family
from likelihood import main as likelihood
from oortax import dynamics, potential
from tori import random_actions, seconds_of


def fudge(n: int = 1_000_000) -> list[dict[str, Any]]:
    """Nanoseconds per star of the Staeckel fudge on n stars of the thin disc."""
    pot = jax.jit(potential.mw_potential_2014)()
    x, v = (jnp.asarray(a) for a in family("thin", pot, 10_000))
    x, v = (jnp.tile(a, (n // 10_000, 1)) for a in (x, v))

    @jax.jit
    def actions(pot, x, v):
        return jax.vmap(dynamics.StaeckelFudge(pot).actions)(x, v)

    jax.block_until_ready(actions(pot, x, v))
    times = []
    for _ in range(9):
        start = time.perf_counter()
        jax.block_until_ready(actions(pot, x, v))
        times.append(time.perf_counter() - start)
    return [{"method": "StaeckelFudge", "stars": n, "ns/star": float(np.median(times)) / n * 1e9}]


def tori(n: int = 65_536) -> list[dict[str, Any]]:
    """Tori a second, 22 and 45 terms, and points a second at random true angles of all of them."""
    pot = potential.expand(jax.jit(potential.mw_potential_2014)())
    entries = []
    for kind, J in random_actions(n).items():
        for terms in (22, 45):

            def fit(J=J, terms=terms):
                return dynamics.fit_tori(pot, J, tol=1.0, n_modes=(terms,), progress=False)

            found, seconds = fit(), seconds_of(fit, repeats=4)
            theta = jax.random.uniform(jax.random.key(1), (n, 3), maxval=2.0 * jnp.pi)
            each = seconds_of(jax.jit(jax.vmap(dynamics.Torus.phase_point)), found, theta)
            entries.append({
                "tori": kind, "terms": terms, "tori/s": n / seconds, "points/s": n / each,
                "residual": float(jnp.nanmedian(found.residual)),
            })  # fmt: skip
    return entries


if __name__ == "__main__":
    if jax.default_backend() == "cpu":
        raise SystemExit("JAX sees no accelerator: install the extra cuda12 or cuda13 where there is one")
    ox.enable_x64()
    for entry in fudge() + tori() + likelihood(2000) + likelihood(40_000):
        print(", ".join(f"{name}: {item}" for name, item in entry.items()))
