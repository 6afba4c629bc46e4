"""Gradual transitions: dissolves and fades.

In a dissolve every pixel that differs between the shots changes *evenly* over many frames; where
something moves, a pixel changes in a step. So each frame gets a ramp: the mean change across nine
frames, over the pixels whose way from the first to the last was straight. A dissolve is a hump of
the ramp, much higher than its surroundings (a slow pan ramps all the time), whose two ends hold
what movement cannot explain (novelty). A fade is a valley of brightness, or of darkness, with a
steady slope on both sides.
"""

from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

from ingest.recipe import ShotRecipe
from ingest.shots import Boundary, Image, ShotDetector, shrink

Floats = npt.NDArray[np.float32]

HALF = 4  # frames on either side of the ramp's centre
AROUND = 14  # frames on either side of a hump that are its surroundings
REACH = np.ones((9, 9), np.uint8)  # pixels that a thing may move during a transition
MAX_MOVING = 24  # frames; over a longer hump anything that moves gets too far to judge by contrast
WHITE = 255.0


class DissolveDetector(ShotDetector):
    """Dissolves, found while the film goes by; memory is bounded by the longest transition."""

    def __init__(self, recipe: ShotRecipe, fps: float) -> None:
        self._recipe = recipe
        self._max_frames = max(16, round(recipe.transition_max_s * fps))
        keep = self._max_frames + 2 * AROUND + 2 * HALF + 8
        self._images: deque[Floats] = deque(maxlen=keep)
        self._ramps: deque[float] = deque(maxlen=keep)
        self._shares: deque[float] = deque(maxlen=keep)
        self._count = 0
        self._decided = 0  # frames before this one belong to humps already judged

    def process(self, index: int, image_HWC: Image) -> list[Boundary]:
        self._images.append(shrink(image_HWC).astype(np.float32))
        self._count = index + 1
        ramp, share = 0.0, 0.0
        if len(self._images) > 2 * HALF:
            ramp, share = self._ramp()
        self._ramps.append(ramp)
        self._shares.append(share)
        return self._judge(final=False)

    def finish(self) -> list[Boundary]:
        found: list[Boundary] = []
        while new := self._judge(final=True):
            found += new
        return found

    def _ramp(self) -> tuple[float, float]:
        """Ramp of the frame HALF before the newest, and its share of all change."""
        first, last = self._images[-1 - 2 * HALF], self._images[-1]
        change = last - first
        size = np.abs(change)
        total = float(np.maximum(size - 4, 0).sum())
        if total < self._recipe.ramp_min * size.size / 2:
            return 0.0, 0.0
        allowed = size * np.float32(0.15) + 2
        even = size > 8
        for step in range(1, 2 * HALF):
            image = self._images[-1 - 2 * HALF + step]
            off = np.abs(image - first - change * np.float32(step / (2 * HALF)))
            even &= off < allowed
        amount = float((size * even).sum())
        return amount / size.size, amount / (total + 50)

    def _judge(self, final: bool) -> list[Boundary]:
        """The oldest hump that is complete, judged."""
        # ramps[i] describes frame (count - len + i - HALF).
        shift = self._count - len(self._ramps) - HALF
        ramps, shares = np.asarray(self._ramps), np.asarray(self._shares)
        begin = max(0, self._decided - shift)
        limit = len(ramps) if final else len(ramps) - AROUND
        if limit <= begin or ramps[begin:limit].max(initial=0) < self._recipe.ramp_min:
            return []
        on = (ramps > self._recipe.ramp_min) & (shares > self._recipe.ramp_share_min)
        on[:begin] = False
        candidates = np.flatnonzero(on[:limit])
        if not len(candidates):
            return []
        return self._hump(ramps, int(candidates[0]), begin, shift, final)

    def _hump(
        self, ramps: npt.NDArray[np.float64], first: int, begin: int, shift: int, final: bool
    ) -> list[Boundary]:
        # A hump's core is where the ramp is at least a third of its peak.
        peak, high = first, first + 1
        while high < len(ramps) and ramps[high] > ramps[peak] / 3:
            peak = high if ramps[high] > ramps[peak] else peak
            high += 1
        low = peak
        while low > begin and ramps[low - 1] > ramps[peak] / 3:
            low -= 1
        if high + AROUND > len(ramps) and high - low <= self._max_frames and not final:
            return []
        self._decided = shift + high
        if high - low <= self._max_frames and self._is_dissolve(ramps, low, high, peak, shift):
            return [Boundary(max(1, shift + low - 2), shift + high + 2, "gradual")]
        return self._judge(final)

    def _is_dissolve(
        self, ramps: npt.NDArray[np.float64], low: int, high: int, peak: int, shift: int
    ) -> bool:
        recipe = self._recipe
        around = [*ramps[max(0, low - AROUND) : max(0, low - 4)], *ramps[high + 4 : high + AROUND]]
        if ramps[peak] < recipe.ramp_contrast * (float(np.mean(around or [0.0])) + 0.25):
            return False
        oldest = self._count - len(self._images)
        last = len(self._images) - 1
        before = self._images[min(max(shift + low - 3 - oldest, 0), last)]
        after = self._images[min(max(shift + high + 2 - oldest, 0), last)]
        middle = self._images[min(shift + (low + high) // 2 - oldest, last)]
        if not (
            _is_mixture(before, middle, after)
            or (high - low <= MAX_MOVING and _loses_contrast(before, middle, after))
        ):
            return False
        one, other = _novelty(before, after), _novelty(after, before)
        return min(one, other) > recipe.novelty_min and max(one, other) > recipe.novelty_max_min


def _is_mixture(before: Floats, middle: Floats, after: Floats) -> bool:
    """Whether the middle is close to a weighted sum of both ends, pixel by pixel."""
    ends = np.stack([before.ravel(), after.ravel()], axis=1)
    weights = np.linalg.lstsq(ends.T @ ends, ends.T @ middle.ravel())[0]
    residual = float(np.abs(middle.ravel() - ends @ weights).mean())
    return residual < 0.3 * float(np.abs(after - before).mean())


def _loses_contrast(before: Floats, middle: Floats, after: Floats) -> bool:
    """Whether the middle has lost the contrast that mixing costs, even where things moved."""
    return _contrast(middle) < 0.9 * (_contrast(before) + _contrast(after)) / 2


def _contrast(image: Floats) -> float:
    return float((image - image.mean(axis=(0, 1))).std())


def _novelty(old: Floats, new: Floats) -> float:
    """Mean levels by which `new` leaves the range of `old` around each pixel."""
    low, high = cv2.erode(old, REACH), cv2.dilate(old, REACH)
    return float(np.maximum(np.maximum(new - high, low - new), 0).mean())


class FadeDetector(ShotDetector):
    """Fades through black or white, from each frame's brightness and contrast."""

    def __init__(self, recipe: ShotRecipe, fps: float) -> None:
        self._recipe = recipe
        self._max_frames = max(16, round(recipe.transition_max_s * fps))
        self._levels: list[float] = []
        self._contrasts: list[float] = []

    def process(self, index: int, image_HWC: Image) -> list[Boundary]:
        means, deviations = cv2.meanStdDev(image_HWC)
        self._levels.append(float(means.mean()))
        self._contrasts.append(float(deviations.mean()))
        return []

    def finish(self) -> list[Boundary]:
        levels = np.asarray(self._levels)
        return self._valleys(levels) + self._valleys(WHITE - levels)

    def _valleys(self, levels: npt.NDArray[np.float64]) -> list[Boundary]:
        found, index = [], 1
        while index < len(levels) - 1:
            if levels[index] <= levels[index - 1] and levels[index] < levels[index + 1]:
                boundary = self._valley(levels, index)
                if boundary is not None:
                    found.append(boundary)
                    index = boundary.end
            index += 1
        return found

    def _valley(self, levels: npt.NDArray[np.float64], bottom: int) -> Boundary | None:
        left = self._slope(levels[max(0, bottom - self._max_frames) : bottom + 1][::-1])
        right = self._slope(levels[bottom : bottom + self._max_frames])
        if left is None or right is None:
            return None
        (left_rest, left_end), (right_rest, right_end) = left, right
        contrasts = np.asarray(self._contrasts[bottom - left_end : bottom + right_end + 1])
        blank = contrasts[left_end - left_rest : left_end + right_rest + 1].max()
        # What rests at the bottom must be an empty picture, not a dark shot between bright ones.
        if blank > 0.4 * min(contrasts[0], contrasts[-1]) + 2:
            return None
        return Boundary(max(1, bottom - left_end + 1), bottom + right_end, "gradual")

    def _slope(self, rise: npt.NDArray[np.float64]) -> tuple[int, int] | None:
        """(frames of rest, frames until the top) from the valley's bottom, or None if no fade."""
        above = np.flatnonzero(rise > rise[0] + 1.5)
        if not len(above):
            return None
        rest = int(above[0]) - 1
        end, steps = rest, np.diff(rise)
        while end < len(steps) and steps[end] > max(0.5, 0.25 * steps[rest : end + 1].max()):
            end += 1
        top, drop = float(rise[end]), float(rise[end] - rise[0])
        steady = end - rest >= 3 and steps[rest:end].max(initial=0) < 0.6 * drop
        deep = rise[0] < self._recipe.fade_depth * top and drop > self._recipe.fade_min_drop
        return (rest, end) if steady and deep else None
