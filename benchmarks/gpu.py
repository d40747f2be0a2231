"""The same figures on an accelerator: fudge and likelihood, value and gradient.

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


if __name__ == "__main__":
    if jax.default_backend() == "cpu":
        raise SystemExit("JAX sees no accelerator: install the extra cuda12 or cuda13 where there is one")
    ox.enable_x64()
    for entry in fudge() + likelihood(2000) + likelihood(40_000):
        print(", ".join(f"{name}: {item}" for name, item in entry.items()))
