"""From a release's clips to training windows in memory.

`load_pixels` decodes each clip once, at the size and rate of the recipe, into a cache file that
later steps map; `window_starts` says where windows begin. Clips of another aspect get another size
of nearly the same area, so nothing is padded or squeezed.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from infra.clip_reads import map_clips
from infra.errors import InputError
from infra.job_files import read_json, write_json
from infra.lake import Lake
from infra.recipes import fingerprint
from infra.releases import ACCEPTED
from infra.video import read_clip
from modeling.recipes import DataRecipe

CLIPS_A_REPORT = 64
VALIDATION_SHARE = 16  # one in so many, when a release has no validation clips of its own


@dataclass(frozen=True)
class Clip:
    """One clip's pixels, uint8 (T, H, W, 3) at the recipe's rate, and its words."""

    clip_id: str
    caption: str
    split: str
    frames_THWC: npt.NDArray[np.uint8]


def nearest_size(width: int, height: int, recipe: DataRecipe) -> tuple[int, int]:
    """(height, width) that a clip of this shape is trained and generated at.

    Of all sizes on the recipe's grid, those of nearest aspect, and the largest of these.
    """
    step, aspect = recipe.side_multiple, width / height
    shortest = recipe.min_side // step * step or step
    sides = range(shortest, recipe.max_area // shortest + 1, step)
    sizes = [(h, w) for h in sides for w in sides if h * w <= recipe.max_area]
    return min(sizes, key=lambda size: (abs(np.log(size[1] / size[0] / aspect)), -size[0]))


def load_pixels(
    lake: Lake,
    release: str,
    recipe: DataRecipe,
    cache: Path,
    *,
    view: str = ACCEPTED,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    threads: int = 2,
) -> list[Clip]:
    """All clips of a release's view that are long enough for one window.

    Raises:
        InputError: the release holds no such clip.
    """
    columns = ["clip_id", "caption", "split", "offset_s", "start_s", "end_s", "width", "height"]
    table = lake.read("clips", columns, where=view, release=release)
    shortest = (recipe.num_frames - 1) / recipe.fps
    rows = [row for row in table.to_pylist() if row["end_s"] - row["start_s"] >= shortest]
    rows.sort(key=lambda row: row["clip_id"])
    if not rows:
        raise InputError(
            f"release {release!r} has no clip of {shortest:.2f} s or more "
            f"(it has {table.num_rows} clips); refresh with more footage"
        )
    frames = _cached(lake, release, rows, recipe, cache, on_progress, threads)
    splits = _splits(rows)
    return [
        Clip(row["clip_id"], row["caption"] or "", split, pixels)
        for row, split, pixels in zip(rows, splits, frames, strict=True)
    ]


def _splits(rows: Sequence[dict[str, str]]) -> list[str]:
    splits = [row["split"] for row in rows]
    if "val" in splits and "train" in splits:
        return splits
    # Too few films to hold any out: hold out clips instead, chosen by id so that it never varies.
    held = [int(row["clip_id"][:8], 16) % VALIDATION_SHARE == 0 for row in rows]
    if not any(held) or all(held):
        held = [index == 0 and len(rows) > 1 for index in range(len(rows))]
    return ["val" if out else "train" for out in held]


def _shape(row: dict[str, float], recipe: DataRecipe) -> tuple[int, int, int, int]:
    # The last frame asked for must still be on screen, hence the small slack.
    count = int((row["end_s"] - row["start_s"] - 1e-3) * recipe.fps) + 1
    height, width = nearest_size(int(row["width"]), int(row["height"]), recipe)
    return max(recipe.num_frames, min(count, recipe.max_frames)), height, width, 3


def _cached(
    lake: Lake,
    release: str,
    rows: list[dict[str, float]],
    recipe: DataRecipe,
    cache: Path,
    on_progress: Callable[[int, int], None],
    threads: int,
) -> list[npt.NDArray[np.uint8]]:
    ids = hashlib.sha256("".join(str(row["clip_id"]) for row in rows).encode()).hexdigest()[:16]
    path = cache / f"pixels-{fingerprint(recipe)}-{ids}.bin"
    shapes = [_shape(row, recipe) for row in rows]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    if read_json(path.with_suffix(".json")) is None:
        cache.mkdir(parents=True, exist_ok=True)
        store = np.memmap(path, np.uint8, "w+", shape=(int(ends[-1]),))
        decoded = map_clips(
            lake,
            [str(row["clip_id"]) for row in rows],
            lambda index, data: _decode(data, rows[index], recipe),
            threads=threads,
            release=release,
        )
        for index, frames in enumerate(decoded):
            store[ends[index] - frames.size : ends[index]] = frames.ravel()
            if (index + 1) % CLIPS_A_REPORT == 0 or index + 1 == len(rows):
                on_progress(index + 1, len(rows))
        store.flush()
        write_json(path.with_suffix(".json"), {"clips": len(rows), "release": release})
    flat = np.memmap(path, np.uint8, "r", shape=(int(ends[-1]),))
    starts = [0, *ends[:-1]]
    return [
        np.asarray(flat[start:end]).reshape(shape)
        for start, end, shape in zip(starts, ends, shapes, strict=True)
    ]


def _decode(data: bytes, row: dict[str, float], recipe: DataRecipe) -> npt.NDArray[np.uint8]:
    count, height, width, _ = _shape(row, recipe)
    times = [index / recipe.fps for index in range(count)]
    return read_clip(data, row["offset_s"], times, (height, width))


def window_starts(num_frames: int, recipe: DataRecipe) -> list[int]:
    """First frames of the windows of a clip, evenly spaced, at most `max_windows` of them."""
    last = num_frames - recipe.num_frames
    count = min(recipe.max_windows, last + 1)
    return [round(index * last / max(count - 1, 1)) for index in range(count)]


def to_float(frames: npt.NDArray[np.uint8]) -> Tensor:
    """uint8 pixels -> float32 in [-1, 1]."""
    # The cache is a read-only file; torch wants memory of its own.
    return torch.from_numpy(np.array(frames)).float() / 127.5 - 1


def to_pixels(video: Tensor) -> npt.NDArray[np.uint8]:
    """Floats in [-1, 1] -> uint8 pixels."""
    pixels: npt.NDArray[np.uint8] = (
        ((video.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
    )
    return pixels
