"""Releases: named, immutable states of the lake, each with its view. Training reads nothing else.

release, created = create_release(lake, catalog, fingerprints={"ingest": "…"}, where="motion > 0.1")
lake.read("clips", where=release.view, release=release.name)

A view is a filter over clips (`where`). It deletes nothing: the clips that it leaves out keep
their scores, and another release may have them.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from infra.catalog import Catalog
from infra.catalog_models import Release
from infra.errors import InputError, NotFoundError

if TYPE_CHECKING:  # flows name releases without waiting for Lance to load
    from infra.lake import Lake

LATEST = "latest"
ACCEPTED = "status = 'accepted'"


@dataclass(frozen=True, kw_only=True)
class ReleaseInfo:
    """A release as the catalog records it.

    `counts`: sources, clips, train, val, captioned (all of accepted rows), seconds.
    `fingerprints`: recipe fingerprint by step. `previous`: the release before, or "".
    `where`: the filter over accepted clips, or "" when all of them belong to it. `captions`: how
    many of its clips are captioned by whom, {source: {version: clips}}.
    """

    name: str
    created_at: datetime
    versions: Mapping[str, int]
    counts: Mapping[str, float]
    fingerprints: Mapping[str, str]
    previous: str
    content_hash: str
    where: str = ""
    captions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def view(self) -> str:
        """The condition that the release's clips meet."""
        return view(self.where)


def view(where: str) -> str:
    """The condition of accepted clips that meet `where`; all accepted ones when it is empty.

    `duration_s` may be used like a stored column.
    """
    where = re.sub(r"\bduration_s\b", "(end_s - start_s)", where)
    return f"{ACCEPTED} and ({where})" if where.strip() else ACCEPTED


def create_release(
    lake: "Lake",
    catalog: Catalog,
    *,
    fingerprints: dict[str, str],
    name: str = "",
    where: str = "",
) -> tuple[ReleaseInfo, bool]:
    """Name the lake's present state, unless the latest release already has this content and view.

    The content hash decides, so a lake that was rewritten without change makes no release. Tags
    come first and the catalog row last: a release exists from the moment its row does.

    Returns:
        The release and True; or the latest one and False when nothing changed.
    Raises:
        InputError: there is no accepted clip to release, `where` does not parse or leaves none,
            or the name is taken.
    """
    known, where = list_releases(catalog), where.strip()
    latest = known[-1] if known else None
    if latest and latest.where == where and lake.content_hash() == latest.content_hash:
        return latest, False
    if lake.count("clips", ACCEPTED) == 0:
        raise InputError(
            f"the lake at {lake.uri} holds no accepted clip, so there is nothing to release; "
            "add footage, or look at the quarantine and the reasons of rejects"
        )
    if where and lake.count("clips", view(where)) == 0:
        raise InputError(
            f"no accepted clip meets {where!r}, so there is nothing to release; "
            "see what each threshold keeps: reel filters"
        )
    name = name or _next_name({release.name for release in known})
    if name == LATEST or any(release.name == name for release in known):
        raise InputError(f"the release name {name!r} is taken; choose another or leave it empty")
    versions = lake.tag(name)
    row = Release(
        name=name,
        versions=versions,
        counts=_counts(lake, name, view(where)),
        fingerprints=fingerprints,
        # Read at the tag: a writer may have moved the tables since we looked.
        content_hash=lake.content_hash(name),
        previous=latest.name if latest else None,
        where=where,
        captions=_captions(lake, name, view(where)),
    )
    with catalog.session() as session:
        session.add(row)
    return _info(row), True


def list_releases(catalog: Catalog) -> list[ReleaseInfo]:
    """All releases, oldest first."""
    with catalog.session(read_only=True) as session:
        rows = session.scalars(select(Release).order_by(Release.created_at, Release.name))
        return [_info(row) for row in rows]


