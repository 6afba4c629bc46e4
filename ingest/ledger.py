"""The books of one refresh: what the lake knows, what is new, which of several copies is kept,
what was withdrawn and stays so.

What the lake holds in the end depends only on the footage, not on the order in which films were
read, nor on how often the run was interrupted: clips are written before the source row that
vouches for them, and `tidy` removes what no source row vouches for.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from infra.lake import Lake
from infra.lake_schema import TABLES
from ingest import quarantine
from ingest.duplicates import KnownFilms
from ingest.film import FilmResult, quarantined
from ingest.found import Found
from ingest.quarantine import Row, delete_rows
from ingest.recipe import DuplicateRecipe
from ingest.sources import is_there

ROWS_A_COMMIT = 1024  # with their signatures, which may be 70 kB each

GIVEN: Row = dict.fromkeys(("licence", "caption", "tags"))
"""What only a manifest says of a film."""


class Ledger:
    """Source rows by URI, groups of films that are the same, and rows not written yet.

    status: accepted | duplicate | quarantined | withdrawn. A withdrawn row outlives its file and
    every recipe: the same content, or the same film in other bytes, is withdrawn on sight.
    """

    def __init__(
        self,
        lake: Lake,
        recipe_hash: str,
        duplicates: DuplicateRecipe,
        folder: Path | None = None,
    ) -> None:
        self._lake = lake
        self._recipe_hash = recipe_hash
        self._duplicates, self._folder = duplicates, folder
        # Without `hash_video`, which is in `_films`: rows stay in memory.
        columns = [name for name in TABLES["sources"].plain_columns if name != "hash_video"]
        found = lake.read("sources", columns).to_pylist()
        self.rows: dict[str, Row] = {row["uri"]: row for row in found}
        self._uris: dict[str | None, set[str]] = defaultdict(set)  # by content
        self._leader: dict[str, str] = {}  # union-find over source ids
        self._members: dict[str, set[str]] = {}  # all source ids, by their leader
        self._best: dict[str, str] = {}  # URI of the film that is kept, by leader; of some groups
        for row in self.rows.values():
            self._uris[row["source_id"]].add(row["uri"])
        for row in self.rows.values():
            if row["duplicate_of"] and self._stands(row):
                self._join(row["source_id"], row["duplicate_of"])
        self._changed: set[str] = set()
        self._results: list[FilmResult] = []
        held = lake.read("quarantine", ["uri", "stage", "reason", "error"]).to_pylist()
        self._held: dict[str, Row] = {row["uri"]: row for row in held}
        self._refused: set[str] = set()  # though what they held before stays
        self._unwritten: list[Row] = []
        self.new_sources = 0

    @cached_property
    def _films(self) -> KnownFilms:
        """The films in the lake; a refresh that finds nothing new never reads their signatures."""
        films = KnownFilms(self._duplicates, self._folder)
        for row in self._lake.rows("sources", ["source_id", "hash_video"]):
            if row["hash_video"]:
                films.add(row["source_id"], row["hash_video"])
        return films

    def is_known(self, film: Found) -> bool:
        """True when this very file was already judged by this recipe: it need not be opened.

        A film that could not even be opened is tried again every time.
        """
        row = self.rows.get(film.uri)
        if row is None or film.problem or row["source_id"] is None or not film.is_version(row):
            return False
        return self._stands(row)

    def source_id(self, film: Found) -> str | None:
        """The content of this very file when any recipe has seen it: it need not be hashed."""
        row = self.rows.get(film.uri)
        return row["source_id"] if row is not None and film.is_version(row) else None

    def adopt(self, films: Sequence[Found], source_id: str) -> bool:
        """Record copied, moved or touched files whose content is known; False when it is new.

        The rows of files that moved here are given up. Told of all copies at once, it looks at
        each file of that content once.
        """
        same = [
            row
            for row in self._rows_of(source_id)
            if row["status"] != "quarantined" and self._stands(row)
        ]
        if not same:
            return False
        known = {row["uri"]: row for row in same}
        for film in films:
            self._put({**known.get(film.uri, same[0]), **film.facts()})
        for uri in known.keys() - {film.uri for film in films}:
            if not is_there(uri):
                self._remove(uri)
        self._settle(source_id)
        return True

    def add(self, result: FilmResult) -> None:
        """Take in one film that was read."""
        row = result.source
        known = self.rows.get(row["uri"])
        is_new = known is None or known["source_id"] != row["source_id"]
        given = GIVEN if known is None or is_new else {name: known[name] for name in GIVEN}
        self._results.append(result)
        self._put({**row, **given})
        self.new_sources += is_new
        if result.stage:
            return
        own: str = row["source_id"]
        # One of a group is enough: the others need not be compared.
        same = self._films.same_as(
            self._films.signature(own),
            skip=lambda other: not self._uris[other] or self._find(other) == self._find(own),
        )
        alone, best = self._find(own) not in self._members, list[str | None]()
        for other in same:
            best.append(self._best.get(self._find(other)))
            self._join(own, other)
        if alone and len(best) == 1 and best[0] is not None:
            self._best[self._find(own)] = best[0]  # one more in a group that is settled
        self._settle(own)

    def refuse(self, film: Found, stage: str, reason: str, words: str = "") -> None:
        """Take in a file that cannot be opened now. What it held before, if anything, stays: a
        store that does not answer for a day must not cost the films in it."""
        self._refused.add(film.uri)
        row, refusal = self.rows.get(film.uri), _quarantine_row(film.uri, stage, reason, words)
        if row is not None and self._held.get(film.uri) == refusal:
            return
        if row is None or row["status"] == "quarantined":
            source = {**film.facts(), "source_id": None, "recipe": self._recipe_hash}
            self.add(quarantined(source, stage, reason, words))
        else:
            self._unwritten.append(refusal)

    def describe(self, films: Sequence[Found]) -> None:
        """Take over what a manifest says of these films."""
        for film in films:
            row = self.rows[film.uri]
            new = {name: value for name, value in film.given.items() if row[name] != value}
            if new and row["status"] != "withdrawn":
                self._put({**row, **new})

    def quarantined(self) -> set[str]:
        """The URIs of films that cannot be used."""
        return {uri for uri, row in self.rows.items() if row["status"] == "quarantined"}

    def clear_quarantine(self, films: Sequence[Found], gone: Iterable[str]) -> None:
        """Let go of the films that turned out well, and of quarantined ones that are no more."""
        well = {film.uri for film in films} - self.quarantined() - self._refused
        gone = sorted(gone)
        for uri in gone:
            self._remove(uri)
        self.flush()
        quarantine.release(self._lake, well.union(gone))

    @property
    def pending_bytes(self) -> int:
        """Clip bytes that wait in files for `flush`."""
        files = (file for result in self._results for file in result.clip_files.values())
        return sum(file.stat().st_size for file in files)

    def flush(self) -> None:
        """Write what waits. The source rows come last: until then a film counts as not read."""
        kept = [r for r in self._results if self.rows[r.source["uri"]]["status"] == "accepted"]
        self._lake.write_clip_bytes(
            {clip_id: file for result in kept for clip_id, file in result.clip_files.items()}
        )
        self._lake.upsert("clips", [row for result in kept for row in result.clips])
        bad = [
            _quarantine_row(r.source["uri"], r.stage, r.reason, r.error)
            for r in self._results
            if r.stage
        ]
        quarantine.record(self._lake, bad + self._unwritten)
        gone = sorted(uri for uri in self._changed if uri not in self.rows)
        delete_rows(self._lake, "sources", "uri", gone)
        there = sorted(self._changed.difference(gone))
        for first in range(0, len(there), ROWS_A_COMMIT):
            some = there[first : first + ROWS_A_COMMIT]
            self._lake.upsert("sources", [self._whole(self.rows[uri]) for uri in some])
        for result in self._results:
            result.forget_files()
        self._results, self._unwritten, self._changed = [], [], set()

    def tidy(self) -> None:
        """Remove clips, captions and bytes that no accepted source vouches for: of a duplicate, of
        a film that changed, of a recipe that is no longer used, of a run that was killed."""
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
        # Captions before clips: a clip that is gone can no longer tell which captions were its own.
        told = set(self._lake.read("captions", ["clip_id"])["clip_id"].to_pylist())
        delete_rows(self._lake, "captions", "clip_id", sorted(told - kept))
        delete_rows(self._lake, "clips", "clip_id", stale)
        stored = self._lake.read("clip_bytes", ["clip_id"])["clip_id"].to_pylist()
        delete_rows(self._lake, "clip_bytes", "clip_id", [c for c in stored if c not in kept])

    def _stands(self, row: Row) -> bool:
        """Whether what a row says still counts under this recipe."""
        return self._recipe_hash == row["recipe"] or bool(row["status"] == "withdrawn")

    def _put(self, row: Row) -> None:
        """Take over a row; its signature goes where those of all films are."""
        self._remove(row["uri"])
        if signature := row.get("hash_video"):
            self._films.add(row["source_id"], signature)
        self.rows[row["uri"]] = {k: value for k, value in row.items() if k != "hash_video"}
        self._uris[row["source_id"]].add(row["uri"])

    def _whole(self, row: Row) -> Row:
        """The row as the lake has it, with its film's signature."""
        read = row["status"] != "quarantined" and row["source_id"] in self._films
        signature = self._films.signature(row["source_id"]) if read else None
        return {**row, "hash_video": signature}

    def _remove(self, uri: str) -> None:
        if (row := self.rows.pop(uri, None)) is not None:
            self._uris[row["source_id"]].discard(uri)
        self._changed.add(uri)

    def _rows_of(self, source_id: str) -> list[Row]:
        return [self.rows[uri] for uri in sorted(self._uris[source_id])]

    def _settle(self, source_id: str) -> None:
        """Decide which copy is kept among all films that are the same as this one: none, when one
        of them was withdrawn.

        The best: most pixels, then most bytes, then the smaller id; of its files the first URI.
        Films only join a group, so a film that lost once can never win later.
        """
        leader = self._find(source_id)
        if self._loses(source_id, self.rows.get(self._best.get(leader, ""))):
            return
        members = sorted(self._members.get(leader, {leader}))
        rows = [row for member in members for row in self._rows_of(member)]
        group = [row for row in rows if row["status"] != "quarantined"]
        gone = [row for row in group if row["status"] == "withdrawn"]
        if gone:
            first = min(gone, key=lambda r: (r["duplicate_of"] is not None, r["source_id"]))
            for row in group:
                if row["status"] != "withdrawn":
                    self._put(withdrawn({**row, "duplicate_of": first["source_id"]}))
            return
        best = min(group, key=_rank)
        self._best[leader] = best["uri"]
        for row in group:
            self._judge(row, best)

    def _loses(self, source_id: str, best: Row | None) -> bool:
        """Settle the short way: when the film that is kept in a settled group beats all files of
        this content, the rest of the group, which may be thousands, need not be looked at."""
        if best is None or best["status"] != "accepted":
            return False
        if self._find(best["source_id"]) != self._find(source_id):
            return False
        rows = [row for row in self._rows_of(source_id) if row["status"] != "quarantined"]
        if any(row["status"] == "withdrawn" or _rank(row) < _rank(best) for row in rows):
            return False
        for row in rows:
            self._judge(row, best)
        return True

    def _judge(self, row: Row, best: Row) -> None:
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
            self._best.pop(one, None)
            self._best.pop(other, None)
            self._leader[other] = one
            joined = self._members.setdefault(one, {one})
            joined |= self._members.pop(other, {other})


def _rank(row: Row) -> tuple[Any, ...]:
    """The smallest is kept."""
    return (-row["width"] * row["height"], -row["size_bytes"], row["source_id"], row["uri"])


def withdrawn(row: Row) -> Row:
    """What stays of a source that was withdrawn: where it was, and what it takes to know it again
    (the hash of its bytes, and the signature of its pictures: a 6x8 colour grid a second)."""
    kept = ("uri", "source_id", "duplicate_of", "size_bytes", "mtime_ns", "etag", "hash_video",
            "recipe")  # fmt: skip
    held = {name: row[name] for name in kept if name in row}
    return {**dict.fromkeys(row), **held, "status": "withdrawn"}


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
        "withdrawn": status["withdrawn"],
        "accepted": status["accepted"],
        "shots": sum(row["num_shots"] for row in accepted.values()),
        "clips": count,
        "rejected": dict(rejected),
        "seconds": round(seconds, 3),
    }


def _quarantine_row(uri: str, stage: str, reason: str, words: str) -> Row:
    return {"uri": uri, "stage": stage, "reason": reason, "error": words}
