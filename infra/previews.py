"""Pictures of clips: the frame in the middle of each, small enough to look through many."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from infra.lake import Lake
from infra.pictures import Picture
from infra.video import read_clip

COLUMNS = ("clip_id", "offset_s", "start_s", "end_s", "width", "height", "caption")
WIDTH = 320


def middle_frames(lake: Lake, rows: Sequence[dict[str, Any]], release: str | None) -> list[Picture]:
    """One frame (H, W, 3) for each row, which must hold COLUMNS; a clip without bytes is blank.

    A frame is `WIDTH` pixels wide at most, in the clip's own aspect.
    """
    kept = [row["clip_id"] for row in rows if row["offset_s"] is not None]
    data = lake.read_clip_bytes(kept, release)
    pictures = []
    for row in rows:
        width = min(WIDTH, row["width"] or WIDTH)
        height = max(2, round(width * (row["height"] or width) / (row["width"] or width)))
        if row["clip_id"] not in data:
            pictures.append(np.full((height, width, 3), 225, np.uint8))
            continue
        middle_s = (row["end_s"] - row["start_s"]) / 2
        clip = data[row["clip_id"]]
        pictures.append(read_clip(clip, row["offset_s"], [middle_s], (height, width))[0])
    return pictures
