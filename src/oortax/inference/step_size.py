"""The step of NUTS where the mass matrix is known before the chain begins."""

from typing import Any

import jax
import jax.numpy as jnp
from numpyro.infer.hmc_util import dual_averaging

TARGET = 0.9
"""Mean acceptance. With a good mass matrix a trajectory turns round after pi widths of the posterior: 7 steps
of 0.45 widths. Shorter steps double the trajectory to 15, steps twice as long go on behind the turn. For some
ten parameters an acceptance of 0.9 lies between; 0.8 is next to the upper end."""

# NumPyro's own, 0.05, is for starts that are wrong by any factor, at ten times the first guess: with it the
# step changes by factors from one transition to the next, and so does its mean over the last ones.
_GAMMA = 0.15

_begin: Any
_begin, _update = dual_averaging(gamma=_GAMMA)


def begun(state: Any) -> Any:
    """A chain's first state, about to adapt the step that it has."""
    adapt = state.adapt_state
    return state._replace(adapt_state=adapt._replace(ss_state=_begin(jnp.log(adapt.step_size))))


def adapted(state: Any, warmup: int, target: float) -> Any:
    """The state after a transition, with the step of the next one.

    Dual averaging of ln(step) (Hoffman & Gelman 2014, section 3.2), in one go from the first of `warmup`
    transitions to the last, from a guess that is right but for a small factor; then its mean. NumPyro's
    begins anew with each window in which a mass matrix is learnt, the last time ten transitions before the
    end.
    """
    adapt = state.adapt_state
    averages = _update(target - state.accept_prob, adapt.ss_state)
    log_step, log_mean = averages[:2]
    step = jnp.exp(jnp.where(state.i < warmup, log_step, log_mean))
    learns = state.i <= warmup

    def latest(new, old):
        return jnp.where(learns, new, old)

    changed = adapt._replace(
        step_size=latest(step, adapt.step_size), ss_state=jax.tree.map(latest, averages, adapt.ss_state)
    )
    return state._replace(adapt_state=changed)
