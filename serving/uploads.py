"""What users upload: pictures and clips, checked before anything is queued.

A stored file has a name of ours and has been decoded once within limits. `stage` puts accepted
inputs beside each other in a folder that becomes the job's folder, or disappears.
"""

import asyncio
import base64
import binascii
import io
import json
import os
import shutil
import sys
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import UploadFile
from PIL import Image, ImageOps
from starlette.concurrency import run_in_threadpool

from serving.fields import MAX_SECONDS, MAX_SIDE, MIN_SIDE
from serving.jobs import INCOMING
from serving.wire import ApiError

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
MAX_IMAGE_PIXELS = 50_000_000
MAX_IMAGE_BYTES = 50 * 2**20
MAX_DECODED_BYTES = 2**30
PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class VideoFacts:
    width: int
    height: int
    fps: float
    num_frames: int

    @property
    def seconds(self) -> float:
        return self.num_frames / self.fps


@contextmanager
def staging(media_dir: Path) -> Iterator[Path]:
    """A new folder for inputs; removed at the end unless it was moved away."""
    folder = media_dir / INCOMING / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def save_image(data: bytes, folder: Path, param: str) -> str:
    """Check a PNG, JPEG or WebP and store it as RGB PNG; returns the file's name.

    Raises:
        ApiError: not such a picture, or too large.
    """
    return await run_in_threadpool(_save_image, data, folder, param)


def _save_image(data: bytes, folder: Path, param: str) -> str:
    if len(data) > MAX_IMAGE_BYTES:
        raise ApiError(
            f"{param} is a file of {len(data) / 2**20:.0f} MiB; "
            f"at most {MAX_IMAGE_BYTES // 2**20} MiB are taken.",
            param=param,
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _undecodable(param) from error
    width, height = image.size
    # The header alone decides: a bomb is refused before a pixel of it is decoded.
    if width * height > MAX_IMAGE_PIXELS or min(width, height) < MIN_SIDE:
        raise ApiError(
            f"{param} is {width}x{height} pixels; it must have sides of at least {MIN_SIDE} "
            f"and at most {MAX_IMAGE_PIXELS // 10**6} million pixels.",
            param=param,
        )
    try:
        picture = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise _undecodable(param) from error
    picture.save(folder / "input.png", compress_level=1)
    return "input.png"


def _undecodable(param: str) -> ApiError:
    return ApiError(
        f"{param} cannot be decoded as a picture; send a PNG, JPEG or WebP file.",
        param=param,
        code="invalid_image",
    )


def data_url_bytes(url: str, param: str) -> bytes:
    """The bytes of a base64 data: URL.

    Raises:
        ApiError: any other URL (the server fetches nothing), or base64 that is broken.
    """
    head, comma, payload = url.partition(",")
    if not head.lower().startswith("data:"):
        raise ApiError(
            f"{param} is {url[:60]!r}; this server fetches no URLs: "
            "send a data: URL or the picture itself as a file part.",
            param=param,
            code="url_not_allowed",
        )
    try:
        if not (comma and head.lower().endswith(";base64")):
            raise ValueError("not base64")
        return base64.b64decode(payload, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ApiError(
            f"{param} is not a base64 data: URL such as data:image/png;base64,iVBOR….",
            param=param,
            code="invalid_image",
        ) from error


async def save_video(upload: UploadFile, folder: Path, param: str) -> VideoFacts:
    """Store an uploaded clip as `folder`/input.video after a child process has decoded it whole.

    Raises:
        ApiError: it cannot be decoded within the limits.
    """
    path = folder / "input.video"
    with path.open("wb") as handle:
        while chunk := await upload.read(2**20):
            handle.write(chunk)
    return await probe_video(path, param)


def link_video(source: Path, folder: Path) -> None:
    """Keep a generated clip as the input of another job, whatever becomes of the first."""
    os.link(source, folder / "input.video")


async def probe_video(path: Path, param: str) -> VideoFacts:
    """Decode `path` in a child process with limits; raises ApiError when that fails."""
    limits = {
        "min_side": MIN_SIDE,
        "max_side": MAX_SIDE,
        "max_seconds": MAX_SECONDS,
        "max_bytes": MAX_DECODED_BYTES,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "serving.probe", str(path), json.dumps(limits),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(child.communicate(), PROBE_TIMEOUT_S)
    except TimeoutError:
        out = b""
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    answer = json.loads(out) if out else {"error": "it cannot be decoded within the limits"}
    if "error" in answer:
        raise ApiError(
            f"{param} cannot be used: {answer['error']}.", param=param, code="invalid_video"
        )
    return VideoFacts(**answer)
