"""How long a lesson's parts last: the speed at which narration is read decides.

Everything is counted in whole frames, so captions, chapters and film agree to the frame.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from serving.workflows.captions import SHORTEST_CUE_S, split_words
from serving.workflows.typesetting import is_wide

if TYPE_CHECKING:
    from serving.workflows.lesson.plan import LessonPlan, Segment

PAUSE_S = 1.0  # after a narration, before the next card
CARD_S = 2.5  # the least time that a card is shown
WIDE_PER_WORD = 2  # Chinese and Japanese are read at about two characters for a word

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
    """The narration in pieces of at most two lines, each for as long as it takes to read.

    The last one of a segment may stay on in the pause after it.
    """
    for part in parts:
        if part.kind != "segment":
            continue
        pieces = split_words(plan.segments[part.index].narration)
        spoken_s = part.num_frames / plan.fps - PAUSE_S
        weights = [count_words(piece) for piece in pieces]
        start_s = part.start / plan.fps
        for piece, weight in zip(pieces, weights, strict=True):
            end_s = start_s + spoken_s * weight / sum(weights)
            if piece is pieces[-1]:
                end_s = min(max(end_s, start_s + SHORTEST_CUE_S), part.end / plan.fps)
            yield Cue(start_s=start_s, end_s=end_s, text=piece)
            start_s = end_s


def chapters(plan: "LessonPlan", parts: Sequence[FilmPart]) -> Iterator[tuple["Segment", Cue]]:
    """Each segment with the stretch from its card to its end."""
    for card, part in itertools.pairwise(parts):
        if part.kind == "segment":
            segment = plan.segments[part.index]
            start_s, end_s = card.start / plan.fps, part.end / plan.fps
            yield segment, Cue(start_s=start_s, end_s=end_s, text=segment.title)
