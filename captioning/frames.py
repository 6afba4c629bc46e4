"""The frames of a clip that CoCa looks at, read from the lake and scaled to its cells."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt

from captioning.captioner import Clip
from captioning.recipe import CocaRecipe
from infra.lake import Lake
from infra.video import read_clip

Frames = npt.NDArray[np.uint8]

CLIPS_AT_ONCE = 128  # bytes of so many clips are in memory together


def look_times(duration_s: float, recipe: CocaRecipe) -> list[float]:
    """Seconds from the clip's start that are looked at; of a long clip, its middle."""
    count = max(1, int(duration_s * recipe.frame_rate + 1e-6))
    looked = min(count, recipe.max_frames)
    first = (count - looked) // 2
    return [(first + index) / recipe.frame_rate for index in range(looked)]


def read_frames(
    lake: Lake, clips: Sequence[Clip], recipe: CocaRecipe, threads: int
) -> Iterator[tuple[Clip, Frames]]:
    """Every clip with its looked-at frames (N, cell, cell, 3), in the order given."""
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(clips), CLIPS_AT_ONCE):
            some = clips[start : start + CLIPS_AT_ONCE]
            stored: Mapping[str, bytes] = lake.read_clip_bytes([clip.clip_id for clip in some])
            frames = pool.map(lambda clip: _frames(stored[clip.clip_id], clip, recipe), some)  # noqa: B023
            yield from zip(some, frames, strict=True)


def _frames(data: bytes, clip: Clip, recipe: CocaRecipe) -> Frames:
    """The whole frame, squeezed: a crop would cut off what the caption names."""
    scale = recipe.cell / min(clip.width, clip.height)
    size = (round(clip.height * scale), round(clip.width * scale))
    frames = read_clip(data, clip.offset_s, look_times(clip.duration_s, recipe), size)
    return squeeze(frames, recipe.cell)


def squeeze(frames_THWC: Frames, cell: int) -> Frames:
    """Frames resized to `cell` by `cell`, whatever their aspect."""
    return np.stack(
        [cv2.resize(frame, (cell, cell), interpolation=cv2.INTER_AREA) for frame in frames_THWC]
    )
