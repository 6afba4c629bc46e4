"""Flipbooks: the frames of a video as one sheet, with what Unity, Unreal and Godot need of it.

Tiles go from left to right and down, as the engines play them. Unity counts a sprite's rectangle
from the bottom; the others count from the top.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from infra.video import Frames


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The layout of a sheet; `padding` pixels around each tile repeat its edge."""

    name: str
    rows: int
    columns: int
    tile: int
    padding: int
    fps: float
    loops: bool

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        cell = self.tile + 2 * self.padding
        return self.columns * cell, self.rows * cell

    @property
    def is_power_of_two(self) -> bool:
        return all(side & (side - 1) == 0 for side in self.size)

    def boxes(self) -> list[tuple[int, int]]:
        """The upper left corner (x, y) of each tile, in the order in which they play."""
        cell = self.tile + 2 * self.padding
        return [
            (column * cell + self.padding, row * cell + self.padding)
            for row in range(self.rows)
            for column in range(self.columns)
        ]


def spread(num_frames: int, count: int, *, loops: bool) -> list[int]:
    """`count` indices over all frames, the first among them; the last too unless it loops."""
    if loops:
        return [int(index * num_frames / count) for index in range(count)]
    return [round(index) for index in np.linspace(0, num_frames - 1, count)]


def with_alpha(frame: Frames) -> Frames:
    """(H, W, 4): light on black becomes light on nothing. The brightest channel is the alpha, and
    the colour is divided by it, so that over black it is the frame again."""
    alpha = frame.max(axis=-1, keepdims=True).astype(np.float32)
    color = np.where(alpha > 0, frame * 255.0 / np.maximum(alpha, 1), 0)
    return np.concatenate([np.rint(color), alpha], axis=-1).astype(np.uint8)


def draw(sheet: Sheet, tiles: Sequence[Frames]) -> Image.Image:
    """The sheet of tiles (tile, tile, 3 or 4)."""
    pad = sheet.padding
    mode = "RGBA" if tiles[0].shape[-1] == 4 else "RGB"
    picture = Image.new(mode, sheet.size)
    for (x, y), tile in zip(sheet.boxes(), tiles, strict=True):
        # A texture filter that reads past a tile's edge must find that edge, not its neighbour.
        padded = np.pad(tile, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
        picture.paste(Image.fromarray(padded), (x - pad, y - pad))
    return picture


def write_metadata(sheet: Sheet, folder: Path, engines: Sequence[str]) -> None:
    """{name}.json for any program, and a file for each of the engines."""
    writers = {"unity": _unity, "unreal": _unreal, "godot": _godot}
    _write(folder / f"{sheet.name}.json", _common(sheet))
    for engine in engines:
        writers[engine](sheet, folder)


def _common(sheet: Sheet) -> dict[str, Any]:
    width, height = sheet.size
    return {
        "image": f"{sheet.name}.png",
        "size": {"w": width, "h": height},
        "rows": sheet.rows,
        "columns": sheet.columns,
        "tile": {"w": sheet.tile, "h": sheet.tile},
        "padding": sheet.padding,
        "fps": sheet.fps,
        "loop": sheet.loops,
        "origin": "top-left",
        "frames": [
            {"index": index, "x": x, "y": y, "w": sheet.tile, "h": sheet.tile}
            for index, (x, y) in enumerate(sheet.boxes())
        ],
    }


def _unity(sheet: Sheet, folder: Path) -> None:
    """What TextureImporter holds in a .meta file, as JSON for an import script, and the numbers of
    a Texture Sheet Animation or VFX Graph flipbook."""
    height = sheet.size[1]
    sprites = [
        {
            "name": f"{sheet.name}_{index}",
            "rect": {"x": x, "y": height - y - sheet.tile, "width": sheet.tile,
                     "height": sheet.tile},
            "alignment": 0,
            "pivot": {"x": 0.5, "y": 0.5},
            "border": {"x": 0, "y": 0, "z": 0, "w": 0},
        }
        for index, (x, y) in enumerate(sheet.boxes())
    ]  # fmt: skip
    importer = {
        "textureType": 8,  # Sprite
        "spriteMode": 2,  # Multiple
        "spritePixelsToUnits": 100,
        "alphaIsTransparency": 1,
        "mipmaps": {"enableMipMap": 0},
        "maxTextureSize": 2 ** (max(sheet.size) - 1).bit_length(),
        "spriteSheet": {"sprites": sprites},
    }
    flipbook = {
        "tilesX": sheet.columns, "tilesY": sheet.rows, "frameRate": sheet.fps, "loop": sheet.loops,
        "invertY": True,
    }  # fmt: skip
    _write(folder / f"{sheet.name}.unity.json", {"TextureImporter": importer, "flipbook": flipbook})


def _unreal(sheet: Sheet, folder: Path) -> None:
    """A sprite sheet as Paper2D imports it, and the numbers of a SubUV material or Niagara."""
    width, height = sheet.size
    side = sheet.tile
    frames = {
        f"{sheet.name}_{index:04}": {
            "frame": {"x": x, "y": y, "w": side, "h": side},
            "rotated": False,
            "trimmed": False,
            "spriteSourceSize": {"x": 0, "y": 0, "w": side, "h": side},
            "sourceSize": {"w": side, "h": side},
            "pivot": {"x": 0.5, "y": 0.5},
        }
        for index, (x, y) in enumerate(sheet.boxes())
    }
    meta = {
        "app": "reelwright", "version": "1.0", "target": "paper2d", "image": f"{sheet.name}.png",
        "format": "RGBA8888", "size": {"w": width, "h": height}, "scale": "1",
    }  # fmt: skip
    _write(folder / f"{sheet.name}.paper2dsprites", {"frames": frames, "meta": meta})
    numbers = {
        "SubImagesHorizontal": sheet.columns,
        "SubImagesVertical": sheet.rows,
        "FramesPerSecond": sheet.fps,
        "LoopAnimation": sheet.loops,
    }
    _write(folder / f"{sheet.name}.unreal.json", numbers)


def _godot(sheet: Sheet, folder: Path) -> None:
    """A SpriteFrames resource of Godot 4 over the sheet beside it."""
    side = sheet.tile
    lines = [
        f'[gd_resource type="SpriteFrames" load_steps={len(sheet.boxes()) + 2} format=3]',
        "",
        f'[ext_resource type="Texture2D" path="{sheet.name}.png" id="1"]',
        "",
    ]
    for index, (x, y) in enumerate(sheet.boxes()):
        lines += [
            f'[sub_resource type="AtlasTexture" id="tile_{index}"]',
            'atlas = ExtResource("1")',
            f"region = Rect2({x}, {y}, {side}, {side})",
            "",
        ]
    frames = ", ".join(
        f'{{"duration": 1.0, "texture": SubResource("tile_{index}")}}'
        for index in range(len(sheet.boxes()))
    )
    loop = "true" if sheet.loops else "false"
    animation = f'"frames": [{frames}], "loop": {loop}, "name": &"default", "speed": {sheet.fps:g}'
    lines += ["[resource]", f"animations = [{{{animation}}}]", ""]
    (folder / f"{sheet.name}.tres").write_text("\n".join(lines), encoding="utf-8")


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
