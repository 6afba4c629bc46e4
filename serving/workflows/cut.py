"""A cut: chosen takes one after the other, and where each of them lies in it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from infra.errors import InputError
from infra.video import Frames, each_frame
from serving.workflows.deliverable import Take


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A take in the cut: frames `start` to `end`. `notes` are what the plan says of the shot.

    words: its prompt, as far as it can be shown.
    """

    take: Take
    start: int
    num_frames: int
    width: int
    height: int
    notes: Mapping[str, str]
    words: str

    @property
    def end(self) -> int:
        return self.start + self.num_frames


def count_frames(path: Path) -> tuple[int, int, int]:
    """(frames, width, height) of a video that we wrote.

    Raises:
        InputError: it is none.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = stream.frames or sum(1 for _ in container.decode(stream))
            return frames, stream.codec_context.width, stream.codec_context.height
    except (av.FFmpegError, OSError, IndexError) as error:
        raise InputError(f"the take {path.name} cannot be read; retake its shot") from error


def panels(
    takes: Sequence[Take],
    notes: Sequence[Mapping[str, str]],
    legible: Callable[[str], str] = lambda text: text,
) -> list[Panel]:
    """The takes in their order; `legible` leaves of a text what can be shown."""
    found: list[Panel] = []
    start = 0
    for take, said in zip(takes, notes, strict=True):
        frames, width, height = count_frames(take.path)
        found.append(
            Panel(
                take=take, start=start, num_frames=frames, width=width, height=height, notes=said,
                words=legible(take.prompt),
            )
        )  # fmt: skip
        start += frames
    return found


def frames_of(panel: Panel, size: tuple[int, int]) -> Iterator[Frames]:
    """The take's frames at `size` (height, width)."""
    return each_frame(panel.take.path, None if size == (panel.height, panel.width) else size)


def some_frames(path: Path, indices: Sequence[int]) -> list[Image.Image]:
    """The frames of those numbers, in that order."""
    wanted = set(indices)
    found = {
        index: Image.fromarray(np.asarray(frame))
        for index, frame in enumerate(each_frame(path))
        if index in wanted
    }
    return [found[index] for index in indices]
