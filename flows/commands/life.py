"""The life of a film: tried again, followed to where it went, taken down."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from flows.commands.common import open_settings

AsJson = Annotated[bool, typer.Option("--json", help="for programs")]


def retry() -> None:
    """Try again the files that could not be used."""
    open_settings()
    from flows.client import run_and_follow

    result = run_and_follow("refresh-data", {"retry": True})
    tried, mended = result["retried"], result["mended"]
    said = f"{mended} of {tried} files mended, {tried - mended} still in quarantine"
    print(said if tried else "nothing is in quarantine")


def lineage(
    name: Annotated[
        str,
        typer.Argument(
            metavar="FILE|CLIP|SOURCE|RELEASE|MODEL",
            help="a generated file, an id (8 digits are enough), a film's path or URI, a release, "
            "a model version",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show where something comes from, and what was made of it."""
    settings = open_settings()
    from flows.lineage import describe, trace

    found = trace(settings, name)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(describe(found)))


def captions(
    clip: Annotated[str, typer.Argument(help="a clip's id; 8 digits are enough", metavar="CLIP")],
    as_json: AsJson = False,
) -> None:
    """Show all that captioners said of a clip, the caption in use first."""
    from flows.commands.common import open_lake

    lake = open_lake()
    from flows.lineage import captions_lines
    from infra.lineage import captions_of, find_clip

    told = captions_of(lake, find_clip(lake, clip))
    print(json.dumps(told, indent=1) if as_json else "\n".join(captions_lines(told)))


def takedown(
    source: Annotated[
        str, typer.Argument(help="a film's path or URI, or 8 digits of its id", metavar="SOURCE")
    ],
    reason: Annotated[str, typer.Option(help="kept with the record")] = "",
    as_json: AsJson = False,
) -> None:
    """Remove a film from the lake and every release, and mark what has seen it."""
    settings = open_settings()
    from flows.takedown import report, take_down

    done = take_down(settings, source, reason)
    print(json.dumps(asdict(done), indent=1) if as_json else "\n".join(report(done)))
