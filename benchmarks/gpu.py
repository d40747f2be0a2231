"""The same figures on an accelerator: fudge, tori, and likelihood, value and gradient.

Run `python benchmarks/run.py gpu` where JAX sees a GPU; elsewhere its rows are kept as they are. Fudge: stars
of the thin disc in mw_potential_2014. Tori: `fit_tori` of the random actions of tori.py, copies to and from
the device included, with a number of terms whatever their residual; "rate": tori a second; "points":
phase_point at a random true angle of each torus, points a second; "on the device": rate of the compiled
program alone. Medians of repeats, compilation apart. `python benchmarks/gpu.py likelihood` prints the demo's
likelihood instead, which takes minutes to compile.

Seen on one H100 (jax 0.11.2, 2026-11-27), not by this very file: fudge 9.2 ns a star, but its gradient 17 us;
45 terms, on the device, in batches of 16384: 3.2e5 tori a second of the disc (median residual 2.1e-6), 1.4e5
of the halo (3.1e-4), and 2.4e5 and 1.0e5 in batches of 4096; `fit_tori` in batches of 4096 6.6e4 of the halo;
9e6 points a second.
"""

import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import oortax as ox
from actions import family
from oortax import dynamics, potential
from oortax.dynamics.torus.tori import _fit_chunk, _tables
from tori import random_actions, seconds_of


def fudge(n: int = 1_000_000) -> list[dict[str, Any]]:
    """Nanoseconds per star of the Staeckel fudge on n stars of the thin disc, value and gradient."""
    pot = jax.jit(potential.mw_potential_2014)()
    x, v = (jnp.asarray(a) for a in family("thin", pot, 10_000))
    x, v = (jnp.tile(a, (n // 10_000, 1)) for a in (x, v))

    def actions(pot, x, v):
        return jax.vmap(dynamics.StaeckelFudge(pot).actions)(x, v)

    ns = 1e9 * seconds_of(jax.jit(actions), pot, x, v) / n
    return [{"what": "StaeckelFudge", "n": n, "ns": ns, "rate": 1e9 / ns}]


def tori(n: int = 65_536) -> list[dict[str, Any]]:
    """Tori a second, 22 and 45 terms, and points a second at random true angles of all of them."""
    pot = potential.expand(jax.jit(potential.mw_potential_2014)())
    tables, entries = _tables(pot), []
    for terms in (22, 45):
        for kind, J in random_actions(n).items():

            def fit(J=J, terms=terms):
                return dynamics.fit_tori(pot, J, tol=1.0, n_modes=(terms,), progress=False)

            found, seconds = fit(), seconds_of(fit, repeats=3)
            alone = seconds_of(
                partial(_fit_chunk, n_modes=terms, batch_size=16_384), pot, *tables, jnp.asarray(J)
            )
            theta = jax.random.uniform(jax.random.key(1), (n, 3), maxval=2.0 * jnp.pi)
            each = seconds_of(jax.jit(jax.vmap(dynamics.Torus.phase_point)), found, theta)
            entries.append({
                "what": f"tori, {kind}, {terms} terms", "n": n, "ns": 1e9 * seconds / n, "rate": n / seconds,
                "on the device": n / alone, "points": n / each,
                "residual 50%": float(jnp.nanmedian(found.residual)),
                "not converged %": 100.0 * float(jnp.mean(~jnp.isfinite(found.E))),
            })  # fmt: skip
    return entries


def likelihoods(sizes: tuple[int, ...] = (2000, 40_000)) -> list[dict[str, Any]]:
    """The demo's likelihood on so many of its stars."""
    from likelihood import cost

    entries = []
    for n in sizes:
        row = cost(n)[0]
        entries.append({
            "what": "likelihood", "n": n, "ns": 1e3 * row["value us/star"],
            "gradient ns": 1e3 * row["gradient us/star"],
            "evaluations": row["action evaluations"],
        })  # fmt: skip
    return entries


def main() -> list[dict[str, Any]]:
    """All rows, each with the device's name."""
    ox.enable_x64()
    if jax.default_backend() == "cpu":
        raise SystemExit("JAX sees no accelerator: install the extra cuda12 or cuda13 where there is one")
    device = jax.devices()[0].device_kind
    entries = []
    for rows in (tori, fudge):
        entries += rows()
        print(entries[-1], flush=True)
    return [{"device": device, **entry} for entry in entries]


if __name__ == "__main__":
    from actions import table

    print(table(likelihoods() if "likelihood" in sys.argv else main()))
