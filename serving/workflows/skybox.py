"""Skyboxes: an equirectangular picture (2:1) whose sides meet, and its six cube faces.

Faces look outward from the middle of the cube: right-handed, y up, -z ahead, as OpenGL and Godot
have it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from infra.video import Frames
from serving.workflows.loops import COLUMN_FLOOR, Seam, seamless

POLE = 0.06  # share of the height that is drawn together towards each pole
# For each face: the direction of its middle, of its right edge, of its top edge.
FACES = {
    "front": ((0, 0, -1), (1, 0, 0), (0, 1, 0)),
    "back": ((0, 0, 1), (-1, 0, 0), (0, 1, 0)),
    "right": ((1, 0, 0), (0, 0, 1), (0, 1, 0)),
    "left": ((-1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "up": ((0, 1, 0), (1, 0, 0), (0, 0, 1)),
    "down": ((0, -1, 0), (1, 0, 0), (0, 0, -1)),
}

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Sky:
    """picture: (H, 2H, 3). wrap: the seam where its sides meet."""

    picture: Frames
    wrap: Seam


def equirectangular(picture: Frames, height: int) -> Sky:
    """A picture of any size as a sky of (height, 2 height) whose sides meet and whose poles are
    points."""
    wide, wrap = seamless(picture, axis=1, floor=COLUMN_FLOOR)
    return Sky(picture=_gathered_poles(_resized(wide, height)), wrap=wrap)


def _resized(picture: Frames, height: int) -> Frames:
    """(height, 2 height, 3); the filter sees the other side across the seam."""
    if picture.shape[:2] == (height, 2 * height):
        return picture
    width = picture.shape[1]
    margin = min(16, width // 2)
    wide = Image.fromarray(np.pad(picture, ((0, 0), (margin, margin), (0, 0)), mode="wrap"))
    box = (margin, 0, margin + width, picture.shape[0])
    size = (2 * height, height)
    return np.asarray(wide.resize(size, Image.Resampling.LANCZOS, box=box))


def _gathered_poles(picture: Frames) -> Frames:
    """Rows near a pole drawn towards their mean: all of a pole's row is one direction."""
    out = picture.astype(np.float32)
    rows = max(1, round(len(picture) * POLE))
    for index in range(rows):
        weight = (1 - index / rows) ** 2
        for row in (index, len(picture) - 1 - index):
            out[row] = (1 - weight) * out[row] + weight * out[row].mean(axis=0)
    return np.rint(out).astype(np.uint8)


def cube_face(sky: Frames, face: str, side: int) -> Frames:
    """One face (side, side, 3), sampled bilinearly."""
    middle, right, top = (np.array(axis, np.float32) for axis in FACES[face])
    steps = (2 * (np.arange(side, dtype=np.float32) + 0.5) / side) - 1
    rays = middle + steps[None, :, None] * right - steps[:, None, None] * top
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    height, width = sky.shape[:2]
    longitude = np.arctan2(rays[..., 0], -rays[..., 2])
    latitude = np.arcsin(np.clip(rays[..., 1], -1, 1))
    x = (longitude / (2 * np.pi) + 0.5) * width - 0.5
    y = (0.5 - latitude / np.pi) * height - 0.5
    return _bilinear(sky, x, y)


def _bilinear(sky: Frames, x: Floats, y: Floats) -> Frames:
    """The sky at positions in pixels; x goes around, y stays within."""
    height, width = sky.shape[:2]
    left, above = np.floor(x).astype(int), np.floor(y).astype(int)
    to_right, down = (x - left)[..., None], (y - above)[..., None]

    def at(rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> Floats:
        found: Floats = sky[rows.clip(0, height - 1), columns % width].astype(np.float32)
        return found

    upper = at(above, left) * (1 - to_right) + at(above, left + 1) * to_right
    lower = at(above + 1, left) * (1 - to_right) + at(above + 1, left + 1) * to_right
    sampled: Frames = np.rint(upper * (1 - down) + lower * down).astype(np.uint8)
    return sampled


def write(sky: Sky, folder: Path) -> None:
    """equirectangular.png and six faces of half its height."""
    Image.fromarray(sky.picture).save(folder / "equirectangular.png", format="PNG")
    for face in FACES:
        picture = cube_face(sky.picture, face, max(16, len(sky.picture) // 2))
        Image.fromarray(picture).save(folder / f"{face}.png", format="PNG")
