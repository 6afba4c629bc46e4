"""Captions that users put beside a film: timed ones (WebVTT, JSON), or one text for all of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import webvtt

SUFFIXES = (".vtt", ".json", ".txt")  # the first that exists beside the film counts
MAX_BYTES = 16 << 20
MIN_OVERLAP = 0.5  # of the clip
FORMS = 'a list of {"start", "end", "text"} in seconds, or one {"caption": text}'


@dataclass(frozen=True)
class Cue:
    """A text and when it holds, seconds since the film's first frame."""

    start_s: float
    end_s: float
    text: str


class CaptionFileError(Exception):
    """A caption file that cannot be used; `words` are the parser's own."""

    def __init__(self, reason: str, words: str = "") -> None:
        super().__init__(reason)
        self.reason, self.words = reason, words


def read_cues(path: Path) -> list[Cue]:
    """The cues of a `.vtt` or `.json` file; the whole of a `.txt` file as one cue without end.

    Raises:
        CaptionFileError: it does not parse, or says nothing.
    """
    readers = {".txt": _text_cues, ".json": _json_cues, ".vtt": _vtt_cues}
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise CaptionFileError(
                f"the caption file has {size / 2**20:.0f} MiB; at most {MAX_BYTES >> 20} are read"
            )
        cues = readers[path.suffix.lower()](path)
    except webvtt.errors.MalformedFileError as error:
        raise CaptionFileError(
            "not a WebVTT file: its first line is not WEBVTT", str(error)
        ) from error
    except webvtt.errors.MalformedCaptionError as error:
        raise CaptionFileError("a cue of the WebVTT file does not parse", str(error)) from error
    except UnicodeDecodeError as error:
        raise CaptionFileError("the caption file is not UTF-8 text", str(error)) from error
    except (ValueError, RecursionError) as error:
        raise CaptionFileError("the caption file does not parse", str(error)) from error
    except OSError as error:
        raise CaptionFileError("the caption file cannot be read", str(error.strerror)) from error
    backwards = next((cue for cue in cues if not cue.end_s > cue.start_s), None)
    if backwards is not None:
        raise CaptionFileError(f"the cue at {backwards.start_s:g} s ends before it begins")
    if not any(cue.text for cue in cues):
        raise CaptionFileError("the caption file holds no text")
    return cues


def text_for(cues: Sequence[Cue], start_s: float, end_s: float) -> str | None:
    """The text that holds for most of [start_s, end_s), when it does for at least half of it."""
    overlaps = [min(cue.end_s, end_s) - max(cue.start_s, start_s) for cue in cues]
    best = max(range(len(cues)), key=lambda index: overlaps[index], default=None)
    if best is None or overlaps[best] < MIN_OVERLAP * (end_s - start_s):
        return None
    return cues[best].text or None


def whole_film(text: str) -> Cue:
    """One text as a cue without end."""
    return Cue(0.0, float("inf"), _one_line(text))


def _text_cues(path: Path) -> list[Cue]:
    return [whole_film(path.read_text(encoding="utf-8-sig"))]


def _vtt_cues(path: Path) -> list[Cue]:
    return [
        Cue(_seconds(cue.start), _seconds(cue.end), _one_line(cue.text))
        for cue in webvtt.read(str(path), strict=True).captions
    ]


def _json_cues(path: Path) -> list[Cue]:
    found = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(found, dict) and isinstance(found.get("caption"), str):
        return [whole_film(found["caption"])]
    if not isinstance(found, list):
        raise CaptionFileError(f"the JSON file holds no captions: {FORMS}")
    return [_json_cue(number, entry) for number, entry in enumerate(found, start=1)]


def _json_cue(number: int, entry: Any) -> Cue:
    if isinstance(entry, dict):
        start, end, text = (entry.get(name) for name in ("start", "end", "text"))
        if (
            isinstance(start, int | float)
            and isinstance(end, int | float)
            and isinstance(text, str)
        ):
            return Cue(float(start), float(end), _one_line(text))
    raise CaptionFileError(f"entry {number} of the JSON captions is none of {FORMS}", repr(entry))


def _seconds(timestamp: str) -> float:
    """Of "hh:mm:ss.ttt"; webvtt's own start_in_seconds drops the fraction."""
    hours, minutes, seconds = timestamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _one_line(text: str) -> str:
    return " ".join(text.split())
