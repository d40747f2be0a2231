"""The maximum of a posterior density, in few gradients.

A gradient of a catalogue's likelihood costs much more than any linear algebra on the P parameters,
so the optimiser is the one that needs fewest. Gradients to convergence from starts 0.5 to 2 prior
widths off (15 parameters; a two-component disc of 4000 stars / a Gaussian of condition 1e6 / a
Poisson regression): trust region 24-31 / 18 / 47, dense BFGS 47-51 / 72 / 79, optax's L-BFGS
32-61 / over 76 (stops short) / 211, Newton with a Hessian by differences first 28-42 / 17 / 65.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from oortax.inference.posterior import Posterior, require_float64

METHODS = ("trust", "lbfgs")

TOLERANCE = 1e-4
"""Stop when a Newton step would raise ln p by less than this: 0.014 posterior sigma from the top."""

LARGEST_STEP = 2.0
"""No step is longer than this many prior widths."""


class Maximum(NamedTuple):
    """Where ln p(u) is largest, and how well that is known.

    u is on the real line, (P,); `values` are the parameters there, by path. `gradient_norm` is
    sqrt(g^T H^-1 g), the distance from the maximum in posterior sigma by the curvature estimate
    `precision` (P, P) = -d^2 ln p/du^2, gathered from the gradients on the way (rough; `laplace`
    computes it). `history` holds the best ln p after each gradient; `message` says why it stopped.
    """

    u: np.ndarray
    values: dict[str, float]
    log_density: float
    gradient: np.ndarray
    gradient_norm: float
    precision: np.ndarray
    converged: bool
    n_gradients: int
    history: tuple[float, ...]
    message: str


Callback = Callable[[int, float, float], None]
"""Called as callback(n_gradients, log_density, expected_gain) after each accepted step."""


def maximise(
    posterior: Posterior,
    start: Any = None,
    *,
    steps: int = 300,
    method: str = "trust",
    tolerance: float = TOLERANCE,
    precision: Any = None,
    progress: bool = True,
    callback: Callback | None = None,
) -> Maximum:
    """Climb to the maximum of ln p(u), the density on the real line (Jacobian included).

    Works in v = (u - start) / prior width, where the prior's curvature is about 1 and the
    likelihood's is larger: a natural first Hessian. A trial point where ln p or its gradient is not
    finite shortens the step and is otherwise ignored.

    Parameters
    ----------
    start : shape (P,), optional
        Where to start on the real line; default the model's own parameter values.
    steps : int
        At most this many gradients.
    method : {"trust", "lbfgs"}
        "trust": trust region with the symmetric rank-one update (Nocedal & Wright 2006, sec. 6.2
        and algorithm 6.2), the default. "lbfgs": optax's L-BFGS direction with a backtracking line
        search, for hundreds of parameters.
    tolerance : float
        Stop when the expected gain g^T H^-1 g / 2 falls below this; scale free.
    precision : shape (P, P), optional
        First estimate of -d^2 ln p/du^2, positive definite, for "trust", such as that of a like posterior:
        what is known of the curvature need not be learnt from gradients. Default: the priors'.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Maximum
        With `converged` False, and a `message`, if it stopped for another reason.

    Raises
    ------
    ValueError
        If ln p is not finite at the start (naming the term), or the model is not float64.

    Examples
    --------
    >>> import numpyro.distributions as dist
    >>> from oortax import potential
    >>> def log_likelihood(pot, data):
    ...     return -0.5 * (jnp.log(pot.b / data) / 0.1) ** 2
    >>> pot, priors = potential.Plummer(M=1e10, b=2.0), {"b": dist.LogNormal(0.0, 1.0)}
    >>> posterior = Posterior(pot, priors, log_likelihood, jnp.asarray(1.0))
    >>> top = maximise(posterior, progress=False)
    >>> top.converged, round(top.values["b"], 2)
    (True, 1.0)
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r}: choose one of {', '.join(METHODS)}")
    require_float64(posterior, "maximise")
    u0 = posterior.check_start(start)
    climb = partial(_trust_region, precision=precision) if method == "trust" else _lbfgs
    with _bar(progress) as bar:
        task = bar.add_task("maximising", total=steps, status="")
        objective = _Objective(
            posterior, np.asarray(u0), posterior.prior_scale()[1], steps, bar, task, callback
        )
        point, hessian, message = climb(objective, tolerance)
    return _maximum(objective, point, hessian, message)


