"""Taking a film down: out of the lake and every release, and a mark on all that has seen it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.lineage import uris_of
from infra.catalog import Catalog
from infra.jobs import Attempts
from infra.settings import Settings
from infra.tracking import Tracking

TAG = "takedown"
"""Of a model version: the beginnings of the ids of the withdrawn sources that it has seen."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a takedown came to: files and contents, clips removed, what had seen them."""

    uris: list[str]
    source_ids: list[str]
    clips: int
    releases: dict[str, Any]
    model_versions: dict[str, Any]
    champion: str = ""
    """The champion's version, when it has seen the film."""
    alone: bool = True
    """False when a job was at work, whose unfinished writes may hold the film for a week."""
    caches: list[str] = field(default_factory=list)
    copies: dict[str, int] = field(default_factory=dict)
    """Clips of other films that show the same, by the film's id; they stay."""


def take_down(settings: Settings, name: str, reason: str = "") -> Done:
    """Withdraw the film that `name` (path, URI, or the beginning of a source id) is a file of.

    Its clips, their captions, bytes and latents go from the lake and from every release, in all
    versions that Lance keeps, so that no file on disk holds them. Run again, it completes what was
    cut short.

    Raises:
        NotFoundError: no such source. InputError: an id that names several, or none of ours.
        InfrastructureError: no MLflow answers, so that nobody knows which models have seen it.
    """
    from captioning.near_duplicates import stand_ins
    from infra.erasure import erase
    from infra.lake import Lake
    from infra.lineage import Lineage, find_sources
    from infra.takedowns import record_takedown
    from ingest.withdraw import clip_ids, same_films, shown_elsewhere, withdraw

    catalog, lake, tracking = (
        Catalog(settings.catalog_url), Lake(settings.lake_uri), Tracking(settings.mlflow_url)
    )  # fmt: skip
    catalog.migrate()
    rows = same_films(lake, find_sources(lake, name, uris_of(name))[0])
    source_ids = sorted({row["source_id"] for row in rows})
    lineage = Lineage(lake, catalog, tracking.versions())
    found = lineage.source(rows)
    copies = shown_elsewhere(lake, source_ids)
    clips = clip_ids(lake, source_ids, [release.name for release in lineage.releases])

    # The record first: what is removed can no longer tell who has seen it.
    places = {row["source_id"]: row["uri"] for row in reversed(rows)}
    record_takedown(catalog, places, reason, found["releases"], found["model_versions"])
    withdraw(lake, rows)
    alone = not Attempts(settings, catalog).any_open()
    erase(lake, catalog, source_ids, clips, stand_ins, alone=alone)
    caches = _drop_caches(settings, clips, list(found["releases"]))
    for version in found["model_versions"]:
        _flag(tracking, version, source_ids)
    champion = tracking.alias("champion")
    seen = champion is not None and champion.version in found["model_versions"]
    return Done(
        uris=sorted(row["uri"] for row in rows),
        source_ids=source_ids,
        clips=len(clips),
        releases=found["releases"],
        model_versions=found["model_versions"],
        champion=champion.version if champion is not None and seen else "",
        alone=alone,
        caches=[str(path) for path in caches],
        copies=copies,
    )


def _flag(tracking: Tracking, version: str, source_ids: list[str]) -> None:
    marks = set(tracking.version(version).tags.get(TAG, "").split())
    marks |= {source_id[:16] for source_id in source_ids}
    tracking.tag(version, TAG, " ".join(sorted(marks)))


def _drop_caches(settings: Settings, clips: list[str], releases: list[str]) -> list[Path]:
    """Remove what steps keep to save time: decoded pixels, captioners, fetched files. All of it
    is made again when somebody needs it."""
    from captioning.caches import captioners_of
    from modeling.caches import caches_of

    dropped = caches_of(settings.home / "training", releases)
    dropped += captioners_of(settings.home / "captioner", clips)
    fetched = settings.home / "fetched"
    dropped += [fetched] if fetched.exists() else []
    for path in dropped:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return dropped


def report(done: Done) -> Iterator[str]:
    """What a person should know afterwards, also of what is not gone."""
    from flows.artifacts import readable

    for uri in done.uris:
        yield f"withdrawn: {readable(uri)}"
    yield (
        f"removed: {done.clips} clips with their captions, bytes and latents, in every version of "
        "the lake"
    )
    if done.caches:
        yield f"removed: {len(done.caches)} caches, checkpoints and captioners that came from it"
    for name, counts in done.releases.items():
        yield f"release {name} held {counts['clips']} of them ({counts['seconds']:.0f} s)"
    for version, facts in done.model_versions.items():
        yield f"model version {version} was trained on release {facts['release']}: marked {TAG}"
    for source_id, count in done.copies.items():
        yield (
            f"film {source_id[:16]} holds {count} clips that show the same, and they stay: "
            f"reel takedown {source_id[:16]}, if they must go"
        )
    if done.champion:
        yield f"version {done.champion} is the champion: train without the film (reel train)"
    yield (
        "not removed: the files themselves, weights of marked models, pictures and captions in the "
        "pages and results of earlier runs (Prefect, MLflow, jobs) and backups"
    )
    if not done.alone:
        yield "a job was at work, and its unfinished writes may hold the film: run this again"
    yield "the next refresh makes a release without it, and does not take it in again"
