"""From the model's frames to what is delivered: size, frame rate, files.

The model has its own frame rate and makes frames of its own size. Delivery shows, at each moment
of the delivered video, the model's frame of that moment, resized with Lanczos. Frames go through
one at a time, so a long large video needs the memory of its small original only.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.catalog_models import Artifact, GenerationJob
from infra.video import write_mp4
from serving.plain_id import picture_options, plain_id

Frames = NDArray[np.uint8]
Seal = Callable[[GenerationJob, list[Artifact]], None]
"""Signs files of a job before anybody can see them; notes their new size and hash."""

THUMBNAIL_SIDE = 512
SPRITES, SPRITE_COLUMNS, SPRITE_SIDE = 32, 8, 160
CONTEXT_S = 1.0  # how much of a given clip the model continues from


def unsealed(_job: GenerationJob, _artifacts: list[Artifact]) -> None:
    """Files stay as they were written."""


def shown_at(num_frames: int, fps: float, num_out: int, fps_out: float) -> NDArray[np.intp]:
    """For each of `num_out` frames at `fps_out`, the index of the frame shown at that time."""
    index: NDArray[np.intp] = (np.arange(num_out) * (fps / fps_out) + 1e-6).astype(np.intp)
    return index.clip(max=num_frames - 1)


def context(given: Frames, given_fps: float, fps: float, count: int, *, head: bool) -> Frames:
    """Up to `count` frames at `fps` from the end of `given` (its beginning if `head`)."""
    count = max(1, min(count, int(len(given) / given_fps * fps + 1e-6)))
    back = np.round(np.arange(count) * given_fps / fps).astype(np.intp)
    back = np.minimum(back, len(given) - 1)
    return given[back] if head else given[len(given) - 1 - back[::-1]]


def continuation(
    num_frames: int, fps: float, num_out: int, fps_out: float, *, head: bool
) -> NDArray[np.intp]:
    """For each of `num_out` frames, the index of the one of the model's `num_frames` new frames
    that is shown, both counted from the seam (`head`: what is new comes before it)."""
    index = shown_at(num_frames, fps, num_out, fps_out)
    return num_frames - 1 - index[::-1] if head else index


def resized(frames: Iterable[Frames], width: int, height: int) -> Iterator[Frames]:
    """Each (H,W,3) frame at the delivered size."""
    for frame in frames:
        if frame.shape[:2] == (height, width):
            yield frame
        else:
            picture = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
            yield np.asarray(picture)


def write_video(
    frames: Iterable[Frames],
    fps: float,
    folder: Path,
    attempt: int,
    on_frame: Callable[[int], None],
) -> list[Path]:
    """An MP4, the WebP thumbnail of its first frame, and a JPEG sheet of frames spread over it.

    The names carry the attempt, the files the plain id of the job, whose name the folder has.
    `on_frame(count)` is called before each frame and may raise to stop.
    """
    video = folder / f"video-{attempt}.mp4"
    thumbnail = folder / f"thumbnail-{attempt}.webp"
    sheet, sheet_path = Spritesheet(), folder / f"spritesheet-{attempt}.jpeg"

    def counted() -> Iterator[Frames]:
        for count, frame in enumerate(frames):
            on_frame(count)
            if count == 0:
                picture = Image.fromarray(frame)
                picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
                write_picture(picture, thumbnail, 80)
            sheet.add(frame)
            yield frame

    write_mp4(counted(), fps, video, plain_id(folder.name))
    write_picture(sheet.picture(), sheet_path, 85)
    return [video, thumbnail, sheet_path]


class Spritesheet:
    """Small frames at even distances, from left to right and down, at most SPRITES of them.

    How many frames will come need not be known: when there are too many, every second one goes.
    """

    def __init__(self) -> None:
        self._stride = 1
        self._seen = 0
        self._sprites: list[Image.Image] = []

    def add(self, frame: Frames) -> None:
        if self._seen % self._stride == 0:
            if len(self._sprites) == SPRITES:
                self._sprites = self._sprites[::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                picture = Image.fromarray(frame)
                picture.thumbnail((SPRITE_SIDE, SPRITE_SIDE), Image.Resampling.BILINEAR)
                self._sprites.append(picture)
        self._seen += 1

    def picture(self) -> Image.Image:
        width, height = self._sprites[0].size
        rows = -(-len(self._sprites) // SPRITE_COLUMNS)
        sheet = Image.new("RGB", (width * min(len(self._sprites), SPRITE_COLUMNS), height * rows))
        for index, sprite in enumerate(self._sprites):
            row, column = divmod(index, SPRITE_COLUMNS)
            sheet.paste(sprite, (column * width, row * height))
        return sheet


def write_picture(picture: Image.Image, path: Path, quality: int) -> None:
    """A PNG, WebP or JPEG by the name's suffix, with its folder's plain id; whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    form = {".png": "PNG", ".webp": "WEBP", ".jpeg": "JPEG"}[path.suffix]
    marks = picture_options(path.parent.name, form)
    picture.save(temporary, format=form, quality=quality, **marks)
    temporary.replace(path)


def artifact(job_id: str, name: str, path: Path) -> Artifact:
    """The catalog's row for a finished file in the job's folder."""
    media_type = {
        ".mp4": "video/mp4", ".webp": "image/webp", ".png": "image/png", ".jpeg": "image/jpeg"
    }[path.suffix]  # fmt: skip
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return Artifact(
        job_id=job_id,
        name=name,
        media_type=media_type,
        path=f"{path.parent.name}/{path.name}",
        size_bytes=path.stat().st_size,
        sha256=digest,
    )