def get_release(catalog: Catalog, name: str) -> ReleaseInfo:
    """The release called `name`, or the newest one for "latest".

    Raises:
        NotFoundError: no such release; the message names the ones that exist.
    """
    known = list_releases(catalog)
    if not known:
        raise NotFoundError("there is no release yet; make one with: reel refresh FOLDER")
    if name == LATEST:
        return known[-1]
    for release in known:
        if release.name == name:
            return release
    names = ", ".join(release.name for release in known[-10:])
    raise NotFoundError(f"there is no release {name!r}; the newest are {names} (or {LATEST!r})")


def restate(lake: "Lake", catalog: Catalog, name: str) -> None:
    """Write down anew what a release holds, after something was erased from it."""
    with catalog.session() as session:
        row = session.get_one(Release, name)
        row.versions = lake.versions(name)
        row.counts = _counts(lake, name, view(row.where))
        row.captions = _captions(lake, name, view(row.where))
        row.content_hash = lake.content_hash(name)


def difference(lake: "Lake", old: ReleaseInfo | None, new: ReleaseInfo) -> dict[str, Any]:
    """What changed in accepted sources and clips from `old` (None: from nothing) to `new`.

    Returns:
        {"sources": {"added", "removed"}, "clips": {…}, "seconds": {…},
         "sources_added": [uri], "sources_removed": [uri]}
    """
    before = _accepted(lake, old.name, old.view) if old else ({}, set())
    after = _accepted(lake, new.name, new.view)
    added, removed = after[1] - before[1], before[1] - after[1]
    clips_added = after[0].keys() - before[0].keys()
    clips_removed = before[0].keys() - after[0].keys()
    return {
        "sources": {"added": len(added), "removed": len(removed)},
        "clips": {"added": len(clips_added), "removed": len(clips_removed)},
        "seconds": {
            "added": round(sum(after[0][clip] for clip in clips_added), 3),
            "removed": round(sum(before[0][clip] for clip in clips_removed), 3),
        },
        "sources_added": sorted(added),
        "sources_removed": sorted(removed),
    }


def _accepted(lake: "Lake", release: str, view: str) -> tuple[dict[str, float], set[str]]:
    """Seconds by clip id, and source URIs, of what a release accepted and shows."""
    import pyarrow.compute as pc

    clips = lake.read("clips", ["clip_id", "start_s", "end_s"], view, release)
    seconds = pc.fill_null(pc.subtract(clips["end_s"], clips["start_s"]), 0.0)
    sources = lake.read("sources", ["uri"], ACCEPTED, release)
    return (
        dict(zip(clips["clip_id"].to_pylist(), seconds.to_pylist(), strict=True)),
        set(sources["uri"].to_pylist()),
    )


def _counts(lake: "Lake", release: str, view: str) -> dict[str, float]:
    clips, sources = _accepted(lake, release, view)

    def accepted(condition: str) -> int:
        return lake.count("clips", f"{view} and {condition}", release)

    return {
        "sources": len(sources),
        "clips": len(clips),
        "train": accepted("split = 'train'"),
        "val": accepted("split = 'val'"),
        "seconds": round(sum(clips.values()), 3),
        "captioned": accepted("caption is not null"),
    }


def _captions(lake: "Lake", release: str, view: str) -> dict[str, dict[str, int]]:
    """{source: {version: clips}} of the captions that clips have in a release."""
    clips = lake.read("clips", ["caption_source", "caption_version"], view, release).to_pylist()
    counted = Counter((clip["caption_source"], clip["caption_version"] or "") for clip in clips)
    found: dict[str, dict[str, int]] = {}
    for (source, version), count in sorted(counted.items(), key=lambda item: -item[1]):
        if source:
            found.setdefault(source, {})[version] = count
    return found


def _next_name(taken: set[str]) -> str:
    """Today's date and the first free number, such as 2026-11-22-1."""
    today = datetime.now(UTC).date().isoformat()
    number = 1
    while f"{today}-{number}" in taken:
        number += 1
    return f"{today}-{number}"


def _info(row: Release) -> ReleaseInfo:
    return ReleaseInfo(
        name=row.name,
        created_at=row.created_at,
        versions=row.versions,
        counts=row.counts,
        fingerprints=row.fingerprints,
        previous=row.previous or "",
        content_hash=row.content_hash,
        where=row.where,
        captions=row.captions,
    )
