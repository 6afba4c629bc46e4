"""PySceneDetect's detectors behind our interface, fed from the one decode pass."""

from typing import Any

from scenedetect import FrameTimecode
from scenedetect.detectors import (
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

from ingest.recipe import ClassicalRecipe
from ingest.shots import Boundary, Image, ShotDetector

NOMINAL_FPS = 30.0  # only to number frames: all of our spans are in frames
CLASSICAL = ("adaptive", "content", "hash", "histogram", "threshold")


class ClassicalDetector(ShotDetector):
    """One of CLASSICAL: its cuts are ours, and a fade is a cut in its middle."""

    def __init__(self, name: str, recipe: ClassicalRecipe) -> None:
        self._detector = _detector(name, recipe)
        self._last = 0

    def process(self, index: int, image_HWC: Image) -> list[Boundary]:
        self._last = index
        return _boundaries(self._detector.process_frame(_at(index), image_HWC))

    def finish(self) -> list[Boundary]:
        return _boundaries(self._detector.post_process(_at(self._last)))


def _at(index: int) -> FrameTimecode:
    return FrameTimecode(index, NOMINAL_FPS)


def _boundaries(cuts: list[FrameTimecode]) -> list[Boundary]:
    numbers = (int(cut.frame_num) for cut in cuts)
    return [Boundary(number, number, "cut") for number in numbers if number > 0]


def _detector(name: str, recipe: ClassicalRecipe) -> Any:
    least = recipe.min_shot_frames
    if name == "adaptive":
        return AdaptiveDetector(
            recipe.adaptive_ratio, least, min_content_val=recipe.adaptive_min_content
        )
    if name == "content":
        return ContentDetector(recipe.content, least)
    if name == "hash":
        return HashDetector(recipe.hash, min_scene_len=least)
    if name == "histogram":
        return HistogramDetector(recipe.histogram, min_scene_len=least)
    return ThresholdDetector(recipe.threshold, least)
