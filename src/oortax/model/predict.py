"""Mock catalogues: draw stars from the model and observe them as the survey does.

The route is deliberately not that of the likelihood. No density, no normalisation and no folded selection
enter: stars are proposed in position, velocity and magnitude, observed with noise, cut by the survey's own
cuts on observed columns, and kept in proportion to f(J). A fit that recovers the truth from such a
catalogue has its Jacobians, selection and normalisation right.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from oortax import potential as potentials
from oortax import survey as surveys
from oortax.dynamics import StaeckelFudge, circular_orbits
from oortax.model.proposal import VelocityProposal, adapted, first_guess
from oortax.survey import Colour, Survey

_ROUNDS = 3
_PILOT, _LAST_PILOT = 2048, 8192
_CHUNK = 2048
_HEADROOM = 1.4
_MAX_BATCHES = 5000
_MAX_RESTARTS = 8


class MockReport(NamedTuple):
    """How the draw went.

    Attributes
    ----------
    proposed, observed, drawn : int
        Stars proposed, those among them that passed the survey's cuts, and those kept.
    restarts : int
        Times that a weight exceeded its envelope, and the draw began again with a higher one.
    largest : dict of float
        Largest weight met, by component, in units of the final envelope; below 1.
    """

    proposed: int
    observed: int
    drawn: int
    restarts: int
    largest: dict[str, float]


class Mock(NamedTuple):
    """A mock catalogue.

    Attributes
    ----------
    columns : dict of arrays (n,)
        What the survey publishes: l, b (rad), parallax, parallax_error (mas), distance_modulus and its error
        (mag; either only if the survey states its error), mu_l, mu_b (mas/yr, mu_l with
        cos b), mu_l_error, mu_b_error, mu_lb_corr, v_los, v_los_error (km/s; NaN where missing), V and
        the survey's band (mag), colour (NaN if the survey does not select on it).
    truth : dict of arrays
        component (index into `names`, -1 for outliers), x (n, 3) kpc, v (n, 3) km/s, J (n, 3) kpc km/s
        (NaN for outliers), s (kpc), M (mag).
    names : tuple of str
        The components.
    report : MockReport
    """

    columns: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]
    names: tuple[str, ...]
    report: MockReport


class _Derived(eqx.Module):
    """What follows from a galaxy's parameters, built once."""

    finder: Any
    dfs: tuple[Any, ...]
    log_masses: jax.Array
    v_c0: jax.Array


@eqx.filter_jit
def _derive(galaxy, survey: Survey, finder: Callable, names: tuple[str, ...]) -> _Derived:
    potential = potentials.expand(galaxy.potential)
    orbits = circular_orbits(potential)
    # By name: JAX hands mappings to a jitted function with sorted keys.
    dfs = tuple(galaxy.components[name].df.bind(orbits) for name in names)
    log_masses = jnp.log(jnp.stack([f.mass() for f in dfs]))
    v_c0 = potentials.circular_velocity(potential, survey.sun.R0)
    return _Derived(finder(potential), dfs, log_masses, v_c0)


@eqx.filter_jit
def _log_density(derived: _Derived, which, x, v):
    """ln of each star's own component density per d^3x d^3v, and its actions."""

    def one(which, x, v):
        J = derived.finder.actions(x, v)
        log_f = jnp.stack([f.log_f(J) for f in derived.dfs]) - derived.log_masses
        return log_f[which], J

    return jax.vmap(one)(which, x, v)


@eqx.filter_jit
def _place(survey: Survey, v_c0, l, b, s, v_cylindrical):
    """Positions, velocities, extinction and noiseless motions of stars at (l, b, s)."""

    def one(l, b, s, u):
        x = surveys.position(survey.sun, l, b, s)
        R = jnp.hypot(x[0], x[1])
        c, d = x[0] / R, x[1] / R
        v = jnp.stack([u[0] * c - u[1] * d, u[0] * d + u[1] * c, u[2]])
        return x, v, survey.dust(l, b, s)

    x, v, dust = jax.vmap(one)(l, b, s, v_cylindrical)
    return x, v, dust, _motions(survey, v_c0, x, v)


