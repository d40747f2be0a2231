"""Draws from a posterior by the No-U-Turn sampler, several chains at once, safe to interrupt."""

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from oortax.inference.chains import CAPACITY, Chains, Settings
from oortax.inference.checkpoint import Checkpoint
from oortax.inference.laplace import Laplace
from oortax.inference.posterior import Posterior, require_float64
from oortax.inference.step_size import TARGET

log = logging.getLogger("oortax.inference")

BLOCK_SECONDS = 10.0
"""Draws are written about this often; a kill loses no more."""


class Samples(NamedTuple):
    """Draws after warm-up.

    u (chains, draws, P) on the real line; `values` the parameters by path, each (chains, draws);
    `stats`, each (chains, draws): log_density, energy, n_steps (leapfrog steps = gradients),
    accept_prob, diverging, step_size. `warmup_stats` are the same before. `n_gradients` counts all
    gradients of all chains, warm-up included, `seconds` the sampling time of this process.
    `settings` is what the run was started with (key, versions, fingerprint of posterior and data).
    """

    names: tuple[str, ...]
    u: np.ndarray
    values: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    warmup_stats: dict[str, np.ndarray]
    n_gradients: int
    seconds: float
    settings: dict[str, Any]


class Status(NamedTuple):
    """How far a run is: transitions per chain done and in all, and how the chains fare."""

    done: int
    total: int
    divergences: int
    step_size: float
    mean_steps: float


def sample(
    posterior: Posterior,
    start: Laplace | Any = None,
    *,
    key: jax.Array,
    chains: int = 4,
    warmup: int = 200,
    samples: int = 500,
    target_accept: float = TARGET,
    max_tree_depth: int = 8,
    adapt_mass_matrix: bool | None = None,
    chain_method: str = "parallel",
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    block_seconds: float = BLOCK_SECONDS,
    progress: bool = True,
    callback: Callable[[Status], None] | None = None,
    ahead: "Ahead | None" = None,
) -> Samples:
    """Sample p(u) by NumPyro's NUTS (Hoffman & Gelman 2014), potential energy -ln p(u).

    Parameters
    ----------
    start : Laplace or shape (P,), optional
        A Laplace fit: chains start at draws from it and its covariance is the inverse mass matrix.
        A point u (default the model's values): chains start there but for a tenth of the prior's
        width, which is the first mass matrix. Ignored when a run is resumed.
    key : PRNG key
    chains, warmup, samples : int
        Number of chains; transitions of each to adapt the step size in, and to keep.
    target_accept : float
        Mean acceptance the step size is adapted to; raise it to 0.97 if there are divergences.
    adapt_mass_matrix : bool, optional
        Also learn the mass matrix in warm-up; default only without a Laplace fit. Then warm up for
        500 transitions or more.
    chain_method : {"parallel", "vectorized", "sequential"}
        "parallel" spreads the chains over the devices (on a CPU, as many as the command-line tool
        or XLA_FLAGS asked for before JAX started); with one device it falls back to "sequential"
        on a CPU and "vectorized" elsewhere, and logs that it did.
    folder : path, optional
        Where draws and state are written, every `block_seconds` or every transition if one takes
        longer. Without it nothing is written.
    resume : bool
        Go on with the run in the folder (or begin it, if there is none): the chain is the same, bit
        for bit, as if it had never been interrupted. `samples` may be larger than before.
    callback : callable, optional
        Called with a `Status` after each block is written.
    ahead : Ahead, optional
        A sampler for the same posterior and settings that is being compiled already.

    Raises
    ------
    ValueError
        If the folder holds a run and `resume` is False; if it is resumed with another posterior,
        key or setting (naming it); if ln p is not finite at the start; if the model is not float64.

    Examples
    --------
    >>> import numpyro.distributions as dist
    >>> from oortax import potential
    >>> def log_likelihood(pot, data):
    ...     return -0.5 * (jnp.log(pot.b / data) / 0.1) ** 2
    >>> pot, priors = potential.Plummer(M=1e10, b=1.0), {"b": dist.LogNormal(0.0, 1.0)}
    >>> posterior = Posterior(pot, priors, log_likelihood, jnp.asarray(1.0))
    >>> draws = sample(posterior, key=jax.random.key(1), chains=2, warmup=50, samples=50, progress=False)
    >>> draws.values["b"].shape
    (2, 50)
    """
    require_float64(posterior, "sample")
    _check_counts(chains=chains, warmup=warmup, samples=samples)
    adapt = not isinstance(start, Laplace) if adapt_mass_matrix is None else adapt_mass_matrix
    settings = Settings(chains, warmup, float(target_accept), max_tree_depth, adapt)
    checkpoint = None if folder is None else Checkpoint(folder)
    again = resume and checkpoint is not None and bool(checkpoint.blocks)
    record = _record(posterior, settings, key)
    if again:
        assert checkpoint is not None
        record = _agree(checkpoint.settings(), record, adapt_mass_matrix is None)
        settings = settings._replace(adapt_mass_matrix=record["adapt_mass_matrix"])
    sampler = Chains(posterior, settings, chain_method) if ahead is None else ahead.result(settings)
    if again:
        assert checkpoint is not None
        blocks, state = checkpoint.read()
        log.info("resumed after %d transitions", sum(block["u"].shape[1] for block in blocks))
    else:
        key_start, key_chains = jax.random.split(key)
        points, inverse_mass = _starting_points(posterior, start, key_start, chains)
        blocks, state = [], sampler.init(key_chains, points, inverse_mass)
        if checkpoint is not None:
            checkpoint.start(record)
    began = time.perf_counter()
    with _bar(progress) as bar:
        run = _Run(sampler, checkpoint, blocks, state, warmup + samples, block_seconds, bar, callback)
        run.finish()
    return _samples(posterior, run.blocks, warmup, samples, time.perf_counter() - began, record)


