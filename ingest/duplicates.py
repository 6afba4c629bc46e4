"""Perceptual signatures: a film as a sequence of small colour grids, compared as a whole.

A grid keeps colour and place, so flat pictures (a shape on a plain background, where a DCT hash
says nothing) stay apart, and re-encoding or scaling changes it by a level or two. A cropped copy
shows a part of the other's picture, so parts are tried; a logo stands still, so the few cells
where two films differ all the time are left out.
"""

import itertools
import math
import os
import struct
import tempfile
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TypeAlias

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
FEW, MANY = 8, 256  # films that are compared at once, roughly
RANGES = (-1, 2, 12, 3)  # of samples: the ends of the ranges of 3x4 cells in three colours
SHIFTS = (0.0, 0.5, 1.0)  # where a crop may lie in what it leaves out: left or top, middle, …

Place: TypeAlias = tuple[int, int]  # offset and size in a file
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
    """Finds those of many films that show the same as a new one.

    Signatures lie in a file without a name in `folder` (the system's own by default), which is
    gone with the process; a film takes some hundred bytes of memory.
    """

    def __init__(self, recipe: DuplicateRecipe, folder: Path | None = None) -> None:
        self._recipe = recipe
        self._file, name = tempfile.mkstemp(dir=folder)
        Path(name).unlink()
        weakref.finalize(self, os.close, self._file)
        self._end = 0
        self._ids: list[str] = []
        self._index: dict[str, int] = {}  # of a film in what follows
        self._signatures: list[Place] = []
        self._strides: list[int] = []
        self._ranges: list[Place | None] = []  # of those that were compared
        self._marks = np.zeros((64, MARKS))  # rows beyond the films are spare
        self._cells: dict[tuple[int, ...], list[int]] = defaultdict(list)

    def add(self, film_id: str, signature: bytes) -> None:
        """Remember a film; of one that is known already, what is said now."""
        known = self._index.get(film_id)
        if known is None:
            index = self._index[film_id] = len(self._ids)
            self._ids.append(film_id)
            self._signatures.append(self._write(signature))
            self._strides.append(HEADER.unpack_from(signature)[1])
            self._ranges.append(None)
            if index == len(self._marks):
                self._marks = np.concatenate([self._marks, np.zeros_like(self._marks)])
        elif signature == self.signature(film_id):
            return
        else:
            index = known
            self._cells[self._cell(self._marks[index])].remove(index)
            self._signatures[index], self._ranges[index] = self._write(signature), None
            self._strides[index] = HEADER.unpack_from(signature)[1]
        self._marks[index] = mark = _mark(signature)
        self._cells[self._cell(mark)].append(index)

    def _write(self, data: bytes) -> Place:
        offset, size = self._end, len(data)
        while data:  # a disk that is full may take a part
            written = os.pwrite(self._file, data, self._end)
            self._end, data = self._end + written, data[written:]
        return offset, size

    def __contains__(self, film_id: str | None) -> bool:
        return film_id in self._index

    def signature(self, film_id: str) -> bytes:
        """What `add` was given.

        Raises:
            KeyError: there is no such film.
        """
        offset, size = self._signatures[self._index[film_id]]
        return os.pread(self._file, size, offset)

    def same_as(
        self, signature: bytes, skip: Callable[[str], bool] = lambda _: False
    ) -> Iterator[str]:
        """Ids of the films that show the same from start to end, in the order they were added.

        Films for which `skip`, asked right before each, is true are not compared.
        """
        own = _mark(signature)
        around = itertools.product(*((at - 1, at, at + 1) for at in self._cell(own)))
        nearby = [index for cell in around for index in self._cells.get(cell, ())]
        indices = np.sort(np.array(nearby, int))
        marks = self._marks[indices]
        longer = np.maximum(marks[:, 0], own[0])
        near = np.abs(marks[:, 0] - own[0]) <= self._recipe.duration_tolerance * longer
        near &= np.abs(marks[:, 1:] - own[1:]).max(axis=1) < self._recipe.color_distance
        size, left = FEW, indices[near].tolist()
        while left:
            # A skip often holds for many films once one was found to be the same: few at first.
            some = [index for index in left[:size] if not skip(self._ids[index])]
            left, size = left[size:], min(2 * size, MANY)
            for index in self._likely(signature, some):
                other = self._ids[index]
                if not skip(other) and same_film(signature, self.signature(other), self._recipe):
                    yield other

    def _likely(self, signature: bytes, indices: Sequence[int]) -> list[int]:
        """Those whose cells' ranges do not rule out that they are the same film, in order."""
        shapes = defaultdict[tuple[int, int], list[int]](list)
        for index in indices:
            shapes[self._strides[index], self._signatures[index][1]].append(index)
        result = list[int]()
        for (stride, _), some in shapes.items():
            if stride != HEADER.unpack_from(signature)[1] or len(some) <= FEW:
                result += some  # other samples, or not worth it
                continue
            own = _ranges(signature, self._recipe)
            others = np.stack([self._ranges_of(index) for index in some])
            if count := min(len(own), others.shape[1]):  # a film without a sample is like none
                apart = _range_distance(own[:count], others[:, :count], self._recipe)
                result += np.array(some)[apart < self._recipe.mean_distance].tolist()
        return sorted(result)

    def _ranges_of(self, index: int) -> Image:
        """As `_ranges`, made once."""
        place = self._ranges[index]
        if place is None:
            made = _ranges(self.signature(self._ids[index]), self._recipe)
            self._ranges[index] = self._write(made.tobytes())
            return made
        return np.frombuffer(os.pread(self._file, place[1], place[0]), np.uint8).reshape(RANGES)

    def _cell(self, mark: npt.NDArray[np.float64]) -> tuple[int, ...]:
        """Where a film lies on a grid so coarse that those near it lie in the cells around."""
        tolerance = min(self._recipe.duration_tolerance, 0.99)
        length = math.log(max(mark[0], 1e-3)) / max(-math.log1p(-tolerance), 1e-6)
        colors = mark[1:] / max(self._recipe.color_distance, 1e-6)
        return (math.floor(length), *np.floor(colors).astype(int).tolist())