class _Population(NamedTuple):
    """One component as the sampler needs it."""

    share: float
    near: float
    far: float
    magnitudes: tuple[np.ndarray, np.ndarray]
    velocities: VelocityProposal
    log_envelope: float

    @property
    def volume(self) -> float:
        return 4.0 / 3.0 * np.pi * (self.far**3 - self.near**3)


def _inverse_cdf(stars, n: int = 8001) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative distribution of the absolute magnitude on a fine grid (error of F below 1e-6)."""
    low, high = stars.support
    edges = np.linspace(low, high, n)
    middles = jnp.asarray(0.5 * (edges[1:] + edges[:-1]))
    mass = np.asarray(jax.jit(jax.vmap(lambda M: jnp.exp(stars.log_F(M))))(middles))
    return np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum(), edges


def _shares(galaxy) -> dict[str, float]:
    """Weights of the components; the one without a weight has the rest."""
    weights = {name: component.weight for name, component in galaxy.components.items()}
    given = {name: float(weight) for name, weight in weights.items() if weight is not None}
    shares = {name: given.get(name, 1.0 - sum(given.values())) for name in weights}
    if min(shares.values()) <= 0.0 or len(weights) - len(given) > 1:
        raise ValueError(f"components need positive weights, and one at most without a weight: {weights}")
    return shares


def _populations(galaxy, survey: Survey, v_c0: float) -> list[_Population]:
    shares = _shares(galaxy)
    populations = []
    for name, component in galaxy.components.items():
        near, far = (float(edge) for edge in survey.distance_range(component.stars))
        if not far > near:
            raise ValueError(f"no star of component {name!r} can pass the survey's magnitude limits")
        populations.append(
            _Population(shares[name], near, far, _inverse_cdf(component.stars), first_guess(v_c0), -np.inf)
        )
    return populations


class _Stars(NamedTuple):
    """Proposed stars that passed the cuts."""

    which: np.ndarray
    log_q: np.ndarray
    truth: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]

    def take(self, keep) -> "_Stars":
        return _Stars(
            self.which[keep],
            self.log_q[keep],
            {name: values[keep] for name, values in self.truth.items()},
            {name: values[keep] for name, values in self.columns.items()},
        )


def _propose(rng, populations, odds, survey: Survey, v_c0, n: int) -> _Stars:
    """n proposals, uniform in the volume of their component, observed and cut."""
    which = rng.choice(len(populations), size=n, p=odds)
    sphere = rng.random((3, n))
    near, far = (np.array([getattr(p, end) for p in populations])[which] for end in ("near", "far"))
    s = np.cbrt(near**3 + sphere[0] * (far**3 - near**3))
    l, b = 2.0 * np.pi * sphere[1], np.arcsin(2.0 * sphere[2] - 1.0)
    M, u = np.empty(n), np.empty((n, 3))
    log_q = -np.log([p.volume for p in populations])[which]
    for i, population in enumerate(populations):
        mine = which == i
        cdf, edges = population.magnitudes
        M[mine] = np.interp(rng.random(mine.sum()), cdf, edges)
        u[mine], log_density = population.velocities.draw(rng, int(mine.sum()))
        log_q[mine] += log_density
    x, v, dust, motions = (np.asarray(a) for a in _place(survey, v_c0, l, b, s, u))
    V = M + 5.0 * np.log10(100.0 * s) + dust
    columns = _observe(rng, survey, l, b, s, V, motions)
    keep = _passes(rng, survey, columns)
    truth = {"component": which, "x": x, "v": v, "u": u, "s": s, "M": M}
    return _Stars(which, log_q, truth, columns).take(keep)


def _observe(rng, survey: Survey, l, b, s, V, motions) -> dict[str, np.ndarray]:
    """The survey's columns: true values plus noise."""
    errors, n = survey.errors, len(s)
    published = ("V", "pm", "v_los", "parallax", "distance_modulus")
    sigma = {name: float(getattr(errors, name)) for name in published}
    noise = rng.standard_normal((5, n))
    columns = {
        "l": l,
        "b": b,
        "mu_l": motions[:, 0] + sigma["pm"] * noise[1],
        "mu_b": motions[:, 1] + sigma["pm"] * noise[2],
        "mu_lb_corr": np.zeros(n),
        "v_los": motions[:, 2] + float(errors.v_los_total) * noise[3],
        "V": V + sigma["V"] * noise[4],
        "colour": np.full(n, np.nan),
    }
    if sigma["parallax"] > 0.0:
        columns["parallax"] = 1.0 / s + float(errors.parallax_zero_point) + sigma["parallax"] * noise[0]
    if sigma["distance_modulus"] > 0.0:
        modulus = 5.0 * np.log10(100.0 * s)
        columns["distance_modulus"] = modulus + sigma["distance_modulus"] * rng.standard_normal(n)
    sources = {"mu_l": "pm", "mu_b": "pm"} | {name: name for name in published[2:]}
    stated = {name: source for name, source in sources.items() if name in columns}
    columns |= {f"{name}_error": np.full(n, sigma[source]) for name, source in stated.items()}
    for cut in survey.selection:
        band = getattr(cut, "band", "V")
        columns[band] = columns["V"]
        if isinstance(cut, Colour):
            # F(M) is by definition that of the stars within the colour window.
            low, high = max(cut.min, -10.0), min(cut.max, 10.0)
            columns[cut.name] = rng.uniform(low, high, n)
    return columns


