"""What a job delivers: pieces of what was given and of what the model made, in their order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modeling.tasks import Box, Request, pixels
from serving.delivery import Frames, resized

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Kept:
    """Frames (T, H, W, 3) of any size that are delivered as they were given."""

    frames: Frames

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class Over:
    """Given frames (T, H, W, 3) of any size, one for each that is shown, that lie over the model's.

    kept: where they do, (height, width) of the delivered frame.
    within: rows and columns of the delivered frame that they are scaled to.
    """

    frames: Frames
    kept: Mask
    within: tuple[slice, slice] = (slice(None), slice(None))

    @classmethod
    def of_box(cls, frames: Frames, box: Box, outside: bool, height: int, width: int) -> Self:
        """All but the box is kept; with `outside` the frames lie in the box, and that is."""
        part = pixels(box, height, width)
        kept = np.full((height, width), not outside)
        kept[part] = outside
        return cls(frames, kept, part) if outside else cls(frames, kept)

    def on(self, frame: Frames, index: int) -> Frames:
        """The model's frame with given frame `index` over it."""
        laid = frame.copy()
        height, width = laid[self.within].shape[:2]
        laid[self.within] = scaled(self.frames[index], height, width)
        return np.where(self.kept[..., None], laid, frame)


@dataclass(frozen=True)
class Made:
    """The model's frames that are shown, by index; never backward, so a stream of them will do."""

    indices: NDArray[np.intp]
    over: Over | None = None

    def __len__(self) -> int:
        return len(self.indices)


Piece = Kept | Made


@dataclass(frozen=True, kw_only=True)
class Part:
    """One request to the model and its deliverable: a video, or a picture of one frame.

    name: the artifact's: "video", or "image0" and so on.
    width, height, fps: as delivered.
    pieces: what is shown, one after the other.
    """

    name: str
    request: Request
    width: int
    height: int
    fps: float
    pieces: tuple[Piece, ...]

    @property
    def num_frames(self) -> int:
        """How many frames are delivered."""
        return sum(len(piece) for piece in self.pieces)

    def frames(self, made: Iterable[Frames]) -> Iterator[Frames]:
        """The delivered frames (height, width, 3) from the model's, of which one is held."""
        source, at, shown = iter(made), -1, np.empty(0, np.uint8)
        for piece in self.pieces:
            if isinstance(piece, Kept):
                for frame in piece.frames:
                    yield scaled(frame, self.height, self.width)
                continue
            for count, index in enumerate(piece.indices):
                if at < index:
                    frame = next(islice(source, int(index) - at - 1, None))
                    at, shown = int(index), next(resized([frame], self.width, self.height))
                yield shown if piece.over is None else piece.over.on(shown, count)


def scaled(
    frame: Frames,
    height: int,
    width: int,
    aspect: float | None = None,
    by: Image.Resampling = Image.Resampling.LANCZOS,
) -> Frames:
    """The middle of a frame, cut to `aspect` (that of the new size unless told), at a new size.

    The model's frames are of another shape than what is delivered of them. What it is given is cut
    to the delivered shape and then pressed into its own, so that it comes out right.
    """
    aspect = width / height if aspect is None else aspect
    image = Image.fromarray(frame)
    wide, high = min(image.width, image.height * aspect), min(image.height, image.width / aspect)
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    box = (left, top, left + wide, top + high)
    return np.asarray(image.resize((width, height), by, box=box))


def scaled_mask(kept: Mask, height: int, width: int, aspect: float) -> Mask:
    """A mask cut and scaled as `scaled` does a frame: true where it was true all over."""
    mean = Image.Resampling.BOX
    grey = scaled(kept.astype(np.uint8) * 255, height, width, aspect, mean)
    return grey >= 254
