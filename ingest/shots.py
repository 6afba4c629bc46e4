"""Shot boundaries: the detector interface, hard cuts, and how boundaries make shots."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from ingest.recipe import ShotRecipe

Image = npt.NDArray[np.uint8]

NOMINAL_FPS = 30.0  # only to number frames: all of our spans are in frames
MARGIN = 2  # frames around a transition that still carry a trace of it


@dataclass(frozen=True, order=True)
class Boundary:
    """Frames [start, end) belong to neither shot; a cut has none, `start` opens the new shot."""

    start: int
    end: int
    kind: str  # "cut" | "gradual"

    def to_dict(self) -> dict[str, Any]:
        """As stored in `sources.boundaries_json`."""
        return {"kind": self.kind, "start": self.start, "end": self.end}


class ShotDetector(ABC):
    """Sees every frame of one film in order and names boundaries, late if it must."""

    @abstractmethod
    def process(self, index: int, image_HWC: Image) -> list[Boundary]:
        """Look at frame `index` (small, BGR); return boundaries known by now."""

    def finish(self) -> list[Boundary]:
        """Boundaries that only the end of the film decides."""
        return []


class CutDetector(ShotDetector):
    """Hard cuts: PySceneDetect's AdaptiveDetector proposes, we look again.

    The threshold lies low, so that a cut which changes one small object is seen; what keeps it
    precise is the ratio to neighbouring frames, that the change must last, and that it must be
    strong somewhere (a coarsely coded film changes a little everywhere at each of its keyframes).
    Hue weighs little: on greys it is noise.
    """

    APART = 4  # frames on either side over which the change must persist

    def __init__(self, recipe: ShotRecipe) -> None:
        self._detector = AdaptiveDetector(
            adaptive_threshold=recipe.cut_ratio,
            min_content_val=recipe.cut_min_score,
            min_scene_len=1,
            window_width=2,
            weights=ContentDetector.Components(0.3, 0.7, 1.0, 0.0),
        )
        self._min_peak = recipe.cut_min_peak
        self._recent: dict[int, Image] = {}
        self._proposed: list[int] = []

    def process(self, index: int, image_HWC: Image) -> list[Boundary]:
        image_HWC = shrink(image_HWC)
        self._recent[index] = image_HWC
        self._recent.pop(index - 4 * self.APART, None)
        timecode = FrameTimecode(index, NOMINAL_FPS)
        found = self._detector.process_frame(timecode, image_HWC)
        self._proposed += [cut.frame_num for cut in found if cut.frame_num > 0]
        return self._decide(index)

    def finish(self) -> list[Boundary]:
        return self._decide(max(self._recent, default=0) + self.APART)

    def _decide(self, now: int) -> list[Boundary]:
        ripe = [cut for cut in self._proposed if cut + self.APART <= now]
        self._proposed = [cut for cut in self._proposed if cut + self.APART > now]
        return [Boundary(cut, cut, "cut") for cut in ripe if self._is_cut(cut)]

    def _is_cut(self, cut: int) -> bool:
        before, after = self._recent[cut - 1], self._recent[cut]
        earlier = self._recent[max(cut - self.APART, min(self._recent))]
        later = self._recent[min(cut + self.APART, max(self._recent))]
        changed = cv2.resize(cv2.absdiff(before, after), (12, 9), interpolation=cv2.INTER_AREA)
        if float(changed.mean(axis=2).max()) < self._min_peak:
            return False
        least = 0.4 * _distance(before, after)
        return _distance(before, later) > least and _distance(earlier, after) > least


def shrink(image_HWC: Image) -> Image:
    """The size that detectors look at, (36, 48, 3)."""
    return np.asarray(cv2.resize(image_HWC, (48, 36), interpolation=cv2.INTER_AREA), np.uint8)


def _distance(a: Image, b: Image) -> float:
    return float(cv2.norm(a, b, cv2.NORM_L1))


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
    parts = max(1, math.ceil(duration_s / max_s - 1e-6))
    edges = times_s[start] + duration_s * np.arange(1, parts) / parts
    inner = np.searchsorted(times_s[start:end], edges - 1e-9) + start
    return [start, *(int(edge) for edge in inner), end]