def _passes(rng, survey: Survey, columns) -> np.ndarray:
    """Which stars pass the cuts on observed columns, thinned by the completeness."""
    keep = survey.accepts(columns).mask
    complete = np.ones(len(keep))
    for cut in survey.selection:
        complete = complete * np.asarray(cut.completeness(columns["V"]))
    return keep & (rng.random(len(keep)) < complete)


def _weigh(derived: _Derived, stars: _Stars) -> tuple[np.ndarray, np.ndarray]:
    """ln(f / q) and actions, in chunks of one size so that nothing is compiled twice."""
    n = len(stars.which)
    log_f, J = np.empty(n), np.empty((n, 3))
    for start in range(0, n, _CHUNK):
        rows = np.minimum(np.arange(start, start + _CHUNK), n - 1)
        stop = min(start + _CHUNK, n)
        arrays = (stars.which[rows], stars.truth["x"][rows], stars.truth["v"][rows])
        values = _log_density(derived, *(jnp.asarray(a) for a in arrays))
        log_f[start:stop], J[start:stop] = (np.asarray(a)[: stop - start] for a in values)
    return log_f - stars.log_q, J


def _sample(rng, populations, odds, survey: Survey, derived: _Derived, batch: int, least: int):
    """Per component, velocities (v_R, v_phi, v_z) and ln weights of `least` or more observable stars."""
    found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in populations]
    for _ in range(_MAX_BATCHES):
        stars = _propose(rng, populations, odds, survey, float(derived.v_c0), batch)
        log_w, _ = _weigh(derived, stars)
        for i, parts in enumerate(found):
            mine = stars.which == i
            parts.append((stars.truth["u"][mine], log_w[mine]))
        if min(sum(len(w) for _, w in parts) for parts in found) >= least:
            return [tuple(np.concatenate(pair) for pair in zip(*parts, strict=True)) for parts in found]
    raise ValueError(
        f"fewer than {least} of {_MAX_BATCHES * batch:,} proposed stars of some component pass the "
        "survey's cuts: the selection is all but empty"
    )


