"""How long a lesson's parts last: the speed at which narration is read decides.

Everything is counted in whole frames, so captions, chapters and film agree to the frame.
"""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from serving.workflows.typesetting import is_wide

if TYPE_CHECKING:
    from serving.workflows.lesson.plan import LessonPlan, Segment

PAUSE_S = 1.0  # after a narration, before the next card
CARD_S = 2.5  # the least time that a card is shown
CUE_CHARS, LINE_CHARS = 84, 42  # two lines, as broadcasters' captioning guides have them
SENTENCE_CHARS = 30  # a cue that ends with a sentence need not be filled further
WIDE_PER_WORD = 2  # Chinese and Japanese are read at about two characters for a word
SENTENCE_END = (".", "!", "?", "…", "。", "\uff01", "\uff1f", "؟")

PartKind = Literal["title", "card", "segment", "sources"]


@dataclass(frozen=True, kw_only=True)
class FilmPart:
    """A stretch of the film, in frames. `index` is the segment's, or the page's of the sources."""

    kind: PartKind
    index: int
    start: int
    num_frames: int

    @property
    def end(self) -> int:
        return self.start + self.num_frames


@dataclass(frozen=True, kw_only=True)
class Cue:
    """Words that are shown from `start_s` to `end_s`."""

    start_s: float
    end_s: float
    text: str


def count_words(text: str) -> float:
    """Words as a reader's time counts them."""
    wide = sum(map(is_wide, text))
    spaced = len("".join(" " if is_wide(char) else char for char in text).split())
    return spaced + wide / WIDE_PER_WORD


def reading_s(text: str, words_per_minute: float) -> float:
    return count_words(text) * 60 / words_per_minute


def segment_s(narration: str, words_per_minute: float) -> float:
    """How long a segment lasts."""
    return reading_s(narration, words_per_minute) + PAUSE_S


def generated_s(narration: str, words_per_minute: float, at_most: float) -> float:
    """How much of a segment is generated: no more than is shown, and at least a second."""
    return max(1.0, min(at_most, math.ceil(segment_s(narration, words_per_minute) * 2) / 2))


def film_parts(plan: "LessonPlan", source_pages: int) -> list[FilmPart]:
    """The film in order: title, then for each segment its card and itself, then the sources."""
    speed = plan.words_per_minute
    parts: list[FilmPart] = []

    def add(kind: PartKind, index: int, seconds: float) -> None:
        start = parts[-1].end if parts else 0
        parts.append(
            FilmPart(kind=kind, index=index, start=start, num_frames=math.ceil(seconds * plan.fps))
        )

    words = f"{plan.title} {plan.objective} {plan.audience} {plan.labels.generated}"
    add("title", 0, max(CARD_S, reading_s(words, speed)))
    for index, segment in enumerate(plan.segments):
        add("card", index, max(CARD_S, reading_s(segment.title, speed)))
        add("segment", index, segment_s(segment.narration, speed))
    for page in range(source_pages):
        add("sources", page, 2 * CARD_S)
    return parts


def caption_cues(plan: "LessonPlan", parts: Sequence[FilmPart]) -> Iterator[Cue]:
    """The narration in pieces of at most two lines, each for as long as it takes to read."""
    for part in parts:
        if part.kind != "segment":
            continue
        pieces = split_narration(plan.segments[part.index].narration)
        spoken_s = part.num_frames / plan.fps - PAUSE_S
        weights = [count_words(piece) for piece in pieces]
        start_s = part.start / plan.fps
        for piece, weight in zip(pieces, weights, strict=True):
            end_s = start_s + spoken_s * weight / sum(weights)
            yield Cue(start_s=start_s, end_s=end_s, text=piece)
            start_s = end_s


def chapters(plan: "LessonPlan", parts: Sequence[FilmPart]) -> Iterator[tuple["Segment", Cue]]:
    """Each segment with the stretch from its card to its end."""
    for card, part in itertools.pairwise(parts):
        if part.kind == "segment":
            segment = plan.segments[part.index]
            start_s, end_s = card.start / plan.fps, part.end / plan.fps
            yield segment, Cue(start_s=start_s, end_s=end_s, text=segment.title)


def split_narration(text: str) -> list[str]:
    """Pieces of at most `CUE_CHARS`, which end with a sentence where they can."""
    pieces = [""]
    for word in _words(text):
        ended = pieces[-1].rstrip().endswith(SENTENCE_END) and _room(pieces[-1]) >= SENTENCE_CHARS
        if pieces[-1] and (ended or _room((pieces[-1] + word).rstrip()) > CUE_CHARS):
            pieces.append("")
        pieces[-1] += word
    return [piece.strip() for piece in pieces]


def caption_lines(piece: str) -> str:
    """A piece as one line, or as two that are about as long as each other."""
    if _room(piece) <= LINE_CHARS:
        return piece
    best, line = piece, ""
    words = list(_words(piece))
    for index, word in enumerate(words[:-1]):
        line += word
        rest = "".join(words[index + 1 :])
        longest = max(_room(line.rstrip()), _room(rest))
        if longest < max(map(_room, best.split("\n"))):
            best = f"{line.rstrip()}\n{rest}"
    return best


def _words(text: str) -> list[str]:
    """Words with the space behind them; wide characters, and parts of endless words, alone."""
    found = []
    for word in re.findall(r"\S+\s*", text):
        if any(map(is_wide, word)):
            found.extend(
                re.findall(r"(?:[!-~]+|\S)[、。」』\uff0c\uff0e\uff01\uff1f\uff09]*\s*", word)
            )
        else:
            step = LINE_CHARS - 1
            found.extend(word[at : at + step] for at in range(0, len(word), step))
    return found


def _room(text: str) -> int:
    """The width of text in columns; a wide character takes two."""
    return sum(2 if is_wide(char) else 1 for char in text)
