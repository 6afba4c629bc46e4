"""The frames of a clip that CoCa looks at, read from the lake and scaled to its cells."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from captioning.captioner import Clip
from captioning.recipe import CocaRecipe
from infra.clip_reads import map_clips
from infra.errors import InputError
from infra.lake import Lake
from infra.video import read_clip

Frames = npt.NDArray[np.uint8]

KEPT_BYTES = 512 << 20


def look_times(duration_s: float, recipe: CocaRecipe) -> list[float]:
    """Seconds from the clip's start that are looked at; of a long clip, its middle."""
    count = max(1, int(duration_s * recipe.frame_rate + 1e-6))
    looked = min(count, recipe.max_frames)
    first = (count - looked) // 2
    return [(first + index) / recipe.frame_rate for index in range(looked)]


class FrameReader:
    """Decodes clips, and keeps the frames of as many as KEPT_BYTES hold: training, captioning and
    embedding look at the same ones."""

    def __init__(self, lake: Lake, recipe: CocaRecipe, threads: int) -> None:
        self._lake = lake
        self._recipe = recipe
        self._threads = threads
        self._kept: dict[str, Frames] = {}
        self._room = KEPT_BYTES

    def read(self, clips: Sequence[Clip]) -> Iterator[tuple[Clip, Frames]]:
        """Every clip with its looked-at frames (N, cell, cell, 3), in the order given.

        Raises:
            InputError: a clip that does not decode.
        """
        for clip, frames in self.read_what_decodes(clips):
            if isinstance(frames, InputError):
                raise frames
            yield clip, frames

    def read_what_decodes(
        self, clips: Sequence[Clip]
    ) -> Iterator[tuple[Clip, Frames | InputError]]:
        """As `read`, with the error in place of the frames of a clip that does not decode."""
        new = [clip for clip in clips if clip.clip_id not in self._kept]
        decoded = map_clips(
            self._lake,
            [clip.clip_id for clip in new],
            lambda index, data: _decoded(data, self._recipe, new[index]),
            threads=self._threads,
        )
        lacking = {clip.clip_id for clip in new}
        for clip in clips:
            if clip.clip_id in lacking:
                yield clip, self._keep(clip.clip_id, next(decoded))
            else:
                yield clip, self._kept[clip.clip_id]

    def _keep(self, clip_id: str, frames: Frames | InputError) -> Frames | InputError:
        if not isinstance(frames, InputError) and frames.nbytes <= self._room:
            self._kept[clip_id] = frames
            self._room -= frames.nbytes
        return frames


def _decoded(data: bytes, recipe: CocaRecipe, clip: Clip) -> Frames | InputError:
    try:
        return _frames(data, recipe, clip)
    except InputError as error:
        return error


def _frames(data: bytes, recipe: CocaRecipe, clip: Clip) -> Frames:
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