class _Point(NamedTuple):
    """A point v in units of prior widths, with f = -ln p and its gradient there."""

    v: np.ndarray
    f: float
    g: np.ndarray

    @property
    def finite(self) -> bool:
        return math.isfinite(self.f) and bool(np.all(np.isfinite(self.g)))


@dataclass
class _Objective:
    """f(v) = -ln p(origin + scale v), counting its gradients and telling the progress bar."""

    posterior: Posterior
    origin: np.ndarray
    scale: np.ndarray
    limit: int
    bar: Progress
    task: TaskID
    callback: Callback | None
    history: list[float] = field(default_factory=list)

    def __call__(self, v: np.ndarray) -> _Point:
        value, gradient = self.posterior.value_and_grad(jnp.asarray(self.origin + self.scale * v))
        point = _Point(v, -float(value), -np.asarray(gradient) * self.scale)
        best = -point.f if point.finite else -math.inf
        self.history.append(max(best, self.history[-1]) if self.history else best)
        self.bar.update(self.task, completed=self.count, status=f"ln p = {self.history[-1]:.3f}")
        return point

    @property
    def count(self) -> int:
        return len(self.history)

    def report(self, point: _Point, gain: float) -> None:
        self.bar.update(self.task, status=f"ln p = {-point.f:.3f}, a step would add {gain:.2g}")
        if self.callback is not None:
            self.callback(self.count, -point.f, gain)


def _trust_region(
    objective: _Objective, tolerance: float, precision: Any = None
) -> tuple[_Point, np.ndarray, str]:
    """Minimise f by steps within a radius, its Hessian built up by symmetric rank-one updates.

    Unlike BFGS the update also learns negative curvature and learns from rejected steps: on a
    quadratic it is exact after P steps in independent directions.
    """
    point = objective(np.zeros_like(objective.origin))
    hessian, radius = np.eye(point.v.size), 1.0
    if precision is not None:
        hessian = np.asarray(precision) * np.outer(objective.scale, objective.scale)
    while True:
        gain = expected_gain(hessian, point.g)
        objective.report(point, gain)
        if gain < tolerance:
            return point, hessian, "converged"
        if objective.count >= objective.limit:
            return point, hessian, f"stopped after {objective.count} gradients: allow more steps"
        if radius < 1e-12:
            return point, hessian, "no finite, higher point nearby: the density is not smooth here"
        step = _step_within(hessian, point.g, radius)
        length = float(np.linalg.norm(step))
        trial = objective(point.v + step)
        if not trial.finite:
            radius = 0.25 * length
            continue
        predicted = -(point.g @ step + 0.5 * step @ hessian @ step)
        ratio = (point.f - trial.f) / predicted
        hessian = _rank_one_update(hessian, step, trial.g - point.g)
        if ratio < 0.25:
            radius = 0.25 * length
        elif ratio > 0.75 and length > 0.8 * radius:
            radius = min(2.0 * radius, LARGEST_STEP)
        if trial.f < point.f:
            point = trial


