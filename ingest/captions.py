"""Brings the captions of films into their clips: from the file beside the film, else from the
manifest. Compares with what is stored, so that an edited, added or removed caption changes its
clips, and only them, without decoding anything."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from infra.lake import Lake
from ingest import quarantine
from ingest.fetch import FetchError, FilmCache
from ingest.found import Found
from ingest.quarantine import Row
from ingest.sidecars import CaptionFileError, Cue, read_cues, text_for, whole_film
from ingest.sources import is_there

STAGE = "captions"


def apply_captions(
    lake: Lake, sources: Mapping[str, Row], films: Sequence[Found], cache: FilmCache
) -> int:
    """Set `sidecar` of every clip of these films; returns how many of their clips have a text.

    What the file beside the film says of a clip comes before the manifest's one text. A clip whose
    text changed loses the caption made from the old one. Caption files that do not parse go to
    quarantine, their films stay.
    """
    clips = _clips_by_source(lake)
    judged: dict[str, CaptionFileError | None] = {}
    changed: list[Row] = []
    captioned = 0
    for film in films:
        source = sources[film.uri]
        if source["status"] != "accepted" or film.problem:
            continue
        cues = _cues(film, cache, judged)
        if cues is None:
            continue
        rest = [whole_film(source["caption"])] if source["caption"] else []
        for clip in clips[source["source_id"]]:
            span = clip["start_s"], clip["end_s"]
            text = text_for(cues, *span) or text_for(rest, *span)
            captioned += text is not None
            if text != clip["sidecar"]:
                changed.append(_new_text(clip["clip_id"], text))
    lake.upsert("clips", changed)
    _quarantine(lake, judged)
    return captioned


def _clips_by_source(lake: Lake) -> dict[str, list[Row]]:
    columns = ["clip_id", "source_id", "start_s", "end_s", "sidecar"]
    by_source = defaultdict(list)
    for clip in lake.read("clips", columns).to_pylist():
        by_source[clip["source_id"]].append(clip)
    return by_source


def _cues(
    film: Found, cache: FilmCache, judged: dict[str, CaptionFileError | None]
) -> list[Cue] | None:
    """None when nobody can say now: then the clips keep what they have."""
    if film.captions is None:
        return []
    uri = film.captions.uri
    if film.captions.problem:
        judged[uri] = CaptionFileError(film.captions.problem, "")
        return []
    judged[uri] = None
    try:
        path = cache.fetch(film.captions).path
        assert path is not None, "fetched"
        return read_cues(path)
    except FetchError as error:
        judged[uri] = CaptionFileError("the caption file could not be fetched", error.words)
        return None
    except CaptionFileError as error:
        judged[uri] = error
        return []


def _new_text(clip_id: str, text: str | None) -> Row:
    cleared = dict.fromkeys(("caption", "caption_source", "caption_score", "caption_version"))
    return {"clip_id": clip_id, "sidecar": text, **cleared}


def _quarantine(lake: Lake, judged: Mapping[str, CaptionFileError | None]) -> None:
    """Write only what changed: a refresh that finds nothing new commits nothing."""
    columns = ["uri", "stage", "reason", "error"]
    held = lake.read("quarantine", columns, where=f"stage = '{STAGE}'").to_pylist()
    broken = [
        {"uri": uri, "stage": STAGE, "reason": error.reason, "error": error.words}
        for uri, error in judged.items()
        if error is not None
    ]
    quarantine.record(lake, [row for row in broken if row not in held])
    mended = [r["uri"] for r in held if judged.get(r["uri"], r) is None or not is_there(r["uri"])]
    quarantine.release(lake, mended)
