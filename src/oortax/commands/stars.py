"""Models without a catalogue: planned surveys, and mocks of them. What `forecast` and `calibrate` share."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oortax import inference, model
from oortax.dynamics import FINDERS, STAR_FINDERS
from oortax.io.config import Config, load_config
from oortax.io.problem import forward_problem


@dataclasses.dataclass(frozen=True)
class Stars:
    """ln L - ln A of stars, and their sum, with the choices that are compiled in; equal choices compile once.

    `data` holds the catalogue and its nodes.
    """

    finder: str
    settings: model.Settings

    def per_star(self, tree: Any, data: Mapping[str, Any]) -> Any:
        """(n,), one for each star."""
        return model.per_star(
            tree.galaxy,
            tree.survey,
            data["catalogue"],
            data["nodes"],
            outliers=tree.outliers,
            finder=self.finder,
            settings=self.settings,
        ).log_L

    def __call__(self, tree: Any, data: Mapping[str, Any]) -> Any:
        return jnp.sum(self.per_star(tree, data))


@dataclasses.dataclass(frozen=True)
class Planned:
    """A survey that is still to be made: configuration, model, priors and starts by path, and ln L."""

    config: Config
    tree: Any
    priors: Mapping[str, Any]
    start: Mapping[str, float]
    stars: Stars

    @classmethod
    def of(cls, path: Any, N: int | None, seed: int | None) -> "Planned":
        """From a configuration file; N stars (None: its inference.stars) set the accuracy of ln A.

        Raises ValueError if nothing is free, or neither says how many stars there are.
        """
        config = load_config(path, forward=True).with_inference(stars=N, seed=seed)
        if config.inference.stars is None:
            raise ValueError(f"{path}: how many stars? Give inference.stars, or say so on the command line")
        if config.catalogues:
            raise ValueError(
                f"{path}: one survey is planned at a time, that of [survey]: leave out "
                f"{', '.join(f'[catalogues.{name}]' for name in config.catalogues)}"
            )
        tree, priors, start = forward_problem(config)
        if not priors:
            raise ValueError(f'{path}: no parameter is free: give at least one {{prior = "..."}}')
        options = config.inference
        finder = options.finder
        if finder not in FINDERS:
            if finder not in STAR_FINDERS:
                raise ValueError(f"finder {finder!r} is not one of {', '.join(FINDERS)}")
            # Tori would be fitted anew for every catalogue.
            finder = "StaeckelFudge"
        moving = {"fold": True} if any(".stars." in name for name in priors) else {}
        form = {"form": "kinematic"} if options.likelihood == "kinematic" else {}
        chosen = moving | form | dict(options.settings)
        settings = model.Settings.for_stars(config.inference.stars, **chosen)
        return cls(config, tree, priors, start, Stars(finder, settings))

    def draw(self, tree: Any, key: Any, n: int, missing_v_los: float, progress: bool = False) -> Any:
        """n stars of a model as a `Catalogue`, a fixed share of them (at random) without v_los."""
        if not 0.0 <= missing_v_los <= 1.0:
            raise ValueError(f"missing_v_los = {missing_v_los} must lie between 0 and 1")
        drawn = model.predict(
            key,
            tree.galaxy,
            tree.survey,
            n,
            finder=self.stars.finder,
            outliers=tree.outliers,
            progress=progress,
        )
        known = model.Catalogue.__dataclass_fields__
        columns = {name: np.array(values) for name, values in drawn.columns.items() if name in known}
        # The stars are in no order: always as many as that, so that all catalogues have the same shapes.
        columns["v_los"][: round(missing_v_los * n)] = np.nan
        return model.Catalogue(**columns)

    def nodes(self, catalogue: Any, volume: Any) -> Any:
        """Nodes as of a fit that starts at the configuration's values, filled up to one of few sizes."""
        options = self.config.inference
        made = model.make_nodes(
            catalogue,
            self.tree.galaxy,
            self.tree.survey,
            options.nodes_per_star,
            seed=options.seed,
            volume=volume,
        )
        return model.filled(made)

    def posterior(self, data: Any = None) -> inference.Posterior:
        """The posterior of the free parameters; `data` as of `Stars`."""
        return inference.Posterior(self.tree, self.priors, self.stars, data)


def key_of(seed: int, *parts: int) -> Any:
    """A JAX key of a seed and the numbers of what it is for."""
    key = jax.random.key(seed)
    for part in parts:
        key = jax.random.fold_in(key, part)
    return key
