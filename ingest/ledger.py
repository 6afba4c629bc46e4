"""The books of one refresh: what the lake knows, what is new, which of several copies is kept.

What the lake holds in the end depends only on the footage, not on the order in which films were
read, nor on how often the run was interrupted: clips are written before the source row that
vouches for them, and `tidy` removes what no source row vouches for.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from infra.lake import Lake
from ingest import quarantine
from ingest.duplicates import same_film
from ingest.film import FilmResult, quarantined
from ingest.quarantine import Row, delete_rows
from ingest.recipe import DuplicateRecipe
from ingest.sources import Found, is_there


class Ledger:
    """Source rows by URI, groups of films that are the same, and rows not written yet."""

    def __init__(self, lake: Lake, recipe_hash: str, duplicates: DuplicateRecipe) -> None:
        self._lake = lake
        self._recipe_hash = recipe_hash
        self._duplicates = duplicates
        self.rows: dict[str, Row] = {row["uri"]: row for row in lake.read("sources").to_pylist()}
        self._leader: dict[str, str] = {}  # union-find over source ids
        for row in self.rows.values():
            if row["status"] == "duplicate" and row["recipe"] == recipe_hash:
                self._join(row["source_id"], row["duplicate_of"])
        self._changed: set[str] = set()
        self._results: list[FilmResult] = []
        self.new_sources = 0

    def is_known(self, film: Found) -> bool:
        """True when this very file was already judged by this recipe: it need not be opened."""
        row = self.rows.get(film.uri)
        return (
            row is not None
            and row["size_bytes"] == film.size_bytes
            and row["mtime_ns"] == film.mtime_ns
            and row["recipe"] == self._recipe_hash
        )

    def adopt(self, film: Found, source_id: str) -> bool:
        """Record a copied, moved or touched file whose content is known; False when it is new.

        The row of a file that moved here is given up.
        """
        same = [
            row
            for row in self._rows_of(source_id)
            if row["recipe"] == self._recipe_hash and row["status"] != "quarantined"
        ]
        if not same:
            return False
        self._put({**same[0], **film.facts()})
        for row in same:
            if row["uri"] != film.uri and not is_there(row["uri"]):
                del self.rows[row["uri"]]
                self._changed.add(row["uri"])
        self._settle(source_id)
        return True

    def add(self, result: FilmResult) -> None:
        """Take in one film that was read."""
        row = result.source
        known = self.rows.get(row["uri"])
        self._results.append(result)
        self._put(row)
        self.new_sources += known is None or known["source_id"] != row["source_id"]
        if result.stage:
            return
        for other in self._distinct():
            if other["source_id"] != row["source_id"] and same_film(
                row["hash_video"], other["hash_video"], self._duplicates
            ):
                self._join(row["source_id"], other["source_id"])
        self._settle(row["source_id"])

    def add_unreadable(self, film: Found, reason: str) -> None:
        """Take in a file that the system does not let us read."""
        source = {**film.facts(), "source_id": None, "recipe": self._recipe_hash}
        self.add(quarantined(source, "open", "the file cannot be read", reason))

    @property
    def pending_bytes(self) -> int:
        """Clip bytes that wait in memory for `flush`."""
        return sum(len(data) for result in self._results for data in result.clip_bytes.values())

    def flush(self) -> None:
        """Write what waits. The source rows come last: until then a film counts as not read."""
        kept = [r for r in self._results if self.rows[r.source["uri"]]["status"] == "accepted"]
        self._lake.write_clip_bytes(
            {clip_id: data for r in kept for clip_id, data in r.clip_bytes.items()}
        )
        self._lake.upsert("clips", [row for result in kept for row in result.clips])
        bad = [result for result in self._results if result.stage]
        quarantine.record(self._lake, [_quarantine_row(result) for result in bad])
        quarantine.release(self._lake, self._changed - {result.source["uri"] for result in bad})
        gone = sorted(uri for uri in self._changed if uri not in self.rows)
        delete_rows(self._lake, "sources", "uri", gone)
        there = sorted(self._changed.difference(gone))
        self._lake.upsert("sources", [self.rows[uri] for uri in there])
        self._results, self._changed = [], set()

    def tidy(self) -> None:
        """Remove clips and bytes that no accepted source vouches for: of a duplicate, of a film
        that changed, of a recipe that is no longer used, of a run that was killed."""
        accepted = {
            row["source_id"]: row["recipe"]
            for row in self.rows.values()
            if row["status"] == "accepted"
        }
        clips = self._lake.read("clips", ["clip_id", "source_id", "recipe"])
        columns = (clips[name].to_pylist() for name in ("clip_id", "source_id", "recipe"))
        kept, stale = set[str](), list[str]()
        for clip_id, source_id, recipe in zip(*columns, strict=True):
            if source_id in accepted and accepted[source_id] == recipe:
                kept.add(clip_id)
            else:
                stale.append(clip_id)
        delete_rows(self._lake, "clips", "clip_id", stale)
        stored = self._lake.read("clip_bytes", ["clip_id"])["clip_id"].to_pylist()
        delete_rows(self._lake, "clip_bytes", "clip_id", [c for c in stored if c not in kept])

    def _put(self, row: Row) -> None:
        self.rows[row["uri"]] = row
        self._changed.add(row["uri"])

    def _rows_of(self, source_id: str) -> list[Row]:
        return [row for row in self.rows.values() if row["source_id"] == source_id]

    def _distinct(self) -> list[Row]:
        """One row for each readable content."""
        readable = (row for row in self.rows.values() if row["status"] != "quarantined")
        return list({row["source_id"]: row for row in readable}.values())

    def _settle(self, source_id: str) -> None:
        """Decide which copy is kept among all films that are the same as this one.

        The best: most pixels, then most bytes, then the smaller id; of its files the first URI.
        Films only join a group, so a film that lost once can never win later.
        """
        leader = self._find(source_id)
        group = [
            row
            for row in self.rows.values()
            if row["status"] != "quarantined" and self._find(row["source_id"]) == leader
        ]
        best = min(
            group,
            key=lambda r: (-r["width"] * r["height"], -r["size_bytes"], r["source_id"], r["uri"]),
        )
        for row in group:
            accepted = row is best
            status = "accepted" if accepted else "duplicate"
            of = None if accepted else best["source_id"]
            if (row["status"], row["duplicate_of"]) != (status, of):
                self._put({**row, "status": status, "duplicate_of": of})

    def _find(self, source_id: str) -> str:
        while (above := self._leader.get(source_id, source_id)) != source_id:
            source_id = above
        return source_id

    def _join(self, one: str, other: str) -> None:
        one, other = sorted((self._find(one), self._find(other)))
        if one != other:
            self._leader[other] = one


def funnel(lake: Lake, ledger: Ledger, films: Sequence[Found]) -> dict[str, Any]:
    """What became of these files: counts at every step, and why clips were rejected."""
    rows = [ledger.rows[film.uri] for film in films]
    status: dict[str, int] = defaultdict(int)
    for row in rows:
        status[row["status"]] += 1
    accepted = {row["source_id"]: row for row in rows if row["status"] == "accepted"}
    clips = lake.read("clips", ["source_id", "status", "reason", "start_s", "end_s"])
    rejected: dict[str, int] = defaultdict(int)
    count, seconds = 0, 0.0
    for clip in clips.to_pylist():
        if clip["source_id"] not in accepted:
            continue
        if clip["status"] == "rejected":
            rejected[clip["reason"]] += 1
        else:
            count += 1
            seconds += clip["end_s"] - clip["start_s"]
    return {
        "files": len(films),
        "duplicates": status["duplicate"],
        "quarantined": status["quarantined"],
        "accepted": status["accepted"],
        "shots": sum(row["num_shots"] for row in accepted.values()),
        "clips": count,
        "rejected": dict(rejected),
        "seconds": round(seconds, 3),
    }


def _quarantine_row(result: FilmResult) -> Row:
    uri = result.source["uri"]
    return {"uri": uri, "stage": result.stage, "reason": result.reason, "error": result.error}