class Ahead:
    """Compiles the sampler in a thread of its own, while the maximum is sought: minutes saved.

    Takes the arguments of `sample` that decide what is compiled, for a start from a Laplace fit.

    >>> import numpyro.distributions as dist
    >>> from oortax import potential
    >>> pot, priors = potential.Plummer(M=1e10, b=1.0), {"b": dist.LogNormal(0.0, 1.0)}
    >>> posterior = Posterior(pot, priors, lambda pot, data: -jnp.log(pot.b / data) ** 2, jnp.asarray(1.0))
    >>> ahead = Ahead(posterior, chains=2, warmup=20)
    >>> from oortax.inference import laplace, maximise
    >>> fit = laplace(posterior, maximise(posterior, progress=False))
    >>> draws = sample(
    ...     posterior, fit, key=jax.random.key(1), chains=2, warmup=20, samples=9, progress=False, ahead=ahead
    ... )
    >>> draws.u.shape
    (2, 9, 1)
    """

    def __init__(
        self,
        posterior: Posterior,
        *,
        chains: int = 4,
        warmup: int = 200,
        target_accept: float = TARGET,
        max_tree_depth: int = 8,
        chain_method: str = "parallel",
    ):
        self.settings = Settings(chains, warmup, float(target_accept), max_tree_depth, False)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="oortax-compile")
        self._future = self._pool.submit(lambda: Chains(posterior, self.settings, chain_method).compile())
        self._pool.shutdown(wait=False)

    def result(self, settings: Settings) -> Chains:
        """The compiled sampler, waiting for it if need be; ValueError if it is for other settings."""
        if settings != self.settings:
            raise ValueError(
                f"the sampler was compiled for {self.settings}, not {settings}: pass equal settings"
            )
        return self._future.result()


