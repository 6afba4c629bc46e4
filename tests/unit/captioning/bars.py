"""A toy world for captioners: a coloured bar glides left or right across a dark frame."""

from itertools import product

import numpy as np
import numpy.typing as npt

from captioning.recipe import CocaRecipe
from captioning.training import Labelled

COLORS = {"red": (230, 40, 40), "blue": (40, 60, 230)}
STEPS = {"left": -1, "right": 1}  # pixels a frame
SIZE = 16

TINY = CocaRecipe(
    min_labelled=8,
    cell=SIZE,
    patch=8,
    width=32,
    head_width=16,
    vision_layers=1,
    max_words=12,
    frame_stride=1,
    views=2,
    steps=200,
    batch=16,
    learning_rate=3e-3,
    shift=0.1,  # of sixteen pixels: a bar of four is still in the picture
    zoom=0.05,
    check_every=50,
)


def clip(color: str, way: str, start: int, frames: int = 8) -> npt.NDArray[np.uint8]:
    """(frames, SIZE, SIZE, 3); the bar comes back on the other side."""
    x_THWC = np.full((frames, SIZE, SIZE, 3), 20, np.uint8)
    for index, picture in enumerate(x_THWC):
        left = start + STEPS[way] * index
        picture[:, [column % SIZE for column in range(left, left + 4)]] = COLORS[color]
    return x_THWC


def labelled(starts: range) -> list[Labelled]:
    """Every colour and way from each of `starts`."""
    return [
        Labelled(
            clip_id=f"{color}-{way}-{start}",
            frames=clip(color, way, start),
            caption=f"A {color} bar moves {way}.",
        )
        for color, way, start in product(COLORS, STEPS, starts)
    ]
