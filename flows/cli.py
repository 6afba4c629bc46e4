"""The `reel` command. Every command imports what it needs when it runs, so that help is instant."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.errors import InputError, ReelError

if TYPE_CHECKING:
    from infra.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Your own text-to-video model from your own footage.",
)


def main() -> None:
    """Entry point of `reel`: an error made on purpose is one sentence and exit status 1."""
    try:
        app()
    except ReelError as error:
        print(f"reel: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _settings() -> "Settings":
    """The settings, also put where Prefect and MLflow look for theirs when they are imported."""
    import os

    from pydantic import ValidationError

    from infra.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable = "REEL_" + "_".join(map(str, first["loc"])).upper()
        raise InputError(f"{variable}={first['input']!r}: {first['msg']}") from None
    os.environ.update(settings.process_env())
    return settings


@app.command()
def up() -> None:
    """Start the local stack: Prefect with a worker, MLflow, Ray, and serving of the champion."""
    from flows import stack

    stack.up(_settings())


@app.command()
def down() -> None:
    """Stop what `up` started, and nothing else."""
    from flows import stack

    stopped = stack.down(_settings())
    print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@app.command()
def status() -> None:
    """Show each service's state and address; exit status 1 unless all are running."""
    from flows import stack

    rows = stack.status(_settings())
    for row in rows:
        print(f"{row.name:<10} {row.state:<14} {row.pid or '':<8} {row.url}")
    if any(row.state not in ("running", "idle") for row in rows):
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Say what is wrong with this machine, and how to mend it; exit status 1 on problems."""
    from flows.doctor import examine

    findings = examine(_settings())
    for finding in findings:
        print(f"{'ok     ' if finding.ok else 'PROBLEM'} {finding.name:<12} {finding.says}")
        if not finding.ok:
            print(f"{'':<20} → {finding.mend}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def refresh(
    uri: Annotated[str, typer.Argument(help="folder of films", metavar="FOLDER")],
    release: Annotated[str, typer.Option(help="name of the release; default: date, number")] = "",
) -> None:
    """Footage → shots → clips → captions → a release."""
    if "://" not in uri:
        folder = Path(uri).expanduser().absolute()
        if not folder.exists():
            raise InputError(f"there is no folder {folder}; name one that holds films")
        uri = str(folder)
    _run("refresh-data", {"uri": uri, "release_name": release})


@app.command()
def train(
    release: Annotated[str, typer.Option(help="a release's name")] = "latest",
    recipe: Annotated[str, typer.Option(help="how large, how long")] = "tiny",
    seed: Annotated[int, typer.Option(help="the same seed, the same model")] = 0,
    serve: Annotated[bool, typer.Option(help="then promote and deploy it")] = True,
) -> None:
    """Train a model on a release; if it passes the gate, it is promoted and served."""
    made = _run("train-model", {"release": release, "recipe": recipe, "seed": seed})
    if serve:
        _run("promote-model", {"version": made["version"]})
        _run("deploy-model", {})


@app.command()
def promote(
    version: Annotated[str, typer.Option(help="a number or an alias")] = "candidate",
) -> None:
    """Let a model version through the gate and make it the champion."""
    _run("promote-model", {"version": version})


@app.command()
def rollback() -> None:
    """Make the previous champion the champion again, and serve it."""
    settings = _settings()
    from flows.promote import rollback as go_back

    new, old = go_back(settings)
    print(f"version {new} is the champion again, version {old} is the previous one")
    _run("deploy-model", {})


@app.command()
def deploy() -> None:
    """Serve the champion."""
    _run("deploy-model", {})


@app.command()
def releases() -> None:
    """List the releases, oldest first."""
    settings = _settings()
    from infra.catalog import Catalog
    from infra.releases import list_releases

    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    for release in list_releases(catalog):
        counts = release.counts
        print(
            f"{release.name:<20} {release.created_at:%Y-%m-%d %H:%M}  {counts['sources']:.0f} films"
            f"  {counts['clips']:.0f} clips  {counts['seconds']:.0f} s"
            f"  {counts['captioned']:.0f} captioned"
        )


@app.command()
def quarantine() -> None:
    """List the files that could not be used, and why."""
    settings = _settings()
    from flows.refresh_report import quarantine_rows
    from infra.lake import Lake

    lake = Lake(settings.lake_uri)
    lake.ensure()
    for row in quarantine_rows(lake):
        said = row["what the reader said"]
        print(f"{row['file']}\n    {row['reason']}{f' ({said})' if said else ''}")


def _run(flow_name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    _settings()
    from flows.client import run_and_follow

    return run_and_follow(flow_name, parameters)


@app.command()
def demo(
    footage: Annotated[
        Path | None, typer.Option(help="your own folder of films, instead of rendered ones")
    ] = None,
) -> None:
    """From a folder of films to a served, promoted model."""
    _settings()  # what is wrong with them is said before anything starts
    from flows.demo import driver

    raise typer.Exit(driver.run(footage))
