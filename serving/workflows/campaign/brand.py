"""Colours, contrast and safe areas."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def rgb(color: str) -> tuple[int, int, int]:
    """The levels of "#E4002B"."""
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue


def luminance(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Relative luminance of sRGB (..., 3), from 0 to 1 (WCAG 2.2)."""
    shares = levels / 255.0
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    weighted: NDArray[np.float64] = linear @ np.array([0.2126, 0.7152, 0.0722])
    return weighted


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """The contrast ratio of two colours, from 1 to 21 (WCAG 2.2)."""
    return lowest_contrast(one, np.array([other], np.uint8))


def lowest_contrast(ink: tuple[int, int, int], behind: NDArray[np.uint8]) -> float:
    """The lowest contrast ratio of a colour with any pixel (..., 3) behind it."""
    front = float(luminance(np.array(ink, np.uint8)))
    back = luminance(behind)
    low, high = np.minimum(front, back), np.maximum(front, back)
    return float(((high + 0.05) / (low + 0.05)).min())


@dataclass(frozen=True, kw_only=True)
class SafeArea:
    """Shares of the frame, from its edges, that must stay free of words and logo."""

    left: float
    top: float
    right: float
    bottom: float

    def box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in pixels of a frame (width, height)."""
        width, height = size
        return (
            round(width * self.left),
            round(height * self.top),
            round(width * (1 - self.right)),
            round(height * (1 - self.bottom)),
        )


# Wide and square: the title-safe area of SMPTE ST 2046-1, 90 % of each side. Tall: what the
# buttons and captions of the usual players of upright video lie over as well.
SAFE_AREAS = {
    "16:9": SafeArea(left=0.05, top=0.05, right=0.05, bottom=0.05),
    "1:1": SafeArea(left=0.05, top=0.05, right=0.05, bottom=0.05),
    "4:5": SafeArea(left=0.05, top=0.05, right=0.05, bottom=0.05),
    "9:16": SafeArea(left=0.06, top=0.14, right=0.06, bottom=0.20),
}
