"""Blocks of NUTS transitions for several chains, compiled once.

The number of transitions in a block is an argument, not a shape: one compiled program serves
blocks of every length, so a chain cut into other blocks is the same chain bit for bit.
"""

import logging
import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpyro.infer.hmc import hmc
from numpyro.infer.util import ParamInfo

from oortax.inference.posterior import Posterior
from oortax.inference.step_size import adapted, begun

log = logging.getLogger("oortax.inference")

METHODS = ("parallel", "vectorized", "sequential")

CAPACITY = 256
"""Most transitions in one block: the size of the buffers the draws are written to."""


class Settings(NamedTuple):
    """What defines the chains, beside the posterior, the key and the start."""

    chains: int
    warmup: int
    target_accept: float
    max_tree_depth: int
    adapt_mass_matrix: bool


class Chains:
    """NUTS on a posterior: `init` gives the state of all chains, `run` advances it by n transitions.

    The state is a list of plain arrays with a leading axis of chains: what a checkpoint stores.
    """

    def __init__(self, posterior: Posterior, settings: Settings, method: str):
        self.posterior, self.settings = posterior, settings
        self.method, self.mesh = _placement(method, settings.chains)
        self._init, self._transition = hmc(potential_fn_gen=_potential, algo="NUTS")
        dtype = posterior.start.dtype
        shapes = [jax.ShapeDtypeStruct(s, dtype) for s in ((posterior.dim,), (), (posterior.dim,))]
        mass = jax.ShapeDtypeStruct((posterior.dim, posterior.dim), dtype)
        # Also tells NumPyro's closures the settings, which a resumed run needs.
        self._template = jax.eval_shape(self._init_one, jax.random.key(0), *shapes, mass)
        self._arrays, self._rest = eqx.partition(posterior, eqx.is_array)
        if self.mesh is not None:
            self._arrays = jax.device_put(self._arrays, NamedSharding(self.mesh, PartitionSpec()))
        self._program: Any = None

    def init(self, key: jax.Array, u: np.ndarray, inverse_mass: np.ndarray) -> list[np.ndarray]:
        """The state of chains that start at u (chains, P), where ln p must be finite."""
        values, gradients = zip(*[self.posterior.value_and_grad(jnp.asarray(row)) for row in u], strict=True)
        keys = jax.random.split(key, len(u))
        batch = (keys, jnp.asarray(u), -jnp.stack(values), -jnp.stack(gradients))
        init = jax.jit(jax.vmap(self._init_one, in_axes=(0, 0, 0, 0, None)))
        state = init(*batch, jnp.asarray(inverse_mass))
        return [np.asarray(leaf) for leaf in _pack(state)]

    def compile(self) -> "Chains":
        """Compile `run` and return self; may be called from another thread, ahead of time."""
        state = [np.zeros((self.settings.chains, *leaf.shape), leaf.dtype) for leaf in self._shapes()]
        many = self._sequential
        if self.method == "vectorized":
            many = jax.vmap(self._one, in_axes=(None, 0, None))
        elif self.mesh is not None:
            chains, all_same = PartitionSpec("chains"), PartitionSpec()
            many = jax.shard_map(
                self._sequential,
                mesh=self.mesh,
                in_specs=(all_same, chains, all_same),
                out_specs=chains,
                check_vma=False,
            )
        began = time.perf_counter()
        self._program = jax.jit(many).lower(*self._arguments(state, 0)).compile()
        log.info("sampler compiled in %.1f s", time.perf_counter() - began)
        return self

    def _shapes(self) -> list[Any]:
        """Shapes of one chain's state as plain arrays."""
        return jax.eval_shape(_pack, self._template)

    def run(self, state: list[np.ndarray], n: int) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """State after n <= CAPACITY transitions, and their draws by name, each (chains, n, ...)."""
        if self._program is None:
            self.compile()
        program: Any = self._program
        state, draws = program(*self._arguments(state, n))
        draws = {name: np.asarray(value)[:, :n] for name, value in draws.items()}
        return [np.asarray(leaf) for leaf in state], draws

    def _arguments(self, state, n: int):
        leaves = [jnp.asarray(leaf) for leaf in state]
        if self.mesh is None:
            return self._arrays, leaves, jnp.asarray(n)
        leaves = jax.device_put(leaves, NamedSharding(self.mesh, PartitionSpec("chains")))
        return self._arrays, leaves, jax.device_put(jnp.asarray(n), NamedSharding(self.mesh, PartitionSpec()))

    def _init_one(self, key, u, energy, gradient, inverse_mass):
        settings, dim = self.settings, self.posterior.dim
        state = self._init(
            ParamInfo(u, energy, gradient),
            settings.warmup,
            # For a round target the stable step shrinks as P^(-1/4) (Neal 2011, sec. 5.4.4).
            step_size=1.0 / dim**0.25,
            inverse_mass_matrix=inverse_mass,
            dense_mass=True,
            adapt_mass_matrix=settings.adapt_mass_matrix,
            adapt_step_size=settings.adapt_mass_matrix,
            target_accept_prob=settings.target_accept,
            max_tree_depth=settings.max_tree_depth,
            rng_key=key,
            model_args=(self.posterior,),
        )
        return state if settings.adapt_mass_matrix else begun(state)

    def _one(self, arrays, leaves, n):
        """n transitions of one chain; rows of the buffers beyond n stay zero."""
        posterior, settings = eqx.combine(arrays, self._rest), self.settings
        state = _unpack(leaves, self._template)
        draws = jax.tree.map(lambda x: jnp.zeros((CAPACITY, *x.shape), x.dtype), _draw(state))

        def step(i, carry):
            state, draws = carry
            state = self._transition(state, (posterior,))
            if not settings.adapt_mass_matrix:
                state = adapted(state, settings.warmup, settings.target_accept)
            return state, jax.tree.map(lambda buffer, x: buffer.at[i].set(x), draws, _draw(state))

        state, draws = jax.lax.fori_loop(0, n, step, (state, draws))
        return _pack(state), draws

    def _sequential(self, arrays, leaves, n):
        return jax.lax.map(lambda chain: self._one(arrays, chain, n), leaves)


