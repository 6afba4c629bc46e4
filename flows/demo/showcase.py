"""One picture of what the demo made: strips of real and generated frames, for the README."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.demo.showreel import Frames, Take

if TYPE_CHECKING:
    from PIL.Image import Image

STRIP_FRAMES = 6
TILE_WIDTH = 620
HEIGHT = 128  # of every strip, so that sizes of different shape stand side by side


def showcase(takes: Sequence[Take]) -> "Image":
    """Two columns: a real clip, then what the model made of the same words; then the other ways
    of asking, a strip each."""
    from infra.pictures import contact_sheet

    tiles = []
    for take in takes:
        if take.kind == "from words" and take.example and take.example.frames is not None:
            tiles.append((strip(take.example.frames), f"footage: {take.prompt}"))
            tiles.append((strip(frames_of(take, seconds=1.1)), f"made from words: {take.prompt}"))
    for take in takes:
        if take.path.suffix == ".mp4" and take.name not in _shown(takes):
            tiles.append((strip(frames_of(take)), f"{take.kind}: {take.prompt}. {take.says}"))
    return contact_sheet(tiles, columns=2, tile_width=TILE_WIDTH)


def _shown(takes: Sequence[Take]) -> set[str]:
    return {
        take.name
        for take in takes
        if take.kind == "from words" and take.example and take.example.frames is not None
    }


def frames_of(take: Take, seconds: float = 0.0) -> Frames:
    """The frames of a video, of its first seconds only when they are given."""
    from infra.video import read_file_frames

    frames, fps = read_file_frames(take.path, max_frames=10_000)
    return frames[: max(1, round(seconds * fps))] if seconds else frames


def strip(frames: Frames) -> Frames:
    """Evenly picked frames side by side on one width, whatever their shape."""
    import numpy as np
    from PIL import Image

    from infra.pictures import PAPER, frame_strip

    width = round(frames.shape[2] * HEIGHT / frames.shape[1])
    count = min(STRIP_FRAMES, (TILE_WIDTH + 2) // (width + 2), len(frames))
    picked = frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]
    small = np.stack([np.asarray(Image.fromarray(f).resize((width, HEIGHT))) for f in picked])
    row = frame_strip(small)
    canvas = np.full((HEIGHT, TILE_WIDTH, 3), PAPER, np.uint8)
    canvas[:, : row.shape[1]] = row
    return canvas