@lru_cache(maxsize=1)  # a film is looked for right after it was added
def _ranges(signature: bytes, recipe: DuplicateRecipe) -> Image:
    """(T, 2, 12, 3): the least and the highest level of each 3x4 cell in any view of the film."""
    grids = _grids(signature, 1)
    if not len(grids):
        return np.zeros((0, *RANGES[1:]), np.uint8)
    seen = _seen(_views(recipe.max_crop)[1], grids)
    ends = np.stack([np.floor(seen.min(axis=0)), np.ceil(seen.max(axis=0))])
    return ends.clip(0, 255).transpose(2, 0, 1, 3).astype(np.uint8)


def _range_distance(own: Image, others: Image, recipe: DuplicateRecipe) -> npt.NDArray[np.float64]:
    """(N,) what the cells of 3x4 of own (T, …) and other films (N, T, …) differ by at least,
    whichever way they are laid over one another, in the terms of `mean_distance`."""
    one, those = own.astype(np.int16), others.astype(np.int16)
    apart = np.maximum(one[:, 0] - those[:, :, 1], those[:, :, 0] - one[:, 1]).clip(0)
    cells = apart.shape[2]
    least = cells - recipe.logo_cells
    if least <= 0:
        return np.zeros(len(others))
    # As in `_alike_in_some_view`: what logos may hide and what the worst tenth may hide is left.
    seen = np.sort(apart.mean(axis=3), axis=2)[:, :, :least].sum(axis=2)
    return np.asarray(_without_worst(seen).mean(axis=1) * 4 / (4 * cells - recipe.logo_cells))


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
    return _alike_in_some_view(a, b, recipe)


