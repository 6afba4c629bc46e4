"""Perceptual signatures: a film as a sequence of small colour grids, compared as a whole.

A grid keeps colour and place, so flat pictures (a shape on a plain background, where a DCT hash
says nothing) stay apart, and re-encoding or scaling changes it by a level or two.
"""

import struct

import cv2
import numpy as np
import numpy.typing as npt

from ingest.recipe import DuplicateRecipe
from ingest.shots import Image

ROWS, COLUMNS = 6, 8
MAX_SAMPLES = 240  # beyond, every second sample is dropped and the stride doubles
HEADER = struct.Struct("<dI")  # duration_s, stride in seconds

Grids = npt.NDArray[np.int16]


class SignatureMeter:
    """Takes a colour grid at every whole second (at fixed times, whatever the frame rate)."""

    def __init__(self) -> None:
        self._stride_s = 1
        self._next_s = 0.5
        self._grids: list[Image] = []

    def process(self, time_s: float, image_HWC: Image) -> None:
        """Look at the frame shown from `time_s` on (small, BGR)."""
        if time_s < self._next_s - 1e-6:
            return
        grid = cv2.resize(image_HWC, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA)
        self._grids.append(np.asarray(grid, np.uint8))
        self._next_s += self._stride_s
        if len(self._grids) == MAX_SAMPLES:
            self._grids = self._grids[::2]
            self._stride_s *= 2

    def signature(self, duration_s: float) -> bytes:
        """Duration and stride, then uint8 grids (samples, 6, 8, 3)."""
        head = HEADER.pack(duration_s, self._stride_s)
        return head + b"".join(grid.tobytes() for grid in self._grids)


def lengths_alike(signature: bytes, recipe: DuplicateRecipe) -> tuple[float, float]:
    """The shortest and the longest film, in seconds, that can be the same film as this one."""
    share = 1 - recipe.duration_tolerance
    return length_s(signature) * share, length_s(signature) / share


def length_s(signature: bytes) -> float:
    """How long the film is that a signature is of."""
    return float(HEADER.unpack_from(signature)[0])


def same_film(one: bytes, other: bytes, recipe: DuplicateRecipe) -> bool:
    """Whether two signatures show the same film from start to end."""
    (one_s, one_stride), (other_s, other_stride) = (
        HEADER.unpack_from(one),
        HEADER.unpack_from(other),
    )
    if abs(one_s - other_s) > recipe.duration_tolerance * max(one_s, other_s):
        return False
    stride = max(one_stride, other_stride)
    a, b = _grids(one, stride // one_stride), _grids(other, stride // other_stride)
    count = min(len(a), len(b))
    if not count:
        return False
    distance = np.abs(a[:count] - b[:count]).mean(axis=3)
    # A shot that changes right at a sample's time may show either side: leave out the worst tenth.
    keep = max(1, count - count // 10)
    means = np.sort(distance.mean(axis=(1, 2)))[:keep]
    worst = np.sort(distance.max(axis=(1, 2)))[:keep]
    return bool(means.mean() < recipe.mean_distance and worst.mean() < recipe.cell_distance)


def _grids(signature: bytes, every: int) -> Grids:
    values = np.frombuffer(signature, np.uint8, offset=HEADER.size).astype(np.int16)
    return values.reshape(-1, ROWS, COLUMNS, 3)[::every]
