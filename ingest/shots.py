"""Shot boundaries: the detector interface, what counts as one, and how boundaries make shots."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ingest.recipe import ShotRecipe

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

REACH = np.ones((9, 9), np.uint8)  # pixels that a thing may move in a moment
PROPOSED_FROM = 0.5  # of a threshold; what reaches less is not worth remembering
MARGIN = 2  # frames around a transition that still carry a trace of it


@dataclass(frozen=True, order=True)
class Boundary:
    """Frames [start, end) belong to neither shot; a cut has none, `start` opens the new shot."""

    start: int
    end: int
    kind: str  # "cut" | "gradual"
    evidence: Mapping[str, float] = field(default_factory=dict, compare=False, repr=False)
    """By the recipe's field that is the least for it: what this boundary reaches."""

    def to_dict(self) -> dict[str, Any]:
        """As stored in `sources.boundaries_json`."""
        return {"kind": self.kind, "start": self.start, "end": self.end}


class ShotDetector(ABC):
    """Sees every frame of one film in order and names boundaries, late if it must.

    A boundary that carries evidence is a candidate: `decide` applies the recipe's thresholds.
    """

    @abstractmethod
    def process(self, index: int, image_HWC: Image) -> list[Boundary]:
        """Look at frame `index` (small, BGR); return boundaries known by now."""

    def finish(self) -> list[Boundary]:
        """Boundaries that only the end of the film decides."""
        return []


def shrink(image_HWC: Image) -> Image:
    """The size that detectors look at, (36, 48, 3)."""
    return np.asarray(cv2.resize(image_HWC, (48, 36), interpolation=cv2.INTER_AREA), np.uint8)


def novelty(old: Floats, new: Floats) -> float:
    """Mean levels by which `new` leaves the range of `old` around each pixel: what movement
    cannot explain."""
    low, high = cv2.erode(old, REACH), cv2.dilate(old, REACH)
    return float(np.maximum(np.maximum(new - high, low - new), 0).mean())


def margin(boundary: Boundary, recipe: ShotRecipe) -> float:
    """How far its weakest evidence is above the recipe's threshold; 1 is at the threshold."""
    reached = (value / getattr(recipe, name) for name, value in boundary.evidence.items())
    return min(reached, default=math.inf)


def decide(candidates: Iterable[Boundary], recipe: ShotRecipe) -> list[Boundary]:
    """The boundaries among the candidates, by the recipe's thresholds."""
    return merge(boundary for boundary in candidates if margin(boundary, recipe) >= 1)


def merge(found: Iterable[Boundary]) -> list[Boundary]:
    """Sorted boundaries without contradictions.

    Of graduals that overlap the longest stays (the halves of a fade look like dissolves). A cut
    inside a gradual is part of it; a cut at the edge of one says that movement beside the cut was
    taken for a gradual.
    """
    found = list(found)
    cuts = {boundary for boundary in found if boundary.kind == "cut"}
    graduals: list[Boundary] = []
    for new in sorted(set(found) - cuts, key=lambda b: (b.start - b.end, b)):
        at_edge = any(min(abs(c.start - new.start), abs(c.start - new.end)) <= MARGIN for c in cuts)
        if not at_edge and not any(new.start < g.end and g.start < new.end for g in graduals):
            graduals.append(new)
    cuts = {c for c in cuts if not any(g.start <= c.start <= g.end for g in graduals)}
    return sorted([*cuts, *graduals])


def spans(boundaries: Iterable[Boundary], num_frames: int) -> list[tuple[int, int]]:
    """The shots [start, end) between boundaries; transition frames belong to none."""
    result, start = [], 0
    for boundary in sorted(boundaries):
        result.append((start, boundary.start))
        start = boundary.end
    result.append((start, num_frames))
    return [(first, last) for first, last in result if last > first]


def divide(start: int, end: int, times_s: npt.NDArray[np.float64], max_s: float) -> list[int]:
    """Frame numbers that cut [start, end) into the fewest even parts of at most `max_s`.

    `times_s` holds one more time than there are frames: the film's end. Returns the parts'
    edges, `start` first and `end` last.
    """
    duration_s = float(times_s[end] - times_s[start])
    # A single frame may be shown for longer than a part lasts, and cannot be divided.
    parts = min(end - start, max(1, math.ceil(duration_s / max_s - 1e-6)))
    edges = times_s[start] + duration_s * np.arange(1, parts) / parts
    inner = np.searchsorted(times_s[start:end], edges - 1e-9) + start
    return sorted({start, end, *(int(edge) for edge in inner)})