def _alike_in_some_view(a: Grids, b: Grids, recipe: DuplicateRecipe) -> bool:
    """The two compared as they are, and each with parts of the other."""
    fine, rough = _views(recipe.max_crop)
    # A cell of 3x4 differs by no more than the mean of its 4 cells of 6x8, and cells that hold no
    # logo bound all that count: which settles nearly every pair, for a tenth of the work.
    cells, logos = rough.shape[1], recipe.logo_cells
    least, kept = max(0, cells - logos), fine.shape[1] - logos
    most = recipe.mean_distance * kept / (4 * least) if least else np.inf
    for part, whole in ((a, b), (b, a)):
        distance_VCT = np.abs(_seen(rough, part) - _seen(rough[:1], whole)).mean(axis=3)
        bound_VT = np.sort(distance_VCT, axis=1)[:, :least].mean(axis=1) if least else 0.0
        near = _without_worst(np.asarray(bound_VT)).mean(axis=-1) < most
        for view in np.flatnonzero(near):
            pair = _seen(fine[[view]], part)[0], _seen(fine[:1], whole)[0]
            if _alike(*pair, recipe):
                return True
    return False


@cache
def _views(max_crop: float) -> tuple[Grids, Grids]:
    """Ways to look at a grid, as matrices to multiply it with, its cells in one row: as it is,
    then its parts. In 6x8 cells (V, 48, 192), and in 3x4 (V, 12, 192)."""
    cells = ROWS * COLUMNS
    grids = np.eye(cells, dtype=np.float32).reshape(ROWS, COLUMNS, -1, 3).transpose(2, 0, 1, 3)
    crops = np.arange(0.02, max_crop + 1e-6, 0.02)
    parts = [_part(grids, *place) for place in itertools.product(crops, SHIFTS, SHIFTS)]
    looks = np.stack([grids, *parts]).transpose(0, 2, 3, 1, 4)
    looks = looks.reshape(len(looks), ROWS, COLUMNS, cells)
    fine = _pooled(looks)
    return fine.reshape(len(looks), -1, cells), _pooled(fine).reshape(len(looks), -1, cells)


def _pooled(looks_VRCK: Grids) -> Grids:
    count, rows, columns, last = looks_VRCK.shape
    shape = (count, rows // POOL, POOL, columns // POOL, POOL, last)
    result: Grids = looks_VRCK.reshape(shape).mean(axis=(2, 4))
    return result


def _seen(views: Grids, grids_TRCK: Grids) -> Grids:
    """(V, cells, T, 3): the grids in each of these views."""
    flat = grids_TRCK.transpose(1, 2, 0, 3).reshape(ROWS * COLUMNS, -1)
    return (views.reshape(-1, len(flat)) @ flat).reshape(*views.shape[:2], -1, 3)


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


def _alike(a_CTK: Grids, b_CTK: Grids, recipe: DuplicateRecipe) -> bool:
    distance_TC = np.abs(a_CTK - b_CTK).mean(axis=2).T
    if len(distance_TC) >= MIN_LOGO_SAMPLES:
        lasting = np.argsort(distance_TC.min(axis=0))
        distance_TC = distance_TC[:, lasting[: lasting.size - recipe.logo_cells]]
    mean = _without_worst(distance_TC.mean(axis=1))
    worst = _without_worst(distance_TC.max(axis=1))
    return bool(mean.mean() < recipe.mean_distance and worst.mean() < recipe.cell_distance)


def _without_worst(distance_T: Grids) -> Grids:
    """All but the worst tenth: a shot that changes right at a sample may show either side."""
    count = distance_T.shape[-1]
    return np.sort(distance_T)[..., : max(1, count - count // 10)]


def _grids(signature: bytes, every: int) -> Grids:
    values = np.frombuffer(signature, np.uint8, offset=HEADER.size).astype(np.float32)
    return values.reshape(-1, ROWS, COLUMNS, 3)[::every]
