"""Black bars around the picture: letterbox, pillarbox, or both.

A bar is black at all times and ends in a straight edge: right beside it, most of the picture is
lit at some moment. What is lit fills one of the two directions nearly: a window in the dark does
not. A dark scene has no such edge; there the bars of the whole film count, which a dark scene
cannot contradict.
"""

from array import array
from bisect import bisect_left
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ingest.recipe import ScoreRecipe
from ingest.shrink import SMALL_HEIGHT, SMALL_WIDTH, Image

SPECK = 1  # lit pixels in a row that are the codec's
EDGE_LINES = 2  # the first may hold a bit of both
FILLS = 0.7  # of the height or the width, what is inside of bars

Bars: TypeAlias = tuple[float, float, float, float]
"""top, bottom, left, right, as shares of the height or the width."""
Lit: TypeAlias = npt.NDArray[np.uint8]


class BarMeter:
    """Sees some frames of a film, and keeps how many pixels of each row and column are lit."""

    def __init__(self, recipe: ScoreRecipe) -> None:
        self._recipe = recipe
        self._looked, self._rows, self._columns = array("q"), bytearray(), bytearray()
        self._film: tuple[float, ...] | None = None

    def process(self, index: int, gray_HW: Image) -> None:
        """Look at frame `index`."""
        lit = gray_HW > self._recipe.bar_level
        self._looked.append(index)
        self._rows += lit.sum(axis=1, dtype=np.uint8).tobytes()
        self._columns += lit.sum(axis=0, dtype=np.uint8).tobytes()
        self._film = None

    def span(self, start: int, end: int) -> Bars:
        """The bars of frames [start, end); those of the film on sides where they show no edge."""
        if self._film is None:
            self._film = tuple(bar or 0.0 for bar in self._bars(0, len(self._looked)))
        own = self._bars(bisect_left(self._looked, start), bisect_left(self._looked, end))
        top, bottom, left, right = (
            whole if bar is None else bar for bar, whole in zip(own, self._film, strict=True)
        )
        return top, bottom, left, right

    def _bars(self, first: int, last: int) -> list[float | None]:
        """Bars of the looks [first, last); None on sides where nothing tells."""
        if first == last:
            return [None] * 4
        rows = np.frombuffer(self._rows, np.uint8).reshape(-1, SMALL_HEIGHT)[first:last].max(0)
        columns = np.frombuffer(self._columns, np.uint8).reshape(-1, SMALL_WIDTH)[first:last].max(0)
        if max(_extent(rows), _extent(columns)) < FILLS:
            return [None] * 4
        edge = self._recipe.bar_edge
        return [
            _bar(rows, columns, edge),
            _bar(rows[::-1], columns, edge),
            _bar(columns, rows, edge),
            _bar(columns[::-1], rows, edge),
        ]


def _extent(lit: Lit) -> float:
    """From the first lit line to the last, as a share of all."""
    seen = np.flatnonzero(lit > SPECK)
    return float(seen[-1] - seen[0] + 1) / len(lit) if len(seen) else 0.0


def _bar(lit: Lit, across: Lit, edge: float) -> float | None:
    """The bar before the first lit line, as a share of all lines; None without a straight edge.

    `lit`: lit pixels of each line, from this side on; `across`: of the lines that cross them.
    """
    seen = np.flatnonzero(lit > SPECK)
    if not len(seen):
        return None
    first = int(seen[0])
    wide = np.count_nonzero(across > SPECK)
    straight = lit[first : first + EDGE_LINES].max() >= edge * wide
    return round(first / len(lit), 4) if straight or not first else None
