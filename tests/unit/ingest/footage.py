"""Hand-made films with known contents, small enough to make in a test."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation

from infra.video import EXACT

Frames = npt.NDArray[np.uint8]

FPS = 24
HEIGHT, WIDTH = 96, 128


def shot(seed: int, num_frames: int, *, height: int = HEIGHT, width: int = WIDTH) -> Frames:
    """(T, H, W, 3) RGB: a coloured disc that crosses a plain background, both drawn from `seed`."""
    rng = np.random.default_rng(seed)
    background, color = rng.integers(0, 256, (2, 3))
    center, speed = rng.uniform(0.2, 0.8, 2), rng.uniform(-0.008, 0.008, 2)
    y, x = np.mgrid[0:height, 0:width] / height
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for number in range(num_frames):
        row, column = center + speed * number
        inside = np.hypot((y - row), (x - column)) < 0.2
        frames[number] = np.where(inside[..., None], color, background)
    return frames


def join(parts: Sequence[Frames], transitions: Sequence[tuple[str, int]]) -> Frames:
    """Parts joined by ("cut", 0), ("dissolve", n) or ("fade", n): n frames of each side overlap."""
    result = parts[0].astype(np.float32)
    for part, (kind, count) in zip(parts[1:], transitions, strict=True):
        new = part.astype(np.float32)
        if count:
            amount = (np.arange(1, count + 1) / (count + 1))[:, None, None, None]
            old_weight, new_weight = 1 - amount, amount
            if kind == "fade":
                old_weight, new_weight = (
                    np.maximum(1 - 2 * amount, 0),
                    np.maximum(2 * amount - 1, 0),
                )
            mixed = result[-count:] * old_weight + new[:count] * new_weight
            result = np.concatenate([result[:-count], mixed])
        result = np.concatenate([result, new[count:]])
    return (result + 0.5).clip(0, 255).astype(np.uint8)


def write(
    path: Path,
    frames: Frames,
    *,
    fps: int = FPS,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode `frames`; `times_ms` gives each its own timestamp (variable frame rate)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options or {"crf": "12"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def three_shots(path: Path, seed: int = 1, **options: Any) -> Path:
    """Three shots of 30 frames joined by cuts; encoded once in a session."""
    key = (path.suffix, seed, repr(sorted(options.items())))
    if key not in _made:
        parts = [shot(seed * 10 + number, 30) for number in range(3)]
        _made[key] = write(path, join(parts, [("cut", 0)] * 2), **options).read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_made[key])
    return path


_made: dict[tuple[str, int, str], bytes] = {}


def decode(path: Path) -> Frames:
    """All frames of a film, (T, H, W, 3) RGB, as decoded and not turned."""
    with av.open(str(path)) as container:
        pictures = [
            frame.reformat(format="rgb24", interpolation=EXACT | Interpolation.BICUBIC).to_ndarray()
            for frame in container.decode(video=0)
        ]
    return np.stack(pictures)
