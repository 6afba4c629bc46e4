"""The `reel` command. Every command imports what it needs when it runs, so that help is instant."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands import books, clips, keys, life, shots, works
from flows.commands.common import open_settings
from flows.commands.plan import plan
from infra.errors import InputError, ReelError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Your own text-to-video model from your own footage.",
)
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Entry point of `reel`: an error made on purpose is one sentence and exit status 1."""
    try:
        app()
    except ReelError as error:
        print(f"reel: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@app.command()
def up() -> None:
    """Start the local stack: Prefect with a worker, MLflow, Ray, and serving of the champion."""
    from flows import stack

    stack.up(open_settings())


@app.command()
def down() -> None:
    """Stop what `up` started, and nothing else."""
    from flows import stack

    stopped = stack.down(open_settings())
    print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@app.command()
def status() -> None:
    """Show each service's state and address; exit status 1 unless all are running."""
    from flows import stack
    from serving.served import refused

    settings = open_settings()
    rows = stack.status(settings)
    for row in rows:
        print(f"{row.name:<10} {row.state:<14} {row.pid or '':<8} {row.url}")
    if back := refused(settings.home):
        print(f"version {back['version']} was taken back: {back['reason']}")
    if any(row.state not in ("running", "idle") for row in rows):
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Say what is wrong with this machine, and how to mend it; exit status 1 on problems."""
    from flows.doctor import examine

    findings = examine(open_settings())
    for finding in findings:
        print(f"{'ok     ' if finding.ok else 'PROBLEM'} {finding.name:<12} {finding.says}")
        if not finding.ok:
            print(f"{'':<20} → {finding.mend}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def refresh(
    uri: Annotated[str, typer.Argument(help="folder, URI or manifest", metavar="FOOTAGE")],
    release: Annotated[str, typer.Option(help="name of the release; default: date, number")] = "",
    where: Annotated[
        str, typer.Option(help='which clips the release shows: "motion > 0.1"; see reel filters')
    ] = "",
) -> None:
    """Footage → shots → clips → captions → a release."""
    if "://" not in uri:
        folder = Path(uri).expanduser().absolute()
        if not folder.exists():
            raise InputError(f"there is no folder {folder}; name one that holds films")
        uri = str(folder)
    _run("refresh-data", {"uri": uri, "release_name": release, "where": where})


@app.command()
def train(
    release: Annotated[str, typer.Option(help="a release's name")] = "latest",
    recipe: Annotated[str, typer.Option(help="tiny, small, base or large")] = "tiny",
    seed: Annotated[int, typer.Option(help="the same seed, the same model")] = 0,
    start_from: Annotated[
        str, typer.Option(help="fine-tune this model: a version, an alias or a bundle's folder")
    ] = "",
    lora_rank: Annotated[int, typer.Option(help="by adapters of this rank, not as a whole")] = 0,
    distill: Annotated[
        str, typer.Option(metavar="VERSION", help="a student of it, that samples in a few steps")
    ] = "",
    serve: Annotated[bool, typer.Option(help="then promote and deploy it")] = True,
) -> None:
    """Train a model on a release; if it passes the gate, it is promoted and served."""
    if start_from and Path(start_from).expanduser().is_dir():
        start_from = str(Path(start_from).expanduser().absolute())  # the flow runs elsewhere
    asked = {"release": release, "recipe": recipe, "seed": seed}
    parent = {"start_from": start_from, "lora_rank": lora_rank, "distill": distill}
    made = _run("train-model", asked | parent)
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
    settings = open_settings()
    from flows.promote import rollback as go_back

    new, old = go_back(settings)
    print(f"version {new} is the champion again, version {old} is the previous one")
    _run("deploy-model", {})


@app.command()
def deploy() -> None:
    """Serve the champion."""
    _run("deploy-model", {})


def _run(flow_name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    open_settings()
    from flows.client import run_and_follow

    return run_and_follow(flow_name, parameters)


@app.command()
def demo(
    footage: Annotated[
        Path | None, typer.Option(help="your own folder of films, instead of rendered ones")
    ] = None,
) -> None:
    """From a folder of films to a served, promoted model."""
    # What is wrong with them is said before anything starts. The demo judges its model itself.
    open_settings(computes=True)
    from flows.demo import driver

    raise typer.Exit(driver.run(footage))


COMMANDS = (
    *(books.releases, books.quarantine),
    *(life.retry, life.lineage, life.captions, life.takedown),
    *(clips.search, clips.filters, clips.export),
    *(shots.shots, shots.calibrate),
    *works.WORKS,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(plan, name="plan")
