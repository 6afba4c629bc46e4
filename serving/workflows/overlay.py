"""Still pictures with transparency that lie over every frame of a film."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from serving.workflows.typesetting import Align, Block, Color

Frames = NDArray[np.uint8]

DRAFT, DRAFT_INK = (150, 24, 24, 255), (255, 255, 255)  # of the panel that marks a draft


@dataclass(frozen=True, kw_only=True)
class Patch:
    """`pixels` (H, W, 4) RGBA, its top left corner at (x, y)."""

    x: int
    y: int
    pixels: Frames

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in pixels."""
        height, width = self.pixels.shape[:2]
        return self.x, self.y, self.x + width, self.y + height


def blend(frame: Frames, patches: Iterable[Patch]) -> Frames:
    """The frame (H, W, 3) under the patches, of which the last lies on top; a new array."""
    out = frame.copy()
    for patch in patches:
        left, top, right, bottom = patch.box
        alpha = patch.pixels[..., 3:].astype(np.uint16)
        below = out[top:bottom, left:right].astype(np.uint16)
        above = patch.pixels[..., :3].astype(np.uint16)
        # Rounded division by 255: off by less than one level.
        out[top:bottom, left:right] = (below * (255 - alpha) + above * alpha + 127) // 255
    return out


def panel(
    block: Block,
    x: int,
    y: int,
    width: int,
    *,
    pad: int,
    fill: Color,
    color: Color,
    align: Align = "start",
) -> Patch:
    """Text on a box of one colour with `pad` pixels around it; the box begins at (x, y).

    width: of the whole box.
    """
    picture = Image.new("RGBA", (width, block.height + 2 * pad), fill)
    # The text is mixed into the panel here; Pillow's drawing would replace the panel's alpha.
    ink = Image.new("L", picture.size)
    block.draw(ImageDraw.Draw(ink), pad, pad, (255,), box_width=width - 2 * pad, align=align)
    picture.paste(Image.new("RGBA", picture.size, (*color[:3], 255)), (0, 0), ink)
    return Patch(x=x, y=y, pixels=np.asarray(picture))
