"""The small picture of a frame, on which all that ingest measures is measured."""

from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from infra.color import is_hdr, sdr_picture

SMALL_HEIGHT, SMALL_WIDTH = 72, 96  # whatever the film's shape: all that is measured is relative

Image = npt.NDArray[np.uint8]


class Shrinker:
    """Shrinks the frames of one film; what scaling needs is set up once, not for each frame."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def shrink(self, frame: Any) -> Image:
        """(72, 96, 3) BGR, upright."""
        turns = quarter_turns(frame)
        width, height = (SMALL_HEIGHT, SMALL_WIDTH) if turns % 2 else (SMALL_WIDTH, SMALL_HEIGHT)
        image: Any
        if is_hdr(frame):
            image = sdr_picture(frame, width, height, Interpolation.AREA, self._reformatter)
            image = image[..., ::-1]
        else:
            image = self._reformatter.reformat(
                frame,
                width=width,
                height=height,
                format="bgr24",
                interpolation=Interpolation.AREA,
                threads=1,
            ).to_ndarray()
        return np.ascontiguousarray(np.rot90(image, turns))


def quarter_turns(frame: Any) -> int:
    """Counterclockwise quarter turns that put the frame upright, 0 to 3."""
    return int(round(frame.rotation / 90) % 4)
