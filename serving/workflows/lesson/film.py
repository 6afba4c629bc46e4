"""The film of a lesson, frame by frame: cards, segments under their labels, sources."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from infra.video import each_frame
from serving.workflows.deliverable import Takes
from serving.workflows.lesson.cards import Cards
from serving.workflows.lesson.timing import FilmPart
from serving.workflows.overlay import Frames, blend


def film_frames(
    cards: Cards, takes: Takes, parts: Sequence[FilmPart], *, draft: bool
) -> Iterator[Frames]:
    """Every frame (H, W, 3) of the lesson; one is in memory at a time."""
    for part in parts:
        if part.kind == "title":
            yield from itertools.repeat(cards.title(), part.num_frames)
        elif part.kind == "card":
            yield from itertools.repeat(cards.card(part.index), part.num_frames)
        elif part.kind == "sources":
            yield from itertools.repeat(cards.sources(part.index), part.num_frames)
        else:
            yield from _segment_frames(cards, takes, part, draft=draft)


def _segment_frames(cards: Cards, takes: Takes, part: FilmPart, *, draft: bool) -> Iterator[Frames]:
    segment = cards.plan.segments[part.index]
    width, height = cards.size
    path = takes.chosen(segment.id).path
    patches = cards.labels(segment, part.index, draft=draft)
    shown = 0
    frame: Frames = np.zeros((height, width, 3), np.uint8)
    while shown < part.num_frames:
        for taken in itertools.islice(each_frame(path, (height, width)), part.num_frames - shown):
            frame = blend(taken, patches)
            shown += 1
            yield frame
        if segment.fit == "hold":
            break
    yield from itertools.repeat(frame, part.num_frames - shown)
