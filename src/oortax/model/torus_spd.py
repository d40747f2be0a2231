"""The survey probability distribution by tori: no density and no actions of stars, only f(J) and the tori."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from oortax import survey as surveys
from oortax.df import draw_actions
from oortax.df.base import LARGEST_ACTION
from oortax.df.draw_actions import LEAST_ACTION
from oortax.dynamics import Torus, fit_tori
from oortax.model.galaxy import Galaxy
from oortax.model.likelihood import FinderLike
from oortax.model.spd import SPD
from oortax.model.survey_nodes import (
    derive_galaxy,
    host_seeds,
    listed,
    log_population,
    node_weights,
    observe_stars,
    survey_nodes,
)
from oortax.model.survey_proposal import sky_of, survey_proposal
from oortax.potential import expand
from oortax.survey import Survey

# Azimuths tried for each point of a torus, and the angle within which they are spread evenly; points held in
# the cache; terms of the tori.
_AZIMUTHS, _PHI_0, _IN_CACHE, _MODES = 4, 0.01, 64, (22, 80)
# Actions drawn for each torus fitted, nodes that tell which of them matter, cells of ln(total), J_phi / total
# and ln(J_z / total) in which they do, and the share of the tori that is chosen evenly.
_DRAWN, _PILOT, _CELLS, _EVEN = 32, 4096, ((0, 12), (1, 8), (2, 4)), 0.1


_derive, _weigh = eqx.filter_jit(derive_galaxy), eqx.filter_jit(node_weights)


def spd_by_tori(
    galaxy: Galaxy,
    survey: Survey,
    key: Array,
    n_tori: int = 2048,
    n_angles: int = 512,
    *,
    tol: float = 1e-3,
    total: tuple[float, float] = (LEAST_ACTION, LARGEST_ACTION),
    finder: FinderLike = "StaeckelFudge",
    colour_error: float = 0.02,
    progress: bool = True,
) -> SPD:
    """What a survey would see of a galaxy: stars on tori, as Dehnen & Binney (1996) made their predictions.

    Actions are drawn from each f, each torus is sampled evenly in its angles, and every point is turned about
    the Galaxy's axis, as an axisymmetric model allows, to several azimuths within the survey's reach.

    Parameters
    ----------
    galaxy, survey : the survey needs a faint limit
    key : JAX random key; everything follows from it
    n_tori, n_angles : tori of each component, and points on each
    tol : residual asked of a torus; those that stay above it are used all the same, those that are not found
        are left out, as if they were like the others
    total : range of J_r + J_z + |J_phi| (kpc km/s) that is drawn from; the survey must see no others
    finder : that tells which tori are worth fitting, no more
    colour_error : mag, of observed colours
    progress : show bars

    The errors of the result are those of independent tori: the few that pass a small survey count, not the
    many points on them (`SPD.effective`). `spd` is the sharper tool; this is its check.
    """
    of_noise, of_actions = jax.random.split(key)
    rng = np.random.default_rng(host_seeds(of_noise)[0])
    potential, sky = expand(galaxy.potential), sky_of(survey)
    derived = _derive(galaxy, survey, finder)
    v_c0, log_shares = float(derived.v_c0), np.asarray(galaxy.log_weights())
    parts: list[dict[str, Any]] = []
    for i, name in enumerate(galaxy.names):
        component = galaxy.components[name]
        f = derived.dfs[name]
        key_f, key_nodes = jax.random.fold_in(of_actions, i), jax.random.fold_in(of_noise, i)
        drawn = draw_actions(f, key_f, _DRAWN * n_tori, total=total, progress=False)
        seen = survey_nodes(galaxy, survey, key_nodes, _PILOT, components=(name,), derived=derived)
        seen = _seen_actions(galaxy, survey, seen, derived)
        J, log_chance = _likely_seen(rng, seen, drawn.J, n_tori)
        tori = fit_tori(potential, jnp.asarray(J), tol=tol, n_modes=_MODES, progress=progress)
        found = np.isfinite(np.asarray(tori.E))
        proposal = survey_proposal(sky, survey, component.stars, v_c0, name)
        theta = 2.0 * np.pi * rng.random((n_tori, n_angles, 2))
        x, v = (np.asarray(a).reshape(-1, 3) for a in _points(tori, jnp.asarray(theta)))
        torus = np.repeat(np.arange(n_tori), n_angles)
        stars = _turned(rng, survey, x, v, float(proposal.edges[-1]), v_c0)
        row = stars.pop("row")
        of_torus = log_shares[i] - np.log(found.mean() * n_angles * _AZIMUTHS) - log_chance
        log_w = stars.pop("log_w") + of_torus[torus[row]]
        dust = np.asarray(_dust(survey, stars["l"], stars["b"], stars["s"]))
        modulus = 5.0 * np.log10(100.0 * stars["s"]) + dust
        M, of_M = proposal.magnitude(rng.random(len(row)), modulus)
        colour, of_colour = proposal.colour(rng.random(len(row)), M)
        log_p = np.asarray(_log_population(component.stars, jnp.asarray(M), jnp.asarray(colour)))
        true = stars | {"M": M, "colour": colour, "V": M + modulus}
        observed = observe_stars(survey, true, rng.random((len(row), 7)), colour_error)
        weight = np.exp(log_w + log_p - of_M - of_colour) * listed(survey, observed)
        parts.append(
            {
                "observed": observed,
                "truth": {"s": stars["s"], "M": M, "x": stars["x"], "v": stars["v"], "J": J[torus[row]]},
                "weight": np.where(np.isfinite(weight), weight, 0.0),
                "component": np.full(len(row), i),
                "group": torus[row] + i * n_tori,
            }
        )
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return SPD(**joined, names=galaxy.names)


def _seen_actions(galaxy, survey, nodes, derived) -> tuple[np.ndarray, np.ndarray]:
    """Actions (m, 3) of stars in the survey, and their weights."""
    weighted = _weigh(galaxy, survey, nodes, derived=derived)
    w = np.exp(np.asarray(weighted.log_w)) * np.asarray(nodes.accepted)
    J = np.asarray(weighted.J)
    good = (w > 0) & np.all(np.isfinite(J), axis=1)
    return J[good], w[good]


def _likely_seen(rng, seen, drawn: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """n of many actions (k, 3) drawn from f, the likelier the more of their orbits the survey sees.

    The likelihood comes from the actions of stars in the survey, `seen`; it decides on the noise only, as
    ln of the number of times that each was expected to be chosen, over k, is what weights are divided by.
    """
    J_seen, w = seen

    def labels(J):
        s = np.sum(np.abs(J), axis=1)
        return np.stack([np.log(s), J[:, 2] / s, np.log((J[:, 1] + 1e-3 * s) / s)], axis=1)

    mine, theirs = labels(drawn), labels(J_seen)
    edges = [np.unique(np.quantile(theirs[:, k], np.linspace(0.0, 1.0, m + 1)[1:-1])) for k, m in _CELLS]
    sizes = [len(e) + 1 for e in edges]

    def cells(values):
        at = [np.searchsorted(e, values[:, k]) for (k, _), e in zip(_CELLS, edges, strict=True)]
        return np.ravel_multi_index(at, sizes)

    in_cell = np.bincount(cells(mine), minlength=int(np.prod(sizes))) + 1.0
    rate = np.bincount(cells(theirs), w, int(np.prod(sizes))) / in_cell
    chance = rate[cells(mine)]
    chance = (1.0 - _EVEN) * chance / chance.sum() + _EVEN / len(drawn)
    places = (np.arange(n) + rng.random()) / n
    chosen = np.minimum(np.searchsorted(np.cumsum(chance), places), len(drawn) - 1)
    return drawn[chosen], np.log(n * len(drawn) * chance[chosen])


@eqx.filter_jit
def _points(tori: Torus, theta):
    """Points of every torus at pairs of angles (theta_r, theta_z)."""

    def of_torus(torus, theta):
        def one(pair):
            return torus.phase_point(jnp.stack([pair[0], pair[1], jnp.zeros_like(pair[0])]))

        return jax.lax.map(one, theta, batch_size=_IN_CACHE)

    return jax.lax.map(lambda a: of_torus(*a), (tori, theta))


@eqx.filter_jit
def _dust(survey: Survey, l, b, s):
    return jax.vmap(survey.dust)(l, b, s)


@eqx.filter_jit
def _log_population(stars, M, colour):
    return log_population(stars, M, colour)


@eqx.filter_jit
def _seen(survey: Survey, v_c0, x, v):
    def one(x, v):
        seen = surveys.observe(survey.sun, v_c0, x, v)
        return seen, survey.sky(seen.l, seen.b)

    return jax.vmap(one)(x, v)


def _turned(rng, survey: Survey, x, v, far: float, v_c0: float) -> dict[str, np.ndarray]:
    """Points turned to azimuths at which they are nearer than `far` and on the survey's part of the sky.

    `log_w` is ln of the share of all azimuths that one tried stands for, times their number.
    """
    R0, z0 = float(survey.sun.R0), float(survey.sun.z0)
    R = np.hypot(x[:, 0], x[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (R**2 + R0**2 + (x[:, 2] - z0) ** 2 - far**2) / (2.0 * R * R0)
        reach = np.arccos(np.clip(cosine, -1.0, 1.0))
    rows = np.flatnonzero(reach > 0)
    row = np.repeat(rows, _AZIMUTHS)
    # Azimuths from the Sun's, even in ln(|phi| + phi_0): near and far parts of a survey have like chances.
    span = np.log1p(reach[row] / _PHI_0)
    phi = _PHI_0 * np.expm1(span * rng.random(len(row)))
    log_w = np.log((phi + _PHI_0) * span / np.pi)
    turn = phi * rng.choice([-1.0, 1.0], len(row)) - np.arctan2(x[row, 1], x[row, 0])
    c, d = np.cos(turn), np.sin(turn)

    def turned(a):
        return np.stack([c * a[row, 0] - d * a[row, 1], d * a[row, 0] + c * a[row, 1], a[row, 2]], axis=1)

    x, v = turned(x), turned(v)
    seen, covered = _seen(survey, v_c0, jnp.asarray(x), jnp.asarray(v))
    keep = (np.asarray(covered) > 0) & (np.asarray(seen.s) < far)
    out = {name: np.asarray(getattr(seen, name))[keep] for name in ("l", "b", "s", "mu_l", "mu_b", "v_los")}
    return out | {"x": x[keep], "v": v[keep], "row": row[keep], "log_w": log_w[keep]}