class _Run:
    """The loop over blocks: advance, write, report."""

    def __init__(self, sampler, checkpoint, blocks, state, total, block_seconds, bar, callback):
        self.sampler, self.checkpoint, self.blocks, self.state = sampler, checkpoint, blocks, state
        self.total, self.block_seconds, self.bar, self.callback = total, block_seconds, bar, callback
        self.task = bar.add_task("sampling", total=total, status="compiling")
        self.done = sum(block["u"].shape[1] for block in blocks)

    def finish(self) -> None:
        length = 1
        while self.done < self.total:
            length = min(length, self.total - self.done, CAPACITY)
            began = time.perf_counter()
            self.state, draws = self.sampler.run(self.state, length)
            if self.checkpoint is not None:
                self.checkpoint.write(len(self.blocks), draws, self.state)
            self.blocks.append(draws)
            self.done += length
            self._report()
            # Early warm-up is not typical, so the length of blocks grows by no more than fourfold.
            pace = (time.perf_counter() - began) / length
            length = max(1, min(int(self.block_seconds / pace), 4 * length))

    def _report(self) -> None:
        warmup = self.sampler.settings.warmup
        stage = "warming up" if self.done < warmup else "sampling"
        recent = self.blocks[-1]
        kept = np.concatenate([block["diverging"] for block in self.blocks], axis=1)[:, warmup:]
        status = Status(
            self.done,
            self.total,
            int(kept.sum()),
            float(np.exp(np.mean(np.log(recent["step_size"])))),
            float(recent["n_steps"].mean()),
        )
        text = (
            f"{status.divergences} divergences, step {status.step_size:.2g}, "
            f"{status.mean_steps:.1f} gradients a draw"
        )
        self.bar.update(self.task, completed=self.done, description=stage, status=text)
        if self.callback is not None:
            self.callback(status)


def _starting_points(posterior: Posterior, start, key, chains: int) -> tuple[np.ndarray, np.ndarray]:
    """A finite starting point for each chain (chains, P), and the inverse mass matrix (P, P)."""
    if isinstance(start, Laplace):
        centre, inverse_mass = posterior.check_start(jnp.asarray(start.mean)), start.covariance
        offsets = np.asarray(start.sample(key, chains)) - start.mean
    else:
        centre, width = posterior.check_start(start), posterior.prior_scale()[1]
        inverse_mass = np.diag(width**2)
        offsets = 0.1 * width * np.asarray(jax.random.normal(key, (chains, posterior.dim)))
    points = []
    for offset in offsets:
        for shrink in 0.5 ** np.arange(12):
            point = np.asarray(centre) + shrink * offset
            value, gradient = posterior.value_and_grad(jnp.asarray(point))
            if np.isfinite(value) and np.all(np.isfinite(gradient)):
                points.append(point)
                break
        else:
            points.append(np.asarray(centre))
    return np.array(points), inverse_mass


def _record(posterior: Posterior, settings: Settings, key) -> dict[str, Any]:
    """What identifies a run, in JSON's types."""
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    return {
        "names": list(posterior.names),
        **settings._asdict(),
        "key": np.asarray(key).tolist(),
        "posterior": posterior.fingerprint(),
        "versions": {
            "oortax": version("oortax"),
            "jax": jax.__version__,
            "numpyro": numpyro.__version__,
            "numpy": np.__version__,
        },
    }


def _agree(old: dict[str, Any], new: dict[str, Any], adapt_is_default: bool) -> dict[str, Any]:
    """The settings of the run to resume; ValueError naming the first that differs."""
    for name, value in new.items():
        if name == "versions":
            if old.get(name) != value:
                log.warning("resuming a run of other versions: %s, now %s", old.get(name), value)
        elif old.get(name) != value and not (name == "adapt_mass_matrix" and adapt_is_default):
            detail = "" if name == "posterior" else f" (it was {old.get(name)}, now {value})"
            raise ValueError(
                f"cannot resume: {'the model, priors or data' if name == 'posterior' else name} "
                f"changed{detail}: start afresh in another folder, or restore it"
            )
    return old


def _samples(posterior, blocks, warmup: int, samples: int, seconds: float, record) -> Samples:
    every = {name: np.concatenate([block[name] for block in blocks], axis=1) for name in blocks[0]}
    u = every.pop("u")[:, warmup : warmup + samples]
    values = {path: np.asarray(x) for path, x in posterior.constrain(jnp.asarray(u)).items()}
    return Samples(
        names=posterior.names,
        u=u,
        values=values,
        stats={name: value[:, warmup : warmup + samples] for name, value in every.items()},
        warmup_stats={name: value[:, :warmup] for name, value in every.items()},
        n_gradients=int(every["n_steps"].sum()),
        seconds=seconds,
        settings=record,
    )


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")


def _bar(show: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    status = TextColumn("{task.fields[status]}")
    return Progress(*columns, status, TimeElapsedColumn(), TimeRemainingColumn(), disable=not show)