def _adapt(rng, populations, survey: Survey, derived: _Derived, batch: int) -> list[_Population]:
    """Fit each component's velocity proposal to its stars in the survey, then find its envelope."""
    odds = np.full(len(populations), 1.0 / len(populations))
    v_c0 = float(derived.v_c0)
    for last in (False,) * _ROUNDS + (True,):
        least = _LAST_PILOT if last else _PILOT
        samples = _sample(rng, populations, odds, survey, derived, batch, least)
        for i, (u, log_w) in enumerate(samples):
            top = float(np.max(log_w))
            if not np.isfinite(top):
                raise ValueError(f"component {i} has no star in the survey's volume: f(J) vanishes there")
            if last:
                populations[i] = populations[i]._replace(log_envelope=top + np.log(_HEADROOM))
            else:
                velocities = adapted(u, np.exp(log_w - top), v_c0)
                populations[i] = populations[i]._replace(velocities=velocities)
    return populations


def _odds(populations) -> np.ndarray:
    """How often to propose each component: in proportion to its share times its envelope."""
    log_odds = np.array([np.log(p.share) + p.log_envelope for p in populations])
    odds = np.exp(log_odds - log_odds.max())
    return odds / odds.sum()


class _Draw(NamedTuple):
    stars: _Stars
    J: np.ndarray
    populations: list[_Population]
    counts: tuple[int, int, int]
    largest: np.ndarray


def _reject(rng, populations, survey: Survey, derived: _Derived, n: int, batch: int) -> _Draw:
    """n stars by rejection; begins again with a higher envelope whenever a weight exceeds it."""
    for restarts in range(_MAX_RESTARTS):
        kept: list[tuple[_Stars, np.ndarray]] = []
        drawn = proposed = observed = 0
        odds, envelopes = _odds(populations), np.array([p.log_envelope for p in populations])
        largest = np.full(len(populations), -np.inf)
        while drawn < n and np.all(largest <= 0.0):
            stars = _propose(rng, populations, odds, survey, float(derived.v_c0), batch)
            log_w, J = _weigh(derived, stars)
            ratio = log_w - envelopes[stars.which]
            np.maximum.at(largest, stars.which, ratio)
            keep = np.log(rng.random(len(ratio))) < ratio
            kept.append((stars.take(keep), J[keep]))
            drawn, proposed = drawn + int(keep.sum()), proposed + batch
            observed += len(ratio)
            if proposed > _MAX_BATCHES * batch:
                raise ValueError(f"only {drawn} of {n} stars accepted out of {proposed:,} proposals")
        if np.all(largest <= 0.0):
            stars = _joined([part for part, _ in kept]).take(np.arange(n))
            J = np.concatenate([J for _, J in kept])[:n]
            return _Draw(stars, J, populations, (proposed, observed, restarts), largest)
        populations = [
            p._replace(log_envelope=p.log_envelope + max(0.0, rise + np.log(_HEADROOM)) * (rise > 0.0))
            for p, rise in zip(populations, largest, strict=True)
        ]
    raise ValueError("rejection sampling found no bound of f/q: is f(J) singular in the survey's volume?")


def _joined(parts: list[_Stars]) -> _Stars:
    def join(field: str):
        keys = getattr(parts[0], field)
        return {name: np.concatenate([getattr(part, field)[name] for part in parts]) for name in keys}

    which, log_q = (np.concatenate([getattr(p, field) for p in parts]) for field in ("which", "log_q"))
    return _Stars(which, log_q, join("truth"), join("columns"))


def _scatter(rng, survey: Survey, v_c0: float, outliers, truth, columns, batch: int) -> None:
    """Give a fraction of the stars, in place, the velocities of the outlier component.

    They keep their places and magnitudes: the outliers' density is that of all stars, times an isotropic
    Gaussian of dispersion `outliers.sigma` about the Galaxy's rest frame.
    """
    (chosen,) = np.nonzero(rng.random(len(truth["s"])) < float(outliers.fraction))
    u = float(outliers.sigma) * rng.standard_normal((len(chosen), 3))
    noisy = {name: columns[name] for name in ("mu_l", "mu_b", "v_los")}
    for start in range(0, len(chosen), batch):
        rows = np.minimum(np.arange(start, start + batch), len(chosen) - 1)
        stars = chosen[rows]
        l, b, s = columns["l"][stars], columns["b"][stars], truth["s"][stars]
        new = [np.asarray(a) for a in _place(survey, v_c0, l, b, s, u[rows])]
        was = np.asarray(_motions(survey, v_c0, truth["x"][stars], truth["v"][stars]))
        # The noise of each star stays as drawn; assigning a repeated row twice does no harm.
        shift = new[3] - was
        now = {name: noisy[name][stars] + shift[:, i] for i, name in enumerate(noisy)}
        for name, values in now.items():
            columns[name] = columns[name].copy()
            columns[name][stars] = values
        truth["v"][stars] = new[1]
    truth["component"][chosen] = -1
    truth["J"][chosen] = np.nan


