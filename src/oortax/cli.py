"""The command line: `oortax demo`, `fit`, `check`, `compare`, `predict`, `mock`, `forecast`, ...

Arguments are parsed here and nowhere else; the work is in `oortax.commands`. Importing this module
imports neither JAX nor the rest of the package.
"""

import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

app = cyclopts.App(
    name="oortax",
    help="Infer the Galaxy's potential and its stars' f(J) from catalogues, with gradients.",
    version=lambda: metadata.version("oortax"),
    version_flags=["--version"],
    help_flags=["--help", "-h"],
)

Json = Annotated[bool, Parameter(negative=(), help="Print figures as JSON on stdout.")]
Stars = Annotated[int | None, Parameter(help="Use at most this many stars, drawn at random.")]
Seed = Annotated[int | None, Parameter(help="Seed of every random draw.")]
Catalogue = Annotated[str, Parameter(help="NAME of [catalogues.NAME], whose survey it is; else [survey].")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Fit:
    """The options of `demo` and of `fit`."""

    out: Annotated[
        Path | None,
        Parameter(help="Folder for the results; by default the next number, NAME-1, NAME-2, ..."),
    ] = None
    force: Annotated[bool, Parameter(negative=(), help="Write over an existing folder.")] = False
    resume: Annotated[
        bool, Parameter(negative=(), help="Go on with an interrupted run (by default the latest).")
    ] = False
    json: Json = False
    stars: Stars = None
    all_stars: Annotated[bool, Parameter(negative=(), help="Use every star.")] = False
    method: Annotated[str | None, Parameter(help="maximum, laplace or nuts.")] = None
    seed: Seed = None
    chains: Annotated[int | None, Parameter(help="Number of chains; they run side by side.")] = None
    samples: Annotated[int | None, Parameter(help="Draws kept of each chain.")] = None

    def run(self, config: Path, stem: str) -> None:
        from oortax.commands import session

        if self.stars is not None and self.all_stars:
            raise ValueError("--stars and --all-stars exclude each other")
        names = ("stars", "method", "seed", "chains", "samples")
        session.prepare(self.chains or session.chains_of(config))
        from oortax.commands.fit import fit

        fit(
            config,
            stem=stem,
            out=self.out,
            force=self.force,
            resume=self.resume,
            json=self.json,
            all_stars=self.all_stars,
            changes={name: getattr(self, name) for name in names},
        )


@app.command
def demo(*, options: Fit = Fit()) -> None:
    """Fit the Milky Way to bundled Gaia giants and a circular-speed curve."""
    from oortax.data import demo_config

    options.run(demo_config(), "oortax-demo")


@app.command
def fit(config: Path, /, *, options: Fit = Fit()) -> None:
    """Fit the model of a configuration file to its catalogue, its direct constraints, or both.

    Parameters
    ----------
    config
        TOML file, or the name of a bundled one: demo, gas, globular_clusters, segue_bhb, giants_and_gas or
        milky_way.
    """
    config = _bundled(config)
    options.run(config, f"oortax-{config.stem}")


def _bundled(config: Path) -> Path:
    """The file itself, or if there is none the bundled configuration of that name."""
    from oortax import data

    return config if config.exists() else data.config(str(config)) or config


@app.command
def check(config: Path, /, *, json: Json = False, stars: Stars = None, seed: Seed = None) -> None:
    """Say which rows of catalogue and tables are used and why the others are not, and check the gradients.

    Parameters
    ----------
    config
        TOML file, or the name of a bundled one: demo, gas, globular_clusters,
        segue_bhb, giants_and_gas or milky_way.
    """
    from oortax.commands import session

    config = _bundled(config)

    session.prepare()
    from oortax.commands.check import check as run

    run(config, json=json, changes={"stars": stars, "seed": seed})


@app.command
def compare(
    folders: tuple[Path, ...],
    /,
    *,
    draws: int = 400,
    out: Annotated[Path | None, Parameter(help="Write the figures to this JSON file.")] = None,
    json: Json = False,
) -> None:
    """Compare models fitted to the same stars by how well they predict stars left out (PSIS-LOO).

    Parameters
    ----------
    folders
        Two or more folders that `oortax fit` has written.
    draws
        Draws of each posterior to use.
    """
    from oortax.commands import session

    session.prepare()
    from oortax.commands.compare import compare as run

    run(folders, draws=draws, out=out, json=json)


Finder = Annotated[str | None, Parameter(help="Action finder, a name of oortax.dynamics.FINDERS.")]
Out = Annotated[Path | None, Parameter(help="Folder for the results; by default the next number.")]
Force = Annotated[bool, Parameter(negative=(), help="Write over what exists.")]


@app.command
def predict(
    config: Path,
    /,
    *,
    n: int = 65_536,
    out: Out = None,
    force: Force = False,
    seed: Seed = None,
    finder: Finder = None,
    catalogue: Catalogue = "",
    compare: bool = False,
    json: Json = False,
) -> None:
    """Predict what a survey sees: the distributions of its observables, component by component.

    Parameters
    ----------
    config
        TOML file, or the name of a bundled one. Its [data] may be left out; values that are free are at
        their start.
    n
        Nodes of each component; errors shrink as 1/sqrt(n).
    compare
        With the stars of [data] (or of the catalogue named) that pass the selection: chi2 and pulls of each
        observable, and the stars in the pictures.
    """
    from oortax.commands import session

    config = _bundled(config)
    session.prepare()
    from oortax.commands.predict import predict as run

    run(
        config,
        n=n,
        out=out,
        force=force,
        seed=seed,
        finder=finder,
        catalogue=catalogue,
        compare=compare,
        json=json,
    )


@app.command
def mock(
    config: Path,
    /,
    *,
    out: Path,
    n: int = 10_000,
    force: Force = False,
    seed: Seed = None,
    missing_v_los: float = 0.0,
    finder: Finder = None,
    catalogue: Catalogue = "",
    json: Json = False,
) -> None:
    """Draw a catalogue that a survey of the model would publish, with the truth in columns of its own.

    Parameters
    ----------
    config
        TOML file, or the name of a bundled one. Its [data] may be left out; values that are free are at
        their start.
    out
        Parquet file; `oortax fit` reads it.
    n
        Stars in the catalogue.
    missing_v_los
        Share of the stars without a line-of-sight velocity.
    """
    from oortax.commands import session

    config = _bundled(config)
    session.prepare()
    from oortax.commands.mock import mock as run

    options = {"seed": seed, "missing_v_los": missing_v_los, "finder": finder, "catalogue": catalogue}
    run(config, n=n, out=out, force=force, json=json, **options)


@app.command
def forecast(
    config: Path,
    /,
    *,
    n: Annotated[
        int | None, Parameter(help="Stars of the planned survey (default: inference.stars).")
    ] = None,
    draws: int = 4000,
    precision: float = 0.1,
    missing_v_los: float = 0.0,
    out: Out = None,
    force: Force = False,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Say how well a planned survey would measure every free parameter, from the model alone.

    Parameters
    ----------
    config
        TOML file, or the name of a bundled one: calibration. Its [data] may be left out; values that are free
        are at their start.
    draws
        Stars drawn to take the expectation; errors of the standard deviations fall as 1/sqrt(draws).
    precision
        For which the number of stars is given, relative to each value.
    missing_v_los
        Share of the stars without a line-of-sight velocity.
    """
    from oortax.commands import session

    config = _bundled(config)
    session.prepare()
    from oortax.commands.forecast import forecast as run

    options = {"draws": draws, "precision": precision, "missing_v_los": missing_v_los}
    run(config, n=n, out=out, force=force, seed=seed, json=json, **options)


@app.command
def calibrate(
    config: Path,
    /,
    *,
    mocks: int = 200,
    stars: Stars = None,
    method: Annotated[str, Parameter(help="laplace (with importance sampling) or nuts.")] = "laplace",
    draws: int = 512,
    missing_v_los: float = 0.0,
    workers: int = 2,
    first: int = 0,
    records: tuple[Path, ...] = (),
    out: Out = None,
    force: Force = False,
    resume: Annotated[
        bool, Parameter(negative=(), help="Go on with an interrupted run, or add mocks to it.")
    ] = False,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Fit mock catalogues of galaxies drawn from the priors: are the posteriors what they claim?

    Parameters
    ----------
    config
        TOML file, or the name of a bundled one: calibration. Its [data] may be left out.
    mocks
        Galaxies drawn from the priors, each with a catalogue.
    draws
        Of each posterior, for the ranks (laplace only). The noise of few of them widens the pulls.
    missing_v_los
        Share of the stars without a line-of-sight velocity.
    workers
        Mocks made at the same time.
    first
        Number of the first mock to be made, where several machines share the work.
    records
        The records.jsonl of other runs of the same configuration, whose mocks are not made again.
    """
    from oortax.commands import session

    config = _bundled(config)
    session.prepare()
    from oortax.commands.calibrate import calibrate as run

    options = {"stars": stars, "method": method, "draws": draws, "missing_v_los": missing_v_los}
    run(
        config,
        mocks=mocks,
        workers=workers,
        first=first,
        records=records,
        out=out,
        force=force,
        resume=resume,
        seed=seed,
        json=json,
        **options,
    )


@app.command
def db96(*, n: int = 65_536, out: Out = None, force: Force = False, json: Json = False) -> None:
    """Make Figures 1 and 2 of Dehnen & Binney (1996): proper motions at the north Galactic pole.

    Parameters
    ----------
    n
        Nodes of each component; errors shrink as 1/sqrt(n).
    """
    from oortax.commands import session

    session.prepare()
    from oortax.commands.predict import db96 as run

    run(n=n, out=out, force=force, json=json)


@app.command
def info(
    *,
    cite: Annotated[bool, Parameter(negative=(), help="What to cite, credits and licences.")] = False,
    json: Json = False,
) -> None:
    """Print versions and devices, or what to cite."""
    from oortax.commands.info import info as run

    run(cite=cite, json=json)


def main(arguments: list[str] | None = None) -> None:
    """Run the tool; exits with 0, 2 for bad input, or 130 when interrupted."""
    from oortax.commands.session import guarded

    def command() -> None:
        try:
            app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        except cyclopts.CycloptsError as error:
            raise ValueError(f"{error} See oortax --help.") from error

    sys.exit(guarded(command))


if __name__ == "__main__":
    main()
