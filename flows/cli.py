"""The `reel` command. Every command imports what it needs when it runs, so that help is instant."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    from pydantic import ValidationError

    from infra.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable = "REEL_" + "_".join(map(str, first["loc"])).upper()
        raise InputError(f"{variable}={first['input']!r}: {first['msg']}") from None


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
def demo(
    footage: Annotated[
        Path | None, typer.Option(help="your own folder of films, instead of rendered ones")
    ] = None,
) -> None:
    """From a folder of films to a served, promoted model."""
    from flows.demo import driver

    raise typer.Exit(driver.run(footage))
