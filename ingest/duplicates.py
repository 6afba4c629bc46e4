"""Perceptual signatures: a film as a sequence of small colour grids, compared as a whole.

A grid keeps colour and place, so flat pictures (a shape on a plain background, where a DCT hash
says nothing) stay apart, and re-encoding or scaling changes it by a level or two. A cropped copy
shows a part of the other's picture, so parts are tried; a logo stands still, so the few cells
where two films differ all the time are left out.
"""

import itertools
import struct
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from ingest.recipe import DuplicateRecipe
from ingest.shots import Image

ROWS, COLUMNS = 12, 16
POOL = 2  # grids are compared at half their size, after they were laid over one another
MAX_SAMPLES = 120  # beyond, every second sample is dropped and the stride doubles
HEADER = struct.Struct("<dI")  # duration_s, stride in seconds
MIN_LOGO_SAMPLES = 3  # only time tells a logo from what moves
MARKS = 4  # numbers in a film's mark
SHIFTS = (0.0, 0.5, 1.0)  # where a crop may lie in what it leaves out: left or top, middle, …

Grids = npt.NDArray[np.float32]


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
        """Duration and stride, then uint8 grids (samples, 12, 16, 3)."""
        head = HEADER.pack(duration_s, self._stride_s)
        return head + b"".join(grid.tobytes() for grid in self._grids)


class KnownFilms:
    """Finds those of many films that show the same as a new one."""

    def __init__(self, recipe: DuplicateRecipe) -> None:
        self._recipe = recipe
        self._signatures: dict[str, bytes] = {}
        self._ids: list[str] = []
        self._marks = np.zeros((64, MARKS))  # rows beyond the films are spare

    def add(self, film_id: str, signature: bytes) -> None:
        """Remember a film; one that is known already stays as it is."""
        if film_id in self._signatures:
            return
        count = len(self._ids)
        if count == len(self._marks):
            self._marks = np.concatenate([self._marks, np.zeros_like(self._marks)])
        self._marks[count] = _mark(signature)
        self._ids.append(film_id)
        self._signatures[film_id] = signature

    def same_as(self, signature: bytes) -> list[str]:
        """Ids of the films that show the same from start to end."""
        marks, own = self._marks[: len(self._ids)], _mark(signature)
        longer = np.maximum(marks[:, 0], own[0])
        near = np.abs(marks[:, 0] - own[0]) <= self._recipe.duration_tolerance * longer
        near &= np.abs(marks[:, 1:] - own[1:]).max(axis=1) < self._recipe.color_distance
        candidates = [self._ids[index] for index in np.flatnonzero(near)]
        return [i for i in candidates if same_film(signature, self._signatures[i], self._recipe)]


def _mark(signature: bytes) -> npt.NDArray[np.float64]:
    """(MARKS,) duration in seconds and mean colour: what no copy can change much."""
    duration_s, _ = HEADER.unpack_from(signature)
    colors = np.frombuffer(signature, np.uint8, offset=HEADER.size).reshape(-1, 3)
    mean = colors.mean(axis=0) if len(colors) else np.zeros(3)
    return np.array([duration_s, *mean])


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
    a, b = a[:count], b[:count]
    # What no crop changes much, the mean colour second by second, settles nearly all pairs.
    apart = np.abs(a.mean(axis=(1, 2)) - b.mean(axis=(1, 2))).max(axis=1)
    if _without_worst(apart).mean() > recipe.color_distance:
        return False
    return any(_alike(x, y, recipe) for x, y in _overlays(a, b, recipe.max_crop))


def _overlays(a: Grids, b: Grids, max_crop: float) -> Iterator[tuple[Grids, Grids]]:
    """The two as they are, then each laid over parts of the other, from large to small."""
    yield a, b
    crops = np.arange(0.02, max_crop + 1e-6, 0.02)
    for crop, across, down in itertools.product(crops, SHIFTS, SHIFTS):
        yield _part(a, crop, across, down), b
        yield a, _part(b, crop, across, down)


def _part(grids_TRCK: Grids, crop: float, across: float, down: float) -> Grids:
    """The same size of picture, from a part that lacks `crop` of both sides."""
    count = len(grids_TRCK)
    stacked = np.ascontiguousarray(grids_TRCK.transpose(1, 2, 0, 3)).reshape(ROWS, COLUMNS, -1)
    scale = 1 - crop
    # Pixel centres: output x shows input scale * (x + 1/2) + what lies left of the part - 1/2.
    left = crop * across * COLUMNS + (scale - 1) / 2
    top = crop * down * ROWS + (scale - 1) / 2
    matrix = np.array([[scale, 0, left], [0, scale, top]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_REPLICATE
    planes = [
        cv2.warpAffine(
            stacked[..., first : first + 4], matrix, (COLUMNS, ROWS), None, flags, border
        )
        for first in range(0, stacked.shape[2], 4)  # as many channels as OpenCV warps at once
    ]
    whole = np.concatenate([p.reshape(ROWS, COLUMNS, -1) for p in planes], axis=2)
    return whole.reshape(ROWS, COLUMNS, count, 3).transpose(2, 0, 1, 3)


def _alike(a: Grids, b: Grids, recipe: DuplicateRecipe) -> bool:
    pooled = (a - b).reshape(-1, ROWS // POOL, POOL, COLUMNS // POOL, POOL, 3).mean(axis=(2, 4))
    distance = np.abs(pooled).mean(axis=3).reshape(len(a), -1)
    if len(a) >= MIN_LOGO_SAMPLES:
        lasting = np.argsort(distance.min(axis=0))
        distance = distance[:, lasting[: lasting.size - recipe.logo_cells]]
    mean, worst = _without_worst(distance.mean(axis=1)), _without_worst(distance.max(axis=1))
    return bool(mean.mean() < recipe.mean_distance and worst.mean() < recipe.cell_distance)


def _without_worst(distance_T: Grids) -> Grids:
    """All but the worst tenth: a shot that changes right at a sample may show either side."""
    return np.sort(distance_T)[: max(1, len(distance_T) - len(distance_T) // 10)]


def _grids(signature: bytes, every: int) -> Grids:
    values = np.frombuffer(signature, np.uint8, offset=HEADER.size).astype(np.float32)
    return values.reshape(-1, ROWS, COLUMNS, 3)[::every]
