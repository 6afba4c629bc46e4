"""Where a clip, source, release or model version comes from, and what was made of it.

A model version has seen all accepted clips of the release that it was trained on: the clips of
its training split in its weights, the others in the numbers by which it was judged.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, select

from infra.catalog import Catalog
from infra.catalog_models import GenerationJob
from infra.errors import InputError, NotFoundError
from infra.lake import Lake, quote, quote_all
from infra.releases import ReleaseInfo, list_releases
from infra.takedowns import list_takedowns
from infra.tracking import ModelVersion

MIN_PREFIX = 8  # hex digits of an id that are enough to name it
SOURCE_COLUMNS = ("uri", "source_id", "status", "duplicate_of", "licence", "tags", "recipe")
BULKY = ("hash_video", "boundaries_json")

Row = dict[str, Any]


class Lineage:
    """Questions to the lake, the catalog and the registry together.

    `versions` are the model versions that exist; None when the registry does not answer.
    """

    def __init__(
        self, lake: Lake, catalog: Catalog, versions: Sequence[ModelVersion] | None
    ) -> None:
        self.lake = lake
        self.releases = list_releases(catalog)
        self.versions = versions
        self._catalog = catalog

    def releases_with(self, where: str) -> dict[str, Row]:
        """{release: {"clips", "seconds"}} of the releases that hold accepted clips `where`."""
        result = {}
        for release in self.releases:
            columns = ["start_s", "end_s"]
            found = self.lake.read(
                "clips", columns, f"status = 'accepted' and ({where})", release.name
            ).to_pylist()
            if found:
                seconds = sum(clip["end_s"] - clip["start_s"] for clip in found)
                result[release.name] = {"clips": len(found), "seconds": round(seconds, 3)}
        return result

    def versions_of(self, releases: Iterable[str]) -> dict[str, Row]:
        """{version: {"release"}} of the model versions trained on these releases, and of those
        that went on from such a one, which have its weights."""
        names, found = set(releases), dict[str, Row]()
        for version in reversed(self.versions or []):  # the oldest first: parents before children
            tags = version.tags
            seen = {tags.get("release"), tags.get("parent_release")} & names
            if seen or tags.get("parent") in found:
                found[version.version] = {"release": tags.get("release", "")}
        return found

    def clip(self, clip_id: str) -> Row:
        """A clip: its film and span; the releases that hold it, and their models."""
        row = self._clip_row(clip_id)
        source = self._sources(f"source_id = {quote(row['source_id'])}")
        return {
            "clip": row,
            "source": source[0] if source else None,
            **self._downstream(f"clip_id = {quote(clip_id)}", [row["source_id"]]),
        }

    def source(self, rows: Sequence[Row]) -> Row:
        """A source, of which `rows` are the files: its clips, releases and models."""
        ids = sorted({row["source_id"] for row in rows if row["source_id"]})
        where = f"source_id in ({quote_all(ids)})"
        return {
            "sources": [{k: v for k, v in row.items() if k not in BULKY} for row in rows],
            "clips": self.lake.count("clips", f"status = 'accepted' and {where}") if ids else 0,
            **(self._downstream(where, ids) if ids else {"releases": {}, "model_versions": {}}),
        }

    def release(self, release: ReleaseInfo) -> Row:
        """A release: its sources with their clips; the models trained on it."""
        clips = self.lake.read("clips", ["source_id"], "status = 'accepted'", release.name)[
            "source_id"
        ].to_pylist()
        sources = self._sources("status = 'accepted'", release.name)
        counts = {source["source_id"]: 0 for source in sources}
        for source_id in clips:
            counts[source_id] = counts.get(source_id, 0) + 1
        return {
            "release": {
                "name": release.name,
                "created_at": release.created_at.isoformat(timespec="seconds"),
                "previous": release.previous,
                "counts": dict(release.counts),
                "fingerprints": dict(release.fingerprints),
                "content_hash": release.content_hash,
                "captions": {source: dict(by) for source, by in release.captions.items()},
            },
            "sources": [{**source, "clips": counts[source["source_id"]]} for source in sources],
            "withdrawn": self._withdrawn_from(release.name),
            "model_versions": self._models([release.name]),
        }

    def model(self, version: ModelVersion) -> Row:
        """A model version: the run, the release and the sources that it was trained on."""
        name = version.tags.get("release", "")
        release = next((entry for entry in self.releases if entry.name == name), None)
        found = self.release(release) if release else {"release": None, "sources": []}
        return {
            "model_version": {
                "version": version.version,
                "mlflow_run_id": version.run_id,
                "tags": dict(version.tags),
                "jobs": self._jobs_of(version.version),
            },
            "release": found["release"],
            "sources": found["sources"],
            "withdrawn": [
                row for row in self._takedowns(None) if version.version in row["model_versions"]
            ],
        }

    def clip_ids(self, release: ReleaseInfo) -> dict[str, list[str]]:
        """{split: ids} of the clips in the release's view; weights are learned from "train"."""
        rows = self.lake.read("clips", ["clip_id", "split"], release.view, release.name)
        ids: dict[str, list[str]] = {"train": [], "val": []}
        for row in rows.to_pylist():
            ids.setdefault(row["split"] or "", []).append(row["clip_id"])
        return {split: sorted(found) for split, found in ids.items()}

    def find_clips(self, prefix: str) -> list[str]:
        """Ids that begin so, of the clips in the lake and in all releases."""
        where = f"clip_id like {quote(prefix + '%')}"
        found = set(self.lake.read("clips", ["clip_id"], where)["clip_id"].to_pylist())
        for release in self.releases:
            rows = self.lake.read("clips", ["clip_id"], where, release.name)
            found.update(rows["clip_id"].to_pylist())
        return sorted(found)

    def _clip_row(self, clip_id: str) -> Row:
        columns = ["clip_id", "source_id", "start_frame", "end_frame", "start_s", "end_s", "status",
                   "caption", "caption_source", "caption_version", "split", "recipe"]  # fmt: skip
        for release in (None, *(entry.name for entry in reversed(self.releases))):
            rows = self.lake.read("clips", columns, f"clip_id = {quote(clip_id)}", release)
            if len(rows):
                found: Row = rows.to_pylist()[0]
                told = captions_of(self.lake, found, release)
                return {**found, "in_lake": release is None, "captions": told}
        raise NotFoundError(f"neither the lake nor a release holds the clip {clip_id!r}")

    def _downstream(self, where: str, source_ids: list[str]) -> Row:
        """What was made of clips `where`, also by what is remembered of takedowns."""
        takedowns = self._takedowns(source_ids)
        releases = self.releases_with(where)
        models = self._models(releases)
        for row in takedowns:
            releases = {**row["releases"], **releases}
            models = {**row["model_versions"], **(models or {})}
        return {"releases": releases, "model_versions": models, "withdrawn": takedowns}

    def _models(self, releases: Iterable[str]) -> dict[str, Row] | None:
        return None if self.versions is None else self.versions_of(releases)

    def _withdrawn_from(self, release: str) -> list[Row]:
        return [row for row in self._takedowns(None) if release in row["releases"]]

    def _jobs_of(self, version: str) -> int:
        """How many requests this version has answered."""
        query = select(func.count()).where(
            GenerationJob.model_version == version, GenerationJob.status == "completed"
        )
        with self._catalog.session(read_only=True) as session:
            return session.scalar(query) or 0

    def _takedowns(self, source_ids: list[str] | None) -> list[Row]:
        return [
            {
                "source_id": row.source_id,
                "place": row.place,
                "reason": row.reason,
                "at": row.created_at.isoformat(timespec="seconds"),
                "releases": row.releases,
                "model_versions": row.model_versions,
            }
            for row in list_takedowns(self._catalog, source_ids)
        ]

    def _sources(self, where: str, release: str | None = None) -> list[Row]:
        rows = self.lake.read("sources", SOURCE_COLUMNS, where, release).to_pylist()
        return sorted(rows, key=lambda row: str(row["uri"]))


