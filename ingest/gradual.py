"""Gradual transitions: dissolves and fades.

In a dissolve every pixel that differs between the shots changes *evenly* over many frames; where
something moves, a pixel changes in a step. So each frame gets a ramp: the mean change across nine
frames, over the pixels whose way from the first to the last was straight. A dissolve is a hump of
the ramp, much higher than its surroundings (a slow pan ramps all the time), whose two ends hold
what movement cannot explain (novelty). A fade is a valley of brightness, or of darkness, with a
steady slope on both sides.
"""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ingest.recipe import ShotRecipe
from ingest.shots import (
    PROPOSED_FROM,
    Boundary,
    Floats,
    Image,
    ShotDetector,
    margin,
    novelty,
    shrink,
)

HALF = 4  # frames on either side of the ramp's centre
PROGRESS = np.arange(1, 2 * HALF, dtype=np.float32)[:, None, None, None] / np.float32(2 * HALF)
AROUND = 14  # frames on either side of a hump that are its surroundings
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
        off = np.stack([self._images[step] for step in range(-2 * HALF, -1)])
        off -= first
        off -= change * PROGRESS
        even = (np.abs(off, out=off) < allowed).all(axis=0) & (size > 8)
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
        if high - low <= self._max_frames:
            evidence = self._evidence(ramps, low, high, peak, shift)
            if evidence:
                span = max(1, shift + low - 2), shift + high + 2
                return [Boundary(*span, "gradual", evidence)]
        return self._judge(final)

    def _evidence(
        self, ramps: npt.NDArray[np.float64], low: int, high: int, peak: int, shift: int
    ) -> dict[str, float]:
        """What speaks for a dissolve; empty when it is none."""
        recipe = self._recipe
        if shift + low < 2 * HALF:
            return {}  # no shot is seen before it: games begin under a tint that goes
        around = [*ramps[max(0, low - AROUND) : max(0, low - 4)], *ramps[high + 4 : high + AROUND]]
        contrast = float(ramps[peak]) / (float(np.mean(around or [0.0])) + 0.25)
        if contrast < PROPOSED_FROM * recipe.ramp_contrast:
            return {}
        oldest = self._count - len(self._images)
        last = len(self._images) - 1
        first, final = (min(max(n - oldest, 0), last) for n in (shift + low - 3, shift + high + 2))
        before, after = self._images[first], self._images[final]
        middle = self._images[min(shift + (low + high) // 2 - oldest, last)]
        if not (
            _is_mixture(before, middle, after)
            or (high - low <= MAX_MOVING and _loses_contrast(before, middle, after))
        ):
            return {}
        new = sorted([novelty(before, after), novelty(after, before)])
        return {
            "ramp_contrast": contrast,
            "novelty_min": new[0],
            "novelty_max_min": new[1],
            "gradual_staying": self._staying(first, final),
        }

    def _staying(self, first: int, last: int) -> float:
        """Share of the change between these remembered frames that is there some time before and
        after them, too."""
        images = list(self._images)
        before, after = images[first], images[last]
        earlier = images[max(0, first - AROUND) : first + 1]
        later = images[last : last + AROUND]
        least = min(
            *(_distance(before, image) for image in later),
            *(_distance(image, after) for image in earlier),
        )
        return least / (_distance(before, after) + 1e-6)


def _distance(a: Floats, b: Floats) -> float:
    return float(cv2.norm(a, b, cv2.NORM_L1))


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


class FadeDetector(ShotDetector):
    """Fades through black or white, from each frame's brightness and contrast.

    A valley is judged once the longest fade's frames after its bottom are known.
    """

    def __init__(self, recipe: ShotRecipe, fps: float) -> None:
        self._recipe = recipe
        self._max_frames = max(16, round(recipe.transition_max_s * fps))
        keep = 2 * self._max_frames + 2
        self._levels: deque[float] = deque(maxlen=keep)
        self._contrasts: deque[float] = deque(maxlen=keep)
        self._images: deque[Image] = deque(maxlen=keep)
        self._count = 0
        self._ends = {False: 0, True: 0}  # of the last fade through black, through white

    def process(self, index: int, image_HWC: Image) -> list[Boundary]:
        means, deviations = cv2.meanStdDev(image_HWC)
        self._levels.append(float(means.mean()))
        self._contrasts.append(float(deviations.mean()))
        self._images.append(image_HWC)
        self._count = index + 1
        return self._valleys(index - self._max_frames)

    def finish(self) -> list[Boundary]:
        late = range(max(0, self._count - self._max_frames), self._count - 1)
        return [boundary for index in late for boundary in self._valleys(index)]

    def _valleys(self, index: int) -> list[Boundary]:
        """The fades whose deepest frame is `index`."""
        at = index - (self._count - len(self._levels))
        if at < 1:
            return []
        before, here, after = (self._levels[at + step] for step in (-1, 0, 1))
        if before >= here < after:
            return self._valley(np.asarray(self._levels), index, white=False)
        if before <= here > after:
            return self._valley(WHITE - np.asarray(self._levels), index, white=True)
        return []

    def _valley(
        self, levels: npt.NDArray[np.float64], index: int, *, white: bool
    ) -> list[Boundary]:
        if index <= self._ends[white]:
            return []
        oldest = self._count - len(levels)
        bottom = index - oldest
        left = _slope(levels[max(0, bottom - self._max_frames) : bottom + 1][::-1])
        right = _slope(levels[bottom : bottom + self._max_frames])
        if left is None or right is None:
            return []
        contrasts = np.asarray(self._contrasts)[bottom - left.end : bottom + right.end + 1]
        blank = contrasts[left.end - left.rest : left.end + right.rest + 1].max()
        # What rests at the bottom must be an empty picture, not a dark shot between bright ones.
        if blank > 0.4 * min(contrasts[0], contrasts[-1]) + 2:
            return []
        before, middle, after = (
            self._images[n].astype(np.float32)
            for n in (bottom - left.end, bottom, bottom + right.end)
        )
        evidence = {
            "fade_change": _distance(before, after) / (_distance(before, middle) + 1e-6),
            "fade_depth": min(left.depth, right.depth),
            "fade_min_drop": min(left.drop, right.drop),
        }
        boundary = Boundary(max(1, index - left.end + 1), index + right.end, "gradual", evidence)
        reached = margin(boundary, self._recipe)
        if reached >= 1:
            self._ends[white] = boundary.end
        return [boundary] if reached >= PROPOSED_FROM else []


@dataclass(frozen=True, kw_only=True)
class Slope:
    """One side of a fade, from its deepest frame outwards."""

    rest: int  # frames that stay at the bottom
    end: int  # frames until the top
    drop: float  # levels
    depth: float  # share of the top's level that is lost


def _slope(rise: npt.NDArray[np.float64]) -> Slope | None:
    """The slope, or None where brightness does not rise steadily."""
    above = np.flatnonzero(rise > rise[0] + 1.5)
    if not len(above):
        return None
    rest = int(above[0]) - 1
    end, steps = rest, np.diff(rise)
    while end < len(steps) and steps[end] > max(0.5, 0.25 * steps[rest : end + 1].max()):
        end += 1
    top, drop = float(rise[end]), float(rise[end] - rise[0])
    if end - rest < 3 or steps[rest:end].max(initial=0) >= 0.6 * drop:
        return None
    return Slope(rest=rest, end=end, drop=drop, depth=drop / max(top, 1e-6))
