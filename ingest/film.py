"""One film, from its file to the rows and bytes that the lake will hold. Pure but for reading."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from infra.recipes import fingerprint
from ingest.clips import Extract, Span, clip_id, extract, plan
from ingest.decode import Film, UnreadableError, read_film
from ingest.duplicates import SignatureMeter
from ingest.finder import ShotFinder
from ingest.recipe import IngestRecipe
from ingest.scores import ScoreMeter
from ingest.shots import Boundary, spans

Row = dict[str, Any]

NOTHING: Row = dict.fromkeys(
    ("duplicate_of", "container", "codec", "width", "height", "fps", "duration_s", "num_frames",
     "num_shots", "boundaries_json", "hash_video")
)  # fmt: skip


@dataclass(kw_only=True)
class FilmResult:
    """What one film became. A quarantined one has no clips, and says at which stage and why."""

    source: Row
    clips: list[Row] = field(default_factory=list)
    clip_bytes: dict[str, bytes] = field(default_factory=dict)
    stage: str = ""
    reason: str = ""
    error: str = ""


@dataclass
class _Seen:
    """Everything that one decode pass shows."""

    film: Film
    boundaries: list[Boundary]
    scores: ScoreMeter
    signature: SignatureMeter


def ingest_film(path: Path, source: Row, recipe: IngestRecipe) -> FilmResult:
    """Read the film and make its rows and bytes; `source` holds uri, source_id, size and time.

    Never raises for what the file holds: a film that cannot be used comes back quarantined.
    """
    cv2.setNumThreads(1)
    source = {**NOTHING, **source, "recipe": fingerprint(recipe)}
    try:
        seen = _see(path, recipe)
        _check_whole(seen.film, recipe)
        return _result(path, source, seen, recipe)
    except UnreadableError as error:
        return quarantined(source, error.stage, error.reason, error.words)
    except Exception as error:
        # One strange file must not end a run of thousands; its row says what happened.
        words = f"{type(error).__name__}: {error}"
        return quarantined(source, "ingest", "the film could not be processed", words)


def quarantined(source: Row, stage: str, reason: str, error: str) -> FilmResult:
    """The result for a file that cannot be used."""
    row = {**NOTHING, **source, "status": "quarantined"}
    return FilmResult(source=row, stage=stage, reason=reason, error=error)


def _see(path: Path, recipe: IngestRecipe) -> _Seen:
    finder: ShotFinder | None = None
    scores, signature = ScoreMeter(30.0), SignatureMeter()
    film: Film | None = None
    for index, (film, image) in enumerate(read_film(path)):
        if finder is None:
            scores = ScoreMeter(film.nominal_fps)
            finder = ShotFinder(recipe.shots, film.nominal_fps)
        finder.process(index, image)
        scores.process(index, image)
        signature.process((film.pts[-1] - film.pts[0]) * film.time_base, image)
    assert film is not None and finder is not None, "read_film raises when there is no frame"
    return _Seen(film, finder.finish(), scores, signature)


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


def _result(path: Path, source: Row, seen: _Seen, recipe: IngestRecipe) -> FilmResult:
    film = seen.film
    shots = spans(seen.boundaries, len(film.pts))
    planned = plan(shots, film.times_s, recipe.clips)
    extracts = dict(extract(path, film, planned, recipe.extraction))
    result = FilmResult(
        source={
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
        }
    )
    for span in planned:
        row = _clip_row(source, seen, span, extracts.get(span), recipe)
        result.clips.append(row)
        if span in extracts:
            result.clip_bytes[row["clip_id"]] = extracts[span].data
    return result


def _clip_row(
    source: Row, seen: _Seen, span: Span, made: Extract | None, recipe: IngestRecipe
) -> Row:
    film, scores = seen.film, seen.scores.span(span.start, span.end)
    start_s, end_s = film.times_s[span.start], film.times_s[span.end]
    source_id = source["source_id"]
    return {
        "clip_id": clip_id(source_id, span, recipe.extraction),
        "source_id": source_id,
        "start_frame": span.start,
        "end_frame": span.end,
        "start_s": round(float(start_s), 6),
        "end_s": round(float(end_s), 6),
        "offset_s": None if made is None else round(made.offset_s, 6),
        "num_frames": span.end - span.start,
        "fps": round(film.span_fps(span.start, span.end), 6),
        "width": film.width,
        "height": film.height,
        "status": "rejected" if made is None else "accepted",
        "reason": span.reason or ("no bytes could be extracted" if made is None else None),
        "motion": scores["motion"],
        "sharpness": scores["sharpness"],
        "luma": scores["luma"],
        "facts_json": json.dumps(scores["facts"]),
        "split": split_of(source_id),
        "recipe": source["recipe"],
    }


def split_of(source_id: str) -> str:
    """A whole film is for training or for validation, by its content alone."""
    return "val" if int(source_id[:8], 16) % 16 == 0 else "train"