@eqx.filter_jit
def _motions(survey: Survey, v_c0, x, v):
    """Noiseless proper motions and line-of-sight velocities."""

    def one(x, v):
        seen = surveys.observe(survey.sun, v_c0, x, v)
        return jnp.stack([seen.mu_l, seen.mu_b, seen.v_los])

    return jax.vmap(one)(x, v)


def predict(
    key,
    galaxy,
    survey: Survey,
    n: int,
    *,
    finder: Callable = StaeckelFudge,
    outliers=None,
    missing_v_los: float = 0.0,
    batch: int = 16384,
) -> Mock:
    """Draw n observed stars from the model.

    Stars are proposed uniformly in the volume that the survey can see and from a broad velocity
    distribution fitted to each component, observed with the survey's errors, cut by its cuts on
    observed columns, and accepted with probability f(J(x, v)) / (envelope x proposal density).

    Parameters
    ----------
    key : JAX random key
    galaxy : model.Galaxy
    survey : survey.Survey
        Needs a faint limit and an error of parallax or distance modulus.
    n : int
        Number of stars in the catalogue.
    finder : callable
        Action finder's class; use the one of the fit.
    outliers : model.Outliers, optional
        Replaces the velocities of a fraction of the stars.
    missing_v_los : float
        Share of stars, drawn at random, that have no line-of-sight velocity.
    batch : int
        Proposals made at once; fixes the memory used.

    Returns
    -------
    Mock

    Notes
    -----
    Exact but for the chance that the true maximum of f/q exceeds the envelope, 1.4 times the largest of
    8192 pilot weights a component: such a weight, once met, restarts the draw under a higher envelope,
    so what is missed has a share of the stars below about 1/n.

    Raises
    ------
    ValueError
        If n is not positive, the survey has no error of a distance or no faint limit, or no star passes.
    """
    if n < 1:
        raise ValueError(f"predict(n={n}): n must be at least 1")
    if not 0.0 <= missing_v_los <= 1.0:
        raise ValueError(f"predict(missing_v_los={missing_v_los}): must lie between 0 and 1")
    if not max(float(survey.errors.parallax), float(survey.errors.distance_modulus)) > 0.0:
        raise ValueError(
            "predict: mock parallaxes or distance moduli need an error, give the survey "
            "errors=Errors(parallax=0.02) (in mas) or Errors(distance_modulus=0.1) (in mag)"
        )
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
    names, galaxy = tuple(galaxy.components), galaxy.bound()
    derived = _derive(galaxy, survey, finder, names)
    populations = _populations(galaxy, survey, float(derived.v_c0))
    populations = _adapt(rng, populations, survey, derived, batch)
    draw = _reject(rng, populations, survey, derived, n, batch)
    truth = {k: v for k, v in draw.stars.truth.items() if k != "u"} | {"J": draw.J}
    columns = dict(draw.stars.columns)
    if outliers is not None:
        _scatter(rng, survey, float(derived.v_c0), outliers, truth, columns, batch)
    missing = rng.random(n) < missing_v_los
    columns["v_los"] = np.where(missing, np.nan, columns["v_los"])
    columns["v_los_error"] = np.where(missing, np.nan, columns["v_los_error"])
    largest = {name: float(np.exp(w)) for name, w in zip(names, draw.largest, strict=True)}
    proposed, observed, restarts = draw.counts
    return Mock(columns, truth, names, MockReport(proposed, observed, n, restarts, largest))
