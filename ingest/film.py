"""One film, from its file to the rows and clip files that the lake will hold."""

import ctypes
import errno
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from infra.recipes import fingerprint
from infra.splits import split_of
from ingest.clips import Span, clip_id, extract, plan
from ingest.containers import UnreadableError
from ingest.decode import Film, read_film
from ingest.duplicates import SignatureMeter
from ingest.finder import ShotFinder
from ingest.recipe import IngestRecipe
from ingest.scores import ScoreMeter
from ingest.shots import Boundary, spans

Row = dict[str, Any]

NOTHING: Row = dict.fromkeys(
    ("duplicate_of", "container", "codec", "width", "height", "fps", "duration_s", "num_frames",
     "num_shots", "boundaries_json", "hash_video", "interlaced")
)  # fmt: skip


OUT_OF_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(kw_only=True)
class FilmResult:
    """What one film became. A quarantined one has no clips, and says at which stage and why."""

    source: Row
    clips: list[Row] = field(default_factory=list)
    stage: str = ""
    reason: str = ""
    error: str = ""
    folder: Path | None = None
    """Holds the bytes of clips, each in a file named by its id."""
    peak_bytes: int = 0
    """The most memory that reading it took, when a child process read it."""

    @property
    def clip_files(self) -> dict[str, Path]:
        """The file of each clip that has one, by clip id; a rejected one may."""
        if self.folder is None:
            return {}
        kept = (row["clip_id"] for row in self.clips if row["offset_s"] is not None)
        return {clip_id: self.folder / clip_id for clip_id in kept}

    def forget_files(self) -> None:
        """Remove the clips' files; the lake has what it wants of them."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class _Seen:
    """Everything that one decode pass shows."""

    film: Film
    boundaries: list[Boundary]
    scores: ScoreMeter
    signature: SignatureMeter


def ingest_film(path: Path, source: Row, recipe: IngestRecipe, folder: Path) -> FilmResult:
    """Read the film, make its rows and write its clips into `folder`.

    `source` holds uri, source_id, size and time. Never raises for what the file holds: a film
    that cannot be used comes back quarantined. `ingest.sandbox` calls this in a child process.

    Raises:
        OSError: `folder` cannot be written.
    """
    cv2.setNumThreads(1)
    source = {**NOTHING, **source, "recipe": fingerprint(recipe)}
    try:
        seen = _see(path, recipe)
        _return_memory()
        _check_whole(seen.film, recipe)
        return _result(path, source, seen, recipe, folder)
    except UnreadableError as error:
        return quarantined(source, error.stage, error.reason, error.words)
    except MemoryError as error:
        return quarantined(source, "decode", "reading it takes too much memory", str(error))
    except Exception as error:
        if getattr(error, "errno", 0) in OUT_OF_DISK:
            raise
        # One strange file must not end a run of thousands; its row says what happened.
        words = f"{type(error).__name__}: {error}"
        return quarantined(source, "ingest", "the film could not be processed", words)


def quarantined(source: Row, stage: str, reason: str, error: str) -> FilmResult:
    """The result for a file that cannot be used."""
    row = {**NOTHING, **source, "status": "quarantined"}
    return FilmResult(source=row, stage=stage, reason=reason, error=error)


def _see(path: Path, recipe: IngestRecipe) -> _Seen:
    finder: ShotFinder | None = None
    scores, signature = ScoreMeter(30.0, recipe.scores), SignatureMeter()
    film: Film | None = None
    for index, (film, image) in enumerate(read_film(path)):
        if finder is None:
            scores = ScoreMeter(film.nominal_fps, recipe.scores)
            finder = ShotFinder(recipe.shots, film.nominal_fps)
        finder.process(index, image)
        scores.process(index, image)
        signature.process((film.pts[-1] - film.pts[0]) * film.time_base, image)
    assert film is not None and finder is not None, "read_film raises when there is no frame"
    return _Seen(film, finder.finish(), scores, signature)


def _return_memory() -> None:
    """What looking took goes back to the system, before a long film's index is read once more."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone holds on to so much
    if trim is not None:
        trim(0)


def _check_whole(film: Film, recipe: IngestRecipe) -> None:
    missing_s = film.declared_s - film.duration_s
    words = "; ".join(film.words[:3])
    if missing_s > max(0.5, recipe.max_missing * film.declared_s):
        raise UnreadableError(
            "decode",
            f"the film is cut off: {film.duration_s:.1f} s of {film.declared_s:.1f} s are there",
            words,
        )
    if film.damaged > recipe.max_damage * len(film.pts):
        raise UnreadableError(
            "decode", f"{film.damaged} of {len(film.pts)} frames are damaged", words
        )


def _result(path: Path, source: Row, seen: _Seen, recipe: IngestRecipe, folder: Path) -> FilmResult:
    film = seen.film
    shots = spans(seen.boundaries, len(film.pts))
    planned = plan(shots, film.times_s, recipe.clips)
    ids = {span: clip_id(source["source_id"], span, recipe.extraction) for span in planned}
    targets = {span: folder / ids[span] for span in planned}
    offsets_s = extract(path, film, targets, recipe.extraction)
    source = {
        **source,
        "status": "accepted",
        "container": film.container,
        "codec": film.codec,
        "width": film.width,
        "height": film.height,
        "fps": round(film.fps, 6),
        "duration_s": round(film.duration_s, 6),
        "num_frames": len(film.pts),
        "num_shots": len(shots),
        "boundaries_json": json.dumps([b.to_dict() for b in seen.boundaries]),
        "hash_video": seen.signature.signature(film.duration_s),
        "interlaced": film.interlaced,
    }
    rows = [
        _clip_row(source, seen, span, offsets_s.get(span)) | {"clip_id": ids[span]}
        for span in planned
    ]
    return FilmResult(source=source, clips=rows, folder=folder)


def _clip_row(source: Row, seen: _Seen, span: Span, offset_s: float | None) -> Row:
    film = seen.film
    scores = seen.scores.span(span.start, span.end, film.times_s)
    facts = scores.pop("facts")
    source_id = source["source_id"]
    return {
        "source_id": source_id,
        "start_frame": span.start,
        "end_frame": span.end,
        "start_s": round(float(film.times_s[span.start]), 6),
        "end_s": round(float(film.times_s[span.end]), 6),
        "offset_s": None if offset_s is None else round(offset_s, 6),
        "num_frames": span.end - span.start,
        "fps": round(film.span_fps(span.start, span.end), 6),
        "width": film.width,
        "height": film.height,
        "status": "rejected" if span.reason or offset_s is None else "accepted",
        "reason": span.reason or ("no bytes could be extracted" if offset_s is None else None),
        **scores,
        "facts_json": json.dumps(facts),
        "split": split_of(source_id),
        "recipe": source["recipe"],
    }
