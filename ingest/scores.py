"""Measured facts of a span of frames: motion, sharpness, light, camera movement, colours, static
and black stretches, black bars, lost shadows and lights.

Everything is measured on the small frames of the one decode pass; nothing here is learned.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ingest.letterbox import BarMeter, Bars
from ingest.recipe import ScoreRecipe
from ingest.shots import Image
from ingest.stretches import StretchMeter, Times

SAMPLES_PER_S = 6.0
SAMPLES_A_LOOK = 3  # for bars, which are there for long
CORNERS = 64
MIN_INLIERS = 10
GRID = (3, 4)  # camera movement must show in most cells of this grid, or it is an object's
MIN_CELLS = 7

STILL_BELOW, FAST_FROM = 0.05, 0.5  # mean luma change a second, in full ranges
DARK_BELOW, BRIGHT_FROM = 0.25, 0.55  # mean luma
COLOR_SHARE = 0.04  # of the picture; a rarer colour is not named
MOVES_FROM = 0.06  # frame widths (or heights) a second
ZOOMS_FROM = 0.06  # scale change a second
SHAKES_FROM = 0.15  # frame widths a second, spread of the movement

UNSURE = (np.nan, np.nan, np.nan)  # which way the camera moves

BARS = ("bar_top_share", "bar_bottom_share", "bar_left_share", "bar_right_share")
COLOR_NAMES = (
    "black", "gray", "white", "red", "orange", "yellow", "green", "cyan", "blue", "purple",
    "pink", "brown",
)  # fmt: skip


class ScoreMeter:
    """Sees every frame of one film once, then answers for any span."""

    def __init__(self, fps: float, recipe: ScoreRecipe | None = None) -> None:
        self._recipe = recipe or ScoreRecipe()
        self._every = max(1, round(fps / SAMPLES_PER_S))
        self._fps = fps
        # Compact, because they grow with the film's length. Of every frame:
        self._lumas, self._changes = array("d"), array("d")
        # Of every sampled frame; colours and camera fill several places each.
        self._sampled, self._sharpness = array("q"), array("d")
        self._colors, self._cameras = array("H"), array("d")
        self._crushed, self._blown = array("d"), array("d")
        self._stretches, self._bars = StretchMeter(self._recipe), BarMeter(self._recipe)
        self._last_gray: Image | None = None
        self._sampled_gray: Image | None = None

    def process(self, index: int, image_HWC: Image) -> None:
        """Look at frame `index` (small, BGR)."""
        gray = np.asarray(cv2.cvtColor(image_HWC, cv2.COLOR_BGR2GRAY), np.uint8)
        mean = cv2.mean(gray)[0]
        self._lumas.append(mean / 255)
        change = 0.0
        if self._last_gray is not None:
            change = float(cv2.norm(gray, self._last_gray, cv2.NORM_L1)) / gray.size / 255
        self._changes.append(change)
        self._stretches.process(gray, mean, 255 * change)
        self._last_gray = gray
        if index % self._every == 0:
            self._sample(index, image_HWC, gray)
            self._sampled_gray = gray

    def _sample(self, index: int, image_HWC: Image, gray: Image) -> None:
        """Measure what is measured only a few times a second."""
        camera = None
        if self._sampled_gray is not None:
            camera = _camera(self._sampled_gray, gray, self._fps / self._every)
        deviation = cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_16S))[1]
        self._sampled.append(index)
        self._sharpness.append(float(deviation[0, 0]))
        self._colors.extend(_color_counts(image_HWC).tolist())
        self._cameras.extend(camera or UNSURE)
        self._crushed.append(np.count_nonzero(gray <= self._recipe.crushed_level) / gray.size)
        self._blown.append(np.count_nonzero(gray >= self._recipe.blown_level) / gray.size)
        if index % (SAMPLES_A_LOOK * self._every) == 0:
            self._bars.process(index, gray)

    def span(self, start: int, end: int, times_s: Times) -> dict[str, Any]:
        """Scores of frames [start, end) by the names of the lake's columns, and facts in words:
        motion (mean luma change a second, in full ranges), sharpness (deviation of the Laplacian,
        levels), luma (0..1), and shares and seconds.

        `times_s`: when each frame of the film begins, and last when it ends.
        """
        luma = float(np.mean(self._lumas[start:end]))
        # The first frame's change is against the shot before.
        motion = float(np.mean(self._changes[start + 1 : end] or [0.0])) * self._fps
        first, last = bisect_left(self._sampled, start), bisect_left(self._sampled, end)
        sharpness = float(np.median(self._sharpness[first:last] or [0.0]))
        count = len(COLOR_NAMES)
        colors = np.reshape(self._colors[count * first : count * last], (-1, count)).sum(axis=0)
        # A sample's camera is against the sample before it, which must lie inside too.
        cameras = np.reshape(self._cameras[3 * first : 3 * last], (-1, 3))[1:]
        bars = self._bars.span(start, end)
        return {
            "motion": round(motion, 6),
            "sharpness": round(sharpness, 4),
            "luma": round(luma, 6),
            **self._stretches.span(start, end, times_s),
            **dict(zip(BARS, bars, strict=True)),
            **_clipped(self._crushed[first:last], self._blown[first:last], bars),
            "facts": {
                "camera": camera_in_words(cameras),
                "tempo": _level(motion, ("still", "slow", "fast"), (STILL_BELOW, FAST_FROM)),
                "light": _level(luma, ("dark", "dim", "bright"), (DARK_BELOW, BRIGHT_FROM)),
                "colors": _main_colors(colors / max(1, colors.sum())),
            },
        }


def _clipped(crushed: Sequence[float], blown: Sequence[float], bars: Bars) -> dict[str, float]:
    """Shares of the picture inside its bars, which are black and no shadow."""
    top, bottom, left, right = bars
    inside = (1 - top - bottom) * (1 - left - right)
    dark = float(np.mean(crushed or [0.0])) - (1 - inside)
    return {
        "crushed_share": round(max(0.0, dark / inside), 4),
        "blown_share": round(min(1.0, float(np.mean(blown or [0.0])) / inside), 4),
    }


def camera_in_words(cameras: npt.NDArray[np.float64]) -> str:
    """The camera's movement: static, pan left|right, tilt up|down, zoom in|out or handheld.

    `cameras`: (samples, 3), how the picture moves a second: widths right, heights down, growth;
    NaN when unsure.
    """
    moves = cameras[~np.isnan(cameras[:, 0])]
    if len(moves) < max(1, len(cameras) // 2):
        return "static"
    right, down, growth = np.median(moves, axis=0)
    spread = float(np.hypot(*np.median(np.abs(moves[:, :2] - (right, down)), axis=0)))
    # When the picture moves right, the camera turns left.
    named = [
        (abs(right) / MOVES_FROM, "pan left" if right > 0 else "pan right"),
        (abs(down) / MOVES_FROM, "tilt up" if down > 0 else "tilt down"),
        (abs(growth) / ZOOMS_FROM, "zoom in" if growth > 0 else "zoom out"),
    ]
    strength, name = max(named)
    if strength >= 1 and spread < max(abs(right), abs(down), SHAKES_FROM):
        return name
    return "handheld" if spread >= SHAKES_FROM else "static"


def _camera(old: Image, new: Image, per_s: float) -> tuple[float, float, float] | None:
    """Movement between two frames (LK tracks, RANSAC similarity), when it is the camera's."""
    corners = cv2.goodFeaturesToTrack(old, CORNERS, 0.03, 4)
    if corners is None or len(corners) < MIN_INLIERS:
        return None
    moved, status, _ = cv2.calcOpticalFlowPyrLK(old, new, corners, np.empty(0), winSize=(11, 11))
    good = status.ravel() == 1
    before, after = corners.reshape(-1, 2)[good], moved.reshape(-1, 2)[good]
    if len(before) < MIN_INLIERS:
        return None
    matrix, inliers = cv2.estimateAffinePartial2D(before, after, ransacReprojThreshold=1.0)
    height, width = old.shape
    if matrix is None or inliers.sum() < max(MIN_INLIERS, len(before) // 2):
        return None
    columns, rows = (before[inliers.ravel() == 1] / (width, height) * (GRID[1], GRID[0])).T
    if (
        len(set(zip(columns.astype(int).tolist(), rows.astype(int).tolist(), strict=True)))
        < MIN_CELLS
    ):
        return None
    center = np.array([width / 2, height / 2, 1.0])
    right, down = matrix @ center - center[:2]
    growth = float(np.hypot(matrix[0, 0], matrix[1, 0])) - 1
    return float(right / width * per_s), float(down / height * per_s), growth * per_s


def _color_counts(image_HWC: Image) -> npt.NDArray[np.int64]:
    """(12,) pixels of the shrunk picture that a viewer would call by each name."""
    small = cv2.resize(image_HWC, (24, 18), interpolation=cv2.INTER_AREA)
    hue, saturation, value = cv2.split(cv2.cvtColor(small, cv2.COLOR_BGR2HSV))
    # OpenCV's hue runs to 180: red ends at 8, orange at 22, and so on round to red again.
    names = np.searchsorted([8, 22, 35, 85, 100, 130, 150, 172], hue, side="right")
    index = np.array([3, 4, 5, 6, 7, 8, 9, 10, 3])[names]
    index = np.where((index == 4) & (value < 150), COLOR_NAMES.index("brown"), index)
    plain = np.where(value < 50, 0, np.where(value < 200, 1, 2))
    index = np.where((saturation < 50) | (value < 50), plain, index)
    return np.bincount(index.ravel(), minlength=len(COLOR_NAMES))


def _main_colors(shares: npt.NDArray[np.float64]) -> list[str]:
    order = np.argsort(-shares, kind="stable")[:3]
    return [COLOR_NAMES[index] for index in order if shares[index] >= COLOR_SHARE]


def _level(value: float, names: tuple[str, str, str], edges: tuple[float, float]) -> str:
    return names[int(np.searchsorted(edges, value, side="right"))]
