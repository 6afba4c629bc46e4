"""Stretches of a film in which nothing changes, and stretches of black.

A stretch is static while no frame differs from its first one, as in FFmpeg's freezedetect; a frame
is black when nearly all of its pixels are, as in FFmpeg's blackdetect.
"""

import cv2
import numpy as np
import numpy.typing as npt

from ingest.recipe import ScoreRecipe
from ingest.shots import Image

GRID = (12, 9)  # cells across and down; a small thing that moves changes one of them

Times = npt.NDArray[np.float64]


class StretchMeter:
    """Sees every frame of one film once; two bytes a frame are all that it keeps."""

    def __init__(self, recipe: ScoreRecipe) -> None:
        self._recipe = recipe
        self._begins, self._black = bytearray(), bytearray()
        self._first: Image | None = None
        self._first_grid: Image | None = None
        self._drift = 0.0  # mean levels between the stretch's first frame and the last one
        # What has a higher mean holds too much light for a black frame, and need not be counted.
        self._black_mean = recipe.black_level * recipe.black_share + 255 * (1 - recipe.black_share)

    def process(self, gray_HW: Image, mean: float, change: float) -> None:
        """Look at the next frame, of that mean level and mean change from the frame before it."""
        self._black.append(mean <= self._black_mean and self._is_black(gray_HW))
        begins = not self._stays(gray_HW, change)
        if begins:
            self._first, self._first_grid, self._drift = gray_HW, None, 0.0
        self._begins.append(begins)

    def span(self, start: int, end: int, times_s: Times) -> dict[str, float]:
        """Of frames [start, end): which share of the time is static, or black, and the longest
        such stretch in seconds. `times_s`: when each frame begins, and last the film's end."""
        times = times_s[start : end + 1]
        total_s = max(float(times[-1] - times[0]), 1e-9)
        edges = np.flatnonzero(np.frombuffer(self._begins, np.uint8)[start:end])
        still_s = np.diff(times[np.union1d(edges, [0, end - start])])
        still_s = still_s[still_s >= self._recipe.static_min_s]
        black_s = _lengths(np.frombuffer(self._black, np.uint8)[start:end], times)
        return {
            "static_share": round(float(still_s.sum()) / total_s, 4),
            "static_longest_s": round(float(still_s.max(initial=0.0)), 3),
            "black_share": round(float(black_s.sum()) / total_s, 4),
            "black_longest_s": round(float(black_s.max(initial=0.0)), 3),
        }

    def _stays(self, gray: Image, change: float) -> bool:
        """Whether the frame shows what the stretch's first one shows."""
        # The triangle inequality settles nearly every frame of what moves.
        if self._first is None or change - self._drift > self._recipe.static_mean:
            return False
        apart = change
        if self._drift:
            apart = float(cv2.norm(gray, self._first, cv2.NORM_L1)) / gray.size
        if apart > self._recipe.static_mean:
            return False
        if self._first_grid is None:
            self._first_grid = _grid(self._first)
        self._drift = apart
        peak = cv2.norm(_grid(gray), self._first_grid, cv2.NORM_INF)
        return bool(peak <= self._recipe.static_cell)

    def _is_black(self, gray: Image) -> bool:
        dark = np.count_nonzero(gray <= self._recipe.black_level)
        return bool(dark >= self._recipe.black_share * gray.size)


def _grid(gray: Image) -> Image:
    return np.asarray(cv2.resize(gray, GRID, interpolation=cv2.INTER_AREA), np.uint8)


def _lengths(marks: npt.NDArray[np.uint8], times: Times) -> Times:
    """Seconds of each run of ones."""
    steps = np.diff(np.concatenate([[0], marks.astype(np.int8), [0]]))
    return times[np.flatnonzero(steps == -1)] - times[np.flatnonzero(steps == 1)]