def captions_of(lake: Lake, clip: Row, release: str | None = None) -> list[Row]:
    """All captions of a clip, {"source", "version", "caption", "score", "used"}, the used one
    first. `clip` names "clip_id", "caption_source" and "caption_version"."""
    columns = ["source", "version", "caption", "score"]
    rows = lake.read("captions", columns, f"clip_id = {quote(clip['clip_id'])}", release)
    used = clip["caption_source"], clip["caption_version"]
    told = [{**row, "used": (row["source"], row["version"]) == used} for row in rows.to_pylist()]
    return sorted(told, key=lambda row: (not row["used"], row["source"], row["version"]))


def find_clip(lake: Lake, name: str) -> Row:
    """The clip in the lake whose id begins so, as `captions_of` takes it.

    Raises:
        NotFoundError: there is none. InputError: fewer digits than MIN_PREFIX, or several clips.
    """
    if len(name) < MIN_PREFIX:
        raise InputError(f"{name!r} is too short for a clip's id; give {MIN_PREFIX} digits or more")
    columns = ["clip_id", "caption_source", "caption_version"]
    rows: list[Row] = lake.read(
        "clips", columns, f"starts_with(clip_id, {quote(name)})"
    ).to_pylist()
    if not rows:
        raise NotFoundError(f"the lake holds no clip {name!r}; reel search lists ids")
    if len(rows) > 1:
        raise InputError(f"{name!r} begins the ids of {len(rows)} clips; give more digits")
    return rows[0]


def find_sources(lake: Lake, name: str, uris: Sequence[str]) -> list[Row]:
    """The source rows of a file (`uris`: how its URI may be written) or of an id's beginning.

    Raises:
        NotFoundError: there is none. InputError: an id that is too short, or of several contents.
    """
    rows: list[Row] = lake.read("sources").to_pylist()
    by_uri = [row for row in rows if row["uri"] in uris]
    if by_uri:
        return by_uri
    is_id = all(letter in "0123456789abcdef" for letter in name)
    if is_id and len(name) < MIN_PREFIX:
        raise InputError(f"{name!r} is too short for an id; give {MIN_PREFIX} digits or more")
    found = [row for row in rows if is_id and (row["source_id"] or "").startswith(name)]
    ids = sorted({row["source_id"] for row in found})
    if len(ids) > 1:
        some = ", ".join(source_id[:16] for source_id in ids[:5])
        raise InputError(f"{name!r} begins {len(ids)} source ids; give more digits of one: {some}")
    if not found:
        raise NotFoundError(
            f"the lake knows no source {name!r}; give its path, its URI, or {MIN_PREFIX} or more "
            "digits of its id"
        )
    return found
