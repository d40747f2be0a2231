"""How far the numbers behind ln L can be trusted: nodes per star and the error of the normalisation."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from oortax import params
from oortax.dynamics import circular_orbits
from oortax.dynamics.delta import focal_distance
from oortax.model.catalogue import Catalogue
from oortax.model.density import velocity_nodes
from oortax.model.galaxy import Galaxy, Model
from oortax.model.likelihood import FinderLike, PerStar, Settings, per_star, star_points
from oortax.model.nodes import Nodes, StarNodes, with_finer_volume
from oortax.potential.from_density import expand
from oortax.survey import Survey

# Relative step of the differences that measure an error's slope.
_STEP = 1e-3
# Factor of the nodes along each axis in the rule that errors are measured by.
_FINER = 1.5


class Diagnosis(NamedTuple):
    """Costs and errors of one likelihood.

    Attributes
    ----------
    evaluations : int
        Action evaluations per value of ln L (a gradient differentiates as many).
    least_ess, median_ess : float
        Smallest and median effective number of nodes of a star.
    lost : int
        Stars with L_k = 0 (ln L = -inf).
    prolate : float
        Share of the stars' nodes on orbits for which the potential is prolate: J by the fudge is less well
        conserved there than in oblate potentials, and has a kink between the two families of orbits.
    log_A, error_log_A : float
        ln of the normalisation, and what a finer rule changes in it. The part that does not depend on the
        parameters is harmless.
    error_score : dict of float
        N times what the finer rule changes in d ln A / d theta, by path: the error of d ln L / d theta. Times
        the posterior width of theta it must be well below 1.
    """

    evaluations: int
    least_ess: float
    median_ess: float
    lost: int
    prolate: float
    log_A: float
    error_log_A: float
    error_score: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """The numbers under names that print well."""
        flat = {name: value for name, value in self._asdict().items() if name != "error_score"}
        return flat | {f"error of d ln L/d {path}": value for path, value in self.error_score.items()}


def diagnose(
    model: Model,
    catalogue: Catalogue,
    nodes: Nodes,
    *,
    paths: tuple[str, ...] = (),
    finder: FinderLike = "StaeckelFudge",
    settings: Settings | None = None,
    name: str = "",
) -> Diagnosis:
    """Measure the errors of a likelihood at one model by doing the normalisation again, finer.

    `name` is that of the catalogue in the model, where there are several.

    The finer rule has two more points of the density grid along each axis, and 1.5 times as many nodes along
    each axis of the volume and of the lattices of velocities.
    """
    settings = Settings() if settings is None else settings
    finer = dataclasses.replace(
        settings, n_R=settings.n_R + 2, n_z=settings.n_z + 2, refine=_FINER * settings.refine
    )
    sight = model.sight(name)
    finely = with_finer_volume(nodes, sight.galaxy, sight.survey, _FINER)
    # A finer normalisation of the survey needs no stars: one of them keeps the shapes.
    some = slice(None if settings.form == "kinematic" else 1)
    alone = eqx.tree_at(lambda n: n.stars, finely, jax.tree.map(lambda a: a[some], nodes.stars))
    one = jax.tree.map(lambda a: a[some], catalogue)
    start = {path: jnp.asarray(params.get(model, path)) for path in paths}
    N = len(catalogue)

    @eqx.filter_jit
    def given(rule, finder, catalogue, nodes, model, values) -> PerStar:
        galaxy, survey, outliers = params.replace(model, values).sight(name)
        return per_star(galaxy, survey, catalogue, nodes, outliers=outliers, finder=finder, settings=rule)

    coarse = partial(given, settings, finder, catalogue, nodes, model)

    def fine(values, rule=finer) -> PerStar:
        return given(rule, finder, one, alone, model, values)

    stars, log_A = coarse(start), fine(start).log_A

    def error_score(path: str) -> float:
        # Differences, because compiling two more gradients would take a minute.
        step = _STEP * max(abs(float(start[path])), 1e-3)
        # A table of selections is of the coarse nodes; the finer ones have those of the model's zero point.
        moving = nodes.volume.moving
        folds = moving is not None and path.endswith(f".{moving.field}")
        rule = dataclasses.replace(finer, fold=True) if folds else finer
        error = 0.0
        for sign in (1.0, -1.0):
            moved = start | {path: start[path] + sign * step}
            error += sign * float(coarse(moved).log_A - fine(moved, rule).log_A)
        return N * error / (2.0 * step)

    ess = np.asarray(stars.ess)
    return Diagnosis(
        evaluations=evaluations(model, nodes, finder, settings, name),
        least_ess=float(ess.min()),
        median_ess=float(np.median(ess)),
        lost=int(np.sum(~np.isfinite(np.asarray(stars.log_L)))),
        prolate=float(_prolate(sight.galaxy, sight.survey, nodes.stars)),
        log_A=float(stars.log_A),
        error_log_A=float(stars.log_A - log_A),
        error_score={path: error_score(path) for path in paths},
    )


@eqx.filter_jit
def _prolate(galaxy: Galaxy, survey: Survey, stars: StarNodes):
    """The share of star nodes on orbits for which the potential is prolate."""
    potential = expand(galaxy.potential)
    focal = focal_distance(potential)

    def one(x, v):
        E = 0.5 * (v @ v) + potential.Phi(x)
        return focal.prolate(E, x[0] * v[1] - x[1] * v[0])

    return jnp.mean(jax.vmap(one)(*star_points(potential, survey, stars)))


def evaluations(model: Model, nodes: Nodes, finder: FinderLike, settings: Settings, name: str = "") -> int:
    """Action evaluations per value of ln L: star nodes plus velocity nodes of the density grid."""

    def count(galaxy):
        parts = zip(galaxy.names, nodes.boxes, settings.shapes(nodes), strict=True)
        return [
            velocity_nodes(
                galaxy.components[each].df.bind(circular_orbits(galaxy.potential)),
                galaxy.potential,
                box,
                n_R=n_R,
                n_z=n_z,
                refine=settings.refine,
            ).w
            for each, box, (n_R, n_z) in parts
        ]

    shapes = jax.eval_shape(count, model.sight(name).galaxy)
    return nodes.n_star_nodes + sum(int(np.prod(w.shape)) for w in shapes)
