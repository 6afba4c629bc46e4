"""`reel lineage`: what a name stands for, where it comes from and what was made of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.file_lineage import describe_file, trace_file
from infra.catalog import Catalog
from infra.errors import InfrastructureError, InputError, NotFoundError
from infra.settings import Settings
from infra.tracking import Tracking

Row = dict[str, Any]

ALIASES = ("candidate", "champion", "previous")
LISTED = 20


def trace(settings: Settings, name: str) -> Row:
    """What is known of a clip, source, release, model version or generated file; "kind" says which.

    Raises:
        NotFoundError: nothing has this name. InputError: several things have it.
        InfrastructureError: it is a model version, and MLflow does not answer.
    """
    from infra.lake import Lake
    from infra.lineage import MIN_PREFIX, Lineage, find_sources
    from infra.releases import LATEST, get_release

    catalog, lake, tracking = (
        Catalog(settings.catalog_url), Lake(settings.lake_uri), Tracking(settings.mlflow_url)
    )  # fmt: skip
    catalog.migrate()
    is_version = name in ALIASES or (name.isdigit() and len(name) < MIN_PREFIX)
    try:
        versions = tracking.versions()
    except InfrastructureError:
        if is_version:
            raise
        versions = None
    lineage = Lineage(lake, catalog, versions)
    if name == LATEST or any(name == release.name for release in lineage.releases):
        return {"kind": "release", **lineage.release(get_release(catalog, name))}
    if is_version:
        version = tracking.version(name) if name.isdigit() else tracking.alias(name)
        if version is None:
            raise NotFoundError(f"no model version has the alias {name!r}")
        return {"kind": "model version", **lineage.model(version)}
    try:
        sources = find_sources(lake, name, uris_of(name))
    except NotFoundError:
        sources = []
    is_id = len(name) >= MIN_PREFIX and all(letter in "0123456789abcdef" for letter in name)
    clips = lineage.find_clips(name) if is_id else []
    if len(clips) + bool(sources) > 1:
        raise InputError(f"{name!r} begins more than one id; give more digits of the one you mean")
    if clips:
        return {"kind": "clip", **lineage.clip(clips[0])}
    if sources:
        return {"kind": "source", **lineage.source(sources)}
    if Path(name).expanduser().is_file():
        return {"kind": "file", **trace_file(settings, catalog, lineage, Path(name).expanduser())}
    raise NotFoundError(
        f"nothing is called {name!r}; give a release, a model version (a number or an alias), "
        f"a film's path or URI, a generated file, or {MIN_PREFIX} or more digits of a clip's or a "
        "source's id"
    )


def uris_of(name: str) -> list[str]:
    """How the lake may write the URI of what a person calls `name`."""
    if "://" in name:
        return [name]
    path = Path(name).expanduser().absolute()
    return [path.as_uri(), Path(os.path.realpath(path)).as_uri()]


def describe(found: Row) -> Iterator[str]:
    """The lines that a person reads."""
    if found["kind"] == "clip":
        yield from _clip(found)
    elif found["kind"] == "source":
        yield from _source(found)
    elif found["kind"] == "file":
        yield from describe_file(found)
    else:
        yield from _release(found)


def _clip(found: Row) -> Iterator[str]:
    clip, source = found["clip"], found["source"]
    yield f"clip {clip['clip_id']}"
    where = _place(source) if source else "a film that the lake no longer knows"
    yield f"  from      {where}"
    frames = f"frames {clip['start_frame']} to {clip['end_frame']}"
    span = f"{clip['start_s']:.2f} to {clip['end_s']:.2f} s"
    yield f"            source {clip['source_id'][:16]}, {frames}, {span}"
    if source and source["licence"]:
        yield f"  licence   {source['licence']}"
    yield f"  split     {clip['split']}{'' if clip['in_lake'] else ', in old releases only'}"
    yield from (f"  {line}" for line in captions_lines(clip["captions"]))
    yield from _made(found)


def captions_lines(captions: list[Row]) -> Iterator[str]:
    """A line a caption: whether it is the used one, who wrote it, how sure that one was."""
    for row in captions:
        by = " ".join(part for part in (row["source"], row["version"]) if part)
        place = "caption" if row["used"] else "besides"
        yield f"{place:<9} {row['caption']} ({by}, {row['score']:.2f})"


def _source(found: Row) -> Iterator[str]:
    for row in found["sources"]:
        yield f"source {(row['source_id'] or 'never read')[:16]}  {row['status']}  {_place(row)}"
        for name in ("licence", "tags", "caption"):
            if row[name]:
                value = ", ".join(row[name]) if name == "tags" else row[name]
                yield f"  {name:<9} {value}"
        if row["duplicate_of"]:
            yield f"  same as   source {row['duplicate_of'][:16]}"
    yield f"  clips     {found['clips']} in the lake"
    yield from _made(found)


def _release(found: Row) -> Iterator[str]:
    if found["kind"] == "model version":
        version = found["model_version"]
        yield f"model version {version['version']}"
        yield f"  run       {version['mlflow_run_id']}"
        yield f"  answered  {version['jobs']} requests"
        for name, value in sorted(version["tags"].items()):
            yield f"  {name:<9} {value}"
    release = found["release"]
    if release is None:
        yield "  trained on a release that the catalog does not know"
        return
    counts = release["counts"]
    yield f"release {release['name']}, made {release['created_at']}"
    if release["previous"]:
        yield f"  after     {release['previous']}"
    films, clips = f"{counts['sources']:.0f} films", f"{counts['clips']:.0f} clips"
    yield f"  holds     {films}, {clips}, {counts['seconds']:.0f} s"
    for source, versions in release["captions"].items():
        by = ", ".join(f"{count} {version}".rstrip() for version, count in versions.items())
        yield f"  captions  {source}: {by}"
    for row in found["sources"][:LISTED]:
        yield f"            {row['clips']:>4} clips of {row['source_id'][:16]}  {_place(row)}"
    if len(found["sources"]) > LISTED:
        yield f"            and {len(found['sources']) - LISTED} films more (--json lists all)"
    if "model_versions" in found:
        yield from _models(found["model_versions"])
    yield from _withdrawn(found["withdrawn"])


def _made(found: Row) -> Iterator[str]:
    for name, counts in found["releases"].items():
        yield f"  release   {name} ({counts['clips']} clips, {counts['seconds']:.0f} s of it)"
    if not found["releases"]:
        yield "  release   none holds it"
    yield from _models(found["model_versions"])
    yield from _withdrawn(found.get("withdrawn", []))


def _models(versions: Row | None) -> Iterator[str]:
    if versions is None:
        yield "  models    not known while MLflow does not answer; start it with: reel up"
        return
    for version, facts in versions.items():
        yield f"  models    version {version}, trained on {facts['release']}"
    if not versions:
        yield "  models    none was trained on it"


def _withdrawn(takedowns: list[Row]) -> Iterator[str]:
    for row in takedowns:
        why = f": {row['reason']}" if row["reason"] else ""
        yield f"  withdrawn {row['at'][:10]} source {row['source_id'][:16]}  {_place(row)}{why}"


def _place(row: Row) -> str:
    from flows.artifacts import readable

    return readable(row.get("uri") or row["place"])
