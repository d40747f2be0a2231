"""Many tori: fitted from the host with as many terms as a tolerance needs, and refitted inside jit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from threadpoolctl import threadpool_limits

from oortax.dynamics.base import require_float64
from oortax.dynamics.circular import circular_orbits
from oortax.dynamics.delta import focal_distance
from oortax.dynamics.torus.fit import LEAST
from oortax.dynamics.torus.torus import Torus, _fit_torus, _refitted, check_refit
from oortax.potential.base import AbstractPotential
from oortax.potential.from_density import expand
from oortax.results import Result
from oortax.types import Scalar

# Tori that one call to the compiled program fits (at first, and with more terms), and those it holds in the
# cache at a time.
CHUNK, _FEW, _BATCH = 128, 32, {"cpu": 16, "gpu": 16_384}


def fit_tori(
    potential: AbstractPotential,
    J: Float[Array, "n 3"],
    *,
    tol: float = 1e-4,
    n_modes: tuple[int, ...] = (45, 162),
    damping: float = LEAST,
    batch_size: int | None = None,
    progress: bool = True,
) -> Torus:
    """The tori of many actions, each with as many terms as its residual needs to be below `tol`.

    All are fitted with n_modes[0] terms; those whose residual is above tol go on with n_modes[1], from what
    they have, and so forth. One `Torus` with a leading axis comes back, padded with S_n = 0 (sets of modes
    are nested, so that this changes nothing). It holds for `jax.vmap(Torus.phase_point)`, `refit_tori`, and
    `jax.tree.map(lambda a: a[i], tori)`.

    Parameters
    ----------
    potential : an axisymmetric potential
    J : (n, 3), actions (J_r, J_z, J_phi) in kpc km/s
    tol : rms of H over the torus, over Omega_r J_r + Omega_z J_z
    n_modes : numbers of terms to try, rising
    damping : of terms close to a resonance: one whose n.Omega is below sqrt(damping) (|n_r| Omega_r + |n_z|
        Omega_z) is followed in part only. The default follows all; more keeps S_n small near resonances,
        so that tori on both sides are alike; slopes dS_n/dJ are then damped by 1e-3 at least
    batch_size : tori held in memory at a time (16 on a CPU, whose cache they fit; 16384 on a GPU, or as many
        as there are)
    progress : show a bar

    Codes are those of `fit_torus` (where they are not OK, numbers are NaN), and INACCURATE (numbers are kept)
    where the residual of the largest set is above tol. Raises ValueError for arguments of the wrong shape or
    type, and for potentials that are not axisymmetric and even in z or have no circular orbits.

    >>> from oortax import potential
    >>> J = jnp.array([[30.0, 10.0, 1800.0], [-1.0, 10.0, 1800.0]])
    >>> tori = fit_tori(potential.mw_potential_2014(), J, n_modes=(22,), progress=False)
    >>> [Result(int(code)).name for code in tori.code], bool(tori.residual[0] < 1e-4)
    (['OK', 'OUTSIDE'], True)
    """
    actions = _checked_actions(J)
    _check_arguments(tol, n_modes, damping, batch_size)
    least = jnp.asarray(damping)
    potential = _checked_potential(potential)
    tables = _tables(potential)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tables)):
        raise ValueError(
            "the potential has no circular orbits at some radii between 0.02 and 250 kpc (R dPhi/dR > 0 and "
            "positive epicycle frequencies are needed): check its masses and lengths"
        )
    if batch_size is None:
        most = _BATCH.get(jax.default_backend(), _BATCH["cpu"])
        batch_size = min(most, _chunk(len(actions), _BATCH["cpu"], most))
    chunk, few = (_chunk(len(actions), batch_size, most) for most in (CHUNK, _FEW))
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=not progress,
    )
    # Systems this small gain nothing from more threads, which wait for each other by spinning: that takes far
    # longer than the work itself where other programs want the same cores.
    with bar, threadpool_limits(1, user_api="blas"):
        task = bar.add_task(f"tori, {n_modes[0]} terms", total=len(actions))
        parts = []
        for rows in _chunks(np.arange(len(actions)), chunk):
            some = actions[_padded(rows, chunk)]
            tori = _fit_chunk(potential, *tables, some, n_modes[0], batch_size, least)
            parts.append(_rows(_on_host(tori), slice(len(rows))))
            bar.advance(task, len(rows))
        tori = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        for more in n_modes[1:]:
            tori = _with_modes(tori, more)
            poor = np.flatnonzero((tori.residual > tol) & np.isfinite(tori.S).all(axis=1))
            task = bar.add_task(f"tori, {more} terms", total=len(poor))
            for rows in _chunks(poor, few):
                some = _rows(tori, _padded(rows, few))
                better = _refit_chunk(potential, some, batch_size, least)
                tori = _replaced(tori, rows, _rows(_on_host(better), slice(len(rows))))
                bar.advance(task, len(rows))
    inaccurate = (tori.code == Result.OK) & (tori.residual > tol)
    code = np.where(inaccurate, np.int32(Result.INACCURATE), tori.code)
    return jax.tree.map(jnp.asarray, eqx.tree_at(lambda t: t.code, tori, code))


def refit_tori(
    potential: AbstractPotential,
    tori: Torus,
    *,
    steps: int = 2,
    damping: Scalar | float = LEAST,
    batch_size: int = 16,
) -> Torus:
    """The same tori in another potential, close by: `refit_torus` for each; traceable.

    Modes, families and toy maps are kept and a fixed number of Newton steps is taken, so that a likelihood
    can carry a library of tori to the potential it is asked about. Failed tori stay as they are.

    >>> tori = refit_tori(params.replace(pot, {"disc.b": 0.3}), tori)  # doctest: +SKIP
    """
    potential = expand(potential)
    check_refit(tori, steps)
    refitted = lambda torus: _refitted(potential, torus, steps, damping)  # noqa: E731
    return lax.map(refitted, tori, batch_size=batch_size)


@eqx.filter_jit
def _tables(potential):
    return circular_orbits(potential), focal_distance(potential)


@eqx.filter_jit
def _fit_chunk(potential, orbits, focal, J, n_modes: int, batch_size: int, least) -> Torus:
    return lax.map(
        lambda J: _fit_torus(potential, orbits, focal, J, n_modes, least), J, batch_size=batch_size
    )


@eqx.filter_jit
def _refit_chunk(potential, tori: Torus, batch_size: int, least) -> Torus:
    return lax.map(lambda torus: _refitted(potential, torus, None, least), tori, batch_size=batch_size)


def _chunk(n: int, batch_size: int, most: int) -> int:
    """Whole batches for n tori or about `most`: a remainder would be compiled apart, and so would each n."""
    size = batch_size
    while size < min(n, most):
        size *= 2
    return size


def _chunks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    """Rows, the last one repeated: one shape, one compilation."""
    return np.concatenate([rows, np.full(size - len(rows), rows[-1])])


def _rows(tori: Torus, rows) -> Torus:
    return jax.tree.map(lambda leaf: leaf[rows], tori)


def _on_host(tori: Torus) -> Torus:
    return jax.tree.map(np.asarray, tori)


def _with_modes(tori: Torus, n_modes: int) -> Torus:
    """Padded with S_n = 0, that of failed tori included."""

    def pad(leaf):
        missing = n_modes - leaf.shape[1]
        return np.pad(leaf, [(0, 0), (0, missing)] + [(0, 0)] * (leaf.ndim - 2))

    return eqx.tree_at(lambda t: (t.S, t.dS_dJ), tori, (pad(tori.S), pad(tori.dS_dJ)))


def _replaced(tori: Torus, rows: np.ndarray, better: Torus) -> Torus:
    """With what is better: a larger set may fail where a smaller one did not."""
    wins = better.residual < tori.residual[rows]

    def put(old, new):
        old = old.copy()
        old[rows[wins]] = new[wins]
        return old

    return jax.tree.map(put, tori, better)


# Where a potential is asked whether it is axisymmetric: R and |z|, kpc.
_RADII, _HEIGHTS = (0.5, 3.0, 8.0, 20.0), (0.2, 1.0, 5.0)


def _checked_potential(potential) -> AbstractPotential:
    """Expanded, if it is one, axisymmetric and even in z."""
    if not isinstance(potential, AbstractPotential):
        raise ValueError(
            f"potential is a {type(potential).__name__}: one of oortax.potential is needed (oortax.io has "
            "from_galpy, from_gala and from_agama)"
        )
    potential = expand(potential)
    R, z, phi = (a.ravel() for a in np.meshgrid(_RADII, _HEIGHTS, (0.0, 0.7, 2.0, 4.0), indexing="ij"))
    x = jnp.asarray(np.stack([R * np.cos(phi), R * np.sin(phi), z], axis=1))
    # Of all on one ring, and of their images below the plane; the zero point is arbitrary.
    Phi = np.asarray(_at_points(potential, jnp.concatenate([x, x * jnp.array([1.0, 1.0, -1.0])])))
    rings = Phi.reshape(2, -1, 4).transpose(1, 0, 2).reshape(-1, 8)
    if np.max(np.ptp(rings, axis=1)) > 1e-6 * np.ptp(Phi):
        raise ValueError(
            "the potential depends on azimuth or on the sign of z: tori are those of axisymmetric potentials "
            "that are even in z (leave out the bar, or average it over azimuth)"
        )
    return potential


@eqx.filter_jit
def _at_points(potential, x):
    return jax.vmap(potential.Phi)(x)


def _checked_actions(J) -> np.ndarray:
    J = np.asarray(J)
    if J.ndim != 2 or J.shape[1] != 3 or len(J) == 0:
        raise ValueError(
            f"J has shape {J.shape}: (n, 3) with n > 0 is needed, columns (J_r, J_z, J_phi) in kpc km/s; for "
            "one torus give J[None] or use fit_torus"
        )
    require_float64("fit_tori", jnp.asarray(J))
    return J.astype(float)


def _check_arguments(tol, n_modes, damping, batch_size) -> None:
    if not tol > 0.0:
        raise ValueError(f"tol = {tol!r}: a positive number is needed, such as 1e-4")
    if not 0.0 <= damping < 1.0:
        raise ValueError(f"damping = {damping!r}: a number from 0 to 1 is needed, such as 1e-3")
    rising = all(isinstance(m, int) for m in n_modes) and list(n_modes) == sorted(set(n_modes))
    if not n_modes or not rising or n_modes[0] < 1:
        raise ValueError(f"n_modes = {n_modes!r}: rising whole numbers are needed, such as (45, 162)")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size = {batch_size!r}: a whole number >= 1 is needed, or None")
