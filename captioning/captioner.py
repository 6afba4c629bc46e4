"""What a captioner is, and the clips that it is asked about.

    for some, told in captioner.caption(clips):     # as it comes
        ...     # told: [("a dog runs", 0.93), None, ...]; None for what it cannot say now

Four sources speak behind this interface: `sidecar` (what a person wrote), `endpoint` (a
vision-language model on a server), `coca` (a CoCa from open_clip) and `facts` (what was measured).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Told: TypeAlias = tuple[str, float]
"""A caption on one line, and how sure it is, from 0 to 1."""


FREE_BATCH = 10_000


@dataclass(frozen=True, kw_only=True)
class Clip:
    """An accepted clip: where it lies in its stored bytes, its size in pixels, and what is known
    of it without looking."""

    clip_id: str
    offset_s: float
    duration_s: float
    width: int
    height: int
    facts_json: str | None = None
    words: str = ""  # what a person wrote of it, on one line; empty if nobody did


Answers: TypeAlias = Iterator[tuple[Sequence[Clip], Sequence[Told | None]]]
"""Of some clips at a time, a caption and its score for each, or None where there is nothing to say
now."""


class Captioner(Protocol):
    """Captions clips."""

    @property
    def source(self) -> str:
        """Which of `captioning.recipe.SOURCES` it is."""

    @property
    def version(self) -> str:
        """What tells it from the other captioners of its source; the same words, the same
        version."""

    @property
    def free(self) -> bool:
        """True when asking costs nothing: it is then asked about every clip, every time."""

    def caption(self, clips: Sequence[Clip]) -> Answers:
        """Each clip once, in any order; what comes together is stored before it goes on."""


class SidecarCaptioner:
    """What a person wrote of the clip."""

    source, version, free = "sidecar", "", True

    def caption(self, clips: Sequence[Clip]) -> Answers:
        """See `Captioner.caption`; the score is 1."""
        for some in in_batches(clips, FREE_BATCH):
            yield some, [(clip.words, 1.0) if clip.words else None for clip in some]


def in_batches(clips: Sequence[Clip], size: int) -> Iterator[Sequence[Clip]]:
    """The clips in order, so many at a time."""
    for first in range(0, len(clips), size):
        yield clips[first : first + size]
