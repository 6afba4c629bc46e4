"""Hard cuts.

A frame's score is its mean change of hue, saturation and value against the frame before; a cut's
stands out from its neighbours' (the idea of PySceneDetect's AdaptiveDetector). That proposes many:
the threshold lies low, so that a cut which changes one small object is seen. What is proposed must
be strong somewhere (a coarsely coded film changes a little everywhere at each of its keyframes),
must last and not turn back (a flash does), must redraw the picture's edges (a flash or another
colour of the sky leaves them), and must show what neither movement nor a tint can explain.
"""

from collections import deque

import cv2
import numpy as np

from ingest.recipe import ShotRecipe
from ingest.shots import PROPOSED_FROM, Boundary, Floats, Image, ShotDetector, novelty, shrink

BESIDE = 2  # frames on either side that a cut's score is compared with
APART = 4  # frames on either side over which the change must persist
FLASH = 15  # frames within which the picture before a flash is back
WEIGHTS = np.array([0.15, 0.35, 0.5, 0.0])  # hue weighs little: on greys it is noise
MOST = 255.0  # of a ratio, where nothing moves beside the cut
UNLIKE = 0.05  # correlation of edges that says nothing


class CutDetector(ShotDetector):
    """Hard cuts, known `FLASH` frames late."""

    def __init__(self, recipe: ShotRecipe) -> None:
        self._recipe = recipe
        keep = 2 * FLASH + 2
        self._images: deque[Image] = deque(maxlen=keep)
        self._smalls: deque[Image] = deque(maxlen=keep)
        self._scores: deque[float] = deque(maxlen=keep)
        self._last_hsv: Image | None = None
        self._count = 0

    def process(self, index: int, image_HWC: Image) -> list[Boundary]:
        small = shrink(image_HWC)
        hsv = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2HSV), np.uint8)
        score = 0.0
        if self._last_hsv is not None:
            score = float(WEIGHTS @ cv2.mean(cv2.absdiff(hsv, self._last_hsv)))
        self._last_hsv = hsv
        self._images.append(image_HWC)
        self._smalls.append(small)
        self._scores.append(score)
        self._count = index + 1
        return self._judge(index - FLASH)

    def finish(self) -> list[Boundary]:
        late = range(self._count - FLASH, self._count)
        return [boundary for index in late for boundary in self._judge(index)]

    def _judge(self, index: int) -> list[Boundary]:
        """The boundary between frame `index` and the one before it, if it may be one."""
        at = index - (self._count - len(self._images))
        # What a flash in the film's last frames shows is never seen to go, or to last.
        if at < 1 or self._count - index < APART:
            return []
        score = self._scores[at]
        if score < PROPOSED_FROM * self._recipe.cut_min_score:
            return []
        first, last = max(0, at - BESIDE), min(len(self._scores), at + BESIDE + 1)
        beside = sum(self._scores[n] for n in range(first, last) if n != at) / (2 * BESIDE)
        ratio = min(score / max(beside, 1e-5), MOST)
        if ratio < PROPOSED_FROM * self._recipe.cut_ratio:
            return []
        evidence = {"cut_min_score": score, "cut_ratio": ratio, **self._change(at)}
        return [Boundary(index, index, "cut", evidence)]

    def _change(self, at: int) -> dict[str, float]:
        """What the change into the remembered frame `at` is like."""
        before, after = self._smalls[at - 1], self._smalls[at]
        changed = _distance(before, after) + 1e-6
        kept = {apart: self._kept(at, apart) / changed for apart in range(APART, FLASH + 1)}
        alike = max(_alike(self._images[at - 1], self._images[at]), UNLIKE)
        old, new, contrast = _same_light(before, after)
        return {
            "cut_min_peak": _peak(before, after),
            "cut_lasting": kept[APART],
            "cut_staying": min(kept.values()),
            "cut_redrawn": (1 - alike) / alike,
            "cut_newness": max(novelty(old, new), novelty(new, old)) / contrast / alike,
        }

    def _kept(self, at: int, apart: int) -> float:
        """The lesser of the changes to the picture so many frames later, and from that earlier."""
        before, after = self._smalls[at - 1], self._smalls[at]
        earlier = self._smalls[max(at - apart, 0)]
        later = self._smalls[min(at + apart, len(self._smalls) - 1)]
        return min(_distance(before, later), _distance(earlier, after))


def _alike(before: Image, after: Image) -> float:
    """Correlation of the pictures' gradients, -1 to 1; what light does hardly changes it."""
    one, other = _gradients(before), _gradients(after)
    norm = cv2.norm(one) * cv2.norm(other)
    return float(np.vdot(one, other)) / (norm + 1e-3)


def _gradients(image: Image) -> Floats:
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    x, y = (cv2.Sobel(gray, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    return np.concatenate([x, y])


def _same_light(before: Image, after: Image) -> tuple[Floats, Floats, float]:
    """Both pictures with the mean and the lower contrast of each channel, and that contrast.

    A tint over the whole picture, as games give it for a moment, is gone from them.
    """
    pictures = [before.astype(np.float32), after.astype(np.float32)]
    stats = [cv2.meanStdDev(picture) for picture in pictures]
    contrast = np.minimum(stats[0][1], stats[1][1]).ravel().astype(np.float32) + 1
    old, new = (
        (picture - mean.ravel().astype(np.float32)) * (contrast / (deviation.ravel() + 1))
        for picture, (mean, deviation) in zip(pictures, stats, strict=True)
    )
    return old.astype(np.float32), new.astype(np.float32), float(contrast.mean()) + 2


def _peak(before: Image, after: Image) -> float:
    """Mean level change of the 12x9 grid cell that changes most."""
    cells = cv2.resize(cv2.absdiff(before, after), (12, 9), interpolation=cv2.INTER_AREA)
    return float(cells.mean(axis=2).max())


def _distance(a: Image, b: Image) -> float:
    return float(cv2.norm(a, b, cv2.NORM_L1))
