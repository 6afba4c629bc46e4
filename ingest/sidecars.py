"""Captions that users put beside a film: timed WebVTT cues, or one text for the whole film."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import webvtt

SUFFIXES = (".vtt", ".txt")  # the first that exists beside the film counts
MIN_OVERLAP = 0.5  # of the clip


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
    """The cues of a `.vtt` file, or the whole of a `.txt` file as one cue without end.

    Raises:
        CaptionFileError: it does not parse, or says nothing.
    """
    try:
        if path.suffix.lower() == ".txt":
            cues = [Cue(0.0, float("inf"), _one_line(path.read_text(encoding="utf-8-sig")))]
        else:
            cues = [
                Cue(_seconds(cue.start), _seconds(cue.end), _one_line(cue.text))
                for cue in webvtt.read(str(path), strict=True).captions
            ]
    except webvtt.errors.MalformedFileError as error:
        raise CaptionFileError(
            "not a WebVTT file: its first line is not WEBVTT", str(error)
        ) from error
    except webvtt.errors.MalformedCaptionError as error:
        raise CaptionFileError("a cue of the WebVTT file does not parse", str(error)) from error
    except UnicodeDecodeError as error:
        raise CaptionFileError("the caption file is not UTF-8 text", str(error)) from error
    except OSError as error:
        raise CaptionFileError("the caption file cannot be read", str(error.strerror)) from error
    backwards = next((cue for cue in cues if cue.end_s <= cue.start_s), None)
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


def _seconds(timestamp: str) -> float:
    """Of "hh:mm:ss.ttt"; webvtt's own start_in_seconds drops the fraction."""
    hours, minutes, seconds = timestamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _one_line(text: str) -> str:
    return " ".join(text.split())
