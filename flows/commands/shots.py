"""Shot boundaries of any file, and thresholds for a user's own footage."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import open_settings


def shots(
    files: Annotated[list[Path], typer.Argument(help="films", metavar="FILE…")],
    as_json: Annotated[
        bool, typer.Option("--json", help="{file: [first frame of each shot but the first]}")
    ] = False,
) -> None:
    """Print the shot boundaries of films, and store nothing; exit status 1 if one is unusable."""
    settings = open_settings()
    from flows.ingest_recipe import load
    from ingest.decode import UnreadableError
    from ingest.finder import find_shots, first_frames

    recipe, found, failed = load(settings).shots, dict[str, list[int]](), False
    for path in files:
        try:
            if path.exists() and not path.is_file():
                raise UnreadableError("open", "it is a folder or a device; name films")
            film, boundaries = find_shots(path, recipe)
        except (UnreadableError, OSError) as error:
            why = error.reason if isinstance(error, UnreadableError) else error.strerror
            failed = True
            print(f"reel: {path}: {why}", file=sys.stderr)
            continue
        if as_json:
            found[str(path)] = first_frames(boundaries)
            continue
        print(f"{path}  {len(film.pts)} frames, {len(boundaries) + 1} shots")
        for boundary in boundaries:
            at = f"{boundary.start:>8}" + (f"-{boundary.end}" if boundary.kind != "cut" else "")
            print(f"  {timecode(float(film.times_s[boundary.start]))}  {boundary.kind:<8}{at}")
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    if failed:
        raise typer.Exit(1)


def timecode(time_s: float) -> str:
    """`"0:01:02.345"`."""
    minutes, milliseconds = divmod(round(time_s * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{milliseconds / 1000:06.3f}"


def calibrate(
    labels: Annotated[Path, typer.Argument(help="JSON {file: [frames]}, or CSV file,frame")],
    out: Annotated[
        Path | None, typer.Option(help="the recipe's file; default: what refresh uses")
    ] = None,
) -> None:
    """Choose shot thresholds on your own labelled cuts, and print the F1 that this gains."""
    settings = open_settings()
    from flows import ingest_recipe
    from ingest.calibrate import calibrate as search
    from ingest.calibrate import read_examples, read_labels

    recipe = ingest_recipe.load(settings).shots
    marked = read_labels(labels)
    result = search(read_examples(marked, recipe), recipe)
    count = sum(len(frames) for frames in marked.values())
    print(f"{len(marked)} films, {count} boundaries")
    print(f"F1 before  {result.before.f1:.4f}")
    print(f"F1 after   {result.after.f1:.4f}  (each film judged by thresholds of the others)")
    if not result.gains:
        print("nothing was gained: the recipe stays as it is")
        return
    for name, (old, new) in result.changed.items():
        print(f"  {name}: {old:g} → {new:g}")
    used = ingest_recipe.path_of(settings)
    ingest_recipe.save(settings, {k: new for k, (_, new) in result.changed.items()}, out or used)
    print(f"wrote {out}; put it at {used} to use it" if out else f"wrote {used}; refresh uses it")
