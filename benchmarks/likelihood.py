"""The demo's likelihood: cost of a value and of a gradient per star, compilation, and its numerical errors.

Run `python benchmarks/likelihood.py`. One thread; times are medians of repeats, compilation apart. "Largest
shift" is how far a finer normalisation would move the maximum, in the posterior's standard deviations, for
the parameter that moves most.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time  # noqa: E402  (after the environment is set)
from typing import Any  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import oortax as ox  # noqa: E402
from oortax import data, inference, io, model  # noqa: E402
from oortax.commands.posterior import build_posterior, numerical_checks  # noqa: E402

REPEATS = 9


def _timed(compiled, *arguments) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _compiled(f, *arguments):
    start = time.perf_counter()
    program = jax.jit(f)
    jax.block_until_ready(program(*arguments))
    return program, time.perf_counter() - start


def largest_shift(problem: io.Problem, posterior: inference.Posterior) -> float:
    """Largest |C g|/sigma of the parameters: g the normalisation's error of d ln p/du, C the covariance."""
    fit = inference.laplace(posterior, inference.maximise(posterior, progress=False))
    u = jnp.asarray(fit.mean)
    numbers = numerical_checks(problem, posterior, posterior.model_at(u))
    slope = jax.jacfwd(posterior.constrain)(u)
    g = [numbers[f"error of d ln L/d {path}"] * float(slope[path][i]) for i, path in enumerate(fit.names)]
    return float(np.max(np.abs(fit.covariance @ np.array(g)) / np.sqrt(np.diag(fit.covariance))))


def cost(stars: int) -> tuple[dict[str, Any], io.Problem, inference.Posterior]:
    """Cost of a value and of a gradient at the start of the demo's posterior, and what they are of."""
    ox.enable_x64()
    jax.config.update("jax_enable_compilation_cache", False)
    problem = io.build(io.load_config(data.demo_config()).with_inference(stars=stars))
    posterior = build_posterior(problem)
    u = jnp.asarray(posterior.start)

    def log_L(u, data):
        return posterior.log_likelihood(posterior.model_at(u), data)

    value, compile_value = _compiled(log_L, u, posterior.data)
    gradient, compile_gradient = _compiled(jax.value_and_grad(log_L), u, posterior.data)
    seconds, seconds_gradient = (_timed(f, u, posterior.data) for f in (value, gradient))
    settings = model.Settings.for_stars(stars)
    slope = np.asarray(gradient(u, posterior.data)[1])
    step = 1e-5
    i = int(np.argmax(np.abs(slope)))
    shift = step * (np.arange(posterior.dim) == i)
    high, low = (float(value(u + s, posterior.data)) for s in (shift, -shift))
    row = {
        "device": jax.devices()[0].device_kind,
        "stars": stars,
        "parameters": posterior.dim,
        "action evaluations": model.evaluations(
            problem.model, posterior.data["stars"][""][1], "StaeckelFudge", settings
        ),
        "value us/star": seconds / stars * 1e6,
        "gradient us/star": seconds_gradient / stars * 1e6,
        "gradient/value": seconds_gradient / seconds,
        "compile value s": compile_value,
        "compile gradient s": compile_gradient,
        "gradient vs difference": abs((high - low) / (2 * step) / slope[i] - 1.0),
    }
    return row, problem, posterior


def main(stars: int = 2000) -> list[dict[str, Any]]:
    """Its cost, and the errors of its normalisation."""
    row, problem, posterior = cost(stars)
    numbers = numerical_checks(problem, posterior, problem.model)
    row |= {
        "error of ln A": numbers["error_log_A"],
        "largest shift": largest_shift(problem, posterior),
        "least ESS of a star": numbers["least_ess"],
    }
    return [row]


if __name__ == "__main__":
    for entry in main():
        for name, item in entry.items():
            print(f"{name}: {item}")
