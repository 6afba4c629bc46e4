"""Frames of clips, read from the lake; and those that CoCa looks at, scaled to its cells."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class CocaLook:
    """Decodes the frames of a clip that CoCa looks at (`captioning.clip_models.Look`)."""

    recipe: CocaRecipe

    def __call__(self, data: bytes, clip: Clip) -> Frames:
        """The whole frame, squeezed: a crop would cut off what the caption names."""
        recipe = self.recipe
        scale = recipe.cell / min(clip.width, clip.height)
        size = (round(clip.height * scale), round(clip.width * scale))
        frames = read_clip(data, clip.offset_s, look_times(clip.duration_s, recipe), size)
        return squeeze(frames, recipe.cell)


def decoded(
    lake: Lake, clips: Sequence[Clip], look: Callable[[bytes, Clip], Frames], threads: int
) -> Iterator[Frames | InputError]:
    """What `look` sees of each clip in order, or why it does not decode; on so many threads."""

    def try_look(index: int, data: bytes) -> Frames | InputError:
        try:
            return look(data, clips[index])
        except InputError as error:
            return error

    return map_clips(lake, [clip.clip_id for clip in clips], try_look, threads=threads)


class FrameReader:
    """Decodes clips, and keeps what CoCa sees of as many as KEPT_BYTES hold: training, captioning
    and embedding look at the same frames."""

    def __init__(self, lake: Lake, recipe: CocaRecipe, threads: int) -> None:
        self._lake = lake
        self._look = CocaLook(recipe)
        self._threads = threads
        self._kept: dict[str, Frames] = {}
        self._room = KEPT_BYTES

    def read(self, clips: Sequence[Clip]) -> Iterator[tuple[Clip, Frames]]:
        """Every clip with its looked-at frames (N, cell, cell, 3), in the order given.

        Raises:
            InputError: a clip that does not decode.
        """
        for clip, frames in self.read_what_decodes(clips, self._look):
            if isinstance(frames, InputError):
                raise frames
            yield clip, frames

    def read_what_decodes(
        self, clips: Sequence[Clip], look: Callable[[bytes, Clip], Frames]
    ) -> Iterator[tuple[Clip, Frames | InputError]]:
        """What `look` sees of every clip, in the order given; the error in place of the frames of
        a clip that does not decode."""
        if look != self._look:
            seen = decoded(self._lake, clips, look, self._threads)
            yield from zip(clips, seen, strict=True)
            return
        new = [clip for clip in clips if clip.clip_id not in self._kept]
        seen = decoded(self._lake, new, self._look, self._threads)
        lacking = {clip.clip_id for clip in new}
        for clip in clips:
            if clip.clip_id in lacking:
                yield clip, self._keep(clip.clip_id, next(seen))
            else:
                yield clip, self._kept[clip.clip_id]

    def _keep(self, clip_id: str, frames: Frames | InputError) -> Frames | InputError:
        if not isinstance(frames, InputError) and frames.nbytes <= self._room:
            self._kept[clip_id] = frames
            self._room -= frames.nbytes
        return frames


def squeeze(frames_THWC: Frames, cell: int) -> Frames:
    """Frames resized to `cell` by `cell`, whatever their aspect."""
    return np.stack(
        [cv2.resize(frame, (cell, cell), interpolation=cv2.INTER_AREA) for frame in frames_THWC]
    )
