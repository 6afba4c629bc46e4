"""What a captioner is, and the clips that it is asked about.

    captioner.caption(clips)    # [("a dog runs", 0.93), None, ...]: None for what it cannot say now

Four sources speak behind this interface: `sidecar` (what a person wrote), `endpoint` (a
vision-language model on a server), `coca` (a CoCa from open_clip) and `facts` (what was measured).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Told: TypeAlias = tuple[str, float]
"""A caption on one line, and how sure it is, from 0 to 1."""


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


class Captioner(Protocol):
    """Captions clips, a batch at a time."""

    @property
    def source(self) -> str:
        """Which of `captioning.recipe.SOURCES` it is."""

    @property
    def version(self) -> str:
        """What tells it from the other captioners of its source; the same words, the same
        version."""

    @property
    def batch(self) -> int:
        """How many clips to ask about at once; what it said of them is stored together."""

    @property
    def free(self) -> bool:
        """True when asking costs nothing: it is then asked about every clip, every time."""

    def caption(self, clips: Sequence[Clip]) -> list[Told | None]:
        """A caption and its score for each clip, or None where it has nothing to say now."""


class SidecarCaptioner:
    """What a person wrote of the clip."""

    source, version, batch, free = "sidecar", "", 10_000, True

    def caption(self, clips: Sequence[Clip]) -> list[Told | None]:
        """See `Captioner.caption`; the score is 1."""
        return [(clip.words, 1.0) if clip.words else None for clip in clips]
