"""`oortax check`: what a fit would use, and whether its numbers can be trusted, without running it."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from oortax import inference
from oortax.commands import session
from oortax.commands.posterior import build_posterior, constraint_rows, numerical_checks, prolate_note
from oortax.io.config import load_config
from oortax.io.problem import build

STEP = 1e-4
"""Step of the central differences, in prior widths on the real line."""
TOLERANCE = 1e-4
"""Largest accepted |gradient - difference|, relative to the gradient's norm over prior widths."""


def check(config: Path, *, json: bool = False, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Print the rows used and excluded, the start, the gradient's error and the normalisation's.

    Raises ValueError if ln p is not finite at the start, or its gradient disagrees with differences.
    """
    console = session.console(json)
    settings = load_config(config).with_inference(**(changes or {}))
    problem = build(settings)
    for line in problem.sentences():
        console.print(line)
    posterior = build_posterior(problem)
    u = posterior.check_start()
    log_density, _ = posterior.value_and_grad(u)
    errors = gradient_errors(posterior, np.asarray(u))
    numbers = numerical_checks(problem, posterior, problem.model)
    console.print(f"ln p at the start: {float(log_density):.3f} ({posterior.dim} free parameters)")
    for path, value in problem.start.items():
        console.print(f"  {path} = {value:.6g}  (gradient error {errors[path]:.1e})")
    for name, value in numbers.items():
        console.print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    for line in prolate_note(numbers):
        console.print(line)
    direct = constraint_rows(problem, problem.model)
    for row in direct:
        console.print(f"{row['constraint']}: chi2 = {row['chi2']:.1f} of {row['points']} points")
    result = {
        "rows": None if problem.report is None else problem.report.as_dict(),
        "tables": {name: table.as_dict() for name, table in problem.counted().items()},
        "start": dict(problem.start),
        "log_density": float(log_density),
        "gradient_error": errors,
        "numbers": numbers,
        "constraints": direct,
    }
    if json:
        session.print_json(result)
    worst = max(errors, key=lambda path: errors[path])
    if not errors[worst] < TOLERANCE:
        raise ValueError(
            f"the derivative with respect to {worst} differs from a finite difference by {errors[worst]:.1e} "
            "of the gradient: the likelihood is not smooth there; use more nodes_per_star or another start"
        )
    return result


def gradient_errors(posterior: inference.Posterior, u: np.ndarray) -> dict[str, float]:
    """|exact - central difference| of each derivative of ln p, relative to the whole gradient.

    Derivatives are taken per prior width, which makes parameters of different units comparable.
    """
    _, gradient = posterior.value_and_grad(jnp.asarray(u))
    width = posterior.prior_scale()[1]
    scaled = np.asarray(gradient) * width
    norm = max(float(np.linalg.norm(scaled)), 1.0)
    errors = {}
    for i, path in enumerate(posterior.names):
        step = np.zeros_like(u)
        step[i] = STEP * width[i]
        up, down = (float(posterior.value_and_grad(jnp.asarray(u + sign * step))[0]) for sign in (1, -1))
        errors[path] = abs((up - down) / (2 * STEP) - scaled[i]) / norm
    return errors