def _rank_one_update(hessian: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The symmetric rank-one update for gradient `change` over `step` (skipped where singular)."""
    miss = change - hessian @ step
    along = miss @ step
    if abs(along) <= 1e-8 * np.linalg.norm(miss) * np.linalg.norm(step):
        return hessian
    return hessian + np.outer(miss, miss) / along


def _step_within(hessian: np.ndarray, g: np.ndarray, radius: float) -> np.ndarray:
    """The minimum of g.p + p.H.p / 2 over p no longer than the radius, whatever the sign of H."""
    curvature, axes = np.linalg.eigh(hessian)
    along = axes.T @ g

    def length(shift: float) -> float:
        return float(np.linalg.norm(along / (curvature + shift)))

    shift = 0.0
    if curvature[0] <= 0 or length(0.0) > radius:
        # |p| falls steadily with the shift beyond the most negative curvature: bisect in its logarithm.
        low = max(0.0, -curvature[0]) + 1e-14 * float(np.max(np.abs(curvature)))
        high = low + float(np.linalg.norm(g)) / radius
        for _ in range(60):
            shift = math.sqrt(low * high)
            low, high = (shift, high) if length(shift) > radius else (low, shift)
        shift = high
    return -axes @ (along / (curvature + shift))


def _lbfgs(objective: _Objective, tolerance: float) -> tuple[_Point, np.ndarray, str]:
    """optax's L-BFGS direction with a backtracking line search on the host.

    The line search runs outside jit so that the likelihood is compiled once for the whole fit.
    """
    transform = optax.scale_by_lbfgs(memory_size=20)
    point = objective(np.zeros_like(objective.origin))
    state, update = transform.init(jnp.asarray(point.v)), jax.jit(transform.update)
    identity = np.eye(point.v.size)
    first = True
    while True:
        direction, state = update(jnp.asarray(point.g), state, jnp.asarray(point.v))
        direction = -np.asarray(direction)
        gain = -0.5 * float(point.g @ direction)
        objective.report(point, gain)
        if gain < tolerance:
            return point, identity, "converged"
        # The first direction is the bare gradient, whose length means nothing.
        longest = 0.1 if first else LARGEST_STEP
        first = False
        direction *= min(1.0, longest / float(np.linalg.norm(direction)))
        trial = _backtrack(objective, point, direction)
        if trial is None:
            reason = f"stopped after {objective.count} gradients: allow more steps"
            return point, identity, reason if objective.count >= objective.limit else "no higher point found"
        point = trial


def _backtrack(objective: _Objective, point: _Point, direction: np.ndarray) -> _Point | None:
    """The first point along the direction that lowers f enough (Armijo), or None."""
    slope = float(point.g @ direction)
    t = 1.0
    while objective.count < objective.limit and t > 1e-10:
        trial = objective(point.v + t * direction)
        if not trial.finite:
            t *= 0.2
        elif trial.f <= point.f + 1e-4 * t * slope:
            return trial
        else:
            t *= float(np.clip(-0.5 * slope * t / (trial.f - point.f - slope * t), 0.1, 0.5))
    return None


def expected_gain(hessian: np.ndarray, g: np.ndarray) -> float:
    """g^T H^-1 g / 2, what a Newton step would gain; infinite if H is not positive definite."""
    try:
        half = np.linalg.solve(np.linalg.cholesky(hessian), g)
    except np.linalg.LinAlgError:
        return math.inf
    return 0.5 * float(half @ half)


def _maximum(objective: _Objective, point: _Point, hessian: np.ndarray, message: str) -> Maximum:
    u = objective.origin + objective.scale * point.v
    return Maximum(
        u=u,
        values={path: float(x) for path, x in objective.posterior.constrain(jnp.asarray(u)).items()},
        log_density=-point.f,
        gradient=-point.g / objective.scale,
        gradient_norm=math.sqrt(2.0 * expected_gain(hessian, point.g)),
        precision=hessian / np.outer(objective.scale, objective.scale),
        converged=message == "converged",
        n_gradients=objective.count,
        history=tuple(objective.history),
        message=message,
    )


def _bar(show: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} gradients"))
    return Progress(*columns, TextColumn("{task.fields[status]}"), TimeElapsedColumn(), disable=not show)