def _potential(posterior: Posterior):
    return lambda u: -posterior.log_density(u)


def _draw(state) -> dict[str, jax.Array]:
    """What is kept of a state."""
    return {
        "u": state.z,
        "log_density": -state.potential_energy,
        "energy": state.energy,
        "n_steps": state.num_steps,
        "accept_prob": state.accept_prob,
        "diverging": state.diverging,
        "step_size": state.adapt_state.step_size,
    }


def _is_key(leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _pack(state) -> list[jax.Array]:
    """The leaves of a state, random keys as integers."""
    return [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(state)]


def _unpack(leaves, template):
    likes, structure = jax.tree.flatten(template)
    pairs = zip(leaves, likes, strict=True)
    keyed = [jax.random.wrap_key_data(leaf) if _is_key(like) else leaf for leaf, like in pairs]
    return jax.tree.unflatten(structure, keyed)


def _placement(method: str, chains: int) -> tuple[str, Mesh | None]:
    """The method that can be used here, and the devices to spread the chains over."""
    if method not in METHODS:
        raise ValueError(f"chain_method={method!r}: choose one of {', '.join(METHODS)}")
    if method != "parallel":
        return method, None
    devices = jax.devices()
    count = max(n for n in range(1, min(chains, len(devices)) + 1) if chains % n == 0)
    if count > 1:
        log.info("%d chains on %d devices", chains, count)
        return method, Mesh(np.array(devices[:count]), ("chains",))
    fallback = "sequential" if devices[0].platform == "cpu" else "vectorized"
    log.info("%d chains cannot be spread over %d device(s): %s", chains, len(devices), fallback)
    return fallback, None
