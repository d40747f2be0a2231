"""What a finder's errors do to the flattening, without a fit: mean scores of halo stars at the truth.

Run `python benchmarks/scores.py` (ten minutes of one core). Stars, f(J), potential and the nine parameters of
benchmarks/flattening.py. With exact actions d ln f(J(x, v; p))/dp vanishes in the mean over the angles of
each torus, for at a given point J changes by -d(chi)/d(theta), and chi is periodic: so the stars are at 32
angles of Sobol's sequence, shifted at random, on each of 1,000 tori fitted to J of f (residual 1e-5 where 280
terms reach it), and what is left in the mean is the finder's error, and the tori's where orbits are trapped,
but for the error of the sum. Of the score of f's own parameters that at the true J, whose mean vanishes, is
taken away. One Newton step from the truth, by the mean outer product of the scores, then says where a fit to
very many stars has its maximum, to first order. "bias q": of the flattening, true value 0.8; "sd": its
standard deviation for 2,000 stars; "in sd": the bias in these units, +-: its standard error over tori;
"calm, wild": the parts of that by the four fifths of the tori with the smaller residuals and by the others,
most of them close to resonances; dJ/J: error of J_r and J_z over J_r + J_z + |J_phi|, median and 99 %;
"tori %": their share in the actions.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from typing import Any  # noqa: E402  (after the environment is set)

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from scipy.stats import qmc  # noqa: E402

import flattening  # noqa: E402
import oortax as ox  # noqa: E402
from kept import kept  # noqa: E402
from oortax import dynamics, params, potential  # noqa: E402

TORI, ANGLES, STARS, BATCH = 1000, 32, 2000, 256
FEW: dict[str, Any] = flattening.TORI
MANY: dict[str, Any] = {"tol": 1e-4, "n_modes": 280, "max_tori": 4000, "damping": 1e-5}
FINDERS = {"fudge": None, "162 terms": FEW, "280 terms": MANY}
NAMES = list(flattening.PRIORS)


def stars() -> tuple[Any, ...]:
    """x, v, J of the tori's stars, (tori, angles, 3) each, and the tori's residuals."""
    model, rng = flattening.truth(), np.random.default_rng([96, 96])
    J = model.draw(rng, TORI)
    tori = dynamics.fit_tori(model.potential, J, tol=1e-5, n_modes=(45, 162, 280), progress=False)
    spread = qmc.Sobol(3, seed=rng).random(ANGLES)
    theta = 2.0 * np.pi * ((spread + rng.uniform(size=(TORI, 1, 3))) % 1.0)
    points = jax.jit(jax.vmap(jax.vmap(dynamics.Torus.phase_point, (None, 0))))
    x, v = points(tori, jnp.asarray(theta))
    good = np.isfinite(np.asarray(x)).all(axis=(1, 2))
    assert good.mean() > 0.99
    of_stars = jnp.broadcast_to(jnp.asarray(J)[:, None], x.shape)
    return x[good], v[good], of_stars[good], np.asarray(tori.residual)[good]


@eqx.filter_jit
def scores(make, p, x, v, J):
    """d ln f/dp with the finder's J, less d ln f/dp at the true J with that fixed; and the finder's J."""

    def model_at(p):
        return params.replace(flattening.truth(), dict(zip(NAMES, p, strict=True)))

    def log_f(p, star):
        model = model_at(p)
        J = make(potential.expand(model.potential)).actions(*star)
        return model.log_f(J), J

    def of_star(star):
        x, v, J = star
        score, found = jax.jacfwd(log_f, has_aux=True)(p, (x, v))
        return score - jax.grad(lambda p: model_at(p).log_f(J))(p), score, found

    return jax.lax.map(of_star, (x, v, J), batch_size=BATCH)


def row(name: str, x, v, J, residual) -> dict[str, Any]:
    """Of one finder."""
    model, make = flattening.truth(), flattening.ByFudge()
    if FINDERS[name] is not None:
        pilot = np.random.default_rng(1).choice(x.shape[0] * ANGLES, STARS, replace=False)
        some = (a.reshape(-1, 3)[pilot] for a in (x, v))
        make = dynamics.pilot_tori(model.potential, *some, progress=False, **FINDERS[name])
    p = jnp.asarray([float(params.get(model, path)) for path in NAMES])
    shape = x.shape[:2]
    flat = [a.reshape(-1, 3) for a in (x, v, J)]
    left, score, found = (np.asarray(a) for a in scores(make, p, *flat))
    assert np.isfinite(score).all() and (found[:, :2] > 0.0).all()
    # In units in which the matrix is well conditioned.
    units = 1.0 / score.std(axis=0)
    covariance = np.linalg.inv((score * units).T @ (score * units) / len(score))
    steps = (left * units) @ covariance[0] * units[0]
    sd = np.sqrt(covariance[0, 0] / STARS) * units[0]
    of_tori = steps.reshape(shape).mean(axis=1) / sd
    error, wild = of_tori.std() / np.sqrt(len(of_tori)), residual > np.quantile(residual, 0.8)
    off = np.abs(found - flat[2])[:, :2] / np.abs(flat[2]).sum(axis=1, keepdims=True)
    entry: dict[str, Any] = {"actions": name, "stars": len(score), "bias q": of_tori.mean() * sd}
    entry |= {"sd": sd, "in sd": of_tori.mean(), "+-": error}
    entry |= {"calm": of_tori[~wild].sum() / len(wild), "wild": of_tori[wild].sum() / len(wild)}
    entry |= {"dJ/J": np.median(off), "dJ/J 99 %": np.quantile(off, 0.99)}
    share = 0.0 if FINDERS[name] is None else float(flattening.share_of_tori(make, *flat[:2]))
    return entry | {"tori %": 100.0 * share}


def main() -> list[dict[str, Any]]:
    """A row a finder."""
    ox.enable_x64()
    made: list[Any] = []

    def measured(name):
        if not made:
            made.extend(stars())
        found = row(name, *made)
        print(found, flush=True)
        jax.clear_caches()
        return found

    return [kept("OORTAX_SCORES", name, lambda name=name: measured(name)) for name in FINDERS]


if __name__ == "__main__":
    main()
